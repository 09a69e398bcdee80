"""A fitted model to one file without pickle, and back; what was altered is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from shadowsim.errors import BadInput
from shadowsim.model.truth import MODES
from shadowsim.precog import packed
from shadowsim.precog.model import PHASES, Model, PhaseModel, check
from shadowsim.precog.packed import (
    DIGEST,
    Frozen,
)
from shadowsim.precog.trees import ARRAYS, KINDS, Trees

MOST_FEATURES = 10_000
MOST_MEMBERS = 64
DOCUMENT = "model.json"

# The arrays of a phase beside those of its trees.
OWN: Mapping[str, Any] = {
    "calibration": np.float64, "most_apart": np.float64, "low": np.float64, "high": np.float64,
    "always": np.bool_,
}  # fmt: skip
COLUMNS = {**{f"trees.{name}": KINDS[name] for name in ARRAYS}, **OWN}
MEMBERS = (
    DIGEST,
    DOCUMENT,
    *(f"{phase}.{name}.npy" for phase in PHASES for name in COLUMNS),
)


class _Phase(Frozen):
    members: int = Field(ge=1, le=MOST_MEMBERS)
    most_outside: int = Field(ge=0)


class _Document(Frozen):
    format: Literal["shadowsim.model/1"] = "shadowsim.model/1"
    features: tuple[str, ...] = Field(min_length=1, max_length=MOST_FEATURES)
    phases: dict[str, _Phase]
    horizon_s: float = Field(gt=0)
    seed: int
    data_seed: int | None
    versions: dict[str, str]
    card: str


def save(model: Model, path: Path) -> None:
    """Write a model to a file, whole or not at all. Raises BadInput where it cannot be written."""
    packed.save(to_bytes(model), path)


def load(path: Path, features: Sequence[str] | None = None) -> Model:
    """The model in a file. Raises BadInput if it is none, is damaged, or is for other features."""

    def made_of(data: bytes) -> Model:
        model = from_bytes(data)
        if features is not None:
            packed.check_same(model.features, features, "shadowsim train")
        return model

    return packed.load(path, made_of)


def to_bytes(model: Model) -> bytes:
    """A model as the bytes of its file; the same for equal models."""
    check(model)
    parts = {DOCUMENT: _document(model)}
    for phase in PHASES:
        for name in COLUMNS:
            parts[f"{phase}.{name}.npy"] = packed.row_bytes(_column(model.phases[phase], name))
    return packed.packed(parts)


def from_bytes(data: bytes) -> Model:
    """The model in the bytes of a file. Raises BadInput if there is none in them."""
    parts = packed.unpacked(data, MEMBERS, DOCUMENT, "model")
    return _model(packed.document_of(_Document, parts[DOCUMENT]), parts)


def _document(model: Model) -> bytes:
    document = _Document(
        features=model.features,
        phases={
            name: _Phase(members=phase.members, most_outside=phase.most_outside)
            for name, phase in model.phases.items()
        },
        horizon_s=model.horizon_s,
        seed=model.seed,
        data_seed=model.data_seed,
        versions=dict(model.versions),
        card=model.card,
    )
    text = json.dumps(document.model_dump(mode="json"), sort_keys=True, indent=1)
    return text.encode()


def _model(document: _Document, parts: Mapping[str, bytes]) -> Model:
    if set(document.phases) != set(PHASES):
        raise BadInput(f"a model has the phases {' and '.join(PHASES)}")
    if len(set(document.features)) < len(document.features):
        raise BadInput("two features of one name")
    phases = {}
    for name, phase in document.phases.items():
        columns = {c: packed.row_of(c, parts[f"{name}.{c}.npy"], COLUMNS[c]) for c in COLUMNS}
        trees = Trees(len(document.features), *(columns[f"trees.{n}"] for n in ARRAYS))
        if columns["calibration"].size != 3 * len(MODES):
            raise BadInput(f"{name}: 'calibration' is not made for {len(MODES)} modes")
        columns["calibration"] = columns["calibration"].reshape(3, -1)
        own = {own: columns[own] for own in OWN}
        phases[name] = PhaseModel(phase.members, trees, most_outside=phase.most_outside, **own)
    model = Model(
        document.features, phases, document.horizon_s, document.seed, document.data_seed,
        document.versions, document.card,
    )  # fmt: skip
    check(model)
    return model


def _column(phase: PhaseModel, name: str) -> np.ndarray:
    array = getattr(phase if name in OWN else phase.trees, name.removeprefix("trees."))
    return np.ascontiguousarray(array, np.dtype(COLUMNS[name]).newbyteorder("<")).ravel()
