"""Outcomes to a figure with a panel for each table of analytics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shadowsim import analytics
from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    WIDTH_IN,
    Style,
    drawn,
    svg,
)

STATES: dict[str, Style] = {
    "confirmed": {"color": GREEN},
    "rolled_back": {"color": BLUE},
    "refused": {"color": ORANGE},
    "halted": {"color": VERMILION},
}


def save_analytics(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the analytics of these outcomes into a PNG or SVG file. BadInput for another ending."""
    save_figure(partial(analytics_figure, rows), path)


def save_figure(draw: Callable[[], Figure], path: Path) -> None:
    """Draw a figure into a PNG or SVG file. BadInput for another ending."""
    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise BadInput(
            [Mistake(f"no kind of picture; {choices(ending, ('.png', '.svg'))}", str(path))]
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == ".svg":
            path.write_bytes(svg(draw()))
        else:
            draw().savefig(path, dpi=150)
    except OSError as error:
        raise BadInput([Mistake(f"cannot be written: {error.strerror}", str(path))]) from None


def analytics_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The five tables of analytics as five panels."""
    runs = analytics.frame(rows)
    figure = Figure(figsize=(WIDTH_IN, 7.2), layout="constrained")
    figure.suptitle(f"shadowsim: {len(rows)} runs", fontsize=12, color=INK)
    grid = figure.add_gridspec(2, 6)
    _validated(figure.add_subplot(grid[0, :3]), analytics.validated(runs))
    _accuracy(figure.add_subplot(grid[0, 3:]), analytics.accuracy(runs))
    _rollbacks(figure.add_subplot(grid[1, :2]), analytics.rollbacks(runs))
    _times(figure.add_subplot(grid[1, 2:4]), runs, analytics.time_to_rollback(runs))
    _causes(figure.add_subplot(grid[1, 4:]), analytics.root_causes(runs))
    return figure


def _validated(axes: Axes, table: pl.DataFrame) -> None:
    _stacked(axes, "Changes validated on the shadow", table, "decision", STATES)
    axes.set_xlabel("changes, by end state", fontsize=8.5)


def _rollbacks(axes: Axes, table: pl.DataFrame) -> None:
    style = {"verified": STATES["rolled_back"], "not_verified": STATES["halted"]}
    _stacked(axes, "Rollbacks triggered", table, "failure_mode", style)
    axes.set_xlabel("rollbacks", fontsize=8.5)


def _stacked(
    axes: Axes, title: str, table: pl.DataFrame, names: str, parts: Mapping[str, Style]
) -> None:
    """One bar a row, cut into its parts; each part with its number."""
    if not _panel(axes, title, table):
        return
    rows = [_words(name) for name in table[names]]
    left = np.zeros(len(rows))
    for part, style in parts.items():
        values = table[part].to_numpy().astype(float)
        if values.any():
            bars = axes.barh(
                rows, values, 0.6, left, label=_words(part, " "), edgecolor="white", **style
            )
            counts = [f"{v:.0f}" if v else "" for v in values]
            dark = INK if style["color"] == ORANGE else "white"
            axes.bar_label(
                bars, counts, label_type="center", fontsize=8.5, color=dark, weight="bold"
            )
        left += values
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, max(left.max() * 1.03, 1))
    _legend_above(axes)


def _accuracy(axes: Axes, table: pl.DataFrame) -> None:
    """Precision, recall and Brier score per failure mode, side by side."""
    if not _panel(axes, "Accuracy of the forecasts", table):
        return
    shift = {"precision": (-0.26, BLUE), "recall": (0.0, GREEN), "brier": (0.26, GREY)}
    for score, (offset, colour) in shift.items():
        at = np.arange(table.height) + offset
        values = [v or 0.0 for v in table[score]]
        label = "Brier score (0 is best)" if score == "brier" else score
        bars = axes.barh(at, values, height=0.24, color=colour, label=label)
        shown = ["none to count" if v is None else f"{v:.2f}" for v in table[score]]
        axes.bar_label(bars, shown, padding=3, fontsize=8, color=INK)
    axes.set_yticks(range(table.height), [_words(mode) for mode in table["failure_mode"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16)
    axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
    axes.set_xlabel(
        f"share; forecast of {analytics.PREDICTED_FROM:g} and more against what came of it",
        fontsize=8.5,
    )
    _legend_above(axes)


def _times(axes: Axes, runs: pl.DataFrame, table: pl.DataFrame) -> None:
    """The share of rollbacks that were over by then, with median and 95th percentile."""
    if not _panel(axes, "Time to rollback", table):
        return
    axes.ecdf(runs["time_to_rollback_s"].drop_nulls().to_numpy(), color=BLUE, linewidth=1.8)
    _, median, p95, longest = table.row(0)
    axes.axvline(median, color=INK, linewidth=1.2, label=f"median {median:.1f} s")
    axes.axvline(
        p95, color=VERMILION, linewidth=1.2, linestyle="--", label=f"95 % within {p95:.1f} s"
    )
    axes.set_xlim(0, max(longest * 1.08, 1.0))
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("from the trigger to the end of the rollback, s", fontsize=8.5)
    axes.set_ylabel("share of rollbacks", fontsize=8.5)
    _legend_above(axes)


def _causes(axes: Axes, table: pl.DataFrame) -> None:
    if not _panel(axes, "Root causes", table):
        return
    shown = table.head(10)
    names = [
        f"change:\n{drawn(kind)}" if kind else _words(cause) for cause, kind, _ in shown.rows()
    ]
    colours = [VERMILION if kind else GREY for kind in shown["command"]]
    bars = axes.barh(range(len(names)), shown["runs"].to_numpy(), color=colours, height=0.6)
    axes.bar_label(bars, padding=3, fontsize=8.5, color=INK)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("runs", fontsize=8.5)


def _panel(axes: Axes, title: str, table: pl.DataFrame) -> bool:
    """Set up a panel; False, and a word instead of bars, where there is nothing to draw."""
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=24)
    axes.tick_params(labelsize=8.5, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not table.is_empty():
        return True
    axes.set_axis_off()
    axes.text(0.5, 0.5, "none yet", transform=axes.transAxes, ha="center", color=GREY)
    return False


def _legend_above(axes: Axes) -> None:
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=4)


def _words(name: Any, between: str = "\n") -> str:
    return drawn(str(name or "unknown")).replace("_", between)
