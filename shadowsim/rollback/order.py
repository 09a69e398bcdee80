"""Commands and what each needs done before it to an order in which no state on the way hurts.

A state is a set of commands that are done. It is *safe* if it breaks or strains nothing for anyone
for whom it is well at both ends. The search is Dijkstra's over such sets ("A note on two problems
in connexion with graphs", 1959), the deeper set first among equals: so safe orders are tried like a
depth-first search would, and where there is none the order found hurts least. A state is looked at
when its turn comes and at most once; their number is bounded, and nothing depends on the clock.
Where the bound comes first, the order goes as far as the search did, and then on by eagerness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from shadowsim.model.change import Command, Configs, apply, subject_of
from shadowsim.model.grammar import locate
from shadowsim.rollback.harm import Harm, Look

MOST_STATES = 256

Existence = Literal["exists", "none exists", "none found"]


class Cost(NamedTuple):
    """How much a way hurts, summed over its states, the first first; all 0: it is safe."""

    broken: int = 0
    lost_bps: float = 0.0
    strained: int = 0

    def plus(self, other: Cost) -> Cost:
        return Cost(
            self.broken + other.broken,
            self.lost_bps + other.lost_bps,
            self.strained + other.strained,
        )


SAFE = Cost()


@dataclass(frozen=True)
class Order:
    """The places of the commands in order.

    `existence`: whether an order without harm on the way exists (this is one), does not (all safe
    states were seen), or was not found within the states looked at. `hurts`: what this order
    breaks or strains on the way that is well at both ends, as far as its states were looked at.
    `complete`: the search was not cut short, so that no order hurts less.
    """

    places: tuple[int, ...]
    existence: Existence
    hurts: frozenset[str]
    states: int
    complete: bool = True


class States:
    """The states between two ends, each looked at once at most. A state is a set of bits."""

    def __init__(self, now: Configs, target: Configs, commands: Sequence[Command], look: Look):
        self.commands = tuple(commands)
        self.all_done = (1 << len(self.commands)) - 1
        self._look = look
        self._configs: dict[int, Configs] = {0: now}
        self._ends = (look(now), look(target)) if len(self.commands) > 1 else (Harm(), Harm())
        self._seen: dict[int, tuple[Cost, frozenset[str]]] = dict.fromkeys(
            (0, self.all_done), (SAFE, frozenset())
        )
        self.looked_at = 0

    def knows(self, done: int) -> bool:
        return done in self._seen

    def cost(self, done: int) -> Cost:
        """What this state costs beyond what both ends do."""
        return self._judged(done)[0]

    def hurts(self, done: int) -> frozenset[str]:
        """What is wrong in this state and in neither end."""
        return self._judged(done)[1]

    def _judged(self, done: int) -> tuple[Cost, frozenset[str]]:
        if done not in self._seen:
            self.looked_at += 1
            self._seen[done] = self._judge(self._look(self._in(done)))
        return self._seen[done]

    def _judge(self, harm: Harm) -> tuple[Cost, frozenset[str]]:
        found = harm.beyond(self._ends)
        if not found.broken and not found.strained:
            return SAFE, frozenset()
        cost = Cost(len(found.broken), float(found.lost_bps), len(found.strained))
        return cost, found.broken | found.strained

    def _in(self, done: int) -> Configs:
        """The configs of a state, from those of one with a command less where there are such."""
        places = [place for place in range(len(self.commands)) if done >> place & 1]
        near = [place for place in places if done ^ 1 << place in self._configs]
        start = self._configs[done ^ 1 << near[0]] if near else self._configs[0]
        missing = near[:1] or places
        self._configs[done] = apply(start, [self.commands[place] for place in missing])
        return self._configs[done]


class _Entry(NamedTuple):
    """A state in the queue, reached from `origin` by the command at `place`."""

    cost: Cost
    left: int  # commands still to do: fewer first
    taste: int
    state: int
    origin: int
    place: int
    looked: bool


def safest(
    states: States,
    needs: Sequence[frozenset[int]],
    first: Sequence[Command] = (),
    most_states: int = MOST_STATES,
) -> Order:
    """The order that hurts least, of those in which every command comes after what it needs.

    `first` is an order that is tried before others. More than `most_states`, or three for each
    command if that is more, are not looked at; then the rest of the order is by eagerness, and
    another order may hurt less (`complete` is False).
    """
    count = len(states.commands)
    most = max(most_states, 3 * count)
    taste = _tastes(states.commands, first)
    came: dict[int, tuple[int, int]] = {}
    queue = [_Entry(SAFE, count, 0, 0, 0, -1, True)]
    existence: Existence = "exists"
    best = queue[0]
    while best.left:
        entry = heappop(queue)
        if entry.state in came:
            continue
        if not entry.looked:
            if states.looked_at == most and not states.knows(entry.state):
                break
            cost = entry.cost.plus(states.cost(entry.state))
            heappush(queue, entry._replace(cost=cost, looked=True))
            continue
        if entry.cost > SAFE:
            existence = "none exists"  # every safe state comes before this one
        came[entry.state] = (entry.origin, entry.place)
        best = min(best, entry, key=lambda e: (e.left, e.cost))
        for place in _ready(entry.state, needs):
            state = entry.state | 1 << place
            if state not in came:
                heappush(queue, _Entry(
                    entry.cost, entry.left - 1, taste[place], state, entry.state, place, False
                ))  # fmt: skip
    if best.left and existence == "exists":
        existence = "none found"
    places = _finished(_way(came, best.state), needs, taste)
    hurts = _on_the_way(states, places)
    return Order(places, existence, hurts, states.looked_at, complete=not best.left)


def _ready(done: int, needs: Sequence[frozenset[int]]) -> list[int]:
    """What may come next: not done, and all it needs is."""
    return [
        place
        for place, needed in enumerate(needs)
        if not done >> place & 1 and all(done >> n & 1 for n in needed)
    ]


def _way(came: dict[int, tuple[int, int]], state: int) -> list[int]:
    way: list[int] = []
    while state:
        state, place = came[state]
        way.append(place)
    return way[::-1]


def _finished(
    way: list[int], needs: Sequence[frozenset[int]], taste: Sequence[int]
) -> tuple[int, ...]:
    done = sum(1 << place for place in way)
    while ready := _ready(done, needs):
        place = min(ready, key=lambda p: taste[p])
        way.append(place)
        done |= 1 << place
    return tuple(way)


def _on_the_way(states: States, places: Sequence[int]) -> frozenset[str]:
    found: set[str] = set()
    done = 0
    for place in places:
        done |= 1 << place
        found |= states.hurts(done) if states.knows(done) else frozenset()
    return frozenset(found)


def _tastes(commands: Sequence[Command], first: Sequence[Command]) -> list[int]:
    """Whom to try first, smaller first: as in `first`, then what opens before what closes."""
    known = {command: place for place, command in enumerate(first)}
    ranked = sorted(
        range(len(commands)),
        key=lambda p: (known.get(commands[p], len(known)), _eagerness(commands[p]), p),
    )
    found = [0] * len(commands)
    for rank, place in enumerate(ranked):
        found[place] = rank
    return found


def _eagerness(command: Command) -> int:
    """0 opens a port, 1 sets, 2 removes, 3 shuts a port."""
    slot, removes = subject_of(command)
    if locate(slot)[1].pattern == "shutdown":
        return 0 if removes else 3
    return 2 if removes else 1
