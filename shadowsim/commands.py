"""The command line: words to calls, and results to words and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from shadowsim import (
    __version__,
    learning_commands,
    machine_commands,
    outages_command,
    rollback_command,
    scale_command,
    sweep_command,
)
from shadowsim.errors import BadInput, Mistake, PersonNeeded, ShadowsimError
from shadowsim.shadow_commands import answered, shadow

if TYPE_CHECKING:
    from shadowsim.network import Controller
    from shadowsim.precog import Forecast
    from shadowsim.precog.past import Past
    from shadowsim.scenario import Scenario
    from shadowsim.workflow import Run

app = typer.Typer(
    name="shadowsim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Try a network change on a shadow first, and take it back before it hurts.",
)

app.add_typer(shadow, name="shadow")

Files = Annotated[list[Path], typer.Argument(metavar="SCENARIO...", help="Scenario files (YAML).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Seed = Annotated[
    int | None, typer.Option(help="Instead of the scenario's own seed.", min=0, max=2**32 - 1)
]
Store = Annotated[Path, typer.Option(help="Where outcomes are kept (SQLite).")]
Out = Annotated[Path, typer.Option(help="Folder that gets one folder a run.")]

DEFAULT_OUT = Path("runs")
DEFAULT_STORE = DEFAULT_OUT / "outcomes.sqlite"
NOT_MET = 1
EASY_PACE = 2.0  # of a run that a person follows


@app.command()
def run(
    scenarios: Files,
    network: Annotated[
        str, typer.Option(help="Where it runs: simulated, or emulated (real packets).")
    ] = "simulated",
    controller: Annotated[
        str, typer.Option(help="Of the emulated network: ryu or os-ken.")
    ] = "ryu",
    precog: Annotated[
        str | None, typer.Option(help="PreCog variant instead of the scenario's.")
    ] = None,
    autonomy: Annotated[str | None, typer.Option(help="observe, ask or automatic.")] = None,
    pace: Annotated[
        float | None, typer.Option(help="Network seconds per second of yours.", min=0.1)
    ] = None,
    api: Annotated[
        int | None,
        typer.Option(help="Port for 'shadowsim shadow' while it runs; 0: any.", min=0, max=65535),
    ] = None,
    api_writes: Annotated[
        bool, typer.Option("--api-writes", help="Let requests start and end test traffic too.")
    ] = False,
    past: Annotated[
        bool, typer.Option("--past", help="Let PreCog see what came of earlier changes (--store).")
    ] = False,
    out: Out = DEFAULT_OUT,
    store: Store = DEFAULT_STORE,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Run scenarios end to end: shadow, judgement, deployment, monitoring, rollback."""
    from shadowsim.given import adjusted, load_all
    from shadowsim.live import View, warn_of_first_run

    loaded = [adjusted(s, precog, autonomy, seed) for s in load_all(scenarios)]
    _check_places(loaded, network, out, store, controller)
    beside = answered(api, network, pace, out, writes=api_writes)
    if not as_json:
        warn_of_first_run()
    documents = []
    for scenario in loaded:
        with View(scenario, quiet=as_json) as view:
            with beside() as attend:
                known = _past(scenario, store) if past else None
                found = _run_one(
                    scenario, network, out, store, view, controller, attend, pace, known
                )
            documents.append(found)
    if as_json:
        _print_json(documents[0] if len(documents) == 1 else documents)
    elif len(documents) > 1:
        met = sum(d["expectations"]["met"] for d in documents)
        typer.echo(f"{met} of {len(documents)} scenarios as expected")
    raise typer.Exit(_exit_code(documents))


