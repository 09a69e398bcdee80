"""Interface costs to every equal-cost shortest path next hop (OSPF with ECMP), as bits.

Many destinations are worked on at once, one per bit of a machine word: where all costs are
equal this is a breadth-first search whose frontier is a row of bits (Then et al., "The More the
Merrier: Efficient Multi-Source Graph Traversal", VLDB 2014); else Dijkstra per destination.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt
from numba import njit

from shadowsim.dataplane.plane import Bits, Graph, Ints

UNREACHED = np.iinfo(np.int32).max


def shortest_path_bits(
    graph: Graph, cost: Ints, usable: npt.NDArray[np.bool_], destinations: Ints
) -> tuple[Bits, Bits]:
    """Which links lie on a shortest path to which destination, and who reaches it at all.

    `cost[E]` >= 1, `usable[E]`, `destinations[K]` device numbers. Returns `bits[E, W]` and
    `reached[D, W]` with W = ceil(K / 64): bit k of `bits[e]` says that the tail of e forwards
    to destination k over e; of `reached[d]`, that device d has a path to it.
    """
    used = cost[usable]
    if not used.size or used.min() == used.max():
        bits, reached = _bfs(graph.tail, graph.head, usable, graph.devices, destinations)
    else:
        arrays = (graph.tail, graph.head, graph.in_start, graph.into)
        bits, reached = _dijkstra_bits(*arrays, cost, usable, graph.devices, destinations)
    return bits, reached


def distances(
    graph: Graph, cost: Ints, usable: npt.NDArray[np.bool_], destinations: Ints
) -> npt.NDArray[np.int32]:
    """`[D, K]`: cost of the shortest path to each destination, UNREACHED where there is none."""
    out = np.empty((graph.devices, len(destinations)), dtype=np.int32)
    for k, destination in enumerate(destinations):
        out[:, k] = _dijkstra(
            graph.tail, graph.in_start, graph.into, cost, usable, graph.devices, destination
        )
    return out


@njit(cache=True, nogil=True)
def _bfs(tail, head, usable, devices, destinations):  # type: ignore[no-untyped-def]
    words = (len(destinations) + 63) // 64
    bits = np.zeros((len(tail), words), np.uint64)
    reached = np.zeros((devices, words), np.uint64)
    frontier = np.zeros((devices, words), np.uint64)
    alive = np.zeros(devices, np.bool_)
    for k in range(len(destinations)):
        bit = np.uint64(1) << np.uint64(k & 63)
        reached[destinations[k], k >> 6] |= bit
        frontier[destinations[k], k >> 6] |= bit
        alive[destinations[k]] = True
    grown = np.zeros((devices, words), np.uint64)
    moving = True
    while moving:
        for e in range(len(tail)):
            v = head[e]
            if alive[v] and usable[e]:
                u = tail[e]
                for w in range(words):
                    fresh = frontier[v, w] & ~reached[u, w]
                    bits[e, w] |= fresh
                    grown[u, w] |= fresh
        moving = False
        for u in range(devices):
            alive[u] = False
            for w in range(words):
                fresh = grown[u, w]
                reached[u, w] |= fresh
                frontier[u, w] = fresh
                grown[u, w] = 0
                alive[u] |= fresh != 0
            moving |= alive[u]
    return bits, reached


@njit(cache=True, nogil=True)
def _dijkstra(tail, in_start, into, cost, usable, devices, destination):  # type: ignore[no-untyped-def]
    distance = np.full(devices, UNREACHED, np.int32)
    distance[destination] = 0
    heap = [(np.int32(0), np.int32(destination))]
    while heap:
        near, v = heappop(heap)
        if near > distance[v]:
            continue
        for place in range(in_start[v], in_start[v + 1]):
            e = into[place]
            if usable[e]:
                far = np.int32(near + cost[e])
                if far < distance[tail[e]]:
                    distance[tail[e]] = far
                    heappush(heap, (far, tail[e]))
    return distance


@njit(cache=True, nogil=True)
def _dijkstra_bits(tail, head, in_start, into, cost, usable, devices, destinations):  # type: ignore[no-untyped-def]
    words = (len(destinations) + 63) // 64
    bits = np.zeros((len(tail), words), np.uint64)
    reached = np.zeros((devices, words), np.uint64)
    for k in range(len(destinations)):
        word = k >> 6
        bit = np.uint64(1) << np.uint64(k & 63)
        distance = _dijkstra(tail, in_start, into, cost, usable, devices, destinations[k])
        for d in range(devices):
            if distance[d] != UNREACHED:
                reached[d, word] |= bit
        for e in range(len(tail)):
            far = distance[head[e]]
            if usable[e] and far != UNREACHED and far + cost[e] == distance[tail[e]]:
                bits[e, word] |= bit
    return bits, reached
