"""What variants said of past changes to a model of whom to believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from shadowsim.learning.dataset import Table, table
from shadowsim.learning.fit import Growing, fit
from shadowsim.learning.splits import Splits, share_out
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES, Model
from shadowsim.precog.stacked import statements

STACK = "stack"  # the fold that no variant was fitted to, and no test is of
SHARES = np.array([0.65, 0.35])  # of it: to fit, and to calibrate
# Few numbers, most of them near 0 or 1: small trees do, and more would learn the networks.
GROWING = Growing(learning_rate=0.1, most_trees=150, most_leaves=8, least_rows=60, l2=5.0)


def with_supervised(looks: pl.DataFrame, model: Model) -> pl.DataFrame:
    """The looks with what a model says of each; nan where it abstains."""
    x = looks.select(model.features).cast(pl.Float64).to_numpy()
    said = np.full((looks.height, len(MODES)), np.nan)
    for phase in PHASES:
        rows = np.flatnonzero((looks["phase"] == phase).to_numpy())
        if rows.size:
            told = model.look(np.ascontiguousarray(x[rows]), phase)
            said[rows] = np.where(told.unknown, np.nan, told.probabilities)
    names = statements(["supervised"])
    return looks.with_columns(pl.Series(name, said[:, n]) for n, name in enumerate(names))


def stack(
    looks: pl.DataFrame,
    labels: pl.DataFrame,
    splits: Splits,
    variants: Sequence[str],
    seed: int,
    jobs: int = 1,
) -> Model:
    """Learn whom of the variants to believe, from the fold STACK alone."""
    found: Table = table(looks, labels, statements(variants))
    return fit(found, _within(splits, found, seed), seed, growing=GROWING, jobs=jobs)


def _within(splits: Splits, found: Table, seed: int) -> Splits:
    """The fold STACK parted by network; all other changes are in no fold that is fitted to."""
    mine = np.flatnonzero(splits.of(STACK))
    fold = np.full(len(splits.fold), "elsewhere", dtype="<U16")
    random = np.random.default_rng([seed, 4])
    part = share_out(found.changes.network[mine], SHARES, random)
    fold[mine] = np.array(["train", "calibration"])[part]
    return replace(splits, fold=fold)
