"""Switches, hosts and links: the wiring, before anything is configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from shadowsim.model.address import Prefix, format_address

HOSTS_PER_DEVICE = 250
HOST_QUEUE = 1000  # packets, on the cables of hosts


@dataclass(frozen=True, slots=True)
class Device:
    """A switch. `model` selects how it behaves; `position` is (longitude, latitude) or None."""

    name: str
    model: str = "generic"
    position: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """An end system on one device. `groups` are names that intents and demands may use for it."""

    name: str
    device: str
    groups: tuple[str, ...] = ()
    rate_bps: float = 1e9
    delay_s: float = 0.0001


@dataclass(frozen=True, slots=True)
class Link:
    """A full-duplex cable between two devices; rate, delay and queue hold for each direction."""

    a: str
    b: str
    rate_bps: float = 1e8
    delay_s: float = 0.002
    queue_packets: int = 100


@dataclass(frozen=True)
class Topology:
    """The wiring of a network.

    Directed links are numbered: cable `i` gives `2 i` (a to b) and `2 i + 1` (b to a); behind
    all cables, host `j` gives one link up to its device and one down to it.
    """

    name: str
    devices: tuple[Device, ...]
    hosts: tuple[Host, ...]
    links: tuple[Link, ...]

    @cached_property
    def device_index(self) -> dict[str, int]:
        return {device.name: i for i, device in enumerate(self.devices)}

    @cached_property
    def host_index(self) -> dict[str, int]:
        return {host.name: i for i, host in enumerate(self.hosts)}

    @cached_property
    def hosts_of(self) -> dict[str, tuple[Host, ...]]:
        """The hosts on each device, in order; their place decides their address."""
        found: dict[str, list[Host]] = {device.name: [] for device in self.devices}
        for host in self.hosts:
            found[host.device].append(host)
        return {name: tuple(hosts) for name, hosts in found.items()}

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Every name that stands for several hosts: the groups, and each device for its own."""
        found: dict[str, list[str]] = {device.name: [] for device in self.devices}
        for host in self.hosts:
            for group in (host.device, *host.groups):
                found.setdefault(group, []).append(host.name)
        return {name: tuple(hosts) for name, hosts in found.items()}

    @cached_property
    def delay_s(self) -> tuple[float, ...]:
        """Propagation delay of every directed link."""
        cables = [link.delay_s for link in self.links] + [host.delay_s for host in self.hosts]
        return tuple(delay for delay in cables for _ in range(2))

    @cached_property
    def queue_packets(self) -> tuple[int, ...]:
        """How many packets may wait before every directed link."""
        cables = [link.queue_packets for link in self.links] + [HOST_QUEUE] * len(self.hosts)
        return tuple(packets for packets in cables for _ in range(2))

    @property
    def directed_links(self) -> int:
        return 2 * (len(self.links) + len(self.hosts))

    def up_link(self, host: int) -> int:
        """Number of the directed link from host `host` to its device; the next one comes back."""
        return 2 * (len(self.links) + host)

    @cached_property
    def lan(self) -> dict[str, Prefix]:
        """The prefix in which each device's hosts have their addresses."""
        return {d.name: Prefix(10 << 24 | i << 8, 24) for i, d in enumerate(self.devices)}

    @cached_property
    def address(self) -> dict[str, int]:
        """The address of every host, and of every device (the first of its prefix)."""
        found = {name: prefix.first + 1 for name, prefix in self.lan.items()}
        for name, hosts in self.hosts_of.items():
            found |= {host.name: self.lan[name].first + 2 + j for j, host in enumerate(hosts)}
        return found

    @cached_property
    def ports(self) -> dict[str, dict[str, int]]:
        """Per device: port name to the number of the directed link that leaves through it."""
        found: dict[str, dict[str, int]] = {device.name: {} for device in self.devices}
        used: Counter[tuple[str, str]] = Counter()
        for i, link in enumerate(self.links):
            for here, there, number in ((link.a, link.b, 2 * i), (link.b, link.a, 2 * i + 1)):
                used[here, there] += 1
                nth = used[here, there]
                found[here][f"to-{there}" if nth == 1 else f"to-{there}-{nth}"] = number
        for j, host in enumerate(self.hosts):
            found[host.device][f"to-{host.name}"] = self.up_link(j) + 1
        return found

    @cached_property
    def port_of(self) -> tuple[tuple[str, str], ...]:
        """Per directed link: (device, port) it leaves through; of a host's up link, enters by."""
        found = [("", "")] * self.directed_links
        for device, ports in self.ports.items():
            for port, number in ports.items():
                found[number] = (device, port)
                if number >= 2 * len(self.links):
                    found[number - 1] = (device, port)
        return tuple(found)

    def link_name(self, number: int) -> str:
        """A directed link as people read it, `a>b`."""
        pair, back = divmod(number, 2)
        if pair < len(self.links):
            ends = (self.links[pair].a, self.links[pair].b)
        else:
            host = self.hosts[pair - len(self.links)]
            ends = (host.name, host.device)
        return ">".join(reversed(ends) if back else ends)

    def cables(self, a: str, b: str) -> tuple[int, ...]:
        """The numbers of the links (not directed) between two devices, in either order."""
        return tuple(i for i, link in enumerate(self.links) if {link.a, link.b} == {a, b})

    def resolve(self, name: str) -> tuple[str, ...]:
        """The hosts that a name stands for: `any`, a host, a group or a device. Else KeyError."""
        if name == "any":
            return tuple(host.name for host in self.hosts)
        return (name,) if name in self.host_index else self.groups[name]

    def names(self) -> tuple[str, ...]:
        """Every name that `resolve` knows."""
        return ("any", *self.host_index, *self.groups)


def with_default_hosts(devices: Iterable[Device], hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Give each device that has no host one of its own, named `h-DEVICE`."""
    given = tuple(hosts)
    served = {host.device for host in given}
    return given + tuple(Host(f"h-{d.name}", d.name) for d in devices if d.name not in served)


def describe_address(topology: Topology, name: str) -> str:
    return f"{name} ({format_address(topology.address[name])})"
