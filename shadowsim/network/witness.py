"""What a network knows of itself to the spells in which something was really broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shadowsim.dataplane.exposure import newly_open
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.verify import Verifier
from shadowsim.model.change import Configs
from shadowsim.model.intents import Intents
from shadowsim.model.telemetry import Layout
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.model.truth import Spell

EXPOSING = ("isolated", "waypoint")


class Witness:
    """Writes down the truth of one network, for labels and for nothing else.

    `look` whenever rules or configs have changed, `close` whenever a stretch of time ends in
    which nothing changed.
    """

    def __init__(
        self,
        topology: Topology,
        demands: Sequence[Demand],
        intents: Intents,
        layout: Layout,
        configs: Configs,
    ) -> None:
        self.spells: list[Spell] = []
        self._limits = Limits(topology, demands, intents.limits)
        self._verifier = Verifier(topology, intents.paths)
        self._layout = layout
        self._initial = dict(configs)
        self._unreachable: frozenset[str] = frozenset()
        self._exposed: frozenset[str] = frozenset()

    def look(self, plane: Plane, configs: Configs) -> None:
        """Which intents these rules break, and which management these configs have opened."""
        broken = [v.intent for v in self._verifier.check(plane) if not v.holds]
        opened = newly_open(self._initial, configs)
        self._unreachable = frozenset(i.name for i in broken if i.kind == "reachable")
        self._exposed = frozenset(i.name for i in broken if i.kind in EXPOSING) | {
            f"management {service} of {device}" for device, service in opened
        }

    def close(
        self, from_s: float, to_s: float, demand: np.ndarray, utilisation: np.ndarray
    ) -> None:
        """Write down how it was; `demand[F, 4]` and `utilisation[L]` are what users really got."""
        severity = self._limits.severity(demand, utilisation)
        limits = zip(self._limits.limits, severity, strict=True)
        slow = frozenset(limit.name for limit, value in limits if value > 1.0)
        starved = self._limits.starved(demand, self._layout)
        self._add(Spell(from_s, to_s, self._unreachable | set(starved), self._exposed, slow))

    def _add(self, spell: Spell) -> None:
        if self.spells:
            last = self.spells[-1]
            if (last.unreachable, last.exposed, last.slow) == (
                spell.unreachable,
                spell.exposed,
                spell.slow,
            ):
                self.spells[-1] = replace(last, to_s=spell.to_s)
                return
        self.spells.append(spell)
