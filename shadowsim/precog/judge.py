"""The network with the change, statistically against the same network without it, to a forecast.

What would be there without the change is not what was there before it. While the trial runs,
production has the same traffic and not the change; and before the trial the shadow ran beside it
without the change. What differed between them then (an A/A comparison) is not the change's: its
level is taken out, and how much it wandered, or may be wrong for noise, is allowed on top.

Per demand, latency and loss: is the level higher, or do readings lie where none lay without the
change? The first is a Mann-Whitney test, the second Rosenbaum's, which sees what a median hides.
All tests together are held to a false discovery rate, and an effect must be large enough to matter.
Where too little was seen to find any effect, the forecast says that it does not know.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.maxmin import compiled
from shadowsim.model.telemetry import Sample, Telemetry
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.precog.columns import READ, Columns, read
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of
from shadowsim.precog.once import OfSamples
from shadowsim.precog.ranks import (
    chance_of_exceeding,
    chance_of_shift,
    chance_of_top,
    discoveries,
)

Array = np.ndarray
LEAST_SAMPLES = 5
WINDOW = 30  # the last samples with the change that are looked at
DISCOVERY_RATE = 0.01
ERRORS = 3.0  # standard errors that the level of an A/A comparison may be wrong by
COVERED = 0.8  # of the demands that were seen before: with less nothing is concluded
LIMITED = 0.3  # what a clear worsening is worth that stays well within its limit
TWICE = 2.0  # every metric is tested in two ways


@dataclass(frozen=True)
class Metric:
    """How one metric of a demand is judged: `material` is the least effect that matters."""

    name: str
    limit: str
    material: float
    relative: float
    text: str
    scale: float


METRICS = (
    Metric(READ[0], "latency", 0.003, 0.25, "latency {before:.1f} to {after:.1f} ms", 1e3),
    Metric(READ[1], "loss", 0.02, 0.0, "loss {before:.1%} to {after:.1%}", 1.0),
)


class Without(NamedTuple):
    """Readings `[samples, columns]` of all demands' first metric, then of their second, as they
    would be without the change; and per column their level, the highest, and how many there are.
    """

    readings: Array
    level: Array
    top: Array
    known: Array

    @classmethod
    def of(cls, readings: Array) -> Without:
        finite = np.where(np.isfinite(readings), readings, 0.0)
        top: Array = np.max(finite, axis=0, initial=0.0)
        columns = Columns(readings)
        return cls(readings, _levels(readings, _cap(columns), top)[0], top, columns.known)


@dataclass(frozen=True)
class Sides:
    """What there would be `without` the change, the noise of the A/A comparison allowed on top, and
    the readings `changed`, in the same columns; `start` is the level `[columns]` before it.
    """

    without: Without
    changed: Columns
    start: Array


@dataclass(frozen=True)
class Effects:
    """Per column: the level with the change, less what would be so without it, and how it is found.

    `tail` says that it is not the level which is higher, but single readings.
    """

    found: Array
    level: Array
    tail: Array


class Judge:
    """What got worse with the change, beyond chance and beyond what happens without it."""

    name = "judge"

    def __init__(self, limits: Limits, window: OfSamples[Columns]) -> None:
        """`window` reads the last samples; who else reads them may share it."""
        self._limits = limits
        self._window = window
        self._before = OfSamples(partial(_level, demands=len(limits.critical)))

    def forecast(self, evidence: Evidence) -> Forecast:
        changed = self._window(evidence.observed.samples[-WINDOW:])
        sides = _sides(evidence, changed, self._before(evidence.baseline.samples))
        n, m = changed.known, sides.without.known
        tests = max(int(((n > 0) & (m > 0)).sum()), 1)
        least = TWICE * chance_of_top(n, n, m) * tests
        judged = (n >= LEAST_SAMPLES) & (m >= LEAST_SAMPLES) & (least <= DISCOVERY_RATE)
        reasons = self._reasons(evidence, sides, _effects(sides, judged))
        seen = np.isfinite(sides.start) & (m > 0)
        unknown = () if self._covered(seen, judged) else (DEGRADATION, OUTAGE)
        return forecast_of(reasons, unknown)

    def _covered(self, seen: Array, judged: Array) -> bool:
        """Whether of what was seen before the change enough can be judged, and of critical too."""
        if not seen.size:
            return True
        loss = slice(len(seen) // 2, None)  # that of a demand is known also if nothing arrives
        was, now = seen[loss], judged[loss]
        critical = was & self._limits.critical
        return bool(was.any()) and all(
            now[mask].mean() >= COVERED for mask in (was, critical) if mask.any()
        )

    def _reasons(self, evidence: Evidence, sides: Sides, effects: Effects) -> list[Reason]:
        """One reason per metric and failure mode that worsened demands speak for."""
        if not effects.found.any():
            return []
        found = []
        demands = len(evidence.demands)
        nearness = self._nearness(effects.level)
        for number, metric in enumerate(METRICS):
            graded: dict[str, list[tuple[float, float, int]]] = {}
            for column in np.flatnonzero(effects.found[number * demands :][:demands]):
                place = number * demands + int(column)
                critical = bool(self._limits.critical[column])
                level = float(effects.level[place])
                mode, probability = _grade(metric, critical, level, float(nearness[place]))
                rise = level - float(sides.start[place])
                graded.setdefault(mode, []).append((probability, rise, place))
            for mode in (OUTAGE, DEGRADATION):
                if mode in graded:
                    probability, _, place = max(graded[mode])
                    text = _tell(metric, sides, effects, place)
                    more = len(graded[mode]) - 1
                    others = f", and {more} more" if more else ""
                    name = evidence.demands[place - number * demands].name
                    found.append(Reason("judge", mode, probability, f"{name}: {text}{others}"))
        return found

    def _nearness(self, level: Array) -> Array:
        """Per column: how near the level is to its own limit, nan where it has none."""
        demands = len(self._limits.critical)
        found = np.full(len(level), np.nan)
        for limit, mask in zip(self._limits.limits, self._limits.masks, strict=True):
            for number, metric in enumerate(METRICS):
                if limit.metric == metric.limit:
                    part = slice(number * demands, (number + 1) * demands)
                    share = np.where(mask, level[part] / limit.bound, np.nan)
                    found[part] = np.fmax(found[part], share)
        return found


class Level(NamedTuple):
    """What was before the change, what it wandered by allowed on top; the median of it, how much
    that wandered, and may be wrong by.
    """

    alone: Without
    middle: Array
    wandered: Array
    squared_error: Array


def _level(samples: Sequence[Sample], demands: int) -> Level:
    before = read(samples, demands)
    wandered = _wandering(before.readings)
    alone = Without.of(before.readings + np.abs(wandered))
    return Level(alone, before.middle(), wandered, _squared_error(before))


def _sides(evidence: Evidence, changed: Columns, level: Level) -> Sides:
    """What there is with the change, and what there would be without it; `level` is that before it.

    While production runs beside, that is production, moved by what the shadow was above it before;
    else, and for demands of which too little is known beside, the time before.
    """
    demands = len(evidence.demands)
    alone, start, wandered, squared_error = level
    if evidence.control is None or not (evidence.baseline.samples and len(changed.readings)):
        return Sides(alone, changed, start)
    beside, meanwhile = _beside(evidence.control, evidence, demands)
    apart = start - beside.middle()
    noise = np.maximum(
        np.abs(wandered - _wandering(beside.readings)),
        ERRORS * np.sqrt(squared_error + _squared_error(beside)),
    )
    least = np.minimum(beside.known, meanwhile.known)
    usable = (least >= LEAST_SAMPLES) & np.isfinite(apart)
    rows = max(len(alone.readings), len(meanwhile.readings))
    moved = _padded(meanwhile.readings, rows) + apart + noise
    without = np.where(usable, moved, _padded(alone.readings, rows))
    return Sides(Without.of(without), changed, start)


def _beside(control: Telemetry, evidence: Evidence, demands: int) -> tuple[Columns, Columns]:
    """What production showed while the shadow had no change, and while the window looked at."""
    samples = control.samples
    baseline, window = evidence.baseline.samples, evidence.observed.samples[-WINDOW:]

    def between(first: Sample, last: Sample) -> Columns:
        low = bisect_left(samples, first.at_s - 0.5, key=_at_s)
        return read(samples[low : bisect_right(samples, last.at_s + 0.5, key=_at_s)], demands)

    return between(baseline[0], baseline[-1]), between(window[0], window[-1])


def _at_s(sample: Sample) -> float:
    return sample.at_s


def _wandering(series: Array) -> Array:
    """How much higher the second half of each column is than the first; 0 where it is not known."""
    cut = len(series) // 2
    halves = Columns(series[cut:]).middle() - Columns(series[:cut]).middle()
    return np.asarray(np.nan_to_num(halves))


def _squared_error(columns: Columns) -> Array:
    """The squared standard error of the median of each column, by pi/2 of that of its mean."""
    series = columns.readings
    variance = _mean((series - _mean(series)) ** 2)
    found: Array = np.pi / 2.0 * variance / np.maximum(columns.known, 1)
    return found


def _padded(series: Array, rows: int) -> Array:
    missing = np.full((rows - len(series), series.shape[1]), np.nan)
    return np.vstack((series, missing))


def _cap(columns: Columns) -> Array:
    """Per column the highest reading that is not of its highest tenth."""
    if not len(columns.readings):
        return np.full(columns.readings.shape[1], np.nan)
    return columns.at(np.maximum(columns.known - 1 - columns.known // 10, 0))


@compiled
def _levels(readings: Array, cap: Array, top: Array) -> tuple[Array, Array]:
    """Per column: the mean of the readings, none counted as more than `cap`; and by how much those
    of them that exceed `top` exceed it, in the mean. 0 where there is none.
    """
    columns = readings.shape[1]
    level, beyond = np.zeros(columns), np.zeros(columns)
    known, above = np.zeros(columns), np.zeros(columns)
    for s in range(readings.shape[0]):
        for c in range(columns):
            value = min(readings[s, c], cap[c])
            if np.isfinite(readings[s, c]):
                level[c] += value
                known[c] += 1
                if value > top[c]:
                    beyond[c] += value - top[c]
                    above[c] += 1
    return level / np.maximum(known, 1.0), beyond / np.maximum(above, 1.0)


def _mean(series: Array) -> Array:
    finite = np.isfinite(series)
    found: Array = np.where(finite, series, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    return found


def _effects(sides: Sides, judged: Array) -> Effects:
    """Which columns got worse: by enough to matter, and not by chance.

    The highest tenth of the readings does not count, so that a blip is no effect.
    """
    changed, usual = sides.changed, sides.without.level
    level, beyond = _levels(changed.readings, _cap(changed), sides.without.top)
    shift = level - usual
    material, relative = _of_metrics(len(judged) // len(METRICS))
    least = np.maximum(material, relative * usual)
    worse = judged & (np.maximum(shift, beyond) > least)
    if not worse.any():
        return Effects(worse, shift, worse)
    # What is not worse counts with a chance of 1, which makes the others' harder to pass.
    chance = np.ones(len(judged))
    high, low = changed.readings[:, worse], sides.without.readings[:, worse]
    shifted = np.where(shift[worse] > least[worse], chance_of_shift(high, low), 1.0)
    chance[worse] = np.minimum(shifted, chance_of_exceeding(high, low)) * TWICE
    found = worse.copy()
    found[judged] &= discoveries(chance[judged], DISCOVERY_RATE)
    start = np.where(np.isfinite(sides.start), sides.start, usual)
    return Effects(found, start + np.maximum(shift, 0.0), ~(shift > least))


@cache
def _of_metrics(demands: int) -> tuple[Array, Array]:
    """Per column the least effect that matters, and the least share of what is usual."""
    of_each = [[getattr(m, name) for m in METRICS] for name in ("material", "relative")]
    material, relative = (np.repeat(values, demands) for values in of_each)
    return material, relative


def _grade(metric: Metric, critical: bool, level: float, nearness: float) -> tuple[str, float]:
    """Failure mode and probability that a demand which got this much worse speaks for."""
    if metric.name == "loss" and level > (0.5 if critical else 0.95):
        return OUTAGE, 0.95
    if np.isfinite(nearness):
        return DEGRADATION, float(np.clip(LIMITED + (nearness - 0.8) * 2.0, LIMITED / 2, 0.95))
    if metric.name == "loss":
        return DEGRADATION, float(np.clip(0.3 + level * 2.0, 0.0, 0.9))
    return DEGRADATION, LIMITED


def _tell(metric: Metric, sides: Sides, effects: Effects, place: int) -> str:
    """What happened to one column, in words."""
    if not effects.tail[place]:
        before, after = sides.start[place] * metric.scale, effects.level[place] * metric.scale
        return metric.text.format(before=before, after=after)
    both = sides.changed.readings, sides.without.readings
    changed, without = (s[:, place][np.isfinite(s[:, place])] for s in both)
    above = int((changed > without.max()).sum())
    return (
        f"{above} of {len(changed)} readings have more {metric.limit} than any without the change"
    )
