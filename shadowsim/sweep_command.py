"""`shadowsim sweep`: scenarios, seeds and variants to one table, one figure, and a run for each."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from shadowsim.errors import BadInput, Mistake, ShadowsimError
from shadowsim.tracking import DEFAULT_STORE

if TYPE_CHECKING:
    import polars as pl

    from shadowsim.batch import Engine
    from shadowsim.carried import Document
    from shadowsim.network import Controller
    from shadowsim.sweep.carry import Failure
    from shadowsim.sweep.plan import Plan

ENGINES = ("local", "ray")
SHOWN = 10  # failures; the rest of them is counted
OUTCOMES, SUMMARY, FIGURE = "outcomes.parquet", "summary.csv", "summary.svg"

Files = Annotated[list[Path], typer.Argument(metavar="SCENARIO...", help="Scenario files (YAML).")]


def sweep(
    scenarios: Files,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds", "--seed", help="As 0:10 (0 to 9) or 1,5,7; each scenario's own if not given."
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(help="PreCog variants, as hybrid,judge, instead of each one's own."),
    ] = None,
    network: Annotated[
        str, typer.Option(help="Where they run: simulated, or emulated (real packets).")
    ] = "simulated",
    controller: Annotated[
        str, typer.Option(help="Of the emulated network: ryu or os-ken.")
    ] = "ryu",
    out: Annotated[Path, typer.Option(help="Folder that gets the sweep.")] = Path("sweep"),
    store: Annotated[
        Path | None, typer.Option(help="Keep the outcomes in this store (SQLite), too.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the Ray cluster; this machine is a node of it.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes; one a core (emulated: 1) if not given.", min=1, max=512),
    ] = None,
    mlflow: Annotated[
        str, typer.Option(help="MLflow store: sqlite:///FILE, an address, or off.")
    ] = DEFAULT_STORE,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Run every scenario under every seed and variant, side by side, and compare what comes.

    It may be interrupted: the same command goes on where it was. The folder gets a run for each,
    outcomes.parquet (a row a run), summary.csv and summary.svg. Exit code 0 if every run came to
    its end, whatever it was; those that did not are told, and are tried again by the same command.
    """
    from shadowsim.live import progress_of, tracking_of, warn_of_first_run
    from shadowsim.sweep.carry import carry_all, claim, outcomes
    from shadowsim.sweep.track import track

    plan = planned(scenarios, seeds, variants, network, controller)
    chosen = _engine(engine, address, jobs, network)
    _check_store(store)
    with claim(out, plan):
        if not as_json:
            warn_of_first_run()
        with progress_of("runs", quiet=as_json) as progress:
            failures = carry_all(out, plan, chosen, progress)
        found = outcomes(out, plan)
        table = _keep(out, found)
        _add(store, found)
        with progress_of("tracked", quiet=as_json) as progress:
            store_of_runs = tracking_of(mlflow, time.time)
            made = plan, found, table
            track(store_of_runs, mlflow, out, made, (OUTCOMES, SUMMARY), progress)
    _tell(out, plan, table, failures, as_json=as_json)
    if failures:
        codes = {failure.exit_code for failure in failures}
        raise typer.Exit(codes.pop() if len(codes) == 1 else ShadowsimError.exit_code)


def planned(
    files: list[Path], seeds: str | None, variants: str | None, network: str, controller: str
) -> Plan:
    """What is to be swept over. Raises BadInput for whatever would only be found out later."""
    from shadowsim import given
    from shadowsim.precog import VARIANTS, WhatIf, variant
    from shadowsim.rollback.key import installation_key
    from shadowsim.sweep.plan import Plan, check_number, seeds_of

    given.check_networks(network, controller)
    names = tuple(name.strip() for name in variants.split(",")) if variants else ()
    for name in names:
        given.check_named("--variants", name, VARIANTS)
    if len(set(names)) < len(names):
        raise BadInput(f"--variants: '{variants}' names a variant twice")
    wanted = seeds_of(seeds) if seeds else ()
    loaded = given.load_all(files)
    given.check_apart(loaded)
    for scenario in loaded:
        given.check_size(scenario)
    first = loaded[0]
    whatif = WhatIf(first.topology, first.traffic.demands, first.intents)
    for name in {*names, *(scenario.workflow.precog for scenario in loaded)}:
        variant(name, whatif)  # one that needs a model finds out here whether there is one
    plan = Plan(tuple(loaded), wanted, names, network, cast("Controller", controller))
    check_number(plan)
    installation_key()
    return plan


