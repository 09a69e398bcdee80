"""The outcomes of a sweep to one row a run, and to a row for each scenario and variant."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from shadowsim.analytics import WHOLE
from shadowsim.outcomes import row_of

DRAWS = 2000
Z = 1.959964  # 95 % of a normal distribution are within so many standard deviations

ROWS = {name: kind for name, kind in WHOLE.items() if name not in ("id", "recorded_at")}
SUMMARY: dict[str, pl.DataType] = {
    "scenario": pl.String(),
    "precog": pl.String(),
    "runs": pl.Int64(),
    **{f"met{end}": pl.Float64() for end in ("", "_low", "_high")},
    **{f"breach_s{end}": pl.Float64() for end in ("", "_low", "_high")},
    "rollbacks": pl.Int64(),
    **{f"time_to_rollback_s{end}": pl.Float64() for end in ("", "_low", "_high")},
}

Interval = tuple[float | None, float | None, float | None]


def rows_of(documents: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """One row a run: the fields of its document, and the whole as JSON.

    `expectations_met` is null where a scenario expects nothing.
    """
    return pl.DataFrame([_row(document) for document in documents], schema=ROWS)


def _row(document: Mapping[str, Any]) -> dict[str, Any]:
    row = row_of(0, "", json.dumps(document, ensure_ascii=False))
    met = row["expectations_met"] if document["expectations"]["details"] else None
    return {**{name: row[name] for name in ROWS}, "expectations_met": met}


def summary(rows: pl.DataFrame) -> pl.DataFrame:
    """Per scenario and variant, over its seeds: the share of runs in which all came as expected,
    the seconds in which production was broken and those from trigger to end of a rollback, in the
    mean, each with its 95 % interval. Null where there is nothing, or one run and no interval.
    """
    groups = rows.sort("scenario", "precog", "seed").group_by(
        "scenario", "precog", maintain_order=True
    )
    return pl.DataFrame([_summed(part) for _, part in groups], schema=SUMMARY)


def _summed(part: pl.DataFrame) -> dict[str, Any]:
    met = part["expectations_met"].drop_nulls()
    took_s = part["time_to_rollback_s"].drop_nulls()
    return {
        "scenario": part["scenario"][0],
        "precog": part["precog"][0],
        "runs": part.height,
        **_named("met", share(int(met.sum()), len(met))),
        **_named("breach_s", mean(part["breach_s"].to_list())),
        "rollbacks": len(took_s),
        **_named("time_to_rollback_s", mean(took_s.to_list())),
    }


def _named(name: str, interval: Interval) -> dict[str, float | None]:
    return {f"{name}{end}": v for end, v in zip(("", "_low", "_high"), interval, strict=True)}


def share(some: int, of: int) -> Interval:
    """A share with its 95 % score interval (Wilson, JASA 22, 1927)."""
    if not of:
        return None, None, None
    p, spread = some / of, Z * Z / of
    middle = (p + spread / 2) / (1 + spread)
    half = math.sqrt(p * (1 - p) * spread + spread * spread / 4) / (1 + spread)
    return p, max(middle - half, 0.0), min(middle + half, 1.0)


def mean(values: Sequence[float]) -> Interval:
    """A mean with its 95 % percentile interval over bootstrap draws (Efron, 1979)."""
    if len(values) < 2:
        return (values[0] if values else None), None, None
    found = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(len(found)).integers(len(found), size=(DRAWS, len(found)))
    low, high = np.quantile(found[drawn].mean(axis=1), [0.025, 0.975])
    return float(found.mean()), float(low), float(high)
