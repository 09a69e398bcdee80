"""The outcome store: what goes in comes out, two at once both win, and bad files are told apart."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shadowsim.analytics import summary
from shadowsim.errors import BadInput, ShadowsimError
from shadowsim.outcomes import OutcomeStore

NOON = "2026-03-01T12:00:00+00:00"
ADD_MANY = """
import json, sys
from pathlib import Path
from shadowsim.outcomes import OutcomeStore
for i in range(20):
    with OutcomeStore(Path(sys.argv[1])) as store:
        store.add({"scenario": sys.argv[2], "seed": i}, "2026-03-01T12:00:00+00:00")
"""


def outcome(**different: Any) -> dict[str, Any]:
    return {
        "scenario": "drain", "network": "simulated", "precog": "hybrid", "seed": 7,
        "decision": "go", "end_state": "rolled_back", "failure_mode": "service_outage",
        "forecast": {"performance_degradation": 0.25, "service_outage": 0.75},
        "failure_modes": ["service_outage"], "blamed": ["A: interface b / shutdown"],
        "root_cause": "change", "time_to_rollback_s": 1.5, "breach_s": 0.75,
        "expectations": {"met": True, "details": []}, **different,
    }  # fmt: skip


def test_what_was_added_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "outcomes.sqlite"
    with OutcomeStore(path) as store:
        assert store.read() == []
        store.add(outcome(summary="größer als € 'x'\n; DROP TABLE outcome"), NOON)
    with OutcomeStore(path) as store:
        store.add({"scenario": "bare"}, NOON)
        first, second = store.read()
    assert first["scenario"] == "drain"
    assert first["recorded_at"] == NOON
    assert first["forecast_service_outage"] == 0.75
    assert first["forecast_security_vulnerability"] is None
    assert first["failure_modes"] == ["service_outage"]
    assert first["blamed"] == ["A: interface b / shutdown"]
    assert first["expectations_met"] is True
    assert json.loads(first["document"])["summary"] == "größer als € 'x'\n; DROP TABLE outcome"
    assert (second["scenario"], second["decision"], second["failure_modes"]) == ("bare", None, [])


def test_the_columns_can_be_queried_by_anyone(tmp_path: Path) -> None:
    with OutcomeStore(tmp_path / "o.sqlite") as store:
        store.add(outcome(), NOON)
    with sqlite3.connect(tmp_path / "o.sqlite") as plain:
        query = "SELECT scenario, seed, time_to_rollback_s FROM outcome WHERE decision = 'go'"
        assert plain.execute(query).fetchall() == [("drain", 7, 1.5)]
        assert plain.execute("PRAGMA user_version").fetchone() == (1,)
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    running = [
        subprocess.Popen([sys.executable, "-c", ADD_MANY, str(path), name], stderr=subprocess.PIPE)
        for name in ("left", "right")
    ]
    assert [process.communicate()[1] for process in running] == [b"", b""]
    with OutcomeStore(path) as store:
        names = [row["scenario"] for row in store.read()]
    assert sorted(names) == ["left"] * 20 + ["right"] * 20


def test_a_locked_store_says_so(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    with OutcomeStore(path):
        pass
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    in_use = pytest.raises(ShadowsimError, match="in use by another program")
    with in_use, OutcomeStore(path, timeout_s=0.05) as store:
        store.add(outcome(), NOON)
    holder.execute("ROLLBACK")
    holder.close()
    with OutcomeStore(path) as store:
        store.add(outcome(), NOON)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 500)


def cut_in_half(path: Path) -> None:
    with OutcomeStore(path) as store:
        for _ in range(100):
            store.add(outcome(), NOON)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\x55" * 4096 + whole[8192:])


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (name TEXT)")


def newer(path: Path) -> None:
    with OutcomeStore(path):
        pass
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")


def folder(path: Path) -> None:
    path.mkdir()


def damaged_row(path: Path) -> None:
    with OutcomeStore(path):
        pass
    with sqlite3.connect(path) as other:
        other.execute(f"INSERT INTO outcome (recorded_at, document) VALUES ('{NOON}', '[1]')")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (garbage, "not an SQLite database, or damaged"),
        (cut_in_half, "not an SQLite database, or damaged"),
        (foreign, "a database of something else"),
        (newer, "format 99; this shadowsim knows format 1"),
        (folder, "unable to open database file"),
        (damaged_row, "outcome 1 is damaged"),
    ],
)
def test_a_file_that_is_no_store_is_bad_input(tmp_path: Path, spoil: Any, said: str) -> None:
    path = tmp_path / "o.sqlite"
    spoil(path)
    with pytest.raises(BadInput, match=said) as caught, OutcomeStore(path) as store:
        store.read()
    assert caught.value.mistakes[0].file == str(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": ["go"]}, {"time_to_rollback_s": "soon"}, {"breach_s": {"a": 1}},
        {"forecast": {"service_outage": [0.5]}}, {"blamed": [1]}, {"failure_modes": {"x": []}},
        {"duration_s": True}, {"scenario": "\ud800"}, {"seed": 10**400},
    ],
    ids=str,
)  # fmt: skip
def test_a_document_of_other_types_is_damaged(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """The tables of analytics are made of these columns, and want one type in each."""
    path = tmp_path / "o.sqlite"
    with OutcomeStore(path) as store:
        store.add(outcome(), NOON)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE outcome SET document = ?", (json.dumps(outcome(**wrong)),))
    connection.close()
    with OutcomeStore(path) as store:
        try:
            rows = store.read()
        except BadInput as error:
            assert "outcome 1 is damaged" in str(error)
        else:
            assert summary(rows)["runs"] == 1


def test_a_foreign_database_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "songs.sqlite"
    foreign(path)
    before = path.read_bytes()
    with pytest.raises(BadInput), OutcomeStore(path):
        pass
    assert path.read_bytes() == before


def test_a_parent_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput), OutcomeStore(tmp_path / "file" / "o.sqlite"):
        pass


def test_the_store_needs_no_tables_or_figures() -> None:
    code = "import sys, shadowsim.outcomes; print({'polars', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
