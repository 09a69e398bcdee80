"""Pieces of work to several processes of this machine, each with one piece at a time."""

from __future__ import annotations

import gc
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from shadowsim.batch.engine import Answer, Answers, Died, Piece, Result, worked


@dataclass(frozen=True)
class Local:
    """The engine of one machine: so many processes, or this one itself where it is one.

    All of them are gone when the answers end, however they do, and none outlives this process.
    One that dies is replaced.
    """

    jobs: int

    def answers(
        self, work: Callable[[Piece], Result], pieces: Sequence[Piece]
    ) -> Answers[Piece, Result]:
        """See Engine."""
        if self.jobs == 1:
            for piece in pieces:
                yield worked(work, piece)
            return
        left = deque(pieces)
        with _crew(work) as crew:
            busy = {crew.start(): left.popleft() for _ in range(min(self.jobs, len(left)))}
            for connection, piece in busy.items():
                crew.ask(connection, piece)
            while busy:
                ready = wait(list(busy))
                for connection in [one for one in busy if one in ready]:
                    answer = crew.answer(connection, busy.pop(connection))
                    yield answer
                    if left:
                        free = crew.start() if isinstance(answer.error, Died) else connection
                        busy[free] = left.popleft()
                        crew.ask(free, busy[free])


@dataclass
class _Crew:
    """The processes that work, by our ends of the pipes to them."""

    work: Callable[[Any], Any]
    processes: dict[Connection, SpawnProcess] = field(default_factory=dict)

    def start(self) -> Connection:
        # A forked process would inherit the locks of threads that it does not have.
        context = get_context("spawn")
        # Python starts this one with the first process, and lets itself be interrupted after that.
        resource_tracker.ensure_running()
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
        # Who interrupts the terminal's whole group means the parent: it ends its workers.
        with _uninterrupted():
            process.start()
        theirs.close()
        self.processes[ours] = process
        return ours

    def ask(self, connection: Connection, piece: Any) -> None:
        """Hand over a piece of work; that a worker has died is what its `answer` says."""
        with suppress(ConnectionError):
            connection.send(piece)

    def answer(self, connection: Connection, piece: Piece) -> Answer[Piece, Any]:
        """What a worker has to say of its piece, if it can."""
        try:
            found: Any = connection.recv()
            return Answer(piece, found.result, found.error)
        except (EOFError, ConnectionError):
            died = self.processes[connection]
            died.join()
            return Answer(piece, error=Died(f"a worker died (exit code {died.exitcode})"))

    def end(self) -> None:
        for connection, process in self.processes.items():
            process.terminate()
            process.join()
            connection.close()


@contextmanager
def _crew(work: Callable[[Any], Any]) -> Iterator[_Crew]:
    crew = _Crew(work)
    try:
        yield crew
    finally:
        crew.end()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that is started meanwhile inherits that it is not interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Work on one piece after the other, until the other end is gone."""
    with suppress(EOFError, ConnectionError):
        connection.send(worked(work, connection.recv()))
        gc.freeze()  # what is loaded by now stays, and need not be looked through again and again
        while True:
            connection.send(worked(work, connection.recv()))
