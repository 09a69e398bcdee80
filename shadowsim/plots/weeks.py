"""The accuracy of forecasts over time to a figure."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from shadowsim.model.truth import MODES
from shadowsim.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, WIDTH_IN

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, GREY)
MARKERS = ("o", "s", "^", "D", "v", "x")
SCORES = (("right", "right, share"), ("brier", "Brier score"), ("bias", "said less came"))


def weeks_figure(accuracy: pl.DataFrame, rollbacks: pl.DataFrame) -> Figure:
    """Per failure mode a column, per score a row, per variant a line over the windows; beneath, the
    time to rollback. Tables as `learning.overtime` has them.
    """
    figure = Figure(figsize=(WIDTH_IN, 9.0), layout="constrained")
    windows = rollbacks["window"].to_list()
    place = {name: number for number, name in enumerate(windows)}
    grid = figure.add_gridspec(len(SCORES) + 1, len(MODES))
    variants = sorted(set(accuracy["variant"]))
    for row, (score, label) in enumerate(SCORES):
        for column, mode in enumerate(MODES):
            axes = figure.add_subplot(grid[row, column])
            for number, variant in enumerate(variants):
                line = accuracy.filter(variant=variant, failure_mode=mode).drop_nulls(score)
                axes.plot(
                    [place[name] for name in line["window"]], line[score].to_list(),
                    color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)],
                    markersize=4, linewidth=1.4, label=variant,
                )  # fmt: skip
            axes.set_ylim(*((-1.05, 1.05) if score == "bias" else (-0.05, 1.05)))
            axes.set_xticks(range(len(windows)), [])
            axes.set_xlim(-0.5, max(len(windows) - 0.5, 0.5))
            axes.tick_params(labelsize=8, colors=INK)
            if row == 0:
                axes.set_title(mode.replace("_", " "), fontsize=10, color=INK, loc="left")
            if column == 0:
                axes.set_ylabel(label, fontsize=8.5, color=INK)
    if variants:
        figure.axes[0].legend(fontsize=7.5, frameon=False)
    axes = figure.add_subplot(grid[-1, :])
    known = rollbacks.drop_nulls("median_s")
    for column_name, style, label in (("median_s", "o-", "median"), ("p95_s", "s--", "95 %")):
        at = [place[name] for name in known["window"]]
        axes.plot(at, known[column_name].to_list(), style, color=BLUE, label=label)
    axes.set_xticks(range(len(windows)), windows, rotation=20 if len(windows) > 6 else 0)
    axes.set_xlim(-0.5, max(len(windows) - 0.5, 0.5))
    axes.set_ylim(bottom=0.0)
    axes.tick_params(labelsize=8, colors=INK)
    axes.set_ylabel("time to rollback in s", fontsize=8.5, color=INK)
    if known.height:
        axes.legend(fontsize=8, frameon=False)
    return figure
