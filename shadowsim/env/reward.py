"""Amounts of harm and decisions to a reward: named parts, weighted, in one unit.

The unit is one second of an outage in production. Every part is at most 0, and they sum to the
reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from shadowsim.env.tape import AMOUNTS
from shadowsim.errors import BadInput, choices

Floats = npt.NDArray[np.float64]

NEEDLESS_REFUSAL, NEEDLESS_ROLLBACK, MISNAMED = "needless_refusal", "needless_rollback", "misnamed"
PARTS = (*AMOUNTS, NEEDLESS_REFUSAL, NEEDLESS_ROLLBACK, MISNAMED)
WEIGHTS: Mapping[str, float] = MappingProxyType({
    "critical_limit": 0.3,  # for every second in which a limit of critical traffic is broken
    "normal_limit": 0.1,
    "bulk_limit": 0.03,
    "link_limit": 0.03,  # a limit on the utilisation of links
    "outage": 1.0,  # for every second
    "exposed": 0.5,  # for every second in which anything is exposed
    "exposures": 10.0,  # for each that begins: who saw it has seen it
    "delay": 0.02,  # for every second of the trial that the agent waits
    NEEDLESS_REFUSAL: 15.0,  # of a change that would not have failed; letting it lapse is one
    NEEDLESS_ROLLBACK: 15.0,  # of a change that does not fail
    MISNAMED: 1.0,  # a rollback for a failure mode that does not come, although another does
})  # fmt: skip


def weights(different: Mapping[str, float] | None = None) -> Floats:
    """`[PARTS]`: the weights, some of them others. Raises BadInput for a part that is none."""
    wanted = {**WEIGHTS, **(different or {})}
    for name, value in wanted.items():
        if name not in WEIGHTS:
            raise BadInput(f"there is no part '{name}' of the reward; {choices(name, PARTS)}")
        if not (np.isfinite(value) and value >= 0.0):
            raise BadInput(f"the weight of '{name}' must be a number from 0 on, not {value}")
    return np.array([wanted[name] for name in PARTS])
