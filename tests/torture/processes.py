"""A function to a process of its own that may be killed or stopped, and what became of it.

Processes are forked from one that has everything imported, so that a case takes milliseconds. Ours
adopts whatever they leave behind (PR_SET_CHILD_SUBREAPER), so that nothing stays unseen.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from shadowsim.commit import guard, guardian
from shadowsim.errors import ShadowsimError

PR_SET_CHILD_SUBREAPER = 36
KILLED = -int(signal.SIGKILL)
FIRST_INHERITED = 3  # above the standard streams
MOST_FILES = 1024
TRACEBACK_CODE = 70
STARVED_S = 1.0  # without a CPU: from here on it counts


def adopt() -> None:
    """From now on the orphans among our descendants are our children."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this system has no subreapers")


class ForkedPopen(subprocess.Popen[bytes]):
    """`python -m shadowsim.commit.guardian`, without the time that a fresh interpreter takes."""

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        inbox, inbox_ours, outbox_ours, outbox, *errors = rest[9:15]
        self.pid = os.fork()
        if not self.pid:
            folder = Path(args[args.index(guard.BEGIN) + 1])
            _become(lambda: guardian.main(folder), (inbox, outbox, 2), session=True)
        self._child_created = True
        self._close_pipe_fds(inbox, inbox_ours, outbox_ours, outbox, *errors)


def fork_guardians() -> None:
    """From now on this process forks its guardians."""
    guard.subprocess.Popen = ForkedPopen  # type: ignore[misc, assignment]


def spawn(function: Callable[[], int | None], out: Path, words: Path) -> int:
    """Start a process that calls this and leaves with what it returns; its pid."""
    pid = os.fork()
    if not pid:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        _become(function, (os.open(os.devnull, os.O_RDONLY), os.open(out, flags, 0o600),
                           os.open(words, flags, 0o600)))  # fmt: skip
    return pid


def _become(
    function: Callable[[], int | None], streams: tuple[int, int, int], *, session: bool = False
) -> NoReturn:
    code: Any = TRACEBACK_CODE
    try:
        kept = [os.dup(fd) for fd in streams]
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
        if session:  # a guardian holds nothing but its streams
            os.setsid()
            os.closerange(FIRST_INHERITED, MOST_FILES)
        else:
            for fd in kept:
                os.close(fd)
        signal.set_wakeup_fd(-1)
        # What stood here before may close its stream when it goes; these must not.
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
            for number in range(3)
        )
        code = function() or 0
    except SystemExit as leaving:
        code = leaving.code or 0
    except ShadowsimError as error:
        code = error.exit_code
        print(error, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
        with suppress(BaseException):
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


class Family:
    """The processes of one case: all children of this process, and how they ended.

    Of the last `wait`: `looked_s` is the last instant at which it was not over, so that what this
    process came late to is not held against others; `starved_s`, for how long one of those that
    it hung on had work, and the machine no CPU for it.
    """

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self.looked_s = self.starved_s = 0.0

    def reap(self) -> bool:
        """Take note of who has ended; whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self.ended[pid] = os.waitstatus_to_exitcode(status)

    def alive(self, pid: int) -> bool:
        self.reap()
        if pid in self.ended:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return True
        return False

    def wait(
        self, over: Callable[[], bool], for_s: float, who: Callable[[], Sequence[int]] = tuple
    ) -> bool:
        """Wait until it is so, which hangs on these processes; whether it was in time."""
        first_s: dict[int, float] = {}
        self.starved_s, self.looked_s = 0.0, time.monotonic()
        until_s = self.looked_s + for_s
        while True:
            for pid in who():
                now_s = without_cpu_s(pid)
                self.starved_s = max(self.starved_s, now_s - first_s.setdefault(pid, now_s))
            look_s = time.monotonic()
            if over():
                return True
            self.looked_s = look_s
            if look_s > until_s:
                return False
            time.sleep(0.001)

    def late_s(self, since_s: float) -> float:
        """How long the last `wait` took from then on, but for what is nobody's fault."""
        return self.looked_s - since_s - self.starved_s

    def wait_all(self, for_s: float) -> bool:
        """Wait until nobody is left; whether that was in time."""
        return self.wait(lambda: not self.reap(), for_s, children)

    def wait_for(self, pid: int, for_s: float) -> int | None:
        """Wait for the end of one; its exit code, or None if it did not end.

        It is given as much longer as it has had no CPU.
        """
        before_s = without_cpu_s(pid)
        while not self.wait(lambda: not self.reap() or pid in self.ended, for_s):
            starved_s = without_cpu_s(pid)
            for_s, before_s = starved_s - before_s, starved_s
            if for_s < STARVED_S:
                break
        return self.ended.get(pid)

    def end(self) -> None:
        """End whoever is left. Children only: their pids cannot be anybody else's."""
        for _ in range(1000):
            if not self.reap():
                return
            for pid in children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)


def children(of: int | None = None) -> list[int]:
    """The children of a process, of this one if no other is named."""
    pid = of or os.getpid()
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def without_cpu_s(pid: int) -> float:
    """How long it has waited for a CPU so far (the second figure of schedstat)."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def send(pid: int, number: int) -> bool:
    """Send a signal to a process; whether it was there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


class Sayings:
    """What a process says over a pipe, line by line, as it is heard."""

    def __init__(self) -> None:
        self.fd, self._there = os.pipe()
        self._rest = b""
        self.lines: list[list[str]] = []

    def say(self, *words: object) -> None:
        """In the process that says it."""
        os.write(self._there, (" ".join(map(str, words)) + "\n").encode())

    def listen(self) -> None:
        """In the one that hears it, once the other has been started."""
        os.close(self._there)

    def hear(self, for_s: float) -> None:
        """Take in what is said until then."""
        until_s = time.monotonic() + for_s
        while True:
            left_s = max(until_s - time.monotonic(), 0.0)
            if not select.select([self.fd], [], [], left_s)[0]:
                return
            data = os.read(self.fd, 65536)
            if not data:
                time.sleep(max(until_s - time.monotonic(), 0.0))
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.lines += [line.decode().split() for line in lines]

    def heard(self, word: str, for_s: float = 0.0) -> list[str] | None:
        """The last line that began with this word, waiting for one if need be."""
        until_s = time.monotonic() + for_s
        while True:
            self.hear(0.0)
            found = [line[1:] for line in self.lines if line[0] == word]
            if found:
                return found[-1]
            if time.monotonic() >= until_s:
                return None
            self.hear(0.002)

    def count(self, word: str) -> int:
        self.hear(0.0)
        return sum(line[0] == word for line in self.lines)

    def close(self) -> None:
        os.close(self.fd)
