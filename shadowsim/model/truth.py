"""What really happened in a network, to the failure modes it amounts to.

Nobody who decides may read this: it labels outcomes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

DEGRADATION = "performance_degradation"
OUTAGE = "service_outage"
VULNERABILITY = "security_vulnerability"
MODES = (DEGRADATION, OUTAGE, VULNERABILITY)

OUTAGE_S = 3.0
DEGRADATION_S = 5.0


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


def failure_modes(spells: Iterable[Spell]) -> tuple[str, ...]:
    """The failure modes these spells amount to, in the order of MODES.

    An outage is one thing unreachable for 3 s without a break; a vulnerability is an exposure
    at any instant; a degradation is one limit broken for 5 s without a break and no outage.
    """
    listed = list(spells)
    outage = longest(listed, lambda s: s.unreachable) >= OUTAGE_S - 1e-9
    slow = longest(listed, lambda s: s.slow) >= DEGRADATION_S - 1e-9
    exposed = any(s.exposed for s in listed)
    found = {DEGRADATION: slow and not outage, OUTAGE: outage, VULNERABILITY: exposed}
    return tuple(mode for mode in MODES if found[mode])


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


def longest(spells: Iterable[Spell], of: Callable[[Spell], frozenset[str]]) -> float:
    """The longest time in seconds for which one and the same thing was broken."""
    since: dict[str, float] = {}
    best = 0.0
    for spell in spells:
        broken = of(spell)
        since = {name: since.get(name, spell.from_s) for name in sorted(broken)}
        best = max(best, *(spell.to_s - start for start in since.values())) if since else best
    return best


def breach_s(spells: Iterable[Spell]) -> float:
    """Seconds in which anything at all was broken."""
    return sum(s.to_s - s.from_s for s in spells if not s.well)
