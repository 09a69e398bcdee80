"""A topology, its demands and intents to what all their networks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shadowsim.dataplane.forwarding import Compiler
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.loading import Loader
from shadowsim.dataplane.verify import Verifier
from shadowsim.model.intents import Intents
from shadowsim.model.telemetry import Layout, layout_of
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand


@dataclass(frozen=True)
class Setting:
    """What follows from topology, demands and intents alone: no network changes any of it.

    Who makes many networks of them makes it once, and gives it to each.
    """

    topology: Topology
    demands: tuple[Demand, ...]
    intents: Intents
    layout: Layout
    compiler: Compiler
    loader: Loader
    limits: Limits
    verifier: Verifier

    def is_of(self, topology: Topology, demands: Sequence[Demand], intents: Intents) -> bool:
        """Whether it was made of these very objects."""
        return self.topology is topology and self.demands is demands and self.intents is intents


def setting_of(topology: Topology, demands: tuple[Demand, ...], intents: Intents) -> Setting:
    """The setting of all networks of these."""
    return Setting(
        topology,
        demands,
        intents,
        layout_of(topology, demands),
        Compiler(topology),
        Loader(topology, demands),
        Limits(topology, demands, intents.limits),
        Verifier(topology, intents.paths),
    )
