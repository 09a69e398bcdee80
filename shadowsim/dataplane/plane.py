"""The compiled data plane: what configs make of packets, as arrays.

`forwarding` makes it, `fluid` and `verify` read it, and the Ryu application turns it into
flows. Directed links are numbered as `Topology` says: switch links first (`edges` of them),
then an up and a down link per host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shadowsim.model.config import AclEntry
from shadowsim.model.topology import Topology

NO_ROUTE, FORWARD, LOCAL, DISCARD = 0, 1, 2, 3
MOST, MOST_BYTES = 32, 2**27

Bits = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Graph:
    """The switch links as arrays. D devices, E directed switch links.

    `tail[E]`, `head[E]`: device each link leaves and enters. `out_start[D + 1]`, `out[E]`: the
    links that leave device d are `out[out_start[d]:out_start[d + 1]]`, ascending; `in_start`,
    `into` likewise for the links that enter it. `host_device[H]`: device of each host.
    """

    tail: Ints
    head: Ints
    out_start: Ints
    out: Ints
    in_start: Ints
    into: Ints
    host_device: Ints

    @property
    def devices(self) -> int:
        return len(self.out_start) - 1

    @property
    def edges(self) -> int:
        return len(self.tail)


@dataclass(frozen=True)
class Plane:
    """Rules for every packet. A atoms of the destination address, N directed links in all.

    `atom_first[A]` (uint32, ascending, first one 0): atom a holds the destinations from
    `atom_first[a]` to just below the next one's; all packets to an atom are routed alike.
    `decision[D, A]` (int8): NO_ROUTE, FORWARD, LOCAL (the destination is on this device's own
    LAN or leaves the network here) or DISCARD (Null0).
    `next_hops[E, ceil(A / 64)]`: bit a (word a // 64, bit a % 64) says that the tail of the link
    forwards atom a over it; more than one such link of a device share the traffic (ECMP). Bits
    stand only on links that are up and only where the decision is FORWARD.
    `host_atom[H]`: the atom of each host's address.
    `filter_out[N]`, `filter_in[N]` (int32): which access list packets meet as they leave by the
    link's tail port and as they enter by its head port; an index of `filters`, -1 for none. An
    up link has only the second, a down link only the first.
    `up[N]`: the link carries packets. `rate_bps[N]`: what it can carry, its rate limit included.
    `mtu_bytes[N]`: the largest packet it carries. `level[D, 3]`: the priority level of each
    traffic class at a device. `routes[D]`: entries its table holds; `refused[D]`: entries that
    did not fit.
    """

    topology: Topology
    graph: Graph
    atom_first: npt.NDArray[np.uint32]
    decision: npt.NDArray[np.int8]
    next_hops: Bits
    host_atom: Ints
    filters: tuple[tuple[AclEntry, ...], ...]
    filter_out: Ints
    filter_in: Ints
    up: npt.NDArray[np.bool_]
    rate_bps: Floats
    mtu_bytes: Ints
    level: npt.NDArray[np.uint8]
    routes: Ints
    refused: Ints

    @property
    def atoms(self) -> int:
        return len(self.atom_first)

    @property
    def like(self) -> int:
        """How many planes like this one may be remembered: as many as states that a change leads
        through, of large networks fewer.
        """
        return max(1, min(MOST, MOST_BYTES // max(self.next_hops.nbytes, 1)))


def refined(plane: Plane, atom_first: np.ndarray) -> Plane:
    """The same plane over smaller atoms; `atom_first` must hold every old boundary."""
    old = np.searchsorted(plane.atom_first, atom_first, side="right") - 1
    flat = np.unpackbits(plane.next_hops.view(np.uint8), axis=1, bitorder="little")[:, old]
    padded = np.zeros((len(flat), -(-len(old) // 64) * 64), dtype=np.uint8)
    padded[:, : len(old)] = flat
    words = np.packbits(padded, axis=1, bitorder="little").view(np.uint64)
    return replace(plane, atom_first=atom_first, next_hops=words, decision=plane.decision[:, old])
