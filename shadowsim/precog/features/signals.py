"""Samples of a network to a few signals each, `[..., samples, signals]`.

All is vectorised over leading axes, so that many networks of one shape are read at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import Sample
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.precog.features.kernels import (
    Bounds,
    lost,
    mean_known,
    means,
    near,
    read,
    starved,
)

Array = np.ndarray

SIGNALS = (
    "severity", "severity_latency", "severity_loss", "severity_utilisation",
    "lost_critical", "lost_normal", "lost_bulk", "starved",
    "latency_worst", "latency_mean", "utilisation_worst", "utilisation_touched",
    "cpu_worst", "cpu_touched", "memory_worst", "memory_touched", "table_worst",
    "links_down", "dropped", "offered",
    "coverage", "coverage_touched", "coverage_links", "coverage_demands",
)  # fmt: skip
PLACE = {name: place for place, name in enumerate(SIGNALS)}


class Readings(NamedTuple):
    """Samples as arrays: `device[..., N, D, 3]`, `link[..., N, L, 4]`, `demand[..., N, F, 4]`."""

    device: Array
    link: Array
    demand: Array


class Usual(NamedTuple):
    """What each demand gets and sends at other times, `[..., F]`; nan where that is not known."""

    latency_s: Array
    offered_bps: Array


class Touched(NamedTuple):
    """What a change is about: marks of devices `[D]` and of directed links `[L]`."""

    devices: Array
    links: Array


def stacked(samples: Sequence[Sample]) -> Readings:
    """The readings of at least one sample."""
    return Readings(
        np.array([s.device for s in samples]),
        np.array([s.link for s in samples]),
        np.array([s.demand for s in samples]),
    )


def usual(demand: Array) -> Usual:
    """The means over the samples of `demand[..., N, F, 4]`."""
    found = mean(demand[..., (0, 2)], kept=2)
    return Usual(found[..., 1], found[..., 0])


class Nearness:
    """How near the nearest limit of each metric is to broken: 1 is at the bound."""

    def __init__(self, limits: Limits) -> None:
        demands = len(limits.critical)
        self._latency_s = _bounds(limits, "latency", demands)
        self._loss = _bounds(limits, "loss", demands)
        self._missing = _bounds(limits, "throughput", demands)
        levels = [limit.bound for limit in limits.limits if limit.metric == "utilisation"]
        self._utilisation = float(min(levels, default=np.nan))

    @property
    def bounds(self) -> Bounds:
        """What `kernels` need of it."""
        return Bounds(self._latency_s, self._loss, self._missing, self._utilisation)

    def of(self, demand: Array, utilisation: Array) -> Array:
        """`[..., 3]`: by latency, by loss or throughput, by utilisation; nan where not known.

        `demand[..., F, 4]`, `utilisation[..., L]`. The largest of the three is that of
        `Limits.severity`.
        """
        found = np.empty((*demand.shape[:-2], 3))
        near(rows_of(demand, 2), rows_of(utilisation, 1), self.bounds, rows_of(found, 1))
        return found


def _bounds(limits: Limits, metric: str, demands: int) -> Array:
    """Per demand the tightest bound on a metric, nan where there is none."""
    found = np.full(demands, np.nan)
    for limit, mask in zip(limits.limits, limits.masks, strict=True):
        if limit.metric == metric:
            bound = max(1.0 - limit.bound, 1e-6) if metric == "throughput" else limit.bound
            found[mask] = np.fmin(found[mask], bound)
    return found


class Signals:
    """Reads the signals of networks with these demands under these limits."""

    def __init__(self, demands: Sequence[Demand], limits: Limits) -> None:
        self._bounds = Nearness(limits).bounds
        self._critical = limits.critical
        self._class_of = np.array([CLASSES.index(d.traffic_class) for d in demands], dtype=np.intp)

    def of(self, readings: Readings, usually: Usual, touched: Touched) -> Array:
        """`[..., N, signals]`, in the order of SIGNALS; nan where not known.

        `usually` of these demands, to which latency and traffic are compared.
        """
        device, link, demand = readings
        found = np.empty((*demand.shape[:-2], len(SIGNALS)))
        read(
            rows_of(device, 2), rows_of(link, 2), rows_of(demand, 2),
            rows_of(usually.latency_s, 1), rows_of(usually.offered_bps, 1), *touched,
            self._bounds, self._critical, self._class_of, rows_of(found, 1),
        )  # fmt: skip
        return found

    def lost(self, demand: Array) -> Array:
        """`[..., classes]`: the share of what each class sends that is not delivered."""
        found = np.empty((*demand.shape[:-2], len(CLASSES)))
        lost(rows_of(demand, 2), self._class_of, rows_of(found, 1))
        return found

    def starved(self, demand: Array) -> Array:
        """`[...]`: of the critical demands that send, the share that gets less than half."""
        found = np.empty(demand.shape[:-2])
        starved(rows_of(demand, 2), self._critical, found.reshape(-1))
        return found


def rows_of(values: Array, kept: int) -> Array:
    """`[..., *kept]` to `[R, *kept]`; what is contiguous is not copied."""
    lead, rest = values.shape[: values.ndim - kept], values.shape[values.ndim - kept :]
    return np.ascontiguousarray(values, np.float64).reshape(math.prod(lead), *rest)


def largest(values: Array) -> Array:
    """The largest along the last axis of what is known; nan where nothing is."""
    found: Array = np.fmax.reduce(values, axis=-1, initial=np.nan)
    return found


def mean(values: Array, kept: int) -> Array:
    """The mean of what is known, over the axis before those that are kept; nan where nothing is."""
    lead, rest = values.shape[: values.ndim - kept - 1], values.shape[values.ndim - kept :]
    rows, width = rows_of(values, kept + 1), math.prod(rest)
    found = np.empty((*lead, *rest))
    means(rows.reshape(*rows.shape[:2], width), found.reshape(len(rows), width))
    return found


def mean_of(values: Array) -> float:
    """The mean of what is known of `values[N]`; nan where nothing is."""
    return float(mean_known(values.copy()))
