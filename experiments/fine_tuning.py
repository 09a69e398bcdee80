"""Does a short fine-tune in the shadow of the change at hand make a policy better?

For some changes on unseen networks: what the general policy costs on what really happens, and what
it costs after `shadowsim.rl.fine_tune` had some seconds of the processor with that change in its
shadow. A seed is another draw of changes, and of futures.

    python experiments/fine_tuning.py [--seeds 5] [--tuned 2] [--budget-s 20] [--quick]
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import torch
import typer
from answer import (
    DOCUMENT,
    RUNS,
    TRACKED,
    Answer,
    Changes,
    Docs,
    Mlflow,
    Out,
    Quick,
    Seeds,
    Tapes,
    answering,
    kept,
    over_seeds,
    quicker,
    tell,
)
from changes import Changed, changes_of, tapes_of
from figures import dots
from matplotlib.figure import Figure

from shadowsim.env.evaluation import evaluate
from shadowsim.env.pool import pool
from shadowsim.env.tape import Tape
from shadowsim.history.folds import UNSEEN
from shadowsim.live import progress_of
from shadowsim.precog import policy_file
from shadowsim.precog.model import Model
from shadowsim.precog.policy import Policy
from shadowsim.precog.rl import RL, standing_policy
from shadowsim.precog.supervised import standing_model
from shadowsim.rl.fine_tune import fine_tune
from shadowsim.rl.training import acting

QUESTION = "Does a fine-tune in the shadow of the change at hand help?"


def main(
    quick: Quick = False, seeds: Seeds = 5, changes: Changes = 240,
    tuned: Annotated[int, typer.Option(help="Of each seed's changes so many.", min=1)] = 6,
    budget_s: Annotated[float, typer.Option(help="Of the processor, for each.", min=0.1)] = 20.0,
    policy: Annotated[
        Path | None, typer.Option(help="To tune; the one in use for rl if not given.")
    ] = None,
    tapes: Tapes = RUNS / "tapes", out: Out = RUNS / "fine_tuning",
    docs: Docs = DOCUMENT, mlflow: Mlflow = TRACKED,
) -> None:  # fmt: skip
    """Does a short fine-tune in the shadow of the change at hand make a policy better?"""
    if quick:
        seeds, changes, tuned, budget_s, tapes, out = 2, 2, 1, 0.5, quicker(tapes), quicker(out)
    torch.set_num_threads(1)
    general = standing_policy(RL) if policy is None else policy_file.load(policy)
    found = []
    for seed in range(seeds):
        cases = list(changes_of(tapes_of(tapes, UNSEEN, seed, changes)))
        cases = cases[:: max(len(cases) // tuned, 1)][:tuned]
        with progress_of(f"tuned, seed {seed}", quiet=False) as progress:
            for done, case in enumerate(cases):
                progress(done, len(cases))
                place = out / "tuned" / f"{UNSEEN}-{seed}-{budget_s:g}s"
                make = partial(tune, general, case, budget_s, seed)
                found.append({"seed": seed} | kept(place / f"{case.number:05}.json", make))
    rows = pl.DataFrame(found)
    sizes = (
        f"Intervals over {seeds} seeds, each of {tuned} change{'s' * (tuned != 1)} on unseen"
        f" networks, {budget_s:g} s"
        f" of the processor for each. Costs are in seconds of outage a change."
    )
    command = (
        f"python experiments/fine_tuning.py --seeds {seeds} --changes {changes} --tuned {tuned}"
        f" --budget-s {budget_s:g}"
    )
    given = {"seeds": seeds, "tuned": tuned, "budget_s": budget_s}
    tell(_answer(rows, sizes, command, given), out, None if quick else docs, mlflow)


def tune(policy: Policy, case: Changed, budget_s: float, seed: int) -> dict[str, Any]:
    """What a policy costs before and after, as simulated for the tuning, and really."""
    model = standing_model() if policy.supervised else None
    found = fine_tune(policy, case.setting, model, budget_s, seed, time.process_time)
    return {
        "network": case.tape.network, "failed": case.tape.failed,
        "futures": float(found.futures), "steps": float(found.steps),
        "simulated, before": found.before, "simulated, after": found.after,
        "before": cost(policy, case.tape, model), "after": cost(found.policy, case.tape, model),
    }  # fmt: skip


def cost(policy: Policy, tape: Tape, model: Model | None) -> float:
    """What a policy costs on what really happens."""
    return float(evaluate(acting(policy), pool([tape], model))["cost"][0])


def _answer(
    rows: pl.DataFrame, sizes: str, command: str, parameters: Mapping[str, object]
) -> Answer:
    rows = rows.with_columns(
        (pl.col("before") - pl.col("after")).alias("gain"),
        (pl.col("simulated, before") - pl.col("simulated, after")).alias("simulated, gain"),
    )
    columns = ("futures", "simulated, before", "simulated, gain", "before", "after", "gain")
    of = rows.group_by("seed", maintain_order=True).agg(pl.col(*columns).mean())
    found = {name: over_seeds(of[name].to_list()) for name in columns}
    table = pl.DataFrame([{"what": name, "mean": str(one)} for name, one in found.items()])
    differ = int((rows["gain"] != 0.0).sum())
    gain = found["gain"]
    verdict = "Yes" if gain.is_above else "It harms" if gain.is_below else "No, not that it shows"
    shown = ("simulated, gain", "gain")
    figure = Figure(figsize=(8.0, 1.8), layout="constrained")
    axes = figure.subplots()
    dots(axes, {n: found[n] for n in shown}, {n: of[n].to_list() for n in shown})
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("gain of the fine-tune, seconds of outage a change")
    return Answer(
        name="fine_tuning", question=QUESTION,
        said=(
            f"**{verdict}: the gain is {gain} s of outage a change.** Really another cost after the"
            f" tuning have {differ} of {rows.height} changes. What its own futures cost it lowers"
            f" by {found['simulated, gain']}."
        ),
        sizes=sizes, command=command, table=table, rows=rows, figure=figure,
        parameters=parameters, metrics={name: one.mean for name, one in found.items()},
    )  # fmt: skip


if __name__ == "__main__":
    answering(main)
