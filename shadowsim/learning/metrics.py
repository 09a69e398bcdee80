"""Forecasts and what happened to figures of merit, with intervals that respect the sites.

Every figure takes weights, so that a bootstrap is the same figure under other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from shadowsim.learning.dataset import Bools, Floats, Ints

BINS = 15
DRAWS = 500
Figure = Callable[[Floats, Bools, Floats], float]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auroc(p: Floats, came: Bools, weight: Floats) -> float:
    """The chance that a failure is told a greater probability than a success; ties count half.

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 143, 1982.
    nan where only one of the two is there.
    """
    bad, good = _tied(p, came, weight)
    below = np.cumsum(good) - good
    wanted = bad.sum() * good.sum()
    return float((bad * (below + good / 2)).sum() / wanted) if wanted > 0 else float("nan")


def average_precision(p: Floats, came: Bools, weight: Floats) -> float:
    """The mean, over the failures, of the precision where each is reached; nan without one."""
    bad, good = (part[::-1] for part in _tied(p, came, weight))
    found, seen = np.cumsum(bad), np.cumsum(bad + good)
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return float((precision * bad).sum() / found[-1]) if found[-1] > 0 else float("nan")


def brier(p: Floats, came: Bools, weight: Floats) -> float:
    """The mean square of what the probability is off by (Brier 1950)."""
    return float(np.average((p - came) ** 2, weights=weight))


def calibration_error(p: Floats, came: Bools, weight: Floats) -> float:
    """The expected calibration error in 15 bins of equal mass; equal probabilities share a bin.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015; of equal mass, as Nguyen and O'Connor (EMNLP 2015) advise.
    """
    _, index = np.unique(p, return_inverse=True)
    mass = np.bincount(index, weight)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bins = np.minimum((middle * BINS).astype(np.int64), BINS - 1)[index]
    off = np.bincount(bins, weight * (p - came), BINS)
    return float(np.abs(off).sum() / weight.sum())


FIGURES: Mapping[str, Figure] = {
    "AUROC": auroc,
    "average precision": average_precision,
    "Brier": brier,
    "ECE": calibration_error,
}


def _tied(p: Floats, came: Bools, weight: Floats) -> tuple[Floats, Floats]:
    """The weights of failures and of the others at every probability that occurs, rising."""
    values, index = np.unique(p, return_inverse=True)
    bad: Floats = np.bincount(index, weight * came, len(values)).astype(np.float64)
    good: Floats = np.bincount(index, weight * ~came, len(values)).astype(np.float64)
    return bad, good


def intervals(
    p: Floats, came: Bools, site: Ints, seed: int, draws: int = DRAWS
) -> dict[str, Interval]:
    """Every figure with its 95 % percentile interval over bootstrap draws of whole sites.

    Looks at one site resemble each other, so sites are drawn, not looks (cluster bootstrap:
    Field and Welsh, JRSS B 69, 2007).
    """
    return {
        name: _interval(figure, p, came, site, np.random.default_rng([seed, 2]), draws)
        for name, figure in FIGURES.items()
    }


def _interval(
    figure: Figure, p: Floats, came: Bools, site: Ints, random: np.random.Generator, draws: int
) -> Interval:
    if not len(p):
        return Interval(float("nan"), float("nan"), float("nan"))
    _, index = np.unique(site, return_inverse=True)
    sites = int(index.max()) + 1
    found = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(random.integers(sites, size=sites), minlength=sites)
        found[draw] = figure(p, came, times[index].astype(np.float64))
    known = found[np.isfinite(found)]
    low, high = np.quantile(known, [0.025, 0.975]) if known.size else (np.nan, np.nan)
    return Interval(figure(p, came, np.ones(len(p))), float(low), float(high))
