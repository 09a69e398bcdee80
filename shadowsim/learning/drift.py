"""Recent changes and what came of them, to how unlike those of training they have become.

Features: per feature a two-sample Kolmogorov-Smirnov test of recent gate looks against those of
training, where a missing value is a value of its own, below all others. The tests are many and
depend on each other, so the false discovery rate is controlled under any dependence (Benjamini and
Yekutieli, Annals of Statistics 29, 2001). Changes of one network share its topology, so a shift may
say no more than that this network is not one of those trained on.

Calibration: the Brier score against what it would be on average if every stated probability were
right, p(1 - p), by the test of Spiegelhalter (Statistics in Medicine 5, 1986).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, false_discovery_control, ks_2samp

from shadowsim.learning.dataset import Bools, Floats
from shadowsim.learning.fit import ABSTAIN
from shadowsim.precog.model import PHASES, Model

RECENT = 100  # outcomes, the last ones
FALSE_SHARE = 0.05  # of the features that are said to have moved
CERTAIN = 0.01  # below this a test says drift
LEAST = 20  # of either side: with fewer no test is made


@dataclass(frozen=True)
class Shift:
    """A feature that has moved: by how much at most (the KS distance), and how surely."""

    feature: str
    distance: float
    q: float


@dataclass(frozen=True)
class Calibrated:
    """What was said of one mode against what came. `z` is about normal where all is well; above
    zero the probabilities were less right than they said.
    """

    looks: int
    brier: float
    expected: float
    z: float
    p: float

    @property
    def drifted(self) -> bool:
        """Never of few looks, since the test is one for many."""
        return self.looks >= LEAST and self.p < CERTAIN


@dataclass(frozen=True)
class Strange:
    """How many of the recent looks at the gate lie beyond the bounds of a model, which at most a
    share of ABSTAIN should; `p`, how probable so many are if nothing has changed.
    """

    looks: int
    strange: int
    p: float

    @property
    def drifted(self) -> bool:
        return self.p < CERTAIN


def shifts(training: Floats, recent: Floats, names: Sequence[str]) -> list[Shift]:
    """The features of `recent[M, F]` that are not distributed as in `training[N, F]`, the farthest
    first; none where either has too few rows.
    """
    if min(len(training), len(recent)) < LEAST:
        return []
    tests = [ks_2samp(_whole(a), _whole(b)) for a, b in zip(training.T, recent.T, strict=True)]
    q = false_discovery_control([test.pvalue for test in tests], method="by")
    found = [
        Shift(name, float(test.statistic), float(one))
        for name, test, one in zip(names, tests, q, strict=True)
        if one < FALSE_SHARE
    ]
    return sorted(found, key=lambda shift: (-shift.distance, shift.feature))


def _whole(column: Floats) -> Floats:
    lowest = np.min(column, where=np.isfinite(column), initial=0.0)
    return np.asarray(np.where(np.isfinite(column), column, min(lowest, 0.0) - 1e9))


def calibrated(p: Floats, came: Bools) -> Calibrated:
    """Spiegelhalter's test of probabilities `[N]` against what came; nan says nothing and is not
    counted.
    """
    known = np.isfinite(p)
    p, came = p[known], came[known]
    if not len(p):
        return Calibrated(0, math.nan, math.nan, math.nan, math.nan)
    spread = float(np.sqrt(np.sum((1.0 - 2.0 * p) ** 2 * p * (1.0 - p))))
    off = float(np.sum((came - p) * (1.0 - 2.0 * p)))
    # Of probabilities that are all 0, 1 or one half the score cannot be off by chance.
    z = (
        off / spread
        if spread > 0.0
        else (0.0 if abs(off) < 1e-12 else math.copysign(math.inf, off))
    )
    return Calibrated(
        len(p), float(np.mean((p - came) ** 2)), float(np.mean(p * (1.0 - p))), z,
        math.erfc(abs(z) / math.sqrt(2.0)),
    )  # fmt: skip


def strange(model: Model, gate: Floats) -> Strange:
    """How many looks at the gate, `[M, features]`, a model has not seen the like of."""
    phase = model.phases[PHASES[0]]
    count = int((phase.outside(gate) > phase.most_outside).sum()) if len(gate) else 0
    p = binomtest(count, len(gate), ABSTAIN, "greater").pvalue if len(gate) else math.nan
    return Strange(len(gate), count, float(p))
