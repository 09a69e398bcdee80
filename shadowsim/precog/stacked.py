"""What several variants say, by what was learned of when each is right, to one forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shadowsim.model.truth import MODES
from shadowsim.precog.forecast import Evidence, Forecast, Reason, Variant
from shadowsim.precog.stack import Stack


def statements(variants: Sequence[str]) -> tuple[str, ...]:
    """The names of what variants say: one number per variant and failure mode, in this order."""
    return tuple(f"{variant}.{mode}" for variant in variants for mode in MODES)


class Stacked:
    """The hybrid that has learned whom to believe, on changes that none of its variants was fitted
    to. A mode is unknown where it is to all of them.
    """

    name = "hybrid"

    def __init__(self, variants: Sequence[Variant], stack: Stack) -> None:
        self._variants = tuple(variants)
        self._stack = stack

    def forecast(self, evidence: Evidence) -> Forecast:
        forecasts = [variant.forecast(evidence) for variant in self._variants]
        said = np.array([[f.probabilities[mode] for mode in MODES] for f in forecasts])
        p = self._stack.probabilities(said[None], evidence.phase)[0]
        heard = np.isfinite(said).any(axis=0)
        told = dict(zip(MODES, np.where(heard, p, np.nan).tolist(), strict=True))
        return Forecast(told, _weighed([r for f in forecasts for r in f.reasons], told))


def _weighed(reasons: Sequence[Reason], told: Mapping[str, float]) -> tuple[Reason, ...]:
    """The reasons, each mode's surest as probable as the mode, and the others in proportion."""
    surest = dict.fromkeys(MODES, 0.0)
    for reason in reasons:
        surest[reason.mode] = max(surest[reason.mode], reason.probability)
    found = [
        replace(reason, probability=told[reason.mode] * reason.probability / surest[reason.mode])
        for reason in reasons
        if surest[reason.mode] > 0.0 and np.isfinite(told[reason.mode])
    ]
    return tuple(sorted(found, key=lambda r: (-r.probability, r.mode, r.text)))
