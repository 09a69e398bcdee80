"""Turns what links have free, paths and caps into the max-min fair rates of the flows.

An allocation is max-min fair when no flow can get more without taking from a flow that has
no more than it.  Equivalently (Bertsekas & Gallager, "Data Networks", 2nd ed., 6.5.2): each
flow is at its cap, or has a *bottleneck* link, which is full and on which no flow gets more.

`share_out` finds it by local bottlenecks.  The share of a link (what is left of it over the
flows still open on it) can only grow while flows are closed at or below it.  So a flow whose cap
is below every share on its path can be closed at once, and so can all the flows of a link whose
share is the least on each of their paths.  The link with the least share of all is always such
a link, hence every round closes something.  A link that is not remembers one witness against it
(an open flow, and the tighter link on its path), so that most looks at a link cost three reads.

Paths are rows of link numbers, none twice, of which the first `hops` are read.  They are
*unsigned*: numba indexes with those without a test for negative ones, which saves a quarter.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.uint32]
Marks = npt.NDArray[np.uint8]
Kernel = TypeVar("Kernel", bound=Callable[..., object])

OPEN = -1.0  # stands for the rate of a flow that has none yet


def compiled(function: Kernel) -> Kernel:
    """Compile `function` on its first call, keep the machine code on disk, release the GIL."""
    return cast(Kernel, njit(cache=True, nogil=True, error_model="numpy")(function))


class Sharing(NamedTuple):
    """The working memory of `share_out`; between calls only `crowd` matters, all zero."""

    crowd: Ints  # [L] open flows on the link
    share_bps: Floats  # [L] what is left of the link over `crowd`
    used: Numbers  # [L + 1] links with open flows; one more for a write that is then dropped
    row: Numbers  # [F * H] flows, link after link
    begin: Ints  # [L] where the link's flows begin in `row`
    end: Ints  # [L] and end
    witness: Ints  # [L] a flow that keeps the link from being a bottleneck, or -1
    tighter: Numbers  # [L] the link on its path with the lesser share


@compiled
def sharing(n_links: int, n_hops: int) -> Sharing:
    """Make working memory for `n_links` links and paths of `n_hops` hops in all."""
    return Sharing(
        np.zeros(n_links, np.int32),
        np.empty(n_links, np.float64),
        np.empty(n_links + 1, np.uint32),
        np.empty(n_hops, np.uint32),
        np.empty(n_links, np.int32),
        np.empty(n_links, np.int32),
        np.empty(n_links, np.int32),
        np.empty(n_links, np.uint32),
    )


@compiled
def share_out(
    free_bps: Floats,
    cap_bps: Floats,
    links: Numbers,
    hops: Ints,
    flows: Numbers,
    n_flows: int,
    rate_bps: Floats,
    taken_bps: Floats,
    work: Sharing,
) -> None:
    """Give the first `n_flows` of the list `flows` their max-min fair rates in `free_bps`.

    Writes `rate_bps` of those flows and `taken_bps`, the sum of the rates, of the links on
    their paths; nothing else but `work` and the order of `flows`.
    """
    # Each array out of the tuple once: inside the loops numba would count references to them.
    crowd, share_bps, used, row, begin, end, witness, tighter = work
    n_used = _count(
        free_bps, links, hops, flows, n_flows, rate_bps, taken_bps, crowd, share_bps, used
    )
    left = 0
    for i in range(n_flows):
        flow = flows[i]
        least_bps, _ = _tightest(flow, links, hops, share_bps)
        if cap_bps[flow] <= least_bps:
            rate_bps[flow] = cap_bps[flow]
            _take(flow, rate_bps, free_bps, links, hops, taken_bps, crowd, share_bps)
        else:
            flows[left] = flow
            left += 1
    _list_by_link(links, hops, flows, left, crowd, used, n_used, row, begin, end)
    for i in range(n_used):
        witness[used[i]] = -1
    # One long loop, because numba counts references at each call that it cannot weave in.
    while n_used > 0:
        kept = 0
        for i in range(n_used):
            link = used[i]
            if crowd[link] == 0:
                continue
            against = witness[link]
            blocked = (
                against >= 0
                and rate_bps[against] == OPEN
                and share_bps[tighter[link]] < share_bps[link]
            )
            grown = False
            j = begin[link]
            while not blocked and j < end[link]:
                flow = row[j]
                if rate_bps[flow] == OPEN:
                    least_bps, where = _tightest(flow, links, hops, share_bps)
                    if cap_bps[flow] <= least_bps:
                        rate_bps[flow] = cap_bps[flow]
                        _take(flow, rate_bps, free_bps, links, hops, taken_bps, crowd, share_bps)
                        grown = True
                    elif least_bps < share_bps[link]:
                        blocked = True
                        witness[link] = flow
                        tighter[link] = where
                if rate_bps[flow] == OPEN:
                    j += 1
                else:
                    end[link] -= 1
                    row[j] = row[end[link]]
                if j == end[link] and grown:  # the share has grown past some flow's cap, maybe
                    j = begin[link]
                    grown = False
            if blocked:
                used[kept] = link
                kept += 1
                continue
            bottleneck_bps = share_bps[link]
            for j in range(begin[link], end[link]):
                rate_bps[row[j]] = bottleneck_bps
                _take(row[j], rate_bps, free_bps, links, hops, taken_bps, crowd, share_bps)
        n_used = kept


@compiled
def _count(
    free_bps: Floats,
    links: Numbers,
    hops: Ints,
    flows: Numbers,
    n_flows: int,
    rate_bps: Floats,
    taken_bps: Floats,
    crowd: Ints,
    share_bps: Floats,
    used: Numbers,
) -> int:
    """Open all the flows; list the links on their paths, with crowd and share."""
    n_used = 0
    for i in range(n_flows):
        flow = flows[i]
        rate_bps[flow] = OPEN
        for hop in range(hops[flow]):
            link = links[flow, hop]
            used[n_used] = link
            n_used += crowd[link] == 0
            crowd[link] += 1
            taken_bps[link] = 0.0
    for i in range(n_used):
        link = used[i]
        share_bps[link] = max(0.0, free_bps[link]) / crowd[link]
    return n_used


@compiled
def _tightest(flow: int, links: Numbers, hops: Ints, share_bps: Floats) -> tuple[float, np.uint32]:
    """Return the least share on the flow's path, and its link."""
    least_bps = np.inf
    where = np.uint32(0)
    for hop in range(hops[flow]):
        link = links[flow, hop]
        share = share_bps[link]
        where = link if share < least_bps else where
        least_bps = share if share < least_bps else least_bps
    return least_bps, where


