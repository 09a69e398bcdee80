"""Checked requests to Mininet switches, hosts and cables in this network namespace.

The agent runs this file on the system's own Python: standard library and Mininet only.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shadowsim.network.emulated.daemons import Failed, run
from shadowsim.network.emulated.inside import bring_up, inside, open_tap, separate, without_ipv6
from shadowsim.network.emulated.nodes import CONTROLLER_PORT, Target, new_mininet
from shadowsim.network.emulated.programs import Batches, vsctl
from shadowsim.network.emulated.verbs import DIVERT_PORT, MIRROR_PORT, Refused

CONTROLLER_SETTINGS = ("max_backoff=1000", "inactivity_probe=3000")
MTU_BYTES, QUEUE_PACKETS = 33000, 1000
ROUTER_MAC = "02:00:00:00:00:01"
SEPARATE_S = 15.0  # milliseconds, unless the machine has much else to do
TAP_GROUP = 77
EXTRA_PORTS = {"mirror": MIRROR_PORT, "divert": DIVERT_PORT}

End = tuple[str, int, int]


@dataclass
class Switch:
    """A switch that is built."""

    node: Any
    ports: int
    powered: bool = True
    controlled: bool = True
    extras: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """A host that is built."""

    node: Any
    address: str
    gateway: str

    @property
    def pid(self) -> int:
        return int(self.node.pid)


@dataclass(frozen=True)
class Cable:
    """A cable that is built: the names and files of its two TAP devices, side a and side b."""

    ends: tuple[End, End]
    names: tuple[str, str]
    fds: tuple[int, int]


class Lab:
    """All switches, hosts and cables of one network. Requests must have passed `verbs`."""

    def __init__(self) -> None:
        self.net = new_mininet()
        self.switches: dict[int, Switch] = {}
        self.hosts: dict[int, Host] = {}
        self.cables: list[Cable] = []

    # ---- questions

    def switch(self, index: int) -> Switch:
        """Raises Refused if there is none."""
        if index not in self.switches:
            raise Refused(f"there is no switch {index}")
        return self.switches[index]

    def host(self, index: int) -> Host:
        """Raises Refused if there is none."""
        if index not in self.hosts:
            raise Refused(f"there is no host {index}")
        return self.hosts[index]

    def tap_names(self, index: int) -> list[str]:
        """The TAP devices on a switch."""
        mine = [
            name
            for cable in self.cables
            for (kind, number, _), name in zip(cable.ends, cable.names, strict=True)
            if kind == "switch" and number == index
        ]
        return mine + [f"s{index}-{extra}" for extra in self.switches[index].extras]

    # ---- build

    def build(
        self, switches: list[dict[str, Any]], hosts: list[dict[str, Any]], cables: list[list[End]]
    ) -> list[Cable]:
        """Add all of it, or, if something fails on the way, nothing. Raises Refused, Failed."""
        pairs = [(a, b) for a, b in cables]
        self._check(switches, hosts, pairs)
        before = len(self.cables)
        try:
            self._add_nodes(switches, hosts)
            for ends in pairs:
                self.cables.append(self._lay(ends))
            new = self.cables[before:]
            self._configure(new, [h["index"] for h in hosts])
            self._plug([s["index"] for s in switches], new)
        except BaseException:
            self._remove([s["index"] for s in switches], [h["index"] for h in hosts], before)
            raise
        return new

    def _check(
        self,
        switches: list[dict[str, Any]],
        hosts: list[dict[str, Any]],
        cables: Sequence[tuple[End, End]],
    ) -> None:
        ports = {index: switch.ports for index, switch in self.switches.items()}
        _all_new("switch", [s["index"] for s in switches], self.switches)
        _all_new("host", [h["index"] for h in hosts], self.hosts)
        _all_new("address", [h["address"] for h in hosts], {h.address for h in self.hosts.values()})
        ports |= {s["index"]: s["ports"] for s in switches}
        for host in hosts:
            if host["switch"] not in ports:
                raise Refused(f"host {host['index']} stands at switch {host['switch']}: none there")
        known = self.hosts.keys() | {h["index"] for h in hosts}
        used = {end for cable in self.cables for end in cable.ends}
        for kind, index, port in (end for cable in cables for end in cable):
            if index not in (ports if kind == "switch" else known):
                raise Refused(f"a cable leads to {kind} {index}: there is none")
            if kind == "switch" and port > ports[index]:
                raise Refused(f"switch {index} has {ports[index]} ports, not {port}")
            if (kind, index, port) in used:
                raise Refused(f"port {port} of {kind} {index} has a cable already")
            used.add((kind, index, port))

    def _add_nodes(self, switches: list[dict[str, Any]], hosts: list[dict[str, Any]]) -> None:
        for one in hosts:
            index = one["index"]
            node = self.net.addHost(f"h{index}", ip=None, inNamespace=True)
            self.hosts[index] = Host(node, one["address"], one["gateway"])
        for one in switches:
            index = one["index"]
            node = self.net.addSwitch(
                f"s{index}",
                dpid=f"{index + 1:016x}",
                datapath="user",
                failMode="secure",
                protocols="OpenFlow13",
                reconnectms=0,
                batch=True,
            )
            self.switches[index] = Switch(node, one["ports"])
        for one in hosts:
            pid = self.hosts[one["index"]].pid
            _wait_until_separate(pid)
            with inside(pid):
                without_ipv6()
                bring_up("lo")

    def _lay(self, ends: tuple[End, End]) -> Cable:
        nodes = [(self.switches if k == "switch" else self.hosts)[i].node for k, i, _ in ends]
        macs = [host_mac(i) if k == "host" else None for k, i, _ in ends]
        try:
            link = self.net.addLink(*nodes, ends[0][2], ends[1][2], addr1=macs[0], addr2=macs[1])
        except OSError as error:
            raise Failed(f"a cable's device could not be made: {error.strerror}") from None
        return Cable(ends, (link.intf1.name, link.intf2.name), link.fds)

    def _configure(self, cables: Sequence[Cable], hosts: Sequence[int]) -> None:
        """Set up every device: one `ip` here, and one in each host, all at the same time."""
        mine, theirs = [], set()
        for cable in cables:
            for (kind, index, _), name in zip(cable.ends, cable.names, strict=True):
                if kind == "switch":
                    mine.append(_device_line(name))
                else:
                    theirs.add(index)
        with Batches() as batches:
            batches.start(mine)
            for index in theirs:
                host = self.hosts[index]
                with inside(host.pid):
                    batches.start(_host_lines(index, host))

    def _plug(self, switches: Sequence[int], cables: Sequence[Cable]) -> None:
        """Tell Open vSwitch: new bridges with Mininet's own words, then ports on old ones."""
        words: list[str] = []
        for index in switches:
            switch = self.switches[index]
            switch.node.start([Target()])
            for command in switch.node.commands:
                words += [*shlex.split(command)]
            words += ["--", "set", "Controller", f"s{index}", *CONTROLLER_SETTINGS]
            switch.node.commands, switch.node.batch = [], False
        new = set(switches)
        for cable in cables:
            for (kind, index, port), name in zip(cable.ends, cable.names, strict=True):
                if kind == "switch" and index not in new:
                    words += _port_words(index, name, port)
        vsctl(words, within_s=60)
        with Batches() as batches:
            batches.start([f"link set s{index} up" for index in switches])

    # ---- take down

    def remove(self, switches: list[int], hosts: list[int]) -> None:
        """Take these down, with every cable that leads to one of them. Raises Refused."""
        for index in switches:
            self.switch(index)
        for index in hosts:
            self.host(index)
        self._remove(switches, hosts, len(self.cables))

    def _remove(self, switches: Iterable[int], hosts: Iterable[int], keep: int) -> None:
        """Take nodes down, and the cables that lead to them or came after the first `keep`."""
        nodes = {("switch", i) for i in switches if i in self.switches}
        nodes |= {("host", i) for i in hosts if i in self.hosts}
        gone = [
            cable
            for number, cable in enumerate(self.cables)
            if number >= keep or any(end[:2] in nodes for end in cable.ends)
        ]
        vsctl(_unplug_words(gone, nodes), within_s=60)
        self._cut(gone, nodes)
        for kind, index in nodes:
            self._forget(kind, index)

    def _cut(self, cables: Sequence[Cable], nodes: set[tuple[str, int]]) -> None:
        removed = {id(cable) for cable in cables}
        self.cables = [cable for cable in self.cables if id(cable) not in removed]
        mine = [f"s{i}-{extra}" for k, i in nodes if k == "switch" for extra in self._extras(i)]
        with Batches() as batches:
            for cable in cables:
                for (kind, index, _), name in zip(cable.ends, cable.names, strict=True):
                    if kind == "switch":
                        mine.append(name)
                    else:
                        with inside(self.hosts[index].pid):
                            batches.start([f"link del {name}"])
            batches.start([f"link del {name}" for name in mine])
        for fd in [fd for cable in cables for fd in cable.fds]:
            os.close(fd)
        names = {name for cable in cables for name in cable.names}
        for link in [link for link in self.net.links if link.intf1.name in names]:
            link.intf1.node.delIntf(link.intf1)
            link.intf2.node.delIntf(link.intf2)
            self.net.links.remove(link)

    def _extras(self, index: int) -> dict[str, int]:
        return self.switches[index].extras

    def _forget(self, kind: str, index: int) -> None:
        if kind == "host":
            node = self.hosts.pop(index).node
            self.net.hosts.remove(node)
            node.terminate()
        else:
            switch = self.switches.pop(index)
            node = switch.node
            self.net.switches.remove(node)
            for fd in switch.extras.values():
                os.close(fd)
        del self.net.nameToNode[node.name]

    def demolish(self) -> None:
        """Delete every device now, also those whose files somebody else still holds."""
        with contextlib.suppress(Failed), Batches("-force") as batches:
            batches.start([f"link del group {TAP_GROUP}"])
            for host in self.hosts.values():
                with contextlib.suppress(OSError), inside(host.pid):
                    batches.start([f"link del group {TAP_GROUP}"])

    # ---- while it runs

    def extra(self, index: int, name: str) -> int:
        """The file of one further TAP device on a switch, made on the first call."""
        switch = self.switch(index)
        if name not in switch.extras:
            device = f"s{index}-{name}"
            fd = open_tap(device)
            try:
                with Batches() as batches:
                    batches.start([_device_line(device, up=switch.powered)])
                vsctl(_port_words(index, device, EXTRA_PORTS[name]))
            except BaseException:
                os.close(fd)
                raise
            switch.extras[name] = fd
        return switch.extras[name]

    def power(self, index: int, on: bool) -> None:
        """Crash a switch, so that it forwards and knows nothing, or let it come back empty."""
        switch = self.switch(index)
        switch.powered = on
        way = "up" if on else "down"
        with Batches() as batches:
            batches.start([f"link set {name} {way}" for name in self.tap_names(index)])
        self._connect(index, switch)
        if not on:
            for what in ("del-flows", "del-groups", "del-meters"):
                run(["ovs-ofctl", "-O", "OpenFlow13", "-t", "10", what, f"s{index}"])

    def control(self, index: int, on: bool) -> None:
        """Take away, or give back, only the connection of a switch to its controller."""
        switch = self.switch(index)
        switch.controlled = on
        self._connect(index, switch)

    def _connect(self, index: int, switch: Switch) -> None:
        # Nobody listens at port 1. Without any controller Open vSwitch would forget all flows.
        port = CONTROLLER_PORT if switch.powered and switch.controlled else 1
        words = ["--", "set-controller", f"s{index}", f"tcp:127.0.0.1:{port}"]
        vsctl([*words, "--", "set", "Controller", f"s{index}", *CONTROLLER_SETTINGS])


