"""The command line: words, exit codes, one JSON document, and nothing written on bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shadowsim import __version__
from shadowsim.__main__ import main
from shadowsim.commands import app
from shadowsim.model.truth import MODES
from shadowsim.outcomes import OutcomeStore
from shadowsim.precog import VARIANTS
from shadowsim.rollback.key import installation_key
from shadowsim.rollback.signature import read_signature

ROOT = Path(__file__).parent.parent
COMMANDS = [c.callback.__name__.replace("_", "-") for c in app.registered_commands if c.callback]
DESIGNED = {
    "scenario", "network", "precog", "seed", "decision", "end_state", "forecast", "failure_modes",
    "blamed", "time_to_rollback_s", "breach_s", "expectations", "digests", "out",
}  # fmt: skip
PAIR = """
name: {name}
seed: 3
topology: {{nodes: [A, B], links: [[A, B]]}}
traffic: {{demands: [{{from: A, to: B, rate_mbps: 1}}]}}
change: {{script: "device A\\ninterface to-B\\n {line}\\n"}}
workflow: {{shadow_s: 10, monitor_s: 10}}
{more}
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out, parse_constant=_no_constant)


def _no_constant(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


class Shell:
    """A folder in which `shadowsim` is called; everything that it says is looked through."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *words: object) -> Said:
        self._patch.setattr(sys, "argv", ["shadowsim", *map(str, words)])
        self._capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        assert isinstance(code, int)
        return Said(code, out, err)

    def scenario(self, name: str = "pair", *, line: str = "description x", more: str = "") -> Path:
        path = self.folder / f"{name}.yml"
        path.write_text(PAIR.format(name=name, line=line, more=more), encoding="utf-8")
        return path

    def content(self) -> dict[str, bytes]:
        found = (p for p in self.folder.rglob("*") if p.is_file())
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in found}


@pytest.fixture
def shell(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shell]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path_factory.getbasetemp() / "key-of-the-shell"))
    return Shell(tmp_path, capsys, monkeypatch)


# -- help --------------------------------------------------------------------------------------


def test_the_commands_of_the_design_that_exist() -> None:
    assert set(COMMANDS) >= {"run", "check", "schema", "report", "analytics", "doctor", "bench"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_and_takes_json_and_seed(name: str, shell: Shell) -> None:
    said = shell(name, "--help")
    assert (said.code, said.err) == (0, "")
    for word in ("--json", "--seed", "--help", f"shadowsim {name}"):
        assert word in said.out
    assert len(said.out.splitlines()) > 6


def test_help_names_every_command(shell: Shell) -> None:
    said = shell("--help")
    assert said.code == 0
    assert [name for name in COMMANDS if f"  {name}" not in said.out] == []


def test_the_version_is_told(shell: Shell) -> None:
    assert shell("--version") == (0, f"shadowsim {__version__}\n", "")


# -- run ---------------------------------------------------------------------------------------


def test_run_json_prints_one_document_and_nothing_else(shell: Shell) -> None:
    said = shell("run", shell.scenario(), "--json")
    assert (said.code, said.err) == (0, "")
    found = said.json()
    assert set(found) >= DESIGNED
    assert (found["scenario"], found["network"], found["precog"]) == ("pair", "simulated", "hybrid")
    assert (found["decision"], found["end_state"]) == ("go", "confirmed")
    assert set(found["forecast"]) == set(MODES)
    assert set(found["expectations"]) == {"met", "details"}
    assert set(found["digests"]) == {"before", "after"}
    assert found["digests"]["before"].keys() == {"A"}


def test_run_writes_a_folder_and_an_outcome(shell: Shell) -> None:
    found = shell("run", shell.scenario(), "--json").json()
    folder = shell.folder / found["out"]
    assert folder == shell.folder / "runs" / "pair"
    assert {p.name for p in folder.iterdir()} == {
        "journal.jsonl", "result.json", "topology.json", "signature.json", "telemetry.parquet",
        "looks.parquet", "commit",
    }  # fmt: skip
    assert json.loads((folder / "result.json").read_text("utf-8")) == found
    signature = read_signature(folder / "signature.json", installation_key())
    assert signature.rehearsal.verified
    with OutcomeStore(shell.folder / "runs" / "outcomes.sqlite") as store:
        rows = store.read()
    assert [(r["scenario"], r["end_state"]) for r in rows] == [("pair", "confirmed")]


def test_run_tells_a_person_what_happens(shell: Shell) -> None:
    said = shell("run", shell.scenario())
    assert said.code == 0
    for word in ("pair", "1 shadow deployment", "decision: go", "confirmed", "runs/pair"):
        assert word in said.out
    assert "\x1b" not in said.out  # no terminal: no colours, no bars


def test_a_second_run_replaces_the_first(shell: Shell) -> None:
    scenario = shell.scenario()
    shell("run", scenario, "--json")
    (shell.folder / "runs" / "pair" / "report.html").write_text("old")
    shell("run", scenario, "--json")
    assert not (shell.folder / "runs" / "pair" / "report.html").exists()
    assert not [p for p in (shell.folder / "runs").iterdir() if p.name.startswith(".")]


def test_several_scenarios_give_a_list_in_their_order(shell: Shell) -> None:
    paths = [shell.scenario("one"), shell.scenario("two", line="ip ospf cost 30")]
    found = shell("run", *paths, "--json").json()
    assert [d["scenario"] for d in found] == ["one", "two"]
    said = shell("run", *paths)
    assert said.out.endswith("2 of 2 scenarios as expected\n")


def test_the_seed_of_the_command_line_counts(shell: Shell) -> None:
    scenario = shell.scenario()
    documents, journals = [], []
    for seed in ((), ("--seed", 3), ("--seed", 4)):
        documents.append(shell("run", scenario, "--json", *seed).json())
        journals.append((shell.folder / "runs" / "pair" / "journal.jsonl").read_bytes())
    assert [d["seed"] for d in documents] == [3, 3, 4]
    assert journals[0] == journals[1] != journals[2]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_precog_can_be_named(name: str, shell: Shell) -> None:
    assert shell("run", shell.scenario(), "--json", "--precog", name).json()["precog"] == name


def test_out_and_store_are_where_they_are_wanted(shell: Shell) -> None:
    out, store = shell.folder / "deep" / "out", shell.folder / "kept" / "all.db"
    found = shell("run", shell.scenario(), "--json", "--out", out, "--store", store).json()
    assert Path(found["out"]) == out / "pair"
    assert store.exists()
    assert not (shell.folder / "runs").exists()


def test_a_folder_that_is_not_of_a_run_is_never_deleted(shell: Shell) -> None:
    thesis = shell.folder / "pair" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    shell("run", shell.scenario(), "--json", "--out", ".")
    assert thesis.exists()


# -- exit codes --------------------------------------------------------------------------------


def test_0_as_expected(shell: Shell) -> None:
    more = "expect: {decision: go, end_state: confirmed, failure_mode: none}"
    said = shell("run", shell.scenario(more=more), "--json")
    assert said.code == 0
    assert said.json()["expectations"]["met"] is True
    assert len(said.json()["expectations"]["details"]) == 3


def test_1_not_as_expected(shell: Shell) -> None:
    scenario = shell.scenario(more="expect: {decision: no-go, end_state: confirmed}")
    said = shell("run", scenario, "--json")
    assert said.code == 1
    details = said.json()["expectations"]["details"]
    assert [(d["what"], d["met"]) for d in details] == [("decision", False), ("end_state", True)]
    assert "expected decision no-go, got go" in shell("run", scenario).out


def test_1_if_one_of_several_is_not_as_expected(shell: Shell) -> None:
    good = shell.scenario("good", more="expect: {decision: go}")
    bad = shell.scenario("bad", more="expect: {decision: no-go}")
    assert shell("run", good, bad, "--json").code == 1
    assert "1 of 2 scenarios as expected" in shell("run", bad, good).out


def test_3_where_the_machine_lacks_something(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowsim.doctor.PACKAGES", ("numpy", "no-such-package"))
    said = shell("doctor", "--json")
    assert said.code == 3
    assert [f["what"] for f in said.json() if not f["ok"] and f["needed"]] == ["no-such-package"]


def test_4_where_a_person_is_needed(shell: Shell) -> None:
    scenario = shell.scenario()
    said = shell("run", scenario, "--json", "--autonomy", "ask")
    assert said.code == 4
    assert (said.json()["autonomy"], said.json()["end_state"]) == ("ask", "halted")
    expected = shell.scenario("expected", more="expect: {end_state: halted}")
    assert shell("run", expected, "--json", "--autonomy", "ask").code == 0
    assert shell("run", expected, "--json").code == 1


def test_observing_needs_nobody(shell: Shell) -> None:
    said = shell("run", shell.scenario(), "--json", "--autonomy", "observe")
    assert (said.code, said.json()["end_state"]) == (0, "refused")


def interrupted(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Said:
    def stop(run: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shadowsim.carried.run_workflow", stop)
    return shell("run", shell.scenario(), "--json")


def test_an_interruption_is_130_and_writes_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted(shell, monkeypatch).code == 130
    assert set(shell.content()) == {"pair.yml"}


def test_an_interruption_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interrupted(shell, monkeypatch).err.strip() == "stopped"


def started(
    folder: Path, *words: str, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.Popen[str]:
    paths = [environment.pop("PYTHONPATH", ""), str(ROOT)]
    return subprocess.Popen(
        [sys.executable, *words], cwd=folder, text=True,
        stdout=stdout, stderr=subprocess.PIPE,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_modules_load_is_told_in_words(
    number: signal.Signals, tmp_path: Path
) -> None:
    """It comes in the middle of an import, of a module that takes its time."""
    (tmp_path / "typer.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(30)\n"
    )
    for words in (("-m", "shadowsim"), ("-c", "from shadowsim.__main__ import main; main()")):
        process = started(tmp_path, *words, PYTHONPATH=str(tmp_path))
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        assert process.communicate(timeout=20) == ("", "stopped\n")
        assert process.returncode == 130


@pytest.mark.parametrize("words", ["run pair.yml", "run pair.yml --json", "schema", "--help"])
def test_a_pipe_that_is_closed_is_no_mistake_and_no_success(words: str, shell: Shell) -> None:
    shell.scenario()
    nobody, ours = os.pipe()
    os.close(nobody)  # before it can be done: `--help` is quick
    process = started(shell.folder, "-u", "-m", "shadowsim", *words.split(), stdout=ours)
    os.close(ours)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141


# -- bad input ---------------------------------------------------------------------------------

BAD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "missing file": (("run", "none.yml"), ("none.yml", "cannot be read")),
    "a folder": (("run", "."), ("cannot be read",)),
    "a page into a folder": (("fidelity", "pair.yml", "--out", "."), ("'.' is a directory",)),
    "a model into a folder": (("train", "history", "--out", "."), ("'.' is a directory",)),
    "a figure into a folder": (("scale", "--out", "."), ("'.' is a directory",)),
    "bad scenario": (("run", "bad.yml"), ("bad.yml:3", "did you mean 'topology'")),
    "all mistakes of all files": (
        ("run", "bad.yml", "none.yml", "pair.yml"), ("bad.yml:3", "none.yml")),
    "unknown network": (
        ("run", "pair.yml", "--json", "--network", "simulate"),
        ("--network", "did you mean 'simulated'")),
    "unknown precog": (
        ("run", "pair.yml", "--precog", "hybird"), ("--precog", "did you mean 'hybrid'", "judge")),
    "unknown autonomy": (
        ("run", "pair.yml", "--autonomy", "auto"), ("--autonomy", "automatic", "observe")),
    "negative seed": (("run", "pair.yml", "--seed", "-1"), ("--seed",)),
    "seed in words": (("run", "pair.yml", "--seed", "seven"), ("--seed",)),
    "slowest pace": (("run", "pair.yml", "--pace", "0"), ("--pace",)),
    "nothing to run": (("run",), ("SCENARIO",)),
    "unknown option": (("run", "pair.yml", "--jsno"), ("--jsno",)),
    "unknown command": (("rum", "pair.yml"), ("rum",)),
    "no command": ((), ("Usage",)),
    "check of a bad scenario": (("check", "bad.yml"), ("bad.yml:3",)),
    "check of a missing file": (("check", "none.yml", "--json"), ("none.yml",)),
    "unknown schema": (("schema", "signatur"), ("did you mean 'signature'", "scenario")),
    "unknown bench": (("bench", "nothing"), ("nothing", "valid:")),
    "no outcomes": (("analytics",), ("outcomes.sqlite", "shadowsim run")),
    "outcomes of nothing": (("analytics", "--store", "pair.yml", "--json"), ("pair.yml",)),
    "report of a missing folder": (("report", "none"), ("none",)),
    "report of a file": (("report", "pair.yml"), ("pair.yml",)),
    "report of an empty folder": (("report", "empty", "--json"), ("empty",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_2_bad_input_is_told_and_nothing_is_written(name: str, shell: Shell) -> None:
    words, told = BAD[name]
    shell.scenario()
    (shell.folder / "bad.yml").write_text("name: bad\nseed: 1\ntopolgy: {}\nchange: {script: ''}\n")
    (shell.folder / "empty").mkdir()
    before = shell.content()
    said = shell(*words)
    assert said.code == 2
    shown = said.out + said.err if name == "no command" else said.err
    assert [word for word in told if word not in shown] == []
    assert name == "no command" or said.out == ""
    assert shell.content() == before
    assert not (shell.folder / "runs").exists()


def test_out_that_is_a_file_is_bad_input(shell: Shell) -> None:
    before = {**shell.content(), "file": b"mine"}
    (shell.folder / "file").write_bytes(b"mine")
    scenario = shell.scenario()
    said = shell("run", scenario, "--json", "--out", "file", "--store", "outcomes.sqlite")
    assert (said.code, said.out) == (2, "")
    assert "file" in said.err
    assert shell.content() == {**before, "pair.yml": scenario.read_bytes()}


def test_a_store_that_is_none_is_bad_input_before_anything_is_written(shell: Shell) -> None:
    (shell.folder / "notes.txt").write_text("not a database, but long enough to look at\n" * 50)
    shell.scenario()
    before = shell.content()
    said = shell("run", "pair.yml", "--json", "--store", "notes.txt")
    assert (said.code, said.out) == (2, "")
    assert "notes.txt" in said.err
    assert shell.content() == before


def test_mistakes_of_many_files_are_told_together(shell: Shell) -> None:
    for name in ("x", "y"):
        text = f"name: {name}\ntopolgy: {{}}\nseeed: 1\n"
        (shell.folder / f"{name}.yml").write_text(text)
    lines = shell("run", "x.yml", "y.yml").err.splitlines()
    for start in ("x.yml:2", "x.yml:3", "y.yml:2", "y.yml:3"):
        assert any(line.startswith(start) for line in lines), start


# -- check, schema, doctor, analytics, report --------------------------------------------------


def test_check_says_what_the_change_means(shell: Shell) -> None:
    cutting = shell.scenario("cutting", line="shutdown")
    found = shell("check", shell.scenario(), cutting, "--json").json()
    assert [e["scenario"] for e in found] == ["pair", "cutting"]
    assert [e["broken_before"] for e in found] == [[], []]
    assert found[0]["broken_after"] == []
    assert "reachable any>any" in found[1]["broken_after"]
    said = shell("check", cutting)
    assert (said.code, said.err) == (0, "")
    assert "after the change: broken: reachable any>any" in said.out
    assert set(shell.content()) == {"pair.yml", "cutting.yml"}


def test_check_of_one_scenario_is_one_object(shell: Shell) -> None:
    assert shell("check", shell.scenario(), "--json").json()["scenario"] == "pair"


@pytest.mark.parametrize(
    ("what", "file"),
    [("scenario", "scenario.schema.json"), ("signature", "rollback-signature.schema.json")],
)
def test_the_published_schemas_are_those_of_the_program(what: str, file: str, shell: Shell) -> None:
    said = shell("schema", what)
    assert (said.code, said.err) == (0, "")
    assert said.json()["$schema"].startswith("https://json-schema.org/")
    assert said.out == (ROOT / "docs" / file).read_text(encoding="utf-8")


def test_the_doctor_tells_what_is_there(shell: Shell) -> None:
    said = shell("doctor", "--json")
    assert (said.code, said.err) == (0, "")
    findings = said.json()
    assert {"Python", "numpy", "SQLite", "memory"} <= {f["what"] for f in findings}
    assert all(set(f) == {"what", "ok", "found", "needed", "remedy"} for f in findings)
    assert all(f["ok"] or f["remedy"] for f in findings)
    assert "Python" in shell("doctor").out


def test_analytics_of_an_empty_store(shell: Shell) -> None:
    with OutcomeStore(shell.folder / "empty.sqlite"):
        pass
    said = shell("analytics", "--store", "empty.sqlite", "--json")
    assert (said.code, said.json()["runs"]) == (0, 0)
    assert shell("analytics", "--store", "empty.sqlite").code == 0


def test_analytics_counts_runs(shell: Shell) -> None:
    shell("run", shell.scenario(), shell.scenario("cutting", line="shutdown"), "--json")
    found = shell("analytics", "--json").json()
    assert found["runs"] == 2
    by_decision = {row["decision"]: row["changes"] for row in found["validated"]}
    assert by_decision == {"go": 1, "no-go": 1, "inconclusive": 0}
    said = shell("analytics")
    assert said.code == 0
    assert "Accuracy of the forecasts" in said.out


@pytest.mark.parametrize("line", ["description x", "shutdown"])
def test_a_report_is_one_page_of_its_own(line: str, shell: Shell) -> None:
    folder = shell("run", shell.scenario(line=line), "--json").json()["out"]
    said = shell("report", folder, "--json")
    assert said.code == 0
    page = (shell.folder / said.json()["report"]).read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "pair" in page


# -- as a program ------------------------------------------------------------------------------


def program(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shadowsim", *words],
        cwd=cwd,
        env={**os.environ, "SHADOWSIM_KEY": str(cwd / "key"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_as_a_program_it_prints_a_document_and_leaves_0(shell: Shell) -> None:
    said = program("run", str(shell.scenario()), "--json", cwd=shell.folder)
    assert (said.returncode, said.stderr) == (0, "")
    assert json.loads(said.stdout)["end_state"] == "confirmed"
    assert oct((shell.folder / "key").stat().st_mode & 0o777) == "0o600"


def test_as_a_program_it_tells_bad_input_and_leaves_2(shell: Shell) -> None:
    said = program("run", "none.yml", cwd=shell.folder)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "none.yml: the scenario cannot be read: No such file or directory\n"


def test_a_reader_that_goes_away_is_no_failure(shell: Shell) -> None:
    said = subprocess.run(
        f"{sys.executable} -m shadowsim schema | head -c 1",
        shell=True, cwd=shell.folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (said.stdout, said.stderr) == ("{", "")
