"""Many environments at once: to the last bit what single ones do, and what SB3 makes of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import error
from gymnasium.vector import AutoresetMode, VectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tapes import no_model, small, tapes

from shadowsim.env.actions import ACTIONS, GO, WAIT, WHOLE
from shadowsim.env.env import ChangeRollback
from shadowsim.env.pool import Pool, pool
from shadowsim.env.sb3 import TapeVecEnv
from shadowsim.env.vector import ChangeRollbackVector
from shadowsim.errors import BadInput

ID = "shadowsim:shadowsim/ChangeRollback-v0"
MODES = ("NextStep", "SameStep")
MANY = 5


@cache
def supervised() -> Pool:
    return pool(tapes(), no_model())


def native(mode: str, found: Pool, **given: Any) -> ChangeRollbackVector:
    env = gymnasium.make_vec(
        ID, num_envs=MANY, vectorization_mode="vector_entry_point", distribution=found,
        autoreset_mode=mode, **given,
    )  # fmt: skip
    assert isinstance(env, ChangeRollbackVector)
    return env


def singles(mode: str, found: Pool) -> VectorEnv[Any, Any, Any]:
    return gymnasium.make_vec(
        ID, num_envs=MANY, vectorization_mode="sync", distribution=found,
        vector_kwargs={"autoreset_mode": mode},
    )  # fmt: skip


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two results are not the same to the last bit, type and all."""
    if isinstance(one, dict):
        found = [f"{where}: {key}" for key in one.keys() ^ other.keys()]
        return found + [
            d
            for k in one.keys() & other.keys()
            for d in differences(one[k], other[k], f"{where}/{k}")
        ]
    if isinstance(one, tuple):
        return [
            d
            for n, pair in enumerate(zip(one, other, strict=True))
            for d in differences(*pair, f"{where}{n}")
        ]
    if one.dtype == object:
        alike = all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    else:
        alike = np.array_equal(one, other)
    return [] if alike and (one.dtype, one.shape) == (other.dtype, other.shape) else [where]


actions = st.lists(
    st.lists(st.integers(0, len(ACTIONS) - 1) | st.just(WAIT), min_size=MANY, max_size=MANY),
    max_size=30,
)


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 2**31), walk=actions, told=st.booleans())
@settings(deadline=None, max_examples=40)
def test_many_at_once_are_single_ones_to_the_last_bit(
    mode: str, seed: int, walk: list[list[int]], told: bool
) -> None:
    found = supervised() if told else small()
    ours, theirs = native(mode, found), singles(mode, found)
    assert ours.metadata["autoreset_mode"] is AutoresetMode(mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert differences(ours.reset(seed=seed), theirs.reset(seed=seed)) == []
    for numbers in walk:
        step = np.array(numbers)
        assert differences(ours.step(step), theirs.step(step)) == []
    assert differences(ours.reset(), theirs.reset()) == []


@given(actions)
@settings(deadline=None, max_examples=20)
def test_an_info_is_what_the_single_environment_tells(walk: list[list[int]]) -> None:
    """Without gymnasium's own vector in between."""
    ours = native("NextStep", small())
    alone = [ChangeRollback(distribution=small()) for _ in range(MANY)]
    _, infos = ours.reset(seed=3)
    told = [env.reset(seed=3 + number)[1] for number, env in enumerate(alone)]
    over = [False] * MANY
    for numbers in walk:
        for number, info in enumerate(told):
            assert (infos["action_mask"][number] == info["action_mask"]).all()
            assert (infos["look"][number], infos["episode"][number]) == (
                info["look"],
                info["episode"],
            )
            assert {n: infos["reward_parts"][n][number] for n in info["reward_parts"]} == info[
                "reward_parts"
            ]
        masks = ours.action_masks()
        assert (masks == infos["action_mask"]).all()
        observations, rewards, _, _, infos = ours.step(np.array(numbers))
        for number, env in enumerate(alone):
            if over[number]:
                observation, told[number] = env.reset()
                reward, over[number] = 0.0, False
            else:
                observation, reward, over[number], _, told[number] = env.step(numbers[number])
            assert (observations[number] == observation).all() and rewards[number] == reward


@pytest.mark.parametrize("mode", MODES)
def test_what_was_given_stays_as_it_was(mode: str) -> None:
    """Users keep what they were given; nothing of it may change under them, nor change the pool."""
    env, before = native(mode, small()), small().observations.copy()
    kept = env.reset(seed=1)
    copied = (kept[0].copy(), {"look": kept[1]["look"].copy()})
    for _ in range(30):
        given = env.step(np.full(MANY, WAIT))
        for array in (given[0], given[1], given[2], given[4]["look"], given[4]["action_mask"]):
            array[:] = 0
    assert (kept[0] == copied[0]).all() and (kept[1]["look"] == copied[1]["look"]).all()
    assert (small().observations == before).all()


def test_some_of_them_can_be_reset_and_episodes_be_chosen() -> None:
    env = native("NextStep", small())
    _, infos = env.reset(options={"episode": [0, 1, 2, 3, 0]})
    assert infos["episode"].tolist() == [0, 1, 2, 3, 0]
    env.step(np.full(MANY, GO))
    some = np.array([True, False, False, False, True])
    _, infos = env.reset(seed=[7] * MANY, options={"reset_mask": some, "episode": 2})
    assert infos["_episode"].tolist() == some.tolist()
    assert infos["episode"].tolist() == [2, 0, 0, 0, 2]
    masks = env.action_masks()
    assert masks[some, GO].all() and not masks[~some, GO].any()


def test_what_cannot_be_done_is_refused_and_nothing_has_happened() -> None:
    env = native("NextStep", small(), masked="error")
    for call in (lambda: env.step(np.zeros(MANY, int)), env.action_masks):
        with pytest.raises(error.ResetNeeded):
            call()
    with pytest.raises(error.ResetNeeded, match="left out"):
        env.reset(options={"reset_mask": np.arange(MANY) > 0})
    _, infos = env.reset(seed=2)
    wrong: list[tuple[Any, str]] = [
        (np.zeros(MANY), "whole numbers"), (np.zeros(3, int), "5 whole numbers"),
        (np.full(MANY, 9), "0 to 8"), (np.full(MANY, -1), "0 to 8"),
        (np.array([0, 0, WHOLE, 0, 0]), "environment 2: action 3 .* masked"),
    ]  # fmt: skip
    for actions, said in wrong:
        with pytest.raises(error.InvalidAction, match=said):
            env.step(actions)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"options": {"episode": 4}}, "0 to 3"),
        ({"options": {"episode": [0]}}, "as many episodes"),
        ({"seed": [1]}, "as many seeds"),
        ({"options": {"reset_mask": np.zeros(MANY, bool)}}, "not all False"),
    ]
    for given_, said in refused:
        with pytest.raises(error.Error, match=said):
            env.reset(**given_)
    assert (env.action_masks() == infos["action_mask"]).all()
    for given_, said in (
        ({"num_envs": 0}, "at least 1"),
        ({"autoreset_mode": "Disabled"}, "valid: NextStep, SameStep"),
        ({"render_mode": "ansi"}, "not rendered"),
        ({"masked": "no"}, "valid"),
    ):
        with pytest.raises(BadInput, match=said):
            ChangeRollbackVector(**({"num_envs": 2, "distribution": small()} | given_))


