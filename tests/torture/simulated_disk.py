"""Operations on files to what a machine still has of them after a crash, from a seed.

What a process reads is what was written last, by whomever. What a power loss leaves is decided by
what was synced, and by chance: bytes that were not are lost, kept in part, cut at any byte, zeros
where an earlier sector is missing, or length without data. Names that were not are kept up to some
point of the order in which they were made, as a journalling file system does; or, `any_names`, in
any subset at all.
"""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512


class Crash(BaseException):
    """The process is dead: nothing that it still wants happens."""


@dataclass
class Inode:
    """A file: what is read of it, and how many bytes of that are durable for certain."""

    data: bytearray
    durable: int = 0
    lost: bool = False  # a sync has failed: no later one makes anything durable

    def copy(self) -> Inode:
        return Inode(bytearray(self.data), self.durable, self.lost)


@dataclass(frozen=True)
class Renaming:
    """A change of names in one folder, made at once."""

    folder: str
    changes: tuple[tuple[str, int | None], ...]  # a name and its file; 0 is a folder; None: gone


@dataclass
class SimulatedDisk:
    """What all processes of one machine share. No process uses it but through `DiskOf`."""

    any_names: bool = False
    inodes: dict[int, Inode] = field(default_factory=dict)
    folders: dict[str, dict[str, int]] = field(default_factory=lambda: {"/": {}})
    durable: dict[str, dict[str, int]] = field(default_factory=lambda: {"/": {}})
    pending: list[Renaming] = field(default_factory=list)
    count: int = 0

    def copy(self) -> SimulatedDisk:
        return SimulatedDisk(
            self.any_names,
            {number: inode.copy() for number, inode in self.inodes.items()},
            {name: dict(names) for name, names in self.folders.items()},
            {name: dict(names) for name, names in self.durable.items()},
            list(self.pending),
            self.count,
        )

    def contents(self) -> dict[str, bytes | None]:
        """Every path with what is read there; None for a folder."""
        return {
            f"{folder.rstrip('/')}/{name}": bytes(self.inodes[number].data) if number else None
            for folder, names in self.folders.items()
            for name, number in names.items()
        }

    def state(self) -> str:
        """A digest of all that can matter to what comes: equal states have equal futures."""
        files = [(n, bytes(i.data), i.durable, i.lost) for n, i in sorted(self.inodes.items())]
        names = [
            sorted((folder, sorted(inside.items())) for folder, inside in known.items())
            for known in (self.folders, self.durable)
        ]
        return hashlib.sha256(repr((files, names, self.pending)).encode()).hexdigest()

    def lose_power(self, rng: random.Random) -> None:
        """Everything not synced is left to chance, and what then is there is durable."""
        if self.any_names:
            kept = [change for change in self.pending if rng.random() < 0.5]
        else:
            kept = self.pending[: rng.randint(0, len(self.pending))]
        for change in kept:
            _rename(self.durable, change)
        self.pending = []
        self.folders = {"/": dict(self.durable["/"])}
        for folder, names in self.durable.items():
            if _is_there(self.durable, folder):
                self.folders[folder] = dict(names)
        self.durable = {name: dict(names) for name, names in self.folders.items()}
        for number in {n for names in self.folders.values() for n in names.values() if n}:
            self.inodes[number] = _survivor(self.inodes[number], rng)

    def rename(self, folder: str, *changes: tuple[str, int | None]) -> None:
        change = Renaming(folder, changes)
        _rename(self.folders, change)
        self.pending.append(change)

    def sync(self, path: str) -> None:
        if path in self.folders:
            for change in self.pending:
                if change.folder == path:
                    _rename(self.durable, change)
            self.pending = [change for change in self.pending if change.folder != path]
            return
        inode = self.file(path)
        if not inode.lost:
            inode.durable = len(inode.data)

    def file(self, path: str) -> Inode:
        folder, _, name = path.rpartition("/")
        number = self.folders.get(folder or "/", {}).get(name)
        if not number:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return self.inodes[number]


def _rename(names: dict[str, dict[str, int]], change: Renaming) -> None:
    inside = names.setdefault(change.folder, {})
    for name, number in change.changes:
        if number is None:
            inside.pop(name, None)
        else:
            inside[name] = number


def _is_there(durable: dict[str, dict[str, int]], folder: str) -> bool:
    if folder == "/":
        return True
    above, _, name = folder.rpartition("/")
    return name in durable.get(above or "/", {}) and _is_there(durable, above or "/")


