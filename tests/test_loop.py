"""The loop: what runs leave behind, what is learned of it, and that only better is promoted."""

from __future__ import annotations

import hashlib
import io
import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_history import FEATURES, tables
from typer.testing import CliRunner

from shadowsim.carried import begin
from shadowsim.commands import app
from shadowsim.errors import BadInput, ShadowsimError
from shadowsim.history.looks import Look
from shadowsim.history.observing import ASKED
from shadowsim.history.recording import Recorder
from shadowsim.history.store import Manifest, claimed, write
from shadowsim.journal import Journal
from shadowsim.learning import drift, duel, outcomes, overtime, uses
from shadowsim.learning.dataset import table
from shadowsim.learning.looks import GATE, read
from shadowsim.learning.outcomes import REAL
from shadowsim.learning.retraining import (
    HELD_OUT,
    group_of,
    held_out,
    in_use,
    joined,
    lacking,
    sharing,
)
from shadowsim.learning.splits import SHARES, split
from shadowsim.learning.training import trained
from shadowsim.learning.uses import past_of, use_of
from shadowsim.learning.walk import OperatingPoint
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE
from shadowsim.network import NETWORKS
from shadowsim.outcomes import OutcomeStore
from shadowsim.precog import Evidence
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import PHASES, Model
from shadowsim.precog.model_file import load
from shadowsim.precog.pair_file import save_pair
from shadowsim.precog.stack import Stack
from shadowsim.precog.stacked import statements
from shadowsim.precog.supervised import beside
from shadowsim.scenario import load as load_scenario
from shadowsim.workflow import Run, run_workflow

SCENARIOS = Path(__file__).parents[1] / "scenarios"

WHEN = "2026-03-{:02}T08:00:00+00:00"


def document(**different: Any) -> dict[str, Any]:
    """The record of a run that went well, except for what is different."""
    return {
        "scenario": "s0", "precog": "hybrid", "decision": "go", "end_state": "confirmed",
        "gate": {"no_go_above": 0.5}, "forecast": dict.fromkeys(MODES, 0.1),
        "failure_mode": "none", "failure_modes": [], "failed_after_s": {},
        "observed_in": "production", "refused_by": [], "signs": [], "triggered_after_s": None,
        "root_cause": "none", "blamed": [], "breach_s": 0.0, "time_to_rollback_s": None,
        "site": {"name": "net/0", "digest": "d0"},
        "changed": {"devices": ["A"], "models": ["m1"], "kinds": ["shutdown"]},
        "truth": {"at_fault": None, "background": []}, "looks": None, "out": "nowhere",
        **different,
    }  # fmt: skip


# ---- what an outcome is a label of

FAILED = {"failure_modes": [OUTAGE], "failed_after_s": {OUTAGE: 4.0}, "root_cause": "change"}
ROLLED = {"end_state": "rolled_back", "failure_mode": OUTAGE, "triggered_after_s": 6.0}
REFUSED = {"decision": "no-go", "end_state": "refused", "observed_in": "shadow"}


@pytest.mark.parametrize(
    ("different", "how", "came"),
    [
        ({}, uses.GOOD, {}),
        ({**FAILED, "root_cause": "none"}, uses.UNNOTICED, {OUTAGE: 4.0}),
        ({**FAILED, "root_cause": "not the change"}, uses.NOT_THE_CHANGE, None),
        ({"root_cause": "not the change"}, uses.GOOD, {}),
        ({**ROLLED, **FAILED}, uses.BROKEN, {OUTAGE: 4.0}),
        ({**ROLLED, **FAILED, "end_state": "halted"}, uses.HALTED, {OUTAGE: 4.0}),
        ({**ROLLED, "root_cause": "change", "signs": ["loss"]}, uses.SIGN, {OUTAGE: 6.0}),
        ({**ROLLED, "root_cause": "change"}, uses.FORESTALLED, None),
        ({**ROLLED, **FAILED, "root_cause": "interrupted"}, uses.OTHER, None),
        ({"end_state": "halted"}, uses.OTHER, None),
        ({**REFUSED, **FAILED, "refused_by": ["breaks x"]}, uses.SHADOW, {OUTAGE: 4.0}),
        ({**REFUSED, **FAILED}, uses.FORECAST, None),
        ({**REFUSED, "refused_by": ["breaks x"]}, uses.FORECAST, None),
        ({**REFUSED, "decision": "inconclusive", "end_state": "halted"}, uses.UNDECIDED, None),
        ({**REFUSED, "decision": "go"}, uses.UNDECIDED, None),
    ],
)
def test_a_run_is_a_label_only_where_somebody_saw_what_came(
    different: dict[str, Any], how: str, came: dict[str, float] | None
) -> None:
    use = use_of(document(**different))
    assert (use.how, use.came_at_s, use.failed) == (how, came, bool(came))
    assert use.gate_only == (how == uses.SHADOW)


