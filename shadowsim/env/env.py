"""The workflow as a gymnasium environment: an agent decides when to wait, go, refuse, roll back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import error, spaces

from shadowsim.env.actions import ACTIONS, END_STATES
from shadowsim.env.observation import BOUND
from shadowsim.env.pool import OVER, Pool
from shadowsim.env.rendering import Trail, Window, drawn, written
from shadowsim.env.reward import PARTS
from shadowsim.env.sources import Source, source
from shadowsim.errors import BadInput, choices
from shadowsim.precog.model import Model
from shadowsim.scenario import Scenario

Observation = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

MASKED = ("wait", "error")
RENDER_MODES = ("human", "ansi", "rgb_array")


def box(names: tuple[str, ...]) -> spaces.Box:
    """The space of observations."""
    return spaces.Box(-BOUND, BOUND, (len(names),), np.float32)


class ChangeRollback(gymnasium.Env[Observation, np.int64]):
    """One change an episode, from its trial in the shadow to its end state.

    Exactly one of `scenario` (a file) and `distribution` (see `sources.source`) says what changes
    there are; `reset` draws one, or takes `options={"episode": number}`. Actions are ACTIONS,
    observations the numbers called `pool.names`, in which nothing is hidden (`docs/env.md`).

    An action that is masked counts as waiting; with `masked="error"` it raises InvalidAction. To
    wait at the last look of the trial lets the change lapse; to wait at the last look at production
    confirms it.

    `info`: `action_mask`; `reward_parts`, by name, which sum to the reward; `episode` and `look`,
    numbers in the pool, which tell an evaluation where it is and are no evidence; and, at the end,
    `end_state`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - so gymnasium declares it
        "render_modes": list(RENDER_MODES),
        "render_fps": 2,
    }

    def __init__(
        self,
        scenario: str | os.PathLike[str] | Scenario | None = None,
        distribution: Source | None = None,
        *,
        supervised: bool = False,
        model: Model | None = None,
        weights: Mapping[str, float] | None = None,
        masked: str = "wait",
        render_mode: str | None = None,
    ) -> None:
        checked_choice("masked", masked, MASKED)
        if render_mode is not None:
            checked_choice("render_mode", render_mode, RENDER_MODES)
        self.pool: Pool = source(
            scenario, distribution, supervised=supervised, model=model, weights=weights
        )
        self.observation_space = cast("spaces.Space[Observation]", box(self.pool.names))
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.render_mode = render_mode
        self._strict = masked == "error"
        self._look = OVER
        self._trail = Trail(self.pool)
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        episode = chosen(self.pool, options)
        if episode is None:
            episode = int(self.np_random.integers(len(self.pool)))
        self._look = int(self.pool.first[episode])
        self._trail = Trail(self.pool).begun(self._look)
        self._show()
        return self.pool.observations[self._look].copy(), self._info(NOTHING)

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        pool, look = self.pool, self._look
        if look == OVER:
            raise error.ResetNeeded("the episode has ended, or none has begun: call reset() first")
        number = self._checked(action)
        to = int(pool.to[look, number])
        over = to == OVER
        at = look if over else to
        self._look = at
        info = self._info(pool.parts[look, number])
        if over:
            info["end_state"] = END_STATES[pool.ends[look, number]]
            self._look = OVER
        if self.render_mode is not None:
            self._trail = self._trail.after(number, at, over)
            self._show()
        return pool.observations[at].copy(), float(pool.reward[look, number]), over, False, info

    def action_masks(self) -> Bools:
        """`[ACTIONS]`: what can be done now, as MaskablePPO asks for it."""
        if self._look == OVER:
            raise error.ResetNeeded("the episode has ended, or none has begun: call reset() first")
        return np.array(self.pool.masks[self._look])

    def render(self) -> Any:
        if self.render_mode is None:
            gymnasium.logger.warn("say render_mode= when the environment is made, to see it")
            return None
        if self.render_mode == "ansi":
            return written(self._trail)
        return drawn(self._trail) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None

    def _checked(self, action: np.int64 | int) -> int:
        number = checked_action(action)
        if self._strict and not self.pool.masks[self._look, number]:
            raise error.InvalidAction(masked_text(self.pool, self._look, number))
        return number

    def _info(self, parts: npt.NDArray[np.float32]) -> dict[str, Any]:
        look = self._look
        return {
            "action_mask": self.pool.masks[look].copy(),
            "reward_parts": dict(zip(PARTS, parts.tolist(), strict=True)),
            "episode": int(self.pool.episode[look]),
            "look": look,
        }

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window = self._window or Window()
            self._window.show(self._trail)


NOTHING: npt.NDArray[np.float32] = np.zeros(len(PARTS), np.float32)


def chosen(pool: Pool, options: Mapping[str, Any] | None) -> int | None:
    """The episode that the options of a reset ask for, if they do. Raises gymnasium's Error."""
    wanted = (options or {}).get("episode")
    if wanted is None:
        return None
    if not isinstance(wanted, int | np.integer) or not 0 <= wanted < len(pool):
        raise error.Error(f"there is no episode {wanted}: they are 0 to {len(pool) - 1}")
    return int(wanted)


def checked_action(action: object) -> int:
    """The number of an action. Raises InvalidAction."""
    number = action.item() if isinstance(action, np.ndarray) and action.size == 1 else action
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise error.InvalidAction(
            f"an action is a number from 0 to {len(ACTIONS) - 1}, not {action!r}"
        )
    if not 0 <= number < len(ACTIONS):
        raise error.InvalidAction(f"there is no action {number}: they are 0 to {len(ACTIONS) - 1}")
    return int(number)


def masked_text(pool: Pool, look: int, number: int) -> str:
    valid = ", ".join(f"{n} {ACTIONS[n]}" for n in np.flatnonzero(pool.masks[look]))
    return f"action {number} ({ACTIONS[number]}) is masked now; valid: {valid}"


def checked_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise BadInput(f"{name} '{value}' is none; {choices(str(value), valid)}")
