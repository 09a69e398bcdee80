"""Signals over time, `[..., samples, signals]`, to statistics of their last samples.

Many networks are read at once, along the leading axes; what is not known is nan and counts in no
statistic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.maxmin import Floats, compiled
from shadowsim.precog.features.signals import rows_of

Array = np.ndarray

WINDOW = 30  # samples that are looked at
RECENT = 3  # samples a level is averaged over
TREND = 15  # samples a slope is fitted to
LEAST = 6  # of them that have to be known
FLOOR = 0.01  # what two deviations differ by less is noise: readings are this inexact

STATISTICS = ("last", "level", "mean", "max", "slope", "ahead", "shift", "spread")
ROW = {name: row for row, name in enumerate(STATISTICS)}
LAST, LEVEL, MOST = ROW["last"], ROW["level"], ROW["max"]  # numbers, as numba wants them


class Reference(NamedTuple):
    """What signals were at another time, `[..., signals]`: mean and standard deviation."""

    mean: Array
    deviation: Array


def reference(signals: Array) -> Reference:
    """The reference that these samples make."""
    kept = signals.shape[:-2], signals.shape[-1]
    found = np.empty((*kept[0], 2, kept[1]))
    _spread(rows_of(signals, 2), rows_of(found, 2))
    return Reference(found[..., 0, :], found[..., 1, :])


def statistics(
    signals: Array, at_s: Array, before: Reference, drift: Array, horizon_s: float
) -> Array:
    """`[..., statistics, signals]`, in the order of STATISTICS.

    `at_s[..., samples]`; `drift[..., signals]` is what the signals would have moved by without the
    change. last: the newest; level: the mean of the last RECENT; mean and max of all; slope: per
    second, by least squares over the last TREND; ahead: the level, after `horizon_s` of a slope
    that rises; shift: the level less what was before and less the drift; spread: the logarithm of
    the standard deviation over that of before, each with FLOOR added.
    """
    window = signals[..., -WINDOW:, :]
    whole = reference(window)
    found = np.empty((*signals.shape[:-2], len(STATISTICS), signals.shape[-1]))
    _newest(rows_of(window, 2), rows_of(found, 2))
    level, rise = found[..., LEVEL, :], slope(signals, at_s)
    found[..., ROW["mean"], :] = whole.mean
    found[..., ROW["slope"], :] = rise
    found[..., ROW["ahead"], :] = level + np.maximum(rise, 0.0) * horizon_s
    found[..., ROW["shift"], :] = level - before.mean - drift
    found[..., ROW["spread"], :] = np.log((whole.deviation + FLOOR) / (before.deviation + FLOOR))
    return found


def slope(signals: Array, at_s: Array) -> Array:
    """Change per second over the last TREND by least squares, `[..., signals]`; nan with fewer
    than LEAST known.

    Draper and Smith, Applied Regression Analysis, 1.2.
    """
    window = signals[..., -TREND:, :]
    times_s = np.broadcast_to(at_s[..., -TREND:], window.shape[:-1])
    found = np.empty((*signals.shape[:-2], signals.shape[-1]))
    _slope(rows_of(window, 2), rows_of(times_s, 1), rows_of(found, 1))
    return found


# Sums are from the first sample to the last, as numpy adds along samples.


@compiled
def _spread(signals: Floats, found: Floats) -> None:
    """Write `found[R, 2, S]`, mean and standard deviation, of `signals[R, N, S]`."""
    for r in range(signals.shape[0]):
        for s in range(signals.shape[2]):
            column = signals[r, :, s]
            middle = _mean(column)
            total, count = 0.0, 0
            for value in column:
                if np.isfinite(value):
                    total += (value - middle) * (value - middle)
                    count += 1
            found[r, 0, s] = middle
            found[r, 1, s] = np.sqrt(total / count) if count else np.nan


@compiled
def _newest(signals: Floats, found: Floats) -> None:
    """Write last, level and max into their rows of `found[R, statistics, S]`."""
    samples = signals.shape[1]
    for r in range(signals.shape[0]):
        for s in range(signals.shape[2]):
            column = signals[r, :, s]
            most = np.nan
            for value in column:
                if value > most or most != most:
                    most = value
            found[r, LAST, s] = column[samples - 1] if samples else np.nan
            found[r, LEVEL, s] = _mean(column[max(samples - RECENT, 0) :])
            found[r, MOST, s] = most


@compiled
def _slope(signals: Floats, at_s: Floats, found: Floats) -> None:
    """Write `found[R, S]` of `signals[R, N, S]` at `at_s[R, N]`."""
    for r in range(signals.shape[0]):
        for s in range(signals.shape[2]):
            column = signals[r, :, s]
            count, time, value = 0, 0.0, 0.0
            for n in range(len(column)):
                if np.isfinite(column[n]):
                    count += 1
                    time += at_s[r, n]
                    value += column[n]
            products, squares = 0.0, 0.0
            for n in range(len(column)):
                if np.isfinite(column[n]):
                    since_s = at_s[r, n] - time / count
                    products += since_s * (column[n] - value / count)
                    squares += since_s * since_s
            enough = count >= LEAST and squares > 0
            found[r, s] = products / squares if enough else np.nan


# A loop of its own in every file of kernels: numba notices what has changed in a kernel's own file.
@compiled
def _mean(values: Floats) -> float:
    total, count = 0.0, 0
    for value in values:
        if np.isfinite(value):
            total += value
            count += 1
    return total / count if count else np.nan
