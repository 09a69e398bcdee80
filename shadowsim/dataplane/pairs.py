"""Asks the pairs of hosts, alike ones as one, and counts those that break each intent.

Packets to hosts behind one device that are routed alike have one *target*; what becomes of them
is settled once per question (`propagate.py`), then each intent of it looks at its own pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.headerspace import Bools, HeaderAtoms
from shadowsim.dataplane.maxmin import Marks, compiled
from shadowsim.dataplane.plane import Bits, Ints, Plane
from shadowsim.dataplane.propagate import NONE, ONE, Forwarding, Wires, gather, settle, sort
from shadowsim.dataplane.questions import (
    ISOLATED,
    NO_BLACK_HOLE,
    NO_LOOP,
    NOWHERE,
    REACHABLE,
    WAYPOINT,
    Asked,
    ints,
)
from shadowsim.dataplane.surely import WHOLLY, WITHIN, surely


class Ends(NamedTuple):
    """The hosts in C classes that nothing tells apart, those of one target side by side.

    Target t is the packets to address atom `atom[t]` for hosts on device `owner[t]`, which are
    the classes `start[t]` to `start[t + 1]`. `up[C, W]`, `down[C, W]`: the header atoms
    that pass the links of the hosts.
    """

    atom: Ints
    owner: Ints
    start: Ints
    device: Ints
    member: Ints
    size: Ints
    source_class: Ints
    destination_class: Ints
    up: Bits
    down: Bits


def ends_of(plane: Plane, atoms: HeaderAtoms, member: Ints) -> tuple[Ends, list[Ints]]:
    """The classes of hosts, and the hosts of each class."""
    lists, edges = len(plane.filters), plane.graph.edges
    # Numbered like the rows of `passing`: the lists, then no list, then a link that is down.
    enter = np.where(plane.up, plane.filter_in % (lists + 1), lists + 1)[edges::2]
    leave = np.where(plane.up, plane.filter_out % (lists + 1), lists + 1)[edges + 1 :: 2]
    passing = np.concatenate([atoms.permits, np.zeros_like(atoms.permits[:1])])
    target = np.array([plane.host_atom, plane.graph.host_device])
    others = [member, atoms.source_class, atoms.destination_class, enter, leave]
    key = np.array([*target, *others])
    order = np.lexsort(key[::-1])
    fresh = _steps(key[:, order])
    one = order[fresh]
    start = np.flatnonzero(_steps(target[:, one]))
    ends = Ends(
        atom=ints(plane.host_atom[one][start]),
        owner=ints(plane.graph.host_device[one][start]),
        start=ints(np.append(start, len(one))),
        device=ints(plane.graph.host_device[one]),
        member=member[one],
        size=ints(np.diff(np.append(np.flatnonzero(fresh), len(order)))),
        source_class=atoms.source_class[one],
        destination_class=atoms.destination_class[one],
        up=passing[enter[one]],
        down=passing[leave[one]],
    )
    return ends, np.split(order, np.flatnonzero(fresh)[1:])


def proved_of(wires: Wires, ends: Ends, atoms: HeaderAtoms) -> Marks:
    """What is proved of each target without a look at single packets."""
    return surely(
        wires, atoms.permits[-1], ends.atom, ends.owner, ends.device, ends.up, ends.down, ends.start
    )


def _steps(columns: npt.NDArray[np.integer[Any]]) -> Bools:
    """Which columns differ from the one before; the first does."""
    fresh = np.ones(columns.shape[1], dtype=np.bool_)
    fresh[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    return fresh


@compiled
def count_broken(
    wires: Wires,
    ends: Ends,
    asked: Asked,
    pattern: Ints,
    present: Bits,
    sure: Marks,
    broken: npt.NDArray[np.int64],
    first: Ints,
    marks: Bools,
) -> None:
    """Count the broken pairs of every intent; `first[I, 3]`: classes and header atom of one.

    `sure[T]`: what `surely` has proved, which is not looked at again. `marks[I, C, C]`, if it is
    not empty: all pairs of classes, source first, of which hosts break the intent.
    """
    devices = len(wires.out_start) - 1
    graph = Forwarding(
        np.zeros(devices + 1, np.int32),
        np.empty(len(wires.head), np.int32),
        np.empty(devices, np.int32),
    )
    state = np.empty((devices, wires.mask.shape[1]), np.uint64)
    for target in range(len(ends.atom)):
        gathered, cyclic = False, False
        for question in range(len(asked.kind)):
            kind = asked.kind[question]
            if sure[target] >= _enough(kind) or not _is_asked(ends, asked, target, question):
                continue
            if not gathered:
                gather(wires, ends.atom[target], graph)
                gathered, cyclic = True, sort(wires.head, graph)
            if kind == NO_LOOP and not cyclic:
                continue
            atom, owner, via = ends.atom[target], ends.owner[target], asked.via[question]
            settle(wires, graph, atom, owner, kind, via, cyclic, state)
            for i in range(asked.start[question], asked.start[question + 1]):
                intent = asked.intent[i]
                broken[intent] += _judge(
                    ends, asked, pattern, present, state, target, kind, intent, first[intent], marks
                )


@compiled
def _enough(kind: int) -> int:
    """What has to be proved of a target so that no pair breaks intents of this kind."""
    if kind == REACHABLE:
        return WHOLLY
    return WITHIN if kind in (NO_LOOP, NO_BLACK_HOLE) else WHOLLY + 1


@compiled
def _is_asked(ends: Ends, asked: Asked, target: int, question: int) -> bool:
    """Whether an intent of this question speaks of packets to this target."""
    for i in range(asked.start[question], asked.start[question + 1]):
        for to in range(ends.start[target], ends.start[target + 1]):
            if asked.destination[asked.intent[i], ends.member[to]]:
                return True
    return False


@compiled
def _judge(
    ends: Ends,
    asked: Asked,
    pattern: Ints,
    present: Bits,
    state: Bits,
    target: int,
    kind: int,
    intent: int,
    first: Ints,
    marks: Bools,
) -> int:
    """How many pairs of hosts of this target break the intent; sets `first` if it is unset."""
    broken = 0
    for to in range(ends.start[target], ends.start[target + 1]):
        if not asked.destination[intent, ends.member[to]]:
            continue
        for source in range(len(ends.size)):
            if not asked.source[intent, ends.member[source]]:
                continue
            space = asked.space[intent, asked.carving[ends.member[source], ends.member[to]]]
            row = pattern[ends.source_class[source], ends.destination_class[to]]
            pairs = ends.size[source] * (ends.size[to] - (1 if source == to else 0))
            for word in range(state.shape[1]):
                bad = ends.up[source, word] & state[ends.device[source], word]
                if kind in (REACHABLE, ISOLATED, WAYPOINT):
                    bad &= ends.down[to, word]
                if kind == REACHABLE:
                    bad = ~bad
                bad &= present[space, row, word]
                if bad != NONE and pairs > 0:
                    broken += pairs
                    if len(marks):
                        marks[intent, source, to] = True
                    if first[0] == NOWHERE:
                        first[0], first[1] = source, to
                        first[2] = 64 * word + _lowest(bad)
                    break
    return broken


@compiled
def _lowest(word: np.uint64) -> int:
    """The place of the lowest bit that is set."""
    place = 0
    while (word >> np.uint64(place)) & ONE == NONE:
        place += 1
    return place
