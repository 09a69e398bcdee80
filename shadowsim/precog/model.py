"""A fitted model and rows of features to probabilities, what is not known, and how soon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.maxmin import compiled
from shadowsim.errors import BadInput
from shadowsim.model.truth import MODES
from shadowsim.precog.trees import Floats, Trees

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

PHASES = ("shadow", "production")


@dataclass(frozen=True, eq=False)
class PhaseModel:
    """What was learned of one phase.

    `trees` has an output for each member of each mode's ensemble (the members of MODES[0] first),
    and a last one: the logarithm of the seconds until the failure begins. Probabilities are
    calibrated by logit p' = a ln p - b ln(1 - p) + c (Kull, Silva Filho and Flach, "Beta
    calibration", AISTATS 2017), where p is what the members say on average, in log odds.

    A row is *strange* if more than `most_outside` of its features lie outside `low` to `high`, or
    are missing where training rows had them (`always`). A mode of it is *disputed* if its members'
    calibrated probabilities are further apart than `most_apart`. Both bounds are conformal: on the
    calibration fold at most a set share of the rows exceed each (Bates et al., "Testing for
    outliers with conformal p-values", Annals of Statistics 51, 2023).
    """

    members: int
    trees: Trees
    calibration: Floats  # [3, modes]: a, b and c
    most_apart: Floats  # [modes]
    low: Floats  # [features]
    high: Floats  # [features]
    always: Bools  # [features]
    most_outside: int

    def look(self, x: Floats) -> Outlook:
        """What is to be said of rows `[R, features]`."""
        raw, modes = self.trees.raw(x), len(MODES)
        told, apart = np.empty((len(raw), modes)), np.empty((len(raw), modes))
        _probabilities(raw, self.members, self.calibration, told, apart)
        strange = self.outside(x) > self.most_outside
        return Outlook(
            told, (apart > self.most_apart) | strange[:, None], np.exp(raw[:, -1]), apart
        )

    def outside(self, x: Floats) -> Ints:
        """`[R]`: how many features of each row training has not seen the like of."""
        found = np.zeros(len(x), np.int64)
        _outside(np.ascontiguousarray(x, np.float64), self.low, self.high, self.always, found)
        return found

    def contributions(self, x: Floats, mode: int) -> Floats:
        """`[features]`: by how much each feature of one row moved the log odds of a mode."""
        return self.trees.contributions(x, range(mode * self.members, (mode + 1) * self.members))


@dataclass(frozen=True, eq=False)
class Outlook:
    """What a model says of `R` rows, before anything is withheld.

    `probabilities[R, modes]`; `unknown[R, modes]`: better not said; `time_to_failure_s[R]`: the
    median if a failure comes; `apart[R, modes]`: by how much the members differ.
    """

    probabilities: Floats
    unknown: Bools
    time_to_failure_s: Floats
    apart: Floats


@compiled
def calibrate(score: float, a: float, b: float, c: float) -> float:
    """Log odds to a calibrated probability, without a step that rounds to 0 or 1."""
    small = math.log1p(math.exp(-abs(score)))
    told = c - a * (max(-score, 0.0) + small) + b * (max(score, 0.0) + small)
    return 1.0 / (1.0 + math.exp(-told)) if told > -700.0 else 0.0


@compiled
def _probabilities(
    raw: Floats, members: int, calibration: Floats, told: Floats, apart: Floats
) -> None:
    """Per row and mode, of the mean of the members' scores; and how far apart the members are."""
    for row in range(told.shape[0]):
        for mode in range(told.shape[1]):
            a, b, c = calibration[0, mode], calibration[1, mode], calibration[2, mode]
            total, least, greatest = 0.0, 1.0, 0.0
            for member in range(mode * members, (mode + 1) * members):
                score = raw[row, member]
                said = calibrate(score, a, b, c)
                total += score
                least, greatest = min(least, said), max(greatest, said)
            told[row, mode] = calibrate(total / members, a, b, c)
            apart[row, mode] = greatest - least


@compiled
def _outside(x: Floats, low: Floats, high: Floats, always: Bools, found: Ints) -> None:
    for row in range(x.shape[0]):
        for feature in range(x.shape[1]):
            value = x[row, feature]
            missing = value != value and always[feature]
            found[row] += value < low[feature] or value > high[feature] or missing


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model: one `PhaseModel` for the gate, on the shadow, and one for production.

    `horizon_s`: how far ahead of a look in production a failure counts. `card` says in words what
    it was trained on, how good it is and where its limits are.
    """

    features: tuple[str, ...]
    phases: Mapping[str, PhaseModel]
    horizon_s: float
    seed: int
    data_seed: int | None
    versions: Mapping[str, str]
    card: str

    def look(self, x: Floats, phase: str) -> Outlook:
        """What is to be said of rows `[R, features]` seen in this phase, one of PHASES."""
        return self.phases[phase].look(x)

    def probabilities(self, x: Floats, phase: str) -> Floats:
        """`[R, modes]`: calibrated; of a change at the gate, of the horizon in production."""
        return self.look(x, phase).probabilities

    def unknown(self, x: Floats, phase: str) -> Bools:
        """`[R, modes]`: where the model does not know and should not be followed."""
        return self.look(x, phase).unknown

    def time_to_failure_s(self, x: Floats, phase: str) -> Floats:
        """`[R]`: the median time until a failure begins, if one comes."""
        return self.look(x, phase).time_to_failure_s

    def reasons(
        self, x: Floats, phase: str, mode: int, most: int = 3
    ) -> list[tuple[str, float, float]]:
        """What raised the log odds of a mode most: names of features, values in this row, by how
        much; the strongest first.
        """
        moved = self.phases[phase].contributions(x, mode)
        order = np.argsort(-moved, kind="stable")[:most].tolist()
        return [(self.features[n], float(x[n]), float(moved[n])) for n in order if moved[n] > 0.0]


def check(model: Model) -> None:
    """Raises BadInput where the parts of a model do not fit together."""
    if set(model.phases) != set(PHASES):
        raise BadInput(f"a model has the phases {' and '.join(PHASES)}")
    for name, phase in model.phases.items():
        wrong = _wrong(phase, len(model.features))
        if wrong:
            raise BadInput(f"{name}: {wrong}")


def _wrong(phase: PhaseModel, features: int) -> str:
    modes = len(MODES)
    shapes = {
        "calibration": (3, modes), "most_apart": (modes,), "low": (features,),
        "high": (features,), "always": (features,),
    }  # fmt: skip
    for name, shape in shapes.items():
        array = getattr(phase, name)
        if array.shape != shape or np.isnan(array).any():
            return f"'{name}' is not made for {features} features and {modes} modes"
    if not np.isfinite(phase.calibration).all() or (phase.calibration[:2] < 0.0).any():
        return "the calibration would turn the scores around"
    if phase.trees.n_features != features or phase.trees.outputs != modes * phase.members + 1:
        return f"the trees are not those of {phase.members} members and {features} features"
    return ""
