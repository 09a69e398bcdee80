"""Values to bytes of RESP 2, the protocol of Redis, and back; and a client that says them."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import TypeAlias

LONGEST_REPLY = 1 << 24  # bytes
MOST_ITEMS = 1024
DEEPEST = 8

Value: TypeAlias = "bytes | int | RedisSaid | list[Value] | None"


class RedisSaid(Exception):
    """An error that the server answered with."""


def encode(*words: str | bytes | int) -> bytes:
    """One command."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    said = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), said)


def decode(data: bytes, at: int = 0, depth: int = 0) -> tuple[Value, int] | None:
    """The value that begins at `at` and where it ends; None if not all of it is there yet.

    Raises ValueError for what is not RESP.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, rest, end = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"+":
        return rest, end
    if kind == b"-":
        return RedisSaid(rest.decode(errors="replace")), end
    if kind == b":":
        return int(rest), end
    if kind == b"$":
        return _bulk(data, end, int(rest))
    if kind == b"*":
        return _array(data, end, int(rest), depth + 1)
    raise ValueError("this is not RESP")


def _bulk(data: bytes, at: int, length: int) -> tuple[Value, int] | None:
    if length > LONGEST_REPLY:
        raise ValueError("a string is too long")
    if length < 0:
        return None, at
    end = at + length
    return (data[at:end], end + 2) if len(data) >= end + 2 else None


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[Value, int] | None:
    if count > MOST_ITEMS:
        raise ValueError("an array is too long")
    if depth > DEEPEST:
        raise ValueError("arrays are nested too deep")
    items: list[Value] = []
    for _ in range(count):
        found = decode(data, at, depth)
        if found is None:
            return None
        item, at = found
        items.append(item)
    return items, at


class RedisClient:
    """Commands over one connected socket, which it owns."""

    def __init__(self, connection: socket.socket, timeout_s: float = 1.0) -> None:
        self._socket = connection
        self._timeout_s = timeout_s
        self._data = b""

    def call(self, *words: str | bytes | int) -> Value:
        """The reply to one command. Raises RedisSaid for an error, else as `pipeline`."""
        return self.pipeline([encode(*words)])[0]

    def pipeline(self, commands: Sequence[bytes]) -> list[Value]:
        """The replies to several encoded commands, sent together.

        Raises RedisSaid for the first error among them, OSError (TimeoutError, if it takes too
        long) where the connection is of no more use, ValueError where it does not speak RESP.
        """
        deadline_s = time.monotonic() + self._timeout_s
        self._socket.settimeout(self._timeout_s)
        self._socket.sendall(b"".join(commands))
        replies = [self._reply(deadline_s) for _ in commands]
        for reply in replies:
            if isinstance(reply, RedisSaid):
                raise reply
        return replies

    def close(self) -> None:
        self._socket.close()

    def _reply(self, deadline_s: float) -> Value:
        while (found := decode(self._data)) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("no reply in time")
            self._socket.settimeout(left_s)
            piece = self._socket.recv(65536)
            if not piece:
                raise ConnectionResetError("the server closed the connection")
            self._data += piece
            if len(self._data) > 2 * LONGEST_REPLY:
                raise ValueError("a reply is too long")
        value, end = found
        self._data = self._data[end:]
        return value
