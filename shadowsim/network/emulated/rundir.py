"""The name of a network to a private folder for its sockets and logs, and those of the dead.

A folder's name says who owns it: `NAME-PID-START-NUMBER`, START being when that process started
in clock ticks since boot, so that a later process with the same number is not taken for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shadowsim.errors import BadInput, MachineLacks

LONGEST_BASE = 60  # paths of Unix sockets end at 107 bytes
FALLBACK = Path(f"/tmp/shadowsim-{os.geteuid()}")
RUNTIME = Path(f"/run/user/{os.geteuid()}")  # where XDG_RUNTIME_DIR points after a login
CODE = "/shadowsim/network/emulated/"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,15}")
_FOLDER = re.compile(r"[a-z][a-z0-9_]{0,15}-(\d{1,10})-(\d{1,15})-\d{1,6}")


@dataclass(frozen=True)
class RunDir:
    """A folder that only we can enter; `remove` it when its network is down."""

    path: Path

    @classmethod
    def make(cls, name: str) -> RunDir:
        """A new folder for a network. Raises BadInput, MachineLacks."""
        if not _NAME.fullmatch(name):
            raise BadInput(f"a network's name is up to 16 letters a-z and digits, not {name!r}")
        mine = f"{name}-{os.getpid()}-{_started(os.getpid())}"
        number = 0
        while True:
            path = _checked(base()) / f"{mine}-{number}"
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                number += 1
            except FileNotFoundError:  # it was taken away right now, as in `_checked`
                continue
            except OSError as error:
                raise _no_room(path.parent, error) from None
            else:
                path.chmod(0o700)  # whatever the umask is
                return cls(path)

    def remove(self) -> None:
        """Remove it and what is in it; a second call does nothing."""
        for _ in range(5):  # a process that is just dying may still write
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
            time.sleep(0.02)
        with contextlib.suppress(OSError):  # others are still in there
            self.path.parent.rmdir()


@dataclass(frozen=True)
class Tenant:
    """Somebody who still needs a folder whose owner may be dead: nobody removes it meanwhile."""

    _fd: int | None

    @classmethod
    def of(cls, folder: Path) -> Tenant:
        """Need it from now on; a folder that is not there is needed by nobody."""
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return cls(None)
        with contextlib.suppress(OSError):  # it is just being removed
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return cls(fd)

    def leave(self) -> None:
        """Need it no longer; to be called once."""
        if self._fd is not None:
            os.close(self._fd)


@dataclass(frozen=True)
class Leftover:
    """A folder that nobody needs any more, and the processes that still work for it."""

    path: Path
    pids: tuple[int, ...]


def base() -> Path:
    """Where this user's folders are; it need not exist."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and len(runtime) < LONGEST_BASE:
        with contextlib.suppress(OSError):
            if Path(runtime).stat().st_uid == os.geteuid():
                return Path(runtime) / "shadowsim"
    return FALLBACK


def leftovers() -> list[Leftover]:
    """Folders of this user whose owner is dead, wherever a run of this user can have made them.

    Not those of a network in which a guardian is just taking a change back.

    Raises MachineLacks if the place of this run is not ours; others that are not are left alone.
    """
    places = [_checked(base())] if os.path.lexists(base()) else []
    others = dict.fromkeys((RUNTIME / "shadowsim", FALLBACK))  # with other variables than now
    places += [place for place in others if place not in places and _is_private(place)]
    found = [path for place in places for path in _content(place)]
    dead = [path for path in found if _is_dead(path) and not _is_needed(path)]
    return [Leftover(path, tuple(_workers(path))) for path in dead]


def clean() -> list[Leftover]:
    """End and remove what `leftovers` finds, and nothing else; returns it."""
    found = leftovers()
    for one in found:
        _remove(one)
    return found


def remove_dead(folder: Path) -> None:
    """End and remove what is left of this network, if its owner is dead and nobody needs it."""
    if _is_dead(folder) and not _is_needed(folder):
        _remove(Leftover(folder, tuple(_workers(folder))))


def has_ended(folder: Path) -> bool:
    """Whether its agent is no more, with all that was in it, and nobody will start another."""
    return _is_dead(folder) and not any(map(_is_agent, _workers(folder)))


def _remove(leftover: Leftover) -> None:
    _end(leftover)
    RunDir(leftover.path).remove()


def _checked(folder: Path) -> Path:
    """The folder, made if need be, and certainly a private one of ours."""
    while True:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise _no_room(folder, error) from None
        private = _is_private(folder)
        if private:
            return folder
        if private is not None:  # else the last of the others just took the place away
            raise MachineLacks(
                f"{folder} must be a folder of this user with mode 0700: remove it,"
                " or set XDG_RUNTIME_DIR to a private folder"
            )


def _content(folder: Path) -> list[Path]:
    """What is in it; nothing, where the last of the others just took it away."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(folder.iterdir())
    return []


def _is_private(folder: Path) -> bool | None:
    """Whether it is a folder, no link to one, that only this user can enter; None if it is gone."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return None
    except OSError:
        return False
    ours = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
    return stat.S_ISDIR(found.st_mode) and ours


def _no_room(folder: Path, error: OSError) -> MachineLacks:
    return MachineLacks(
        f"no folder for the network can be made in {folder} ({error.strerror}): make room for it,"
        " or set XDG_RUNTIME_DIR to a private folder"
    )


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no such process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else int(words[19])


def _is_dead(folder: Path) -> bool:
    """Whether it is one of ours, and its owner is no more."""
    named = _FOLDER.fullmatch(folder.name)
    if named is None or folder.is_symlink() or not folder.is_dir():
        return False
    return _started(int(named[1])) != int(named[2])


def _is_needed(folder: Path) -> bool:
    """Whether a `Tenant` that is alive needs it."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _workers(folder: Path) -> Iterator[int]:
    """Processes that run our code with this folder as an argument."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _works_for(int(entry.name), folder):
            yield int(entry.name)


def _words(pid: int) -> list[str]:
    """The program and the arguments of a process; none if there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _is_agent(pid: int) -> bool:
    return any(word.endswith(f"{CODE}agent.py") for word in _words(pid))


def _works_for(pid: int, folder: Path) -> bool:
    words, module = _words(pid), CODE.strip("/").replace("/", ".")
    ours = any(CODE in word or word.startswith(module) for word in words)
    return ours and str(folder) in words and pid != os.getpid()


def _end(leftover: Leftover) -> None:
    """Kill its processes, and wait a moment until they are gone."""
    for pid in leftover.pids:
        if not _works_for(pid, leftover.path):  # it ended meanwhile
            continue
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
        except PermissionError:
            argv = ["sudo", "-n", "kill", "-KILL", str(pid)]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(argv, capture_output=True, timeout=10.0, check=False)
    until_s = time.monotonic() + 3.0
    while any(_works_for(pid, leftover.path) for pid in leftover.pids):
        if time.monotonic() > until_s:
            return
        time.sleep(0.01)
