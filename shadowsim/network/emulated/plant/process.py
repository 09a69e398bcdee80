"""The requests of a `client.Plant` to two running kernels: one relays frames, one streams packets.

A kernel holds its state in arrays, so it can be stopped, told of other files, and go on.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from shadowsim.network.emulated.board import TCP, Board
from shadowsim.network.emulated.framing import Channel, Closed, Garbled
from shadowsim.network.emulated.plant import frames, streams, traffic, wires

MOST_FILES = 65536
PR_SET_TIMERSLACK = 29
TCP_NOTSENT_LOWAT = 25
UNSENT_RECORDS = 4  # kept in a TCP sender beyond what is on its way
_LIBC = ctypes.CDLL(None, use_errno=True)


class Runner:
    """A thread that runs one kernel, and can be stopped and started again.

    `kernel` takes the stop word and the number of the epoll that watches its files.
    """

    def __init__(self, kernel: Callable[[Any, int], None], ended: Callable[[], None]) -> None:
        self._kernel, self._ended = kernel, ended
        self._stop = np.ones(1, np.int64)
        self._poke = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None
        self.epoll = select.epoll()
        self.epoll.register(self._poke, select.EPOLLIN)
        self._kernel(self._stop, self.epoll.fileno())  # compiles it

    def start(self) -> None:
        """Run the kernel."""
        self._stop[0] = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when the kernel does not run any more."""
        if self._thread is not None:
            self._stop[0] = 1
            os.eventfd_write(self._poke, 1)
            self._thread.join()
            os.eventfd_read(self._poke)
            self._thread = None

    def _run(self) -> None:
        _LIBC.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
        try:
            self._kernel(self._stop, self.epoll.fileno())
        finally:
            if not self._stop[0]:
                self._ended()


