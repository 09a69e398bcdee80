"""The evidence of one network to its features; what a change alone decides is worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadowsim.model.change import Change, Configs
from shadowsim.model.intents import Intents
from shadowsim.model.kinds import kind_of
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.precog.features import history, loads, stakes, telemetry, walk, wording
from shadowsim.precog.features.feature import SOURCES, Feature, Values
from shadowsim.precog.features.signals import Touched
from shadowsim.precog.forecast import Evidence
from shadowsim.precog.whatif import WhatIf, same_configs

Array = np.ndarray
KEPT = 4  # changes remembered

FEATURES: tuple[Feature, ...] = tuple(
    feature
    for source in SOURCES
    for module in (history, telemetry, stakes, wording, walk, loads)
    for feature in module.FEATURES
    if feature.source == source
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)


@dataclass(frozen=True)
class _Known:
    """What follows from a change, the configs before it, and the links that are down."""

    change: Change
    before: Configs
    down: frozenset[int]
    soak_s: float
    touched: Touched
    models: tuple[str, ...]
    kinds: tuple[str, ...]
    walk: walk.Walk
    values: Values

    def is_of(self, evidence: Evidence, down: frozenset[int]) -> bool:
        return (
            self.down == down
            and self.soak_s == evidence.soak_s
            and (self.change is evidence.change or self.change == evidence.change)
            and same_configs(self.before, evidence.before)
        )


class Featurizer:
    """Computes the features for one network. Remembers the last changes, which only saves time."""

    def __init__(
        self, topology: Topology, demands: Sequence[Demand], intents: Intents, whatif: WhatIf
    ) -> None:
        self._whatif = whatif
        self._model_of = {device.name: device.model for device in topology.devices}
        self._topology = topology
        self._stakes = stakes.Stakes(whatif, demands, len(intents.paths))
        self._trends = telemetry.Trends(demands, whatif.limits)
        self._forward = loads.Forward(whatif, self._trends.signals)
        self._kept: list[_Known] = []

    def of(self, evidence: Evidence) -> Array:
        """`[len(NAMES)]`, nan where not known; the same evidence gives the same vector."""
        current = self._whatif.observe(evidence.observed, evidence.now)
        if evidence.phase == "production" or evidence.control is None:
            seen = current
        else:
            seen = self._whatif.observe(evidence.control, evidence.before)
        known = self._known(evidence, seen.down)
        values = {
            **known.values,
            **history.values(evidence.past, evidence.change.devices, known.models, known.kinds),
            **self._trends.of(evidence, known.touched),
            **self._forward.of(evidence, known.walk, seen, current),
        }
        return np.array([values[name] for name in NAMES])

    def _known(self, evidence: Evidence, down: frozenset[int]) -> _Known:
        for kept in self._kept:
            if kept.is_of(evidence, down):
                return kept
        change, before = evidence.change, evidence.before
        way = walk.walked(self._whatif, change, before, evidence.soak_s, down)
        touched = stakes.touched(self._topology, change)
        fresh = _Known(
            change, dict(before), down, evidence.soak_s, touched,
            models=tuple(dict.fromkeys(self._model_of[name] for name in change.devices)),
            kinds=tuple(sorted({kind_of(str(command)) for command in change.commands})),
            walk=way,
            values={
                **wording.values(before, way.steps),
                **walk.values(self._whatif, way, touched, self._stakes.planned),
                **self._stakes.values(touched, way.start),
            },
        )  # fmt: skip
        self._kept = [fresh, *self._kept[: KEPT - 1]]
        return fresh