def test_the_past_is_of_this_network_and_of_what_is_known() -> None:
    bad = document(**ROLLED, **FAILED)
    elsewhere = document(site={"name": "net/0", "digest": "d1"})
    forestalled = document(**ROLLED, root_cause="change")
    past = past_of([document(), bad, bad, elsewhere, forestalled], "d0")
    assert past.total == (3, 2)
    assert past.by_device == {"A": (3, 2)}
    assert (past.by_model, past.by_kind) == ({"m1": (3, 2)}, {"shutdown": (3, 2)})
    assert past_of([document()], "d2").total == (0, 0)


# ---- a store of made-up runs


def widened(looks: pl.DataFrame, seed: int = 1) -> pl.DataFrame:
    """Made-up looks in the columns of real ones; what the plain variants say means nothing."""
    random = np.random.default_rng(seed)
    renamed = looks.rename(dict(zip(FEATURES, NAMES, strict=False)))
    return renamed.with_columns(
        *(pl.lit(0.0).alias(name) for name in NAMES[len(FEATURES) :]),
        *(pl.Series(name, random.random(looks.height) * 0.2) for name in statements(ASKED)),
    )


def outcome_of(label: dict[str, Any], place: int, looks: bytes) -> dict[str, Any]:
    """The record of a run that a made-up change could have left."""
    came = {mode: label[f"{mode}_at_s"] for mode in MODES if label[mode]}
    different: dict[str, Any] = {}
    if came and place % 2:
        different = {**REFUSED, "refused_by": ["breaks x"], "root_cause": "change"}
    elif came:
        different = {**ROLLED, "root_cause": "change", "time_to_rollback_s": 2.0}
    return document(**{
        "failure_modes": list(came), "failed_after_s": came, "scenario": f"s{place // 5}",
        "site": {"name": label["network"], "digest": label["network"]}, "out": f"runs/r{place}",
        "looks": {"sha256": hashlib.sha256(looks).hexdigest(), "rows": 5, "said": {}},
        **different,
    })  # fmt: skip


def add_runs(folder: Path, count: int, seed: int = 9) -> Path:
    """A store of this many runs, whose looks lie beside it."""
    looks, labels = tables(count, seed)
    looks = widened(looks)
    store = folder / "runs" / "outcomes.sqlite"
    with OutcomeStore(store) as opened:
        for place, label in enumerate(labels.iter_rows(named=True)):
            found = io.BytesIO()
            mine = looks.filter(pl.col("case") == place).with_columns(case=pl.lit(0, pl.Int64))
            first = mine.filter(pl.col("phase") == GATE).head(1)
            pl.concat([first, mine.filter(pl.col("phase") != GATE)]).write_parquet(found)
            run = folder / "runs" / f"r{place}"
            run.mkdir()
            (run / "looks.parquet").write_bytes(found.getvalue())
            opened.add(outcome_of(label, place, found.getvalue()), WHEN.format(1 + place % 28))
    return store


def rows_of(store: Path) -> list[dict[str, Any]]:
    with OutcomeStore(store) as opened:
        return opened.read()


