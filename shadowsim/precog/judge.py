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
from functools import partial
from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import DEMAND_METRICS, Sample, Telemetry
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of
from shadowsim.precog.once import OfSamples
from shadowsim.precog.ranks import (
    chance_of_exceeding,
    chance_of_shift,
    chance_of_top,
    discoveries,
    known,
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
    Metric("latency_s", "latency", 0.003, 0.25, "latency {before:.1f} to {after:.1f} ms", 1e3),
    Metric("loss", "loss", 0.02, 0.0, "loss {before:.1%} to {after:.1%}", 1.0),
)
COLUMNS = [DEMAND_METRICS.index(metric.name) for metric in METRICS]


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
        return cls(readings, _mean(_capped(readings)), top, known(readings))


@dataclass(frozen=True)
class Sides:
    """What there would be `without` the change, the noise of the A/A comparison allowed on top, and
    the readings `changed`, in the same columns; `start` is the level `[columns]` before it.
    """

    without: Without
    changed: Array
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

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._before = OfSamples(partial(_level, demands=len(limits.critical)))

    def forecast(self, evidence: Evidence) -> Forecast:
        sides = sides_of(evidence, self._before(evidence.baseline.samples))
        n, m = known(sides.changed), sides.without.known
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
    read = readings(samples, demands)
    wandered = _wandering(read)
    return Level(Without.of(read + np.abs(wandered)), middle(read), wandered, _squared_error(read))


def sides_of(evidence: Evidence, level: Level) -> Sides:
    """What there is with the change, and what there would be without it; `level` is that before it.

    While production runs beside, that is production, moved by what the shadow was above it before;
    else, and for demands of which too little is known beside, the time before.
    """
    demands = len(evidence.demands)
    alone, start, wandered, squared_error = level
    changed = readings(evidence.observed.samples[-WINDOW:], demands)
    if evidence.control is None or not (evidence.baseline.samples and len(changed)):
        return Sides(alone, changed, start)
    beside, meanwhile = _beside(evidence.control, evidence, demands)
    apart = start - middle(beside)
    noise = np.maximum(
        np.abs(wandered - _wandering(beside)),
        ERRORS * np.sqrt(squared_error + _squared_error(beside)),
    )
    usable = (np.minimum(known(beside), known(meanwhile)) >= LEAST_SAMPLES) & np.isfinite(apart)
    rows = max(len(alone.readings), len(meanwhile))
    moved = _padded(meanwhile, rows) + apart + noise
    without = np.where(usable, moved, _padded(alone.readings, rows))
    return Sides(Without.of(without), changed, start)


def _beside(control: Telemetry, evidence: Evidence, demands: int) -> tuple[Array, Array]:
    """What production showed while the shadow had no change, and while the window looked at."""
    samples = control.samples
    baseline, window = evidence.baseline.samples, evidence.observed.samples[-WINDOW:]

    def between(first: Sample, last: Sample) -> Array:
        low = bisect_left(samples, first.at_s - 0.5, key=_at_s)
        return readings(samples[low : bisect_right(samples, last.at_s + 0.5, key=_at_s)], demands)

    return between(baseline[0], baseline[-1]), between(window[0], window[-1])


def _at_s(sample: Sample) -> float:
    return sample.at_s


def readings(samples: Sequence[Sample], demands: int) -> Array:
    """`[samples, metrics * demands]`."""
    if not samples:
        return np.empty((0, len(METRICS) * demands))
    stacked = np.array([sample.demand for sample in samples])
    found = np.empty((len(samples), len(METRICS), demands))
    for place, column in enumerate(COLUMNS):
        found[:, place] = stacked[:, :, column]
    return found.reshape(len(samples), -1)


def _wandering(series: Array) -> Array:
    """How much higher the second half of each column is than the first; 0 where it is not known."""
    cut = len(series) // 2
    return np.asarray(np.nan_to_num(middle(series[cut:]) - middle(series[:cut])))


def _squared_error(series: Array) -> Array:
    """The squared standard error of the median of each column, by pi/2 of that of its mean."""
    found: Array = np.pi / 2.0 * _mean((series - _mean(series)) ** 2) / np.maximum(known(series), 1)
    return found


def _padded(series: Array, rows: int) -> Array:
    missing = np.full((rows - len(series), series.shape[1]), np.nan)
    return np.vstack((series, missing))


def middle(series: Array) -> Array:
    """The median of each column; nan where it has no reading."""
    if not len(series):
        return np.full(series.shape[1], np.nan)
    ordered, n = np.sort(series, axis=0), known(series)  # nan comes last
    column = np.arange(series.shape[1])
    low = ordered[np.maximum((n - 1) // 2, 0), column]
    high = ordered[np.minimum(n // 2, len(series) - 1), column]
    return np.where(n > 0, (low + high) / 2.0, np.nan)


def _capped(series: Array) -> Array:
    """The readings with the highest tenth of every column cut to the highest below it."""
    if not len(series):
        return series
    n = known(series)
    cap = np.sort(series, axis=0)[np.maximum(n - 1 - n // 10, 0), np.arange(series.shape[1])]
    return np.asarray(np.minimum(series, cap))


def _mean(series: Array) -> Array:
    finite = np.isfinite(series)
    found: Array = np.where(finite, series, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    return found


def _effects(sides: Sides, judged: Array) -> Effects:
    """Which columns got worse: by enough to matter, and not by chance.

    The highest tenth of the readings does not count, so that a blip is no effect.
    """
    changed, metrics = _capped(sides.changed), len(METRICS)
    usual, top = sides.without.level, sides.without.top
    shift = _mean(changed) - usual
    beyond = _mean(np.where(changed > top, changed - top, np.nan))
    material = np.repeat([m.material for m in METRICS], len(judged) // metrics)
    relative = np.repeat([m.relative for m in METRICS], len(judged) // metrics)
    least = np.maximum(material, relative * usual)
    worse = judged & (np.maximum(shift, beyond) > least)
    if not worse.any():
        return Effects(worse, shift, worse)
    # What is not worse counts with a chance of 1, which makes the others' harder to pass.
    chance = np.ones(len(judged))
    high, low = sides.changed[:, worse], sides.without.readings[:, worse]
    shifted = np.where(shift[worse] > least[worse], chance_of_shift(high, low), 1.0)
    chance[worse] = np.minimum(shifted, chance_of_exceeding(high, low)) * TWICE
    found = worse.copy()
    found[judged] &= discoveries(chance[judged], DISCOVERY_RATE)
    start = np.where(np.isfinite(sides.start), sides.start, usual)
    return Effects(found, start + np.maximum(shift, 0.0), ~(shift > least))


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
    changed, without = (
        s[:, place][np.isfinite(s[:, place])] for s in (sides.changed, sides.without.readings)
    )
    above = int((changed > without.max()).sum())
    return (
        f"{above} of {len(changed)} readings have more {metric.limit} than any without the change"
    )
