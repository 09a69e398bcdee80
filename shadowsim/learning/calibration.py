"""Raw scores and what happened to the three numbers that make probabilities of scores."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from shadowsim.learning.dataset import Bools, Floats

PRIOR = 5.0  # how strongly the numbers are held to those that change nothing: fades with rows


def beta(score: Floats, came: Bools) -> Floats:
    """a, b and c of beta calibration (Kull, Silva Filho and Flach, AISTATS 2017).

    The most likely ones with a and b not negative, so that the order of scores is kept. Where a and
    b are equal it is Platt's scaling.
    """
    # logit p' = a ln p - b ln(1 - p) + c
    columns = np.stack([-np.logaddexp(0.0, -score), np.logaddexp(0.0, score), np.ones_like(score)])
    start, prior = np.array([1.0, 1.0, 0.0]), PRIOR / len(score)

    def loss(numbers: Floats) -> tuple[float, Floats]:
        told = numbers @ columns
        away = numbers - start
        off = 1.0 / (1.0 + np.exp(-np.clip(told, -500.0, 500.0))) - came
        value = float(np.mean(np.logaddexp(0.0, told) - came * told) + prior * away @ away)
        return value, columns @ off / len(score) + 2.0 * prior * away

    bounds = [(0.0, None), (0.0, None), (None, None)]
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def conformal_bound(values: Floats, share: float) -> float:
    """The least bound that at most this share of rows like these exceed; inf for too few rows.

    The (1 - share)(n + 1)-th smallest (Vovk, Gammerman and Shafer, "Algorithmic learning in a
    random world", 2005).
    """
    rank = int(np.ceil((1.0 - share) * (len(values) + 1)))
    return float(np.sort(values)[rank - 1]) if rank <= len(values) else float("inf")
