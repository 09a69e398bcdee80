"""Commands and news of changes to how long routers take over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadowsim.model.change import Command

Array = np.ndarray
# What a command costs beside one on an interface: lists are compiled into hardware, and a change
# to BGP is only done when its sessions have settled.
EFFORT = {"ip access-list": 1.5, "ip prefix-list": 1.5, "router bgp": 3.0, "ip route": 0.7}
SLOWNESS_SPREAD = 0.25  # log-normal: how much longer than the usual one device takes than another


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
        jitter = float(np.exp(random.normal(0.0, self.install_spread)))
        return self.usual_s(command) * slowness * jitter / max(1.0 - cpu, 0.05)

    def install_delays_s(
        self, command: Command, slowness: Array, cpu: float, random: np.random.Generator
    ) -> Array:
        """The same for many devices that are this slow each, independently."""
        jitter = np.exp(random.normal(0.0, self.install_spread, len(slowness)))
        found: Array = self.usual_s(command) * slowness * jitter / max(1.0 - cpu, 0.05)
        return found

    def usual_s(self, command: Command) -> float:
        """The median time it takes on a usual device with nothing else to do."""
        head = command.context or command.line.removeprefix("no ")
        return self.install_s * next(
            (e for start, e in EFFORT.items() if head.startswith(start)), 1.0
        )

    def convergence_delays_s(self, hops: Array, random: np.random.Generator) -> Array:
        """Per device: time until its table follows a change `hops` away, in whole quanta."""
        spread = random.uniform(0.2, 1.0, len(hops)) * self.fib_s
        delay = self.flood_s * hops + self.spf_s + spread
        return np.maximum(np.ceil(delay / self.quantum_s), 1.0) * self.quantum_s
