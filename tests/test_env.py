"""One environment: what an episode is, what it costs, what can be seen, and what is refused.

The truth of the tapes is that of the workflow: `real` drives a whole run, its shadow beside it, by
the same decisions, and what came of that is compared.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import polars as pl
import pytest
from gymnasium import error
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tapes import (
    CUTTING,
    DEAF,
    DRAIN,
    SURGE,
    no_model,
    ring,
    small,
    taped,
    tapes,
)

from shadowsim.env.actions import ACTIONS, END_STATES, GO, PART, REFUSE, WAIT, WHOLE
from shadowsim.env.env import ChangeRollback
from shadowsim.env.evaluation import compared, evaluate
from shadowsim.env.harm import HARMS, KINDS, harm
from shadowsim.env.making import AFTERMATH_S, REHEARSED, tape
from shadowsim.env.observation import BOUND, observed, scaled
from shadowsim.env.policies import (
    Seen,
    always_go,
    at_random,
    by_forecast,
    by_hand,
    by_variant,
    never_go,
    oracle,
)
from shadowsim.env.pool import Pool, pool
from shadowsim.env.reward import PARTS, WEIGHTS, weights
from shadowsim.env.store import make, read_tapes
from shadowsim.env.tape import Tape
from shadowsim.env.worlds import EVERY_S, Setting
from shadowsim.errors import BadInput, ShadowsimError
from shadowsim.history.cases import change_at
from shadowsim.history.generate import generate
from shadowsim.history.generate import settings as history_settings
from shadowsim.history.looks import Observer
from shadowsim.history.simulate import Silent, simulate
from shadowsim.history.sites import Site, site
from shadowsim.history.store import MANIFEST
from shadowsim.journal import Journal
from shadowsim.model.intents import Intents, Limit
from shadowsim.model.truth import MODES, OUTAGE, Spell
from shadowsim.network import NETWORKS
from shadowsim.precog import variant
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import Model, Outlook
from shadowsim.precog.past import Past
from shadowsim.rollback.blame import Blame
from shadowsim.scenario import Scenario
from shadowsim.tapes_command import tapes as tapes_command
from shadowsim.workflow import Run, run_workflow
from shadowsim.workflow.phases import (
    NotInstalled,
    leave,
    read_again,
    roll_out,
    shadow_deployment,
    traffic_and_monitoring,
)
from shadowsim.workflow.watch import roll_back

ID = "shadowsim:shadowsim/ChangeRollback-v0"
SCENARIO = Path(__file__).parent.parent / "scenarios" / "square-then-busy.yml"


def made(**given: Any) -> ChangeRollback:
    env = gymnasium.make(ID, **({"distribution": small()} | given)).unwrapped
    assert isinstance(env, ChangeRollback)
    return env


def seen_of(found: Pool, looks: np.ndarray) -> Seen:
    return Seen(found.names, found.observations[looks], found.masks[looks], looks)


# -- gymnasium ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "imports",
    ["import gymnasium", "import shadowsim, gymnasium", "import shadowsim.workflow, gymnasium"],
)
def test_gymnasium_finds_it_whatever_is_imported_first(imports: str) -> None:
    script = f"{imports}\ngymnasium.make({ID!r}, scenario={str(SCENARIO)!r}).reset()"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_shadowsim_does_not_import_gymnasium() -> None:
    script = "import sys, shadowsim.commands; print({'gymnasium', 'numpy'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("mode", [None, "ansi", "rgb_array"])
@pytest.mark.parametrize("supervised", [False, True])
def test_both_checkers_have_nothing_to_say(mode: str | None, supervised: bool) -> None:
    from stable_baselines3.common.env_checker import check_env as check_for_sb3

    found = pool(tapes(), no_model() if supervised else None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(ID, distribution=found, render_mode=mode)
        check_env(env.unwrapped)
        check_for_sb3(env.unwrapped)


def rollout(env: ChangeRollback, seed: int, steps: int = 60) -> str:
    """A digest of all that a seeded walk gives, to the last bit."""
    digest, random = hashlib.sha256(), np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    for _ in range(steps):
        digest.update(observation.tobytes() + repr((info["look"], info["reward_parts"])).encode())
        action = int(random.choice(np.flatnonzero(info["action_mask"])))
        observation, reward, over, _, info = env.step(action)
        digest.update(repr((reward, over)).encode())
        if over:
            observation, info = env.reset()
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_bits_in_another_process() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from test_env import ChangeRollback, rollout\n"
        f"print(rollout(ChangeRollback({str(SCENARIO)!r}), 5))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == rollout(ChangeRollback(SCENARIO), 5)
    assert rollout(made(), 5) != rollout(made(), 6)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, len(ACTIONS) - 1), max_size=40))
@settings(deadline=None)
def test_an_episode_keeps_its_promises(seed: int, actions: list[int]) -> None:
    env = made()
    observation, info = env.reset(seed=seed)
    assert info["reward_parts"] == dict.fromkeys(PARTS, 0.0)
    over = False
    for action in actions:
        assert env.observation_space.contains(observation)
        mask, look = info["action_mask"], info["look"]
        assert (mask == env.action_masks()).all()
        assert mask[WAIT] and mask[GO] == mask[REFUSE] != mask[WHOLE]
        observation, reward, over, cut, info = env.step(action)
        assert not cut
        assert reward == sum(info["reward_parts"].values()) <= 0.0
        assert max(info["reward_parts"].values()) <= 0.0
        if not mask[action]:
            assert reward == env.pool.reward[look, WAIT]
        assert over == ("end_state" in info)
        if over:
            assert info["end_state"] in END_STATES[1:]
            break
    if over:
        with pytest.raises(error.ResetNeeded, match="call reset"):
            env.step(WAIT)
        env.reset()


def test_waiting_to_the_end_lapses_and_after_go_confirms() -> None:
    env = made()
    for first, state in ((WAIT, "lapsed"), (GO, "confirmed")):
        env.reset(options={"episode": 0})
        _, _, over, _, info = env.step(first)
        while not over:
            _, _, over, _, info = env.step(WAIT)
        assert info["end_state"] == state
        assert (info["reward_parts"]["needless_refusal"] < 0.0) == (state == "lapsed")


# -- what it costs --------------------------------------------------------------------------------


def test_every_part_of_the_reward_is_paid_for_what_it_is_named_after() -> None:
    found = small()
    well, cut, opened, busy = (int(first) for first in found.first)
    last = found.to[well, WAIT]

    def part(look: int, action: int, name: str) -> float:
        return -float(found.parts[look, action, PARTS.index(name)])

    assert part(well, REFUSE, "needless_refusal") == WEIGHTS["needless_refusal"]
    assert part(cut, REFUSE, "needless_refusal") == 0.0
    assert part(well, WAIT, "delay") == pytest.approx(WEIGHTS["delay"] * 5.0, abs=1e-3)
    assert part(last, WAIT, "needless_refusal") == WEIGHTS["needless_refusal"]
    for start in (well, cut, opened, busy):
        assert found.reward[start, GO] > -12.0
    look = found.to[well, GO]
    assert part(look, WHOLE, "needless_rollback") == WEIGHTS["needless_rollback"]
    look = found.to[cut, GO]
    looks = np.flatnonzero(found.episode == 1)
    assert found.masks[looks, PART].any()
    assert part(look, WHOLE, "misnamed") == WEIGHTS["misnamed"]
    assert part(look, WHOLE + MODES.index(OUTAGE), "misnamed") == 0.0
    assert part(look, WHOLE, "needless_rollback") == 0.0
    confirmed = evaluate(always_go, found)
    assert confirmed["cost_outage"].to_list()[1] > 70.0
    assert confirmed["cost_exposures"].to_list() == [0.0, 0.0, 10.0, 0.0]
    assert confirmed["cost_link_limit"].to_list()[3] > 1.0
    assert confirmed["cost"].to_list()[0] == 0.0


def test_weights_are_multiplied_and_named() -> None:
    twice = pool(tapes(), None, {"outage": 2.0})
    place = PARTS.index("outage")
    assert (twice.parts[:, :, place] == 2.0 * small().parts[:, :, place]).all()
    with pytest.raises(BadInput, match="did you mean 'outage'"):
        weights({"outrage": 1.0})
    for bad in (-1.0, float("nan")):
        with pytest.raises(BadInput, match="from 0 on"):
            weights({"outage": bad})


NAMED = ("x", "y")
LIMITS = (Limit("latency", 0.1, "bulk"), Limit("utilisation", 0.9))
SLOW = frozenset(limit.name for limit in LIMITS)
things = st.frozensets(st.sampled_from(NAMED))
truths = st.lists(
    st.tuples(things, things, st.frozensets(st.sampled_from(sorted(SLOW)))), max_size=12
)


def spells_of(rows: Any) -> list[Spell]:
    return [Spell(float(i), i + 1.0, *row) for i, row in enumerate(rows)]


@given(truths, truths, st.integers(0, 12), st.integers(0, 12))
def test_harm_is_what_a_walk_second_by_second_counts(mine: Any, twin: Any, a: int, b: int) -> None:
    """In steps of a second the slack of 2 s is two steps to either side."""
    found = harm(spells_of(mine), spells_of(twin), Intents((), LIMITS))
    low, high = min(a, b), max(a, b)

    def left(step: int, aspect: int) -> set[str]:
        near = range(max(step - 2, 0), min(step + 3, len(twin)))
        return set(mine[step][aspect]) - {n for other in near for n in twin[other][aspect]}

    expected = dict.fromkeys(HARMS, 0.0)
    for step in range(low, min(high, len(mine))):
        slow = left(step, 2)
        expected["outage"] += bool(left(step, 0))
        expected["exposed"] += bool(left(step, 1))
        expected["bulk_limit"] += LIMITS[0].name in slow
        expected["link_limit"] += LIMITS[1].name in slow
        before = left(step - 1, 1) if step else set()
        expected["exposures"] += len(left(step, 1) - before)
    assert found.between(low, high).tolist() == [expected[name] for name in HARMS]
    if 0 < high <= len(mine):
        lasts = found.lasting(high, 10.0)
        assert lasts[KINDS.index("outage")] == 10.0 * bool(left(high - 1, 0))


# -- the truth of a tape is that of the workflow ---------------------------------------------------


def real(scenario: Scenario, setting: Setting, one: Tape, go: int, place: int | None) -> np.ndarray:
    """The harm if the whole workflow, with its shadow, goes after look `go` of the trial and takes
    everything back at look `place` in production; if that is None, never.
    """
    shadow_s = min(5.0 * (go + 1), scenario.workflow.shadow_s)
    earlier = replace(scenario, workflow=replace(scenario.workflow, shadow_s=shadow_s))
    run = Run(earlier, NETWORKS["simulated"], Silent(), setting.whatif, Journal())
    run.begin()
    if shadow_deployment(run):
        traffic_and_monitoring(run)
    read_again(run)
    go_s, looks = run.now, [0]

    def decide(run: Run) -> bool:
        run.predict("production")
        if run.now - go_s < EVERY_S * (looks[0] + 1) - 1e-9:
            return False
        looks[0] += 1
        if looks[0] - 1 != place:
            return False
        return roll_back(run, OUTAGE, Blame(True, run.deployed, True, "scripted"))

    try:
        goes_on = roll_out(run, decide)
    except NotInstalled:
        goes_on = True
    if goes_on:
        leave(run, decide)
    rows = np.flatnonzero(one.world == go)
    end_s = go_s + float(one.since_s[rows[-1]])
    until_s = max(end_s, run.now)
    run.advance(until_s - run.now)
    run.production.close()
    run.shadow.close()
    twin = NETWORKS["simulated"](scenario, scenario.configs, "production")
    twin.advance(until_s)
    found = harm(run.production.spells(), twin.spells(), scenario.intents)
    return found.between(go_s, until_s) + found.lasting(until_s, AFTERMATH_S)


def told(one: Tape, go: int, place: int | None) -> np.ndarray:
    """The harm of the same decisions by the tape."""
    rows = np.flatnonzero(one.world == go)
    waited = rows if place is None else rows[:place]
    found = one.acting[go] + one.waiting[waited].sum(axis=0)
    return (found if place is None else found + one.acting[rows[place]])[: len(HARMS)]


SITES = ((0, "known"), (3, "known"))  # Abilene and Polska: small, so quick
CHANGES = 8


@cache
def where(number: int, fold: str) -> Site:
    return site(11, number, fold)


@cache
def driven() -> tuple[tuple[str, bool, np.ndarray, np.ndarray], ...]:
    """Of some dozen episodes: which, whether it is simulated ahead itself, told, and real."""
    found, random = [], np.random.default_rng(8)
    for number, fold in SITES:
        for index in range(CHANGES):
            scenario = change_at(where(number, fold), index).scenario
            setting = Setting.of(scenario, Past())
            one = tape(setting)
            for kind in ("left", "exact", "between"):
                go = int(random.integers(one.trial))
                looks = int((one.world == go).sum())
                place: int | None = None
                if kind != "left":
                    place = int(random.integers(looks))
                    place -= place % REHEARSED if kind == "exact" else 0
                exact = place is None or place % REHEARSED == 0
                name = f"{number}/{index}: go {go}, back {place}"
                found.append(
                    (name, exact, told(one, go, place), real(scenario, setting, one, go, place))
                )
    return tuple(found)


def test_what_is_simulated_ahead_costs_what_the_workflow_costs_to_the_last_digit() -> None:
    exact = [row for row in driven() if row[1]]
    assert len(exact) >= 2 * len(SITES) * CHANGES
    assert sum(mine.any() for _, _, mine, _ in exact) >= 6
    for name, _, mine, truth in exact:
        np.testing.assert_allclose(mine, truth, atol=1e-6, err_msg=name)


def test_rollbacks_in_between_cost_about_what_they_cost_in_the_workflow() -> None:
    weight = weights()[: len(HARMS)]
    between = {
        name: (mine @ weight, truth @ weight) for name, exact, mine, truth in driven() if not exact
    }
    off = [name for name, (a, b) in between.items() if abs(a - b) > max(1.0, 0.1 * b)]
    assert len(between) >= 10
    assert len(off) <= 0.1 * len(between), off


def test_the_workflow_left_to_itself_ends_as_the_same_decisions_do_here() -> None:
    """It rehearses in between, and looks every second; so costs agree to some seconds of harm."""
    scenario = ring(DRAIN, SURGE.replace("30", "45"), monitor_s=40.0)
    whatif = setting_of(scenario).whatif
    run = Run(scenario, NETWORKS["simulated"], variant("always-go", whatif), whatif, Journal())
    run_workflow(run)
    assert (run.decision, run.end_state) == ("go", "rolled_back")
    assert run.triggered_s is not None
    one = taped(scenario)
    go, rows = one.trial - 1, np.flatnonzero(one.world == one.trial - 1)
    go_s = run.trial_since_s + float(one.since_s[go])
    place = int(np.argmax(go_s + one.since_s[rows] >= run.triggered_s))
    twin = NETWORKS["simulated"](scenario, scenario.configs, "production")
    twin.advance(run.now)
    truth = harm(run.production.spells(), twin.spells(), scenario.intents).between(go_s, run.now)
    weight = weights()[: len(HARMS)]
    assert told(one, go, place) @ weight == pytest.approx(truth @ weight, abs=2.0)
    assert one.restored[rows[place], 0]


def setting_of(scenario: Scenario) -> Setting:
    return Setting.of(scenario, Past())


def test_a_device_that_does_not_answer_makes_a_rollback_that_restores_nothing() -> None:
    one = taped(ring(CUTTING, DEAF, monitor_s=15.0))
    assert not one.restored[one.world >= 0, 0].all()
    ends = pool([one]).ends[:, WHOLE]
    assert {END_STATES[end] for end in ends[one.world >= 0]} >= {"halted"}


def test_labels_are_those_of_history() -> None:
    for number, fold in SITES[:1]:
        for index in range(4):
            scenario = change_at(where(number, fold), index).scenario
            setting = setting_of(scenario)
            observer = Observer(
                setting.whatif, setting.featurizer, {"script": variant("script", setting.whatif)}
            )
            label = simulate(scenario, Past(), observer, ()).label
            one = tape(setting)
            came = {mode for mode, it in zip(MODES, one.came[one.trial - 1], strict=True) if it}
            assert came == set(label.came_at_s)


# -- nothing hidden is seen ------------------------------------------------------------------------


def test_what_comes_later_is_not_seen_before() -> None:
    """The same change with and without a fault to come: all is alike until it strikes."""
    at_s = 30.0
    late = [taped(ring(DRAIN, *faults)) for faults in ((), (SURGE,))]
    with_, without = (pool([one]) for one in late)
    start_s = 8.0 + float(late[0].since_s[0]) - 5.0  # of the trial: the baseline, then the change
    assert (late[0].world == late[1].world).all()
    begins_s = start_s + 5.0 * (late[0].world + 1)
    now_s = np.where(late[0].world < 0, 0.0, begins_s + late[0].since_s)
    before = now_s < at_s - 1.0
    assert 2 < before.sum() < len(before)
    assert (with_.observations[before] == without.observations[before]).all()
    assert (with_.masks[before] == without.masks[before]).all()
    assert not (with_.observations[~before] == without.observations[~before]).all()


def test_observations_and_masks_are_made_without_the_truth() -> None:
    """Whatever the truth of a tape is, nothing that an agent sees differs."""
    for one in tapes():
        lie = replace(
            one,
            waiting=one.waiting + 1.0,
            acting=2.0 - one.acting,
            parting=one.parting + one.since_s[:, None],
            came=~one.came,
            restored=~one.restored,
        )
        true, false = pool([one], no_model()), pool([lie], no_model())
        assert (true.observations == false.observations).all()
        assert (true.masks == false.masks).all()
        assert (true.to == false.to).all()
        assert not (true.parts == false.parts).all()


def test_what_the_truth_says_does_not_move_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who looks asks a network for its truth: of each it is read once, when it is closed."""
    from shadowsim.network.simulated import SimulatedNetwork

    asked: list[bool] = []
    truth = SimulatedNetwork.spells

    def watched(network: SimulatedNetwork) -> Any:
        asked.append(network._closed)
        return truth(network)

    monkeypatch.setattr(SimulatedNetwork, "spells", watched)
    taped(ring(CUTTING))
    assert asked and all(asked)


