"""`shadowsim outages`: outages that happened, under every variant, to one page and its figures."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowsim import sweep_command
from shadowsim.errors import BadInput, Mistake, ShadowsimError

if TYPE_CHECKING:
    import polars as pl

    from shadowsim.outages.page import Found
    from shadowsim.sweep.carry import Failure
    from shadowsim.sweep.plan import Plan

VARIANTS = "always-go,threshold,judge,script,supervised,hybrid,rl,hybrid-rl"
NAME = "outages"

Places = Annotated[
    list[Path],
    typer.Argument(metavar="PLACE...", help="Scenario files, or folders of them."),
]


def outages(
    places: Places,
    seeds: Annotated[
        str, typer.Option("--seeds", "--seed", help="As 0:3 (0 to 2) or 1,5,7.")
    ] = "0:3",
    variants: Annotated[str, typer.Option(help="PreCog variants, beside each other.")] = VARIANTS,
    docs: Annotated[
        Path, typer.Option(help="Folder that gets outages.md, outages.html and images/.")
    ] = Path("docs"),
    out: Annotated[Path, typer.Option(help="Folder that keeps the runs.")] = Path("runs/outages"),
    jobs: Annotated[
        int | None, typer.Option(help="Processes; one a core if not given.", min=1, max=512)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Run outages that happened (scenarios with an `outage`), and ordinary changes beside them,
    under every variant and left alone; write what became of each.

    It may be interrupted: the same command goes on where it was. Exit code 0 if every run came to
    its end, whatever it was.
    """
    from shadowsim.batch import Local
    from shadowsim.live import progress_of, warn_of_first_run
    from shadowsim.outages.twin import pieces_of, work
    from shadowsim.sweep.carry import claim, work_off

    plan = sweep_command.planned(files_of(places), seeds, variants, "simulated", "ryu")
    plan = _automatic(plan)
    command = shlex.join(["shadowsim", NAME, *map(str, places), *_given(seeds, variants)])
    with claim(out, plan):
        if not as_json:
            warn_of_first_run()
        with progress_of("runs", quiet=as_json) as progress:
            engine = Local(jobs or len(os.sched_getaffinity(0)))
            made = partial(work, plan, out.absolute())
            failures = work_off(out, pieces_of(plan), made, engine, progress)
        found = _found(out, plan, command)
    _write(docs, found)
    _tell(docs, found, failures, as_json=as_json)
    if failures:
        raise typer.Exit(ShadowsimError.exit_code)


def files_of(places: Sequence[Path]) -> list[Path]:
    """The scenario files named, and those within the folders named. BadInput for none."""
    files: list[Path] = []
    for place in places:
        found = sorted(place.rglob("*.yml")) if place.is_dir() else [place]
        if not found:
            raise BadInput([Mistake("there is no scenario (*.yml) in it", str(place))])
        files += found
    return files


def _given(seeds: str, variants: str) -> list[str]:
    return ["--seeds", seeds, *([] if variants == VARIANTS else ["--variants", variants])]


def _automatic(plan: Plan) -> Plan:
    """Nobody is there to be asked, and each outage is to be judged by the variants alone."""
    from dataclasses import replace

    return replace(plan, scenarios=tuple(
        replace(scenario, workflow=replace(scenario.workflow, autonomy="automatic"))
        for scenario in plan.scenarios
    ))  # fmt: skip


def _found(out: Path, plan: Plan, command: str) -> Found:
    from shadowsim.outages.page import Found
    from shadowsim.outages.table import frame
    from shadowsim.outages.verdicts import lines, verdicts

    names = [s.name for s in plan.scenarios if s.outage is not None]
    return Found(plan.scenarios, frame(verdicts(out, plan)), lines(out, plan, names), command)


def _write(docs: Path, found: Found) -> None:
    """The page twice, and its figures; each file whole or not at all."""
    from shadowsim import __version__
    from shadowsim.batch.folder import keep, told
    from shadowsim.outages.blocks import html, markdown
    from shadowsim.outages.page import page_of

    page = page_of(found)
    with told(docs, "a page"):
        (docs / "images").mkdir(parents=True, exist_ok=True)
        for name, data in page.pictures.items():
            keep(docs / "images" / name, data)
        keep(docs / f"{NAME}.md", markdown(page, "images").encode())
        keep(docs / f"{NAME}.html", html(page, f"<p>shadowsim {__version__}</p>").encode())


def _tell(docs: Path, found: Found, failures: Sequence[Failure], *, as_json: bool) -> None:
    from shadowsim.outages.table import by_change, by_variant

    variants = by_variant(found.runs, found.names)
    if as_json:
        document: dict[str, Any] = {
            "page": str(docs / f"{NAME}.md"),
            "outages": found.names,
            "variants": variants.to_dicts(),
            "changes": by_change(found.runs).to_dicts(),
            "runs": found.runs.to_dicts(),
            "failed": [
                {"scenario": f.piece.scenario, "precog": f.piece.precog, "seed": f.piece.seed,
                 "why": f.why}
                for f in failures
            ],
        }  # fmt: skip
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    _show(variants)
    typer.echo(docs / f"{NAME}.md")
    typer.echo(docs / f"{NAME}.html")
    for failure in failures[:10]:
        typer.echo(f"{failure.piece.place}: {failure.why}", err=True)


def _show(variants: pl.DataFrame) -> None:
    from shadowsim.live import print_table
    from shadowsim.outages.verdicts import MISSED, REFUSED, STOPPED, TAKEN_BACK

    columns = ["variant", "runs", "kept out", "rolled back", "missed", "lost, %", "good", "refused"]
    rows = [
        [row["precog"], row["outages"], row[STOPPED] + row[REFUSED], row[TAKEN_BACK], row[MISSED],
         100 * (row["lost"] or 0.0), row["ordinary"], row["false refusals"]]
        for row in variants.iter_rows(named=True)
    ]  # fmt: skip
    print_table("Runs of outages, and of ordinary changes that do no harm", columns, rows)


COMMANDS: tuple[Callable[..., None], ...] = (outages,)
