"""A finished run to the document people and programs read, and to the files of its folder."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shadowsim.errors import BadInput
from shadowsim.model.change import Configs
from shadowsim.model.topology import Topology
from shadowsim.model.truth import breach_s, onsets, since
from shadowsim.precog.past import concerned
from shadowsim.scenario import Expect, Scenario
from shadowsim.telemetry_table import write_table
from shadowsim.workflow import Run

Document = dict[str, Any]
LOOKS = "looks.parquet"
BYTES_A_READING = 12  # the arrays, and what of them is looked at together


def document(run: Run, network: str, out: str = "") -> Document:
    """The outcome of a run, as `run --json` prints it. Only here is the truth looked at."""
    scenario = run.scenario
    deployed = run.deployed_since_s is not None
    witness, since_s = (
        (run.production, run.deployed_since_s or 0.0)
        if deployed
        else (run.shadow, run.trial_since_s)
    )
    spells = since(witness.spells(), since_s)
    came = onsets(spells)
    touched = tuple(d for d in scenario.change.devices if d in run.before)
    found: Document = {
        "scenario": scenario.name,
        "summary": scenario.summary,
        "change": scenario.change.summary,
        "network": network,
        "precog": scenario.workflow.precog,
        "autonomy": scenario.workflow.autonomy,
        "seed": scenario.seed,
        "decision": run.decision,
        "end_state": run.end_state,
        "gate": {
            "no_go_above": scenario.workflow.no_go_above,
            "inconclusive_above": scenario.workflow.inconclusive_above,
        },
        "forecast": {
            mode: round(p, 4) if math.isfinite(p) else None
            for mode, p in run.forecast.probabilities.items()
        },
        "reasons": [
            {
                "variant": r.variant,
                "mode": r.mode,
                "probability": round(r.probability, 4),
                "text": r.text,
            }
            for r in run.forecast.reasons[:10]
        ],
        "failure_mode": run.failure_mode,
        "failure_modes": list(came),
        "failed_after_s": {mode: round(at_s - since_s, 3) for mode, at_s in came.items()},
        "observed_in": "production" if deployed else "shadow",
        "refused_by": list(run.refused_by),
        "signs": list(run.signs),
        "triggered_after_s": _after(run.triggered_s, run.deployed_since_s),
        "site": site_of(scenario.topology),
        "changed": changed_by(scenario),
        "truth": truth_of(scenario),
        "looks": None,  # whoever keeps them says what they are
        "shadow": shadow_of(run),
        "blamed": [str(command) for command in run.blamed],
        "root_cause": run.root_cause,
        "interrupted": run.interrupted,
        "time_to_rollback_s": run.time_to_rollback_s,
        "breach_s": round(breach_s(spells) if deployed else 0.0, 3),
        "duration_s": round(run.now, 3),
        "digests": {
            "before": _digests(run.before, touched),
            "after": _digests(run.configs(run.production, run.deployed), touched),
        },
        "out": out,
    }
    found["expectations"] = expectations(found, scenario.expect)
    return found


def _after(at_s: float | None, since_s: float | None) -> float | None:
    return None if at_s is None or since_s is None else round(at_s - since_s, 3)


def site_of(topology: Topology) -> Document:
    """Which network it is: by name, and by a digest of its devices and links."""
    text = json.dumps(
        [sorted((d.name, d.model) for d in topology.devices),
         sorted((link.a, link.b, link.rate_bps) for link in topology.links)]
    )  # fmt: skip
    return {"name": topology.name, "digest": hashlib.sha256(text.encode()).hexdigest()[:16]}


def changed_by(scenario: Scenario) -> Document:
    """What later changes of the same network are compared by."""
    models, kinds = concerned(scenario.topology, scenario.change)
    return {"devices": sorted(scenario.change.devices), "models": models, "kinds": kinds}


def truth_of(scenario: Scenario) -> Document:
    """What nobody in the run knows: the commands at fault, where the scenario says so (else null),
    and the faults that strike production.
    """
    parts = None if scenario.expect is None else scenario.expect.blamed
    commands = [str(command) for command in scenario.change.commands]
    return {
        "at_fault": None
        if parts is None
        else [text for text in commands if any(part in text for part in parts)],
        "background": sorted({f.name for f in scenario.faults if f.network != "shadow"}),
    }


def shadow_of(run: Run) -> Document:
    """What the shadow was at last, and what it stood for."""
    subset, mirrored = run.mirror.subset, run.mirror.report()
    return {
        "scope": run.scenario.shadow.scope,
        "devices": len(subset.devices),
        "covers": subset.coverage.shares,
        "represented": round(mirrored.represented, 4),
        "lag_s": round(mirrored.lag_s, 6),
        "config_lag_s": None if mirrored.config_lag_s is None else round(mirrored.config_lag_s, 6),
        "shed": list(mirrored.shed),
        "lost": run.shadow_lost,
    }


def _digests(configs: Configs, devices: tuple[str, ...]) -> dict[str, str]:
    return {device: configs[device].digest for device in devices}


def expectations(found: Mapping[str, Any], expect: Expect | None) -> Document:
    """Each thing the scenario expects, beside what came of it."""
    details: list[Document] = []

    def compare(what: str, wanted: Any, got: Any, met: bool) -> None:
        details.append({"what": what, "expected": wanted, "got": got, "met": met})

    if expect is None:
        return {"met": True, "details": details}
    for what in ("decision", "end_state", "failure_mode"):
        wanted = getattr(expect, what)
        if wanted is not None:
            compare(what, wanted, found[what], found[what] == wanted)
    if expect.blamed is not None:
        got = found["blamed"]
        met = all(any(part in line for line in got) for part in expect.blamed)
        compare("blamed", list(expect.blamed), got, met and bool(got) == bool(expect.blamed))
    for what, key in (
        ("time_to_rollback_below_s", "time_to_rollback_s"),
        ("breach_below_s", "breach_s"),
    ):
        wanted = getattr(expect, what)
        if wanted is not None:
            got = found[key]
            compare(what, wanted, got, got is not None and got < wanted)
    return {"met": all(d["met"] for d in details), "details": details}


def claim(folder: Path) -> None:
    """Make sure that a run may be written to this folder. Raises BadInput where it may not.

    Only a folder of an earlier run may be replaced; whatever else is there is somebody's, and a
    symbolic link may lead anywhere.
    """
    if folder.is_symlink():
        raise BadInput(f"{folder}: is a symbolic link, and is not followed; say --out elsewhere")
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not standing.is_dir():
        raise BadInput(f"{standing}: is a file, so {folder} cannot be made")
    if not folder.exists() or (folder / "result.json").exists() or not any(folder.iterdir()):
        return
    raise BadInput(f"{folder}: exists, and is no folder of a run; say --out for another place")


def telemetry_bytes(scenario: Scenario) -> int:
    """About how much memory the telemetry of a run takes."""
    plan = scenario.workflow
    phases_s = plan.baseline_s + plan.shadow_s + plan.monitor_s
    samples = phases_s + plan.soak_s * 2 * len(scenario.change.commands) + 10
    rows = 3 * len(scenario.topology.devices) + 4 * scenario.topology.directed_links
    rows += 4 * len(scenario.traffic.demands)
    return int(2 * samples * rows * BYTES_A_READING)


def write(run: Run, found: Document, folder: Path, key: bytes, looks: bytes = b"") -> None:
    """Write the folder of a run, all of it or nothing; one of an earlier run is replaced.

    The rollback signature in it is sealed with the key of the installation. `looks` is the Parquet
    file of what can be learned from, if any was kept.
    """
    claim(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    fresh = folder.parent / f".{folder.name}.{os.getpid()}"
    gone = folder.parent / f"{fresh.name}.old"
    fresh.mkdir()
    try:
        (fresh / "journal.jsonl").write_text(run.journal.text(), encoding="utf-8")
        _write_json(fresh / "result.json", found)
        _write_json(fresh / "topology.json", picture_of(run.scenario.topology))
        if run.signature is not None:
            _write_json(fresh / "signature.json", run.signature.sealed(key).model_dump(mode="json"))
        write_table(run.telemetry, fresh / "telemetry.parquet")
        if looks:
            (fresh / LOOKS).write_bytes(looks)
        if folder.exists():
            folder.rename(gone)  # else a part of it might be found, which is nobody's run
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(gone, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what runs to this folder have left that died as they were writing."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        pid = path.name.removeprefix(f".{folder.name}.").removesuffix(".old")
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def picture_of(topology: Topology) -> Document:
    """What is needed to draw a topology; link `i` here is cable `i` there."""
    return {
        "name": topology.name,
        "devices": [{"name": d.name, "position": d.position} for d in topology.devices],
        "hosts": [{"name": h.name, "device": h.device} for h in topology.hosts],
        "links": [
            {"a": link.a, "b": link.b, "rate_bps": link.rate_bps,
             "names": [topology.link_name(2 * i), topology.link_name(2 * i + 1)]}
            for i, link in enumerate(topology.links)
        ],
    }  # fmt: skip
