"""Outcomes, a history and the model in use to what has drifted, as tables of words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from shadowsim.learning.comparison import LEARNED
from shadowsim.learning.dataset import Floats
from shadowsim.learning.drift import (
    RECENT,
    Calibrated,
    Shift,
    Strange,
    calibrated,
    shifts,
    strange,
)
from shadowsim.learning.evaluation import names_asked, said_by_all
from shadowsim.learning.looks import GATE
from shadowsim.learning.outcomes import Outcomes
from shadowsim.learning.retraining import Pair
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES

TOLD = 10  # features at most


@dataclass(frozen=True)
class Drift:
    """What has drifted in the last `recent` outcomes: `shifts` of features (None without a history
    to compare with), and per learned variant and mode the calibration of the model in use.
    """

    recent: int
    shifts: tuple[Shift, ...] | None
    strange: Strange
    calibration: dict[tuple[str, str], Calibrated]

    @property
    def drifted(self) -> bool:
        return (
            bool(self.shifts)
            or self.strange.drifted
            or any(one.drifted for one in self.calibration.values())
        )

    def rows(self) -> list[tuple[str, str, int, float | None, float | None, str]]:
        """What, of what, of how many looks, the figure, what it should be at most, and whether."""
        found: list[tuple[str, str, int, float | None, float | None, str]] = [
            (
                "unlike training", "looks at the gate", self.strange.looks,
                self.strange.strange / self.strange.looks if self.strange.looks else None,
                0.02, _said(self.strange.drifted),
            )
        ]  # fmt: skip
        for (variant, mode), one in self.calibration.items():
            known = one.looks > 0
            found.append((
                "Brier score", f"{variant}: {mode}", one.looks,
                one.brier if known else None, one.expected if known else None,
                _said(one.drifted),
            ))  # fmt: skip
        for shift in (self.shifts or ())[:TOLD]:
            found.append(
                ("feature moved", shift.feature, self.recent, shift.distance, None, "drift")
            )
        return found


def _said(drifted: bool) -> str:
    return "drift" if drifted else ""


def drift(real: Outcomes, pair: Pair, training: pl.DataFrame | None = None) -> Drift:
    """Of the last outcomes; `training` holds the looks of the history, if it is at hand."""
    labels = real.labels.sort("recorded_at", "case").tail(RECENT).sort("case")
    looks = real.looks.join(labels.select("case"), on="case", how="semi", maintain_order="left")
    gate = looks.filter(pl.col("phase") == GATE)
    said = said_by_all(gate, labels, names_asked(gate), pair.supervised, pair.hybrid)
    came = labels.select(MODES).to_numpy()
    return Drift(
        labels.height,
        None if training is None else tuple(_shifts(training, gate)),
        strange(pair.supervised, _features(gate, NAMES)),
        {
            (name, mode): calibrated(said[name][:, n], came[:, n])
            for name in LEARNED
            for n, mode in enumerate(MODES)
        },
    )  # fmt: skip


def _shifts(training: pl.DataFrame, gate: pl.DataFrame) -> list[Shift]:
    then = training.filter(pl.col("phase") == GATE)
    return shifts(_features(then, NAMES), _features(gate, NAMES), NAMES)


def _features(looks: pl.DataFrame, names: Sequence[str]) -> Floats:
    found: Floats = np.ascontiguousarray(
        looks.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    )
    return found
