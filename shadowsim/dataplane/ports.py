"""Interface sections of configs to arrays over links: who may pass, how fast, at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from shadowsim.dataplane.plane import Graph
from shadowsim.model.address import ANY
from shadowsim.model.change import Configs
from shadowsim.model.config import AclEntry, DeviceConfig, Interface
from shadowsim.model.topology import Topology

HOST_SIDE_MTU = 9216
NO_DISCARDS: Mapping[int, tuple[AclEntry, ...]] = MappingProxyType({})
ALL_ELSE = (AclEntry(2**31 - 1, True, "ip", ANY, None, ANY, None),)
CLOSED = Interface("", shutdown=True)  # what a port without a config is


def graph_of(topology: Topology) -> Graph:
    """The switch links of a topology as arrays."""
    index = topology.device_index
    ends = [(index[link.a], index[link.b]) for link in topology.links]
    tail = np.array([end for a, b in ends for end in (a, b)], dtype=np.int32)
    head = np.array([end for a, b in ends for end in (b, a)], dtype=np.int32)
    out_start, out = _grouped(tail, len(topology.devices))
    in_start, into = _grouped(head, len(topology.devices))
    hosts = np.array([index[host.device] for host in topology.hosts], dtype=np.int32)
    return Graph(tail, head, out_start, out, in_start, into, hosts)


def _grouped(key: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.zeros(groups + 1, dtype=np.int32)
    np.cumsum(np.bincount(key, minlength=groups), out=start[1:])
    return start, np.argsort(key, kind="stable").astype(np.int32)


class Ports:
    """The port side of a data plane, kept up to date device by device.

    Arrays over directed links n, each about the port that n leaves through: `open`, `cost`,
    `mtu_bytes`, `limit_bps` (inf: none). A host's side of its cable is always open. `acl_in`
    and `acl_out` hold the access lists of the ports that have one.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        links = topology.directed_links
        self.open = np.zeros(links, dtype=np.bool_)
        self.open[2 * len(topology.links) :: 2] = True
        self.cost = np.ones(links, dtype=np.int32)
        self.mtu_bytes = np.full(links, HOST_SIDE_MTU, dtype=np.int32)
        self.limit_bps = np.full(links, np.inf)
        self.acl_in: dict[int, tuple[AclEntry, ...]] = {}
        self.acl_out: dict[int, tuple[AclEntry, ...]] = {}

    def update(self, configs: Configs, devices: Iterable[str]) -> None:
        """Read the configs of these devices anew."""
        for device in devices:
            self._update(configs[device], self._topology.ports[device])

    def _update(self, config: DeviceConfig, ports: Mapping[str, int]) -> None:
        interfaces = [config.interfaces.get(port, CLOSED) for port in ports]
        numbers = [*ports.values()]
        self.open[numbers] = [not i.shutdown for i in interfaces]
        self.cost[numbers] = [i.cost for i in interfaces]
        self.mtu_bytes[numbers] = [i.mtu_bytes for i in interfaces]
        limits = [i.rate_limit_bps for i in interfaces]
        self.limit_bps[numbers] = [np.inf if limit is None else float(limit) for limit in limits]
        for number, interface in zip(numbers, interfaces, strict=True):
            if interface.acl_in or number in self.acl_in:
                _set(self.acl_in, number, config.permitted(interface.acl_in))
            if interface.acl_out or number in self.acl_out:
                _set(self.acl_out, number, config.permitted(interface.acl_out))

    def carries(self) -> np.ndarray:
        """Per directed link: both its ports are open and, between switches, agree on the MTU.

        OSPF forms no adjacency over a link whose ends differ in MTU (RFC 2328, 10.6).
        """
        other = np.arange(len(self.open)) ^ 1
        agree = self.mtu_bytes == self.mtu_bytes[other]
        agree[2 * len(self._topology.links) :] = True
        carries: np.ndarray = self.open & self.open[other] & agree
        return carries

    def filters(
        self, discards: Mapping[int, tuple[AclEntry, ...]] = NO_DISCARDS
    ) -> tuple[tuple[tuple[AclEntry, ...], ...], np.ndarray, np.ndarray]:
        """Distinct access lists in use, and their number per directed link: (lists, out, in).

        `discards[device]` stands before what any port of the device says of what enters by it.
        """
        lists: dict[tuple[AclEntry, ...], int] = {}
        acl_in = dict(self.acl_in)
        for device, entries in discards.items():
            for number in self._topology.ports[self._topology.devices[device].name].values():
                acl_in[number] = entries + self.acl_in.get(number, ALL_ELSE)
        outward = _numbers(self.acl_out, lists, len(self.open))
        inward = _numbers(acl_in, lists, len(self.open))
        return tuple(lists), outward, inward[np.arange(len(self.open)) ^ 1]


def _set(
    found: dict[int, tuple[AclEntry, ...]], key: int, value: tuple[AclEntry, ...] | None
) -> None:
    if value:
        found[key] = value
    else:
        found.pop(key, None)


def _numbers(
    acls: Mapping[int, tuple[AclEntry, ...]], lists: dict[tuple[AclEntry, ...], int], links: int
) -> np.ndarray:
    numbers = np.full(links, -1, dtype=np.int32)
    for port in sorted(acls):
        numbers[port] = lists.setdefault(acls[port], len(lists))
    return numbers
