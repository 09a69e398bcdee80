"""A seed and a number to a site: a network as it runs before anybody changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import networkx as nx
import numpy as np
from numpy.random import Generator

from shadowsim.dataplane.forwarding import compile as compile_plane
from shadowsim.dataplane.loading import Loader, Reading
from shadowsim.history.folds import ALL
from shadowsim.history.lines import Commands, ends_of, one, top
from shadowsim.history.networks import DATABASE, GUEST, Network, a_network, bridges, network
from shadowsim.history.policies import DRAINED_COST, contracts, homes, policies
from shadowsim.history.quirks import quirks
from shadowsim.model.change import Configs, apply
from shadowsim.model.config import Interface
from shadowsim.model.faults import Fault
from shadowsim.model.intents import Intents, Limit, PathIntent
from shadowsim.model.streams import stream
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand, Traffic
from shadowsim.scenario.defaults import default_configs
from shadowsim.scenario.traffic import SERVICES

Array = np.ndarray
Graph: TypeAlias = "nx.DiGraph[str]"
CLASS_SHARES = {"critical": 0.2, "normal": 0.6, "bulk": 0.2}
MOST_DEMANDS = 90
PLANNED = 0.75  # of all sites have links bought by what they carry
BUSIEST_PLANNED = 0.9
STEPS = (0.05, 0.1, 0.25, 0.5, 1.0)  # of rates that can be bought, of the largest


@dataclass(frozen=True)
class Site:
    """A network with its configs, traffic and intents; the same for all changes tried at it.

    `share[L]`: what each directed link carries of its rate. `pinned`: cables that a static route
    uses. `quirks`: which commands misbehave on which of its device models.
    """

    seed: int
    number: int
    network: str
    topology: Topology
    configs: Configs
    traffic: Traffic
    intents: Intents
    share: Array
    pinned: frozenset[int]
    quirks: tuple[Fault, ...]

    @cached_property
    def shut(self) -> tuple[int, ...]:
        """The cables that are shut, kept as spares."""
        return shut_cables(self.topology, self.configs)

    @cached_property
    def drained(self) -> tuple[int, ...]:
        """The cables that are open, and too dear to be used."""
        dear = [c for c in self._cables if self.port(self.ends(c)[0]).cost >= DRAINED_COST]
        return tuple(c for c in dear if c not in self.shut)

    @cached_property
    def free(self) -> tuple[int, ...]:
        """The cables in use that could be missed: there is a way round that is in use too."""
        unused = {*self.shut, *self.drained}
        needed = bridges(self.topology, unused) | unused
        return tuple(c for c in self._cables if c not in needed)

    @cached_property
    def used(self) -> tuple[int, ...]:
        """The cables that are in use."""
        return tuple(c for c in self._cables if c not in (*self.shut, *self.drained))

    @property
    def _cables(self) -> range:
        return range(len(self.topology.links))

    def ends(self, cable: int) -> tuple[tuple[str, str], tuple[str, str]]:
        """The two (device, port) of a cable."""
        return ends_of(self.topology, cable)

    def port(self, end: tuple[str, str]) -> Interface:
        """A port as it is configured."""
        return self.configs[end[0]].interfaces[end[1]]

    def busy(self, cable: int) -> float:
        """What the busier direction of a cable carries, of its rate."""
        return float(self.share[2 * cable : 2 * cable + 2].max())


def site(seed: int, number: int, fold: str = ALL) -> Site:
    """The site of that number, on a network of a fold: the same arguments give the same one in any
    process.
    """
    random = stream(seed, "history", "site", str(number))
    where = network(a_network(random, fold), random)
    topology = where.topology
    configs: Configs = apply(default_configs(topology), policies(topology, random))
    steered, waypoints = _steered(topology, configs, random)
    configs = apply(configs, steered)
    demands, share = _sized(topology, configs, _demands(where, random), BUSIEST_PLANNED)
    if random.random() < PLANNED:
        topology = _planned(topology, share, float(random.uniform(0.4, 0.75)))
        share = _share(topology, configs, demands)
    configs = apply(configs, contracts(topology, share, random))
    demands, share = _sized(topology, configs, demands, float(random.uniform(0.4, 0.8)))
    reading = _reading(topology, configs, demands)
    paths = (
        PathIntent("reachable", protocol="tcp", port=443),
        PathIntent("isolated", GUEST, DATABASE),
        *waypoints,
    )
    limits = _limits(reading, demands, 2 * len(topology.links), random)
    return Site(
        seed=seed,
        number=number,
        network=where.name,
        topology=topology,
        configs=configs,
        traffic=Traffic(demands),
        intents=Intents(paths, limits),
        share=share,
        pinned=_pinned(topology, steered),
        quirks=quirks(topology, random),
    )


def shut_cables(topology: Topology, configs: Configs) -> tuple[int, ...]:
    """The cables that are shut at either end."""
    return tuple(
        cable
        for cable in range(len(topology.links))
        if any(
            configs[device].interfaces[port].shutdown for device, port in ends_of(topology, cable)
        )
    )


def _pinned(topology: Topology, steered: Commands) -> frozenset[int]:
    ports = ((c.device, c.line.split()[-1]) for c in steered)
    return frozenset(topology.ports[device][port] // 2 for device, port in ports)


# ---- ways


def open_graph(topology: Topology, configs: Configs) -> Graph:
    """The devices, and what is open between them: of parallel links the cheapest, by number."""
    graph: Graph = nx.DiGraph()
    graph.add_nodes_from(topology.device_index)
    for number in range(2 * len(topology.links)):
        (a, port), (b, other) = topology.port_of[number], topology.port_of[number ^ 1]
        here, there = configs[a].interfaces[port], configs[b].interfaces[other]
        if here.shutdown or there.shutdown or here.mtu_bytes != there.mtu_bytes:
            continue
        if not graph.has_edge(a, b) or graph[a][b]["cost"] > here.cost:
            graph.add_edge(a, b, cost=here.cost, link=number)
    return graph


def _steered(
    topology: Topology, configs: Configs, random: Generator
) -> tuple[Commands, tuple[PathIntent, ...]]:
    """Static routes along the cheapest way, and what must pass a device that is on every one."""
    graph, ends = open_graph(topology, configs), homes(topology)
    commands: Commands = ()
    for _ in range(int(random.integers(0, 3))):
        a, b = (ends[int(i)] for i in random.choice(len(ends), 2, replace=False))
        way = nx.shortest_path(graph, a, b, weight="cost")
        port = topology.port_of[graph[way[0]][way[1]]["link"]][1]
        commands += top(a, f"ip route {topology.lan[b]} {port}")
    if random.random() < 0.5:
        return commands, ()
    for _ in range(5):
        a, b = (ends[int(i)] for i in random.choice(len(ends), 2, replace=False))
        ways = [frozenset(w[1:-1]) for w in nx.all_shortest_paths(graph, a, b, weight="cost")]
        always = sorted(frozenset.intersection(*ways))
        if always:
            return commands, (PathIntent("waypoint", a, b, via=one(random, always)),)
    return commands, ()


# ---- traffic


def _demands(where: Network, random: Generator) -> tuple[Demand, ...]:
    """Some pairs of hosts, more likely those with much between them; each of one class."""
    amounts = _amounts(where)
    count = min(len(amounts), int(random.integers(40, MOST_DEMANDS)))
    pairs, weight = list(amounts), np.array(list(amounts.values()))
    weight = np.maximum(weight, weight.max() * 1e-3)
    taken = random.choice(len(pairs), size=count, replace=False, p=weight / weight.sum())
    classes = random.choice(list(CLASS_SHARES), size=count, p=list(CLASS_SHARES.values()))
    flows = 4 if where.name.startswith("fat_tree") else 1
    return tuple(
        _demand(*pairs[int(place)], float(weight[place]), str(of), flows, random)
        for place, of in zip(taken, classes, strict=True)
    )


def _demand(
    source: str, destination: str, amount: float, of: str, flows: int, random: Generator
) -> Demand:
    protocol, port = SERVICES[of]
    if of == "critical" and random.random() < 0.5:
        protocol, port = "tcp", 443
    if of == "normal" and random.random() < 0.1:
        protocol, port = "udp", 443
    size = int(random.choice([200, 400])) if of == "critical" else 1000
    return Demand(source, destination, amount, of, protocol, port, size, flows)


def _amounts(where: Network) -> Mapping[tuple[str, str], float]:
    """What is sent from host to host, in units of no meaning of their own.

    As measured where it was; else by gravity of the rates of the devices' links.
    """
    topology = where.topology
    first = {home: topology.hosts_of[home][0].name for home in homes(topology)}
    if where.matrix:
        return {(first[a], first[b]): amount for (a, b), amount in where.matrix.items()}
    capacity = dict.fromkeys(topology.device_index, 0.0)
    for link in topology.links:
        capacity[link.a] += link.rate_bps
        capacity[link.b] += link.rate_bps
    senders = [h for h in topology.hosts if h.name != GUEST]
    return {
        (a.name, b.name): capacity[a.device] * capacity[b.device]
        for a in senders
        for b in senders
        if a.device != b.device
    }


def _sized(
    topology: Topology, configs: Configs, demands: tuple[Demand, ...], scale: float
) -> tuple[tuple[Demand, ...], Array]:
    """The demands, the busiest link carrying `scale` of its rate then; and what each carries."""
    share = _share(topology, configs, demands)
    factor = scale / float(share[: 2 * len(topology.links)].max())
    sized = tuple(replace(demand, rate_bps=demand.rate_bps * factor) for demand in demands)
    return sized, share * factor


def _share(topology: Topology, configs: Configs, demands: tuple[Demand, ...]) -> Array:
    """What every directed link would carry of its rate if nothing were lost, `[L]`."""
    plane, loader = compile_plane(topology, configs), Loader(topology, demands)
    paths = loader.route(plane).paths
    links, hops = paths.links[0], paths.hops[0]
    rates = loader.spread(np.array([demand.rate_bps for demand in demands]))
    used = np.arange(links.shape[1]) < hops[:, None]
    spread = np.broadcast_to(rates[:, None], links.shape)
    load = np.bincount(links[used], weights=spread[used], minlength=topology.directed_links)
    return np.asarray(load / plane.rate_bps)


def _planned(topology: Topology, share: Array, most: float) -> Topology:
    """The rates that were bought: of those there are, the smallest of which `most` is enough."""
    links = []
    for number, link in enumerate(topology.links):
        needed = float(share[2 * number : 2 * number + 2].max()) / most
        step = next((step for step in STEPS if step >= needed), 1.0)
        packets = max(int(link.queue_packets * step), 20)
        links.append(replace(link, rate_bps=link.rate_bps * step, queue_packets=packets))
    return replace(topology, links=tuple(links))


def _reading(topology: Topology, configs: Configs, demands: tuple[Demand, ...]) -> Reading:
    """What demands and links get when nothing is wrong."""
    plane, loader = compile_plane(topology, configs), Loader(topology, demands)
    offered = loader.spread(np.array([demand.rate_bps for demand in demands]))
    nothing = np.zeros(topology.directed_links)
    loads = loader.solve(loader.route(plane), offered, nothing)
    return loader.at_once(plane, loads, offered, nothing)


# ---- limits


def _limits(
    reading: Reading, demands: tuple[Demand, ...], switch_links: int, random: Generator
) -> tuple[Limit, ...]:
    """Limits with room to spare above what is measured now, more here and less there."""
    classes = np.array([demand.traffic_class for demand in demands])
    found = []
    if "critical" in classes:
        slowest = float(np.nanmax(reading.demand[classes == "critical", 2]))
        bound_s = slowest * float(random.uniform(1.2, 2.2)) + 0.001
        found.append(Limit("latency", round(bound_s, 4), "critical"))
        found.append(Limit("loss", one(random, (0.01, 0.02, 0.05)), "critical"))
    if "normal" in classes:
        found.append(Limit("throughput", one(random, (0.8, 0.9, 0.95)), "normal"))
    busiest = float(reading.utilisation[:switch_links].max())
    bound = max(one(random, (0.7, 0.8, 0.9, 0.95)), busiest * 1.12)
    found.append(Limit("utilisation", round(min(bound, 0.98), 3)))
    taken = [limit for limit in found if random.random() < 0.75]
    return tuple(taken or found[-1:])
