"""A request to end (Ctrl-C, SIGTERM, SIGHUP) in the middle of something to one just after it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_S = 1.0  # who asks again within it asks the same: `timeout`, say, sends its signal twice


@contextmanager
def uninterrupted(clock: Callable[[], float] = monotonic) -> Iterator[None]:
    """Do a block to its end, or to where it listens, before a request to end is heard.

    Another request, more than `SAME_S` after a first one that still waits, is heard at once; within
    that time it is the same. What waits is heard even where an exception leaves the block, which is
    its context then. A block within a block is a part of it. Outside of the main thread, which
    alone hears requests, nothing has to be done.
    """
    doorman = _doorman()
    if doorman is not None:
        with doorman.set(open_=False):
            yield
        return
    before = {number: signal.getsignal(number) for number in REQUESTS}
    callable_ = {number: heard for number, heard in before.items() if callable(heard)}
    if threading.current_thread() is not threading.main_thread() or not callable_:
        yield
        return
    doorman = _Doorman(callable_, clock)
    try:
        for number in callable_:
            signal.signal(number, doorman)
        yield
    finally:
        doorman.leave()
        for number, heard in callable_.items():
            signal.signal(number, heard)
        doorman.admit()


@contextmanager
def listening() -> Iterator[None]:
    """Within an uninterrupted block: hear what has waited, and what comes meanwhile, at once."""
    doorman = _doorman()
    if doorman is None:
        yield
        return
    with doorman.set(open_=True):
        yield


def listen() -> None:
    """Within an uninterrupted block: hear what has waited, now."""
    with listening():
        pass


def _doorman() -> _Doorman | None:
    """Who holds requests back at the moment; None for threads to which none are made."""
    if threading.current_thread() is not threading.main_thread():
        return None
    handlers = map(signal.getsignal, REQUESTS)
    doormen = (handler for handler in handlers if isinstance(handler, _Doorman))
    return next((doorman for doorman in doormen if not doorman.left), None)


class _Doorman:
    """Stands where `heard` did, and passes requests on to them when it is open.

    Once it has left it passes everything on: it may stand there a little longer, for a request
    may come between two handlers that are put back, and then its exception leaves the others.
    """

    def __init__(
        self, heard: Mapping[signal.Signals, Callable[..., Any]], clock: Callable[[], float]
    ) -> None:
        self._heard, self._clock = heard, clock
        self.left = False
        self._open = False
        self._asked_s = float("-inf")
        self._waiting: tuple[int, FrameType | None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now_s = self._clock()
        if now_s < self._asked_s + SAME_S and not self.left:
            return
        pressing = self._waiting is not None
        self._asked_s, self._waiting = now_s, (number, frame)
        if self._open or pressing or self.left:
            self.admit()

    def leave(self) -> None:
        self.left = True

    def admit(self) -> None:
        """Pass on what waits. What it interrupts may have to be put in order: closed again."""
        if self._waiting is not None:
            self._open = False
            (number, frame), self._waiting = self._waiting, None
            self._heard[signal.Signals(number)](number, frame)

    @contextmanager
    def set(self, *, open_: bool) -> Iterator[None]:
        before, self._open = self._open, open_
        try:
            if open_:
                self.admit()
            yield
        finally:
            self._open = before
            if before:
                self.admit()
