"""`shadowsim scale`: how much time and memory networks of many sizes take here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from shadowsim.machine_commands import NOTES


def scale(
    largest: Annotated[int, typer.Option(help="k of the largest fat tree.", min=4, max=72)] = 48,
    sweep_runs: Annotated[
        int, typer.Option(help="Runs of each sweep, on one machine and on Ray; 0: none.", min=0)
    ] = 24,
    out: Annotated[
        Path | None,
        typer.Option(help="A Markdown page to write; its figure goes beside it.", dir_okay=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the demands.", min=0, max=2**32 - 1)] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Measure fat trees, Topology Zoo and CAIDA networks: time and memory against size."""
    from shadowsim.bench.scale import SIZES, measure, warm_up
    from shadowsim.bench.scale_page import HEADINGS, cells, page, table
    from shadowsim.bench.scale_sweeps import sweeps

    typer.echo("warming up ...", err=True)
    warm_up()
    points = []
    for size in SIZES:
        if size.k <= largest:
            typer.echo(f"measuring {size.name} ...", err=True)
            points.append(measure(size, seed))
    if sweep_runs:
        typer.echo("measuring sweeps ...", err=True)
    swept = sweeps(sweep_runs) if sweep_runs else []
    if as_json:
        found = {"points": [asdict(p) for p in points], "sweeps": [asdict(s) for s in swept]}
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo("\n".join(table(HEADINGS, [cells(point) for point in points])))
    if out is not None:
        from shadowsim.bench.scale_figure import scale_figure

        image = out.parent / "images" / f"{out.stem}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        scale_figure(points).savefig(image, dpi=110)
        told = f"--largest {largest} --sweep-runs {sweep_runs} --out {out}"
        command = f"shadowsim scale {told}"
        text = page(points, swept, command, image.relative_to(out.parent).as_posix())
        notes = out.with_name(out.stem + NOTES)
        kept = f"\n{notes.read_text(encoding='utf-8')}" if notes.exists() else ""
        out.write_text(text + kept, encoding="utf-8")


COMMANDS: tuple[Callable[..., None], ...] = (scale,)
