"""Telemetry against its limits, now and along its trend, to a forecast."""

from __future__ import annotations

import math

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of

Array = np.ndarray
STEADY = 3  # samples a level is averaged over
TREND = 15  # samples a trend is fitted to
SAME = 1.05  # of a level: within this it is the same
SHARPNESS = 12.0  # how fast probability rises as a level nears its limit


class Threshold:
    """What exceeds its limit, or will within the horizon if it goes on as it does."""

    name = "threshold"

    def forecast(self, evidence: Evidence) -> Forecast:
        observed = evidence.observed
        if not observed.samples:
            return forecast_of(())
        limits = Limits(evidence.topology, evidence.demands, evidence.intents.limits)
        levels = [
            (DEGRADATION, limit.name, series)
            for limit, series in zip(limits.limits, _severities(limits, observed).T, strict=True)
        ]
        levels.append((OUTAGE, "a critical demand below half", _starvation(limits, observed)))
        if evidence.baseline.samples:
            earlier = [*_severities(limits, evidence.baseline).T]
            earlier.append(_starvation(limits, evidence.baseline))
            levels = [
                level
                for level, before in zip(levels, earlier, strict=True)
                if not _as_before(level[2], before)
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


def _severities(limits: Limits, telemetry: Telemetry) -> Array:
    """`[samples, limits]`."""
    demand = np.stack([sample.demand for sample in telemetry.samples])
    return limits.severity(demand, telemetry.series("link", "utilisation"))


def _starvation(limits: Limits, telemetry: Telemetry) -> Array:
    """`[samples]`: 1 where the worst critical demand gets half of what it wants, 2: nothing."""
    loss = telemetry.series("demand", "loss")[:, limits.critical]
    return _worst(loss) / 0.5 if loss.shape[1] else np.zeros(len(telemetry.samples))


def _as_before(series: Array, before: Array) -> bool:
    """Whether a level is broken now no worse than it was: what is not new tells nothing new."""
    now, then = series[np.isfinite(series)][-STEADY:], before[np.isfinite(before)]
    if not now.size or not then.size:
        return False
    return bool(np.median(then) > 1.0 and np.median(now) <= np.median(then) * SAME)


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
    level = float(np.median(known[-STEADY:]))
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
    jumps = np.flatnonzero(steps > 6.0 * np.median(steps) + 0.02)
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
