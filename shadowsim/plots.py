"""Outcomes, telemetry and forecasts to figures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from shadowsim import analytics
from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.model.truth import MODES
from shadowsim.netmap import INK, WIDTH_IN

GREY, BAND = "#5b6b7b", "#e9eef4"
# The colours of Okabe and Ito, which people with any colour vision tell apart.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#a6377d"
Style = dict[str, Any]
NETWORKS: dict[str, Style] = {
    "production": {"color": BLUE, "linestyle": "-"},
    "shadow": {"color": VERMILION, "linestyle": (0, (4, 2))},
}
MARKS: dict[str, Style] = {
    "decision": {"color": INK, "linestyle": ":"},
    "deployed": {"color": GREEN, "linestyle": "-."},
    "trigger": {"color": PURPLE, "linestyle": "-"},
    "end": {"color": INK, "linestyle": "-"},
}
STATES: dict[str, Style] = {
    "confirmed": {"color": GREEN},
    "rolled_back": {"color": BLUE},
    "refused": {"color": ORANGE},
    "halted": {"color": VERMILION},
}
# Name in the table, label, factor of its unit, and the least the axis reaches to.
MEASURES = (
    ("utilisation", "busiest link,\nutilisation in %", 100.0, 100.0),
    ("latency_s", "worst latency\nof a demand in ms", 1000.0, 1.0),
    ("loss", "worst loss\nof a demand in %", 100.0, 1.0),
)


@dataclass(frozen=True)
class Period:
    """A phase of the workflow on the axis of time."""

    number: int
    name: str
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Mark:
    """An instant worth a line through every panel; `kind` is a key of MARKS."""

    kind: str
    at_s: float
    label: str


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes for the same figure."""
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "shadowsim"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


# -- over time ---------------------------------------------------------------------------------


def networks_figure(
    worst: pl.DataFrame, periods: Sequence[Period], marks: Sequence[Mark]
) -> Figure:
    """Production beside shadow: columns at_s, network, measure, scope (all, critical), value."""
    figure = Figure(figsize=(WIDTH_IN, 6.4))
    panels = figure.subplots(len(MEASURES), 1, sharex=True)
    scopes = [s for s in ("all", "critical") if s in worst["scope"]]
    for axes, (measure, label, factor, least) in zip(panels, MEASURES, strict=True):
        for network, scope in ((n, s) for n in NETWORKS for s in scopes):
            line = worst.filter(network=network, measure=measure, scope=scope).sort("at_s")
            weight = _weight(scope, scopes if measure != "utilisation" else ["all"])
            axes.plot(line["at_s"], line["value"] * factor, **NETWORKS[network], **weight)
        _tidy(axes, label)
        axes.set_ylim(0, max(least, axes.get_ylim()[1]) * 1.04)
    names = [
        (f"{network}, {scope} demands" if len(scopes) > 1 else network, network, scope)
        for scope in reversed(scopes)
        for network in NETWORKS
    ]
    handles = [
        Line2D([], [], label=label, **NETWORKS[network], **_weight(scope, scopes))
        for label, network, scope in names
    ]
    _finish(figure, list(panels), periods, marks, handles)
    return figure


def _weight(scope: str, scopes: Sequence[str]) -> Style:
    """Critical demands stand out where there are any."""
    stands_out = scope == scopes[-1]
    return {"linewidth": 1.8, "alpha": 1.0} if stands_out else {"linewidth": 0.9, "alpha": 0.6}


def forecast_figure(
    forecasts: pl.DataFrame, periods: Sequence[Period], marks: Sequence[Mark]
) -> Figure:
    """Probability of each failure mode over time: columns at_s, network, mode, probability."""
    figure = Figure(figsize=(WIDTH_IN, 4.8))
    panels = figure.subplots(len(MODES), 1, sharex=True)
    dots: Style = {"marker": "o", "markersize": 2.8, "linewidth": 1.5}
    for axes, mode in zip(panels, MODES, strict=True):
        for network, style in NETWORKS.items():
            line = forecasts.filter(network=network, mode=mode).sort("at_s")
            axes.plot(line["at_s"], line["probability"] * 100, **style, **dots)
        _tidy(axes, mode.replace("_", "\n") + ", %")
        axes.set_ylim(-6, 106)
        axes.set_yticks((0, 50, 100))
    handles = [
        Line2D([], [], label=f"forecast from the {n}".replace("the prod", "prod"), **style, **dots)
        for n, style in NETWORKS.items()
    ]
    _finish(figure, list(panels), periods, marks, handles)
    return figure


def _tidy(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, fontsize=8.5, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(axis="y", color="#cfd8e1", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _finish(
    figure: Figure,
    panels: Sequence[Axes],
    periods: Sequence[Period],
    marks: Sequence[Mark],
    handles: list[Line2D],
) -> None:
    """Bands for the phases, lines for the marks, and a legend above it all."""
    end_s = max((p.to_s for p in periods), default=1.0) or 1.0
    for axes in panels:
        axes.set_xlim(0, 1.003 * end_s)
        for period in periods[::2]:
            axes.axvspan(period.from_s, period.to_s, color=BAND, linewidth=0, zorder=0)
        for mark in marks:
            axes.axvline(mark.at_s, linewidth=1.3, **MARKS[mark.kind])
    panels[-1].set_xlabel("time in s", fontsize=8.5, color=INK)
    for period in periods:
        _name_period(panels[0], period, (period.to_s - period.from_s) / end_s * WIDTH_IN * 0.9)
    handles = handles + [
        Line2D([], [], linewidth=1.3, label=f"{m.label}, {m.at_s:.1f} s", **MARKS[m.kind])
        for m in marks
    ]
    rows, inch = -(-len(handles) // 4), 1 / figure.get_figheight()
    top = 1 - (0.35 + 0.2 * rows) * inch
    figure.subplots_adjust(left=0.085, right=0.985, top=top, bottom=0.48 * inch, hspace=0.13)
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.075, 1.0), ncols=4, frameon=False,
        fontsize=8.5, labelcolor=INK, handlelength=2.6, columnspacing=1.6,
    )  # fmt: skip


def _name_period(axes: Axes, period: Period, width_in: float) -> None:
    """The name of a phase above its band: in full, its number, or nothing, as there is room."""
    full = f"{period.number} {period.name}"
    text = full if len(full) * 0.068 < width_in else str(period.number)
    if width_in > 0.09:
        axes.text(
            (period.from_s + period.to_s) / 2, 1.04, text, transform=axes.get_xaxis_transform(),
            fontsize=8, color=GREY, ha="center", parse_math=False,
        )  # fmt: skip


# -- analytics ---------------------------------------------------------------------------------


def save_analytics(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the analytics of these outcomes into a PNG or SVG file. BadInput for another ending."""
    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise BadInput(
            [Mistake(f"no kind of picture; {choices(ending, ('.png', '.svg'))}", str(path))]
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == ".svg":
            path.write_bytes(svg(analytics_figure(rows)))
        else:
            analytics_figure(rows).savefig(path, dpi=150)
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
    names = [f"change:\n{kind}" if kind else _words(cause) for cause, kind, _ in shown.rows()]
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
    return str(name or "unknown").replace("_", between)
