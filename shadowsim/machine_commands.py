"""`shadowsim doctor`, `bench` and `fidelity`: what this machine can do, how fast, how truly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowsim.errors import BadInput, MachineLacks, ShadowsimError, choices

if TYPE_CHECKING:
    from shadowsim.fidelity import Fidelity

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Seed = Annotated[int | None, typer.Option(help="Not used here.", min=0, max=2**32 - 1)]
Files = Annotated[list[Path], typer.Argument(metavar="SCENARIO...", help="Scenario files (YAML).")]
NOTES = "-notes.md"  # beside the page, kept by hand


def doctor(
    clean: Annotated[
        bool, typer.Option("--clean", help="End and remove what killed runs have left.")
    ] = False,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Say what this machine can do, and what it lacks."""
    from shadowsim.capabilities import examine_emulation
    from shadowsim.doctor import examine_machine

    if clean:
        _clean(as_json)
        return
    tables = {"this machine": examine_machine(), "emulated network": examine_emulation()}
    if as_json:
        _print_json([f._asdict() for findings in tables.values() for f in findings])
    else:
        from shadowsim.live import print_table

        for title, findings in tables.items():
            rows = [("ok" if f.ok else "lacks", f.what, f.found, f.remedy) for f in findings]
            print_table(title, ["", "what", "found", "how to get it"], rows)
    if any(f.needed and not f.ok for findings in tables.values() for f in findings):
        raise typer.Exit(MachineLacks.exit_code)


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all if none is named.")] = None,
    network: Annotated[
        str, typer.Option(help="Of what: simulated (all that computes), or emulated.")
    ] = "simulated",
    out: Annotated[Path | None, typer.Option(help="A Markdown page to write.")] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Measure the speeds that matter, beside other tools in the same run.

    Exit code 1 if something could not be measured; what else there is, is shown.
    """
    from shadowsim.bench import HEADINGS, markdown, measure
    from shadowsim.network import NETWORKS

    if network not in NETWORKS:
        raise BadInput(f"--network: there is no '{network}'; {choices(network, NETWORKS)}")
    measured = measure(names or [], progress=_tell, network=network)
    if as_json:
        _print_json([row.as_dict() for row in measured.rows])
    else:
        from shadowsim.live import print_table

        print_table("bench", HEADINGS, [row.cells() for row in measured.rows])
    if out is not None:
        out.write_text(markdown(measured, _command("bench", network, out)), encoding="utf-8")
    if measured.lost:
        raise ShadowsimError(
            "\n".join(f"{name} was not measured: {why}" for name, why in measured.lost.items())
        )


def fidelity(
    scenarios: Files,
    out: Annotated[
        Path | None, typer.Option(help="A Markdown page to write.", dir_okay=False)
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that keeps the runs.")] = Path("runs/fidelity"),
    controller: Annotated[
        str, typer.Option(help="Of the emulated network: ryu or os-ken.")
    ] = "ryu",
    again: Annotated[bool, typer.Option("--again", help="Repeat what is there already.")] = False,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Run scenarios on both networks, and say how far these agree.

    Runs that are there already are not repeated, so it may be interrupted. Notes that stand beside
    the page, in docs/fidelity-notes.md for docs/fidelity.md, are put at its end. Exit code 1 if a
    verdict differs or a run failed, 3 if the machine can carry none of them.
    """
    from shadowsim.fidelity import markdown
    from shadowsim.network import CONTROLLERS
    from shadowsim.sidebyside import Study, side_by_side

    if controller not in CONTROLLERS:
        raise BadInput(
            f"--controller: there is no '{controller}'; {choices(controller, CONTROLLERS)}"
        )

    def run(file: Path, kind: str, folder: Path) -> None:
        _run(file, kind, folder, runs / "outcomes.sqlite", controller)

    rows, skipped = side_by_side(scenarios, Study(runs, controller, run, _tell, again))
    command = "shadowsim fidelity " + " ".join(map(str, scenarios))
    command += "" if controller == "ryu" else f" --controller {controller}"
    if out is not None:
        notes = out.with_name(out.stem + NOTES)
        kept = notes.read_text(encoding="utf-8") if notes.exists() else ""
        out.write_text(markdown(rows, f"{command} --out {out}", kept, skipped), encoding="utf-8")
    if as_json:
        _print_json({
            "compared": [_plain(row) for row in rows],
            "skipped": [{"scenario": one.scenario, "why": one.why} for one in skipped],
        })  # fmt: skip
    else:
        typer.echo(markdown(rows, command, "", skipped))
    if not all(row.agree for row in rows) or any(one.failed for one in skipped):
        raise typer.Exit(1)
    if not rows:
        raise typer.Exit(MachineLacks.exit_code)


def _run(file: Path, kind: str, out: Path, store: Path, controller: str) -> None:
    """A run in a process of its own, so that whatever happens to it leaves the others alone."""
    argv = [sys.executable, "-m", "shadowsim", "run", str(file), "--json", "--network", kind]
    argv += ["--controller", controller, "--out", str(out), "--store", str(store)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"ended with {done.returncode}"
        if done.returncode == MachineLacks.exit_code:
            raise MachineLacks(why)
        raise ShadowsimError(f"the {kind} run failed: {why}")


def _plain(row: Fidelity) -> dict[str, Any]:
    """A row as JSON has it: no nan."""
    errors = {
        what: None
        if not (found := getattr(row, what)).values
        else {"median": found.median, "p95": found.p95, "demands": len(found.values)}
        for what in ("throughput", "latency", "saturated", "saturated_latency")
    }
    return {
        "scenario": row.scenario,
        "same": row.agree,
        "verdicts": row.verdicts,
        "coarse": row.coarse,
        "one_sided": row.one_sided,
        **errors,
    }


def _command(name: str, network: str, out: Path) -> str:
    beside = "" if network == "simulated" else f" --network {network}"
    return f"shadowsim {name}{beside} --out {out}"


def _clean(as_json: bool) -> None:
    from shadowsim.network.emulated.rundir import clean

    found = [{"folder": str(one.path), "processes": list(one.pids)} for one in clean()]
    if as_json:
        _print_json(found)
        return
    for one in found:
        typer.echo(f"removed {one['folder']}, {len(one['processes'])} processes ended")
    typer.echo(f"{len(found)} left-over networks removed")


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


COMMANDS: tuple[Callable[..., None], ...] = (doctor, bench, fidelity)
