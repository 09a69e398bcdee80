"""`verify` against brute force on random networks, and every kind of intent by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from reference_verify import Header, Walker, breaks, broken_pairs, speaks_of

from shadowsim.dataplane.headerspace import Flow, Packet, Space, header_atoms, permits
from shadowsim.dataplane.plane import DISCARD, FORWARD, LOCAL, NO_ROUTE, Graph, Plane
from shadowsim.dataplane.verify import BrokenPairs, Verdict, Verifier, verify
from shadowsim.model.address import ANY, Prefix, network, parse_address
from shadowsim.model.config import AclEntry
from shadowsim.model.intents import PATH_KINDS, PathIntent
from shadowsim.model.topology import Device, Host, Link, Topology

Pair = tuple[int, int]
NETWORKS = 1000
PROTOCOL = {"icmp": 1, "tcp": 6, "udp": 17}
ANY_ANY = AclEntry(99, True, "ip", ANY, None, ANY, None)


def make_topology(devices: int, cables: list[tuple[int, int]], hosts: list[int]) -> Topology:
    """Devices A, B, ... and hosts a0, a1, b2, ... on the given devices."""
    names = [chr(ord("A") + i) for i in range(devices)]
    return Topology(
        "test",
        tuple(Device(name) for name in names),
        tuple(
            Host(f"{names[d].lower()}{j}", names[d], (f"g{j % 2}",)) for j, d in enumerate(hosts)
        ),
        tuple(Link(names[a], names[b]) for a, b in cables),
    )


def graph_of(topology: Topology) -> Graph:
    index = topology.device_index
    tail = np.array([index[x] for k in topology.links for x in (k.a, k.b)], np.int32)
    head = np.array([index[x] for k in topology.links for x in (k.b, k.a)], np.int32)
    grouped = []
    for key in (tail, head):
        start = np.searchsorted(np.sort(key), np.arange(len(index) + 1)).astype(np.int32)
        grouped += [start, np.argsort(key, kind="stable").astype(np.int32)]
    home = np.array([index[host.device] for host in topology.hosts], np.int32)
    return Graph(tail, head, *grouped, home)


def empty_plane(topology: Topology, atom_first: list[int]) -> Plane:
    """No routes, no filters, every link up."""
    links, devices, atoms = topology.directed_links, len(topology.devices), len(atom_first)
    addresses = [topology.address[host.name] for host in topology.hosts]
    return Plane(
        topology=topology,
        graph=graph_of(topology),
        atom_first=np.array(atom_first, np.uint32),
        decision=np.full((devices, atoms), NO_ROUTE, np.int8),
        next_hops=np.zeros((2 * len(topology.links), (atoms + 63) // 64), np.uint64),
        host_atom=(np.searchsorted(atom_first, addresses, "right") - 1).astype(np.int32),
        filters=(),
        filter_out=np.full(links, -1, np.int32),
        filter_in=np.full(links, -1, np.int32),
        up=np.ones(links, np.bool_),
        rate_bps=np.full(links, 1e8),
        mtu_bytes=np.full(links, 1500, np.int32),
        level=np.zeros((devices, 3), np.uint8),
        routes=np.zeros(devices, np.int32),
        refused=np.zeros(devices, np.int32),
    )


def forward(plane: Plane, atom: int, *links: int) -> None:
    """Let the tails of these links forward the atom over them, and over no others."""
    for device in {int(plane.graph.tail[link]) for link in links}:
        plane.decision[device, atom] = FORWARD
        for link in np.flatnonzero(plane.graph.tail == device):
            plane.next_hops[link, atom >> 6] &= ~np.uint64(1 << (atom & 63))
    for link in links:
        plane.next_hops[link, atom >> 6] |= np.uint64(1 << (atom & 63))


def routed(topology: Topology, more_atoms: int = 0) -> Plane:
    """Every device forwards to every LAN over all shortest paths."""
    lans = [topology.lan[device.name].first for device in topology.devices]
    first = [*range(1 + more_atoms), *lans]
    plane = empty_plane(topology, first)
    for owner in range(len(lans)):
        atom = 1 + more_atoms + owner
        far = hops_to(plane.graph, owner)
        tail, head = plane.graph.tail, plane.graph.head
        forward(plane, atom, *(e for e in range(len(tail)) if far[head[e]] + 1 == far[tail[e]]))
        plane.decision[owner, atom] = LOCAL
    return plane


def hops_to(graph: Graph, owner: int) -> np.ndarray:
    far = np.full(graph.devices, 999)
    far[owner] = 0
    for _ in range(graph.devices):
        np.minimum.at(far, graph.tail, far[graph.head] + 1)
    return far


def random_entry(rng: np.random.Generator, topology: Topology, sequence: int) -> AclEntry:
    def prefix() -> Prefix:
        host = topology.hosts[rng.integers(len(topology.hosts))]
        length = int(rng.choice([0, 0, 8, 22, 23, 24, 24, 31, 32]))
        return network(topology.address[host.name], length)

    def ports() -> tuple[int, int] | None:
        low, high = sorted(int(p) for p in rng.choice([0, 80, 443, 65535], 2))
        return None if protocol in ("ip", "icmp") or rng.random() < 0.5 else (low, high)

    protocol = str(rng.choice(["ip", "icmp", "tcp", "udp"]))
    permit = bool(rng.random() < 0.5)
    return AclEntry(sequence, permit, protocol, prefix(), ports(), prefix(), ports())


def random_plane(rng: np.random.Generator) -> Plane:
    devices = int(rng.integers(3, 7))
    cables = [(int(rng.integers(i)), i) for i in range(1, devices)]
    for _ in range(int(rng.integers(4))):
        a, b = rng.choice(devices, 2, replace=False)
        cables.append((int(a), int(b)))
    hosts = [int(d) for d in rng.integers(devices, size=rng.integers(2, 6))]
    topology = make_topology(devices, cables, hosts)
    edges = [p.first for p in topology.lan.values()] + [
        topology.address[h.name] for h in topology.hosts
    ]
    kept = {0} | {edge for edge in edges if rng.random() < 0.8}
    plane = empty_plane(topology, sorted(kept))
    plane.up[:] = np.repeat(rng.random(len(plane.up) // 2) < 0.95, 2)
    chaos = rng.choice([0.0, 0.1, 0.3, 0.8])
    for j, atom in enumerate(plane.host_atom):
        route_at_random(rng, plane, int(atom), int(plane.graph.host_device[j]), chaos)
    lists = []
    for _ in range(int(rng.integers(4))):
        entries = [random_entry(rng, topology, n) for n in range(int(rng.integers(1, 4)))]
        lists.append((*entries, ANY_ANY) if rng.random() < 0.7 else tuple(entries))
    for column in (plane.filter_out, plane.filter_in):
        bound = rng.random(len(column)) < 0.2
        column[bound] = rng.integers(-1, len(lists), bound.sum())
    plane.filter_out[plane.graph.edges :: 2] = -1  # a host has no access lists of its own
    plane.filter_in[plane.graph.edges + 1 :: 2] = -1
    return replace(plane, filters=tuple(lists))


def route_at_random(
    rng: np.random.Generator, plane: Plane, atom: int, owner: int, chaos: float
) -> None:
    graph = plane.graph
    far = hops_to(graph, owner)
    for device in range(graph.devices):
        mine = [e for e in np.flatnonzero(graph.tail == device) if plane.up[e]]
        if rng.random() < chaos:
            choice = int(rng.choice([NO_ROUTE, FORWARD, FORWARD, FORWARD, LOCAL, DISCARD]))
            used = [e for e in mine if rng.random() < 0.5]
        else:
            choice = LOCAL if device == owner else FORWARD
            used = [e for e in mine if far[graph.head[e]] < far[device]]
        plane.decision[device, atom] = choice
        for link in range(graph.edges):
            if graph.tail[link] == device:
                plane.next_hops[link, atom >> 6] &= ~np.uint64(1 << (atom & 63))
        if choice == FORWARD:
            forward(plane, atom, *used)


def random_intents(rng: np.random.Generator, topology: Topology) -> list[PathIntent]:
    names = ["any", "any", *topology.names()]

    def one(kind: str) -> PathIntent:
        source, destination = (str(name) for name in rng.choice(names, 2))
        protocol = str(rng.choice(["ip", "ip", "tcp", "udp", "icmp"]))
        port = int(rng.choice([0, 22, 80])) if rng.random() < 0.3 else None
        via = str(rng.choice(list(topology.device_index))) if kind == "waypoint" else None
        return PathIntent(kind, source, destination, protocol, port, via)

    more = [str(kind) for kind in rng.choice(PATH_KINDS, 3)]
    return [one(kind) for kind in (*PATH_KINDS, *more) if rng.random() < 0.9]


def check_witness(plane: Plane, verdict: Verdict) -> None:
    """Walk the packet that the text describes: it must break the intent on just that path."""
    witness, intent = verdict.witness, verdict.intent
    assert witness is not None
    found = re.fullmatch(
        r"(\S+) > (\S+) (?:protocol )?(\w+)(?: port (\d+) to port (\d+))?", witness.packet
    )
    assert found, witness.packet
    topology = plane.topology
    hosts = [topology.host_index[name] for name in (witness.source, witness.destination)]
    for host, text in zip(hosts, found.groups()[:2], strict=True):
        assert topology.address[topology.hosts[host].name] == parse_address(text)
    number = PROTOCOL.get(found[3]) or int(found[3])
    header = Header(number, *(int(p) if p else None for p in found.groups()[3:]))
    assert witness.source != witness.destination
    assert witness.source in topology.resolve(intent.source)
    assert witness.destination in topology.resolve(intent.destination)
    assert speaks_of(intent, header)
    outcomes = Walker(plane).outcomes(*hosts, header)
    assert any(breaks(intent, o) and o[1] == witness.path for o in outcomes), (witness, outcomes)


def check_network(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = random_plane(rng)
    intents = random_intents(rng, plane.topology)
    verdicts = verify(plane, intents)
    pairs = broken_pairs(plane, intents)
    assert [v.broken_pairs for v in verdicts] == [len(mine) for mine in pairs], seed
    if seed % 4 == 0:
        check_pairs(rng, plane, intents, pairs)
    for one in verdicts:
        assert one.holds == (one.broken_pairs == 0) == (one.witness is None)
        if not one.holds:
            check_witness(plane, one)


def check_pairs(
    rng: np.random.Generator, plane: Plane, intents: list[PathIntent], pairs: list[set[Pair]]
) -> None:
    """They are told one by one, and what other states break as well is told from the rest."""
    verifier = Verifier(plane.topology, intents)
    others = [other_state(rng, plane) for _ in range(2)]
    there = [broken_pairs(other, intents) for other in others]
    found = [verifier.broken_pairs(state) for state in (plane, *others)]
    for k, (mine, one, two) in enumerate(zip(*found, strict=True)):
        assert (told(mine), told(one), told(two)) == (pairs[k], there[0][k], there[1][k])
        assert mine.beyond([one]) == bool(pairs[k] - there[0][k])
        assert mine.beyond([one, two]) == bool(pairs[k] - there[0][k] - there[1][k])


def other_state(rng: np.random.Generator, plane: Plane) -> Plane:
    """The same plane with other hosts cut off, and its access lists at other ports."""
    edges = plane.graph.edges
    up, filter_in = plane.up.copy(), plane.filter_in.copy()
    up[edges:] = np.repeat(rng.random((len(up) - edges) // 2) < 0.8, 2)
    filter_in[:edges] = rng.permutation(filter_in[:edges])
    return replace(plane, up=up, filter_in=filter_in)


def told(found: BrokenPairs) -> set[Pair]:
    of = found.class_of
    return {(s, d) for s, d in permutations(range(len(of)), 2) if found.marks[of[s], of[d]]}


@pytest.mark.parametrize("batch", range(10))
def test_agrees_with_walking_every_packet(batch: int) -> None:
    for seed in range(batch, NETWORKS, 10):
        check_network(seed)


# ---- by hand: the line A - B - C and the diamond A - (B, C) - D, a host on each


LINE = make_topology(3, [(0, 1), (1, 2)], [0, 1, 2])
DIAMOND = make_topology(4, [(0, 1), (0, 2), (1, 3), (2, 3)], [0, 1, 2, 3])
TO_A, TO_C, TO_D = 1, 3, 4  # the atoms of those LANs in `routed`
AB, BA, BC = 0, 1, 2  # directed links of the line
EVERYTHING = [PathIntent("reachable"), PathIntent("no_loop"), PathIntent("no_black_hole")]


def deny(protocol: str, port: int | None = None, source: Prefix = ANY) -> AclEntry:
    ports = None if port is None else (port, port)
    return AclEntry(10, False, protocol, source, None, ANY, ports)


def filtered(
    plane: Plane, acl: tuple[AclEntry, ...], *, out: int | None = None, into: int | None = None
) -> Plane:
    """The plane with this list alone, bound where the directed links leave or enter."""
    links = np.arange(len(plane.up))
    return replace(
        plane,
        filters=(acl,),
        filter_out=np.where(links == out, 0, -1).astype(np.int32),
        filter_in=np.where(links == into, 0, -1).astype(np.int32),
    )


def verdict(plane: Plane, intent: PathIntent, *others: PathIntent) -> Verdict:
    """The verdict on the first intent, its witness walked and its count confirmed."""
    found = verify(plane, [intent, *others])
    pairs = broken_pairs(plane, [intent, *others])
    assert [v.broken_pairs for v in found] == [len(mine) for mine in pairs]
    for one in found:
        if not one.holds:
            check_witness(plane, one)
    return found[0]


def reason(plane: Plane, intent: PathIntent, *others: PathIntent) -> str:
    witness = verdict(plane, intent, *others).witness
    return witness.reason if witness else ""


@pytest.mark.parametrize("topology", [LINE, DIAMOND], ids=["line", "diamond"])
def test_a_sound_network_breaks_nothing(topology: Topology) -> None:
    assert all(v == Verdict(v.intent, True, 0, None) for v in verify(routed(topology), EVERYTHING))


def test_a_device_without_route_is_a_black_hole() -> None:
    plane = routed(LINE)
    plane.decision[1, TO_C] = NO_ROUTE
    plane.next_hops[BC] = 0
    assert verdict(plane, EVERYTHING[0]).broken_pairs == 2
    assert reason(plane, EVERYTHING[0]) == reason(plane, EVERYTHING[2]) == "B has no route"


def test_a_route_over_no_link_is_a_black_hole() -> None:
    plane = routed(LINE)
    plane.next_hops[BC] = 0
    assert reason(plane, EVERYTHING[2], EVERYTHING[0]) == "B has no route"


def test_null_routes_and_wrong_exits_are_no_black_holes() -> None:
    for decision, words in (
        (DISCARD, "B discards it (Null0)"),
        (LOCAL, "it leaves the network at B"),
    ):
        plane = routed(LINE)
        plane.decision[1, TO_C] = decision
        plane.next_hops[BC] = 0
        assert verdict(plane, EVERYTHING[2]).holds
        assert reason(plane, EVERYTHING[0]) == words


def test_a_host_whose_link_is_down_neither_sends_nor_receives() -> None:
    plane = routed(LINE)
    plane.up[LINE.up_link(2) : LINE.up_link(2) + 2] = False
    assert verdict(plane, EVERYTHING[0]).broken_pairs == 4
    assert reason(plane, PathIntent("reachable", "c2", "A")) == "link c2>C is down"
    assert reason(plane, PathIntent("reachable", "A", "c2")) == "link C>c2 is down"
    assert verdict(plane, PathIntent("isolated", "c2", "any")).holds


def test_one_bad_branch_breaks_reachable_and_one_good_branch_breaks_isolated() -> None:
    plane = filtered(routed(DIAMOND), (), out=4)  # B>D: a list without entries denies all
    assert verdict(plane, PathIntent("reachable", "A", "D")).broken_pairs == 1
    assert reason(plane, PathIntent("reachable", "A", "D")).startswith("denied by the outbound")
    assert reason(plane, PathIntent("isolated", "A", "D")) == "delivered"
    assert verdict(plane, PathIntent("isolated", "B", "D")).holds


def test_an_entry_that_matches_nothing_denies_all() -> None:
    only = AclEntry(10, True, "tcp", Prefix(parse_address("192.0.2.0"), 24), None, ANY, None)
    plane = filtered(routed(LINE), (only,), into=AB)
    assert (
        reason(plane, PathIntent("reachable", "A", "B"))
        == "denied by the inbound access list of B to-A"
    )
    assert verdict(plane, PathIntent("isolated", "A", "any")).holds


def test_isolated_speaks_of_its_protocol_and_port_alone() -> None:
    plane = filtered(routed(LINE), (deny("tcp", 22), ANY_ANY), into=AB)
    assert verdict(plane, PathIntent("isolated", "A", "C", "tcp", 22)).holds
    assert not verdict(plane, PathIntent("isolated", "A", "C", "udp", 22)).holds
    assert not verdict(plane, PathIntent("isolated", "A", "C", "tcp")).holds


def test_isolated_carves_out_of_reachable() -> None:
    plane = filtered(routed(LINE), (deny("tcp", 22), ANY_ANY), into=AB)
    apart = PathIntent("isolated", "A", "any", "tcp", 22)
    assert verdict(plane, EVERYTHING[0], apart).holds
    assert verdict(plane, EVERYTHING[0]).broken_pairs == 2
    assert not verdict(plane, EVERYTHING[0], PathIntent("isolated", "A", "C", "tcp", 22)).holds
    assert not verdict(plane, EVERYTHING[0], PathIntent("isolated", "C", "A", "tcp", 22)).holds
    assert not verdict(plane, EVERYTHING[0], PathIntent("isolated", "A", "any", "tcp", 23)).holds


def test_several_isolated_intents_carve_together() -> None:
    plane = filtered(routed(LINE), (deny("tcp"), deny("udp"), ANY_ANY), into=AB)
    tcp, udp = (PathIntent("isolated", "A", "any", protocol) for protocol in ("tcp", "udp"))
    assert verdict(plane, EVERYTHING[0], tcp, udp).holds
    found = verdict(plane, EVERYTHING[0], tcp)
    assert found.witness is not None
    assert "udp" in found.witness.packet


def test_a_waypoint_must_stand_on_every_branch() -> None:
    plane = routed(DIAMOND)
    past_b = PathIntent("waypoint", "A", "D", via="B")
    assert reason(plane, past_b) == "delivered without passing B"
    assert verdict(filtered(plane, (), out=6), past_b).holds  # C>D shut
    assert verdict(plane, PathIntent("waypoint", "A", "D", via="A")).holds
    assert verdict(plane, PathIntent("waypoint", "A", "D", via="D")).holds
    assert verdict(routed(LINE), PathIntent("waypoint", "A", "C", via="B")).holds


def test_a_loop_is_one_only_for_packets_that_get_round() -> None:
    plane = routed(LINE)
    forward(plane, TO_C, AB)
    forward(plane, TO_C, BA)
    assert reason(plane, EVERYTHING[1]) in ("it comes back to A", "it comes back to B")
    assert verdict(plane, EVERYTHING[1]).broken_pairs == 2
    assert verdict(plane, PathIntent("no_loop", "any", "A")).holds
    plane = filtered(plane, (deny("udp"), ANY_ANY), out=BA)
    assert verdict(plane, PathIntent("no_loop", protocol="udp")).holds
    assert not verdict(plane, PathIntent("no_loop", protocol="tcp")).holds
    assert verdict(plane, PathIntent("reachable", "any", "C")).broken_pairs == 2


def test_a_loop_that_no_host_can_enter_is_none() -> None:
    topology = make_topology(3, [(0, 1), (1, 2)], [0, 2])
    plane = routed(topology)
    forward(plane, TO_A, AB)
    forward(plane, TO_A, BA)
    assert not verdict(plane, EVERYTHING[1]).holds
    assert verdict(filtered(plane, (), into=topology.up_link(1)), EVERYTHING[1]).holds


def test_packets_that_leave_a_cycle_on_another_branch_still_loop() -> None:
    plane = routed(LINE)
    forward(plane, TO_C, BA, BC)
    assert verdict(plane, EVERYTHING[1]).broken_pairs == 2
    assert verdict(plane, PathIntent("reachable", "A", "C")).broken_pairs == 1
    assert not verdict(plane, PathIntent("isolated", "A", "C")).holds


def test_hosts_of_one_device_reach_each_other_over_it() -> None:
    topology = make_topology(2, [(0, 1)], [0, 0, 0])
    plane = routed(topology)
    assert verdict(plane, EVERYTHING[0]).holds
    assert verdict(plane, PathIntent("isolated")).broken_pairs == 6
    assert verdict(plane, PathIntent("waypoint", via="B")).broken_pairs == 6
    blocked = filtered(plane, (deny("ip", source=Prefix(topology.address["a0"], 32)), ANY_ANY),
                       out=topology.up_link(1) + 1)  # fmt: skip
    assert verdict(blocked, EVERYTHING[0]).broken_pairs == 1


def test_only_tcp_and_udp_have_ports() -> None:
    plane = filtered(routed(LINE), (deny("tcp", 80), deny("udp", 80), ANY_ANY), into=AB)
    assert verdict(plane, PathIntent("isolated", "A", "C", port=80)).holds
    assert verdict(plane, PathIntent("reachable", "A", "C", "icmp")).holds


def test_protocols_without_a_name_count_too() -> None:
    named = [AclEntry(1, True, name, ANY, None, ANY, None) for name in PROTOCOL]
    plane = filtered(routed(LINE), tuple(named), into=AB)
    found = verdict(plane, PathIntent("reachable", "A", "C"))
    assert found.witness is not None
    assert "protocol 47" in found.witness.packet
    assert all(verdict(plane, PathIntent("reachable", protocol=name)).holds for name in PROTOCOL)


def test_more_header_atoms_and_address_atoms_than_a_word_holds() -> None:
    cables = 70
    plane = routed(make_topology(2, [(0, 1)] * cables, [0, 1]), more_atoms=100)
    one_port_each = [
        (AclEntry(1, True, "tcp", ANY, None, ANY, (port, port)), deny("tcp"), ANY_ANY)
        for port in range(cables)
    ]
    plane.filter_out[: 2 * cables : 2] = range(cables)
    plane = replace(plane, filters=tuple(one_port_each))
    intents = [PathIntent("isolated", "A", "B", "tcp", port) for port in (0, 69, 70)]
    assert [v.broken_pairs for v in verify(plane, intents)] == [1, 1, 0]
    assert verify(plane, [PathIntent("reachable", "any", "any", "udp")])[0].holds
    for broken in verify(
        plane, [PathIntent("reachable", protocol="tcp", port=p) for p in range(71)]
    ):
        check_witness(plane, broken)


def test_pairs_are_counted_with_all_hosts_that_are_alike() -> None:
    topology = make_topology(2, [(0, 1)], [0] * 5 + [1] * 7)
    plane = routed(topology)
    assert verify(plane, [PathIntent("isolated")])[0].broken_pairs == 12 * 11
    assert verify(plane, [PathIntent("isolated", "g0", "A")])[0].broken_pairs == 6 * 5 - 3


def test_hosts_that_are_alike_in_one_state_are_told_apart_by_another() -> None:
    """Of the five hosts of A one is cut off: pairs of the others are still broken anew."""
    topology = make_topology(2, [(0, 1)], [0] * 5 + [1] * 7)
    whole, up = routed(topology), routed(topology).up.copy()
    up[whole.graph.edges : whole.graph.edges + 2] = False
    verifier = Verifier(topology, [PathIntent("isolated")])
    every, some = (verifier.broken_pairs(p)[0] for p in (whole, replace(whole, up=up)))
    assert len(told(some)) == 11 * 10
    assert every.beyond([some])
    assert not some.beyond([every])
    assert not every.beyond([some, every])


def test_nothing_asked_and_nobody_there() -> None:
    assert verify(routed(LINE), []) == ()
    assert Verifier(LINE, []).broken_pairs(routed(LINE)) == ()
    alone = make_topology(2, [(0, 1)], [0])
    assert all(v.holds for v in verify(routed(alone), [*EVERYTHING, PathIntent("isolated")]))
    empty = make_topology(2, [(0, 1)], [])
    assert all(v.holds for v in verify(routed(empty), EVERYTHING))


def test_a_verifier_forgets_nothing_and_mixes_nothing_up() -> None:
    planes = [
        routed(LINE),
        filtered(routed(LINE), (deny("tcp", 22), ANY_ANY), into=AB),
        filtered(routed(LINE), (deny("udp", 22), ANY_ANY), out=BC),
    ]
    intents = [*EVERYTHING, PathIntent("isolated", "A", "C", "tcp", 22)]
    verifier = Verifier(LINE, intents)
    for plane in (*planes, planes[1], planes[1], planes[0]):
        assert verifier.check(plane) == verify(plane, intents)
    assert verifier.header_atoms(planes[0]) is verifier.header_atoms(planes[0])
    without = verifier.check(planes[1], witnesses=False)
    assert [v.witness for v in without] == [None] * len(intents)


def test_atoms_are_as_few_as_the_lists_need() -> None:
    low = AclEntry(1, True, "tcp", ANY, None, ANY, (0, 79))
    high = AclEntry(2, True, "tcp", ANY, None, ANY, (80, 65535))
    lists = ((low, high), (AclEntry(1, True, "tcp", ANY, None, ANY, None),), (low,))
    space = Space(Flow("ip", None))
    atoms = header_atoms(lists, np.array([1, 2], np.uint32), [space])
    assert len(set(atoms.cell_atom.tolist())) == 3
    for packet, atom in zip(atoms.cell_packet, atoms.cell_atom, strict=True):
        for number, acl in enumerate(lists):
            permitted = int(atoms.permits[number, 0]) >> int(atom) & 1
            assert permitted == permits(acl, 1, 2, Packet(*map(int, packet)))


if __name__ == "__main__":  # the networks alone, as many as wanted: how rare faults are sought
    for number in range(NETWORKS, 100 * NETWORKS):
        check_network(number)
