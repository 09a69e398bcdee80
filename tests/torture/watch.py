"""One case to what came of it, under watch: its time, its memory, its files, what it starts.

Python tells an audit hook whatever opens a file, starts a program or unpickles a class (PEP 578);
what the hook refuses does not happen, and is counted even where the parser swallows the refusal.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from shadowsim.errors import ShadowsimError
from torture.mutate import CANARY

SLOW_S = 2.0  # seconds of CPU
MEMORY_BYTES = 512 << 20  # of addresses, above what the process had when the cases began
POLARS_BYTES = 4 << 30  # its allocator reserves addresses by the gigabyte that it never uses
LONGEST_WORDS = 400_000  # a hundred mistakes of 4,000 characters
SHOWN = 300

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = frozenset({
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move",
    "tempfile.mkstemp", "tempfile.mkdtemp", "sqlite3.connect",
})  # fmt: skip
NEVER = frozenset({
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.startfile", "os.kill",
    "subprocess.Popen", "pty.spawn", "pickle.find_class",
    "ctypes.dlopen", "socket.bind", "socket.getaddrinfo", "urllib.Request", "os.chdir",
    "os.putenv", "os.unsetenv", "code.__new__", "sqlite3.load_extension",
    "sqlite3.enable_load_extension",
})  # fmt: skip


class Broken(Exception):
    """A property that does not hold, in words."""


class TooSlow(BaseException):
    """A case took longer than the bound; nobody who catches Exception catches it."""


class Forbidden(BaseException):
    """A case wanted what no parser may do."""


@dataclass
class Watch:
    """What a case may touch, and what it wanted beside that."""

    folder: str
    readable: tuple[str, ...]
    on: bool = False
    seen: list[str] = field(default_factory=list)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = args
            writes = bool((flags or 0) & WRITES) or any(c in (mode or "") for c in "wax+")
            self._check(event, path, self.folder if writes else self.readable)
        elif event in NEVER:
            self._refuse(f"{event} {args!r}")
        elif event in CHANGES:
            for path in args[: 2 if event in ("os.rename", "os.link", "shutil.move") else 1]:
                self._check(event, path, self.folder)

    def warned(self, message: Warning | str, category: type[Warning], *where: Any) -> None:
        """A warning is Python's word to a programmer; a person should not be shown it."""
        if self.on:
            self.seen.append(f"{category.__name__}: {message}"[:SHOWN])

    def _check(self, event: str, path: Any, allowed: str | tuple[str, ...]) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        self.on = False  # realpath must not be told of itself
        try:
            real = os.path.realpath(os.fsdecode(path))
        except (ValueError, OSError):
            real = repr(path)
        finally:
            self.on = True
        if not (real + "/").startswith(allowed):
            self._refuse(f"{event} {real[:SHOWN]!r}")

    def _refuse(self, what: str) -> None:
        self.seen.append(what[:SHOWN])
        raise Forbidden(what[:SHOWN])


def installed(folder: Path) -> Watch:
    """The watch of this process; a hook cannot be taken off again."""
    root = Path(__file__).resolve().parents[2]
    readable = {str(folder.resolve()), sys.prefix, sys.base_prefix, str(root), "/usr/share",
    "/usr/lib",
                "/etc/fonts", "/proc/self", f"/proc/{os.getpid()}", "/sys/fs/cgroup",
                os.environ.get("NUMBA_CACHE_DIR", str(root))}  # fmt: skip
    sys.dont_write_bytecode = True  # what is loaded late is no file of the parser's
    watch = Watch(f"{folder.resolve()}/", tuple(f"{place}/" for place in sorted(readable)))
    sys.addaudithook(watch.hook)
    signal.signal(signal.SIGPROF, _too_slow)
    warnings.simplefilter("always")
    for quiet in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):  # as ever
        warnings.simplefilter("ignore", quiet)
    warnings.showwarning = watch.warned
    return watch


def bound_memory(more_bytes: int) -> None:
    """From here on the process may take so many more addresses than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def unbound_memory() -> None:
    """To prepare the next part."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


@contextmanager
def _timed(slow_s: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, slow_s, 0.5)  # again, where somebody swallows it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)


@dataclass(frozen=True)
class Target:
    """A parser under attack: chance to a case, and a case to nothing, a refusal, or Broken.

    `refusals`: what it raises for bad input.
    """

    make: Callable[[random.Random], Any]
    parse: Callable[[Any], object]
    refusals: tuple[type[BaseException], ...] = (ShadowsimError,)
    slow_s: float = SLOW_S
    memory_bytes: int = MEMORY_BYTES


def judged(target: Target, case: Any, watch: Watch) -> tuple[str, str]:
    """`parsed`, `refused` or `failed`, and what was said."""
    watch.seen.clear()
    try:
        with _timed(target.slow_s):
            watch.on = True
            try:
                target.parse(case)
            finally:
                watch.on = False
        kind, words = "parsed", ""
    except target.refusals as error:
        kind, words = _words(error)
    except Broken as error:
        kind, words = "failed", str(error)
    except TooSlow:
        kind, words = "failed", f"more than {target.slow_s:g} s of CPU"
    except Forbidden:
        kind, words = "failed", ""
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        kind, words = "failed", _raised(error)
    if watch.seen:
        return "failed", f"it did what it may not: {'; '.join(watch.seen)}"
    if Path(CANARY).exists():
        Path(CANARY).unlink()
        return "failed", "code was run: the canary is there"
    return kind, words


def _words(error: BaseException) -> tuple[str, str]:
    """A refusal is for people: it says something, on lines that a terminal shows as they are."""
    words = str(error)
    if not isinstance(error, ShadowsimError):
        return "refused", words
    if not words.strip():
        return "failed", f"{type(error).__name__} without words"
    if len(words) > LONGEST_WORDS:
        return "failed", f"{len(words):,} characters of words"
    if odd := next((c for c in words if not c.isprintable() and c not in "\n\t"), None):
        return "failed", f"a message with the character U+{ord(odd):04X}: {words[:SHOWN]!a}"
    return "refused", words


def _raised(error: BaseException) -> str:
    """Which exception came out, and where from."""
    trace, where = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "shadowsim" in code.co_filename:
            where = f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {where or '?'}: {str(error)[:SHOWN]!a}"
