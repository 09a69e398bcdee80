"""The folder of a run to the one run that is at work in it, and whether that still is this one.

A run has a lock beside its folder for as long as it may still write there; the kernel takes it away
with the process, however that ends. A run whose change was taken back because it did not answer may
be stopped for good: the next one need not wait for it, and takes the place of its lock. In the lock
stands which commit its run makes, so that nobody else's is taken for that.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from shadowsim.commit.holder import holding
from shadowsim.errors import MachineLacks, PersonNeeded

TRIES, RETRY_S = 50, 0.1  # each try finds that somebody else has just ended, or does the same
LONGEST_NAME = 64

Overtaken = Callable[[str], Path | None]  # the commit of this name, if it was taken back for good
Still = Callable[[], bool]


class AtWork(PersonNeeded):
    """Another run is at work in the same folder."""


@contextmanager
def alone(folder: Path, commit: str, overtaken: Overtaken) -> Iterator[Still]:
    """Be the one run in this folder, with a commit of this name; whether one still is.

    Raises AtWork, MachineLacks where nothing can be locked, and OSError.
    """
    path = folder.with_name(f".{folder.name}.lock")
    fd = _lock(path, folder, commit, overtaken)
    try:
        yield lambda: _is_there(fd, path)
    finally:
        if _is_there(fd, path):
            with suppress(OSError):  # it is no lock any more, and of no harm
                path.unlink()
        os.close(fd)


def _lock(path: Path, folder: Path, commit: str, overtaken: Overtaken) -> int:
    """A file that is locked, and has this name."""
    for _ in range(TRIES):
        with ExitStack() as unless_it_is_mine:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            unless_it_is_mine.callback(os.close, fd)
            if not _is_locked(fd, folder):
                if not _follow(fd, path, overtaken):
                    break
            elif _is_there(fd, path):  # else who had it has removed it as it left
                os.ftruncate(fd, 0)
                os.pwrite(fd, commit.encode(), 0)
                unless_it_is_mine.pop_all()
                return fd
    raise AtWork(
        f"{folder}: another run is at work here; wait until it has ended, or say --out for another"
        " place"
    )


def _is_locked(fd: int, folder: Path) -> bool:
    """Lock it; False if somebody else has."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise MachineLacks(
            f"{folder.parent}: nothing can be locked here ({error.strerror}), so that two runs"
            " could be at work in one folder; say --out on another file system"
        ) from None
    return True


def _follow(fd: int, path: Path, overtaken: Overtaken) -> bool:
    """Remove the lock of a run that was overtaken; False if it was not.

    One at a time: who wants to do the same does it after this, and finds that it was done.
    """
    name = os.pread(fd, LONGEST_NAME, 0).decode("ascii", "replace")
    commit = overtaken(name)
    if commit is None:
        return False
    with suppress(FileNotFoundError), holding(commit.parent) as free:
        if not free:
            time.sleep(RETRY_S)
        elif _is_there(fd, path):
            path.unlink()
    return True


def _is_there(fd: int, path: Path) -> bool:
    """Whether this file still has its name."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False
