"""One scenario run on both networks to how far they agree: verdicts, throughput, latency."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shadowsim.errors import BadInput

SAME = ("decision", "failure_mode", "end_state")
SETTLED_S = 3.0  # from the start: TCP has found its rate by then
SATURATED = 0.01  # of its packets: who loses more has no free path,
SHORT = 0.03  # nor who gets so much less than offered
KINDS = ("simulated", "emulated")
THROUGHPUT_GOAL, LATENCY_GOAL = 0.05, 0.15  # at the median, of free demands


@dataclass(frozen=True)
class Errors:
    """Relative errors of the emulated network, one per demand; nan where there is none."""

    values: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def p95(self) -> float:
        return float(np.quantile(self.values, 0.95)) if self.values else float("nan")

    def __str__(self) -> str:
        return f"{self.median:.1%} / {self.p95:.1%}" if self.values else "-"


@dataclass(frozen=True)
class Fidelity:
    """One scenario on both networks. `verdicts` by kind of network, in the order of SAME.

    A demand is free if it gets what it asks for in the simulated network, else saturated.
    `one_sided` got through in one network only. `latency_ms` is the median of the free ones in the
    simulated network. `coarse`: packets of a demand that one real packet stood for.
    """

    scenario: str
    verdicts: dict[str, tuple[str, ...]]
    throughput: Errors
    latency: Errors
    saturated: Errors
    saturated_latency: Errors
    latency_ms: float
    one_sided: int
    coarse: int

    @property
    def agree(self) -> bool:
        """Whether both networks came to the same verdict."""
        return len(set(self.verdicts.values())) == 1


@dataclass(frozen=True)
class Skipped:
    """A scenario that was not compared, and why: refused by the machine, or a run `failed`."""

    scenario: str
    why: str
    failed: bool = False


def compare(scenario: str, folders: Mapping[str, Path], coarse: int) -> Fidelity:
    """Compare the folders of two runs, by kind of network. Raises BadInput if one is none."""
    results = {kind: _result(folders[kind]) for kind in KINDS}
    # What production's users got, in the time before the change reached it in either network.
    until_s = min(_decided_s(folders[kind]) for kind in KINDS)
    one, two = (_means(folders[kind], until_s) for kind in KINDS)
    both = one.join(two, on="name", suffix="_emulated")
    through = both.filter((pl.col("throughput_bps") > 0) & (pl.col("throughput_bps_emulated") > 0))
    one_sided = both.filter(
        (pl.col("throughput_bps") > 0) != (pl.col("throughput_bps_emulated") > 0)
    )
    is_free = (pl.col("loss") < SATURATED) & (
        pl.col("throughput_bps") > (1.0 - SHORT) * pl.col("offered_bps")
    )
    free, full = through.filter(is_free), through.filter(~is_free)
    return Fidelity(
        scenario=scenario,
        verdicts={kind: tuple(str(r[what]) for what in SAME) for kind, r in results.items()},
        throughput=_errors(free, "throughput_bps"),
        latency=_errors(free, "latency_s"),
        saturated=_errors(full, "throughput_bps"),
        saturated_latency=_errors(full, "latency_s"),
        latency_ms=_median(free, "latency_s") * 1e3,
        one_sided=len(one_sided),
        coarse=coarse,
    )


def _result(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder}: is not the folder of a run ({error})") from None
    return found


def _decided_s(folder: Path) -> float:
    journal = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in journal]
    decided = (float(line["at_s"]) for line in lines if line["event"] == "decision")
    return min(decided, default=float(lines[-1]["at_s"]))


def _means(folder: Path, until_s: float) -> pl.DataFrame:
    """Per demand of production: the mean of each metric, once settled and until then."""
    table = pl.read_parquet(folder / "telemetry.parquet").filter(
        (pl.col("network") == "production")
        & (pl.col("subject") == "demand")
        & (pl.col("at_s") > SETTLED_S)
        & (pl.col("at_s") <= until_s)
        & pl.col("value").is_finite()
    )
    means = (
        table.group_by("name", "metric")
        .agg(pl.col("value").mean())
        .pivot(on="metric", index="name", values="value")
        .sort("name")
    )
    known = ("offered_bps", "throughput_bps", "latency_s", "loss")
    missing = [pl.lit(None, dtype=pl.Float64).alias(m) for m in known if m not in means.columns]
    return means.with_columns(missing)


def _median(table: pl.DataFrame, metric: str) -> float:
    values = table[metric].drop_nulls().to_numpy()
    return float(np.median(values)) if len(values) else float("nan")


def _errors(table: pl.DataFrame, metric: str) -> Errors:
    known = table.drop_nulls([metric, f"{metric}_emulated"])
    one, two = known[metric].to_numpy(), known[f"{metric}_emulated"].to_numpy()
    return Errors(tuple((np.abs(two - one) / np.maximum(one, 1e-12)).tolist()))


# -- the page ----------------------------------------------------------------------------------

INTRODUCTION = """\
Both networks run the same scenario files with the same seeds. Errors are those of the emulated
network relative to the simulated one, of the mean of every demand in production, from 3 s on until
the first of the two decisions (after it the configs may differ). *Free* demands lose less than 1 %
in the simulated network and get 97 % of what they ask for; the others are *saturated*. *One packet
for*: how many packets of a demand one real packet stands for, where the machine cannot move all."""


def markdown(
    rows: Sequence[Fidelity], command: str, notes: str, skipped: Sequence[Skipped] = ()
) -> str:
    """The page of `docs/fidelity.md`; `notes` are kept by hand and come last."""
    out = [
        "# How far the emulated network agrees with the simulated one",
        "",
        f"Made by `{command}`.",
        INTRODUCTION,
        "",
        *_summary(rows),
        "",
        *_verdicts(rows),
        "",
        *_demands(rows),
    ]
    if skipped:
        out += ["", "## Not compared", "", *(f"- {one.scenario}: {one.why}" for one in skipped)]
    return "\n".join([*out, "", notes.strip()]).strip() + "\n"


def _summary(rows: Sequence[Fidelity]) -> list[str]:
    """Each goal, and whether it is met by all scenarios together."""
    agreeing = sum(row.agree for row in rows)
    pooled = {
        what: Errors(tuple(v for row in rows for v in getattr(row, what).values))
        for what in ("throughput", "latency", "saturated")
    }
    return [
        "| | goal | found |",
        "|---|---|---|",
        f"| same decision, failure mode and end state | all | {agreeing} of {len(rows)} |",
        f"| throughput of {len(pooled['throughput'].values)} free demands, median / p95 error | "
        f"{THROUGHPUT_GOAL:.0%} | {_marked(pooled['throughput'], THROUGHPUT_GOAL)} |",
        f"| latency of {len(pooled['latency'].values)} free demands, median / p95 error | "
        f"{LATENCY_GOAL:.0%} | {_marked(pooled['latency'], LATENCY_GOAL)} |",
        f"| throughput of {len(pooled['saturated'].values)} saturated demands, median / p95 error "
        f"| | {pooled['saturated']} |",
    ]


def _verdicts(rows: Sequence[Fidelity]) -> list[str]:
    out = [
        "| scenario | simulated | emulated | same | one packet for |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        said = [", ".join(row.verdicts[kind]) for kind in KINDS]
        mark = "yes" if row.agree else "**no**"
        out.append(f"| {row.scenario} | {said[0]} | {said[1]} | {mark} | {row.coarse} |")
    return out


def _demands(rows: Sequence[Fidelity]) -> list[str]:
    """Errors as median / p95; in bold where the median misses its goal."""
    out = [
        "| scenario | free demands | throughput median / p95 | latency median / p95 | "
        "latency itself | saturated demands | throughput median / p95 | latency median / p95 | "
        "through in one only |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        itself = f"{row.latency_ms:.1f} ms" if row.latency.values else "-"
        cells = (
            row.scenario,
            len(row.throughput.values),
            _marked(row.throughput, THROUGHPUT_GOAL),
            _marked(row.latency, LATENCY_GOAL),
            itself,
            len(row.saturated.values),
            row.saturated,
            row.saturated_latency,
            row.one_sided,
        )
        out.append(f"| {' | '.join(map(str, cells))} |")
    return out


def _marked(errors: Errors, goal: float) -> str:
    return f"**{errors}**" if errors.median > goal else str(errors)
