"""What models say beside what came, and what they go by, to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from shadowsim.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, WIDTH_IN

Said = Mapping[str, tuple[np.ndarray, np.ndarray]]
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, INK)
BINS = 10
MOST_FEATURES = 25


def calibration_figure(said: Said) -> Figure:
    """Per name: the share that came, of those of which about so much was said; ten bins each."""
    figure = Figure(figsize=(WIDTH_IN / 2, WIDTH_IN / 2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for colour, (name, (p, came)) in zip(COLOURS, said.items(), strict=False):
        if len(p) == 0:
            continue
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        filled = np.unique(bins)
        x = [p[bins == n].mean() for n in filled]
        y = [came[bins == n].mean() for n in filled]
        size = [8 + 60 * np.sqrt((bins == n).mean()) for n in filled]
        axes.plot(x, y, color=colour, linewidth=1)
        axes.scatter(x, y, size, color=colour, label=name.replace("_", " "))
    axes.set(xlabel="said", ylabel="came", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="upper left")
    return figure


def importance_figure(importance: Mapping[str, float]) -> Figure:
    """The features that move a model most, by how much."""
    top = sorted(importance.items(), key=lambda pair: -pair[1])[:MOST_FEATURES][::-1]
    figure = Figure(figsize=(WIDTH_IN * 0.7, 0.25 * len(top) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in top], [value for _, value in top], color=BLUE)
    axes.set(xlabel="mean size of what it adds to the log odds of a failure, at the gate")
    return figure


def shares_figure(
    title: str, names: Sequence[str], columns: Mapping[str, Sequence[tuple[float, float, float]]]
) -> Figure:
    """Per column a panel: of every name a share with its interval (value, low, high)."""
    height = 0.32 * len(names) + 1.2
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    place = np.arange(len(names))[::-1]
    for axes, (column, values) in zip(panels, columns.items(), strict=True):
        for y, (value, low, high) in zip(place, values, strict=True):
            if np.isfinite(value):
                axes.plot([low, high], [y, y], color=GREY, linewidth=2)
                axes.plot([value], [y], "o", color=BLUE)
        axes.set(title=column.replace("_", " "), xlim=(-0.02, 1.02))
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(place, names)
    figure.suptitle(title)
    return figure
