"""What is swept over to the runs that this means, each by its name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any

from shadowsim import __version__
from shadowsim.errors import BadInput
from shadowsim.network import Controller
from shadowsim.scenario import Scenario

FORMAT = 1
MOST_RUNS = 1_000_000
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, order=True)
class Piece:
    """One run of a sweep: which scenario, under which seed, judged by which variant."""

    scenario: str
    precog: str
    seed: int

    @property
    def place(self) -> PurePath:
        """Where its folder is within that of the sweep."""
        return PurePath("runs", self.scenario, self.precog, str(self.seed))


@dataclass(frozen=True)
class Settings:
    """What a folder of runs is made with, in few words; a scenario is its name and a digest."""

    scenarios: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: tuple[str, ...]
    network: str
    controller: str
    shadowsim: str = __version__
    format: int = FORMAT


@dataclass(frozen=True)
class Plan:
    """What is swept over. No seeds or no variants: those that each scenario names itself.

    Names of scenarios differ.
    """

    scenarios: tuple[Scenario, ...]
    seeds: tuple[int, ...] = ()
    variants: tuple[str, ...] = ()
    network: str = "simulated"
    controller: Controller = "ryu"

    def pieces(self) -> list[Piece]:
        """Every run, all scenarios and variants under one seed before the next seed."""
        own = [
            [Piece(s.name, precog, seed) for seed in self.seeds or (s.seed,)]
            for s in self.scenarios
            for precog in self.variants or (s.workflow.precog,)
        ]
        return [piece for under_one_seed in zip(*own, strict=True) for piece in under_one_seed]

    def scenario(self, piece: Piece) -> Scenario:
        """What is run for a piece."""
        found = next(s for s in self.scenarios if s.name == piece.scenario)
        workflow = replace(found.workflow, precog=piece.precog)
        return replace(found, workflow=workflow, seed=piece.seed)

    def settings(self) -> Settings:
        return Settings(
            tuple(f"{s.name} {_digest(s)}" for s in self.scenarios),
            self.seeds,
            self.variants,
            self.network,
            self.controller if self.network == "emulated" else "",
        )


def read_settings(found: Any) -> Settings:
    """Settings of their JSON. Raises ValueError, TypeError or LookupError for what is not one."""
    if found["format"] != FORMAT:
        raise ValueError("of another format")
    given = {field.name: found[field.name] for field in fields(Settings)}
    for name in ("scenarios", "seeds", "variants"):
        given[name] = tuple(given[name])
    return Settings(**given)


def seeds_of(text: str) -> tuple[int, ...]:
    """Seeds as they are written: numbers and ranges without their end, `0:10` or `1,5,20:30`.

    Raises BadInput.
    """
    found: list[int] = []
    for part in text.split(","):
        first, colon, end = part.strip().partition(":")
        if not all(word.isascii() and word.isdigit() for word in (first, end if colon else "0")):
            raise BadInput(f"--seeds: '{part}' is no seed and no range; valid: 7, 0:10, 1,5,20:30")
        low, high = int(first), int(end) if colon else int(first) + 1
        if high <= low:
            raise BadInput(f"--seeds: '{part}' has no seed in it; a range ends before its end")
        if high > LARGEST_SEED + 1 or high - low > MOST_RUNS:
            raise BadInput(f"--seeds: '{part}' goes beyond {LARGEST_SEED}, or is too many")
        found += range(low, high)
    if len(set(found)) < len(found):
        raise BadInput(f"--seeds: '{text}' names a seed twice")
    return tuple(found)


def check_number(plan: Plan) -> None:
    """Raises BadInput for more runs than a folder can sensibly hold."""
    runs = len(plan.scenarios) * max(len(plan.seeds), 1) * max(len(plan.variants), 1)
    if runs > MOST_RUNS:
        raise BadInput(f"{runs:,} runs are too many for one sweep; {MOST_RUNS:,} at most")


def _digest(scenario: Scenario) -> str:
    """Of all that it means, wherever its file lies."""
    return hashlib.sha256(repr(replace(scenario, file="")).encode()).hexdigest()[:16]
