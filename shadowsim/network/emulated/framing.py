"""Values and open files to messages on a Unix stream socket, and back.

A message is one line of JSON. Where files go along, the object says how many (`"fds": N`), and
the line is followed by ceil(N / 250) single bytes `F`, each of which carries up to 250 files, in
order. The agent runs this file on the system's own Python: standard library only, from 3.10.
"""

from __future__ import annotations

import array
import contextlib
import json
import math
import os
import socket
from collections.abc import Sequence

FDS_PER_MESSAGE = 250  # the kernel takes 253
LONGEST_BYTES = 4 << 20
_MARK = b"F"
_INT_BYTES = array.array("i").itemsize


class Closed(Exception):
    """The other side went away."""


class Garbled(Exception):
    """What came is no message; nothing that follows can be trusted."""


class TooLong(Garbled):
    """A line that does not end; the connection is of no more use."""


class Channel:
    """Both directions of one connection. Timeouts are those of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._bytes = bytearray()
        self._fds: list[int] = []

    def send(self, message: dict[str, object], fds: Sequence[int] = ()) -> None:
        """Send a message and copies of these files. Raises Closed."""
        line = encode({**message, "fds": len(fds)} if fds else message)
        try:
            self.connection.sendall(line)
            for first in range(0, len(fds), FDS_PER_MESSAGE):
                socket.send_fds(self.connection, [_MARK], fds[first : first + FDS_PER_MESSAGE])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive_line(self) -> dict[str, object]:
        """The next message; files that came with it are closed.

        Raises Closed, Garbled, TimeoutError; only after TooLong can nothing more be received.
        """
        line = self._line()
        self._drop(self._fds)
        return decode(line)

    def receive(self) -> tuple[dict[str, object], list[int]]:
        """The next message and its files, now the caller's.

        Raises Closed, Garbled, TimeoutError; after any of them nothing more can be received.
        """
        message = decode(self._line())
        count = message.pop("fds", 0)
        if type(count) is not int or count < 0:
            raise Garbled("a message says a strange number of files")
        return message, self._take(count)

    def close(self) -> None:
        """Close the connection and every file that came and was not taken."""
        self._drop(self._fds)
        self.connection.close()

    def _line(self) -> bytes:
        while (end := self._bytes.find(b"\n")) < 0:
            if len(self._bytes) > LONGEST_BYTES:
                raise TooLong(f"a message is longer than {LONGEST_BYTES} bytes")
            self._more()
        line = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        return line

    def _take(self, count: int) -> list[int]:
        marks = -(-count // FDS_PER_MESSAGE)
        while len(self._bytes) < marks or len(self._fds) < count:
            self._more()
        if self._bytes[:marks] != _MARK * marks:
            raise Garbled("files were announced that did not come")
        del self._bytes[:marks]
        taken, self._fds = self._fds[:count], self._fds[count:]
        return taken

    def _more(self) -> None:
        space = socket.CMSG_SPACE(253 * _INT_BYTES)
        try:
            data, ancillary, flags, _ = self.connection.recvmsg(
                65536, space, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError as error:
            raise Closed from error
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % _INT_BYTES
                self._fds.extend(array.array("i", content[:whole]))
        if flags & socket.MSG_CTRUNC:
            raise Garbled("files were lost: this process may not open so many (ulimit -n)")
        if not data:
            raise Closed
        self._bytes += data

    @staticmethod
    def _drop(fds: list[int]) -> None:
        while fds:
            with contextlib.suppress(OSError):
                os.close(fds.pop())


def encode(message: dict[str, object]) -> bytes:
    """One line of JSON."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


def decode(line: bytes) -> dict[str, object]:
    """The object in a line of JSON. Raises Garbled."""
    try:
        message = json.loads(line, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"not JSON: {str(error)[:80]}") from None
    if not isinstance(message, dict):
        raise Garbled("not a JSON object")
    return message
