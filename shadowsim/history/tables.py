"""Changes and what came of them to the two tables: evidence, and apart from it labels."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from shadowsim.history.cases import Case
from shadowsim.history.looks import columns_of
from shadowsim.history.simulate import Record
from shadowsim.model.truth import MODES

Happened = Sequence[tuple[Case, Record]]
TEXTS = pl.List(pl.String())
KEYS = {
    "case": pl.Int64(),
    "network": pl.String(),
    "kind": pl.String(),
    "phase": pl.String(),
    "since_s": pl.Float64(),
}
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
    return pl.DataFrame(columns_of(rows, features, variants), schema_overrides=KEYS)


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
