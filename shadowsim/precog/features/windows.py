"""Signals over time, `[..., samples, signals]`, to statistics of their last samples.

All is vectorised over leading axes; what is not known is nan and counts in no statistic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shadowsim.precog.features.signals import largest, mean, ratio

Array = np.ndarray

WINDOW = 30  # samples that are looked at
RECENT = 3  # samples a level is averaged over
TREND = 15  # samples a slope is fitted to
LEAST = 6  # of them that have to be known
FLOOR = 0.01  # what two deviations differ by less is noise: readings are this inexact

STATISTICS = ("last", "level", "mean", "max", "slope", "ahead", "shift", "spread")
ROW = {name: row for row, name in enumerate(STATISTICS)}


class Reference(NamedTuple):
    """What signals were at another time, `[..., signals]`: mean and standard deviation."""

    mean: Array
    deviation: Array


def reference(signals: Array) -> Reference:
    """The reference that these samples make."""
    middle = mean(signals, axis=-2)
    apart = signals - middle[..., None, :]
    return Reference(middle, np.sqrt(mean(apart * apart, axis=-2)))


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
    level = mean(window[..., -RECENT:, :], axis=-2)
    rise = slope(window[..., -TREND:, :], at_s[..., -TREND:])
    whole = reference(window)
    spread = np.log((whole.deviation + FLOOR) / (before.deviation + FLOOR))
    rows = (
        window[..., -1, :],
        level,
        whole.mean,
        largest(np.swapaxes(window, -1, -2)),
        rise,
        level + np.maximum(rise, 0.0) * horizon_s,
        level - before.mean - drift,
        spread,
    )
    return np.stack(rows, axis=-2)


def slope(signals: Array, at_s: Array) -> Array:
    """Change per second by least squares, `[..., signals]`; nan with fewer than LEAST known.

    Draper and Smith, Applied Regression Analysis, 1.2.
    """
    finite = np.isfinite(signals)
    weight = finite.astype(np.float64)
    count = weight.sum(axis=-2)
    time = np.broadcast_to(at_s[..., None], signals.shape) * weight
    value = np.where(finite, signals, 0.0)
    enough = np.where(count >= LEAST, count, 0.0)
    middle_s, middle = ratio(time.sum(axis=-2), enough), ratio(value.sum(axis=-2), enough)
    time = (time - middle_s[..., None, :]) * weight
    value = (value - middle[..., None, :]) * weight
    return ratio((time * value).sum(axis=-2), (time * time).sum(axis=-2))
