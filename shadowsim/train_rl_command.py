"""`shadowsim train-rl`: tapes of changes to a policy, and what it costs beside simpler ones."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowsim.errors import BadInput, Mistake
from shadowsim.tracking import DEFAULT_STORE

if TYPE_CHECKING:
    import polars as pl

    from shadowsim.env.pool import Pool
    from shadowsim.precog.model import Model
    from shadowsim.precog.policy import Policy
    from shadowsim.rl.training import Plan
    from shadowsim.tracking import Tracking

BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?)s?", re.ASCII)
LONGEST_S = 3600.0
TENTHS = {"known": 10, "validation": 3, "unseen": 4}  # of --changes: tapes made of each fold
PER_SITE = 4  # changes of a network: the fewer, the more networks


def train_rl(
    tapes: Annotated[
        Path, typer.Option(help="Folder with folders of tapes: known, validation, unseen.")
    ] = Path("tapes"),
    pool: Annotated[
        list[Path] | None, typer.Option(help="Tapes to learn on instead; each may be given again.")
    ] = None,
    validation: Annotated[list[Path] | None, typer.Option(help="Tapes to choose by.")] = None,
    test: Annotated[list[Path] | None, typer.Option(help="Tapes to compare on.")] = None,
    changes: Annotated[
        int | None,
        typer.Option(help="Make tapes of so many changes first, where missing.", min=20, max=10**6),
    ] = None,
    algorithm: Annotated[str, typer.Option(help="ppo, ppo_mask, dqn or qrdqn.")] = "ppo_mask",
    hyperparameters: Annotated[
        Path | None, typer.Option(help="YAML in the layout of rl-zoo3 instead of those built in.")
    ] = None,
    supervised: Annotated[
        bool, typer.Option("--supervised", help="Let it read the supervised forecast: hybrid-rl.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(help="Decisions; n_timesteps if not given.", min=1, max=10**10)
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(help="Steps.", min=1)] = 500_000,
    evaluate_every: Annotated[int, typer.Option(help="Steps.", min=1)] = 20_000,
    patience: Annotated[
        int, typer.Option(help="End after so many evaluations without a better one; 0: never.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the training; in runs/rl if not given.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="File that gets the policy; the one in use if not given.")
    ] = None,
    fine_tune: Annotated[
        Path | None,
        typer.Option(metavar="SCENARIO", help="Do not train: tune the policy to this change."),
    ] = None,
    budget: Annotated[str, typer.Option(help="For --fine-tune, as 20s.")] = "20s",
    seed: Annotated[
        int, typer.Option(help="Another seed, another policy.", min=0, max=2**32 - 1)
    ] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Threads; one a core if not given.", min=1, max=512)
    ] = None,
    mlflow: Annotated[
        str, typer.Option(help="MLflow store: sqlite:///FILE, an address, or off.")
    ] = DEFAULT_STORE,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Learn when to wait, go, refuse and roll back from what each costs in simulated changes.

    The policy is that of the evaluation that cost least on other networks than it learned on, and
    is compared with simpler ones on others again. It may be interrupted: --resume goes on.
    """
    from shadowsim.live import tracking_of
    from shadowsim.precog.rl import HYBRID_RL, RL, user_policy

    target = policy or user_policy(HYBRID_RL if supervised else RL)
    cores = jobs or len(os.sched_getaffinity(0))
    if fine_tune is not None:
        _tune(fine_tune, target, policy is not None, supervised, _seconds(budget), seed, as_json)
        return
    plan = _plan(algorithm, hyperparameters, steps, seed)
    plan = replace(
        plan, checkpoint_every=checkpoint_every, evaluate_every=evaluate_every, patience=patience
    )
    if changes is not None:
        _make(tapes, changes, seed, cores, quiet=as_json)
    model = _model(supervised)
    known, chosen_by, compared_on = (
        _pool(folders, model)
        for folders in (
            pool or [tapes / "known"], validation or [tapes / "validation"],
            test or [tapes / "unseen"],
        )
    )  # fmt: skip
    name = f"{HYBRID_RL if supervised else RL}-{algorithm}-{seed}"
    folder = out or Path("runs") / "rl" / name
    tracking = tracking_of(mlflow, time.time)
    table = _train(
        plan, known, chosen_by, compared_on, folder, target, tracking, resume, cores, as_json
    )
    _tell(folder, target, table, as_json=as_json)


