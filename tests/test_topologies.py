"""Every source of topologies: what comes out of it, and what does not get in."""

from __future__ import annotations

import re
import time
import warnings
from itertools import pairwise
from pathlib import Path

import networkx
import pytest

from shadowsim.errors import BadInput
from shadowsim.model.topology import Device, Host, Topology
from shadowsim.scenario import parse
from shadowsim.scenario.graphs import read_file, topohub_names
from shadowsim.scenario.wiring import safe_names

GRAPHML = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{}</graphml>'
KEYS = (
    '<key id="l" for="node" attr.name="label" attr.type="string"/>'
    '<key id="x" for="node" attr.name="Longitude" attr.type="double"/>'
    '<key id="y" for="node" attr.name="Latitude" attr.type="double"/>'
    '<key id="raw" for="edge" attr.name="LinkSpeedRaw" attr.type="double"/>'
    '<key id="bw" for="edge" attr.name="bandwidth" attr.type="double"/>'
    '<key id="sp" for="edge" attr.name="speed" attr.type="string"/>'
)
CLAB = """
name: lab
topology:
  defaults: {kind: linux}
  kinds: {ceos: {image: ceos:latest}}
  groups: {fabric: {kind: ceos}}
  nodes:
    leaf1: {kind: ceos}
    leaf2: {group: fabric}
    router:
    web: {group: dmz}
    db:
  links:
    - endpoints: ["leaf1:eth1", "leaf2:eth1"]
    - endpoints: ["leaf2:eth2", "router:eth1"]
    - endpoints: ["router:eth2", "leaf1:eth2"]
    - endpoints: ["web:eth1", "leaf1:eth3"]
    - type: veth
      endpoints: [{node: leaf2, interface: eth4}, {node: db, interface: eth1}]
"""


def build(source: str, file: str = "") -> Topology:
    text = f"name: site\ntopology:\n  {source}\nchange: {{script: ''}}\n"
    return parse(text, file=file).topology


def refusal(source: str, file: str = "") -> str:
    with pytest.raises(BadInput) as caught:
        build(source, file)
    return str(caught.value)


def graphml(folder: Path, nodes: str, edges: str, *, directed: bool = False) -> Topology:
    kind = "directed" if directed else "undirected"
    graph = f'<graph edgedefault="{kind}">{nodes}{edges}</graph>'
    (folder / "x.graphml").write_text(GRAPHML.format(KEYS + graph), encoding="utf-8")
    return build("file: x.graphml", str(folder / "s.yml"))


def node(name: str, label: str = "") -> str:
    return f'<node id="{name}"><data key="l">{label}</data></node>'


def edge(a: str, b: str, data: str = "") -> str:
    return f'<edge source="{a}" target="{b}">{data}</edge>'


def is_connected(topology: Topology) -> bool:
    graph = networkx.Graph([(link.a, link.b) for link in topology.links])
    graph.add_nodes_from(device.name for device in topology.devices)
    return networkx.is_connected(graph)


def check_whole(topology: Topology) -> None:
    """What every topology must be: safe distinct names, no port lost, all in one piece."""
    names = [d.name for d in topology.devices] + [h.name for h in topology.hosts]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in names)
    assert sum(map(len, topology.ports.values())) == 2 * len(topology.links) + len(topology.hosts)
    assert is_connected(topology)


# ---- topohub


def test_topohub_has_what_it_should() -> None:
    groups = [name.partition("/")[0] for name in topohub_names()]
    assert groups.count("sndlib") == 26
    assert groups.count("topozoo") == 203


@pytest.mark.parametrize("group", ["sndlib", "topozoo"])
def test_every_network_of_topohub_loads(group: str) -> None:
    for name in topohub_names():
        if name.startswith(f"{group}/"):
            topology = build(f"topohub: {name}")
            check_whole(topology)
            assert topology.name == name
            assert len(topology.hosts) == len(topology.devices)


@pytest.mark.parametrize("name", ["backbone/africa", "backbone/europe", "caida/2024-08/1103"])
def test_networks_with_unnamed_nodes_load(name: str) -> None:
    check_whole(build(f"topohub: {name}"))


