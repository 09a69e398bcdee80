"""Compiled planes of different ages to the one that is installed, device by device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shadowsim.dataplane.plane import Plane


def mix(installed: Plane, target: Plane, devices: np.ndarray) -> Plane:
    """The installed plane after these devices have written their tables from `target`.

    Ports, access lists and rates are local to a device and are always those of `target`; what
    a device decides for a destination, and over which links, is of the plane it last wrote.
    A link that is down is left out of the tables at once, as hardware does.
    """
    if installed.atoms != target.atoms:
        installed = _refine(installed, target.atom_first)
    written = np.zeros(target.graph.devices, dtype=np.bool_)
    written[devices] = True
    mine = written[target.graph.tail]
    next_hops = np.where(mine[:, None], target.next_hops, installed.next_hops)
    next_hops[~target.up[: target.graph.edges]] = 0
    decision = np.where(written[:, None], target.decision, installed.decision)
    if np.array_equal(decision, target.decision) and np.array_equal(next_hops, target.next_hops):
        return target
    return replace(target, next_hops=next_hops, decision=decision)


def behind(installed: Plane, target: Plane) -> np.ndarray:
    """The devices whose tables differ from what they should hold."""
    differ = (installed.decision != target.decision).any(axis=1)
    links = (installed.next_hops != target.next_hops).any(axis=1)
    differ[target.graph.tail[links]] = True
    return np.flatnonzero(differ)


def astray(installed: Plane, target: Plane, device: int) -> int:
    """How many ranges of destinations a device treats otherwise than it should."""
    graph = target.graph
    links = graph.out[graph.out_start[device] : graph.out_start[device + 1]]
    words = np.bitwise_or.reduce(installed.next_hops[links] ^ target.next_hops[links], axis=0)
    hops = np.unpackbits(words.view(np.uint8), bitorder="little")[: target.atoms]
    return int(((installed.decision[device] != target.decision[device]) | (hops > 0)).sum())


def _refine(plane: Plane, atom_first: np.ndarray) -> Plane:
    """The same plane over smaller atoms; `atom_first` must hold every old boundary."""
    old = np.searchsorted(plane.atom_first, atom_first, side="right") - 1
    flat = np.unpackbits(plane.next_hops.view(np.uint8), axis=1, bitorder="little")[:, old]
    padded = np.zeros((len(flat), -(-len(old) // 64) * 64), dtype=np.uint8)
    padded[:, : len(old)] = flat
    words = np.packbits(padded, axis=1, bitorder="little").view(np.uint64)
    return replace(plane, atom_first=atom_first, next_hops=words, decision=plane.decision[:, old])
