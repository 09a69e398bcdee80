"""Turns when each of a fixed set of things is due into which is due first: a heap that is told
anew when one of them moves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shadowsim.network.emulated.plant.system import Ints, compiled

NEVER = 1 << 62


class Agenda(NamedTuple):
    """Things 0..n-1, each due once or never."""

    at_ns: Ints  # [n] when each is due
    heap: Ints  # [n] things, none before the one at (i - 1) // 2
    place: Ints  # [n] where in the heap each stands


def new_agenda(things: int) -> Agenda:
    """An agenda on which nothing is due."""
    order = np.arange(max(1, things), dtype=np.int64)
    return Agenda(np.full(order.size, NEVER, np.int64), order, order.copy())


@compiled
def due_first(agenda: Agenda) -> int:
    """What is due first, or anything if nothing is due at all."""
    return agenda.heap[0]  # type: ignore[no-any-return]


@compiled
def next_ns(agenda: Agenda) -> int:
    """When the first is due; NEVER if nothing is."""
    return agenda.at_ns[agenda.heap[0]]  # type: ignore[no-any-return]


@compiled
def put(agenda: Agenda, thing: int, at_ns: int) -> None:
    """Have `thing` due at `at_ns` (NEVER: not at all) instead of when it was."""
    due, heap, place = agenda
    due[thing] = at_ns
    hole = place[thing]
    while hole > 0:
        above = heap[(hole - 1) // 2]
        if due[above] <= at_ns:
            break
        heap[hole] = above
        place[above] = hole
        hole = (hole - 1) // 2
    while 2 * hole + 1 < heap.size:
        child = 2 * hole + 1
        if child + 1 < heap.size and due[heap[child + 1]] < due[heap[child]]:
            child += 1
        if due[heap[child]] >= at_ns:
            break
        heap[hole] = heap[child]
        place[heap[hole]] = hole
        hole = child
    heap[hole] = thing
    place[thing] = hole
