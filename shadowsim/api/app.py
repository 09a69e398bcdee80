"""Requests over HTTP to questions at the desk, and failures to the same words as everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from shadowsim import __version__
from shadowsim.api.desk import Desk, NoAnswer, Room
from shadowsim.api.guard import OPEN, App, Guard
from shadowsim.api.metrics import add_metrics
from shadowsim.api.questions import NotAsked
from shadowsim.api.wishes import Generate, Steer, mistakes
from shadowsim.errors import BadInput, MachineLacks, ShadowsimError, Unreachable
from shadowsim.mirror.testtraffic import Status, matches_of

STATUS_OF: dict[type[ShadowsimError], int] = {
    NotAsked: 409, BadInput: 422, MachineLacks: 501, Unreachable: 503, NoAnswer: 503,
}  # fmt: skip


class Session(BaseModel):
    """What runs, and the proof over everything so far: both counters have to be 0."""

    scenario: str
    network: str
    now_s: float
    devices: int
    demands: int
    going: int
    diverted_packets: int
    leaked: int
    returned: int


class Failure(BaseModel):
    """What was wrong, in words."""

    error: str


class NotThere(BadInput):
    """No test traffic has that id."""


Extend = Callable[[FastAPI], Collection[str]]


def nothing_more(api: FastAPI) -> Collection[str]:
    """Only what is always there."""
    return ()


def make_app(desk: Desk, token: str, *, writes: bool, extend: Extend = nothing_more) -> App:
    """The application, which answers with what the desk says; only who shows the token is heard.

    Without `writes` whatever would change anything is refused. `extend` adds routes, and names
    those paths of them that hold nothing of a session and are open to who shows no token.
    """
    api = FastAPI(
        title="shadowsim test traffic",
        version=__version__,
        description="Sends generated traffic to a shadow network, and steers some of production's "
        "into it. Times are seconds of the network. Every request needs the session's token.",
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Ascii,
        dependencies=[Depends(HTTPBearer(auto_error=False))],  # for the page; Guard decides
        responses={code: {"model": Failure} for code in (400, 401, 403, 413, 415, 422, 503)},
    )
    _add_failures(api)
    _add_routes(api, desk)
    add_metrics(api, desk.store, desk.runs)
    return Guard(api, token, writes=writes, open_to=OPEN.union(extend(api)))


class Ascii(JSONResponse):
    """JSON in ASCII, which has room for every string there is, also for half a character."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _add_routes(api: FastAPI, desk: Desk) -> None:
    @api.get("/status")
    def status() -> Session:
        """What runs, and what has been counted."""
        return desk.ask(_session)

    @api.get("/traffic")
    def traffic() -> list[Status]:
        """All test traffic that is going, and the last hundred that are over."""
        return desk.ask(lambda room: room.tests.status())

    @api.post("/traffic/generate", status_code=201)
    def generate(wish: Generate) -> Status:
        """Send traffic in the shadow, until a deadline."""
        return desk.ask(_found(lambda room: room.tests.generate(wish.flow(), wish.for_s)))

    @api.post("/traffic/steer", status_code=201)
    def steer(wish: Steer) -> Status:
        """Let some of production's traffic go into the shadow instead, until a deadline."""
        return desk.ask(_found(lambda room: _steer(room, wish)))

    @api.delete("/traffic/{name:path}", responses={404: {"model": Failure}})
    def cancel(name: str) -> Status:
        """End it now; what is over already is only told again."""
        return desk.ask(lambda room: _cancel(room, name[:100]))


def _session(room: Room) -> Session:
    counted = room.production.diverted()
    return Session(
        scenario=room.scenario,
        network=room.network,
        now_s=room.production.now,
        devices=len(room.production.topology.devices),
        demands=len(room.demands),
        going=sum(status.going for status in room.tests.status()),
        diverted_packets=int(counted.packets.sum()),
        leaked=counted.leaked,
        returned=counted.returned,
    )


def _found(begin: Callable[[Room], str]) -> Callable[[Room], Status]:
    return lambda room: room.tests.find(begin(room))


def _steer(room: Room, wish: Steer) -> str:
    matches = matches_of(
        room.production.topology,
        source=wish.source,
        destination=wish.destination,
        traffic_class=wish.traffic_class,
        protocol=wish.protocol,
        port=wish.port,
    )
    return room.tests.steer(matches, wish.for_s, everything=wish.everything, critical=wish.critical)


def _cancel(room: Room, name: str) -> Status:
    try:
        return room.tests.cancel(name)
    except BadInput as error:
        raise NotThere(str(error)) from None


# -- failures ----------------------------------------------------------------------------------


def _add_failures(api: FastAPI) -> None:
    @api.exception_handler(RequestValidationError)
    async def not_understood(request: Request, error: RequestValidationError) -> Response:
        return _failure(422, mistakes(error.errors(), request.scope["path"]))

    @api.exception_handler(ShadowsimError)
    async def refused(request: Request, error: ShadowsimError) -> Response:
        known = (status for kind, status in STATUS_OF.items() if isinstance(error, kind))
        status = 404 if isinstance(error, NotThere) else next(known, 500)
        return _failure(status, str(error))

    @api.exception_handler(HTTPException)
    async def not_here(request: Request, error: HTTPException) -> Response:
        return _failure(error.status_code, str(error.detail), dict(error.headers or {}))


def _failure(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    return Ascii({"error": words}, status, headers)