@compiled
def _take(
    flow: int,
    rate_bps: Floats,
    free_bps: Floats,
    links: Numbers,
    hops: Ints,
    taken_bps: Floats,
    crowd: Ints,
    share_bps: Floats,
) -> None:
    """Take the rate of a flow just closed from its links; the others there share what is left."""
    for hop in range(hops[flow]):
        link = links[flow, hop]
        crowd[link] -= 1
        taken_bps[link] += rate_bps[flow]
        left_bps = free_bps[link] - taken_bps[link]
        left_bps = left_bps if left_bps > 0.0 else 0.0
        share_bps[link] = left_bps / crowd[link] if crowd[link] > 0 else np.inf


@compiled
def _list_by_link(
    links: Numbers,
    hops: Ints,
    flows: Numbers,
    n_flows: int,
    crowd: Ints,
    used: Numbers,
    n_used: int,
    row: Numbers,
    begin: Ints,
    end: Ints,
) -> None:
    """List the open flows of each used link in `row` (a counting sort)."""
    at = 0
    for i in range(n_used):
        link = used[i]
        begin[link] = at
        end[link] = at
        at += crowd[link]
    for i in range(n_flows):
        flow = flows[i]
        for hop in range(hops[flow]):
            link = links[flow, hop]
            row[end[link]] = flow
            end[link] += 1
