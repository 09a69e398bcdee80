"""Boosted trees of scikit-learn to plain arrays that need no scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shadowsim.learning.dataset import Floats
from shadowsim.precog.trees import LEAF, Trees


@dataclass(frozen=True, eq=False)
class Grown:
    """One output: what it says before any tree, and the node tables of its trees."""

    baseline: float
    tables: Sequence[Any]


def grown(model: Any, iterations: int | None = None) -> Grown:
    """A fitted HistGradientBoostingClassifier (of two classes) or -Regressor, up to an iteration.

    Raises ValueError for trees that a walk of ours could not follow.
    """
    tables = [table.nodes for (table,) in model._predictors[:iterations]]
    return Grown(float(np.ravel(model._baseline_prediction)[0]), tables)


def trees_of(outputs: Sequence[Grown], n_features: int) -> Trees:
    """These outputs as one `Trees`. A walk gives what `decision_function`, or `predict`, does."""
    tables = [table for output in outputs for table in output.tables]
    sizes = np.array([len(table) for table in tables], dtype=np.int64)
    root = np.cumsum(sizes) - sizes
    nodes = np.concatenate(tables) if tables else np.zeros(0, _NOTHING)
    start = np.repeat(root, sizes)
    leaf = nodes["is_leaf"].astype(bool)
    if nodes["is_categorical"].any():
        raise ValueError("a split by category cannot be walked")
    here = np.arange(len(nodes)) - start
    if (nodes["left"][~leaf] != here[~leaf] + 1).any():
        raise ValueError("the nodes do not stand in preorder")
    return Trees(
        n_features,
        baseline=np.array([output.baseline for output in outputs]),
        first=np.cumsum([0, *(len(output.tables) for output in outputs)]).astype(np.int32),
        root=root.astype(np.int32),
        feature=np.where(leaf, LEAF, nodes["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64),
        nan_left=np.where(leaf, 0, nodes["missing_go_to_left"]).astype(np.uint8),
        right=np.where(leaf, 0, nodes["right"] + start).astype(np.int32),
        value=_means(nodes, leaf, start),
    )


_NOTHING = np.dtype([
    ("value", "f8"), ("count", "u4"), ("feature_idx", "i8"), ("num_threshold", "f8"),
    ("missing_go_to_left", "u1"), ("left", "u4"), ("right", "u4"), ("is_leaf", "u1"),
    ("is_categorical", "u1"),
])  # fmt: skip


def _means(nodes: Any, leaf: Any, start: Any) -> Floats:
    """The value of every leaf; of an inner node the mean over the training rows beneath."""
    value = np.where(leaf, nodes["value"], 0.0).astype(np.float64)
    count = nodes["count"].astype(np.float64)
    right = nodes["right"] + start
    for node in np.flatnonzero(~leaf)[::-1]:  # in preorder, what is beneath comes later
        ways = np.array([node + 1, right[node]])
        value[node] = np.average(value[ways], weights=count[ways])
    return value
