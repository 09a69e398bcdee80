"""What two forecasters said of the same real changes, and what came, to whether one is better.

The log loss is compared (a proper score: Gneiting and Raftery, JASA 102, 2007), and the decisions
that would have followed. Differences are of pairs, on the same changes; their intervals are by a
bootstrap of whole groups, networks or scenarios (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 13; cluster bootstrap: Field and Welsh, JRSS B 69, 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from shadowsim.learning.dataset import Bools, Floats, Ints
from shadowsim.learning.looks import GATE, walk_of
from shadowsim.learning.metrics import Interval
from shadowsim.learning.walk import OperatingPoint, Ratio, Walk, ratios, resampled
from shadowsim.model.truth import MODES

LEAST_P = 0.001  # no forecast is charged for more certainty than that
RESAMPLES = 2000
SHARES = (
    "stopped", "rolled_back_before", "rolled_back", "false_refusals", "false_rollbacks",
    "inconclusive",
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """A figure of the old one and of the new one, and their difference with its 95 % interval."""

    old: float
    new: float
    difference: Interval


@dataclass(frozen=True)
class Duel:
    """How two forecasters did on the same changes: the log loss; the share of changes that are
    decided wrongly (a failure that is neither stopped nor taken back, a good change that is); and
    the shares of `walk.ratios` that this is made of, of which one is mostly bought with another.
    """

    changes: int
    groups: int
    loss: Compared
    wrong: Compared
    shares: Mapping[str, Compared]

    @property
    def figures(self) -> Mapping[str, Compared]:
        """All of it by name."""
        return {"log_loss": self.loss, "decided_wrongly": self.wrong, **self.shares}

    @property
    def better(self) -> bool:
        """Whether the new one is the better by more than chance: its log loss is lower with the
        whole interval, and it does not decide wrongly more often with the whole interval.
        """
        return self.loss.difference.high < 0.0 and not self.worse

    @property
    def worse(self) -> bool:
        """Whether the new one decides wrongly more often by more than chance."""
        return self.wrong.difference.low > 0.0


def losses(
    looks: pl.DataFrame, labels: pl.DataFrame, said: Floats, rates: Mapping[str, Floats],
    horizon_s: float,
) -> Floats:  # fmt: skip
    """`[changes]`: the mean log loss of each change, of its phases the mean, of its looks and modes
    in each the mean. Where nothing was said (nan) the rate of the past (`rates[phase]`, `[modes]`)
    stands in, so that silence is neither rewarded nor fatal. A look after a failure began is no
    question. nan for a change of which nothing was asked.
    """
    change, open_, came = questions(looks, labels, horizon_s)
    production = (looks["phase"] != GATE).to_numpy()
    usual = np.where(production[:, None], rates["production"], rates[GATE])
    p = np.clip(np.where(np.isfinite(said), said, usual), LEAST_P, 1.0 - LEAST_P)
    loss = np.where(open_, -np.where(came, np.log(p), np.log1p(-p)), 0.0)
    found = []
    for rows in (~production, production):
        total = np.bincount(change[rows], loss[rows].sum(axis=1), labels.height)
        asked = np.bincount(change[rows], open_[rows].sum(axis=1), labels.height)
        with np.errstate(invalid="ignore"):
            found.append(np.where(asked > 0, total / asked, np.nan))
    there = np.isfinite(found)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, found, 0.0).sum(axis=0) / there.sum(axis=0))


def questions(
    looks: pl.DataFrame, labels: pl.DataFrame, horizon_s: float
) -> tuple[Ints, Bools, Bools]:
    """Per look, which change it is of; per look and mode, whether it is a question, and the answer,
    as `dataset.Table.outcomes` has them.
    """
    change = np.searchsorted(labels["case"].to_numpy(), looks["case"].to_numpy())
    gate = (looks["phase"] == GATE).to_numpy()[:, None]
    came = labels.select(MODES).to_numpy()[change]
    at_s = labels.select([pl.col(f"{m}_at_s").cast(pl.Float64) for m in MODES]).to_numpy()[change]
    ahead_s = np.where(came, at_s, np.inf) - looks["since_s"].to_numpy()[:, None]
    open_ = gate | ~came | (ahead_s > 0.0)
    return change.astype(np.int64), open_, came & (gate | (ahead_s <= horizon_s))


def duel(
    looks: pl.DataFrame, labels: pl.DataFrame, old: Floats, new: Floats, group: list[str],
    point: OperatingPoint, rates: Mapping[str, Floats], horizon_s: float, seed: int,
) -> Duel:  # fmt: skip
    """Compare what two forecasters said, `[looks, modes]` each; `group` per change, in order."""
    _, site = np.unique(np.array(group), return_inverse=True)
    drawn = resampled(site, seed, RESAMPLES)
    each = [losses(looks, labels, said, rates, horizon_s) for said in (old, new)]
    asked = np.isfinite(each[0]).astype(np.float64)
    pairs = [(np.nan_to_num(one), asked) for one in each]
    walks = [replace(walk_of(looks, labels, said, 1), site=site) for said in (old, new)]
    parts = [ratios(walk, point) for walk in walks]
    return Duel(
        labels.height, len(drawn[0]), _compared(pairs, site, drawn),
        _compared([_wrong(walk, point) for walk in walks], site, drawn),
        {name: _compared([part[name] for part in parts], site, drawn) for name in SHARES},
    )  # fmt: skip


def _wrong(walk: Walk, point: OperatingPoint) -> Ratio:
    through = walk.let_through(point.no_go_above)
    kept = through & ~np.isfinite(walk.triggered_s(point.roll_back_above))
    return (kept == walk.bad).astype(np.float64), np.ones(len(kept))


def _compared(both: Sequence[Ratio], site: Ints, drawn: Floats) -> Compared:
    """The old share and the new one, and their difference; nan where there is nothing to divide
    by.
    """
    values, spreads = [], []
    for part, whole in both:
        values.append(float(part.sum() / whole.sum()) if whole.sum() else float("nan"))
        counted = [drawn @ np.bincount(site, one) for one in (part, whole)]
        with np.errstate(invalid="ignore"):
            spreads.append(np.where(counted[1] > 0, counted[0] / counted[1], np.nan))
    apart = spreads[1] - spreads[0]
    apart = apart[np.isfinite(apart)]
    low, high = np.quantile(apart, (0.025, 0.975)) if apart.size else (np.nan, np.nan)
    before, after = values
    return Compared(before, after, Interval(after - before, float(low), float(high)))
