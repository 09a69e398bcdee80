"""Questions of many threads to answers of the one thread that owns the networks."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from shadowsim.api.questions import Questions
from shadowsim.errors import ShadowsimError
from shadowsim.interruptions import listening, uninterrupted
from shadowsim.mirror.testtraffic import TestTraffic
from shadowsim.model.traffic import Demand
from shadowsim.network import Network

T = TypeVar("T")
ANSWERED_WITHIN_S = 10.0
MOST_WAITING = 100


class NoAnswer(ShadowsimError):
    """Whoever owns the networks does not answer: busy, hanging, or gone."""


@dataclass(frozen=True)
class Room:
    """What a question may be about. Only the thread that owns the networks touches it."""

    scenario: str
    network: str
    demands: tuple[Demand, ...]
    production: Network
    shadow: Network
    tests: TestTraffic
    questions: Questions | None = None  # of a run that asks here


class Desk:
    """`ask` from any thread; `attend` from the one that owns the networks. `store` and `runs`:
    where the outcomes and the folders of runs are kept, for whoever asks what became of them.
    """

    def __init__(self, store: Path | None = None, runs: Path | None = None) -> None:
        self.store = store
        self.runs = runs
        self._asked: queue.Queue[tuple[Callable[[Room], Any], Future[Any]]] = queue.Queue(
            MOST_WAITING
        )
        self._closed = False

    def ask(self, work: Callable[[Room], T], within_s: float = ANSWERED_WITHIN_S) -> T:
        """What `work` returns, or what it raises. Raises NoAnswer if it was never begun.

        What was given up is never done later.
        """
        answer: Future[T] = Future()
        if self._closed:
            raise NoAnswer("the session is ending")
        try:
            self._asked.put_nowait((work, answer))
        except queue.Full:
            raise NoAnswer(f"{MOST_WAITING} questions are waiting already") from None
        try:
            return answer.result(within_s)
        except CancelledError:
            raise NoAnswer("the session has ended") from None
        except TimeoutError:
            if answer.cancel():
                raise NoAnswer(f"the session did not answer within {within_s:g} s") from None
            return self._begun(answer, within_s)

    @staticmethod
    def _begun(answer: Future[T], within_s: float) -> T:
        """Work that has been begun is not given up as quickly."""
        try:
            return answer.result(within_s)
        except TimeoutError:
            raise NoAnswer("the session is at work on it, and does not answer") from None

    def attend(self, room: Room | None, seconds: float = 0.0) -> None:
        """Answer what is asked now and within the next seconds; None while nothing runs.

        Requests to end are heard while it waits, and not while it answers.
        """
        end_s = monotonic() + seconds
        while True:
            try:
                left_s = end_s - monotonic()
                with listening():
                    asked = self._asked.get(timeout=max(left_s, 0.0) or None, block=left_s > 0)
            except queue.Empty:
                return
            work, answer = asked
            with uninterrupted():
                if answer.set_running_or_notify_cancel():
                    _answer(work, answer, room)

    def close(self) -> None:
        """Answer nobody any more, and tell those who wait."""
        self._closed = True
        while True:
            try:
                _, answer = self._asked.get_nowait()
            except queue.Empty:
                return
            answer.cancel()


def _answer(work: Callable[[Room], Any], answer: Future[Any], room: Room | None) -> None:
    try:
        if room is None:
            raise NoAnswer("nothing runs at present")
        answer.set_result(work(room))
    except Exception as error:  # it is the asker's, and must not end the session
        answer.set_exception(error)
