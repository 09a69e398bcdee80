"""Samples to a column of readings for every metric of every demand, and what is asked of columns.

Rows are readings; nan stands where there is none, and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shadowsim.dataplane.maxmin import compiled
from shadowsim.model.telemetry import DEMAND_METRICS, Sample

Array = np.ndarray
READ = ("latency_s", "loss")
_PLACES = [DEMAND_METRICS.index(name) for name in READ]


@dataclass(frozen=True, eq=False)
class Columns:
    """Readings `[samples, columns]`."""

    readings: Array

    @cached_property
    def known(self) -> Array:
        """How many readings each column holds."""
        return known(self.readings)

    @cached_property
    def ordered(self) -> Array:
        """The readings of each column in order, nan last."""
        return np.sort(self.readings, axis=0)

    def middle(self) -> Array:
        """The median of each column; nan where it has no reading."""
        if not len(self.readings):
            return np.full(self.readings.shape[1], np.nan)
        low = self.at(np.maximum((self.known - 1) // 2, 0))
        high = self.at(np.minimum(self.known // 2, len(self.readings) - 1))
        return np.where(self.known > 0, (low + high) / 2.0, np.nan)

    def at(self, place: Array) -> Array:
        """The reading at this place in the order of each column."""
        found: Array = self.ordered[place, np.arange(self.ordered.shape[1])]
        return found

    @cached_property
    def tied(self) -> Array:
        """Per column the sum of t^3 - t over all groups of t equal readings."""
        return _tied(np.ascontiguousarray(self.ordered, np.float64))


def read(samples: Sequence[Sample], demands: int) -> Columns:
    """The columns of all demands' first metric of READ, then of their second."""
    found = np.empty((len(samples), len(READ), demands))
    if samples:
        stacked = np.array([sample.demand for sample in samples])
        for place, column in enumerate(_PLACES):
            found[:, place] = stacked[:, :, column]
    return Columns(found.reshape(len(samples), len(READ) * demands))


def known(series: Array) -> Array:
    """How many readings each column holds."""
    found: Array = np.isfinite(series).sum(axis=0)
    return found


@compiled
def _tied(ordered: Array) -> Array:
    """Of columns in order: the t-th of equal readings adds what t^3 - t grows by."""
    found = np.zeros(ordered.shape[1])
    for c in range(ordered.shape[1]):
        t = 1
        for i in range(1, ordered.shape[0]):
            t = t + 1 if ordered[i, c] == ordered[i - 1, c] else 1
            found[c] += 3 * t * (t - 1)
    return found
