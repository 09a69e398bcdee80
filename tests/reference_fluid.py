"""Turns free link rates, caps and paths into the max-min fair rates, the slow and plain way."""

import numpy as np
import numpy.typing as npt


def progressive_filling(
    free_bps: npt.NDArray[np.float64], cap_bps: npt.NDArray[np.float64], paths: list[list[int]]
) -> npt.NDArray[np.float64]:
    """Raise all rates together; a flow stops at its cap or when a link on its path is full.

    Bertsekas & Gallager, "Data Networks", 2nd ed., 6.5.2.
    """
    uses = np.zeros((len(paths), len(free_bps)), bool)
    for flow, path in enumerate(paths):
        uses[flow, path] = True
    rate_bps = np.zeros(len(paths))
    rising = np.ones(len(paths), bool)
    while rising.any():
        crowd = uses[rising].sum(0)
        left_bps = np.maximum(free_bps - rate_bps @ uses, 0)
        room_bps = np.where(crowd > 0, left_bps / np.maximum(crowd, 1), np.inf)
        own_bps = np.minimum(cap_bps - rate_bps, np.where(uses, room_bps, np.inf).min(1))
        step_bps = own_bps[rising].min()
        rate_bps[rising] += step_bps
        rising &= own_bps > step_bps
    return rate_bps
