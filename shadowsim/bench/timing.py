"""Turns a function into how long one call takes, and a measurement into a row of the report."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


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
        return self.figure >= self.goal if self.unit == "times" else self.figure <= self.goal


def best_of(function: Callable[[], object], repeats: int) -> float:
    """Call once to warm up, then `repeats` times; return the median seconds of a call."""
    function()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)
