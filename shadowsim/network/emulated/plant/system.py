"""The few calls of the C library that the kernels need, as functions that compiled code can call.

They are named symbols, not addresses, so that compiled kernels can be kept on disk. Pointers are
passed as 64-bit integers.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba.core import types

Kernel = TypeVar("Kernel", bound=Callable[..., object])
Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

EPOLL_IN, EPOLL_OUT, EPOLL_GONE = 0x1, 0x4, 0x8 | 0x10  # gone: error or hang-up
EPOLL_EDGE, EPOLL_CLOSED = 1 << 31, 0x2000  # closed: by the other side of a connection
EPOLL_ADD, EPOLL_DELETE = 1, 2
EVENT_WORDS = 3 if platform.machine() in ("x86_64", "AMD64") else 4  # epoll_event, packed there
EVENT_FD = EVENT_WORDS - 2
EVENTS = 128  # taken per wait
MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC = 0x40, 0x4000, 0x20
EAGAIN, EINPROGRESS, EALREADY, EISCONN = 11, 115, 114, 106
SOCK_NONBLOCK_CLOEXEC = 0x800 | 0x80000
SOL_SOCKET, SO_ERROR = 1, 4
IPPROTO_TCP, TCP_MAXSEG = 6, 2
SIOCOUTQ = 0x5411
CLOCK_MONOTONIC = 1
WITHOUT_KERNELS = ("__init__", "__main__", "client", "process")

long = cast(Callable[[object], int], np.int64)  # in compiled code: 8 bytes and signed, always


def _cache() -> Path:
    """A folder for compiled kernels that belongs to exactly these sources (see `dataplane`)."""
    here = Path(__file__).parent
    found = hashlib.sha256()
    for source in [here.parent / "board.py", *sorted(here.glob("*.py"))]:
        if source.stem not in WITHOUT_KERNELS:
            found.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "shadowsim" / f"plant-{found.hexdigest()[:16]}"


def compiled(function: Kernel) -> Kernel:
    """Compile `function` on its first call, keep the machine code on disk, release the GIL."""
    config: Any = numba.config  # it gets its attributes when it is imported
    before = config.CACHE_DIR  # a function's folder is settled when it is decorated
    config.CACHE_DIR = str(_FOLDER)
    try:
        decorate = numba.njit(cache=True, nogil=True, error_model="numpy")
        return cast(Kernel, decorate(function))
    finally:
        config.CACHE_DIR = before


_FOLDER = _cache()


def _libc(name: str, result: object, *arguments: object) -> Callable[..., int]:
    """A function of the C library by its name."""
    return cast(Callable[..., int], types.ExternalFunction(name, result(*arguments)))  # type: ignore[operator]


_int, _long = types.int32, types.int64
read = _libc("read", _long, _int, _long, _long)
write = _libc("write", _long, _int, _long, _long)
send = _libc("send", _long, _int, _long, _long, _int)
sendto = _libc("sendto", _long, _int, _long, _long, _int, _long, _int)
recv = _libc("recv", _long, _int, _long, _long, _int)
connect = _libc("connect", _int, _int, _long, _int)
accept4 = _libc("accept4", _int, _int, _long, _long, _int)
getsockopt = _libc("getsockopt", _int, _int, _int, _int, _long, _long)
setsockopt = _libc("setsockopt", _int, _int, _int, _int, _long, _int)
ioctl = _libc("ioctl", _int, _int, _long, _long)
close = _libc("close", _int, _int)
epoll_ctl = _libc("epoll_ctl", _int, _int, _int, _int, _long)
_epoll_pwait2 = _libc("epoll_pwait2", _int, _int, _long, _int, _long, _long)
_clock_gettime = _libc("clock_gettime", _int, _int, _long)
_errno_location = _libc("__errno_location", _long)
_memcpy = _libc("memcpy", _long, _long, _long, _long)


@compiled
def address(array: npt.NDArray[np.generic]) -> int:
    """Where an array begins."""
    return long(array.ctypes.data)


@compiled
def clock_ns(words: Ints) -> int:
    """CLOCK_MONOTONIC; `words` is scratch for two."""
    _clock_gettime(CLOCK_MONOTONIC, address(words))
    return words[0] * 1_000_000_000 + words[1]  # type: ignore[no-any-return]


@compiled
def errno(words: Ints) -> int:
    """Why the last call of this thread failed; `words` is scratch for one."""
    words[0] = 0
    _memcpy(address(words), _errno_location(), 4)
    return words[0] & 0xFFFFFFFF  # type: ignore[no-any-return]


@compiled
def wait(epoll: int, events: npt.NDArray[np.uint32], wait_ns: int, words: Ints) -> int:
    """How many files became ready, within `wait_ns`; `events` has room for EVENTS of them."""
    words[0] = wait_ns // 1_000_000_000
    words[1] = wait_ns % 1_000_000_000
    return max(0, _epoll_pwait2(epoll, address(events), EVENTS, address(words), 0))


@compiled
def watch(epoll: int, fd: int, mask: int, words: Ints) -> int:
    """Have `epoll` tell of `fd`; 0, or -1 if it will not. `words` is scratch for two."""
    words[0] = mask | (fd << 32)
    words[1] = fd  # where the event is not packed
    return epoll_ctl(epoll, EPOLL_ADD, fd, address(words))


@compiled
def random(state: Ints, at: int) -> float:
    """The next number in [0, 1) of the xorshift64 whose state is the word `at`, never 0."""
    x = np.uint64(state[at])
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    state[at] = long(x)
    return float(x >> np.uint64(11)) / 9007199254740992.0
