"""The name of a topology family and randomness to a network as it may stand somewhere.

Families are `sndlib/...` and `topozoo/...` of topohub, and `fat_tree/4` and `fat_tree/6`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import networkx as nx
import numpy as np
from numpy.random import Generator

from shadowsim.errors import BadInput, choices
from shadowsim.history.folds import ALL, fold_of
from shadowsim.model.topology import Host, Link, Topology, with_default_hosts
from shadowsim.scenario.graphs import read_topohub, topohub_names
from shadowsim.scenario.topologies import HOST_SPEED_UP, fat_tree
from shadowsim.scenario.wiring import Cable, Wiring

GROUPS = {"sndlib": 0.35, "topozoo": 0.5, "fat_tree": 0.15}
FAT_TREES = ("fat_tree/4", "fat_tree/6")
SMALLEST, LARGEST = 6, 60  # devices
MODELS = ("ar-3", "cs-7", "ex-9", "qx-2")
GUEST, DATABASE = "guest", "db"


@dataclass(frozen=True)
class Network:
    """A wiring, and the traffic that was measured on it by pairs of devices ({} if none was)."""

    name: str
    topology: Topology
    matrix: Mapping[tuple[str, str], float]


@cache
def networks() -> tuple[str, ...]:
    """Every family that is used: of 6 to 60 devices, and with a way round somewhere."""
    stored = (n for n in topohub_names() if n.partition("/")[0] in GROUPS)
    return (*FAT_TREES, *(name for name in stored if _is_usable(read_topohub(name))))


def a_network(random: Generator, fold: str = ALL) -> str:
    """Any family of a fold, the groups in the proportions of GROUPS, of those that it has."""
    among = [name for name in networks() if fold in (ALL, fold_of(name))]
    groups = {g: p for g, p in GROUPS.items() if any(n.startswith(f"{g}/") for n in among)}
    shares = np.array(list(groups.values()))
    group = str(random.choice(list(groups), p=shares / shares.sum()))
    mine = [name for name in among if name.startswith(f"{group}/")]
    return mine[int(random.integers(len(mine)))]


def network(name: str, random: Generator) -> Network:
    """One of that family: its rates, delays, queues, device models, and where guests and the
    database are. Raises BadInput for a name that is none.
    """
    wiring = _wiring(name)
    models = random.choice(MODELS, size=int(random.integers(2, 4)), replace=False)
    devices = tuple(replace(d, model=str(random.choice(models))) for d in wiring.devices)
    links = _links(wiring, random)
    plain = () if wiring.fabric else devices
    hosts = with_default_hosts(plain, wiring.hosts)
    hosts += _guests(list(dict.fromkeys(host.device for host in hosts)), random)
    fastest = max(link.rate_bps for link in links) * HOST_SPEED_UP
    hosts = tuple(replace(host, rate_bps=fastest) for host in hosts)
    return Network(name, Topology(name, devices, hosts, links), wiring.matrix)


def bridges(topology: Topology, without: Iterable[int] = ()) -> frozenset[int]:
    """The cables without which some device would be cut off, when those `without` are shut."""
    shut = set(without)
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(topology.device_index)
    for number, link in enumerate(topology.links):
        if number not in shut:
            known = graph.has_edge(link.a, link.b)
            beside = graph[link.a][link.b]["cables"] if known else []
            graph.add_edge(link.a, link.b, cables=[*beside, number])
    found = (graph[pair[0]][pair[1]]["cables"] for pair in nx.bridges(graph))
    return frozenset(cables[0] for cables in found if len(cables) == 1)


def _wiring(name: str) -> Wiring:
    group, _, rest = name.partition("/")
    if group == "fat_tree" and rest.isdigit() and int(rest) % 2 == 0 and int(rest):
        return fat_tree(int(rest))
    if name not in networks():
        raise BadInput(f"no changes are tried on a network '{name}'; {choices(name, networks())}")
    return read_topohub(name)


def _is_usable(wiring: Wiring) -> bool:
    if not SMALLEST <= len(wiring.devices) <= LARGEST or any(c.a == c.b for c in wiring.cables):
        return False
    graph: nx.MultiGraph[str] = nx.MultiGraph([(cable.a, cable.b) for cable in wiring.cables])
    graph.add_nodes_from(device.name for device in wiring.devices)
    topology = Topology(wiring.name, tuple(wiring.devices), (), tuple(map(_plain, wiring.cables)))
    ports = sum(len(ports) for ports in topology.ports.values())
    return (
        nx.is_connected(graph)
        and len(wiring.cables) >= len(wiring.devices)
        and ports == 2 * len(wiring.cables)
    )


def _plain(cable: Cable) -> Link:
    return Link(cable.a, cable.b)


def _links(wiring: Wiring, random: Generator) -> tuple[Link, ...]:
    rate_bps = float(random.choice([1e8, 1e9]))
    queue_s = float(random.uniform(0.01, 0.04))
    delay_s = 5e-5 if wiring.fabric else float(random.uniform(0.001, 0.005))
    steps = [1.0] if wiring.fabric or random.random() < 0.4 else [0.4, 1.0, 1.0, 1.0, 2.5]
    found = []
    for cable in wiring.cables:
        rate = rate_bps * float(random.choice(steps))
        natural_s = cable.natural_delay_s or delay_s
        packets = int(rate * queue_s / 8000)
        found.append(Link(cable.a, cable.b, rate, natural_s, packets))
    return tuple(found)


def _guests(homes: list[str], random: Generator) -> tuple[Host, ...]:
    """A host of guests and one with a database, on two devices that have hosts."""
    first, second = random.choice(len(homes), size=2, replace=False)
    return (Host(GUEST, homes[first]), Host(DATABASE, homes[second]))
