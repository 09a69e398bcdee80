"""The looks and labels of a history, with what a forecaster said at each look, to a Walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from shadowsim.errors import BadInput, Mistake
from shadowsim.history import store
from shadowsim.learning.walk import NEVER, Array, Marks, Walk
from shadowsim.model.truth import (
    DEGRADATION,
    DEGRADATION_S,
    MODES,
    OUTAGE,
    OUTAGE_S,
    VULNERABILITY,
)

GATE = "shadow"
# How long something must be broken without a break to be a failure (`model.truth`).
LASTS_S = {DEGRADATION: DEGRADATION_S, OUTAGE: OUTAGE_S, VULNERABILITY: 0.0}
APART = 10_000_000  # between the numbers of the changes of two histories: whole sites


@dataclass(frozen=True)
class Histories:
    """`looks` by change and time, the gate first; `labels` by change; the seeds of their making."""

    looks: pl.DataFrame
    labels: pl.DataFrame
    seeds: tuple[int, ...]


def read(folders: Sequence[Path]) -> Histories:
    """Several histories as one. Raises BadInput where one is not whole, or was made otherwise."""
    read = [store.read(folder) for folder in folders]
    for folder, one in zip(folders, read, strict=True):
        if one.manifest.features != read[0].manifest.features:
            text = f"made with other features than {folders[0]}"
            raise BadInput([Mistake(text, str(folder))])
    apart = [pl.col("case") + number * APART for number in range(len(read))]
    looks = [one.looks.with_columns(a) for one, a in zip(read, apart, strict=True)]
    labels = [one.labels.with_columns(a) for one, a in zip(read, apart, strict=True)]
    return Histories(
        pl.concat(looks, how="diagonal").sort("case", pl.col("phase") != GATE, "since_s"),
        pl.concat(labels).sort("case"),
        tuple(one.manifest.seed for one in read),
    )


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
        failed_s=np.min(
            [onset + LASTS_S[mode] for onset, mode in zip(onsets, MODES, strict=True)], axis=0
        ),
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
