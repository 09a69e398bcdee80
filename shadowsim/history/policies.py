"""A network to what its operators have configured there over the years, as commands.

All of it goes on top of the default configs: how costs are chosen, links that are drained or kept
as spares, contracted rates, access lists, static routes, prefix-lists, queues, management.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from shadowsim.history.lines import (
    Commands,
    both,
    ends_of,
    host,
    in_list,
    net,
    on_port,
    one,
    some,
    top,
    under,
)
from shadowsim.history.networks import DATABASE, GUEST, bridges
from shadowsim.model.address import Prefix, parse_prefix
from shadowsim.model.topology import Topology
from shadowsim.scenario.defaults import ASN

GUARD, EDGE, ANNOUNCE, HEAR, LEGACY = "TO-DB", "EDGE", "ANNOUNCE", "HEAR", "LEGACY"
DRAINED_COST = 10_000
JUMBO_BYTES = 9000
NOC = parse_prefix("10.250.0.0/24")
EVERYTHING = "0.0.0.0/0 le 32"
CLASS_LEVELS = ("critical priority 0", "normal priority 1", "bulk priority 2")

Policy = Callable[[Topology, Generator], Commands]


def policies(topology: Topology, random: Generator) -> Commands:
    """What is configured beside the defaults, but for contracts."""
    return tuple(command for policy in POLICIES for command in policy(topology, random))


def contracts(topology: Topology, share: np.ndarray, random: Generator) -> Commands:
    """Circuits of which only a part of the rate is paid for, and a limit on what guests get.

    `share[L]`: what each directed link carries of its rate now; it still fits.
    """
    found: Commands = ()
    for cable in some(random, range(len(topology.links)), int(random.integers(0, 4))):
        part = one(random, (0.4, 0.5, 0.6, 0.8))
        if share[2 * cable : 2 * cable + 2].max() < part:
            rate = round(topology.links[cable].rate_bps * part)
            found += both(ends_of(topology, cable), f"rate-limit output {rate}")
    if random.random() < 0.5:
        rate = round(topology.links[0].rate_bps / 10)
        found += on_port(port_of(topology, GUEST), f"rate-limit output {rate}")
    return found


def service_prefix(topology: Topology, device: str) -> Prefix:
    """The prefix that a device may announce for services, beside that of its hosts."""
    return Prefix(172 << 24 | 16 << 16 | topology.device_index[device] << 8, 24)


def homes(topology: Topology) -> list[str]:
    """The devices that have hosts."""
    return [name for name, hosts in topology.hosts_of.items() if hosts]


def _costs(topology: Topology, random: Generator) -> Commands:
    """All equal, by delay, by rate, or by hand; the same at both ends of a cable."""
    style = one(random, ("equal", "equal", "delay", "rate", "hand"))
    fastest = max(link.rate_bps for link in topology.links)
    found: Commands = ()
    for cable, link in enumerate(topology.links):
        cost = {
            "equal": 10,
            "delay": 1 + round(link.delay_s * 1e4),
            "rate": max(round(10 * fastest / link.rate_bps), 1),
            "hand": one(random, (10, 10, 10, 15, 20, 30)),
        }[style]
        if cost != 10:
            found += both(ends_of(topology, cable), f"ip ospf cost {cost}")
    return found


def _spares(topology: Topology, random: Generator) -> Commands:
    """Some cables that are not needed are shut, one is drained, some have large frames."""
    shut: list[int] = []
    found: Commands = ()
    for _ in range(int(random.integers(0, 3))):
        free = _not_needed(topology, shut)
        if not free:
            break
        shut.append(one(random, free))
        found += both(ends_of(topology, shut[-1]), "shutdown")
    free = _not_needed(topology, shut)
    if free and random.random() < 0.4:
        found += both(ends_of(topology, one(random, free)), f"ip ospf cost {DRAINED_COST}")
    jumbo = some(random, range(len(topology.links)), int(random.integers(0, 4)))
    for cable in jumbo:
        found += both(ends_of(topology, cable), f"mtu {JUMBO_BYTES}")
    return found


def _not_needed(topology: Topology, shut: list[int]) -> list[int]:
    needed = bridges(topology, shut)
    return [c for c in range(len(topology.links)) if c not in needed and c not in shut]


def _guard(topology: Topology, random: Generator) -> Commands:
    """Keeps guests from the database, among lines that nobody needs any more."""
    end = port_of(topology, DATABASE)
    to_db = host(topology, DATABASE)
    gone = f"host 10.{int(random.integers(100, 200))}.0.9"
    return (
        *in_list(
            end[0],
            GUARD,
            f"10 deny tcp any {to_db} eq 23",
            f"20 deny tcp {gone} {to_db} eq 1433",
            f"30 deny ip {host(topology, GUEST)} {to_db}",
            f"40 deny tcp {gone} {to_db} eq 3306",
            "100 permit ip any any",
        ),
        *on_port(end, f"ip access-group {GUARD} out"),
    )


def _edges(topology: Topology, random: Generator) -> Commands:
    """What some ports of hosts do not let in; and a list that is bound nowhere any more."""
    found: Commands = ()
    ports = [h for h in topology.hosts if h.name not in (GUEST, DATABASE)]
    for one_host in some(random, ports, int(random.integers(1, 4))):
        end = port_of(topology, one_host.name)
        if any(c.device == end[0] and c.line.startswith("ip access-group") for c in found):
            continue
        found += in_list(
            end[0],
            EDGE,
            "10 deny udp any any eq 161",
            "20 deny tcp any any eq 23",
            "30 deny tcp any any eq 445",
            f"40 deny ip {net(parse_prefix('192.168.0.0/16'))} any",
            "100 permit ip any any",
        )
        found += on_port(end, f"ip access-group {EDGE} in")
    device = one(random, topology.devices).name
    old = net(parse_prefix(f"10.{int(random.integers(100, 200))}.0.0/16"))
    return found + in_list(device, LEGACY, f"10 deny ip {old} any", "20 permit ip any any")


def _prefixes(topology: Topology, random: Generator) -> Commands:
    """Services of their own prefixes, lists of what is announced and heard, discarded space."""
    found: Commands = ()
    for device in some(random, homes(topology), int(random.integers(1, 4))):
        mine = service_prefix(topology, device)
        found += under(device, f"router bgp {ASN}", f"network {mine}")
        found += top(
            device,
            f"ip prefix-list {ANNOUNCE} seq 5 permit {topology.lan[device]}",
            f"ip prefix-list {ANNOUNCE} seq 10 permit {mine}",
            f"ip prefix-list {ANNOUNCE} seq 90 deny {EVERYTHING}",
        )
        found += under(device, f"router bgp {ASN}", f"prefix-list {ANNOUNCE} out")
    every = list(topology.device_index)
    for device in some(random, every, int(random.integers(1, 4))):
        found += top(
            device,
            f"ip prefix-list {HEAR} seq 5 deny 192.168.0.0/16 le 32",
            f"ip prefix-list {HEAR} seq 10 deny 172.31.0.0/16 le 32",
            f"ip prefix-list {HEAR} seq 100 permit {EVERYTHING}",
        )
        found += under(device, f"router bgp {ASN}", f"prefix-list {HEAR} in")
    return found + top(one(random, every), "ip route 172.28.0.0/16 Null0")


def _queues(topology: Topology, random: Generator) -> Commands:
    """At some sites critical traffic is served first, everywhere."""
    if random.random() < 0.6:
        return ()
    lines = [f"qos class {level}" for level in CLASS_LEVELS]
    return tuple(c for device in topology.devices for c in top(device.name, *lines))


def _management(topology: Topology, random: Generator) -> Commands:
    """More services that are managed, and a second network that may."""
    found: Commands = ()
    for device in some(random, topology.devices, int(random.integers(0, 4))):
        found += top(device.name, "management netconf access-class MGMT")
        found += in_list(device.name, "MGMT", f"20 permit tcp {net(NOC)} any range 22 830")
    return found


def port_of(topology: Topology, name: str) -> tuple[str, str]:
    """The (device, port) that a host is at."""
    home = topology.hosts[topology.host_index[name]].device
    return home, f"to-{name}"


POLICIES: tuple[Policy, ...] = (
    _costs, _spares, _guard, _edges, _prefixes, _queues, _management,
)  # fmt: skip
