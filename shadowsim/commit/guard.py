"""A commit of this process to a guardian of its own, kept informed and replaced when it dies."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from shadowsim.errors import ShadowsimError

ARMED_S = 20.0  # until it must have said that it is armed
ATTEND_S = 0.2  # between two looks at it while this process waits for somebody
ENDING_S = 5.0  # for it to take the change back
OFTEN = 20  # how many times within its time a deadline is put off
LIKELIER = 100  # of a thousand of all memory: by how much this process goes before its guardian

# The program of a guardian, whose arguments are its folder and where modules are. What `site` would
# look for is known here by then, and looking takes a third of the time that a guardian needs.
BEGIN = """
import sys
sys.path[:] = sys.argv[2:]
from pathlib import Path
from shadowsim.commit.guardian import main
sys.exit(main(Path(sys.argv[1])))
"""
_ROOT = str(Path(__file__).parents[2])


class NotArmed(ShadowsimError):
    """No guardian could be had, so production must not be touched."""


class Guard:
    """The guardian of one commit, as seen by the process that makes it.

    `lease_s` is how long after its last sign of life the change is taken back. The process is
    started at once, since that takes a while, and armed later. It is in a session of its own:
    what a terminal sends to this process does not reach it. Where memory runs out, the system is
    asked to kill this process first.
    """

    _inbox: IO[bytes]
    _outbox: IO[bytes]

    def __init__(self, folder: Path, lease_s: float) -> None:
        self._folder, self._lease_s = folder, lease_s
        self._armed = False
        self._lent: tuple[int, ...] = ()
        self._told_s = 0.0
        self._score = _oom_score()
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def arm(self) -> None:
        """From now on the change is taken back unless this is told otherwise. Raises NotArmed."""
        self._await(None)
        self._armed = True
        if self._score is not None:
            _ask_oom_score(os.getpid(), min(self._score + LIKELIER, 1000))

    def lend(self, fds: Sequence[int]) -> None:
        """Have it hold these files open too, instead of those lent before. Raises NotArmed.

        Files cross only when a process starts, so it is replaced; this process is well meanwhile.
        """
        self._lent = tuple(fds)
        self._replace()

    def extend(self, for_s: float | None = None) -> None:
        """Put the deadline off, to `for_s` from now or the usual time. Raises NotArmed.

        To be called as often as one likes. A guardian that has died is replaced.
        """
        if not self._armed:
            return
        alive = self._process.poll() is None
        if alive and for_s is None and time.monotonic() < self._told_s + self._lease_s / OFTEN:
            return
        if not (alive and self._tell(for_s)):
            self._replace(for_s)

    @contextmanager
    def attending(self, for_s: float) -> Iterator[None]:
        """Put the deadline off by `for_s` while this process waits for somebody. Raises NotArmed.

        Afterwards it is as near as usual. A guardian that dies meanwhile is replaced; what keeps it
        from being is told at the next `extend`. Nothing else may be asked of this guard before the
        end.
        """
        until_s = time.monotonic() + for_s
        self.extend(for_s)
        over = threading.Event()

        def attend() -> None:
            while not over.wait(ATTEND_S) and time.monotonic() < until_s:
                with suppress(ShadowsimError, OSError):
                    if self._armed and self._process.poll() is not None:
                        self._replace(until_s - time.monotonic())

        thread = threading.Thread(target=attend, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with suppress(ShadowsimError, OSError):
                self.extend(self._lease_s)

    def end(self, *, done: bool) -> None:
        """Let it go: it takes the change back, unless there is nothing left to do (`done`).

        Then it is on its way out when this returns: what it might still do is nothing.
        """
        self._inbox.close()
        if done:
            self._process.kill()
            threading.Thread(target=self._process.wait, daemon=True).start()  # it is to be buried
        else:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING_S)
        self._outbox.close()
        if self._score is not None:
            _ask_oom_score(os.getpid(), self._score)

    def _start(self, for_s: float | None = None) -> None:
        theirs, ours = os.pipe()
        os.set_blocking(ours, False)  # one that is stopped reads nothing
        self._inbox = os.fdopen(ours, "wb", buffering=0)
        if self._armed:  # before it is there, so that it is armed even if this dies right now
            self._tell(for_s)
        flags = ["-I", "-S", "-B"] if sys.dont_write_bytecode else ["-I", "-S"]
        argv = [sys.executable, *flags, "-c", BEGIN, str(self._folder), *sys.path, _ROOT]
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=theirs,
                stdout=subprocess.PIPE,
                start_new_session=True,
                pass_fds=self._lent,
            )
        except OSError as error:
            raise NotArmed(f"no guardian could be started: {error.strerror}") from None
        finally:
            os.close(theirs)
        self._outbox = cast("IO[bytes]", self._process.stdout)
        if self._armed and self._score is not None:
            _ask_oom_score(self._process.pid, self._score)

    def _replace(self, for_s: float | None = None) -> None:
        """Have another one. The one before is ended: if stopped, it would wake up and take over."""
        self._process.kill()
        self._process.wait()
        self._inbox.close()
        self._outbox.close()
        self._start(for_s)
        if self._armed:
            self._await(for_s)

    def _tell(self, for_s: float | None = None) -> bool:
        """Whether the message is on its way."""
        self._told_s = time.monotonic()
        until_s = self._told_s + (self._lease_s if for_s is None else for_s)
        with suppress(OSError):
            return self._inbox.write(b"until %.6f\n" % until_s) is not None
        return False

    def _await(self, for_s: float | None) -> None:
        """Wait until it is armed, and put the deadline off meanwhile. Raises NotArmed."""
        said, until_s = b"", time.monotonic() + ARMED_S
        outbox = select.poll()  # unlike `select` it takes files of any number
        outbox.register(self._outbox, select.POLLIN)
        while not said.endswith(b"\n") and (left_s := until_s - time.monotonic()) > 0:
            self._tell(for_s)
            if outbox.poll(1000.0 * min(self._lease_s / OFTEN, left_s)):
                fresh = os.read(self._outbox.fileno(), 64)
                if not fresh:
                    break
                said += fresh
        if said != b"armed\n":
            self._process.kill()
            raise NotArmed(f"the guardian of {self._folder} did not arm the rollback")


def _oom_score() -> int | None:
    """What the system is asked to add to how soon this process is killed; None if it asks not."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/oom_score_adj").read_text())
    return None


def _ask_oom_score(pid: int, score: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(score))
