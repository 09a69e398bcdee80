"""Analytics against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from shadowsim import analytics
from shadowsim.analytics import frame
from shadowsim.commands import app
from shadowsim.errors import BadInput
from shadowsim.model.kinds import kind_of
from shadowsim.model.truth import DEGRADATION, OUTAGE, VULNERABILITY
from shadowsim.outcomes import OutcomeStore


def row(
    decision: str,
    end_state: str,
    forecast: tuple[float, float, float] = (0.0, 0.0, 0.0),
    actual: tuple[str, ...] = (),
    **more: Any,
) -> dict[str, Any]:
    modes = (DEGRADATION, OUTAGE, VULNERABILITY)
    probabilities = {f"forecast_{m}": p for m, p in zip(modes, forecast, strict=True)}
    return {
        "decision": decision, "end_state": end_state, "failure_mode": "none", "root_cause": "none",
        "failure_modes": list(actual), "blamed": [], "time_to_rollback_s": None,
        **probabilities, **more,
    }  # fmt: skip


def rolled_back(end_state: str, mode: str, took_s: float, *blamed: str) -> dict[str, Any]:
    return row(
        "go", end_state, failure_mode=mode, root_cause="change",
        time_to_rollback_s=took_s, blamed=list(blamed),
    )  # fmt: skip


COST, SHUT = "A: interface to-B / ip ospf cost 5000", "B: interface to-A / no shutdown"
ROWS = [
    row("go", "confirmed", (0.1, 0.0, 0.0)),
    row("go", "confirmed", (0.2, 0.0, 0.0), (DEGRADATION,), root_cause="not the change"),
    row("no-go", "refused", (0.9, 0.5, 0.0), (DEGRADATION, OUTAGE), blamed=[COST],
        root_cause="change"),
    row("no-go", "refused", (0.6, 0.0, 0.0), root_cause="unknown"),
    rolled_back("rolled_back", DEGRADATION, 1.0, COST, SHUT),
    rolled_back("rolled_back", DEGRADATION, 2.0, SHUT),
    rolled_back("halted", OUTAGE, 4.0, "A: ip route 10.0.0.0/8 Null0"),
]  # fmt: skip


def test_changes_validated() -> None:
    found = analytics.validated(frame(ROWS))
    assert found.columns == ["decision", "changes", "confirmed", "rolled_back", "refused", "halted"]
    assert found.rows() == [
        ("go", 5, 2, 2, 0, 1),
        ("no-go", 2, 0, 0, 2, 0),
        ("inconclusive", 0, 0, 0, 0, 0),
    ]


def test_accuracy_of_the_forecasts() -> None:
    degradation, outage, vulnerability = analytics.accuracy(frame(ROWS)).to_dicts()
    assert degradation == {
        "failure_mode": DEGRADATION, "runs": 7,
        "tp": 1, "fp": 1, "fn": 1, "tn": 4,
        "precision": 0.5, "recall": 0.5,
        "brier": pytest.approx((0.1**2 + 0.8**2 + 0.1**2 + 0.6**2) / 7),
    }  # fmt: skip
    assert (outage["tp"], outage["precision"], outage["recall"]) == (1, 1.0, 1.0)
    assert outage["brier"] == pytest.approx(0.25 / 7)
    assert vulnerability["tn"] == 7
    assert (vulnerability["precision"], vulnerability["recall"]) == (None, None)


def test_a_run_without_a_forecast_does_not_count() -> None:
    rows = [{**ROWS[0], f"forecast_{DEGRADATION}": None}, ROWS[1]]
    assert analytics.accuracy(frame(rows))["runs"].to_list() == [1, 2, 2]


def test_rollbacks_and_how_long_they_took() -> None:
    runs = frame(ROWS)
    assert analytics.rollbacks(runs).rows() == [(DEGRADATION, 2, 2, 0), (OUTAGE, 1, 0, 1)]
    (times,) = analytics.time_to_rollback(runs).to_dicts()
    assert times == {"rollbacks": 3, "median_s": 2.0, "p95_s": pytest.approx(3.8), "max_s": 4.0}


def test_root_causes_by_kind_of_command() -> None:
    assert analytics.root_causes(frame(ROWS)).rows() == [
        ("change", "ip ospf cost", 2),
        ("change", "shutdown", 2),
        ("change", "ip route", 1),
        ("not the change", None, 1),
        ("unknown", None, 1),
        ("none", None, 1),
    ]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("A: interface to-B / ip ospf cost 5000", "ip ospf cost"),
        ("A: interface to-B / no shutdown", "shutdown"),
        ("A: interface to-B / ip access-group GUEST in", "ip access-group"),
        ("A: ip access-list extended GUEST / 10 deny ip any any", "ip access-list extended"),
        ("A: no ip route 10.0.0.0/8 B", "ip route"),
        ("A: router bgp 5 / network 10.0.0.0/8", "network"),
        ("A: frobnicate 7", "frobnicate"),
    ],
)
def test_kind_of_a_command(command: str, kind: str) -> None:
    assert kind_of(command) == kind


def test_nothing_gives_empty_tables() -> None:
    found = analytics.tables([])
    assert len(found) == 5
    assert all(table.is_empty() and table.columns for _, table in found)
    assert [t.columns for _, t in found] == [t.columns for _, t in analytics.tables(ROWS)]
    assert analytics.summary([]) == {
        "runs": 0, "validated": [], "accuracy": [], "rollbacks": [], "time_to_rollback": [],
        "root_causes": [],
    }  # fmt: skip


def test_the_summary_is_json() -> None:
    found = json.loads(json.dumps(analytics.summary(ROWS), allow_nan=False))
    assert found["runs"] == 7
    assert found["time_to_rollback"][0]["median_s"] == 2.0


def test_an_outcome_with_nothing_in_it_is_counted_nowhere() -> None:
    runs = frame([{}])
    assert analytics.validated(runs)["changes"].sum() == 0
    assert analytics.accuracy(runs)["runs"].to_list() == [0, 0, 0]
    assert analytics.rollbacks(runs).is_empty()
    assert analytics.root_causes(runs).rows() == [(None, None, 1)]


# -- export ------------------------------------------------------------------------------------


def stored(folder: Path) -> Path:
    """Two outcomes of one week, and one of the next."""
    store = folder / "outcomes.sqlite"
    sure = {DEGRADATION: 0.0, OUTAGE: 0.8, VULNERABILITY: 0.0}
    good = {
        "precog": "hybrid", "decision": "go", "end_state": "confirmed", "failure_mode": "none",
        "root_cause": "none", "observed_in": "production", "failure_modes": [], "blamed": [],
        "failed_after_s": {}, "forecast": sure, "seed": 3, "time_to_rollback_s": None,
    }  # fmt: skip
    bad = {
        **good, "end_state": "rolled_back", "failure_mode": OUTAGE, "root_cause": "change",
        "failure_modes": [OUTAGE], "failed_after_s": {OUTAGE: 1.0}, "blamed": [SHUT],
        "time_to_rollback_s": 2.0, "truth": {"at_fault": [SHUT], "background": []},
    }  # fmt: skip
    with OutcomeStore(store) as opened:
        for found, day in ((good, 2), (bad, 3), ({**bad, "precog": "judge"}, 10)):
            opened.add(found, f"2026-03-{day:02}T08:00:00+00:00")
    return store


def told(store: Path, *words: object) -> str:
    command = ["analytics", "--store", str(store), *map(str, words), "--json"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    return result.stdout


def test_outcomes_are_exported_with_a_row_a_run(tmp_path: Path) -> None:
    store, path = stored(tmp_path), tmp_path / "new" / "outcomes.parquet"
    assert json.loads(told(store, "--export", path))["runs"] == 3
    table = pl.read_parquet(path)
    assert table.schema == pl.Schema(analytics.WHOLE)
    assert table["id"].to_list() == [1, 2, 3]
    assert table["blamed"].to_list() == [[], [SHUT], [SHUT]]
    assert json.loads(table["document"][1])["time_to_rollback_s"] == 2.0
    assert [p.name for p in path.parent.iterdir()] == ["outcomes.parquet"]


def test_over_time_they_are_exported_with_a_row_a_window_variant_and_mode(tmp_path: Path) -> None:
    store, path = stored(tmp_path), tmp_path / "weeks.parquet"
    document = json.loads(told(store, "--over-time", "--export", path))
    table = pl.read_parquet(path)
    assert table.height == 2 * 3 + 1  # modes of two windows, and a run without a failure
    (row,) = table.filter(failure_mode=OUTAGE, variant="hybrid").to_dicts()
    assert (row["window"], row["runs"], row["failed"]) == ("2026-W10", 2, 1)
    assert (row["rollbacks"], row["median_s"], row["ended"]) == (1, 2.0, 1)
    assert row["ece"] == pytest.approx(0.3)
    rolled = {(r["variant"], r["failure_mode"]): r for r in document["time_to_rollback_by_variant"]}
    assert rolled["judge", OUTAGE]["median_s"] == 2.0
    assert rolled["hybrid", "none"]["rollbacks"] == 0
    causes = {(r["variant"], r["cause"]): r for r in document["root_causes_by_variant"]}
    assert causes["judge", "change"]["command"] == "shutdown"
    scored = {r["variant"]: r["recall"] for r in document["root_causes_found_by_variant"]}
    assert scored == {"hybrid": 1.0, "judge": 1.0}


def test_an_export_of_another_kind_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    store = stored(tmp_path)
    command = ["analytics", "--store", str(store), "--export", str(tmp_path / "x.xlsx")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, BadInput)
    assert ".parquet" in str(result.exception)
    assert not (tmp_path / "x.xlsx").exists()


def test_nothing_is_exported_as_an_empty_table() -> None:
    assert analytics.whole([]).schema == pl.Schema(analytics.WHOLE)
