"""One unix socket of an ovsdb-server to the `external_ids` of its bridges, as they are right now.

A client of RFC 7047 of our own: the `ovs` package parses JSON in Python (60 times slower than
`json`), waits at least a second before it connects again, and loses a connection when a character
of several bytes falls across two reads.
"""

from __future__ import annotations

import codecs
import json
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shadowsim.errors import Unreachable

RETRY_S = 0.05
CHUNK_BYTES = 1 << 18
LONGEST_MESSAGE = 1 << 26  # characters
DATABASE = "Open_vSwitch"
_MONITOR, _TRANSACT = "monitor", "transact"

Operation = Mapping[str, Any]
Ids = Mapping[str, str]


class StoreGone(Unreachable):
    """A database does not answer, or did not take what it was told."""


class Lost(StoreGone):
    """The connection broke; whether the last transaction was committed is not known."""


class Database:
    """A connection that comes back by itself. Not to be shared between threads.

    `bridges` maps the name of each bridge to its `external_ids`. It is as of the last `poll`,
    `await_ready` or `transact`, and as of the last connection while there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._reason = "not connected yet"
        self._retry_at_s = 0.0
        self._ready = False
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._number = 0
        self._replies: dict[str, dict[str, Any]] = {}
        self._names: dict[str, str] = {}
        self._ids: dict[str, Ids] = {}
        self._changed: dict[str, int] = {}
        self.bridges: Mapping[str, Ids] = MappingProxyType(self._ids)

    @property
    def ready(self) -> bool:
        """Whether it is connected and `bridges` is what the server says."""
        return self._ready

    def fileno(self) -> int:
        """The socket to wait on, -1 while there is none."""
        return self._socket.fileno() if self._socket else -1

    def poll(self) -> None:
        """Take in what has arrived, without waiting; connect again where that is due."""
        if self._socket is None and time.monotonic() >= self._retry_at_s:
            self._connect()
        while self._socket is not None and self._receive(0.0):
            pass

    def changed(self) -> dict[str, int]:
        """Bridges that came, went or changed since last asked, and when (CLOCK_MONOTONIC, ns)."""
        found, self._changed = self._changed, {}
        return found

    def await_ready(self, deadline_s: float) -> None:
        """Return once `ready`. Raises StoreGone if that takes longer than `time.monotonic()`."""
        self.poll()
        while not self._ready:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise StoreGone(f"{self._path}: the database does not answer ({self._reason})")
            if self._socket is None:
                time.sleep(min(left_s, RETRY_S))
                self.poll()
            else:
                self._receive(left_s)

    def transact(self, operations: Sequence[Operation], deadline_s: float) -> list[Any]:
        """Commit all operations or none; their results.

        Raises Lost if the connection breaks or the deadline passes before the answer, StoreGone
        if there is no connection in time or the database refuses.
        """
        self.await_ready(deadline_s)
        self._number += 1
        number = f"{_TRANSACT} {self._number}"
        self._send("transact", [DATABASE, *operations], number, deadline_s)
        while number not in self._replies:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                self._drop("no answer in time")
            if self._socket is None:
                raise Lost(f"{self._path}: the database was lost ({self._reason})")
            self._receive(left_s)
        return self._results(self._replies.pop(number))

    def close(self) -> None:
        """Connect no more; a second call does nothing."""
        self._drop("closed")
        self._retry_at_s = float("inf")

    def _results(self, reply: dict[str, Any]) -> list[Any]:
        results = reply.get("result")
        if not isinstance(results, list):
            raise StoreGone(f"{self._path}: the database refused: {reply.get('error')}")
        for result in results:
            if isinstance(result, dict) and "error" in result:
                what = f"{result['error']} {result.get('details') or ''}".strip()
                raise StoreGone(f"{self._path}: the database refused: {what}")
        return results

    def _connect(self) -> None:
        self._retry_at_s = time.monotonic() + RETRY_S
        fresh = socket.socket(socket.AF_UNIX)
        fresh.setblocking(False)
        try:
            fresh.connect(str(self._path))
        except OSError as error:
            fresh.close()
            self._reason = error.strerror or str(error)
            return
        self._socket = fresh
        self._text = ""
        self._decoder.reset()
        self._replies.clear()
        columns = {"Bridge": {"columns": ["name", "external_ids"]}}
        self._send("monitor", [DATABASE, "bridges", columns], _MONITOR, time.monotonic() + 1.0)

    def _drop(self, reason: str) -> None:
        if self._socket is not None:
            self._socket.close()
            self._reason = reason
        self._socket = None
        self._ready = False

    def _send(self, method: str, params: list[Any], number: str, deadline_s: float) -> None:
        self._write({"method": method, "params": params, "id": number}, deadline_s)

    def _write(self, message: dict[str, Any], deadline_s: float) -> None:
        if self._socket is None:
            return
        try:
            self._socket.settimeout(max(0.001, deadline_s - time.monotonic()))
            self._socket.sendall(json.dumps(message).encode())
        except OSError as error:
            self._drop(error.strerror or str(error))

    def _receive(self, wait_s: float) -> bool:
        """Take in one piece of what has arrived; whether there was any."""
        if self._socket is None:
            return False
        try:
            self._socket.settimeout(wait_s)
            data = self._socket.recv(CHUNK_BYTES)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._text += self._decoder.decode(data)
            self._read_messages()
        except (BlockingIOError, TimeoutError):
            return False
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            self._drop(str(error))
        return True

    def _read_messages(self) -> None:
        decoder = json.JSONDecoder()
        while self._text and self._socket is not None:
            try:
                message, end = decoder.raw_decode(self._text)
            except json.JSONDecodeError:  # the rest has not arrived yet
                if len(self._text) > LONGEST_MESSAGE or self._text[0] != "{":
                    raise
                return
            if not isinstance(message, dict):
                raise ValueError("it does not speak JSON-RPC")
            self._text = self._text[end:].lstrip()
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        method, number = message.get("method"), message.get("id")
        if method == "update":
            self._update(message["params"][1].get("Bridge", {}))
        elif method == "echo":
            reply = {"result": message["params"], "error": None, "id": number}
            self._write(reply, time.monotonic() + 1.0)
        elif number == _MONITOR:
            self._begin(message)
        elif isinstance(number, str) and number.startswith(_TRANSACT):
            self._replies[number] = message

    def _begin(self, message: dict[str, Any]) -> None:
        """The whole content: what was here before and is not any more has gone."""
        if message.get("error"):
            self._drop(f"it refused: {message['error']}")
            return
        rows = message["result"].get("Bridge", {})
        self._ready = True
        self._update({uuid: {} for uuid in self._names if uuid not in rows} | rows)

    def _update(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        now_ns = time.monotonic_ns()
        for uuid, row in rows.items():
            if "new" not in row:
                self._forget(uuid, now_ns)
        for uuid, row in rows.items():
            if "new" in row:
                self._learn(uuid, row["new"], now_ns)

    def _forget(self, uuid: str, now_ns: int) -> None:
        name = self._names.pop(uuid, None)
        if name is not None:
            self._ids.pop(name, None)
            self._changed[name] = now_ns

    def _learn(self, uuid: str, row: Mapping[str, Any], now_ns: int) -> None:
        name, ids = row["name"], dict(row["external_ids"][1])
        if not all(isinstance(word, str) for word in (name, *ids, *ids.values())):
            raise ValueError("it says something else than text where names stand")
        self._names[uuid] = name
        if self._ids.get(name) != ids:
            self._ids[name] = MappingProxyType(ids)
            self._changed[name] = now_ns
