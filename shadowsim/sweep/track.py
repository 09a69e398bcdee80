"""What came of a sweep to MLflow: a run for the whole, and below it one for each run of it.

It is tracked once all is made, by one process: workers would wait for each other at the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from shadowsim.batch.folder import keep
from shadowsim.carried import Document
from shadowsim.plots.sweep import sweep_figure
from shadowsim.sweep.plan import Plan
from shadowsim.tracking import OFF, Tracking

MARK = "tracked.json"  # in which store how many runs of this sweep are tracked already


def track(
    tracking: Tracking,
    store: str,
    folder: Path,
    made: tuple[Plan, Sequence[Document], pl.DataFrame],
    files: Sequence[str],
    progress: Callable[[int, int], None],
) -> None:
    """Track a plan, all outcomes that are there, their summary, and these files.

    If as many of them are tracked in this store already, nothing is done. `progress` is told how
    many outcomes of how many are tracked.
    """
    plan, found, table = made
    tracked = _marked(folder)
    if store == OFF or not found or tracked.get(store) == len(found):
        return
    parameters = {
        "scenarios": ", ".join(scenario.name for scenario in plan.scenarios),
        "seeds": len(plan.seeds),
        "variants": ", ".join(plan.variants),
        "network": plan.network,
        "runs": len(found),
    }
    with tracking.run("sweep", parameters, {"kind": "sweep", "out": str(folder)}) as whole:
        for number, document in enumerate(found, 1):
            name = "/".join(str(document[key]) for key in ("scenario", "precog", "seed"))
            given = {key: document[key] for key in ("scenario", "precog", "seed", "network")}
            with whole.inner(name, given, _tags(document)) as run:
                run.metrics(_numbers(document))
            progress(number, len(found))
        whole.metrics(_summed(table))
        whole.figure(sweep_figure(table), "summary.png")
        for name in files:
            whole.artifact(folder / name)
    if whole.complete:
        keep(folder / MARK, json.dumps({**tracked, store: len(found)}).encode())


def _marked(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tags(document: Document) -> dict[str, str]:
    names = ("decision", "end_state", "failure_mode", "observed_in", "root_cause", "out")
    return {"kind": "run", **{name: str(document[name]) for name in names}}


def _numbers(document: Document) -> dict[str, float]:
    """What of an outcome is a number; what there is none of is left out."""
    values: dict[str, Any] = {
        name: document[name] for name in ("breach_s", "duration_s", "time_to_rollback_s")
    }
    values |= {f"forecast/{mode}": p for mode, p in document["forecast"].items()}
    if document["expectations"]["details"]:
        values["expectations_met"] = document["expectations"]["met"]
    return {name: float(value) for name, value in values.items() if value is not None}


def _summed(table: pl.DataFrame) -> dict[str, float]:
    return {
        f"{row['scenario']}/{row['precog']}/{name}": float(row[name])
        for row in table.iter_rows(named=True)
        for name in table.columns[2:]
        if row[name] is not None
    }
