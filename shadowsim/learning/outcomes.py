"""Outcomes of real runs, and the looks beside their records, to tables as a history has them."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from shadowsim.errors import BadInput, Mistake
from shadowsim.history.tables import LABELS, TEXTS
from shadowsim.learning.dataset import KEYS
from shadowsim.learning.looks import GATE
from shadowsim.learning.uses import Document, Use, use_of
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.stacked import statements

FILE = "looks.parquet"
REAL = 1_000_000_000_000  # the numbers of real changes lie beyond those of any history
OLDER = "of a version that kept no looks, or the run came to no gate"
GONE = "its looks are not there"
REPLACED = "its looks were replaced by those of a later run, or altered"
FOREIGN = "its looks were made with other features"
AGAIN = "the same run again"

LABELS_OF_RUNS = {
    **LABELS,
    "site": pl.String(),
    "scenario": pl.String(),
    "recorded_at": pl.String(),
    "variant": pl.String(),
    "no_go_above": pl.Float64(),
    "use": pl.String(),
    "blamed": TEXTS,
    "root_cause": pl.String(),
    "breach_s": pl.Float64(),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Outcomes:
    """`looks` and `labels` of the runs that can be learned from, in the order they were recorded;
    `used` and `unused` say how many were used how, and how many were not, by why.
    """

    looks: pl.DataFrame
    labels: pl.DataFrame
    used: Mapping[str, int]
    unused: Mapping[str, int]


def tables(rows: Sequence[Mapping[str, Any]], store: Path, variants: Sequence[str]) -> Outcomes:
    """What the rows of an outcome store are good for; `variants` must have been asked.

    Raises BadInput where an outcome is damaged; a missing or foreign file of looks only costs the
    outcome, which is counted.
    """
    looks, labels = [], []
    used: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    seen: set[str] = set()
    for row in reversed(rows):  # of the same run again the later counts
        document, use = _used(row, store)
        if use.came_at_s is None:
            unused[use.how] += 1
            continue
        found = _looks(document, store, variants)
        if isinstance(found, str) or (digest := document["looks"]["sha256"]) in seen:
            unused[found if isinstance(found, str) else AGAIN] += 1
            continue
        seen.add(digest)
        number = REAL + int(row["id"])
        phases = [GATE] if use.gate_only else [GATE, "production"]
        mine = found.filter(pl.col("phase").is_in(phases))
        looks.append(mine.with_columns(case=pl.lit(number, pl.Int64)))
        labels.append(_label(number, row, document, use, found["kind"][0]))
        used[use.how] += 1
    columns = [*KEYS, *NAMES, *statements(variants)]
    schema = dict.fromkeys(columns, pl.Float64()) | _KEYS
    listed = [frame.select(pl.col(name).cast(schema[name]) for name in columns) for frame in looks]
    together = pl.concat([pl.DataFrame(schema=schema), *listed])
    return Outcomes(
        together.sort("case", pl.col("phase") != GATE, "since_s"),
        pl.DataFrame(labels, schema=LABELS_OF_RUNS).sort("case"),
        dict(used),
        dict(unused),
    )


_KEYS: dict[str, Any] = {
    "case": pl.Int64(), "network": pl.String(), "kind": pl.String(), "phase": pl.String(),
}  # fmt: skip


def _used(row: Mapping[str, Any], store: Path) -> tuple[Document, Use]:
    try:
        document = json.loads(row["document"])
        return document, use_of(document)
    except (ValueError, TypeError, LookupError, AttributeError):
        raise BadInput([Mistake(f"outcome {row['id']} is damaged", str(store))]) from None


def _looks(document: Document, store: Path, variants: Sequence[str]) -> pl.DataFrame | str:
    """The looks of a run as its record speaks of them; else why there are none."""
    kept = document.get("looks")
    if not isinstance(kept, dict) or not document.get("site"):
        return OLDER
    data = _read(Path(str(document.get("out"))), store)
    if data is None:
        return GONE
    if hashlib.sha256(data).hexdigest() != kept.get("sha256"):
        return REPLACED
    try:
        found = pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError:
        return REPLACED
    wanted = [*KEYS, *NAMES, *statements(variants)]
    asked = [name for name in found.columns if "." not in name]
    if set(wanted) - set(found.columns) or set(asked) - set(wanted):
        return FOREIGN
    return found if (found["phase"] == GATE).sum() == 1 else OLDER


def _read(out: Path, store: Path) -> bytes | None:
    """The file in the folder of a run, which may have moved together with its store."""
    for folder in (out, store.parent / out.name):
        try:
            return (folder / FILE).read_bytes()
        except OSError:
            continue
    return None


def _label(
    number: int, row: Mapping[str, Any], document: Document, use: Use, kind: str
) -> dict[str, Any]:
    came = use.came_at_s or {}
    truth = document.get("truth") or {}
    return {
        "case": number,
        "network": document["site"]["name"],
        "kind": kind,
        "mistake": None,
        "hidden": [],
        "sign": use.gate_only,
        "at_fault": truth.get("at_fault"),
        **{mode: mode in came for mode in MODES},
        **{f"{mode}_at_s": came.get(mode) for mode in MODES},
        "anyway": [],
        "background": truth.get("background") or [],
        "site": document["site"]["digest"],
        "scenario": document["scenario"],
        "recorded_at": row["recorded_at"],
        "variant": document["precog"],
        "no_go_above": float((document.get("gate") or {}).get("no_go_above", 0.5)),
        "use": use.how,
        "blamed": list(document.get("blamed") or []),
        "root_cause": document["root_cause"],
        "breach_s": float(document.get("breach_s") or 0.0),
    }
