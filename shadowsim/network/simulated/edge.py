"""What is sent beside the demands, and what is steered elsewhere, to rates, flows and counters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from shadowsim.dataplane.flows import Loads
from shadowsim.dataplane.loading import Loader
from shadowsim.errors import MachineLacks
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.network.matching import matched_by
from shadowsim.network.protocol import Diverted, Match, Network, Sent

Array = np.ndarray


# -- test traffic ------------------------------------------------------------------------------


@dataclass
class _Test:
    """One flow of test traffic: bits wanted and delivered so far, and bits times seconds."""

    number: int
    flow: Demand
    going: bool = True
    wanted: float = 0.0
    delivered: float = 0.0
    waited: float = 0.0


class TestFlows:
    """The demands of a network and, behind them, its test traffic, on the same links.

    `loader` routes and solves both. A flow keeps its place, thus its path, while it is sent;
    places are used again, so a network that sends for days does not grow.
    """

    def __init__(self, topology: Topology, demands: Sequence[Demand], loader: Loader) -> None:
        """`loader` is that of the demands alone."""
        self._topology = topology
        self._demands = tuple(demands)
        self._places: list[_Test] = []
        self._over: dict[int, Sent] = {}
        self._next = 0
        self.loader = loader
        self._own = len(loader.flows)

    def send(self, flow: Demand) -> int:
        """Begin to send; its number. The flows have to be routed anew after that."""
        test, self._next = _Test(self._next, flow), self._next + 1
        free = next((i for i, old in enumerate(self._places) if not old.going), None)
        if free is None:
            self._places.append(test)
        else:
            self._places[free] = test
        tests = tuple(test.flow for test in self._places)
        self.loader = Loader(self._topology, self._demands + tests)
        return test.number

    def cease(self, number: int) -> None:
        """End it and keep its counts."""
        for test in self._places:
            if test.number == number and test.going:
                test.going = False
                self._over[number] = _as_sent(test)

    def sent(self, number: int) -> Sent:
        """What became of it so far. Raises KeyError for a number that was never given."""
        going = {test.number: test for test in self._places if test.going}
        return _as_sent(going[number]) if number in going else self._over[number]

    def beside(self, offered_bps: Array) -> Array:
        """The rates of the demands' flows `[S, F]` with those of the test traffic behind them."""
        if not self._places:
            return offered_bps
        wanted = [test.flow.rate_bps * test.going for test in self._places]
        nothing = np.zeros(len(self._demands))
        tests = self.loader.spread(np.concatenate((nothing, wanted)))[self._own :]
        beside = np.broadcast_to(tests, (len(offered_bps), len(tests)))
        return np.concatenate((offered_bps, beside), axis=1)

    def apart(self, loads: Loads) -> Loads:
        """The loads with the demands' flows only.

        What a link carries stays what it is: all of it.
        """
        if not self._places:
            return loads
        flows = ("throughput_bps", "latency_s", "loss")
        own = {name: getattr(loads, name)[:, : self._own].copy() for name in flows}
        return replace(loads, **own)

    def count(self, loads: Loads, span_s: Array) -> None:
        """Count states that held for `span_s[S]` seconds, of which these are all the loads."""
        for place, test in enumerate(self._places):
            if not test.going:
                continue
            mine = np.flatnonzero(self.loader.flows.demand == len(self._demands) + place)
            for state, span in enumerate(span_s.tolist()):
                throughput = loads.throughput_bps[state, mine]
                latency_s = np.where(throughput > 0, loads.latency_s[state, mine], 0.0)
                test.wanted += test.flow.rate_bps * span
                test.delivered += float(throughput.sum()) * span
                test.waited += float((throughput * latency_s).sum()) * span


def _as_sent(test: _Test) -> Sent:
    size = 8.0 * test.flow.packet_bytes
    latency_s = test.waited / test.delivered if test.delivered > 0 else math.nan
    return Sent(round(test.wanted / size), round(test.delivered / size), latency_s)


