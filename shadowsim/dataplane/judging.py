"""Loads of a batch of futures to the limits they break and the critical demands they starve.

The same numbers as `Meter.read` and `Limits.severity` find one at a time, without their arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.dataplane.flows import Loads
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.maxmin import Floats, Ints, compiled
from shadowsim.model.intents import Limit
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Array = np.ndarray
UTILISATION, LATENCY, LOSS, THROUGHPUT = range(4)
METRIC = {"utilisation": UTILISATION, "latency": LATENCY, "loss": LOSS, "throughput": THROUGHPUT}


class Bounds:
    """The limits of a scenario as arrays over M limits.

    `metric[M]`, `bound[M]`: what a limit measures, and where it is broken. The demands it speaks
    of are `members[first[m]:first[m + 1]]`. `critical`: the numbers of the critical demands.
    """

    def __init__(
        self, topology: Topology, demands: Sequence[Demand], limits: Sequence[Limit]
    ) -> None:
        resolved = Limits(topology, demands, limits)
        self.names = tuple(limit.name for limit in limits)
        self.demands = len(demands)
        self.critical = np.flatnonzero(resolved.critical)
        self.metric = np.array([METRIC[limit.metric] for limit in limits], dtype=np.int64)
        self.bound = np.array([
            max(1.0 - limit.bound, 1e-6) if limit.metric == "throughput" else limit.bound
            for limit in limits
        ], dtype=np.float64)  # fmt: skip
        members = [np.flatnonzero(mask) for mask in resolved.masks]
        self.first = np.concatenate(([0], np.cumsum([len(m) for m in members], dtype=np.int64)))
        self.members = np.concatenate([np.empty(0, np.int64), *members]).astype(np.int64)


def judge(
    loads: Loads, offered_bps: Array, flow_demand: Array, rate_bps: Array, bounds: Bounds,
    margin: float, starved: Array, slow: Array,
) -> None:  # fmt: skip
    """Write `slow[B, M]`, which limits are beyond `margin` times their bound, and `starved[B, C]`,
    which critical demands get less than half (over `margin`) of the `offered_bps[B, F]`.

    `rate_bps[L]` is what the links can carry.
    """
    _judge(
        loads.throughput_bps, loads.latency_s, loads.link_load_bps, offered_bps, flow_demand,
        rate_bps, bounds.demands, bounds.critical, bounds.metric, bounds.bound, bounds.first,
        bounds.members, margin, starved, slow,
    )  # fmt: skip


@compiled
def _judge(
    throughput_bps: Floats, latency_s: Floats, load_bps: Floats, offered_bps: Floats,
    flow_demand: Ints, rate_bps: Floats, demands: int, critical: Array, metric: Array,
    bound: Floats, first: Array, members: Array, margin: float, starved: Array, slow: Array,
) -> None:  # fmt: skip
    offered, delivered = np.empty(demands), np.empty(demands)
    waited, loss = np.empty(demands), np.empty(demands)
    for b in range(throughput_bps.shape[0]):
        offered[:] = 0.0
        delivered[:] = 0.0
        waited[:] = 0.0
        for flow in range(flow_demand.size):
            d = flow_demand[flow]
            offered[d] += offered_bps[b, flow]
            if throughput_bps[b, flow] > 0.0:
                delivered[d] += throughput_bps[b, flow]
                waited[d] += latency_s[b, flow] * throughput_bps[b, flow]
        for d in range(demands):
            loss[d] = 1.0 - delivered[d] / offered[d] if offered[d] > 0.0 else 0.0
        for i in range(critical.size):
            d = critical[i]
            starved[b, i] = offered[d] > 0.0 and delivered[d] < 0.5 * offered[d] / margin
        for m in range(metric.size):
            slow[b, m] = False
            if metric[m] == UTILISATION:
                for link in range(rate_bps.size):
                    if rate_bps[link] > 0.0:
                        used = load_bps[b, link] / rate_bps[link]
                        slow[b, m] |= used / bound[m] > margin
                continue
            for i in range(first[m], first[m + 1]):
                d = members[i]
                if metric[m] == LATENCY:
                    if delivered[d] > 0.0:
                        slow[b, m] |= waited[d] / delivered[d] / bound[m] > margin
                elif metric[m] == LOSS or offered[d] > 0.0:
                    slow[b, m] |= loss[d] / bound[m] > margin
