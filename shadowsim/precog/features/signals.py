"""Samples of a network to a few signals each, `[..., samples, signals]`.

All is vectorised over leading axes, so that many networks of one shape are read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import Sample
from shadowsim.model.traffic import CLASSES, Demand

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
    means = mean(demand[..., (0, 2)], axis=-3)
    return Usual(means[..., 1], means[..., 0])


class Nearness:
    """How near the nearest limit of each metric is to broken: 1 is at the bound."""

    def __init__(self, limits: Limits) -> None:
        demands = len(limits.critical)
        self._latency_s = _bounds(limits, "latency", demands)
        self._loss = _bounds(limits, "loss", demands)
        self._missing = _bounds(limits, "throughput", demands)
        levels = [limit.bound for limit in limits.limits if limit.metric == "utilisation"]
        self._utilisation = min(levels, default=np.nan)

    def of(self, demand: Array, utilisation: Array) -> Array:
        """`[..., 3]`: by latency, by loss or throughput, by utilisation; nan where not known.

        `demand[..., F, 4]`, `utilisation[..., L]`. The largest of the three is that of
        `Limits.severity`.
        """
        loss, active = demand[..., 3], demand[..., 0] > 0
        lost = np.fmax(loss / self._loss, np.where(active, loss / self._missing, np.nan))
        latency = demand[..., 2] / self._latency_s
        return together([largest(v) for v in (latency, lost, utilisation / self._utilisation)])


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
        self._nearness = Nearness(limits)
        self._critical = limits.critical
        self._classes = np.array(
            [[d.traffic_class == name for d in demands] for name in CLASSES], dtype=np.float64
        )

    def of(self, readings: Readings, usually: Usual, touched: Touched) -> Array:
        """`[..., N, signals]`, in the order of SIGNALS; nan where not known.

        `usually` of these demands, to which latency and traffic are compared.
        """
        device, link, demand = readings
        utilisation = link[..., 2]
        near = self._nearness.of(demand, utilisation)
        slower = demand[..., 2] / usually.latency_s[..., None, :]
        worst = largest(np.swapaxes(device, -1, -2))
        touched_worst = largest(np.swapaxes(device[..., touched.devices, :], -1, -2))
        columns = (
            largest(near), near[..., 0], near[..., 1], near[..., 2],
            *np.moveaxis(self.lost(demand), -1, 0), self.starved(demand),
            largest(slower), mean(slower, axis=-1),
            largest(utilisation), largest(utilisation[..., touched.links]),
            worst[..., 0], touched_worst[..., 0], worst[..., 1], touched_worst[..., 1],
            worst[..., 2],
            1.0 - mean(link[..., 3], axis=-1), _share(link[..., 1], link[..., 0]),
            _share(demand[..., 0], usually.offered_bps[..., None, :]),
            known(device, (-1, -2)), known(device[..., touched.devices, :], (-1, -2)),
            known(link, (-1, -2)), known(demand[..., 3], -1),
        )  # fmt: skip
        return together(columns)

    def lost(self, demand: Array) -> Array:
        """`[..., classes]`: the share of what each class sends that is not delivered."""
        offered, loss = demand[..., 0], demand[..., 3]
        told = np.isfinite(offered) & np.isfinite(loss)
        sent = np.where(told, offered, 0.0)[..., None, :] * self._classes
        # Not by matrix products: their last bits depend on how many samples are read at once.
        lost_bps = sent * np.where(told, loss, 0.0)[..., None, :]
        return ratio(lost_bps.sum(axis=-1), sent.sum(axis=-1))

    def starved(self, demand: Array) -> Array:
        """`[...]`: of the critical demands that send, the share that gets less than half."""
        offered, delivered = demand[..., 0], demand[..., 1]
        sending = self._critical & (offered > 0) & np.isfinite(delivered)
        low = sending & (delivered < 0.5 * offered)
        return ratio(low.sum(axis=-1), sending.sum(axis=-1))


def together(columns: Sequence[Array]) -> Array:
    """Arrays of one shape `[...]` to `[..., columns]`."""
    # Much faster than np.stack where the arrays are small and many.
    found = np.empty((*columns[0].shape, len(columns)))
    for place, column in enumerate(columns):
        found[..., place] = column
    return found


def largest(values: Array) -> Array:
    """The largest along the last axis of what is known; nan where nothing is."""
    found: Array = np.fmax.reduce(values, axis=-1, initial=np.nan)
    return found


def mean(values: Array, axis: int) -> Array:
    """The mean of what is known; nan where nothing is."""
    finite = np.isfinite(values)
    return ratio(np.where(finite, values, 0.0).sum(axis=axis), finite.sum(axis=axis))


def known(values: Array, axis: int | tuple[int, ...]) -> Array:
    """The share that is known; 1 where there is nothing to know."""
    finite = np.isfinite(values)
    found: Array = finite.mean(axis=axis) if finite.size else np.ones(finite.sum(axis=axis).shape)
    return found


def ratio(parts: Array, wholes: Array) -> Array:
    """Nan where the whole is 0."""
    whole = np.asarray(wholes, dtype=np.float64)
    found: Array = np.divide(parts, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return found


def _share(parts: Array, wholes: Array) -> Array:
    """The sum of the parts over that of the wholes, of those of which both are known."""
    told = np.isfinite(parts) & np.isfinite(wholes)
    return ratio(np.where(told, parts, 0.0).sum(axis=-1), np.where(told, wholes, 0.0).sum(axis=-1))