def test_topohub_gives_positions_and_lengths() -> None:
    topology = build("topohub: sndlib/abilene")
    assert topology.devices[1] == Device("ATLAng", position=(-85.5, 34.5))
    assert topology.links[0].delay_s == pytest.approx(132.4 / 200_000)
    given = build("topohub: sndlib/abilene\n  links: {delay_ms: 2}")
    assert {link.delay_s for link in given.links} == {0.002}


def test_names_become_safe_and_stay_distinct() -> None:
    assert safe_names(["São Paulo", "S. Paulo", "Sao Paulo", "", "北京", "any", "-x-", "?"]) == [
        "Sao_Paulo", "S._Paulo", "Sao_Paulo_2", "n3", "n4", "any_", "x", "n7",
    ]  # fmt: skip


def test_many_nodes_of_one_name_take_no_time() -> None:
    def cpu_s(times: int) -> float:
        began_s = time.process_time()
        assert len(set(safe_names(["Paris", "Paris_7"] * times))) == 2 * times
        return time.process_time() - began_s

    # Eight times as many; in the square of their number it would be 64 times as long.
    assert cpu_s(50_000) < 40 * min(cpu_s(6_250) for _ in range(3))


def test_what_a_file_says_is_not_quoted_to_standard_error(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        untyped = '<key id="k" attr.name="x" for="node"/><graph edgedefault="directed"/>'
        (tmp_path / "x.graphml").write_text(GRAPHML.format(untyped))
        read_file("x.graphml", tmp_path, "x.graphml")


# ---- fat trees


@pytest.mark.parametrize("k", [2, 4, 6, 8])
def test_fat_tree(k: int) -> None:
    topology = build(f"fat_tree: {{k: {k}}}")
    check_whole(topology)
    assert len(topology.devices) == 5 * k * k // 4
    assert len(topology.hosts) == k**3 // 4
    assert len(topology.links) == k**3 // 2
    degree = {name: len(ports) for name, ports in topology.ports.items()}
    assert set(degree.values()) == {k}
    assert {host.rate_bps for host in topology.hosts} == {1e8}
    assert topology.hosts[0] == Host("h-pod0-edge0-0", "pod0-edge0", (), 1e8)
    assert not topology.hosts_of["core-0"]
    assert not topology.hosts_of["pod0-agg0"]


def test_every_pod_of_a_fat_tree_reaches_every_core() -> None:
    topology = build("fat_tree: {k: 4}\n  links: {rate_mbps: 10}")
    for core in range(4):
        ports = topology.ports[f"core-{core}"]
        assert sorted(port[: len("to-podN")] for port in ports) == [f"to-pod{p}" for p in range(4)]
    assert {host.rate_bps for host in topology.hosts} == {1e7}


# ---- inline


def test_inline_with_all_options() -> None:
    topology = build(
        "nodes:\n"
        "    spine: {model: slow, hosts: 0}\n"
        "    leaf1: {hosts: 2, groups: [guest]}\n"
        "    leaf2: {hosts: [web, db]}\n"
        "    leaf3:\n"
        "  defaults: {rate_mbps: 50, delay_ms: 1}\n"
        "  links:\n"
        "    - [spine, leaf1]\n"
        "    - {endpoints: [spine, leaf2], rate_mbps: 200, queue_packets: 7}\n"
        "    - [leaf3, spine]\n"
        "    - [spine, leaf3]\n"
        "  overrides:\n"
        "    - {link: [spine, leaf3], delay_ms: 9}\n"
        "  hosts:\n"
        "    probe: {on: spine, groups: [ops], rate_mbps: 5}\n"
    )
    check_whole(topology)
    assert topology.devices[0] == Device("spine", "slow")
    assert [h.name for h in topology.hosts] == [
        "h-leaf1-0", "h-leaf1-1", "web", "db", "h-leaf3", "probe",
    ]  # fmt: skip
    assert {h.rate_bps for h in topology.hosts[:-1]} == {2e9}
    assert topology.hosts[-1] == Host("probe", "spine", ("ops",), 5e6)
    assert [(link.rate_bps, link.delay_s, link.queue_packets) for link in topology.links] == [
        (5e7, 0.001, 100), (2e8, 0.001, 7), (5e7, 0.009, 100), (5e7, 0.009, 100),
    ]  # fmt: skip
    assert topology.resolve("guest") == ("h-leaf1-0", "h-leaf1-1")
    assert topology.cables("spine", "leaf3") == (2, 3)


def test_one_device_is_a_network() -> None:
    assert [host.name for host in build("nodes: [A]").hosts] == ["h-A"]


def test_added_hosts_stand_beside_the_default_one() -> None:
    topology = build("topohub: sndlib/abilene\n  hosts: {guest1: {on: ATLAng, groups: [guest]}}")
    assert [host.name for host in topology.hosts_of["ATLAng"]] == ["h-ATLAng", "guest1"]


def test_ports_of_one_name_are_refused() -> None:
    source = "nodes: [A, B, B-2]\n  links: [[A, B], [A, B], [A, B-2]]"
    assert "two ports of a device would have the same name" in refusal(source)


def test_too_many_hosts_are_refused_before_they_are_made() -> None:
    nodes = "".join(f"    n{i}: {{hosts: 250}}\n" for i in range(2_000))
    assert "the nodes have 500,000 hosts; at most 100,000" in refusal(f"nodes:\n{nodes}")


# ---- GraphML


def test_graphml_with_labels_and_positions(tmp_path: Path) -> None:
    place = '<data key="x">2.3</data><data key="y">48.9</data>'
    paris = f'<node id="0"><data key="l">Paris</data>{place}</node>'
    topology = graphml(tmp_path, paris + node("1", "New York"), edge("0", "1"))
    assert topology.devices == (Device("Paris", position=(2.3, 48.9)), Device("New_York"))
    assert topology.name == "x"
    check_whole(topology)


def test_graphml_labels_that_are_not_unique_get_a_number(tmp_path: Path) -> None:
    nodes = node("a", "Paris") + node("b", "Paris") + node("c", "Lyon") + node("d")
    edges = edge("a", "b") + edge("b", "c") + edge("a", "b") + edge("c", "d")
    topology = graphml(tmp_path, nodes, edges)
    assert [device.name for device in topology.devices] == ["Paris", "Paris-2", "Lyon", "d"]
    assert len(topology.links) == 4


def test_numbered_labels_are_not_mistaken_for_ports(tmp_path: Path) -> None:
    """The second cable to Paris has the port `to-Paris-2`."""
    nodes = node("a", "Paris") + node("b", "Paris") + node("c", "Lyon")
    topology = graphml(tmp_path, nodes, edge("c", "a") + edge("c", "a") + edge("c", "b"))
    assert [device.name for device in topology.devices] == ["Paris", "Paris_2", "Lyon"]
    check_whole(topology)


@pytest.mark.parametrize(
    ("pairs", "cables"),
    [
        (["ab"], 1), (["ab", "ba"], 1), (["ab", "ab"], 2), (["ab", "ab", "ba"], 2),
        (["ba", "ab", "ab", "ba"], 2), (["ab", "ba", "ba", "ba"], 3),
    ],
)  # fmt: skip
def test_directed_graphml_keeps_parallel_links(
    tmp_path: Path, pairs: list[str], cables: int
) -> None:
    """Both directions are one cable."""
    edges = "".join(edge(*pair) for pair in pairs)
    topology = graphml(tmp_path, node("a") + node("b"), edges, directed=True)
    assert len(topology.links) == cables
    check_whole(topology)


RATED = [
    ('<data key="raw">2500000000</data>', 2.5e9),
    ('<data key="bw">40</data>', 4e7),
    ('<data key="sp">25</data>', 2.5e7),
    ('<data key="raw">1e6</data><data key="bw">40</data>', 1e6),
    ('<data key="raw">0</data><data key="bw">40</data>', 4e7),
    ('<data key="sp">10 Gbps</data>', 1e8),
    ('<data key="bw">NaN</data>', 1e8),
    ('<data key="bw">-5</data>', 1e8),
    ("", 1e8),
]


@pytest.mark.parametrize(("data", "rate"), RATED)
@pytest.mark.parametrize("directed", [False, True])
def test_graphml_rates(tmp_path: Path, data: str, rate: float, directed: bool) -> None:
    edges = (edge("a", "b") if directed else "") + edge("b", "a", data)
    topology = graphml(tmp_path, node("a") + node("b"), edges, directed=directed)
    assert [link.rate_bps for link in topology.links] == [rate]


def test_rates_of_the_scenario_come_before_those_of_the_file(tmp_path: Path) -> None:
    edges = edge("a", "b", '<data key="bw">40</data>') + edge("b", "c", '<data key="bw">1e9</data>')
    with pytest.raises(BadInput, match="gives the link 'b' to 'c' 1,000,000,000 Mbit/s; at most"):
        graphml(tmp_path, node("a") + node("b") + node("c"), edges)
    file, scenario = "file: x.graphml\n  ", str(tmp_path / "s.yml")
    topology = build(file + "links: {rate_mbps: 7}", scenario)
    assert [link.rate_bps for link in topology.links] == [7e6, 7e6]
    more = "links: {delay_ms: 1}\n  overrides: [{link: [b, c], rate_mbps: 7}]"
    assert [link.rate_bps for link in build(file + more, scenario).links] == [4e7, 7e6]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE x><graphml/>", "x.graphml:1: '<!DOCTYPE' is not allowed"),
        (b"<a/>\n<!ENTITY x 'y'>", "x.graphml:2: '<!ENTITY' is not allowed"),
        (b"<!doctype x><graphml/>", "'<!doctype' is not allowed"),
        ("<!DOCTYPE x><graphml/>".encode("utf-16"), "not UTF-8 text"),
        (b"<graphml>\xff</graphml>", "not UTF-8 text"),
        (b"<graphml", "not GraphML"),
        (b"", "not GraphML"),
        (b"hello", "not GraphML"),
        (GRAPHML.format("").encode(), "not GraphML"),
        (GRAPHML.format('<graph edgedefault="undirected"/>').encode(), "the network has no device"),
        (b"<a>" * 200_000 + b"</a>" * 200_000, "x.yml:3: |not GraphML"),
        (b" " * (9 << 20), "has more than 8,388,608 bytes"),
    ],
    ids=range(12),
)
def test_bad_graphml(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.graphml").write_bytes(content)
    message = refusal("file: x.graphml", str(tmp_path / "s.yml"))
    assert any(part in message for part in reason.split("|"))
    assert len(message.splitlines()) == 1


def test_a_declared_encoding_hides_nothing(tmp_path: Path) -> None:
    """+ADw-! is '<!' in UTF-7: were it decoded so, the document type would slip through."""
    text = "<?xml version='1.0' encoding='utf-7'?>+ADw-!DOCTYPE x+AD4-<graphml/>"
    (tmp_path / "x.graphml").write_text(text)
    assert "not GraphML" in refusal("file: x.graphml", str(tmp_path / "s.yml"))


# ---- containerlab


def test_containerlab(tmp_path: Path) -> None:
    (tmp_path / "site.clab.yml").write_text(CLAB)
    topology = build("file: site.clab.yml", str(tmp_path / "s.yml"))
    check_whole(topology)
    assert topology.name == "lab"
    assert [device.name for device in topology.devices] == ["leaf1", "leaf2", "router"]
    assert [(h.name, h.device) for h in topology.hosts] == [
        ("web", "leaf1"), ("db", "leaf2"), ("h-router", "router"),
    ]  # fmt: skip
    assert topology.resolve("dmz") == ("web",)
    assert len(topology.links) == 3


OUTSIDE_LINKS = """\
    - endpoints: ["leaf1:eth9", "host:eth9"]
    - endpoints: ["mgmt-net:x", "web:eth2"]
    - endpoints: ["db:eth9", "macvlan:eth0"]
    - endpoints: ["leaf1:eth10", "vxlan:10.0.0.1/100/4789"]
    - endpoints: [{node: leaf2, interface: eth9}, {node: host, interface: x}]
    - {type: macvlan, endpoint: {node: leaf2, interface: eth8}, host-interface: eth0}
    - {type: vxlan-stitch, endpoint: {node: leaf2, interface: eth7}, remote: 10.0.0.1, vni: 5}
"""


def test_links_out_of_a_containerlab_are_left_out(tmp_path: Path) -> None:
    scenario = str(tmp_path / "s.yml")
    (tmp_path / "site.clab.yml").write_text(CLAB)
    alone = build("file: site.clab.yml", scenario)
    (tmp_path / "site.clab.yml").write_text(CLAB + OUTSIDE_LINKS)
    assert build("file: site.clab.yml", scenario) == alone


def test_links_out_of_a_containerlab_have_a_node_inside(tmp_path: Path) -> None:
    wrong = '    - endpoints: ["leaf9:eth1", "host:x"]\n'
    wrong += "    - {type: macvlan, endpoint: {node: leaf8, interface: eth8}}\n"
    wrong += "    - {type: veth, endpoint: {node: leaf1, interface: eth8}}\n"
    (tmp_path / "site.clab.yml").write_text(CLAB + wrong)
    found = refusal("file: site.clab.yml", str(tmp_path / "s.yml")).splitlines()
    assert len(found) == 3
    assert "there is no node 'leaf9'" in found[0]
    assert "there is no node 'leaf8'" in found[1]
    assert "a link wants two endpoints" in found[2]


def test_a_node_of_a_containerlab_may_be_called_host(tmp_path: Path) -> None:
    (tmp_path / "site.clab.yml").write_text(CLAB.replace("web", "host"))
    assert "host" in build("file: site.clab.yml", str(tmp_path / "s.yml")).host_index


def test_mistakes_in_a_clab_file_are_placed_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "site.clab.yml").write_text("topology:\n  nodes: {a: }\n  nodes: {b: }\n")
    message = refusal("file: site.clab.yml", str(tmp_path / "s.yml"))
    assert message.startswith(f"{tmp_path}/site.clab.yml:3: key 'nodes' stands twice")


