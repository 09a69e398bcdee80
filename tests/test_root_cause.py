"""Scores of root causes: by hand, and against a plain count."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowsim.errors import BadInput
from shadowsim.learning.root_cause import COLUMNS, NOT_THE_CHANGE, scores
from shadowsim.model.truth import MODES, OUTAGE

SCHEMA: dict[str, Any] = {
    "kind": pl.String,
    "at_fault": pl.List(pl.String),
    "background": pl.List(pl.String),
    "blamed": pl.List(pl.String),
    "root_cause": pl.String,
    "breach_s": pl.Float64,
    **dict.fromkeys(MODES, pl.Boolean),
}


def row(
    at_fault: str | None = "",
    blamed: str | None = "",
    *,
    failed: bool = True,
    background: str = "",
    cause: str | None = "change",
    breach_s: float | None = 1.0,
    kind: str = "cost",
) -> dict[str, Any]:
    """A case; a command is a letter."""
    return {
        "kind": kind,
        "at_fault": None if at_fault is None else list(at_fault),
        "background": list(background),
        "blamed": None if blamed is None else list(blamed),
        "root_cause": cause,
        "breach_s": breach_s,
        **dict.fromkeys(MODES, False),
        OUTAGE: failed,
    }


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def scored(*rows: dict[str, Any]) -> dict[str, Any]:
    return scores(table(*rows)).row(0, named=True)


def test_what_was_blamed_rightly_and_wrongly() -> None:
    found = scored(row("ab", "ab"), row("ab", "a"), row("a", "abcd"), row("a", ""), row("a", "b"))
    assert (found["failures"], found["named"]) == (5, 4)
    assert found["precision"] == pytest.approx((1 + 1 + 1 / 4 + 0) / 4)
    assert found["recall"] == pytest.approx((1 + 1 / 2 + 1 + 0 + 0) / 5)
    assert found["exact"] == pytest.approx(1 / 5)


def test_order_and_repetition_do_not_matter() -> None:
    assert scored(row("ab", "bab"))["exact"] == 1.0


def test_what_did_not_fail_counts_nowhere() -> None:
    quiet = row("a", "b", failed=False), row("a", "", failed=False, cause=NOT_THE_CHANGE)
    found = scored(*quiet, row("", "", failed=False, background="f", breach_s=0.0))
    assert {found[name] for name in ("failures", "named", "background", "cleared")} == {0}
    for name in ("precision", "recall", "exact", "cleared_precision", "cleared_recall"):
        assert found[name] is None


def test_a_failure_without_a_mistake_names_no_command() -> None:
    found = scored(row("", "b"), row(None, None))
    assert (found["failures"], found["named"], found["precision"]) == (0, 0, None)


def test_not_the_change_is_right_for_faults_of_the_background_only() -> None:
    fault = {"failed": False, "background": "f"}
    found = scored(
        row(**fault, cause=NOT_THE_CHANGE),
        row(**fault, cause="none"),
        row("", "b", **fault, cause="change"),
        row("", "b", **fault, cause=NOT_THE_CHANGE),
        row("a", "", cause=NOT_THE_CHANGE),
        row("a", "", background="f", cause=NOT_THE_CHANGE),
        row("", "", cause=None),
    )
    assert (found["background"], found["cleared"]) == (4, 3)
    assert found["cleared_precision"] == pytest.approx(1 / 3)
    assert found["cleared_recall"] == pytest.approx(1 / 4)


def test_groups_are_scored_each_for_itself() -> None:
    rows = [row("a", "a", kind="cost"), row("a", "b", kind="acl"), row("a", "a", kind="acl")]
    found = scores(table(*rows), ["kind"])
    assert found["kind"].to_list() == ["acl", "cost"]
    assert found["exact"].to_list() == [0.5, 1.0]


def test_an_empty_table_has_no_score() -> None:
    found = scored()
    assert (found["failures"], found["exact"]) == (0, None)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(BadInput, match=name):
        scores(table().drop(name))


def test_a_group_that_is_missing_is_named() -> None:
    with pytest.raises(BadInput, match="network"):
        scores(table(), ["network"])


letters = st.text("abc", max_size=4)
cases = st.builds(
    row,
    st.none() | letters,
    st.none() | letters,
    failed=st.booleans(),
    background=st.text("fg", max_size=1),
    cause=st.sampled_from(["change", NOT_THE_CHANGE, "none", "unknown", None]),
    breach_s=st.sampled_from([0.0, 2.0, None]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(cases, max_size=8))
def test_the_scores_are_those_of_a_plain_count(rows: list[dict[str, Any]]) -> None:
    found = scored(*rows)
    mistakes = [r for r in rows if r[OUTAGE] and r["at_fault"]]
    pairs = [(set(r["at_fault"]), set(r["blamed"] or ())) for r in mistakes]
    assert found["failures"] == len(pairs)
    assert found["precision"] == _mean([len(a & b) / len(b) for a, b in pairs if b])
    assert found["recall"] == _mean([len(a & b) / len(a) for a, b in pairs])
    assert found["exact"] == _mean([float(a == b) for a, b in pairs])
    faults = [r for r in rows if not r[OUTAGE] and r["background"] and r["breach_s"]]
    failures = [r for r in rows if r[OUTAGE]] + faults
    cleared = [r for r in failures if r["root_cause"] == NOT_THE_CHANGE and not r["blamed"]]
    assert (found["background"], found["cleared"]) == (len(faults), len(cleared))
    assert found["cleared_precision"] == _mean([float(not r[OUTAGE]) for r in cleared])
    assert found["cleared_recall"] == _mean([float(r in cleared) for r in faults])


def _mean(values: list[float]) -> Any:
    return pytest.approx(sum(values) / len(values)) if values else None
