"""A service of the scenario to a Redis on its host, and to what is written to it all the time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from typing import Protocol

from shadowsim.errors import ShadowsimError
from shadowsim.model.services import Service
from shadowsim.network.emulated.resp import RedisClient, RedisSaid, encode

PORT = 6379
TICK_S = 0.05  # writes are sent together at most this often
RETRY_S, REVIVE_S = 0.1, 1.0
MOST_LATE_S = 1.0  # writes that are later than this are left out
KEYS = 1000
REMEMBERED = 10_000  # ticks
HEARTBEAT = "shadowsim:heartbeat"
BROKEN = (OSError, ValueError, RedisSaid, ShadowsimError)


class Place(Protocol):
    """A host of one network, as the agent there reaches into it.

    Called from several threads. All raise OSError or a ShadowsimError where that fails.
    """

    def start(self, port: int, source_port: int | None) -> None:
        """Start a Redis on its 127.0.0.1, a replica of `source_port` there if one is given."""
        ...

    def dial(self, port: int) -> socket.socket:
        """A connection to its 127.0.0.1."""
        ...

    def hear(self, port: int) -> socket.socket:
        """A socket that listens on its 127.0.0.1."""
        ...


class Primary:
    """A Redis and what is written to it, from now on until `close`.

    It is started again after it ended, wherever its place is then. Nothing is kept on disk, so one
    that comes back is empty. Raises what `Place.start` does.
    """

    def __init__(self, service: Service, place: Place, port: int = PORT) -> None:
        self.service = service
        self._place, self._port = place, port
        self._reach = Reach(place, port, None)
        self._news = threading.Condition()
        self._written = 0
        self._ticks: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._end = threading.Event()
        place.start(port, None)
        self._thread = threading.Thread(target=self._run, name="primary", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """How many writes it took in all."""
        with self._news:
            return self._written

    def dial(self) -> socket.socket:
        """A connection to it. Raises what `Place.dial` does."""
        return self._place.dial(self._port)

    def after(self, written: int, wait_s: float = 0.0) -> list[tuple[int, int]]:
        """The ticks behind that many writes, as (writes by then, when in ns), as far as they are
        remembered; waits for one for so long at most.
        """
        with self._news:
            self._news.wait_for(lambda: self._written > written, wait_s)
            return [tick for tick in self._ticks if tick[0] > written]

    def close(self) -> None:
        """End it; a second call does nothing."""
        if not self._end.is_set():
            self._end.set()
            self._thread.join()
            self._reach.end()

    def _run(self) -> None:
        due_s = time.monotonic()
        tick_s = max(TICK_S, 1.0 / self.service.writes_per_s)
        while not self._end.is_set():
            due_s = max(due_s + tick_s, time.monotonic() - MOST_LATE_S)
            self._write(max(1, round(tick_s * self.service.writes_per_s)))
            self._end.wait(max(due_s - time.monotonic(), 0.0))

    def _write(self, count: int) -> None:
        """Write values, and with them when that was and how many there have been."""
        now_ns = time.monotonic_ns()
        after = self._written + count
        stamp = f"{after} {now_ns} "
        value = stamp.ljust(self.service.value_bytes, "x")[: self.service.value_bytes]
        numbers = range(self._written, after)
        commands = [encode("SET", f"shadowsim:{n % KEYS}", value) for n in numbers]
        if self._reach.say([*commands, encode("SET", HEARTBEAT, stamp)]) is not None:
            with self._news:
                self._written = after
                self._ticks.append((after, now_ns))
                self._news.notify_all()


class Reach:
    """One Redis, wherever it is: connected to again, and started again, where that is needed."""

    def __init__(self, place: Place, port: int, source_port: int | None) -> None:
        self._place = place
        self._port = port
        self._source_port = source_port
        self._client: RedisClient | None = None
        self._retry_at_s = 0.0
        self._revive_at_s = 0.0

    def say(self, commands: list[bytes]) -> list[object] | None:
        """The replies; None where it does not answer."""
        if self._client is None and time.monotonic() < self._retry_at_s:
            return None
        try:
            if self._client is None:
                self._client = RedisClient(self._place.dial(self._port))
            return list(self._client.pipeline(commands))
        except BROKEN:
            self._let_go()
            self._revive()
            self._retry_at_s = time.monotonic() + RETRY_S
            return None

    def end(self) -> None:
        """Tell it to end, without waiting for it to have done so."""
        with contextlib.suppress(*BROKEN):
            client = self._client or RedisClient(self._place.dial(self._port))
            self._client = client
            client.call("SHUTDOWN", "NOSAVE")  # answers nothing: the connection ends
        self._let_go()

    def _let_go(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def _revive(self) -> None:
        """Start it again, if nothing listens there any more; not all the time."""
        if time.monotonic() < self._revive_at_s:
            return
        self._revive_at_s = time.monotonic() + REVIVE_S
        with contextlib.suppress(*BROKEN):
            try:
                self._place.dial(self._port).close()
            except BROKEN:
                self._place.start(self._port, self._source_port)
