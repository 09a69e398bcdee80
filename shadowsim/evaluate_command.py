"""`shadowsim evaluate`: models and a history they have not seen, to a table of every variant."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowsim.errors import BadInput
from shadowsim.tracking import DEFAULT_STORE, Tracking

if TYPE_CHECKING:
    from shadowsim.learning.comparison import Comparison


def evaluate(
    history: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a history with --looks evaluation; several may be given."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="File of 'shadowsim train'; one for each seed. The one in use if none."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets the table and the figures.")] = Path(
        "runs/evaluation"
    ),
    mlflow: Annotated[
        str, typer.Option(help="MLflow store: sqlite:///FILE, an address, or off.")
    ] = DEFAULT_STORE,
    seed: Annotated[int, typer.Option(help="Of the intervals.", min=0, max=2**32 - 1)] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Compare all PreCog variants on the same changes, on networks and kinds never seen."""
    from shadowsim.learning.comparison import compare
    from shadowsim.learning.looks import read
    from shadowsim.live import tracking_of
    from shadowsim.precog.supervised import model_path
    from shadowsim.report.evaluation import write

    paths = model or [model_path()]
    past = read(history or [Path("history/validation"), Path("history/unseen")])
    found = compare(past, paths, seed, lambda text: None if as_json else typer.echo(text, err=True))
    try:
        page = write(found, out)
    except OSError as error:
        raise BadInput(f"--out {out}: {error.strerror}") from None
    _track(tracking_of(mlflow, time.time), found, page)
    if as_json:
        typer.echo(json.dumps(_document(found, page), indent=2))
    else:
        typer.echo(page.read_text())
        typer.echo(page)


def _track(tracking: Tracking, found: Comparison, page: Path) -> None:
    """A run for every variant, and one for the page."""
    for verdict in found.verdicts:
        if verdict.slice != found.slices[0]:
            continue
        parameters = {"variant": verdict.variant, "changes": verdict.changes}
        with tracking.run(f"evaluate {verdict.variant}", parameters, {"kind": "evaluate"}) as run:
            run.metrics({name: share.value for name, share in verdict.shares.items()})
            run.metrics({
                f"{mode}/{name}": figure.value
                for mode, figures in verdict.modes.items()
                for name, figure in figures.items()
            })  # fmt: skip
    with tracking.run("evaluation", {"changes": found.changes}, {"kind": "evaluation"}) as run:
        for file in sorted(page.parent.iterdir()):
            run.artifact(file)


def _document(found: Comparison, page: Path) -> dict[str, Any]:
    return {
        "out": str(page),
        "verdicts": [
            {
                "variant": v.variant, "slice": v.slice, "changes": v.changes,
                "failures": v.failures, "no_go_above": _finite(v.point.no_go_above),
                "roll_back_above": _finite(v.point.roll_back_above),
                "lead_s": _finite(v.lead_s),
                **{name: _finite(share.value) for name, share in v.shares.items()},
            }
            for v in found.verdicts
        ],
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
