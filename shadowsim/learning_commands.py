"""`shadowsim history`: labelled changes of the past, for whoever is to learn from them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from shadowsim.errors import BadInput, choices
from shadowsim.evaluate_command import evaluate
from shadowsim.tapes_command import tapes
from shadowsim.train_command import train
from shadowsim.train_rl_command import train_rl

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
MOST_CHANGES = 10_000_000


def history(
    changes: Annotated[
        int, typer.Option(help="How many changes to simulate.", min=1, max=MOST_CHANGES)
    ] = 1000,
    out: Annotated[Path, typer.Option(help="Folder that gets the history.")] = Path("history"),
    looks: Annotated[
        str, typer.Option(help="training: some looks a change; evaluation: one every 2 s.")
    ] = "training",
    networks: Annotated[
        str, typer.Option(help="all; known, validation, unseen: what models see of them.")
    ] = "all",
    jobs: Annotated[
        int | None, typer.Option(help="Processes; one a core if not given.", min=1, max=512)
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Another seed, other changes.", min=0, max=2**32 - 1)
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate changes at sampled sites, each left alone, and keep what was seen and what came.

    It may be interrupted: the same command goes on where it was. The folder holds looks-*.parquet,
    what an operator would have known at some time, and labels-*.parquet, what nobody could know.
    """
    from shadowsim.history.folds import ALL, NETWORKS
    from shadowsim.history.generate import generate, settings
    from shadowsim.history.looks import LOOKS
    from shadowsim.history.store import read_labels
    from shadowsim.history.tables import summary
    from shadowsim.live import progress_of, warn_of_first_run

    if looks not in LOOKS:
        raise BadInput(f"--looks: there is no '{looks}'; {choices(looks, LOOKS)}")
    if networks not in (ALL, *NETWORKS):
        raise BadInput(
            f"--networks: there is no '{networks}'; {choices(networks, (ALL, *NETWORKS))}"
        )
    made = settings(changes, seed, looks, networks)
    if not as_json:
        warn_of_first_run()
    began_s = time.monotonic()
    with progress_of("changes", quiet=as_json) as progress:
        generate(out, made, jobs or len(os.sched_getaffinity(0)), progress)
    took_s = time.monotonic() - began_s
    found = summary(read_labels(out, made))
    if as_json:
        _print_json({
            "out": str(out), "seed": seed, "looks": looks, "networks": networks,
            "took_s": round(took_s, 3),
            "kinds": found.rows(named=True),
        })  # fmt: skip
    else:
        from shadowsim.live import print_table

        print_table(f"{changes} changes in {took_s:.1f} s", found.columns, found.rows())
        typer.echo(out)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


COMMANDS: tuple[Callable[..., None], ...] = (history, tapes, train, train_rl, evaluate)
