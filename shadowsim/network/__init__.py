"""Where a scenario runs: one contract, and the networks that keep it, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shadowsim.model.change import Configs
from shadowsim.model.faults import TRAFFIC_FAULTS, Fault
from shadowsim.network.protocol import Network, Witnessed
from shadowsim.network.simulated import SimulatedNetwork
from shadowsim.scenario import Scenario

Factory = Callable[[Scenario, Configs, str], Witnessed]


def simulated(scenario: Scenario, configs: Configs, name: str) -> Witnessed:
    """A simulated network of a scenario, with these configs and the faults that hit `name`."""
    network = SimulatedNetwork(
        scenario.topology,
        configs,
        scenario.traffic,
        seed=scenario.seed,
        name=name,
        intents=scenario.intents,
    )
    for fault in scenario.faults:
        if _strikes(fault, name):
            network.inject(fault)
    return network


def _strikes(fault: Fault, name: str) -> bool:
    """Whether a fault hits this network. What production's users do the mirror brings along."""
    mirrored = fault.kind in TRAFFIC_FAULTS and name == "shadow"
    return fault.network == name or (fault.network == "both" and not mirrored)


NETWORKS: Mapping[str, Factory] = {"simulated": simulated}

__all__ = ["NETWORKS", "Factory", "Network", "Witnessed", "simulated"]
