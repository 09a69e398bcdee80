"""The few operations on files that everything durable here is made of, each with its promise.

They are a seam: `Disk` is also kept by a simulated disk in `tests/torture/`, which loses, reorders
and tears whatever was not synced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

WORTH_IT, MOST_SYNCS = 4, 16  # from how many on at the same time, and how many at most
LARGEST_BYTES = 64 << 20  # of a file that is read: what somebody else put there may be anything


class Disk(Protocol):
    """Nothing is durable before `sync` has returned: of a file its bytes, of a folder its names.

    Any call may raise OSError; an `append` or a `create` may then have been done in part, and what
    a failed `sync` has left behind is unknown for good.
    """

    def read(self, path: Path) -> bytes:
        """All bytes. Raises FileNotFoundError, and OSError for more than LARGEST_BYTES."""
        ...

    def names(self, folder: Path) -> tuple[str, ...]:
        """The names in a folder, in order; none if it is not there."""
        ...

    def make_folder(self, folder: Path) -> None:
        """A folder only its owner can enter, and those above it; nothing if it is there.

        Their names are durable on return.
        """
        ...

    def create(self, path: Path, data: bytes) -> None:
        """A new file with these bytes. Raises FileExistsError."""
        ...

    def append(self, path: Path, data: bytes) -> None:
        """These bytes at the end of a file that is there."""
        ...

    def sync(self, *paths: Path) -> None:
        """All of these, in any order."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """A second name, at once or not at all. Raises FileExistsError: of several, one wins."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Another name, at once or not at all; what had that name is gone."""
        ...

    def remove(self, path: Path) -> None: ...


class RealDisk:
    """The disk of this machine."""

    def read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise OSError(27, "larger than anything that was written here", str(path))
        return data

    def names(self, folder: Path) -> tuple[str, ...]:
        try:
            return tuple(sorted(path.name for path in folder.iterdir()))
        except FileNotFoundError:
            return ()

    def make_folder(self, folder: Path) -> None:
        fresh = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sync(*(path.parent for path in fresh or [folder]))

    def create(self, path: Path, data: bytes) -> None:
        with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            _write(fd, data)

    def append(self, path: Path, data: bytes) -> None:
        with _opened(path, os.O_WRONLY | os.O_APPEND) as fd:
            _write(fd, data)

    def sync(self, *paths: Path) -> None:
        if len(paths) < WORTH_IT:
            for path in paths:
                _sync(path)
        else:  # side by side, so that a file system can write for all of them at once
            from concurrent.futures import ThreadPoolExecutor  # slow to load, and seldom needed

            with ThreadPoolExecutor(MOST_SYNCS) as threads:
                for _ in threads.map(_sync, paths):
                    pass

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with _opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
