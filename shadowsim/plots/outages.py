"""What became of changes under variants to two figures: a grid, and traffic over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from shadowsim.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    WIDTH_IN,
    drawn,
)

Line = Sequence[tuple[float, float]]  # seconds since the change, share lost
TONES = {
    "stopped in the shadow": ("#cfe6f7", "stopped"),
    "refused at the gate": ("#dcd3ea", "refused"),
    "left to a person at the gate": ("#ededed", "person, gate"),
    "rolled back in production": ("#fbe3b0", "rolled back"),
    "left to a person in production": ("#f3c6dc", "person"),
    "missed": ("#f4b59b", "missed"),
    "went through": ("#cbead9", "went through"),
}
COLUMNS = 3
STYLES = ((VERMILION, "-"), (BLUE, "-"), (ORANGE, "--"), (GREEN, ":"), (PURPLE, "-."))


def grid_figure(table: pl.DataFrame, names: Mapping[str, str], apart: int) -> Figure:
    """A cell per change and variant: how it went, and beneath in how many seconds it was detected
    or taken back. `names` are the changes by scenario, in order; the first `apart` are outages.
    """
    variants = table["precog"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    for row, scenario in enumerate(names):
        for column, variant in enumerate(variants):
            found = table.filter(scenario=scenario, precog=variant)
            if found.height:
                _cell(axes, row, column, found.row(0, named=True))
    axes.set_xlim(-0.5, len(variants) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(range(len(variants)), variants, fontsize=9, color=INK)
    axes.set_yticks(range(len(names)), list(names.values()), fontsize=8.5, color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    if 0 < apart < len(names):
        axes.axhline(apart - 0.5, color=INK, linewidth=1.4)
    for side in axes.spines.values():
        side.set_visible(False)
    there = set(table["how"])
    handles = [Patch(facecolor=c, label=how) for how, (c, _) in TONES.items() if how in there]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8.5, frameon=False)
    return figure


def _cell(axes: Axes, row: int, column: int, found: Mapping[str, object]) -> None:
    colour, word = TONES[str(found["how"])]
    times, runs = found["times"], found["runs"]
    few = "" if times == runs else f" {times}/{runs}"
    seconds = found["back_s"] if found["back_s"] is not None else found["detected_s"]
    took = "" if seconds is None else f"\n{seconds:.1f} s"
    box = (column - 0.48, row - 0.46)
    axes.add_patch(Rectangle(box, 0.96, 0.92, facecolor=colour, edgecolor="white"))
    axes.text(column, row, f"{word}{few}{took}", ha="center", va="center", fontsize=7.5, color=INK)


def traffic_figure(lines: Mapping[str, Mapping[str, Line]]) -> Figure:
    """Per change a panel, per way a line: the share of traffic lost since the change came to
    production.
    """
    rows = -(-len(lines) // COLUMNS)
    figure = Figure(figsize=(WIDTH_IN, 0.6 + 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    ways = list(dict.fromkeys(way for found in lines.values() for way in found))
    for axes, (title, found) in zip(panels, lines.items(), strict=False):
        axes.set_title(drawn(title), fontsize=9, color=INK, loc="left", parse_math=False)
        for way, line in found.items():
            colour, dashes = STYLES[ways.index(way) % len(STYLES)]
            axes.step(
                [0.0, *(at_s for at_s, _ in line)], [0.0, *(100.0 * share for _, share in line)],
                color=colour, linestyle=dashes, linewidth=1.5, label=way, where="pre",
            )  # fmt: skip
        top = 100.0 * max((share for line in found.values() for _, share in line), default=0.0)
        axes.set_ylim(-0.03 * max(top, 5.0), 1.15 * max(top, 5.0))
        axes.set_xlim(left=0.0)
        axes.tick_params(labelsize=8, colors=INK)
        axes.grid(color="#cfd8e1", linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes in panels[len(lines) :]:
        axes.set_axis_off()
    figure.supxlabel("seconds since the change came to production", fontsize=9, color=INK)
    figure.supylabel("traffic lost, %", fontsize=9, color=INK)
    handles: dict[str, Artist] = {}
    for axes in panels[: len(lines)]:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper left", ncols=5, fontsize=8.5,
        frameon=False, labelcolor=GREY,
    )  # fmt: skip
    return figure