# -- what is steered elsewhere -----------------------------------------------------------------


@runtime_checkable
class Receiver(Protocol):
    """A network that takes in what another one diverts."""

    def take_in(self, wanted_bps: Array, at_s: float) -> None: ...


class Diversion:
    """The demands that leave at the edge for another network, and those that come from one.

    The counters are apart from what does the steering: they look at what was given to the fluid
    engine and at what it delivered, flow by flow.
    """

    def __init__(self, topology: Topology, demands: Sequence[Demand]) -> None:
        self._topology = topology
        self._demands = tuple(demands)
        self._into: Receiver | None = None
        nothing = np.zeros(len(demands))
        self._away = nothing > 0  # which demands leave
        self._leaving_bps, self._arriving_bps = nothing, nothing
        self._arrives = False  # whether anything does
        self._left, self._leaked, self._arrived = nothing.copy(), nothing.copy(), nothing.copy()

    def divert(self, matches: Sequence[Match], into: Network, at_s: float) -> None:
        """Change what leaves. Raises MachineLacks if the other network can take nothing in."""
        if matches and not isinstance(into, Receiver):
            raise MachineLacks("a simulated network can be diverted into a simulated one only")
        away = matched_by(self._topology, self._demands, matches)
        if matches and isinstance(into, Receiver):
            if self._into is not None and self._into is not into:
                self._into.take_in(np.zeros(len(self._demands)), at_s)
            self._into = into
        self._away = away

    def keep(self, wanted_bps: Array, at_s: float) -> Array:
        """What of the demands' rates stays here; the rest is handed over. `[demands]` each."""
        if self._into is None:
            return wanted_bps
        self._leaving_bps = np.where(self._away, wanted_bps, 0.0)
        self._into.take_in(self._leaving_bps, at_s)
        self._into = self._into if self._away.any() else None
        staying: Array = wanted_bps - self._leaving_bps
        return staying

    def with_arrivals(self, wanted_bps: Array) -> Array:
        """The demands' rates with what another network sends here on top."""
        found: Array = wanted_bps + self._arriving_bps if self._arrives else wanted_bps
        return found

    def arrive(self, wanted_bps: Array) -> bool:
        """Another network sends this much of each demand from now on; whether that is new."""
        if wanted_bps.shape != self._arriving_bps.shape:
            raise ValueError(f"{wanted_bps.shape[0]} demands arrive where there are others")
        new = not np.array_equal(wanted_bps, self._arriving_bps)
        self._arriving_bps = np.array(wanted_bps, dtype=np.float64)
        self._arrives = bool(self._arriving_bps.any())
        return new

    def count(self, span_s: float) -> None:
        """Count what left and what arrived in a state that held for `span_s` seconds."""
        if self._into is not None:
            self._left += self._leaving_bps * span_s
        if self._arrives:
            self._arrived += self._arriving_bps * span_s

    def look(self, offered_bps: Array, throughput_bps: Array, span_s: Array) -> None:
        """Count what of the demands that leave was here in states that held for `span_s[S]`.

        `offered_bps[S, demands]` is what the fluid engine was given, `throughput_bps` what it
        delivered. What leaves must be the same in all of them.
        """
        if self._away.any():
            here = np.where(self._away, np.maximum(offered_bps, throughput_bps), 0.0)
            for bps, span in zip(here, span_s.tolist(), strict=True):
                self._leaked += bps * span

    def diverted(self) -> Diverted:
        """What was counted so far; a packet that was begun counts where there must be none.

        `returned` is all that came here from another network: in the one that receives, what
        the other diverts.
        """
        size = np.array([8.0 * d.packet_bytes for d in self._demands])
        return Diverted(
            packets=np.rint(self._left / size).astype(np.int64),
            bits=self._left.copy(),
            strangers=0,
            leaked=int(np.ceil(self._leaked / size).sum()),
            returned=int(np.ceil(self._arrived / size).sum()),
        )
