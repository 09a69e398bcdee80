"""Turns a compiled data plane and path intents into verdicts that hold for every packet.

Packets that no access list tells apart are one *header atom* (`headerspace.py`), and packets to
one atom of addresses are routed alike; so per destination the network is one directed graph
whose links each let some header atoms pass. What becomes of each from each device on is a fixed
point over that graph, found for 64 header atoms at once as bits of a machine word:

    delivered on every path   least      LOCAL at the owner, or AND over next hops
    delivered on some path    least      LOCAL at the owner, or OR over next hops
    ... that misses `via`     least      the same, with nothing at `via`
    can loop                  greatest   OR over next hops
    can meet no route         least      no usable route, or OR over next hops

Taken in postorder, one pass settles a graph without cycles. Then each intent asks its pairs of
hosts, hosts that nothing tells apart as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.headerspace import (
    Bools,
    Flow,
    HeaderAtoms,
    Packet,
    Space,
    distinct_rows,
    header_atoms,
    permits,
)
from shadowsim.dataplane.maxmin import compiled
from shadowsim.dataplane.plane import DISCARD, FORWARD, LOCAL, NO_ROUTE, Bits, Ints, Plane
from shadowsim.model.address import format_address
from shadowsim.model.intents import PATH_KINDS, PathIntent
from shadowsim.model.topology import Topology

REACHABLE, ISOLATED, WAYPOINT, NO_LOOP, NO_BLACK_HOLE = range(len(PATH_KINDS))
NOWHERE = -1
NONE = np.uint64(0)
ONE = np.uint64(1)
ALL = ~NONE


@dataclass(frozen=True)
class Witness:
    """One packet that breaks an intent: its hosts, the devices it passes and what befalls it."""

    source: str
    destination: str
    path: tuple[str, ...]
    reason: str
    packet: str


@dataclass(frozen=True)
class Verdict:
    """Whether an intent holds; if not, for how many (source, destination) pairs of hosts."""

    intent: PathIntent
    holds: bool
    broken_pairs: int
    witness: Witness | None


def verify(
    plane: Plane, intents: Sequence[PathIntent], *, witnesses: bool = True
) -> tuple[Verdict, ...]:
    """The verdict on each intent, in order. Who verifies often keeps a `Verifier` instead."""
    return Verifier(plane.topology, intents).check(plane, witnesses=witnesses)


class _Asked(NamedTuple):
    """What the intents ask. Q questions, I intents, M host memberships, G carvings.

    A *membership* is a set of names that intents use, held by hosts alike; a *carving* a set of
    flows that `isolated` intents take from `reachable` ones between two memberships.
    `kind[Q]`, `via[Q]`: what is to be settled, for the intents
    `intent[start[q]:start[q + 1]]`. `source[I, M]`, `destination[I, M]`: of whom an intent
    speaks. `carving[M, M]`; `space[I, G]`: the packets it speaks of.
    """

    kind: Ints
    via: Ints
    start: Ints
    intent: Ints
    source: Bools
    destination: Bools
    carving: Ints
    space: Ints


class _Wires(NamedTuple):
    """The switch links and what they carry; `mask[E, W]`: the header atoms that pass both ports."""

    out_start: Ints
    out: Ints
    head: Ints
    next_hops: Bits
    decision: npt.NDArray[np.int8]
    mask: Bits


class _Ends(NamedTuple):
    """The hosts in C classes that nothing tells apart, those of one target side by side.

    Target t is the packets to address atom `atom[t]` for hosts on device `owner[t]`, which are
    the classes `start[t]` to `start[t + 1]`. `up[C, W]`, `down[C, W]`: the header atoms
    that pass the links of the hosts.
    """

    atom: Ints
    owner: Ints
    start: Ints
    device: Ints
    member: Ints
    size: Ints
    source_class: Ints
    destination_class: Ints
    up: Bits
    down: Bits


class _Forwarding(NamedTuple):
    """One destination's graph: device u forwards over `hop[start[u]:start[u + 1]]`.

    `order` holds every device behind all it forwards to, unless there is a cycle.
    """

    start: Ints
    hop: Ints
    order: Ints


class Verifier:
    """Checks one data plane after another against the same intents.

    `check` is a pure function of its arguments; it remembers the header atoms of the access
    lists it saw last, which only saves time.
    """

    def __init__(self, topology: Topology, intents: Sequence[PathIntent]) -> None:
        self.topology = topology
        self.intents = tuple(intents)
        self._member, self._asked, self._spaces = _ask(topology, self.intents)
        addresses = [topology.address[host.name] for host in topology.hosts]
        self._address = np.array(addresses, dtype=np.uint32)
        self._atoms: HeaderAtoms | None = None

    def check(self, plane: Plane, *, witnesses: bool = True) -> tuple[Verdict, ...]:
        """The verdict on each intent, in order; with `witnesses`, a packet for each broken one."""
        if not self.intents or not self.topology.hosts:
            return tuple(Verdict(intent, True, 0, None) for intent in self.intents)
        atoms = self.header_atoms(plane)
        wires = _wires(plane, atoms)
        ends, hosts = _ends(plane, atoms, self._member)
        broken = np.zeros(len(self.intents), dtype=np.int64)
        first = np.full((len(self.intents), 3), NOWHERE, dtype=np.int32)
        _check(wires, ends, self._asked, atoms.pattern, atoms.present, broken, first)
        return tuple(
            Verdict(
                intent,
                not count,
                int(count),
                self._witness(plane, atoms, i, hosts, first[i]) if count and witnesses else None,
            )
            for i, (intent, count) in enumerate(zip(self.intents, broken, strict=True))
        )

    def header_atoms(self, plane: Plane) -> HeaderAtoms:
        """The header atoms of the access lists of this plane."""
        atoms = self._atoms
        if atoms is None or atoms.filters != plane.filters:
            atoms = self._atoms = header_atoms(plane.filters, self._address, self._spaces)
        return atoms

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
        avoid = _avoided(intent)
        walk = Walk(plane, int(source), int(destination), packet)
        end = next(end for end in walk.ends(avoid) if end.breaks(intent.kind))
        names = [self.topology.hosts[host].name for host in (source, destination)]
        text = " > ".join(format_address(self.topology.address[name]) for name in names)
        without = f" without passing {avoid}" if avoid else ""
        return Witness(names[0], names[1], end.path, end.reason + without, f"{text} {packet}")


def _ask(
    topology: Topology, intents: Sequence[PathIntent]
) -> tuple[Ints, _Asked, tuple[Space, ...]]:
    """The intents as arrays: (membership of each host, what is asked, the spaces by number)."""
    names = sorted({name for intent in intents for name in (intent.source, intent.destination)})
    members, member = _memberships(topology, names)
    source = members[:, [names.index(intent.source) for intent in intents]].T
    destination = members[:, [names.index(intent.destination) for intent in intents]].T
    carving, carved = _carve(intents, source, destination)
    wanted = [
        [
            Space(_flow(intent), flows if intent.kind == "reachable" else frozenset())
            for flows in carved
        ]
        for intent in intents
    ]
    spaces = {space: i for i, space in enumerate(dict.fromkeys(s for row in wanted for s in row))}
    questions = _questions(topology, intents)
    asked = _Asked(
        kind=_ints([kind for kind, _ in questions]),
        via=_ints([via for _, via in questions]),
        start=_ints(np.cumsum([0, *map(len, questions.values())])),
        intent=_ints([i for group in questions.values() for i in group]),
        source=np.ascontiguousarray(source),
        destination=np.ascontiguousarray(destination),
        carving=carving,
        space=_ints([[spaces[space] for space in row] for row in wanted]),
    )
    return member, asked, tuple(spaces)


def _memberships(topology: Topology, names: Sequence[str]) -> tuple[Bools, Ints]:
    """The distinct sets of names that hosts go by `[M, names]`, and which each host has."""
    holds = np.zeros((len(topology.hosts), len(names)), dtype=np.bool_)
    for column, name in enumerate(names):
        holds[[topology.host_index[host] for host in topology.resolve(name)], column] = True
    return distinct_rows(holds)


def _questions(
    topology: Topology, intents: Sequence[PathIntent]
) -> dict[tuple[int, int], list[int]]:
    """The intents for which the same is to be settled, by (kind, device to avoid)."""
    found: dict[tuple[int, int], list[int]] = {}
    for i, intent in enumerate(intents):
        avoid = _avoided(intent)
        via = NOWHERE if avoid is None else topology.device_index[avoid]
        found.setdefault((PATH_KINDS.index(intent.kind), via), []).append(i)
    return found


def _flow(intent: PathIntent) -> Flow:
    return Flow(intent.protocol, intent.port)


def _avoided(intent: PathIntent) -> str | None:
    """The device without which a packet must not be delivered."""
    return intent.via if intent.kind == "waypoint" else None


def _carve(
    intents: Sequence[PathIntent], source: Bools, destination: Bools
) -> tuple[Ints, list[frozenset[Flow]]]:
    """Which flows are isolated between memberships: the set's number `[M, M]`, and the sets."""
    members = source.shape[1]
    isolated = [i for i, intent in enumerate(intents) if intent.kind == "isolated"]
    flows = list(dict.fromkeys(_flow(intents[i]) for i in isolated))
    speaks = np.zeros((members, members, len(flows)), dtype=np.bool_)
    for i in isolated:
        speaks[:, :, flows.index(_flow(intents[i]))] |= np.outer(source[i], destination[i])
    rows, carving = distinct_rows(speaks.reshape(members * members, len(flows)))
    sets = [frozenset(flows[k] for k in np.flatnonzero(row)) for row in rows]
    return carving.reshape(members, members), sets


