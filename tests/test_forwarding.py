"""The compiled data plane against a slow reference, and paths, exposure and limits by hand."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_forwarding import Reference
from strategies import configured

from shadowsim.dataplane.exposure import EVERYONE, newly_open, open_to
from shadowsim.dataplane.forwarding import Compiler, Physical, compile, unpack  # noqa: A004
from shadowsim.dataplane.igp import UNREACHED, distances, shortest_path_bits
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.plane import DISCARD, FORWARD, LOCAL, NO_ROUTE, Plane
from shadowsim.dataplane.ports import graph_of
from shadowsim.dataplane.trace import flow_table, permitted, trace, trace_flows
from shadowsim.model.address import ADDRESS_SPACE, parse_address
from shadowsim.model.change import Configs, apply, parse_config, parse_script
from shadowsim.model.intents import Limit
from shadowsim.model.telemetry import Layout
from shadowsim.model.topology import Device, Host, Link, Topology
from shadowsim.model.traffic import Demand

NETWORKS = 400
SEQUENCES = 60
WORDS = {NO_ROUTE: "no route", FORWARD: "forward", LOCAL: "local", DISCARD: "discard"}


def wired(cables: str, hosts: str) -> Topology:
    """`A-B B-C` and `A B` to devices, cables and a host `a1`, `a2`, ... each time one is named."""
    ends = [tuple(cable.split("-")) for cable in cables.split()]
    names = sorted({d for pair in ends for d in pair} | set(hosts.split()))
    count: Counter[str] = Counter()
    attached = []
    for home in hosts.split():
        count[home] += 1
        attached.append(Host(f"{home.lower()}{count[home]}", home))
    return Topology(
        "by hand", tuple(map(Device, names)), tuple(attached), tuple(Link(a, b) for a, b in ends)
    )


def configs_of(topology: Topology, **extra: str) -> Configs:
    """Plain configs, and more lines for the devices named."""
    return {name: parse_config(text) for name, text in configured(topology, extra).items()}


def seen(plane: Plane, device: str, address: int) -> tuple[str, frozenset[int]]:
    """What the plane says a device does with an address: the decision and the links."""
    atom = int(np.searchsorted(plane.atom_first, address, "right")) - 1
    number = plane.topology.device_index[device]
    bit = np.uint64(1) << np.uint64(atom % 64)
    links = np.flatnonzero(plane.next_hops[:, atom // 64] & bit)
    mine = frozenset(int(e) for e in links if plane.graph.tail[e] == number)
    return WORDS[int(plane.decision[number, atom])], mine


def links_of(plane: Plane, device: str, host: str) -> list[str]:
    """Where a device sends packets for a host, by name."""
    found = seen(plane, device, plane.topology.address[host])[1]
    return sorted(plane.topology.link_name(n) for n in found)


def decided(plane: Plane, device: str, host: str) -> str:
    return seen(plane, device, plane.topology.address[host])[0]


# ---- random networks


def random_topology(random: Random) -> Topology:
    names = [f"d{i}" for i in range(random.randint(1, 7))]
    count = random.randint(0, 2 * len(names)) if len(names) > 1 else 0
    cables = [random.sample(names, 2) for _ in range(count)]
    homes = [name for name in names for _ in range(random.choice([0, 1, 1, 1, 2]))]
    return Topology(
        "random",
        tuple(map(Device, names)),
        tuple(Host(f"h{i}", home) for i, home in enumerate(homes)),
        tuple(Link(a, b) for a, b in cables),
    )


def random_prefix(random: Random, topology: Topology) -> str:
    """A LAN, a part of one, something around them, or an anycast service."""
    lan = random.randrange(len(topology.devices))
    return random.choice(
        [f"10.0.{lan}.0/24", f"10.0.{lan}.128/25", f"10.0.{lan}.2/32", "10.0.0.0/23", "10.0.0.0/8",
         "192.0.2.0/24", "192.0.2.0/24", "192.0.2.53/32", "198.51.100.0/24", "0.0.0.0/0"]
    )  # fmt: skip


def port_lines(random: Random, costs: list[int]) -> list[str]:
    lines = [f" ip ospf cost {random.choice(costs)}"] if random.random() < 0.8 else []
    odds = {" shutdown": 0.06, " mtu 9000": 0.06, " ip access-group W in": 0.1,
            " ip access-group W out": 0.1, " rate-limit output 1000000": 0.1}  # fmt: skip
    return lines + [line for line, p in odds.items() if random.random() < p]


def routing_lines(random: Random, topology: Topology, name: str) -> list[str]:
    lines = ["router bgp 65000"]
    if topology.hosts_of[name] and random.random() < 0.95:
        lines.append(f" network {topology.lan[name]}")
    for _ in range(random.choice([0, 0, 0, 1, 1, 2])):
        preference = random.choice(["", "", " local-preference 200", " local-preference 50"])
        lines.append(f" network {random_prefix(random, topology)}{preference}")
    lines += [f" prefix-list {random.choice(['P', 'P', 'Q', 'nowhere'])} {way}"
              for way in ("in", "out") if random.random() < 0.2]  # fmt: skip
    if random.random() < 0.15:
        lines.append(f" maximum-prefix {random.randint(1, 8)}")
    return lines


def list_lines(random: Random, topology: Topology) -> list[str]:
    lines = []
    for name in "PQ":
        for sequence in range(5, 5 * random.randint(1, 4) + 1, 5):
            around = random.choice(["", "", " le 32", " ge 25", " ge 24 le 25"])
            action = random.choice(["permit", "permit", "deny"])
            prefix = random_prefix(random, topology)
            lines.append(f"ip prefix-list {name} seq {sequence} {action} {prefix}{around}")
        if random.random() < 0.7:
            lines.append(f"ip prefix-list {name} seq 100 permit 0.0.0.0/0 le 32")
    return [*lines, "ip access-list extended W", " 10 permit ip any any", " 20 deny ip any any"]


def random_config(random: Random, topology: Topology, name: str, costs: list[int]) -> str:
    lines = [f"hostname {name}"]
    if random.random() < 0.2:
        lines.append(f"table-size {random.randint(1, 10)}")
    for port in topology.ports[name]:
        if random.random() < 0.97:
            lines += [f"interface {port}", *port_lines(random, costs)]
    vias = [*topology.ports[name], *topology.ports[name], "Null0", "nowhere"]
    lines += [f"ip route {random_prefix(random, topology)} {random.choice(vias)}"
              for _ in range(random.choice([0, 0, 1, 2]))]  # fmt: skip
    lines += list_lines(random, topology)
    if random.random() < 0.93:
        lines += routing_lines(random, topology, name)
    return "\n".join(lines)


def random_configs(random: Random, topology: Topology) -> Configs:
    costs = random.choice([[10], [1, 2], [1, 2, 3], [1, 10, 100, 65535]])
    texts = {d.name: random_config(random, topology, d.name, costs) for d in topology.devices}
    return {name: parse_config(text) for name, text in texts.items()}


def random_damage(random: Random, topology: Topology) -> Physical:
    if random.random() < 0.6:
        return Physical()
    cables = [i for i in range(len(topology.links)) if random.random() < 0.1]
    left = {d.name: 0.5 for d in topology.devices if random.random() < 0.2}
    return Physical(frozenset(2 * i + side for i in cables for side in (0, 1)), left)


def addresses_of_interest(reference: Reference) -> list[int]:
    """Both sides of both ends of every prefix that anything speaks of."""
    prefixes = {*reference.announced, *reference.lans}
    for config in reference.configs.values():
        prefixes |= {route.prefix for route in config.static_routes}
    edges = {a + step for p in prefixes for a in (p.first, p.last) for step in (-1, 0, 1)}
    return sorted(a for a in edges if 0 <= a < ADDRESS_SPACE)


@pytest.mark.parametrize("part", range(10))
def test_every_device_decides_as_the_reference_does(part):
    for seed in range(part * NETWORKS // 10, (part + 1) * NETWORKS // 10):
        random = Random(seed)
        topology = random_topology(random)
        configs, damage = random_configs(random, topology), random_damage(random, topology)
        plane = compile(topology, configs, damage)
        reference = Reference(topology, configs, damage.down, damage.table_left)
        assert set(np.flatnonzero(plane.up).tolist()) == reference.working, seed
        for i, device in enumerate(topology.device_index):
            table = reference.tables[device]
            assert plane.refused[i] == table.refused, (seed, device)
            assert plane.routes[i] == table.entries, (seed, device)
            for address in addresses_of_interest(reference):
                got, wanted = seen(plane, device, address), table.lookup(address)
                assert got == wanted, (seed, device, address)


def test_the_random_networks_meet_every_rule():
    """Else the comparison above would say less than it seems to."""
    met: Counter[str] = Counter()
    for seed in range(0, NETWORKS, 4):
        random = Random(seed)
        topology = random_topology(random)
        configs, damage = random_configs(random, topology), random_damage(random, topology)
        reference = Reference(topology, configs, damage.down, damage.table_left)
        for device, table in reference.tables.items():
            kinds = {kind for kind, _ in table.routes.values()}
            met.update(kinds)
            met["ecmp"] += any(len(links) > 1 for _, links in table.routes.values())
            met["table full"] += table.refused > 0
            bgp = configs[device].bgp
            met["over its limit"] += bgp is not None and not reference._taken(device)
            met["leak"] += any(
                device in origins and reference._leaked(device, prefix)
                for prefix, origins in reference.announced.items()
            )
        met["anycast"] += any(len(o) > 1 for o in reference.announced.values())
        met["preferred"] += any(len(set(o.values())) > 1 for o in reference.announced.values())
    assert len(met) == 9, met
    assert min(met.values()) >= 5, met


# ---- one change after another


def random_change(random: Random, topology: Topology) -> str:
    name = random.choice([d.name for d in topology.devices])
    port = random.choice(list(topology.ports[name]) or ["none"])
    prefix = random_prefix(random, topology)
    line = random.choice(
        [
            f"interface {port}\nip ospf cost {random.choice([1, 2, 3, 10])}",
            f"interface {port}\nno ip ospf cost",
            f"interface {port}\n{random.choice(['', 'no '])}shutdown",
            f"interface {port}\nmtu {random.choice([1500, 9000])}",
            f"interface {port}\n{random.choice(['', 'no '])}ip access-group W in",
            f"interface {port}\nrate-limit output {random.choice([10**5, 10**6])}",
            f"interface {port}\nno rate-limit output",
            f"ip route {prefix} {random.choice([port, 'Null0'])}",
            f"no ip route {prefix}",
            f"router bgp 1\nnetwork {prefix} local-preference {random.choice([50, 200])}",
            f"router bgp 1\nno network {prefix}",
            f"router bgp 1\nprefix-list {random.choice('PQ')} {random.choice(['in', 'out'])}",
            f"router bgp 1\nmaximum-prefix {random.randint(1, 6)}",
            "no router bgp",
            f"ip prefix-list P seq {random.randint(1, 9)} deny {prefix}",
            "no ip prefix-list P",
            f"ip access-list extended W\n{random.randint(1, 9)} deny tcp any any",
            "no ip access-list extended W",
            f"table-size {random.randint(2, 40)}",
        ]
    )
    return f"device {name}\n{line}"


def coarse(plane: Plane, atom_first: np.ndarray) -> dict[str, np.ndarray]:
    """All arrays of a plane, those over atoms spelled out for finer ones."""
    at = np.searchsorted(plane.atom_first, atom_first, "right") - 1
    same = ("up", "rate_bps", "mtu_bytes", "level", "routes", "refused", "filter_in", "filter_out")
    found = {name: getattr(plane, name) for name in same}
    found["decision"] = plane.decision[:, at]
    found["next_hops"] = unpack(plane.next_hops, plane.atoms)[:, at]
    return found


def same_planes(one: Plane, other: Plane, *, exactly: bool = False) -> bool:
    """Equal array for array, over the atoms of both; `exactly`: the atoms are the same, too."""
    if exactly and not np.array_equal(one.atom_first, other.atom_first):
        return False
    first = np.union1d(one.atom_first, other.atom_first)
    mine, yours = coarse(one, first), coarse(other, first)
    addresses = np.array([one.topology.address[h.name] for h in one.topology.hosts])
    for plane in (one, other):
        start = plane.atom_first[plane.host_atom]
        end = np.append(plane.atom_first[1:].astype(np.int64), ADDRESS_SPACE)[plane.host_atom]
        if not ((start <= addresses) & (addresses < end)).all():
            return False
    return one.filters == other.filters and all(np.array_equal(mine[n], yours[n]) for n in mine)


@pytest.mark.parametrize("part", range(4))
def test_compiling_change_after_change_equals_compiling_anew(part):
    moved = 0
    for seed in range(part * SEQUENCES // 4, (part + 1) * SEQUENCES // 4):
        random = Random(1000 + seed)
        topology = random_topology(random)
        configs = random_configs(random, topology)
        compiler = Compiler(topology)
        last = compiler.compile(configs)
        for step in range(15):
            configs = apply(configs, parse_script(random_change(random, topology)))
            damage = random_damage(random, topology)
            now, fresh = compiler.compile(configs, damage), compile(topology, configs, damage)
            assert same_planes(now, fresh), (seed, step)
            moved += not same_planes(now, last)
            last = now
    assert moved > 50


def test_changes_that_bring_no_prefix_keep_the_atoms():
    topology = wired("A-B B-C C-A", "A B C")
    configs = configs_of(topology)
    compiler = Compiler(topology)
    compiler.compile(configs)
    script = "device A\ninterface to-B\nip ospf cost 500\ndevice B\ninterface to-C\nshutdown"
    configs = apply(configs, parse_script(script))
    assert same_planes(compiler.compile(configs), compile(topology, configs), exactly=True)


def test_going_back_gives_the_plane_of_before():
    topology = wired("A-B B-C C-A", "A B C")
    configs = configs_of(topology)
    compiler = Compiler(topology)
    before = compiler.compile(configs)
    compiler.compile(apply(configs, parse_script("device B\nip route 10.0.0.0/24 Null0")))
    assert same_planes(compiler.compile(configs), before, exactly=True)


def test_an_interface_that_is_removed_leaves_nothing_behind():
    topology = wired("A-B", "A B")
    given = configs_of(topology, A="interface to-B\nmtu 9000\nrate-limit output 1000")
    compiler = Compiler(topology)
    compiler.compile(given)
    configs = apply(given, parse_script("device A\nno interface to-B"))
    assert same_planes(compiler.compile(configs), compile(topology, configs))


# ---- routing, by hand


def test_a_longer_prefix_wins_whatever_its_origin():
    """A hijack: what a route leak with longer prefixes does."""
    topology = wired("A-B B-C", "A B C")
    plane = compile(topology, configs_of(topology, A="router bgp 1\nnetwork 10.0.2.0/25"))
    assert links_of(plane, "B", "c1") == ["B>A"]
    assert links_of(plane, "A", "c1") == ["A>B"]
    assert path(plane, Demand("b1", "c1", 1e6)) is None


def test_a_leaked_lan_is_sent_on_by_the_next_best_announcement():
    topology = wired("A-B B-C", "A B C")
    leak = "router bgp 1\nnetwork 10.0.2.0/24 local-preference 200"
    plane = compile(topology, configs_of(topology, A=leak))
    assert links_of(plane, "B", "c1") == ["B>A"]
    assert links_of(plane, "A", "c1") == ["A>B"]


@pytest.mark.parametrize(
    ("at_a", "at_d", "wanted"),
    [
        ("", "", ["B>A"]),
        (" local-preference 100", "", ["B>A"]),
        ("", " local-preference 101", ["B>C"]),
        (" local-preference 99", "", ["B>C"]),
    ],
)
def test_anycast_goes_by_preference_and_then_to_the_nearest(at_a, at_d, wanted):
    topology = wired("A-B B-C C-D", "A B C D")
    service = "router bgp 1\nnetwork 192.0.2.0/24"
    plane = compile(topology, configs_of(topology, A=service + at_a, D=service + at_d))
    links = seen(plane, "B", parse_address("192.0.2.1"))[1]
    assert sorted(map(topology.link_name, links)) == wanted
    assert seen(plane, "A", parse_address("192.0.2.1"))[0] == "local"


def test_anycast_at_equal_distance_is_shared():
    topology = wired("A-B B-C", "A B C")
    service = "router bgp 1\nnetwork 192.0.2.0/24"
    plane = compile(topology, configs_of(topology, A=service, C=service))
    links = seen(plane, "B", parse_address("192.0.2.1"))[1]
    assert sorted(map(topology.link_name, links)) == ["B>A", "B>C"]


def test_connected_beats_static_beats_announced():
    topology = wired("A-B B-C C-A", "A B C")
    static = "ip route 10.0.2.0/24 to-B\nip route 10.0.0.0/24 Null0\nip route 10.0.1.0/24 Null0"
    plane = compile(topology, configs_of(topology, A=static))
    assert links_of(plane, "A", "c1") == ["A>B"]
    assert decided(plane, "A", "a1") == "local"
    assert decided(plane, "A", "b1") == "discard"


def test_a_static_route_over_a_port_that_is_down_does_not_stand():
    topology = wired("A-B B-C C-A", "A B C")
    down = "ip route 10.0.2.0/24 to-B\ninterface to-B\nshutdown"
    assert links_of(compile(topology, configs_of(topology, A=down)), "A", "c1") == ["A>C"]


def test_ends_that_disagree_on_the_mtu_do_not_speak():
    topology = wired("A-B B-C C-A", "A B C")
    plane = compile(topology, configs_of(topology, A="interface to-B\nmtu 9000"))
    assert links_of(plane, "A", "b1") == ["A>C"]
    assert links_of(plane, "B", "a1") == ["B>C"]


def test_the_limit_on_prefixes_counts_what_others_announce():
    topology = wired("A-B", "A B")
    more = "router bgp 1\nnetwork 192.0.2.0/24\nnetwork 198.51.100.0/24"
    for limit, wanted in ((3, "forward"), (2, "no route")):
        own = f"router bgp 1\nmaximum-prefix {limit}"
        assert decided(compile(topology, configs_of(topology, A=own, B=more)), "A", "b1") == wanted


def test_the_limit_on_prefixes_does_not_forgive_own_ones_that_the_filter_refuses():
    topology = wired("A-B", "A B")
    own = "router bgp 1\nmaximum-prefix 2\nprefix-list P in\n!\n"
    own += "ip prefix-list P seq 5 deny 10.0.0.0/24\nip prefix-list P seq 9 permit 0.0.0.0/0 le 32"
    more = "router bgp 1\nnetwork 192.0.2.0/24\nnetwork 198.51.100.0/24"
    assert decided(compile(topology, configs_of(topology, A=own, B=more)), "A", "b1") == "no route"


def test_a_table_that_is_full_refuses_the_last_prefixes_and_keeps_its_lan():
    topology = wired("A-B B-C", "A B C")
    plane = compile(topology, configs_of(topology, C="table-size 2"))
    assert [decided(plane, "C", h) for h in ("a1", "b1", "c1")] == ["forward", "no route", "local"]
    assert (plane.routes[2], plane.refused[2]) == (2, 1)


def test_access_list_lines_take_their_place_in_the_table():
    topology = wired("A-B B-C", "A B C")
    filters = "ip access-list extended W\npermit ip any any\ninterface to-B\nip access-group W in"
    plane = compile(topology, configs_of(topology, C=f"table-size 3\n{filters}"))
    assert decided(plane, "C", "b1") == "no route"
    assert plane.refused[2] == 1


def test_rates_and_mtus_are_those_of_the_port_that_is_left():
    topology = wired("A-B", "A B")
    plane = compile(topology, configs_of(topology, A="interface to-B\nrate-limit output 5000"))
    assert plane.rate_bps[:2].tolist() == [5000.0, 1e8]
    assert plane.mtu_bytes[:2].tolist() == [1500, 1500]


def test_priorities_reach_the_plane():
    topology = wired("A-B", "A B")
    plane = compile(topology, configs_of(topology, A="qos class bulk priority 3"))
    assert plane.level.tolist() == [[0, 0, 3], [0, 0, 0]]


# ---- shortest paths


def fat_tree_graph(k: int) -> nx.Graph:
    tree, half = nx.Graph(), k // 2
    for pod in range(k):
        for a in range(half):
            tree.add_edges_from((f"agg{pod}.{a}", f"edge{pod}.{e}") for e in range(half))
            tree.add_edges_from((f"agg{pod}.{a}", f"core{a}.{c}") for c in range(half))
    return tree


def as_topology(tree: nx.Graph, cables: list[tuple[str, str]] | None = None) -> Topology:
    return Topology(
        "tree",
        tuple(map(Device, tree)),
        (),
        tuple(Link(a, b) for a, b in [*tree.edges, *(cables or [])]),
    )


@pytest.mark.parametrize("costs", [[10], [1, 2, 3]])
def test_shortest_paths_on_a_fat_tree_are_those_of_networkx(costs):
    random = Random(8)
    topology = as_topology(fat_tree_graph(8))
    graph = graph_of(topology)
    assert (graph.devices, graph.edges) == (80, 512)
    cost = np.array([random.choice(costs) for _ in range(graph.edges)], np.int32)
    usable = np.array([random.random() > 0.05 for _ in range(graph.edges)])
    everyone = np.arange(graph.devices, dtype=np.int32)
    bits, reached = shortest_path_bits(graph, cost, usable, everyone)
    far = distances(graph, cost, usable, everyone)
    reverse = nx.DiGraph()
    reverse.add_nodes_from(range(graph.devices))
    for e in np.flatnonzero(usable):
        reverse.add_edge(int(graph.head[e]), int(graph.tail[e]), cost=int(cost[e]))
    on_path, there = unpack(bits, graph.devices), unpack(reached, graph.devices)
    for goal in range(graph.devices):
        left = nx.single_source_dijkstra_path_length(reverse, goal, weight="cost")
        assert [left.get(d, UNREACHED) for d in range(graph.devices)] == far[:, goal].tolist()
        assert set(np.flatnonzero(there[:, goal]).tolist()) == set(left)
        wanted = {
            e
            for e in np.flatnonzero(usable).tolist()
            if graph.head[e] in left
            and left[int(graph.tail[e])] == cost[e] + left[int(graph.head[e])]
        }
        assert set(np.flatnonzero(on_path[:, goal]).tolist()) == wanted


def test_both_kernels_agree_where_all_costs_are_equal():
    """A cable of another cost on an island of its own brings in the other kernel."""
    tree = fat_tree_graph(4)
    tree.add_nodes_from(["x", "y"])
    plain, island = graph_of(as_topology(tree)), graph_of(as_topology(tree, [("x", "y")]))
    goals = np.arange(plain.devices, dtype=np.int32)
    for seed in range(20):
        random = Random(seed)
        usable = np.array([random.random() > 0.1 for _ in range(plain.edges)])
        cost = np.full(plain.edges, 7, np.int32)
        breadth, reached = shortest_path_bits(plain, cost, usable, goals)
        cost, usable = np.append(cost, [1, 1]).astype(np.int32), np.append(usable, [True, True])
        dijkstra, also = shortest_path_bits(island, cost, usable, goals)
        assert np.array_equal(breadth, dijkstra[: plain.edges])
        assert np.array_equal(reached[:20], also[:20])


# ---- paths of flows


def path(plane: Plane, demand: Demand) -> list[str] | None:
    """The links of a demand's first flow by name, None if it does not arrive."""
    found = trace(plane, [demand])
    hops = int(found.hops[0, 0])
    return None if hops < 0 else [plane.topology.link_name(n) for n in found.links[0, 0, :hops]]


