"""Settings and a pool of episodes to a learner of Stable-Baselines3; a learner to its policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from sb3_contrib import QRDQN, MaskablePPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from shadowsim.env.pool import Pool
from shadowsim.env.sb3 import TapeVecEnv
from shadowsim.env.vector import ChangeRollbackVector
from shadowsim.precog.actions import ACTIONS, GO, WAIT
from shadowsim.precog.policy import TOLD, Policy
from shadowsim.rl.settings import Settings, linear

CLASSES: Mapping[str, type[BaseAlgorithm]] = {
    "ppo": PPO, "ppo_mask": MaskablePPO, "dqn": DQN, "qrdqn": QRDQN,
}  # fmt: skip
HEAD_START = 3.0  # log odds
LAYERS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
VERSIONS = {
    "torch": str(torch.__version__),
    "stable_baselines3": stable_baselines3.__version__,
    "sb3_contrib": sb3_contrib.__version__,
}


def told(pool: Pool) -> Pool:
    """The same episodes with only those numbers in the observations that a forecast is told."""
    places = [place for place, name in enumerate(pool.names) if name in TOLD]
    names = tuple(pool.names[place] for place in places)
    return replace(pool, names=names, observations=pool.observations[:, places])


def learner(settings: Settings, pool: Pool, seed: int) -> BaseAlgorithm:
    """A learner on episodes drawn from a pool, on the processor."""
    scaled = replace(pool, reward=pool.reward * settings.reward_scale)
    if settings.production_starts:
        scaled = also_from_production(scaled)
    vector = ChangeRollbackVector(settings.n_envs, distribution=scaled, autoreset_mode="SameStep")
    return learner_on(settings, TapeVecEnv(vector), seed)


def also_from_production(pool: Pool) -> Pool:
    """Each episode twice: from its beginning, and from production that got the change at once.

    Who has learned to refuse what fails sees next to no failure in production any more, and does
    not learn what to take back there.
    """
    return replace(
        pool,
        first=np.concatenate([pool.first, pool.to[pool.first, GO]]),
        networks=pool.networks * 2, kinds=pool.kinds * 2, failed=np.tile(pool.failed, (2, 1)),
    )  # fmt: skip


def learner_on(settings: Settings, environment: VecEnv, seed: int) -> BaseAlgorithm:
    """The same on any environment with such observations and actions."""
    network: dict[str, Any] = {
        "net_arch": list(settings.hidden), "activation_fn": LAYERS[settings.activation],
    }  # fmt: skip
    if settings.n_quantiles is not None:
        network["n_quantiles"] = settings.n_quantiles
    arguments: dict[str, Any] = {
        name: value if (start := linear(value)) is None else LinearSchedule(start, 0.0, 1.0)
        for name, value in settings.arguments.items()
    }
    kind: Any = CLASSES[settings.algorithm]
    made: BaseAlgorithm = kind(
        "MlpPolicy", environment, seed=seed, device="cpu", policy_kwargs=network, **arguments
    )
    if settings.drawn:
        _lean(made)
    return made


def _lean(made: BaseAlgorithm) -> None:
    """Have a distribution begin as one that goes, and waits in production.

    One that begins by taking everything back learns first that it is never worth going, and then
    comes to production no more, where it could learn that waiting costs nothing.
    """
    parts: Any = made.policy
    with torch.no_grad():
        parts.action_net.bias[[WAIT, GO]] = HEAD_START


def policy_of(
    learned: BaseAlgorithm, settings: Settings, names: tuple[str, ...], seed: int, card: str = ""
) -> Policy:
    """The policy alone, as it is now."""
    parts: Any = learned.policy
    if settings.drawn:
        layers = [*parts.mlp_extractor.policy_net, parts.action_net]
    else:
        layers = [*(parts.q_net.q_net if settings.algorithm == "dqn" else _quantiles(parts))]
    linears = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    weights = [layer.weight.detach().numpy().copy() for layer in linears]
    biases = [layer.bias.detach().numpy().copy() for layer in linears]
    if settings.n_quantiles is not None:  # of what is linear the mean is linear
        shape = settings.n_quantiles, len(ACTIONS)
        weights[-1] = weights[-1].reshape(*shape, -1).mean(axis=0)
        biases[-1] = biases[-1].reshape(shape).mean(axis=0)
    return Policy(
        settings.algorithm, names, settings.drawn, settings.algorithm == "ppo_mask",
        settings.activation, tuple(weights), tuple(np.asarray(b) for b in biases), seed, VERSIONS,
        card,
    )  # fmt: skip


def _quantiles(parts: Any) -> Any:
    return parts.quantile_net.quantile_net
