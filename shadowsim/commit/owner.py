"""An armed rollback to a commit that is confirmed, or taken back by whoever holds the rollback.

The semantics are those of NETCONF's confirmed commit (RFC 6241, section 8.4): a commit has an id,
is confirmed or cancelled, and one is open at a time; who holds it extends its deadline
(`guardian.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from shadowsim.commit.generations import TAKEN_OVER, Ending, Place, end, endings
from shadowsim.commit.log import LogWriter
from shadowsim.commit.terms import Terms
from shadowsim.errors import Fenced, PersonNeeded

FIRST = 1


class NotSettled(PersonNeeded):
    """An earlier change to the same production is neither confirmed nor taken back."""


def claim(place: Place) -> None:
    """Make the folder of a commit. Raises NotSettled if there is one, and OSError."""
    if place.disk.names(place.folder):
        raise not_settled(place.folder)
    place.disk.make_folder(place.folder)
    place.disk.sync(place.folder.parent)


class Commit:
    """A commit as seen by the one who makes it, the owner of its first generation."""

    def __init__(self, place: Place, terms: Terms) -> None:
        """Open it in a folder that was claimed, before anything is sent to production.

        From now on whoever finds this folder can take the change back. Raises LogBroken, OSError.
        """
        self.place = place
        self._log = LogWriter(place.disk, place.log(FIRST), place.key, log_head(FIRST))
        self._log.append("open", **terms.data())

    def intend(self, what: str, device: str, commands: Iterable[str]) -> None:
        """Say what is sent next, before it is. Raises Fenced, LogBroken."""
        self.check()
        self._log.append("intend", what=what, device=device, commands=list(commands))

    def did(self, what: str, device: str, outcome: str) -> None:
        """Say how it went."""
        self._log.append("did", what=what, device=device, outcome=outcome)

    def end(self, state: str, why: str = "") -> None:
        """Confirm it, or say how else it ended; durable on return.

        Raises Fenced if it was taken over meanwhile: then nothing that this process knows of
        production holds any more.
        """
        ending, mine = end(self.place, FIRST, state, why)
        if not mine:
            raise _fenced(ending)

    def check(self) -> None:
        """Nothing, as long as it is this process's to go on with. Raises Fenced."""
        if self.place.log(FIRST).name not in self.place.disk.names(self.place.folder):
            raise Fenced("production was taken over from this process, and another run began since")
        past = endings(self.place)
        if past:
            raise _fenced(past[0])


def not_settled(folder: Path) -> NotSettled:
    return NotSettled(
        f"{folder}: a change to production is neither confirmed nor taken back;"
        f" 'shadowsim rollback --resume {folder}' settles it"
    )


def log_head(generation: int) -> str:
    """Where the chain of a generation's log begins."""
    return f"log {generation}"


def _fenced(ending: Ending) -> Fenced:
    if ending.state == TAKEN_OVER:
        return Fenced(f"production was taken over from this process: {ending.why}")
    return Fenced(f"the commit had ended already: {ending.state}")