# -- Stable-Baselines3 -----------------------------------------------------------------------------


def test_sb3_gets_what_it_would_from_single_ones() -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv

    ours = TapeVecEnv(ChangeRollbackVector(MANY, distribution=small(), autoreset_mode="SameStep"))
    theirs = DummyVecEnv([lambda: ChangeRollback(distribution=small())] * MANY)
    ours.seed(4)
    theirs.seed(4)
    assert (ours.reset() == theirs.reset()).all()
    random, ended = np.random.default_rng(0), 0
    for _ in range(200):
        step = random.choice(len(ACTIONS), MANY, p=[0.6, 0.1, *[0.3 / 7] * 7])
        (a, b, c, mine), (x, y, z, told) = ours.step(step), theirs.step(step)
        assert (a == x).all() and (b == y).all() and (c == z).all()
        assert (b.dtype, c.dtype) == (y.dtype, z.dtype)
        for one, other in zip(mine, told, strict=True):
            if "terminal_observation" in other:
                ended += 1
                assert (one["terminal_observation"] == other["terminal_observation"]).all()
                assert one["end_state"] == other["end_state"]
            else:
                assert one == {}
        masks = np.stack(ours.env_method("action_masks"))
        assert (masks == np.stack(theirs.env_method("action_masks"))).all()
    assert ended > 50


def test_maskable_ppo_learns_on_it_and_never_does_what_is_masked() -> None:
    from sb3_contrib import MaskablePPO

    vector = ChangeRollbackVector(
        8, distribution=small(), autoreset_mode="SameStep", masked="error"
    )
    learner = MaskablePPO(
        "MlpPolicy", TapeVecEnv(vector), n_steps=32, batch_size=64, seed=1, device="cpu"
    )
    learner.learn(512)
    assert learner.num_timesteps == 512


def test_sb3_needs_episodes_that_begin_at_once() -> None:
    with pytest.raises(BadInput, match="SameStep"):
        TapeVecEnv(ChangeRollbackVector(2, distribution=small()))
    env = TapeVecEnv(ChangeRollbackVector(2, distribution=small(), autoreset_mode="SameStep"))
    with pytest.raises(AttributeError, match="no single environments"):
        env.env_method("render")
    with pytest.raises(AttributeError):
        env.set_attr("pool", None)
    assert env.get_attr("pool") == [small(), small()]
