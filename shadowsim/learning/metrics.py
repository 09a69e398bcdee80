"""Forecasts and what happened to figures of merit, with intervals that respect the sites.

Every figure takes weights, so that a bootstrap is the same figure under other weights: `[..., n]`
for `n` forecasts give a figure `[...]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from shadowsim.learning.dataset import Bools, Floats, Ints

BINS = 15
DRAWS = 500
AT_ONCE = 50_000  # weights that are worked on at a time: as many as a cache holds
Figure = Callable[[Floats, Bools, Floats], Floats]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auroc(p: Floats, came: Bools, weight: Floats) -> Floats:
    """The chance that a failure is told a greater probability than a success; ties count half.

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 143, 1982.
    nan where only one of the two is there.
    """
    bad, good = _tied(p, came, weight)
    below = np.cumsum(good, axis=-1) - good
    wanted = bad.sum(axis=-1) * good.sum(axis=-1)
    return _share((bad * (below + good / 2)).sum(axis=-1), wanted)


def average_precision(p: Floats, came: Bools, weight: Floats) -> Floats:
    """The mean, over the failures, of the precision where each is reached; nan without one."""
    bad, good = (part[..., ::-1] for part in _tied(p, came, weight))
    found, seen = np.cumsum(bad, axis=-1), np.cumsum(bad + good, axis=-1)
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return _share((precision * bad).sum(axis=-1), found[..., -1])


def brier(p: Floats, came: Bools, weight: Floats) -> Floats:
    """The mean square of what the probability is off by (Brier 1950)."""
    return _share((weight * (p - came) ** 2).sum(axis=-1), weight.sum(axis=-1))


def calibration_error(p: Floats, came: Bools, weight: Floats) -> Floats:
    """The expected calibration error in 15 bins of equal mass; equal probabilities share a bin.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015; of equal mass, as Nguyen and O'Connor (EMNLP 2015) advise.
    """
    order, starts = _ordered(p)
    mine = weight[..., order]
    mass = np.add.reduceat(mine, starts, axis=-1)
    error = np.add.reduceat(mine * (p - came)[order], starts, axis=-1)
    total = np.asarray(weight.sum(axis=-1))
    middle = _share(np.cumsum(mass, axis=-1) - mass / 2, total[..., None])
    bins = np.minimum(np.nan_to_num(middle * BINS).astype(np.int64), BINS - 1)
    rows = np.arange(total.size).reshape(total.shape)[..., None] * BINS
    sums = np.bincount((bins + rows).ravel(), error.ravel(), BINS * total.size)
    return _share(np.abs(sums.reshape(*total.shape, BINS)).sum(axis=-1), total)


FIGURES: Mapping[str, Figure] = {
    "AUROC": auroc,
    "average precision": average_precision,
    "Brier": brier,
    "ECE": calibration_error,
}


def _tied(p: Floats, came: Bools, weight: Floats) -> tuple[Floats, Floats]:
    """The weights of failures and of the others at every probability that occurs, rising."""
    order, starts = _ordered(p)
    mine, bad = weight[..., order], came[order]
    return (
        np.add.reduceat(np.where(bad, mine, 0.0), starts, axis=-1),
        np.add.reduceat(np.where(bad, 0.0, mine), starts, axis=-1),
    )


def _ordered(p: Floats) -> tuple[Ints, Ints]:
    """The order in which probabilities rise, and where in it each that occurs begins."""
    order = np.argsort(p, kind="stable")
    rising = p[order]
    return order, np.flatnonzero(np.append(True, rising[1:] != rising[:-1]))


def _share(part: Floats, whole: Floats) -> Floats:
    """Nan of nothing."""
    nothing = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    found: Floats = np.divide(part, whole, out=nothing, where=np.asarray(whole) > 0)
    return found


def intervals(
    p: Floats, came: Bools, site: Ints, seed: int, draws: int = DRAWS
) -> dict[str, Interval]:
    """Every figure with its 95 % percentile interval over bootstrap draws of whole sites.

    Looks at one site resemble each other, so sites are drawn, not looks (cluster bootstrap:
    Field and Welsh, JRSS B 69, 2007).
    """
    if not len(p):
        return dict.fromkeys(FIGURES, Interval(float("nan"), float("nan"), float("nan")))
    _, index = np.unique(site, return_inverse=True)
    sites = int(index.max()) + 1
    drawn = np.random.default_rng([seed, 2]).integers(sites, size=(draws, sites))
    times = np.stack([np.bincount(one, minlength=sites) for one in drawn]).astype(np.float64)
    step = max(AT_ONCE // len(p), 1)
    parts = [times[at : at + step, index] for at in range(0, draws, step)]
    return {
        name: _interval(
            float(figure(p, came, np.ones(len(p)))),
            np.concatenate([figure(p, came, part) for part in parts]),
        )
        for name, figure in FIGURES.items()
    }


def _interval(value: float, found: Floats) -> Interval:
    known = found[np.isfinite(found)]
    low, high = np.quantile(known, [0.025, 0.975]) if known.size else (np.nan, np.nan)
    return Interval(value, float(low), float(high))
