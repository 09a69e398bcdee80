"""The topology of a scenario, whatever its source, to a frozen Topology.

Every device gets a host of its own unless its source says which hosts it has (fat trees have
hosts on their edge only).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from shadowsim.errors import BadInput, Mistake
from shadowsim.model.topology import (
    HOSTS_PER_DEVICE,
    Device,
    Host,
    Link,
    Topology,
    with_default_hosts,
)
from shadowsim.scenario.findings import Findings
from shadowsim.scenario.graphs import read_file, read_topohub
from shadowsim.scenario.spec import SOURCES, InlineLink, LinkDefaults, Node, TopologySpec
from shadowsim.scenario.wiring import Cable, Wiring, name_trouble
from shadowsim.scenario.yamlfile import Path, shorten

MAX_DEVICES = 65_000
MAX_HOSTS = 100_000
HOST_SPEED_UP = 10
DEFAULT_DELAY_S = 0.002
FASTEST_HOST_BPS = 1e13
MAX_RATE_BPS = 1e13


@dataclass(frozen=True)
class Network:
    """A topology and the traffic that was measured on it, by pairs of devices."""

    topology: Topology
    matrix: Mapping[tuple[str, str], float]


def build(spec: TopologySpec, name: str, folder: FilePath, findings: Findings) -> Network | None:
    """The network a scenario describes; None (and something found) where there is none."""
    before = len(findings.mistakes)
    try:
        wiring = _source(spec, name, folder, findings)
    except BadInput as error:
        findings.include(_placed(error, spec, findings))
        return None
    _check_spec(spec, findings)
    _check_devices(wiring, findings)
    cables = _check_cables(_overridden(wiring, spec, findings), wiring, findings)
    defaults = _defaults(spec)
    _check_rates(cables, defaults, findings)
    links = tuple(_link(cable, defaults) for cable in cables)
    hosts = _hosts(wiring, spec, links, findings)
    _check_hosts(hosts, wiring, findings)
    if len(findings.mistakes) == before:
        _check_connected(wiring.devices, cables, findings)
    if not wiring.devices or not _indexable(wiring, hosts):
        return None
    topology = Topology(wiring.name, tuple(wiring.devices), hosts, links)
    _check_ports(topology, findings)
    return Network(topology, wiring.matrix)


def fat_tree(k: int) -> Wiring:
    """A k-ary fat tree: (k/2)^2 cores, k pods of k/2 aggregation and k/2 edge switches."""
    half = k // 2
    wiring = Wiring(f"fat-tree-{k}", [Device(f"core-{c}") for c in range(half * half)], fabric=True)
    path: Path = ("topology", "fat_tree")
    for pod in range(k):
        aggs = [f"pod{pod}-agg{i}" for i in range(half)]
        edges = [f"pod{pod}-edge{i}" for i in range(half)]
        wiring.devices += [Device(name) for name in (*aggs, *edges)]
        wiring.cables += [
            Cable(f"core-{i * half + j}", agg, path)
            for i, agg in enumerate(aggs)
            for j in range(half)
        ]
        wiring.cables += [Cable(agg, edge, path) for agg in aggs for edge in edges]
        wiring.hosts += [Host(f"h-{edge}-{i}", edge) for edge in edges for i in range(half)]
    return wiring


def _source(spec: TopologySpec, name: str, folder: FilePath, findings: Findings) -> Wiring:
    if spec.topohub is not None:
        return read_topohub(spec.topohub)
    if spec.fat_tree is not None:
        return fat_tree(spec.fat_tree.k)
    if spec.file is not None:
        scenario = FilePath(findings.document.file)
        return read_file(spec.file, folder, str(scenario.parent / spec.file))
    return _inline(spec, name, findings)


def _placed(error: BadInput, spec: TopologySpec, findings: Findings) -> BadInput:
    """The mistakes of a source; those that name no file stand where the source is chosen."""
    key = next((key for key in SOURCES if getattr(spec, key) is not None), "nodes")
    at = findings.document.mistake(("topology", key), "")
    return BadInput([m if m.file else Mistake(m.message, at.file, at.line) for m in error.mistakes])


# ---- inline


def _inline(spec: TopologySpec, name: str, findings: Findings) -> Wiring:
    given = spec.nodes or {}
    nodes: dict[str, Node] = {}
    for i, node in enumerate(given):
        if node in nodes:
            findings.add(("topology", "nodes", i), f"node '{shorten(node)}' stands twice")
        nodes[node] = given[node] if isinstance(given, dict) else Node()
    count = sum(n.hosts if isinstance(n.hosts, int) else 1 for n in nodes.values())
    if count > MAX_HOSTS:
        raise BadInput(f"the nodes have {count:,} hosts; at most {MAX_HOSTS:,}")
    wiring = Wiring(
        name,
        [Device(node, options.model) for node, options in nodes.items()],
        hostless=frozenset(n for n, options in nodes.items() if options.hosts in (0, [])),
    )
    for node, options in nodes.items():
        groups = tuple(options.groups)
        wiring.hosts += [Host(host, node, groups) for host in _host_names(node, options)]
    wiring.cables += _inline_cables(spec)
    return wiring


def _host_names(node: str, options: Node) -> list[str]:
    if isinstance(options.hosts, list):
        return options.hosts
    count = 1 if options.hosts is None else options.hosts
    return [f"h-{node}"] if count == 1 else [f"h-{node}-{i}" for i in range(count)]


def _inline_cables(spec: TopologySpec) -> Iterable[Cable]:
    for i, link in enumerate(spec.links if isinstance(spec.links, list) else ()):
        path: Path = ("topology", "links", i)
        if isinstance(link, InlineLink):
            a, b = link.endpoints
            yield Cable(a, b, path, link.rate_mbps, link.delay_ms, link.queue_packets)
        else:
            yield Cable(link[0], link[1], path)


def _check_spec(spec: TopologySpec, findings: Findings) -> None:
    """What goes with `nodes` and what with the other sources."""
    if spec.nodes is None:
        if isinstance(spec.links, list):
            message = "a list of links goes with 'nodes'; other sources bring theirs"
            findings.add(("topology", "links"), f"{message} (write 'links: {{rate_mbps: 100}}')")
        if spec.defaults is not None:
            message = "'defaults' goes with 'nodes'; write 'links: {...}' here"
            findings.add(("topology", "defaults"), message)
    elif isinstance(spec.links, LinkDefaults):
        message = "with 'nodes', 'links' is the list of links; write 'defaults: {...}' for this"
        findings.add(("topology", "links"), message)


# ---- links


def _defaults(spec: TopologySpec) -> LinkDefaults:
    if isinstance(spec.links, LinkDefaults):
        return spec.links
    return spec.defaults or LinkDefaults()


def _overridden(wiring: Wiring, spec: TopologySpec, findings: Findings) -> list[Cable]:
    cables = list(wiring.cables)
    places: dict[frozenset[str], list[int]] = {}
    for i, cable in enumerate(cables):
        places.setdefault(frozenset((cable.a, cable.b)), []).append(i)
    for n, override in enumerate(spec.overrides):
        found = places.get(frozenset(override.link), [])
        if not found:
            path: Path = ("topology", "overrides", n)
            report_no_link(path, override.link, wiring.devices, cables, findings)
        for i in found:
            given = override.model_dump(exclude={"link"}, exclude_none=True)
            cables[i] = replace(cables[i], **given)
    return cables


def report_no_link(
    path: Path,
    ends: list[str],
    devices: Iterable[Device],
    links: Iterable[Cable | Link],
    findings: Findings,
) -> None:
    """Say that there is no link between two devices, and what links there are."""
    names = {device.name for device in devices}
    strange = [end for end in ends if end not in names]
    for end in strange:
        findings.unknown(path, "device", end, names)
    if not strange:
        a, b = ends
        mine = [link for link in links if a in (link.a, link.b)]
        near = sorted({link.b if link.a == a else link.a for link in mine})
        shown = f"'{a}' has links to: {', '.join(near[:12])}" if near else f"'{a}' has no link"
        findings.add(path, f"there is no link between '{a}' and '{b}'; {shown}")


def _check_cables(cables: list[Cable], wiring: Wiring, findings: Findings) -> list[Cable]:
    """The cables that can be built."""
    names = {device.name for device in wiring.devices}
    good = []
    for cable in cables:
        strange = [end for end in (cable.a, cable.b) if end not in names]
        for end in strange:
            findings.unknown(cable.path, "node", end, names)
        if cable.a == cable.b:
            findings.add(cable.path, f"a link joins '{shorten(cable.a)}' to itself")
        elif not strange:
            good.append(cable)
    return good


def _link(cable: Cable, defaults: LinkDefaults) -> Link:
    delay_ms = cable.delay_ms if cable.delay_ms is not None else defaults.delay_ms
    fallback_s = DEFAULT_DELAY_S if cable.natural_delay_s is None else cable.natural_delay_s
    return Link(
        cable.a,
        cable.b,
        rate_bps=_natural_rate(cable, defaults) or (cable.rate_mbps or defaults.rate_mbps) * 1e6,
        delay_s=fallback_s if delay_ms is None else delay_ms / 1e3,
        queue_packets=cable.queue_packets or defaults.queue_packets,
    )


def _natural_rate(cable: Cable, defaults: LinkDefaults) -> float | None:
    """The rate that the source of a cable tells, None where the scenario tells one."""
    told = cable.rate_mbps is not None or "rate_mbps" in defaults.model_fields_set
    return None if told else cable.natural_rate_bps


def _check_rates(cables: list[Cable], defaults: LinkDefaults, findings: Findings) -> None:
    """A file may tell rates in another unit than the one they are read in."""
    for cable in cables:
        rate = _natural_rate(cable, defaults) or 0.0
        if rate > MAX_RATE_BPS:
            message = (
                f"the file gives the link '{cable.a}' to '{cable.b}' {rate / 1e6:,.0f} Mbit/s; "
                f"at most {MAX_RATE_BPS / 1e6:,.0f} (LinkSpeedRaw is read as bit/s, bandwidth and "
                "speed as Mbit/s; 'links: {rate_mbps: 100}' sets all rates)"
            )
            findings.add(cable.path, message)
            return


def _check_connected(devices: list[Device], cables: list[Cable], findings: Findings) -> None:
    near: dict[str, list[str]] = {device.name: [] for device in devices}
    for cable in cables:
        near[cable.a].append(cable.b)
        near[cable.b].append(cable.a)
    start = devices[0].name
    seen, waiting = {start}, [start]
    while waiting:
        fresh = [name for name in near[waiting.pop()] if name not in seen]
        seen.update(fresh)
        waiting += fresh
    if len(seen) < len(near):
        lost = [name for name in near if name not in seen]
        shown = ", ".join(lost[:5]) + (f", ... ({len(lost)} in all)" if len(lost) > 5 else "")
        findings.add(("topology",), f"the network has no path from '{start}' to: {shown}")


# ---- devices and hosts


def _check_devices(wiring: Wiring, findings: Findings) -> None:
    if not wiring.devices:
        findings.add(("topology",), "the network has no device")
    if len(wiring.devices) > MAX_DEVICES:
        message = f"the network has {len(wiring.devices):,} devices; at most {MAX_DEVICES:,}"
        findings.add(("topology",), message)
    for i, device in enumerate(wiring.devices):
        if trouble := name_trouble(device.name):
            path = _node_path(device.name, i, findings)
            findings.add(path, f"node '{shorten(device.name)}': {trouble}")


def _node_path(name: str, place: int, findings: Findings) -> Path:
    path: Path = ("topology", "nodes", name)
    return path if path in findings.document.lines else ("topology", "nodes", place)


def _hosts(
    wiring: Wiring, spec: TopologySpec, links: tuple[Link, ...], findings: Findings
) -> tuple[Host, ...]:
    """The hosts of the source, one more for each device without, and those the scenario adds."""
    plain = [d for d in wiring.devices if not wiring.fabric and d.name not in wiring.hostless]
    hosts = with_default_hosts(plain, wiring.hosts)
    speed = _defaults(spec).rate_mbps * 1e6
    if not wiring.fabric:
        fastest = max((link.rate_bps for link in links), default=speed)
        speed = min(fastest * HOST_SPEED_UP, FASTEST_HOST_BPS)
    added = []
    devices = {device.name for device in wiring.devices}
    for name, extra in spec.hosts.items():
        if extra.on not in devices:
            findings.unknown(("topology", "hosts", name, "on"), "device", extra.on, devices)
        else:
            rate = extra.rate_mbps * 1e6 if extra.rate_mbps else speed
            added.append(Host(name, extra.on, tuple(extra.groups), rate_bps=rate))
    return (*(replace(host, rate_bps=speed) for host in hosts), *added)


def _check_hosts(hosts: tuple[Host, ...], wiring: Wiring, findings: Findings) -> None:
    devices = {device.name for device in wiring.devices}
    names = Counter(host.name for host in hosts)
    home = {host.name: host.device for host in hosts}
    if devices and not hosts:
        findings.add(("topology",), "the network has no host")
    if len(hosts) > MAX_HOSTS:
        findings.add(("topology",), f"the network has {len(hosts):,} hosts; at most {MAX_HOSTS:,}")
    for device, count in Counter(host.device for host in hosts).items():
        if count > HOSTS_PER_DEVICE:
            message = f"device '{device}' has {count} hosts; at most {HOSTS_PER_DEVICE}"
            findings.add(("topology", "nodes", device), message)
    for name, count in names.items():
        path = _host_path(name, home[name], findings)
        if name in devices:
            message = f"host '{shorten(name)}' has the name of a device; give it another"
            findings.add(path, message)
        if count > 1:
            findings.add(path, f"host '{shorten(name)}' stands {count} times")
        if trouble := _host_trouble(name, home[name]):
            findings.add(path, f"host '{shorten(name)}': {trouble}")
    _check_groups(hosts, devices | set(names), findings)


def _host_trouble(name: str, device: str) -> str | None:
    """Why the name of a host cannot be used; one made from a bad device name is not its fault."""
    made = re.fullmatch(rf"h-{re.escape(device)}(-\d+)?", name, re.ASCII)
    return None if made else name_trouble(name)


def _host_path(name: str, device: str, findings: Findings) -> Path:
    path: Path = ("topology", "hosts", name)
    return path if path in findings.document.lines else ("topology", "nodes", device, "hosts")


def _check_groups(hosts: tuple[Host, ...], taken: set[str], findings: Findings) -> None:
    first = {group: host for host in reversed(hosts) for group in host.groups}
    for group, host in first.items():
        path = _host_path(host.name, host.device, findings)
        if group in taken:
            message = f"group '{shorten(group)}' has the name of a device or host; give it another"
            findings.add(path, message)
        elif trouble := name_trouble(group):
            findings.add(path, f"group '{shorten(group)}': {trouble}")


def _indexable(wiring: Wiring, hosts: tuple[Host, ...]) -> bool:
    """Whether a Topology can be made of it, be it with mistakes."""
    devices = {device.name for device in wiring.devices}
    fits = len(devices) <= MAX_DEVICES and len(hosts) <= MAX_HOSTS
    return fits and all(host.device in devices for host in hosts)


def _check_ports(topology: Topology, findings: Findings) -> None:
    """A second cable to A has the port `to-A-2`, which a neighbour `A-2` would have as well."""
    found = sum(len(ports) for ports in topology.ports.values())
    if found != 2 * len(topology.links) + len(topology.hosts) and not findings:
        message = "two ports of a device would have the same name; rename a node that ends in -2"
        findings.add(("topology",), message)
