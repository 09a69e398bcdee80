"""Which devices of a topology are there to what is left of links, demands and readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.network.protocol import NOTHING

Array = np.ndarray
LEAST_LEFT = 0.001  # of the rate of a link, however much is in its background


class Part:
    """The part of a network that is there; all of it until something else is said.

    `absent` are the other devices. `links[L]`, `demands[F]`: those wholly there, a demand with
    both its hosts.
    """

    def __init__(
        self,
        topology: Topology,
        demands: Sequence[Demand],
        devices: frozenset[str] | None = None,
        background_bps: Mapping[int, float] = NOTHING,
    ) -> None:
        names = topology.device_index
        there = frozenset(names) if devices is None else devices & names.keys()
        self.absent = frozenset(names) - there
        homes = {host.name: host.device for host in topology.hosts}
        cables = [link.a in there and link.b in there for link in topology.links]
        cables += [host.device in there for host in topology.hosts]
        self.links = np.repeat(np.array(cables, dtype=np.bool_), 2)
        self.demands = np.array(
            [homes[d.source] in there and homes[d.destination] in there for d in demands],
            dtype=np.bool_,
        )
        self._devices = np.array([name in there for name in names], dtype=np.bool_)
        self._background_bps = np.zeros(topology.directed_links)
        for number, rate_bps in background_bps.items():
            self._background_bps[number] = max(rate_bps, 0.0)

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, and nothing in the background."""
        return not self.absent and not self._background_bps.any()

    def rate_left(self, rate_bps: Array) -> Array:
        """The share of its rate that each link has for the traffic that is there."""
        taken = self.background_share(rate_bps)
        return np.where(self.links, np.maximum(1.0 - taken, LEAST_LEFT), 0.0)

    def background_share(self, rate_bps: Array) -> Array:
        """The share of its rate that the background takes of each link."""
        found: Array = np.divide(
            self._background_bps, rate_bps, out=np.zeros(len(rate_bps)), where=rate_bps > 0
        )
        return np.asarray(np.minimum(found, 1.0))

    def inside(self, rates_bps: Array) -> Array:
        """The rates of the demands that are wholly there; 0 of the others. `[F]`."""
        return np.where(self.demands, rates_bps, 0.0) if self.absent else rates_bps

    def hide(self, device: Array, link: Array, demand: Array) -> None:
        """Nothing is measured of what is not there."""
        if not self.absent:
            return
        device[~self._devices] = np.nan
        link[~self.links] = np.nan
        demand[~self.demands] = np.nan
