"""Models of several seeds and a history to the verdicts on all variants, and how seeds differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from shadowsim.errors import BadInput
from shadowsim.learning.dataset import table
from shadowsim.learning.evaluation import (
    ORACLE,
    SHADOW_ORACLE,
    Verdict,
    judge_all,
    makeup,
    names_asked,
    said_by_all,
    slipped,
    through,
    wronged,
)
from shadowsim.learning.looks import GATE, Histories
from shadowsim.learning.splits import split_for_tests
from shadowsim.learning.training import STACKED
from shadowsim.learning.walk import Array, Marks
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model_file import load
from shadowsim.precog.stack import read_stack
from shadowsim.precog.supervised import beside

LEARNED = ("supervised", "hybrid")

Told = Callable[[str], None]
Calibration = Mapping[str, tuple[Array, Marks]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """`verdicts` of the first seed's models, `of_seeds` those of every seed on all unseen networks.

    `calibration`: per learned variant what it said of any failure at the gate, and whether one
    came; `missed`: per kind of change the signs that `hybrid` let through; `wronged`: the good
    changes that it refused or took back; `through`: when the failures that it let through break
    a limit, and what the shadow could not show of them.
    """

    changes: int
    verdicts: Sequence[Verdict]
    of_seeds: Sequence[Mapping[str, Verdict]]
    makeup: pl.DataFrame
    missed: pl.DataFrame
    wronged: pl.DataFrame
    through: pl.DataFrame
    calibration: Calibration
    held_out: tuple[str, ...]

    @property
    def slices(self) -> list[str]:
        return list(dict.fromkeys(verdict.slice for verdict in self.verdicts))


def compare(past: Histories, models: Sequence[Path], seed: int, tell: Told) -> Comparison:
    """Ask every variant about the same changes. Raises BadInput."""
    looks, labels = past.looks, past.labels
    splits = split_for_tests(table(looks, labels, NAMES).changes)
    for fold in ("validation", "test"):
        if not splits.of(fold).any():
            raise BadInput(f"the history has no changes of the fold '{fold}' ('shadowsim history "
                           "--networks validation' and '--networks unseen' make them)")  # fmt: skip
    verdicts: list[Verdict] = []
    of_seeds = []
    for number, path in enumerate(models):
        tell(f"asking the models of {path}")
        model, hybrid = load(path, NAMES), read_stack(beside(path), STACKED)
        said = said_by_all(looks, labels, names_asked(looks), model, hybrid)
        if number == 0:
            verdicts = list(judge_all(looks, labels, said, splits, seed))
            point = next(v.point for v in verdicts if v.variant == "hybrid")
            tested = looks, labels, said["hybrid"], splits.of("test"), point
            of_hybrid = slipped(*tested), wronged(*tested), through(*tested)
            calibration = _calibration(looks, labels, said, splits.of("test"))
        learned = {name: said[name] for name in LEARNED}
        judged = verdicts if number == 0 else judge_all(looks, labels, learned, splits, seed, 1)
        of_seeds.append({
            v.variant: v for v in judged if v.variant in LEARNED and v.slice == verdicts[0].slice
        })  # fmt: skip
    return Comparison(
        labels.height, verdicts, of_seeds, makeup(labels, splits), *of_hybrid, calibration,
        splits.held_out,
    )  # fmt: skip


def _calibration(
    looks: pl.DataFrame, labels: pl.DataFrame, said: Mapping[str, Array], chosen: Marks
) -> dict[str, tuple[Array, Marks]]:
    """Per variant that is no oracle, and mode, what it said at the gate and what came."""
    gate = np.asarray((looks["phase"] == GATE).to_numpy())
    truth = labels.select(MODES).to_numpy()[chosen]
    found = {}
    for name, told in said.items():
        if name in (ORACLE, SHADOW_ORACLE, "always-go"):
            continue
        p = told[gate][chosen]
        known = np.isfinite(p).all(axis=1)
        found[name] = (p[known], truth[known])
    return found
