"""A run in its thread to the latest view of it, and to whoever waits for the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from shadowsim.journal import Event
from shadowsim.page.view import Json, Look, View, after, document, read_off
from shadowsim.report import recorded


@dataclass(frozen=True)
class Standing:
    """What is up: what stays the same in all views of a run, and the view of now."""

    version: int
    same: Json
    view: View | None = None

    def document(self) -> Json:
        return self.same if self.view is None else {**self.same, **document(self.view)}


class Board:
    """The latest view of the run that goes on, by version. One thread writes, others read and wait.

    Nothing that is put up raises: a run is worth more than its picture. A board that failed says so
    as `lost`, and is left alone until the next run begins.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._standing = Standing(0, {"live": False})
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def begin(self, same: Json) -> None:
        """A run begins; `same` is what stays the same in all views of it."""
        self._post({**same, "lost": None}, View())

    def event(self, event: Event) -> None:
        """Something happened in the run."""
        self._see(lambda view: after(view, recorded.Event.model_validate_json(event.line())))

    def looks(self, looks: Callable[[], Mapping[str, Look]]) -> None:
        """The networks are to be looked at."""
        self._see(lambda view: read_off(view, looks()))

    def end(self, outcome: Json | None) -> None:
        """The run is over; None where it has left no record."""
        same = {**self._standing.same, "live": False, "outcome": outcome}
        self._post(same, self._standing.view)

    def latest(self) -> Standing:
        return self._standing

    def _see(self, seen: Callable[[View], View]) -> None:
        standing = self._standing
        if standing.view is None or standing.same.get("lost"):
            return
        try:
            self._post(standing.same, seen(standing.view))
        except Exception as error:  # whatever it is, it must not reach the run
            self._post({**standing.same, "lost": f"{type(error).__name__}: {error}"}, standing.view)

    def _post(self, same: Json, view: View | None) -> None:
        with self._lock:
            self._standing = Standing(self._standing.version + 1, same, view)
            waiting = list(self._waiting)
        for loop, event in waiting:
            with suppress(RuntimeError):  # its server has ended
                loop.call_soon_threadsafe(event.set)

    async def wait(self, version: int, within_s: float) -> Standing:
        """The latest as soon as it is another than `version`; after `within_s` in any case."""
        news = asyncio.Event()
        mine = (asyncio.get_running_loop(), news)
        with self._lock:
            self._waiting.add(mine)
            is_known = self._standing.version == version
        try:
            if is_known:
                async with asyncio.timeout(within_s):
                    await news.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(mine)
        return self._standing
