"""Outcomes in the order they were recorded to how good forecasts and rollbacks were, and when.

Here an outcome counts for a forecast only where it is known what came of the change (`uses`), other
than in the plain tables of analytics, which take what was observed for what came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from shadowsim.errors import BadInput, Mistake
from shadowsim.history.tables import TEXTS
from shadowsim.learning.drift import calibrated
from shadowsim.learning.metrics import calibration_error
from shadowsim.learning.root_cause import scores
from shadowsim.learning.uses import NOT_THE_CHANGE, Document, Use, use_of
from shadowsim.model.kinds import kinds_of
from shadowsim.model.truth import MODES

Tables = list[tuple[str, pl.DataFrame]]
Window = Callable[[int, str], str]  # the place of an outcome, and when it was recorded
LIKELY = 0.5
WINDOW = ("window",)
APART = (*WINDOW, "variant", "failure_mode")

SAID: dict[str, pl.DataType] = {
    "window": pl.String(), "variant": pl.String(), "failure_mode": pl.String(),
    "p": pl.Float64(), "came": pl.Boolean(),
}  # fmt: skip
ENDED: dict[str, pl.DataType] = {
    "window": pl.String(), "variant": pl.String(), "failure_mode": pl.String(),
    "root_cause": pl.String(), "blamed": TEXTS, "time_to_rollback_s": pl.Float64(),
    "at_fault": TEXTS, "background": TEXTS,
    "breach_s": pl.Float64(), **{mode: pl.Boolean() for mode in MODES}, "known": pl.Boolean(),
    "used": pl.Boolean(),
}  # fmt: skip
ACCURACY: dict[str, Any] = {
    "window": pl.String(), "variant": pl.String(), "failure_mode": pl.String(),
    "runs": pl.Int64(), "not_said": pl.Int64(), "failed": pl.Int64(), "right": pl.Float64(),
    "brier": pl.Float64(), "expected_brier": pl.Float64(), "ece": pl.Float64(),
    "bias": pl.Float64(),
    "drift": pl.Boolean(),
}  # fmt: skip


def by_week(place: int, recorded_at: str) -> str:
    """The ISO week, such as 2026-W48. Raises ValueError for what is no time."""
    year, week, _ = datetime.fromisoformat(recorded_at).isocalendar()
    return f"{year}-W{week:02}"


def by_runs(number: int) -> Window:
    """Windows of so many runs, one after the other."""

    def window(place: int, recorded_at: str) -> str:
        first = place // number * number
        return f"run {first + 1:05} to {first + number:05}"

    return window


def frames(
    rows: Sequence[Mapping[str, Any]], store: Path, window: Window
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What was said at the gate, one row per run of which it is known what came, variant and mode;
    and how runs ended, one row each. Raises BadInput where an outcome is damaged.
    """
    said: list[dict[str, Any]] = []
    ended = []
    for place, row in enumerate(rows):
        try:
            document = json.loads(row["document"])
            use, when = use_of(document), window(place, row["recorded_at"])
            ended.append(_ended(when, document, use))
            if use.came_at_s is not None:
                said += _said(when, document, use.came_at_s)
        except (ValueError, TypeError, LookupError, AttributeError):
            raise BadInput([Mistake(f"outcome {row['id']} is damaged", str(store))]) from None
    return pl.DataFrame(said, schema=SAID), pl.DataFrame(ended, schema=ENDED)


def _said(when: str, document: Document, came: Mapping[str, float]) -> Iterable[dict[str, Any]]:
    told = {**((document.get("looks") or {}).get("said") or {})}
    told[document["precog"]] = document.get("forecast") or {}
    for variant, probabilities in sorted(told.items()):
        for mode in MODES:
            yield {
                "window": when, "variant": variant, "failure_mode": mode,
                "p": probabilities.get(mode), "came": mode in came,
            }  # fmt: skip


def _ended(when: str, document: Document, use: Use) -> dict[str, Any]:
    truth = document.get("truth") or {}
    came = use.came_at_s or {}
    return {
        "window": when,
        "variant": document["precog"],
        "failure_mode": document.get("failure_mode") or "none",
        "root_cause": document["root_cause"],
        "blamed": document.get("blamed") or [],
        "time_to_rollback_s": document.get("time_to_rollback_s"),
        "at_fault": truth.get("at_fault") or [],
        "background": truth.get("background") or [],
        "breach_s": document.get("breach_s"),
        **{mode: mode in came for mode in MODES},
        "known": truth.get("at_fault") is not None
        and (use.came_at_s is not None or use.how == NOT_THE_CHANGE),
        "used": use.came_at_s is not None,
    }