@app.command()
def serve(
    scenarios: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SCENARIO]...", help="Scenarios to run under the page, in turn."),
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder of runs: past ones are shown, new ones go there.")
    ] = DEFAULT_OUT,
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0: a free one.", min=0, max=65535)] = 0,
    pace: Annotated[
        float | None, typer.Option(help="Network seconds per second; 2 if simulated.", min=0.1)
    ] = None,
    writes: Annotated[
        bool, typer.Option("--writes", help="Let the page answer, and test traffic start.")
    ] = False,
    network: Annotated[
        str, typer.Option(help="Where it runs: simulated, or emulated (real packets).")
    ] = "simulated",
    controller: Annotated[
        str, typer.Option(help="Of the emulated network: ryu or os-ken.")
    ] = "ryu",
    precog: Annotated[
        str | None, typer.Option(help="PreCog variant instead of the scenario's.")
    ] = None,
    autonomy: Annotated[str | None, typer.Option(help="observe, ask or automatic.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when the scenarios are over, not at Ctrl-C.")
    ] = False,
    store: Store = DEFAULT_STORE,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Serve a page where production and shadow are seen side by side, and a run is answered."""
    from shadowsim.given import adjusted, load_all
    from shadowsim.live import warn_of_first_run
    from shadowsim.serve_command import Watched, serve_runs

    loaded = [adjusted(s, precog, autonomy, seed) for s in load_all(scenarios or [])]
    _check_places(loaded, network, runs, store, controller)
    if loaded and not as_json:
        warn_of_first_run()
    if pace is None and network == "simulated":
        pace = EASY_PACE

    def carry(scenario: Scenario, shown: Watched, beside: Callable[[Run], None]) -> dict[str, Any]:
        return _run_one(scenario, network, runs, store, shown, controller, beside, pace, past=None)

    serve_runs(
        loaded, carry, network=network, runs=runs, store=store, port=port,
        pace=pace, writes=writes, as_json=as_json, once=once,
    )  # fmt: skip


@app.command()
def check(scenarios: Files, seed: Seed = None, as_json: AsJson = False) -> None:
    """Read scenarios, and say what their configs and change mean, without running anything."""
    from shadowsim.examine import examine
    from shadowsim.given import adjusted, load_all

    found = [examine(adjusted(s, None, None, seed)) for s in load_all(scenarios)]
    if as_json:
        _print_json(found[0] if len(found) == 1 else found)
        return
    for entry in found:
        typer.echo(f"{entry['scenario']}: {entry['size']}")
        for line in entry["notes"]:
            typer.echo(f"  {line}")


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="scenario or signature.")] = "scenario",
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema of a scenario file or of a rollback signature."""
    from shadowsim.errors import choices
    from shadowsim.rollback import signature
    from shadowsim.scenario import json_schema

    schemas: dict[str, Callable[[], dict[str, Any]]] = {
        "scenario": json_schema,
        "signature": signature.json_schema,
    }
    if what not in schemas:
        raise BadInput(f"there is no schema '{what}'; {choices(what, schemas)}")
    _print_json(schemas[what]())


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; report.html in the folder if not given.")
    ] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Make one self-contained HTML page of a run."""
    from shadowsim.report import write_report

    page = write_report(folder, out)
    if as_json:
        _print_json({"report": str(page)})
    else:
        typer.echo(page)


@app.command()
def analytics(
    store: Store = DEFAULT_STORE,
    plot: Annotated[Path | None, typer.Option(help="Draw them too, into this PNG or SVG.")] = None,
    over_time: Annotated[
        bool, typer.Option("--over-time", help="Week by week, with causes found and drift.")
    ] = False,
    window: Annotated[
        int | None, typer.Option(help="With --over-time: so many runs instead of weeks.", min=1)
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write them as Parquet: a row a run; with --over-time a row a window."),
    ] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Changes validated, accuracy of the forecasts, rollbacks, time to rollback, root causes."""
    from shadowsim import analytics as numbers
    from shadowsim.outcomes import OutcomeStore

    if not store.exists():
        raise BadInput([Mistake("no outcomes yet; 'shadowsim run' makes some", str(store))])
    with OutcomeStore(store) as outcomes:
        rows = outcomes.read()
    if export is not None:
        from shadowsim import outcomes_command

        outcomes_command.export(rows, store, export, over_time=over_time, window=window)
    if over_time:
        from shadowsim.outcomes_command import show_over_time

        show_over_time(rows, store, window, plot, as_json)
        return
    if as_json:
        _print_json(numbers.summary(rows))
    else:
        from shadowsim.live import print_table

        for title, table in numbers.tables(rows):
            print_table(title, table.columns, table.rows())
    if plot is not None:
        from shadowsim.plots import save_analytics

        save_analytics(rows, plot)


for command in (
    rollback_command.rollback,
    *sweep_command.COMMANDS,
    *outages_command.COMMANDS,
    *learning_commands.COMMANDS,
    *machine_commands.COMMANDS,
    *scale_command.COMMANDS,
):
    app.command()(command)


# -- pieces ------------------------------------------------------------------------------------


