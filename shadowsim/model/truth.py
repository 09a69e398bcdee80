"""What really happened in a network, to the failure modes it amounts to.

Nobody who decides may read this: it labels outcomes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

DEGRADATION = "performance_degradation"
OUTAGE = "service_outage"
VULNERABILITY = "security_vulnerability"
MODES = (DEGRADATION, OUTAGE, VULNERABILITY)

OUTAGE_S = 3.0
DEGRADATION_S = 5.0
SLACK_S = 2.0


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch of time in which the network's condition did not change.

    `unreachable`: reachability intents broken, and critical demands delivered below half.
    `exposed`: isolation and waypoint intents broken, and management that was opened.
    `slow`: limits broken.
    """

    from_s: float
    to_s: float
    unreachable: frozenset[str] = frozenset()
    exposed: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset()

    @property
    def well(self) -> bool:
        return not (self.unreachable or self.exposed or self.slow)


Aspect = Callable[[Spell], frozenset[str]]
Stretch = tuple[float, float]


def failure_modes(spells: Iterable[Spell]) -> tuple[str, ...]:
    """The failure modes these spells amount to, in the order of MODES.

    An outage is one thing unreachable for 3 s without a break; a vulnerability is an exposure
    at any instant; a degradation is one limit broken for 5 s without a break and no outage.
    """
    return tuple(onsets(list(spells)))


def onsets(spells: Collection[Spell], less: Collection[Spell] = ()) -> dict[str, float]:
    """Of each failure mode these spells amount to: when the stretch began that became it.

    Where a thing is broken in the spells of `less` as well, it does not count: neither at the same
    time nor within SLACK_S of it, since networks do not follow the same event equally fast.
    """

    def first(of: Aspect, lasting_s: float) -> float | None:
        anyway = stretches(less, of)
        starts = [
            from_s
            for name, found in stretches(spells, of).items()
            for from_s, to_s in apart(found, anyway.get(name, ()))
            if to_s - from_s >= lasting_s - 1e-9
        ]
        return min(starts, default=None)

    outage = first(lambda s: s.unreachable, OUTAGE_S)
    slow = first(lambda s: s.slow, DEGRADATION_S) if outage is None else None
    came = {DEGRADATION: slow, OUTAGE: outage, VULNERABILITY: first(lambda s: s.exposed, 0.0)}
    return {mode: at_s for mode in MODES if (at_s := came[mode]) is not None}


def since(spells: Iterable[Spell], at_s: float) -> list[Spell]:
    """The spells from a time on, cut there, less what was broken just before it already."""
    listed = list(spells)
    before = [s for s in listed if s.from_s < at_s]
    old = before[-1] if before else Spell(at_s, at_s)
    return [
        Spell(
            max(s.from_s, at_s),
            s.to_s,
            s.unreachable - old.unreachable,
            s.exposed - old.exposed,
            s.slow - old.slow,
        )
        for s in listed
        if s.to_s > at_s
    ]


def longest(spells: Iterable[Spell], of: Aspect) -> float:
    """The longest time in seconds for which one and the same thing was broken."""
    found = stretches(spells, of).values()
    return max((to_s - from_s for each in found for from_s, to_s in each), default=0.0)


def stretches(spells: Iterable[Spell], of: Aspect) -> dict[str, list[Stretch]]:
    """Of each thing that was broken: from when to when, without a break, in order."""
    found: dict[str, list[Stretch]] = {}
    still: frozenset[str] = frozenset()
    for spell in spells:
        broken = of(spell)
        for name in broken:
            mine = found.setdefault(name, [])
            from_s = mine.pop()[0] if name in still else spell.from_s
            mine.append((from_s, spell.to_s))
        still = broken
    return found


def apart(broken: Iterable[Stretch], anyway: Iterable[Stretch]) -> list[Stretch]:
    """What is left of these stretches at a distance from those."""
    left = list(broken)
    for from_s, to_s in anyway:
        low, high = from_s - SLACK_S, to_s + SLACK_S
        parts = [[(a, min(b, low)), (max(a, high), b)] for a, b in left]
        left = [(a, b) for pair in parts for a, b in pair if b > a]
    return left


def breach_s(spells: Iterable[Spell]) -> float:
    """Seconds in which anything at all was broken."""
    return sum(s.to_s - s.from_s for s in spells if not s.well)
