"""A run's changes to production to a commit that a guardian holds; or, where production dies with
the run anyway, to nothing.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from shadowsim.commit.alone import AtWork, alone
from shadowsim.commit.devices import FileDevices
from shadowsim.commit.disk import Disk, RealDisk
from shadowsim.commit.generations import CANCELLED, ROLLED_BACK, TAKEN_OVER, Place, endings
from shadowsim.commit.guard import ENDING_S, OFTEN, Guard
from shadowsim.commit.guardian import LOST, patience
from shadowsim.commit.holder import holding
from shadowsim.commit.owner import FIRST, Commit, claim, not_settled
from shadowsim.commit.reach import DEVICES, FILES, reach_in
from shadowsim.commit.settle import OPEN, Reach, Standing, settle, standing
from shadowsim.commit.terms import Terms
from shadowsim.errors import Fenced, ShadowsimError, Unreachable
from shadowsim.model.change import Change, Configs
from shadowsim.model.config import DeviceConfig
from shadowsim.network.protocol import Network
from shadowsim.rollback.signature import RollbackSignature

LOOKS_S = 0.05  # between two looks at the guardian while nothing is sent
SETTLED_S = 30.0  # until whoever took production over has settled it


class Hold(Protocol):
    """What a run asks of whoever holds its rollback. All may raise Fenced, LogBroken, NotArmed."""

    def arm(
        self, production: Network, change: Change, before: Configs, signature: RollbackSignature
    ) -> None:
        """From now on the change is taken back unless it is confirmed. Nothing was sent yet."""
        ...

    def intend(self, what: str, device: str, commands: Iterable[str]) -> None:
        """These commands are about to be sent to production."""
        ...

    def did(self, what: str, device: str, outcome: str) -> None:
        """And this came of it."""
        ...

    def extend(self) -> None:
        """The run is well. To be called often."""
        ...

    def asking(self, for_s: float) -> AbstractContextManager[None]:
        """A person is given `for_s` to answer; who holds it is replaced meanwhile if it dies."""
        ...

    def end(self, state: str, why: str = "") -> None:
        """How it ended: confirmed, cancelled, rolled_back or halted."""
        ...

    def release(self) -> tuple[str, Configs] | None:
        """Nothing more comes of this run; what it has not ended is taken back before this returns.

        How others ended it, as `taken` says that; None if there was nothing to take back. A second
        call does nothing, or goes on where the first was interrupted.
        """
        ...

    def taken(self) -> tuple[str, Configs]:
        """After Fenced: how those who took over ended it, and what the changed devices run now."""
        ...

    @property
    def begun(self) -> Path | None:
        """The folder of the commit, wherever it is by now; None if there is none."""
        ...

    @property
    def supplanted(self) -> bool:
        """Whether this run was overtaken, and another one has begun in its folder since."""
        ...

    def stow(self, folder: Path) -> None:
        """Move the commit, if it has ended, into the folder of its run, which is there by now."""
        ...


class Unheld:
    """Nobody holds it: for a simulated production that is gone when its run is."""

    def arm(
        self, production: Network, change: Change, before: Configs, signature: RollbackSignature
    ) -> None: ...

    def intend(self, what: str, device: str, commands: Iterable[str]) -> None: ...

    def did(self, what: str, device: str, outcome: str) -> None: ...

    def extend(self) -> None: ...

    def asking(self, for_s: float) -> AbstractContextManager[None]:
        return nullcontext()

    def end(self, state: str, why: str = "") -> None: ...

    def release(self) -> tuple[str, Configs] | None:
        return None

    def taken(self) -> tuple[str, Configs]:
        raise NotImplementedError("what nobody holds nobody takes over")

    @property
    def begun(self) -> Path | None:
        return None

    @property
    def supplanted(self) -> bool:
        return False

    def stow(self, folder: Path) -> None: ...


class Held:
    """A guardian holds it, in a folder of its own. Release it in the end.

    `lease_s` is how long after the last sign of life of this process the change is taken back;
    `still` says whether no other run has begun since in the folder of this one.
    """

    def __init__(
        self,
        folder: Path,
        key: bytes,
        lease_s: float,
        disk: Disk | None = None,
        still: Callable[[], bool] = lambda: True,
    ) -> None:
        self._still = still
        self._place = Place(disk or RealDisk(), folder.absolute(), key)
        self._guard = Guard(self._place.folder, lease_s)
        self._commit: Commit | None = None
        self._ended = self._released = False
        self._looked_s = 0.0
        self._looks_s = min(LOOKS_S, lease_s / OFTEN)

    def arm(
        self, production: Network, change: Change, before: Configs, signature: RollbackSignature
    ) -> None:
        place = self._place
        claim(place)
        mine = {name: before[name] for name in change.devices}
        files = FileDevices(place.disk, place.folder / DEVICES)

        def keep(config: DeviceConfig) -> None:
            if config.hostname in mine:
                with self._fenced_or():
                    self._open.write(files, config)

        reach = production.entrust(FIRST, keep, self._guard.lend, self._check)
        if reach == FILES:
            files.fill(mine, FIRST)
        self._commit = Commit(
            place, Terms(change, mine, signature.sealed(place.key).armed(), reach)
        )
        try:
            self._guard.arm()
        except BaseException:
            self.end(CANCELLED, "the rollback could not be armed")
            raise

    def _check(self) -> None:
        """Raises Fenced if others have taken over what this run has not ended."""
        if self._commit is not None and not self._ended:
            self._commit.check()

    def intend(self, what: str, device: str, commands: Iterable[str]) -> None:
        self._look()  # nothing is sent that nobody guards
        with self._fenced_or():
            self._open.intend(what, device, commands)

    def did(self, what: str, device: str, outcome: str) -> None:
        with self._fenced_or():
            self._open.did(what, device, outcome)

    def extend(self) -> None:
        if time.monotonic() >= self._looked_s + self._looks_s:
            self._look()

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        with self._fenced_or():
            self._guard.extend()

    @contextmanager
    def asking(self, for_s: float) -> Iterator[None]:
        with self._fenced_or(), self._guard.attending(for_s):
            yield

    def end(self, state: str, why: str = "") -> None:
        with self._fenced_or():
            self._open.end(state, why)
        self._ended = True

    @contextmanager
    def _fenced_or(self) -> Iterator[None]:
        """Whatever fails because production was taken over, and all removed: say that instead."""
        try:
            yield
        except (ShadowsimError, OSError):
            if self._commit is not None:
                self._commit.check()
            raise

    def taken(self) -> tuple[str, Configs]:
        return self._seen(SETTLED_S)

    def _seen(self, for_s: float) -> tuple[str, Configs]:
        """How it stands, once others have settled it or have had the time to."""
        until_s = time.monotonic() + for_s
        reach = reach_in(self._place.folder)
        while True:
            found: Standing = standing(self._place, reach)
            if found.settled or time.monotonic() > until_s:
                return found.state, _known(found, reach)
            time.sleep(0.05)

    def release(self) -> tuple[str, Configs] | None:
        if self._released:
            return None
        mine = self._ended or self._commit is None
        self._guard.end(done=mine)
        came = None if mine else self._left()
        self._released = True
        return came

    def _left(self) -> tuple[str, Configs]:
        """What comes of a commit that this run has not ended, and does not go on with."""
        try:
            with holding(self._place.folder) as nobody_has_it:
                # Then its guardian has died, and there was no other one.
                if not nobody_has_it or self._settled():
                    return self._seen(SETTLED_S)
            return self._seen(0.0)
        except (ShadowsimError, OSError):
            return OPEN, {}

    def _settled(self) -> bool:
        """Whether it is, or somebody else sees to it. Else it stays open, and that is told."""
        patient = patience(time.monotonic, ENDING_S)
        try:
            settle(self._place, reach_in(self._place.folder), LOST, patient)
        except Fenced:
            return True
        except (ShadowsimError, OSError):
            return False
        return True

    @property
    def begun(self) -> Path | None:
        there = self._commit is not None or _is_commit(self._place.folder)
        return self._place.folder if there else None

    @property
    def supplanted(self) -> bool:
        return not self._still()

    def stow(self, folder: Path) -> None:
        mine = self._place.folder
        if not _is_commit(mine):
            shutil.rmtree(mine, ignore_errors=True)  # nothing was begun
        elif _has_ended(mine, self._place.key):
            (folder / STOWED).mkdir(exist_ok=True)
            stowed = folder.absolute() / STOWED / mine.name
            mine.rename(stowed)
            self._place = replace(self._place, folder=stowed)
        with suppress(OSError):  # it is not there, or holds something still
            mine.parent.rmdir()

    @property
    def _open(self) -> Commit:
        if self._commit is None:
            raise RuntimeError("nothing was armed")
        return self._commit


def _known(found: Standing, reach: Reach) -> Configs:
    """What production runs. Of one that has died since it was taken back, what it was back to."""
    if found.terms is None:
        return {}
    now: Configs = {}
    with suppress(Unreachable):
        now = reach(found.terms).read()
    return {**found.terms.before, **now} if found.state == ROLLED_BACK else now


STOWED = "commit"  # what its folder is called within that of its run, once both have ended


def beside(folder: Path) -> Path:
    """Where the commit of a run lies until it has ended: beside the folder of the run."""
    return folder.with_name(f"{folder.name}.commit")


def commits_in(folder: Path) -> tuple[Path, ...]:
    """The commits that lie there, or the one that is there. No more than one, as a rule.

    Each has a folder of its own, whose name no other ever has: what an earlier run or its guardian
    still does when it wakes up after all was settled and gone, it does where nobody looks.
    """
    return tuple(filter(_is_commit, (folder, *sorted(folder.glob("*")))))


def commit_in(folder: Path) -> Path | None:
    """The first of them."""
    return next(iter(commits_in(folder)), None)


def _is_commit(folder: Path) -> bool:
    return (folder / f"{FIRST}.log").exists()


@contextmanager
def held(folder: Path, key: bytes, lease_s: float, disk: Disk | None = None) -> Iterator[Held]:
    """A hold for the run that will be in this folder, which no other run may be in until the end.

    Commits of earlier runs there are removed if they have ended. Raises NotSettled, AtWork,
    LogAltered, MachineLacks, OSError.
    """
    place, name = beside(folder), secrets.token_hex(8)
    _make_parent(folder)
    with ExitStack() as until_the_end:
        try:
            lock = alone(folder, name, partial(_overtaken, place, key))
            still = until_the_end.enter_context(lock)
        except AtWork:
            _check_ended(place, key)  # where a commit is open, that is what is to be told
            raise
        _clear(place, key)
        hold = Held(place / name, key, lease_s, disk, still)
        try:
            yield hold
        finally:
            hold.release()


def _make_parent(folder: Path) -> None:
    """A folder above it, whose name is durable."""
    fresh = [path for path in folder.absolute().parents if not path.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    RealDisk().sync(*(path.parent for path in fresh))


def _clear(place: Path, key: bytes) -> None:
    """Remove what has ended. Raises NotSettled."""
    gone = place.with_name(f".{place.name}")
    shutil.rmtree(gone, ignore_errors=True)
    if place.exists():
        _check_ended(place, key)
        place.rename(gone)  # else a part of it might be found without the rest
        shutil.rmtree(gone, ignore_errors=True)


def _check_ended(place: Path, key: bytes) -> None:
    for commit in commits_in(place):
        if not _has_ended(commit, key):
            raise not_settled(place)


def _has_ended(commit: Path, key: bytes) -> bool:
    return standing(Place(RealDisk(), commit, key), reach_in(commit)).settled


def _overtaken(place: Path, key: bytes, name: str) -> Path | None:
    """The commit of this name, if it has ended, and not by the run that made it."""
    for commit in commits_in(place):
        if commit.name == name:
            past = endings(Place(RealDisk(), commit, key))
            if len(past) > 1 and past[-1].state != TAKEN_OVER:
                return commit
    return None