def _check_places(
    scenarios: list[Scenario], network: str, out: Path, store: Path, controller: str
) -> None:
    """What would only be found out later: nothing is run if anything could not be kept."""
    from shadowsim import given
    from shadowsim.outcomes import OutcomeStore
    from shadowsim.record import claim
    from shadowsim.rollback.key import installation_key

    given.check_networks(network, controller)
    given.check_apart(scenarios)
    for scenario in scenarios:
        claim(out / scenario.name)
        given.check_size(scenario)
    installation_key()
    if store.exists():
        with OutcomeStore(store):
            pass  # opening it finds out whether it is one


def _run_one(
    scenario: Scenario,
    network: str,
    out: Path,
    store: Path,
    view: Any,
    controller: str,
    beside: Callable[[Run], None],
    pace: float | None,
    past: Past | None,
) -> dict[str, Any]:
    from shadowsim.carried import NotKept, begin, carry_out
    from shadowsim.commit.hold import held
    from shadowsim.interruptions import uninterrupted
    from shadowsim.journal import Journal
    from shadowsim.network import factory
    from shadowsim.outcomes import OutcomeStore
    from shadowsim.rollback.key import installation_key

    def keep(found: dict[str, Any]) -> None:
        with OutcomeStore(store) as outcomes:
            outcomes.add(found, datetime.now(UTC).isoformat(timespec="seconds"))
        view.result(found)

    key = installation_key()
    approve = _ask if sys.stdin.isatty() and sys.stdout.isatty() else _nobody
    networks = factory(network, cast("Controller", controller))
    folder = out / scenario.name
    # Of the network's seconds, where these are longer: who is slow on purpose is not dead.
    lease_s = scenario.workflow.confirm_within_s / min(pace or 1.0, 1.0)
    # What is prepared may drop what libraries clean up after, and they swallow an interruption.
    with uninterrupted():
        state = begin(scenario, networks, Journal(view.event), view.paused(approve))
        state.beside, state.past = beside, past or state.past
        try:
            return carry_out(state, network, folder, key, held(folder, key, lease_s), keep)
        except (ShadowsimError, OSError) as error:
            if state.hold.begun is None and not isinstance(error, NotKept):
                raise
            raise _with_standing(error, state.hold.begun) from error


def _past(scenario: Scenario, store: Path) -> Past:
    """The earlier changes of this network; none where their outcomes cannot be read, which is told:
    no change has to wait for that.
    """
    from shadowsim.learning.uses import past_of
    from shadowsim.outcomes import OutcomeStore
    from shadowsim.precog.past import Past
    from shadowsim.record import site_of

    if not store.exists():
        return Past()
    try:
        with OutcomeStore(store) as outcomes:
            rows = outcomes.read()
        documents = [json.loads(row["document"]) for row in rows]
        return past_of(documents, site_of(scenario.topology)["digest"])
    except (ShadowsimError, ValueError, TypeError, LookupError, AttributeError) as error:
        typer.echo(f"earlier changes are not known: {error}", err=True)
        return Past()


def _with_standing(error: ShadowsimError | OSError, commit: Path | None) -> ShadowsimError:
    """Why a run has no outcome, with what production has: of that nobody else may be asked."""
    words = str(error)
    if isinstance(error, OSError):
        words = f"{error.filename or 'i/o'}: {error.strerror or error}"
    try:
        settled, how = rollback_command.told(commit)
    except (ShadowsimError, OSError):
        return PersonNeeded(words)
    found = (ShadowsimError if settled else PersonNeeded)(f"{words}\n{how}")
    if settled and isinstance(error, ShadowsimError) and not isinstance(error, PersonNeeded):
        found.exit_code = error.exit_code
    return found


def _ask(question: str, forecast: Forecast) -> bool | None:
    """Ask the person at the terminal; None if they go away."""
    for reason in forecast.reasons[:5]:
        typer.echo(f"  {reason.probability:.0%} {reason.mode}: {reason.text}")
    try:
        return typer.confirm(question)
    except typer.Abort:
        return None


def _nobody(question: str, forecast: Forecast) -> bool | None:
    return None


def _exit_code(documents: list[dict[str, Any]]) -> int:
    """0 as expected, 1 not as expected, 4 where a person is needed and none was expected to be."""
    if not all(d["expectations"]["met"] for d in documents):
        return NOT_MET
    surprised = [
        d
        for d in documents
        if d["end_state"] == "halted"
        and all(detail["what"] != "end_state" for detail in d["expectations"]["details"])
    ]
    return PersonNeeded.exit_code if surprised else 0


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shadowsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which this is.")
    ] = False,
) -> None:
    pass
