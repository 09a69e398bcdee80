"""`shadowsim tapes`: changes to all that can happen to them, to learn on and to compare."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer


def tapes(
    changes: Annotated[
        int, typer.Option(help="How many changes to make tapes of.", min=1, max=10**6)
    ] = 100,
    networks: Annotated[
        str, typer.Option(help="known, validation, unseen (what models see of them), or all.")
    ] = "known",
    per_site: Annotated[
        int, typer.Option(help="Changes of each site, 1 to 20: the fewer, the more networks.")
    ] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Folder that gets them; tapes/NETWORKS if not given.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes; one a core if not given.", min=1, max=512)
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Another seed, other changes.", min=0, max=2**32 - 1)
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Simulate every decision there is about each change, so that an episode is an index.

    It may be interrupted: the same command goes on where it was. The environment, train-rl and the
    experiments read the folder.
    """
    from shadowsim.env.store import make, read_tapes
    from shadowsim.given import check_named
    from shadowsim.history.folds import ALL, NETWORKS
    from shadowsim.live import progress_of, warn_of_first_run

    check_named("--networks", networks, (ALL, *NETWORKS))
    folder = out or Path("tapes") / networks
    if not as_json:
        warn_of_first_run()
    began_s = time.monotonic()
    with progress_of(f"tapes, {networks}", quiet=as_json) as progress:
        cores = jobs or len(os.sched_getaffinity(0))
        make(folder, changes, seed, networks, cores, progress, per_site)
    took_s = time.monotonic() - began_s
    found = read_tapes(folder)
    told = {
        "out": str(folder), "networks": networks, "seed": seed, "changes": len(found),
        "failing": sum(tape.failed for tape in found),
        "decisions": sum(len(tape.world) for tape in found), "took_s": round(took_s, 3),
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    typer.echo(
        f"{told['changes']} changes, of which {told['failing']} fail, and {told['decisions']}"
        f" decisions, in {took_s:.1f} s"
    )
    typer.echo(folder)
