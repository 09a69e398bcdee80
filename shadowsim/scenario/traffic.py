"""The traffic of a scenario (a measured matrix, gravity or a list) to frozen Traffic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from shadowsim.model.change import Configs
from shadowsim.model.streams import stream
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES, Demand, Profile, Traffic
from shadowsim.scenario.findings import Findings
from shadowsim.scenario.intents import check_hosts
from shadowsim.scenario.spec import DemandSpec, Mix, ProfileSpec, TrafficSpec
from shadowsim.scenario.topologies import Network
from shadowsim.scenario.yamlfile import Path

MAX_FLOWS = 200_000
SHAPE_SCALE = 0.5
SERVICES = {"critical": ("udp", 5004), "normal": ("tcp", 443), "bulk": ("tcp", 873)}
WHERE: Path = ("traffic", "demands")


class Pair(NamedTuple):
    """What one host sends another, in units of no meaning of their own."""

    source: str
    destination: str
    amount: float


def build(
    spec: TrafficSpec | None,
    network: Network | None,
    configs: Configs,
    findings: Findings,
    seed: int = 0,
) -> Traffic:
    """Who sends how much to whom; `seed` draws the pairs where only some are wanted."""
    if spec is None:
        return Traffic(())
    profile = _profile(spec.profile)
    _check_mix(spec, findings)
    _check_pairs(spec, findings)
    if network is None:
        return Traffic((), profile)
    if isinstance(spec.demands, list):
        scale = spec.scale or 1.0
        return Traffic(_listed(spec.demands, scale, network.topology, findings), profile)
    if spec.demands == "topohub":
        pairs = _measured(network, findings)
    else:
        pairs = _gravity(network, findings, spec.pairs, seed)
    shares = spec.mix.model_dump() if spec.mix else {"normal": 1.0}
    demands = _mixed(pairs, shares)
    if demands and not findings:
        demands = _scaled(demands, spec.scale or SHAPE_SCALE, network.topology, configs, findings)
    return Traffic(demands, profile)


def busiest_share(topology: Topology, configs: Configs, demands: Sequence[Demand]) -> float:
    """The load of the busiest switch link as a share of its rate, counting what is delivered."""
    import numpy as np

    from shadowsim.dataplane import forwarding
    from shadowsim.dataplane.trace import trace

    plane = forwarding.compile(topology, configs)
    paths = trace(plane, demands)
    links = paths.links[0]
    rate = np.repeat([d.rate_bps / d.flows for d in demands], [d.flows for d in demands])
    used = np.arange(links.shape[1]) < paths.hops[0][:, None]
    spread = np.broadcast_to(rate[:, None], links.shape)
    load = np.bincount(links[used], weights=spread[used], minlength=topology.directed_links)
    switch_links = 2 * len(topology.links)
    share = load[:switch_links] / plane.rate_bps[:switch_links]
    return float(share.max(initial=0.0))


# ---- shapes


def _measured(network: Network, findings: Findings) -> list[Pair]:
    if not network.matrix:
        message = (
            f"no traffic was measured on '{network.topology.name}', only on topohub's sndlib/...; "
            "write gravity or a list of demands"
        )
        findings.add(WHERE, message)
    first = {device: hosts[0].name for device, hosts in network.topology.hosts_of.items() if hosts}
    pairs = [Pair(first[a], first[b], amount) for (a, b), amount in network.matrix.items()]
    return pairs if _few_enough(WHERE, len(pairs), findings) else []


def _gravity(network: Network, findings: Findings, wanted: int | None, seed: int) -> list[Pair]:
    """Every host to every host of another device, by the link capacity of their devices; or so
    many pairs of them, each as likely as any other.
    """
    topology = network.topology
    capacity = dict.fromkeys(topology.device_index, 0.0)
    for link in topology.links:
        capacity[link.a] += link.rate_bps / 1e9
        capacity[link.b] += link.rate_bps / 1e9
    together = [len(hosts) for hosts in topology.hosts_of.values()]
    count = sum(together) ** 2 - sum(n * n for n in together)
    if count == 0:
        findings.add(WHERE, "gravity needs hosts on at least two devices")
    if wanted is not None and wanted > count:
        message = f"there are {count:,} pairs of hosts on different devices, not {wanted:,}"
        findings.add(("traffic", "pairs"), message)
        return []
    if not _few_enough(WHERE, wanted or count, findings, few=wanted is None):
        return []
    weight = {h.name: capacity[h.device] / len(topology.hosts_of[h.device]) for h in topology.hosts}
    chosen = _all_apart(topology) if wanted is None else _some_apart(topology, count, wanted, seed)
    return [Pair(a, b, weight[a] * weight[b]) for a, b in chosen]


def _all_apart(topology: Topology) -> Iterable[tuple[str, str]]:
    """All pairs of hosts on different devices."""
    for a in topology.hosts:
        for b in topology.hosts:
            if a.device != b.device:
                yield a.name, b.name


def _some_apart(
    topology: Topology, count: int, wanted: int, seed: int
) -> Iterable[tuple[str, str]]:
    """So many of the `count` pairs of hosts on different devices, none twice, in a fixed order."""
    import numpy as np

    groups = [hosts for hosts in topology.hosts_of.values() if hosts]
    hosts = [host.name for group in groups for host in group]
    size = np.array([len(group) for group in groups])
    begin = np.repeat(np.cumsum(size) - size, size)  # of the host's own device
    beside = np.repeat(size, size)
    ahead = np.cumsum(len(hosts) - beside)  # pairs of the hosts up to this one
    drawn = np.sort(stream(seed, "pairs").choice(count, wanted, replace=False))
    source = np.searchsorted(ahead, drawn, "right")
    other = drawn - (ahead - (len(hosts) - beside))[source]
    other += np.where(other >= begin[source], beside[source], 0)  # past those beside it
    for a, b in zip(source.tolist(), other.tolist(), strict=True):
        yield hosts[a], hosts[b]


def _mixed(pairs: Iterable[Pair], shares: Mapping[str, float]) -> tuple[Demand, ...]:
    return tuple(
        Demand(pair.source, pair.destination, pair.amount * shares[name], name, *SERVICES[name])
        for pair in pairs
        for name in CLASSES
        if shares.get(name, 0.0) > 0
    )


def _scaled(
    demands: tuple[Demand, ...],
    scale: float,
    topology: Topology,
    configs: Configs,
    findings: Findings,
) -> tuple[Demand, ...]:
    """The demands, sized so that the busiest link carries `scale` of its rate."""
    share = busiest_share(topology, configs, demands)
    if share == 0:
        findings.add(WHERE, "no traffic crosses any link under the initial configs")
        return ()
    factor = scale / share
    return tuple(replace(demand, rate_bps=demand.rate_bps * factor) for demand in demands)


def _check_mix(spec: TrafficSpec, findings: Findings) -> None:
    if spec.mix is None:
        return
    if isinstance(spec.demands, list):
        message = "'mix' goes with topohub or gravity; in a list, every demand says its class"
        findings.add(("traffic", "mix"), message)
    total = _total(spec.mix)
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        findings.add(("traffic", "mix"), f"the shares of 'mix' add up to {total:g}; wanted 1")


def _check_pairs(spec: TrafficSpec, findings: Findings) -> None:
    if spec.pairs is not None and spec.demands != "gravity":
        findings.add(("traffic", "pairs"), "'pairs' goes with gravity: it draws some of all pairs")


def _total(mix: Mix) -> float:
    return mix.critical + mix.normal + mix.bulk


# ---- lists


def _listed(
    specs: Sequence[DemandSpec], scale: float, topology: Topology, findings: Findings
) -> tuple[Demand, ...]:
    demands: list[Demand] = []
    flows = 0
    for i, spec in enumerate(specs):
        path: Path = (*WHERE, i)
        if not check_hosts(path, spec.source, spec.destination, topology, findings):
            continue
        sources, destinations = topology.resolve(spec.source), topology.resolve(spec.destination)
        count = len(sources) * len(destinations) - len(set(sources) & set(destinations))
        flows += count * spec.flows
        if count == 0:
            findings.add(path, f"'{spec.source}' to '{spec.destination}' is no pair of two hosts")
        if not _few_enough(path, flows, findings):
            break
        demands += _expanded(spec, scale, sources, destinations)
    return tuple(demands)


def _expanded(
    spec: DemandSpec, scale: float, sources: Sequence[str], destinations: Sequence[str]
) -> Iterable[Demand]:
    for source in sources:
        for destination in destinations:
            if source != destination:
                yield Demand(
                    source,
                    destination,
                    rate_bps=spec.rate_mbps * 1e6 * scale,
                    traffic_class=spec.traffic_class,
                    protocol=spec.protocol,
                    port=spec.port,
                    packet_bytes=spec.packet_bytes,
                    flows=spec.flows,
                )


def _few_enough(path: Path, flows: int, findings: Findings, *, few: bool = False) -> bool:
    if flows > MAX_FLOWS:
        fewer = " ('pairs: 1000' draws some of them)" if few else ""
        findings.add(path, f"this makes {flows:,} flows of traffic; at most {MAX_FLOWS:,}{fewer}")
    return flows <= MAX_FLOWS


def _profile(spec: ProfileSpec) -> Profile:
    steps = tuple(sorted((step.at_s, step.factor) for step in spec.steps))
    if spec.diurnal is None:
        return Profile(steps=steps)
    return Profile(spec.diurnal.peak, spec.diurnal.period_s, steps)
