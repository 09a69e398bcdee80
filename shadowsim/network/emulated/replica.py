"""The configs in production's OVSDB to the same configs in the shadow's, as they change.

A thread of its own with connections of its own, because the main thread computes for seconds.
Production's database is only read.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shadowsim.network.emulated.ovsdb import RETRY_S, Database, Ids, StoreGone
from shadowsim.network.emulated.store import OWN, REPLICA, bridge_name, intact, number_in, put

COPIED = ("config", "digest", "epoch")
PATIENCE_S = 2.0  # for one transaction; what is not answered by then is tried again
REMEMBERED = 100_000  # lags

Copy = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from the write in production to the commit in the shadow; nan where none is known."""

    median_s: float
    p95_s: float
    max_s: float
    count: int


def wanted(production: Ids) -> Copy:
    """What the shadow's record of a device should say, given production's; None: nothing."""
    return {f"{REPLICA}-{key}": production.get(f"{OWN}-{key}") for key in COPIED}


def to_copy(production: Mapping[str, Ids], shadow: Mapping[str, Ids]) -> dict[str, Copy]:
    """Bridge to what has to be written there, for bridges both networks have and that differ."""
    found = {}
    for bridge in sorted(production.keys() & shadow.keys()):
        want = wanted(production[bridge])
        if any(shadow[bridge].get(key) != text for key, text in want.items()):
            found[bridge] = want
    return found


