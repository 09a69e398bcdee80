"""Pieces of work to several processes, each with one piece at a time."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from shadowsim.errors import ShadowsimError

Work = Callable[[int], None]
Workers = dict[Connection, SpawnProcess]


def spread(work: Work, pieces: Sequence[int], jobs: int) -> Iterator[int]:
    """Have every piece worked on, and say of each when it is done, in whatever order.

    `work` is pickled. What it raises is raised here; a worker that dies raises ShadowsimError. All
    workers are gone when this ends, however it does, and none outlives this process.
    """
    if jobs == 1:
        for piece in pieces:
            work(piece)
            yield piece
        return
    left = deque(pieces)
    with _workers(work, min(jobs, len(pieces))) as workers:
        busy = {connection: left.popleft() for connection in workers}
        for connection, piece in busy.items():
            connection.send(piece)
        while busy:
            ready = wait(list(busy))
            for connection in [one for one in busy if one in ready]:
                yield _finished(connection, busy.pop(connection), workers)
                if left:
                    busy[connection] = left.popleft()
                    connection.send(busy[connection])


def _finished(connection: Connection, piece: int, workers: Workers) -> int:
    try:
        error = connection.recv()
    except (EOFError, ConnectionError):
        died = workers[connection]
        died.join()
        raise ShadowsimError(
            f"a worker died (exit code {died.exitcode}); what is finished is kept, and the same "
            "command goes on from there"
        ) from None
    if error is not None:
        raise error
    return piece


@contextmanager
def _workers(work: Work, number: int) -> Iterator[Workers]:
    # A forked process would inherit the locks of threads that it does not have.
    context = get_context("spawn")
    workers: Workers = {}
    try:
        for _ in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            # Who interrupts the terminal's whole group means the parent: it ends its workers.
            with _uninterrupted():
                process.start()
            theirs.close()
            workers[ours] = process
        yield workers
    finally:
        for connection, process in workers.items():
            process.terminate()
            process.join()
            connection.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that is started meanwhile inherits that it is not interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, work: Work) -> None:
    """Work on one piece after the other, until the other end is gone."""
    with suppress(EOFError, ConnectionError):
        while True:
            piece = connection.recv()
            answer: Exception | None = None
            try:
                work(piece)
            except Exception as error:
                answer = error
            connection.send(answer)
