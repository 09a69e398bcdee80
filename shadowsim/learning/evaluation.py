"""Variants, and a labelled history that none of them has seen, to how good each of them is.

All variants are asked about the same changes, each at its own operating point, chosen on the fold
"validation"; what is reported is of the fold "test" and of kinds of change held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from shadowsim.history.cases import CHANGES_PER_SITE
from shadowsim.learning.fit import HORIZON_S
from shadowsim.learning.looks import GATE, came, said_by, walk_of
from shadowsim.learning.metrics import Interval, intervals
from shadowsim.learning.splits import Splits
from shadowsim.learning.stacking import with_supervised
from shadowsim.learning.walk import (
    ROLLBACK_S,
    Array,
    Marks,
    OperatingPoint,
    Walk,
    choose,
    figures,
    lead_s,
    ratios,
)
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES, Model
from shadowsim.precog.stack import Stack
from shadowsim.precog.stacked import statements

ORACLE, SHADOW_ORACLE = "oracle", "oracle of the shadow"
SUREST = "surest"  # the hybrid before it learned: as probable as the surest of three says
PARTS = ("threshold", "judge", "script")
TAKEN = ("rolled_back_before", "rolled_back_in_time", "rolled_back")
BREAKS_S = (ROLLBACK_S, 2.0 + ROLLBACK_S, 10.0)  # a rollback, a look and a rollback, a while
WHEN = (
    *(f"breaks within {b:g} s" for b in BREAKS_S), f"breaks later than {BREAKS_S[-1]:g} s",
)  # fmt: skip
Said = Mapping[str, Array]


@dataclass(frozen=True)
class Verdict:
    """How good one variant is on one slice of the tests.

    `shares`: every figure of `walk.ratios`; `modes`: per failure mode, its figures at the gate;
    `lead_s`: the median from the trigger to the limit being broken, of those rolled back before.
    """

    variant: str
    slice: str
    changes: int
    failures: int
    point: OperatingPoint
    shares: Mapping[str, Interval]
    modes: Mapping[str, Mapping[str, Interval]]
    lead_s: float


def said_by_all(
    looks: pl.DataFrame,
    labels: pl.DataFrame,
    asked: Sequence[str],
    model: Model,
    stacked: Stack | None,
) -> dict[str, Array]:
    """What every variant says at every look, `[looks, modes]` each, nan where it abstains.

    `asked` are those that were asked when the history was made; without `stacked` the hybrid has
    not learned, and is as careful as the surest.
    """
    found = {"always-go": np.zeros((looks.height, len(MODES)))}
    found |= {name: said_by(looks, name) for name in asked}
    found[SUREST] = _surest([found[name] for name in PARTS])
    told = with_supervised(looks, model)
    found["supervised"] = said_by(told, "supervised")
    found["hybrid"] = found[SUREST] if stacked is None else _stacked(told, stacked, found[SUREST])
    found[ORACLE], found[SHADOW_ORACLE] = _oracles(looks, labels)
    return found


def _surest(said: Sequence[Array]) -> Array:
    """A mode is as probable as the surest says, and unknown if it is to all."""
    stacked = np.stack(said)
    most = np.where(np.isfinite(stacked), stacked, -np.inf).max(axis=0)
    return np.asarray(np.where(np.isfinite(most), most, np.nan))


def _stacked(looks: pl.DataFrame, stack: Stack, careful: Array) -> Array:
    """What the learned hybrid says; of what the last of its variants abstains from, `careful`."""
    said = np.stack([said_by(looks, name) for name in stack.variants], axis=1)
    found = np.full(careful.shape, np.nan)
    for phase in PHASES:
        rows = np.flatnonzero((looks["phase"] == phase).to_numpy())
        found[rows] = stack.probabilities(said[rows], phase)
    return np.where(np.isfinite(said[:, -1]), found, careful)


def _oracles(looks: pl.DataFrame, labels: pl.DataFrame) -> tuple[Array, Array]:
    """One that knows what will come, and one that knows what the shadow shows, and no more.

    Both know in production what will have begun within the horizon that models are trained for.
    """
    of = looks.select("case", "phase", "since_s").join(labels, on="case", maintain_order="left")
    gate = (of["phase"] == GATE).to_numpy()[:, None]
    bad = of.select(MODES).to_numpy()
    at_s = of.select([f"{mode}_at_s" for mode in MODES]).cast(pl.Float64).to_numpy()
    soon = bad & (np.nan_to_num(at_s, nan=np.inf) <= of["since_s"].to_numpy()[:, None] + HORIZON_S)
    sign = of["sign"].to_numpy()[:, None]
    all_ = np.where(gate, bad, soon).astype(np.float64)
    return all_, np.where(gate, bad & sign, soon).astype(np.float64)


def judge_all(
    looks: pl.DataFrame, labels: pl.DataFrame, said: Said, splits: Splits, seed: int,
    most: int | None = None,
) -> Iterator[Verdict]:  # fmt: skip
    """Every variant on every slice of the tests, or the `most` first, all at one operating point
    each.
    """
    slices = {name: chosen for name, chosen in splits.slices().items() if chosen.any()}
    slices = dict([("unseen networks", splits.of("test")), *slices.items()][:most])
    validation = splits.of("validation")
    for variant, told in said.items():
        point = choose(_walk(looks, labels, told, validation))
        for name, chosen in slices.items():
            yield _judged(variant, name, looks, labels, told, chosen, point, seed)


def _judged(
    variant: str, name: str, looks: pl.DataFrame, labels: pl.DataFrame, told: Array,
    chosen: Marks, point: OperatingPoint, seed: int,
) -> Verdict:  # fmt: skip
    walk = _walk(looks, labels, told, chosen)
    leads = lead_s(walk, point)
    gate = told[_rows(looks, labels, chosen) & (looks["phase"] == GATE).to_numpy()]
    truth = labels.filter(pl.Series(chosen)).select(MODES).to_numpy()
    modes = {}
    for number, mode in enumerate(MODES):
        known = np.isfinite(gate[:, number])
        p, real, site = gate[known, number], truth[known, number], walk.site[known]
        modes[mode] = intervals(p, real, site, seed)
    return Verdict(
        variant, name, len(walk.bad), int(walk.bad.sum()), point,
        figures(walk, point, seed), modes, float(np.median(leads)) if leads.size else float("nan"),
    )  # fmt: skip


def _walk(looks: pl.DataFrame, labels: pl.DataFrame, told: Array, chosen: Marks) -> Walk:
    rows = _rows(looks, labels, chosen)
    return walk_of(
        looks.filter(pl.Series(rows)), labels.filter(pl.Series(chosen)), told[rows],
        CHANGES_PER_SITE,
    )  # fmt: skip


def _rows(looks: pl.DataFrame, labels: pl.DataFrame, chosen: Marks) -> Marks:
    """The looks at the changes chosen."""
    place = np.searchsorted(labels["case"].to_numpy(), looks["case"].to_numpy())
    return np.asarray(chosen[place])


def slipped(
    looks: pl.DataFrame, labels: pl.DataFrame, told: Array, chosen: Marks, point: OperatingPoint
) -> pl.DataFrame:
    """Of the failures with a sign, per kind of change: those let through all the same."""
    walk = _walk(looks, labels, told, chosen)
    mine = labels.filter(pl.Series(chosen)).select("kind")
    missed = walk.let_through(point.no_go_above) & walk.bad & walk.sign
    return (
        mine.with_columns(missed=pl.Series(missed), of=pl.Series(walk.bad & walk.sign))
        .group_by("kind")
        .agg(pl.col("missed").sum(), pl.col("of").sum())
        .filter(pl.col("missed") > 0)
        .sort("missed", "kind", descending=[True, False])
    )


def wronged(
    looks: pl.DataFrame, labels: pl.DataFrame, told: Array, chosen: Marks, point: OperatingPoint
) -> pl.DataFrame:
    """The good changes that are refused, and those that are let through and taken back: by kind of
    change, and by what the shadow could not show. The hidden things overlap.
    """
    walk = _walk(looks, labels, told, chosen)
    rates = ratios(walk, point)
    counted = {"refused": rates["false_refusals"][0], "taken_back": rates["false_rollbacks"][0]}
    mine = (
        labels.filter(pl.Series(chosen))
        .select("kind", "hidden")
        .with_columns(**{name: pl.Series(marks.astype(int)) for name, marks in counted.items()})
        .filter(pl.Series(~walk.bad))
    )
    counts = [*(pl.col(name).sum() for name in counted), pl.len().alias("of")]
    some = pl.sum_horizontal(*counted)
    return pl.concat([
        part.group_by("kind").agg(counts).filter(some > 0)
        .sort(some, "kind", descending=[True, False])
        for part in (mine.drop("hidden"), _by_hidden(mine, "kind"))
    ])  # fmt: skip


def through(
    looks: pl.DataFrame, labels: pl.DataFrame, told: Array, chosen: Marks, point: OperatingPoint
) -> pl.DataFrame:
    """The failures let through: by when they break a limit after the first command, and by what the
    shadow could not show, how many are taken back before that, in time, and at all.

    A failure of which several things were hidden counts with each of them.
    """
    walk = _walk(looks, labels, told, chosen)
    rates = ratios(walk, point)
    slipped = rates["rolled_back"][1] > 0
    taken = {name: pl.Series(rates[name][0][slipped].astype(int)) for name in TAKEN}
    edges = np.searchsorted(BREAKS_S, walk.onset_s[slipped], side="right")
    mine = labels.filter(pl.Series(chosen)).filter(pl.Series(slipped)).select("hidden")
    mine = mine.with_columns(**taken, when=pl.Series(np.array(WHEN)[edges], dtype=pl.String))
    counts = [pl.len().alias("slipped"), *(pl.col(name).sum() for name in TAKEN)]
    return pl.concat([
        part.group_by("when").agg(counts).sort("slipped", "when", descending=[True, False])
        for part in (mine, _by_hidden(mine, "when"))
    ])  # fmt: skip


def _by_hidden(changes: pl.DataFrame, column: str) -> pl.DataFrame:
    """A row for each thing that was hidden of each change, "hidden: " and which in this column."""
    hidden = pl.col("hidden").cast(pl.List(pl.String))
    some = pl.when(hidden.list.len() > 0).then(hidden).otherwise(pl.lit(["nothing"]))
    return (
        changes.with_columns(some.alias("hidden"))
        .explode("hidden")
        .with_columns(pl.concat_str(pl.lit("hidden: "), "hidden").alias(column))
    )


def makeup(labels: pl.DataFrame, splits: Splits) -> pl.DataFrame:
    """Per fold: changes, networks, and how many fail, in which mode and without any sign."""
    bad = pl.Series(came(labels, MODES))
    return (
        labels.with_columns(fold=pl.Series(splits.fold), bad=bad)
        .group_by("fold")
        .agg(
            changes=pl.len(),
            networks=pl.col("network").n_unique(),
            failed=pl.col("bad").mean(),
            **{mode: pl.col(mode).mean() for mode in MODES},
            without_a_sign=(~pl.col("sign")).filter(pl.col("bad")).mean(),
        )
        .sort("changes", descending=True)
    )


def names_asked(looks: pl.DataFrame) -> list[str]:
    """The variants that were asked when a history was made."""
    of = [name.rpartition(".")[0] for name in looks.columns if name.endswith(f".{MODES[0]}")]
    return [name for name in of if set(statements([name])) <= set(looks.columns)]
