"""A test of sets of commands to the smallest set that passes it, within a number of tests.

Sets are tried by size, so the first that passes is one of the smallest. Where the sets of a size
are too many, delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
input", TSE 28(2), 2002, `ddmin`) makes the whole smaller until no command of it can be missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb
from typing import Literal

MOST_TESTS = 256
Places = frozenset[int]
Minimal = Literal["cardinality", "inclusion", "not shown"]


@dataclass(frozen=True)
class Smallest:
    """The places found. `minimal`: no smaller set passes; or none with one command less (and what
    cannot go without it) does; or the tests ran out before that was shown.
    """

    places: Places
    minimal: Minimal
    tests: int


class _Budget:
    """Tests sets, each once, until there are no tests left."""

    def __init__(self, passes: Callable[[Places], bool], most: int) -> None:
        self._passes = passes
        self._known: dict[Places, bool] = {}
        self._most = most

    @property
    def used(self) -> int:
        return len(self._known)

    @property
    def left(self) -> int:
        return self._most - len(self._known)

    def passes(self, places: Places) -> bool:
        """Whether the set passes; with no tests left, it is taken as one that does not."""
        if places not in self._known:
            if self.left <= 0:
                return False
            self._known[places] = self._passes(places)
        return self._known[places]


def smallest(
    count: int,
    passes: Callable[[Places], bool],
    closed: Callable[[Places], Places] = lambda places: places,
    most_tests: int = MOST_TESTS,
) -> Smallest:
    """The smallest set of places out of `range(count)` that passes; the whole is known to.

    `closed(places)` adds what cannot stay without them; only closed sets are candidates.
    """
    budget = _Budget(passes, most_tests)
    whole = frozenset(range(count))
    size = 1
    while size < count and comb(count, size) <= budget.left // (1 if size == 1 else 2):
        for chosen in combinations(range(count), size):
            places = frozenset(chosen)
            if closed(places) == places and budget.passes(places):
                return Smallest(places, "cardinality", budget.used)
        size += 1
    found = whole if size >= count else _ddmin(whole, budget, closed)
    minimal: Minimal = "inclusion" if budget.left > 0 else "not shown"
    if len(found) <= size:  # all smaller ones were tried
        minimal = "cardinality"
    return Smallest(found, minimal, budget.used)


def _ddmin(whole: Places, budget: _Budget, closed: Callable[[Places], Places]) -> Places:
    """Delta debugging over closed sets: chunks, then what is left without each, ever finer."""
    found, parts = whole, 2
    while len(found) > 1:
        chunks = _cut(sorted(found), min(parts, len(found)))
        smaller = [closed(chunk) for chunk in chunks]
        smaller += [closed(found - chunk) for chunk in chunks]
        better = next((s for s in smaller if s < found and budget.passes(s)), None)
        if better is not None:
            parts = 2 if better in smaller[: len(chunks)] else max(parts - 1, 2)
            found = better
        elif parts >= len(found):
            break
        else:
            parts = 2 * parts
    return found


def _cut(places: list[int], parts: int) -> list[Places]:
    edges = [len(places) * part // parts for part in range(parts + 1)]
    return [frozenset(places[a:b]) for a, b in pairwise(edges)]
