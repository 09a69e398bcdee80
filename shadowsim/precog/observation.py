"""What is known at a decision to a vector of bounded numbers: the environment's, and PreCog's.

Every number x becomes sign(x) ln(1 + |x|), clipped to +-BOUND; one that is not known becomes 0.
No statistics of any data go into this, so a number means the same everywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shadowsim.errors import ShadowsimError
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import Bools, Model
from shadowsim.precog.trees import Floats

Singles = npt.NDArray[np.float32]

BOUND = 8.0
PART = "part"
CLOCK = ("missing", "since_s", "left", PART)
SUPERVISED = (*(f"p_{mode}" for mode in MODES), *(f"unknown_{mode}" for mode in MODES))


def observed(supervised: bool) -> tuple[str, ...]:
    """The names of an observation's numbers: the features of PreCog (`telemetry_production` says
    which phase it is), the share of them that is missing, seconds since the network looked at has
    the change, the share of the trial or of monitoring that is left, and whether a part of the
    change is to blame by what is seen. With `supervised` what the model says of every mode, and
    whether it does not know: then its probability is 0.
    """
    return (*NAMES, *CLOCK, *(SUPERVISED if supervised else ()))


def observations(
    features: Floats,
    production: Bools,
    since_s: Floats,
    left: Floats,
    has_part: Bools,
    model: Model | None,
) -> Singles:
    """`[R, observed]`, of R looks: `features[R, NAMES]`, nan where not known, and for each whether
    it is one at production, and the clock. Raises ShadowsimError if the model gives what is no
    probability.
    """
    unknown = np.isnan(features)
    columns = [
        np.nan_to_num(features, nan=0.0),
        unknown.mean(axis=1, keepdims=True),
        since_s[:, None],
        left[:, None],
        has_part[:, None],
    ]
    if model is not None:
        columns += told(features, production, model)
    return scaled(np.hstack(columns))


def scaled(x: npt.ArrayLike) -> Singles:
    """Numbers as they stand in an observation."""
    raw = np.asarray(x, np.float64)
    found: Singles = np.clip(np.sign(raw) * np.log1p(np.abs(raw)), -BOUND, BOUND).astype(np.float32)
    return found


def told(features: Floats, production: Bools, model: Model) -> tuple[Floats, Bools]:
    """What a model says of every row: probabilities, and what it does not know; `[R, MODES]`."""
    shape = len(production), len(MODES)
    chance, unknown = np.empty(shape), np.empty(shape, bool)
    for phase, rows in (("shadow", ~production), ("production", production)):
        if rows.any():
            look = model.look(features[rows], phase)
            chance[rows], unknown[rows] = look.probabilities, look.unknown
    if not ((chance >= 0.0) & (chance <= 1.0) | unknown).all():
        raise ShadowsimError("the supervised model gave a number that is no probability")
    return np.where(unknown, 0.0, chance), unknown
