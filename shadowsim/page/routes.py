"""What a page asks to what it is told: its files, the run that goes on, past runs, and answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse

from shadowsim.api.desk import Desk, Room
from shadowsim.api.guard import App, Message, Receive, Scope, Send
from shadowsim.api.questions import NotAsked
from shadowsim.api.wishes import Wish
from shadowsim.page.board import Board
from shadowsim.page.numbers import drawn, tabled
from shadowsim.page.past import folder_of, listed, seen_at
from shadowsim.page.view import changes
from shadowsim.report import TOKENS

KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
FOLDER = Path(__file__).with_name("static")
FILES = {f"/static/{f.name}": f for f in (TOKENS, *FOLDER.iterdir()) if f.suffix in KINDS}
HOME = "/static/index.html"
OPEN = frozenset({"/", *FILES})  # what they say is in the source code too
STREAM_S = 40.0  # then the page asks anew: less than any answer may take
QUIET_S = 10.0  # without news
BETWEEN_S = 0.03  # two pieces of news: more a second nobody sees
POLICIES = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HEADERS = [(name.lower().encode(), value.encode()) for name, value in POLICIES.items()]


class Answer(Wish):
    """What a person says to the question of this number."""

    question: int
    approve: bool


def add_page(api: FastAPI, desk: Desk, board: Board, runs: Path, store: Path) -> Collection[str]:
    """Add the page, and what it asks, to an application; the paths that need no token."""
    api.add_middleware(WithHeaders)
    _add_files(api)
    _add_live(api, desk, board)
    _add_past(api, runs, store)
    return OPEN


class WithHeaders:
    """An application whose answers say what a browser may do with them: next to nothing."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] != "/docs":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)


def _add_files(api: FastAPI) -> None:
    @api.get("/", include_in_schema=False)
    @api.get("/static/{name}", include_in_schema=False)
    def file(request: Request, name: str = "") -> Response:
        path = HOME if not name else f"/static/{name}"
        if path not in FILES:
            return Response(status_code=404)
        kind = KINDS[Path(path).suffix]
        return Response(FILES[path].read_bytes(), media_type=f"{kind}; charset=utf-8")


def _add_live(api: FastAPI, desk: Desk, board: Board) -> None:
    @api.get("/live")
    async def live() -> StreamingResponse:
        """The run that goes on, as server-sent events: each holds what has changed of the view."""
        return StreamingResponse(_news(board), media_type="text/event-stream")

    @api.post("/answer", status_code=202)
    def answer(wish: Answer) -> Answer:
        """Approve or refuse what is asked. 409 if that question is not open (any more)."""
        return desk.ask(lambda room: _answered(room, wish))


def _answered(room: Room, wish: Answer) -> Answer:
    if room.questions is None:
        raise NotAsked("nothing is asked")
    room.questions.answer(wish.question, wish.approve)
    return wish


async def _news(board: Board) -> AsyncIterator[str]:
    end_s = monotonic() + STREAM_S
    version, shown = -1, dict[str, Any]()
    while monotonic() < end_s:
        standing = await board.wait(version, QUIET_S)
        version, now = standing.version, standing.document()
        news = changes(shown, now)
        shown = now
        yield f"id: {version}\ndata: {json.dumps(news, allow_nan=False)}\n\n" if news else ":\n\n"
        await asyncio.sleep(BETWEEN_S)


def _add_past(api: FastAPI, runs: Path, store: Path) -> None:
    @api.get("/runs")
    def past() -> list[dict[str, Any]]:
        """The runs there are, the latest first."""
        return listed(runs)

    @api.get("/runs/{name}")
    def one(name: str, at_s: Annotated[float | None, Query(ge=0, le=1e9)] = None) -> dict[str, Any]:
        """A run as it was seen at that instant; at its end if none is given."""
        return seen_at(folder_of(runs, name), at_s)

    @api.get("/analytics")
    def numbers() -> dict[str, Any]:
        """What all runs add up to, as tables."""
        return tabled(store)

    @api.get("/analytics.svg")
    def figure() -> Response:
        """The same as a figure."""
        return Response(drawn(store), media_type="image/svg+xml")
