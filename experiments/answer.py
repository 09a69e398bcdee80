"""What an experiment found to a table, a figure, an MLflow run, and its part of a document.

Numbers over seeds stand with the half width of their 95 % interval (Student's t).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from matplotlib.figure import Figure
from scipy.stats import t as student

from shadowsim.__main__ import told
from shadowsim.batch.folder import keep
from shadowsim.batch.folder import told as told_of
from shadowsim.errors import BadInput, Mistake
from shadowsim.live import print_table, tracking_of
from shadowsim.plots import svg
from shadowsim.tracking import DEFAULT_STORE

ROOT = Path(__file__).parents[1]
RUNS = Path("runs") / "experiments"
DOCUMENT = ROOT / "docs" / "experiments.md"

Quick = Annotated[bool, typer.Option("--quick", help="Sizes of a few seconds; no document.")]
Seeds = Annotated[int, typer.Option(help="So many of them, from 0.", min=2, max=1000)]
Changes = Annotated[int, typer.Option(help="Changes of each seed.", min=2, max=10**6)]
Tapes = Annotated[Path, typer.Option(help="Folder with folders of tapes; made where missing.")]
Out = Annotated[Path, typer.Option(help="Folder of what is found; the same goes on there.")]
Docs = Annotated[Path, typer.Option(help="Document that gets the answer, between its markers.")]
Mlflow = Annotated[str, typer.Option(help="MLflow store: sqlite:///FILE, an address, or off.")]
TRACKED = DEFAULT_STORE


@dataclass(frozen=True)
class Interval:
    """A mean, and the half width of its 95 % interval; nan where there is none."""

    mean: float
    half: float

    def __str__(self) -> str:
        if np.isnan(self.mean):
            return "-"
        wide = np.nan_to_num(self.half)
        places = 2 if abs(self.mean) + wide < 10.0 else 1
        half = "" if np.isnan(self.half) else f" ± {self.half:.{places}f}"
        return f"{self.mean:.{places}f}{half}"

    @property
    def is_above(self) -> bool:
        """Whether all of it lies above 0."""
        return self.mean - self.half > 0.0

    @property
    def is_below(self) -> bool:
        """Whether all of it lies below 0."""
        return self.mean + self.half < 0.0


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean of one value a seed, nan left out, with its 95 % interval by Student's t."""
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return Interval(float(found[0]) if len(found) else np.nan, np.nan)
    wide = float(student.ppf(0.975, len(found) - 1)) * found.std(ddof=1) / len(found) ** 0.5
    return Interval(float(found.mean()), float(wide))


@dataclass(frozen=True)
class Answer:
    """What an experiment found.

    `name`: of its file; `said`: the answer in words; `sizes`: what it was found with, and what is
    small about it; `command`: what makes it again. `table`: for people; `rows`: one a seed and
    whatever is compared. `metrics`: of the whole.
    """

    name: str
    question: str
    said: str
    sizes: str
    command: str
    table: pl.DataFrame
    rows: pl.DataFrame
    figure: Figure
    metrics: Mapping[str, float]
    parameters: Mapping[str, object] = field(default_factory=dict)


def tell(answer: Answer, out: Path, document: Path | None, store: str) -> None:
    """Keep an answer in its folder, track it, print it, and write it into a document."""
    with told_of(out, "an experiment"):
        out.mkdir(parents=True, exist_ok=True)
        keep(out / "table.csv", answer.table.write_csv().encode())
        keep(out / "rows.csv", answer.rows.write_csv().encode())
        keep(out / "figure.svg", svg(answer.figure))
    tags = {"kind": "experiment", "experiment": answer.name}
    with tracking_of(store, time.time).run(answer.name, answer.parameters, tags) as run:
        for name in ("table.csv", "rows.csv"):
            run.artifact(out / name)
        run.figure(answer.figure, "figure.png")
        run.metrics(answer.metrics)
        for (seed,), part in answer.rows.group_by("seed", maintain_order=True):
            given = {**answer.parameters, "seed": seed}
            with run.inner(f"{answer.name}/{seed}", given, {**tags, "seed": str(seed)}) as inner:
                inner.metrics(dict(_numbers(part)))
    print_table(answer.question, answer.table.columns, answer.table.rows())
    typer.echo(f"\n{answer.said}\n\n{out / 'figure.svg'}")
    if document is not None:
        write_down(answer, document)


def write_down(answer: Answer, document: Path) -> None:
    """Put an answer between its markers in a document, and its figure beside it. Raises BadInput
    where the document or the markers are not there.
    """
    begin, end = (f"<!-- {answer.name}: {what} -->" for what in ("begin", "end"))
    with told_of(document.parent, "the document"):
        text = document.read_text(encoding="utf-8")
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise BadInput([Mistake(f"wanted once, in this order: {begin}, {end}", str(document))])
        picture = document.parent / "images" / f"experiment-{answer.name.replace('_', '-')}.svg"
        picture.parent.mkdir(exist_ok=True)
        keep(picture, svg(answer.figure))
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        keep(document, f"{before}{begin}\n{_part(answer, picture)}{end}{after}".encode())


def _part(answer: Answer, picture: Path) -> str:
    names = " | ".join(name.replace("_", " ") for name in answer.table.columns)
    rows = (" | ".join(map(_cell, row)) for row in answer.table.iter_rows())
    lines = (
        fill(answer.said, 100), "", f"| {names} |", "|" + "---|" * answer.table.width,
        *(f"| {row} |" for row in rows), "",
        f"![{answer.question}](images/{picture.name})", "",
        fill(f"{answer.sizes} Made by:", 100), "", "```", answer.command, "```",
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _numbers(rows: pl.DataFrame) -> Mapping[str, float]:
    """The numbers of the rows of a seed, each named by the texts of its row."""
    texts = [name for name in rows.columns if rows[name].dtype == pl.String]
    numbers = [name for name in rows.columns if rows[name].dtype.is_float()]
    return {
        "/".join([*(str(row[text]) for text in texts), name]): row[name]
        for row in rows.iter_rows(named=True)
        for name in numbers
        if row[name] is not None
    }


def quicker(folder: Path) -> Path:
    """Where the same in small is kept, so that the two never meet."""
    return folder.with_name(f"quick-{folder.name}")


def kept(file: Path, make: Callable[[], Any]) -> Any:
    """The JSON of a file; what `make` gives, and is kept there, where it is not there or damaged.

    This is how an experiment goes on where it was: its pieces are such files.
    """
    with suppress(OSError, ValueError):
        return json.loads(file.read_bytes())
    made = make()
    with told_of(file.parent, "an experiment"):
        file.parent.mkdir(parents=True, exist_ok=True)
        keep(file, json.dumps(made).encode())
    return made


def answering(main: Callable[..., None]) -> None:
    """Run an experiment from the command line: failures are words and exit codes."""
    with told():
        typer.run(main)