def host_mac(index: int) -> str:
    """The MAC address of a host."""
    return f"02:01:00:00:{index >> 8:02x}:{index & 255:02x}"


def _all_new(what: str, new: Sequence[Any], old: Iterable[Any]) -> None:
    taken = set(old)
    for one in new:
        if one in taken:
            raise Refused(f"{what} {one} is there already")
        taken.add(one)


def _wait_until_separate(pid: int) -> None:
    until_s = time.monotonic() + SEPARATE_S
    while not separate(pid):
        if time.monotonic() > until_s:
            raise Failed(f"a host's namespace did not come up within {SEPARATE_S:g} s")
        time.sleep(0.001)


def _device_line(name: str, *, up: bool = True) -> str:
    settings = f"mtu {MTU_BYTES} txqueuelen {QUEUE_PACKETS} group {TAP_GROUP}"
    return f"link set dev {name} {settings} {'up' if up else 'down'}"


def _host_lines(index: int, host: Host) -> list[str]:
    name = f"h{index}-eth0"
    return [
        f"link set dev {name} address {host_mac(index)}",
        _device_line(name),
        f"address add {host.address}/32 dev {name}",
        f"neighbour replace {host.gateway} lladdr {ROUTER_MAC} dev {name} nud permanent",
        f"route add default via {host.gateway} dev {name} onlink",
    ]


def _port_words(index: int, name: str, port: int) -> list[str]:
    add = ["--", "add-port", f"s{index}", name]
    return [*add, "--", "set", "Interface", name, f"ofport_request={port}"]


def _unplug_words(cables: Iterable[Cable], nodes: set[tuple[str, int]]) -> list[str]:
    words: list[str] = []
    for kind, index in sorted(nodes):
        if kind == "switch":
            words += ["--", "--if-exists", "del-br", f"s{index}"]
    for cable in cables:
        for (kind, index, _), name in zip(cable.ends, cable.names, strict=True):
            if kind == "switch" and (kind, index) not in nodes:
                words += ["--", "--if-exists", "del-port", f"s{index}", name]
    return words
