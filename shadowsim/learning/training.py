"""Histories changes to the models behind `supervised` and `hybrid`, and to how good they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shadowsim.learning.card import Measured, Timed, measure, measure_time, with_card
from shadowsim.learning.dataset import Bools, Changes, Floats, Table, table
from shadowsim.learning.fit import fit
from shadowsim.learning.looks import Histories
from shadowsim.learning.splits import Splits, split
from shadowsim.learning.stacking import stack, stackable, with_supervised
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import PHASES, Model
from shadowsim.precog.stack import Stack

STACKED = ("threshold", "judge", "script", "canary", "supervised")  # what the hybrid listens to
WEIGHED = 400  # rows whose contributions are looked at

Told = Callable[[str], None]
Share = Callable[[Changes, int], Splits]


@dataclass(frozen=True, eq=False)
class Trained:
    """Both models; on the tests, how good the first is, per mode at the gate what it said beside
    what came (`calibration`), and by how much each feature moves it (`importance`).
    """

    model: Model
    hybrid: Stack
    measured: Sequence[Measured]
    timed: Sequence[Timed]
    calibration: Mapping[str, tuple[Floats, Bools]]
    importance: Mapping[str, float]
    seeds: tuple[int, ...]


def trained(
    past: Histories, seed: int, jobs: int, tell: Told = lambda _: None, share: Share = split
) -> Trained:
    """Fit, calibrate and stack, each on networks of its own, as `share` parts them. Raises
    BadInput.
    """
    found = table(past.looks, past.labels, NAMES)
    splits = share(found.changes, seed)
    stackable(found.changes, splits)  # who waits for the fit had better be told before
    data_seed = past.seeds[0]
    model = fit(found, splits, seed, data_seed=data_seed, jobs=jobs, tell=tell)
    hybrid = stack(with_supervised(past.looks, model), past.labels, splits, STACKED, seed)
    measured, timed = measure(model, found, splits, seed), measure_time(model, found, splits)
    return Trained(
        with_card(model, found, splits, measured, timed), hybrid, measured, timed,
        _told(model, found, splits), _importance(model, found, splits), past.seeds,
    )  # fmt: skip


def _told(model: Model, found: Table, splits: Splits) -> dict[str, tuple[Floats, Bools]]:
    rows = found.rows(PHASES[0], splits.of("test"))
    told = model.look(found.x[rows], PHASES[0])
    came = found.changes.came[found.change[rows]]
    return {
        mode: (told.probabilities[~told.unknown[:, n], n], came[~told.unknown[:, n], n])
        for n, mode in enumerate(MODES)
    }


def _importance(model: Model, found: Table, splits: Splits) -> dict[str, float]:
    """The mean size of what each feature adds to the log odds at the gate, over modes and rows."""
    rows = found.rows(PHASES[0], splits.of("calibration"))[:WEIGHED]
    phase = model.phases[PHASES[0]]
    moved = np.zeros(len(found.features))
    for row in rows:
        for mode in range(len(MODES)):
            moved += np.abs(phase.contributions(found.x[row], mode))
    shares = moved / max(len(rows) * len(MODES), 1)
    return dict(zip(found.features, shares.tolist(), strict=True))
