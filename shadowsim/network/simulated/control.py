"""How far news has to go, and what it costs devices to follow: CPU, memory, tables."""

from __future__ import annotations

import numpy as np

from shadowsim.dataplane.plane import Plane
from shadowsim.network.timing import SLOWNESS_SPREAD

Array = np.ndarray


def hops_from(plane: Plane, device: int) -> Array:
    """Links between a device and each other one, over links that are up; D where no way leads."""
    graph = plane.graph
    hops = np.full(graph.devices, graph.devices, dtype=np.float64)
    hops[device] = 0
    frontier = [device]
    while frontier:
        reached = []
        for d in frontier:
            for e in graph.out[graph.out_start[d] : graph.out_start[d + 1]]:
                if plane.up[e] and hops[graph.head[e]] > hops[d] + 1:
                    hops[graph.head[e]] = hops[d] + 1
                    reached.append(int(graph.head[e]))
        frontier = reached
    return hops


class Health:
    """CPU, memory and table of every device, as fractions. Mutable state of one network.

    `slowness` is how much longer than the usual a device takes over a command.

    CPU is a base load, what faults take, and a peak after every computation that decays with
    `decay_s`; memory is a base, the routes held, and what has leaked.
    """

    def __init__(self, devices: int, random: np.random.Generator) -> None:
        self.base_cpu = random.uniform(0.08, 0.16, devices)
        self.slowness = np.exp(random.normal(0.0, SLOWNESS_SPREAD, devices))
        self.base_memory = random.uniform(0.25, 0.35, devices)
        self.hogged = np.zeros(devices)
        self.leaked = np.zeros(devices)
        self._peak = np.zeros(devices)
        self._peak_at_s = np.zeros(devices)
        self.decay_s = 2.0

    def cpu(self, now_s: float | Array) -> Array:
        """`[D]` at a time, `[T, D]` at times `[T, 1]`."""
        faded = self._peak * np.exp(-(now_s - self._peak_at_s) / self.decay_s)
        return np.minimum(self.base_cpu + self.hogged + faded, 1.0)

    def work(self, devices: Array, amount: float, now_s: float) -> None:
        """Add a peak of `amount` to the CPU of these devices."""
        faded = self._peak * np.exp(-(now_s - self._peak_at_s) / self.decay_s)
        self._peak[devices] = np.minimum(faded[devices] + amount, 1.0)
        self._peak_at_s[devices] = now_s

    def memory(self, routes: Array) -> Array:
        return np.minimum(self.base_memory + 2e-5 * routes + self.leaked, 1.0)
