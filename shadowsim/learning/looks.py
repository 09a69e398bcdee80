"""The looks and labels of a history, with what a forecaster said at each look, to a Walk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from shadowsim.errors import BadInput, Mistake
from shadowsim.learning.walk import NEVER, Array, Marks, Walk
from shadowsim.model.truth import MODES

GATE, WATCH = "shadow", "production"


def read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The looks, by change and time, and the labels, by change. Raises BadInput."""
    return _table(folder, "looks").sort("case", pl.col("phase") != GATE, "since_s"), _table(
        folder, "labels"
    ).sort("case")


def _table(folder: Path, what: str) -> pl.DataFrame:
    files = sorted(folder.glob(f"{what}-*.parquet"))
    if not files:
        text = f"there are no {what} here; 'shadowsim history --out {folder}' makes some"
        raise BadInput([Mistake(text, str(folder))])
    try:
        return pl.concat([pl.read_parquet(file) for file in files])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput([Mistake(f"{what} cannot be read: {error}", str(folder))]) from None


def said_by(looks: pl.DataFrame, variant: str) -> Array:
    """`[looks, modes]`: what a variant said that was asked when the history was made.

    nan: it had no number. Raises BadInput if it was not asked.
    """
    names = [f"{variant}.{mode}" for mode in MODES]
    if missing := [name for name in names if name not in looks.columns]:
        raise BadInput(f"this history does not hold what '{variant}' said: no {missing[0]}")
    return np.asarray(looks.select(names).to_numpy(), dtype=np.float64)


def walk_of(looks: pl.DataFrame, labels: pl.DataFrame, said: Array, per_site: int) -> Walk:
    """What a forecaster said, `[looks, modes]`, with what came. Looks as `read` sorts them.

    A forecaster that has no number for a mode abstains, unless another mode is bad enough.
    """
    worst = np.asarray(np.where(np.isfinite(said), said, -np.inf).max(axis=1))
    unsure = np.asarray(~np.isfinite(said).all(axis=1))
    gate = np.asarray((looks["phase"] == GATE).to_numpy())
    cases = labels["case"].to_numpy()
    if not np.array_equal(looks["case"].to_numpy()[gate], cases):
        raise BadInput("looks and labels of this history do not fit together: make it anew")
    watched = looks["case"].to_numpy()[~gate]
    first = np.searchsorted(watched, np.append(cases, np.iinfo(np.int64).max), side="left")
    onsets = [
        np.where(came(labels, [mode]), _seconds(labels, f"{mode}_at_s"), NEVER) for mode in MODES
    ]
    return Walk(
        site=cases // per_site,
        bad=came(labels, MODES),
        sign=labels["sign"].to_numpy(),
        onset_s=np.min(onsets, axis=0),
        gate=np.maximum(worst[gate], 0.0),
        unsure=unsure[gate],
        first=first.astype(np.int64),
        since_s=looks["since_s"].to_numpy()[~gate].astype(np.float64),
        watch=worst[~gate],
    )


def came(labels: pl.DataFrame, modes: Sequence[str]) -> Marks:
    """Whether any of these failure modes came, per change."""
    return np.asarray(labels.select(pl.any_horizontal(modes)).to_series().to_numpy(), np.bool_)


def _seconds(labels: pl.DataFrame, name: str) -> Array:
    seconds = labels[name].cast(pl.Float64).fill_null(NEVER).fill_nan(NEVER)
    return np.asarray(seconds.to_numpy(), np.float64)
