"""A network to an observer of the changes to it: who is asked what a look at one is worth."""

from __future__ import annotations

from collections.abc import Sequence

from shadowsim.dataplane.worked import Worked
from shadowsim.history.looks import Observer
from shadowsim.model.intents import Intents
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.precog import VARIANTS, Variant, WhatIf, variant
from shadowsim.precog.features import Featurizer
from shadowsim.precog.rollouts import Rollouts
from shadowsim.precog.stacked import Stacked
from shadowsim.precog.supervised import Supervised

ASKED = ("threshold", "judge", "script", "canary")  # what others are to be better than
SLOW = ("rollouts",)  # asked at the gate only, and only where variants are evaluated
FUTURES = 64  # of rollouts: many changes are asked about


def observer_of(
    topology: Topology,
    demands: Sequence[Demand],
    intents: Intents,
    names: Sequence[str],
    worked: Worked | None = None,
) -> Observer:
    """What changes of one network are looked at with; `names` are of variants."""
    network = topology, demands, intents
    whatif = WhatIf(*network, worked)
    variants: dict[str, Variant] = {
        name: Rollouts(whatif, FUTURES, least=FUTURES) if name in SLOW else VARIANTS[name](whatif)
        for name in names
    }
    return Observer(whatif, Featurizer(*network, whatif), variants, frozenset(SLOW))


def observer_beside(precog: Variant, whatif: WhatIf, names: Sequence[str]) -> Observer:
    """What the changes are looked at with that this variant forecasts: whom it asks itself is not
    asked again.
    """
    parts = precog.parts if isinstance(precog, Stacked) else {}
    variants = {name: parts.get(name) or variant(name, whatif) for name in names}
    learned = parts["supervised"].variant if "supervised" in parts else precog
    network = whatif.topology, whatif.demands, whatif.intents
    featurizer = (
        learned.featurizer if isinstance(learned, Supervised) else Featurizer(*network, whatif)
    )
    return Observer(whatif, featurizer, variants)
