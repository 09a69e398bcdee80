"""What an agent can do, by name and number, and what it can do at a look."""

from __future__ import annotations

import numpy as np

from shadowsim.model.truth import MODES
from shadowsim.precog.model import Bools

WAIT, GO, REFUSE, WHOLE, PART = 0, 1, 2, 3, 3 + len(MODES)
ACTIONS = (
    "wait",
    "go",
    "refuse",
    *(f"roll back whole: {mode}" for mode in MODES),
    *(f"roll back part: {mode}" for mode in MODES),
)


def masks(production: Bools, has_part: Bools) -> Bools:
    """`[R, ACTIONS]`: what is open at R looks, each in production or not, with a part of the change
    to blame or not.
    """
    found = np.zeros((len(production), len(ACTIONS)), bool)
    found[:, WAIT] = True
    found[~production, GO] = found[~production, REFUSE] = True
    found[production, WHOLE:PART] = True
    found[:, PART:] = has_part[:, None]
    return found
