"""Does what was learned in simulation hold on the emulated network, with real packets?

The same scenarios with the same seeds on both networks, judged by the same variants: decisions,
forecasts at the gate, and what production's users had to bear are compared. Runs with real packets
are made one at a time.

    python experiments/transfer.py [--seeds 5] [--variants hybrid,hybrid-rl] [--quick] [SCENARIO...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from answer import (
    DOCUMENT,
    ROOT,
    RUNS,
    TRACKED,
    Answer,
    Docs,
    Interval,
    Mlflow,
    Out,
    Quick,
    answering,
    over_seeds,
    quicker,
    tell,
)
from figures import line
from matplotlib.figure import Figure

from shadowsim.batch import Local
from shadowsim.errors import MachineLacks, ShadowsimError
from shadowsim.fidelity import KINDS, SAME
from shadowsim.given import check_apart, check_named, load_all
from shadowsim.live import progress_of
from shadowsim.model.truth import MODES
from shadowsim.network.emulated.spawning import missing
from shadowsim.precog import VARIANTS
from shadowsim.scenario import Scenario
from shadowsim.sweep.carry import carry_all, claim, outcomes
from shadowsim.sweep.plan import Plan

QUESTION = "Does what was learned in simulation hold on the emulated network?"
SCENARIOS = tuple(
    ROOT / "scenarios" / f"{name}.yml"
    for name in ("square-acl-voice", "square-equal-paths", "square-then-busy")
)


def main(
    scenarios: Annotated[
        list[Path] | None, typer.Argument(metavar="SCENARIO...", help="Instead of three squares.")
    ] = None,
    quick: Quick = False,
    seeds: Annotated[int, typer.Option(help="So many of them, from 0.", min=1, max=1000)] = 5,
    variants: Annotated[str, typer.Option(help="By name, with commas.")] = "hybrid,hybrid-rl",
    out: Out = RUNS / "transfer", docs: Docs = DOCUMENT, mlflow: Mlflow = TRACKED,
) -> None:  # fmt: skip
    """Does what was learned in simulation hold on the emulated network, with real packets?"""
    names = tuple(variants.split(","))
    for name in names:
        check_named("--variants", name, VARIANTS)
    loaded = load_all(scenarios or SCENARIOS)
    check_apart(loaded)
    if quick:
        loaded, names, seeds, out = [shortened(loaded[0])], names[:1], 1, quicker(out)
    if lacks := missing():
        raise MachineLacks(f"no emulated network: this machine lacks {', '.join(lacks)}")
    found = {
        kind: carried(Plan(tuple(loaded), tuple(range(seeds)), names, kind), out / kind)
        for kind in KINDS
    }
    rows = pl.DataFrame([_row(one, two) for one, two in zip(*found.values(), strict=True)])
    sizes = (
        f"{len(loaded)} scenarios, {seeds} seeds each, intervals over seeds. *Forecast* is the"
        " largest difference of a mode's probability at the gate; *broken* are the seconds in"
        " which production was broken."
    )
    command = f"python experiments/transfer.py --seeds {seeds} --variants {','.join(names)}"
    command = " ".join([command, *(str(path) for path in scenarios or ())])
    given = {"seeds": seeds, "variants": variants, "scenarios": len(loaded)}
    tell(_answer(rows, sizes, command, given), out, None if quick else docs, mlflow)


def shortened(scenario: Scenario) -> Scenario:
    """The same with phases of a few seconds, of which nothing is expected."""
    plan = replace(scenario.workflow, baseline_s=3.0, shadow_s=4.0, monitor_s=4.0, soak_s=1.0)
    return replace(scenario, workflow=plan, expect=None)


def carried(plan: Plan, folder: Path) -> Sequence[Mapping[str, Any]]:
    """The outcomes of all runs of a plan, made where they are missing. Raises ShadowsimError where
    one cannot be made.
    """
    with claim(folder, plan), progress_of(f"runs, {plan.network}", quiet=False) as progress:
        failures = carry_all(folder, plan, Local(1), progress)
        if failures:
            of = failures[0]
            raise ShadowsimError(
                f"{len(failures)} runs failed, the first of them {of.piece.place}: {of.why}"
            )
        return outcomes(folder, plan)


def _row(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, object]:
    """The runs of a piece on both networks, side by side."""
    said = [{mode: p or 0.0 for mode, p in of["forecast"].items()} for of in (one, two)]
    return {
        "scenario": one["scenario"], "precog": one["precog"], "seed": one["seed"],
        "same": float(all(one[what] == two[what] for what in SAME)),
        "simulated": ", ".join(str(one[what]) for what in SAME),
        "emulated": ", ".join(str(two[what]) for what in SAME),
        "forecast": max(abs(said[0][mode] - said[1][mode]) for mode in MODES),
        "broken, simulated": float(one["breach_s"]), "broken, emulated": float(two["breach_s"]),
    }  # fmt: skip


def _answer(
    rows: pl.DataFrame, sizes: str, command: str, parameters: Mapping[str, object]
) -> Answer:
    parts = dict(rows.group_by("scenario", "precog", maintain_order=True))
    columns = ("forecast", "broken, simulated", "broken, emulated")
    found: dict[Any, dict[str, Interval]] = {
        key: {name: over_seeds(part[name].to_list()) for name in columns}
        for key, part in parts.items()
    }
    table = pl.DataFrame([
        {"scenario": scenario, "precog": precog,
         "same decision, mode, end": f"{int(parts[scenario, precog]['same'].sum())} of"
                                     f" {parts[scenario, precog].height}",
         **{name: str(one) for name, one in of.items()}}
        for (scenario, precog), of in found.items()
    ])  # fmt: skip
    same, apart = int(rows["same"].sum()), rows.filter(pl.col("same") < 1.0)
    more = over_seeds([
        (part["broken, emulated"] - part["broken, simulated"]).to_numpy().mean()
        for _, part in rows.group_by("seed", maintain_order=True)
    ])  # fmt: skip
    words = [
        f"**{same} of {rows.height} pairs of runs come to the same decision, failure mode and end"
        f" state.** Production is broken for {more} s longer with real packets, in the mean."
    ]
    words += [
        f"{row['scenario']}, {row['precog']}, seed {row['seed']}: simulated {row['simulated']};"
        f" emulated {row['emulated']}."
        for row in apart.head(3).iter_rows(named=True)
    ]
    return Answer(
        name="transfer", question=QUESTION, said=" ".join(words), sizes=sizes, command=command,
        table=table, rows=rows, figure=_figure(found), parameters=parameters,
        metrics={"same": same / rows.height, "broken/more": more.mean},
    )  # fmt: skip


def _figure(found: Mapping[tuple[str, str], Mapping[str, Interval]]) -> Figure:
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    axes = figure.subplots()
    places = [float(n) for n in range(len(found))]
    for n, kind in enumerate(KINDS):
        line(axes, places, [of[f"broken, {kind}"] for of in found.values()], kind, n, join=False)
    axes.set_xticks(places, ["\n".join(key) for key in found], parse_math=False)
    axes.set_ylabel("production broken, s")
    axes.legend(fontsize=8.5, frameon=False)
    return figure


if __name__ == "__main__":
    answering(main)
