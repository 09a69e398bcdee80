"""Two data planes of one topology to whether packets are treated alike under both."""

from __future__ import annotations

import numpy as np

from shadowsim.dataplane.plane import Plane

SAME = ("filter_out", "filter_in", "up", "rate_bps", "mtu_bytes", "level")
LINKS_AT_ONCE = 4096  # whose next hops are told bit by bit


def alike(one: Plane, two: Plane) -> bool:
    """Whether every packet meets the same rules, however finely either cuts the addresses.

    The same lists in another order count as others.
    """
    if one.filters != two.filters:
        return False
    if not all(np.array_equal(getattr(one, name), getattr(two, name)) for name in SAME):
        return False
    if np.array_equal(one.atom_first, two.atom_first):
        return np.array_equal(one.decision, two.decision) and np.array_equal(
            one.next_hops, two.next_hops
        )
    first = np.union1d(one.atom_first, two.atom_first)
    a, b = (np.searchsorted(plane.atom_first, first, side="right") - 1 for plane in (one, two))
    return np.array_equal(one.decision[:, a], two.decision[:, b]) and all(
        np.array_equal(_bits(one, links, a), _bits(two, links, b))
        for begin in range(0, len(one.next_hops), LINKS_AT_ONCE)
        for links in [slice(begin, begin + LINKS_AT_ONCE)]
    )


def _bits(plane: Plane, links: slice, atoms: np.ndarray) -> np.ndarray:
    """`[links, atoms]`: 1 where the link's tail forwards the atom over it."""
    words = plane.next_hops[links][:, atoms >> 6]
    found: np.ndarray = words >> (atoms & 63).astype(np.uint64) & np.uint64(1)
    return found
