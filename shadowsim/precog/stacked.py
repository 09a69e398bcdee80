"""What several variants say, by what was learned of when each is right, to one forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shadowsim.model.truth import MODES
from shadowsim.precog.forecast import Evidence, Forecast, Reason, Variant
from shadowsim.precog.hybrid import Hybrid
from shadowsim.precog.once import AskedOnce
from shadowsim.precog.stack import Stack


def statements(variants: Sequence[str]) -> tuple[str, ...]:
    """The names of what variants say: one number per variant and failure mode, in this order."""
    return tuple(f"{variant}.{mode}" for variant in variants for mode in MODES)


class Stacked:
    """The hybrid that has learned whom to believe, on changes that none of its variants was fitted
    to. Of a mode that `learned` abstains from, since the change is unlike all that was learned
    from, it is as careful as the plain hybrid: the surest of `plain` counts.
    """

    name = "hybrid"

    def __init__(
        self, plain: Sequence[Variant], others: Sequence[Variant], learned: Variant, stack: Stack
    ) -> None:
        self._asked = [AskedOnce(variant) for variant in (*plain, *others, learned)]
        self._careful, self._plain = Hybrid(plain), len(plain)
        self._stack = stack

    @property
    def parts(self) -> Mapping[str, AskedOnce]:
        """Whom it asks, by name: who wants to hear them too asks these."""
        return {variant.name: variant for variant in self._asked}

    def forecast(self, evidence: Evidence) -> Forecast:
        forecasts = [variant.forecast(evidence) for variant in self._asked]
        said = np.array([[f.probabilities[mode] for mode in MODES] for f in forecasts])
        p = self._stack.probabilities(said[None], evidence.phase)[0]
        careful = self._careful.of(forecasts[: self._plain])
        known = [mode for mode in MODES if mode not in forecasts[-1].unknown]
        learned = {mode: float(p[MODES.index(mode)]) for mode in known}
        reasons = [r for f in forecasts for r in f.reasons if r.mode in learned]
        told = _weighed(reasons, learned)
        told += [r for r in careful.reasons if r.mode not in learned]
        told.sort(key=lambda r: (-r.probability, r.mode, r.text))
        return Forecast({**careful.probabilities, **learned}, tuple(told))


def _weighed(reasons: Sequence[Reason], told: Mapping[str, float]) -> list[Reason]:
    """The reasons, each mode's surest as probable as the mode, and the others in proportion."""
    surest = dict.fromkeys(MODES, 0.0)
    for reason in reasons:
        surest[reason.mode] = max(surest[reason.mode], reason.probability)
    return [
        replace(reason, probability=told[reason.mode] * reason.probability / surest[reason.mode])
        for reason in reasons
        if surest[reason.mode] > 0.0
    ]
