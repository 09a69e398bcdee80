"""What an environment is told to draw from to the pool of episodes it draws from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from shadowsim.env.making import tape
from shadowsim.env.pool import Pool, pool
from shadowsim.env.store import cached, make, read_tapes
from shadowsim.env.tape import Tape
from shadowsim.env.worlds import Setting
from shadowsim.errors import BadInput, choices
from shadowsim.history.folds import KNOWN
from shadowsim.precog.model import Model
from shadowsim.precog.past import Past
from shadowsim.precog.supervised import standing_model
from shadowsim.scenario import Scenario, load

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, object] | Pool
USUAL: Mapping[str, object] = {"networks": KNOWN, "seed": 0, "changes": 200}


def source(
    scenario: str | os.PathLike[str] | Scenario | None,
    distribution: Source | None,
    *,
    supervised: bool = False,
    model: Model | None = None,
    weights: Mapping[str, float] | None = None,
) -> Pool:
    """The pool of one scenario, or of a distribution: a folder of tapes, a pool as it is, or
    `{"networks": fold, "seed": ..., "changes": ...}`, whose tapes are made on first use and kept.

    `supervised` puts what `model`, or the model that stands, says into the observations; `weights`
    are other weights of parts of the reward. A pool that is given has these already.

    Raises BadInput unless exactly one is given, and for what cannot be built.
    """
    if (scenario is None) == (distribution is None):
        raise BadInput(
            "say either scenario= (a file) or distribution= (a folder of tapes, or which)"
        )
    if isinstance(distribution, Pool):
        return distribution
    found = [_of_scenario(scenario)] if scenario is not None else _of(distribution)
    said = (standing_model() if model is None else model) if supervised else None
    return pool(found, said, weights)


def _of_scenario(scenario: str | os.PathLike[str] | Scenario) -> Tape:
    loaded = scenario if isinstance(scenario, Scenario) else load(os.fspath(scenario))
    return tape(Setting.of(loaded, Past()), loaded.topology.name, loaded.name)


def _of(distribution: str | os.PathLike[str] | Mapping[str, object] | None) -> list[Tape]:
    if not isinstance(distribution, Mapping):
        return read_tapes(Path(os.fspath(distribution or "")))
    for name in distribution:
        if name not in USUAL:
            raise BadInput(f"a distribution has no '{name}'; {choices(name, USUAL)}")
    wanted = {**USUAL, **distribution}
    changes, seed = (_whole(name, wanted[name]) for name in ("changes", "seed"))
    folder, jobs = cached(wanted), os.cpu_count() or 1
    make(folder, changes, seed, str(wanted["networks"]), jobs, lambda done, of: None)
    return read_tapes(folder)


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadInput(f"'{name}' of a distribution must be a whole number from 0 on, not {value}")
    return value
