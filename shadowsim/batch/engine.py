"""What a piece of work and its answer are, and what every engine promises."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from shadowsim.errors import ShadowsimError

Piece = TypeVar("Piece")
Result = TypeVar("Result")
PieceGiven = TypeVar("PieceGiven")
ResultGiven = TypeVar("ResultGiven")


class Died(ShadowsimError):
    """Whoever worked on a piece has died of it, or with it."""


@dataclass(frozen=True)
class Answer(Generic[Piece, Result]):
    """What came of one piece: what the work returned, or the exception that it ended with."""

    piece: Piece
    result: Result | None = None
    error: Exception | None = None

    def get(self) -> Result:
        """What the work returned; raises what it raised, or Died."""
        if self.error is not None:
            raise self.error
        return cast("Result", self.result)


def worked(work: Callable[[Piece], Result], piece: Piece) -> Answer[Piece, Result]:
    """The answer of one piece, from whoever works on it."""
    try:
        return Answer(piece, work(piece))
    except Exception as error:
        return Answer(piece, error=error)


Answers = Generator[Answer[Piece, Result], None, None]


class Engine(Protocol):
    """Works on pieces side by side."""

    def answers(
        self, work: Callable[[PieceGiven], ResultGiven], pieces: Sequence[PieceGiven]
    ) -> Answers[PieceGiven, ResultGiven]:
        """Have every piece worked on, and give the answer of each once, in whatever order.

        `work`, the pieces and the answers are pickled where they go to another process. One piece
        that fails leaves the others alone. Close the generator if it is not read to its end: then
        nobody works on anything any more.
        """
        ...
