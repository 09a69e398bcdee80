"""The network with the change, statistically against the same network without it, to a forecast.

Per demand and metric: a Mann-Whitney test (two-sided, as canary judges use it), held to a false
discovery rate over all tests (Benjamini and Hochberg, JRSS B 57, 1995), and an effect that is
large enough to matter. What production itself did meanwhile is taken out first, so that a
shift of the traffic is not blamed on the change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control, mannwhitneyu

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of

Array = np.ndarray
LEAST_SAMPLES = 5
WINDOW = 30  # the last samples with the change that are looked at
DISCOVERY_RATE = 0.01
LIMITED = 0.3  # what a clear worsening is worth that stays well within its limit


@dataclass(frozen=True)
class Metric:
    """How one metric of a demand is judged: `material` is the least effect that matters."""

    name: str
    material: float
    relative: float
    text: str


METRICS = (
    Metric("latency_s", 0.003, 0.25, "latency {before:.1f} to {after:.1f} ms"),
    Metric("loss", 0.02, 0.0, "loss {before:.1%} to {after:.1%}"),
)


class Judge:
    """What got worse with the change, beyond chance and beyond what production did meanwhile."""

    name = "judge"

    def forecast(self, evidence: Evidence) -> Forecast:
        reasons = [reason for metric in METRICS for reason in _judge_metric(metric, evidence)]
        return forecast_of(reasons)


def _judge_metric(metric: Metric, evidence: Evidence) -> list[Reason]:
    before = evidence.baseline.series("demand", metric.name)
    after = evidence.observed.series("demand", metric.name)[-WINDOW:]
    if min(len(before), len(after)) < LEAST_SAMPLES:
        return []
    after = after - _drift(metric, evidence)
    tested = _enough(before) & _enough(after)
    if not tested.any():
        return []
    low, high = _median(before)[tested], _median(after)[tested]
    effect = high - low
    worse = (effect > metric.material) & (effect > metric.relative * low)
    if not worse.any():
        return []
    # A demand that is not tested counts with a chance of 1, which makes the others' harder to pass.
    chance = np.ones(len(low))
    sides = before[:, tested][:, worse], after[:, tested][:, worse]
    tests = mannwhitneyu(*sides, axis=0, method="asymptotic", nan_policy="omit")
    chance[worse] = tests.pvalue
    worse &= false_discovery_control(chance) < DISCOVERY_RATE
    return _reasons(metric, evidence, np.flatnonzero(tested)[worse], low[worse], high[worse])


def _drift(metric: Metric, evidence: Evidence) -> Array:
    """What production did meanwhile, per demand; nothing where it is not watched beside."""
    if evidence.control is None or not evidence.baseline.samples:
        return np.zeros(1)
    start_s = evidence.baseline.samples[-1].at_s
    earlier = Telemetry(
        evidence.control.layout, [s for s in evidence.control.samples if s.at_s <= start_s]
    ).series("demand", metric.name)
    later = evidence.control.since(start_s).series("demand", metric.name)[-WINDOW:]
    known = _enough(earlier) & _enough(later)
    return np.where(known, np.nan_to_num(_median(later) - _median(earlier)), 0.0)


def _enough(series: Array) -> Array:
    """Which columns hold enough readings to speak of them."""
    found: Array = np.isfinite(series).sum(axis=0) >= LEAST_SAMPLES
    return found


def _median(series: Array) -> Array:
    """The median of the readings there are, per column; nan where there are none."""
    finite = np.isfinite(series)
    if len(series) and finite.all():  # much the most common, and much the faster
        return np.asarray(np.median(series, axis=0))
    known = finite.any(axis=0)
    found = np.full(series.shape[1], np.nan)
    found[known] = np.nanmedian(series[:, known], axis=0)
    return found


def _reasons(
    metric: Metric, evidence: Evidence, demands: Array, low: Array, high: Array
) -> list[Reason]:
    """One reason per failure mode that these worsened demands speak for."""
    if not demands.size:
        return []
    nearness = _nearness(metric, evidence)
    graded = [
        (*_grade(metric, evidence, int(d), float(b), nearness[d]), int(d), float(a), float(b))
        for d, a, b in zip(demands, low, high, strict=True)
    ]
    found = []
    for mode in (OUTAGE, DEGRADATION):
        mine = [g for g in graded if g[0] == mode]
        if not mine:
            continue
        _, probability, worst, before, after = max(mine, key=lambda g: (g[1], g[4] - g[3]))
        scale = 1e3 if metric.name == "latency_s" else 1.0
        what = metric.text.format(before=before * scale, after=after * scale)
        name = evidence.demands[worst].name
        others = f", and {len(mine) - 1} more" if len(mine) > 1 else ""
        found.append(Reason("judge", mode, probability, f"{name}: {what}{others}"))
    return found


def _grade(
    metric: Metric, evidence: Evidence, demand: int, after: float, nearness: float
) -> tuple[str, float]:
    """Failure mode and probability that a demand which got this much worse speaks for."""
    critical = evidence.demands[demand].traffic_class == "critical"
    if metric.name == "loss" and after > (0.5 if critical else 0.95):
        return OUTAGE, 0.95
    if np.isfinite(nearness):
        return DEGRADATION, float(np.clip(LIMITED + (nearness - 0.8) * 2.0, LIMITED / 2, 0.95))
    if metric.name == "loss":
        return DEGRADATION, float(np.clip(0.3 + after * 2.0, 0.0, 0.9))
    return DEGRADATION, LIMITED


def _nearness(metric: Metric, evidence: Evidence) -> Array:
    """Per demand: how near its own limit on this metric it is, nan where it has none."""
    kind = {"latency_s": "latency", "loss": "loss"}[metric.name]
    chosen = [limit for limit in evidence.intents.limits if limit.metric == kind]
    found = np.full(len(evidence.demands), np.nan)
    values = evidence.observed.series("demand", metric.name)
    level = _median(values)
    limits = Limits(evidence.topology, evidence.demands, chosen)
    for limit, mask in zip(chosen, limits.masks, strict=True):
        found = np.where(mask, np.fmax(found, level / limit.bound), found)
    return found
