"""A fitted model on changes it has never seen to figures, and to the words that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shadowsim.history.cases import CHANGES_PER_SITE
from shadowsim.learning.dataset import Bools, Table
from shadowsim.learning.metrics import FIGURES, Interval, intervals
from shadowsim.learning.splits import Splits
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES, Model


@dataclass(frozen=True)
class Measured:
    """One mode in one phase on one slice of the tests.

    `rate`: how often it came; `abstained`: the share of looks at which the model says nothing. The
    figures are of the other looks; `withheld_brier` is of those, had they been said.
    """

    tests: str
    phase: str
    mode: str
    looks: int
    rate: float
    abstained: float
    figures: dict[str, Interval]
    withheld_brier: float


@dataclass(frozen=True)
class Timed:
    """How well the time to a failure is told where one comes: told over real, 1 is right.

    `factor` is the median of how far off, as a factor; `within_two` the share within one of two;
    `always` the factor of one who always says the median of the training changes.
    """

    phase: str
    looks: int
    factor: float
    within_two: float
    always: float


def measure(
    model: Model, table: Table, splits: Splits, seed: int, draws: int = 500
) -> list[Measured]:
    """Every mode in every phase on every slice that has looks."""
    return [
        _measured(model, table, (name, chosen), phase, mode, seed, draws)
        for name, chosen in splits.slices().items()
        for phase in PHASES
        for mode in range(len(MODES))
        if len(table.rows(phase, chosen))
    ]


def _measured(
    model: Model, table: Table, tests: tuple[str, Bools], phase: str, mode: int, seed: int,
    draws: int,
) -> Measured:  # fmt: skip
    name, chosen = tests
    rows, came = table.outcomes(table.rows(phase, chosen), mode, model.horizon_s)
    look = model.look(table.x[rows], phase)
    p, said = look.probabilities[:, mode], ~look.unknown[:, mode]
    site = table.changes.number[table.change[rows]] // CHANGES_PER_SITE
    off = (p - came)[~said]
    return Measured(
        name, phase, MODES[mode], len(rows), float(came.mean()), float(1.0 - said.mean()),
        intervals(p[said], came[said], site[said], seed, draws),
        float(np.mean(off**2)) if off.size else float("nan"),
    )  # fmt: skip


def measure_time(model: Model, table: Table, splits: Splits) -> list[Timed]:
    """The estimate of the time to failure on networks that are new."""
    found = []
    for phase in PHASES:
        train, test = (table.rows(phase, splits.of(name)) for name in ("train", "test"))
        real, known = table.ahead_s(test), table.ahead_s(train)
        test, real = test[real > 0], real[real > 0]
        if not len(test) or not np.isfinite(known).any():
            continue
        off = np.abs(np.log(model.time_to_failure_s(table.x[test], phase) / real))
        naive = np.abs(np.log(np.nanmedian(known) / real))
        found.append(Timed(
            phase, len(test), float(np.exp(np.median(off))), float(np.mean(off <= np.log(2))),
            float(np.exp(np.median(naive))),
        ))  # fmt: skip
    return found


def with_card(
    model: Model, table: Table, splits: Splits, measured: Sequence[Measured], timed: Sequence[Timed]
) -> Model:
    """The same model with its card."""
    changes = table.changes
    counts = {name: int(splits.of(name).sum()) for name in ("train", "calibration", "test")}
    seen = splits.of("train")
    lines = [
        "# A model of how network changes fail",
        "",
        f"Boosted trees, {len(model.phases['shadow'].most_apart)} failure modes, fitted to "
        f"{counts['train']} simulated changes on {len(np.unique(changes.network[seen]))} networks, "
        f"calibrated on {counts['calibration']} changes of other networks, tested on "
        f"{counts['test']} of others again.",
        f"Kinds of change held out of all but the tests: {', '.join(splits.held_out)}.",
        f"Seed {model.seed}, of the history {model.data_seed}; in production a failure counts if "
        f"it begins within {model.horizon_s:g} s of a look.",
        "",
        f"| tests | phase | mode | looks | rate | not said | {' | '.join(FIGURES)} |",
        "|" + "---|" * (6 + len(FIGURES)),
        *(_line(one) for one in measured),
        "",
        *(
            f"Time to failure ({one.phase}): off by a factor of {one.factor:.2f} in the median of "
            f"{one.looks} looks, {one.within_two:.0%} within a factor of two; the same time said "
            f"always: {one.always:.2f}."
            for one in timed
        ),
        "",
        "Limits: all of it was simulated, and rates of failure are those of the simulation, not of "
        "any operator. What it was not shown it does not know: a failure that leaves no sign has "
        "the probability of the changes that look like it. Contributions in its reasons are of the "
        "trees, not causes.",
    ]
    return replace(model, card="\n".join(lines) + "\n")


def _line(one: Measured) -> str:
    figures = " | ".join(str(figure) for figure in one.figures.values())
    return (
        f"| {one.tests} | {one.phase} | {one.mode} | {one.looks} | {one.rate:.3f} "
        f"| {one.abstained:.3f} | {figures} |"
    )
