"""A primary in production to its replica in the shadow, and how far that is behind."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque

from shadowsim.model.services import ServiceStatus
from shadowsim.network.emulated.primary import HEARTBEAT, REMEMBERED, TICK_S, Place, Primary, Reach
from shadowsim.network.emulated.relay import Relay
from shadowsim.network.emulated.resp import encode

REPLICA_PORT, RELAY_PORT = 6380, 6381
LOOK_S = 0.005  # how often the replica is asked while it lacks something


class ReplicatedService:
    """A replica of what is written to a primary; closed by `close`, which leaves the primary.

    The replica is started again after it ended. What was written before this began counts as
    written now. `port` is the replica's and `relay_port` where it finds its primary, both in
    `place`, a host of the shadow.
    """

    def __init__(
        self,
        primary: Primary,
        place: Place,
        *,
        port: int = REPLICA_PORT,
        relay_port: int = RELAY_PORT,
    ) -> None:
        self._primary = primary
        self._replica = Reach(place, port, relay_port)
        self._lock = threading.Lock()
        self._began_ns = time.monotonic_ns()
        self._known = primary.written
        self._sent: list[tuple[int, int]] = []  # (writes so far, ns) that the replica may lack
        if self._known:
            self._sent.append((self._known, self._began_ns))
        self._lags_s: deque[float] = deque(maxlen=REMEMBERED)
        service = primary.service
        nan = float("nan")
        self._status = ServiceStatus(service.host, service.kind, self._known, 0, nan, False)
        with contextlib.ExitStack() as undo:
            self._relay = Relay(place.hear(relay_port), primary.dial)
            undo.callback(self._relay.close)
            place.start(port, relay_port)
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
        """End the replica and all connections; a second call does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        self._replica.end()
        self._relay.close()

    def _run(self) -> None:
        while not self._end.is_set():
            fresh = self._primary.after(self._known, LOOK_S if self._sent else TICK_S)
            if fresh:
                self._known = fresh[-1][0]
                self._sent += fresh
                if len(self._sent) > REMEMBERED:  # the oldest one tells the lag
                    del self._sent[1::2]
            self._look()

    def _look(self) -> None:
        """Ask the replica for the newest heartbeat, and whether it follows."""
        said = self._replica.say([encode("GET", HEARTBEAT), encode("INFO", "replication")])
        now_ns = time.monotonic_ns()
        beat, info = said if said is not None else (None, b"")
        replicated, sent_ns = _read_beat(beat)
        with self._lock:
            if replicated > self._status.replicated and sent_ns:
                self._lags_s.append((now_ns - max(sent_ns, self._began_ns)) / 1e9)
            else:
                replicated = self._status.replicated
            self._sent = [one for one in self._sent if one[0] > replicated]
            newest_s = self._lags_s[-1] if self._lags_s else float("nan")
            lag_s = (now_ns - self._sent[0][1]) / 1e9 if self._sent else newest_s
            self._status = ServiceStatus(
                self._primary.service.host,
                self._primary.service.kind,
                self._known,
                replicated,
                lag_s,
                isinstance(info, bytes) and b"master_link_status:up" in info,
            )


def _read_beat(said: object) -> tuple[int, int]:
    """How many writes there had been, and when (ns); zeros where it says nothing of the kind."""
    words = said.split() if isinstance(said, bytes) else []
    if len(words) == 2 and all(word.isdigit() and len(word) < 20 for word in words):
        return int(words[0]), int(words[1])
    return 0, 0
