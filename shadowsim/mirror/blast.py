"""A change, and a network as it is now, to the packets whose way it can alter.

Every state the change passes through, device by device, is compiled, on sound links and on the
links as they are. What is asked of the tables is asked of all equal paths, not of the one a hash
would pick, and without looking at access lists, which only make a path shorter. TCP is asked for
both ways: without its answers a connection stands still.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.forwarding import Compiler, Physical, unpack
from shadowsim.dataplane.plane import Ints, Plane
from shadowsim.model.change import Change, Configs, apply
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Blast:
    """What a change can reach.

    Packets of a demand are here also those that answer it, where it is TCP.
    `met[F, D]`: the devices that packets of each demand may meet before, during or after it.
    `touched[F]`: the demands that may meet a changed device, or one that treats them otherwise
    with the change. `staked[F]`: those, and all that share a link with one whose way is altered:
    the others fare as they did. `now` and `later` are the planes without and with the change, on
    the links as they are.
    """

    met: Marks
    touched: Marks
    staked: Marks
    now: Plane
    later: Plane


class Reach:
    """Answers for one topology and its demands; remembers compilations, nothing else."""

    def __init__(self, topology: Topology, demands: Sequence[Demand]) -> None:
        self.topology = topology
        self._compiler = Compiler(topology)
        index, at = topology.host_index, topology.device_index
        there = np.array([(index[d.source], index[d.destination]) for d in demands], np.int64)
        there = there.reshape(-1, 2)
        self._answered = np.flatnonzero([demand.elastic for demand in demands])
        # [W, 2]: the hosts of every way; first those of the demands, then those of the answers.
        self._ends = np.concatenate((there, there[self._answered, ::-1]))
        homes = np.array([at[host.device] for host in topology.hosts], dtype=np.int64)
        self._source, self._home = homes[self._ends[:, 0]], homes[self._ends[:, 1]]

    def blast(self, configs: Configs, change: Change, down: frozenset[int]) -> Blast:
        """What the change can reach from these configs; `down`: directed links without signal."""
        stages = _stages(configs, change)
        grounds = [frozenset[int](), down] if down else [down]
        planes = self._compiled([(stage, ground) for ground in grounds for stage in stages])
        rows = [planes[i : i + len(stages)] for i in range(0, len(planes), len(stages))]
        of_demand = planes[0].host_atom[self._ends[:, 1]]
        atoms = np.unique(of_demand)
        column = np.searchsorted(atoms, of_demand).astype(np.int32)
        used = [[_bits(plane, atoms) for plane in row] for row in rows]
        every = np.logical_or.reduce([bits for row in used for bits in row])
        graph = planes[0].graph
        met = _reached(graph.tail, graph.head, every, len(self.topology.devices))
        mine = met[self._source, column]
        mine[np.arange(len(mine)), self._home] = True
        suspect = self._suspect(rows, used, atoms, change)
        touched: Marks = np.any(mine & suspect[:, column].T, axis=1)
        staked = self._staked(rows, used, every, mine, touched, column)
        met, touched, staked = (self._of_demands(ways) for ways in (mine, touched, staked))
        return Blast(met, touched, staked, rows[-1][0], rows[-1][-1])

    def _of_demands(self, ways: Marks) -> Marks:
        """What is true of a demand's way or of that of its answers: `[W, ...]` to `[F, ...]`."""
        demands = len(ways) - len(self._answered)
        found = ways[:demands].copy()
        found[self._answered] |= ways[demands:]
        return found

    def _compiled(self, states: Sequence[tuple[Configs, frozenset[int]]]) -> list[Plane]:
        """Their planes, all over the same atoms."""
        for _ in range(2):  # the second time every prefix is known
            planes = [self._compiler.compile(c, Physical(down=down)) for c, down in states]
            if len({plane.atoms for plane in planes}) == 1:
                break
        return planes

    def _suspect(
        self,
        rows: Sequence[Sequence[Plane]],
        used: Sequence[Sequence[Marks]],
        atoms: Ints,
        change: Change,
    ) -> Marks:
        """`[D, U]`: devices that are changed, or treat a destination otherwise in some state."""
        found = np.zeros((len(self.topology.devices), len(atoms)), dtype=np.bool_)
        found[[self.topology.device_index[name] for name in change.devices]] = True
        for row, bits in zip(rows, used, strict=True):
            for plane, mine in zip(row[1:], bits[1:], strict=True):
                found |= plane.decision[:, atoms] != row[0].decision[:, atoms]
                np.logical_or.at(found, plane.graph.tail, mine != bits[0])
        return found

    def _staked(
        self,
        rows: Sequence[Sequence[Plane]],
        used: Sequence[Sequence[Marks]],
        every: Marks,
        met: Marks,
        touched: Marks,
        column: Ints,
    ) -> Marks:
        """`[W]`: the touched, and those that share a link with one that is altered."""
        graph, moved = rows[0][0].graph, np.zeros(len(touched), dtype=np.bool_)
        for row, bits in zip(rows, used, strict=True):
            for plane, mine in zip(row[1:], bits[1:], strict=True):
                if not _same_but_for_routes(row[0], plane):
                    moved = touched  # who is denied or slowed where is not looked into
                    break
                differ = np.zeros(met.shape[::-1], dtype=np.bool_)
                np.logical_or.at(differ, graph.tail, (mine != bits[0])[:, column])
                moved = moved | (met & differ.T).any(axis=1)
        hit = np.zeros(every.shape, dtype=np.bool_)
        for way in np.flatnonzero(moved):
            hit[:, column[way]] |= every[:, column[way]] & met[way, graph.tail]
        links = hit.any(axis=1)
        shares = np.zeros((met.shape[1], every.shape[1]), dtype=np.bool_)
        np.logical_or.at(shares, graph.tail[links], every[links])
        hosts = np.isin(self._ends[:, 0], self._ends[moved, 0])
        hosts |= np.isin(self._ends[:, 1], self._ends[moved, 1])
        return np.asarray(touched | hosts | (met & shares[:, column].T).any(axis=1))


def _stages(configs: Configs, change: Change) -> list[Configs]:
    """The configs before the change, and after each device of it."""
    found = [configs]
    for _, commands in groupby(change.commands, key=lambda command: command.device):
        found.append(apply(found[-1], list(commands)))
    return found


def _bits(plane: Plane, atoms: Ints) -> Marks:
    """`[E, U]`: which links forward which of these atoms."""
    return unpack(plane.next_hops, plane.atoms)[:, atoms]


def _reached(tail: Ints, head: Ints, forwards: Marks, devices: int) -> Marks:
    """`[D, U, D]`: the devices that a packet may meet, by where it is and where it goes."""
    found = np.zeros((devices, forwards.shape[1], devices), dtype=np.bool_)
    found[np.arange(devices), :, np.arange(devices)] = True
    words = np.packbits(found, axis=2)
    grown = True
    while grown:
        grown = False
        for link in range(len(tail)):
            row = words[tail[link]]
            more = row | np.where(forwards[link][:, None], words[head[link]], 0)
            grown |= not np.array_equal(more, row)
            words[tail[link]] = more
    return np.unpackbits(words, axis=2, count=devices).astype(np.bool_)


def _same_but_for_routes(a: Plane, b: Plane) -> bool:
    names: Iterable[str] = ("filter_out", "filter_in", "up", "rate_bps", "mtu_bytes", "level")
    return a.filters == b.filters and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in names
    )
