"""A plan to a folder of finished runs, by whatever engine, and again to what of it is missing.

On the simulated network production is gone when its run is, and a run that was cut off is made
again from its start; so nobody holds a rollback there, which would take a third of the time. On the
emulated one every run has its guardian.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shadowsim.batch import Answer, Engine
from shadowsim.batch.folder import claimed
from shadowsim.carried import Document, begin, carry_out
from shadowsim.commit.hold import Hold, Unheld, held
from shadowsim.errors import BadInput, Mistake, ShadowsimError
from shadowsim.journal import Journal
from shadowsim.network import factory
from shadowsim.rollback.key import installation_key
from shadowsim.scenario import Scenario
from shadowsim.sweep.plan import Piece, Plan, read_settings

SETTINGS = "sweep.json"

Progress = Callable[[int, int], None]
Work = Callable[[Piece], None]


@dataclass(frozen=True)
class Failure:
    """A run that did not come to its end, and why."""

    piece: Piece
    why: str
    exit_code: int


def claim(folder: Path, plan: Plan) -> AbstractContextManager[None]:
    """Have the folder of a sweep for oneself. Raises BadInput, ShadowsimError (see batch)."""
    return claimed(folder / SETTINGS, plan.settings(), read_settings, "a sweep")


def carry_all(folder: Path, plan: Plan, engine: Engine, progress: Progress) -> list[Failure]:
    """Make every run of a plan that is not there yet, in a folder that was claimed."""
    work = partial(carry, plan, folder.absolute())
    return work_off(folder, plan.pieces(), work, engine, progress)


def work_off(
    folder: Path, pieces: Sequence[Piece], work: Work, engine: Engine, progress: Progress
) -> list[Failure]:
    """Do the work of every piece whose outcome is not in this folder yet.

    What is finished is kept at once. `progress` is told how many pieces of how many are behind it.
    """
    missing = [piece for piece in pieces if finished(folder, piece) is None]
    done, failures = len(pieces) - len(missing), list[Failure]()
    progress(done, len(pieces))
    with closing(engine.answers(work, missing)) as answers:
        for answer in answers:
            failures += _failure(answer)
            done += 1
            progress(done, len(pieces))
    return sorted(failures, key=lambda failure: failure.piece)


def carry(plan: Plan, folder: Path, piece: Piece) -> None:
    """Make one run, and keep it in the folder of the sweep."""
    if not (folder / SETTINGS).exists():
        what = f"not there on {platform.node()}: all nodes need to see the folder of the sweep"
        raise BadInput([Mistake(what, str(folder))])
    scenario, place, key = plan.scenario(piece), folder / piece.place, installation_key()
    state = begin(scenario, factory(plan.network, plan.controller), Journal())
    carry_out(state, plan.network, place, key, _holding(plan, scenario, place, key))


def _holding(
    plan: Plan, scenario: Scenario, place: Path, key: bytes
) -> AbstractContextManager[Hold]:
    if plan.network == "simulated":
        return nullcontext(Unheld())
    return held(place, key, scenario.workflow.confirm_within_s)


def finished(folder: Path, piece: Piece) -> Document | None:
    """The outcome of a run that came to its end; None if there is none, or a damaged one."""
    try:
        found = json.loads((folder / piece.place / "result.json").read_bytes())
        named = Piece(found["scenario"], found["precog"], found["seed"])
        whole = named == piece and not found["interrupted"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if whole else None


def outcomes(folder: Path, plan: Plan) -> Sequence[Document]:
    """The outcomes of all runs that are there, in the order of their names."""
    found = (finished(folder, piece) for piece in sorted(plan.pieces()))
    return [document for document in found if document is not None]


def _failure(answer: Answer[Piece, None]) -> list[Failure]:
    error = answer.error
    if error is None:
        return []
    if isinstance(error, ShadowsimError):
        return [Failure(answer.piece, str(error), error.exit_code)]
    return [Failure(answer.piece, f"{type(error).__name__}: {error}", ShadowsimError.exit_code)]
