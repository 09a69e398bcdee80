"""Do policies learned with several seeds cost less than the rule by hand on networks never seen?

All decide about the same changes: the learned ones of each seed, the supervised forecast and the
hybrid with bounds, and the rules that nobody had to train. `make train-rl` trains them first.

    python experiments/rl_on_unseen.py [--policies runs/rl] [--hybrid] [--quick] [TAPES...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import polars as pl
import typer
from answer import (
    RUNS,
    TRACKED,
    Answer,
    Interval,
    Mlflow,
    Out,
    Quick,
    answering,
    quicker,
    tell,
)
from changes import changes_of, tapes_of
from figures import dots
from matplotlib.figure import Figure
from said import all_said
from scipy.stats import t as student

from shadowsim.env.evaluation import evaluate
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
from shadowsim.env.store import read_tapes
from shadowsim.errors import BadInput, Mistake
from shadowsim.history.folds import UNSEEN
from shadowsim.model.truth import MODES
from shadowsim.precog import policy_file
from shadowsim.precog.policy import Policy as Learned
from shadowsim.precog.rl import HYBRID_RL, RL, policy_path
from shadowsim.precog.supervised import standing_model
from shadowsim.rl.compare import REFUSE_ABOVE, ROLL_BACK_ABOVE
from shadowsim.rl.training import acting

QUESTION = "Does a learned policy cost less than the rule by hand on networks never seen?"
BOUNDS = REFUSE_ABOVE, ROLL_BACK_ABOVE
HAND, ALL_KNOWING = "rule by hand", "oracle"
TRAINED = Path("runs/rl")

Floats = npt.NDArray[np.float64]


def main(
    tapes: Annotated[list[Path] | None, typer.Argument(help="Tapes to compare on.")] = None,
    policies: Annotated[
        Path, typer.Option(help="Folder with rl-SEED.policy and hybrid-rl-SEED.policy.")
    ] = TRAINED,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Ask the hybrid too, which takes seconds a change.")
    ] = False,
    quick: Quick = False, out: Out = RUNS / "rl_on_unseen",
    docs: Annotated[
        Path | None, typer.Option(help="Document that gets the answer; none if not given.")
    ] = None,
    mlflow: Mlflow = TRACKED,
) -> None:  # fmt: skip
    """Does a learned policy cost less than the rule by hand on networks never seen?"""
    if quick:
        out = quicker(out)
        tapes = [tapes_of(out / "tapes", UNSEEN, 0, 2)]
    folders = tapes or [Path("tapes") / UNSEEN]
    learned = _came_along() if quick else _learned(policies)
    episodes = pool([one for folder in folders for one in read_tapes(folder)], standing_model())
    deciding = _rules()
    if hybrid or quick:
        said = [
            one.chances
            for folder in folders
            for one in all_said(list(changes_of(folder)), "hybrid", out / "said" / folder.name)
        ]
        deciding["hybrid"] = [by_variant(np.concatenate(said), *BOUNDS)]
    deciding |= {name: [acting(one) for one in found] for name, found in learned.items()}
    deciding[ALL_KNOWING] = [oracle(episodes)]
    found = {
        name: [evaluate(policy, episodes) for policy in each] for name, each in deciding.items()
    }
    given = ["--hybrid"] * hybrid
    given += ["--policies", str(policies)] * (policies != TRAINED)
    command = " ".join(["python experiments/rl_on_unseen.py", *given, *map(str, folders)])
    tell(_answer(found, episodes.networks, command), out, None if quick else docs, mlflow)


def _learned(folder: Path) -> Mapping[str, Sequence[Learned]]:
    """The policies of all seeds by the name of their variant."""
    found = {
        name: [policy_file.load(file) for file in sorted(folder.glob(f"{name}-*.policy"))]
        for name in (RL, HYBRID_RL)
    }
    if not found[RL]:
        raise BadInput([Mistake("no rl-SEED.policy; 'make train-rl' makes them", str(folder))])
    return {name: each for name, each in found.items() if each}


def _came_along() -> Mapping[str, Sequence[Learned]]:
    return {name: [policy_file.load(policy_path(name))] * 2 for name in (RL, HYBRID_RL)}


def _rules() -> dict[str, list[Policy]]:
    return {
        "always go": [always_go], "never go": [never_go], "random": [at_random(0)],
        HAND: [by_hand], "supervised": [by_forecast(*BOUNDS)],
    }  # fmt: skip


def over_seeds_and_networks(costs: Floats, networks: Sequence[str]) -> Interval:
    """The mean of `costs[seeds, episodes]` and its 95 % interval over seeds and networks.

    Two half widths are added in squares: Student's t over the means of the seeds, and over the
    families of networks, of whose episodes nothing is taken to be independent. What differs by
    both at once is in either, so the interval is rather too wide than too narrow. One row has
    no seeds: its interval is that over networks.
    """
    mean, (seeds, episodes) = float(costs.mean()), costs.shape
    _, of = np.unique(np.asarray(networks), return_inverse=True)
    apart = np.bincount(of, weights=costs.mean(axis=0) - mean)
    count = len(apart)
    if count < 2:
        return Interval(mean, np.nan)
    half = _reach(count) * (count / (count - 1) * (apart**2).sum()) ** 0.5 / episodes
    if seeds > 1:
        half = np.hypot(half, _reach(seeds) * costs.mean(axis=1).std(ddof=1) / seeds**0.5)
    return Interval(mean, float(half))


def _reach(count: int) -> float:
    return float(student.ppf(0.975, count - 1))


def _answer(
    found: Mapping[str, Sequence[pl.DataFrame]], networks: Sequence[str], command: str
) -> Answer:
    costs = {name: np.array([one["cost"].to_numpy() for one in each]) for name, each in
             found.items()}  # fmt: skip
    cost = {name: over_seeds_and_networks(each, networks) for name, each in costs.items()}
    less = {name: over_seeds_and_networks(costs[HAND] - each, networks) for name, each in
            costs.items()}  # fmt: skip
    table = pl.DataFrame([
        {"policy": name, "cost": str(cost[name]),
         "less than by hand": "" if name == HAND else str(less[name]), **_shares(each)}
        for name, each in found.items()
    ])  # fmt: skip
    seeds = {name: [float(mean) for mean in each.mean(axis=1)] for name, each in costs.items()}
    rows = pl.DataFrame([
        {"seed": seed, "policy": name, "cost": mean, "less than by hand": seeds[HAND][0] - mean}
        for name, means in seeds.items() for seed, mean in enumerate(means)
    ])  # fmt: skip
    sizes = (
        f"Cost of a change in seconds of outage, of {len(networks)} changes on"
        f" {len(set(networks))} kinds of networks, the same for all; means of"
        f" {len(costs[RL])} trainings of each learned policy. ± is half of the 95 % interval over"
        " trainings and networks."
    )
    return Answer(
        name="rl_on_unseen", question=QUESTION, said=_in_words(less, seeds), sizes=sizes,
        command=command, table=table, rows=rows, figure=_figure(less, seeds),
        metrics={f"cost/{name}": one.mean for name, one in cost.items()},
        parameters={"episodes": len(networks), "seeds": len(costs[RL])},
    )  # fmt: skip


def _shares(tables: Sequence[pl.DataFrame]) -> Mapping[str, str]:
    """Of a hundred changes that fail, or that do not, how many end how."""
    whole = pl.concat(tables)
    failing = whole.select(pl.any_horizontal(*MODES)).to_series()
    columns = (
        ("failing, confirmed", failing, ["confirmed"]),
        ("well, stopped", ~failing, ["refused", "lapsed"]),
        ("well, rolled back", ~failing, ["rolled_back", "halted"]),
    )
    return {
        f"{name}, %": f"{100.0 * whole.filter(of)['end_state'].is_in(states).to_numpy().mean():.1f}"
        if of.any() else "-"
        for name, of, states in columns
    }  # fmt: skip


def _in_words(less: Mapping[str, Interval], seeds: Mapping[str, Sequence[float]]) -> str:
    words = []
    for name in (RL, HYBRID_RL):
        if name not in less:
            continue
        one = less[name]
        verdict = (
            "costs less than the rule by hand" if one.is_above
            else "costs more than the rule by hand" if one.is_below
            else "is not shown to cost less than the rule by hand"
        )  # fmt: skip
        each = ", ".join(f"{mean:.2f}" for mean in seeds[name])
        words.append(
            f"**`{name}` {verdict}: {one} s of outage a change less.** Its seeds cost {each},"
            f" the rule {seeds[HAND][0]:.2f}."
        )
    return " ".join(words)


def _figure(less: Mapping[str, Interval], seeds: Mapping[str, Sequence[float]]) -> Figure:
    figure = Figure(figsize=(8.0, 2.8), layout="constrained")
    axes = figure.subplots()
    names = [name for name in less if name in (RL, HYBRID_RL, "supervised", "hybrid", ALL_KNOWING)]
    of = {name: [seeds[HAND][0] - mean for mean in seeds[name]] for name in names}
    dots(axes, {name: less[name] for name in names}, of)
    axes.axvline(0.0, color="#888888", linewidth=0.8)
    axes.set_xlabel("less than the rule by hand, seconds of outage a change")
    return figure


if __name__ == "__main__":
    answering(main)
