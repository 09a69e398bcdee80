"""Means with their intervals to axes: a line for each name, or over a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from answer import Interval
from matplotlib.axes import Axes

from shadowsim.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE)


def dots(axes: Axes, found: Mapping[str, Interval], seeds: Mapping[str, Sequence[float]]) -> None:
    """A line for each name: its mean and interval, and behind it what each seed gave."""
    for place, (name, interval) in enumerate(found.items()):
        values = list(seeds[name])
        axes.plot(values, [place] * len(values), "o", color=GREY, alpha=0.4, markersize=3.5)
        half = np.nan_to_num(interval.half)
        axes.errorbar(interval.mean, place, xerr=half, fmt="o", color=VERMILION, capsize=3)
    axes.set_yticks(range(len(found)), list(found), parse_math=False)
    axes.set_ylim(len(found) - 0.5, -0.5)
    tidied(axes)


def line(
    axes: Axes, at: Sequence[float], found: Sequence[Interval], label: str, n: int,
    *, join: bool = True,
) -> None:  # fmt: skip
    """The n-th line of a figure: means over a number, with their intervals."""
    means = np.array([one.mean for one in found])
    half = np.nan_to_num([one.half for one in found])
    style = "-o" if join else "o"
    axes.errorbar(at, means, yerr=half, fmt=style, color=COLOURS[n], capsize=3, label=label)
    tidied(axes)


def tidied(axes: Axes) -> None:
    axes.grid(color="#cfd8e1", linewidth=0.6)
    axes.tick_params(labelsize=8.5, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
