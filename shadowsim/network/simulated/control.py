"""How long devices take, and what it costs them: install, flooding, CPU, memory, tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadowsim.dataplane.plane import Plane
from shadowsim.model.change import Command

Array = np.ndarray
# What a command costs beside one on an interface: lists are compiled into hardware, and a change
# to BGP is only done when its sessions have settled.
EFFORT = {"ip access-list": 1.5, "ip prefix-list": 1.5, "router bgp": 3.0, "ip route": 0.7}


@dataclass(frozen=True)
class ControlModel:
    """The times of a router's control plane. Defaults are of the order measured on real ones.

    A command takes `install_s` (log-normal around it by `install_spread`), longer on a busy
    CPU. News of a change spreads by `flood_s` a hop; each device then waits `spf_s`, computes,
    and writes its table in `fib_s` at most (Francois et al., "Achieving Sub-Second IGP
    Convergence in Large IP Networks", CCR 2005). `quantum_s` groups table writes that fall
    together.
    """

    install_s: float = 0.08
    install_spread: float = 0.3
    carrier_s: float = 0.02
    flood_s: float = 0.012
    spf_s: float = 0.05
    fib_s: float = 0.12
    quantum_s: float = 0.02
    restart_s: float = 20.0

    def install_delay_s(
        self, command: Command, slowness: float, cpu: float, random: np.random.Generator
    ) -> float:
        """Time a command takes on a device that is this slow and whose CPU is this busy."""
        head = command.context or command.line.removeprefix("no ")
        effort = next((e for start, e in EFFORT.items() if head.startswith(start)), 1.0)
        jitter = float(np.exp(random.normal(0.0, self.install_spread)))
        return self.install_s * effort * slowness * jitter / max(1.0 - cpu, 0.05)

    def convergence_delays_s(self, hops: Array, random: np.random.Generator) -> Array:
        """Per device: time until its table follows a change `hops` away, in whole quanta."""
        spread = random.uniform(0.2, 1.0, len(hops)) * self.fib_s
        delay = self.flood_s * hops + self.spf_s + spread
        return np.maximum(np.ceil(delay / self.quantum_s), 1.0) * self.quantum_s


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
        self.slowness = np.exp(random.normal(0.0, 0.25, devices))
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
