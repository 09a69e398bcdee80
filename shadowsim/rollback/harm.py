"""Configs under the traffic observed to what is wrong with them, the worst first.

What is wrong is told apart by whom it befalls: an intent that speaks of all hosts, and is broken
for some before, must not hide those that are cut off on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.verify import BrokenPairs
from shadowsim.model.change import Configs
from shadowsim.model.telemetry import DEMAND_METRICS
from shadowsim.model.traffic import CLASSES
from shadowsim.precog.whatif import Array, Condition, Observed, WhatIf

WEIGHT = dict(zip(CLASSES, (100.0, 10.0, 1.0), strict=True))  # of a bit that is not delivered
RELIEF = 0.98  # the model knows levels no better: above its bound, what falls by less is the same
SAME = 1.0 - 1e-9  # but for rounding
LOST = "delivery"
LOSABLE = 0.02  # the share of a demand that may be lost and is not told
OFFERED, DELIVERED, SHARE_LOST = (
    DEMAND_METRICS.index(name) for name in ("offered_bps", "throughput_bps", "loss")
)
Levels = Mapping[str, Array]
NO_PAIRS: Mapping[str, BrokenPairs] = MappingProxyType({})
NO_LEVELS: Levels = MappingProxyType({})


class Harm(NamedTuple):
    """What a state of the network does to its users.

    `broken`: intents that do not hold, what is exposed, critical demands that starve; `strained`:
    links that are full; `lost_bps`: of all demands together or of each, traffic that is wanted and
    not delivered, weighed by class. `pairs`: for whom what is broken is; what is not in it, is for
    everyone. `levels`: of each limit, and of delivery, how near each demand or link is to what it
    must not exceed, 1.
    """

    broken: frozenset[str] = frozenset()
    strained: frozenset[str] = frozenset()
    lost_bps: Array | float = 0.0
    pairs: Mapping[str, BrokenPairs] = NO_PAIRS
    levels: Levels = NO_LEVELS

    def beyond(self, ends: tuple[Harm, Harm]) -> Harm:
        """What is broken for someone, strained or lost as it is at neither end."""
        broken = (name for name in self.broken if self._breaks(name, ends))
        exceeded = (name for name in self.levels if self._exceeds(name, ends))
        strained = self.strained.difference(*(end.strained for end in ends))
        was_bps = np.maximum(ends[0].lost_bps, ends[1].lost_bps)
        lost_bps = float(np.maximum(self.lost_bps - was_bps, 0.0).sum())
        return Harm(frozenset(broken), strained.union(exceeded), lost_bps)

    def _breaks(self, name: str, ends: tuple[Harm, Harm]) -> bool:
        there = [end for end in ends if name in end.broken]
        if not there or name not in self.pairs:
            return not there
        return self.pairs[name].beyond([end.pairs[name] for end in there])

    def _exceeds(self, name: str, ends: tuple[Harm, Harm]) -> bool:
        level = self.levels[name]
        others = [np.nan_to_num(end.levels[name]) for end in ends if name in end.levels]
        worst = np.maximum.reduce(others, initial=0.0)
        return bool(((level > 1.0) & is_more(level, worst)).any())


Look = Callable[[Configs], Harm]


def is_more(level: Array, other: Array) -> Array:
    """Where a level passes its bound, 1, and the other does not, or exceeds it by a fiftieth."""
    passes = (level > 1.0) & (other <= 1.0) & (other < SAME * level)
    return passes | (other < RELIEF * level)


def looker(whatif: WhatIf, seen: Observed, before: Configs) -> Look:
    """How to look at configs: with the verifier, and with the fluid engine under what was seen."""
    weights = np.array([WEIGHT[demand.traffic_class] for demand in whatif.demands])

    def look(configs: Configs) -> Harm:
        found = whatif.look(configs, seen, before)
        lost_bps = np.maximum(found.demand[:, OFFERED] - found.demand[:, DELIVERED], 0.0)
        return Harm(
            frozenset((*found.broken, *found.exposed, *found.starved)),
            frozenset(f"overload of {link}" for link in found.overloaded),
            weights * np.nan_to_num(lost_bps),
            whatif.broken_pairs(configs, seen.down),
            _levels(whatif, found),
        )

    return look


def _levels(whatif: WhatIf, found: Condition) -> Levels:
    limits = zip(
        whatif.limits.limits, whatif.limits.levels(found.demand, found.utilisation), strict=True
    )
    levels = {limit.name: level for limit, level in limits}
    return {**levels, LOST: found.demand[:, SHARE_LOST] / LOSABLE}
