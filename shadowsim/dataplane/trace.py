"""Demands and the compiled data plane to the path every one of their flows takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from shadowsim.dataplane.flows import Paths
from shadowsim.dataplane.plane import FORWARD, LOCAL, Plane
from shadowsim.model.config import AclEntry
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.model.words import PROTOCOLS

MAX_HOPS = 64
EPHEMERAL = 49152  # first source port of the dynamic range (RFC 6335)


@dataclass(frozen=True)
class FlowTable:
    """The packets of every flow of every demand; the flows of a demand stand together.

    `demand[F]`: the number of the demand. `source[F]`, `destination[F]`: host numbers. The rest
    is the five-tuple, the packet size, and a hash of the five-tuple, all of length F.
    """

    demand: np.ndarray
    source: np.ndarray
    destination: np.ndarray
    source_address: np.ndarray
    destination_address: np.ndarray
    protocol: np.ndarray
    source_port: np.ndarray
    destination_port: np.ndarray
    packet_bytes: np.ndarray
    traffic_class: np.ndarray
    hashed: np.ndarray

    def __len__(self) -> int:
        return len(self.demand)


def flow_table(topology: Topology, demands: Sequence[Demand]) -> FlowTable:
    """Spread every demand over its flows, which differ in their source port only."""
    rows = [(i, n) for i, demand in enumerate(demands) for n in range(demand.flows)]
    index, address = topology.host_index, topology.address

    def column(dtype: type, values: list[int]) -> np.ndarray:
        return np.array(values, dtype=dtype)[demand] if values else np.empty(0, dtype)

    demand = np.array([i for i, _ in rows], dtype=np.int32)
    fields = {
        "source": column(np.int32, [index[d.source] for d in demands]),
        "destination": column(np.int32, [index[d.destination] for d in demands]),
        "source_address": column(np.int64, [address[d.source] for d in demands]),
        "destination_address": column(np.int64, [address[d.destination] for d in demands]),
        "protocol": column(np.int64, [PROTOCOLS[d.protocol] or 0 for d in demands]),
        "source_port": EPHEMERAL + np.array([(7 * i + n) % 16384 for i, n in rows], np.int64),
        "destination_port": column(np.int64, [d.port for d in demands]),
    }
    return FlowTable(
        demand=demand,
        packet_bytes=column(np.int64, [d.packet_bytes for d in demands]).astype(np.float64),
        traffic_class=column(np.int64, [CLASSES.index(d.traffic_class) for d in demands]),
        hashed=_hash(*(fields[name] for name in list(fields)[2:])),
        **fields,
    )


def _hash(*fields: np.ndarray) -> np.ndarray:
    """FNV-1a over the five-tuple, one 64-bit word at a time."""
    found = np.full(fields[0].shape, 0xCBF29CE484222325, dtype=np.uint64)
    for values in fields:
        found = (found ^ values.astype(np.uint64)) * np.uint64(0x100000001B3)
        found ^= found >> np.uint64(29)
    return found


def permitted(filters: Sequence[tuple[AclEntry, ...]], flows: FlowTable) -> np.ndarray:
    """`[filters, F]`: whether an access list lets a flow pass; what no line matches is denied."""
    out = np.zeros((len(filters), len(flows)), dtype=np.bool_)
    for row, entries in enumerate(filters):
        for entry in reversed(entries):
            out[row, _matched(entry, flows)] = entry.permit
    return out


def _matched(entry: AclEntry, flows: FlowTable) -> np.ndarray:
    protocol = PROTOCOLS[entry.protocol]
    found = np.ones(len(flows), np.bool_) if protocol is None else flows.protocol == protocol
    for address, prefix in (
        (flows.source_address, entry.source),
        (flows.destination_address, entry.destination),
    ):
        found = found & (prefix.first <= address) & (address <= prefix.last)
    for port, ports in (
        (flows.source_port, entry.source_ports),
        (flows.destination_port, entry.destination_ports),
    ):
        if ports is not None:
            found = found & (ports[0] <= port) & (port <= ports[1])
    return found


def trace(plane: Plane, demands: Sequence[Demand]) -> Paths:
    """The paths of all flows of these demands, batch size 1."""
    return trace_flows(plane, flow_table(plane.topology, demands))[0]


def trace_flows(
    plane: Plane, flows: FlowTable, passes: np.ndarray | None = None
) -> tuple[Paths, np.ndarray]:
    """The path of every flow, batch size 1, and the priority level each is served at.

    Where several next hops are equal the hash of the five-tuple and of the device picks one
    (RFC 2992). Flows that are not delivered (no route, denied, looped, too large for an MTU)
    have -1 hops. The level of a flow is the lowest priority it meets on its way. `passes` is what
    `permitted` says of the access lists of this plane, where that is known already.
    """
    if passes is None:
        passes = permitted(plane.filters, flows)
    links, hops, level = _walk(
        plane.graph.out_start, plane.graph.out, plane.graph.head, plane.graph.host_device,
        plane.decision, plane.next_hops, plane.host_atom, plane.filter_out, plane.filter_in,
        plane.up, plane.mtu_bytes, plane.level, passes,
        flows.source, flows.destination, flows.packet_bytes, flows.traffic_class, flows.hashed,
        MAX_HOPS,
    )  # fmt: skip
    width = max(int(hops.max(initial=0)), 1)
    paths = Paths(np.ascontiguousarray(links[None, :, :width]), hops[None, :])
    return paths, level


@njit(cache=True, nogil=True)
def _mixed(value, device):  # type: ignore[no-untyped-def]
    """SplitMix64 (Steele et al., OOPSLA 2014): devices must choose independently of each other."""
    z = value + np.uint64(device + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    out_start, out, head, host_device, decision, next_hops, host_atom, filter_out, filter_in,
    up, mtu_bytes, level, passes,
    source, destination, packet_bytes, traffic_class, hashed, max_hops,
):  # fmt: skip
    flows = len(source)
    links = np.full((flows, max_hops), -1, np.int32)
    hops = np.full(flows, -1, np.int32)
    served = np.zeros(flows, np.uint8)
    host_links = len(head)
    for f in range(flows):
        up_link = host_links + 2 * source[f]
        entry = filter_in[up_link]
        if not up[up_link] or (entry >= 0 and not passes[entry, f]):
            continue
        if packet_bytes[f] > mtu_bytes[up_link]:
            continue
        links[f, 0] = up_link
        device = host_device[source[f]]
        atom = host_atom[destination[f]]
        word, shift = atom >> 6, np.uint64(atom & 63)
        count = 1
        while count < max_hops:
            served[f] = max(served[f], level[device, traffic_class[f]])
            chosen = -1
            if decision[device, atom] == LOCAL and host_device[destination[f]] == device:
                chosen = host_links + 2 * destination[f] + 1
            elif decision[device, atom] == FORWARD:
                equals = 0
                for place in range(out_start[device], out_start[device + 1]):
                    if next_hops[out[place], word] >> shift & np.uint64(1):
                        equals += 1
                if equals:
                    pick = _mixed(hashed[f], device) % np.uint64(equals)
                    for place in range(out_start[device], out_start[device + 1]):
                        if next_hops[out[place], word] >> shift & np.uint64(1):
                            if pick == 0:
                                chosen = out[place]
                                break
                            pick -= np.uint64(1)
            if chosen < 0 or not up[chosen] or packet_bytes[f] > mtu_bytes[chosen]:
                break
            if filter_out[chosen] >= 0 and not passes[filter_out[chosen], f]:
                break
            if filter_in[chosen] >= 0 and not passes[filter_in[chosen], f]:
                break
            links[f, count] = chosen
            count += 1
            if chosen >= host_links:
                hops[f] = count
                break
            device = head[chosen]
        if hops[f] < 0:
            links[f, :] = -1
    return links, hops, served
