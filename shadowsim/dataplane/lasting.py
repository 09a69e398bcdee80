"""What is broken at every step of many futures to the failure modes each amounts to.

The definitions are those of `model.truth`, over arrays instead of spells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadowsim.dataplane.futures import Masks
from shadowsim.dataplane.maxmin import Floats, compiled
from shadowsim.model.truth import (
    DEGRADATION,
    DEGRADATION_S,
    MODES,
    OUTAGE,
    OUTAGE_S,
    VULNERABILITY,
)

Array = np.ndarray
ROUNDING_S = 1e-9


@dataclass(frozen=True)
class Failures:
    """Which failure modes come in N futures, in the order of MODES.

    `came[N, 3]`; of those that came: `onset_s[N, 3]`, when the thing was first broken in the spell
    that became the failure, nan else; `step[N, 3]`, the step of that, and `thing[N, 3]`, its
    place in the last axis of the mask, -1 else.
    """

    came: Array
    onset_s: Array
    step: Array
    thing: Array


def failures(masks: Masks, span_s: Array) -> Failures:
    """The failure modes of every future; `span_s[N, K]` is how long its steps last.

    Of several things that fail alike, the one that was broken long enough first is named.
    """
    slow = _lasting(masks.slow, span_s, DEGRADATION_S - ROUNDING_S)
    outage = _lasting(masks.unreachable, span_s, OUTAGE_S - ROUNDING_S)
    exposed = _lasting(masks.exposed, span_s, 0.0)
    found = {DEGRADATION: slow, OUTAGE: outage, VULNERABILITY: exposed}
    step = np.stack([found[mode][0] for mode in MODES], axis=1)
    thing = np.stack([found[mode][1] for mode in MODES], axis=1)
    came = step >= 0
    # A degradation is one without an outage.
    came[:, MODES.index(DEGRADATION)] &= ~came[:, MODES.index(OUTAGE)]
    step, thing = np.where(came, step, -1), np.where(came, thing, -1)
    begins_s = np.cumsum(span_s, axis=1) - span_s
    onset_s = np.where(came, np.take_along_axis(begins_s, np.maximum(step, 0), axis=1), np.nan)
    return Failures(came, onset_s, step, thing)


def _lasting(mask: Array, span_s: Array, least_s: float) -> tuple[Array, Array]:
    """Per future the step in which the first thing to last `least_s` began, and the thing; or -1"""
    step, thing = np.full(len(mask), -1), np.full(len(mask), -1)
    _scan(mask, span_s, least_s, step, thing)
    return step, thing


@compiled
def _scan(mask: Array, span_s: Floats, least_s: float, step: Array, thing: Array) -> None:
    for n in range(mask.shape[0]):
        held_s = np.zeros(mask.shape[2])
        began = np.zeros(mask.shape[2], np.int64)
        for k in range(mask.shape[1]):
            if span_s[n, k] <= 0.0:
                continue
            for u in range(mask.shape[2]):
                if not mask[n, k, u]:
                    held_s[u] = 0.0
                    continue
                if held_s[u] == 0.0:
                    began[u] = k
                held_s[u] += span_s[n, k]
                if held_s[u] >= least_s and step[n] < 0:
                    step[n], thing[n] = began[u], u
            if step[n] >= 0:
                break