def test_observations_are_named_scaled_and_bounded() -> None:
    found = pool(tapes(), no_model())
    assert found.names == observed(True) and len(found.names) == found.observations.shape[1]
    assert found.observations.dtype == np.float32
    assert np.abs(found.observations).max() <= BOUND
    assert scaled([0.0, 1.0, -1.0, 1e9]).tolist() == pytest.approx(
        [0.0, np.log(2), -np.log(2), BOUND]
    )
    one = tapes()[1]
    missing = found.observations[found.episode == 1][:, found.names.index("missing")]
    assert missing == pytest.approx(np.log1p(np.isnan(one.features).mean(axis=1)))
    chance = no_model().look(one.features[:1], "shadow").probabilities[0]
    at = found.names.index(f"p_{MODES[0]}")
    assert found.observations[found.first[1], at : at + 3] == pytest.approx(np.log1p(chance))
    assert observed(False) == found.names[: len(observed(False))]


# -- what is refused -------------------------------------------------------------------------------


def test_a_model_that_gives_no_probability_is_refused() -> None:
    for bad in (float("nan"), -0.1, 1.1):
        with pytest.raises(ShadowsimError, match="no probability"):
            pool(tapes(), cast("Model", Told(bad)))


@dataclass(frozen=True)
class Told:
    """A model that says the same of everything."""

    chance: float

    def look(self, x: np.ndarray, phase: str) -> Outlook:
        shape = len(x), len(MODES)
        return Outlook(np.full(shape, self.chance), np.zeros(shape, bool), x[:, 0], np.zeros(shape))


