"""A topology, its demands and intents to what all their networks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.worked import Worked
from shadowsim.model.intents import Intents
from shadowsim.model.telemetry import Layout, layout_of
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand


@dataclass(frozen=True)
class Setting:
    """What follows from topology, demands and intents alone: no network changes any of it but
    what `worked` remembers, which only saves time.

    Who makes many networks of them makes it once, and gives it to each.
    """

    topology: Topology
    demands: tuple[Demand, ...]
    intents: Intents
    layout: Layout
    limits: Limits
    worked: Worked

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
        Limits(topology, demands, intents.limits),
        Worked(topology, demands, intents),
    )
