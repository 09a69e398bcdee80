"""Turns a change of one flow's cap into a new max-min fair allocation, solving again little of it.

A change touches a set of flows, at first the changed one alone. The set is solved with the rates
of all others held; whoever then is treated unfairly joins it, or, if in it already, those who get
more on the full links of its path; until all are treated fairly.
"""

from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.maxmin import (
    Floats,
    Ints,
    Marks,
    Numbers,
    Sharing,
    compiled,
    share_out,
    sharing,
)

SLACK = 1e-10  # relative difference between rates that counts as rounding
MOST_STEPS = 8  # growths of the set that a change touches, before all is solved anew


class Allocation(NamedTuple):
    """A max-min fair allocation that `change_rate` keeps fair; its arrays change in place.

    Read `rate_bps` and `link_load_bps`; the rest is the network and working memory, all in the
    order in which `_update` takes it (numba takes arrays faster one by one than as a tuple).
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
    _update(*allocation, -1)
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
    return _update(*allocation, flow)


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

    The set starts as `flow`, or as all flows if that is -1. Returns its size at the end.
    """
    n_flows = rate_bps.size
    n_members = 0
    if flow >= 0:
        n_members = _join(flow, members, n_members, member)
    n_touched = 0
    n_solved = 0
    for step in range(MOST_STEPS + 1):
        if flow < 0 or step == MOST_STEPS or 8 * n_members > max(n_flows, 256):
            for other in range(n_flows):
                n_members = _join(other, members, n_members, member)
        for i in range(n_solved, n_members):
            n_touched = _touch(members[i], links, hops, touched, n_touched, seen)
        n_solved = n_members
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
        if n_members == n_solved:
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
def _touch(
    flow: int, links: Numbers, hops: Ints, touched: Numbers, n_touched: int, seen: Marks
) -> int:
    """Add the links of the flow to those touched unless they are there; return their number."""
    for hop in range(hops[flow]):
        link = links[flow, hop]
        if not seen[link]:
            seen[link] = 1
            touched[n_touched] = link
            n_touched += 1
    return n_touched


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
