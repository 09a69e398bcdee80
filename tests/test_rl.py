"""Learned policies: what they are learned with, that nothing is lost, and what is let in again."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tapes import CUTTING, DRAIN, HARMLESS, SURGE, no_model, ring, small, tapes

from shadowsim.env.evaluation import evaluate
from shadowsim.env.making import tape
from shadowsim.env.policies import oracle
from shadowsim.env.pool import OVER, Pool, pool
from shadowsim.env.worlds import Setting
from shadowsim.errors import BadInput
from shadowsim.journal import Journal
from shadowsim.network import NETWORKS
from shadowsim.precog import Evidence, Forecast, policy_file
from shadowsim.precog.actions import ACTIONS, GO, PART, REFUSE, WAIT, WHOLE, masks
from shadowsim.precog.features import Featurizer
from shadowsim.precog.model import Model
from shadowsim.precog.observation import PART as PART_NAME
from shadowsim.precog.observation import observed
from shadowsim.precog.past import Past
from shadowsim.precog.policy import TOLD, Policy
from shadowsim.precog.rl import Rl, observation
from shadowsim.rl import checkpoint
from shadowsim.rl.fine_tune import MOST_STEPS, expected, fine_tune, future, tuned
from shadowsim.rl.learner import also_from_production, learner, policy_of, told
from shadowsim.rl.settings import ALGORITHMS, ENVIRONMENT, Settings, parse
from shadowsim.rl.settings import settings as built_in
from shadowsim.rl.standard import Standard
from shadowsim.rl.training import BEST, Plan, acting, trained
from shadowsim.train_rl_command import train_rl
from shadowsim.workflow import Run, run_workflow
from shadowsim.workflow.phases import leave, roll_out

TINY: Mapping[str, Mapping[str, Any]] = {
    "ppo": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
    "ppo_mask": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
    "dqn": {"buffer_size": 600, "learning_starts": 40, "batch_size": 32, "train_freq": 2,
            "target_update_interval": 50},
    "qrdqn": {"buffer_size": 600, "learning_starts": 40, "batch_size": 32, "train_freq": 2,
              "target_update_interval": 50},
}  # fmt: skip


class Kept:
    """A run that keeps the numbers it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.told.append((step, dict(values)))

    def figure(self, figure: Any, name: str) -> None: ...

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def model(self, path: Path, name: str) -> None: ...


def tiny(algorithm: str) -> Settings:
    quantiles = 5 if algorithm == "qrdqn" else None
    return Settings(algorithm, 4, 100, 0.05, TINY[algorithm], (8, 8), "tanh", quantiles)


def plan(algorithm: str, steps: int, **given: Any) -> Plan:
    usual = {"checkpoint_every": 64, "evaluate_every": 32, "log_every": 32}
    return Plan(tiny(algorithm), steps, 3, **{**usual, **given})


def train(
    of: Plan, folder: Path, episodes: Pool | None = None, *, resume: bool = False
) -> tuple[Policy, Kept]:
    kept, found = Kept(), small() if episodes is None else episodes
    return trained(of, found, found, folder, kept, lambda done, of: None, resume=resume), kept


def a_policy(seed: int = 0, **given: Any) -> Policy:
    random = np.random.default_rng(seed)
    sizes = [len(TOLD[:-6]), 6, len(ACTIONS)]
    weights = [random.normal(size=(b, a)).astype(np.float32) for a, b in pairwise(sizes)]
    biases = [random.normal(size=b).astype(np.float32) for b in sizes[1:]]
    usual = {
        "algorithm": "ppo_mask", "names": TOLD[:-6], "drawn": True, "masked": True,
        "activation": "tanh", "weights": tuple(weights), "biases": tuple(biases),
    }  # fmt: skip
    return Policy(**{**usual, **given})


# -- hyperparameters


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_those_built_in_can_be_read(algorithm: str) -> None:
    assert built_in(algorithm).algorithm == algorithm


