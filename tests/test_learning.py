"""Learning from the past: no leakage, honest probabilities, and bad histories told in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_history import FEATURES, GROWING, KINDS, fitted, learned, tables
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from test_precog import evidence, whatif

from shadowsim.errors import BadInput
from shadowsim.history.folds import KNOWN, fold_of
from shadowsim.learning.calibration import beta, conformal_bound
from shadowsim.learning.card import measure, measure_time, with_card
from shadowsim.learning.dataset import Changes, table
from shadowsim.learning.fit import ABSTAIN, fit
from shadowsim.learning.metrics import FIGURES, auroc, average_precision, brier, intervals
from shadowsim.learning.metrics import calibration_error as ece
from shadowsim.learning.splits import FOLDS, LEAST_NETWORKS, SHARES, share_out, split
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import PHASES, calibrate
from shadowsim.precog.model_file import from_bytes, load, save, to_bytes
from shadowsim.precog.supervised import forecast_of_row, model_path, standing_model, supervised
from shadowsim.train_command import train

HORIZON_S = 15.0


# ---- the table


def test_a_row_is_a_look_and_finds_its_change() -> None:
    looks, labels = tables(100)
    shuffled = table(looks.sample(fraction=1.0, shuffle=True, seed=1), labels.reverse(), FEATURES)
    found = table(looks, labels, FEATURES)
    assert np.array_equal(shuffled.x, found.x, equal_nan=True)
    ordered = looks.sort("case", "phase", "since_s")
    assert np.array_equal(found.changes.number[found.change], ordered["case"].to_numpy())
    assert np.array_equal(found.x[:, 0], ordered[FEATURES[0]].to_numpy())


def test_a_look_after_the_failure_is_no_question_and_one_before_it_may_be() -> None:
    found = table(*tables(200), FEATURES)
    everything = np.arange(len(found.change))
    for mode in range(len(MODES)):
        rows, came = found.outcomes(everything, mode, HORIZON_S)
        asked = dict(zip(rows.tolist(), came.tolist(), strict=True))
        for row in everything.tolist():
            change = found.change[row]
            at_s, since_s = found.changes.at_s[change, mode], found.since_s[row]
            if not found.production[row]:
                assert asked[row] == found.changes.came[change, mode]
            elif at_s <= since_s:
                assert row not in asked
            else:
                assert asked[row] == (at_s <= since_s + HORIZON_S)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda k, b: (k.clear(), b), "looks are empty"),
        (lambda k, b: (k, b.clear()), "labels are empty"),
        (lambda k, b: (k.drop("script_f3"), b), "other features: no column 'script_f3'"),
        (lambda k, b: (k.drop("phase"), b), "not a history: no column 'phase'"),
        (lambda k, b: (k, b.drop(MODES[0])), f"no column '{MODES[0]}'"),
        (lambda k, b: (k.with_columns(phase=pl.lit("shade")), b), "no phase 'shade'.*'shadow'"),
        (lambda k, b: (k.with_columns(since_s=pl.lit(math.nan)), b), "'since_s' is missing"),
        (lambda k, b: (k.with_columns(script_f1=pl.lit("x")), b), "'script_f1' holds no numbers"),
        (lambda k, b: (k.with_columns(script_f1=pl.lit(math.inf)), b), "'script_f1' is infinite"),
        (lambda k, b: (k, b.with_columns(pl.lit(False).alias(MODES[1]))), f"no change.*{MODES[1]}"),
        (lambda k, b: (k, b.with_columns(pl.lit(True).alias(MODES[1]),
                                         pl.lit(1.0).alias(f"{MODES[1]}_at_s"))), "every change"),
        (lambda k, b: (k, b.with_columns(pl.lit(None, pl.Boolean).alias(MODES[2]))), "is missing"),
        (lambda k, b: (k, b.with_columns(pl.lit(math.nan).alias(MODES[2]))), "yes and no"),
        (lambda k, b: (k, b.with_columns(pl.lit(None, pl.Float64).alias(f"{MODES[0]}_at_s"))),
         "says no time"),
        (lambda k, b: (k, b.with_columns(pl.lit(-1.0).alias(f"{MODES[0]}_at_s"))), "says no time"),
        (lambda k, b: (k, pl.concat([b, b])), "two labels"),
        (lambda k, b: (k, b.filter(pl.col("case") != 7)), "change 7 was looked at"),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_history_that_cannot_be_learned_from_says_why(
    change: Callable[..., tuple[pl.DataFrame, pl.DataFrame]], text: str
) -> None:
    with pytest.raises(BadInput, match=text):
        table(*change(*tables(100)), FEATURES)


def test_all_that_is_wrong_is_told_at_once() -> None:
    looks, labels = tables(100)
    bad = looks.with_columns(script_f0=pl.lit(math.inf), phase=pl.lit("dark"))
    with pytest.raises(BadInput) as caught:
        table(bad, pl.concat([labels, labels]), FEATURES)
    assert len(caught.value.mistakes) >= 3


# ---- the folds


def changes(networks: list[int], kinds: list[int]) -> Changes:
    count = len(networks)
    return Changes(
        np.arange(count),
        np.array([f"n{n}" for n in networks]),
        np.array([(*KINDS, "describe", "discard", "announce", "withdraw")[n] for n in kinds]),
        np.zeros((count, 3), bool),
        np.full((count, 3), np.nan),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_network_and_no_held_out_kind_is_on_both_sides(data: st.DataObject) -> None:
    seed, count = data.draw(st.integers(0, 999)), data.draw(st.integers(100, 400))
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    most = data.draw(st.integers(LEAST_NETWORKS, 60))
    skewed = np.concatenate([np.arange(most), (most * random.random(count) ** 3).astype(int)])
    kinds = random.integers(data.draw(st.integers(2, 12)), size=len(skewed))
    made = changes(skewed.tolist(), kinds.tolist())
    assume(len({n for n in made.network if fold_of(n) == KNOWN}) >= LEAST_NETWORKS)
    found = split(made, seed)
    assert set(found.fold) <= set(FOLDS)
    parts = FOLDS[:-1]
    networks = {name: set(made.network[found.of(name)]) for name in parts}
    for one, other in combinations(parts, 2):
        assert not networks[one] & networks[other]
    assert not networks["test"] & set(made.network[found.of("new kind")])
    for name in (*SHARES, "validation"):
        assert not set(made.kind[found.of(name)]) & set(found.held_out)
    assert set(found.held_out) == {"drain"} & set(made.kind)
    slices = found.slices()
    assert sum(part.sum() for part in slices.values()) == (
        found.of("test").sum() + found.of("new kind").sum()
    )
    again = split(made, seed)
    assert np.array_equal(again.fold, found.fold)


def test_nothing_of_a_test_reaches_the_model() -> None:
    """The tests replaced by nonsense, the model is the same, byte for byte."""
    found, splits, model = fitted()
    tested = (splits.of("test") | splits.of("new kind") | splits.of("validation"))[found.change]
    assert tested.sum() > 1000
    x = np.where(tested[:, None], 1e6, found.x)
    unseen = splits.of("test") | splits.of("new kind") | splits.of("validation")
    came = np.where(unseen[:, None], True, found.changes.came)
    at_s = np.where(unseen[:, None], 0.1, found.changes.at_s)
    other = replace(found, x=x, changes=replace(found.changes, came=came, at_s=at_s))
    again = fit(other, splits, 3, data_seed=5, growing=GROWING, jobs=2)
    assert to_bytes(again) == to_bytes(model)


def test_sites_stay_together_and_folds_get_their_shares() -> None:
    found, splits, _ = fitted()
    site = found.changes.number // 20
    for one in np.unique(site):
        assert len({*splits.fold[site == one]} - {"new kind"}) <= 1
    known = np.isin(splits.fold, list(SHARES))
    for name, wanted in SHARES.items():
        assert abs(splits.of(name)[known].mean() - wanted) < 0.1
    assert len({*(tuple(split(found.changes, seed).fold) for seed in range(5))}) == 5


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(BadInput, match="has 1 networks to learn from"):
        split(changes([0, 1, 2] * 20, [0, 1] * 30), 1)


def test_groups_are_shared_out_as_wanted() -> None:
    group = np.repeat(np.array([f"g{n}" for n in range(100)]), 10)
    part = share_out(group, np.array([0.7, 0.2, 0.1]), np.random.default_rng(1))
    assert np.bincount(part).tolist() == [700, 200, 100]


# ---- the figures


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_figures_are_those_of_scikit_learn(seed: int, digits: int) -> None:
    """With ties, and with weights."""
    random = np.random.default_rng(seed)
    p, came = random.random(60).round(digits), random.random(60) < 0.4
    came[:2] = [True, False]
    for weight in (np.ones(60), random.integers(0, 4, 60).astype(float) + (np.arange(60) < 2)):
        expected = [
            roc_auc_score(came, p, sample_weight=weight),
            average_precision_score(came, p, sample_weight=weight),
            brier_score_loss(came, p, sample_weight=weight),
        ]
        found = [figure(p, came, weight) for figure in (auroc, average_precision, brier)]
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_calibration_error_by_hand() -> None:
    """Fifteen bins of one row each; then probabilities that are all the same share one bin."""
    p, came = np.linspace(0.1, 0.8, 15), np.arange(15) % 2 == 0
    assert ece(p, came, np.ones(15)) == pytest.approx(np.abs(p - came).mean())
    assert ece(np.full(15, 0.5), came, np.ones(15)) == pytest.approx(8 / 15 - 0.5)
    random = np.random.default_rng(1)
    p = random.random(60_000)
    honest = random.random(60_000) < p
    assert ece(p, honest, np.ones(60_000)) < 0.01
    assert ece(p**2, honest, np.ones(60_000)) > 0.1


def test_weights_count_rows_again() -> None:
    random = np.random.default_rng(4)
    p, came, times = random.random(40), random.random(40) < 0.5, random.integers(0, 3, 40)
    for name, figure in FIGURES.items():
        if name != "ECE":  # where a bin ends inside a row that counts twice, both go to one side
            assert figure(p, came, times.astype(float)) == pytest.approx(
                figure(np.repeat(p, times), np.repeat(came, times), np.ones(times.sum()))
            )


def test_one_class_has_no_ranking() -> None:
    assert math.isnan(auroc(np.array([0.1, 0.2]), np.array([True, True]), np.ones(2)))
    assert math.isnan(average_precision(np.array([0.1]), np.array([False]), np.ones(1)))


def test_intervals_draw_sites_not_looks() -> None:
    """Looks that are copies of each other make the interval no narrower."""
    random = np.random.default_rng(2)
    p = random.random(40)
    came = random.random(40) < p
    site = np.arange(40)
    once = intervals(p, came, site, 1)["Brier"]
    copied = intervals(np.tile(p, 9), np.tile(came, 9), np.tile(site, 9), 1)["Brier"]
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert once.low < once.value < once.high


# ---- calibration and abstention


def calibrated(score: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return np.array([calibrate(one, *numbers) for one in score])


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 3.0), st.floats(0.3, 3.0), st.floats(-2.0, 2.0), st.integers(0, 99))
def test_beta_calibration_finds_what_was_done_to_the_scores(
    a: float, b: float, c: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    score = random.normal(size=6_000) * 2.0
    p = calibrated(score, np.array([a, b, c]))
    came = random.random(6_000) < p
    found = calibrated(score, beta(score, came))
    assert np.abs(found - p).mean() < 0.03


@given(st.floats(-30, 30), st.floats(0, 5), st.floats(0, 5), st.floats(-5, 5))
def test_calibration_is_its_formula(score: float, a: float, b: float, c: float) -> None:
    p = 1.0 / (1.0 + math.exp(-score))
    q = 1.0 / (1.0 + math.exp(score))  # 1 - p would round to 0
    told = a * math.log(p) - b * math.log(q) + c
    assert calibrate(score, a, b, c) == pytest.approx(1.0 / (1.0 + math.exp(-told)), rel=1e-9)


def test_calibration_keeps_the_order_whatever_the_answers() -> None:
    score = np.linspace(-30.0, 30.0, 200)
    numbers = beta(score, score < 0)  # the answers turned around
    assert (np.diff(calibrated(score, numbers)) >= 0).all()
    assert np.isfinite(calibrated(np.array([-1e9, 1e9]), numbers)).all()


def test_a_conformal_bound_is_exceeded_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    exceeded = [
        (random.normal(size=400) > conformal_bound(random.normal(size=99), 0.1)).mean()
        for _ in range(400)
    ]
    assert 0.09 < np.mean(exceeded) <= 0.101
    assert conformal_bound(np.zeros(3), 0.1) == math.inf


# ---- the model


def test_it_tells_failures_on_networks_it_has_never_seen() -> None:
    """By how much is measured on the real history; here, that it is far better than chance."""
    found, splits, model = fitted()
    for phase in PHASES:
        for mode in range(len(MODES)):
            rows, came = found.outcomes(found.rows(phase, splits.of("test")), mode, HORIZON_S)
            p = model.probabilities(found.x[rows], phase)[:, mode]
            assert roc_auc_score(came, p) > 0.8
            assert abs(p.mean() - came.mean()) < 0.05
            assert brier_score_loss(came, p) < 0.95 * came.mean() * (1 - came.mean())


def test_it_abstains_rarely_on_the_like_of_training_and_always_on_nothing_at_all() -> None:
    found, splits, model = fitted()
    for phase in PHASES:
        rows = found.rows(phase, splits.of("test"))
        assert model.unknown(found.x[rows], phase).mean() < 4 * ABSTAIN
        assert model.unknown(np.full((1, len(FEATURES)), np.nan), phase).all()
        foreign = found.x[rows[:50]] + 100.0
        assert model.unknown(foreign, phase).all()
        partly = found.x[rows].copy()
        partly[:, 3] = np.nan  # as in a third of the rows of training
        assert model.unknown(partly, phase).mean() < 4 * ABSTAIN


def test_the_time_to_failure_is_better_than_always_the_same() -> None:
    found, splits, model = fitted()
    for timed in measure_time(model, found, splits):
        assert timed.looks > 50
        assert timed.factor < timed.always


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    found, splits, model = fitted()
    again = fit(found, splits, 3, data_seed=5, growing=GROWING, jobs=2)
    assert to_bytes(again) == to_bytes(model)
    other = fit(found, splits, 4, data_seed=5, growing=GROWING, jobs=2)
    assert to_bytes(replace(other, seed=3)) != to_bytes(model)


def test_a_mode_that_hardly_ever_comes_gets_its_rate() -> None:
    found, splits, _ = fitted()
    rare = np.zeros(len(found.changes.number), bool)
    rare[np.flatnonzero(splits.of("train") & found.changes.came[:, 2])[:3]] = True
    came = found.changes.came.copy()
    came[:, 2] = rare
    at_s = np.where(came, found.changes.at_s, np.nan)
    other = replace(found, changes=replace(found.changes, came=came, at_s=at_s))
    model = fit(other, splits, 3, growing=GROWING)
    for phase in PHASES:
        rows, answer = other.outcomes(found.rows(phase, splits.of("train")), 2, HORIZON_S)
        p = model.probabilities(found.x[rows], phase)[:, 2]
        assert np.ptp(p) == 0.0
        assert p[0] == pytest.approx((answer.sum() + 1) / (len(answer) + 2))


def test_a_feature_that_is_never_known_is_learned_without() -> None:
    """scikit-learn alone raises ValueError for such a column."""
    found, splits, _ = fitted()
    x = found.x.copy()
    x[:, 5] = np.nan
    model = fit(replace(found, x=x), splits, 3, growing=GROWING)
    shadow = model.phases["shadow"]
    assert shadow.contributions(x[0], 0)[5] == 0.0
    # Once it is known it counts as strange, since nobody has seen what it does.
    assert (shadow.outside(found.x) == shadow.outside(x) + 1).all()


def test_reasons_name_what_the_failure_was_made_of() -> None:
    """Mode n follows from feature n, so a sure forecast of it names that feature first."""
    found, splits, model = fitted()
    rows = found.rows("shadow", splits.of("test"))
    look = model.look(found.x[rows], "shadow")
    for mode in range(len(MODES)):
        row = rows[np.argmax(look.probabilities[:, mode])]
        assert model.reasons(found.x[row], "shadow", mode)[0][0] == FEATURES[mode]
        forecast = forecast_of_row(model, found.x[row], "shadow")
        reason = next(r for r in forecast.reasons if r.mode == MODES[mode])
        assert reason.text.startswith((FEATURES[mode], "not known"))


def test_a_forecast_of_a_strange_row_is_unknown_and_says_so() -> None:
    _, _, model = fitted()
    forecast = forecast_of_row(model, np.full(len(FEATURES), np.nan), "production")
    assert forecast.unknown == MODES
    assert forecast.worst == 0.0
    assert {reason.mode for reason in forecast.reasons} == set(MODES)
    assert all("are unlike any change" in reason.text for reason in forecast.reasons)


def test_the_card_goes_with_the_model() -> None:
    found, splits, model = fitted()
    measured = measure(model, found, splits, 1, draws=20)
    assert {m.tests for m in measured} == {"new network", "new network and kind", "new kind"}
    carded = with_card(model, found, splits, measured, measure_time(model, found, splits))
    assert from_bytes(to_bytes(carded)).card == carded.card
    assert "Limits:" in carded.card
    assert splits.held_out[0] in carded.card


# ---- the command, and the model that stands


@pytest.fixture(scope="module")
def trained() -> tuple[dict[str, Any], Path]:
    """What `train --json` said, and the model it wrote."""
    return learned().said, learned().model


def test_train_writes_a_model_and_says_how_good_it_is(trained: tuple[dict[str, Any], Path]) -> None:
    said, out = trained
    model = load(out, NAMES)
    assert (said["out"], model.seed, model.data_seed) == (str(out), 2, 11)
    assert {(m["phase"], m["mode"]) for m in said["tests"]} == {
        (p, m) for p in PHASES for m in MODES
    }
    assert all(
        f["low"] <= f["value"] <= f["high"]
        for m in said["tests"] for name, f in m["figures"].items()
        if name != "ECE"  # what is drawn with repetition looks worse calibrated than it is
        and f["value"] is not None and f["low"] is not None and m["looks"] > 200
    )  # fmt: skip
    assert f"{said['tests'][0]['looks']} |" in model.card


def test_train_without_a_history_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shadowsim history"):
        train([tmp_path], out=tmp_path / "m", seed=0, jobs=1, mlflow="off", as_json=True)


def test_the_variant_forecasts_with_the_model_that_stands(
    trained: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOWSIM_MODEL", str(trained[1]))
    precog = supervised(whatif())
    seen = evidence("device B\ninterface to-T\n shutdown\n")
    for phase in PHASES:
        forecast = precog.forecast(replace(seen, phase=phase))
        assert tuple(forecast.probabilities) == MODES
        # Its topology is none of those, so most of it is unlike anything learned from.
        assert forecast.unknown == MODES


def test_a_missing_damaged_or_foreign_model_is_told_plainly(
    trained: tuple[dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.model"
    monkeypatch.setenv("SHADOWSIM_MODEL", str(path))
    with pytest.raises(BadInput, match=r"m\.model: cannot be read"):
        standing_model()
    path.write_bytes(trained[1].read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"m\.model: no model file"):
        standing_model()
    save(fitted()[2], path)
    with pytest.raises(BadInput, match=r"m\.model: a model for other features"):
        standing_model()
    path.write_bytes(trained[1].read_bytes())
    assert standing_model().data_seed == 11


def test_where_the_model_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHADOWSIM_MODEL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert model_path().parent.name == "trained"
    own = tmp_path / "shadowsim" / "supervised.model"
    own.parent.mkdir()
    own.touch()
    assert model_path() == own
    monkeypatch.setenv("SHADOWSIM_MODEL", "/elsewhere")
    assert model_path() == Path("/elsewhere")
