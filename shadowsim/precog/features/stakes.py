"""What a change touches, to what hangs on it: position, redundancy, traffic and intents at risk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.model.change import Change
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.precog.features.feature import Feature, Values
from shadowsim.precog.features.graph import Cabling
from shadowsim.precog.features.signals import Touched, largest
from shadowsim.precog.whatif import Observed, Settled, WhatIf

Array = np.ndarray

FEATURES = (
    Feature("topology_devices", "share", "devices that are changed"),
    Feature(
        "topology_betweenness", "share",
        "shortest paths between others that lead over a changed device, the most of any",
    ),
    Feature("topology_degree", "cables", "cables of the changed device that has the fewest"),
    Feature(
        "topology_redundancy", "paths",
        "ways without a common cable between the ends of a touched cable, the fewest of any",
    ),
    Feature(
        "topology_parts", "parts",
        "parts that the rest falls into if a changed device is lost, the most of any",
    ),
    *(
        Feature(
            f"topology_carried_{name}", "share",
            f"planned {name} traffic that passes a changed device",
        )
        for name in CLASSES
    ),
    Feature("topology_carried_links", "share", "planned traffic that passes a touched cable"),
    Feature("topology_intents", "share", "path intents that fail if all touched cables are lost"),
    Feature(
        "topology_loss_severity", "share of limit",
        "the nearest limit under planned traffic if all touched cables are lost",
    ),
    Feature(
        "topology_loss_share", "share",
        "planned traffic that is not delivered if all touched cables are lost",
    ),
)  # fmt: skip


def touched(topology: Topology, change: Change) -> Touched:
    """The devices a script speaks of, and the cables of the ports it names, both directions.

    Where it names no port of a device, all its cables to other devices are meant.
    """
    devices = np.zeros(len(topology.devices), dtype=np.bool_)
    links = np.zeros(topology.directed_links, dtype=np.bool_)
    for name in change.devices:
        devices[topology.device_index[name]] = True
        mine = [c for c in change.commands if c.device == name]
        ports = topology.ports[name]
        said = {(c.context or c.line).removeprefix("no ").removeprefix("interface ") for c in mine}
        numbers = [ports[port] for port in ports if port in said]
        if not numbers:
            numbers = [n for n in ports.values() if n < 2 * len(topology.links)]
        for number in numbers:
            links[[number, number ^ 1]] = True
    return Touched(devices, links)


class Stakes:
    """What hangs on the parts of one network. Remembers its betweenness, nothing else."""

    def __init__(self, whatif: WhatIf, demands: Sequence[Demand], path_intents: int) -> None:
        self._whatif = whatif
        self._path_intents = path_intents
        topology = whatif.topology
        self._class_of = np.array([d.traffic_class for d in demands])
        self._cabling = Cabling(topology)
        self._betweenness = self._cabling.betweenness()
        index = topology.device_index
        self._host_device = np.array([index[h.device] for h in topology.hosts], dtype=np.intp)
        ends = [(index[link.a], index[link.b]) for link in topology.links]
        self._cables = np.array(ends, dtype=np.intp).reshape(-1, 2)
        self.planned = planned(topology, demands)

    def values(self, what: Touched, start: Settled) -> Values:
        """The values of FEATURES for a network as in `start`; nan where nothing is touched."""
        if not what.devices.any():
            return {feature.name: float("nan") for feature in FEATURES}
        devices = np.flatnonzero(what.devices).tolist()
        passing = self._whatif.passing(start, self._around(what.devices))
        crossing = self._whatif.passing(start, what.links)
        planned_bps = self.planned.rates_bps
        found = {
            "topology_devices": float(what.devices.mean()),
            "topology_betweenness": float(self._betweenness[devices].max()),
            "topology_degree": float(min(self._cabling.degree(d) for d in devices)),
            "topology_redundancy": self._redundancy(what.links),
            "topology_parts": float(max(self._cabling.parts_without(d) for d in devices)),
            "topology_carried_links": _part(crossing, planned_bps),
        }
        for name in CLASSES:
            mine = np.where(self._class_of == name, planned_bps, 0.0)
            found[f"topology_carried_{name}"] = _part(passing, mine)
        return found | self._lost(what, start)

    def _around(self, devices: Array) -> Array:
        """`[L]`: the directed links at any of these devices, those of their hosts included."""
        ends = devices[self._cables].any(axis=1)
        return np.repeat(np.concatenate((ends, devices[self._host_device])), 2)

    def _redundancy(self, links: Array) -> float:
        cables = np.flatnonzero(links[: 2 * len(self._cables) : 2])
        ways = (self._cabling.redundancy(*self._cables[c].tolist()) for c in cables)
        return float(min(ways, default=float("nan")))

    def _lost(self, what: Touched, start: Settled) -> Values:
        """What comes of losing all touched cables at once."""
        down = start.down | frozenset(np.flatnonzero(what.links).tolist())
        settled = self._whatif.settle(start.configs, down)
        demand, utilisation = (r[0] for r in self._whatif.load(settled, self.planned))
        severity = self._whatif.limits.severity(demand, utilisation)
        stood = {verdict.intent for verdict in start.violated}
        fallen = [verdict for verdict in settled.violated if verdict.intent not in stood]
        return {
            "topology_intents": _share(len(fallen), self._path_intents),
            "topology_loss_severity": float(largest(severity)),
            "topology_loss_share": 1.0 - _share(demand[:, 1].sum(), demand[:, 0].sum()),
        }


def planned(topology: Topology, demands: Sequence[Demand]) -> Observed:
    """Sound links under the traffic that the demands are planned with."""
    rates_bps = np.array([demand.rate_bps for demand in demands])
    return Observed(frozenset(), np.zeros(topology.directed_links), rates_bps)


def _part(share: Array, weight: Array) -> float:
    """The weighted mean of shares; nan where nothing weighs."""
    return _share((share * weight).sum(), weight.sum())


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole > 0 else float("nan")
