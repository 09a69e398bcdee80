"""Follows one concrete packet over every branch it may take, to show how it breaks an intent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shadowsim.dataplane.headerspace import Packet, permits
from shadowsim.dataplane.plane import DISCARD, FORWARD, NO_ROUTE, Plane


@dataclass(frozen=True)
class Witness:
    """One packet that breaks an intent: its hosts, the devices it passes and what befalls it."""

    source: str
    destination: str
    path: tuple[str, ...]
    reason: str
    packet: str


@dataclass(frozen=True)
class End:
    """How the walk of a packet may end: devices passed, what happens and the words for it.

    `what` is "delivered", "lost", "black hole" or "loop".
    """

    path: tuple[str, ...]
    what: str
    reason: str

    def breaks(self, kind: str) -> bool:
        """Whether an intent of that kind forbids it."""
        if kind == "reachable":
            return self.what != "delivered"
        wrong = {"no_loop": "loop", "no_black_hole": "black hole"}
        return self.what == wrong.get(kind, "delivered")


class Walk:
    """One concrete packet on its way, over every branch it may take."""

    def __init__(self, plane: Plane, source: int, destination: int, packet: Packet) -> None:
        hosts, address = plane.topology.hosts, plane.topology.address
        self._plane = plane
        self._atom = int(plane.host_atom[destination])
        self._up = plane.topology.up_link(source)
        self._down = plane.topology.up_link(destination) + 1
        self._start = int(plane.graph.host_device[source])
        self._owner = int(plane.graph.host_device[destination])
        here, there = address[hosts[source].name], address[hosts[destination].name]
        self._passes = [*(permits(acl, here, there, packet) for acl in plane.filters), True]

    def ends(self, avoid: str | None = None) -> Iterator[End]:
        """Every different end, less those through device `avoid`; depth first."""
        if why := self._obstacle(self._up):
            yield End((), "lost", why)
            return
        path, ahead = [self._start], [self._links(self._start)]
        seen = {self._start}
        if not ahead[0]:
            yield self._stop(path)
        while path:
            if not ahead[-1]:
                ahead.pop()
                path.pop()
                continue
            link = ahead[-1].pop()
            head = int(self._plane.graph.head[link])
            if self._name(head) == avoid:
                continue
            if why := self._obstacle(link):
                yield End(self._names(path), "lost", why)
            elif head in path:
                why = f"it comes back to {self._name(head)}"
                yield End(self._names([*path, head]), "loop", why)
            elif head not in seen:
                seen.add(head)
                path.append(head)
                ahead.append(self._links(head))
                if not ahead[-1]:
                    yield self._stop(path)

    def _links(self, device: int) -> list[int]:
        """The links over which a device forwards the packet."""
        graph, bits = self._plane.graph, self._plane.next_hops
        if self._plane.decision[device, self._atom] != FORWARD:
            return []
        links = graph.out[graph.out_start[device] : graph.out_start[device + 1]]
        chosen = bits[links, self._atom >> 6] >> np.uint64(self._atom & 63) & np.uint64(1)
        return [int(link) for link in links[chosen == 1]]

    def _stop(self, path: list[int]) -> End:
        """The end at the last device of a path, which does not forward the packet."""
        device = path[-1]
        name, decision = self._name(device), self._plane.decision[device, self._atom]
        what, reason = "lost", ""
        if decision in (NO_ROUTE, FORWARD):
            what, reason = "black hole", f"{name} has no route"
        elif decision == DISCARD:
            reason = f"{name} discards it (Null0)"
        elif device != self._owner:
            reason = f"it leaves the network at {name}"
        else:
            reason = self._obstacle(self._down)
        return End(self._names(path), what if reason else "delivered", reason or "delivered")

    def _obstacle(self, link: int) -> str:
        """Why the packet does not get over a link; "" if it does."""
        plane, topology = self._plane, self._plane.topology
        if not plane.up[link]:
            return f"link {topology.link_name(link)} is down"
        for acl, port, way in (
            (plane.filter_out, link, "outbound"),
            (plane.filter_in, link ^ 1, "inbound"),
        ):
            if not self._passes[acl[link]]:
                device, name = topology.port_of[port]
                return f"denied by the {way} access list of {device} {name}"
        return ""

    def _name(self, device: int) -> str:
        return self._plane.topology.devices[device].name

    def _names(self, path: list[int]) -> tuple[str, ...]:
        return tuple(map(self._name, path))
