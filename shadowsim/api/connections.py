"""A connection to requests over it, for as long as whoever holds it gets on with them."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 100
HEAD_WITHIN_S = 10.0  # of a request: from the connection, or from the answer before it
ANSWERED_WITHIN_S = 60.0  # all of it, and read: longer than any question takes at the desk
FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """Ends when a request does not come in time, however slowly, or its answer is not taken.

    One that comes when there are too many is told so, and ended.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._limit: asyncio.TimerHandle | None = None
        self._begun: object = None  # the request that the limit is of

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end_in(HEAD_WITHIN_S)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(FULL)
            transport.close()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not self._begun:
            self._begun = self.cycle
            self._end_in(ANSWERED_WITHIN_S)

    def on_response_complete(self) -> None:
        self._end_in(HEAD_WITHIN_S)  # what was sent ahead may begin the next one at once
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def _end_in(self, seconds: float) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self.loop.call_later(seconds, self.transport.abort)