@pytest.mark.parametrize("action", [-1, len(ACTIONS), 1.5, "go", True, None])
def test_an_action_that_is_none_is_refused_and_nothing_has_happened(action: Any) -> None:
    env = made()
    env.reset(seed=1)
    with pytest.raises(error.InvalidAction, match=f"0 to {len(ACTIONS) - 1}"):
        env.step(action)
    assert env.step(WAIT)[4]["look"] == small().to[small().first[env.pool.episode[env._look]], WAIT]


def test_a_masked_action_is_refused_where_that_is_wanted() -> None:
    env = made(masked="error")
    env.reset(seed=1)
    with pytest.raises(error.InvalidAction, match="masked now; valid: 0 wait, 1 go, 2 refuse"):
        env.step(WHOLE)
    env.step(GO)
    with pytest.raises(error.InvalidAction, match="masked now; valid: 0 wait, 3 roll back whole"):
        env.step(GO)


def test_nothing_can_be_done_before_reset() -> None:
    env = ChangeRollback(distribution=small())
    for call in (lambda: env.step(WAIT), env.action_masks):
        with pytest.raises(error.ResetNeeded):
            call()
    with pytest.raises(error.Error, match="no episode 4: they are 0 to 3"):
        env.reset(options={"episode": 4})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "either scenario= .* or distribution="),
        ({"scenario": SCENARIO, "distribution": "x"}, "either"),
        ({"scenario": "gone.yml"}, "gone.yml"),
        ({"distribution": "gone"}, "no tapes"),
        ({"distribution": {"network": "known"}}, "did you mean 'networks'"),
        ({"distribution": {"changes": -1}}, "from 0 on"),
        ({"distribution": {"changes": 0}}, "at least one"),
        ({"distribution": {"networks": "unknown"}}, "valid: all, known, unseen, validation"),
        ({"scenario": SCENARIO, "masked": "ignore"}, "valid: error, wait"),
        ({"scenario": SCENARIO, "render_mode": "rgb"}, "valid: ansi, human, rgb_array"),
    ],
)
def test_what_cannot_be_built_is_said_in_words(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BadInput, match=said):
        ChangeRollback(**given)
    assert list(tmp_path.iterdir()) == []