def accuracy(said: pl.DataFrame) -> pl.DataFrame:
    """Per window, variant and failure mode. `right`: the share of runs where 0.5 and more was said
    of what came, and less of what did not; `brier`, and what it would be on average if all
    probabilities were right; `ece`, the expected calibration error
    (`metrics.calibration_error`); `bias`, by how much they are too high on average; `drift`,
    whether the score is off by more than chance (`drift.calibrated`).
    """
    rows = []
    for key, part in said.group_by(APART, maintain_order=True):
        p = part["p"].fill_null(float("nan")).to_numpy()
        came = part["came"].to_numpy()
        known = p == p
        found = calibrated(p, came)
        some = found.looks > 0
        rows.append({
            **dict(zip(APART, key, strict=True)),
            "runs": part.height,
            "not_said": int((~known).sum()),
            "failed": int(came.sum()),
            "right": float(((p >= LIKELY) == came)[known].mean()) if some else None,
            "brier": found.brier if some else None,
            "expected_brier": found.expected if some else None,
            "ece": _ece(p[known], came[known]) if some else None,
            "bias": float((p - came)[known].mean()) if some else None,
            "drift": found.drifted if some else None,
        })  # fmt: skip
    return pl.DataFrame(rows, schema=ACCURACY)


def _ece(p: npt.NDArray[np.float64], came: npt.NDArray[np.bool_]) -> float:
    return float(calibration_error(p, came, np.ones(len(p))))


def rollbacks(ended: pl.DataFrame, by: Sequence[str] = WINDOW) -> pl.DataFrame:
    """Per window (or what `by` says): runs, those of which it is known what came of the change,
    rollbacks that ended well, and how long they took from the trigger, in seconds.
    """
    took = pl.col("time_to_rollback_s")
    return ended.group_by(by, maintain_order=True).agg(
        runs=pl.len(),
        known=pl.col("used").sum(),
        rollbacks=took.count(),
        median_s=took.median(),
        p95_s=took.quantile(0.95, "linear"),
    )


def causes(ended: pl.DataFrame, by: Sequence[str] = WINDOW) -> pl.DataFrame:
    """Per window (or what `by` says): what runs were due to, and the kinds of the commands blamed,
    with how many.
    """
    kinds = pl.col("blamed").map_elements(kinds_of, return_dtype=pl.List(pl.String))
    due = ended.filter(pl.col("root_cause") != "none").select(
        *by, cause="root_cause", command=kinds
    )
    return (
        due.explode("command")
        .group_by(*by, "cause", "command", maintain_order=True)
        .agg(runs=pl.len())
    )


def found(ended: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """How well causes were found in the runs of which the truth is known: `root_cause.scores`."""
    known = ended.filter("known")
    return scores(known, by) if known.height else scores(known, by).clear()


def whole(rows: Sequence[Mapping[str, Any]], store: Path, window: Window) -> pl.DataFrame:
    """Accuracy and time to rollback in one table, a row for each window, variant and mode; null
    where there is nothing of one of the two. A rollback is of the variant that was in charge.
    """
    said, ended = frames(rows, store, window)
    took = rollbacks(ended, APART).rename({"runs": "ended", "known": "ended_known"})
    return accuracy(said).join(took, on=APART, how="full", coalesce=True).sort(APART)


def tables(rows: Sequence[Mapping[str, Any]], store: Path, window: Window) -> Tables:
    """The tables, each with its title."""
    said, ended = frames(rows, store, window)
    return [
        ("Accuracy of the forecasts over time", accuracy(said)),
        ("Time to rollback over time", rollbacks(ended)),
        ("Root causes over time", causes(ended)),
        ("Root causes found, where the truth is known", found(ended)),
        ("Time to rollback by variant and failure mode", rollbacks(ended, APART)),
        ("Root causes by variant and failure mode", causes(ended, APART)),
        ("Root causes found by variant, where the truth is known", found(ended, ["variant"])),
    ]
