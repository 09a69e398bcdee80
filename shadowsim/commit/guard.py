"""A commit of this process to a guardian of its own, kept informed and replaced when it dies."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from shadowsim.errors import ShadowsimError

ARMED_S = 20.0  # until it must have said that it is armed
ENDING_S = 5.0  # until it has noticed that the commit ended
OFTEN = 20  # how many times within its time a deadline is put off


class NotArmed(ShadowsimError):
    """No guardian could be had, so production must not be touched."""


class Guard:
    """The guardian of one commit, as seen by the process that makes it.

    `lease_s` is how long after its last sign of life the change is taken back. The process is
    started at once, since that takes a while, and armed later. It is in a session of its own:
    what a terminal sends to this process does not reach it.
    """

    _inbox: IO[bytes]
    _outbox: IO[bytes]

    def __init__(self, folder: Path, lease_s: float) -> None:
        self._folder, self._lease_s = folder, lease_s
        self._armed = False
        self._lent: tuple[int, ...] = ()
        self._told_s = 0.0
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def arm(self) -> None:
        """From now on the change is taken back unless this is told otherwise. Raises NotArmed."""
        with suppress(BrokenPipeError):
            self._tell()
        said = self._answer()
        if said != b"armed\n":
            self._process.kill()
            raise NotArmed(f"the guardian of {self._folder} did not arm the rollback")
        self._armed = True

    def lend(self, fds: Sequence[int]) -> None:
        """Have it hold these files open too, instead of those lent before. Raises NotArmed.

        Files cross only when a process starts, so it is replaced; this process is well meanwhile.
        """
        self._lent = tuple(fds)
        self._process.kill()
        self._process.wait()
        self._start()
        if self._armed:
            self.arm()

    def extend(self, for_s: float | None = None) -> None:
        """Put the deadline off, to `for_s` from now or the usual time. Raises NotArmed.

        To be called as often as one likes. A guardian that has died is replaced.
        """
        if not self._armed:
            return
        if for_s is None and time.monotonic() < self._told_s + self._lease_s / OFTEN:
            return
        with suppress(OSError):
            self._tell(for_s)
            if self._process.poll() is None:
                return
        self._start()
        self.arm()

    def end(self) -> None:
        """Let it go: it ends once it sees that the commit has ended, and else takes it back."""
        with suppress(OSError):
            self._inbox.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_S)
        self._outbox.close()

    def _start(self) -> None:
        argv = [sys.executable, "-m", "shadowsim.commit.guardian", str(self._folder)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, start_new_session=True, pass_fds=self._lent
        )
        self._inbox = cast("IO[bytes]", self._process.stdin)
        self._outbox = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self._inbox.fileno(), False)  # one that is stopped reads nothing

    def _tell(self, for_s: float | None = None) -> None:
        self._told_s = time.monotonic()
        until_s = self._told_s + (self._lease_s if for_s is None else for_s)
        os.write(self._inbox.fileno(), b"until %.6f\n" % until_s)

    def _answer(self) -> bytes:
        """Its first words, or nothing if it has none in time."""
        until_s = time.monotonic() + ARMED_S
        said = b""
        while not said.endswith(b"\n"):
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not select.select([self._outbox], [], [], left_s)[0]:
                break
            fresh = os.read(self._outbox.fileno(), 64)
            if not fresh:
                break
            said += fresh
        return said
