"""Many episodes side by side, as arrays: the same as the single environment, step for step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from gymnasium import error, spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from shadowsim.env.actions import ACTIONS, END_STATES
from shadowsim.env.env import MASKED, Observation, box, checked_choice, chosen, masked_text
from shadowsim.env.pool import OVER, Bools, Floats, Ints, Pool
from shadowsim.env.reward import PARTS
from shadowsim.env.sources import Source, source
from shadowsim.errors import BadInput
from shadowsim.precog.model import Model
from shadowsim.scenario import Scenario

Infos = dict[str, Any]
Stepped = tuple[Observation, Floats, Bools, Bools, Infos]

MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


class ChangeRollbackVector(VectorEnv[Observation, Ints, Any]):
    """`num_envs` of `ChangeRollback` at once; the arguments are the same.

    With a seed s, environment i draws what the single one does with seed s + i. `autoreset_mode`
    is gymnasium's "NextStep" or "SameStep". Infos are those that gymnasium's own vector of single
    environments gives: arrays by name, and under `_name` of which environments they are.
    `options={"episode": n}` begins that episode in all, a list of numbers one in each.
    """

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | os.PathLike[str] | Scenario | None = None,
        distribution: Source | None = None,
        *,
        supervised: bool = False,
        model: Model | None = None,
        weights: Mapping[str, float] | None = None,
        masked: str = "wait",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        checked_choice("masked", masked, MASKED)
        mode = getattr(autoreset_mode, "value", str(autoreset_mode))
        checked_choice("autoreset_mode", mode, tuple(m.value for m in MODES))
        if render_mode is not None:
            raise BadInput("many environments at once are not rendered; make a single one")
        if num_envs < 1:
            raise BadInput(f"num_envs must be at least 1, not {num_envs}")
        self.pool: Pool = source(
            scenario, distribution, supervised=supervised, model=model, weights=weights
        )
        self.num_envs = num_envs
        self.render_mode = None
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode(mode)}
        self.single_observation_space = cast("spaces.Space[Observation]", box(self.pool.names))
        self.single_action_space = cast("spaces.Space[Ints]", spaces.Discrete(len(ACTIONS)))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._strict = masked == "error"
        self._same_step = AutoresetMode(mode) is AutoresetMode.SAME_STEP
        self._looks = np.full(num_envs, OVER)
        self._over = np.zeros(num_envs, bool)
        self._random: list[np.random.Generator | None] = [None] * num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Infos | None = None
    ) -> tuple[Observation, Infos]:
        which, seeds, wanted = self._which(options), self._seeds(seed), self._wanted(options)
        if (self._looks[~which] == OVER).any():
            raise error.ResetNeeded("environments that have never begun are left out of this reset")
        for number in np.flatnonzero(which).tolist():
            if seeds[number] is not None:
                self._random[number] = seeding.np_random(seeds[number])[0]
            self._begin(number, wanted[number])
        nothing = np.zeros((self.num_envs, len(PARTS)), np.float32)
        return self.pool.observations[self._looks], self._infos(self._looks, nothing, which)

    def step(self, actions: npt.ArrayLike) -> Stepped:
        looks = self._looks
        to, rewards, over, parts, ends = self._outcome(actions)
        if self._same_step:
            at = np.where(over, looks, to)
            last = self._last(at, parts, over, ends) if over.any() else {}
            parts[over] = 0.0
            self._go_on(at, over)
            infos = {**last, **self._infos(self._looks, parts, None)}
        else:
            again = self._over
            rewards[again], parts[again], over[again] = 0.0, 0.0, False
            self._go_on(np.where(over | again, looks, to), again)
            self._over = over
            infos = self._infos(self._looks, parts, None, ends * over if over.any() else None)
        observations = self.pool.observations[self._looks]
        return observations, rewards, over.copy(), np.zeros(self.num_envs, bool), infos

    def bare_step(
        self, actions: npt.ArrayLike
    ) -> tuple[Observation, Floats, Bools, npt.NDArray[np.int8], Observation]:
        """A step of "SameStep" without infos: observations, rewards, which ended, how, and the last
        observations of these.
        """
        looks = self._looks
        to, rewards, over, _, ends = self._outcome(actions)
        at = np.where(over, looks, to)
        final = self.pool.observations[at[over]]
        self._go_on(at, over)
        return self.pool.observations[self._looks], rewards, over, ends, final

    def action_masks(self) -> Bools:
        """`[num_envs, ACTIONS]`: what can be done now."""
        if (self._looks == OVER).any():
            raise error.ResetNeeded("no episode has begun: call reset() first")
        return np.array(self.pool.masks[self._looks])

    @property
    def looks(self) -> Ints:
        """`[num_envs]`: the numbers of the looks at which it stands, OVER where nothing began."""
        return self._looks.copy()

    def stand(self, looks: npt.ArrayLike, seed: int) -> Observation:
        """Stand at these looks, in the middle of episodes, and draw those to come as after a reset
        with this seed; what is observed there.
        """
        found = np.asarray(looks, np.int64)
        if (
            found.shape != (self.num_envs,)
            or not (found >= 0).all()
            or not (found < len(self.pool.masks)).all()
        ):
            raise error.Error(f"{self.num_envs} numbers of looks are needed")
        self._looks, self._over = found.copy(), np.zeros(self.num_envs, bool)
        self._random = [seeding.np_random(one)[0] for one in self._seeds(seed) if one is not None]
        return self.pool.observations[self._looks]

    # -- parts of a step

    def _begin(self, number: int, episode: int | None) -> None:
        if episode is None:
            random = self._random[number] or seeding.np_random()[0]
            self._random[number] = random
            episode = int(random.integers(len(self.pool)))
        self._looks[number] = self.pool.first[episode]
        self._over[number] = False

    def _outcome(
        self, actions: npt.ArrayLike
    ) -> tuple[Ints, Floats, Bools, npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        """Where the actions lead, the rewards, what is over, the parts, and how it ended."""
        pool, looks, numbers = self.pool, self._looks, self._checked(actions)
        to = pool.to[looks, numbers]
        rewards, parts = pool.reward[looks, numbers], pool.parts[looks, numbers]
        return to, rewards, to == OVER, parts, pool.ends[looks, numbers]

    def _go_on(self, looks: Ints, anew: Bools) -> None:
        """Stand at these looks, and where it says so at the beginning of another episode."""
        self._looks = looks
        for number in np.flatnonzero(anew).tolist():
            self._begin(number, None)

    def _last(
        self, looks: Ints, parts: npt.NDArray[np.float32], over: Bools, ends: npt.NDArray[np.int8]
    ) -> Infos:
        """What is told of the ends of episodes after which others have begun already."""
        final = np.full(self.num_envs, None, object)
        for number in np.flatnonzero(over):
            final[number] = self.pool.observations[looks[number]].copy()
        return {
            "final_obs": final,
            "_final_obs": over.copy(),
            "final_info": self._infos(looks, parts, over, ends),
            "_final_info": over.copy(),
        }

    def _checked(self, actions: npt.ArrayLike) -> Ints:
        numbers = np.asarray(actions)
        if (self._looks == OVER).any():
            raise error.ResetNeeded("no episode has begun: call reset() first")
        if numbers.shape != (self.num_envs,) or numbers.dtype.kind not in "iu":
            raise error.InvalidAction(f"actions are {self.num_envs} whole numbers, one for each")
        if numbers.min() < 0 or numbers.max() >= len(ACTIONS):
            raise error.InvalidAction(f"an action is a number from 0 to {len(ACTIONS) - 1}")
        if self._strict:
            wrong = np.flatnonzero(~self.pool.masks[self._looks, numbers] & ~self._over)
            if len(wrong):
                text = masked_text(self.pool, int(self._looks[wrong[0]]), int(numbers[wrong[0]]))
                raise error.InvalidAction(f"environment {wrong[0]}: {text}")
        return numbers

    def _infos(
        self,
        looks: Ints,
        parts: npt.NDArray[np.float32],
        which: Bools | None,
        ends: npt.NDArray[np.int8] | None = None,
    ) -> Infos:
        """The infos of those environments (None: all); `ends` of those that have ended."""
        every = which is None
        mine = np.ones(self.num_envs, bool) if which is None else which
        values: Infos = {
            "action_mask": self.pool.masks[looks],
            "episode": self.pool.episode[looks],
            "look": looks.copy(),
        }
        told = dict(zip(PARTS, np.ascontiguousarray(parts.T, np.float64), strict=True))
        if not every:
            for array in (*values.values(), *told.values()):
                array[~mine] = 0
        values["reward_parts"] = {**told, **{f"_{name}": mine.copy() for name in PARTS}}
        found = {**values, **{f"_{name}": mine.copy() for name in values}}
        if ends is not None:
            ended = mine & (ends > 0)
            names = np.full(self.num_envs, None, object)
            names[ended] = [END_STATES[end] for end in ends[ended]]
            found |= {"end_state": names, "_end_state": ended}
        return found

    # -- arguments of a reset

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [int(seed) + number for number in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise error.Error(f"{self.num_envs} environments need as many seeds, not {len(seed)}")
        return seed

    def _wanted(self, options: Infos | None) -> Sequence[int | None]:
        """The episode that each is to begin, None where it is to be drawn."""
        wanted = (options or {}).get("episode")
        listed = wanted if isinstance(wanted, Sequence | np.ndarray) else [wanted] * self.num_envs
        if len(listed) != self.num_envs:
            raise error.Error(f"{self.num_envs} environments need as many episodes")
        return [chosen(self.pool, {"episode": one}) for one in listed]

    def _which(self, options: Infos | None) -> Bools:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, bool)
        found = np.asarray(mask)
        if found.shape != (self.num_envs,) or found.dtype != np.bool_ or not found.any():
            raise error.Error(f"'reset_mask' must be {self.num_envs} booleans, not all False")
        return found