def _wires(plane: Plane, atoms: HeaderAtoms) -> _Wires:
    graph, edges = plane.graph, plane.graph.edges
    return _Wires(
        out_start=graph.out_start,
        out=graph.out,
        head=graph.head,
        next_hops=np.ascontiguousarray(plane.next_hops),
        decision=np.ascontiguousarray(plane.decision),
        mask=atoms.permits[plane.filter_out[:edges]] & atoms.permits[plane.filter_in[:edges]],
    )


def _ends(plane: Plane, atoms: HeaderAtoms, member: Ints) -> tuple[_Ends, list[Ints]]:
    """The classes of hosts, and the hosts of each class."""
    lists, edges = len(plane.filters), plane.graph.edges
    # Numbered like the rows of `passing`: the lists, then no list, then a link that is down.
    enter = np.where(plane.up, plane.filter_in % (lists + 1), lists + 1)[edges::2]
    leave = np.where(plane.up, plane.filter_out % (lists + 1), lists + 1)[edges + 1 :: 2]
    passing = np.concatenate([atoms.permits, np.zeros_like(atoms.permits[:1])])
    target = np.array([plane.host_atom, plane.graph.host_device])
    others = [member, atoms.source_class, atoms.destination_class, enter, leave]
    key = np.array([*target, *others])
    order = np.lexsort(key[::-1])
    fresh = _steps(key[:, order])
    one = order[fresh]
    start = np.flatnonzero(_steps(target[:, one]))
    ends = _Ends(
        atom=_ints(plane.host_atom[one][start]),
        owner=_ints(plane.graph.host_device[one][start]),
        start=_ints(np.append(start, len(one))),
        device=_ints(plane.graph.host_device[one]),
        member=member[one],
        size=_ints(np.diff(np.append(np.flatnonzero(fresh), len(order)))),
        source_class=atoms.source_class[one],
        destination_class=atoms.destination_class[one],
        up=passing[enter[one]],
        down=passing[leave[one]],
    )
    return ends, np.split(order, np.flatnonzero(fresh)[1:])