def test_flows_follow_the_bits_on_random_networks():
    arrived = 0
    for seed in range(60):
        random = Random(5000 + seed)
        topology = random_topology(random)
        if len(topology.hosts) < 2:
            continue
        plane = compile(topology, random_configs(random, topology))
        pairs = [random.sample(topology.hosts, 2) for _ in range(10)]
        demands = [Demand(a.name, b.name, 1e6, flows=3) for a, b in pairs]
        flows = flow_table(topology, demands)
        passes = permitted(plane.filters, flows)
        paths, _ = trace_flows(plane, flows)
        for f, count in enumerate(paths.hops[0]):
            links = paths.links[0, f, : max(count, 0)].tolist()
            if count < 0:
                assert (paths.links[0, f] == -1).all()
                continue
            arrived += 1
            source, goal = pairs[f // 3]
            names = [topology.link_name(n).split(">") for n in links]
            assert [names[0][0], names[-1][1]] == [source.name, goal.name]
            assert all(a[1] == b[0] for a, b in pairwise(names))
            for n, (tail, _) in zip(links[1:-1], names[1:-1], strict=True):
                assert n in seen(plane, tail, topology.address[goal.name])[1]
            assert decided(plane, goal.device, goal.name) == "local"
            assert plane.up[links].all()
            for n in links:
                met = [k for k in (plane.filter_in[n], plane.filter_out[n]) if k >= 0]
                assert passes[met, f].all()
    assert arrived > 300


def test_a_flow_that_can_arrive_does():
    topology = wired("A-B B-C", "A A C")
    plane = compile(topology, configs_of(topology))
    assert path(plane, Demand("a1", "c1", 1e6)) == ["a1>A", "A>B", "B>C", "C>c1"]
    assert path(plane, Demand("a1", "a2", 1e6)) == ["a1>A", "A>a2"]


@pytest.mark.parametrize("where", ["A: to-a1 in", "A: to-B out", "B: to-A in", "B: to-C out",
                                   "C: to-B in", "C: to-c1 out"])  # fmt: skip
def test_access_lists_are_met_on_the_way_in_and_out(where):
    topology = wired("A-B B-C", "A C")
    device, port, way = where.replace(":", "").split()
    acl = "ip access-list extended W\ndeny udp any any eq 53\npermit ip any any\n"
    acl += f"interface {port}\nip access-group W {way}"
    plane = compile(topology, configs_of(topology, **{device: acl}))
    assert path(plane, Demand("a1", "c1", 1e6, protocol="udp", port=53)) is None
    assert path(plane, Demand("a1", "c1", 1e6, protocol="udp", port=54)) is not None
    assert path(plane, Demand("a1", "c1", 1e6, protocol="tcp", port=53)) is not None
    assert path(plane, Demand("c1", "a1", 1e6, protocol="udp", port=53)) is not None


@pytest.mark.parametrize(
    ("lines", "passes"),
    [
        (["permit ip any any"], True),
        (["permit tcp host 10.0.0.2 host 10.0.2.2 eq 443"], True),
        (["permit tcp host 10.0.0.3 any"], False),
        (["permit tcp any host 10.0.2.3"], False),
        (["permit tcp any any eq 80"], False),
        (["permit tcp any range 49152 65535 any"], True),
        (["permit tcp any range 1 49151 any"], False),
        (["deny tcp 10.0.0.0/24 any range 440 450", "permit ip any any"], False),
        (["permit ip any any", "deny ip any any"], True),
        (["permit udp any any"], False),
    ],
)
def test_the_first_line_that_matches_decides_and_none_denies(lines, passes):
    topology = wired("A-B B-C", "A C")
    acl = "\n".join(["ip access-list extended W", *lines, "interface to-A", "ip access-group W in"])
    plane = compile(topology, configs_of(topology, B=acl))
    assert (path(plane, Demand("a1", "c1", 1e6)) is not None) == passes


def test_a_list_that_is_missing_or_empty_permits_all():
    topology = wired("A-B", "A B")
    for acl in ("", "ip access-list extended W\n"):
        use = f"{acl}interface to-B\nip access-group W out"
        plane = compile(topology, configs_of(topology, A=use))
        assert path(plane, Demand("a1", "b1", 1e6)) is not None


@pytest.mark.parametrize(("size", "arrives"), [(1500, True), (1501, False)])
def test_packets_larger_than_an_mtu_do_not_pass(size, arrives):
    topology = wired("A-B B-C", "A C")
    plane = compile(topology, configs_of(topology))
    assert (path(plane, Demand("a1", "c1", 1e6, packet_bytes=size)) is not None) == arrives


def test_a_loop_ends():
    topology = wired("A-B B-C", "A B C")
    loop = {"A": "ip route 10.0.2.0/24 to-B", "B": "ip route 10.0.2.0/24 to-A"}
    assert path(compile(topology, configs_of(topology, **loop)), Demand("a1", "c1", 1e6)) is None


def test_flows_spread_over_all_equals_alike_and_always_the_same():
    topology = wired("A-B A-C A-D A-D B-Z C-Z D-Z", "A Z")
    plane = compile(topology, configs_of(topology))
    demand = [Demand("a1", "z1", 1e6, flows=2000)]
    found = trace(plane, demand)
    first = Counter(topology.link_name(n) for n in found.links[0, :, 1])
    assert set(first) == {"A>B", "A>C", "A>D"}
    ways = Counter(found.links[0, :, 1].tolist())
    assert len(ways) == 4
    assert all(400 < count < 600 for count in ways.values())
    assert np.array_equal(found.links, trace(compile(topology, configs_of(topology)), demand).links)


def test_devices_in_a_row_choose_independently():
    """Else half of the second device's equals would stay empty (polarisation)."""
    topology = wired("A-B A-C B-D B-E C-D C-E D-Z E-Z", "A Z")
    found = trace(compile(topology, configs_of(topology)), [Demand("a1", "z1", 1e6, flows=2000)])
    ways = Counter(map(tuple, found.links[0, :, 1:3].tolist()))
    assert len(ways) == 4
    assert all(350 < count < 650 for count in ways.values())


# ---- management


def ranges(acl: str, service: str = "ssh", use: str = "management {} access-class M") -> list[str]:
    text = f"hostname A\n{use.format(service)}\nip access-list extended M\n{acl}"
    found = open_to(parse_config(text), service)
    assert list(found) == sorted(found)
    return [f"{low - (10 << 24)}-{high - (10 << 24)}" for low, high in found]


def test_management_answers_nobody_everybody_or_whom_its_list_permits():
    assert open_to(parse_config("hostname A"), "ssh") == ()
    assert open_to(parse_config("hostname A\nmanagement ssh"), "ssh") == EVERYONE
    assert open_to(parse_config("hostname A\nmanagement ssh access-class M"), "ssh") == EVERYONE
    assert ranges("deny ip any any") == []
    assert ranges("permit tcp 10.0.0.0/24 any eq 22") == ["0-255"]


@pytest.mark.parametrize(
    ("acl", "wanted"),
    [
        ("deny tcp host 10.0.0.7 any\npermit tcp 10.0.0.0/24 any", ["0-6", "8-255"]),
        ("permit tcp 10.0.0.0/24 any\ndeny tcp host 10.0.0.7 any", ["0-255"]),
        ("permit tcp 10.0.0.0/25 any\npermit tcp 10.0.0.0/24 any", ["0-127", "128-255"]),
        ("permit udp 10.0.0.0/24 any", []),
        ("permit ip 10.0.0.0/24 any", ["0-255"]),
        ("permit tcp 10.0.0.0/24 any eq 23", []),
        ("permit tcp 10.0.0.0/24 any range 20 30", ["0-255"]),
        ("deny tcp 10.0.0.0/24 any eq 23\npermit tcp 10.0.0.0/24 any", ["0-255"]),
        ("deny tcp 10.0.0.0/25 any eq 22\npermit tcp 10.0.0.0/24 any", ["128-255"]),
    ],
)
def test_management_ranges(acl, wanted):
    assert ranges(acl) == wanted


def test_snmp_is_udp():
    assert ranges("permit udp 10.0.0.0/24 any eq 161", "snmp") == ["0-255"]
    assert ranges("permit tcp 10.0.0.0/24 any", "snmp") == []


def opened(before: str, now: str) -> list[str]:
    lists = "ip access-list extended M\npermit tcp 10.0.0.0/24 any\n!\n"
    lists += "ip access-list extended N\npermit tcp 10.0.0.0/25 any\n!\n"
    pair = [{"A": parse_config(f"hostname A\n{lists}{text}")} for text in (before, now)]
    return [service for _, service in newly_open(*pair)]


def test_newly_open_is_what_was_closed_to_someone():
    assert opened("", "management telnet") == ["telnet"]
    assert opened("management ssh", "") == []
    assert opened("management ssh access-class N", "management ssh access-class M") == ["ssh"]
    assert opened("management ssh access-class M", "management ssh access-class N") == []
    assert opened("management ssh access-class M", "management ssh") == ["ssh"]
    assert opened("management ssh", "management ssh access-class gone") == []
    assert opened("management ssh access-class M", "management ssh access-class gone") == ["ssh"]


# ---- limits


LIMITED = wired("A-B", "A B")
DEMANDS = [Demand("a1", "b1", 1e6, "critical"), Demand("b1", "a1", 1e6, "bulk")]


def severity(limit: Limit, *rows: list[float], utilisation: float = 0.5) -> float:
    found = Limits(LIMITED, DEMANDS, [limit]).severity(np.array(rows), np.array([0.1, utilisation]))
    return float(found[0])


def test_severity_is_one_at_the_bound():
    fine, bad = [100, 100, 0.01, 0.0], [100, 50, 0.08, 0.5]
    assert severity(Limit("latency", 0.08), fine, bad) == pytest.approx(1.0)
    assert severity(Limit("latency", 0.04), fine, bad) == pytest.approx(2.0)
    assert severity(Limit("loss", 0.25), fine, bad) == pytest.approx(2.0)
    assert severity(Limit("throughput", 0.5), fine, bad) == pytest.approx(1.0)
    assert severity(Limit("throughput", 0.9), fine, bad) == pytest.approx(5.0)
    assert severity(Limit("utilisation", 0.8), fine, bad, utilisation=0.8) == pytest.approx(1.0)


def test_a_limit_speaks_of_its_class_and_ends_only():
    fine, bad = [100, 100, 0.01, 0.0], [100, 50, 0.08, 0.5]
    assert severity(Limit("latency", 0.08, "critical"), fine, bad) == pytest.approx(0.125)
    assert severity(Limit("latency", 0.08, "bulk"), fine, bad) == pytest.approx(1.0)
    assert severity(Limit("latency", 0.08, source="A"), fine, bad) == pytest.approx(0.125)
    assert severity(Limit("latency", 0.08, destination="a1"), fine, bad) == pytest.approx(1.0)
    assert np.isnan(severity(Limit("latency", 0.08, "normal"), fine, bad))


def test_what_is_not_known_is_not_a_number_and_what_delivers_nothing_has_no_latency():
    dark, dead = [np.nan] * 4, [100, 0, np.nan, 1.0]
    assert np.isnan(severity(Limit("latency", 0.08), dark, dark))
    assert np.isnan(severity(Limit("latency", 0.08), dead, dead))
    assert severity(Limit("loss", 0.5), dark, dead) == pytest.approx(2.0)
    assert np.isnan(severity(Limit("throughput", 0.5), [0, 0, np.nan, 0], dark))


def worst(limit: Limit, demand: np.ndarray, utilisation: np.ndarray) -> float:
    """A slow reference: one limit in one state, in words of numpy."""
    mask = [limit.traffic_class in (None, d.traffic_class) for d in DEMANDS]
    values = {
        "utilisation": utilisation / limit.bound,
        "latency": demand[mask, 2] / limit.bound,
        "loss": demand[mask, 3] / limit.bound,
        "throughput": demand[np.array(mask) & (demand[:, 0] > 0), 3] / max(1.0 - limit.bound, 1e-6),
    }[limit.metric]
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")


NUMBERS = st.sampled_from((0.0, 0.3, 1.0, 7.0, -0.1, np.nan, np.inf))


@given(
    st.lists(st.lists(NUMBERS, min_size=10, max_size=10), max_size=5),
    st.lists(
        st.builds(
            Limit,
            st.sampled_from(("latency", "loss", "throughput", "utilisation")),
            st.sampled_from((0.05, 0.8, 1.0)),
            st.sampled_from((None, "critical", "normal")),
        ),
        max_size=4,
    ),
)
def test_states_side_by_side_are_judged_as_each_alone(states, chosen):
    limits = Limits(LIMITED, DEMANDS, chosen)
    rows = np.array(states).reshape(-1, 10)
    demand, utilisation = rows[:, :8].reshape(-1, 2, 4), rows[:, 8:]
    found = limits.severity(demand, utilisation)
    assert found.shape == (len(states), len(chosen))
    for s in range(len(states)):
        wanted = [worst(limit, demand[s], utilisation[s]) for limit in chosen]
        assert np.array_equal(found[s], wanted, equal_nan=True)
        alone = limits.severity(demand[s], utilisation[s])
        assert np.array_equal(found[s], alone, equal_nan=True)


def test_a_critical_demand_starves_below_half():
    layout = Layout(("A", "B"), (), tuple(d.name for d in DEMANDS))
    limits = Limits(LIMITED, DEMANDS, [])
    for throughput, starved in ((50, ()), (49, (DEMANDS[0].name,))):
        rows = np.array([[100, throughput, 0.0, 0.0], [100, 0, 0.0, 0.0]])
        assert limits.starved(rows, layout) == starved
    assert limits.starved(np.zeros((2, 4)), layout) == ()