@pytest.mark.parametrize(
    "damage",
    [
        ("topology:", "topology: 5\nx:"),
        ("  nodes:", "  nodes: [a]\n  x:"),
        ("leaf1: {kind: ceos}", "leaf1: [kind]"),
        ('["leaf1:eth1", "leaf2:eth1"]', "[5, {}]"),
        ("  links:", "  links: 7\n  x:"),
        ("  links:\n", "  links:\n    - null\n"),
        ("  defaults: {kind: linux}", "  defaults: [linux]"),
        ("  groups: {fabric: {kind: ceos}}", "  groups: []"),
        ("leaf1:", "'<script>':"),
        ("{group: dmz}", "{group: leaf1}"),
        ("{group: dmz}", "{group: [1, 2]}"),
        ("name: lab", "name: [1]"),
    ],
)
def test_damaged_containerlab_files_are_refused_or_read(
    tmp_path: Path, damage: tuple[str, str]
) -> None:
    text = CLAB.replace(*damage)
    assert text != CLAB
    (tmp_path / "site.clab.yml").write_text(text)
    try:
        check_whole(build("file: site.clab.yml", str(tmp_path / "s.yml")))
    except BadInput as error:
        assert error.mistakes


# ---- paths


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.graphml").write_text("x")
    (inside / "x.graphml").symlink_to(tmp_path / "secret.graphml")
    for name in ("x.graphml", "../secret.graphml", f"{tmp_path}/secret.graphml"):
        message = refusal(f"file: {name}", str(inside / "s.yml"))
        assert message.endswith("is outside the scenario's folder")


def test_folders_below_the_scenario_are_fine(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "a.clab.yml").write_text(CLAB)
    assert build("file: sites/a.clab.yml", str(tmp_path / "s.yml")).name == "lab"
    assert build("file: sites/../sites/a.clab.yml", str(tmp_path / "s.yml")).name == "lab"


def test_strange_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.graphml").mkdir()
    (tmp_path / "loop.graphml").symlink_to("loop.graphml")
    for name in ("folder.graphml", "loop.graphml", '"a\\0b.graphml"', "a" * 300 + ".graphml"):
        assert len(refusal(f"file: {name}", str(tmp_path / "s.yml")).splitlines()) == 1


def test_addresses_follow_the_order_of_devices() -> None:
    topology = build("nodes: [A, B, C]\n  links: [[A, B], [B, C]]")
    prefixes = [topology.lan[name].address for name in ("A", "B", "C")]
    assert all(after - before == 256 for before, after in pairwise(prefixes))
