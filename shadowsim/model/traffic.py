"""Who sends how much to whom, and how that varies with time."""

from __future__ import annotations

import math
from dataclasses import dataclass

CLASSES = ("critical", "normal", "bulk")


@dataclass(frozen=True, slots=True)
class Demand:
    """Traffic from a host to a host. `elastic` traffic (TCP) yields to congestion, other does not.

    `rate_bps` is what it wants to send; `flows` connections carry it, each on its own path.
    """

    source: str
    destination: str
    rate_bps: float
    traffic_class: str = "normal"
    protocol: str = "tcp"
    port: int = 443
    packet_bytes: int = 1000
    flows: int = 1

    @property
    def elastic(self) -> bool:
        return self.protocol == "tcp"

    @property
    def name(self) -> str:
        return f"{self.source}>{self.destination}:{self.traffic_class}/{self.protocol}/{self.port}"


@dataclass(frozen=True, slots=True)
class Profile:
    """How the demands breathe: a factor on every rate, 1 at time 0.

    `peak` is reached half a period in; `steps` are (from this second on, factor).
    """

    peak: float = 1.0
    period_s: float = 600.0
    steps: tuple[tuple[float, float], ...] = ()

    def factor(self, at_s: float) -> float:
        wave = 0.5 - 0.5 * math.cos(2 * math.pi * at_s / self.period_s)
        step = 1.0
        for from_s, factor in self.steps:
            step = factor if at_s >= from_s else step
        return step * (1.0 + (self.peak - 1.0) * wave)


@dataclass(frozen=True, slots=True)
class Traffic:
    demands: tuple[Demand, ...]
    profile: Profile = Profile()
