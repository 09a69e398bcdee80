"""Turns access lists into the few classes of packets that they can tell apart, their atoms.

Atoms are the *atomic predicates* of the lists: the coarsest division of all packets in which
every list permits whole parts only, so that a set of packets is a set of numbers (Yang & Lam,
"Real-time verification of network properties using atomic predicates", ICNP 2013 and IEEE/ACM
Trans. Networking 24(2), 2016).

A list entry is a box over (source address, destination address, protocol, source port,
destination port). The addresses that packets can bear are those of the hosts, so address ranges
come down to classes of hosts; what is left is cut at every boundary of a box into cells, in each
of which one packet speaks for all. The result is exact for every packet from a host to a host.

Only TCP and UDP have ports: a condition on ports never holds for other packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.plane import Bits, Ints
from shadowsim.model.address import Prefix
from shadowsim.model.config import AclEntry
from shadowsim.model.words import PROTOCOLS

Bools = npt.NDArray[np.bool_]
Filters = tuple[tuple[AclEntry, ...], ...]

PORTED = (6, 17)
UNNAMED = 47  # GRE, in place of every protocol that the config language has no name for
PORTLESS = tuple(sorted({UNNAMED, *filter(None, PROTOCOLS.values())} - set(PORTED)))


class Packet(NamedTuple):
    """The header of a packet less its addresses; ports are 0 where the protocol has none."""

    protocol: int
    source_port: int
    destination_port: int

    def __str__(self) -> str:
        names = {number: name for name, number in PROTOCOLS.items() if number is not None}
        name = names.get(self.protocol, f"protocol {self.protocol}")
        if self.protocol not in PORTED:
            return name
        return f"{name} port {self.source_port} to port {self.destination_port}"


class Flow(NamedTuple):
    """Packets of a protocol ("ip": all) to a destination port (None: all)."""

    protocol: str
    port: int | None

    @property
    def ports(self) -> tuple[int, int] | None:
        return None if self.port is None else (self.port, self.port)


class Space(NamedTuple):
    """The packets of a flow less those of other flows."""

    flow: Flow
    without: frozenset[Flow] = frozenset()


@dataclass(frozen=True)
class HeaderAtoms:
    """The atoms of F access lists, numbered; a set of them is W words of bits.

    Which atoms there are between two hosts depends on the *pattern* of the pair alone, the set
    of list entries whose addresses fit it: `pattern[source_class[s], destination_class[d]]`.
    `permits[F + 1, W]`: the atoms that each list lets pass; all of them for number -1, no list.
    `present[S, P, W]`: the atoms that occur in each space between hosts of each pattern.
    `cell_packet[N, 3]`, `cell_pattern[N]`, `cell_atom[N]`, `cell_space[S, N]`: a packet out of
    every cell, the pattern it occurs with, its atom and the spaces it is in.
    """

    filters: Filters
    source_class: Ints
    destination_class: Ints
    pattern: Ints
    permits: Bits
    present: Bits
    cell_packet: Ints
    cell_pattern: Ints
    cell_atom: Ints
    cell_space: Bools

    def example(self, space: int, pattern: int, atom: int) -> Packet:
        """A packet of that space and atom between hosts of that pattern."""
        fits = (self.cell_pattern == pattern) & (self.cell_atom == atom) & self.cell_space[space]
        return Packet(*map(int, self.cell_packet[np.argmax(fits)]))


def header_atoms(
    filters: Filters, addresses: npt.NDArray[np.uint32], spaces: Sequence[Space]
) -> HeaderAtoms:
    """The atoms of these lists among the packets between hosts of these addresses.

    `addresses[H]`: of every host. `spaces`: what will be asked of `present`.
    """
    entries = [(number, entry) for number, acl in enumerate(filters) for entry in acl]
    sources, source_class = _classes(addresses, [entry.source for _, entry in entries])
    targets, destination_class = _classes(addresses, [entry.destination for _, entry in entries])
    fits = sources[:, None, :] & targets[None, :, :]
    patterns, pattern = distinct_rows(fits.reshape(len(sources) * len(targets), len(entries)))
    flows = {flow for space in spaces for flow in (space.flow, *space.without)}
    cells = [
        _cells([entries[i] for i in np.flatnonzero(row)], len(filters), flows) for row in patterns
    ]
    packets = np.concatenate([packets for packets, _ in cells])
    cell_pattern = np.repeat(np.arange(len(cells)), [len(packets) for packets, _ in cells])
    atoms, cell_atom = distinct_rows(np.concatenate([permitted for _, permitted in cells]))
    cell_space = np.array([_in_space(packets, space) for space in spaces], dtype=np.bool_)
    present = np.zeros((len(spaces), len(patterns), len(atoms)), dtype=np.bool_)
    for here, inside in zip(present, cell_space, strict=True):
        here[cell_pattern[inside], cell_atom[inside]] = True
    everything = np.ones((1, len(atoms)), dtype=np.bool_)
    return HeaderAtoms(
        filters=filters,
        source_class=source_class,
        destination_class=destination_class,
        pattern=pattern.reshape(len(sources), len(targets)),
        permits=_packed(np.concatenate([atoms.T, everything])),
        present=_packed(present),
        cell_packet=packets,
        cell_pattern=cell_pattern.astype(np.int32),
        cell_atom=cell_atom,
        cell_space=cell_space,
    )


def permits(entries: Iterable[AclEntry], source: int, destination: int, packet: Packet) -> bool:
    """Whether an access list lets a packet pass: the first match decides, no match denies."""
    one = np.array([packet], dtype=np.int32)
    for entry in entries:
        addressed = entry.source.first <= source <= entry.source.last
        addressed &= entry.destination.first <= destination <= entry.destination.last
        if addressed and _in_entry(one, entry)[0]:
            return entry.permit
    return False


def distinct_rows(bits: Bools) -> tuple[Bools, Ints]:
    """The distinct rows of a matrix, and for each of its rows which one it is."""
    # The column of ones lets matrices without columns pass: all their rows are the same.
    packed = np.packbits(np.column_stack([np.ones(len(bits), np.bool_), bits]), axis=1)
    rows = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    return bits[first], which.astype(np.int32)


def _classes(addresses: npt.NDArray[np.uint32], prefixes: Sequence[Prefix]) -> tuple[Bools, Ints]:
    """Which prefixes hold each class of addresses `[classes, prefixes]`, and the class of each."""
    first = np.array([prefix.first for prefix in prefixes], dtype=np.uint32)
    last = np.array([prefix.last for prefix in prefixes], dtype=np.uint32)
    return distinct_rows((first <= addresses[:, None]) & (addresses[:, None] <= last))


def _cells(
    entries: Sequence[tuple[int, AclEntry]], lists: int, flows: Iterable[Flow]
) -> tuple[Ints, Bools]:
    """A packet `[N, 3]` out of every region the entries cut, and which lists permit it `[N, F]`."""
    from_ports = _starts(entry.source_ports for _, entry in entries)
    to_ports = _starts(
        [*(entry.destination_ports for _, entry in entries), *(flow.ports for flow in flows)]
    )
    packets = np.array(
        [*product(PORTED, from_ports, to_ports), *product(PORTLESS, (0,), (0,))], dtype=np.int32
    )
    permitted = np.zeros((len(packets), lists), dtype=np.bool_)
    for number, entry in reversed(entries):
        permitted[_in_entry(packets, entry), number] = entry.permit
    return packets, permitted


def _starts(ranges: Iterable[tuple[int, int] | None]) -> list[int]:
    """The first port of every stretch between boundaries of the ranges."""
    bounds = {bound for ports in ranges if ports for bound in (ports[0], ports[1] + 1)}
    return sorted(bound for bound in {0, *bounds} if bound < 1 << 16)


def _in_entry(packets: Ints, entry: AclEntry) -> Bools:
    return _inside(packets, entry.protocol, entry.source_ports, entry.destination_ports)


def _in_space(packets: Ints, space: Space) -> Bools:
    inside = _inside(packets, space.flow.protocol, None, space.flow.ports)
    for flow in space.without:
        inside &= ~_inside(packets, flow.protocol, None, flow.ports)
    return inside


def _inside(
    packets: Ints,
    protocol: str,
    source_ports: tuple[int, int] | None,
    destination_ports: tuple[int, int] | None,
) -> Bools:
    """Which of the packets `[N, 3]` have that protocol and ports in those ranges."""
    number = PROTOCOLS[protocol]
    inside = np.ones(len(packets), np.bool_) if number is None else packets[:, 0] == number
    for column, ports in ((1, source_ports), (2, destination_ports)):
        if ports is not None:
            inside &= np.isin(packets[:, 0], PORTED)
            inside &= (ports[0] <= packets[:, column]) & (packets[:, column] <= ports[1])
    return inside


def _packed(bits: Bools) -> Bits:
    """`[..., K]` to `[..., ceil(K / 64)]`: bit k stands in word k // 64 at k % 64."""
    padding = [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % 64)]
    padded = np.ascontiguousarray(np.pad(bits, padding))
    packed = np.packbits(padded, axis=-1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)