def _survivor(inode: Inode, rng: random.Random) -> Inode:
    """What is left of a file."""
    data, sure = inode.data, inode.durable
    if sure < len(data):
        data = data[: rng.choice([sure, len(data), rng.randint(sure, len(data))])]
        if rng.random() < 0.5:  # sectors are written in any order, and the length before any
            for start in range(sure // SECTOR * SECTOR, len(data), SECTOR):
                if rng.random() < 0.5:
                    begin, end = max(start, sure), min(start + SECTOR, len(data))
                    data[begin:end] = bytes(end - begin)
    return Inode(data, len(data))


Before = Callable[[str, str], None]  # an operation and its path, right before it is done
After = Callable[[str, str], None]  # and right after it


def unhindered(operation: str, path: str) -> None:
    """Nothing happens beside the operation."""


@dataclass
class DiskOf:
    """The disk as one process has it. `before` and `after` may raise, or let others go first.

    What `before` raises as Half is done in part, and then raised.
    """

    disk: SimulatedDisk
    before: Before = unhindered
    after: After = unhindered

    def read(self, path: Path) -> bytes:
        self.before("read", str(path))
        data = bytes(self.disk.file(str(path)).data)
        self.after("read", str(path))
        return data

    def names(self, folder: Path) -> tuple[str, ...]:
        self.before("names", str(folder))
        found = tuple(sorted(self.disk.folders.get(str(folder), {})))
        self.after("names", str(folder))
        return found

    def make_folder(self, folder: Path) -> None:
        fresh = [p for p in (folder, *folder.parents) if str(p) not in self.disk.folders]
        for path in reversed(fresh):
            self.before("make_folder", str(path))
            self.disk.folders[str(path)] = {}
            self.disk.durable.setdefault(str(path), {})
            self.disk.rename(str(path.parent), (path.name, 0))
            self.after("make_folder", str(path))
        self.sync(*(path.parent for path in fresh or [folder]))

    def create(self, path: Path, data: bytes) -> None:
        where, name = str(path.parent), path.name
        part = self._allowed("create", path, data)
        if name in self.disk.folders[where]:
            raise FileExistsError(errno.EEXIST, "there is one", str(path))
        self.disk.count += 1
        self.disk.inodes[self.disk.count] = Inode(bytearray(part.data))
        self.disk.rename(where, (name, self.disk.count))
        part.end()
        self.after("create", str(path))

    def append(self, path: Path, data: bytes) -> None:
        part = self._allowed("append", path, data)
        self.disk.file(str(path)).data.extend(part.data)
        part.end()
        self.after("append", str(path))

    def sync(self, *paths: Path) -> None:
        for path in self._in_any_order(paths):
            self._sync(path)

    def _in_any_order(self, paths: tuple[Path, ...]) -> list[Path]:
        """Of what is synced together anything may be first: here by how many files there are."""
        start = self.disk.count % max(len(paths), 1)
        turned = [*paths[start:], *paths[:start]]
        return turned[::-1] if self.disk.count % 2 else turned

    def _sync(self, path: Path) -> None:
        try:
            self.before("sync", str(path))
        except OSError:
            if str(path) not in self.disk.folders:
                self.disk.file(str(path)).lost = True
            raise
        if str(path) not in self.disk.folders:
            self.disk.file(str(path))
        self.disk.sync(str(path))
        self.after("sync", str(path))

    def link(self, source: Path, target: Path) -> None:
        self.before("link", str(target))
        self.disk.file(str(source))
        names = self.disk.folders[str(target.parent)]
        if target.name in names:
            raise FileExistsError(errno.EEXIST, "there is one", str(target))
        self.disk.rename(str(target.parent), (target.name, names[source.name]))
        self.after("link", str(target))

    def rename(self, source: Path, target: Path) -> None:
        self.before("rename", str(target))
        self.disk.file(str(source))
        names = self.disk.folders[str(source.parent)]
        self.disk.rename(str(source.parent), (source.name, None), (target.name, names[source.name]))
        self.after("rename", str(target))

    def remove(self, path: Path) -> None:
        self.before("remove", str(path))
        if path.name in self.disk.folders[str(path.parent)]:
            self.disk.rename(str(path.parent), (path.name, None))
        self.after("remove", str(path))

    def _allowed(self, operation: str, path: Path, data: bytes) -> Part:
        """As much of the data as is to be written."""
        try:
            self.before(operation, str(path))
        except Half as half:
            return Part(data[: int(len(data) * half.share)], half.error)
        return Part(data, None)


class Half(Exception):
    """The operation is done in part, and fails with this."""

    def __init__(self, share: float, error: BaseException) -> None:
        super().__init__()
        self.share, self.error = share, error


@dataclass(frozen=True)
class Part:
    """What of the data is written, and what is raised then."""

    data: bytes
    error: BaseException | None

    def end(self) -> None:
        if self.error is not None:
            raise self.error
