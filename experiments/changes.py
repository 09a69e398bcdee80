"""A fold of networks and a seed to changes: their tapes, and what was known before each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from shadowsim.env.store import make, read_tapes
from shadowsim.env.tape import Tape
from shadowsim.env.worlds import Setting
from shadowsim.history.cases import CHANGES_PER_SITE, change_at
from shadowsim.history.sites import site
from shadowsim.history.store import read_manifest
from shadowsim.live import progress_of
from shadowsim.precog.past import Past

PER_SITE = 4  # changes of a network: the fewer, the more networks


@dataclass(frozen=True)
class Changed:
    """A change: its number, what is known before it, and its tape."""

    number: int
    setting: Setting
    tape: Tape


def tapes_of(folder: Path, fold: str, seed: int, changes: int) -> Path:
    """The folder of the tapes of a fold and a seed, made where it is missing (resumable)."""
    found = folder / f"{fold}-{changes}-{seed}"
    with progress_of(f"tapes, {found.name}", quiet=False) as progress:
        jobs = len(os.sched_getaffinity(0)) if changes > PER_SITE else 1
        make(found, changes, seed, fold, jobs, progress, PER_SITE)
    return found


def changes_of(folder: Path) -> Iterator[Changed]:
    """Every change of a folder of tapes, one after the other."""
    made, tapes = read_manifest(folder), iter(read_tapes(folder))
    for number in range(made.sites):
        where, past, setting = site(made.seed, number, made.networks), Past(), None
        for case in made.at(number):
            scenario, tape = change_at(where, case % CHANGES_PER_SITE).scenario, next(tapes)
            setting = setting or Setting.of(scenario, past)
            setting = replace(setting, scenario=scenario, past=past)
            yield Changed(case, setting, tape)
            past = past.with_outcome(where.topology, scenario.change, tape.failed)
