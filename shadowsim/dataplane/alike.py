"""Two data planes of one topology to whether packets are treated alike under both."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.plane import Plane

OF_LINKS = ("filter_out", "filter_in", "up", "rate_bps", "mtu_bytes", "level")


def alike(one: Plane, two: Plane) -> bool:
    """Whether every packet meets the same rules, however finely either cuts the addresses."""
    if one.filters != two.filters:
        return False
    if not all(np.array_equal(getattr(one, name), getattr(two, name)) for name in OF_LINKS):
        return False
    if np.array_equal(one.atom_first, two.atom_first):
        mine, others = (one.decision, one.next_hops), (two.decision, two.next_hops)
    else:
        first = np.union1d(one.atom_first, two.atom_first)
        mine, others = _routes(one, first), _routes(two, first)
    return np.array_equal(mine[0], others[0]) and np.array_equal(mine[1], others[1])


def _routes(plane: Plane, first: npt.NDArray[np.uint32]) -> tuple[np.ndarray, np.ndarray]:
    """Decisions and next hops, bit by bit, of the atoms that begin at `first`."""
    atom = np.searchsorted(plane.atom_first, first, side="right") - 1
    bits = np.unpackbits(plane.next_hops.view(np.uint8), axis=1, bitorder="little")
    return plane.decision[:, atom], bits[:, atom]