def written(**given: str) -> str:
    lines = {"n_envs": "4", "n_timesteps": "1e3", "reward_scale": "1", **given}
    return f"{ENVIRONMENT}:\n" + "".join(f"  {n}: {v}\n" for n, v in lines.items())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gama": "0.9"}, r"h.yml:5: ppo has no 'gama'; did you mean 'gamma'"),
        ({"gamma": "1.5"}, r"'gamma' must be a number from 0 to 1, not 1.5"),
        ({"n_steps": "2.5"}, "'n_steps' must be a whole number from 1"),
        ({"n_steps": "yes"}, "'n_steps' must be a whole number"),
        ({"normalize": "1"}, "'normalize' must be yes or no"),
        ({"learning_rate": "lin_"}, "from 0 to 1, or lin_X, not 'lin_'"),
        ({"learning_rate": "exp_1"}, "or lin_X"),
        ({"learning_rate": "lin_5"}, "from 0 to 1"),
        ({"learning_rate": "'lambda p: p'"}, "or lin_X"),
        ({"ent_coef": ".nan"}, "ent_coef"),
        ({"buffer_size": "10"}, "ppo has no 'buffer_size'"),
        ({"policy": "CnnPolicy"}, "must be MlpPolicy"),
        ({"policy_kwargs": "dict(net_arch=[64])"}, "wanted a mapping"),
        ({"policy_kwargs": "{net_arch: [0]}"}, "widths from 1"),
        ({"policy_kwargs": "{activation_fn: nn.Tanh}"}, "no activation 'nn.Tanh'"),
        ({"policy_kwargs": "{n_quantiles: 5}"}, "there is no 'n_quantiles'"),
        ({"n_envs": "!!python/object/apply:os.getpid []"}, "h.yml:2"),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse("ppo", written(**given), "h.yml")


def test_every_mistake_is_told() -> None:
    with pytest.raises(BadInput) as found:
        parse("dqn", "other: 1\n", "h.yml")
    assert len(found.value.mistakes) == 4
    with pytest.raises(BadInput, match="did you mean 'ppo_mask'"):
        built_in("pp_mask")


def test_a_schedule_falls_to_nothing() -> None:
    found = parse("ppo", written(learning_rate="lin_0.002", n_steps="8", batch_size="32"))
    schedule = learner(found, told(small()), 0).lr_schedule
    assert [schedule(left) for left in (1.0, 0.5, 0.0)] == pytest.approx([0.002, 0.001, 0.0])


# -- what is learned


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_policy_without_torch_is_that_of_torch(algorithm: str) -> None:
    """Probabilities to 1e-6, and the same of all that can be done."""
    episodes = told(small())
    learned = learner(tiny(algorithm), episodes, 5)
    policy = policy_of(learned, tiny(algorithm), episodes.names, 5)
    seen = torch.from_numpy(episodes.observations)
    parts: Any = learned.policy
    with torch.no_grad():
        if algorithm == "ppo_mask":
            theirs = parts.get_distribution(seen, action_masks=episodes.masks).distribution.probs
        elif algorithm == "ppo":
            theirs = parts.get_distribution(seen).distribution.probs
        elif algorithm == "dqn":
            theirs = parts.q_net(seen)
        else:
            theirs = parts.quantile_net(seen).mean(dim=1)
    if algorithm == "ppo_mask":
        ours = policy.probabilities(episodes.observations, episodes.masks)
    elif algorithm == "ppo":
        ours = policy.probabilities(episodes.observations, np.ones_like(episodes.masks))
    else:
        ours = policy.scores(episodes.observations)
    assert np.abs(ours - theirs.numpy()).max() < 1e-6


