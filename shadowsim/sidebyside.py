"""Scenario files to pairs of runs, one on each network, of which none is done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shadowsim.dataplane.forwarding import Compiler
from shadowsim.errors import BadInput, MachineLacks, ShadowsimError
from shadowsim.fidelity import KINDS, Fidelity, Skipped, compare
from shadowsim.network.emulated.refusals import coarseness, growth, refuse_faults
from shadowsim.scenario import Scenario, load

Runner = Callable[[Path, str, Path], None]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Stamp:
    """What a run was of; written beside its folder when it is complete."""

    digest: str
    controller: str
    coarse: int


@dataclass(frozen=True)
class Study:
    """Where runs are kept, what makes them, and whom progress is told.

    `run(file, kind, out)` makes the folder of a run in `out`, or raises ShadowsimError. With
    `again` everything is run, also what is there.
    """

    runs: Path
    controller: str
    run: Runner
    progress: Progress
    again: bool = False


def side_by_side(files: Sequence[Path], study: Study) -> tuple[list[Fidelity], list[Skipped]]:
    """Compare each scenario on both networks; what is there from earlier runs is not repeated.

    A scenario that this machine cannot carry, or whose run fails, is skipped, with the reason.
    Raises BadInput for a file that is no scenario, and for two of one name.
    """
    scenarios = [(file, load(file)) for file in files]
    names = [scenario.name for _, scenario in scenarios]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"several scenarios are named {', '.join(twice)}; their folders would clash")
    rows: list[Fidelity] = []
    skipped: list[Skipped] = []
    for number, (file, scenario) in enumerate(scenarios, 1):
        where = f"{number}/{len(files)} {scenario.name}"
        try:
            folders, coarse = _pair(file, scenario, study, where)
            rows.append(compare(scenario.name, folders, coarse))
        except ShadowsimError as error:
            failed = not isinstance(error, MachineLacks)
            skipped.append(Skipped(scenario.name, str(error), failed))
            study.progress(f"{where}: skipped: {error}")
    return rows, skipped


def _pair(file: Path, scenario: Scenario, study: Study, where: str) -> tuple[dict[str, Path], int]:
    """The folders of both runs, made where they are not there, and how coarse they are."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    coarse = coarse_of(scenario)
    stamps = {
        "simulated": Stamp(digest, "", 1),
        "emulated": Stamp(digest, study.controller, coarse),
    }
    found = {}
    for kind in KINDS:
        out = study.runs / kind
        place, found[kind] = out / f"{scenario.name}.json", out / scenario.name
        if not study.again and _is_there(place, found[kind], stamps[kind]):
            study.progress(f"{where}: {kind}: there already")
            continue
        study.progress(f"{where}: {kind} ...")
        place.unlink(missing_ok=True)
        study.run(file, kind, out)
        place.write_text(json.dumps(asdict(stamps[kind])), encoding="utf-8")
    return found, coarse


def coarse_of(scenario: Scenario) -> int:
    """How many packets one real packet has to stand for. Raises MachineLacks if none can."""
    refuse_faults(scenario.faults)
    plane = Compiler(scenario.topology).compile(scenario.configs)
    grown = growth(scenario.traffic.profile, scenario.faults)
    return coarseness(plane, scenario.traffic.demands, grown)


def _is_there(place: Path, folder: Path, wanted: Stamp) -> bool:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(found == asdict(wanted)) and (folder / "result.json").exists()
