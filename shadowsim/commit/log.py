"""Records to lines that cannot be altered or reordered unnoticed, and back.

A line is `MAC BODY`, MAC being HMAC-SHA256 by the installation's key over the MAC before it and
this body (a hash chain as in Haber and Stornetta 1991, keyed so that a stranger cannot make one).
A log has one writer, which makes it, appends one record at a time, and syncs each: so after a
crash at most its last line is in pieces. One that somebody has cut off between two lines looks like
one that a crash has cut off there: no log of one's own can show that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shadowsim.commit.disk import Disk
from shadowsim.errors import PersonNeeded

MAC_LENGTH = 64


class LogAltered(PersonNeeded):
    """A log holds what nobody with the key has written; nothing may be concluded from it."""


class LogBroken(PersonNeeded):
    """A record could not be written, and what the disk has of it is unknown."""


@dataclass(frozen=True)
class Record:
    """One thing that was done or is about to be."""

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Log:
    """What a log holds. `heads[n]` is the MAC after `n` records; `torn`: a piece follows them."""

    records: tuple[Record, ...]
    heads: tuple[str, ...]
    torn: bool


class LogWriter:
    """The one writer of a log. After a failure it takes nothing more: see LogBroken."""

    def __init__(self, disk: Disk, path: Path, key: bytes, head: str) -> None:
        """Make the log. Raises FileExistsError, since a log is never written by two, and OSError.

        `head` is what its chain begins with, so that a log does not pass for another one.
        """
        self._disk, self._path, self._key, self._head = disk, path, key, head
        self._broken = False
        disk.create(path, b"")
        disk.sync(path.parent)

    def append(self, kind: str, **data: Any) -> None:
        """Write a record; it is durable when this returns. Raises LogBroken."""
        if self._broken:
            raise LogBroken(f"{self._path}: takes no more records, since one failed before")
        head, line = write_line(Record(kind, data), self._key, self._head)
        # What a failed fsync left behind is unknown, and a second one would report success; so is
        # what an interruption (Ctrl-C, no memory) left behind, which no OSError tells of.
        self._broken = True
        try:
            self._disk.append(self._path, line)
            self._disk.sync(self._path)
        except OSError as error:
            raise LogBroken(f"{self._path}: '{kind}' was not written: {error.strerror}") from error
        self._broken = False
        self._head = head


def read_log(disk: Disk, path: Path, key: bytes, head: str) -> Log:
    """All records of a log whose chain begins with `head`; not one that a crash left in pieces.

    A log that is not there has none. Raises LogAltered for whatever a crash cannot have done, and
    OSError.
    """
    try:
        *whole, rest = disk.read(path).split(b"\n")
    except FileNotFoundError:
        return Log((), (head,), torn=False)
    records: list[Record] = []
    heads = [head]
    for number, line in enumerate(whole):
        found = read_line(line, key, heads[-1])
        if found is None:
            if number == len(whole) - 1 and not rest and b"\0" in line:
                return Log(tuple(records), tuple(heads), torn=True)  # a block of it is missing
            raise LogAltered(f"{path}:{number + 1}: altered, or written with another key")
        heads.append(found[0])
        records.append(found[1])
    return Log(tuple(records), tuple(heads), torn=bool(rest))


def write_line(record: Record, key: bytes, head: str) -> tuple[str, bytes]:
    """The line of a record that follows `head`, and the head that it makes."""
    body = json.dumps([record.kind, dict(record.data)], separators=(",", ":")).encode()
    mac = _mac(key, head, body)
    return mac, f"{mac} ".encode() + body + b"\n"


def read_line(line: bytes, key: bytes, head: str) -> tuple[str, Record] | None:
    """The head and the record that a line makes after `head`; None if it was not written there."""
    body = line[MAC_LENGTH + 1 :]
    mac = _mac(key, head, body)
    if not hmac.compare_digest(f"{mac} ".encode(), line[: MAC_LENGTH + 1]):
        return None
    kind, data = json.loads(body)
    return mac, Record(kind, data)


def _mac(key: bytes, head: str, body: bytes) -> str:
    return hmac.new(key, head.encode() + b"\n" + body, hashlib.sha256).hexdigest()
