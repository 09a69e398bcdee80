"""The simulated network keeps the contract of networks, and the same history every time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from network_contract import SQUARE, TWO_DEVICES, NetworkContract

from shadowsim.model.change import parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.telemetry import Sample
from shadowsim.network import NETWORKS, Network
from shadowsim.scenario import Scenario


class TestSimulated(NetworkContract):
    def make_network(self, scenario: Scenario) -> Network:
        return NETWORKS["simulated"](replace(scenario, faults=()), scenario.configs, "production")


def test_a_device_that_news_has_not_reached_is_misprogrammed() -> None:
    network = NETWORKS["simulated"](replace(SQUARE, faults=()), SQUARE.configs, "production")
    network.advance(1.0)
    assert network.misprogrammed() == {}
    network.apply(parse_script("device A\ninterface to-B\n ip ospf cost 40\n"))
    seen: dict[str, set[str]] = {}
    while network.now < 3.0:
        network.advance(network.now + 0.01)
        for name, why in network.misprogrammed().items():
            seen.setdefault(name, set()).add(why)
    assert seen == {"D": {"1 route differs"}}
    assert network.misprogrammed() == {}


def history(
    *faults: Fault, seed: int = 5, name: str = "production", until_s: float = 12.0
) -> list[Sample]:
    network = NETWORKS["simulated"](replace(SQUARE, seed=seed), SQUARE.configs, name)
    for fault in faults:
        network.inject(fault)
    network.advance(2.5)
    network.apply(TWO_DEVICES)
    return network.advance(until_s)


def equal(a: list[Sample], b: list[Sample]) -> bool:
    return len(a) == len(b) and all(
        x.at_s == y.at_s
        and np.array_equal(x.device, y.device, equal_nan=True)
        and np.array_equal(x.link, y.link, equal_nan=True)
        and np.array_equal(x.demand, y.demand, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


def test_the_same_arguments_give_the_same_history() -> None:
    assert equal(history(), history())


def test_another_seed_or_name_gives_another_history() -> None:
    assert not equal(history(), history(seed=6))
    assert not equal(history(), history(name="shadow"))


def test_a_fault_to_come_leaves_no_trace_before_its_time() -> None:
    calm = history()
    for fault in (
        Fault("link_down", 8.0, link=("A", "B")),
        Fault("traffic_surge", 8.0, amount=3.0),
        Fault("device_crash", 8.0, device="B"),
        Fault("memory_leak", 8.0, device="B", amount=0.1),
    ):
        struck = history(fault)
        assert equal(struck[:5], calm[:5]), fault.kind  # the seconds 3 to 7
        assert not equal(struck, calm), fault.kind


def test_only_faults_of_its_own_are_injected() -> None:
    faults = tuple(
        Fault("link_down", 1.0, link=link, network=where)
        for where, link in (
            ("production", ("A", "B")),
            ("shadow", ("B", "C")),
            ("both", ("C", "D")),
        )
    )
    down = {}
    for name in ("production", "shadow"):
        network = NETWORKS["simulated"](replace(SQUARE, faults=faults), SQUARE.configs, name)
        last = network.advance(3.0)[-1]
        dark = np.flatnonzero(last.column("link", "up") == 0.0)
        down[name] = {network.layout.links[n] for n in dark}
    assert down == {
        "production": {"A>B", "B>A", "C>D", "D>C"},
        "shadow": {"B>C", "C>B", "C>D", "D>C"},
    }


def test_the_truth_is_well_until_a_path_is_cut() -> None:
    network = NETWORKS["simulated"](SQUARE, SQUARE.configs, "production")
    network.inject(Fault("device_crash", 4.0, device="C"))
    network.advance(9.0)
    spells = network.spells()
    assert spells[0].well
    assert spells[0].to_s == pytest.approx(4.0)
    assert any("reachable any>any" in s.unreachable for s in spells)
    assert spells[-1].to_s == pytest.approx(9.0)
    assert all(a.to_s == b.from_s for a, b in pairwise(spells))


def test_a_closed_network_stands_still() -> None:
    network = NETWORKS["simulated"](SQUARE, SQUARE.configs, "production")
    network.advance(2.0)
    network.close()
    assert network.advance(5.0) == []
    assert network.now == 2.0