# -- folders of tapes ------------------------------------------------------------------------------


def same(one: Tape, other: Tape) -> bool:
    arrays = (
        "world",
        "since_s",
        "left",
        "has_part",
        "waiting",
        "acting",
        "parting",
        "came",
        "restored",
    )
    return (
        (one.network, one.kind) == (other.network, other.kind)
        and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in arrays)
        and np.allclose(one.features, other.features, rtol=1e-6, equal_nan=True)
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_holds_the_tapes_of_a_history_and_is_gone_on_with(
    tmp_path: Path, jobs: int
) -> None:
    told: list[tuple[int, int]] = []
    make(tmp_path / "t", 2, 11, "known", jobs, lambda *progress: told.append(progress))
    assert told == [(0, 2), (2, 2)]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()}
    make(tmp_path / "t", 2, 11, "known", jobs, lambda *progress: told.append(progress))
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()}
    found = read_tapes(tmp_path / "t")
    setting = setting_of(change_at(where(0, "known"), 0).scenario)
    one = tape(setting, where(0, "known").network, change_at(where(0, "known"), 0).kind)
    assert len(found) == 2 and same(found[0], one)
    with pytest.raises(BadInput, match="seed 11, now 12"):
        make(tmp_path / "t", 2, 12, "known", 1, lambda done, of: None)
    env = ChangeRollback(distribution=tmp_path / "t")
    assert len(env.pool) == 2
    env.reset(seed=0)
    (tmp_path / "t" / "labels-00000.parquet").unlink()
    with pytest.raises(BadInput, match="unfinished"):
        read_tapes(tmp_path / "t")


