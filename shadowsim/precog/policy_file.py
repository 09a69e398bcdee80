"""A policy to one file without pickle, and back; what was altered is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from shadowsim.errors import BadInput
from shadowsim.precog import packed
from shadowsim.precog.actions import ACTIONS
from shadowsim.precog.model_file import MOST_FEATURES
from shadowsim.precog.packed import DIGEST, Frozen
from shadowsim.precog.policy import MOST_LAYERS, WIDEST, Policy

DOCUMENT, WEIGHTS = "policy.json", "weights.npy"
MEMBERS = (DIGEST, DOCUMENT, WEIGHTS)


class _Document(Frozen):
    """`sizes`: of the layers, what goes in first; their weights and biases stand one after another
    in one row, each layer's weights, output by output, before its biases.
    """

    format: Literal["shadowsim.policy/1"] = "shadowsim.policy/1"
    algorithm: str
    names: tuple[str, ...] = Field(min_length=1, max_length=MOST_FEATURES)
    actions: tuple[str, ...]
    drawn: bool
    masked: bool
    activation: str
    sizes: tuple[int, ...] = Field(min_length=2, max_length=MOST_LAYERS + 1)
    seed: int
    versions: dict[str, str]
    card: str


def save(policy: Policy, path: Path) -> None:
    """Write a policy to a file, whole or not at all. Raises BadInput if it cannot be written."""
    packed.save(to_bytes(policy), path)


def load(path: Path) -> Policy:
    """The policy in a file. Raises BadInput if it is none, is damaged, or reads or does what
    nobody here knows.
    """
    return packed.load(path, from_bytes)


def to_bytes(policy: Policy) -> bytes:
    """A policy as the bytes of its file; the same for equal policies."""
    document = _Document(
        algorithm=policy.algorithm, names=policy.names, actions=ACTIONS, drawn=policy.drawn,
        masked=policy.masked, activation=policy.activation, sizes=policy.sizes, seed=policy.seed,
        versions=dict(policy.versions), card=policy.card,
    )  # fmt: skip
    layers = zip(policy.weights, policy.biases, strict=True)
    row = np.concatenate([part.ravel() for layer in layers for part in layer])
    text = json.dumps(document.model_dump(mode="json"), sort_keys=True, indent=1)
    weights = packed.row_bytes(np.ascontiguousarray(row, np.dtype(np.float32).newbyteorder("<")))
    return packed.packed({DOCUMENT: text.encode(), WEIGHTS: weights})


def from_bytes(data: bytes) -> Policy:
    """The policy in the bytes of a file. Raises BadInput if there is none in them."""
    parts = packed.unpacked(data, MEMBERS, DOCUMENT, "policy")
    document = packed.document_of(_Document, parts[DOCUMENT])
    if document.actions != ACTIONS:
        raise BadInput("a policy for other actions; train it anew: shadowsim train-rl")
    if not all(1 <= size <= max(WIDEST, MOST_FEATURES) for size in document.sizes):
        raise BadInput(f"its layers have sizes that cannot be: {document.sizes}")
    row = packed.row_of(WEIGHTS, parts[WEIGHTS], np.float32)
    ends = np.cumsum([count for a, b in pairwise(document.sizes) for count in (a * b, b)])
    if ends[-1] != len(row):
        raise BadInput(f"its layers have {ends[-1]} weights, not {len(row)}")
    found = np.split(row, ends[:-1])
    shapes = list(pairwise(document.sizes))
    return Policy(
        document.algorithm, document.names, document.drawn, document.masked, document.activation,
        tuple(part.reshape(b, a) for part, (a, b) in zip(found[::2], shapes, strict=True)),
        tuple(found[1::2]), document.seed, document.versions, document.card,
    )  # fmt: skip
