"""Telemetry and forecasts to figures with the time of the network as their axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from shadowsim.model.truth import MODES
from shadowsim.plots.style import (
    BAND,
    BLUE,
    GREEN,
    GREY,
    INK,
    PURPLE,
    VERMILION,
    WIDTH_IN,
    Style,
    drawn,
)

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
    full = drawn(f"{period.number} {period.name}")
    text = full if len(full) * 0.068 < width_in else str(period.number)
    if width_in > 0.09:
        axes.text(
            (period.from_s + period.to_s) / 2, 1.04, text, transform=axes.get_xaxis_transform(),
            fontsize=8, color=GREY, ha="center", parse_math=False,
        )  # fmt: skip
