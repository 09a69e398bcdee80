"""The contract of every network, kept with real packets under both controllers."""

from __future__ import annotations

from emulation import needs_emulation
from network_contract import NetworkContract

from shadowsim.network import Emulation, Network
from shadowsim.scenario import Scenario

pytestmark = needs_emulation


class TestRyu(NetworkContract):
    def make_network(self, scenario: Scenario) -> Network:
        return Emulation("ryu")(scenario, scenario.configs, "production")


class TestOsKen(NetworkContract):
    def make_network(self, scenario: Scenario) -> Network:
        return Emulation("os-ken")(scenario, scenario.configs, "production")