def _steps(columns: npt.NDArray[np.integer[Any]]) -> Bools:
    """Which columns differ from the one before; the first does."""
    fresh = np.ones(columns.shape[1], dtype=np.bool_)
    fresh[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    return fresh


def _ints(values: npt.ArrayLike) -> Ints:
    return np.array(values, dtype=np.int32)


@compiled
def _check(
    wires: _Wires,
    ends: _Ends,
    asked: _Asked,
    pattern: Ints,
    present: Bits,
    broken: npt.NDArray[np.int64],
    first: Ints,
) -> None:
    """Count the broken pairs of every intent; `first[I, 3]`: classes and header atom of one."""
    devices = len(wires.out_start) - 1
    graph = _Forwarding(
        np.zeros(devices + 1, np.int32),
        np.empty(len(wires.head), np.int32),
        np.empty(devices, np.int32),
    )
    state = np.empty((devices, wires.mask.shape[1]), np.uint64)
    for target in range(len(ends.atom)):
        _gather(wires, ends.atom[target], graph)
        cyclic = _sort(wires.head, graph)
        for question in range(len(asked.kind)):
            kind = asked.kind[question]
            if kind == NO_LOOP and not cyclic:
                continue
            if not _is_asked(ends, asked, target, question):
                continue
            _settle(wires, graph, ends, target, kind, asked.via[question], cyclic, state)
            for i in range(asked.start[question], asked.start[question + 1]):
                intent = asked.intent[i]
                broken[intent] += _judge(
                    ends, asked, pattern, present, state, target, kind, intent, first[intent]
                )


@compiled
def _gather(wires: _Wires, atom: int, graph: _Forwarding) -> None:
    """Collect the links over which each device forwards an atom."""
    word, shift = atom >> 6, np.uint64(atom & 63)
    hops = 0
    for u in range(len(graph.order)):
        if wires.decision[u, atom] == FORWARD:
            for place in range(wires.out_start[u], wires.out_start[u + 1]):
                link = wires.out[place]
                if (wires.next_hops[link, word] >> shift) & ONE != NONE:
                    graph.hop[hops] = link
                    hops += 1
        graph.start[u + 1] = hops


@compiled
def _sort(head: Ints, graph: _Forwarding) -> bool:
    """Put the devices in postorder; returns whether there is a cycle."""
    devices = len(graph.order)
    entered = np.zeros(devices, np.bool_)
    left = np.zeros(devices, np.bool_)
    place = graph.start[:-1].copy()
    stack = np.empty(devices, np.int32)
    done = 0
    cyclic = False
    for root in range(devices):
        if entered[root]:
            continue
        entered[root] = True
        stack[0] = root
        depth = 0
        while depth >= 0:
            u = stack[depth]
            if place[u] == graph.start[u + 1]:
                left[u] = True
                graph.order[done] = u
                done += 1
                depth -= 1
                continue
            v = head[graph.hop[place[u]]]
            place[u] += 1
            if not entered[v]:
                entered[v] = True
                depth += 1
                stack[depth] = v
            elif not left[v]:
                cyclic = True
    return cyclic


@compiled
def _is_asked(ends: _Ends, asked: _Asked, target: int, question: int) -> bool:
    """Whether an intent of this question speaks of packets to this target."""
    for i in range(asked.start[question], asked.start[question + 1]):
        for to in range(ends.start[target], ends.start[target + 1]):
            if asked.destination[asked.intent[i], ends.member[to]]:
                return True
    return False


@compiled
def _settle(
    wires: _Wires,
    graph: _Forwarding,
    ends: _Ends,
    target: int,
    kind: int,
    via: int,
    cyclic: bool,
    state: Bits,
) -> None:
    """Set `state[D, W]`: the header atoms that meet, from the device on, what `kind` looks for."""
    atom, owner = ends.atom[target], ends.owner[target]
    state[:] = ALL if kind == NO_LOOP else NONE
    moving = True
    while moving:
        moving = False
        for u in graph.order:
            begin, end = graph.start[u], graph.start[u + 1]
            here = u == owner and u != via
            alone = _alone(kind, wires.decision[u, atom], here)
            for word in range(state.shape[1]):
                value = alone
                if begin < end and u != via:
                    value = ALL if kind == REACHABLE else NONE
                    for place in range(begin, end):
                        link = graph.hop[place]
                        passing = wires.mask[link, word] & state[wires.head[link], word]
                        value = value & passing if kind == REACHABLE else value | passing
                if value != state[u, word]:
                    state[u, word] = value
                    moving = cyclic


@compiled
def _alone(kind: int, decision: int, here: bool) -> np.uint64:
    """The state of a device that sends a packet to no other; `here`: delivery would count."""
    if kind == NO_LOOP:
        met = False
    elif kind == NO_BLACK_HOLE:
        met = decision in (NO_ROUTE, FORWARD)
    else:
        met = decision == LOCAL and here
    return ALL if met else NONE


@compiled
def _judge(
    ends: _Ends,
    asked: _Asked,
    pattern: Ints,
    present: Bits,
    state: Bits,
    target: int,
    kind: int,
    intent: int,
    first: Ints,
) -> int:
    """How many pairs of hosts of this target break the intent; sets `first` if it is unset."""
    broken = 0
    for to in range(ends.start[target], ends.start[target + 1]):
        if not asked.destination[intent, ends.member[to]]:
            continue
        for source in range(len(ends.size)):
            if not asked.source[intent, ends.member[source]]:
                continue
            space = asked.space[intent, asked.carving[ends.member[source], ends.member[to]]]
            row = pattern[ends.source_class[source], ends.destination_class[to]]
            pairs = ends.size[source] * (ends.size[to] - (1 if source == to else 0))
            for word in range(state.shape[1]):
                bad = ends.up[source, word] & state[ends.device[source], word]
                if kind in (REACHABLE, ISOLATED, WAYPOINT):
                    bad &= ends.down[to, word]
                if kind == REACHABLE:
                    bad = ~bad
                bad &= present[space, row, word]
                if bad != NONE and pairs > 0:
                    broken += pairs
                    if first[0] == NOWHERE:
                        first[0], first[1] = source, to
                        first[2] = 64 * word + _lowest(bad)
                    break
    return broken


@compiled
def _lowest(word: np.uint64) -> int:
    """The place of the lowest bit that is set."""
    place = 0
    while (word >> np.uint64(place)) & ONE == NONE:
        place += 1
    return place


@dataclass(frozen=True)
class End:
    """How the walk of a packet may end: devices passed, what happens and the words for it.

    `what` is "delivered", "lost", "black hole" or "loop".
    """

    path: tuple[str, ...]
    what: str
    reason: str

    def breaks(self, kind: str) -> bool:
        """Whether an intent of that kind forbids it."""
        if kind == "reachable":
            return self.what != "delivered"
        wrong = {"no_loop": "loop", "no_black_hole": "black hole"}
        return self.what == wrong.get(kind, "delivered")


class Walk:
    """One concrete packet on its way, over every branch it may take."""

    def __init__(self, plane: Plane, source: int, destination: int, packet: Packet) -> None:
        hosts, address = plane.topology.hosts, plane.topology.address
        self._plane = plane
        self._atom = int(plane.host_atom[destination])
        self._up = plane.topology.up_link(source)
        self._down = plane.topology.up_link(destination) + 1
        self._start = int(plane.graph.host_device[source])
        self._owner = int(plane.graph.host_device[destination])
        here, there = address[hosts[source].name], address[hosts[destination].name]
        self._passes = [*(permits(acl, here, there, packet) for acl in plane.filters), True]

    def ends(self, avoid: str | None = None) -> Iterator[End]:
        """Every different end, less those through device `avoid`; depth first."""
        if why := self._obstacle(self._up):
            yield End((), "lost", why)
            return
        path, ahead = [self._start], [self._links(self._start)]
        seen = {self._start}
        if not ahead[0]:
            yield self._stop(path)
        while path:
            if not ahead[-1]:
                ahead.pop()
                path.pop()
                continue
            link = ahead[-1].pop()
            head = int(self._plane.graph.head[link])
            if self._name(head) == avoid:
                continue
            if why := self._obstacle(link):
                yield End(self._names(path), "lost", why)
            elif head in path:
                why = f"it comes back to {self._name(head)}"
                yield End(self._names([*path, head]), "loop", why)
            elif head not in seen:
                seen.add(head)
                path.append(head)
                ahead.append(self._links(head))
                if not ahead[-1]:
                    yield self._stop(path)

    def _links(self, device: int) -> list[int]:
        """The links over which a device forwards the packet."""
        graph, bits = self._plane.graph, self._plane.next_hops
        if self._plane.decision[device, self._atom] != FORWARD:
            return []
        links = graph.out[graph.out_start[device] : graph.out_start[device + 1]]
        chosen = bits[links, self._atom >> 6] >> np.uint64(self._atom & 63) & ONE
        return [int(link) for link in links[chosen == ONE]]

    def _stop(self, path: list[int]) -> End:
        """The end at the last device of a path, which does not forward the packet."""
        device = path[-1]
        name, decision = self._name(device), self._plane.decision[device, self._atom]
        what, reason = "lost", ""
        if decision in (NO_ROUTE, FORWARD):
            what, reason = "black hole", f"{name} has no route"
        elif decision == DISCARD:
            reason = f"{name} discards it (Null0)"
        elif device != self._owner:
            reason = f"it leaves the network at {name}"
        else:
            reason = self._obstacle(self._down)
        return End(self._names(path), what if reason else "delivered", reason or "delivered")

    def _obstacle(self, link: int) -> str:
        """Why the packet does not get over a link; "" if it does."""
        plane, topology = self._plane, self._plane.topology
        if not plane.up[link]:
            return f"link {topology.link_name(link)} is down"
        for acl, port, way in (
            (plane.filter_out, link, "outbound"),
            (plane.filter_in, link ^ 1, "inbound"),
        ):
            if not self._passes[acl[link]]:
                device, name = topology.port_of[port]
                return f"denied by the {way} access list of {device} {name}"
        return ""

    def _name(self, device: int) -> str:
        return self._plane.topology.devices[device].name

    def _names(self, path: list[int]) -> tuple[str, ...]:
        return tuple(map(self._name, path))
