"""`shadowsim train`: a folder of past changes to a model file, and how good it is."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowsim.tracking import DEFAULT_STORE, Tracking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadowsim.learning.card import Measured, Timed
    from shadowsim.learning.training import Trained


def train(
    history: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that 'shadowsim history' made; several may be given."),
    ] = None,
    from_outcomes: Annotated[
        Path | None,
        typer.Option(help="Store of outcomes to learn from too; promotes only what is better."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File that gets the model; the one in use if not given.", dir_okay=False),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Another seed, other folds and trees.", min=0, max=2**32 - 1)
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
    """Fit the models behind `supervised` and `hybrid` to past changes, and test them where they
    have never been: on other networks and other kinds of change. The hybrid's lies beside.
    """
    from shadowsim.learning.looks import read
    from shadowsim.learning.training import trained
    from shadowsim.live import tracking_of
    from shadowsim.precog.pair_file import save_pair
    from shadowsim.precog.supervised import user_model

    if from_outcomes is not None:
        from shadowsim.outcomes_command import learn_from_outcomes

        tell = _quiet if as_json else _told
        learn_from_outcomes(
            from_outcomes, history or [Path("history")], out, seed,
            jobs or len(os.sched_getaffinity(0)), tracking_of(mlflow, time.time), tell, as_json,
        )  # fmt: skip
        return
    target = out or user_model()
    past = read(history or [Path("history")])
    began_s = time.monotonic()
    found = trained(
        past, seed, jobs or len(os.sched_getaffinity(0)), _quiet if as_json else _told
    )  # fmt: skip
    took_s = time.monotonic() - began_s
    save_pair(found.model, found.hybrid, target)
    _track(tracking_of(mlflow, time.time), found, target, took_s)
    if as_json:
        typer.echo(json.dumps(_document(target, found.measured, found.timed), indent=2))
    else:
        _show(target, found.measured, found.timed)


def _told(text: str) -> None:
    typer.echo(text, err=True)


def _quiet(text: str) -> None:
    pass


def _track(tracking: Tracking, found: Trained, target: Path, took_s: float) -> None:
    """One run of the experiment: what it was made with, how good it is, and the models."""
    from shadowsim.plots.learning import calibration_figure, importance_figure
    from shadowsim.precog.supervised import beside

    parameters = {"seed": found.model.seed, "data_seeds": found.seeds, **found.model.versions}
    with tracking.run("train", parameters, {"kind": "train"}) as run:
        numbers = {
            f"{m.tests}/{m.phase}/{m.mode}/{name}": figure.value
            for m in found.measured
            for name, figure in m.figures.items()
        }
        run.metrics({"took_s": took_s, **numbers})
        run.figure(calibration_figure(found.calibration), "calibration.png")
        run.figure(importance_figure(found.importance), "importance.png")
        run.model(target, "supervised")
        run.model(beside(target), "hybrid")


def _document(target: Path, measured: Sequence[Measured], timed: Sequence[Timed]) -> dict[str, Any]:
    found = {
        "out": str(target),
        "tests": [asdict(one) for one in measured],
        "time_to_failure": [asdict(one) for one in timed],
    }
    plain: dict[str, Any] = _numbers(found)
    return plain


def _numbers(value: Any) -> Any:
    """The same with null for what is no number, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def _show(target: Path, measured: Sequence[Measured], timed: Sequence[Timed]) -> None:
    from shadowsim.live import print_table

    columns = ["tests", "phase", "mode", "looks", "rate", "not said", *measured[0].figures]
    rows = [
        [m.tests, m.phase, m.mode, m.looks, f"{m.rate:.3f}", f"{m.abstained:.3f}",
         *(f"{figure.value:.3f}" for figure in m.figures.values())]
        for m in measured
    ]  # fmt: skip
    print_table("On changes never seen", columns, rows)
    times = [
        [t.phase, t.looks, f"{t.factor:.2f}", f"{t.within_two:.0%}", f"{t.always:.2f}"]
        for t in timed
    ]
    headings = ["phase", "looks", "off by a factor of", "within two", "said always"]
    print_table("Time to failure, where one comes", headings, times)
    typer.echo(target)
