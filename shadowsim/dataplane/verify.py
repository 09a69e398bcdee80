"""Turns a compiled data plane and path intents into verdicts that hold for every packet.

Packets that no access list tells apart are one *header atom* (`headerspace.py`), and packets to
one atom of addresses are routed alike; so per destination the network is one directed graph
whose links each let some header atoms pass. What becomes of each from each device on is a fixed
point over that graph (`propagate.py`); where all is well that is proved for all destinations at
once (`surely.py`). Then each intent (`questions.py`) asks its pairs of hosts,
hosts that nothing tells apart as one (`pairs.py`); of those that break it, one packet is walked
to its end (`walk.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.headerspace import Bools, HeaderAtoms, header_atoms
from shadowsim.dataplane.pairs import Ends, count_broken, ends_of, proved_of
from shadowsim.dataplane.plane import Ints, Plane
from shadowsim.dataplane.propagate import wires_of
from shadowsim.dataplane.questions import NOWHERE, ask, avoided
from shadowsim.dataplane.walk import Walk, Witness
from shadowsim.model.address import format_address
from shadowsim.model.intents import PathIntent
from shadowsim.model.topology import Topology

KEPT = 4  # sets of access lists whose header atoms are remembered
UNMARKED = np.zeros((0, 0, 0), dtype=np.bool_)


@dataclass(frozen=True)
class Verdict:
    """Whether an intent holds; if not, for how many (source, destination) pairs of hosts."""

    intent: PathIntent
    holds: bool
    broken_pairs: int
    witness: Witness | None


@dataclass(frozen=True)
class BrokenPairs:
    """The pairs of hosts that break an intent: of source and destination classes `marks[C, C]`.

    `class_of[H]`: hosts of one class were alike when it was found out.
    """

    class_of: Ints
    marks: Bools

    def beyond(self, others: Sequence[BrokenPairs]) -> bool:
        """Whether it holds a pair that none of the others does."""
        classes, hosts = np.unique(
            np.array([pairs.class_of for pairs in (self, *others)]), axis=1, return_counts=True
        )
        fresh = self.marks[np.ix_(classes[0], classes[0])]
        for other, mine in zip(others, classes[1:], strict=True):
            fresh &= ~other.marks[np.ix_(mine, mine)]
        np.fill_diagonal(fresh, fresh.diagonal() & (hosts > 1))  # a host alone is no pair
        return bool(fresh.any())


def verify(
    plane: Plane, intents: Sequence[PathIntent], *, witnesses: bool = True
) -> tuple[Verdict, ...]:
    """The verdict on each intent, in order. Who verifies often keeps a `Verifier` instead."""
    return Verifier(plane.topology, intents).check(plane, witnesses=witnesses)


class Verifier:
    """Checks one data plane after another against the same intents.

    `check` is a pure function of its arguments; it remembers the header atoms of the access
    lists it saw lately, and the classes of hosts, which only saves time.
    """

    def __init__(self, topology: Topology, intents: Sequence[PathIntent]) -> None:
        self.topology = topology
        self.intents = tuple(intents)
        self._member, self._asked, self._spaces = ask(topology, self.intents)
        addresses = [topology.address[host.name] for host in topology.hosts]
        self._address = np.array(addresses, dtype=np.uint32)
        self._atoms: list[HeaderAtoms] = []  # the last first
        self._ends: tuple[HeaderAtoms, bytes, Ends, list[Ints]] | None = None

    def check(self, plane: Plane, *, witnesses: bool = True) -> tuple[Verdict, ...]:
        """The verdict on each intent, in order; with `witnesses`, a packet for each broken one."""
        if not self.intents or not self.topology.hosts:
            return tuple(Verdict(intent, True, 0, None) for intent in self.intents)
        hosts, broken, first, atoms = self._counted(plane)
        return tuple(
            Verdict(
                intent,
                not count,
                int(count),
                self._witness(plane, atoms, i, hosts, first[i]) if count and witnesses else None,
            )
            for i, (intent, count) in enumerate(zip(self.intents, broken, strict=True))
        )

    def broken_pairs(self, plane: Plane) -> tuple[BrokenPairs, ...]:
        """For each intent, in order, the pairs of hosts that break it: all of them."""
        if not self.intents or not self.topology.hosts:
            return ()
        classes = len(self._ends_of(plane, self.header_atoms(plane))[1])
        marks = np.zeros((len(self.intents), classes, classes), dtype=np.bool_)
        hosts, *_ = self._counted(plane, marks)
        class_of = np.empty(len(self.topology.hosts), dtype=np.int32)
        for number, members in enumerate(hosts):
            class_of[members] = number
        return tuple(BrokenPairs(class_of, of) for of in marks)

    def _counted(
        self, plane: Plane, marks: Bools = UNMARKED
    ) -> tuple[list[Ints], npt.NDArray[np.int64], Ints, HeaderAtoms]:
        """The hosts of each class, the broken pairs of each intent, one of them, and the atoms."""
        atoms = self.header_atoms(plane)
        wires = wires_of(plane, atoms)
        ends, hosts = self._ends_of(plane, atoms)
        broken = np.zeros(len(self.intents), dtype=np.int64)
        first = np.full((len(self.intents), 3), NOWHERE, dtype=np.int32)
        sure, asked = proved_of(wires, ends, atoms), self._asked
        count_broken(wires, ends, asked, atoms.pattern, atoms.present, sure, broken, first, marks)
        return hosts, broken, first, atoms

    def header_atoms(self, plane: Plane) -> HeaderAtoms:
        """The header atoms of the access lists of this plane."""
        atoms = next((a for a in self._atoms if a.filters == plane.filters), None)
        if atoms is None:
            atoms = header_atoms(plane.filters, self._address, self._spaces)
        self._atoms = [atoms, *(a for a in self._atoms if a is not atoms)][:KEPT]
        return atoms

    def _ends_of(self, plane: Plane, atoms: HeaderAtoms) -> tuple[Ends, list[Ints]]:
        """The classes of hosts: those of last time where hosts are served as they were then."""
        here = (a[plane.graph.edges :] for a in (plane.up, plane.filter_in, plane.filter_out))
        served = b"".join(part.tobytes() for part in (plane.host_atom, *here))
        if self._ends is None or self._ends[0] is not atoms or self._ends[1] != served:
            self._ends = atoms, served, *ends_of(plane, atoms, self._member)
        return self._ends[2], self._ends[3]

    def _witness(
        self, plane: Plane, atoms: HeaderAtoms, number: int, hosts: list[Ints], first: Ints
    ) -> Witness:
        """A packet of that header atom between hosts of those classes, and where it goes wrong."""
        from_class, to_class, header = first
        source, destination = hosts[from_class][0], hosts[to_class][0]
        if source == destination:
            destination = hosts[to_class][1]
        pattern = atoms.pattern[atoms.source_class[source], atoms.destination_class[destination]]
        carving = self._asked.carving[self._member[source], self._member[destination]]
        packet = atoms.example(int(self._asked.space[number, carving]), int(pattern), int(header))
        intent = self.intents[number]
        avoid = avoided(intent)
        walk = Walk(plane, int(source), int(destination), packet)
        end = next(end for end in walk.ends(avoid) if end.breaks(intent.kind))
        names = [self.topology.hosts[host].name for host in (source, destination)]
        text = " > ".join(format_address(self.topology.address[name]) for name in names)
        without = f" without passing {avoid}" if avoid else ""
        return Witness(names[0], names[1], end.path, end.reason + without, f"{text} {packet}")
