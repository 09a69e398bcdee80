"""A request to end (Ctrl-C, SIGTERM, SIGHUP) in the middle of something to one just after it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Do a block to its end before a request to end is heard. A second request is heard at once.

    Outside of the main thread, which alone hears them, nothing has to be done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in REQUESTS}

    def hold(number: int, frame: FrameType | None) -> None:
        heard = before[signal.Signals(number)]
        if held and callable(heard):
            heard(number, frame)
        held.append((number, frame))

    mine = [number for number in REQUESTS if callable(before[number])]
    for number in mine:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
        if len(held) == 1:
            _deliver(before[signal.Signals(held[0][0])], *held[0])


def _deliver(heard: object, number: int, frame: FrameType | None) -> None:
    if callable(heard):
        heard(number, frame)
