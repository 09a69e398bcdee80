"""What came of scenarios under variants to a figure with a panel for each measure."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shadowsim.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    WIDTH_IN,
    Style,
    drawn,
)

MEASURES = (
    ("met", "runs in which all came\nas expected, %", 100.0),
    ("breach_s", "seconds in which\nproduction was broken", 1.0),
    ("time_to_rollback_s", "seconds from trigger\nto end of a rollback", 1.0),
)
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY)
MARKS = "osD^v<>"
ROW_IN = 0.22


def sweep_figure(table: pl.DataFrame) -> Figure:
    """Means and 95 % intervals; columns as `shadowsim.sweep.results.SUMMARY` has them."""
    scenarios = table["scenario"].unique(maintain_order=True).to_list()
    variants = table["precog"].unique(maintain_order=True).to_list()
    height = 1.6 + ROW_IN * len(scenarios) * (len(variants) + 1)
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    for axes, (measure, label, factor) in zip(panels, MEASURES, strict=True):
        for number, variant in enumerate(variants):
            part = table.filter(pl.col("precog") == variant)
            shift = (number + 0.5) / len(variants) - 0.5
            at = np.array([scenarios.index(name) for name in part["scenario"]]) + 0.8 * shift
            _points(axes, part, measure, factor, at, _style(number, variant))
        _tidy(axes, label)
    panels[0].set_xlim(-4, 104)
    panels[0].set_yticks(range(len(scenarios)), list(map(drawn, scenarios)), parse_math=False)
    panels[0].set_ylim(len(scenarios) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=6, fontsize=8.5, frameon=False)
    return figure


def _style(number: int, variant: str) -> Style:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKS[number % len(MARKS)],
        "label": variant,
    }


def _points(
    axes: Axes, part: pl.DataFrame, measure: str, factor: float, at: np.ndarray, style: Style
) -> None:
    """A point for each mean, with its interval where there is one."""
    value, low, high = (
        part[f"{measure}{end}"].cast(pl.Float64).to_numpy() * factor
        for end in ("", "_low", "_high")
    )
    errors = np.nan_to_num(np.array([value - low, high - value])).clip(0.0)
    axes.errorbar(value, at, xerr=errors, linestyle="", markersize=4.5, capsize=2, **style)


def _tidy(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize=8.5, color=INK)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.grid(axis="x", color="#cfd8e1", linewidth=0.6)
    if axes.get_xlim()[0] < 0:
        axes.set_xlim(left=0.0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
