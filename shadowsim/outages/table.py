"""Verdicts to tables: a row for each change and variant, and a row for each variant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields

import polars as pl

from shadowsim.outages.verdicts import HOWS, STOPPED, TAKEN_BACK, WENT, Verdict

KINDS: dict[str, pl.DataType] = {
    "str": pl.String(), "int": pl.Int64(), "bool": pl.Boolean(), "float": pl.Float64(),
    "float | None": pl.Float64(),
}  # fmt: skip
SCHEMA = {field.name: KINDS[str(field.type)] for field in fields(Verdict)} | {
    "false_alarm": pl.Boolean()
}


def frame(found: Sequence[Verdict]) -> pl.DataFrame:
    """One row a run, with the fields of a Verdict."""
    rows = [{**asdict(verdict), "false_alarm": verdict.false_alarm} for verdict in found]
    return pl.DataFrame(rows, schema=SCHEMA)


def by_change(runs: pl.DataFrame) -> pl.DataFrame:
    """Per change and variant, over its seeds: `how` it went most often and in how many of `runs`
    (the worse of two that were as often), the median seconds to detection and to the end of the
    rollback, and the mean shares lost.
    """
    rank = pl.col("how").replace_strict({how: n for n, how in enumerate(HOWS)})
    most = (
        runs.group_by("scenario", "precog", "how", maintain_order=True)
        .agg(times=pl.len())
        .sort("times", rank, descending=True, maintain_order=True)
        .group_by("scenario", "precog", maintain_order=True)
        .first()
    )
    rest = runs.group_by("scenario", "precog", maintain_order=True).agg(
        runs=pl.len(),
        fails=pl.col("fails").mean(),
        detected_s=pl.col("detected_s").median(),
        back_s=pl.col("back_s").median(),
        lost=pl.col("lost").mean(),
        lost_alone=pl.col("lost_alone").mean(),
        over_s=pl.col("over_s").mean(),
        breach_s=pl.col("breach_s").mean(),
        false_alarms=pl.col("false_alarm").sum(),
    )
    return rest.join(most, on=["scenario", "precog"], how="left", maintain_order="left")


def by_variant(runs: pl.DataFrame, outages: Collection[str]) -> pl.DataFrame:
    """Per variant: of the runs of outages, how many went how, the medians and the mean shares lost;
    of the others that do no harm if left alone (`ordinary`), how many were not let through.
    """
    famous = pl.col("scenario").is_in(list(outages))
    hurts = famous & pl.col("fails")
    good = ~famous & ~pl.col("fails")
    counts = [(hurts & (pl.col("how") == how)).sum().alias(how) for how in HOWS if how != WENT]
    told = runs.group_by("precog", maintain_order=True).agg(
        hurts.sum().alias("outages"),
        *counts,
        pl.col("detected_s").filter(hurts).median(),
        pl.col("back_s").filter(hurts).median(),
        pl.col("lost").filter(hurts).mean(),
        pl.col("lost_alone").filter(hurts).mean(),
        good.sum().alias("ordinary"),
        (good & pl.col("false_alarm") & (pl.col("how") != TAKEN_BACK))
        .sum()
        .alias("false refusals"),
        (good & (pl.col("how") == TAKEN_BACK)).sum().alias("false rollbacks"),
    )
    return told.sort("lost", STOPPED, descending=[False, True])