def _engine(name: str, address: str | None, jobs: int | None, network: str) -> Engine:
    from shadowsim.batch import Local
    from shadowsim.given import check_named

    check_named("--engine", name, ENGINES)
    if name == "ray":
        from shadowsim.batch.on_ray import OnRay

        if address is None:
            raise BadInput("--engine ray: of which cluster? --address HOST:PORT")
        if jobs is not None:
            raise BadInput("--jobs is of the local engine; a cluster has as many as its nodes say")
        return OnRay(address).reached()
    if address is not None:
        raise BadInput("--address is of a Ray cluster; add --engine ray")
    cores = len(os.sched_getaffinity(0)) if network == "simulated" else 1
    return Local(jobs or cores)


def _check_store(store: Path | None) -> None:
    from shadowsim.outcomes import OutcomeStore

    if store is not None and store.exists():
        with OutcomeStore(store):
            pass  # opening it finds out whether it is one


def _keep(out: Path, found: Sequence[Document]) -> pl.DataFrame:
    """Write the two tables and the figure, each whole or not at all; the smaller table."""
    from io import BytesIO

    from shadowsim.batch.folder import keep
    from shadowsim.plots import svg
    from shadowsim.plots.sweep import sweep_figure
    from shadowsim.sweep.results import rows_of, summary

    rows, parquet = rows_of(found), BytesIO()
    table = summary(rows)
    rows.write_parquet(parquet, compression="zstd")
    keep(out / OUTCOMES, parquet.getvalue())
    keep(out / SUMMARY, table.write_csv().encode())
    if not table.is_empty():
        keep(out / FIGURE, svg(sweep_figure(table)))
    return table


def _add(store: Path | None, found: Sequence[Document]) -> None:
    """Add the outcomes to the store that it does not have, with the time they were written at."""
    from datetime import UTC, datetime

    from shadowsim.outcomes import OutcomeStore

    if store is None:
        return
    with OutcomeStore(store) as outcomes:
        there = {json.dumps(json.loads(row["document"]), sort_keys=True) for row in outcomes.read()}
        for document in found:
            if json.dumps(document, sort_keys=True) not in there:
                written_s = (Path(document["out"]) / "result.json").stat().st_mtime
                at = datetime.fromtimestamp(written_s, UTC)
                outcomes.add(document, at.isoformat(timespec="seconds"))


def _tell(
    out: Path, plan: Plan, table: pl.DataFrame, failures: Sequence[Failure], *, as_json: bool
) -> None:
    again = {failure: _again(plan, failure) for failure in failures}
    if as_json:
        found = {
            "out": str(out),
            "runs": int(table["runs"].sum()),
            "failed": [
                {"scenario": f.piece.scenario, "precog": f.piece.precog, "seed": f.piece.seed,
                 "why": f.why, "again": command}
                for f, command in again.items()
            ],
            "table": table.to_dicts(),
        }  # fmt: skip
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _show(table)
    typer.echo(out)
    if failures:
        typer.echo(f"{len(failures)} of {len(plan.pieces())} runs failed:", err=True)
    for failure, command in list(again.items())[:SHOWN]:
        why = str(Mistake(failure.why, str(failure.piece.place)))
        typer.echo(f"{why}\n  {command}", err=True)
    if len(failures) > SHOWN:
        typer.echo(f"and {len(failures) - SHOWN} more", err=True)


def _again(plan: Plan, failure: Failure) -> str:
    """The line that does the same run, alone."""
    piece = failure.piece
    words = ["shadowsim", "run", plan.scenario(piece).file, "--precog", piece.precog]
    words += ["--seed", str(piece.seed), "--network", plan.network]
    words += ["--controller", plan.controller] if plan.network == "emulated" else []
    return shlex.join(words)


def _show(table: pl.DataFrame) -> None:
    from shadowsim.live import print_table

    columns = ["scenario", "variant", "runs", "as wanted, %", "broken, s", "back", "in s"]
    rows = [
        [row["scenario"], row["precog"], row["runs"], _interval(row, "met", 100.0, 0),
         _interval(row, "breach_s", 1.0, 1), row["rollbacks"],
         _interval(row, "time_to_rollback_s", 1.0, 1)]
        for row in table.iter_rows(named=True)
    ]  # fmt: skip
    print_table("What came, with 95 % intervals over seeds", columns, rows)


def _interval(row: dict[str, Any], name: str, factor: float, digits: int) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return ""
    told = f"{value * factor:.{digits}f}"
    if low is None or high is None:
        return told
    return f"{told} ({low * factor:.{digits}f} to {high * factor:.{digits}f})"


COMMANDS: tuple[Callable[..., None], ...] = (sweep,)
