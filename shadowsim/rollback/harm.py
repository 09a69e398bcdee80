"""Configs under the traffic observed to what is wrong with them, the worst first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from shadowsim.model.change import Configs
from shadowsim.model.traffic import CLASSES
from shadowsim.precog.whatif import Observed, WhatIf

WEIGHT = dict(zip(CLASSES, (100.0, 10.0, 1.0), strict=True))  # of a bit that is not delivered


class Harm(NamedTuple):
    """What a state of the network does to its users.

    `broken`: intents that do not hold, what is exposed, critical demands that starve; `strained`:
    limits that are exceeded, and links that are full; `lost_bps`: traffic that is wanted and not
    delivered, weighed by class.
    """

    broken: frozenset[str] = frozenset()
    strained: frozenset[str] = frozenset()
    lost_bps: float = 0.0


Look = Callable[[Configs], Harm]


def looker(whatif: WhatIf, seen: Observed, before: Configs) -> Look:
    """How to look at configs: with the verifier, and with the fluid engine under what was seen."""

    def look(configs: Configs) -> Harm:
        found = whatif.look(configs, seen, before)
        limits = zip(whatif.limits.limits, found.severity, strict=True)
        return Harm(
            frozenset((*found.broken, *found.exposed, *found.starved)),
            frozenset(
                (
                    *(limit.name for limit, severity in limits if severity > 1.0),
                    *(f"overload of {link}" for link in found.overloaded),
                )
            ),
            sum(w * bps for w, bps in zip(WEIGHT.values(), found.lost_bps, strict=True)),
        )

    return look
