"""What is known at a decision to a vector of bounded numbers.

Every number x becomes sign(x) ln(1 + |x|), clipped to +-BOUND; one that is not known becomes 0.
No statistics of any data go into this, so a number means the same everywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shadowsim.env.tape import Tape
from shadowsim.errors import ShadowsimError
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import Model

Floats = npt.NDArray[np.float32]

BOUND = 8.0
CLOCK = ("missing", "since_s", "left", "part")
SUPERVISED = (*(f"p_{mode}" for mode in MODES), *(f"unknown_{mode}" for mode in MODES))


def observed(supervised: bool) -> tuple[str, ...]:
    """The names of an observation's numbers: the features of PreCog (`telemetry_production` says
    which phase it is), the share of them that is missing, seconds since the network looked at has
    the change, the share of the trial or of monitoring that is left, and whether a part of the
    change is to blame by what is seen. With `supervised` what the model says of every mode, and
    whether it does not know: then its probability is 0.
    """
    return (*NAMES, *CLOCK, *(SUPERVISED if supervised else ()))


def observations(tape: Tape, model: Model | None) -> Floats:
    """`[R, observed]`. Raises ShadowsimError if the model gives what is no probability."""
    unknown = np.isnan(tape.features)
    columns = [
        np.nan_to_num(tape.features, nan=0.0),
        unknown.mean(axis=1, keepdims=True),
        tape.since_s[:, None],
        tape.left[:, None],
        tape.has_part[:, None],
    ]
    if model is not None:
        columns += told(tape, model)
    return scaled(np.hstack(columns))


def scaled(x: npt.ArrayLike) -> Floats:
    """Numbers as they stand in an observation."""
    raw = np.asarray(x, np.float64)
    found: Floats = np.clip(np.sign(raw) * np.log1p(np.abs(raw)), -BOUND, BOUND).astype(np.float32)
    return found


def told(tape: Tape, model: Model) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """What a model says of every row: probabilities, and what it does not know; `[R, MODES]`."""
    shadow = tape.world < 0
    chance, unknown = np.empty((len(shadow), len(MODES))), np.empty((len(shadow), len(MODES)), bool)
    for phase, rows in (("shadow", shadow), ("production", ~shadow)):
        look = model.look(tape.features[rows], phase)
        chance[rows], unknown[rows] = look.probabilities, look.unknown
    if not ((chance >= 0.0) & (chance <= 1.0) | unknown).all():
        raise ShadowsimError("the supervised model gave a number that is no probability")
    return np.where(unknown, 0.0, chance), unknown
