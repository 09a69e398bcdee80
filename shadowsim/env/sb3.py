"""Many episodes side by side to what Stable-Baselines3 trains on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from shadowsim.env.actions import END_STATES
from shadowsim.env.vector import ChangeRollbackVector
from shadowsim.errors import BadInput


class TapeVecEnv(VecEnv):
    """A `ChangeRollbackVector` (with autoreset in the same step) for Stable-Baselines3.

    An info is empty but at the end of an episode: `terminal_observation` and `end_state`.
    `env_method("action_masks")` is what MaskablePPO asks for.
    """

    actions: np.ndarray

    def __init__(self, vector: ChangeRollbackVector) -> None:
        if vector.metadata["autoreset_mode"] is not gymnasium.vector.AutoresetMode.SAME_STEP:
            raise BadInput('Stable-Baselines3 needs autoreset_mode="SameStep"')
        self.vector = vector
        super().__init__(
            vector.num_envs, vector.single_observation_space, vector.single_action_space
        )

    def reset(self) -> np.ndarray:
        observations, _ = self.vector.reset(seed=self._seeds)
        self._reset_seeds()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, over, ends, final = self.vector.bare_step(self.actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for place, number in enumerate(np.flatnonzero(over)):
            infos[number] = {
                "terminal_observation": final[place],
                "TimeLimit.truncated": False,
                "end_state": END_STATES[ends[number]],
            }
        return observations, rewards.astype(np.float32), over, infos

    def close(self) -> None:
        self.vector.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        value = getattr(self.vector, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise AttributeError(f"'{attr_name}' of single environments cannot be set: there are none")

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        if method_name != "action_masks":
            raise AttributeError(f"there are no single environments to ask for '{method_name}'")
        masks = self.vector.action_masks()
        return [masks[number] for number in self._get_indices(indices)]

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [None] * self.num_envs
