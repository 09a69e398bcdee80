"""Two sets of readings of many metrics to how probable their order is by chance.

Columns are metrics, rows readings; nan stands where there is none, and counts nowhere.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, ndtr

from shadowsim.dataplane.maxmin import compiled
from shadowsim.precog.columns import Columns, known

Array = np.ndarray


def pairs_above(high: Array, low: Array) -> Array:
    """Per column: of all pairs of one reading of each set, in how many the first is the greater.

    A tie counts half: the Mann-Whitney U of the first set.
    """
    return _above(*(np.ascontiguousarray(side, np.float64) for side in (high, low)))


@compiled
def _above(high: Array, low: Array) -> Array:
    twice = np.zeros(high.shape[1], np.int64)
    for i in range(high.shape[0]):
        for k in range(low.shape[0]):
            for c in range(high.shape[1]):
                twice[c] += (high[i, c] > low[k, c]) + (high[i, c] >= low[k, c])
    return twice * 0.5


def deviation(n: Array, m: Array, tied: Array) -> Array:
    """The standard deviation of U by chance, for `n` and `m` readings of which some are tied.

    Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 4.1.
    """
    total = n + m
    spread = total + 1.0 - tied / np.maximum(total * (total - 1.0), 1.0)
    found: Array = np.sqrt(n * m / 12.0 * np.maximum(spread, 0.0))
    return found


def chance_of_shift(high: Array, low: Array) -> Array:
    """Per column: how probable it is by chance that the first set lies this high above the second.

    Mann and Whitney, Annals of Mathematical Statistics 18, 1947; one-sided, by the normal
    approximation with ties and continuity corrected. 1 where nothing can be said.
    """
    n, m = known(high), known(low)
    sd = deviation(n, m, Columns(np.vstack((high, low))).tied)
    above = pairs_above(high, low) - n * m / 2.0 - 0.5
    found: Array = np.where(sd > 0, ndtr(-above / np.maximum(sd, 1e-300)), 1.0)
    return found


def chance_of_exceeding(high: Array, low: Array) -> Array:
    """Per column: how probable it is by chance that as many of the first exceed all of the second.

    Exact, whatever the distribution: Rosenbaum, Annals of Mathematical Statistics 25, 1954. If all
    exceed, this is the least chance that these numbers of readings can have.
    """
    top = np.max(np.where(np.isfinite(low), low, -np.inf), axis=0, initial=-np.inf)
    exceeding = ((high > top) & np.isfinite(top)).sum(axis=0)
    return chance_of_top(exceeding, known(high), known(low))


def chance_of_top(exceeding: Array, n: Array, m: Array) -> Array:
    """How probable it is by chance that the highest of `n + m` readings are all of the first `n`.

    `exceeding` is how many of the highest: C(n + m - k, m) / C(n + m, m).
    """
    k = np.minimum(exceeding, n)
    log = gammaln(n + m - k + 1.0) - gammaln(n - k + 1.0)
    log = log - gammaln(n + m + 1.0) + gammaln(n + 1.0)
    found: Array = np.exp(np.minimum(log, 0.0))
    return found


def discoveries(chance: Array, rate: float) -> Array:
    """Which of these tests say something, if at most this share of what is found may be false.

    Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995.
    """
    order = np.sort(chance)
    passing = np.flatnonzero(order <= rate * np.arange(1, len(order) + 1) / max(len(order), 1))
    found: Array = chance <= (order[passing[-1]] if passing.size else -1.0)
    return found