def _plan(algorithm: str, file: Path | None, steps: int | None, seed: int) -> Plan:
    from shadowsim.rl.settings import settings
    from shadowsim.rl.training import Plan

    found = settings(algorithm, file)
    return Plan(found, steps or found.n_timesteps, seed)


def _train(
    plan: Plan, known: Pool, chosen_by: Pool, compared_on: Pool, folder: Path, target: Path,
    tracking: Tracking, resume: bool, threads: int, quiet: bool,
) -> pl.DataFrame:  # fmt: skip
    """Train, keep the policy, and compare it."""
    from shadowsim.live import progress_of
    from shadowsim.precog import policy_file
    from shadowsim.rl.compare import costs
    from shadowsim.rl.training import trained

    settings = plan.settings
    parameters = {
        "algorithm": settings.algorithm, "steps": plan.steps, "seed": plan.seed,
        "episodes": len(known), "hidden": settings.hidden, **settings.arguments,
    }  # fmt: skip
    with tracking.run("train-rl", parameters, {"kind": "train-rl", "resumed": str(resume)}) as run:
        with progress_of("steps", quiet=quiet) as progress:
            found = trained(
                plan, known, chosen_by, folder, run, progress, resume=resume, threads=threads
            )
        table = costs(found, compared_on)
        numbers = table.select("policy", "cost").iter_rows()
        run.metrics({f"unseen/cost/{name}": float(cost) for name, cost in numbers}, plan.steps)
        policy_file.save(found, target)
        run.model(target, target.stem)
    return table


def _make(tapes: Path, changes: int, seed: int, jobs: int, *, quiet: bool) -> None:
    from shadowsim.env.store import make
    from shadowsim.live import progress_of

    for fold, tenths in TENTHS.items():
        with progress_of(f"tapes, {fold}", quiet=quiet) as progress:
            number = max(changes * tenths // 10, 1)
            make(tapes / fold, number, seed, fold, jobs, progress, PER_SITE)


def _pool(folders: list[Path], model: Model | None) -> Pool:
    from shadowsim.env.pool import pool
    from shadowsim.env.store import read_tapes

    return pool([tape for folder in folders for tape in read_tapes(folder)], model)


def _model(supervised: bool) -> Model | None:
    from shadowsim.precog.supervised import standing_model

    return standing_model() if supervised else None


def _tune(
    file: Path, target: Path, given: bool, supervised: bool, budget_s: float, seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Tune a policy to one change; it is written beside, never in the place of the general one."""
    from shadowsim.env.worlds import Setting
    from shadowsim.precog import policy_file
    from shadowsim.precog.past import Past
    from shadowsim.precog.rl import HYBRID_RL, RL, standing_policy
    from shadowsim.rl.fine_tune import fine_tune
    from shadowsim.scenario import load

    scenario = load(file)
    general: Policy = (
        policy_file.load(target) if given else standing_policy(HYBRID_RL if supervised else RL)
    )
    model = _model(general.supervised)
    found = fine_tune(general, Setting.of(scenario, Past()), model, budget_s, seed)
    beside = target.with_name(f"{target.stem}-{scenario.name}{target.suffix}")
    policy_file.save(found.policy, beside)
    told: dict[str, Any] = {n: v for n, v in vars(found).items() if n != "policy"}
    if as_json:
        typer.echo(json.dumps({"policy": str(beside), **told}, indent=2))
        return
    typer.echo(
        f"{found.futures} futures, {found.steps} steps; cost of one, as simulated:"
        f" {found.before:.2f} before, {found.after:.2f} after"
    )
    typer.echo(beside)


def _seconds(text: str) -> float:
    found = BUDGET.fullmatch(text)
    if found is None or not 0.0 < float(found[1]) <= LONGEST_S:
        raise BadInput([Mistake(f"--budget: wanted seconds up to {LONGEST_S:.0f}, as 20s")])
    return float(found[1])


def _tell(folder: Path, target: Path, table: pl.DataFrame, *, as_json: bool) -> None:
    if as_json:
        document = {"out": str(folder), "policy": str(target), "unseen": table.rows(named=True)}
        typer.echo(json.dumps(document, indent=2))
        return
    from shadowsim.live import print_table

    print_table("Cost on networks never seen, in seconds of outage", table.columns, table.rows())
    typer.echo(target)
