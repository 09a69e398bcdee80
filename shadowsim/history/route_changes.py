"""A site to changes of its static routes, announced prefixes and prefix-lists."""

from __future__ import annotations

import networkx as nx
from numpy.random import Generator

from shadowsim.history.lines import Commands, one, some, top, under
from shadowsim.history.policies import ANNOUNCE, EVERYTHING, HEAR, homes, service_prefix
from shadowsim.history.script import Script
from shadowsim.history.sites import Site, open_graph
from shadowsim.model.address import Prefix
from shadowsim.scenario.defaults import ASN

BGP = f"router bgp {ASN}"
FIRST_FREE = 200  # the third octet of prefixes of which no device has hosts


def pin(site: Site, random: Generator) -> Script | None:
    """A static route that sends one destination another way which is no way back."""
    graph = open_graph(site.topology, site.configs)
    to = one(random, homes(site.topology))
    far = nx.shortest_path_length(graph.reverse(copy=False), to, weight="cost")
    links = [data["link"] for a, b, data in graph.edges(data=True) if a != to and far[b] < far[a]]
    device, port = site.topology.port_of[one(random, links)]
    prefix = site.topology.lan[to]
    return Script(f"send {to} by {port} at {device}", top(device, f"ip route {prefix} {port}"))


def unpin(site: Site, random: Generator) -> Script | None:
    """A static route is removed; what was learned takes over."""
    found = [
        (device, route.prefix)
        for device, config in site.configs.items()
        for route in config.static_routes
        if route.via != "Null0"
    ]
    if not found:
        return None
    device, prefix = one(random, found)
    return Script(f"no static route at {device}", top(device, f"no ip route {prefix}"))


def discard(site: Site, random: Generator) -> Script | None:
    """Traffic to a prefix that is not in use is discarded, at one device or several."""
    prefix = _unused(random)
    devices = some(random, list(site.topology.device_index), int(random.integers(1, 4)))
    commands = tuple(c for d in devices for c in top(d, f"ip route {prefix} Null0"))
    return Script(f"discard what goes to {prefix}", commands)


def announce(site: Site, random: Generator) -> Script | None:
    """A new prefix of services: permitted first where there is a list, then announced."""
    device, prefix = one(random, homes(site.topology)), _unused(random)
    commands: Commands = ()
    if ANNOUNCE in site.configs[device].prefix_lists:
        commands += top(device, f"ip prefix-list {ANNOUNCE} seq 15 permit {prefix}")
    preference = one(random, ("", " local-preference 150", " local-preference 200"))
    commands += under(device, BGP, f"network {prefix}{preference}")
    return Script(f"announce {prefix} from {device}", commands)


def withdraw(site: Site, random: Generator) -> Script | None:
    """A prefix of services is withdrawn, then no longer permitted."""
    device = one(random, _with_list(site, ANNOUNCE))
    prefix = service_prefix(site.topology, device)
    commands = under(device, BGP, f"no network {prefix}")
    commands += top(device, f"no ip prefix-list {ANNOUNCE} seq 10")
    return Script(f"withdraw {prefix} from {device}", commands)


def move_service(site: Site, random: Generator) -> Script | None:
    """A prefix of services moves: announced at its new place first, then withdrawn at the old."""
    old = one(random, _with_list(site, ANNOUNCE))
    new = one(random, [name for name in homes(site.topology) if name != old])
    prefix = service_prefix(site.topology, old)
    commands: Commands = ()
    if ANNOUNCE in site.configs[new].prefix_lists:
        commands += top(new, f"ip prefix-list {ANNOUNCE} seq 15 permit {prefix}")
    commands += under(new, BGP, f"network {prefix}") + under(old, BGP, f"no network {prefix}")
    commands += top(old, f"no ip prefix-list {ANNOUNCE} seq 10")
    return Script(f"move {prefix} from {old} to {new}", commands)


def refuse(site: Site, random: Generator) -> Script | None:
    """One more prefix that is not heard, before the line that permits the rest."""
    device, prefix = one(random, _with_list(site, HEAR)), _unused(random)
    line = f"ip prefix-list {HEAR} seq {int(random.integers(11, 99))} deny {prefix} le 32"
    return Script(f"do not hear {prefix} at {device}", top(device, line))


def new_filter(site: Site, random: Generator) -> Script | None:
    """A device without a list of what it hears gets one: written, then used."""
    bare = [d for d, config in site.configs.items() if HEAR not in config.prefix_lists]
    if not bare:
        return None
    device = one(random, bare)
    commands = top(
        device,
        f"ip prefix-list {HEAR} seq 5 deny 192.168.0.0/16 le 32",
        f"ip prefix-list {HEAR} seq 10 deny {_unused(random)} le 32",
        f"ip prefix-list {HEAR} seq 100 permit {EVERYTHING}",
    )
    commands += under(device, BGP, f"prefix-list {HEAR} in")
    return Script(f"filter what {device} hears", commands)


def reorder_filter(site: Site, random: Generator) -> Script | None:
    """The line that permits the rest moves further down: the new one first, then not the old."""
    device = one(random, _with_list(site, HEAR))
    place = one(random, (200, 500, 1000))
    line = f"ip prefix-list {HEAR} seq {place} permit {EVERYTHING}"
    commands = top(device, line, f"no ip prefix-list {HEAR} seq 100")
    return Script(f"make room in {HEAR} of {device}", commands)


def maximum(site: Site, random: Generator) -> Script | None:
    """How many prefixes some devices take at most: somewhat more than there are."""
    there = len({p for c in site.configs.values() if c.bgp for p, _ in c.bgp.networks})
    most = there + int(random.integers(10, 100))
    devices = some(random, list(site.topology.device_index), int(random.integers(1, 4)))
    commands = tuple(c for d in devices for c in under(d, BGP, f"maximum-prefix {most}"))
    return Script(f"take {most} prefixes at most", commands)


def table(site: Site, random: Generator) -> Script | None:
    """The table of some devices is divided otherwise: still much larger than what it holds."""
    devices = some(random, list(site.topology.device_index), int(random.integers(1, 4)))
    size = one(random, (1024, 2048, 8192))
    commands = tuple(c for d in devices for c in top(d, f"table-size {size}"))
    return Script("divide the tables anew", commands)


def _unused(random: Generator) -> Prefix:
    """A prefix next to those of hosts, of which there is none: a digit makes the difference."""
    return Prefix(10 << 24 | int(random.integers(FIRST_FREE, 256)) << 8, 24)


def _with_list(site: Site, name: str) -> list[str]:
    return [device for device, config in site.configs.items() if name in config.prefix_lists]
