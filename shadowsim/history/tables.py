"""Changes and what came of them to the two tables: evidence, and apart from it labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from shadowsim.history.cases import Case
from shadowsim.history.looks import Look
from shadowsim.history.simulate import Record
from shadowsim.model.truth import MODES

Happened = Sequence[tuple[Case, Record]]
TEXTS = pl.List(pl.String())
LABELS: dict[str, pl.DataType] = {
    "case": pl.Int64(),
    "network": pl.String(),
    "kind": pl.String(),
    "mistake": pl.String(),
    "hidden": TEXTS,
    "sign": pl.Boolean(),
    "at_fault": TEXTS,
    **{mode: pl.Boolean() for mode in MODES},
    **{f"{mode}_at_s": pl.Float64() for mode in MODES},
    "anyway": TEXTS,
    "background": TEXTS,
}


def looks_of(happened: Happened, features: Sequence[str], variants: Sequence[str]) -> pl.DataFrame:
    """One row per look: of which change, when, every feature, and what each variant said then."""
    rows = [
        ((case.number, case.network, case.kind), look)
        for case, record in happened
        for look in record.looks
    ]
    return table_of(rows, features, variants)


Of = tuple[int, str, str]  # the number of a change, its network, and its kind


def table_of(
    rows: Sequence[tuple[Of, Look]], features: Sequence[str], variants: Sequence[str]
) -> pl.DataFrame:
    """Looks, each with what it is a look at, as a table."""
    told = [f"{variant}.{mode}" for variant in variants for mode in MODES]
    values = np.array([[*look.features, *look.forecasts.ravel()] for _, look in rows])
    values = values.reshape(len(rows), len(features) + len(told))
    return pl.DataFrame({
        "case": pl.Series([of[0] for of, _ in rows], dtype=pl.Int64),
        "network": pl.Series([of[1] for of, _ in rows], dtype=pl.String),
        "kind": pl.Series([of[2] for of, _ in rows], dtype=pl.String),
        "phase": pl.Series([look.phase for _, look in rows], dtype=pl.String),
        "since_s": pl.Series([look.since_s for _, look in rows], dtype=pl.Float64),
        **dict(zip((*features, *told), np.ascontiguousarray(values.T), strict=True)),
    })  # fmt: skip


def labels_of(happened: Happened) -> pl.DataFrame:
    """One row per change: what came of it and why, which no look knows."""
    return pl.DataFrame([_label(case, record) for case, record in happened], schema=LABELS)


def _label(case: Case, record: Record) -> dict[str, object]:
    label = record.label
    return {
        "case": case.number,
        "network": case.network,
        "kind": case.kind,
        "mistake": case.mistake,
        "hidden": list(case.hidden),
        "sign": label.sign,
        "at_fault": [str(command) for command in case.at_fault],
        **{mode: mode in label.came_at_s for mode in MODES},
        **{f"{mode}_at_s": label.came_at_s.get(mode) for mode in MODES},
        "anyway": list(label.anyway),
        "background": list(label.background),
    }


def summary(labels: pl.DataFrame) -> pl.DataFrame:
    """Per kind of change, and over all: how many, the share of each failure mode and of any, and
    of the failures the share that no sign spoke of before deployment (null if there is none).
    """
    failed = pl.any_horizontal(*MODES)
    shares = [
        pl.len().alias("changes"),
        failed.mean().alias("failed"),
        *(pl.col(mode).mean() for mode in MODES),
        (~pl.col("sign")).filter(failed).mean().alias("without a sign"),
    ]
    kinds = labels.group_by("kind").agg(shares).sort("kind")
    return pl.concat([kinds, labels.select(pl.lit("all").alias("kind"), *shares)])
