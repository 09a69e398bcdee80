"""Does a learned policy add anything over the supervised forecast with two bounds?

For each seed two policies are trained on networks that are known (`rl` reads features, `hybrid-rl`
the supervised forecast too), and the two bounds of the supervised rule are chosen, all by what they
cost on the same validation networks. Then all decide about the same changes on unseen networks;
beside them the policies that come along, which learned from more changes (`docs/rl.md`).

    python experiments/what_rl_adds.py [--seeds 5] [--steps 100000] [--quick]
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
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
from changes import tapes_of
from figures import dots
from matplotlib.figure import Figure

from shadowsim.env.evaluation import evaluate
from shadowsim.env.policies import Policy, by_forecast, by_hand, oracle
from shadowsim.env.pool import Pool, pool
from shadowsim.env.store import read_tapes
from shadowsim.history.folds import KNOWN, UNSEEN, VALIDATION
from shadowsim.live import progress_of
from shadowsim.precog.rl import HYBRID_RL, RL, standing_policy
from shadowsim.precog.supervised import standing_model
from shadowsim.rl.compare import REFUSE_ABOVE, ROLL_BACK_ABOVE
from shadowsim.rl.settings import settings
from shadowsim.rl.training import Plan, acting, trained
from shadowsim.tracking import Untracked

QUESTION = "Does RL add anything over the supervised forecast with bounds?"
HAND, ORACLE = "rule by hand", "oracle"
FIXED, CHOSEN = "supervised, 0.5 and 0.5", "supervised, chosen"
BOUNDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)

Bounds = tuple[float, float]


def main(
    quick: Quick = False, seeds: Seeds = 5, changes: Changes = 240,
    known: Annotated[int, typer.Option(help="Changes to learn on.", min=2)] = 800,
    validation: Annotated[int, typer.Option(help="Changes to choose by.", min=2)] = 240,
    steps: Annotated[int, typer.Option(help="Decisions of a training.", min=1)] = 500_000,
    tapes: Tapes = RUNS / "tapes", out: Out = RUNS / "what_rl_adds",
    docs: Docs = DOCUMENT, mlflow: Mlflow = TRACKED,
) -> None:  # fmt: skip
    """Does RL add anything over the supervised forecast with bounds?"""
    if quick:
        seeds, changes, known, validation, steps = 2, 2, 2, 2, 4096
        tapes, out = quicker(tapes), quicker(out)
    learn_on, choose_by = (
        read_tapes(tapes_of(tapes, fold, 0, number))
        for fold, number in ((KNOWN, known), (VALIDATION, validation))
    )
    bounds = chosen(pool(choose_by, standing_model()))
    tables = []
    learned = {
        (name, seed): learned_policy(
            name, pool(learn_on, model), pool(choose_by, model), seed, steps, out
        )
        for seed in range(seeds)
        for name, model in ((RL, None), (HYBRID_RL, standing_model()))
    }
    for seed in range(seeds):
        episodes = pool(read_tapes(tapes_of(tapes, UNSEEN, seed, changes)), standing_model())
        rules = {HAND: by_hand, FIXED: by_forecast(REFUSE_ABOVE, ROLL_BACK_ABOVE)}
        rules |= {CHOSEN: by_forecast(*bounds), ORACLE: oracle(episodes)}
        rules |= {name: learned[name, seed] for name in (RL, HYBRID_RL)}
        rules |= {along(name): acting(standing_policy(name)) for name in (RL, HYBRID_RL)}
        tables += [
            {"seed": seed, "policy": name, "cost": cost(one, episodes)}
            for name, one in rules.items()
        ]
    rows = pl.DataFrame(tables)
    sizes = (
        f"Cost of a change in seconds of outage: means over {seeds} seeds with half of the 95 %"
        f" interval. A seed is a training ({steps:,} steps, {known} changes to learn on,"
        f" {validation} to choose by) and {changes} changes on unseen networks, 4 on each."
        f" Bounds chosen for the rule: refuse above {bounds[0]}, roll back above {bounds[1]}."
    )
    command = (
        f"python experiments/what_rl_adds.py --seeds {seeds} --changes {changes} --known {known}"
        f" --validation {validation} --steps {steps}"
    )
    given = {"seeds": seeds, "steps": steps, "known": known, "refuse_above": bounds[0]}
    tell(_answer(rows, sizes, command, given), out, None if quick else docs, mlflow)


def along(name: str) -> str:
    """What the policy of a variant is called that was not trained here."""
    return f"{name}, comes along"


def cost(policy: Policy, episodes: Pool) -> float:
    """What a policy costs a change, in the mean."""
    return float(evaluate(policy, episodes)["cost"].to_numpy().mean())


def chosen(validation: Pool) -> Bounds:
    """The two bounds that cost least there, the highest of equals: nobody acts without need."""
    of = {bounds: cost(by_forecast(*bounds), validation) for bounds in product(BOUNDS, BOUNDS)}
    return min(of, key=lambda bounds: (of[bounds], -sum(bounds)))


def learned_policy(
    name: str, learn_on: Pool, choose_by: Pool, seed: int, steps: int, out: Path
) -> Policy:
    """A policy that was trained with a seed; a training that was begun is gone on with."""
    plan = Plan(settings("ppo_mask", None), steps, seed, 50_000, max(steps // 10, 1))
    with (
        Untracked().run(name, {}, {}) as run,
        progress_of(f"{name}, seed {seed}", quiet=False) as progress,
    ):
        sizes = f"{len(learn_on)}-{len(choose_by)}-{steps}"
        folder = out / "trained" / sizes / f"{name}-{seed}"
        return acting(trained(plan, learn_on, choose_by, folder, run, progress, resume=True))


def _answer(
    rows: pl.DataFrame, sizes: str, command: str, parameters: Mapping[str, object]
) -> Answer:
    costs = {name: part["cost"].to_list() for (name,), part in
             rows.group_by("policy", maintain_order=True)}  # fmt: skip
    found = {name: over_seeds(values) for name, values in costs.items()}
    less = {
        name: {than: _less(costs[than], values) for than in (HAND, FIXED, CHOSEN)}
        for name, values in costs.items()
    }
    table = pl.DataFrame([
        {"policy": name, "cost": str(found[name]),
         **{f"less than {than}": "" if than == name else str(one)
            for than, one in less[name].items()}}
        for name in costs
    ])  # fmt: skip
    figure = Figure(figsize=(8.0, 2.8), layout="constrained")
    axes = figure.subplots()
    dots(axes, found, costs)
    axes.set_xlabel("cost of a change, seconds of outage")
    return Answer(
        name="what_rl_adds", question=QUESTION, said=" ".join(_in_words(less)), sizes=sizes,
        command=command, table=table, rows=rows, figure=figure, parameters=parameters,
        metrics={f"cost/{name}": one.mean for name, one in found.items()},
    )  # fmt: skip


def _less(than: list[float], values: list[float]) -> Interval:
    return over_seeds([a - b for a, b in zip(than, values, strict=True)])


def _in_words(less: Mapping[str, Mapping[str, Interval]]) -> list[str]:
    learned, ready = (HYBRID_RL, RL), (along(HYBRID_RL), along(RL))
    better, worse = (
        [name for name in learned if getattr(less[name][CHOSEN], which)]
        for which in ("is_above", "is_below")
    )
    verdict = "Yes" if better else "No" if len(worse) == len(learned) else "That is not shown"
    told = {name: f"{name}: {_told(less[name][CHOSEN])}" for name in (*learned, *ready)}
    return [
        f"**{verdict}.** Against the supervised rule with chosen bounds,"
        f" {'; '.join(told[name] for name in learned)}.",
        "What comes along is one policy each, whose interval is over changes alone:"
        f" {'; '.join(told[name] for name in ready)}.",
    ]


def _told(less: Interval) -> str:
    which = "less" if less.is_above else "more" if less.is_below else "less, which may be none"
    amount = Interval(-less.mean, less.half) if less.is_below else less
    return f"{amount} s of outage a change {which}"


if __name__ == "__main__":
    answering(main)
