"""SimPy's time to the wall clock's, for all emulated networks of a run together."""

from __future__ import annotations

from time import monotonic, sleep

from simpy.rt import RealtimeEnvironment

from shadowsim.interruptions import uninterrupted

SLACK_S = 0.5


class WallClock:
    """An environment whose seconds are real ones, as long as somebody advances it.

    Networks that run side by side share one, so that what happens in one while the other is
    waited for happens in time. While nobody advances it, for longer than `SLACK_S`, it stands
    still: packets go on, but faults, samples and deadlines wait.
    """

    def __init__(self) -> None:
        self.env = RealtimeEnvironment(strict=False)

    @property
    def now(self) -> float:
        return float(self.env.now)

    def advance(self, until_s: float) -> None:
        """Sleep and let things happen until it is that late. Ctrl-C is heard between two things,
        unless whoever advances it is not to be interrupted."""
        behind_s = monotonic() - (self.env.real_start + self.now - self.env.env_start)
        if behind_s > SLACK_S or self.now == self.env.env_start:
            self.env.env_start = self.now
            self.env.sync()
        while self.env.peek() <= until_s:
            self._sleep_until(self.env.peek())
            with uninterrupted():
                self.env.step()
        if until_s > self.now:
            self._sleep_until(until_s)
            with uninterrupted():
                self.env.run(until=until_s)

    def _sleep_until(self, at_s: float) -> None:
        left_s = self.env.real_start + at_s - self.env.env_start - monotonic()
        if left_s > 0.0:
            sleep(left_s)