def test_a_policy_on_standard_numbers_reads_plain_ones() -> None:
    episodes = told(small())
    standard = Standard.of(episodes)
    shown = standard.shown(episodes)
    differing = standard.scale > 0.0
    assert np.abs(shown.observations.mean(axis=0)).max() < 1e-5
    assert shown.observations[:, differing].std(axis=0) == pytest.approx(1.0, abs=1e-4)
    assert not shown.observations[:, ~differing].any()
    policy = policy_of(learner(tiny("ppo_mask"), shown, 5), tiny("ppo_mask"), episodes.names, 5)
    plain = standard.within(policy)
    found = plain.probabilities(episodes.observations, episodes.masks)
    wanted = policy.probabilities(shown.observations, episodes.masks)
    assert np.abs(found - wanted).max() < 1e-5
    strange = episodes.observations + 8.0 * ~differing  # what was always the same is not read
    assert plain.probabilities(strange, episodes.masks) == pytest.approx(found, abs=1e-5)


def test_half_of_the_episodes_begin_in_production() -> None:
    episodes = told(small())
    twice = also_from_production(episodes)
    assert len(twice) == 2 * len(episodes) == len(twice.networks) == len(twice.failed)
    production = episodes.observations[:, episodes.names.index("telemetry_production")] > 0.0
    assert production[twice.first].tolist() == [False] * len(episodes) + [True] * len(episodes)
    assert twice.episode[twice.first].tolist() == [*range(len(episodes))] * 2
    how = replace(tiny("ppo_mask"), production_starts=True)
    environment: Any = learner(how, episodes, 0).get_env()
    assert len(environment.vector.pool) == len(twice)


def test_it_learns_what_pays() -> None:
    """On four changes that it sees again and again, it comes near to who knows all."""
    quick = {"n_steps": 32, "batch_size": 256, "n_epochs": 4, "learning_rate": 0.003, "gamma": 1.0}
    how = replace(tiny("ppo_mask"), n_envs=64, hidden=(32,), arguments={**quick, "ent_coef": 0.05})
    episodes = told(small())
    learned = learner(how, episodes, 1)
    begun = policy_of(learned, how, episodes.names, 1)
    learned.learn(20_000)
    policy = policy_of(learned, how, episodes.names, 1)
    first, last, best = (
        float(evaluate(one, episodes)["cost"].to_numpy().mean())
        for one in (acting(begun), acting(policy), oracle(episodes))
    )
    assert last < best + 0.2 * (first - best)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_going_on_from_a_checkpoint_changes_nothing(
    algorithm: str, normalize: bool, tmp_path: Path
) -> None:
    of = plan(algorithm, 320)
    of = replace(of, settings=replace(of.settings, normalize=normalize))
    whole, _ = train(of, tmp_path / "whole")

    class Interrupted(Exception): ...

    def interrupt(done: int, of: int) -> None:
        if done >= 200:
            raise Interrupted

    halves = tmp_path / "halves"
    with pytest.raises(Interrupted):
        trained(of, small(), small(), halves, Kept(), interrupt)
    assert 0 < int(checkpoint.checkpoints(halves)[-1].stem[-12:]) < 320
    again, kept = train(of, halves, resume=True)
    assert policy_file.to_bytes(again) == policy_file.to_bytes(whole)
    assert last_weights(halves) == last_weights(tmp_path / "whole")
    assert min(step for step, _ in kept.told) >= 64


def last_weights(folder: Path) -> str:
    found = torch.load(checkpoint.checkpoints(folder)[-1], weights_only=True)
    data = [t.numpy().tobytes() for t in found["parameters"]["policy"].values()]
    return hashlib.sha256(b"".join(data)).hexdigest()


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    train(plan("ppo", 64), tmp_path)
    with pytest.raises(BadInput, match="--resume goes on"):
        train(plan("ppo", 64), tmp_path)
    with pytest.raises(BadInput, match="with other seed"):
        train(replace(plan("ppo", 64), seed=4), tmp_path, resume=True)
    with pytest.raises(BadInput, match="with other pool, validation"):
        train(plan("ppo", 64), tmp_path, pool(tapes()[:2]), resume=True)


