"""Processes that run one at a time, in simulated time, and may be killed or stopped at any pause.

Each is a thread that holds a baton while it runs; at a pause the baton goes to whoever is next.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from torture.simulated_disk import Crash

MOST_S = 10_000.0  # of simulated time; whoever runs longer hangs


class Process:
    """One of them. `inbox`: what was sent to it; b"" says that nobody can send any more."""

    def __init__(self, name: str, body: Callable[[Process], object]) -> None:
        self.name, self._body = name, body
        self.inbox: list[bytes] = []
        self.waiting = self.killed = self.ended = False
        self.token = 0
        self.error: BaseException | None = None
        self.at_end: list[Callable[[], None]] = []
        self.baton = threading.Lock()
        self.baton.acquire()

    def run(self) -> None:
        try:
            if not self.killed:
                self._body(self)
        except BaseException as error:
            self.error = error


class Machine:
    """The processes and the time they share."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.processes: list[Process] = []
        self._order = itertools.count()
        self._due: list[tuple[float, int, Process, int]] = []
        self._over = threading.Lock()
        self._over.acquire()

    def start(self, name: str, body: Callable[[Process], object], in_s: float = 0.0) -> Process:
        process = Process(name, body)
        self.processes.append(process)
        self._wake(process, in_s)

        def run() -> None:
            process.baton.acquire()
            process.token += 1
            process.run()
            process.ended = True
            for call in process.at_end:
                call()
            self._hand_on()

        threading.Thread(target=run, daemon=True).start()
        return process

    def run(self) -> None:
        """Let all of them run until they have ended."""
        self._hand_on()
        self._over.acquire()

    def pause(self, process: Process, for_s: float) -> None:
        """Let time pass for it. Raises Crash once it was killed."""
        if process.killed:
            raise Crash
        self._wake(process, for_s)
        self._yield(process)

    def receive(self, process: Process, for_s: float | None) -> bytes | None:
        """What was sent to it; None when that much time has passed."""
        if process.killed:
            raise Crash
        if not process.inbox:
            if for_s is not None:
                self._wake(process, for_s)
            process.waiting = True
            self._yield(process)
            process.waiting = False
        if not process.inbox:
            return None
        gone = b"" in process.inbox
        data = b"".join(process.inbox)
        process.inbox[:] = [b""] if gone and data else []
        return data

    def send(self, process: Process, data: bytes) -> None:
        process.inbox.append(data)
        if process.waiting:
            self._wake(process, 0.0)

    def kill(self, process: Process) -> None:
        """It does nothing any more, whatever it was about to do."""
        if not process.ended and not process.killed:
            process.killed = True
            self._wake(process, 0.0)

    def _wake(self, process: Process, in_s: float) -> None:
        due = (self.now_s + in_s, next(self._order), process, process.token)
        heapq.heappush(self._due, due)

    def _yield(self, process: Process) -> None:
        following = self._next()
        if following is not process:
            if following is None:
                self._over.release()
            else:
                following.baton.release()
            process.baton.acquire()
        process.token += 1
        if process.killed:
            raise Crash
        if self.now_s > MOST_S:
            raise TimeoutError(f"{process.name} is not done after {MOST_S:g} s")

    def _hand_on(self) -> None:
        following = self._next()
        (self._over if following is None else following.baton).release()

    def _next(self) -> Process | None:
        while self._due:
            due_s, _, process, token = heapq.heappop(self._due)
            if token == process.token and not process.ended:
                self.now_s = max(self.now_s, due_s)
                return process
        return None
