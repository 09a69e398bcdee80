"""One scenario run on both networks to how far they agree: verdicts, throughput, latency."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SAME = ("decision", "failure_mode", "end_state")
SETTLED_S = 3.0  # from the start: TCP has found its rate by then
SATURATED = 0.01  # of a demand lost: it does not tell how good the latency of a free path is
KINDS = ("simulated", "emulated")


@dataclass(frozen=True)
class Errors:
    """Relative errors of the emulated network over demands; nan where there is none."""

    median: float
    p95: float
    demands: int


@dataclass(frozen=True)
class Fidelity:
    """One scenario on both networks. `verdicts` by kind of network, in the order of SAME.

    `throughput` and `latency` are over demands with free paths, `saturated` is the throughput of
    the others. `coarse`: packets of a demand that one real packet stood for.
    """

    scenario: str
    verdicts: dict[str, tuple[str, ...]]
    throughput: Errors
    latency: Errors
    saturated: Errors
    latency_ms: float
    coarse: int

    @property
    def agree(self) -> bool:
        """Whether both networks came to the same verdict."""
        return len(set(self.verdicts.values())) == 1


def compare(scenario: str, folders: dict[str, Path], coarse: int) -> Fidelity:
    """Compare the folders of two runs, by kind of network."""
    results = {kind: _result(folder) for kind, folder in folders.items()}
    means = {kind: _means(folder) for kind, folder in folders.items()}
    both = means["simulated"].join(means["emulated"], on="name", suffix="_emulated")
    both = both.filter(pl.col("throughput_bps") > 0)
    free = both.filter((pl.col("loss") < SATURATED) & (pl.col("loss_emulated") < SATURATED))
    full = both.join(free, on="name", how="anti")
    return Fidelity(
        scenario=scenario,
        verdicts={kind: tuple(str(r[what]) for what in SAME) for kind, r in results.items()},
        throughput=_errors(free, "throughput_bps"),
        latency=_errors(free, "latency_s"),
        saturated=_errors(full, "throughput_bps"),
        latency_ms=_median(free, "latency_s") * 1e3,
        coarse=coarse,
    )


def _result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def _means(folder: Path) -> pl.DataFrame:
    """Per demand of production: what it got, on average, before the change reached it."""
    journal = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in journal]
    until_s = min(
        (line["at_s"] for line in lines if line["kind"] == "decision"),
        default=float(lines[-1]["at_s"]),
    )
    table = pl.read_parquet(folder / "telemetry.parquet").filter(
        (pl.col("network") == "production")
        & (pl.col("subject") == "demand")
        & (pl.col("at_s") > SETTLED_S)
        & (pl.col("at_s") <= until_s)
        & pl.col("value").is_finite()
    )
    return (
        table.group_by("name", "metric")
        .agg(pl.col("value").mean())
        .pivot(on="metric", index="name", values="value")
    )


def _median(table: pl.DataFrame, metric: str) -> float:
    values = table[metric].drop_nulls().to_numpy() if metric in table.columns else np.empty(0)
    return float(np.median(values)) if len(values) else float("nan")


def _errors(table: pl.DataFrame, metric: str) -> Errors:
    if not len(table) or f"{metric}_emulated" not in table.columns:
        return Errors(float("nan"), float("nan"), 0)
    known = table.drop_nulls([metric, f"{metric}_emulated"])
    one, two = known[metric].to_numpy(), known[f"{metric}_emulated"].to_numpy()
    if not len(one):
        return Errors(float("nan"), float("nan"), 0)
    relative = np.abs(two - one) / np.maximum(one, 1e-12)
    return Errors(float(np.median(relative)), float(np.quantile(relative, 0.95)), len(relative))


def markdown(rows: Sequence[Fidelity], command: str, notes: str) -> str:
    """The page of `docs/fidelity.md`."""
    agreeing = sum(row.agree for row in rows)
    out = [
        "# How far the emulated network agrees with the simulated one",
        "",
        f"Made by `{command}`. Both networks run the same scenario files; errors are those of the "
        "emulated network relative to the simulated one, of the mean of every demand in "
        "production, from 3 s on until the decision. *Free* demands lose less than 1 % in both.",
        "",
        f"The same verdict in {agreeing} of {len(rows)} scenarios.",
        "",
        "| scenario | simulated | emulated | same | one packet for |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        said = [", ".join(row.verdicts[kind]) for kind in KINDS]
        mark = "yes" if row.agree else "**no**"
        out.append(f"| {row.scenario} | {said[0]} | {said[1]} | {mark} | {row.coarse} |")
    out += [
        "",
        "| scenario | free demands | throughput median / p95 | latency median / p95 | "
        "latency itself | saturated demands | their throughput median / p95 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        t, lat, s = row.throughput, row.latency, row.saturated
        out.append(
            f"| {row.scenario} | {t.demands} | {_pair(t)} | {_pair(lat)} | {row.latency_ms:.1f} ms | "
            f"{s.demands} | {_pair(s)} |"
        )
    return "\n".join([*out, "", notes.strip(), ""])


def _pair(errors: Errors) -> str:
    if not errors.demands:
        return "-"
    return f"{errors.median:.1%} / {errors.p95:.1%}"