class Cables:
    """The files of cables, and the relay between them."""

    def __init__(self, board: Board, ended: Callable[[], None]) -> None:
        told, self._inject = wires.told(board), -1
        self.relay = wires.new_relay(board.links, _seed(), MOST_FILES)
        self._runner = Runner(
            lambda stop, epoll: frames.relay(
                self.relay, told, board.control, stop, epoll, self._inject
            ),
            ended,
        )
        self._runner.start()

    def wire(self, links: Sequence[Sequence[int]], fds: Sequence[int]) -> None:
        """Have just these cables: `links` [n, 2] of a to b and back; `fds` a, b, a, b, ..., inject.

        The last file is there if their number is odd.
        """
        self._runner.stop()
        try:
            self._unwire()
            for (ab, ba), a, b in zip(links, fds[::2], fds[1::2], strict=False):
                for fd, out, back in ((a, ab, ba), (b, ba, ab)):
                    self.relay.links["fd"][back] = fd
                    self.relay.link_of[fd] = out
                    self._watch(fd)
            if len(fds) % 2:
                self._inject = fds[-1]
                self._watch(self._inject)
        finally:
            self._runner.start()

    def _watch(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._runner.epoll.register(fd, select.EPOLLIN)

    def _unwire(self) -> None:
        """Close all files. What is under way finds its way if the cable comes again."""
        fds = set(self.relay.links["fd"].tolist()) | {self._inject}
        for fd in fds - {-1}:
            # Other processes hold the file too, so that closing it here would not end the watch.
            with suppress(OSError):
                self._runner.epoll.unregister(fd)
            os.close(fd)
        self.relay.links["fd"] = -1
        self.relay.link_of[:] = -1
        self._inject = -1


class Sockets:
    """The sockets of streams, and the kernel that sends and receives on them."""

    def __init__(self, board: Board, ended: Callable[[], None]) -> None:
        self._told = traffic.wanted(board)
        self.traffic = traffic.new_traffic(board.slots, _seed(), MOST_FILES)
        self._receivers: dict[int, int] = {}
        self._runner = Runner(
            lambda stop, epoll: streams.stream(
                self.traffic, self._told, board.control, stop, epoll
            ),
            ended,
        )
        self._runner.start()

    def add(
        self, senders: Sequence[Sequence[Any]], receivers: Sequence[Sequence[int]], fds: list[int]
    ) -> None:
        """`senders` [n] of slot, protocol, address, port, receiver; `receivers` [m] of number,
        protocol; `fds` of both, in that order. One that is there already is replaced."""
        self._runner.stop()
        try:
            for (number, protocol), fd in zip(receivers, fds[len(senders) :], strict=True):
                self._receive(number, protocol, fd)
            for (slot, *sender), fd in zip(senders, fds, strict=False):
                self._send(slot, fd, *sender)
        finally:
            self._runner.start()

    def drop(self, slots: Sequence[int]) -> None:
        """Close the senders of these streams; their ports are free at once."""
        self._runner.stop()
        try:
            for slot in slots:
                sender = self.traffic.senders[slot]
                fd, sender["fd"], sender["rate_bps"] = int(sender["fd"]), -1, 0.0
                if fd >= 0 and sender["protocol"] == TCP:
                    _reset_when_closed(fd)
                self._forget(fd)
        finally:
            self._runner.start()

    def _receive(self, number: int, protocol: int, fd: int) -> None:
        self._forget(self._receivers.pop(number, -1))
        os.set_blocking(fd, False)
        self._receivers[number] = fd
        self.traffic.kind_of[fd] = traffic.LISTENER if protocol == TCP else traffic.DATAGRAMS
        self.traffic.index_of[fd] = number
        self._runner.epoll.register(fd, select.EPOLLIN)

    def _send(
        self, slot: int, fd: int, protocol: int, address: str, port: int, receiver: int
    ) -> None:
        sender = self.traffic.senders[slot]
        self._forget(int(sender["fd"]))
        os.set_blocking(fd, False)
        sender["fd"], sender["protocol"], sender["receiver"] = fd, protocol, receiver
        sender["state"], sender["unsent"], sender["moved_ns"] = traffic.CLOSED, 0, 0
        target = socket.AF_INET.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big")
        target += socket.inet_aton(address) + bytes(8)
        self.traffic.targets[16 * slot : 16 * slot + 16] = np.frombuffer(target, np.uint8)
        self.traffic.kind_of[fd] = traffic.SENDER
        self.traffic.index_of[fd] = slot
        if protocol == TCP:
            self._prepare_tcp(slot, fd)

    def _prepare_tcp(self, slot: int, fd: int) -> None:
        record = int(traffic.payload_bytes(self.traffic, self._told, slot))
        with socket.socket(fileno=os.dup(fd)) as made:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_RECORDS * record)
        edge = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
        self._runner.epoll.register(fd, edge)

    def _forget(self, fd: int) -> None:
        """Close a socket."""
        if fd >= 0:
            with suppress(OSError):
                self._runner.epoll.unregister(fd)
            self.traffic.kind_of[fd], self.traffic.index_of[fd] = 0, -1
            os.close(fd)


class Service:
    """Answers the requests on one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._channel = Channel(connection)
        self._connection = connection
        self._cables: Cables | None = None
        self._sockets: Sockets | None = None

    def run(self) -> None:
        """Answer until the other side goes away or says stop, on the board or by closing."""
        with suppress(Closed, Garbled, ConnectionError):
            while True:
                message, fds = self._channel.receive()
                try:
                    self._obey(message, fds)
                    answer: dict[str, object] = {"ok": True}
                except (ValueError, OSError, LookupError, TypeError) as error:
                    answer = {"error": f"{message.get('do')}: {error}"}
                self._channel.send(answer)

    def _obey(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["do"] == "board":
            board = Board(fds[0], message["links"], message["slots"])
            self._cables, self._sockets = Cables(board, self._end), Sockets(board, self._end)
        elif message["do"] == "wire" and self._cables:
            self._cables.wire(message["links"], fds)
        elif message["do"] == "streams" and self._sockets:
            self._sockets.add(message["senders"], message["receivers"], fds)
        elif message["do"] == "drop" and self._sockets:
            self._sockets.drop(message["slots"])
        else:
            raise ValueError("no such request, or not yet")

    def _end(self) -> None:
        """A kernel has ended by itself: so does everything."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def serve(control_fd: int) -> None:
    """Be the plant until the other side of the control socket goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(PermissionError):  # where it waits for a core, all latencies grow
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    Service(socket.socket(fileno=control_fd)).run()
    # The kernels' threads need not end: what they hold, the system takes back.
    sys.stderr.flush()
    os._exit(0)


def _reset_when_closed(fd: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _seed() -> int:
    return int.from_bytes(os.urandom(7), "little") | 1
