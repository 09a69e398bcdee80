"""The cables of a network to how much hangs on each of its devices: pure graph theory."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np

from shadowsim.model.topology import Topology

Array = np.ndarray


class Cabling:
    """The devices of a topology as a graph whose edges are cables; parallel cables count each."""

    def __init__(self, topology: Topology) -> None:
        index = topology.device_index
        self._cables: list[Counter[int]] = [Counter() for _ in topology.devices]
        for link in topology.links:
            a, b = index[link.a], index[link.b]
            self._cables[a][b] += 1
            self._cables[b][a] += 1

    def degree(self, device: int) -> int:
        """Cables to other devices."""
        return self._cables[device].total()

    def betweenness(self) -> Array:
        """`[D]`: of the shortest paths between two others, the share that lead over each device.

        Brandes, A faster algorithm for betweenness centrality (2001), from all sources at once;
        parallel cables are one here.
        """
        devices = len(self._cables)
        edges = np.zeros((devices, devices))
        for a, others in enumerate(self._cables):
            edges[a, list(others)] = 1.0
        hops = np.where(np.eye(devices) > 0, 0, -1)
        paths = np.eye(devices)
        depth = 0
        while True:
            reached = np.where(hops == depth, paths, 0.0) @ edges
            fresh = (hops < 0) & (reached > 0)
            if not fresh.any():
                break
            depth += 1
            hops[fresh] = depth
            paths[fresh] = reached[fresh]
        leaning = np.zeros((devices, devices))
        for at in range(depth, 1, -1):
            share = np.where(hops == at, (1.0 + leaning) / np.maximum(paths, 1.0), 0.0)
            leaning += np.where(hops == at - 1, (share @ edges) * paths, 0.0)
        found: Array = leaning.sum(axis=0) / max((devices - 1) * (devices - 2), 1)
        return found

    def redundancy(self, a: int, b: int) -> int:
        """Paths from a to b of which no two share a cable (Ford and Fulkerson)."""
        room = [dict(others) for others in self._cables]
        found = 0
        while (way := _way(room, a, b)) is not None:
            for here, there in way:
                room[here][there] -= 1
                room[there][here] += 1
            found += 1
        return found

    def parts_without(self, device: int) -> int:
        """Into how many parts the other devices fall if this one is lost."""
        left = set(range(len(self._cables))) - {device}
        parts = 0
        while left:
            parts += 1
            queue = [left.pop()]
            while queue:
                fresh = left.intersection(self._cables[queue.pop()])
                left -= fresh
                queue += fresh
        return parts


def _way(room: list[dict[int, int]], a: int, b: int) -> list[tuple[int, int]] | None:
    """A shortest way from a to b along what has room, as pairs; None where there is none."""
    came: dict[int, int] = {a: a}
    queue = deque([a])
    while queue and b not in came:
        here = queue.popleft()
        for there, left in room[here].items():
            if left > 0 and there not in came:
                came[there] = here
                queue.append(there)
    if b not in came or a == b:
        return None
    way = []
    while b != a:
        way.append((came[b], b))
        b = came[b]
    return way