def test_the_command_makes_tapes_of_as_many_networks_as_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "t"
    tapes_command(
        changes=2, networks="known", per_site=1, seed=11, out=folder, jobs=1, as_json=True
    )
    told = json.loads(capsys.readouterr().out)
    found = read_tapes(folder)
    wanted = {"networks": "known", "seed": 11, "changes": 2, "out": str(folder)}
    assert {name: told[name] for name in wanted} == wanted
    assert told["failing"] == sum(one.failed for one in found)
    assert [one.network for one in found] == [where(n, "known").network for n in (0, 1)]
    assert list(pl.read_parquet(folder / "labels-*.parquet")["case"]) == [0, 20]
    with pytest.raises(BadInput, match="per_site 1, now 2"):
        make(folder, 2, 11, "known", 1, lambda done, of: None, per_site=2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"networks": "knwon"}, "--networks: there is no 'knwon'; did you mean 'known'"),
        ({"per_site": 21}, "a site has 1 to 20 changes, not 21"),
        ({"per_site": 0}, "a site has 1 to 20 changes, not 0"),
    ],
)
def test_tapes_that_cannot_be_made_are_said_in_words(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=said):
        tapes_command(changes=2, out=tmp_path / "t", as_json=True, **given)
    assert not (tmp_path / "t").exists()


