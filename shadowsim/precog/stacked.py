"""What several variants say, by what was learned of when each is right, to one forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shadowsim.model.truth import MODES
from shadowsim.precog.forecast import Evidence, Forecast, Reason, Variant
from shadowsim.precog.hybrid import Hybrid
from shadowsim.precog.model import Model

Row = npt.NDArray[np.float64]


def statements(variants: Sequence[str]) -> tuple[str, ...]:
    """The names of what variants say: one number per variant and failure mode, in this order."""
    return tuple(f"{variant}.{mode}" for variant in variants for mode in MODES)


class Stacked:
    """The hybrid that has learned whom to believe (Wolpert, "Stacked generalization", Neural
    Networks 5, 1992), on changes that none of its variants was fitted to.

    Where what they say is unlike anything it learned from, or what it learned on different
    networks disagrees, it goes by the plain variants alone: a mode is as probable as the surest of
    these says.
    """

    name = "hybrid"

    def __init__(self, plain: Sequence[Variant], others: Sequence[Variant], model: Model) -> None:
        self._plain, self._others = tuple(plain), tuple(others)
        self._careful = Hybrid(plain)
        self._model = model

    def forecast(self, evidence: Evidence) -> Forecast:
        plain = [variant.forecast(evidence) for variant in self._plain]
        others = [variant.forecast(evidence) for variant in self._others]
        look = self._model.look(self._row(plain + others)[None], evidence.phase)
        careful = self._careful.of(plain)
        learned = {
            mode: float(p)
            for mode, unknown, p in zip(MODES, look.unknown[0], look.probabilities[0], strict=True)
            if not unknown
        }
        reasons = [reason for forecast in plain + others for reason in forecast.reasons]
        told = _weighed([r for r in reasons if r.mode in learned], learned)
        told += [r for r in careful.reasons if r.mode not in learned]
        return Forecast(
            {**careful.probabilities, **learned},
            tuple(sorted(told, key=lambda r: (-r.probability, r.mode, r.text))),
        )

    def _row(self, forecasts: Sequence[Forecast]) -> Row:
        names = [variant.name for variant in self._plain + self._others]
        said = {
            f"{name}.{mode}": forecast.probabilities[mode]
            for name, forecast in zip(names, forecasts, strict=True)
            for mode in MODES
        }
        return np.array([said[name] for name in self._model.features])


def _weighed(reasons: Sequence[Reason], learned: Mapping[str, float]) -> list[Reason]:
    """The reasons, each mode's surest as probable as the mode, and the others in proportion."""
    surest = dict.fromkeys(MODES, 0.0)
    for reason in reasons:
        surest[reason.mode] = max(surest[reason.mode], reason.probability)
    return [
        replace(reason, probability=learned[reason.mode] * reason.probability / surest[reason.mode])
        for reason in reasons
        if surest[reason.mode] > 0.0
    ]
