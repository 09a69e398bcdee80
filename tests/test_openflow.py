"""Rules against the truth: packets through a slow switch, and through the compiled data plane."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_openflow import Wired, matches, packet, switched
from reference_verify import Header, Walker, headers
from strategies import network_configs
from test_verify import ANY_ANY, forward, make_topology, random_plane, routed

from shadowsim.dataplane.forwarding import compile  # noqa: A004
from shadowsim.dataplane.plane import LOCAL, Plane
from shadowsim.dataplane.trace import trace
from shadowsim.errors import BadInput
from shadowsim.model.address import ANY, Prefix
from shadowsim.model.config import AclEntry
from shadowsim.model.topology import Device, Host, Link, Topology
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.network.emulated.openflow import (
    COPY_PORT,
    DSCP,
    STEER_PORT,
    Flow,
    Group,
    Meter,
    Rules,
    difference,
    port_numbers,
    rules,
)
from shadowsim.network.emulated.openflow.matches import of_entry, prefixes
from shadowsim.network.protocol import Match

LINE = make_topology(3, [(0, 1), (1, 2)], [0, 2, 2])
DIAMOND = make_topology(4, [(0, 1), (0, 2), (1, 3), (2, 3)], [0, 3])
SEEDS = st.integers(0, 2**32 - 1)
TCP = Header(6, 49152, 443)
port_ranges = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(
    lambda pair: (min(pair), max(pair))
)


def fates(outcomes: set[tuple[str, tuple[str, ...]]]) -> set[tuple[str, tuple[str, ...]]]:
    """A switch that has no route and one that discards do the same."""
    return {("lost" if what == "black hole" else what, path) for what, path in outcomes}


@settings(max_examples=600, deadline=None)
@given(SEEDS)
def test_switches_treat_every_packet_as_the_plane_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = random_plane(rng)
    wired, walker = Wired(plane, rules(plane)), Walker(plane)
    kinds = headers(plane, [])
    for _ in range(12):
        source, destination = rng.choice(len(plane.topology.hosts), 2, replace=False)
        header = kinds[rng.integers(len(kinds))]
        dscp = int(rng.choice([0, 8, 46, 10]))
        found = wired.outcomes(int(source), int(destination), header, dscp)
        assert found == fates(walker.outcomes(int(source), int(destination), header))


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_the_path_that_trace_takes_is_one_of_those_the_switches_may_take(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = random_plane(rng)
    wired, topology = Wired(plane, rules(plane)), plane.topology
    source, destination = (int(n) for n in rng.choice(len(topology.hosts), 2, replace=False))
    names = [topology.hosts[n].name for n in (source, destination)]
    demand = Demand(names[0], names[1], 1e6, "normal", "udp", 80)
    paths = trace(plane, [demand])
    found = wired.outcomes(source, destination, Header(17, 49152, 80))
    hops = int(paths.hops[0, 0])
    if hops < 0:
        assert any(what != "delivered" for what, _ in found)
    else:
        heads = [topology.hosts[source].device] + [
            topology.devices[plane.graph.head[link]].name
            for link in paths.links[0, 0, 1 : hops - 1]
        ]
        assert ("delivered", tuple(heads)) in found


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_whatever_is_configured_becomes_rules(data: st.DataObject) -> None:
    configs = data.draw(network_configs())
    hosts = (Host("h0", "A"), Host("h1", "core-1.lab"))
    topology = Topology("two", tuple(map(Device, configs)), hosts, (Link("A", "core-1.lab"),))
    for found in rules(compile(topology, configs)):
        assert Rules.from_json(json.loads(json.dumps(found.as_json))) == found


@given(port_ranges)
def test_a_port_range_becomes_disjoint_masks_that_cover_it_exactly(ports: tuple[int, int]) -> None:
    entry = AclEntry(1, True, "tcp", ANY, None, ANY, ports)
    flows = [Flow(0, 0, tuple(sorted((n, v) for n, v in m.items() if v is not None)))
             for m in of_entry(entry)]  # fmt: skip
    low, high = ports
    for port in {0, low - 1, low, (low + high) // 2, high, high + 1, 65535} & set(range(65536)):
        hits = sum(matches(flow, packet(1, 2, Header(6, 1, port))) for flow in flows)
        assert hits == (low <= port <= high)
    assert len(flows) <= 30


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_an_address_range_becomes_the_fewest_prefixes(a: int, b: int) -> None:
    first, after = sorted((a, b))
    found = list(prefixes(first, after))
    at = first
    for prefix in found:
        assert prefix.first == at and prefix.address % (1 << 32 - prefix.length) == 0
        at = prefix.last + 1
    assert at == after or not found
    for left, right in pairwise(found):  # no two make a larger one
        same = left.length == right.length
        assert not (same and left.address % (1 << 33 - left.length) == 0)


def test_a_line_with_ports_of_any_protocol_speaks_of_tcp_and_udp() -> None:
    entry = AclEntry(1, True, "ip", ANY, None, ANY, (53, 53))
    assert {m["ip_proto"] for m in of_entry(entry)} == {6, 17}
    assert not list(of_entry(replace(entry, protocol="icmp")))


def with_filter(plane: Plane, *entries: AclEntry) -> Plane:
    filter_in = plane.filter_in.copy()
    filter_in[0] = 0
    return replace(plane, filters=(entries,), filter_in=filter_in)


def test_what_no_line_matches_is_denied_and_the_first_line_decides() -> None:
    deny = AclEntry(1, False, "tcp", ANY, None, ANY, (443, 443))
    cut = with_filter(routed(LINE), deny, ANY_ANY)
    assert Wired(cut, rules(cut)).outcomes(0, 1, TCP) == {("lost", ("A",))}
    assert Wired(cut, rules(cut)).outcomes(0, 1, Header(6, 1, 80)) == {
        ("delivered", ("A", "B", "C"))
    }
    only = with_filter(routed(LINE), replace(deny, permit=True))
    assert Wired(only, rules(only)).outcomes(0, 1, Header(1)) == {("lost", ("A",))}


def test_an_access_list_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadInput, match="60001 lines"):
        rules(with_filter(routed(LINE), *[ANY_ANY] * 60001))


def test_what_comes_in_leaves_by_the_same_port_where_the_route_says_so() -> None:
    plane = routed(LINE)
    atom = int(plane.host_atom[1])
    forward(plane, atom, 1)  # B sends what is for C back to A
    sent = switched(rules(plane)[1], 1, packet(1, plane.topology.address["c1"], TCP))
    assert [[out.port for out in way] for way in sent] == [[1]]


def test_equal_next_hops_share_evenly_and_every_switch_in_its_own_way() -> None:
    plane = routed(DIAMOND)
    (group,) = rules(plane)[0].groups
    assert sorted(group.slots) == [1] * 32 + [2] * 32
    (other,) = rules(plane)[3].groups
    both = sum(a == b for a, b in zip(group.slots, other.slots, strict=True))
    assert 16 < both < 48
    assert group.id != other.id and 0 < group.id < 0xFFFFFF00


def test_nothing_changes_a_packet_before_a_group_has_chosen_its_way() -> None:
    """Newer versions of Open vSwitch mirror twice what was changed before."""
    flows = [f for found in rules(routed(DIAMOND)) for f in found.flows]
    grouped = [f for f in flows if "group" in {action[0] for action in f.actions}]
    assert grouped and all([action[0] for action in f.actions] == ["group"] for f in grouped)
    assert not any(f.actions for f in flows if f.table < grouped[0].table)
    assert all(f.actions[0] == ("dec_ttl",) for f in flows if f.table == 4)


def test_classes_leave_at_their_level_and_what_nobody_marks_as_normal() -> None:
    plane = routed(LINE)
    plane.level[:] = [0, 2, 5]
    for dscp, level in ((46, 0), (0, 2), (8, 5), (10, 2)):
        fields = packet(1, plane.topology.address["c1"], TCP, dscp)
        assert switched(rules(plane)[0], 2, fields)[0][0].queue == level


def test_a_rate_limit_becomes_a_meter_and_a_cable_does_not() -> None:
    plane = routed(LINE)
    assert not any(found.meters for found in rules(replace(plane, rate_bps=np.full(10, 1e9))))
    cables = [link.rate_bps for link in LINE.links] + [host.rate_bps for host in LINE.hosts]
    rate_bps = np.repeat(np.array(cables), 2)
    rate_bps[0], rate_bps[2] = 5e7, 100.0
    found = rules(replace(plane, rate_bps=rate_bps))
    assert found[0].meters == (Meter(1, 50_000, 5_000),)
    assert found[1].meters == (Meter(2, 1, 240),)  # 20 packets of 1500 bytes
    sent = switched(found[0], 2, packet(1, plane.topology.address["c1"], TCP))
    assert sent[0][0].meter == 1
    assert not found[2].meters


def test_nothing_leaves_by_a_link_that_is_down() -> None:
    plane = routed(LINE)
    plane.up[0] = False
    assert not [f for f in rules(plane)[0].flows if f.table == 4 and ("reg0", 1) in f.match]


def test_a_host_without_a_local_route_gets_nothing() -> None:
    plane = routed(LINE)
    plane.decision[2][plane.decision[2] == LOCAL] = 0
    assert Wired(plane, rules(plane)).outcomes(0, 1, TCP) == {("lost", ("A", "B", "C"))}


def test_neighbouring_destinations_that_go_the_same_way_are_one_flow() -> None:
    names = [f"d{i}" for i in range(18)]
    star = Topology(
        "star",
        tuple(map(Device, names)),
        tuple(Host(f"h{i}", name) for i, name in enumerate(names)),
        tuple(Link(names[0] if i < 2 else names[1], n) for i, n in enumerate(names[1:], 1)),
    )
    table = [f for f in rules(routed(star))[0].flows if f.table == 2]
    rest = list(prefixes(star.lan["d1"].first, 1 << 32))  # the last atom goes to the end
    assert len(table) == 1 + len(rest) < 1 + 17 + 8


# ---- steered and copied


def test_what_is_steered_away_leaves_only_there_and_all_else_as_before() -> None:
    plane = routed(LINE)
    address = plane.topology.address
    match = Match("critical", destination=Prefix(address["c1"], 32), protocol="tcp", port=443)
    found = rules(plane, diverts=[match], copies=["critical"])[0]
    plain = rules(plane)[0]
    for dscp in DSCP.values():
        for header in (TCP, Header(6, 1, 80), Header(17, 1, 443), Header(1)):
            for target in ("c1", "c2"):
                fields = packet(address["a0"], address[target], header, dscp)
                (sent,) = switched(found, 2, fields)
                ports = [out.port for out in sent]
                if dscp == 46 and header == TCP and target == "c1":
                    assert ports == [STEER_PORT]
                    continue
                (usual,) = switched(plain, 2, fields)
                copied = [COPY_PORT] if dscp == 46 else []
                assert ports == copied + [out.port for out in usual]


def test_only_what_comes_from_hosts_is_steered_or_copied() -> None:
    plane = routed(LINE)
    found = rules(plane, diverts=[Match()], copies=list(CLASSES), copy_bytes=96)
    fields = packet(1, plane.topology.address["c1"], TCP)
    (sent,) = switched(found[1], 1, fields)
    assert [out.port for out in sent] == [2]
    assert all(flow.table or not flow.match or ("in_port", 2) in flow.match
               for flow in found[0].flows)  # fmt: skip


def test_copies_are_cut_and_their_originals_are_not() -> None:
    plane = routed(LINE)
    found = rules(plane, copies=["bulk"], copy_bytes=96)[0]
    (sent,) = switched(found, 2, packet(1, plane.topology.address["c1"], TCP, 8))
    assert [(out.port, out.longest) for out in sent] == [(COPY_PORT, 96), (1, None)]


def test_a_port_without_a_protocol_is_a_port_of_tcp_and_of_udp() -> None:
    found = rules(routed(LINE), diverts=[Match(port=53)])[0]
    for header, steered in ((Header(6, 1, 53), 1), (Header(17, 1, 53), 1), (Header(17, 53, 1), 0)):
        (sent,) = switched(found, 2, packet(1, 2, header))
        assert [out.port for out in sent] == [STEER_PORT] * steered


# ---- as data


def applied(old: Rules, change: dict[str, object]) -> Rules:
    data = json.loads(json.dumps(old.as_json))
    key = {"flows": lambda f: json.dumps([f["table"], f["priority"], f["match"]]),
           "groups": lambda g: g["id"], "meters": lambda m: m["id"]}  # fmt: skip
    for part, of in key.items():
        held = {} if change["clear"] else {of(item): item for item in data[part]}
        for item in json.loads(json.dumps(change[part]["delete"])):
            del held[of(item)]
        for item in json.loads(json.dumps(change[part]["add"])):
            held[of(item)] = item
        data[part] = list(held.values())
    return Rules.from_json(data)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_a_difference_makes_the_one_of_the_other_and_nothing_is_done_in_vain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    olds, news = rules(random_plane(rng)), rules(random_plane(rng))
    for old, new in zip(olds, news, strict=False):
        change = difference(old, new)
        assert applied(old, change) == new
        assert applied(old, difference(None, new)) == new
        same = difference(new, new)
        assert not any(same[p][w] for p in ("flows", "groups", "meters") for w in ("add", "delete"))
        kept = set(old.flows) & set(new.flows)
        added = Rules.from_json({**new.as_json, "flows": change["flows"]["add"]}).flows
        assert not kept & set(added)


def test_rules_read_back_in_any_order_are_the_same() -> None:
    plane = routed(DIAMOND)
    for found in rules(plane):
        data = json.loads(json.dumps(found.as_json))
        for part in ("flows", "groups", "meters"):
            data[part].reverse()
        back = Rules.from_json(data)
        assert back == found and back.digest == found.digest


def test_the_digest_tells_every_difference() -> None:
    flow, group, meter = Flow(1, 2, (("in_port", 1),), (), 2), Group(5, (1, 2)), Meter(1, 2, 3)
    some = Rules(1, (flow,), (group,), (meter,))
    others = [
        Rules(2, (flow,), (group,), (meter,)),
        Rules(1, (flow._replace(goto=3),), (group,), (meter,)),
        Rules(1, (flow._replace(priority=3),), (group,), (meter,)),
        Rules(1, (flow,), (Group(5, (2, 1)),), (meter,)),
        Rules(1, (flow,), (group,), (Meter(1, 2, 4),)),
        Rules(1, (), (group,), (meter,)),
    ]
    assert len({found.digest for found in [some, *others]}) == len(others) + 1


def test_ports_are_numbered_in_the_order_of_the_topology() -> None:
    assert list(port_numbers(LINE, "B").values()) == [1, 2]
    assert list(port_numbers(LINE, "C")) == [3, 2 * 2 + 2 + 1, 2 * 2 + 4 + 1]
