"""Telemetry against its limits, now and along its trend, to a forecast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import is_

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import DEMAND_METRICS, Sample
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of

Array = np.ndarray
LOSS = DEMAND_METRICS.index("loss")
STEADY = 3  # samples a level is averaged over
TREND = 15  # samples a trend is fitted to
SAME = 1.05  # of a level: within this it is the same
SHARPNESS = 12.0  # how fast probability rises as a level nears its limit


class Threshold:
    """What exceeds its limit, or will within the horizon if it goes on as it does."""

    name = "threshold"

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._limits: Limits | None = None
        self._read: dict[int, tuple[Sample, Array]] = {}  # by id, with the sample that has it

    def forecast(self, evidence: Evidence) -> Forecast:
        observed = evidence.observed
        if not observed.samples:
            return forecast_of(())
        limits = self._limits_of(evidence)
        now, before = self._levels(limits, (observed.samples, evidence.baseline.samples))
        what = [(DEGRADATION, limit.name) for limit in limits.limits]
        what.append((OUTAGE, "a critical demand below half"))
        levels = [
            (*of, series)
            for of, series, earlier in zip(what, now.T, before.T, strict=True)
            if not _as_before(series, earlier)
        ]
        for metric, bound in (("cpu", 0.98), ("memory", 0.97)):
            worst = _worst(observed.series("device", metric) / bound)
            levels.append(
                (OUTAGE if metric == "memory" else DEGRADATION, f"device {metric}", worst)
            )
        reasons = [
            reason
            for mode, what, series in levels
            if (reason := _reason(mode, what, series, evidence.horizon_s)) is not None
        ]
        return forecast_of(reasons)

    def _limits_of(self, evidence: Evidence) -> Limits:
        """Those of this evidence; of the same objects as last time, the same."""
        of = evidence.topology, evidence.demands, evidence.intents
        if self._limits is None or not all(map(is_, of, self._of)):
            self._of, self._read = of, {}
            self._limits = Limits(evidence.topology, evidence.demands, evidence.intents.limits)
        return self._limits

    def _levels(self, limits: Limits, parts: Sequence[Sequence[Sample]]) -> list[Array]:
        """Of each part `[samples, limits + 1]`: how near each limit is, and how much the worst
        critical demand lacks (1: half of what it wants, 2: all); a sample is read once.
        """
        read, samples = self._read, [sample for part in parts for sample in part]
        if fresh := [sample for sample in samples if id(sample) not in read]:
            rows = _levels(limits, fresh)
            read |= {id(s): (s, row) for s, row in zip(fresh, rows, strict=True)}
        self._read = {id(s): read[id(s)] for s in samples}
        nothing = np.empty((0, len(limits.limits) + 1))
        return [np.stack([read[id(s)][1] for s in part]) if part else nothing for part in parts]


def _levels(limits: Limits, samples: Sequence[Sample]) -> Array:
    demand = np.stack([sample.demand for sample in samples])
    used = np.stack([sample.column("link", "utilisation") for sample in samples])
    loss = demand[:, limits.critical, LOSS]
    starving = _worst(loss) / 0.5 if loss.shape[1] else np.zeros(len(samples))
    return np.column_stack((limits.severity(demand, used), starving))


def _as_before(series: Array, before: Array) -> bool:
    """Whether a level is broken now no worse than it was: what is not new tells nothing new."""
    now, then = series[np.isfinite(series)][-STEADY:], before[np.isfinite(before)]
    if not now.size or not then.size:
        return False
    usual = _median(then)
    return usual > 1.0 and _median(now) <= usual * SAME


def _median(values: Array) -> float:
    """That of at least one finite value."""
    # Much faster than np.median where there are few.
    ordered: list[float] = sorted(values.tolist())
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0


def _worst(rows: Array) -> Array:
    """The largest of every row; nan where a row has nothing."""
    known = np.isfinite(rows).any(axis=1)
    found: Array = np.where(
        known, np.nanmax(np.where(np.isfinite(rows), rows, -np.inf), axis=1), np.nan
    )
    return found


def _reason(mode: str, what: str, series: Array, horizon_s: float) -> Reason | None:
    """How probable it is that a level (1: broken) is at or beyond 1 within the horizon."""
    known = series[np.isfinite(series)]
    if known.size < STEADY:
        return None
    level = _median(known[-STEADY:])
    ahead = level + max(_slope(_after_jump(known[-TREND:])), 0.0) * horizon_s
    reached = max(level, ahead)
    probability = 1.0 / (1.0 + math.exp(-SHARPNESS * (reached - 1.0)))
    if probability < 0.05:
        return None
    trend = f", {ahead:.0%} in {horizon_s:g} s" if ahead > level * 1.02 else ""
    return Reason("threshold", mode, probability, f"{what}: at {level:.0%} of its limit{trend}")


def _after_jump(values: Array) -> Array:
    """The values since the last jump: a step, such as a reroute makes, is no trend."""
    steps = np.abs(np.diff(values))
    if steps.size == 0:
        return values
    jumps = np.flatnonzero(steps > 6.0 * _median(steps) + 0.02)
    return values[jumps[-1] + 1 :] if jumps.size else values


def _slope(values: Array) -> float:
    """Change per sample by least squares; 0 where it is within its own standard error three times.

    Draper and Smith, Applied Regression Analysis, 1.4.
    """
    n = len(values)
    if n < 6:
        return 0.0
    x = np.arange(n) - (n - 1) / 2
    slope = float((x * values).sum() / (x * x).sum())
    rest = values - values.mean() - slope * x
    error = math.sqrt(float((rest * rest).sum()) / (n - 2) / float((x * x).sum()))
    return slope if abs(slope) > 3.0 * error else 0.0
