"""What is known of a change at one time to one row of evidence: features, and what was forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shadowsim.model.streams import stream
from shadowsim.model.truth import MODES
from shadowsim.precog import Evidence, Forecast, Variant, WhatIf

Array = npt.NDArray[np.float64]

TRAINING_LOOKS = 6
EVALUATION_EVERY_S = 2.0


class Features(Protocol):
    """Evidence to numbers, as `precog.features.Featurizer` does it."""

    def of(self, evidence: Evidence) -> Array: ...


@dataclass(frozen=True)
class Look:
    """One row of evidence. `phase` is "shadow" or "production", `since_s` the time since the change
    began there; `features` `[features]`, `forecasts` `[variants, MODES]`, nan where not known.
    """

    phase: str
    since_s: float
    features: Array
    forecasts: Array


@dataclass(frozen=True)
class Observer:
    """What evidence of one network is looked at with; `script` is one of the variants. Those of
    `gate_only` are too slow to be asked of every look at production.
    """

    whatif: WhatIf
    features: Features
    variants: Mapping[str, Variant]
    gate_only: frozenset[str] = frozenset()

    def look(self, evidence: Evidence, since_s: float) -> tuple[Look, Mapping[str, Forecast]]:
        """The row, and the whole of what each variant said."""
        silent = frozenset() if evidence.phase == "shadow" else self.gate_only
        told = {
            name: Forecast({}) if name in silent else variant.forecast(evidence)
            for name, variant in self.variants.items()
        }
        known = [forecast.probabilities for forecast in told.values()]
        forecasts = np.array([[p.get(mode, np.nan) for mode in MODES] for p in known])
        return Look(evidence.phase, since_s, self.features.of(evidence), forecasts), told


Of = tuple[int, str, str]  # the number of a change, its network, and its kind
Column = Sequence[int] | Sequence[float] | Sequence[str] | Array


def columns_of(
    rows: Sequence[tuple[Of, Look]], features: Sequence[str], variants: Sequence[str]
) -> dict[str, Column]:
    """The columns of a table of looks, each with what it is a look at: of which change, when, every
    feature, and what each variant said then.
    """
    told = [f"{variant}.{mode}" for variant in variants for mode in MODES]
    values = np.array([[*look.features, *look.forecasts.ravel()] for _, look in rows])
    values = values.reshape(len(rows), len(features) + len(told))
    return {
        "case": [of[0] for of, _ in rows],
        "network": [of[1] for of, _ in rows],
        "kind": [of[2] for of, _ in rows],
        "phase": [look.phase for _, look in rows],
        "since_s": [look.since_s for _, look in rows],
        **dict(zip((*features, *told), np.ascontiguousarray(values.T), strict=True)),
    }


def for_training(over_s: float, seed: int) -> Sequence[float]:
    """Six times within `over_s` seconds: one in each of six stretches, the earlier the shorter,
    since most of what fails does so soon.
    """
    edges = over_s * (np.arange(TRAINING_LOOKS + 1) / TRAINING_LOOKS) ** 2
    found: list[float] = stream(seed, "looks").uniform(edges[:-1], edges[1:]).tolist()
    return found


def for_evaluation(over_s: float, seed: int) -> Sequence[float]:
    """Every two seconds within `over_s`."""
    found: list[float] = np.arange(EVALUATION_EVERY_S, over_s + 1e-9, EVALUATION_EVERY_S).tolist()
    return found


LOOKS = {"training": for_training, "evaluation": for_evaluation}
