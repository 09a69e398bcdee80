"""A service of the scenario and who reaches whom to how far its replica is: a model of Redis.

Writes come evenly. They reach the replica after a transfer delay; while it does not follow they
pile up, and when it follows again it asks within `RECONNECT_S`, then takes what it lacks.
"""

from __future__ import annotations

import math

from shadowsim.model.services import Service, ServiceStatus

DELAY_S = 0.002  # from the primary's answer to the replica's
RECONNECT_S = 1.0
CATCH_UP_BYTES_PER_S = 10e6
OVERHEAD_BYTES = 40  # of a write on the wire
KEYS = 1000  # as many as the emulated one writes


class SimulatedService:
    """The counts of one service; time moves only in `advance`. No process, no randomness."""

    def __init__(self, service: Service, delay_s: float = DELAY_S) -> None:
        self._service = service
        self._delay_s = delay_s
        self._now_s = 0.0
        self._written = 0.0
        self._replicated = 0.0
        self._follows_from_s = 0.0  # inf while it does not
        self._paces: list[tuple[float, float]] = [(0.0, 0.0)]  # (at, writes so far) where it bends

    @property
    def host(self) -> str:
        """Where the primary and, in the shadow, its replica are."""
        return self._service.host

    def advance(
        self, until_s: float, *, primary_up: bool = True, following: bool = True
    ) -> ServiceStatus:
        """Let time pass, in which the primary works or not, and the replica can follow or not.

        The replica can follow only where the primary works.
        """
        over_s = max(0.0, until_s - self._now_s)
        began_s, self._now_s = self._now_s, self._now_s + over_s
        before = self._written
        self._written += over_s * self._service.writes_per_s if primary_up else 0.0
        self._bend(began_s, before)
        follows = primary_up and following
        if follows and math.isinf(self._follows_from_s):
            self._follows_from_s = began_s + RECONNECT_S + self._transfer_s(before)
        elif not follows and over_s > 0.0:
            self._take_what_was_under_way(before, primary_up)
            self._follows_from_s = math.inf
        connected = self._now_s >= self._follows_from_s
        if connected:
            self._replicated = max(self._replicated, self._written_at(self._now_s - self._delay_s))
        return self._status(connected)

    def _take_what_was_under_way(self, before: float, primary_up: bool) -> None:
        """A primary that ends has sent what it took; a replica that is cut off does not get it."""
        if not math.isinf(self._follows_from_s) and not primary_up:
            self._replicated = max(self._replicated, before)

    def _transfer_s(self, written: float) -> float:
        """How long it takes to send what the replica lacks: no more than all that there is."""
        lacks = min(written - self._replicated, KEYS)
        return lacks * (self._service.value_bytes + OVERHEAD_BYTES) / CATCH_UP_BYTES_PER_S

    def _bend(self, at_s: float, written: float) -> None:
        """Remember when how much had been written, as far back as the replica lacks it."""
        self._paces.append((at_s, written))
        self._paces.append((self._now_s, self._written))
        while len(self._paces) > 2 and self._paces[1][1] <= self._replicated:
            self._paces.pop(0)

    def _written_at(self, at_s: float) -> float:
        return _between(self._paces, at_s)

    def _status(self, connected: bool) -> ServiceStatus:
        replicated, written = math.floor(self._replicated + 1e-9), math.floor(self._written + 1e-9)
        lag_s = self._delay_s if written else math.nan
        if replicated < written:
            times = [(written_then, at_s) for at_s, written_then in self._paces]
            lag_s = max(lag_s, self._now_s - _between(times, self._replicated + 1e-9))
        return ServiceStatus(
            self._service.host, self._service.kind, written, replicated, lag_s, connected
        )


def _between(points: list[tuple[float, float]], x: float) -> float:
    """The value at `x` on the line through points that go up; the last where it stands still."""
    left = points[0]
    for right in points:
        if right[0] > x:
            span = right[0] - left[0]
            share = max(0.0, x - left[0]) / span if span else 0.0
            return left[1] + share * (right[1] - left[1])
        left = right
    return left[1]
