"""The scenarios of the project do what they expect, teach what they say, and repeat exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from shadowsim.journal import Journal
from shadowsim.model.truth import MODES
from shadowsim.network import NETWORKS
from shadowsim.precog import WhatIf, variant
from shadowsim.record import document
from shadowsim.scenario import load
from shadowsim.workflow import Run, run_workflow

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "scenarios").glob("*.yml"))
SCHEMA_LINE = "# yaml-language-server: $schema=../docs/scenario.schema.json"
TWICE = ("drain-then-peak", "two-drains-at-once", "fault-not-the-change")


class Done(NamedTuple):
    run: Run
    document: dict[str, Any]


def ran(path: Path) -> Done:
    scenario = load(path)
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant(scenario.workflow.precog, model)
    run = run_workflow(Run(scenario, NETWORKS["simulated"], precog, model, Journal()))
    return Done(run, document(run, "simulated"))


@pytest.fixture(scope="session")
def done() -> dict[str, Done]:
    """Every scenario, run once."""
    return {path.stem: ran(path) for path in FILES}


each = pytest.mark.parametrize("name", [path.stem for path in FILES])


# -- what they are -----------------------------------------------------------------------------


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 18


@each
def test_a_scenario_opens_with_what_it_teaches(name: str) -> None:
    path = ROOT / "scenarios" / f"{name}.yml"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == SCHEMA_LINE
    assert lines[1].startswith("# ")
    scenario = load(path)
    assert len(scenario.summary.split()) >= 6
    assert scenario.summary.endswith(".")
    assert "$schema" not in scenario.summary


@each
def test_a_scenario_is_named_like_its_file_and_expects_something(name: str) -> None:
    scenario = load(ROOT / "scenarios" / f"{name}.yml")
    assert scenario.name == name
    assert scenario.expect is not None
    assert scenario.expect.decision is not None
    assert scenario.expect.end_state is not None
    assert scenario.change.summary != ""
    assert scenario.change.commands != ()


def test_together_they_expect_every_outcome() -> None:
    expected = [scenario.expect for scenario in map(load, FILES) if scenario.expect is not None]
    assert {e.decision for e in expected} >= {"go", "no-go", "inconclusive"}
    assert {e.end_state for e in expected} >= {"confirmed", "rolled_back", "refused", "halted"}
    assert {e.failure_mode for e in expected} >= {*MODES, "none"}


def test_no_two_of_them_share_a_seed_and_a_lesson() -> None:
    summaries = [load(path).summary for path in FILES]
    assert len(set(summaries)) == len(summaries)


# -- what comes of them ------------------------------------------------------------------------


@each
def test_a_scenario_meets_its_expectations(name: str, done: dict[str, Done]) -> None:
    expectations = done[name].document["expectations"]
    assert [d for d in expectations["details"] if not d["met"]] == []
    assert expectations["met"] is True
    assert len(expectations["details"]) >= 2


@each
def test_a_document_is_strict_json_and_hangs_together(name: str, done: dict[str, Done]) -> None:
    found = done[name].document
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found["forecast"]) == set(MODES)
    assert set(found["failure_modes"]) <= set(MODES)
    assert found["failure_mode"] in (*MODES, "none", "any")
    assert (found["end_state"] == "refused") >= (found["decision"] == "no-go")
    assert (found["end_state"] == "halted") >= (found["decision"] == "inconclusive")
    assert (found["time_to_rollback_s"] is not None) >= (found["end_state"] == "rolled_back")
    assert found["digests"]["before"].keys() == found["digests"]["after"].keys()
    assert 0.0 <= found["breach_s"] <= found["duration_s"]


@each
def test_production_keeps_its_configs_unless_the_change_stays(
    name: str, done: dict[str, Done]
) -> None:
    found = done[name].document
    digests = found["digests"]
    if found["end_state"] == "confirmed":
        assert digests["before"] != digests["after"]
    if found["decision"] != "go" or found["end_state"] == "refused":
        assert digests["before"] == digests["after"]
        assert found["observed_in"] == "shadow"
    if found["end_state"] == "rolled_back":
        whole = len(found["blamed"]) == len(done[name].run.scenario.change.commands)
        assert (digests["before"] == digests["after"]) >= whole


@each
def test_no_confirmed_change_failed_unseen(name: str, done: dict[str, Done]) -> None:
    """What is confirmed may have lived through a fault, but exposed nothing."""
    found = done[name].document
    if found["end_state"] == "confirmed":
        assert "security_vulnerability" not in found["failure_modes"]
        assert (
            not done[name].run.scenario.faults
            or found["root_cause"] == "not the change"
            or (found["breach_s"] < 1.0)
        )


# -- the same run, the same bytes --------------------------------------------------------------


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[Any]]]:
    """The folder and the documents of the same scenarios in two processes, side by side."""
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    started = []
    for number, hashing in enumerate(("0", "4711")):
        out = tmp_path_factory.mktemp(f"process{number}")
        command = [sys.executable, "-m", "shadowsim", "run", "--json", "--out", str(out / "runs")]
        command += ["--store", str(out / "outcomes.sqlite")]
        command += [str(ROOT / "scenarios" / f"{name}.yml") for name in TWICE]
        environment = {**os.environ, "PYTHONHASHSEED": hashing, "SHADOWSIM_KEY": str(key)}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append((out / "runs", process))
    found = []
    for out, process in started:
        stdout, stderr = process.communicate(timeout=120)
        assert (process.returncode, stderr) == (0, b"")
        found.append((out, json.loads(stdout)))
    return found


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("file", ["journal.jsonl", "signature.json", "topology.json"])
def test_two_processes_write_the_same_bytes(
    name: str, file: str, two_processes: list[tuple[Path, list[Any]]]
) -> None:
    one, other = (out / name / file for out, _ in two_processes)
    if file == "signature.json" and not one.exists():
        assert not other.exists()
        return
    assert one.read_bytes() == other.read_bytes() != b""


@pytest.mark.parametrize("name", TWICE)
def test_two_processes_measure_the_same(
    name: str, two_processes: list[tuple[Path, list[Any]]]
) -> None:
    one, other = (pl.read_parquet(out / name / "telemetry.parquet") for out, _ in two_processes)
    assert one.equals(other)
    assert set(one["network"].unique()) == {"production", "shadow"}


def test_two_processes_print_the_same_documents_but_for_where(
    two_processes: list[tuple[Path, list[Any]]],
) -> None:
    (_, one), (_, other) = two_processes
    assert [d["scenario"] for d in one] == list(TWICE)
    for a, b in zip(one, other, strict=True):
        assert a.pop("out") != b.pop("out")
        assert a == b


@pytest.mark.parametrize("name", TWICE)
def test_the_command_line_and_the_library_tell_the_same(
    name: str, two_processes: list[tuple[Path, list[Any]]], done: dict[str, Done]
) -> None:
    out, _ = two_processes[0]
    assert (out / name / "journal.jsonl").read_text("utf-8") == done[name].run.journal.text()
    told = json.loads((out / name / "result.json").read_text("utf-8"))
    assert told["looks"] is not None
    assert {**told, "out": "", "looks": None} == done[name].document
