"""The environment to how long a step, a reset, a tape and a learner's step take, beside NASim's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from shadowsim.bench.rollouts import REGIMES, SCENARIO
from shadowsim.bench.timing import Row, alternating, best_of
from shadowsim.env.actions import ACTIONS
from shadowsim.env.making import tape
from shadowsim.env.pool import Pool, pool
from shadowsim.env.tape import Tape
from shadowsim.env.worlds import Setting
from shadowsim.errors import MachineLacks
from shadowsim.precog.past import Past
from shadowsim.scenario import parse

ID = "shadowsim:shadowsim/ChangeRollback-v0"
STEPS, VECTOR_STEPS, RESETS, MANY = 20_000, 400, 5_000, 256
LEARNED = MANY * 16 * 8  # steps of a learner
PEER = "nasim:Medium-v0"  # 16 hosts, of which it knows states and no traffic


def run() -> list[Row]:
    """A step alone and of many at once, a reset, how long a tape takes, and SB3's PPO."""
    begin = perf_counter()
    tapes = [_tape(name) for name in REGIMES]
    took_s = (perf_counter() - begin) / len(tapes)
    found = pool(tapes)
    decisions = f"{len(found.masks) // len(found)} decisions each"
    made = Row("a tape of a change on Abilene", took_s, "s", None, None, decisions)
    return [*_alone(found), _many(found), made, *_learner(found)]


def _tape(regime: str) -> Tape:
    scenario = parse(SCENARIO.format(scale=REGIMES[regime]), file="bench.yml")
    return tape(Setting.of(scenario, Past()))


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError:
        raise MachineLacks("gymnasium is not installed: pip install gymnasium") from None
    return gymnasium


def _alone(found: Pool) -> list[Row]:
    """Through `gymnasium.make`, with the wrappers it puts around it, episode after episode."""
    make = _gymnasium().make
    ours = make(ID, distribution=found)
    step, reset = _stepping(ours, _random_actions(STEPS)), _resetting(ours)
    try:
        peer = make(PEER)
    except ImportError:  # gymnasium loads the module that is named before the colon
        step_us, reset_ms = best_of(step, 5) / STEPS * 1e6, best_of(reset, 5) / RESETS * 1e3
        peer_us, peer_ms, beside = None, None, "NASim is not installed"
    else:
        any_of = np.random.default_rng(0).integers(peer.action_space.n, size=STEPS)
        stepped = alternating(step, _stepping(peer, any_of), 5)
        began = alternating(reset, _resetting(peer), 5)
        step_us, peer_us = (each / STEPS * 1e6 for each in stepped)
        reset_ms, peer_ms = (each / RESETS * 1e3 for each in began)
        beside = f"NASim's Medium, 16 hosts: {_rate(peer_us)}, no network behind it"
    rate = f"{_rate(step_us)}, resets and all; {beside}"
    return [
        Row("a step of one environment, Abilene", step_us, "us", 50.0, peer_us, rate),
        Row("a reset of one environment", reset_ms, "ms", 1.0, peer_ms, "a draw from the pool"),
    ]


def _stepping(env: Any, actions: np.ndarray) -> Callable[[], None]:
    """Episode after episode with these actions."""
    chosen = actions.tolist()
    env.reset(seed=0)

    def step() -> None:
        for action in chosen:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return step


def _resetting(env: Any) -> Callable[[], None]:
    def reset() -> None:
        for _ in range(RESETS):
            env.reset()

    return reset


def _many(found: Pool) -> Row:
    """Through `gymnasium.make_vec`, infos and all."""
    env = _gymnasium().make_vec(
        ID, num_envs=MANY, vectorization_mode="vector_entry_point", distribution=found
    )
    actions = _random_actions((VECTOR_STEPS, MANY))
    env.reset(seed=0)

    def step() -> None:
        for row in actions:
            env.step(row)

    step_us = best_of(step, 5) / (VECTOR_STEPS * MANY) * 1e6
    return Row(
        f"a step of {MANY} environments, each", step_us, "us", 1e6 / 150_000, None, _rate(step_us)
    )


def _random_actions(shape: int | tuple[int, int]) -> np.ndarray:
    """Mostly waiting, so that episodes are about as long as those of somebody who watches."""
    chances = [0.86, *itertools.repeat(0.14 / (len(ACTIONS) - 1), len(ACTIONS) - 1)]
    return np.random.default_rng(0).choice(len(ACTIONS), shape, p=chances)


def _rate(step_us: float) -> str:
    return f"{1e6 / step_us:,.0f} steps/s"


def _learner(found: Pool) -> list[Row]:
    """SB3's PPO here, over what it does where a step costs nothing; none if SB3 is missing.

    On one thread: for networks this small more of them only wait for each other.
    """
    try:
        import torch
        from stable_baselines3 import PPO

        from shadowsim.env.sb3 import TapeVecEnv
        from shadowsim.env.vector import ChangeRollbackVector
    except ImportError:
        return []

    def learning(free: bool) -> Callable[[], object]:
        env = TapeVecEnv(ChangeRollbackVector(MANY, distribution=found, autoreset_mode="SameStep"))
        if free:
            nothing: list[dict[str, Any]] = [{} for _ in range(MANY)]
            same = env.reset(), np.zeros(MANY, np.float32), np.zeros(MANY, bool), nothing
            env.step_wait = lambda: same  # type: ignore[method-assign]
        learner = PPO(
            "MlpPolicy", env, n_steps=16, n_epochs=4, batch_size=1024, device="cpu", seed=0
        )
        return lambda: learner.learn(LEARNED)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours_s, free_s = alternating(learning(free=False), learning(free=True), 3)
    torch.set_num_threads(threads)
    note = f"{LEARNED / ours_s:,.0f} steps/s, {LEARNED / free_s:,.0f} where a step costs nothing"
    return [Row(f"SB3 PPO on {MANY} environments", free_s / ours_s, "times", 0.7, None, note)]
