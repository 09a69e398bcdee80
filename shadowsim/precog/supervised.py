"""Evidence, through what was learned from past changes, to a forecast that may say "not known"."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shadowsim.model.truth import MODES
from shadowsim.precog.features import FEATURES, NAMES, Featurizer
from shadowsim.precog.forecast import Evidence, Forecast, Reason
from shadowsim.precog.model import Model, Outlook
from shadowsim.precog.model_file import load
from shadowsim.precog.whatif import WhatIf

Row = npt.NDArray[np.float64]

TOLD_FROM = 0.05  # a mode that is less probable needs no reason
BY_NAME = {feature.name: feature for feature in FEATURES}


class Supervised:
    """Boosted trees, calibrated on networks that they were not fitted to.

    Of the gate it says how probable a failure is at all, of production how probable one is to begin
    within the horizon of the model. nan where the change is unlike those of training, or where
    models of different networks disagree.
    """

    name = "supervised"

    def __init__(self, whatif: WhatIf, model: Model) -> None:
        self._model = model
        self.featurizer = Featurizer(whatif.topology, whatif.demands, whatif.intents, whatif)

    def forecast(self, evidence: Evidence) -> Forecast:
        return forecast_of_row(self._model, self.featurizer.of(evidence), evidence.phase)


def forecast_of_row(model: Model, x: Row, phase: str) -> Forecast:
    """What the model says of one row of features."""
    look = model.look(x[None], phase)
    told = {
        mode: math.nan if unknown else p
        for mode, unknown, p in zip(
            MODES, look.unknown[0].tolist(), look.probabilities[0].tolist(), strict=True
        )
    }
    reasons = [
        _withheld(model, x, phase, look, number)
        if look.unknown[0, number]
        else _reason(model, x, phase, look, number)
        for number in range(len(MODES))
        if look.unknown[0, number] or look.probabilities[0, number] >= TOLD_FROM
    ]
    reasons.sort(key=lambda reason: -reason.probability)
    return Forecast(told, tuple(reasons))


def _reason(model: Model, x: Row, phase: str, look: Outlook, mode: int) -> Reason:
    named = [_told(name, value) for name, value, _ in model.reasons(x, phase, mode)]
    why = "; ".join(named) or "no one thing stands out"
    text = f"{why}; if it comes, about {look.time_to_failure_s[0]:.2g} s after this"
    return Reason("supervised", MODES[mode], float(look.probabilities[0, mode]), text)


def _told(name: str, value: float) -> str:
    feature = BY_NAME.get(name)
    what, unit = (feature.text, f" {feature.unit}") if feature else (name, "")
    return f"{what}: {value:.3g}{unit}" if value == value else f"{what}: not known"


def _withheld(model: Model, x: Row, phase: str, look: Outlook, mode: int) -> Reason:
    """Why there is no number. It has no weight of its own."""
    strange = int(model.phases[phase].outside(x[None])[0])
    if strange > model.phases[phase].most_outside:
        why = f"{strange} of {len(x)} features are unlike any change learned from"
    else:
        why = f"what was learned on different networks disagrees by {look.apart[0, mode]:.0%}"
    return Reason("supervised", MODES[mode], 0.0, f"not known: {why}")


def model_path() -> Path:
    """Where the model lies: SHADOWSIM_MODEL, else the user's own, else the one that came along."""
    given = os.environ.get("SHADOWSIM_MODEL")
    if given:
        return Path(given)
    own = user_model()
    return (
        own if own.exists() else Path(str(files("shadowsim.precog") / "trained" / "default.model"))
    )


def user_model() -> Path:
    """Where a model of one's own lies, if there is one (XDG base directories)."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "shadowsim" / "supervised.model"


def beside(path: Path) -> Path:
    """Where the stack of the hybrid lies that was learned together with this model."""
    return path.with_name(f"{path.stem}.stack")


def supervised(whatif: WhatIf) -> Supervised:
    """The variant with the model that stands. Raises BadInput if it cannot be used."""
    return Supervised(whatif, standing_model())


def standing_model() -> Model:
    """The model that `supervised` uses. Raises BadInput if it is missing, damaged or foreign."""
    return loaded(model_path(), NAMES)


def loaded(path: Path, names: Sequence[str]) -> Model:
    """The model of a file, made for these features; read once. Raises BadInput."""
    return _loaded(path, tuple(names), path.stat().st_mtime_ns if path.exists() else 0)


@cache
def _loaded(path: Path, names: tuple[str, ...], stamp: int) -> Model:
    return load(path, names)
