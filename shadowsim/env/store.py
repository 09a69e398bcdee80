"""Tapes of sites to a folder and back: a history whose looks are those of tapes.

What is seen stands in `looks-*.parquet`, what is not in `labels-*.parquet`, as in any history.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from shadowsim.env.making import tape
from shadowsim.env.tape import AMOUNTS, Tape
from shadowsim.env.worlds import Setting
from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.history.cases import CHANGES_PER_SITE, change_at
from shadowsim.history.folds import ALL, NETWORKS
from shadowsim.history.generate import finished
from shadowsim.history.sites import site
from shadowsim.history.store import (
    MANIFEST,
    Manifest,
    claimed,
    read,
    read_manifest,
    unfinished,
    write,
)
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.past import Past

LOOKS = "tapes/1"  # what the manifest says of the looks: their kind, and its version
UNSEEN = ("waiting", "acting", "parting")
NUMBERS = pl.List(pl.Float64())
LABELS: dict[str, pl.DataType] = {
    "case": pl.Int64(), "network": pl.String(), "kind": pl.String(),
    **dict.fromkeys(UNSEEN, NUMBERS),
    "restored": pl.List(pl.Boolean()),
    "came": pl.List(pl.Boolean()),
    **{mode: pl.Boolean() for mode in MODES},
}  # fmt: skip

Progress = Callable[[int, int], None]


def make(
    folder: Path, changes: int, seed: int, networks: str, jobs: int, told: Progress,
    per_site: int = CHANGES_PER_SITE,
) -> None:  # fmt: skip
    """Make a folder of tapes, or what is missing of one, in `jobs` processes.

    The changes are those of the history of that seed on that fold of networks, the first `per_site`
    of each site: the fewer, the more networks there are. The same arguments give the same tables,
    however often it was interrupted. `told` hears how many are done of all. Raises BadInput.
    """
    if networks not in (*NETWORKS, ALL):
        raise BadInput(f"no fold '{networks}' of networks; {choices(networks, (*NETWORKS, ALL))}")
    if changes < 1:
        raise BadInput(f"at least one change is needed, not {changes}")
    if not 1 <= per_site <= CHANGES_PER_SITE:
        raise BadInput(f"a site has 1 to {CHANGES_PER_SITE} changes, not {per_site}")
    made = Manifest(changes, seed, LOOKS, NAMES, (), networks, per_site=per_site)
    with claimed(folder, made):
        missing = unfinished(folder, made)
        done = changes - sum(len(made.at(number)) for number in missing)
        told(done, changes)
        with closing(finished(partial(make_site, folder, made), missing, jobs)) as numbers:
            for number in numbers:
                done += len(made.at(number))
                told(done, changes)


def make_site(folder: Path, made: Manifest, number: int) -> None:
    """Make the tapes of the changes at a site, each knowing what came of those before it."""
    found = dict(tapes_of(made, number))
    write(folder, number, _looks(found), pl.DataFrame(
        [_label(case, one) for case, one in found.items()], schema=LABELS
    ))  # fmt: skip


def tapes_of(made: Manifest, number: int) -> Iterator[tuple[int, Tape]]:
    """The number and the tape of every change at a site."""
    where = site(made.seed, number, made.networks)
    setting = None
    for case_number in made.at(number):
        case = change_at(where, case_number % CHANGES_PER_SITE)
        if setting is None:
            setting = Setting.of(case.scenario, Past())
        setting = replace(setting, scenario=case.scenario)
        try:
            one = tape(setting, case.network, case.kind)
        except Exception as error:
            error.add_note(f"while at change {case_number} of seed {made.seed}")
            raise
        after = setting.past.with_outcome(where.topology, case.scenario.change, one.failed)
        setting = replace(setting, past=after)
        yield case_number, one


def read_tapes(folder: Path) -> list[Tape]:
    """The tapes of a finished folder. Raises BadInput where they are not there, whole and sound."""
    if not (folder / MANIFEST).exists():
        raise BadInput([Mistake("no tapes; 'shadowsim tapes --out' makes them", str(folder))])
    made = read_manifest(folder)
    if made.looks != LOOKS:
        what = f"a history with {made.looks} looks, not tapes ({LOOKS}); make them anew"
        raise BadInput([Mistake(what, str(folder))])
    if made.features != NAMES:
        raise BadInput([Mistake("made with other features; make them anew", str(folder))])
    history = read(folder)
    looks = history.looks.partition_by("case", as_dict=True)
    return [_tape(row, looks[row["case"],]) for row in history.labels.iter_rows(named=True)]


def cached(distribution: Mapping[str, object]) -> Path:
    """The folder where the tapes of a distribution are kept once they are made (XDG folders)."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    name = "-".join(str(distribution[key]) for key in ("networks", "seed", "changes"))
    return Path(cache) / "shadowsim" / "tapes" / name


# ---- tables


def _looks(found: Mapping[int, Tape]) -> pl.DataFrame:
    return pl.concat([
        pl.DataFrame({
            "case": np.full(len(one.world), case),
            "network": [one.network] * len(one.world),
            "kind": [one.kind] * len(one.world),
            "phase": np.where(one.world < 0, "shadow", "production"),
            "world": one.world, "since_s": one.since_s, "left": one.left,
            "has_part": one.has_part,
            **dict(zip(NAMES, one.features.T.astype(np.float32), strict=True)),
        })
        for case, one in found.items()
    ])  # fmt: skip


def _label(case: int, one: Tape) -> dict[str, object]:
    return {
        "case": case, "network": one.network, "kind": one.kind,
        **{name: getattr(one, name).ravel().tolist() for name in UNSEEN},
        "restored": one.restored.ravel().tolist(),
        "came": one.came.ravel().tolist(),
        **dict(zip(MODES, one.came[one.trial - 1].tolist(), strict=True)),
    }  # fmt: skip


def _tape(row: Mapping[str, object], looks: pl.DataFrame) -> Tape:
    amounts = {name: np.array(row[name]).reshape(-1, len(AMOUNTS)) for name in UNSEEN}
    return Tape(
        network=str(row["network"]),
        kind=str(row["kind"]),
        features=looks.select(NAMES).to_numpy().astype(np.float64),
        world=looks["world"].to_numpy(),
        since_s=looks["since_s"].to_numpy(),
        left=looks["left"].to_numpy(),
        has_part=looks["has_part"].to_numpy(),
        restored=np.array(row["restored"]).reshape(-1, 2),
        came=np.array(row["came"]).reshape(-1, len(MODES)),
        **amounts,
    )
