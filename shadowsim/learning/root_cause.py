"""What was blamed, and what was at fault, to how well failures are traced to their cause.

What counts. A row is one case that ran to its end. It is a failure of the change if a mode came
that would not have come without it. If the case says which commands its mistake is in
(`at_fault`), these are what should have been blamed; a failure without a mistake, such as a peak
that comes later, names none and counts only as one of the change. A row is a failure of the
background if there was a fault (`background`), something was broken, and no mode came that the
change is to blame for: there "not the change" is right, and any command that is blamed is wrong.

Per failure, not per command, so that a long script weighs no more than a short one: precision is
the share of the blamed commands that are at fault, the mean over failures for which any was
blamed; recall the share of those at fault that were blamed, the mean over all failures with a
mistake; exact the share in which they are the same commands. A command is the same if it reads the
same, its device and its section included; how often it stands in the script does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from shadowsim.errors import BadInput
from shadowsim.model.truth import MODES

NOT_THE_CHANGE = "not the change"
COLUMNS = ("at_fault", "background", "blamed", "root_cause", "breach_s", *MODES)


def scores(rows: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """How well causes were found, one row for all or one per group of `by`, in their order.

    `rows`: `at_fault`, `background`, `blamed` list[str]; `root_cause` str as of a run; `breach_s`,
    seconds in which anything was broken; one bool per failure mode: it came by the change.

    The answer: `failures` with a mistake, of those `named` (any command blamed), `precision`,
    `recall`, `exact`; `background`, failures of the background, and "not the change" as a class of
    its own among all failures: `cleared` (how many were called that), `cleared_precision`,
    `cleared_recall`. null where there is nothing to divide by. Raises BadInput if a column is
    missing.
    """
    missing = [name for name in (*COLUMNS, *by) if name not in rows.columns]
    if missing:
        raise BadInput(f"root causes cannot be scored without {', '.join(missing)}")
    told = rows.with_columns(**_told())
    if by:
        return told.group_by(by, maintain_order=True).agg(**_measures()).sort(by)
    return told.select(**_measures())


def _told() -> dict[str, pl.Expr]:
    """Per row: which kind of failure it is, and how much of what was blamed is right."""
    at_fault, blamed = _set("at_fault"), _set("blamed")
    right = at_fault.list.set_intersection(blamed).list.len()
    by_change = pl.any_horizontal(pl.col(mode).fill_null(False) for mode in MODES)
    disturbed = (_set("background").list.len() > 0) & (pl.col("breach_s").fill_null(0.0) > 0.0)
    return {
        "_change": by_change,
        "_mistake": by_change & (at_fault.list.len() > 0),
        "_background": disturbed & ~by_change,
        "_cleared": (pl.col("root_cause") == NOT_THE_CHANGE).fill_null(False)
        & (blamed.list.len() == 0),
        "_right": right,
        "_at_fault": at_fault.list.len(),
        "_blamed": blamed.list.len(),
    }


def _set(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.List(pl.String)).fill_null([]).list.unique()


def _measures() -> dict[str, pl.Expr]:
    mistake, background = pl.col("_mistake"), pl.col("_background")
    failure = pl.col("_change") | background
    named = mistake & (pl.col("_blamed") > 0)
    cleared = pl.col("_cleared") & failure
    same = (pl.col("_right") == pl.col("_at_fault")) & (pl.col("_right") == pl.col("_blamed"))
    return {
        "failures": mistake.sum(),
        "named": named.sum(),
        "precision": (pl.col("_right") / pl.col("_blamed")).filter(named).mean(),
        "recall": (pl.col("_right") / pl.col("_at_fault")).filter(mistake).mean(),
        "exact": same.filter(mistake).mean(),
        "background": background.sum(),
        "cleared": cleared.sum(),
        "cleared_precision": background.filter(cleared).mean(),
        "cleared_recall": pl.col("_cleared").filter(background).mean(),
    }
