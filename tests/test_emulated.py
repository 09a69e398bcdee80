"""The contract of every network, kept with real packets under both controllers.

A network of real processes takes seconds to come up, so a test leaves the one that it had to the
next, put back with what the contract itself offers, and its time counted from zero again. One that
cannot be put back is closed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from emulation import needs_emulation, run_in
from network_contract import TWO_DEVICES, NetworkContract, settle

from shadowsim.model.change import Command, difference
from shadowsim.model.faults import Fault
from shadowsim.model.telemetry import Sample
from shadowsim.network import Controller, Emulation, Network
from shadowsim.network.emulated.openflow import Flow, Rules, rules
from shadowsim.network.emulated.store import bridge_name
from shadowsim.network.protocol import Diverted, Match
from shadowsim.scenario import Scenario

pytestmark = needs_emulation
OFCTL = ("ovs-ofctl", "-O", "OpenFlow13")
AFTER_FAULT_S = 1.5  # until what a fault did is over, too


class Afresh:
    """A network that has run for a while, as if it had just come up; `close` gives it back."""

    def __init__(self, pool: Pool, network: Any, start_s: float) -> None:
        self._pool, self._network, self._start_s = pool, network, start_s
        self._configs = network.configs()
        self._diverted = network.diverted()
        network.copies()
        self._faults: list[Fault] = []
        self._sent: list[int] = []
        self._did: set[str] = set()
        self._into: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    @property
    def now(self) -> float:
        return float(self._network.now - self._start_s)

    def advance(self, until_s: float) -> list[Sample]:
        found = self._network.advance(until_s + self._start_s)
        return [replace(s, at_s=s.at_s - self._start_s) for s in found]

    def inject(self, fault: Fault) -> None:
        self._faults.append(fault)
        self._network.inject(replace(fault, at_s=fault.at_s + self._start_s))

    def apply(self, commands: Sequence[Command]) -> None:
        self._network.apply(commands)

    def offer(self, rates_bps: Any) -> None:
        self._did.add("offer")
        self._network.offer(rates_bps)

    def resize(self, *arguments: Any) -> None:
        self._did.add("resize")
        self._network.resize(*arguments)

    def copy(self, *arguments: Any) -> None:
        self._did.add("copy")
        self._network.copy(*arguments)

    def divert(self, matches: Sequence[Match], into: Any) -> None:
        self._into = into._network
        self._network.divert(matches, self._into)

    def diverted(self) -> Diverted:
        now, before = self._network.diverted(), self._diverted
        names = ("packets", "bits", "strangers", "leaked", "returned")
        return Diverted(**{n: getattr(now, n) - getattr(before, n) for n in names})

    def send(self, flow: Any) -> int:
        self._sent.append(self._network.send(flow))
        return self._sent[-1]

    def close(self) -> None:
        if self in self._pool.out:
            self._pool.out.remove(self)
            if all(fault.for_s is not None for fault in self._faults):
                self.put_back()
                self._pool.idle.append(self._network)
            else:
                self._pool.made.remove(self._network)
                self._network.close()

    def put_back(self) -> None:
        network = self._network
        for number in self._sent:
            network.cease(number)
        if self._into is not None:
            network.divert([], self._into)
        if "copy" in self._did:
            network.copy((), 1.0, 96, np.random.default_rng(1))
            network.copies()
        if "resize" in self._did:
            network.resize(frozenset(network.topology.device_index))
        if "offer" in self._did:  # the one thing that the contract cannot take back
            network._wanting.forget()
        ends = [fault.at_s + (fault.for_s or 0.0) for fault in self._faults]
        network.advance(max(ends, default=0.0) + self._start_s)
        network.advance(network.now + AFTER_FAULT_S * bool(self._faults))
        network.apply(difference(network.configs(), self._configs))
        settle(network)


class Pool:
    """The networks of one class of tests, all under one clock."""

    def __init__(self, controller: Controller) -> None:
        self.emulation = Emulation(controller)
        self.made: list[Any] = []
        self.idle: list[Any] = []
        self.out: list[Afresh] = []
        self.start_s = 0.0

    def take(self, scenario: Scenario) -> Afresh:
        if self.emulation._clock is not None and not self.out:
            # Samples are read each second from when a network came up, so begin with a whole one.
            self.start_s = float(np.ceil(self.emulation._clock.now + 0.5))
            self.emulation._clock.advance(self.start_s)
        if self.idle:
            network = self.idle.pop(0)
        else:
            network = self.emulation(scenario, scenario.configs, "production")
            self.made.append(network)
        network.advance(network.now)
        self.out.append(Afresh(self, network, self.start_s))
        return self.out[-1]

    def close(self) -> None:
        for network in self.made:
            network.close()


@contextmanager
def pool_of(controller: Controller) -> Iterator[Pool]:
    pool = Pool(controller)
    yield pool
    pool.close()


class Emulated(NetworkContract):
    late_s = 1.5  # ports are made first; the counts are of the time that is told, all the same
    pool: Pool

    def make_network(self, scenario: Scenario) -> Network:
        return self.pool.take(scenario)  # type: ignore[return-value]

    def test_a_flow_that_somebody_deletes_is_missed(self, network: Any) -> None:
        rig = network._rig
        run_in(rig.agent.pid, *OFCTL, "del-flows", bridge_name(1), "table=4")
        assert network.misprogrammed() == {"B": "9 flows differ"}
        run_in(rig.agent.pid, *OFCTL, "add-flow", bridge_name(2), "table=0,priority=7,actions=drop")
        assert network.misprogrammed() == {"B": "9 flows differ", "C": "1 flow differs"}
        rig.agent.kill("ovs-vswitchd", signal.SIGKILL)  # what comes back is told everything
        network.advance(network.now + 3.0)
        assert network.misprogrammed() == {}

    def test_what_a_switch_refuses_is_told_with_its_error(
        self, network: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def with_a_bad_one(*given: Any, **more: Any) -> tuple[Rules, ...]:
            first, *others = rules(*given, **more)
            bad = Flow(2, 9, (), (("group", 5),))  # there is no such group
            return (Rules(first.dpid, (*first.flows, bad), first.groups, first.meters), *others)

        emulated = "shadowsim.network.emulated.network.rules"
        with monkeypatch.context() as patched:
            patched.setattr(emulated, with_a_bad_one)
            network.apply(TWO_DEVICES)
            settle(network)
            epoch = network._rig.epoch
            network.advance(network.now + 3.0)  # longer than a switch may be late
            assert network._rig.epoch == epoch  # what was refused is not told over and over
            found = network.misprogrammed()
            assert set(found) == {"A"}
            assert "flows differ" in found["A"] and "BAD_OUT_GROUP" in found["A"]
            assert set(network.configs()) == set("ABCD")
        network._recompile()
        assert network.misprogrammed() == {}


class TestRyu(Emulated):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _pool(cls) -> Iterator[None]:
        with pool_of("ryu") as cls.pool:
            yield


class TestOsKen(Emulated):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _pool(cls) -> Iterator[None]:
        with pool_of("os-ken") as cls.pool:
            yield
