"""Bytes between a listening socket in one network and connections into another, and no packets.

A thread copies; the networks themselves are not joined at any layer below. What goes back into
production passes a gate: a replica may ask to follow and say how far it is, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from shadowsim.errors import ShadowsimError
from shadowsim.network.emulated.resp import decode

CHUNK_BYTES = 1 << 16
FULL_BYTES = 1 << 20  # of one direction; then nothing more is read until the other side took it
LONGEST_COMMAND = 1 << 16
ALLOWED = frozenset({b"PING", b"REPLCONF", b"PSYNC", b"SYNC"})


class Forbidden(ValueError):
    """What came from the replica is not what a replica says."""


def permitted(data: bytes) -> tuple[bytes, bytes]:
    """The whole commands at the beginning, which all may pass, and the unfinished rest.

    Raises Forbidden, and nothing may pass, where one of them may not.
    """
    end = 0
    try:
        while (found := decode(data, end)) is not None:
            command, end = found
            word = command[0] if isinstance(command, list) and command else None
            if not isinstance(word, bytes) or word.upper() not in ALLOWED:
                raise Forbidden(f"{word!r} is not for replicas")
    except (ValueError, RecursionError) as error:
        raise Forbidden(str(error)) from None
    if len(data) - end > LONGEST_COMMAND:
        raise Forbidden("a command is too long")
    return data[:end], data[end:]


@dataclass(eq=False)
class _End:
    """One end of a pair: `out` waits to be sent to it, `held` came from it and is not whole."""

    socket: socket.socket
    gated: bool
    other: _End | None = None
    out: bytearray = field(default_factory=bytearray)
    held: bytes = b""


class Relay:
    """Connects whoever comes to `listening` with what `dial` gives, until closed.

    Owns `listening`. `dial` is called from the thread of the relay.
    """

    def __init__(self, listening: socket.socket, dial: Callable[[], socket.socket]) -> None:
        self._listening = listening
        self._dial = dial
        self._selector = selectors.DefaultSelector()
        self._end = threading.Event()
        self._wake, self._bell = os.pipe()
        self.to_shadow_bytes = 0
        self.to_production_bytes = 0
        self.forbidden = 0  # connections that were cut for what came from the shadow
        listening.setblocking(False)
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut every connection and listen no more; a second call does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        os.write(self._bell, b".")
        self._thread.join()
        os.close(self._wake)
        os.close(self._bell)

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                for key, events in self._selector.select():
                    if key.fileobj is self._listening:
                        self._accept()
                    elif isinstance(key.data, _End):
                        self._serve(key.data, events)
        finally:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
            self._selector.close()

    def _accept(self) -> None:
        try:
            replica, _ = self._listening.accept()
        except OSError:
            return
        try:
            primary = self._dial()
        except (OSError, ShadowsimError):  # it will come again
            replica.close()
            return
        ends = _End(replica, gated=True), _End(primary, gated=False)
        ends[0].other, ends[1].other = ends[1], ends[0]
        for end in ends:
            end.socket.setblocking(False)
            self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _serve(self, end: _End, events: int) -> None:
        if end.socket.fileno() < 0:  # its pair was cut in the same round
            return
        try:
            if events & selectors.EVENT_READ:
                self._read(end)
            if events & selectors.EVENT_WRITE:
                self._send(end)
        except BlockingIOError:
            pass
        except Forbidden:
            self.forbidden += 1
            self._cut(end)
        except OSError:
            self._cut(end)

    def _read(self, end: _End) -> None:
        data = end.socket.recv(CHUNK_BYTES)
        if not data:
            raise ConnectionResetError
        if end.gated:
            data, end.held = permitted(end.held + data)
            self.to_production_bytes += len(data)
        else:
            self.to_shadow_bytes += len(data)
        if end.other is not None:
            end.other.out += data
            self._send(end.other)

    def _send(self, end: _End) -> None:
        with contextlib.suppress(BlockingIOError):
            while end.out:
                del end.out[: end.socket.send(end.out)]
        self._listen_for(end)
        if end.other is not None:
            self._listen_for(end.other)

    def _listen_for(self, end: _End) -> None:
        """Read from an end while the other one keeps up, and write while there is something."""
        full = end.other is not None and len(end.other.out) > FULL_BYTES
        events = (0 if full else selectors.EVENT_READ) | (selectors.EVENT_WRITE if end.out else 0)
        if end.socket not in self._selector.get_map():
            if events:
                self._selector.register(end.socket, events, end)
        elif events:
            self._selector.modify(end.socket, events, end)
        else:
            self._selector.unregister(end.socket)

    def _cut(self, end: _End) -> None:
        for one in (end, end.other):
            if one is not None and one.socket.fileno() >= 0:
                if one.socket in self._selector.get_map():
                    self._selector.unregister(one.socket)
                one.socket.close()
