"""Where a scenario runs: one contract, and the networks that keep it, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from shadowsim.model.change import Configs
from shadowsim.model.faults import TRAFFIC_FAULTS, Fault
from shadowsim.network.protocol import Network, Witnessed

# The networks are imported where one is made: what an emulated network consists of are processes
# that are in this package, and need no simulation, which takes most of a second to load. Once a
# package of theirs is loaded, its name here is that package: so nothing else may be called that.
if TYPE_CHECKING:
    from shadowsim.dataplane.worked import Worked
    from shadowsim.model.intents import Intents
    from shadowsim.model.topology import Topology
    from shadowsim.model.traffic import Demand
    from shadowsim.network.emulated.clock import WallClock
    from shadowsim.network.simulated import Setting, SimulatedNetwork
    from shadowsim.scenario import Scenario

Controller = Literal["ryu", "os-ken"]
Factory: TypeAlias = "Callable[[Scenario, Configs, str], Witnessed]"


class Simulation:
    """Makes simulated networks; those of one topology, traffic and intents share what follows from
    these alone, so that it is made once.
    """

    def __init__(self) -> None:
        self._setting: Setting | None = None

    def __call__(self, scenario: Scenario, configs: Configs, name: str) -> Witnessed:
        """A simulated network of a scenario, with these configs and the faults that hit `name`."""
        setting = self._setting_of(scenario.topology, scenario.traffic.demands, scenario.intents)
        return _simulated(scenario, configs, name, setting)

    def worked(self, topology: Topology, demands: tuple[Demand, ...], intents: Intents) -> Worked:
        """What its networks of these share of the states they come through: pure functions, so
        whoever asks the same has nothing of it but the time.
        """
        return self._setting_of(topology, demands, intents).worked

    def _setting_of(
        self, topology: Topology, demands: tuple[Demand, ...], intents: Intents
    ) -> Setting:
        from shadowsim.network.simulated import setting_of

        if self._setting is None or not self._setting.is_of(topology, demands, intents):
            self._setting = setting_of(topology, demands, intents)
        return self._setting


def _simulate_alone(scenario: Scenario, configs: Configs, name: str) -> Witnessed:
    """A simulated network that shares nothing."""
    return _simulated(scenario, configs, name, None)


def _simulated(
    scenario: Scenario, configs: Configs, name: str, setting: Setting | None
) -> SimulatedNetwork:
    from shadowsim.network.simulated import SimulatedNetwork

    network = SimulatedNetwork(
        scenario.topology,
        configs,
        scenario.traffic,
        seed=scenario.seed,
        name=name,
        intents=scenario.intents,
        services=scenario.services,
        setting=setting,
    )
    for fault in scenario.faults:
        if _strikes(fault, name):
            network.inject(fault)
    return network


def _strikes(fault: Fault, name: str) -> bool:
    """Whether a fault hits this network. What production's users do the mirror brings along."""
    mirrored = fault.kind in TRAFFIC_FAULTS and name == "shadow"
    return fault.network == name or (fault.network == "both" and not mirrored)


class Emulation:
    """Makes emulated networks that run side by side, under one clock and one kind of controller."""

    def __init__(self, controller: Controller = "ryu") -> None:
        self._controller = controller
        self._clock: WallClock | None = None

    def __call__(self, scenario: Scenario, configs: Configs, name: str) -> Witnessed:
        """An emulated network of a scenario. Raises MachineLacks."""
        from shadowsim.network.emulated.clock import WallClock
        from shadowsim.network.emulated.network import EmulatedNetwork

        self._clock = self._clock or WallClock()
        network = EmulatedNetwork(scenario, configs, name, self._clock, self._controller)
        for fault in scenario.faults:
            if _strikes(fault, name):
                network.inject(fault)
        return network


def factory(network: str, controller: Controller = "ryu") -> Factory:
    """What makes the networks of one run, by the name of their kind."""
    return Emulation(controller) if network == "emulated" else Simulation()


def _emulate_alone(scenario: Scenario, configs: Configs, name: str) -> Witnessed:
    """An emulated network that runs by itself."""
    return Emulation()(scenario, configs, name)


NETWORKS: Mapping[str, Factory] = {"simulated": _simulate_alone, "emulated": _emulate_alone}
CONTROLLERS: tuple[Controller, ...] = get_args(Controller)

__all__ = [
    "CONTROLLERS",
    "NETWORKS",
    "Emulation",
    "Factory",
    "Network",
    "Simulation",
    "Witnessed",
    "factory",
]
