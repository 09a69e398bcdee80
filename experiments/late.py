"""A lag to networks whose shadow is that far behind: in traffic, and in production's configs."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from shadowsim.model.change import Configs
from shadowsim.network import Factory, Simulation, Witnessed
from shadowsim.network.protocol import Followed
from shadowsim.scenario import Scenario

Item = TypeVar("Item")


def late(lag_s: float) -> Factory:
    """Makes simulated networks, of which the shadow learns everything `lag_s` later."""
    simulation = Simulation()

    def made(scenario: Scenario, configs: Configs, name: str) -> Witnessed:
        network = simulation(scenario, configs, name)
        return cast("Witnessed", _Late(network, lag_s)) if name == "shadow" and lag_s else network

    return made


class _Late:
    """The network, but for what it is told of production."""

    def __init__(self, network: Witnessed, lag_s: float) -> None:
        self._network, self._lag_s = network, lag_s
        self._rates: deque[tuple[float, npt.NDArray[np.float64]]] = deque()
        self._known: deque[tuple[float, Followed]] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def offer(self, rates_bps: npt.NDArray[np.float64]) -> None:
        self._network.offer(self._past(self._rates, np.array(rates_bps)))

    def followed(self) -> Followed:
        return self._past(self._known, self._network.followed())

    def _past(self, seen: deque[tuple[float, Item]], now: Item) -> Item:
        """What was told `lag_s` ago, the first of all before that."""
        seen.append((self._network.now, now))
        while len(seen) > 1 and seen[1][0] <= self._network.now - self._lag_s:
            seen.popleft()
        return seen[0][1]
