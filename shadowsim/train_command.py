"""`shadowsim train`: a folder of past changes to a model file, and how good it is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadowsim.learning.card import Measured, Timed


def train(
    history: Annotated[Path, typer.Option(help="Folder that 'shadowsim history' made.")] = Path(
        "history"
    ),
    out: Annotated[
        Path | None, typer.Option(help="File that gets the model; the one in use if not given.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Another seed, other folds and trees.", min=0, max=2**32 - 1)
    ] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Threads; one a core if not given.", min=1, max=512)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Fit the model behind the variant `supervised` to past changes, and test it on networks and
    kinds of change that it has never seen.
    """
    from shadowsim.learning.card import measure, measure_time, with_card
    from shadowsim.learning.dataset import table
    from shadowsim.learning.fit import fit
    from shadowsim.learning.looks import read
    from shadowsim.learning.splits import split
    from shadowsim.precog.features import NAMES
    from shadowsim.precog.model_file import save
    from shadowsim.precog.supervised import user_model

    target = out or user_model()
    found = table(*read(history), NAMES)
    splits = split(found.changes, seed)
    cores = jobs or len(os.sched_getaffinity(0))
    model = fit(
        found, splits, seed, data_seed=_data_seed(history), jobs=cores,
        tell=lambda text: None if as_json else typer.echo(text, err=True),
    )  # fmt: skip
    measured, timed = measure(model, found, splits, seed), measure_time(model, found, splits)
    save(with_card(model, found, splits, measured, timed), target)
    if as_json:
        typer.echo(json.dumps(_document(target, measured, timed), indent=2))
    else:
        _show(target, measured, timed)


def _data_seed(history: Path) -> int | None:
    """The seed that the history was made with; None where the folder does not say."""
    try:
        seed = json.loads((history / "history.json").read_bytes())["seed"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


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
         *(str(figure) for figure in m.figures.values())]
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
