"""`shadowsim shadow ...` to test traffic in a session that runs, and to the session itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from shadowsim.errors import BadInput, MachineLacks, choices
from shadowsim.interruptions import listening

if TYPE_CHECKING:
    from shadowsim.api.app import Extend
    from shadowsim.api.desk import Desk, Room
    from shadowsim.api.questions import Questions
    from shadowsim.api.server import Server
    from shadowsim.scenario import Scenario
    from shadowsim.session import Session
    from shadowsim.workflow import Run

shadow = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Test traffic in a shadow: generated, or production's own steered into it.",
)

SESSION = Path("runs") / "shadow.json"
OUTCOMES = "outcomes.sqlite"  # beside it: what /metrics tells of
STEP_S = 0.25  # of the network, between two looks at the clock

SessionFile = Annotated[Path, typer.Option("--session", help="Where the session is written down.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
For = Annotated[float, typer.Option(help="Seconds of the network until it ends by itself.")]
Class = Annotated[str | None, typer.Option("--class", help="critical, normal or bulk.")]


@shadow.command()
def serve(
    scenario: Annotated[Path, typer.Argument(help="Scenario file (YAML); its change is left out.")],
    network: Annotated[
        str, typer.Option(help="Where it runs: simulated, or emulated (real packets).")
    ] = "simulated",
    controller: Annotated[
        str, typer.Option(help="Of the emulated network: ryu or os-ken.")
    ] = "ryu",
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0: a free one.", min=0, max=65535)] = 0,
    pace: Annotated[float, typer.Option(help="Network seconds per second.", min=0.1)] = 1.0,
    for_s: Annotated[
        float | None, typer.Option(help="End after so many network seconds.", min=0.0)
    ] = None,
    writes: Annotated[
        bool, typer.Option("--writes", help="Let it be changed too: generate, steer, cancel.")
    ] = False,
    session: SessionFile = SESSION,
    seed: Annotated[
        int | None, typer.Option(help="Instead of the scenario's own.", min=0, max=2**32 - 1)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep production and its shadow up, without any change, until Ctrl-C."""
    from dataclasses import replace

    from shadowsim.network import CONTROLLERS, NETWORKS
    from shadowsim.scenario import load

    for option, name, valid in (
        ("network", network, tuple(NETWORKS)),
        ("controller", controller, CONTROLLERS),
    ):
        if name not in valid:
            raise BadInput(f"--{option}: there is no '{name}'; {choices(name, valid)}")
    loaded = load(scenario)
    loaded = loaded if seed is None else replace(loaded, seed=seed)
    desk, server = served(port, session, writes=writes)
    with server, suppress(KeyboardInterrupt), closing(_up(loaded, network, controller)) as up:
        server.start()
        _tell(server, session, as_json)
        _hold(desk, up, _room(up, network), pace, for_s)


@shadow.command()
def generate(
    source: Annotated[str, typer.Option("--from", help="The host that sends.")],
    destination: Annotated[str, typer.Option("--to", help="The host that receives.")],
    rate_mbps: Annotated[float, typer.Option(help="What it wants to send, in Mbit/s.")],
    for_s: For,
    traffic_class: Class = "bulk",
    protocol: Annotated[str, typer.Option(help="udp, or tcp, which yields.")] = "udp",
    port: Annotated[int, typer.Option(help="The receiver's port; 9 discards.")] = 9,
    packet_bytes: Annotated[int, typer.Option(help="Size of its packets.")] = 1000,
    flows: Annotated[int, typer.Option(help="Connections it is spread over.")] = 1,
    session: SessionFile = SESSION,
    as_json: AsJson = False,
) -> None:
    """Send traffic from a host of the shadow to another."""
    wish = {
        "from": source, "to": destination, "rate_mbps": rate_mbps, "class": traffic_class,
        "protocol": protocol, "port": port, "packet_bytes": packet_bytes, "flows": flows,
        "for_s": for_s,
    }  # fmt: skip
    _show([_ask(session, "POST", "/traffic/generate", wish)], as_json, one=True)


