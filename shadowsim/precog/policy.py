"""A learned policy and what is observed to how probable it makes each action, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shadowsim.errors import BadInput
from shadowsim.precog.actions import ACTIONS, WAIT
from shadowsim.precog.model import Bools
from shadowsim.precog.observation import PART, observed
from shadowsim.precog.trees import Floats

Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

TOLD = tuple(name for name in observed(supervised=True) if name != PART)  # to a forecast
ACTIVATIONS = ("relu", "tanh")
MOST_LAYERS, WIDEST = 8, 4096


@dataclass(frozen=True, eq=False)
class Policy:
    """A network of fully connected layers, `weights[l][out, in]` and `biases[l][out]`, with an
    activation between them, from the numbers of an observation called `names` to one of each of
    ACTIONS.

    These are log odds of a distribution over the actions if `drawn`; else values, of which it takes
    the greatest. If it was `masked` when it learned, what is closed has no part in that; else what
    is closed counts as waiting, as it did then.
    """

    algorithm: str
    names: tuple[str, ...]
    drawn: bool
    masked: bool
    activation: str
    weights: tuple[Singles, ...]
    biases: tuple[Singles, ...]
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    card: str = ""

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise BadInput(f"no policy that can be followed: {wrong}")

    @property
    def supervised(self) -> bool:
        """Whether it reads what the supervised model says."""
        return not set(self.names) <= set(observed(supervised=False))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers go into each layer, and come out of the last."""
        return (self.weights[0].shape[1], *(len(bias) for bias in self.biases))

    def scores(self, observations: npt.ArrayLike) -> Floats:
        """`[N, ACTIONS]`: log odds or values, of observations `[N, names]`."""
        x = np.asarray(observations, np.float64)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight.T.astype(np.float64) + bias
            if layer < last:
                x = np.tanh(x) if self.activation == "tanh" else np.maximum(x, 0.0)
        found: Floats = x
        return found

    def probabilities(self, observations: npt.ArrayLike, masks: Bools) -> Floats:
        """`[N, ACTIONS]`: how probable it makes each action, of which `masks` are open; the others
        it never takes.
        """
        scores = self.scores(observations)
        if self.masked:
            scores = np.where(masks, scores, -np.inf)
        highest = scores.max(axis=1, keepdims=True)
        weight = np.exp(scores - highest) if self.drawn else _first(scores == highest)
        chance = weight / weight.sum(axis=1, keepdims=True)
        found: Floats = np.where(masks, chance, 0.0)
        found[:, WAIT] += np.where(masks, 0.0, chance).sum(axis=1)
        return found

    def act(self, observations: npt.ArrayLike, masks: Bools) -> Ints:
        """`[N]`: the action that it makes most probable."""
        return np.asarray(self.probabilities(observations, masks).argmax(axis=1))


def _first(found: Bools) -> Floats:
    """The first of each row that is found, as 1."""
    return np.asarray(found & (found.cumsum(axis=1) == 1), np.float64)


def _wrong(policy: Policy) -> str:
    """What is wrong with a policy; empty where nothing is."""
    if policy.activation not in ACTIVATIONS:
        return f"'{policy.activation}' is no activation, {' or '.join(ACTIVATIONS)}"
    if len(set(policy.names)) < len(policy.names) or not set(policy.names) <= set(TOLD):
        strange = sorted(set(policy.names) - set(TOLD))
        return f"it reads '{strange[0]}', which nobody tells it" if strange else "a name is twice"
    if not 1 <= len(policy.weights) <= MOST_LAYERS or len(policy.weights) != len(policy.biases):
        return f"it has {len(policy.weights)} layers; 1 to {MOST_LAYERS} can be"
    size = len(policy.names)
    for weight, bias in zip(policy.weights, policy.biases, strict=True):
        if bias.ndim != 1 or weight.shape != (len(bias), size) or len(bias) > WIDEST:
            return "its layers do not fit together"
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            return "a weight is no number"
        size = len(bias)
    return "" if size == len(ACTIONS) else f"it knows {size} actions, not {len(ACTIONS)}"
