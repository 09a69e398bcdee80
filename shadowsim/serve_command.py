"""Scenarios to runs that are followed on a page as they go, and looked at when they are over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shadowsim.shadow_commands import Beside, served

if TYPE_CHECKING:
    from collections.abc import Collection

    from fastapi import FastAPI

    from shadowsim.api.desk import Desk
    from shadowsim.api.questions import Questions
    from shadowsim.journal import Event
    from shadowsim.live import View
    from shadowsim.page.board import Board
    from shadowsim.scenario import Scenario
    from shadowsim.workflow import Approve, Run

FILE = "serve.json"  # in the folder of runs: where the page is, and its token; for its owner only
IDLE_S = 0.5
ANSWERED_BEFORE_S = 10.0  # the guardian stops waiting for a person

Carry = Callable[["Scenario", "Watched", Callable[["Run"], None]], dict[str, Any]]


class Watched:
    """A run shown at a terminal and on the page; where `questions` are given, only these answer."""

    def __init__(self, view: View, board: Board, questions: Questions | None) -> None:
        self._view = view
        self._board = board
        self._questions = questions

    def event(self, event: Event) -> None:
        self._board.event(event)
        self._view.event(event)

    def paused(self, approve: Approve) -> Approve:
        ask = approve if self._questions is None else self._questions.approve
        return self._view.paused(ask)

    def result(self, found: dict[str, Any]) -> None:
        self._view.result(found)


class Showing:
    """Called whenever time has passed in a run: shows its networks, then answers at the desk."""

    def __init__(self, board: Board, desk: Desk, network: str, pace: float | None) -> None:
        from shadowsim.api.questions import Questions
        from shadowsim.workflow.state import PERSON_S

        self.questions = Questions(self._attend, PERSON_S - ANSWERED_BEFORE_S)
        self._board = board
        self._beside = Beside(desk, network, pace, self.questions)

    def __call__(self, run: Run) -> None:
        from shadowsim.page.live import looks_of

        self._board.looks(lambda: looks_of(run))
        self._beside(run)

    def _attend(self, seconds: float) -> None:
        self._beside.attend(seconds)


def serve_runs(
    scenarios: Sequence[Scenario],
    carry: Carry,
    *,
    network: str,
    runs: Path,
    store: Path,
    port: int,
    pace: float | None,
    writes: bool,
    as_json: bool,
    once: bool,
) -> None:
    """Serve the page; run the scenarios under it, one after the other; then serve what was.

    Returns when it is interrupted and nothing runs, or, with `once`, when the runs are over.
    """
    from shadowsim.live import View
    from shadowsim.page.live import outcome_of_run, standing_of

    board, extend = _page(runs, store)
    desk, server = served(port, runs / FILE, writes=writes, store=store, extend=extend)
    with server:
        server.start()
        _tell(server.address.url, server.address.token, runs / FILE, as_json)
        for scenario in scenarios:
            showing = Showing(board, desk, network, pace)
            with View(scenario, quiet=as_json) as view:
                watched = Watched(view, board, showing.questions if writes else None)
                board.begin(standing_of(scenario, network, writes=writes))
                found = None
                try:
                    found = carry(scenario, watched, showing)
                finally:
                    board.end(found and outcome_of_run(found))
        with suppress(KeyboardInterrupt):
            while not once:
                desk.attend(None, IDLE_S)


def _page(
    runs: Path, store: Path
) -> tuple[Board, Callable[[Desk], Callable[[FastAPI], Collection[str]]]]:
    """Where runs are put up, and how an application gets the page that shows them."""
    from shadowsim.page.board import Board

    board = Board()

    def extend(desk: Desk) -> Callable[[FastAPI], Collection[str]]:
        from shadowsim.page.routes import add_page

        return lambda api: add_page(api, desk, board, runs, store)

    return board, extend


def _tell(url: str, token: str, file: Path, as_json: bool) -> None:
    """Say where the page is. The token stands behind the '#', which browsers do not send."""
    if as_json:
        typer.echo(json.dumps({"url": url, "session": str(file)}, indent=2))
    else:
        typer.echo(f"open {url}/#{token}  (Ctrl-C ends it)\n")
