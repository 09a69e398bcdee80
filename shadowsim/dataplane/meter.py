"""States of a network that held one after another to readings averaged over the time they held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadowsim.dataplane.flows import Loads
from shadowsim.dataplane.maxmin import Floats, Ints, compiled
from shadowsim.model.telemetry import DEMAND_METRICS, LINK_METRICS

Array = np.ndarray


@dataclass(frozen=True)
class Rates:
    """What links and demands get in each of S states, in a second.

    `link[S, L, 3]`: load, drops, and whether it is up; `demand[S, F, 3]`: offered, delivered, and
    the latency in seconds times what is delivered.
    """

    link: Array
    demand: Array


@dataclass(frozen=True)
class Readings:
    """Readings one after another, with the columns of a Sample: `link[T, L, 4]`,
    `demand[T, F, 4]`. Latency is averaged over what was delivered, and is nan where nothing was.
    """

    link: Array
    demand: Array


class Meter:
    """Integrates link and demand rates exactly over piecewise constant states."""

    def __init__(self, links: int, flow_demand: Array, demands: int) -> None:
        self._flow_demand = flow_demand
        self._link = np.zeros((links, 3))
        self._demand = np.zeros((demands, 3))
        self._span_s = np.zeros(1)

    def rates(self, loads: Loads, offered_bps: Array, up: Array, loss: Array) -> Rates:
        """The rates in states in which the flows offer `offered_bps[S, flows]`; `up[L]`, `loss[L]`.

        What a lossy link corrupts shows in its drop counter beside what its queue drops.
        """
        states = len(offered_bps)
        found = Rates(
            np.empty((states, *self._link.shape)), np.zeros((states, *self._demand.shape))
        )
        _rates(
            loads.link_load_bps, loads.link_drop_bps, loads.throughput_bps, loads.latency_s,
            offered_bps, self._flow_demand, up, loss, found.link, found.demand,
        )  # fmt: skip
        return found

    def at_once(self, rates: Rates, rate_bps: Array) -> Readings:
        """What would be read of each state if it held: no averaging. `rate_bps[L]`."""
        return _read(rates.link, rates.demand, np.ones(len(rates.link)), rate_bps)

    def read(self, rates: Rates, span_s: Array, after: Sequence[int], rate_bps: Array) -> Readings:
        """Count states that held for `span_s[S]` seconds each; T readings of all since the last.

        `after[T]` says after how many of these states each was taken. What comes after the last
        of them is kept for the next call.
        """
        takes = len(after)
        link, demand = (np.empty((takes, *s.shape)) for s in (self._link, self._demand))
        over_s = np.empty(takes)
        _add(
            rates.link, rates.demand, span_s, np.array(after, dtype=np.int64),
            self._link, self._demand, self._span_s, link, demand, over_s,
        )  # fmt: skip
        return _read(link, demand, over_s, rate_bps)


def _read(link: Array, demand: Array, span_s: Array, rate_bps: Array) -> Readings:
    """Sums over `span_s[T]` seconds each to readings."""
    found = Readings(
        np.empty((*link.shape[:2], len(LINK_METRICS))),
        np.empty((*demand.shape[:2], len(DEMAND_METRICS))),
    )
    _divide(link, demand, span_s, rate_bps, found.link, found.demand)
    return found


@compiled
def _rates(
    load_bps: Floats, drop_bps: Floats, throughput_bps: Floats, latency_s: Floats,
    offered_bps: Floats, flow_demand: Ints, up: Array, loss: Floats, link: Floats, demand: Floats,
) -> None:  # fmt: skip
    """Write `link` all over; add the flows of every demand up in `demand`, in their order."""
    for s in range(link.shape[0]):
        for n in range(link.shape[1]):
            link[s, n, 0] = load_bps[s, n]
            link[s, n, 1] = drop_bps[s, n] + load_bps[s, n] * loss[n]
            link[s, n, 2] = up[n]
        for flow in range(flow_demand.size):
            d = flow_demand[flow]
            delivered_bps = throughput_bps[s, flow]
            demand[s, d, 0] += offered_bps[s, flow]
            demand[s, d, 1] += delivered_bps
            if delivered_bps > 0.0:
                demand[s, d, 2] += latency_s[s, flow] * delivered_bps


@compiled
def _add(
    link: Floats, demand: Floats, span_s: Floats, after: Ints,
    link_sum: Floats, demand_sum: Floats, span_sum: Floats,
    link_taken: Floats, demand_taken: Floats, span_taken: Floats,
) -> None:  # fmt: skip
    """Add state after state up; at every taking move the sums there and start anew."""
    state = 0
    for take in range(after.size + 1):
        until = after[take] if take < after.size else span_s.size
        while state < until:
            link_sum += link[state] * span_s[state]
            demand_sum += demand[state] * span_s[state]
            span_sum[0] += span_s[state]
            state += 1
        if take < after.size:
            link_taken[take] = link_sum
            demand_taken[take] = demand_sum
            span_taken[take] = span_sum[0] if span_sum[0] > 0.0 else 1.0
            link_sum[:] = 0.0
            demand_sum[:] = 0.0
            span_sum[0] = 0.0


@compiled
def _divide(
    link_sum: Floats, demand_sum: Floats, span_s: Floats, rate_bps: Floats,
    link: Floats, demand: Floats,
) -> None:  # fmt: skip
    for t in range(span_s.size):
        for n in range(link.shape[1]):
            load_bps = link_sum[t, n, 0] / span_s[t]
            link[t, n, 0] = load_bps
            link[t, n, 1] = link_sum[t, n, 1] / span_s[t]
            link[t, n, 2] = load_bps / rate_bps[n] if rate_bps[n] > 0.0 else 0.0
            link[t, n, 3] = link_sum[t, n, 2] / span_s[t] > 0.5
        for d in range(demand.shape[1]):
            offered, delivered = demand_sum[t, d, 0], demand_sum[t, d, 1]
            demand[t, d, 0] = offered / span_s[t]
            demand[t, d, 1] = delivered / span_s[t]
            demand[t, d, 2] = demand_sum[t, d, 2] / delivered if delivered > 0.0 else np.nan
            demand[t, d, 3] = 1.0 - delivered / offered if offered > 0.0 else 0.0