class World(NamedTuple):
    folder: Path
    store: Path
    model: Model
    hybrid: Stack


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A history, models of it, and a store of 400 runs."""
    folder = tmp_path_factory.mktemp("loop")
    looks, labels = tables(900)
    looks = widened(looks, 2)
    made = Manifest(900, 11, "training", NAMES, ASKED)
    with claimed(folder / "history", made):
        for site in range(made.sites):
            mine = pl.col("case") // 20 == site
            write(folder / "history", site, looks.filter(mine), labels.filter(mine))
    found = trained(read([folder / "history"]), 3, 2)
    return World(folder, add_runs(folder, 400), found.model, found.hybrid)


def blind(model: Model) -> Model:
    """The same model, that has come to be far too sure that all fails."""
    phases = {
        name: replace(phase, calibration=phase.calibration + np.array([[0.0], [0.0], [4.0]]))
        for name, phase in model.phases.items()
    }
    return replace(model, phases=phases)


def deaf(stack: Stack) -> Stack:
    """The same stack, that has come to be far too sure that all fails."""
    phases = {n: replace(w, bias=w.bias + 4.0) for n, w in stack.phases.items()}
    return replace(stack, phases=phases)


def put(world: World, path: Path, *, spoilt: bool = False) -> bytes:
    both = (blind(world.model), deaf(world.hybrid)) if spoilt else (world.model, world.hybrid)
    save_pair(*both, path)
    return path.read_bytes()


def learn(world: World, store: Path | None = None) -> Any:
    return CliRunner().invoke(
        app,
        ["train", "--from-outcomes", str(store or world.store), "--history",
         str(world.folder / "history"), "--mlflow", "off", "--jobs", "2", "--json"],
    )  # fmt: skip


# ---- outcomes to tables


def asked_of(world: World) -> outcomes.Outcomes:
    return outcomes.tables(rows_of(world.store), world.store, ASKED)


def test_outcomes_are_tables_and_all_others_are_counted(world: World) -> None:
    rows = rows_of(world.store)
    found = outcomes.tables(rows, world.store, ASKED)
    assert sum(found.used.values()) == found.labels.height == 400
    assert found.unused == {}
    refused = found.labels.filter(pl.col("use") == uses.SHADOW)
    of_refused = found.looks.filter(pl.col("case").is_in(refused["case"].implode()))
    assert refused.height > 10
    assert set(of_refused["phase"]) == {GATE}
    good = found.labels.filter(pl.col("use") == uses.GOOD)
    assert not good.select(pl.any_horizontal(MODES)).to_series().any()
    assert found.labels["case"].to_list() == [REAL + row["id"] for row in rows]


def test_looks_that_are_gone_altered_foreign_or_seen_before_are_not_used(
    world: World, tmp_path: Path
) -> None:
    store = add_runs(tmp_path, 20)
    (tmp_path / "runs" / "r0" / "looks.parquet").unlink()
    (tmp_path / "runs" / "r1" / "looks.parquet").write_bytes(b"PAR1")
    other = io.BytesIO()
    table = pl.read_parquet(tmp_path / "runs" / "r2" / "looks.parquet")
    table.drop(NAMES[3]).write_parquet(other)
    (tmp_path / "runs" / "r2" / "looks.parquet").write_bytes(other.getvalue())
    rows = rows_of(store)
    third = json.loads(rows[2]["document"])
    third["looks"]["sha256"] = hashlib.sha256(other.getvalue()).hexdigest()
    rows[2]["document"] = json.dumps(third)
    rows[3]["document"] = json.dumps(document(looks=None))
    rows.append({**rows[5], "id": 999})
    found = outcomes.tables(rows, store, ASKED)
    assert found.unused == {
        outcomes.GONE: 1, outcomes.REPLACED: 1, outcomes.FOREIGN: 1, outcomes.OLDER: 1,
        outcomes.AGAIN: 1,
    }  # fmt: skip
    assert found.labels.height == 16
    assert REAL + 999 in found.labels["case"].to_list()


def test_a_damaged_outcome_is_named(world: World) -> None:
    rows = rows_of(world.store)[:3]
    rows[1]["document"] = rows[1]["document"][:-40]
    with pytest.raises(BadInput, match=r"outcomes\.sqlite: outcome 2 is damaged"):
        outcomes.tables(rows, world.store, ASKED)
    with pytest.raises(BadInput, match="outcome 2 is damaged"):
        overtime.frames(rows, world.store, overtime.by_week)


def test_what_is_held_out_is_decided_by_name_and_leaves_no_group_on_both_sides(
    world: World,
) -> None:
    labels = outcomes.tables(rows_of(world.store), world.store, ASKED).labels
    held = held_out(labels)
    sites = labels["site"].to_numpy()
    assert not set(sites[held]) & set(sites[~held])
    again = held_out(labels.sample(fraction=1.0, shuffle=True, seed=3).sort("case"))
    assert (held == again).all()
    assert 0.1 < held.mean() < 0.7


def test_nothing_that_is_held_out_is_fitted_to(world: World) -> None:
    real = asked_of(world)
    held = held_out(real.labels)
    history = read([world.folder / "history"])
    both = joined(history, real)
    changes = table(both.looks, both.labels, NAMES).changes
    splits = sharing(group_of(real.labels), held)(changes, 3)
    alone = split(table(history.looks, history.labels, NAMES).changes, 3)
    assert (splits.fold[:900] == alone.fold).all()
    mine = splits.fold[900:]
    assert (mine[held] == HELD_OUT).all()
    assert set(mine[~held]) <= set(SHARES)
    folds = {(site, fold) for site, fold in zip(real.labels["site"], mine, strict=True)}
    assert len(folds) == real.labels["site"].n_unique()


# ---- promotion


def test_a_worse_model_in_use_is_replaced_and_an_equal_one_is_not(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "used.model"
    monkeypatch.setenv("SHADOWSIM_MODEL", str(path))
    before = put(world, path, spoilt=True)
    said = learn(world)
    assert said.exit_code == 0, said.output
    first = json.loads(said.stdout)
    assert first["promoted"], said.stdout
    assert path.read_bytes() != before
    loss = {c["variant"]: c for c in first["compared"] if c["figure"] == "log_loss"}
    assert loss["hybrid"]["new"] < loss["hybrid"]["old"]
    assert loss["hybrid"]["high"] < 0.0
    assert load(path, NAMES).card.count("outcomes of real runs") == 1
    drifted = [d["of"] for d in first["drift"] if d["verdict"] == "drift"]
    assert f"supervised: {DEGRADATION}" in drifted

    now = path.read_bytes(), beside(path).read_bytes()
    second = json.loads(learn(world).stdout)
    assert not second["promoted"]
    assert (path.read_bytes(), beside(path).read_bytes()) == now
    assert all(c["difference"] in (0.0, None) for c in second["compared"])


def test_too_few_outcomes_say_how_many_it_takes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "used.model"
    monkeypatch.setenv("SHADOWSIM_MODEL", str(path))
    before = put(world, path)
    said = json.loads(learn(world, add_runs(tmp_path, 20)).stdout)
    assert said["too_few"] == ["20 outcomes can be used, and it takes 60"]
    assert not said["promoted"]
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.glob("*.model")) == ["used.model"]


def test_one_class_only_is_too_few(world: World) -> None:
    rows = rows_of(world.store)
    good = [row for row in rows if use_of(json.loads(row["document"])).how == uses.GOOD]
    short = lacking(outcomes.tables(good, world.store, ASKED))
    assert [text for text in short if "0 of those held out failed" in text]
    assert [text for text in short if "0 of those learned from failed" in text]


def test_a_missing_or_damaged_model_in_use_is_told_and_stays(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "used.model"
    with pytest.raises(BadInput, match="no model in use to compare with"):
        in_use(path)
    monkeypatch.setenv("SHADOWSIM_MODEL", str(path))
    path.write_bytes(put(world, path)[:-100])
    before = path.read_bytes()
    said = learn(world)
    assert isinstance(said.exception, BadInput)
    assert "used.model: no model file" in str(said.exception)
    assert path.read_bytes() == before


def test_a_promotion_that_fails_leaves_both_old_models(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "used.model"
    put(world, path)
    before = path.read_bytes(), beside(path).read_bytes()
    really = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == beside(path):
            raise OSError(28, "No space left on device")
        return really(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BadInput, match="No space left"):
        save_pair(blind(world.model), deaf(world.hybrid), path)
    assert (path.read_bytes(), beside(path).read_bytes()) == before
    assert len(list(tmp_path.iterdir())) == 2
    beside(path).unlink()
    path.unlink()
    with pytest.raises(BadInput, match="No space left"):
        save_pair(world.model, world.hybrid, path)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_locked_none_or_half_written_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "used.model"
    monkeypatch.setenv("SHADOWSIM_MODEL", str(path))
    put(world, path)
    half = tmp_path / "half.sqlite"
    half.write_bytes(world.store.read_bytes()[:5000])
    for store, words in ((half, "damaged"), (tmp_path / "no.sqlite", "no outcomes yet")):
        said = learn(world, store)
        assert isinstance(said.exception, BadInput)
        assert words in str(said.exception)
    locked = add_runs(tmp_path, 3)
    monkeypatch.setattr("shadowsim.outcomes.TIMEOUT_S", 0.1)
    holder = sqlite3.connect(locked, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(OutcomeStore.__init__, "__defaults__", (0.1,))
    said = learn(world, locked)
    holder.close()
    assert isinstance(said.exception, ShadowsimError)
    assert "in use by another program" in str(said.exception)


# ---- the comparison

POINT = OperatingPoint(0.5, 0.5)
RATES = dict.fromkeys(PHASES, np.full(3, 0.1))


def slow_losses(looks: pl.DataFrame, labels: pl.DataFrame, said: np.ndarray) -> list[float]:
    """`duel.losses` by the definition, look by look."""
    found = []
    told = [*zip(looks.iter_rows(named=True), said.tolist(), strict=True)]
    for label in labels.iter_rows(named=True):
        means = []
        for phase in PHASES:
            parts = []
            for look, p in told:
                if look["case"] != label["case"] or look["phase"] != phase:
                    continue
                for n, mode in enumerate(MODES):
                    ahead_s = (label[f"{mode}_at_s"] or 0.0) - look["since_s"]
                    if phase != GATE and label[mode] and ahead_s <= 0:
                        continue
                    came = label[mode] and (phase == GATE or ahead_s <= 15.0)
                    chance = min(max(0.1 if math.isnan(p[n]) else p[n], 0.001), 0.999)
                    parts.append(-math.log(chance if came else 1.0 - chance))
            means += [sum(parts) / len(parts)] if parts else []
        found.append(sum(means) / len(means))
    return found


def test_the_log_loss_is_that_of_a_plain_loop(world: World) -> None:
    real = asked_of(world)
    labels = real.labels.head(30)
    looks = real.looks.join(labels.select("case"), on="case", how="semi", maintain_order="left")
    random = np.random.default_rng(4)
    said = random.random((looks.height, 3))
    said[random.random(said.shape) < 0.1] = np.nan
    fast = duel.losses(looks, labels, said, RATES, 15.0)
    assert np.allclose(fast, slow_losses(looks, labels, said), rtol=1e-12)


def test_only_what_is_better_by_more_than_chance_wins(world: World) -> None:
    real = asked_of(world)
    labels, looks = real.labels, real.looks
    group = [str(name) for name in labels["site"]]
    _, _, came = duel.questions(looks, labels, 15.0)
    random = np.random.default_rng(5)
    noise = random.normal(size=came.shape)

    def told(skill: float) -> np.ndarray:
        return np.asarray(1.0 / (1.0 + np.exp(-(skill * (2.0 * came - 1.0) + 0.5 * noise))))

    def fought(old: np.ndarray, new: np.ndarray) -> duel.Duel:
        return duel.duel(looks, labels, old, new, group, POINT, RATES, 15.0, 0)

    good, poor = told(2.0), told(0.5)
    assert fought(poor, good).better
    assert not fought(good, poor).better
    assert not fought(good, good).better
    # A better log loss that comes with more good changes refused is no better model.
    soft = np.where(came, 0.6, 0.4)
    over = np.where(came, 0.98, [0.501, 0.01, 0.01])
    found = fought(soft, over)
    assert found.loss.difference.high < 0.0
    assert found.shares["false_refusals"].difference.low > 0.0
    assert found.worse
    assert not found.better


def test_two_alike_are_rarely_told_apart(world: World) -> None:
    """The interval of the difference holds what it says: about 5 in 100 are wrongly unequal."""
    real = asked_of(world)
    labels, looks = real.labels, real.looks
    group = [str(name) for name in labels["case"]]
    wrong = better = 0
    for seed in range(25):
        random = np.random.default_rng(seed)
        old, new = random.uniform(0.05, 0.95, (2, looks.height, 3))
        found = duel.duel(looks, labels, old, new, group, POINT, RATES, 15.0, seed)
        wrong += not found.loss.difference.low <= 0.0 <= found.loss.difference.high
        better += found.better
    assert wrong <= 4
    assert better <= 3


# ---- drift


def test_a_feature_that_moved_is_found_and_no_other() -> None:
    random = np.random.default_rng(6)
    then, now = random.normal(size=(2000, 40)), random.normal(size=(80, 40))
    now[:, 7] += 1.5
    now[:60, 11] = np.nan
    found = drift.shifts(then, now, [f"f{n}" for n in range(40)])
    assert {shift.feature for shift in found} == {"f7", "f11"}
    assert found[0].distance >= found[1].distance > 0.4
    assert drift.shifts(then, now[:10], [f"f{n}" for n in range(40)]) == []


def test_false_discoveries_are_as_rare_as_is_said() -> None:
    names = [f"f{n}" for n in range(40)]
    random = np.random.default_rng(7)
    wrong = sum(
        bool(drift.shifts(random.normal(size=(500, 40)), random.normal(size=(60, 40)), names))
        for _ in range(40)
    )
    assert wrong <= 4


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_expected_brier_score_is_the_mean_of_what_chance_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = random.random(50)
    draws = random.random((4000, 50)) < p
    scores = ((p - draws) ** 2).mean(axis=1)
    found = drift.calibrated(p, draws[0])
    assert found.expected == pytest.approx(scores.mean(), abs=5 * scores.std() / math.sqrt(4000))
    spread = np.sqrt(np.sum((1 - 2 * p) ** 2 * p * (1 - p))) / 50
    assert found.z == pytest.approx((scores[0] - found.expected) / spread)


def test_probabilities_that_stopped_being_right_are_told() -> None:
    random = np.random.default_rng(8)
    p = random.uniform(0.02, 0.3, 200)
    assert not drift.calibrated(p, random.random(200) < p).drifted
    assert drift.calibrated(p, random.random(200) < np.minimum(3.0 * p, 1.0)).drifted
    assert not drift.calibrated(np.zeros(5), np.ones(5, bool)).drifted  # too few to say
    assert drift.calibrated(np.zeros(50), np.arange(50) == 0).drifted
    nothing = drift.calibrated(np.full(9, np.nan), np.zeros(9, bool))
    assert nothing.looks == 0
    assert not nothing.drifted


# ---- over time


def test_accuracy_week_by_week_by_hand(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    sure = {**dict.fromkeys(MODES, 0.0), OUTAGE: 0.8}
    runs = [
        (document(forecast=sure, **ROLLED, **FAILED, time_to_rollback_s=3.0,
                  blamed=["A: interface x / shutdown"]), "2026-03-02T08:00:00+00:00"),
        (document(forecast=sure), "2026-03-03T08:00:00+00:00"),
        (document(forecast={**sure, OUTAGE: None}), "2026-03-04T08:00:00+00:00"),
        (document(forecast=sure, **ROLLED, root_cause="change"), "2026-03-05T08:00:00+00:00"),
        (document(precog="judge"), "2026-03-10T08:00:00+00:00"),
    ]  # fmt: skip
    with OutcomeStore(store) as opened:
        for found, when in runs:
            opened.add(found, when)
    said, ended = overtime.frames(rows_of(store), store, overtime.by_week)
    table = overtime.accuracy(said)
    first = table.filter(window="2026-W10", variant="hybrid", failure_mode=OUTAGE).row(
        0, named=True
    )
    assert (first["runs"], first["not_said"], first["failed"]) == (3, 1, 1)
    assert first["right"] == 0.5
    assert first["brier"] == pytest.approx((0.2**2 + 0.8**2) / 2)
    assert first["expected_brier"] == pytest.approx(0.16)
    assert first["bias"] == pytest.approx(0.3)
    assert set(table.filter(window="2026-W11")["variant"]) == {"judge"}
    rolled = overtime.rollbacks(ended).row(0, named=True)
    assert (rolled["runs"], rolled["known"], rolled["rollbacks"]) == (4, 3, 1)
    assert rolled["median_s"] == 3.0
    assert overtime.causes(ended).rows() == [
        ("2026-W10", "change", "shutdown", 1), ("2026-W10", "change", None, 1),
    ]  # fmt: skip
    assert overtime.by_runs(2)(3, "") == "run 00003 to 00004"


def test_causes_are_scored_where_the_truth_is_known_and_nowhere_else(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    bad = {**ROLLED, **FAILED}
    known = {"at_fault": ["A: x"], "background": []}
    fault = {"at_fault": [], "background": ["fibre"]}
    with OutcomeStore(store) as opened:
        opened.add(document(**bad, blamed=["A: x"], truth=known), WHEN.format(2))
        opened.add(document(**bad, blamed=["A: x", "A: y"], truth=known), WHEN.format(2))
        opened.add(document(**bad, blamed=["A: z"]), WHEN.format(2))  # nobody knows
        opened.add(document(root_cause="not the change", truth=fault, breach_s=4.0,
                            failure_modes=[OUTAGE], failed_after_s={OUTAGE: 1.0}),
                   WHEN.format(3))  # fmt: skip
    _, ended = overtime.frames(rows_of(store), store, overtime.by_week)
    found = overtime.found(ended).row(0, named=True)
    assert (found["failures"], found["named"], found["background"]) == (2, 2, 1)
    assert (found["precision"], found["recall"], found["exact"]) == (0.75, 1.0, 0.5)
    assert (found["cleared_precision"], found["cleared_recall"]) == (1.0, 1.0)


def test_analytics_over_time_draws_and_goes_without_a_model(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["analytics", "--over-time", "--store", str(world.store), "--json"]
    monkeypatch.setenv("SHADOWSIM_MODEL", str(tmp_path / "used.model"))
    said = json.loads(CliRunner().invoke(app, words).stdout)
    assert "no model in use" in said["no_drift"]
    assert said["drift"] == []
    put(world, tmp_path / "used.model")
    picture = tmp_path / "weeks.svg"
    said = json.loads(CliRunner().invoke(app, [*words, "--plot", str(picture)]).stdout)
    assert said["no_drift"] is None
    assert {row["window"] for row in said["accuracy"]} >= {"2026-W10", "2026-W11"}
    assert picture.read_text().startswith("<?xml")


# ---- what a run leaves behind


class Broken:
    """Looks at nothing, and fails at the second attempt."""

    def __init__(self) -> None:
        self.times = 0

    def look(self, evidence: Evidence, since_s: float) -> tuple[Look, Any]:
        self.times += 1
        if self.times == 2:
            raise RuntimeError("no look")
        return Look(evidence.phase, since_s, np.zeros(len(NAMES)), np.zeros((4, 3))), {}


def ran(observer: Any = None) -> tuple[Run, Recorder]:
    scenario = load_scenario(SCENARIOS / "square-answers.yml")
    recorder = Recorder(scenario, observer)
    state = begin(scenario, NETWORKS["simulated"], Journal())
    state.looked = recorder
    return run_workflow(state), recorder


def test_a_run_leaves_one_look_at_the_gate_and_one_every_two_seconds() -> None:
    state, recorder = ran()
    found = pl.read_parquet(io.BytesIO(recorder.parquet()))
    assert found.columns == ["case", "network", "kind", "phase", "since_s", *NAMES,
                             *statements(ASKED)]  # fmt: skip
    assert found["phase"].to_list() == ["shadow", *["production"] * (found.height - 1)]
    times = found.filter(pl.col("phase") == "production")["since_s"].to_numpy()
    assert len(times) >= 3
    assert (np.diff(times) >= 2.0 - 1e-9).all()
    assert times[-1] <= state.now - (state.deployed_since_s or 0.0)
    told = recorder.document(recorder.parquet()) or {}
    assert told["sha256"] == hashlib.sha256(recorder.parquet()).hexdigest()
    assert told["rows"] == found.height
    assert set(told["said"]) == set(ASKED)
    again = ran()[1]
    assert again.parquet() == recorder.parquet()


def test_a_look_that_cannot_be_computed_ends_no_run_and_leaves_no_half_of_them() -> None:
    state, recorder = ran(Broken())
    assert state.end_state == "confirmed"
    assert [e.data["why"] for e in state.journal.events if e.kind == "looks_lost"] == ["no look"]
    assert recorder.parquet() == b""
    assert recorder.document(recorder.parquet()) is None


def test_the_next_run_of_a_network_knows_what_came_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))
    words = ["run", str(SCENARIOS / "square-answers.yml"), "--json"]
    # Only where it is asked to: else a run depends on its scenario and seed alone.
    for more, earlier in (([], 0.0), ([], 0.0), (["--past"], 2.0)):
        said = CliRunner().invoke(app, [*words, *more])
        assert said.exit_code == 0, said.output
        looks = pl.read_parquet(tmp_path / "runs" / "square-answers" / "looks.parquet")
        assert set(looks["history_changes"]) == {earlier}
    store = tmp_path / "runs" / "outcomes.sqlite"
    found = outcomes.tables(rows_of(store), store, ASKED)
    assert found.used == {uses.GOOD: 1}
    assert found.unused == {outcomes.REPLACED: 2}
