"""A folder to who may write there now, and how it ended, decided once by a name that exists.

A commit has generations 1, 2, ... Each has one owner, which alone writes its log `N.log`. A
generation ends when its seal `N.seal` appears: by its owner (confirmed, cancelled, rolled back,
halted), or by whoever takes over and so becomes the owner of generation N + 1. The seal is made by
`link`, so of several that want to end a generation one succeeds and all others read how it ended.
A process that was stopped for however long can neither end nor continue what was taken over.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shadowsim.commit.disk import Disk
from shadowsim.commit.log import LogAltered, Record, read_line, write_line

TAKEN_OVER = "taken over"
CONFIRMED, CANCELLED, ROLLED_BACK, HALTED = "confirmed", "cancelled", "rolled_back", "halted"
STATES = (CONFIRMED, CANCELLED, ROLLED_BACK, HALTED, TAKEN_OVER)


@dataclass(frozen=True)
class Place:
    """Where a commit is kept, and the key that makes its lines ours."""

    disk: Disk
    folder: Path
    key: bytes

    def log(self, generation: int) -> Path:
        return self.folder / f"{generation}.log"

    def seal(self, generation: int) -> Path:
        return self.folder / f"{generation}.seal"

    def head(self, what: str, generation: int) -> str:
        """Where a chain of lines begins here, so that one from anywhere else does not fit.

        No two commits of an installation have folders of the same name.
        """
        return f"{what} {generation} of {self.folder.name}"


@dataclass(frozen=True)
class Ending:
    """How a generation ended. `by` tells endings of equal words apart."""

    state: str
    why: str
    by: str


def endings(place: Place) -> tuple[Ending, ...]:
    """How each generation ended, from the first on; the one after these is open if any is.

    They are durable on return. Raises LogAltered for a seal that is none, or stands where none can
    be, and OSError.
    """
    seals = {name for name in place.disk.names(place.folder) if name.endswith(".seal")}
    found: list[Ending] = []
    while len(found) < len(seals):
        if found and found[-1].state != TAKEN_OVER:
            break
        if place.seal(len(found) + 1).name not in seals:
            break
        found.append(_read(place, len(found) + 1))
    if len(found) < len(seals):
        extra = sorted(seals - {place.seal(n + 1).name for n in range(len(found))})
        raise LogAltered(f"{place.folder}: {extra[0]} has nothing before it that it could follow")
    if found:
        place.disk.sync(place.folder)  # who made it may have died before: see `end`
    return tuple(found)


def end(place: Place, generation: int, state: str, why: str) -> tuple[Ending, bool]:
    """End a generation: how it has ended, and whether that was this call. Durable on return.

    Raises OSError; then it may have ended or not, and a second call finds out.
    """
    mine = Ending(state, why, secrets.token_hex(8))
    draft = place.folder / f".{generation}.{mine.by}"
    record = Record(state, {"why": why, "by": mine.by})
    place.disk.create(draft, write_line(record, place.key, place.head("seal", generation))[1])
    place.disk.sync(draft)
    with suppress(FileExistsError):
        place.disk.link(draft, place.seal(generation))
    place.disk.sync(place.folder)  # also if it is another's: it must not vanish once it is followed
    with suppress(OSError):
        place.disk.remove(draft)
    found = _read(place, generation)
    return found, found == mine


def _read(place: Place, generation: int) -> Ending:
    path = place.seal(generation)
    line, newline, rest = place.disk.read(path).partition(b"\n")
    found = (
        read_line(line, place.key, place.head("seal", generation)) if newline and not rest else None
    )
    if found is None or found[1].kind not in STATES:
        raise LogAltered(f"{path}: altered, or made with another key")
    record = found[1]
    return Ending(record.kind, record.data["why"], record.data["by"])
