"""A compiled data plane to the rules of every switch.

Table 0 is the edge (what is steered away or copied), 1 the access lists of the ports that packets
enter by, 2 routing, 3 the access lists of the ports they leave by, 4 the way out. Register 0
holds the number of the port a packet leaves by. What no flow matches is dropped.

A packet is changed only after a group has chosen its way: for a group Open vSwitch looks at it
twice, and newer versions (3.3, 3.5) mirror twice what was changed in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from shadowsim.dataplane.plane import FORWARD, LOCAL, Plane
from shadowsim.errors import BadInput
from shadowsim.model.address import ADDRESS_SPACE
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES
from shadowsim.network.emulated.openflow.matches import (
    IPV4,
    addressed,
    fields,
    of_entry,
    of_match,
    prefixes,
)
from shadowsim.network.emulated.openflow.rules import (
    COPY_PORT,
    DSCP,
    STEER_PORT,
    Flow,
    Group,
    Meter,
    Rules,
)
from shadowsim.network.protocol import Match

EDGE, INGRESS, ROUTING, EGRESS, OUT = range(5)
DIVERT, COPY, USUAL = 3, 2, 1  # priorities at the edge
FIRST_LINE = 60000  # priority of the first line of an access list
SLOTS = 64  # buckets of a group: as many hash values as Open vSwitch tells apart
HOST_MAC = 0x02_01_00_00_00_00
BURST_S, BURST_BITS = 0.1, 20 * 1500 * 8  # a meter lets bursts of the larger of them pass


def port_numbers(topology: Topology, device: str) -> dict[int, int]:
    """Directed links that leave a device, to the OpenFlow numbers of the ports they leave by."""
    return {link: i for i, link in enumerate(topology.ports[device].values(), 1)}


def rules(
    plane: Plane,
    *,
    diverts: Sequence[Match] = (),
    copies: Sequence[str] = (),
    copy_bytes: int = 128,
) -> tuple[Rules, ...]:
    """The rules of every switch, in order of devices.

    Packets from hosts that match one of `diverts` leave by port `STEER_PORT` and are not seen
    again; the first `copy_bytes` of frames of the traffic classes `copies` also leave by
    `COPY_PORT`. Raises BadInput for an access list of more than `FIRST_LINE` lines.
    """
    found = []
    for number in range(len(plane.topology.devices)):
        switch = _Switch(plane, number)
        flows = [
            *switch.edge(diverts, copies, copy_bytes),
            *switch.ingress(),
            *switch.routing(),
            *switch.egress(),
            *switch.out(),
        ]
        groups = tuple(switch.groups.values())
        found.append(Rules(number + 1, tuple(flows), groups, tuple(switch.meters())))
    return tuple(found)


class _Switch:
    """What one device makes of the plane, table by table. `routing` also fills `groups`."""

    def __init__(self, plane: Plane, number: int) -> None:
        self._plane, self._number = plane, number
        topology = plane.topology
        self._ports = port_numbers(topology, topology.devices[number].name)
        self._host_ports = [p for n, p in self._ports.items() if n >= plane.graph.edges]
        self.groups: dict[tuple[int, ...], Group] = {}

    def edge(
        self, diverts: Sequence[Match], copies: Sequence[str], copy_bytes: int
    ) -> Iterator[Flow]:
        steered = dict.fromkeys(
            fields(in_port=port, **wanted)
            for port in self._host_ports
            for match in diverts
            for wanted in of_match(match)
        )
        for match in steered:
            yield Flow(EDGE, DIVERT, match, (("output", STEER_PORT),))
        for port in self._host_ports:
            for name in dict.fromkeys(copies):
                match = fields(in_port=port, eth_type=IPV4, ip_dscp=DSCP[name])
                yield Flow(EDGE, COPY, match, (("trunc", COPY_PORT, copy_bytes),), INGRESS)
        yield Flow(EDGE, USUAL, (), (), INGRESS)

    def ingress(self) -> Iterator[Flow]:
        for link, port in self._ports.items():
            acl = int(self._plane.filter_in[link ^ 1])
            yield from self._filtered(INGRESS, "in_port", port, acl, ROUTING)

    def egress(self) -> Iterator[Flow]:
        for link, port in self._ports.items():
            yield from self._filtered(EGRESS, "reg0", port, int(self._plane.filter_out[link]), OUT)

    def _filtered(self, table: int, where: str, port: int, acl: int, goto: int) -> Iterator[Flow]:
        """What an access list (-1: none) lets pass at a port."""
        if acl < 0:
            yield Flow(table, 0, fields(**{where: port}), (), goto)
            return
        lines = self._plane.filters[acl]
        if len(lines) > FIRST_LINE:
            raise BadInput(f"an access list of {len(lines)} lines is longer than {FIRST_LINE}")
        for place, entry in enumerate(lines):
            for wanted in of_entry(entry):
                match = fields(**{where: port}, **wanted)
                yield Flow(table, FIRST_LINE - place, match, (), goto if entry.permit else None)

    def routing(self) -> Iterator[Flow]:
        plane = self._plane
        for first, after, ports in self._ranges():
            towards, goto = self._towards(ports)
            for prefix in prefixes(first, after):
                match = fields(eth_type=IPV4, **addressed("ipv4_dst", prefix))
                yield Flow(ROUTING, 0, match, (towards,), goto)
        for j in np.flatnonzero(plane.graph.host_device == self._number):
            if plane.decision[self._number, plane.host_atom[j]] == LOCAL:
                yield self._delivery(int(j))

    def _delivery(self, host: int) -> Flow:
        topology = self._plane.topology
        port = self._ports[topology.up_link(host) + 1]
        match = fields(eth_type=IPV4, ipv4_dst=topology.address[topology.hosts[host].name])
        actions = (("eth_dst", HOST_MAC + host), ("reg0", port))
        return Flow(ROUTING, 0, match, actions, EGRESS)

    def _ranges(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """Destinations that are forwarded: (first, after the last, ports); neighbours merged."""
        plane, number = self._plane, self._number
        links = [link for link in self._ports if link < plane.graph.edges]
        bits = plane.next_hops[links] if links else np.empty((0, 1), np.uint64)
        ends = [*plane.atom_first.tolist()[1:], ADDRESS_SPACE]
        found: list[tuple[int, int, tuple[int, ...]]] = []
        for atom in np.flatnonzero(plane.decision[number] == FORWARD).tolist():
            chosen = bits[:, atom >> 6] >> np.uint64(atom & 63) & np.uint64(1)
            ports = tuple(self._ports[links[i]] for i in np.flatnonzero(chosen))
            first = int(plane.atom_first[atom])
            if found and found[-1][1:] == (first, ports):
                first = found.pop()[0]
            found += [(first, ends[atom], ports)] if ports else []
        return found

    def _towards(self, ports: tuple[int, ...]) -> tuple[tuple[str, int], int | None]:
        """The action that chooses among these ports, and the table that comes then."""
        if len(ports) == 1:
            return ("reg0", ports[0]), EGRESS
        if ports not in self.groups:
            self.groups[ports] = _group(self._number + 1, ports)
        return ("group", self.groups[ports].id), None

    def out(self) -> Iterator[Flow]:
        """The ports that carry; a class that no host marks is served as normal."""
        metered = {meter.id for meter in self.meters()}
        for link, port in self._ports.items():
            for level, name in zip(self._plane.level[self._number], CLASSES, strict=True):
                queue = ("queue", int(level))
                actions = (("dec_ttl",), queue, ("clear_in_port",), ("output", port))
                usual = name == "normal"
                marked = {} if usual else {"ip_dscp": DSCP[name]}
                match = fields(reg0=port, eth_type=IPV4, **marked)
                if self._plane.up[link]:
                    meter = port if port in metered else None
                    yield Flow(OUT, 0 if usual else 1, match, actions, None, meter)

    def meters(self) -> Iterator[Meter]:
        """One for each port whose rate is limited below that of its cable."""
        topology = self._plane.topology
        cable_bps = [cable.rate_bps for cable in topology.links]
        cable_bps += [host.rate_bps for host in topology.hosts]
        for link, port in self._ports.items():
            rate_bps = float(self._plane.rate_bps[link])
            if self._plane.up[link] and rate_bps < cable_bps[link // 2]:
                burst_bits = max(BURST_S * rate_bps, BURST_BITS)
                yield Meter(port, max(round(rate_bps / 1000), 1), round(burst_bits / 1000))


def _group(dpid: int, ports: tuple[int, ...]) -> Group:
    """A group over these ports, its number made from what it holds.

    All switches hash a packet alike. Were their buckets in the same order too, a switch would
    send all that it gets from another one the same way; so each has an order of its own.
    """
    slots = SLOTS - SLOTS % len(ports) if len(ports) <= SLOTS else len(ports)
    order = sorted(range(slots), key=lambda slot: _digest(f"{dpid} {slot}"))
    filled = tuple(ports[slot % len(ports)] for slot in order)
    return Group(int.from_bytes(_digest(f"{filled}")[:4]) >> 1 or 1, filled)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
