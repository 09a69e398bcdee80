"""Turns link rates, paths and caps into the max-min fair allocation, whole or one change at a time.

An allocation is max-min fair when no flow can get more without taking from a flow that has
no more than it.  Equivalently (Bertsekas & Gallager, "Data Networks", 2nd ed., 6.5.2): each
flow is at its cap, or has a *bottleneck* link, which is full and on which no flow gets more.

`share_out` finds it by local bottlenecks: the fair share of a link (what is left of it over the
flows still open on it) can only grow while flows are fixed at or below it, so a flow whose cap
is below every share on its path can be fixed at once, and so can all the flows of a link whose
share is the least on each of their paths.  The link with the least share of all is always such
a link, hence every round fixes something; usually a few rounds fix everything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Marks = npt.NDArray[np.uint8]
Kernel = TypeVar("Kernel", bound=Callable[..., object])

SLACK = 1e-10  # relative difference between rates that counts as rounding


def compiled(function: Kernel) -> Kernel:
    """Compile `function` on its first call, keep the machine code on disk, release the GIL."""
    kernel: Kernel = njit(cache=True, nogil=True, error_model="numpy")(function)
    return kernel


@compiled
def share_out(
    free_bps: Floats,
    cap_bps: Floats,
    links: Ints,
    hops: Ints,
    flows: Ints,
    n_flows: int,
    rate_bps: Floats,
    taken_bps: Floats,
    full: Marks,
    crowd: Ints,
    used: Ints,
    share_bps: Floats,
    steady: Marks,
) -> int:
    """Give the first `n_flows` of the list `flows` their max-min fair rates in `free_bps`.

    Writes `rate_bps` of those flows and, for the links on their paths, `taken_bps` (the sum of
    the rates) and `full` (1 where a flow is held below its cap); nothing else.  Returns how many
    links that are.  `flows` is used up; `used`, `share_bps`, `steady` are scratch of the size of
    the links; `crowd` must be all zero and is left so.
    """
    n_used = 0
    for i in range(n_flows):
        flow = flows[i]
        for hop in range(hops[flow]):
            link = links[flow, hop]
            if crowd[link] == 0:
                used[n_used] = link
                n_used += 1
                taken_bps[link] = 0.0
                full[link] = 0
            crowd[link] += 1
    touched = n_used
    while n_flows > 0:
        n_used = _set_shares(used, n_used, crowd, free_bps, taken_bps, share_bps, steady)
        # First pass: fix the flows whose cap is below every share on their path, and find the
        # links whose share is not the least on the path of some flow.
        left = 0
        for i in range(n_flows):
            flow = flows[i]
            least = np.inf
            for hop in range(hops[flow]):
                least = min(least, share_bps[links[flow, hop]])
            capped = cap_bps[flow] <= least
            if capped:
                least = cap_bps[flow]
            else:
                flows[left] = flow
                left += 1
            rate_bps[flow] = least
            for hop in range(hops[flow]):
                link = links[flow, hop]
                if share_bps[link] > least:
                    steady[link] = 0
                if capped:
                    crowd[link] -= 1
                    taken_bps[link] += least
        # Second pass: fix the flows that meet one of the other links, their bottleneck.
        n_flows = 0
        for i in range(left):
            flow = flows[i]
            held = False
            for hop in range(hops[flow]):
                if steady[links[flow, hop]]:
                    held = True
            if not held:
                flows[n_flows] = flow
                n_flows += 1
                continue
            for hop in range(hops[flow]):
                link = links[flow, hop]
                crowd[link] -= 1
                taken_bps[link] += rate_bps[flow]
                full[link] |= steady[link]
    return touched


@compiled
def _set_shares(
    used: Ints,
    n_used: int,
    crowd: Ints,
    free_bps: Floats,
    taken_bps: Floats,
    share_bps: Floats,
    steady: Marks,
) -> int:
    """Set the fair share of each link that still has open flows; drop the others from `used`."""
    kept = 0
    for i in range(n_used):
        link = used[i]
        if crowd[link] > 0:
            used[kept] = link
            kept += 1
            share_bps[link] = max(0.0, free_bps[link] - taken_bps[link]) / crowd[link]
            steady[link] = 1
    return kept