class Replica:
    """Keeps the shadow's record of production's configs equal to production's own.

    Begins at once. Survives the end and the return of either database: then all is compared.
    """

    def __init__(self, production: Path, shadow: Path, devices: Sequence[str]) -> None:
        self._source = Database(production)
        self._target = Database(shadow)
        self._device = {bridge_name(i): device for i, device in enumerate(devices)}
        self._lock = threading.Condition()
        self._lags_ns: deque[int] = deque(maxlen=REMEMBERED)
        self._counted: dict[str, tuple[int, int]] = {}
        self._epochs: dict[str, int] = {}
        self._seen: dict[str, Ids] = {}
        self._written_ns: dict[str, int] = {}
        self._drifted: tuple[str, ...] = ()
        self._in_step = False
        self._failure: BaseException | None = None
        self._began_ns = time.monotonic_ns()
        self._since_ns: dict[str, int] = {}
        self._end = threading.Event()
        self._wake, self._bell = os.pipe()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)
        self._thread.start()

    def lag(self) -> Lag:
        """Of every update so far; of one older than this replication, or than the bridge in the
        shadow, since these began.
        """
        with self._lock:
            lags_s = np.array(self._lags_ns, dtype=np.float64) / 1e9
        if not len(lags_s):
            return Lag(float("nan"), float("nan"), float("nan"), 0)
        median_s, p95_s, max_s = np.percentile(lags_s, [50, 95, 100])
        return Lag(float(median_s), float(p95_s), float(max_s), len(lags_s))

    def lags_s(self) -> tuple[float, ...]:
        """Every lag that was measured, oldest first."""
        with self._lock:
            return tuple(lag / 1e9 for lag in self._lags_ns)

    def ages_s(self) -> dict[str, float]:
        """How long ago each device's config in production was written that was since this began."""
        now_ns = time.monotonic_ns()
        with self._lock:
            return {device: (now_ns - at_ns) / 1e9 for device, at_ns in self._written_ns.items()}

    def drifted(self) -> tuple[str, ...]:
        """Devices of production whose stored text somebody altered: its digest does not fit."""
        with self._lock:
            return self._drifted

    def in_step(self) -> bool:
        """Whether both databases answer and the shadow has all that is known of production."""
        with self._lock:
            return self._in_step

    def caught_up(self, epoch: int, timeout_s: float) -> bool:
        """Wait until the shadow has a config of at least that epoch of some device, and all else.

        False if that takes longer. Raises what ended the replication, should something have.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._failure or self._has(epoch), timeout_s)
            if self._failure is not None:
                raise self._failure
            return self._has(epoch)

    def close(self) -> None:
        """End the replication; a second call does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        os.write(self._bell, b".")
        self._thread.join()
        os.close(self._wake)
        os.close(self._bell)

    def _has(self, epoch: int) -> bool:
        return self._in_step and max(self._epochs.values(), default=0) >= epoch

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                self._step()
                self._sleep()
        except BaseException as error:  # told to whoever asks; there is nobody here
            with self._lock:
                self._failure, self._in_step = error, False
                self._lock.notify_all()
        finally:
            self._source.close()
            self._target.close()

    def _sleep(self) -> None:
        """Until a database says something; while not in step, until it is time to try again."""
        said = select.poll()  # unlike `select` it takes files of any number
        for fd in (self._wake, self._source.fileno(), self._target.fileno()):
            if fd >= 0:
                said.register(fd, select.POLLIN)
        said.poll(None if self._in_step else 1000.0 * RETRY_S)

    def _step(self) -> None:
        self._source.poll()
        self._target.poll()
        self._note_writes()
        ready = self._source.ready and self._target.ready
        copied = not ready or self._copy()
        self._tell(in_step=ready and copied)

    def _sources(self) -> dict[str, Ids]:
        """What is known of each device's record in production."""
        return {device: self._source.bridges.get(b, {}) for b, device in self._device.items()}

    def _note_writes(self) -> None:
        """When a config came that is another one now; if its writer does not say, now.

        This comes before it is copied: who reads the copy can ask how old it is.
        """
        now_ns, key = time.monotonic_ns(), f"{OWN}-config"
        for device, own in self._sources().items():
            before = self._seen.get(device)
            if before is not None and own.get(key) != before.get(key):
                told_ns = number_in(own, f"{OWN}-written-ns")
                fresh = told_ns != number_in(before, f"{OWN}-written-ns") and 0 < told_ns <= now_ns
                with self._lock:
                    self._written_ns[device] = told_ns if fresh else now_ns
            if own:
                self._seen[device] = dict(own)

    def _copy(self) -> bool:
        """Write what differs; whether that went well."""
        production = {b: ids for b, ids in self._source.bridges.items() if b in self._device}
        differing = to_copy(production, self._target.bridges)
        try:
            if differing:
                self._commit(differing)
            lags = self._count(production)
            if lags:
                self._commit({b: {f"{REPLICA}-lag-ns": str(lag)} for b, lag in lags.items()})
        except StoreGone:
            return False
        return True

    def _commit(self, values: Mapping[str, Copy]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        self._target.transact([put(bridge, ids) for bridge, ids in values.items()], deadline_s)

    def _count(self, production: Mapping[str, Ids]) -> dict[str, int]:
        """The lags of the updates that have just been committed; each update counts once."""
        now_ns = time.monotonic_ns()
        here = self._target.bridges
        self._since_ns = {b: self._since_ns.get(b, self._first_ns(now_ns)) for b in here}
        found = {}
        for bridge, ids in production.items():
            written_ns = number_in(ids, f"{OWN}-written-ns")
            update = (number_in(ids, f"{OWN}-epoch"), written_ns)
            if bridge not in here or self._counted.get(bridge) == update:
                continue
            self._counted[bridge] = update
            if 0 < written_ns <= now_ns:
                found[bridge] = now_ns - max(written_ns, self._since_ns[bridge])
        with self._lock:
            self._lags_ns.extend(found.values())
        return found

    def _first_ns(self, now_ns: int) -> int:
        """Since when a bridge can be behind: from the beginning, or from when it came later."""
        return now_ns if self._since_ns else self._began_ns

    def _tell(self, in_step: bool) -> None:
        ids = self._sources()
        with self._lock:
            self._in_step = in_step
            self._drifted = tuple(device for device in ids if not intact(ids[device]))
            self._epochs = {d: number_in(own, f"{OWN}-epoch") for d, own in ids.items()}
            self._lock.notify_all()
