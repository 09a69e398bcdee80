"""How fast a learner learns on tapes, beside the same learner on an environment that costs nothing.

The goal is a share of what the learner itself reaches, so it says what the environment takes.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from shadowsim.bench.planner import ABILENE, DRAIN, HEAD
from shadowsim.bench.timing import Row
from shadowsim.env.making import tape
from shadowsim.env.pool import pool
from shadowsim.env.worlds import Setting
from shadowsim.precog.past import Past
from shadowsim.rl.learner import learner, learner_on, told
from shadowsim.rl.settings import Settings
from shadowsim.scenario import parse

ENVIRONMENTS, STEPS = 256, 32
COLLECTIONS, REPEATS = 4, 5
ALIKE = {"n_steps": STEPS, "n_epochs": 4, "batch_size": 1024}
PPO = Settings("ppo", ENVIRONMENTS, 1, 0.05, ALIKE, (64, 64), "tanh")


class Free(VecEnv):
    """Observations and actions of the same kind, and the same answer to all, at no cost."""

    def __init__(self, like: VecEnv) -> None:
        super().__init__(like.num_envs, like.observation_space, like.action_space)
        shape = like.num_envs, *(like.observation_space.shape or ())
        self._seen = np.zeros(shape, np.float32)
        self._nothing = np.zeros(like.num_envs, np.float32)
        self._over = np.zeros(like.num_envs, bool)
        self._infos: list[dict[str, Any]] = [{} for _ in range(like.num_envs)]

    def reset(self) -> np.ndarray:
        return self._seen

    def step_async(self, actions: np.ndarray) -> None: ...

    def step_wait(self) -> VecEnvStepReturn:
        return self._seen, self._nothing, self._over, self._infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None: ...

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        return [None for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


def ppo() -> list[Row]:
    """PPO of Stable-Baselines3 on one change on Abilene, and on nothing, by turns."""
    scenario = parse(
        HEAD.format(seed=1, **ABILENE) + f"change: {{script: {json.dumps(DRAIN)}}}\n",
        file="bench.yml",
    )
    episodes = told(pool([tape(Setting.of(scenario, Past()))]))
    torch.set_num_threads(1)
    mine = learner(PPO, episodes, 0)
    environment = mine.get_env()
    if environment is None:
        raise RuntimeError("a learner without an environment")
    free = learner_on(PPO, Free(environment), 0)
    rates: dict[str, list[float]] = {"mine": [], "free": []}
    for _ in range(1 + REPEATS):  # the first one warms up
        rates["mine"].append(_steps_per_s(mine))
        rates["free"].append(_steps_per_s(free))
    found, peer = (statistics.median(rate[1:]) for rate in rates.values())
    note = (
        f"{found:,.0f} steps/s, {peer:,.0f} on nothing; {ENVIRONMENTS} environments, 4 epochs,"
        f" batch 1,024, one thread, {len(episodes.names)} numbers observed"
    )
    return [Row("PPO on tapes, of PPO on nothing", found / peer, "times", 0.7, None, note)]


def _steps_per_s(learned: BaseAlgorithm) -> float:
    begun_s = time.perf_counter()
    learned.learn(COLLECTIONS * ENVIRONMENTS * STEPS, log_interval=None)  # type: ignore[arg-type]
    return COLLECTIONS * ENVIRONMENTS * STEPS / (time.perf_counter() - begun_s)
