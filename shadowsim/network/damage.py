"""The faults that are active to what they do to links, devices and demands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shadowsim.dataplane.forwarding import Physical
from shadowsim.model.faults import Fault
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Array = np.ndarray


@dataclass(frozen=True)
class Damage:
    """The sum of the active faults. Arrays over directed links L and devices D.

    `rate_left[L]`, `delay_s[L]` (added), `loss[L]`; `dead`: devices that are off; `deaf`: those
    that answer no controller; `dark`: those that report nothing; `cpu[D]`: the fraction taken.
    """

    physical: Physical
    rate_left: Array
    delay_s: Array
    loss: Array
    dead: frozenset[str]
    deaf: frozenset[str]
    dark: frozenset[str]
    cpu: Array


def damage(topology: Topology, active: Iterable[Fault]) -> Damage:
    """Add the active faults up. Losses combine as independent, rates multiply."""
    links = topology.directed_links
    cut: set[int] = set()
    table: dict[str, float] = {}
    rate, delay, passed = np.ones(links), np.zeros(links), np.ones(links)
    cpu = np.zeros(len(topology.devices))
    groups: dict[str, set[str]] = {
        "device_crash": set(),
        "controller_lost": set(),
        "telemetry_gap": set(),
    }
    for fault in active:
        hit = _directed(topology, fault)
        named = [fault.device] if fault.device else list(topology.device_index)
        if fault.kind in ("link_down", "link_flap"):
            cut.update(hit)
        elif fault.kind == "link_loss":
            passed[hit] *= 1.0 - fault.amount
        elif fault.kind == "link_delay":
            delay[hit] += fault.amount
        elif fault.kind == "link_rate":
            rate[hit] *= fault.amount
        elif fault.kind == "cpu_hog":
            cpu[[topology.device_index[name] for name in named]] += fault.amount
        elif fault.kind == "table_full":
            table |= {name: table.get(name, 1.0) * fault.amount for name in named}
        elif fault.kind in groups:
            groups[fault.kind].update(named)
    dead = frozenset(groups["device_crash"])
    for name in dead:
        cut.update(n ^ side for n in topology.ports[name].values() for side in (0, 1))
    return Damage(
        physical=Physical(frozenset(cut), table),
        rate_left=rate,
        delay_s=delay,
        loss=1.0 - passed,
        dead=dead,
        deaf=dead | groups["controller_lost"],
        dark=dead | groups["telemetry_gap"],
        cpu=cpu,
    )


def _directed(topology: Topology, fault: Fault) -> list[int]:
    if fault.link is None:
        return []
    return [2 * cable + side for cable in topology.cables(*fault.link) for side in (0, 1)]


def matched(topology: Topology, demands: Sequence[Demand], fault: Fault) -> Array:
    """Which demands a fault of traffic speaks of, `[demands]`."""
    sources = set(topology.resolve(fault.source))
    destinations = set(topology.resolve(fault.destination))
    return np.array([
        d.source in sources
        and d.destination in destinations
        and fault.traffic_class in (None, d.traffic_class)
        for d in demands
    ], dtype=np.bool_)  # fmt: skip


class Crowd:
    """What users do to the rates: surges, and retries that outlive their cause.

    A demand in a retry storm that is delivered below 90 % is sent half as much again every
    second, up to the fault's factor, and calms by a tenth a second once all of it arrives: the
    sustaining loop of a metastable failure (Bronson et al., HotOS 2021).
    """

    def __init__(self, topology: Topology, demands: Sequence[Demand]) -> None:
        self._topology = topology
        self._demands = demands
        self._retries = np.ones(len(demands))
        self._retrying = False
        self._matched: dict[Fault, Array] = {}

    def factor(self, active: Iterable[Fault]) -> Array:
        """What to multiply every demand by."""
        found = self._retries
        for fault in active:
            if fault.kind == "traffic_surge":
                found = np.where(self._hit(fault), found * fault.amount, found)
        return found

    def reacts(self, active: Iterable[Fault]) -> bool:
        """Whether it matters what users see: else `react` would do nothing."""
        return self._retrying or any(fault.kind == "retry_storm" for fault in active)

    def react(self, active: Iterable[Fault], delivered: Array) -> None:
        """One second of users seeing the share `delivered[demands]` of what they sent."""
        storming = np.ones(len(self._demands))
        for fault in active:
            if fault.kind == "retry_storm":
                mask = self._hit(fault)
                storming[mask] = np.maximum(storming[mask], fault.amount)
        grown = np.minimum(self._retries * 1.5, storming)
        calmed = np.maximum(self._retries * 0.9, 1.0)
        self._retries = np.where(
            delivered < 0.9, grown, np.where(delivered > 0.99, calmed, self._retries)
        )
        self._retrying = bool((self._retries != 1.0).any())

    def _hit(self, fault: Fault) -> Array:
        """Which demands; looked up once, since it is asked every second."""
        if fault not in self._matched:
            self._matched[fault] = matched(self._topology, self._demands, fault)
        return self._matched[fault]
