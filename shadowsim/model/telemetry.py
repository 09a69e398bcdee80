"""What an operator can measure, in one schema for every network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

DEVICE_METRICS = ("cpu", "memory", "table")
LINK_METRICS = ("load_bps", "drop_bps", "utilisation", "up")
DEMAND_METRICS = ("offered_bps", "throughput_bps", "latency_s", "loss")
METRICS = {"device": DEVICE_METRICS, "link": LINK_METRICS, "demand": DEMAND_METRICS}
PLACES = {(of, name): n for of, names in METRICS.items() for n, name in enumerate(names)}

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """The names of the rows of every sample: devices, directed links, demands."""

    devices: tuple[str, ...]
    links: tuple[str, ...]
    demands: tuple[str, ...]

    def names(self, subject: str) -> tuple[str, ...]:
        return {"device": self.devices, "link": self.links, "demand": self.demands}[subject]


def layout_of(topology: Topology, demands: Sequence[Demand]) -> Layout:
    """The rows of a network of this wiring under these demands."""
    return Layout(
        tuple(device.name for device in topology.devices),
        tuple(topology.link_name(n) for n in range(topology.directed_links)),
        tuple(demand.name for demand in demands),
    )


@dataclass(frozen=True)
class Sample:
    """One reading of a whole network; nan where nothing was reported.

    Shapes: `device` [devices, 3], `link` [links, 4], `demand` [demands, 4], columns as in
    METRICS. cpu, memory, table, utilisation and loss are fractions; up is 1 or 0.
    """

    at_s: float
    device: Array
    link: Array
    demand: Array

    def column(self, subject: str, metric: str) -> Array:
        rows: Array = getattr(self, subject)
        return rows[:, PLACES[subject, metric]]


@dataclass
class Telemetry:
    """The samples of one network so far, oldest first."""

    layout: Layout
    samples: list[Sample] = field(default_factory=list)

    def since(self, at_s: float) -> Telemetry:
        return Telemetry(self.layout, [s for s in self.samples if s.at_s > at_s])

    def between(self, from_s: float, to_s: float) -> Telemetry:
        return Telemetry(self.layout, [s for s in self.samples if from_s < s.at_s <= to_s])

    def series(self, subject: str, metric: str) -> Array:
        """Shape [samples, rows]."""
        width = len(self.layout.names(subject))
        if not self.samples:
            return np.empty((0, width))
        return np.array([s.column(subject, metric) for s in self.samples])

    @property
    def at_s(self) -> Array:
        return np.array([s.at_s for s in self.samples])


def coverage(samples: Sequence[Sample]) -> float:
    """The share of device readings that arrived; 0 where there is no sample at all."""
    if not samples:
        return 0.0
    return float(np.isfinite(np.array([s.device for s in samples])).mean())
