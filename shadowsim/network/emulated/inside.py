"""A process id to devices and sockets made inside that process's network namespace.

No process is started for it: this one steps in, makes them, and steps back. The agent runs this
file on the system's own Python: standard library only, from 3.10.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
SO_RCVBUFFORCE, SO_SNDBUFFORCE, IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 33, 32, 10, 0
TCP_RTO_MAX_MS = 44  # Linux 6.15 and later
RECEIVE_BYTES, SEND_BYTES = 8 << 20, 1 << 20
SEGMENT_BYTES = 1460  # host interfaces take more than the wires do, so TCP is told
_LIBC = ctypes.CDLL(None, use_errno=True)
_OWN = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(pid: int) -> Iterator[None]:
    """Run a block in the network namespace of a process; children started there stay there."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        yield
    finally:
        os.close(namespace)
        try:
            _enter(_OWN)
        except OSError:
            os._exit(70)  # going on in the wrong namespace would be worse


def separate(pid: int) -> bool:
    """Whether that process has left our network namespace."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino != os.fstat(_OWN).st_ino


def without_ipv6() -> None:
    """Let no interface of this namespace speak IPv6, nor those that are yet to come."""
    for scope in ("all", "default"):
        path = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
        with contextlib.suppress(OSError):  # a kernel without IPv6
            path.write_text("1")


def bring_up(name: str, *, up: bool = True) -> None:
    """Set an interface of this namespace up or down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        request = struct.pack("16sh22x", name.encode(), 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), flags))


def open_tap(name: str) -> int:
    """Make a TAP device in this namespace; the device lives as long as its file is open."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


def open_sender(
    protocol: str, here: tuple[str, int], there: tuple[str, int], dscp: int
) -> socket.socket:
    """A non-blocking socket that sends from `here`; UDP is connected, TCP not yet."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        made.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BYTES)
        if protocol == "tcp":
            _prepare_tcp(made)
        made.bind(here)
        if protocol == "udp":
            made.connect(there)
    except OSError:
        made.close()
        raise
    return made


def _prepare_tcp(made: socket.socket) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    with contextlib.suppress(OSError):  # an older kernel: its longest timeout stays 120 s
        made.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 1000)


def open_receiver(protocol: str, here: tuple[str, int]) -> socket.socket:
    """A non-blocking UDP socket bound to `here`, or a TCP socket that listens there."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        if protocol == "udp":
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        else:
            _prepare_tcp(made)
        made.bind(here)
        if protocol == "tcp":
            made.listen(1024)
    except OSError:
        made.close()
        raise
    return made


def open_listener(port: int) -> socket.socket:
    """A TCP socket that listens on 127.0.0.1 of this namespace."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.listen(1024)
    except OSError:
        made.close()
        raise
    return made


def open_connection(port: int) -> socket.socket:
    """A TCP connection to 127.0.0.1 of this namespace."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.settimeout(2.0)
        made.connect(("127.0.0.1", port))
        made.settimeout(None)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        made.close()
        raise
    return made
