"""Turns link rates, paths and caps into the max-min fair allocation, whole or one change at a time.

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

Beware when editing: numba's cache on disk notices edits of a kernel's own file only.  Compiled
callers in other files (`fluid`) keep the old code until they are touched, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.uint32]
Marks = npt.NDArray[np.uint8]
Kernel = TypeVar("Kernel", bound=Callable[..., object])

SLACK = 1e-10  # relative difference between rates that counts as rounding
OPEN = -1.0  # stands for the rate of a flow that has none yet
MOST_STEPS = 8  # growths of the set that a change touches, before all is solved anew


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


@dataclass(frozen=True, slots=True)
class Allocation:
    """A max-min fair allocation that `change_rate` keeps fair; its arrays change in place.

    Read `rate_bps` and `link_load_bps`; the rest is the network and working memory.
    """

    link_rate_bps: Floats  # [L]
    cap_bps: Floats  # [F]
    links: Numbers  # [F, H]
    hops: Ints  # [F]
    rate_bps: Floats  # [F] what each flow gets
    link_load_bps: Floats  # [L] the sum over the flows of the link
    peak_bps: Floats  # [L] the largest rate on the link
    row: Numbers  # flows, link after link
    begin: Ints  # [L + 1] where each link's flows begin in `row`
    free_bps: Floats  # [L] working memory from here on
    taken_bps: Floats  # [L]
    members: Numbers  # [F] the flows being solved again
    listed: Numbers  # [F] a copy of them, which `share_out` uses up
    touched: Numbers  # [L] the links on their paths
    member: Marks  # [F]
    seen: Marks  # [L]
    sharing: Sharing


def start(link_rate_bps: Floats, cap_bps: Floats, links: Ints, hops: Ints) -> Allocation:
    """Solve one network of elastic flows and keep all that later changes need.

    Takes the link rates [L], the flows' caps [F], and their paths: link numbers [F, H], of which
    the first `hops` [F] count.  A flow with hops -1 is not delivered and gets nothing.
    """
    rate = np.array(link_rate_bps, np.float64)
    paths = np.array(links, np.int32)
    lengths = np.array(hops, np.int32)
    caps = np.where(lengths < 0, 0.0, cap_bps).astype(np.float64)
    n_links, n_flows = rate.size, caps.size
    used = paths[np.arange(paths.shape[1]) < lengths[:, None]]
    if used.size and (used.min() < 0 or used.max() >= n_links):
        raise ValueError(f"a path names a link outside 0..{n_links - 1}")
    users = np.repeat(np.arange(n_flows), np.maximum(lengths, 0))
    begin = np.zeros(n_links + 1, np.int32)
    np.cumsum(np.bincount(used, minlength=n_links), out=begin[1:])
    allocation = Allocation(
        link_rate_bps=rate,
        cap_bps=caps,
        links=paths.view(np.uint32),
        hops=lengths,
        rate_bps=np.zeros(n_flows),
        link_load_bps=np.zeros(n_links),
        peak_bps=np.zeros(n_links),
        row=users[np.argsort(used, kind="stable")].astype(np.uint32),
        begin=begin,
        free_bps=np.zeros(n_links),
        taken_bps=np.zeros(n_links),
        members=np.zeros(n_flows, np.uint32),
        listed=np.zeros(n_flows, np.uint32),
        touched=np.zeros(n_links, np.uint32),
        member=np.zeros(n_flows, np.uint8),
        seen=np.zeros(n_links, np.uint8),
        sharing=sharing(n_links, paths.size),
    )
    _run(allocation, -1)
    return allocation


def change_rate(allocation: Allocation, flow: int, cap_bps: float) -> int:
    """Change one flow's cap, in place, and solve again only what the change touches.

    The result satisfies the max-min condition to `SLACK`, hence equals a full solve to rounding.
    Returns how many flows were solved again.
    """
    if not 0 <= flow < allocation.cap_bps.size:
        raise ValueError(f"no flow {flow}: there are {allocation.cap_bps.size}")
    if not 0 <= cap_bps < np.inf:
        raise ValueError(f"a rate of {cap_bps} bit/s: it must be finite and not negative")
    if allocation.hops[flow] < 0:
        return 0
    allocation.cap_bps[flow] = cap_bps
    return _run(allocation, flow)


def _run(a: Allocation, flow: int) -> int:
    """Call the kernel on the arrays of `a`."""
    return _update(
        a.link_rate_bps, a.cap_bps, a.links, a.hops, a.rate_bps, a.link_load_bps, a.peak_bps,
        a.row, a.begin, a.free_bps, a.taken_bps, a.members, a.listed, a.touched, a.member,
        a.seen, a.sharing, flow,
    )  # fmt: skip


@compiled
def _update(
    link_rate_bps: Floats,
    cap_bps: Floats,
    links: Numbers,
    hops: Ints,
    rate_bps: Floats,
    link_load_bps: Floats,
    peak_bps: Floats,
    row: Numbers,
    begin: Ints,
    free_bps: Floats,
    taken_bps: Floats,
    members: Numbers,
    listed: Numbers,
    touched: Numbers,
    member: Marks,
    seen: Marks,
    work: Sharing,
    flow: int,
) -> int:
    """Solve a growing set of flows, the rest held, until all meet the max-min condition.

    The set starts as `flow`, or as all flows if that is -1.
    """
    n_flows = rate_bps.size
    n_members = 0
    if flow >= 0:
        n_members = _join(flow, members, n_members, member)
    n_touched = 0
    listed_so_far = 0
    for step in range(MOST_STEPS + 1):
        if flow < 0 or step == MOST_STEPS or 8 * n_members > max(n_flows, 256):
            for other in range(n_flows):
                n_members = _join(other, members, n_members, member)
        for i in range(listed_so_far, n_members):
            for hop in range(hops[members[i]]):
                link = links[members[i], hop]
                if not seen[link]:
                    seen[link] = 1
                    touched[n_touched] = link
                    n_touched += 1
        listed_so_far = n_members
        for i in range(n_touched):
            free_bps[touched[i]] = link_rate_bps[touched[i]] - link_load_bps[touched[i]]
        for i in range(n_members):
            listed[i] = members[i]
            for hop in range(hops[members[i]]):
                free_bps[links[members[i], hop]] += rate_bps[members[i]]
        share_out(free_bps, cap_bps, links, hops, listed, n_members, rate_bps, taken_bps, work)
        for i in range(n_touched):
            _sum_link(touched[i], row, begin, rate_bps, link_load_bps, peak_bps)
        if n_members == n_flows:
            break
        for i in range(n_touched):
            for j in range(begin[touched[i]], begin[touched[i] + 1]):
                if not _fair(
                    row[j], link_rate_bps, cap_bps, links, hops, rate_bps, link_load_bps, peak_bps
                ):
                    n_members = _join_rivals(
                        row[j], link_rate_bps, links, hops, rate_bps, link_load_bps,
                        row, begin, members, n_members, member,
                    )  # fmt: skip
        if n_members == listed_so_far:
            break
    for i in range(n_members):
        member[members[i]] = 0
    for i in range(n_touched):
        seen[touched[i]] = 0
    return n_members


@compiled
def _join(flow: int, members: Numbers, n_members: int, member: Marks) -> int:
    """Add the flow to the set unless it is there; return the size of the set."""
    if not member[flow]:
        member[flow] = 1
        members[n_members] = flow
        n_members += 1
    return n_members


@compiled
def _sum_link(
    link: int, row: Numbers, begin: Ints, rate_bps: Floats, load_bps: Floats, peak_bps: Floats
) -> None:
    """Set the load and the peak of the link anew, so that rounding cannot pile up."""
    load = 0.0
    peak = 0.0
    for i in range(begin[link], begin[link + 1]):
        load += rate_bps[row[i]]
        peak = max(peak, rate_bps[row[i]])
    load_bps[link] = load
    peak_bps[link] = peak


@compiled
def _fair(
    flow: int,
    link_rate_bps: Floats,
    cap_bps: Floats,
    links: Numbers,
    hops: Ints,
    rate_bps: Floats,
    load_bps: Floats,
    peak_bps: Floats,
) -> bool:
    """Tell whether the flow is at its cap, or no flow gets more on some full link of its path."""
    rate = rate_bps[flow]
    if cap_bps[flow] * (1.0 - SLACK) <= rate <= cap_bps[flow]:
        return True
    for hop in range(hops[flow]):
        link = links[flow, hop]
        full = load_bps[link] >= link_rate_bps[link] * (1.0 - SLACK)
        if full and peak_bps[link] * (1.0 - SLACK) <= rate:
            return True
    return False


@compiled
def _join_rivals(
    flow: int,
    link_rate_bps: Floats,
    links: Numbers,
    hops: Ints,
    rate_bps: Floats,
    load_bps: Floats,
    row: Numbers,
    begin: Ints,
    members: Numbers,
    n_members: int,
    member: Marks,
) -> int:
    """Add a flow that is treated unfairly, or, if it is in the set, those who get more than it."""
    if not member[flow]:
        return _join(flow, members, n_members, member)
    for hop in range(hops[flow]):
        link = links[flow, hop]
        if load_bps[link] < link_rate_bps[link] * (1.0 - SLACK):
            continue
        for i in range(begin[link], begin[link + 1]):
            if rate_bps[row[i]] > rate_bps[flow]:
                n_members = _join(row[i], members, n_members, member)
    return n_members
