"""An armed rollback and a deadline to a change that is taken back unless somebody confirms it.

This is a process of its own: `python -m shadowsim.commit.guardian FOLDER`, or quicker (`guard.py`).
On its standard input it hears `until SECONDS` (of CLOCK_MONOTONIC, which all processes of a machine
share); the first one arms it, and it says `armed` once it has read everything that it needs. When
the deadline passes, or nobody holds the other end any more, and the commit has not ended, it takes
production over.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import ROLLED_BACK, Place
from shadowsim.commit.holder import holding
from shadowsim.commit.log import LogAltered
from shadowsim.commit.reach import reach_in
from shadowsim.commit.settle import GONE, Reach, Wait, settle, standing
from shadowsim.commit.terms import Terms
from shadowsim.errors import Fenced, PersonNeeded, ShadowsimError
from shadowsim.rollback.key import installation_key

PATIENCE_S = 60.0  # for devices that do not answer, and for a disk that takes nothing
RETRY_S = 0.2
STAYS_S = 1.0  # between two looks whether somebody else has settled it
GIVES_WAY = 25  # times RETRY_S for somebody else who has taken over, before it does so itself
LOST, LATE = "the run that made the change ended", "the change was not confirmed by its deadline"
LARGEST_MESSAGE = 4096
LATEST_S = 1e9  # no clock that has run since a machine came up says so


@dataclass(frozen=True)
class Watching:
    """What was heard so far. `until_s`: None before it is armed; `why`: set once it must act."""

    until_s: float | None = None
    why: str = ""
    rest: bytes = b""


def hear(now: Watching, data: bytes) -> Watching:
    """What follows from these bytes; none at all means that nobody is there to send any."""
    if not data:
        return Watching(now.until_s, LOST)
    *lines, rest = (now.rest + data).split(b"\n")
    until_s = now.until_s
    for line in lines:
        word, _, number = line.partition(b" ")
        try:
            until_s = float(number)
        except ValueError:
            word = b""
        if word != b"until" or not abs(until_s or 0.0) < LATEST_S:  # who talks nonsense is not well
            return Watching(until_s, LOST)
    return Watching(until_s, LOST if len(rest) > LARGEST_MESSAGE else "", rest)


def wait_s(now: Watching, at_s: float) -> float | None:
    """How long to listen before the deadline; None: for as long as it takes."""
    return None if now.until_s is None else max(now.until_s - at_s, 0.0)


def watch(inbox: int, armed: Callable[[], None], clock: Callable[[], float]) -> Watching:
    """Listen until there is reason to act. What was said in time counts, however late it is heard.

    `armed` is called once, when the first deadline is known.
    """
    now = Watching()
    while not now.why:
        ready, _, _ = select.select([inbox], [], [], wait_s(now, clock()))
        if not ready:
            return Watching(now.until_s, LATE)
        was_armed = now.until_s is not None
        now = hear(now, os.read(inbox, LARGEST_MESSAGE))
        if not was_armed and now.until_s is not None and not now.why:
            armed()
    return now


def patience(clock: Callable[[], float], for_s: float = PATIENCE_S) -> Wait:
    """What lets a moment pass at every call, and says whether there is still time."""
    end_s = clock() + for_s

    def patient() -> bool:
        time.sleep(RETRY_S)
        return clock() < end_s

    return patient


def take_back(place: Place, reach: Reach, why: str, clock: Callable[[], float]) -> str:
    """Settle the commit, however often that has to be tried; how it ended, in words.

    No words if it had ended before.
    """
    patient = patience(clock)
    begun = False
    while True:
        try:
            if not begun and standing(place, reach).settled:
                return ""
            begun = True
            found = settle(place, reach, why, patient)
        except Fenced:  # whoever it is has a while for it, and may die of it
            if not all(patient() for _ in range(GIVES_WAY)):
                return "somebody else settles it"
        except (ShadowsimError, OSError) as error:
            if not patient():
                return f"not taken back, a person is needed: {error}"
        else:
            if found.state == ROLLED_BACK:
                return f"{found.state}: production has its {found.position} config"
            return f"{found.state}: {found.why}"


def main(folder: Path) -> int:
    """Guard the commit in this folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the commit does
    words = ""
    try:
        words = _guard(Place(RealDisk(), folder, installation_key()))
    except (ShadowsimError, OSError) as error:
        words = f"the rollback was not armed: {error}"
    if words:
        _say(words)
    return 0 if not words or ROLLED_BACK in words else PersonNeeded.exit_code


def _say(words: str) -> None:
    with suppress(OSError):  # whoever listened may be gone
        os.write(sys.stderr.fileno(), f"guardian: {words}\n".encode())


def _guard(place: Place) -> str:
    """What came of it, in words. Raises what keeps it from being armed.

    Production that would be gone with this process is held, though it was not taken back, for as
    long as a person may settle it.
    """
    reach = reach_in(place.folder)
    with ExitStack() as until_the_end:
        guarded: list[Terms] = []

        def armed() -> None:
            found = standing(place, reach)  # all that is needed is read, and found wanting, now
            if found.terms is None:
                raise LogAltered(f"{place.folder}: the change was never begun")
            guarded.append(found.terms)
            until_the_end.enter_context(holding(place.folder))
            with suppress(OSError):  # whoever asked may be dead by now: all the more reason
                os.write(sys.stdout.fileno(), b"armed\n")
            with suppress(ShadowsimError, OSError):  # it only saves time later
                reach(found.terms).prepare()

        seen = watch(sys.stdin.fileno(), armed, time.monotonic)
        if not guarded:
            return ""
        words = take_back(place, reach, seen.why, time.monotonic)
        if not words:
            return ""
        words, devices = f"{seen.why}: {words}", reach(guarded[0])
        if devices.held and not _is_over(place, reach):
            _say(words)
            words = ""
            until_the_end.close()  # it is somebody else's to settle now, or to end this
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            while not _is_over(place, reach):
                time.sleep(STAYS_S)
        devices.close()
        return words


def _is_over(place: Place, reach: Reach) -> bool:
    """Whether the commit is settled, or can no more be; False if that cannot be seen just now."""
    with suppress(ShadowsimError, OSError):
        found = standing(place, reach)
        return found.settled or found.position == GONE
    return False


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
