"""Topology and demands to what an agent builds and which sockets hosts need, all as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shadowsim.dataplane.trace import flow_table
from shadowsim.model.address import format_address
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.network.emulated.client import End, Flow, NewHost

DSCP = dict(zip(CLASSES, (46, 0, 8), strict=True))  # EF, default, CS1 (RFC 4594)
PROBE_PORT = 40000  # first source port of the probes, below those of the demands
PROBE_SHARE = 0.02  # of the rate of what is probed,
PROBES_PER_S = (0.5, 2.0)  # but not fewer than the first, nor more than the second
SPARE = 1024  # streams kept for test traffic, over the life of a network
TEST_PORT = 30000  # first source port of test traffic
STAMP_BYTES = 80  # the smallest packet that has room for its headers and its stamp


@dataclass(frozen=True)
class Stream:
    """Packets of one five-tuple. `demand` is the number of what they belong to, -1 for none."""

    demand: int
    probe: bool
    source: int
    source_port: int
    destination: int
    port: int
    protocol: Literal["udp", "tcp"]
    dscp: int
    packet_bytes: int

    @property
    def flow(self) -> Flow:
        """What an agent has to know of it."""
        return Flow(
            self.source, self.source_port, self.destination, self.port, self.protocol, self.dscp
        )


def present(topology: Topology, devices: frozenset[str]) -> tuple[list[int], list[int], list[int]]:
    """Numbers of the devices, hosts and cables that are there when only these devices are."""
    switches = [i for i, d in enumerate(topology.devices) if d.name in devices]
    hosts = [j for j, h in enumerate(topology.hosts) if h.device in devices]
    cables = [c for c, link in enumerate(topology.links) if link.a in devices and link.b in devices]
    return switches, hosts, cables + [len(topology.links) + j for j in hosts]


def openflow_port(topology: Topology, link: int) -> tuple[int, int]:
    """Switch and OpenFlow port that a directed link leaves through (a host's up link: enters)."""
    device, port = topology.port_of[link]
    return topology.device_index[device], list(topology.ports[device]).index(port) + 1


def sides(topology: Topology, cable: int) -> tuple[End, End]:
    """The two ends of a cable, tail of directed link `2 * cable` first."""
    if cable >= len(topology.links):
        switch, port = openflow_port(topology, 2 * cable)
        return ("host", cable - len(topology.links), 0), ("switch", switch, port)
    (a, a_port), (b, b_port) = (openflow_port(topology, 2 * cable + side) for side in (0, 1))
    return ("switch", a, a_port), ("switch", b, b_port)


def new_hosts(topology: Topology, hosts: Sequence[int]) -> list[NewHost]:
    """What an agent has to know of hosts."""
    return [
        NewHost(
            index=j,
            switch=topology.device_index[topology.hosts[j].device],
            address=format_address(topology.address[topology.hosts[j].name]),
            gateway=format_address(topology.address[topology.hosts[j].device]),
        )
        for j in hosts
    ]


def streams_of(
    topology: Topology, demands: Sequence[Demand], coarse: int = 1
) -> tuple[Stream, ...]:
    """One stream per flow of every demand, then the probes.

    A packet of a demand stands for `coarse` of them and is that much larger. A probe is a UDP
    packet of the size that the demand says, beside each demand whose own packets do not tell how
    long such a one takes: those of TCP, which wait for lost ones, and those that are larger.
    """
    table = flow_table(topology, demands)
    flows = [
        _stream(topology, demands[d], int(d), int(port), coarse)
        for d, port in zip(table.demand, table.source_port, strict=True)
    ]
    probes = [
        _stream(topology, demand, number, PROBE_PORT + number % 8000, probe=True)
        for number, demand in enumerate(demands)
        if demand.elastic or coarse > 1
    ]
    return (*flows, *probes)


def test_stream(topology: Topology, flow: Demand, number: int) -> Stream:
    """The stream of test traffic number `number`."""
    return _stream(topology, flow, -1, TEST_PORT + number % 8000)


def _stream(
    topology: Topology,
    demand: Demand,
    number: int,
    source_port: int,
    coarse: int = 1,
    *,
    probe: bool = False,
) -> Stream:
    return Stream(
        demand=number,
        probe=probe,
        source=topology.host_index[demand.source],
        source_port=source_port,
        destination=topology.host_index[demand.destination],
        port=demand.port or 1,
        protocol="tcp" if demand.elastic and not probe else "udp",
        dscp=DSCP[demand.traffic_class],
        packet_bytes=max(demand.packet_bytes * coarse, STAMP_BYTES),
    )


def probe_rate_bps(demand: Demand) -> float:
    """How much probing a demand of this rate is worth."""
    least, most = PROBES_PER_S
    bits = 8.0 * max(demand.packet_bytes, STAMP_BYTES)
    return float(np.clip(PROBE_SHARE * demand.rate_bps / bits, least, most) * bits)