def test_the_best_is_kept_and_it_may_end_early(tmp_path: Path) -> None:
    found, kept = train(plan("ppo", 100_000, patience=3), tmp_path)
    curve = [v["validation/cost"] for _, v in kept.told if "validation/cost" in v]
    assert len(curve) >= 4 and min(curve) == min(curve[:-3]) < 100.0
    assert kept.told[-1][0] < 100_000
    cost = evaluate(acting(found), small())["cost"].to_numpy().mean()
    assert cost == pytest.approx(min(curve), rel=1e-6)
    assert policy_file.to_bytes(policy_file.load(tmp_path / BEST)) == policy_file.to_bytes(found)


def test_numbers_are_told_once_an_interval(tmp_path: Path) -> None:
    _, kept = train(plan("ppo", 320, evaluate_every=64, log_every=64), tmp_path)
    steps = [step for step, _ in kept.told]
    assert len(steps) <= 320 // 64 + 1 and steps == sorted(set(steps))
    assert any("train/loss" in values and "training/cost" in values for _, values in kept.told)


# -- checkpoints that are not ours


def test_a_checkpoint_is_only_read_with_its_digest(tmp_path: Path) -> None:
    train(plan("ppo", 64), tmp_path)
    path = checkpoint.checkpoints(tmp_path)[-1]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="digest does not fit"):
        train(plan("ppo", 64), tmp_path, resume=True)
    path.with_suffix(".sha256").unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        train(plan("ppo", 64), tmp_path, resume=True)


class Trap:
    """What runs if somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one whose digest fits."""
    monkeypatch.chdir(tmp_path)
    train(plan("ppo", 64), tmp_path / "run")
    path = checkpoint.checkpoints(tmp_path / "run")[-1]
    data = io.BytesIO()
    torch.save({"parameters": Trap()}, data)
    path.write_bytes(data.getvalue())
    path.with_suffix(".sha256").write_text(hashlib.sha256(data.getvalue()).hexdigest())
    with pytest.raises(BadInput, match="no checkpoint, or a damaged one"):
        train(plan("ppo", 64), tmp_path / "run", resume=True)
    assert not Path("sprung").exists()
    torch.load(io.BytesIO(data.getvalue()), weights_only=False)
    assert Path("sprung").exists()  # so the trap is one


# -- the file of a policy


def test_a_policy_comes_back_as_it_was(tmp_path: Path) -> None:
    policy = a_policy()
    policy_file.save(policy, tmp_path / "p.policy")
    found = policy_file.load(tmp_path / "p.policy")
    assert policy_file.to_bytes(found) == policy_file.to_bytes(policy)
    x = np.random.default_rng(1).normal(size=(5, len(policy.names)))
    assert (found.scores(x) == policy.scores(x)).all()


def test_it_holds_no_pickle() -> None:
    with zipfile.ZipFile(io.BytesIO(policy_file.to_bytes(a_policy()))) as archive:
        for name in archive.namelist():
            with pytest.raises(
                (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError)
            ):
                pickle.loads(archive.read(name))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_is_noticed_or_changes_nothing(data: st.DataObject) -> None:
    whole = policy_file.to_bytes(a_policy())
    place = data.draw(st.integers(0, len(whole) - 1))
    other = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    try:
        found = policy_file.from_bytes(whole[:place] + other + whole[place + 1 :])
    except BadInput:
        return
    assert policy_file.to_bytes(found) == whole


