"""A service of the scenario to a Redis in production, its replica in the shadow, and their lag."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from shadowsim.errors import ShadowsimError
from shadowsim.model.services import Service, ServiceStatus
from shadowsim.network.emulated.relay import Relay
from shadowsim.network.emulated.resp import RedisClient, RedisSaid, encode

PRIMARY_PORT, REPLICA_PORT, RELAY_PORT = 6379, 6380, 6381
TICK_S = 0.05  # writes are sent together at most this often
LOOK_S = 0.005  # how often the replica is asked while it lacks something
RETRY_S, REVIVE_S = 0.1, 1.0
MOST_LATE_S = 1.0  # writes that are later than this are left out
KEYS = 1000
REMEMBERED = 10_000  # lags, and ticks that the replica lacks
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


@dataclass(frozen=True, slots=True)
class Ports:
    """`relay` is where the replica finds its primary; both are in the shadow's host."""

    primary: int = PRIMARY_PORT
    replica: int = REPLICA_PORT
    relay: int = RELAY_PORT


class ReplicatedService:
    """A primary, its replica, what is written, and how far the replica is; closed by `close`.

    Either process is started again after it ended. Nothing is kept on disk, so a primary that
    comes back is empty, and its replica becomes so too.
    """

    def __init__(
        self, service: Service, production: Place, shadow: Place, ports: Ports | None = None
    ) -> None:
        ports = ports or Ports()
        self._service = service
        self._primary = _Reach(production, ports.primary, None)
        self._replica = _Reach(shadow, ports.replica, ports.relay)
        self._lock = threading.Lock()
        self._status = ServiceStatus(service.host, service.kind, 0, 0, float("nan"), False)
        self._sent: list[tuple[int, int]] = []  # (writes so far, ns) that the replica may lack
        self._written = 0
        self._lags_s: deque[float] = deque(maxlen=REMEMBERED)
        production.start(ports.primary, None)
        with contextlib.ExitStack() as undo:
            undo.callback(self._primary.end)
            listening = shadow.hear(ports.relay)
            self._relay = Relay(listening, lambda: production.dial(ports.primary))
            undo.callback(self._relay.close)
            shadow.start(ports.replica, ports.relay)
            undo.pop_all()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self._thread.start()

    @property
    def relay(self) -> Relay:
        """What went either way is counted here."""
        return self._relay

    def status(self) -> ServiceStatus:
        """As of a moment ago."""
        with self._lock:
            return self._status

    def lags_s(self) -> tuple[float, ...]:
        """How long writes took to be seen in the replica, one of each tick that was seen."""
        with self._lock:
            return tuple(self._lags_s)

    def close(self) -> None:
        """End both processes and all connections; a second call does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        self._replica.end()
        self._primary.end()
        self._relay.close()

    def _run(self) -> None:
        began_s = time.monotonic()
        tick_s = max(TICK_S, 1.0 / self._service.writes_per_s)
        due_s = began_s
        while not self._end.is_set():
            due_s = max(due_s + tick_s, time.monotonic() - MOST_LATE_S)
            self._write(max(1, round(tick_s * self._service.writes_per_s)))
            self._look()
            while not self._end.is_set() and (left_s := due_s - time.monotonic()) > 0:
                self._end.wait(min(left_s, LOOK_S if self._sent else TICK_S))
                if self._sent:
                    self._look()

    def _write(self, count: int) -> None:
        """Write values, and with them when that was and how many there have been."""
        now_ns = time.monotonic_ns()
        after = self._written + count
        stamp = f"{after} {now_ns} "
        value = stamp.ljust(self._service.value_bytes, "x")[: self._service.value_bytes]
        numbers = range(self._written, after)
        commands = [encode("SET", f"shadowsim:{n % KEYS}", value) for n in numbers]
        said = self._primary.say([*commands, encode("SET", HEARTBEAT, stamp)])
        if said is not None:
            self._written = after
            self._sent.append((after, now_ns))
            if len(self._sent) > REMEMBERED:  # the oldest one tells the lag
                del self._sent[1::2]

    def _look(self) -> None:
        """Ask the replica for the newest heartbeat, and whether it follows."""
        said = self._replica.say([encode("GET", HEARTBEAT), encode("INFO", "replication")])
        now_ns = time.monotonic_ns()
        beat, info = said if said is not None else (None, b"")
        replicated, sent_ns = _read_beat(beat)
        with self._lock:
            if replicated > self._status.replicated and sent_ns:
                self._lags_s.append((now_ns - sent_ns) / 1e9)
            else:
                replicated = self._status.replicated
            self._sent = [one for one in self._sent if one[0] > replicated]
            newest_s = self._lags_s[-1] if self._lags_s else float("nan")
            lag_s = (now_ns - self._sent[0][1]) / 1e9 if self._sent else newest_s
            self._status = ServiceStatus(
                self._service.host,
                self._service.kind,
                self._written,
                replicated,
                lag_s,
                isinstance(info, bytes) and b"master_link_status:up" in info,
            )


class _Reach:
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


def _read_beat(said: object) -> tuple[int, int]:
    """How many writes there had been, and when (ns); zeros where it says nothing of the kind."""
    words = said.split() if isinstance(said, bytes) else []
    if len(words) == 2 and all(word.isdigit() and len(word) < 20 for word in words):
        return int(words[0]), int(words[1])
    return 0, 0
