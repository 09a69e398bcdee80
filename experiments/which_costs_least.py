"""Which variant costs least on networks never seen?

Every policy decides about the same changes, episodes of the environment (`docs/env.md`): when to
wait, go, refuse and roll back. What is learned was learned on other networks, and is what comes
along with shadowsim. A seed is another draw of networks and changes.

    python experiments/which_costs_least.py [--seeds 5] [--changes 16] [--quick]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from answer import (
    DOCUMENT,
    RUNS,
    TRACKED,
    Answer,
    Changes,
    Docs,
    Interval,
    Mlflow,
    Out,
    Quick,
    Seeds,
    Tapes,
    answering,
    over_seeds,
    quicker,
    tell,
)
from changes import changes_of, tapes_of
from figures import dots
from matplotlib.figure import Figure
from said import all_said

from shadowsim.env.evaluation import compared, evaluate
from shadowsim.env.policies import (
    Policy,
    always_go,
    at_random,
    by_forecast,
    by_hand,
    by_variant,
    never_go,
    oracle,
)
from shadowsim.env.pool import pool
from shadowsim.history.folds import UNSEEN
from shadowsim.precog.rl import HYBRID_RL, RL, standing_policy
from shadowsim.precog.supervised import standing_model
from shadowsim.rl.compare import REFUSE_ABOVE, ROLL_BACK_ABOVE
from shadowsim.rl.training import acting

QUESTION = "Which variant costs least on networks never seen?"
BOUNDS = REFUSE_ABOVE, ROLL_BACK_ABOVE
HAND, ALL_KNOWING = "rule by hand", "oracle"


def main(
    quick: Quick = False, seeds: Seeds = 5, changes: Changes = 240,
    tapes: Tapes = RUNS / "tapes", out: Out = RUNS / "which_costs_least",
    docs: Docs = DOCUMENT, mlflow: Mlflow = TRACKED,
) -> None:  # fmt: skip
    """Which variant costs least on networks never seen?"""
    if quick:
        seeds, changes, tapes, out = 2, 2, quicker(tapes), quicker(out)
    rows = pl.concat([of_seed(seed, changes, tapes) for seed in range(seeds)])
    tell(_answer(rows, seeds, changes), out, None if quick else docs, mlflow)


def of_seed(seed: int, changes: int, tapes: Path) -> pl.DataFrame:
    """What each policy costs on the changes of a seed, one row a policy."""
    cases = list(changes_of(tapes_of(tapes, UNSEEN, seed, changes)))
    episodes = pool([case.tape for case in cases], standing_model())
    hybrid = all_said(cases, "hybrid", tapes / "said" / f"{UNSEEN}-{seed}")
    policies: dict[str, Policy] = {
        "always go": always_go,
        "never go": never_go,
        "random": at_random(seed),
        HAND: by_hand,
        "supervised": by_forecast(*BOUNDS),
        "hybrid": by_variant(np.concatenate([one.chances for one in hybrid]), *BOUNDS),
        RL: acting(standing_policy(RL)),
        HYBRID_RL: acting(standing_policy(HYBRID_RL)),
        ALL_KNOWING: oracle(episodes),
    }
    tables = {name: evaluate(policy, episodes) for name, policy in policies.items()}
    found = compared(tables).drop("+-", "episodes")
    cost = dict(found.select("policy", "cost").iter_rows())
    less = pl.Series("less than by hand", [cost[HAND] - one for one in cost.values()])
    return found.with_columns(pl.lit(seed).alias("seed"), less)


def _answer(rows: pl.DataFrame, seeds: int, changes: int) -> Answer:
    parts = {name: part for (name,), part in rows.group_by("policy", maintain_order=True)}
    columns = {
        "cost": "cost", "less than by hand": "less than by hand",
        "failing, confirmed": "failing: confirmed", "failing, stopped": "failing: stopped",
        "well, stopped": "well: stopped", "well, rolled back": "well: rolled_back",
    }  # fmt: skip
    table = {
        name: {told: over_seeds(part[column].to_list()) for told, column in columns.items()}
        for name, part in parts.items()
    }
    shown = pl.DataFrame([
        {"policy": name, **{told: str(found) for told, found in of.items()}}
        for name, of in table.items()
    ])  # fmt: skip
    return Answer(
        name="which_costs_least",
        question=QUESTION,
        said=_in_words({name: of["cost"].mean for name, of in table.items()}, table),
        sizes=(
            f"Cost of a change in seconds of outage. Means over {seeds} seeds, each of {changes}"
            " changes, 4 on every network, none of which anything was learned on; ± is half of"
            " the 95 % interval over the seeds. Bounds of `supervised` and `hybrid`:"
            f" {REFUSE_ABOVE} and {ROLL_BACK_ABOVE}, which a workflow has of itself."
        ),
        command=f"python experiments/which_costs_least.py --seeds {seeds} --changes {changes}",
        table=shown,
        rows=rows,
        figure=_figure(parts),
        metrics={f"cost/{name}": of["cost"].mean for name, of in table.items()},
        parameters={"seeds": seeds, "changes": changes},
    )


def _in_words(cost: dict[str, float], table: dict[str, dict[str, Interval]]) -> str:
    least = min((name for name in cost if name != ALL_KNOWING), key=cost.__getitem__)
    less = {name: of["less than by hand"] for name, of in table.items()}
    better = [n for n in cost if n != ALL_KNOWING and less[n].is_above]
    worse = [n for n in cost if less[n].is_below]
    words = [
        f"**The lowest mean is that of `{least}`: {cost[least]:.2f} s of outage a change, where the"
        f" rule by hand costs {cost[HAND]:.2f} and the oracle {cost[ALL_KNOWING]:.2f}. Better than"
        " the rule by hand, with an interval that does not hold 0:"
        f" {', '.join(better) or 'none of them'}.**",
        f"Worse with such an interval: {', '.join(worse) or 'none'}.",
    ]
    return " ".join(words)


def _figure(parts: dict[str, pl.DataFrame]) -> Figure:
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.subplots()
    of = {name: part["cost"].to_list() for name, part in parts.items()}
    dots(axes, {name: over_seeds(values) for name, values in of.items()}, of)
    axes.set_xlabel("cost of a change, seconds of outage")
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(left=0.0)
    return figure


if __name__ == "__main__":
    answering(main)
