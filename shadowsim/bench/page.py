"""A run that goes on under the page to how long a change of its state takes to get there."""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

from shadowsim.api.client import HERE, Address
from shadowsim.bench.timing import Row
from shadowsim.errors import MachineLacks

if TYPE_CHECKING:
    from fastapi import FastAPI

    from shadowsim.page.board import Board

GOAL_S = 0.2
PACE = 20.0  # network seconds a second: several changes are on their way at once
SCENARIO = """
name: bench
seed: 1
topology: {topohub: sndlib/abilene}
traffic: {demands: topohub, scale: 0.5}
change:
  summary: raise a cost
  script: |
    device ATLAng
    interface to-HSTNng
     ip ospf cost 15
workflow: {baseline_s: 10, shadow_s: 25, monitor_s: 50, soak_s: 2}
"""


def shown() -> list[Row]:
    """From an event in the run's thread until whoever follows has read it, over HTTP; p95.

    The run computes all the while, in the same process as the server, as under `serve`.
    """
    with tempfile.TemporaryDirectory() as made:
        posted, came = _followed(Path(made))
    waits = [
        next(at_s for version, at_s in came if version >= number) - since_s
        for number, since_s in posted
        if came and number <= came[-1][0]
    ]
    p95 = quantiles(waits, n=20)[-1]
    note = f"{len(waits)} changes of a run at pace {PACE:g}, worst {max(waits):.3f} s"
    return [Row("page: change of state to its reader", p95, "s", GOAL_S, note=note)]


Times = list[tuple[int, float]]


def _followed(folder: Path) -> tuple[Times, Times]:
    """When each version was put up, and when each that was read came: (version, seconds)."""
    from shadowsim.carried import begin, carry_out
    from shadowsim.commit.hold import Unheld
    from shadowsim.journal import Event, Journal
    from shadowsim.network import NETWORKS
    from shadowsim.page.board import Board
    from shadowsim.page.live import looks_of, standing_of
    from shadowsim.rollback.key import LENGTH
    from shadowsim.scenario import parse
    from shadowsim.workflow import Run

    scenario, board = parse(SCENARIO), Board()
    posted: Times = []

    def note(event: Event) -> None:
        board.event(event)
        posted.append((board.latest().version, time.monotonic()))

    def beside(run: Run) -> None:
        board.looks(lambda: looks_of(run))
        time.sleep(0.25 / PACE)

    with _read(board, folder) as came:
        board.begin(standing_of(scenario, "simulated", writes=False))
        run = begin(scenario, NETWORKS["simulated"], Journal(note))
        run.beside = beside
        carry_out(run, "simulated", folder / "run", bytes(LENGTH), nullcontext(Unheld()))
        time.sleep(GOAL_S)
    return posted, came


@contextmanager
def _read(board: Board, folder: Path) -> Iterator[Times]:
    """A server of the page, and somebody who follows it; what came, as it comes."""
    try:
        from shadowsim.api.desk import Desk
        from shadowsim.api.server import Server
        from shadowsim.page.routes import add_page
    except ModuleNotFoundError as error:
        raise MachineLacks(f"{error.name} is missing: pip install 'shadowsim[api]'") from None
    desk = Desk()

    def extend(api: FastAPI) -> Collection[str]:
        return add_page(api, desk, board, folder, folder / "outcomes.sqlite")

    came: Times = []
    with Server(desk, 0, folder / "serve.json", writes=False, extend=extend) as server:
        server.start()
        threading.Thread(target=_follow, args=(server.address, came), daemon=True).start()
        yield came


def _follow(address: Address, came: Times) -> None:
    connection = http.client.HTTPConnection(HERE, address.port, timeout=30)
    connection.request("GET", "/live", headers={"Authorization": f"Bearer {address.token}"})
    answer = connection.getresponse()
    with suppress(OSError, http.client.HTTPException):  # it ends with the server
        while line := answer.readline():
            if line.startswith(b"id: "):
                came.append((int(line[4:]), time.monotonic()))
