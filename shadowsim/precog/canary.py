"""The network with the change as a canary, to a score as Kayenta's judge gives it, to a forecast.

What a sceptic would try first, known failures included: it is here to be compared with. After the
NetflixACAJudge of Spinnaker's Kayenta (github.com/spinnaker/kayenta, `kayenta-judge`; its settings
of confidence 0.98 and tolerance 0.25): each metric by the confidence interval of a Mann-Whitney
test, all metrics by a weighted score in which a critical one that fails fails everything.

What is ours: the metrics (latency and loss of every demand, a group each, of equal weight; those of
critical traffic are critical), that a change is compared with production while it runs beside, else
with the time before, and how a score becomes a probability: at the score below which a canary is
commonly refused (95) it is 0.5. Kayenta knows no failure modes; here a critical demand that loses
more than half is an outage, all else a degradation.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import ndtri

from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.maxmin import compiled
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.precog.columns import Columns, read
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of
from shadowsim.precog.judge import METRICS, WINDOW
from shadowsim.precog.once import OfSamples
from shadowsim.precog.ranks import deviation, pairs_above

Array = np.ndarray
CONFIDENCE = 0.98
QUANTILE = float(ndtri((1.0 + CONFIDENCE) / 2.0))  # of the normal distribution
TOLERANCE = 0.25
PASS = 95.0  # the score from which on a canary passes
NO_DATA = 0.5  # of the metrics: if as many have no data nothing is concluded
FAILED = 0.95


class Canary:
    """A plain canary judge: two-sided Mann-Whitney intervals, no correction for many metrics."""

    name = "canary"

    def __init__(self, limits: Limits, window: OfSamples[Columns]) -> None:
        """`window` reads the last samples; who else reads them may share it."""
        self._critical = np.tile(limits.critical, len(METRICS))
        self._control = OfSamples(partial(read, demands=len(limits.critical)))
        self._window = window

    def forecast(self, evidence: Evidence) -> Forecast:
        observed = evidence.observed.samples[-WINDOW:]
        beside = evidence.baseline.samples
        if evidence.control is not None and observed:
            beside = [s for s in evidence.control.samples if s.at_s >= observed[0].at_s - 0.5]
        experiment, control = self._window(observed), self._control(beside[-WINDOW:])
        data = (experiment.known > 0) & (control.known > 0)
        if data.size and data.sum() <= NO_DATA * data.size:
            return forecast_of((), (DEGRADATION, OUTAGE))
        high = data & classified_high(experiment, control)
        return forecast_of(self._reasons(evidence, experiment.readings, data, high))

    def _reasons(
        self, evidence: Evidence, experiment: Array, data: Array, high: Array
    ) -> list[Reason]:
        demands = len(evidence.demands)
        found = []
        for place in np.flatnonzero(high & self._critical).tolist():
            metric, name = METRICS[place // demands], evidence.demands[place % demands].name
            lost = metric.name == "loss" and float(np.nanmean(experiment[:, place])) > 0.5
            mode = OUTAGE if lost else DEGRADATION
            found.append(Reason("canary", mode, FAILED, f"{name}: {metric.limit} is high"))
        score = _score(data, high, demands)
        if score < 100.0:
            probability = min(0.5 * (100.0 - score) / (100.0 - PASS), FAILED)
            text = f"score {score:.1f}: {int(high.sum())} of {int(data.sum())} metrics are high"
            found.append(Reason("canary", DEGRADATION, probability, text))
        return found


def classified_high(experiment: Columns, control: Columns) -> Array:
    """Per column: whether the experiment is high by Kayenta's rule.

    It is if the lower end of the confidence interval of the shift lies above `TOLERANCE` of its
    Hodges-Lehmann estimate, and the mean is not lower. The ends of the interval are differences of
    two readings (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 4.3), so it is
    enough to count how many differences lie above that bound.
    """
    n, m = experiment.known, control.known
    tied = experiment.tied + control.tied
    needed = n * m / 2.0 + 0.5 + QUANTILE * deviation(n, m, tied)
    high: Array = pairs_above(experiment.readings, control.readings) > needed
    a, b = experiment.readings[:, high], control.readings[:, high]
    high[high] = _clearly_above(a, b, needed[high])
    return high


@compiled
def _clearly_above(experiment: Array, control: Array, needed: Array) -> Array:
    """Per column: whether the mean is not lower, and all but `needed` of the differences lie above
    the bound.
    """
    found = np.zeros(len(needed), np.bool_)
    apart = np.empty(len(experiment) * len(control))
    for c in range(len(needed)):
        if np.nanmean(experiment[:, c]) < np.nanmean(control[:, c]):
            continue
        size = 0
        for i in range(len(experiment)):
            for k in range(len(control)):
                one = experiment[i, c] - control[k, c]
                if np.isfinite(one):
                    apart[size] = one
                    size += 1
        if size == 0:
            continue
        lowest, low, high = max(size - 1 - int(np.floor(needed[c])), 0), (size - 1) // 2, size // 2
        ordered = np.partition(apart[:size], np.array([lowest, low, high]))
        found[c] = ordered[lowest] > TOLERANCE * abs(ordered[low] + ordered[high]) / 2.0
    return found


def _score(data: Array, high: Array, demands: int) -> float:
    """Of each group the share of the metrics with data that pass, in percent; their mean."""
    shape = len(METRICS), demands
    known, failed = data.reshape(shape).sum(axis=1), high.reshape(shape).sum(axis=1)
    passed = 100.0 * (1.0 - failed / np.maximum(known, 1))
    return float(np.mean(passed))