@shadow.command()
def steer(
    for_s: For,
    traffic_class: Class = None,
    source: Annotated[str, typer.Option("--from", help="Host, device, group, prefix.")] = "any",
    destination: Annotated[str, typer.Option("--to", help="Host, device, group, prefix.")] = "any",
    protocol: Annotated[str | None, typer.Option(help="tcp or udp.")] = None,
    port: Annotated[int | None, typer.Option(help="The receiver's port.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Even all there is.")] = False,
    critical: Annotated[bool, typer.Option("--critical", help="Critical traffic too.")] = False,
    session: SessionFile = SESSION,
    as_json: AsJson = False,
) -> None:
    """Let some of production's traffic go into the shadow instead of production."""
    wish = {
        "class": traffic_class, "from": source, "to": destination, "protocol": protocol,
        "port": port, "for_s": for_s, "everything": everything, "critical": critical,
    }  # fmt: skip
    _show([_ask(session, "POST", "/traffic/steer", wish)], as_json, one=True)


@shadow.command("list")
def list_(session: SessionFile = SESSION, as_json: AsJson = False) -> None:
    """Say what is going and what was, with the counters that prove where it went."""
    _show(_ask(session, "GET", "/traffic"), as_json)


@shadow.command()
def cancel(
    name: Annotated[str, typer.Argument(metavar="ID", help="As 'list' says it.")],
    session: SessionFile = SESSION,
    as_json: AsJson = False,
) -> None:
    """End one of them now."""
    path = f"/traffic/{quote(name, safe='', errors='replace')}"
    _show([_ask(session, "DELETE", path)], as_json, one=True)


# -- clients -----------------------------------------------------------------------------------


def _ask(session: Path, method: str, path: str, wish: Any = None) -> Any:
    from shadowsim.api.client import ask, read_session

    return ask(read_session(session), method, path, wish)


def _show(found: list[dict[str, Any]], as_json: bool, *, one: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(found[0] if one else found, indent=2))
        return
    for status in found:
        typer.echo(_line(status))
    if not found:
        typer.echo("no test traffic yet")


def _line(status: dict[str, Any]) -> str:
    """One of them as a person reads it."""
    came = "" if status["delivered"] is None else f", {status['delivered']:,} arrived"
    took = "" if status["latency_s"] is None else f" in {status['latency_s'] * 1e3:.1f} ms"
    return (
        f"{status['id']:<5}{status['state']:<10}{status['kind']} {status['what']}, "
        f"{status['since_s']:.1f} to {status['until_s']:.1f} s: {status['packets']:,} packets"
        f"{came}{took}; {status['leaked']} leaked, {status['returned']} returned"
    )


# -- beside a run ------------------------------------------------------------------------------


class Pace:
    """Lets no more than `pace` seconds of a run's networks pass in one of the watcher's; None: any.

    A run that is being ended is not held up.
    """

    def __init__(self, pace: float | None) -> None:
        self._pace = pace
        self._at_s = 0.0

    def due_s(self, run: Run) -> float:
        """How long to wait for what has passed since this was asked before."""
        passed_s, self._at_s = run.now - self._at_s, run.now
        return 0.0 if self._pace is None or run.interrupted else passed_s / self._pace

    def __call__(self, run: Run) -> None:
        with listening():
            time.sleep(self.due_s(run))