def rewritten(**given: Any) -> bytes:
    """The file of a stranger, whose digest fits."""
    with zipfile.ZipFile(io.BytesIO(policy_file.to_bytes(a_policy()))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()[1:]}
    document = {**json.loads(parts[policy_file.DOCUMENT]), **given}
    parts[policy_file.DOCUMENT] = json.dumps(document).encode()
    return policy_file.packed.packed(parts)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"format": "shadowsim.policy/2"}, "format"),
        ({"actions": ["wait"]}, "for other actions"),
        ({"names": ["telemetry_production"] * len(TOLD[:-6])}, "a name is twice"),
        ({"names": ["label", *TOLD[1:-6]]}, "it reads 'label', which nobody tells it"),
        ({"sizes": [4, 9]}, "its layers have 45 weights"),
        ({"sizes": [10**9, 9]}, "sizes that cannot be"),
        ({"sizes": [0, 9]}, "sizes that cannot be"),
        ({"activation": "exec"}, "is no activation"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_a_stranger_wrote_is_checked(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        policy_file.from_bytes(rewritten(**given))


def test_no_weight_is_no_number() -> None:
    policy = a_policy()
    with pytest.raises(BadInput, match="a weight is no number"):
        replace(policy, biases=(policy.biases[0] * np.float32(np.nan), policy.biases[1]))


# -- what it does


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_what_is_closed_is_never_done(
    seed: int, production: bool, part: bool, drawn: bool, masked: bool
) -> None:
    policy = a_policy(seed, drawn=drawn, masked=masked)
    x = np.random.default_rng(seed).normal(size=(7, len(policy.names)))
    open_ = masks(np.full(7, production), np.full(7, part and production))
    chance = policy.probabilities(x, open_)
    assert (chance[~open_] == 0.0).all()
    assert chance.sum(axis=1) == pytest.approx(1.0)
    assert open_[np.arange(7), policy.act(x, open_)].all()
    if not masked:
        plain = policy.probabilities(x, np.ones_like(open_))
        closed = np.where(open_, 0.0, plain).sum(axis=1)
        assert chance[:, WAIT] == pytest.approx(plain[:, WAIT] + closed)


def test_masks_are_those_of_the_environment() -> None:
    for one, episodes in ((t, pool([t])) for t in tapes()):
        assert (masks(one.world >= 0, one.has_part) == episodes.masks).all()


# -- in PreCog


class Onlooker:
    """A variant that keeps what it is shown, and what a policy would observe of it."""

    name = "onlooker"

    def __init__(self, setting: Setting, model: Model | None = None) -> None:
        scenario = setting.scenario
        self._parts = scenario.topology, scenario.traffic.demands, scenario.intents, setting.whatif
        self._model = model
        self.seen: list[Evidence] = []
        self.rows: list[Any] = []

    def forecast(self, evidence: Evidence) -> Forecast:
        self.seen.append(evidence)
        self.rows.append(observation(Featurizer(*self._parts), evidence, self._model))
        return Forecast()


@pytest.mark.parametrize("model", [None, no_model()], ids=["plain", "supervised"])
@pytest.mark.parametrize("of", [(HARMLESS,), (CUTTING,), (DRAIN, SURGE)])
def test_a_forecast_sees_what_the_environment_shows(
    of: tuple[str, ...], model: Model | None
) -> None:
    """Every row of the tape is that of the evidence a run of the workflow has at that time."""
    setting = Setting.of(ring(*of), Past())
    one, eyes = tape(setting), Onlooker(setting, model)
    run = Run(setting.scenario, NETWORKS["simulated"], eyes, setting.whatif, Journal())
    run_workflow_until_go(run)

    def look(run: Run) -> bool:
        run.predict("production")
        return False

    roll_out(run, look)
    leave(run, look)
    rows = pool([one], model)
    keep = [place for place, name in enumerate(rows.names) if name != PART_NAME]
    mine = {(e.phase, round(e.since_s, 6)): r for e, r in zip(eyes.seen, eyes.rows, strict=True)}
    checked = 0
    for row in range(len(one.world)):
        if one.world[row] in (-1, one.trial - 1):
            phase = "shadow" if one.world[row] < 0 else "production"
            found = mine[phase, round(float(one.since_s[row]), 6)]
            assert found[keep] == pytest.approx(rows.observations[row][keep], abs=1e-6)
            checked += 1
    assert checked >= 8


def run_workflow_until_go(run: Run) -> None:
    from shadowsim.workflow.phases import shadow_deployment, traffic_and_monitoring

    run.begin()
    assert shadow_deployment(run)
    traffic_and_monitoring(run)
    run.shadow_lost = True
    run.signature = None


def leaning(toward: Mapping[int, float]) -> Policy:
    """A policy that does the same whatever it sees."""
    bias = np.full(len(ACTIONS), -30.0, np.float32)
    for action, chance in toward.items():
        bias[action] = np.log(chance)
    names = TOLD[:-6]
    return a_policy(
        weights=(np.zeros((len(ACTIONS), len(names)), np.float32),), biases=(bias,), names=names
    )


def forecast_of(policy: Policy, phase: str, **given: Any) -> Forecast:
    scenario = ring(CUTTING)
    setting = Setting.of(scenario, Past())
    eyes = Onlooker(setting)
    run = Run(scenario, NETWORKS["simulated"], eyes, setting.whatif, Journal())
    run_workflow_until_go(run)
    evidence = replace(eyes.seen[-1], phase=phase, **given)
    return Rl(setting.whatif, policy, None, "rl").forecast(evidence)


def test_what_an_action_says_as_a_forecast() -> None:
    at_gate = leaning({WAIT: 0.1, GO: 0.3, REFUSE: 0.6})
    last = forecast_of(at_gate, "shadow", left=0.0)
    assert last.worst == pytest.approx(0.7, abs=1e-6)
    assert last.mode == "service_outage"  # by the script, since a refusal names none
    assert forecast_of(at_gate, "shadow", left=0.5).worst == pytest.approx(0.6, abs=1e-6)
    later = leaning({WAIT: 0.4, WHOLE: 0.35, WHOLE + 2: 0.25, PART: 0.9})
    found = forecast_of(later, "production", control=None)
    assert list(found.probabilities.values()) == pytest.approx([0.35, 0.0, 0.25], abs=1e-6)
    assert found.worst == pytest.approx(0.6, abs=1e-6)  # by the reason: all of its rollbacks


def test_it_decides_a_run() -> None:
    scenario = ring(HARMLESS)
    for toward, decision in (({GO: 1.0}, "go"), ({REFUSE: 1.0}, "no-go")):
        setting = Setting.of(scenario, Past())
        variant = Rl(setting.whatif, leaning(toward), None, "rl")
        run = Run(scenario, NETWORKS["simulated"], variant, setting.whatif, Journal())
        run_workflow(run)
        assert run.decision == decision


def test_torch_is_not_needed_where_it_is_followed(tmp_path: Path) -> None:
    policy_file.save(leaning({GO: 1.0}), tmp_path / "rl.policy")
    script = (
        "import sys, os; from shadowsim.precog.rl import standing_policy\n"
        "standing_policy('rl'); import shadowsim.precog\n"
        "print({'torch', 'gymnasium', 'stable_baselines3'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={"SHADOWSIM_POLICIES": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout.strip() == "set()"


# -- fine-tune


def test_what_is_expected_is_what_comes_on_average() -> None:
    """Against episodes that are drawn one by one."""
    episodes, random = told(small()), np.random.default_rng(0)
    policy = a_policy(2, names=episodes.names)
    chance = policy.probabilities(episodes.observations, episodes.masks)
    total, visits = [], np.zeros(len(chance))
    for _ in range(4000):
        look, reward = int(episodes.first[random.integers(len(episodes))]), 0.0
        while look != OVER:
            visits[look] += 1
            action = random.choice(len(ACTIONS), p=chance[look] / chance[look].sum())
            reward += episodes.reward[look, action]
            look = int(episodes.to[look, action])
        total.append(reward)
    mean, _, reached = expected(episodes, chance)
    assert mean == pytest.approx(np.mean(total), abs=4 * np.std(total) / len(total) ** 0.5)
    assert visits / 1000 == pytest.approx(reached, abs=0.1)


def test_tuning_gains_on_what_it_is_tuned_to() -> None:
    episodes = told(small())
    policy = a_policy(2, names=episodes.names)
    found = tuned(policy, episodes, 4, lambda: True)
    assert found.steps == MOST_STEPS and found.after < found.before
    chances = [
        p.probabilities(episodes.observations, episodes.masks) for p in (policy, found.policy)
    ]
    said = [-expected(episodes, chance)[0] for chance in chances]
    assert said == pytest.approx([found.before, found.after], abs=1e-4)


def test_a_future_holds_nothing_of_what_is_in_store() -> None:
    scenario = ring(DRAIN, SURGE)
    first = future(scenario, np.random.default_rng(1))
    other = future(replace(scenario, faults=(), seed=99), np.random.default_rng(1))
    assert first.faults == () and first == other


def test_tuning_keeps_to_its_budget_by_the_clock() -> None:
    ticks = iter(float(n) for n in range(10_000))
    found = fine_tune(
        a_policy(), Setting.of(ring(HARMLESS), Past()), None, 10.0, 0, lambda: next(ticks)
    )
    assert 2 <= found.futures <= 8 and 1 <= found.steps <= 4
    with pytest.raises(BadInput, match="no distribution"):
        fine_tune(a_policy(drawn=False), Setting.of(ring(HARMLESS), Past()), None, 1.0, 0)


def test_what_is_told_is_all_that_is_observed_but_the_part() -> None:
    assert set(observed(supervised=True)) - set(TOLD) == {PART_NAME}


# -- the command


def command(tmp_path: Path, **given: Any) -> Path:
    """Train on the four changes, by the command; the folder of the training."""
    usual: dict[str, Any] = {
        "tapes": tmp_path, "algorithm": "ppo", "steps": 64, "out": tmp_path / "run", "jobs": 1,
        "policy": tmp_path / "rl.policy", "mlflow": "off", "as_json": True, "supervised": False,
        "pool": None, "validation": None, "test": None, "changes": None, "hyperparameters": None,
        "checkpoint_every": 32, "evaluate_every": 32, "patience": 0, "resume": False,
        "fine_tune": None, "budget": "20s", "seed": 0,
    }  # fmt: skip
    train_rl(**{**usual, **given})
    return tmp_path / "run"


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowsim.env.store.read_tapes", lambda folder: list(tapes()))


@pytest.mark.usefixtures("four")
def test_the_command_trains_keeps_and_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "h.yml"
    file.write_text(written(n_steps="8", batch_size="16", policy_kwargs="{net_arch: [8]}"))
    command(tmp_path, hyperparameters=file)
    document = json.loads(capsys.readouterr().out)
    costs = {row["policy"]: row["cost"] for row in document["unseen"]}
    assert costs["oracle"] <= min(costs.values())
    learned = policy_file.load(tmp_path / "rl.policy")
    again = evaluate(acting(learned), small())["cost"].to_numpy().mean()
    assert costs["learned"] == pytest.approx(again)
    with pytest.raises(BadInput, match="--resume goes on"):
        command(tmp_path, hyperparameters=file)
    command(tmp_path, hyperparameters=file, resume=True)


def test_the_command_tunes_to_a_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shadowsim.scenario.load", lambda file: ring(HARMLESS))
    policy_file.save(a_policy(), tmp_path / "rl.policy")
    command(tmp_path, fine_tune=tmp_path / "ring.yml", budget="0.5s")
    document = json.loads(capsys.readouterr().out)
    assert document["futures"] >= 2 and document["policy"].endswith("rl-ring.policy")
    assert policy_file.load(Path(document["policy"])).names == a_policy().names
    kept = policy_file.to_bytes(policy_file.load(tmp_path / "rl.policy"))
    assert kept == policy_file.to_bytes(a_policy())  # the general one stays


@pytest.mark.parametrize("budget", ["", "-1s", "0s", "5m", "nan", "1e9"])
def test_a_budget_that_is_none_is_refused(budget: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="wanted seconds"):
        command(tmp_path, fine_tune=tmp_path / "x.yml", budget=budget)


def test_without_tapes_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        command(tmp_path)
    assert not (tmp_path / "run").exists() and not (tmp_path / "rl.policy").exists()
