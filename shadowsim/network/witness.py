"""What a network knows of itself to the spells in which something was really broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from shadowsim.dataplane.exposure import newly_open
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.verify import Verdict
from shadowsim.model.change import Configs
from shadowsim.model.telemetry import Layout
from shadowsim.model.truth import Spell

EXPOSING = ("isolated", "waypoint")


class Witness:
    """Writes down the truth of one network, for labels and for nothing else.

    `look` whenever rules or configs have changed; before it `close`, of the states until then.
    """

    def __init__(
        self,
        limits: Limits,
        verdicts: Callable[[Plane], Sequence[Verdict]],
        layout: Layout,
        configs: Configs,
    ) -> None:
        self.spells: list[Spell] = []
        self._limits = limits
        self._verdicts = verdicts
        self._layout = layout
        self._initial = dict(configs)
        self._unreachable: frozenset[str] = frozenset()
        self._exposed: frozenset[str] = frozenset()
        self._broken: tuple[bytes, bytes] | None = None  # of the last spell, while no rule changes

    def look(self, plane: Plane, configs: Configs) -> None:
        """Which intents these rules break, and which management these configs have opened."""
        self._broken = None
        broken = [v.intent for v in self._verdicts(plane) if not v.holds]
        opened = newly_open(self._initial, configs)
        self._unreachable = frozenset(i.name for i in broken if i.kind == "reachable")
        self._exposed = frozenset(i.name for i in broken if i.kind in EXPOSING) | {
            f"management {service} of {device}" for device, service in opened
        }

    def close(self, at_s: Sequence[float], demand: np.ndarray, utilisation: np.ndarray) -> None:
        """Write down how it was in S states, the first from `at_s[0]` to `at_s[1]`, and so on.

        `demand[S, F, 4]` and `utilisation[S, L]` are what users really got.
        """
        slow = self._limits.severity(demand, utilisation) > 1.0
        starving = self._limits.starving(demand)

        def broken(state: int) -> tuple[bytes, bytes]:
            return slow[state].tobytes(), starving[state].tobytes()

        for alike, states in groupby(range(len(slow)), broken):
            first, *others = states
            end_s = at_s[(others[-1] if others else first) + 1]
            if alike == self._broken:
                self._extend(end_s)
            else:
                self._add(at_s[first], end_s, slow[first], starving[first])
                self._broken = alike

    def _extend(self, to_s: float) -> None:
        last = self.spells[-1]
        self.spells[-1] = Spell(last.from_s, to_s, last.unreachable, last.exposed, last.slow)

    def _add(self, from_s: float, to_s: float, slow: np.ndarray, starving: np.ndarray) -> None:
        limits, demands = self._limits.limits, self._layout.demands
        starved = [demands[i] for i in np.flatnonzero(starving)]
        broken = frozenset(limits[i].name for i in np.flatnonzero(slow))
        spell = Spell(from_s, to_s, self._unreachable.union(starved), self._exposed, broken)
        if self.spells and spell == replace(self.spells[-1], from_s=from_s, to_s=to_s):
            self._extend(to_s)
        else:
            self.spells.append(spell)
