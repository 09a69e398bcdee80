"""The folders of runs to a list of them, and a folder to views of its run at any instant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl

from shadowsim.errors import BadInput, ShadowsimError
from shadowsim.page.view import NETWORKS, Json, Look, document, read_off, view_of
from shadowsim.plots.topology import layout
from shadowsim.report.figures import drawing_of, fabric
from shadowsim.report.recorded import Event, Picture, Recorded, Result, read_folder, read_result

MOST_LISTED = 500
DRAWN_UP_TO = 400  # devices; above that a drawing says nothing, and the busiest links are listed


def listed(runs: Path) -> list[Json]:
    """The runs whose folders lie in this one, the latest first; what cannot be read says why."""
    folders = [path.parent for path in runs.glob("*/result.json") if not path.parent.is_symlink()]
    folders.sort(key=lambda folder: (-_changed_s(folder), folder.name))
    return [_entry(folder) for folder in folders[:MOST_LISTED]]


def _changed_s(folder: Path) -> float:
    try:
        return (folder / "result.json").stat().st_mtime
    except OSError:
        return 0.0


def _entry(folder: Path) -> Json:
    try:
        result = read_result(folder)
    except ShadowsimError as error:
        return {"run": folder.name, "error": str(error)}
    return {"run": folder.name, **about_result(result), "outcome": outcome_of(result)}


def folder_of(runs: Path, name: str) -> Path:
    """The folder of a run by its name in the list. Raises BadInput for anything else."""
    if name not in {path.parent.name for path in runs.glob("*/result.json")}:
        raise BadInput(f"there is no run {name[:100]!r} in {runs}")
    folder = runs / name
    if folder.is_symlink():
        raise BadInput(f"{folder}: is a symbolic link, and is not followed")
    return folder


def seen_at(folder: Path, at_s: float | None) -> Json:
    """The run in this folder as it was seen at that instant; at its end if none is given.

    Raises BadInput that names the file at fault.
    """
    files = tuple(sorted((f.name, f.stat().st_mtime_ns) for f in folder.iterdir()))
    return seen(_read(folder, files), folder.name, at_s)


@lru_cache(maxsize=4)
def _read(folder: Path, files: tuple[tuple[str, int], ...]) -> Recorded:
    return read_folder(folder)


def seen(run: Recorded, name: str, at_s: float | None) -> Json:
    """The same of a run that was read already."""
    until_s = run.events[-1].at_s if at_s is None else at_s
    events = [event for event in run.events if event.at_s <= until_s + 1e-6]
    view = read_off(view_of(events), _looks(run, until_s))
    ended = view.ended
    return {
        "live": False,
        "about": {"run": name, **about_result(run.result)},
        "map": map_of(run.picture),
        "until_s": run.events[-1].at_s,
        "marks": marks(run.events),
        "outcome": outcome_of(run.result) if ended else None,
        **document(view),
        "at_s": round(until_s, 2),
    }


def marks(events: Sequence[Event]) -> list[float]:
    """The instants worth jumping to: whenever something happened that is not a mere reading."""
    return sorted({event.at_s for event in events if event.event not in ("forecast", "unmet")})


def _looks(run: Recorded, at_s: float) -> dict[str, Look]:
    names = [name for link in run.picture.links for name in link.names]
    links = fabric(run).filter(pl.col("at_s") <= at_s + 1e-6)
    found = {}
    for network in NETWORKS:
        mine = links.filter(network=network)
        if mine.is_empty():
            continue
        last = mine.filter(at_s=mine["at_s"].max())
        rows = {row["name"]: row for row in last.to_dicts()}
        load = tuple(rows.get(name, {}).get("utilisation") for name in names)
        down = tuple(i for i, name in enumerate(names) if rows.get(name, {}).get("up") == 0.0)
        found[network] = Look(float(last["at_s"][0]), load, down)
    return found


# -- what stays the same -----------------------------------------------------------------------


def about_result(result: Result) -> Json:
    """What the run was of."""
    return {
        "scenario": result.scenario,
        "summary": result.summary,
        "change": result.change,
        "network": result.network,
        "precog": result.precog,
        "autonomy": result.autonomy,
        "seed": result.seed,
        "no_go_above": result.gate.no_go_above,
    }


def outcome_of(result: Result) -> Json:
    """What came of it."""
    return {
        "decision": result.decision,
        "end_state": result.end_state,
        "failure_mode": result.failure_mode,
        "failure_modes": list(result.failure_modes),
        "blamed": list(result.blamed),
        "root_cause": result.root_cause,
        "time_to_rollback_s": result.time_to_rollback_s,
        "breach_s": result.breach_s,
        "duration_s": result.duration_s,
        "met": result.expectations.met,
        "expected": len(result.expectations.details),
    }


def map_of(picture: Picture) -> Json:
    """Where devices stand (x and y from -0.5 to 0.5, y upwards), and the links between them.

    Link `i` is the directed links `2 i`, from a to b, and `2 i + 1` back, as in a Look.
    """
    names = [device.name for device in picture.devices]
    drawn = len(names) <= DRAWN_UP_TO
    places = layout(drawing_of(picture)) if drawn else {}
    hosts = Counter(host.device for host in picture.hosts)
    return {
        "name": picture.name,
        "drawn": drawn,
        "devices": [
            {"name": name, "hosts": hosts[name],
             **({"x": round(places[name][0], 4), "y": round(places[name][1], 4)} if drawn else {})}
            for name in names
        ],
        "links": [{"a": link.a, "b": link.b, "rate_bps": link.rate_bps} for link in picture.links],
    }  # fmt: skip


__all__ = ["about_result", "folder_of", "listed", "map_of", "outcome_of", "seen_at"]