def test_what_is_seen_and_what_is_not_are_in_files_of_their_own(tmp_path: Path) -> None:
    make(tmp_path / "t", 1, 11, "known", 1, lambda done, of: None)
    looks = pl.read_parquet(tmp_path / "t" / "looks-00000.parquet")
    mine = ["case", "network", "kind", "phase", "world", "since_s", "left", "has_part"]
    assert looks.columns == [*mine, *NAMES]


def test_a_plain_history_is_no_pool(tmp_path: Path) -> None:
    made = history_settings(1, 11, "training")
    generate(tmp_path / "h", made, 1, lambda done, of: None)
    assert (tmp_path / "h" / MANIFEST).exists()
    with pytest.raises(BadInput, match="not tapes"):
        read_tapes(tmp_path / "h")


def test_a_distribution_is_made_on_first_use_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = {"networks": "known", "seed": 11, "changes": 1}
    first = ChangeRollback(distribution=wanted)
    (folder,) = (tmp_path / "shadowsim" / "tapes").iterdir()
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    second = ChangeRollback(distribution=wanted)
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert (first.pool.observations == second.pool.observations).all()


# -- to look at -----------------------------------------------------------------------------------


def test_an_episode_can_be_read_and_seen() -> None:
    env = made(render_mode="ansi")
    env.reset(options={"episode": 1})
    assert "ring: shadow" in env.render()
    env.step(GO)
    assert "ring: production" in env.render()
    env.step(WAIT)
    env.step(WAIT)
    env.step(WHOLE + MODES.index(OUTAGE))
    text = env.render()
    assert "ended: rolled_back" in text and "roll back whole: service_outage" in text
    assert "outage" in text.split("cost:")[1]
    pictures = made(render_mode="rgb_array")
    pictures.reset(options={"episode": 1})
    one = pictures.render()
    pictures.step(GO)
    other = pictures.render()
    assert one.shape == other.shape == (480, 640, 3) and one.dtype == np.uint8
    assert (one != other).any()


