"""What was broken in production, and would not have been without the change, to amounts of harm.

The twin that nobody touched says what would have been; as in labels, what is broken there at the
same time, or within `SLACK_S` of it, does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.model.intents import Intents
from shadowsim.model.traffic import CLASSES
from shadowsim.model.truth import Aspect, Spell, Stretch, apart, stretches

Floats = npt.NDArray[np.float64]

LINKS = "link"  # limits that speak of links, not of traffic
KINDS = (*(f"{name}_limit" for name in (*CLASSES, LINKS)), "outage", "exposed")  # seconds of each
HARMS = (*KINDS, "exposures")  # and how many began


@dataclass(frozen=True)
class Harm:
    """`broken`: for each of KINDS, from when to when anything of that kind was, `[n, 2]` seconds,
    apart and in order; `exposed_s[n]`: when each exposure began.
    """

    broken: tuple[Floats, ...]
    exposed_s: Floats

    @property
    def any(self) -> bool:
        """Whether anything was broken at all."""
        return any(len(broken) for broken in self.broken)

    def between(self, from_s: float, to_s: float) -> Floats:
        """`[HARMS]`: seconds of each kind in that time, and the exposures that began in it."""
        seconds = [
            np.clip(np.minimum(b[:, 1], to_s) - np.maximum(b[:, 0], from_s), 0.0, None).sum()
            for b in self.broken
        ]
        begun = ((self.exposed_s >= from_s) & (self.exposed_s < to_s)).sum()
        return np.array([*seconds, begun], dtype=np.float64)

    def lasting(self, at_s: float, for_s: float) -> Floats:
        """`[HARMS]`: if what is broken just before `at_s` stays so for `for_s` seconds more."""
        still = [bool(((b[:, 0] < at_s) & (b[:, 1] >= at_s - 1e-9)).any()) for b in self.broken]
        return np.array([*(for_s * one for one in still), 0.0])


def harm(spells: Collection[Spell], twin: Collection[Spell], intents: Intents) -> Harm:
    """The harm of a change, from the truth of production and that of its twin."""
    kind_of = {limit.name: _kind(limit.metric, limit.traffic_class) for limit in intents.limits}
    slow = _beyond(spells, twin, lambda spell: spell.slow)
    exposed = _beyond(spells, twin, lambda spell: spell.exposed)
    by_kind: dict[str, list[Stretch]] = {kind: [] for kind in KINDS}
    for name, found in slow.items():
        by_kind[kind_of[name]] += found
    outage = _beyond(spells, twin, lambda spell: spell.unreachable)
    by_kind["outage"] = [stretch for found in outage.values() for stretch in found]
    by_kind["exposed"] = [stretch for found in exposed.values() for stretch in found]
    begun = sorted(from_s for from_s, _ in by_kind["exposed"])
    return Harm(tuple(_together(by_kind[kind]) for kind in KINDS), np.array(begun, np.float64))


def _kind(metric: str, traffic_class: str | None) -> str:
    """A limit on all traffic is one on critical traffic too."""
    return f"{LINKS if metric == 'utilisation' else traffic_class or CLASSES[0]}_limit"


def _beyond(
    spells: Collection[Spell], twin: Collection[Spell], of: Aspect
) -> Mapping[str, list[Stretch]]:
    anyway = stretches(twin, of)
    found = stretches(spells, of)
    return {name: apart(mine, anyway.get(name, ())) for name, mine in found.items()}


def _together(broken: list[Stretch]) -> Floats:
    """The union of stretches, `[n, 2]`."""
    found: list[list[float]] = []
    for from_s, to_s in sorted(broken):
        if found and from_s <= found[-1][1]:
            found[-1][1] = max(found[-1][1], to_s)
        else:
            found.append([from_s, to_s])
    return np.array(found, np.float64).reshape(-1, 2)
