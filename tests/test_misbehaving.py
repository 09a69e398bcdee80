"""Faults that follow a command: device models on which one misbehaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import simpy

from shadowsim.model.change import Command, apply
from shadowsim.model.faults import WHEREVER, After, Fault
from shadowsim.model.topology import Device, Host, Link, Topology
from shadowsim.model.traffic import Traffic
from shadowsim.network import NETWORKS
from shadowsim.network.simulated import SimulatedNetwork
from shadowsim.network.striking import Striker
from shadowsim.scenario import default_configs, parse

COST = "ip ospf cost"
A, B = Device("A", "qx-2"), Device("B", "ar-3")
TOPOLOGY = Topology(
    "pair", (A, B), (Host("a", "A"), Host("b", "B")), (Link("A", "B"), Link("A", "B"))
)
HOG = Fault("cpu_hog", 0.0, 5.0, device=WHEREVER, amount=0.5, after=After(COST, "qx-2"))
TEXT = """
name: quirk
topology:
  nodes: {{A: {{model: qx-2}}, B: {{}}}}
  links: [[A, B]]
traffic: {{demands: [{{from: A, to: B, rate_mbps: 2}}]}}
change:
  script: |
    device A
    interface to-B
     ip ospf cost 50
faults:
  - after: {{command: ip ospf cost, model: qx-2}}
    device_crash: {{device: any}}
    for_s: 4{where}
"""


def cost(device: str, value: int = 50) -> Command:
    other = "B" if device == "A" else "A"
    return Command(device, f"interface to-{other}", f"{COST} {value}")


class Told:
    """A striker by itself, and what it did."""

    def __init__(self) -> None:
        self.env = simpy.Environment()
        self.changes: list[tuple[float, str]] = []
        self.striker = Striker(self.env, self._changed, lambda commands: None, dict)

    def _changed(self, fault: Fault) -> None:
        self.changes.append((self.env.now, fault.name))

    def holding(self) -> list[str]:
        return [fault.name for fault in self.striker.active]


def struck_by(fault: Fault, device: Device, command: Command) -> list[str]:
    told = Told()
    told.striker.strike(fault)
    told.striker.obeyed(device, command)
    told.env.run(until=0.5)
    return told.holding()


def test_it_strikes_the_device_of_the_command_for_its_time():
    told = Told()
    told.striker.strike(HOG)
    told.env.run(until=20)
    assert told.changes == []
    told.striker.obeyed(A, cost("A"))
    told.env.run(until=22)
    assert told.holding() == ["cpu_hog A"]
    told.env.run(until=40)
    assert told.changes == [(20, "cpu_hog A"), (25, "cpu_hog A")]


def test_it_does_not_strike_again_while_it_holds_but_afterwards():
    told = Told()
    told.striker.strike(HOG)
    for until_s in (1, 2, 3, 12):
        told.striker.obeyed(A, cost("A", until_s))
        told.env.run(until=until_s)
    assert [at_s for at_s, _ in told.changes] == [0, 5]
    told.striker.obeyed(A, cost("A"))
    told.env.run(until=13)
    assert [at_s for at_s, _ in told.changes] == [0, 5, 12]


@pytest.mark.parametrize(
    ("fault", "device", "command", "hit"),
    [
        (HOG, B, cost("B"), []),
        (HOG, A, Command("A", "interface to-B", "mtu 9000"), []),
        (replace(HOG, after=After(COST)), B, cost("B"), ["cpu_hog B"]),
        (replace(HOG, after=After("interface")), A, cost("A"), ["cpu_hog A"]),
        (replace(HOG, after=After("no ip")), A, cost("A"), []),
        (replace(HOG, device="B", after=After(COST)), A, cost("A"), []),
        (replace(HOG, device="B", after=After(COST)), B, cost("B"), ["cpu_hog B"]),
        (Fault("link_down", 0, 5, link=("A", "B"), after=After(COST)), B, cost("B"),
         ["link_down A-B"]),
    ],
)  # fmt: skip
def test_what_it_waits_for(fault, device, command, hit):
    assert struck_by(fault, device, command) == hit


def test_a_simulated_device_of_the_model_misbehaves_and_another_does_not():
    found = {}
    for name in ("A", "B"):
        configs = apply(default_configs(TOPOLOGY), ())
        network = SimulatedNetwork(TOPOLOGY, configs, Traffic(()), seed=3)
        network.inject(replace(HOG, amount=0.8))
        network.advance(5)
        network.apply([cost(name)])
        [*_, last] = network.advance(8)
        found[name] = last.column("device", "cpu")[TOPOLOGY.device_index[name]]
    assert found["A"] > 0.7
    assert found["B"] < 0.5


@pytest.mark.parametrize(
    ("where", "crashes"),
    [
        ("", {"production"}),
        ("\n    in: shadow", {"shadow"}),
        ("\n    in: both", {"production", "shadow"}),
    ],
)
def test_it_strikes_in_the_network_that_the_scenario_says(where, crashes):
    scenario = parse(TEXT.format(where=where))
    found = set()
    for name in ("production", "shadow"):
        network = NETWORKS["simulated"](scenario, scenario.configs, name)
        network.advance(2)
        assert "A" in network.configs()
        network.apply(scenario.change.commands)
        network.advance(4)
        found |= set() if "A" in network.configs() else {name}
        network.advance(12)
        assert "A" in network.configs()
    assert found == crashes
