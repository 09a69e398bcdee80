"""Device configs to the compiled data plane: the one compiler that feeds every network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from shadowsim.dataplane.igp import distances, shortest_path_bits
from shadowsim.dataplane.plane import DISCARD, FORWARD, NO_ROUTE, Plane
from shadowsim.dataplane.ports import Ports, graph_of
from shadowsim.dataplane.routes import Rib, Routes, read_routes, routing_inputs, select
from shadowsim.model.address import ADDRESS_SPACE, Prefix
from shadowsim.model.change import Configs
from shadowsim.model.config import AclEntry, DeviceConfig
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES

Addresses = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Physical:
    """What is broken beneath the configs: links that are cut, and tables that have shrunk.

    `down`: directed link numbers. `table_left`: device to the fraction of its table that is left.
    """

    down: frozenset[int] = frozenset()
    table_left: Mapping[str, float] = field(default_factory=dict)


SOUND = Physical()
WHOLE: Addresses = np.zeros(1, dtype=np.uint32)  # one atom of all addresses
WHOLE.flags.writeable = False


class _Covered(NamedTuple):
    """The atoms of these prefixes that are as fine as the `given` ones, and what covers each."""

    prefixes: tuple[Prefix, ...]
    given: Addresses
    first: Addresses
    cover: list[list[int]]

    def is_as_fine_as(self, atoms: Addresses) -> bool:
        """Whether these atoms would lead to the same ones."""
        if atoms is self.first or atoms is self.given:
            return True
        return np.array_equal(self.first, atoms) or np.array_equal(self.given, atoms)


def compile(topology: Topology, configs: Configs, physical: Physical = SOUND) -> Plane:  # noqa: A001
    """The data plane of these configs. Every device of the topology must have one."""
    return Compiler(topology).compile(configs, physical)


class Compiler:
    """Compiles one config set after another, redoing only what the last change touched.

    `compile` is a pure function of its arguments; what is remembered only saves time. All planes
    of one compiler have the same atoms, unless a prefix never seen before came up in between; who
    shares one says which atoms its own planes have had.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.graph = graph_of(topology)
        self._ports = Ports(topology)
        self._configs: dict[str, DeviceConfig] = {}
        self._inputs: dict[str, tuple[object, ...]] = {}
        self._routes: Routes | None = None
        self._first = WHOLE
        self._covered: _Covered | None = None
        devices = len(topology.devices)
        self._table_size = np.zeros(devices, dtype=np.int32)
        self._acl_lines = np.zeros(devices, dtype=np.int32)
        self._level = np.zeros((devices, len(CLASSES)), dtype=np.uint8)
        cables = [link.rate_bps for link in topology.links]
        cables += [host.rate_bps for host in topology.hosts]
        self._rate_bps = np.repeat(np.array(cables, dtype=np.float64), 2)
        addresses = [topology.address[host.name] for host in topology.hosts]
        self._host_address = np.array(addresses, dtype=np.uint32)

    def compile(
        self, configs: Configs, physical: Physical = SOUND, atoms: Addresses | None = None
    ) -> Plane:
        """The data plane of these configs under this physical state.

        Its atoms are at least as fine as `atoms`, their first addresses; if none are given, as
        those of all planes so far that were compiled without.
        """
        routes = self._read(configs)
        ports = self._ports
        up = ports.carries()
        up[list(physical.down)] = False
        cost, usable = ports.cost[: self.graph.edges], up[: self.graph.edges]
        bits, reached = shortest_path_bits(self.graph, cost, usable, routes.origins)
        rib = select(
            self.topology,
            routes,
            unpack(reached, len(routes.origins)),
            up,
            lambda origins: distances(self.graph, cost, usable, origins),
        )
        held, refused = self._fit(rib, physical, routes.discards)
        first, cover = self._atoms(rib.prefixes, self._first if atoms is None else atoms)
        self._first = first if atoms is None else self._first
        decision, target = _longest_match(rib, cover)
        sets = _set_words(rib.sets, bits.shape[1])
        columns = len(routes.origins)
        next_hops = _assemble(self.graph.tail, bits, usable, decision, target, columns, sets)
        filters, filter_out, filter_in = ports.filters(routes.discards)
        return Plane(
            topology=self.topology,
            graph=self.graph,
            atom_first=first,
            decision=decision,
            next_hops=next_hops,
            host_atom=(np.searchsorted(first, self._host_address, "right") - 1).astype(np.int32),
            filters=filters,
            filter_out=filter_out,
            filter_in=filter_in,
            up=up,
            rate_bps=np.minimum(self._rate_bps, ports.limit_bps),
            mtu_bytes=np.minimum(ports.mtu_bytes, ports.mtu_bytes[np.arange(len(up)) ^ 1]),
            level=self._level.copy(),
            routes=held,
            refused=refused,
        )

    def _read(self, configs: Configs) -> Routes:
        """Take in the configs that are not the objects of last time."""
        changed = [n for n in self.topology.device_index if self._configs.get(n) is not configs[n]]
        self._ports.update(configs, changed)
        rerouted = self._routes is None
        for name in changed:
            config, number = configs[name], self.topology.device_index[name]
            self._configs[name] = config
            self._table_size[number] = config.table_size
            self._acl_lines[number] = config.acl_lines
            self._level[number] = [config.qos.get(name, 0) for name in CLASSES]
            inputs = routing_inputs(config)
            rerouted |= self._inputs.get(name) != inputs
            self._inputs[name] = inputs
        if self._routes is None or rerouted:
            self._routes = read_routes(self.topology, configs)
        return self._routes

    def _fit(
        self, rib: Rib, physical: Physical, discards: Mapping[int, tuple[AclEntry, ...]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Entries held and refused per device; what does not fit is taken out of the RIB.

        The lines of access lists come first; of the routes, the last in order are refused.
        """
        wanted = (rib.decision != NO_ROUTE).sum(axis=0).astype(np.int32) + self._acl_lines
        for told, entries in discards.items():
            wanted[told] += len(entries)
        size = self._table_size.copy()
        for name, left in physical.table_left.items():
            size[self.topology.device_index[name]] *= left
        refused = np.maximum(wanted - size, 0)
        for device in np.flatnonzero(refused):
            routed = np.flatnonzero(np.isin(rib.decision[:, device], (FORWARD, DISCARD)))
            out = routed[max(len(routed) - int(refused[device]), 0) :]
            rib.decision[out, device] = NO_ROUTE
        return wanted - refused, refused

    def _atoms(
        self, prefixes: tuple[Prefix, ...], given: Addresses
    ) -> tuple[Addresses, list[list[int]]]:
        """First address of every atom, and the prefixes that cover it, longest first."""
        known = self._covered
        if known is not None and known.prefixes == prefixes and known.is_as_fine_as(given):
            return known.first, known.cover
        edges = {edge for prefix in prefixes for edge in (prefix.first, prefix.last + 1)}
        own = np.array(sorted(edges - {ADDRESS_SPACE}), dtype=np.uint32)
        first = np.union1d(given, own)
        cover: list[list[int]] = [[] for _ in first]
        for p in sorted(range(len(prefixes)), key=lambda p: -prefixes[p].length):
            low = int(np.searchsorted(first, prefixes[p].first, "left"))
            high = int(np.searchsorted(first, prefixes[p].last, "right"))
            for atom in range(low, high):
                cover[atom].append(p)
        self._covered = _Covered(prefixes, given, first, cover)
        return first, cover


def unpack(bits: np.ndarray, columns: int) -> np.ndarray:
    """Rows of 64-bit words to a boolean matrix of that many columns."""
    flat = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    return flat[:, :columns].astype(np.bool_)


def _longest_match(rib: Rib, cover: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Decision and target `[D, A]`: per device, of the longest prefix it has a route to."""
    devices = rib.decision.shape[1]
    decision = np.full((devices, len(cover)), NO_ROUTE, dtype=np.int8)
    target = np.zeros((devices, len(cover)), dtype=np.int32)
    single = [a for a, prefixes in enumerate(cover) if len(prefixes) == 1]
    source = [cover[a][0] for a in single]
    decision[:, single] = rib.decision[source].T
    target[:, single] = rib.target[source].T
    for a, prefixes in enumerate(cover):
        for p in prefixes if len(prefixes) > 1 else ():
            fresh = decision[:, a] == NO_ROUTE
            decision[fresh, a] = rib.decision[p, fresh]
            target[fresh, a] = rib.target[p, fresh]
    return decision, target


def _set_words(sets: tuple[tuple[int, ...], ...], words: int) -> np.ndarray:
    found = np.zeros((len(sets), words), dtype=np.uint64)
    for row, columns in enumerate(sets):
        for column in columns:
            found[row, column >> 6] |= np.uint64(1 << (column & 63))
    return found


@njit(cache=True, nogil=True)
def _assemble(tail, bits, usable, decision, target, columns, sets):  # type: ignore[no-untyped-def]
    atoms = decision.shape[1]
    out = np.zeros((len(tail), (atoms + 63) // 64), np.uint64)
    for e in range(len(tail)):
        if not usable[e]:
            continue
        u = tail[e]
        for a in range(atoms):
            if decision[u, a] != FORWARD:
                continue
            t = target[u, a]
            if t < 0:
                chosen = e == -1 - t
            elif t < columns:
                chosen = (bits[e, t >> 6] >> np.uint64(t & 63)) & np.uint64(1) != 0
            else:
                chosen = False
                for w in range(bits.shape[1]):
                    chosen |= bits[e, w] & sets[t - columns, w] != 0
            if chosen:
                out[e, a >> 6] |= np.uint64(1) << np.uint64(a & 63)
    return out