class Beside:
    """Answers at a desk while a run goes on, and writes into its journal what was wished for."""

    def __init__(
        self, desk: Desk, network: str, pace: float | None, questions: Questions | None = None
    ) -> None:
        self._desk = desk
        self._questions = questions
        self._network = network
        self._pace = Pace(pace)
        self._room: Room | None = None
        self._known: dict[str, str] = {}

    def __call__(self, run: Run) -> None:
        """Time has passed in both networks. All test traffic ends at once where the run is
        interrupted, or has lost the shadow that takes it.
        """
        room = self._room = self._room or self._made(run)
        if run.interrupted or run.shadow_lost:
            room.tests.end()
        self._desk.attend(room, self._pace.due_s(run))
        room.tests.tick()
        for status in room.tests.status():
            if self._known.get(status.id) != status.state:
                self._known[status.id] = status.state
                run.note("test_traffic", id=status.id, what=status.what, state=status.state)

    def _made(self, run: Run) -> Room:
        from shadowsim.api.desk import Room
        from shadowsim.mirror.testtraffic import TestTraffic

        demands = run.scenario.traffic.demands
        tests = TestTraffic(run.production, run.shadow, demands)
        name = run.scenario.name
        return Room(
            name, self._network, demands, run.production, run.shadow, tests, self._questions
        )

    def attend(self, seconds: float) -> None:
        """Answer at the desk while the run waits."""
        self._desk.attend(self._room, seconds)


def answered(
    port: int | None, network: str, pace: float | None, out: Path, *, writes: bool
) -> Callable[[], AbstractContextManager[Callable[[Run], None]]]:
    """What goes on beside each of several runs, and paces it; without a port, only that.

    Raises BadInput where a run would be over before anybody could ask.
    """
    if port is None and writes:
        raise BadInput("--api-writes: nothing can be asked without --api PORT")
    if port is not None and network == "simulated" and pace is None:
        raise BadInput("--api: without --pace a run is over before anyone could ask")

    @contextmanager
    def beside() -> Iterator[Callable[[Run], None]]:
        if port is None:
            yield Pace(pace)
            return
        desk, server = served(port, out / SESSION.name, writes=writes)
        with server:
            server.start()
            yield Beside(desk, network, pace)

    return beside


# -- sessions ----------------------------------------------------------------------------------


def served(
    port: int,
    file: Path,
    *,
    writes: bool,
    store: Path | None = None,
    extend: Callable[[Desk], Extend] | None = None,
) -> tuple[Desk, Server]:
    """A desk that will be asked over HTTP; `store` is beside `file`, as runs are, if none is named.

    Raises MachineLacks without the packages for that.
    """
    try:
        from shadowsim.api.app import nothing_more
        from shadowsim.api.server import Server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("shadowsim"):
            raise
        raise MachineLacks(
            f"{error.name} is missing, which serving needs: pip install 'shadowsim[api]'"
        ) from None
    from shadowsim.api.desk import Desk

    desk = Desk(file.with_name(OUTCOMES) if store is None else store, file.parent)
    more = nothing_more if extend is None else extend(desk)
    return desk, Server(desk, port, file, writes=writes, extend=more)


def _up(loaded: Scenario, network: str, controller: str) -> Session:
    from shadowsim.network import CONTROLLERS, factory
    from shadowsim.session import Session

    kind = next(name for name in CONTROLLERS if name == controller)
    return Session(loaded, factory(network, kind))


def _room(session: Session, network: str) -> Room:
    from shadowsim.api.desk import Room

    scenario = session.scenario
    demands = scenario.traffic.demands
    return Room(scenario.name, network, demands, session.production, session.shadow, session.tests)


def _tell(server: Server, file: Path, as_json: bool) -> None:
    """Say where the session is; the token is in the file only."""
    if as_json:
        typer.echo(json.dumps({"url": server.address.url, "session": str(file)}, indent=2))
    else:
        typer.echo(f"{server.address.url} (page: /docs); the token is in {file}; Ctrl-C ends it")


def _hold(desk: Desk, session: Session, room: Room, pace: float, for_s: float | None) -> None:
    """Let the session's time pass as it does on the wall's clock, and answer in between."""
    end_s = session.now + (float("inf") if for_s is None else for_s)
    due_s = time.monotonic()
    while session.now < end_s - 1e-9:
        session.advance(min(STEP_S, end_s - session.now))
        # A network slower than the wall does not hurry after it.
        due_s = max(due_s + STEP_S / pace, time.monotonic())
        desk.attend(room, due_s - time.monotonic())
