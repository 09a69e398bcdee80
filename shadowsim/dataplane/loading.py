"""Demands on a compiled plane to loads: the bridge from what users send to the fluid engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadowsim.dataplane.flows import Flows, Links, Loads, Paths
from shadowsim.dataplane.fluid import solve
from shadowsim.dataplane.meter import Meter
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.trace import flow_table, permitted, trace_flows
from shadowsim.model.config import AclEntry
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Array = np.ndarray


@dataclass(frozen=True)
class Routed:
    """The paths of all flows on one plane; the flows, each served at its level there; and the
    links, with no fault.
    """

    paths: Paths
    flows: Flows
    links: Links


class Loader:
    """Loads planes of one topology with the demands of one scenario. Remembers which flows the last
    access lists let pass, which only saves time.
    """

    def __init__(self, topology: Topology, demands: Sequence[Demand]) -> None:
        self.flows = flow_table(topology, demands)
        self._demands = len(demands)
        self._share = 1.0 / np.array([d.flows for d in demands], dtype=np.float64)
        self._elastic = np.array([d.elastic for d in demands], np.uint8)[self.flows.demand]
        self._delay_s = np.array(topology.delay_s)
        self._queue_packets = np.array(topology.queue_packets, dtype=np.float64)
        self._filters: tuple[tuple[AclEntry, ...], ...] = ()
        self._passes = permitted((), self.flows)

    def route(self, plane: Plane) -> Routed:
        """Trace every flow."""
        if self._filters != plane.filters:
            self._passes, self._filters = permitted(plane.filters, self.flows), plane.filters
        paths, level = trace_flows(plane, self.flows, self._passes)
        flows = Flows(np.zeros(len(level)), self._elastic, self.flows.packet_bytes, level)
        return Routed(paths, flows, self.links(plane, np.zeros(len(plane.up))))

    def spread(self, rates_bps: Array) -> Array:
        """Rates of demands to rates of their flows."""
        found: Array = (rates_bps * self._share)[self.flows.demand]
        return found

    def gather(self, rates_bps: Array) -> Array:
        """Rates of flows `[S, flows]` to rates of their demands `[S, F]`."""
        states, demand = len(rates_bps), self.flows.demand
        if len(demand) == self._demands:
            return rates_bps
        place = demand + self._demands * np.arange(states)[:, None]
        found = np.bincount(place.ravel(), rates_bps.ravel(), states * self._demands)
        return found.reshape(states, self._demands)

    def links(
        self,
        plane: Plane,
        loss: Array,
        *,
        added_s: Array | float = 0.0,
        rate_left: Array | float = 1.0,
    ) -> Links:
        """The links of a plane as they are.

        `loss[L]` random loss, `added_s[L]` delay beside propagation, `rate_left[L]` the share of
        its rate that a link still has.
        """
        rate = np.where(plane.up, plane.rate_bps * rate_left, 0.0)
        return Links(rate, self._delay_s + added_s, self._queue_packets, loss)

    def run(self, links: Links, routed: Routed, offered_bps: Array) -> Loads:
        """The loads when the flows want to send `offered_bps[F]`, or `[S, F]` in S states."""
        return solve(links, routed.flows.offering(offered_bps), routed.paths)

    def solve(self, routed: Routed, offered_bps: Array, loss: Array) -> Loads:
        """The loads on links that have nothing but this loss, `[L]`."""
        return self.run(routed.links.losing(loss), routed, offered_bps)

    def meter(self) -> Meter:
        """A meter for loads of this loader."""
        return Meter(len(self._delay_s), self.flows.demand, self._demands)

    def at_once(self, plane: Plane, loads: Loads, offered_bps: Array, loss: Array) -> Reading:
        """What would be read if this state held: no averaging."""
        meter = self.meter()
        found = meter.at_once(meter.rates(loads, offered_bps[None], plane.up, loss), plane.rate_bps)
        return Reading(found.demand[0], found.link[0, :, 2])


@dataclass(frozen=True)
class Reading:
    """`demand[F, 4]` with the columns of a Sample, and `utilisation[L]`."""

    demand: Array
    utilisation: Array
