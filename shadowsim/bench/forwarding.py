"""The compiler of forwarding beside what networkx, scipy and numpy need for the same next hops."""

from __future__ import annotations

import numpy as np

from shadowsim.bench.timing import Row, best_of
from shadowsim.bench.verify import topology_of
from shadowsim.dataplane.igp import shortest_path_bits
from shadowsim.dataplane.plane import Graph
from shadowsim.dataplane.ports import graph_of
from shadowsim.scenario.topologies import fat_tree


def next_hops_k32() -> list[Row]:
    """All equal-cost next hops of a k=32 fat tree: 1,280 switches, 512 edge destinations."""
    topology = topology_of(fat_tree(32))
    graph = graph_of(topology)
    edges = sorted({topology.device_index[host.device] for host in topology.hosts})
    destinations = np.array(edges, dtype=np.int32)
    cost = np.full(graph.edges, 10, dtype=np.int32)
    usable = np.ones(graph.edges, dtype=np.bool_)
    ours = best_of(lambda: shortest_path_bits(graph, cost, usable, destinations), 15)
    mixed = cost.copy()
    mixed[0] = 500
    dijkstra = best_of(lambda: shortest_path_bits(graph, mixed, usable, destinations), 3)
    bits, _ = shortest_path_bits(graph, cost, usable, destinations)
    scipy_s, same = _by_scipy(graph, destinations, bits)
    networkx_s = _by_networkx(graph, destinations[:8]) * len(destinations) / 8
    note = f"{len(topology.devices)} switches, {len(destinations)} destinations"
    agree = "same next hops" if same else "DIFFERENT next hops"
    return [
        Row(
            "next hops k=32", ours * 1e3, "ms", 5.0, scipy_s * 1e3, f"scipy+numpy, {agree}; {note}"
        ),
        Row(
            "next hops k=32", ours * 1e3, "ms", 5.0, networkx_s * 1e3, "networkx, 8 of 512, scaled"
        ),
        Row("next hops k=32, mixed costs", dijkstra * 1e3, "ms", None, None, "one cost differs"),
    ]


def _by_scipy(graph: Graph, destinations: np.ndarray, bits: np.ndarray) -> tuple[float, bool]:
    """Seconds that scipy's distances and a numpy comparison need, and whether they agree."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    ones = np.ones(graph.edges)
    shape = (graph.devices, graph.devices)
    matrix = csr_array((ones, (graph.head, graph.tail)), shape=shape)

    def next_hops() -> np.ndarray:
        far = dijkstra(matrix, indices=destinations, unweighted=True)
        nearer = far[:, graph.head] + 1.0
        return np.asarray(nearer == far[:, graph.tail])

    seconds = best_of(next_hops, 3)
    flat = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    return seconds, bool((next_hops() == flat[:, : len(destinations)].T).all())


def _by_networkx(graph: Graph, destinations: np.ndarray) -> float:
    """Seconds that networkx needs for the shortest path predecessors of these destinations."""
    import networkx as nx

    reverse: nx.DiGraph[int] = nx.DiGraph()
    reverse.add_edges_from(zip(graph.head.tolist(), graph.tail.tolist(), strict=True))

    def predecessors() -> None:
        for destination in destinations.tolist():
            nx.predecessor(reverse, destination)

    return best_of(predecessors, 3)
