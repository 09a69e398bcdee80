"""Telemetry against its limits, now and along its trend, to a forecast."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import DEMAND_METRICS, DEVICE_METRICS, Sample
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of

Array = np.ndarray
STEADY = 3  # samples a level is averaged over
TREND = 15  # samples a trend is fitted to
SAME = 1.05  # of a level: within this it is the same
MOST = {"cpu": 0.98, "memory": 0.97}  # of a device: beyond that it does not follow any more
SHARPNESS = 12.0  # how fast probability rises as a level nears its limit


class Threshold:
    """What exceeds its limit, or will within the horizon if it goes on as it does."""

    name = "threshold"

    def __init__(self) -> None:
        self._limits: Limits | None = None
        self._asked: tuple[object, ...] = ()  # what the limits are of
        self._rows: dict[int, tuple[Sample, Array]] = {}  # by id, with the sample that has it

    def forecast(self, evidence: Evidence) -> Forecast:
        observed, baseline = evidence.observed.samples, evidence.baseline.samples
        if not observed:
            return forecast_of(())
        limits = self._limits_of(evidence)
        read = self._read(limits, (*baseline, *observed))
        before, series = read[: len(baseline)], read[len(baseline) :]
        levels = [(DEGRADATION, limit.name) for limit in limits.limits]
        levels.append((OUTAGE, "a critical demand below half"))
        told = [
            (*level, series[:, place])
            for place, level in enumerate(levels)
            if not (baseline and _as_before(series[:, place], before[:, place]))
        ]
        told += [(DEGRADATION, "device cpu", series[:, -2])]
        told += [(OUTAGE, "device memory", series[:, -1])]
        reasons = [
            reason
            for mode, what, values in told
            if (reason := _reason(mode, what, values, evidence.horizon_s)) is not None
        ]
        return forecast_of(reasons)

    def _limits_of(self, evidence: Evidence) -> Limits:
        asked = (evidence.topology, evidence.demands, evidence.intents)
        same = len(self._asked) and all(a is b for a, b in zip(self._asked, asked, strict=True))
        if self._limits is None or not same:
            self._limits = Limits(evidence.topology, evidence.demands, evidence.intents.limits)
            self._asked, self._rows = asked, {}
        return self._limits

    def _read(self, limits: Limits, samples: Sequence[Sample]) -> Array:
        """`[samples, limits + 3]`: the severities, starvation, CPU and memory of each."""
        read = self._rows
        fresh = [sample for sample in samples if id(sample) not in read]
        if fresh:
            rows = _levels(limits, fresh)
            read |= {id(s): (s, row) for s, row in zip(fresh, rows, strict=True)}
        self._rows = {id(s): read[id(s)] for s in samples}
        return np.array([row for _, row in self._rows.values()])


def _levels(limits: Limits, samples: Sequence[Sample]) -> Array:
    """Each level of these samples as a share of its limit, in the order of `_read`."""
    demand = np.array([sample.demand for sample in samples])
    utilisation = np.array([sample.column("link", "utilisation") for sample in samples])
    device = np.array([sample.device for sample in samples])
    return np.column_stack([
        limits.severity(demand, utilisation),
        _starvation(demand[:, limits.critical, DEMAND_METRICS.index("loss")]),
        *(_worst(device[:, :, DEVICE_METRICS.index(m)] / most) for m, most in MOST.items()),
    ])  # fmt: skip


def _starvation(loss: Array) -> Array:
    """`[samples]`: 1 where the worst critical demand gets half of what it wants, 2: nothing."""
    return _worst(loss) / 0.5 if loss.shape[1] else np.zeros(len(loss))


def _as_before(series: Array, before: Array) -> bool:
    """Whether a level is broken now no worse than it was: what is not new tells nothing new."""
    now, then = series[np.isfinite(series)][-STEADY:], before[np.isfinite(before)]
    if not now.size or not then.size:
        return False
    usual = _median(then.tolist())
    return usual > 1.0 and _median(now.tolist()) <= usual * SAME


def _median(values: Iterable[float]) -> float:
    """That of at least one finite value."""
    ordered = sorted(values)  # much faster than np.median where there are few
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0


def _worst(rows: Array) -> Array:
    """The largest of every row; nan where a row has nothing."""
    most = np.where(np.isfinite(rows), rows, -np.inf).max(axis=1)
    return np.where(most > -np.inf, most, np.nan)


def _reason(mode: str, what: str, series: Array, horizon_s: float) -> Reason | None:
    """How probable it is that a level (1: broken) is at or beyond 1 within the horizon."""
    known = series[np.isfinite(series)]
    if known.size < STEADY:
        return None
    level = _median(known[-STEADY:].tolist())
    ahead = level + max(_slope(_after_jump(known[-TREND:])), 0.0) * horizon_s
    reached = max(level, ahead)
    probability = 1.0 / (1.0 + math.exp(-SHARPNESS * (reached - 1.0)))
    if probability < 0.05:
        return None
    trend = f", {ahead:.0%} in {horizon_s:g} s" if ahead > level * 1.02 else ""
    return Reason("threshold", mode, probability, f"{what}: at {level:.0%} of its limit{trend}")


def _after_jump(values: Array) -> Array:
    """The values since the last jump: a step, such as a reroute makes, is no trend."""
    steps = [abs(after - before) for before, after in pairwise(values.tolist())]
    least = 6.0 * _median(steps) + 0.02 if steps else 0.0
    jump = next((n for n in reversed(range(len(steps))) if steps[n] > least), -1)
    return values[jump + 1 :]


def _slope(values: Array) -> float:
    """Change per sample by least squares; 0 where it is within its own standard error three times.

    Draper and Smith, Applied Regression Analysis, 1.4.
    """
    n = len(values)
    if n < 6:
        return 0.0
    x, squares = _times(n)
    slope = float((x * values).sum()) / squares
    rest = values - values.mean() - slope * x
    error = math.sqrt(float((rest * rest).sum()) / (n - 2) / squares)
    return slope if abs(slope) > 3.0 * error else 0.0


@cache
def _times(n: int) -> tuple[Array, float]:
    """The times of n samples, TREND at most, from their middle; and the sum of their squares."""
    x = np.arange(n) - (n - 1) / 2
    return x, float((x * x).sum())
