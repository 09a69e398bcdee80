"""OpenFlow rules as a switch would treat packets by them, one packet at a time and over every
bucket: written for reading, from the specification, and slow on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from reference_verify import Header

from shadowsim.dataplane.plane import Plane
from shadowsim.network.emulated.openflow import Flow, Rules

PORTS_OF = {6: "tcp", 17: "udp"}


class Sent(NamedTuple):
    """A frame that leaves a switch."""

    port: int
    queue: int
    meter: int | None
    longest: int | None
    fields: dict[str, int]


@dataclass
class State:
    fields: dict[str, int]
    in_port: int
    queue: int = 0
    meter: int | None = None


def packet(source: int, destination: int, header: Header, dscp: int = 0) -> dict[str, int]:
    found = {"eth_type": 0x0800, "ipv4_src": source, "ipv4_dst": destination, "ip_dscp": dscp}
    found |= {"ip_proto": header.protocol, "eth_dst": 0x02_00_00_00_00_01, "ttl": 64}
    if header.protocol in PORTS_OF:
        name = PORTS_OF[header.protocol]
        found |= {f"{name}_src": header.source_port, f"{name}_dst": header.destination_port}
    return found


def switched(rules: Rules, in_port: int, fields: dict[str, int]) -> list[list[Sent]]:
    """What leaves, for every way in which the groups may choose."""
    return list(_table(rules, 0, State({**fields, "in_port": in_port}, in_port)))


def admitted(rules: Rules, in_port: int, fields: dict[str, int]) -> bool:
    """Whether the access list of the port it comes in by lets a packet pass."""
    inside = {**fields, "in_port": in_port}
    here = [flow for flow in rules.flows if flow.table == 1 and matches(flow, inside)]
    return bool(here) and max(here, key=lambda flow: flow.priority).goto == 2


def matches(flow: Flow, fields: dict[str, int]) -> bool:
    for name, wanted in flow.match:
        value, mask = wanted if isinstance(wanted, tuple) else (wanted, ~0)
        if name not in fields or fields[name] & mask != value:
            return False
    return True


def _table(rules: Rules, table: int, state: State) -> Iterator[list[Sent]]:
    here = [flow for flow in rules.flows if flow.table == table and matches(flow, state.fields)]
    if not here:
        yield []
        return
    best = max(flow.priority for flow in here)
    (flow,) = [flow for flow in here if flow.priority == best]
    if flow.meter is not None:
        state = replace(state, meter=flow.meter)
        assert any(meter.id == flow.meter for meter in rules.meters)
    yield from _actions(rules, flow, 0, replace(state, fields=dict(state.fields)), [])


def _actions(
    rules: Rules, flow: Flow, at: int, state: State, sent: list[Sent]
) -> Iterator[list[Sent]]:
    for place in range(at, len(flow.actions)):
        name, *values = flow.actions[place]
        if name == "dec_ttl":
            state.fields["ttl"] -= 1
            if state.fields["ttl"] <= 0:
                yield sent
                return
        elif name in ("reg0", "eth_dst"):
            state.fields[name] = values[0]
        elif name == "queue":
            state.queue = values[0]
        elif name == "clear_in_port":
            state.in_port = 0
        elif name in ("output", "trunc"):
            port, longest = (*values, None)[:2]
            if port != state.in_port:
                out = Sent(port, state.queue, state.meter, longest, dict(state.fields))
                sent = [*sent, out]
        else:
            assert name == "group" and place == len(flow.actions) - 1 and flow.goto is None
            (group,) = [group for group in rules.groups if group.id == values[0]]
            for port in sorted(set(group.slots)):
                fields = {**state.fields, "reg0": port}
                for more in _table(rules, 3, replace(state, fields=fields)):
                    yield sent + more
            return
    if flow.goto is None:
        yield sent
        return
    assert flow.goto > flow.table
    for more in _table(rules, flow.goto, state):
        yield sent + more


class Wired:
    """Switches with their rules, wired as the topology says."""

    def __init__(self, plane: Plane, rules: tuple[Rules, ...]) -> None:
        self.plane, self.rules, self.topology = plane, rules, plane.topology
        self.link = [  # per device: by which directed link a port sends
            dict(enumerate(self.topology.ports[device.name].values(), 1))
            for device in self.topology.devices
        ]
        self.port = {n: (d, p) for d, ports in enumerate(self.link) for p, n in ports.items()}

    def outcomes(
        self, source: int, destination: int, header: Header, dscp: int = 0
    ) -> set[tuple[str, tuple[str, ...]]]:
        """What becomes of a packet between two hosts on each branch, and the devices it passed."""
        hosts, address = self.topology.hosts, self.topology.address
        fields = packet(address[hosts[source].name], address[hosts[destination].name], header, dscp)
        device, port = self.port[self.topology.up_link(source) + 1]
        if not self.plane.up[self.topology.up_link(source)]:
            return {("lost", ())}
        return set(self._from((device,), port, fields, destination))

    def _from(
        self, path: tuple[int, ...], port: int, fields: dict[str, int], destination: int
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        names = tuple(self.topology.devices[device].name for device in path)
        if not admitted(self.rules[path[-1]], port, fields):
            yield "lost", names[:-1]
            return
        if path[-1] in path[:-1]:
            yield "loop", names
            return
        for sent in switched(self.rules[path[-1]], port, fields):
            if not sent:
                yield "lost", names
                continue
            (out,) = sent
            link = self.link[path[-1]][out.port]
            assert self.plane.up[link]
            if link < self.plane.graph.edges:
                device, enters = self.port[link ^ 1]
                left = {
                    name: v for name, v in out.fields.items() if name not in ("reg0", "in_port")
                }
                yield from self._from((*path, device), enters, left, destination)
            else:
                assert link == self.topology.up_link(destination) + 1
                assert out.fields["eth_dst"] == 0x02_01_00_00_00_00 + destination
                assert out.fields["ttl"] == 64 - len(path)
                yield "delivered", names
