"""A question of a run to the answer that a person gives at the desk."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from shadowsim.errors import BadInput
from shadowsim.precog import Forecast

LOOK_S = 0.05  # between two looks whether there is an answer


class NotAsked(BadInput):
    """That question is not open."""


class Questions:
    """Asked and answered in the thread that owns the networks, so neither needs a lock.

    `attend(seconds)` answers what is asked at the desk; answers arrive in it. Numbers count from 1.
    An answer to another question than the open one is refused: what a person has read is what they
    answer.
    """

    def __init__(self, attend: Callable[[float], None], within_s: float) -> None:
        self._attend = attend
        self._within_s = within_s
        self._number = 0
        self._open = False
        self._answer: bool | None = None

    def approve(self, question: str, forecast: Forecast) -> bool | None:
        """Wait for the answer; None if there is none within the time."""
        self._number, self._open, self._answer = self._number + 1, True, None
        end_s = monotonic() + self._within_s
        try:
            while self._open and monotonic() < end_s:
                self._attend(LOOK_S)
        finally:
            self._open = False
        return self._answer

    @property
    def number(self) -> int | None:
        """Of the question that is open."""
        return self._number if self._open else None

    def answer(self, number: int, approve: bool) -> None:
        """Raises NotAsked unless that question is open."""
        if number != self.number:
            raise NotAsked(f"question {number} is not open (any more)")
        self._open, self._answer = False, approve
