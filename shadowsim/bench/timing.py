"""Turns a function into how long one call takes, and a measurement into a row of the report."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measured figure beside its goal and, where the peer is installed, the peer's figure.

    All three are in `unit`; the unit "times" counts upwards (more is better), all others downwards.
    """

    name: str
    figure: float
    unit: str
    goal: float | None = None
    peer: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        """Tell whether the figure reaches its goal; a row without a goal always does."""
        if self.goal is None:
            return True
        upwards = self.unit == "times"
        return bool(self.figure >= self.goal if upwards else self.figure <= self.goal)

    def as_dict(self) -> dict[str, Any]:
        """The row, with whether its goal is met and the ratio to the peer."""
        ratio = float(self.peer / self.figure) if self.peer is not None and self.figure else None
        plain = {key: float(v) for key, v in asdict(self).items() if isinstance(v, float)}
        return {**asdict(self), **plain, "met": self.met, "peer_ratio": ratio}

    def cells(self) -> list[str]:
        """The row for people: what, figure, goal, met, peer, note."""
        unit = self.unit
        goal = "" if self.goal is None else f"{self.goal:g} {unit}"
        met = "" if self.goal is None else "met" if self.met else "MISSED"
        ratio = self.as_dict()["peer_ratio"]
        peer = "" if ratio is None else f"{self.peer:.4g} {unit} ({ratio:.3g}x)"
        return [self.name, f"{self.figure:.4g} {unit}", goal, met, peer, self.note]


def best_of(function: Callable[[], object], repeats: int) -> float:
    """Call once to warm up, then `repeats` times; return the median seconds of a call."""
    function()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def alternating(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """The median seconds of two functions that take turns, so that both see the same machine."""
    seconds: tuple[list[float], list[float]] = ([], [])
    turns = list(zip((one, other), seconds, strict=True))
    for number in range(repeats + 1):
        for function, found in turns if number % 2 else reversed(turns):
            begin = time.perf_counter()
            function()
            if number:  # the first is to warm up
                found.append(time.perf_counter() - begin)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
