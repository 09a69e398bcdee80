"""A history and the outcomes of real runs to new models, and to whether they are the better ones.

What is compared is what each model says of real changes that the new one was not fitted to. Which
outcomes are held out is decided by a name alone, that of their network or, where there are few
networks, of their scenario: no seed, and no later training, moves one to the other side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from shadowsim.errors import BadInput
from shadowsim.learning.comparison import LEARNED
from shadowsim.learning.dataset import Bools, Changes, Floats
from shadowsim.learning.duel import Duel, duel, questions
from shadowsim.learning.evaluation import names_asked, said_by_all
from shadowsim.learning.looks import Histories, came
from shadowsim.learning.outcomes import REAL, Outcomes
from shadowsim.learning.splits import SHARES, Splits, share_out, split
from shadowsim.learning.training import STACKED, Told, Trained, trained
from shadowsim.learning.walk import OperatingPoint
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import PHASES, Model
from shadowsim.precog.model_file import load
from shadowsim.precog.stack import Stack, read_stack
from shadowsim.precog.supervised import beside

HELD_OUT = "outcomes held out"
HELD_OUT_PERCENT = 35
LEAST_SITES = 8  # networks; with fewer, scenarios are held out
LEAST = 60  # outcomes that can be used
LEAST_HELD_OUT = 20
LEAST_GROUPS = 5  # networks or scenarios among those held out: a bootstrap of fewer means nothing
LEAST_OF_EACH = 5  # failures, and changes that went well, on either side


@dataclass(frozen=True, eq=False)
class Pair:
    """The models of `supervised` and `hybrid`; without the second, `hybrid` is the careful one."""

    supervised: Model
    hybrid: Stack | None


@dataclass(frozen=True, eq=False)
class Retrained:
    """New models, and per variant how they compare with those in use."""

    found: Trained
    duels: Mapping[str, Duel]

    @property
    def better(self) -> bool:
        """By more than chance, in what decisions are made by: the hybrid."""
        return self.duels["hybrid"].better


def in_use(path: Path) -> Pair:
    """The models that stand there. Raises BadInput if they are missing, damaged or foreign."""
    if not path.exists():
        raise BadInput(
            f"{path}: there is no model in use to compare with; 'shadowsim train' makes the first"
        )
    other = beside(path)
    hybrid = read_stack(other, STACKED) if other.exists() else None
    return Pair(load(path, NAMES), hybrid)


def lacking(real: Outcomes) -> list[str]:
    """What it would take to compare models on these outcomes; empty if there is enough."""
    count = real.labels.height
    if count < LEAST:
        return [f"{count} outcomes can be used, and it takes {LEAST}"]
    held = held_out(real.labels)
    groups = len(set(np.array(group_of(real.labels))[held]))
    found = []
    if held.sum() < LEAST_HELD_OUT or groups < LEAST_GROUPS:
        found.append(
            f"{int(held.sum())} of {groups} networks or scenarios are held out, and it takes "
            f"{LEAST_HELD_OUT} of {LEAST_GROUPS}"
        )
    bad = came(real.labels, MODES)
    for side, mine in (("held out", held), ("learned from", ~held)):
        for what, those in (("failed", bad), ("went well", ~bad)):
            number = int((those & mine).sum())
            if number < LEAST_OF_EACH:
                found.append(f"{number} of those {side} {what}, and it takes {LEAST_OF_EACH}")
    return found


def group_of(labels: pl.DataFrame) -> list[str]:
    """Per outcome, what it is held out together with: its network, or its scenario."""
    by = "site" if labels["site"].n_unique() >= LEAST_SITES else "scenario"
    return [str(name) for name in labels[by]]


def held_out(labels: pl.DataFrame) -> Bools:
    """Per outcome, whether nothing may be fitted to it."""
    return np.array([_percent(name) < HELD_OUT_PERCENT for name in group_of(labels)], np.bool_)


def _percent(name: str) -> int:
    digest = hashlib.sha256(f"outcome {name}".encode()).digest()
    return int.from_bytes(digest[:8]) % 100


def retrained(
    past: Histories, real: Outcomes, champion: Pair, seed: int, jobs: int,
    tell: Told = lambda _: None,
) -> Retrained:  # fmt: skip
    """Fit new models to both, and compare them with the old ones on the outcomes held out.

    Raises BadInput where the outcomes are too few (`lacking`) or the history is no good.
    """
    if short := lacking(real):
        raise BadInput("too few outcomes to compare models on: " + "; ".join(short))
    share = sharing(group_of(real.labels), held_out(real.labels))
    found = trained(joined(past, real), seed, jobs, tell, share)
    fresh = Pair(_noted(found.model, real), found.hybrid)
    rates = _rates(past.looks, past.labels, found.model.horizon_s)
    duels = duel_of(real, champion, fresh, rates, seed)
    return Retrained(replace(found, model=fresh.supervised), duels)


def joined(past: Histories, real: Outcomes) -> Histories:
    """Both as one: real changes after those of the history."""
    looks = real.looks.with_columns(pl.col("case").cast(pl.Int64))
    labels = real.labels.select(name for name in past.labels.columns if name in real.labels.columns)
    return Histories(
        pl.concat([past.looks, looks], how="diagonal_relaxed"),
        pl.concat([past.labels, labels], how="diagonal_relaxed"),
        past.seeds,
    )


def sharing(groups: list[str], held: Bools) -> Callable[[Changes, int], Splits]:
    """Folds of a history and of the real changes after it."""

    def share(changes: Changes, seed: int) -> Splits:
        real = changes.number >= REAL
        found = split(_of(changes, ~real), seed)
        random = np.random.default_rng([seed, 5])
        names = np.array(groups, dtype=np.str_)
        part = share_out(names, np.array(list(SHARES.values())), random)
        fold = np.where(held, HELD_OUT, np.array(list(SHARES))[part])
        kind = np.append(found.kind, changes.kind[real])
        return Splits(np.append(found.fold, fold), found.held_out, kind)

    return share


def _of(changes: Changes, chosen: Bools) -> Changes:
    return Changes(
        changes.number[chosen], changes.network[chosen], changes.kind[chosen],
        changes.came[chosen], changes.at_s[chosen],
    )  # fmt: skip


def _rates(looks: pl.DataFrame, labels: pl.DataFrame, horizon_s: float) -> dict[str, Floats]:
    """Per phase, how often each mode is the answer in the history."""
    _, open_, answer = questions(looks, labels, horizon_s)
    found: dict[str, Floats] = {}
    for phase in PHASES:
        mine = (looks["phase"] == phase).to_numpy()
        asked = np.maximum(open_[mine].sum(axis=0), 1)
        found[phase] = (answer[mine] & open_[mine]).sum(axis=0) / asked
    return found


def duel_of(
    real: Outcomes, champion: Pair, fresh: Pair, rates: Mapping[str, Floats], seed: int
) -> dict[str, Duel]:
    """Both variants, old against new, on the outcomes held out; decisions at the median of the
    thresholds that these runs had.
    """
    held = held_out(real.labels)
    labels = real.labels.filter(pl.Series(held))
    looks = real.looks.join(labels.select("case"), on="case", how="semi", maintain_order="left")
    group = [name for name, mine in zip(group_of(real.labels), held, strict=True) if mine]
    level = float(np.median(labels["no_go_above"].to_numpy()))
    asked = names_asked(looks)
    old, new = (
        said_by_all(looks, labels, asked, pair.supervised, pair.hybrid)
        for pair in (champion, fresh)
    )
    return {
        name: duel(
            looks, labels, old[name], new[name], group, OperatingPoint(level, level), rates,
            fresh.supervised.horizon_s, seed,
        )
        for name in LEARNED
    }  # fmt: skip


def _noted(model: Model, real: Outcomes) -> Model:
    count = int((~held_out(real.labels)).sum())
    line = (
        f"Beside the simulated changes, {count} outcomes of real runs were shared out for fitting. "
        "They are no sample of all changes: what was refused or taken back in time never showed "
        "what it was.\n"
    )
    return replace(model, card=model.card + line)
