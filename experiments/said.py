"""A change with its tape to what a PreCog variant says at every look, and when the change fails.

The variant is shown what the tape was made of: the trial in the shadow, and production that has the
change after the whole trial and is left alone. What it says is never acted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from answer import kept
from changes import Changed

from shadowsim.env.tape import Tape
from shadowsim.env.worlds import left_alone, tried, untouched
from shadowsim.live import progress_of
from shadowsim.model.truth import MODES, Spell, onsets
from shadowsim.precog import Evidence, Variant, variant

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """`chances[R, MODES]` at the looks of a tape, nan where it was not asked or does not know;
    `fails_s`: seconds from go to the first failure that comes of the change, nan if none does.
    """

    chances: Floats
    fails_s: float


@dataclass(frozen=True)
class Asked:
    """Evidence to what a variant says of it, in the place of features."""

    variant: Variant

    def of(self, evidence: Evidence) -> Floats:
        found = self.variant.forecast(evidence).probabilities
        return np.array([found[mode] for mode in MODES])


def said(change: Changed, name: str) -> Said:
    """Show a variant the trial, and production after the whole of it."""
    setting, tape = change.setting, change.tape
    asking = replace(setting, featurizer=Asked(variant(name, setting.whatif)))
    trial = tried(asking)
    world = left_alone(asking, trial.at_s[-1])
    chances = np.full((len(tape.world), len(MODES)), np.nan)
    chances[shown(tape)] = np.array([*trial.rows, *world.rows])
    fails_s = np.nan
    if tape.failed:
        spells = [
            replace(s, from_s=max(s.from_s, world.go_s))
            for s in world.spells
            if s.to_s > world.go_s and s.from_s < world.end_s
        ]
        fails_s = _first_s(spells, untouched(setting.scenario, world.end_s)) - world.go_s
    return Said(chances, fails_s)


def shown(tape: Tape) -> npt.NDArray[np.int64]:
    """The looks of a tape that a variant is shown: the trial's, and those of its last world."""
    return np.flatnonzero((tape.world < 0) | (tape.world == tape.trial - 1))


def _first_s(spells: Sequence[Spell], twin: Sequence[Spell]) -> float:
    return min(onsets(spells, twin).values(), default=np.nan)


def all_said(changes: Sequence[Changed], name: str, folder: Path) -> list[Said]:
    """What a variant says of each change; what was asked before is kept in a folder."""
    found = []
    with progress_of(f"{name}, {folder.name}", quiet=False) as progress:
        for done, change in enumerate(changes):
            progress(done, len(changes))
            file = folder / name / f"{change.number:05}.json"
            document = kept(file, partial(_document, change, name))
            found.append(Said(np.array(document["chances"], float), float(document["fails_s"])))
    return found


def _document(change: Changed, name: str) -> dict[str, object]:
    found = said(change, name)
    return {"chances": found.chances.tolist(), "fails_s": found.fails_s}
