"""What several variants say to one probability per failure mode, by weights that were learned.

A stack is kept as JSON with a digest of its content, and everything in it is checked when it is
read: it may come from a stranger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.special import expit, logit

from shadowsim.errors import BadInput
from shadowsim.model.truth import MODES
from shadowsim.precog import packed
from shadowsim.precog.model import PHASES

Floats = npt.NDArray[np.float64]

SUREST = 0.998  # nobody is taken to be surer than this, or than the contrary
LARGEST_BYTES = 1 << 20
MOST_WEIGHT = 1e3


@dataclass(frozen=True, eq=False)
class Weights:
    """Of one phase: `said[modes, variants]` weighs the log odds that a variant gives a mode, never
    below 0; `silent[modes, variants]` is added where it gives none; `bias[modes]`.
    """

    said: Floats
    silent: Floats
    bias: Floats


@dataclass(frozen=True, eq=False)
class Stack:
    """A logistic regression of each mode on what the variants say of it (Wolpert, "Stacked
    generalization", Neural Networks 5, 1992). No weight is negative, so no variant that gets surer
    of a failure makes it less probable.
    """

    variants: tuple[str, ...]
    phases: Mapping[str, Weights]
    seed: int

    def probabilities(self, said: Floats, phase: str) -> Floats:
        """`[R, modes]` from `said[R, variants, modes]`, nan where a variant has no number."""
        weights = self.phases[phase]
        odds, silent = inputs(said)
        found: Floats = expit(
            np.einsum("rvm,mv->rm", odds, weights.said)
            + np.einsum("rvm,mv->rm", silent, weights.silent)
            + weights.bias
        )
        return found


def inputs(said: Floats) -> tuple[Floats, Floats]:
    """Log odds of what was said, 0 where nothing was; and 1 there, else 0."""
    silent = ~np.isfinite(said)
    known = np.clip(np.where(silent, 0.5, said), 1.0 - SUREST, SUREST)
    return np.asarray(logit(known)), silent.astype(np.float64)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Weights(_Frozen):
    said: tuple[tuple[float, ...], ...]
    silent: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]


class _Document(_Frozen):
    format: Literal["shadowsim.stack/1"] = "shadowsim.stack/1"
    variants: tuple[str, ...] = Field(min_length=1, max_length=100)
    seed: int
    phases: dict[str, _Weights]


def to_text(stack: Stack) -> str:
    """The document of a stack: a line with its digest, and its content."""
    phases = {
        name: _Weights(said=_rows(w.said), silent=_rows(w.silent), bias=tuple(w.bias.tolist()))
        for name, w in stack.phases.items()
    }
    document = _Document(variants=stack.variants, seed=stack.seed, phases=phases)
    content = json.dumps(document.model_dump(mode="json"), indent=1)
    return f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}\n"


def _rows(array: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in array.tolist())


def read_stack(path: Path, variants: tuple[str, ...]) -> Stack:
    """The stack of a file, for these variants. Raises BadInput if it is altered or of others."""

    def made_of(data: bytes) -> Stack:
        try:
            found = from_text(data.decode())
        except (ValueError, RecursionError) as error:
            raise BadInput(f"no stack, damaged or altered: {error}") from None
        if found.variants != variants:
            learned, wanted = ", ".join(found.variants), ", ".join(variants)
            raise BadInput(f"learned whom of {learned} to believe; wanted is one for {wanted}")
        return found

    return packed.load(path, made_of)


def from_text(text: str) -> Stack:
    """The stack of a document. Raises ValueError with what is wrong."""
    digest, _, content = text.partition("\n")
    content = content.removesuffix("\n")
    if len(text) > LARGEST_BYTES or digest != hashlib.sha256(content.encode()).hexdigest():
        raise ValueError("its digest is not that of its content")
    try:
        document = _Document.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"not a stack: {error.errors()[0]['msg']}") from None
    if set(document.phases) != set(PHASES):
        raise ValueError(f"a stack has the phases {' and '.join(PHASES)}")
    shape = (len(MODES), len(document.variants))
    phases = {name: _weights(weights, shape) for name, weights in document.phases.items()}
    return Stack(document.variants, phases, document.seed)


def _weights(document: _Weights, shape: tuple[int, int]) -> Weights:
    parts = (document.said, document.silent)
    if any(len(part) != shape[0] or any(len(row) != shape[1] for row in part) for part in parts):
        raise ValueError("its weights are not those of its variants and modes")
    found = Weights(*(np.array(part) for part in (*parts, document.bias)))
    everything = np.concatenate([found.said.ravel(), found.silent.ravel(), found.bias])
    if found.bias.shape != shape[:1] or (np.abs(everything) > MOST_WEIGHT).any():
        raise ValueError("its weights are not those of a stack")
    if (found.said < 0.0).any():
        raise ValueError("a weight is negative, so a surer variant would be believed less")
    return found
