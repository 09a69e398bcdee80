"""Settles what becomes of every header atom on the way to one destination, from each device on.

Packets to one destination see one directed graph, whose links each let some header atoms pass.
What becomes of 64 of them at once, as bits of a machine word, is a fixed point over that graph:

    delivered on every path   least      LOCAL at the owner, or AND over next hops
    delivered on some path    least      LOCAL at the owner, or OR over next hops
    ... that misses `via`     least      the same, with nothing at `via`
    can loop                  greatest   OR over next hops
    can meet no route         least      no usable route, or OR over next hops

Taken in postorder, one pass settles a graph without cycles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.headerspace import HeaderAtoms
from shadowsim.dataplane.maxmin import compiled
from shadowsim.dataplane.plane import FORWARD, LOCAL, NO_ROUTE, Bits, Ints, Plane
from shadowsim.dataplane.questions import NO_BLACK_HOLE, NO_LOOP, REACHABLE

NONE = np.uint64(0)
ONE = np.uint64(1)
ALL = ~NONE


class Wires(NamedTuple):
    """The switch links and what they carry; `mask[E, W]`: the header atoms that pass both ports."""

    out_start: Ints
    out: Ints
    head: Ints
    next_hops: Bits
    decision: npt.NDArray[np.int8]
    mask: Bits


class Forwarding(NamedTuple):
    """One destination's graph: device u forwards over `hop[start[u]:start[u + 1]]`.

    `order` holds every device behind all it forwards to, unless there is a cycle.
    """

    start: Ints
    hop: Ints
    order: Ints


def wires_of(plane: Plane, atoms: HeaderAtoms) -> Wires:
    graph, edges = plane.graph, plane.graph.edges
    return Wires(
        out_start=graph.out_start,
        out=graph.out,
        head=graph.head,
        next_hops=np.ascontiguousarray(plane.next_hops),
        decision=np.ascontiguousarray(plane.decision),
        mask=atoms.permits[plane.filter_out[:edges]] & atoms.permits[plane.filter_in[:edges]],
    )


@compiled
def gather(wires: Wires, atom: int, graph: Forwarding) -> None:
    """Collect the links over which each device forwards an atom."""
    word, shift = atom >> 6, np.uint64(atom & 63)
    hops = 0
    for u in range(len(graph.order)):
        if wires.decision[u, atom] == FORWARD:
            for place in range(wires.out_start[u], wires.out_start[u + 1]):
                link = wires.out[place]
                if (wires.next_hops[link, word] >> shift) & ONE != NONE:
                    graph.hop[hops] = link
                    hops += 1
        graph.start[u + 1] = hops


@compiled
def sort(head: Ints, graph: Forwarding) -> bool:
    """Put the devices in postorder; returns whether there is a cycle."""
    devices = len(graph.order)
    entered = np.zeros(devices, np.bool_)
    left = np.zeros(devices, np.bool_)
    place = graph.start[:-1].copy()
    stack = np.empty(devices, np.int32)
    done = 0
    cyclic = False
    for root in range(devices):
        if entered[root]:
            continue
        entered[root] = True
        stack[0] = root
        depth = 0
        while depth >= 0:
            u = stack[depth]
            if place[u] == graph.start[u + 1]:
                left[u] = True
                graph.order[done] = u
                done += 1
                depth -= 1
                continue
            v = head[graph.hop[place[u]]]
            place[u] += 1
            if not entered[v]:
                entered[v] = True
                depth += 1
                stack[depth] = v
            elif not left[v]:
                cyclic = True
    return cyclic


@compiled
def settle(
    wires: Wires,
    graph: Forwarding,
    atom: int,
    owner: int,
    kind: int,
    via: int,
    cyclic: bool,
    state: Bits,
) -> None:
    """Set `state[D, W]`: the header atoms that meet, from the device on, what `kind` looks for."""
    state[:] = ALL if kind == NO_LOOP else NONE
    moving = True
    while moving:
        moving = False
        for u in graph.order:
            begin, end = graph.start[u], graph.start[u + 1]
            here = u == owner and u != via
            alone = _alone(kind, wires.decision[u, atom], here)
            for word in range(state.shape[1]):
                value = alone
                if begin < end and u != via:
                    value = ALL if kind == REACHABLE else NONE
                    for place in range(begin, end):
                        link = graph.hop[place]
                        passing = wires.mask[link, word] & state[wires.head[link], word]
                        value = value & passing if kind == REACHABLE else value | passing
                if value != state[u, word]:
                    state[u, word] = value
                    moving = cyclic


@compiled
def _alone(kind: int, decision: int, here: bool) -> np.uint64:
    """The state of a device that sends a packet to no other; `here`: delivery would count."""
    if kind == NO_LOOP:
        met = False
    elif kind == NO_BLACK_HOLE:
        met = decision in (NO_ROUTE, FORWARD)
    else:
        met = decision == LOCAL and here
    return ALL if met else NONE
