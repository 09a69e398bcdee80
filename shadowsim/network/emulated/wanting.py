"""Demands, their profile, crowds and what was offered instead, to what each wants to send now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.random import Generator

from shadowsim.model.faults import Fault
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand, Profile
from shadowsim.network.damage import Crowd

Array = np.ndarray
BREATH = 0.02  # relative, of what users want from one second to the next


class Wanting:
    """What users want. What was offered takes the place of profile and breath, not of crowds.

    `began_s` is when the profile begins; rates are in bits per second, `[demands]`.
    """

    def __init__(
        self,
        topology: Topology,
        demands: Sequence[Demand],
        profile: Profile,
        random: Generator,
        began_s: float,
    ) -> None:
        self._demands, self._profile = demands, profile
        self._random, self._began_s = random, began_s
        self._crowd = Crowd(topology, demands)
        self._breath = np.ones(len(demands))
        self.forget()

    def offer(self, rates_bps: Array) -> None:
        """Want this much from now on."""
        self._base_bps, self._offered = np.array(rates_bps, dtype=np.float64), True

    def forget(self) -> None:
        """Want again what the demands say."""
        self._base_bps, self._offered = np.array([d.rate_bps for d in self._demands]), False

    def breathe(self) -> None:
        """Another second: users want a little more or less."""
        self._breath = np.exp(self._random.normal(0.0, BREATH, len(self._demands)))

    def react(self, active: Iterable[Fault], delivered: Array) -> None:
        """One second of users seeing the share `delivered[demands]` of what they sent."""
        self._crowd.react(active, delivered)

    def rates_bps(self, now_s: float, active: Iterable[Fault]) -> Array:
        """What every demand wants to send now."""
        wanted = self._base_bps * self._crowd.factor(active)
        if not self._offered:
            wanted = wanted * self._profile.factor(now_s - self._began_s) * self._breath
        return np.asarray(wanted)