def test_the_live_view_shows_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    env = made(render_mode="human")
    env.reset(options={"episode": 1})
    env.step(GO)
    assert env.render() is None
    env.close()
    env.close()
    assert "ring: production" in capsys.readouterr().out


# -- policies -------------------------------------------------------------------------------------


def test_costs_add_up_and_nobody_is_better_than_the_oracle() -> None:
    found = pool(tapes(), no_model())
    policies = {
        "random": at_random(3), "always go": always_go, "never go": never_go, "by hand": by_hand,
        "forecast": by_forecast(0.9, 0.9), "oracle": oracle(found),
    }  # fmt: skip
    tables = {name: evaluate(policy, found) for name, policy in policies.items()}
    for table in tables.values():
        parts = table.select(f"cost_{name}" for name in PARTS)
        assert table["cost"].to_numpy() == pytest.approx(parts.sum_horizontal().to_numpy())
        assert (table["cost"] >= tables["oracle"]["cost"] - 1e-6).all()
    assert tables["oracle"]["cost"].max() < 1.0
    assert evaluate(at_random(3), found).equals(tables["random"])
    told = compared(tables)
    assert told["policy"].to_list() == list(policies)
    assert told["cost"][1] == pytest.approx(tables["always go"]["cost"].mean())


def test_an_evaluation_is_what_the_environment_gives() -> None:
    found = small()
    for policy in (by_hand, always_go, oracle(found)):
        costs = []
        env = made()
        for episode in range(len(found)):
            _, info = env.reset(options={"episode": episode})
            over, total = False, 0.0
            while not over:
                action = int(policy(seen_of(found, np.array([info["look"]])))[0])
                _, reward, over, _, info = env.step(action)
                total -= reward
            costs.append(total)
        assert evaluate(policy, found)["cost"].to_list() == pytest.approx(costs)


