"""What networks of many sizes took to a figure of time and memory against size."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shadowsim.bench.scale import Point
from shadowsim.plots.style import BLUE, GREEN, GREY, INK, ORANGE, VERMILION, WIDTH_IN

COLOURS = (GREEN, ORANGE, BLUE, VERMILION)
MARKS = "osD^"
PANELS = (
    ("compile_s", "configs to forwarding, s"),
    ("change_s", "a command to verdicts, s"),
    ("second_s", "a second of the network, s"),
    ("memory_mb", "memory at most, MB"),
)


def scale_figure(points: Sequence[Point]) -> Figure:
    """A panel for each measure against the number of switches, both logarithmic."""
    figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
    for axes, (measure, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for number, family in enumerate(dict.fromkeys(p.size.family for p in points)):
            mine = sorted((p for p in points if p.size.family == family), key=_switches)
            axes.plot(
                [point.switches for point in mine],
                [getattr(point, measure) for point in mine],
                color=COLOURS[number % len(COLOURS)],
                marker=MARKS[number % len(MARKS)],
                label=family,
            )
        _tidy(axes, label)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=8.5, frameon=False)
    return figure


def _switches(point: Point) -> int:
    return point.switches


def _tidy(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(label, fontsize=9, color=INK, loc="left")
    axes.set_xlabel("switches", fontsize=8.5, color=GREY)
    axes.tick_params(labelsize=8, colors=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
