"""Hyperparameters in the layout of rl-zoo3, YAML, to checked values. Nothing is evaluated as code.

A value is a number, yes or no, or `lin_X`, which falls from X to 0 in the course of the training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.precog.policy import ACTIVATIONS
from shadowsim.scenario.yamlfile import Document, read_yaml

ALGORITHMS = ("ppo", "ppo_mask", "dqn", "qrdqn")
ENVIRONMENT = "shadowsim/ChangeRollback-v0"
LINEAR = re.compile(r"lin_([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)", re.ASCII)
MOST_BYTES = 1 << 20
MOST_HIDDEN, WIDEST = 6, 4096


class Rule(NamedTuple):
    """What a value may be: a whole number, a number or a schedule within bounds; or yes or no."""

    kind: str
    low: float = 0.0
    high: float = float("inf")

    def __str__(self) -> str:
        if self.kind == "yes or no":
            return "yes or no"
        most = "" if self.high == float("inf") else f" to {self.high:g}"
        also = ", or lin_X" if self.kind == "schedule" else ""
        what = "a whole number" if self.kind == "whole number" else "a number"
        return f"{what} from {self.low:g}{most or ' on'}{also}"


WHOLE, SHARE = Rule("whole number", 1, 1e9), Rule("number", 0.0, 1.0)
POSITIVE, RATE = Rule("number", 0.0, 1e6), Rule("schedule", 0.0, 1.0)
OURS = {"n_envs": Rule("whole number", 1, 65536), "n_timesteps": WHOLE,
        "reward_scale": Rule("number", 1e-6, 1e3)}  # fmt: skip
SWITCHES = {"normalize": Rule("yes or no"), "production_starts": Rule("yes or no")}
COMMON = {"learning_rate": RATE, "batch_size": WHOLE, "gamma": SHARE, "max_grad_norm": POSITIVE}
ON_POLICY = {
    **COMMON, "n_steps": WHOLE, "n_epochs": WHOLE, "gae_lambda": SHARE, "clip_range": RATE,
    "normalize_advantage": Rule("yes or no"), "ent_coef": POSITIVE, "vf_coef": POSITIVE,
    "target_kl": POSITIVE,
}  # fmt: skip
OFF_POLICY = {
    **COMMON, "buffer_size": WHOLE, "learning_starts": Rule("whole number", 0, 1e9), "tau": SHARE,
    "train_freq": WHOLE, "gradient_steps": Rule("whole number", -1, 1e9),
    "target_update_interval": WHOLE, "exploration_fraction": SHARE,
    "exploration_initial_eps": SHARE, "exploration_final_eps": SHARE,
}  # fmt: skip
RULES = {"ppo": ON_POLICY, "ppo_mask": ON_POLICY, "dqn": OFF_POLICY, "qrdqn": OFF_POLICY}


@dataclass(frozen=True)
class Settings:
    """How a learner learns. `arguments` go to the class of Stable-Baselines3, a schedule as its
    text; `hidden` are the widths of the layers between. The learner sees rewards times
    `reward_scale`, and with `normalize` observations of mean 0 and deviation 1; with
    `production_starts` half of its episodes begin in production.
    """

    algorithm: str
    n_envs: int
    n_timesteps: int
    reward_scale: float
    arguments: Mapping[str, float | int | bool | str]
    hidden: tuple[int, ...]
    activation: str
    n_quantiles: int | None = None
    normalize: bool = False
    production_starts: bool = False

    @property
    def drawn(self) -> bool:
        """Whether the policy is a distribution over actions, not values of them."""
        return self.algorithm in ("ppo", "ppo_mask")


def settings(algorithm: str, path: Path | None = None) -> Settings:
    """The hyperparameters of a file, or those that came along. Raises BadInput with every mistake
    in them.
    """
    if algorithm not in ALGORITHMS:
        raise BadInput(f"there is no algorithm '{algorithm}'; {choices(algorithm, ALGORITHMS)}")
    file = path or Path(str(files("shadowsim.rl") / "hyperparameters" / f"{algorithm}.yml"))
    try:
        with file.open("rb") as stream:
            source = stream.read(MOST_BYTES)
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(file))]) from None
    return parse(algorithm, source, str(path or file.name))


def parse(algorithm: str, source: bytes | str, file: str = "") -> Settings:
    """The hyperparameters in a text. Raises BadInput with every mistake in it."""
    return _Reading(algorithm, read_yaml(source, file=file)).settings()


def linear(text: object) -> float | None:
    """Where a schedule begins; None if this is none."""
    found = LINEAR.fullmatch(text) if isinstance(text, str) else None
    return float(found[1]) if found else None


class _Reading:
    """One file, and what is wrong with it."""

    def __init__(self, algorithm: str, document: Document) -> None:
        self.algorithm, self.document = algorithm, document
        self.mistakes: list[Mistake] = []

    def settings(self) -> Settings:
        given = self._given()
        rules = {**OURS, **SWITCHES, **RULES[self.algorithm]}
        found = {n: self._value(n, v, rules) for n, v in given.items() if n not in APART}
        for name in OURS:
            if name not in given:
                self._wrong((ENVIRONMENT,), f"'{name}' is missing")
        if given.get("policy", "MlpPolicy") != "MlpPolicy":
            self._wrong((ENVIRONMENT, "policy"), "the policy must be MlpPolicy")
        network = self._network(given.get("policy_kwargs", {}))
        if self.mistakes:
            raise BadInput(self.mistakes)
        normalize, production_starts = (bool(found.pop(name, False)) for name in SWITCHES)
        arguments = {name: value for name, value in found.items() if name not in OURS}
        return Settings(
            self.algorithm, int(found["n_envs"]), int(found["n_timesteps"]),
            float(found["reward_scale"]), arguments, *network, normalize, production_starts,
        )  # fmt: skip

    def _given(self) -> Mapping[str, Any]:
        values = self.document.values
        for name in values:
            if name != ENVIRONMENT:
                self._wrong((name,), f"there is no '{name}'; {choices(name, (ENVIRONMENT,))}")
        given = values.get(ENVIRONMENT, {})
        if not isinstance(given, dict):
            self._wrong((ENVIRONMENT,), "wanted names and values")
            return {}
        return given

    def _value(self, name: str, value: Any, rules: Mapping[str, Rule]) -> Any:
        path = (ENVIRONMENT, name)
        if name not in rules:
            text = f"{self.algorithm} has no '{name}'; {choices(name, (*rules, *APART))}"
            self._wrong(path, text)
            return None
        rule = rules[name]
        if rule.kind == "yes or no" and isinstance(value, bool):
            return value
        start = linear(value) if rule.kind == "schedule" else None
        number: Any = value if start is None else start
        whole = rule.kind == "whole number"
        numeric = isinstance(number, int | float) and not isinstance(number, bool)
        numeric = numeric and rule.kind != "yes or no"
        if not numeric or (whole and number % 1) or not rule.low <= number <= rule.high:
            self._wrong(path, f"'{name}' must be {rule}, not {value!r}")
            return None
        return int(number) if whole else value

    def _network(self, given: Any) -> tuple[tuple[int, ...], str, int | None]:
        names = ("net_arch", "activation_fn", *(("n_quantiles",) if self._quantiles else ()))
        path = (ENVIRONMENT, "policy_kwargs")
        if not isinstance(given, dict):
            self._wrong(path, f"wanted a mapping with {', '.join(names)}")
            return (), "", None
        for name in given:
            if name not in names:
                self._wrong((*path, name), f"there is no '{name}'; {choices(str(name), names)}")
        hidden = given.get("net_arch", [64, 64])
        if (
            not isinstance(hidden, list) or not 1 <= len(hidden) <= MOST_HIDDEN
            or not all(type(n) is int and 1 <= n <= WIDEST for n in hidden)
        ):  # fmt: skip
            text = f"wanted 1 to {MOST_HIDDEN} widths from 1 to {WIDEST}, as [64, 64]"
            self._wrong((*path, "net_arch"), text)
            hidden = []
        activation = given.get("activation_fn", "tanh")
        if activation not in ACTIVATIONS:
            text = f"no activation '{activation}'; {choices(str(activation), ACTIVATIONS)}"
            self._wrong((*path, "activation_fn"), text)
        quantiles = given.get("n_quantiles", 25 if self._quantiles else None)
        if quantiles is not None and not (type(quantiles) is int and 1 <= quantiles <= 1000):
            self._wrong((*path, "n_quantiles"), "wanted a whole number from 1 to 1000")
        return tuple(hidden), str(activation), quantiles

    @property
    def _quantiles(self) -> bool:
        return self.algorithm == "qrdqn"

    def _wrong(self, path: tuple[str, ...], text: str) -> None:
        self.mistakes.append(self.document.mistake(path, text))


APART = ("policy", "policy_kwargs")
