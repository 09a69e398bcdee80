"""What died in a network to another attempt, to building all of it anew, or to giving it up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from shadowsim.errors import BadInput, Fenced, Settled, ShadowsimError
from shadowsim.network.emulated.rig import Rig
from shadowsim.network.protocol import Lend, Still

CARE_S = 0.1  # how often it is looked after what may have died, and who else wrote a config
LATE_S = 2.0  # until a switch that is connected must hold its rules
MOST_TRIES = 8  # to bring back what died, each after twice the time; halfway all is built anew


class NetworkLost(ShadowsimError):
    """A part of an emulated network died and could not be brought back."""


class Care:
    """Keeps a rig in step with what it is to be; `tell(reopen)` tells all parts of it everything.

    `hand_over` tells what only this process knows, where somebody else has taken the devices over.
    `behind`: some part may not know what it was told last, and if `reopen` was asked for, that
    may be a mirror port; `lost`: it was given up.
    """

    def __init__(
        self, rig: Rig, name: str, tell: Callable[[bool], None], hand_over: Callable[[], None]
    ) -> None:
        self._rig, self._name, self._tell, self._hand_over = rig, name, tell, hand_over
        self.behind = self.lost = False
        self._reopen = False
        self._failed = 0  # attempts in a row
        self._in_time_s = monotonic()
        self._generation: int | None = None  # that this process is, once its devices are entrusted
        self._lend: Lend = lambda fds: None
        self._still: Still = lambda: None
        self._unlent = False  # whether what was lent is of processes that are no more

    @property
    def pause_s(self) -> float:
        """Until the next attempt."""
        return float(CARE_S * 2**self._failed)

    def entrust(self, generation: int, lend: Lend, still: Still) -> None:
        """The devices are this generation's; whoever shall hold their processes is lent them."""
        self._generation, self._lend, self._still = generation, lend, still
        self._rig.store.claim(generation)
        lend(self._rig.lifelines())

    def attempt(self, work: Callable[[], None], *, edge: bool = False) -> None:
        """Do what needs all parts. If one is dead, `mend` tells all of them everything later."""
        try:
            work()
        except (BadInput, Fenced):
            raise
        except (ShadowsimError, OSError):  # what dies may have to be started, and that may fail
            self.behind = True
            self._reopen = self._reopen or edge

    def tell_anew(self) -> None:
        """Tell all parts everything, mirror ports too, now or as soon as that can be done."""
        self._reopen = True
        self.attempt(lambda: self._tell(True))
        self._reopen = self.behind

    def mend(self) -> bool:
        """Bring back what has died; whether all had to be told again. Raises ShadowsimError.

        Where that is Fenced, whoever has taken over finds the devices as they were; but if that one
        is done, nobody waits for what this process knows, and nothing is told to what is new.
        """
        try:
            return self._mend()
        except Fenced:
            with suppress(ShadowsimError):  # then they are lost, and whoever waits for them says so
                if not self._is_settled():
                    self._hand_over()
            raise

    def _is_settled(self) -> bool:
        try:
            self._still()
        except Fenced as error:
            return isinstance(error, Settled)
        return False

    def _mend(self) -> bool:
        mended = self._rig.mend()
        if self._generation is not None and mended:
            self._rig.store.claim(self._generation)
            self._still()  # a database that is new knows of no fence
            self._unlent = True
        self.behind = self.behind or bool(mended)
        self._reopen = self._reopen or "agent" in mended
        if told := self.behind or self._late():
            self._tell(self._reopen)
            self.behind = self._reopen = False
        if self._unlent:
            self._lend(self._rig.lifelines())
            self._unlent = False
        return told

    @contextmanager
    def trying(self) -> Iterator[None]:
        """An attempt that may fail: then again, then all anew, and in the end NetworkLost."""
        try:
            yield
            self._failed = 0
        except Fenced:
            raise
        except (ShadowsimError, OSError) as error:
            self.behind = True
            self._failed += 1
            self._escalate(error)

    def _escalate(self, error: Exception) -> None:
        if self._failed == MOST_TRIES:
            self.lost = True
            self._rig.end()
            what = f"the emulated network '{self._name}' broke and could not be mended"
            raise NetworkLost(f"{what} in {MOST_TRIES} attempts; the last one: {error}") from error
        if self._failed == MOST_TRIES // 2:
            self._rig.fell()

    def _late(self) -> bool:
        """Whether a switch that can be reached has not held its rules for a while."""
        if self._rig.connected <= self._rig.current | self._rig.refused.keys():
            self._in_time_s = monotonic()
        return monotonic() > self._in_time_s + LATE_S
