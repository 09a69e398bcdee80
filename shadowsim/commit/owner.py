"""An armed rollback to a commit that is confirmed, or taken back by whoever holds the rollback.

The semantics are those of NETCONF's confirmed commit (RFC 6241, section 8.4): a commit has an id,
is confirmed or cancelled, and one is open at a time; who holds it extends its deadline
(`guardian.py`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from shadowsim.commit.devices import Devices
from shadowsim.commit.generations import CANCELLED, TAKEN_OVER, Ending, Place, end, endings
from shadowsim.commit.log import LogBroken, LogWriter
from shadowsim.commit.terms import Terms
from shadowsim.errors import Fenced, MachineLacks, PersonNeeded, Settled
from shadowsim.model.config import DeviceConfig

FIRST = 1
# What file systems say that have no hard links: FAT, many of FUSE, of servers, and others.
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class NotSettled(PersonNeeded):
    """An earlier change to the same production is neither confirmed nor taken back."""


def claim(place: Place) -> None:
    """Make the folder of a commit, for one of all that want to. Raises NotSettled, OSError.

    It is claimed the way that a seal is made: what cannot be ended must not be begun, so where
    there are no links MachineLacks is raised.
    """
    if place.disk.names(place.folder):
        raise not_settled(place.folder)
    place.disk.make_folder(place.folder)
    draft = place.folder / ".claimed"
    try:
        place.disk.create(draft, b"")
        place.disk.link(draft, place.folder / "claimed")
    except FileExistsError:
        raise not_settled(place.folder) from None
    except OSError as error:
        if error.errno in NO_LINKS:
            raise MachineLacks(
                f"{place.folder.parent}: this file system has no hard links ({error.strerror}), "
                "by which a change is confirmed or taken back; say --out on another one"
            ) from None
        raise
    with suppress(OSError):
        place.disk.remove(draft)


class Commit:
    """A commit as seen by the one who makes it, the owner of its first generation."""

    def __init__(self, place: Place, terms: Terms) -> None:
        """Open it in a folder that was claimed, before anything is sent to production.

        From now on whoever finds this folder can take the change back. Raises LogBroken, OSError.
        """
        self.place = place
        self._unsure = ""
        self._log = LogWriter(place.disk, place.log(FIRST), place.key, place.head("log", FIRST))
        try:
            self._log.append("open", **terms.data())
        except BaseException:
            with suppress(OSError):  # or else it may look as if something had been begun
                end(place, FIRST, CANCELLED, "it could not be opened")
            raise

    def intend(self, what: str, device: str, commands: Iterable[str]) -> None:
        """Say what is sent next, before it is. Raises Fenced, LogBroken."""
        self.check()
        self._log.append("intend", what=what, device=device, commands=list(commands))

    def write(self, devices: Devices, config: DeviceConfig) -> None:
        """Have this config in force. Raises as `Devices.write` does.

        After any failure what is in force is unknown to this process, which goes by what it holds
        in memory: it can neither go on nor end the commit, only leave it to whoever takes over.
        """
        try:
            devices.write(config, FIRST)
        except BaseException:
            self._unsure = config.hostname
            raise

    def did(self, what: str, device: str, outcome: str) -> None:
        """Say how it went."""
        self._log.append("did", what=what, device=device, outcome=outcome)

    def end(self, state: str, why: str = "") -> None:
        """Confirm it, or say how else it ended; durable on return.

        Raises Fenced if it was taken over meanwhile: then nothing that this process knows of
        production holds any more; and LogBroken after a write that failed.
        """
        self.check()
        ending, mine = end(self.place, FIRST, state, why)
        if not mine:
            raise _fenced([ending])

    def check(self) -> None:
        """Nothing, as long as it is this process's to go on with. Raises Fenced, Settled."""
        if self.place.log(FIRST).name not in self.place.disk.names(self.place.folder):
            raise Settled(
                "production was taken over from this process, and another run began since"
            )
        past = endings(self.place)
        if past:
            raise _fenced(past)
        if self._unsure:
            raise LogBroken(f"what {self._unsure} runs is unknown, since a write to it failed")


def not_settled(folder: Path) -> NotSettled:
    return NotSettled(
        f"{folder}: a change to production is neither confirmed nor taken back;"
        f" 'shadowsim rollback --resume {folder}' settles it"
    )


def _fenced(past: Sequence[Ending]) -> Fenced:
    """What to say after these, the first of which is that of this process's generation."""
    kind = Fenced if past[-1].state == TAKEN_OVER else Settled
    if past[0].state == TAKEN_OVER:
        return kind(f"production was taken over from this process: {past[0].why}")
    return kind(f"the commit had ended already: {past[0].state}")
