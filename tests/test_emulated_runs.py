"""Whole runs on real packets, as a user starts them, under both controllers; and hostile words."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from emulation import devices, left_behind, needs_emulation
from network_contract import SQUARE

import shadowsim
from shadowsim.errors import BadInput
from shadowsim.model.change import apply, parse_script
from shadowsim.network import Emulation
from shadowsim.network.emulated.client import Agent
from shadowsim.network.emulated.rundir import leftovers
from shadowsim.scenario import parse

SCENARIOS = Path(__file__).parent.parent / "scenarios"
MOST_S = 180
# What each came to is in the scenario's own `expect`; the runs must meet it.
RUNS = ("square-acl-voice", "service-follows", "square-then-busy")


def run(name: str, out: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Run a scenario of the repository on real packets through the command line."""
    store = out / "outcomes.sqlite"
    done = subprocess.run(
        [sys.executable, "-m", "shadowsim", "run", "--network", "emulated", "--json",
         "--out", str(out), "--store", str(store), *options, str(SCENARIOS / f"{name}.yml")],
        capture_output=True, text=True, timeout=MOST_S, check=False,
    )  # fmt: skip
    return done, json.loads(done.stdout) if done.stdout else None


@needs_emulation
@pytest.mark.parametrize("controller", ["ryu", "os-ken"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_on_real_packets_meets_its_expectations(
    name: str, controller: str, tmp_path: Path
) -> None:
    before, left = devices(), leftovers()
    done, found = run(name, tmp_path, "--controller", controller)
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    assert "Traceback" not in done.stderr
    assert found["network"] == "emulated"
    assert found["expectations"]["met"]
    assert found["expectations"]["details"]
    assert devices() == before, "a network device was left on the machine"
    assert not left_behind(left), "a folder or a process was left on the machine"
    if found["end_state"] == "rolled_back":
        digests = found["digests"]
        devices_blamed = {command.split(":")[0] for command in found["blamed"]}
        assert devices_blamed
        for device in devices_blamed:
            assert digests["after"][device] == digests["before"][device]
        assert found["time_to_rollback_s"] < 10


@needs_emulation
def test_telemetry_has_the_schema_of_a_simulated_run(tmp_path: Path) -> None:
    done, _ = run("square-acl-voice", tmp_path / "real")
    assert done.returncode == 0, done.stderr
    subprocess.run(
        [sys.executable, "-m", "shadowsim", "run", "--out", str(tmp_path / "model"),
         "--store", str(tmp_path / "o.sqlite"), str(SCENARIOS / "square-acl-voice.yml")],
        check=True, capture_output=True, timeout=MOST_S,
    )  # fmt: skip
    real, model = (
        pl.read_parquet(tmp_path / kind / "square-acl-voice" / "telemetry.parquet")
        for kind in ("real", "model")
    )
    assert real.schema == model.schema
    keys = ["network", "subject", "name", "metric"]
    assert set(real.select(keys).unique().rows()) == set(model.select(keys).unique().rows())


@pytest.mark.parametrize(
    ("name", "words"),
    [("fat-tree-upgrade", "packets a second"), ("subset-shadow", "--network simulated")],
)
def test_what_is_too_much_for_real_time_is_refused_in_words(
    name: str, words: str, tmp_path: Path
) -> None:
    done, _ = run(name, tmp_path)
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_controller_is_refused_with_the_valid_ones(tmp_path: Path) -> None:
    done, _ = run("square-acl-voice", tmp_path, "--controller", "oskn")
    assert done.returncode == 2
    assert "os-ken" in done.stderr


# -- hostile words -----------------------------------------------------------------------------

CANARY = Path("/tmp/shadowsim-canary")
PARTS = (
    "$(touch {0})", "`touch {0}`", "; touch {0}", "| touch {0}", "&& touch {0}", "\n touch {0}",
    "' ; touch {0} ; '", '" ; touch {0} ; "', "../../../../{0}", "-rf {0}", "--help", "%s%n{0}",
    "{{{{{0}}}}}", "\x00{0}", "\x1b]0;{0}\x07", "\u202e{0}", "${{IFS}}touch${{IFS}}{0}", "<({0})",
    "> {0}", "!!python/object/apply:os.system ['touch {0}']", "*{0}", "~{0}", "\\{0}", "#{0}",
    "é{0}", "x" * 300 + "{0}", "",
)  # fmt: skip
HOSTILE = [
    f"{before}{part.format(CANARY)}"
    for before in ("", "A", "A ", "to-B", "eth0 ", "10.0.0.1", "-", "o'")
    for part in PARTS
]


def documents(text: str) -> Iterator[dict[str, Any]]:
    """A scenario with this text in one of its text fields, for each such field."""
    plain: dict[str, Any] = {
        "name": "hostile",
        "topology": {"nodes": ["A", "B"], "links": [["A", "B"]]},
        "change": {"summary": "", "script": "device A\ninterface to-B\n ip ospf cost 20\n"},
    }
    described = f"interface to-B\n description {text}\n"
    yield plain | {"name": text}
    yield plain | {"change": plain["change"] | {"summary": text}}
    yield plain | {"change": {"script": f"device A\n{described}"}}
    yield plain | {"change": {"script": text}}
    yield plain | {"configs": {"A": described}}
    yield plain | {"configs": {text: described}}
    yield plain | {"topology": {"nodes": ["A", text], "links": [["A", text]]}}
    yield plain | {"topology": plain["topology"] | {"hosts": {text: {"on": "A"}}}}
    yield plain | {"topology": plain["topology"] | {"hosts": {"h": {"on": "A", "groups": [text]}}}}
    yield plain | {"topology": {"file": text}}
    yield plain | {"intents": [{"reachable": {"from": text, "to": "any"}}]}
    yield plain | {"traffic": {"demands": [{"from": text, "to": "B", "rate_mbps": 1}]}}
    yield plain | {"services": [{"redis": {"host": text}}]}
    yield plain | {"faults": [{"at_s": 1, "config_drift": {"device": "A", "script": described}}]}


def test_hostile_words_in_any_text_field_are_read_or_refused_in_words() -> None:
    assert len(HOSTILE) >= 200
    read = 0
    for text in HOSTILE:
        for document in documents(text):
            try:
                parse(json.dumps(document))
                read += 1
            except BadInput as error:
                assert error.mistakes
    assert read > 100, "else the fields that take free text were not among them"
    assert not CANARY.exists()


@needs_emulation
def test_hostile_words_reach_neither_a_shell_nor_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptions take any text; the agent is told numbers, addresses and words of its own."""
    told: list[dict[str, Any]] = []
    call = Agent.call

    def recorded(self: Agent, verb: str, *args: Any, **fields: Any) -> Any:
        told.append({"verb": verb, **{k: v for k, v in fields.items() if k != "within_s"}})
        return call(self, verb, *args, **fields)

    monkeypatch.setattr(Agent, "call", recorded)
    texts = [t for t in HOSTILE if t.strip() and t.isprintable() and len(t) < 200]
    network = Emulation("ryu")(replace(SQUARE, name="hostile"), SQUARE.configs, "production")
    try:
        for text in texts[::12]:
            try:
                commands = parse_script(f"device A\ninterface to-B\n description {text}\n")
            except BadInput:
                continue
            before = dict(network.configs())
            network.apply(commands)
            while network.busy:
                network.advance(network.now + 0.1)
            assert dict(network.configs()) == apply(before, commands)
    finally:
        network.close()
    assert not CANARY.exists()
    assert {"build", "sockets", "listener"} <= {request["verb"] for request in told}
    for word in words_in(told):
        assert re.fullmatch(r"[a-z-]{1,16}|\d{1,3}(\.\d{1,3}){3}", word), word


def words_in(value: Any) -> Iterator[str]:
    """Every string in a request but the names of its fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from words_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from words_in(item)


def test_no_shell_is_ever_started() -> None:
    root = Path(shadowsim.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("os.system", "os.popen", "subprocess.getoutput"), path
            assert not any(k.arg == "shell" for k in node.keywords), path
            for text in (a.value for a in ast.walk(node) if isinstance(a, ast.Constant)):
                assert text not in ("sh", "bash", "/bin/sh", "/bin/bash"), path
