"""Turns path intents into the questions put to every destination, as arrays.

A question is a kind of intent and the device to avoid: intents that share both are settled
together. Hosts come down to memberships, which hosts alike share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.headerspace import Bools, Flow, Space, distinct_rows
from shadowsim.dataplane.plane import Ints
from shadowsim.model.intents import PATH_KINDS, PathIntent
from shadowsim.model.topology import Topology

REACHABLE, ISOLATED, WAYPOINT, NO_LOOP, NO_BLACK_HOLE = range(len(PATH_KINDS))
NOWHERE = -1


class Asked(NamedTuple):
    """What the intents ask. Q questions, I intents, M host memberships, G carvings.

    A *membership* is a set of names that intents use, held by hosts alike; a *carving* a set of
    flows that `isolated` intents take from `reachable` ones between two memberships.
    `kind[Q]`, `via[Q]`: what is to be settled, for the intents
    `intent[start[q]:start[q + 1]]`. `source[I, M]`, `destination[I, M]`: of whom an intent
    speaks. `carving[M, M]`; `space[I, G]`: the packets it speaks of.
    """

    kind: Ints
    via: Ints
    start: Ints
    intent: Ints
    source: Bools
    destination: Bools
    carving: Ints
    space: Ints


def ask(topology: Topology, intents: Sequence[PathIntent]) -> tuple[Ints, Asked, tuple[Space, ...]]:
    """The intents as arrays: (membership of each host, what is asked, the spaces by number)."""
    names = sorted({name for intent in intents for name in (intent.source, intent.destination)})
    members, member = _memberships(topology, names)
    source = members[:, [names.index(intent.source) for intent in intents]].T
    destination = members[:, [names.index(intent.destination) for intent in intents]].T
    carving, carved = _carve(intents, source, destination)
    wanted = [
        [
            Space(_flow(intent), flows if intent.kind == "reachable" else frozenset())
            for flows in carved
        ]
        for intent in intents
    ]
    spaces = {space: i for i, space in enumerate(dict.fromkeys(s for row in wanted for s in row))}
    questions = _questions(topology, intents)
    asked = Asked(
        kind=ints([kind for kind, _ in questions]),
        via=ints([via for _, via in questions]),
        start=ints(np.cumsum([0, *map(len, questions.values())])),
        intent=ints([i for group in questions.values() for i in group]),
        source=np.ascontiguousarray(source),
        destination=np.ascontiguousarray(destination),
        carving=carving,
        space=ints([[spaces[space] for space in row] for row in wanted]),
    )
    return member, asked, tuple(spaces)


def avoided(intent: PathIntent) -> str | None:
    """The device without which a packet must not be delivered."""
    return intent.via if intent.kind == "waypoint" else None


def ints(values: npt.ArrayLike) -> Ints:
    return np.array(values, dtype=np.int32)


def _memberships(topology: Topology, names: Sequence[str]) -> tuple[Bools, Ints]:
    """The distinct sets of names that hosts go by `[M, names]`, and which each host has."""
    holds = np.zeros((len(topology.hosts), len(names)), dtype=np.bool_)
    for column, name in enumerate(names):
        holds[[topology.host_index[host] for host in topology.resolve(name)], column] = True
    return distinct_rows(holds)


def _questions(
    topology: Topology, intents: Sequence[PathIntent]
) -> dict[tuple[int, int], list[int]]:
    """The intents for which the same is to be settled, by (kind, device to avoid)."""
    found: dict[tuple[int, int], list[int]] = {}
    for i, intent in enumerate(intents):
        avoid = avoided(intent)
        via = NOWHERE if avoid is None else topology.device_index[avoid]
        found.setdefault((PATH_KINDS.index(intent.kind), via), []).append(i)
    return found


def _flow(intent: PathIntent) -> Flow:
    return Flow(intent.protocol, intent.port)


def _carve(
    intents: Sequence[PathIntent], source: Bools, destination: Bools
) -> tuple[Ints, list[frozenset[Flow]]]:
    """Which flows are isolated between memberships: the set's number `[M, M]`, and the sets."""
    members = source.shape[1]
    isolated = [i for i, intent in enumerate(intents) if intent.kind == "isolated"]
    flows = list(dict.fromkeys(_flow(intents[i]) for i in isolated))
    speaks = np.zeros((members, members, len(flows)), dtype=np.bool_)
    for i in isolated:
        speaks[:, :, flows.index(_flow(intents[i]))] |= np.outer(source[i], destination[i])
    rows, carving = distinct_rows(speaks.reshape(members * members, len(flows)))
    sets = [frozenset(flows[k] for k in np.flatnonzero(row)) for row in rows]
    return carving.reshape(members, members), sets
