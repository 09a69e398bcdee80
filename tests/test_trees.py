"""Boosted trees as arrays: the same numbers as scikit-learn's, and walks that always end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_history import stump
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from shadowsim.errors import BadInput
from shadowsim.learning.extract import Grown, grown, trees_of
from shadowsim.precog.trees import LEAF

FEATURES = 6


def data(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a tenth missing, with ties, and with the infinities that a threshold can meet."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, FEATURES)).round(random.integers(0, 4))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * random.normal(size=rows)
    x[random.random(x.shape) < 0.1] = np.nan
    return x, y


def fitted(seed: int) -> list[Any]:
    x, y = data(seed)
    common: dict[str, Any] = {"max_iter": 20, "max_leaf_nodes": 8, "min_samples_leaf": 5}
    classifier = HistGradientBoostingClassifier(random_state=seed, **common).fit(x, y > 0.2)
    regressor = HistGradientBoostingRegressor(
        random_state=seed, loss="absolute_error", **common
    ).fit(x, y)
    return [classifier, regressor]


def raw(model: Any, x: np.ndarray) -> np.ndarray:
    return model.decision_function(x) if hasattr(model, "classes_") else model.predict(x)


MODELS = fitted(1)
TREES = trees_of([grown(model) for model in MODELS], FEATURES)
cells = st.one_of(
    st.floats(-4, 4), st.sampled_from([np.nan, 0.0, -0.0, 1.0, 1e300, -1e300]),
    st.sampled_from(sorted({*TREES.threshold.tolist()} - {np.inf})),
)  # fmt: skip
rows = arrays(np.float64, st.tuples(st.integers(1, 9), st.just(FEATURES)), elements=cells)


@settings(max_examples=300, deadline=None)
@given(rows)
def test_a_walk_gives_what_scikit_learn_does(x: np.ndarray) -> None:
    """On thresholds themselves, beside them, and where values are missing."""
    expected = np.stack([raw(model, x) for model in MODELS], axis=1)
    np.testing.assert_allclose(TREES.raw(x), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(2, 8))
def test_for_other_trees_too_row_by_row_and_all_at_once(seed: int) -> None:
    models = fitted(seed)
    trees = trees_of([grown(model) for model in models], FEATURES)
    x, _ = data(seed + 100)
    expected = np.stack([raw(model, x) for model in models], axis=1)
    np.testing.assert_allclose(trees.raw(x), expected, rtol=0, atol=1e-9)
    one_by_one = np.concatenate([trees.raw(row[None]) for row in x])
    assert np.array_equal(one_by_one, trees.raw(x))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_infinite_values_go_where_they_go_there() -> None:
    x, y = data(3)
    x[:40, 0] = np.inf
    x[40:80, 0] = -np.inf
    model = HistGradientBoostingRegressor(max_iter=15, min_samples_leaf=5).fit(x, y)
    trees = trees_of([grown(model)], FEATURES)
    np.testing.assert_allclose(trees.raw(x)[:, 0], model.predict(x), rtol=0, atol=1e-9)


def test_fewer_iterations_are_the_first_ones() -> None:
    x, _ = data(9)
    early = trees_of([grown(MODELS[0], 7)], FEATURES)
    staged = list(MODELS[0].staged_decision_function(x))
    np.testing.assert_allclose(early.raw(x)[:, 0], staged[6].ravel(), rtol=0, atol=1e-9)
    assert np.allclose(trees_of([grown(MODELS[0], 0)], FEATURES).raw(x), early.baseline[0])


@settings(max_examples=100, deadline=None)
@given(rows)
def test_contributions_add_up_to_the_score(x: np.ndarray) -> None:
    for output in range(TREES.outputs):
        moved = TREES.contributions(x[0], range(output, output + 1))
        total = TREES.expected()[output] + moved.sum()
        assert total == pytest.approx(TREES.raw(x[:1])[0, output], abs=1e-9)


def test_the_expected_score_is_the_mean_over_the_training_rows() -> None:
    """So a contribution is measured from what is said of a row of which nothing is known."""
    x, y = data(1)
    model = HistGradientBoostingRegressor(max_iter=20, min_samples_leaf=5).fit(x, y)
    trees = trees_of([grown(model)], FEATURES)
    assert trees.expected()[0] == pytest.approx(model.predict(x).mean(), abs=1e-9)


def test_what_no_tree_asks_for_moves_nothing() -> None:
    x, y = data(5)
    x[:, 4] = 1.0  # a constant is never split by
    model = HistGradientBoostingRegressor(max_iter=20, min_samples_leaf=5).fit(x, y)
    moved = trees_of([grown(model)], FEATURES).contributions(x[0], range(1))
    assert moved[4] == 0.0
    assert np.abs(moved).max() > 0.0


def test_an_output_may_have_no_trees() -> None:
    trees = trees_of([Grown(-2.0, ()), Grown(0.5, ())], 3)
    assert trees.raw(np.zeros((2, 3))).tolist() == [[-2.0, 0.5], [-2.0, 0.5]]
    assert trees.contributions(np.zeros(3), range(2)).tolist() == [0.0, 0.0, 0.0]


# ---- what cannot be walked


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_the_stump_itself_walks() -> None:
    x = np.array([[-1.0, 0.0], [1.0, 0.0], [np.nan, 0.0]])
    assert stump().raw(x)[:, 0].tolist() == [-1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "different",
    [
        {"right": ints(0, 0, 0)},
        {"right": ints(1, 0, 0)},
        {"right": ints(-1, 0, 0)},
        {"right": ints(3, 0, 0)},
        {"right": ints(2**31 - 1, 0, 0)},
        {"feature": ints(2, LEAF, LEAF)},
        {"feature": ints(-2, LEAF, LEAF)},
        {"feature": ints(0, LEAF, 1)},
        {"feature": ints(0, 1, LEAF)},
        {"first": ints(0, 2)},
        {"first": ints(1, 1)},
        {"first": ints(0)},
        {"first": ints()},
        {"root": ints(1)},
        {"root": ints(-1)},
        {"root": ints(0, 0), "first": ints(0, 2)},
        {"root": ints(0, 3), "first": ints(0, 2)},
        {"first": ints(0, 2, 1), "baseline": np.zeros(2)},
        {"threshold": np.array([np.nan, 0.0, 0.0])},
        {"threshold": np.zeros(2)},
        {"threshold": np.zeros(3, np.float32)},
        {"value": np.array([0.0, np.inf, 1.0])},
        {"baseline": np.array([np.nan])},
        {"feature": np.zeros((3, 1), np.int32)},
    ],
    ids=str,
)
def test_what_cannot_be_walked_cannot_be_made(different: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="cannot be walked"):
        stump(**different)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.integers(-3, 7), min_size=5, max_size=5),
    st.lists(st.integers(-2, 6), min_size=5, max_size=5),
    st.lists(st.integers(-1, 6), min_size=1, max_size=3),
)
def test_any_numbers_make_trees_that_end_or_none(
    right: list[int], feature: list[int], root: list[int]
) -> None:
    """A slow walk that counts its steps: no way through what was let in comes by a node twice."""
    try:
        stump(
            right=ints(*right), feature=ints(*feature), root=ints(*root), threshold=np.zeros(5),
            first=ints(0, len(root)), nan_left=np.zeros(5, np.uint8), value=np.zeros(5),
        )  # fmt: skip
    except BadInput:
        return
    for start in root:
        ahead = [start]
        for _ in range(64):
            ahead = [way for node in ahead if feature[node] >= 0 for way in (node + 1, right[node])]
            assert all(0 <= node < 5 for node in ahead)
        assert ahead == []


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of 2 features"):
        stump().raw(np.zeros((1, 3)))
    assert replace(stump()).raw(np.zeros((0, 2))).shape == (0, 1)
