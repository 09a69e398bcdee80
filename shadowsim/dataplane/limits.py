"""What demands and links get to the limits that breaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.model.intents import Limit
from shadowsim.model.telemetry import Layout
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Array = np.ndarray


class Limits:
    """The limits of a scenario, resolved to the demands each speaks of."""

    def __init__(
        self, topology: Topology, demands: Sequence[Demand], limits: Sequence[Limit]
    ) -> None:
        self.limits = tuple(limits)
        self.critical = np.array([d.traffic_class == "critical" for d in demands], dtype=np.bool_)
        self.masks = []
        for limit in limits:
            sources = set(topology.resolve(limit.source))
            destinations = set(topology.resolve(limit.destination))
            self.masks.append(np.array([
                d.source in sources
                and d.destination in destinations
                and limit.traffic_class in (None, d.traffic_class)
                for d in demands
            ], dtype=np.bool_))  # fmt: skip

    def severity(self, demand: Array, utilisation: Array) -> Array:
        """How near each limit is to broken, `[limits]`: 1 at the bound, above broken, nan unknown.

        `demand[F, 4]` has the columns of a Sample; `utilisation[L]`. Of the demands and links a
        limit speaks of, the worst counts. A demand that delivers nothing has no latency and is
        left to the other limits.
        """
        return np.array([
            _worst(limit, demand[mask], utilisation)
            for limit, mask in zip(self.limits, self.masks, strict=True)
        ])  # fmt: skip

    def starved(self, demand: Array, layout: Layout) -> tuple[str, ...]:
        """The critical demands of which less than half is delivered."""
        offered, throughput = demand[:, 0], demand[:, 1]
        low = self.critical & (offered > 0) & (throughput < 0.5 * offered)
        return tuple(layout.demands[i] for i in np.flatnonzero(low))


def _worst(limit: Limit, demand: Array, utilisation: Array) -> float:
    if limit.metric == "utilisation":
        values = utilisation / limit.bound
    elif limit.metric == "latency":
        values = demand[:, 2] / limit.bound
    elif limit.metric == "loss":
        values = demand[:, 3] / limit.bound
    else:
        active = demand[:, 0] > 0
        # The loss is counted at once; two rates are each measured with their own error.
        values = demand[active, 3] / max(1.0 - limit.bound, 1e-6)
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")
