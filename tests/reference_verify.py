"""Verdicts by brute force: walks one packet out of every region over every branch, hop by hop.

Written for reading and slow on purpose; it shares nothing with `verify` but the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import permutations, product
from typing import NamedTuple

from shadowsim.dataplane.plane import DISCARD, FORWARD, LOCAL, Plane
from shadowsim.model.config import AclEntry
from shadowsim.model.intents import PathIntent

TCP, UDP = 6, 17
NUMBER = {"icmp": 1, "tcp": TCP, "udp": UDP}


class Header(NamedTuple):
    """Ports are None where the protocol has none."""

    protocol: int
    source_port: int | None = None
    destination_port: int | None = None


Outcome = tuple[str, tuple[str, ...]]  # what becomes of the packet, and the devices it passed


def headers(plane: Plane, intents: list[PathIntent]) -> list[Header]:
    """Both sides of every boundary that an access list or an intent draws."""
    entries = [entry for acl in plane.filters for entry in acl]
    wanted = [(i.port, i.port) for i in intents if i.port is not None]
    source = _sides([e.source_ports for e in entries if e.source_ports])
    destination = _sides([e.destination_ports for e in entries if e.destination_ports] + wanted)
    ported = [Header(*fields) for fields in product((TCP, UDP), source, destination)]
    return [*ported, Header(0), Header(1), Header(255)]


def _sides(ranges: list[tuple[int, int]]) -> list[int]:
    """The first port of every stretch in which all is alike, and of the last one also its last."""
    starts = {0, 65535} | {low for low, _ in ranges} | {high + 1 for _, high in ranges}
    return sorted(starts - {65536})


@lru_cache(maxsize=100_000)
def passes(acl: tuple[AclEntry, ...], source: int, destination: int, header: Header) -> bool:
    for entry in acl:
        if (
            entry.source.first <= source <= entry.source.last
            and entry.destination.first <= destination <= entry.destination.last
            and entry.protocol in ("ip", _named(header.protocol))
            and _within(entry.source_ports, header.source_port)
            and _within(entry.destination_ports, header.destination_port)
        ):
            return entry.permit
    return False


def _named(protocol: int) -> str:
    return {number: name for name, number in NUMBER.items()}.get(protocol, "")


def _within(ports: tuple[int, int] | None, port: int | None) -> bool:
    return ports is None or (port is not None and ports[0] <= port <= ports[1])


def speaks_of(intent: PathIntent, header: Header) -> bool:
    return intent.protocol in ("ip", _named(header.protocol)) and (
        intent.port is None or header.destination_port == intent.port
    )


class Walker:
    """The data plane as plain lists, over which packets are walked."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.topology = plane.topology
        self.address = [self.topology.address[host.name] for host in self.topology.hosts]
        self.out = plane.filter_out.tolist()
        self.into = plane.filter_in.tolist()
        self.up = plane.up.tolist()

    def outcomes(self, source: int, destination: int, header: Header) -> set[Outcome]:
        """What becomes of the packet on each branch."""
        if not self._crosses(self.topology.up_link(source), source, destination, header):
            return {("lost", ())}
        start = int(self.plane.graph.host_device[source])
        return set(self._from((start,), source, destination, header))

    def _from(self, path: tuple[int, ...], s: int, d: int, header: Header) -> Iterator[Outcome]:
        plane, here = self.plane, path[-1]
        names = tuple(self.topology.devices[device].name for device in path)
        atom = int(plane.host_atom[d])
        decision = int(plane.decision[here, atom])
        if here in path[:-1]:
            yield "loop", names
        elif decision == FORWARD:
            links = [
                e
                for e in range(plane.graph.edges)
                if plane.graph.tail[e] == here
                and int(plane.next_hops[e, atom // 64]) >> atom % 64 & 1
            ]
            if not links:
                yield "black hole", names
            for e in links:
                if self._crosses(e, s, d, header):
                    yield from self._from((*path, int(plane.graph.head[e])), s, d, header)
                else:
                    yield "lost", names
        elif decision == LOCAL:
            at_home = here == plane.graph.host_device[d]
            down = self.topology.up_link(d) + 1
            delivered = at_home and self._crosses(down, s, d, header)
            yield "delivered" if delivered else "lost", names
        else:
            yield "lost" if decision == DISCARD else "black hole", names

    def _crosses(self, link: int, s: int, d: int, header: Header) -> bool:
        return self.up[link] and all(
            acl < 0 or passes(self.plane.filters[acl], self.address[s], self.address[d], header)
            for acl in (self.out[link], self.into[link])
        )


def breaks(intent: PathIntent, outcome: Outcome) -> bool:
    what, path = outcome
    return {
        "reachable": what != "delivered",
        "isolated": what == "delivered",
        "waypoint": what == "delivered" and intent.via not in path,
        "no_loop": what == "loop",
        "no_black_hole": what == "black hole",
    }[intent.kind]


def broken_pairs(plane: Plane, intents: list[PathIntent]) -> list[set[tuple[int, int]]]:
    """Per intent, the pairs of hosts that have a packet that breaks it."""
    walker, topology = Walker(plane), plane.topology
    ends = [
        (set(topology.resolve(i.source)), set(topology.resolve(i.destination))) for i in intents
    ]
    broken: list[set[tuple[int, int]]] = [set() for _ in intents]
    regions = headers(plane, intents)
    for s, d in permutations(range(len(topology.hosts)), 2):
        names = topology.hosts[s].name, topology.hosts[d].name
        mine = [k for k, (a, b) in enumerate(ends) if names[0] in a and names[1] in b]
        apart = [intents[k] for k in mine if intents[k].kind == "isolated"]
        bad = set()
        for header in regions if mine else ():
            outcomes = walker.outcomes(s, d, header)
            carved = any(speaks_of(intent, header) for intent in apart)
            bad |= {
                k
                for k in mine
                if speaks_of(intents[k], header)
                and not (carved and intents[k].kind == "reachable")
                and any(breaks(intents[k], outcome) for outcome in outcomes)
            }
        for k in bad:
            broken[k].add((s, d))
    return broken
