"""The counters of a rig and of what was led in or away at its edge to readings of the time between.

What is diverted is counted where it comes in again: as sent there, and as not sent here.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import numpy as np

from shadowsim.errors import ShadowsimError
from shadowsim.model.telemetry import DEVICE_METRICS
from shadowsim.network.emulated.edge import Edge
from shadowsim.network.emulated.reading import (
    Counts,
    UpTime,
    counts,
    demand_reading,
    link_reading,
)
from shadowsim.network.emulated.rig import Rig

Array = np.ndarray


class Meter:
    """Reads one network from `now_s` on. `edge` is its own, others divert into it."""

    def __init__(self, rig: Rig, edge: Edge, now_s: float) -> None:
        self._rig, self._edge = rig, edge
        self._arriving: list[Edge] = []
        self._up = UpTime(rig.board.wires, now_s)
        self.skip()

    def arrive(self, edge: Edge) -> None:
        """The edge of another network diverts into this one."""
        if edge is not self._edge and edge not in self._arriving:
            self._arriving.append(edge)

    def skip(self) -> None:
        """Let what was counted until now be in no reading."""
        self._read_at = self._counted()

    def wires_change(self, now_s: float) -> None:
        """To be called before a wire is told another state."""
        self._up.count(now_s)

    def links_and_demands(self, now_s: float, rate_bps: Array) -> tuple[Array, Array]:
        """`[links, 4]` and `[demands, 4]`, columns of a Sample, since this was last asked."""
        found = self._counted()
        between, self._read_at = found.since(self._read_at), found
        link = link_reading(between, rate_bps, self._up.mostly(now_s))
        return link, demand_reading(between, self._rig.streams, len(self._rig.demands))

    def devices(self, table_left: Array) -> Array:
        """`[devices, 3]`, columns of a Sample; nan where nobody answers."""
        try:
            return self._rig.device_reading(table_left)
        except ShadowsimError:
            return np.full((len(table_left), len(DEVICE_METRICS)), np.nan)

    def _counted(self) -> Counts:
        found = counts(self._rig.board, monotonic())
        streams = dict(found.streams)
        for name, away in self._edge.away(found).items():
            streams[name] = streams[name] - away
        for edge in self._arriving:
            for name, away in edge.away().items():
                streams[name] = streams[name] + away
        return replace(found, streams=streams)
