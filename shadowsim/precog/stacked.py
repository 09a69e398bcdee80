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
    networks disagrees, it is as careful as the plain hybrid: a mode is as probable as the surest of
    them says.
    """

    name = "hybrid"

    def __init__(self, variants: Sequence[Variant], model: Model) -> None:
        self._variants = tuple(variants)
        self._plain = Hybrid(variants)
        self._model = model

    def forecast(self, evidence: Evidence) -> Forecast:
        told = {variant.name: variant.forecast(evidence) for variant in self._variants}
        careful = self._plain.of(list(told.values()))
        look = self._model.look(self._row(told)[None], evidence.phase)
        probabilities = {
            mode: careful.probabilities[mode] if unknown else float(p)
            for mode, unknown, p in zip(MODES, look.unknown[0], look.probabilities[0], strict=True)
        }
        return Forecast(probabilities, _weighed(careful, probabilities))

    def _row(self, told: Mapping[str, Forecast]) -> Row:
        said = {
            f"{name}.{mode}": p for name, f in told.items() for mode, p in f.probabilities.items()
        }
        return np.array([said[name] for name in self._model.features])


def _weighed(careful: Forecast, probabilities: Mapping[str, float]) -> tuple[Reason, ...]:
    """The reasons, each mode's surest as probable as the mode, and the others in proportion."""
    surest = dict.fromkeys(MODES, 0.0)
    for reason in careful.reasons:
        surest[reason.mode] = max(surest[reason.mode], reason.probability)
    found = []
    for reason in careful.reasons:
        most, p = surest[reason.mode], probabilities[reason.mode]
        share = reason.probability / most if most > 0.0 else 0.0
        weight = p * share if np.isfinite(p) else reason.probability
        found.append(replace(reason, probability=float(weight)))
    return tuple(sorted(found, key=lambda r: (-r.probability, r.mode, r.text)))