def test_the_rule_by_hand_stops_what_the_script_shows_and_lets_the_rest_go() -> None:
    table = evaluate(by_hand, small())
    assert table["end_state"].to_list() == ["confirmed", "refused", "refused", "rolled_back"]
    assert (table["cost_misnamed"] == 0.0).all()


def test_what_a_variant_says_is_followed_as_the_models_forecast_is() -> None:
    """Who says what the model says does what the model's policy does, and nan is no pass."""
    found, model = pool(tapes(), no_model()), no_model()
    said = np.full((len(found.masks), len(MODES)), np.nan)
    for one, first in zip(tapes(), found.first, strict=True):
        for phase, rows in (("shadow", one.world < 0), ("production", one.world >= 0)):
            said[first + np.flatnonzero(rows)] = model.probabilities(one.features[rows], phase)
    for bounds in ((0.5, 0.5), (0.99, 0.01), (0.01, 0.99)):
        policies = by_forecast(*bounds), by_variant(said, *bounds)
        mine, other = (evaluate(policy, found) for policy in policies)
        assert mine.equals(other)
    silent = evaluate(by_variant(np.full_like(said, np.nan), 1.0, 1.0), found)
    assert set(silent["end_state"]) == {"refused"}


def test_a_forecast_has_to_be_among_what_is_observed() -> None:
    with pytest.raises(BadInput, match="make the pool with it"):
        evaluate(by_forecast(0.5, 0.5), small())
    found = pool(tapes(), no_model())
    strict, lax = (evaluate(by_forecast(bound, bound), found) for bound in (0.5, 0.99))
    assert (strict["end_state"] == "refused").all()
    assert lax["end_state"].to_list() == ["confirmed", "rolled_back", "rolled_back", "rolled_back"]
    assert (lax["cost_misnamed"] == 0.0).all()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (lambda seen: np.full(len(seen.looks), WHOLE), "masked: roll back whole"),
        (lambda seen: np.full(len(seen.looks), 99), "no action 99"),
        (lambda seen: np.zeros(1, np.int64), "4 whole numbers"),
        (lambda seen: np.zeros(len(seen.looks)), "whole numbers"),
    ],
)
def test_a_policy_that_does_what_cannot_be_done_is_refused(policy: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        evaluate(policy, small())
