"""A folder that work is kept in piece by piece, so that it may be interrupted and gone on with."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shadowsim.commit.disk import RealDisk
from shadowsim.errors import BadInput, Mistake, ShadowsimError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Settings = TypeVar("Settings", bound=DataclassInstance)

TEMPORARY = ".part"
LARGEST_SETTINGS = 1 << 20  # bytes


@contextmanager
def claimed(
    file: Path, settings: Settings, read: Callable[[Any], Settings], what: str
) -> Iterator[None]:
    """Have the folder of this file for oneself; the file says what the work in it is made with.

    Work that was begun before is gone on with. `read` makes settings of the file's JSON, `what`
    names the work. Raises BadInput if it is not a folder to write to, is one of something else, or
    was made with other settings, ShadowsimError if another process is at it.
    """
    folder = file.parent
    with told(folder, what):
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            strange = sorted(p.name for p in folder.iterdir() if p.suffix != TEMPORARY)
            if strange:
                found = f"a folder of something else (it holds {strange[0]}); take a new one"
                raise BadInput([Mistake(found, str(folder))])
            keep(file, json.dumps(asdict(settings), indent=1).encode())
        with file.open("rb") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ShadowsimError(f"{folder}: another process is making it") from None
            _check_same(folder, settings_in(file, read), settings)
            for left in folder.glob(f"*{TEMPORARY}"):
                left.unlink(missing_ok=True)
            yield


def settings_in(file: Path, read: Callable[[Any], Settings]) -> Settings:
    """What is made in the folder of this file. Raises BadInput, and FileNotFoundError."""
    try:
        with file.open("rb") as opened:
            return read(json.loads(opened.read(LARGEST_SETTINGS)))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(file))]) from None
    except (ValueError, TypeError, LookupError, RecursionError):
        raise BadInput([Mistake("damaged, or of another program", str(file))]) from None


def keep(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all; durable when this returns.

    Who may read it is for the user to say (umask): these are results, not secrets.
    """
    disk = RealDisk()
    fresh = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    with fresh.open("xb") as file:
        file.write(data)
    disk.sync(fresh)
    disk.rename(fresh, path)
    disk.sync(path.parent)


@contextmanager
def told(folder: Path, what: str) -> Iterator[None]:
    """Turn what the file system raises into what a person can act on."""
    try:
        yield
    except OSError as error:
        found = f"{what} cannot be kept here: {error.strerror}"
        raise BadInput([Mistake(found, str(error.filename or folder))]) from None


def _check_same(folder: Path, there: DataclassInstance, wanted: DataclassInstance) -> None:
    different = [
        _difference(field.name, getattr(there, field.name), getattr(wanted, field.name))
        for field in fields(wanted)
        if getattr(there, field.name) != getattr(wanted, field.name)
    ]
    if different:
        what = f"made with other settings: {'; '.join(different)}; take another folder"
        raise BadInput([Mistake(what, str(folder))])


def _difference(name: str, there: Any, wanted: Any) -> str:
    if isinstance(there, tuple):
        return f"other {name}"
    return f"{name} {there}, now {wanted}"
