"""What demands and links get to the limits that breaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.dataplane.maxmin import Floats, compiled
from shadowsim.model.intents import Limit
from shadowsim.model.telemetry import DEMAND_METRICS, Layout
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Array = np.ndarray
# What a limit looks at: a column of the demands, or -1, the utilisation of links.
COLUMN = {
    "latency": DEMAND_METRICS.index("latency_s"),
    "loss": DEMAND_METRICS.index("loss"),
    "throughput": DEMAND_METRICS.index("loss"),
    "utilisation": -1,
}


class Limits:
    """The limits of a scenario, resolved to the demands each speaks of, `masks[limits, F]`."""

    def __init__(
        self, topology: Topology, demands: Sequence[Demand], limits: Sequence[Limit]
    ) -> None:
        self.limits = tuple(limits)
        self.critical = np.array([d.traffic_class == "critical" for d in demands], dtype=np.bool_)
        self.masks = np.zeros((len(self.limits), len(demands)), dtype=np.bool_)
        for mask, limit in zip(self.masks, self.limits, strict=True):
            sources = set(topology.resolve(limit.source))
            destinations = set(topology.resolve(limit.destination))
            mask[:] = [
                d.source in sources
                and d.destination in destinations
                and limit.traffic_class in (None, d.traffic_class)
                for d in demands
            ]
        self._column = np.array([COLUMN[limit.metric] for limit in limits], dtype=np.int64)
        bounds = [
            # The loss is counted at once; two rates are each measured with their own error.
            max(1.0 - limit.bound, 1e-6) if limit.metric == "throughput" else limit.bound
            for limit in limits
        ]
        self._bound = np.array(bounds, dtype=np.float64)
        self._of_active = np.array([limit.metric == "throughput" for limit in limits], np.bool_)

    def severity(self, demand: Array, utilisation: Array) -> Array:
        """How near each limit is to broken, `[limits]`: 1 at the bound, above broken, nan unknown.

        `demand[F, 4]` has the columns of a Sample; `utilisation[L]`; or `[S, F, 4]` and `[S, L]`,
        then `[S, limits]`. Of the demands and links a limit speaks of, the worst counts. A demand
        that delivers nothing has no latency and is left to the other limits.
        """
        one = demand.ndim == 2
        rows = np.ascontiguousarray(demand[None] if one else demand, dtype=np.float64)
        used = np.ascontiguousarray(utilisation[None] if one else utilisation, dtype=np.float64)
        found = np.empty((len(rows), len(self.limits)))
        _worst(rows, used, self._column, self._bound, self._of_active, self.masks, found)
        return found[0] if one else found

    def levels(self, demand: Array, utilisation: Array) -> tuple[Array, ...]:
        """Of each limit, in order, what `severity` takes the worst of: `[F]`, or `[L]` of links.

        Of one state; nan where a demand is none of its, or nothing is known.
        """
        found = []
        for k, mask in enumerate(self.masks):
            level = utilisation
            if self._column[k] >= 0:
                asked = mask & ((demand[:, 0] > 0.0) | ~self._of_active[k])
                level = np.where(asked, demand[:, self._column[k]], np.nan)
            found.append(np.where(np.isfinite(level), level, np.nan) / self._bound[k])
        return tuple(found)

    def starving(self, demand: Array) -> Array:
        """`[F]` of `[F, 4]`, or `[S, F]`: critical demands of which less than half is delivered."""
        offered, throughput = demand[..., 0], demand[..., 1]
        found: Array = self.critical & (offered > 0) & (throughput < 0.5 * offered)
        return found

    def starved(self, demand: Array, layout: Layout) -> tuple[str, ...]:
        """The names of those of one state."""
        return tuple(layout.demands[i] for i in np.flatnonzero(self.starving(demand)))


@compiled
def _worst(
    demand: Floats, utilisation: Floats, column: Array, bound: Floats, of_active: Array,
    masks: Array, found: Floats,
) -> None:  # fmt: skip
    """Of each state and limit the greatest finite value over its bound, else nan."""
    for s in range(found.shape[0]):
        for k in range(found.shape[1]):
            worst = -np.inf
            if column[k] < 0:
                for link in range(utilisation.shape[1]):
                    worst = _greater(utilisation[s, link] / bound[k], worst)
            else:
                for d in range(demand.shape[1]):
                    if masks[k, d] and (not of_active[k] or demand[s, d, 0] > 0.0):
                        worst = _greater(demand[s, d, column[k]] / bound[k], worst)
            found[s, k] = worst if worst > -np.inf else np.nan


@compiled
def _greater(value: float, worst: float) -> float:
    return value if np.isfinite(value) and value > worst else worst
