"""What the last copies took of the budget to which classes are copied next, and what share.

The budget bounds the bandwidth of the captured copies, since they leave production over its own
ports. Over it, bulk is shed first, then normal, and at last the most important class is sampled.
What was shed comes back slowly, and only where it fits with room to spare.
"""

from __future__ import annotations

from dataclasses import dataclass

from shadowsim.model.traffic import CLASSES

Floats = tuple[float, ...]
EDGE_SHARE = 0.1  # of the rate of all hosts together: the budget where none is given
AIM = 0.85  # of the budget: what is aimed at when something must go, so that chance stays below
ROOM = 0.75  # of the budget: what may be filled when something comes back
CALM = 5  # readings with room in a row before anything comes back
STEP = 1.5  # by how much a sampled share grows at most


@dataclass(frozen=True)
class Budget:
    """`classes` may be copied, the most important first, `fraction` of their packets at most."""

    bps: float
    classes: tuple[str, ...]
    fraction: float = 1.0


@dataclass(frozen=True)
class Ration:
    """`fraction` of the packets of the first `kept` classes of the budget are copied.

    `cost_bps` is what each class would take if all of it were copied, `load_bps` what it sends:
    as last known. `beside_bps` is the traffic of classes that are never copied.
    """

    kept: int
    fraction: float
    cost_bps: Floats
    load_bps: Floats
    beside_bps: float = 0.0
    calm: int = 0

    def classes(self, budget: Budget) -> tuple[str, ...]:
        return budget.classes[: self.kept]


@dataclass(frozen=True)
class Reading:
    """What came of the ration, in bit/s, for each class of the budget.

    `captured_bps` is what was left of the copies, `copied_bps` the traffic that they were taken
    of (both 0 for classes that were not copied); `seen_bps` all traffic at the edge.
    """

    captured_bps: Floats
    copied_bps: Floats
    seen_bps: float


def in_order(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The most important first."""
    return tuple(name for name in CLASSES if name in classes)


def first(budget: Budget, cost_bps: Floats, load_bps: Floats, beside_bps: float = 0.0) -> Ration:
    """What to begin with, by what the classes are expected to cost and to send."""
    return _fit(budget, cost_bps, load_bps, beside_bps, AIM)


def decide(budget: Budget, ration: Ration, reading: Reading) -> Ration:
    """The next ration. Over the budget, what must go goes at once; else at most one step back."""
    cost, load, beside = _learn(budget, ration, reading)
    if sum(reading.captured_bps) > budget.bps:
        # What is shed is followed by what came in less the rest, so the sums have to agree now.
        return _fit(budget, cost, load, max(reading.seen_bps - sum(load), 0.0), AIM)
    fit = _fit(budget, cost, load, beside, ROOM)
    if (fit.kept, fit.fraction) <= (ration.kept, ration.fraction):
        return Ration(ration.kept, ration.fraction, cost, load, beside)
    if ration.calm + 1 < CALM:
        return Ration(ration.kept, ration.fraction, cost, load, beside, ration.calm + 1)
    if ration.fraction < budget.fraction:
        wanted = budget.fraction if fit.kept > ration.kept else fit.fraction
        return Ration(ration.kept, min(wanted, ration.fraction * STEP), cost, load, beside)
    return Ration(ration.kept + 1, budget.fraction, cost, load, beside)


def _learn(budget: Budget, ration: Ration, reading: Reading) -> tuple[Floats, Floats, float]:
    """Cost and load of each class, and the traffic beside them, by what was read.

    What is not copied is not told apart; but how all of it together has changed is known from
    what came in at the edge, and what is shed is taken to have changed as that did.
    """
    kept, share = ration.kept, ration.fraction
    captured, copied = reading.captured_bps[:kept], reading.copied_bps[:kept]
    unseen = max(reading.seen_bps - sum(copied) / share, 0.0)
    if kept == len(budget.classes):
        cost = tuple(bps / share for bps in captured)
        return cost, tuple(bps / share for bps in copied), unseen
    shed = sum(ration.load_bps[kept:])
    change = max(unseen - ration.beside_bps, 0.0) / shed if shed > 0 else 1.0
    cost = (*(bps / share for bps in captured), *(c * change for c in ration.cost_bps[kept:]))
    load = (*(bps / share for bps in copied), *(c * change for c in ration.load_bps[kept:]))
    return cost, load, ration.beside_bps


def _fit(
    budget: Budget,
    cost_bps: Floats,
    load_bps: Floats,
    beside_bps: float,
    margin: float,
) -> Ration:
    """As many classes as fit into this share of the budget; of the first one what fits."""
    free = budget.bps * margin
    kept = 0
    for count in range(1, len(budget.classes) + 1):
        if sum(cost_bps[:count]) * budget.fraction <= free:
            kept = count
    if kept:
        return Ration(kept, budget.fraction, cost_bps, load_bps, beside_bps)
    share = min(free / cost_bps[0], budget.fraction)
    return Ration(1, share, cost_bps, load_bps, beside_bps)
