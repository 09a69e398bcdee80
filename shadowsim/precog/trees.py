"""Boosted trees as plain arrays: rows of features to raw scores, and what moved a score."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.maxmin import compiled
from shadowsim.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Marks = npt.NDArray[np.uint8]

LEAF = -1


@dataclass(frozen=True, eq=False)
class Trees:
    """`G` sums of binary trees over one table of `N` nodes. One that exists can be walked.

    Output g is `baseline[g]` and the leaves of the trees `first[g]` to `first[g + 1] - 1`. A tree
    begins at node `root[t]` and ends before the next; its nodes stand in preorder. At node n a row
    goes left, to n + 1, where its feature `feature[n]` is at most `threshold[n]`; right, to
    `right[n]`, where it is greater; and where it is nan, left if `nan_left[n]`. A node is a leaf
    where `feature[n]` is LEAF. `value[n]` is what a leaf adds; of an inner node it is what the
    training rows that came through it got on average.

    Raises BadInput where a walk would not end, or would read what is not there.
    """

    n_features: int
    baseline: Floats  # [G]
    first: Ints  # [G + 1]
    root: Ints  # [T]
    feature: Ints  # [N]
    threshold: Floats  # [N]
    nan_left: Marks  # [N]
    right: Ints  # [N]
    value: Floats  # [N]

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise BadInput(f"these trees cannot be walked: {wrong}")

    @property
    def outputs(self) -> int:
        return len(self.baseline)

    def raw(self, x: Floats) -> Floats:
        """`[R, G]`: the raw scores of rows `[R, n_features]`."""
        rows = np.ascontiguousarray(x, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"rows of {self.n_features} features, not an array {rows.shape}")
        out = np.empty((len(rows), self.outputs))
        _walk(
            rows, self.baseline, self.first, self.root, self.feature, self.threshold,
            self.nan_left, self.right, self.value, out,
        )  # fmt: skip
        return out

    def contributions(self, x: Floats, outputs: range) -> Floats:
        """`[n_features]`: by how much each feature of one row moved the mean of these outputs.

        What a step of the walk changes in the expected value is credited to the feature that is
        asked there (Saabas, "Interpreting random forests", 2014; Palczewska et al., "Interpreting
        random forest models using a feature contribution method", IRI 2013). With `expected` they
        add up to the mean of the raw scores. The order of the questions matters: where Shapley
        values would share a joint effect, these credit it to the question nearer the leaf.
        """
        found = np.zeros(self.n_features)
        _credit(
            np.ascontiguousarray(x, np.float64), outputs.start, outputs.stop, self.first, self.root,
            self.feature, self.threshold, self.nan_left, self.right, self.value, found,
        )  # fmt: skip
        return found / max(len(outputs), 1)

    def expected(self) -> Floats:
        """`[G]`: the raw score before any feature is known."""
        sums = np.concatenate([[0.0], np.cumsum(self.value[self.root])])
        found: Floats = self.baseline + sums[self.first[1:]] - sums[self.first[:-1]]
        return found


KINDS = {
    "baseline": np.float64, "first": np.int32, "root": np.int32, "feature": np.int32,
    "threshold": np.float64, "nan_left": np.uint8, "right": np.int32, "value": np.float64,
}  # fmt: skip
ARRAYS = tuple(field.name for field in fields(Trees) if field.name in KINDS)


def _wrong(t: Trees) -> str:
    """What is wrong with these arrays; empty where nothing is."""
    for name in ARRAYS:
        array = getattr(t, name)
        if array.ndim != 1 or array.dtype != KINDS[name]:
            return f"'{name}' is not a row of {np.dtype(KINDS[name]).name}"
    nodes, trees = len(t.feature), len(t.root)
    if any(len(getattr(t, name)) != nodes for name in ("threshold", "nan_left", "right", "value")):
        return "the columns of the table of nodes differ in length"
    if len(t.first) != t.outputs + 1 or t.first[0] != 0 or t.first[-1] != trees:
        return "the outputs do not share out the trees"
    if (np.diff(t.first) < 0).any():
        return "an output ends before it begins"
    begins = np.append(t.root, nodes).astype(np.int64)
    if begins[0] != 0 or (np.diff(begins) <= 0).any():
        return "the trees do not share out the nodes"
    if not (np.isfinite(t.baseline).all() and np.isfinite(t.value).all()):
        return "a value is no number"
    return _wrong_inside(t, begins)


def _wrong_inside(t: Trees, begins: npt.NDArray[np.int64]) -> str:
    inner = np.flatnonzero(t.feature != LEAF)
    if ((t.feature[inner] < 0) | (t.feature[inner] >= t.n_features)).any():
        return f"a feature is asked for that is none of the {t.n_features}"
    if np.isnan(t.threshold[inner]).any():
        return "a threshold is no number"
    ends = begins[np.searchsorted(begins, inner, side="right")]
    right = t.right[inner].astype(np.int64)
    # Both ways lead on and stay inside the tree, so its last node is a leaf and a walk ends.
    if ((right <= inner + 1) | (right >= ends)).any():
        return "a way leads back, or out of its tree"
    return ""


@compiled
def _walk(
    x: Floats, baseline: Floats, first: Ints, root: Ints, feature: Ints, threshold: Floats,
    nan_left: Marks, right: Ints, value: Floats, out: Floats,
) -> None:  # fmt: skip
    for row in range(x.shape[0]):
        for output in range(baseline.shape[0]):
            total = baseline[output]
            for tree in range(first[output], first[output + 1]):
                node = root[tree]
                while feature[node] >= 0:
                    known = x[row, feature[node]]
                    left = known <= threshold[node] or (known != known and nan_left[node] != 0)
                    node = node + 1 if left else right[node]
                total += value[node]
            out[row, output] = total


@compiled
def _credit(
    x: Floats, begin: int, end: int, first: Ints, root: Ints, feature: Ints, threshold: Floats,
    nan_left: Marks, right: Ints, value: Floats, found: Floats,
) -> None:  # fmt: skip
    for tree in range(first[begin], first[end]):
        node = root[tree]
        while feature[node] >= 0:
            asked, was = feature[node], value[node]
            known = x[asked]
            left = known <= threshold[node] or (known != known and nan_left[node] != 0)
            node = node + 1 if left else right[node]
            found[asked] += value[node] - was
