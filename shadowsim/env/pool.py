"""Tapes to one table of transitions: every decision there is, and what each action leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shadowsim.env.actions import (
    ACTIONS,
    CONFIRMED,
    GO,
    HALTED,
    LAPSED,
    ON,
    PART,
    REFUSE,
    REFUSED,
    ROLLED_BACK,
    WAIT,
    WHOLE,
)
from shadowsim.env.observation import observations, observed
from shadowsim.env.reward import MISNAMED, NEEDLESS_REFUSAL, NEEDLESS_ROLLBACK, PARTS, weights
from shadowsim.env.tape import AMOUNTS, Tape
from shadowsim.errors import BadInput
from shadowsim.model.truth import MODES
from shadowsim.precog.actions import masks as open_at
from shadowsim.precog.model import Model

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

OVER = -1  # where an episode goes when it ends
REFUSAL, ROLLBACK, NAMED = (PARTS.index(n) for n in (NEEDLESS_REFUSAL, NEEDLESS_ROLLBACK, MISNAMED))


@dataclass(frozen=True, eq=False)
class Pool:
    """E episodes of R decisions in all; an action that is masked counts as waiting.

    `names`: of the numbers of an observation. `first[E]`: the row an episode begins at;
    `episode[R]`: whose a row is. `observations[R, names]`, `masks[R, ACTIONS]`; `to[R, ACTIONS]`:
    the row an action leads to, OVER if it ends the episode, and then `ends[R, ACTIONS]`, a number
    of END_STATES. `parts[R, ACTIONS, PARTS]`: of the reward, and their sum `reward[R, ACTIONS]`.
    `networks[E]`, `kinds[E]`, `failed[E, MODES]`: what the change was, and what came of it if all
    of the trial was waited for.
    """

    names: tuple[str, ...]
    first: Ints
    episode: Ints
    observations: Singles
    masks: Bools
    to: Ints
    ends: npt.NDArray[np.int8]
    parts: Singles
    reward: Floats
    networks: tuple[str, ...]
    kinds: tuple[str, ...]
    failed: Bools

    def __len__(self) -> int:
        return len(self.first)

    def __deepcopy__(self, memo: dict[int, Any]) -> Pool:
        """Itself: nobody writes to it."""
        return self


def pool(
    tapes: Sequence[Tape],
    model: Model | None = None,
    different: Mapping[str, float] | None = None,
) -> Pool:
    """The episodes of these tapes, with what `model` says in the observations, if there is one.

    `different` are other weights of parts of the reward. Raises BadInput if there is no tape.
    """
    if not tapes:
        raise BadInput("there is no episode to draw: no tapes")
    weight = weights(different)
    sizes = np.array([len(tape.world) for tape in tapes])
    first = np.cumsum(sizes) - sizes
    to, masks, ends = (
        np.concatenate(found)
        for found in zip(
            *(_ways(tape, start) for tape, start in zip(tapes, first, strict=True)), strict=True
        )
    )
    parts = np.concatenate([_parts(tape, weight) for tape in tapes]).astype(np.float32)
    parts = np.where(masks[:, :, None], parts, parts[:, WAIT : WAIT + 1])
    return Pool(
        names=observed(model is not None),
        first=first,
        episode=np.repeat(np.arange(len(tapes)), sizes),
        observations=np.concatenate([observations(tape, model) for tape in tapes]),
        masks=masks,
        to=np.where(masks, to, to[:, WAIT : WAIT + 1]),
        ends=np.where(masks, ends, ends[:, WAIT : WAIT + 1]),
        parts=parts,
        reward=_summed(parts),
        networks=tuple(tape.network for tape in tapes),
        kinds=tuple(tape.kind for tape in tapes),
        failed=np.array([tape.came[tape.trial - 1] for tape in tapes]),
    )


def _summed(parts: Singles) -> Floats:
    """The sum over the parts, one after the other, as whoever checks it would do it."""
    found = np.zeros(parts.shape[:2])
    for part in range(parts.shape[2]):
        found += parts[:, :, part]
    return found


def _ways(tape: Tape, start: int) -> tuple[Ints, Bools, npt.NDArray[np.int8]]:
    """Where every action leads, which are open, and how those end that end it: `[R, ACTIONS]`."""
    rows, trial = len(tape.world), tape.trial
    shape = rows, len(ACTIONS)
    to = np.full(shape, OVER, np.int64)
    shadow = tape.world < 0
    masks, ends = open_at(~shadow, tape.has_part), np.full(shape, ON, np.int8)
    goes_on = np.append(tape.world[1:] == tape.world[:-1], False)
    to[goes_on, WAIT] = start + np.flatnonzero(goes_on) + 1
    ends[~goes_on, WAIT] = np.where(shadow[~goes_on], LAPSED, CONFIRMED)
    to[:trial, GO] = start + np.array([np.argmax(tape.world == n) for n in range(trial)])
    ends[:, REFUSE] = REFUSED
    back = np.where(tape.restored, ROLLED_BACK, HALTED)
    ends[:, WHOLE:PART], ends[:, PART:] = back[:, :1], back[:, 1:]
    return to, masks, ends


def _parts(tape: Tape, weight: Floats) -> Floats:
    """The parts of the reward of every action, `[R, ACTIONS, PARTS]`."""
    amounts = np.zeros((len(tape.world), len(ACTIONS), len(PARTS)))
    count, trial = len(AMOUNTS), tape.trial
    well = ~np.asarray(tape.came.any(axis=1))
    amounts[:, WAIT, :count] = tape.waiting
    amounts[:, GO, :count] = tape.acting
    amounts[:, WHOLE:PART, :count] = tape.acting[:, None]
    amounts[:, PART:, :count] = tape.parting[:, None]
    amounts[:, REFUSE, REFUSAL] = well
    amounts[trial - 1, WAIT, REFUSAL] = well[trial - 1]
    for mode in range(len(MODES)):
        for action in (WHOLE + mode, PART + mode):
            amounts[:, action, ROLLBACK] = well
            amounts[:, action, NAMED] = ~well & ~tape.came[:, mode]
    found: Floats = -amounts * weight
    return found + 0.0  # no part is -0
