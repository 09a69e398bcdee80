"""Outcomes to tables: changes validated, forecasts right, rollbacks, how fast, due to what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from shadowsim.model.kinds import kinds_of
from shadowsim.model.truth import MODES
from shadowsim.outcomes import NUMBERS, PLAIN

PREDICTED_FROM = 0.5
DECISIONS = ("go", "no-go", "inconclusive")
END_STATES = ("confirmed", "rolled_back", "refused", "halted")
CAUSES = ("change", "not the change", "unknown", "none")
SCHEMA: dict[str, pl.DataType] = {
    "decision": pl.String(),
    "end_state": pl.String(),
    "failure_mode": pl.String(),
    "root_cause": pl.String(),
    "time_to_rollback_s": pl.Float64(),
    "failure_modes": pl.List(pl.String()),
    "blamed": pl.List(pl.String()),
    **{f"forecast_{mode}": pl.Float64() for mode in MODES},
}

WHOLE: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    "recorded_at": pl.String(),
    **{name: pl.Float64() if name in NUMBERS else pl.String() for name in PLAIN},
    "seed": pl.Int64(),
    **{f"forecast_{mode}": pl.Float64() for mode in MODES},
    "failure_modes": pl.List(pl.String()),
    "blamed": pl.List(pl.String()),
    "expectations_met": pl.Boolean(),
    "document": pl.String(),
}

Tables = list[tuple[str, pl.DataFrame]]


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """What analytics needs of the rows of an OutcomeStore, one line a run."""
    return pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)


def whole(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """All that an OutcomeStore holds, one row a run: what it says in columns, and the document."""
    return pl.DataFrame([{name: row[name] for name in WHOLE} for row in rows], schema=WHOLE)


def validated(runs: pl.DataFrame) -> pl.DataFrame:
    """Changes validated on the shadow: per decision, how many, and how they ended."""
    ended = [(pl.col("end_state") == state).sum().alias(state) for state in END_STATES]
    found = runs.group_by("decision").agg(pl.len().alias("changes"), *ended)
    return _in_order(found, "decision", DECISIONS, runs.is_empty())


def accuracy(runs: pl.DataFrame) -> pl.DataFrame:
    """Per failure mode: the forecast at the gate against what came of the change.

    Predicted is a probability of 0.5 and more. What came of it is observed in production if the
    change was deployed, else in the shadow; a failure that a rollback forestalled did not come.
    tp, fp, fn, tn: true and false positives and negatives. Precision is null where nothing was
    predicted, recall where nothing happened.
    """
    if runs.is_empty():
        return pl.DataFrame(schema=_accuracy_of(runs, MODES[0]).schema)
    return pl.concat(_accuracy_of(runs, mode) for mode in MODES)


def _accuracy_of(runs: pl.DataFrame, mode: str) -> pl.DataFrame:
    probability = pl.col(f"forecast_{mode}")
    forecast = runs.filter(probability.is_not_null()).select(
        p=probability,
        predicted=probability >= PREDICTED_FROM,
        happened=pl.col("failure_modes").list.contains(mode).fill_null(value=False),
    )
    predicted, happened = pl.col("predicted"), pl.col("happened")
    counted = forecast.select(
        failure_mode=pl.lit(mode),
        runs=pl.len(),
        tp=(predicted & happened).sum(),
        fp=(predicted & ~happened).sum(),
        fn=(~predicted & happened).sum(),
        tn=(~predicted & ~happened).sum(),
        brier=((pl.col("p") - happened.cast(pl.Float64)) ** 2).mean(),
    )
    right = pl.col("tp")
    return counted.select(
        pl.exclude("brier"),
        precision=_ratio(right, right + pl.col("fp")),
        recall=_ratio(right, right + pl.col("fn")),
        brier="brier",
    )


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part / whole)


def rollbacks(runs: pl.DataFrame) -> pl.DataFrame:
    """Rollbacks triggered in production, by failure mode: how many, and how many verified."""
    triggered = runs.filter(pl.col("time_to_rollback_s").is_not_null())
    verified = (pl.col("end_state") == "rolled_back").sum()
    return (
        triggered.group_by("failure_mode")
        .agg(triggered=pl.len(), verified=verified, not_verified=pl.len() - verified)
        .sort("triggered", "failure_mode", descending=[True, False])
    )


def time_to_rollback(runs: pl.DataFrame) -> pl.DataFrame:
    """From the trigger to the verified or abandoned end of the rollback, in seconds."""
    took = pl.col("time_to_rollback_s")
    return (
        runs.filter(took.is_not_null())
        .select(
            rollbacks=pl.len(),
            median_s=took.median(),
            p95_s=took.quantile(0.95, "linear"),
            max_s=took.max(),
        )
        .filter(pl.col("rollbacks") > 0)
    )


def root_causes(runs: pl.DataFrame) -> pl.DataFrame:
    """What runs were due to; where it was the change, by the kinds of the commands blamed.

    A run that blames several kinds counts once for each.
    """
    kinds = pl.col("blamed").map_elements(kinds_of, return_dtype=pl.List(pl.String))
    due = runs.select(
        cause="root_cause",
        command=pl.when(pl.col("root_cause") == "change").then(kinds),
    ).explode("command")
    found = due.group_by("cause", "command").agg(runs=pl.len())
    rank = pl.col("cause").replace_strict({c: i for i, c in enumerate(CAUSES)}, default=len(CAUSES))
    return found.sort(rank, -pl.col("runs").cast(pl.Int64), "command")


def _in_order(
    found: pl.DataFrame, column: str, order: Sequence[str], nothing: bool
) -> pl.DataFrame:
    """Rows in a given order, with zeros for what did not occur; none at all for nothing."""
    if nothing:
        return found
    wanted = pl.DataFrame({column: order})
    return wanted.join(found, on=column, how="left", maintain_order="left").fill_null(0)


def tables(rows: Sequence[Mapping[str, Any]]) -> Tables:
    """The five tables with their titles; without rows where there is nothing to say."""
    runs = frame(rows)
    return [
        ("Changes validated on the shadow", validated(runs)),
        ("Accuracy of the forecasts", accuracy(runs)),
        ("Rollbacks triggered", rollbacks(runs)),
        ("Time to rollback", time_to_rollback(runs)),
        ("Root causes", root_causes(runs)),
    ]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same as a document for JSON."""
    names = ("validated", "accuracy", "rollbacks", "time_to_rollback", "root_causes")
    found = {name: t.to_dicts() for name, (_, t) in zip(names, tables(rows), strict=True)}
    return {"runs": len(rows), **found}
