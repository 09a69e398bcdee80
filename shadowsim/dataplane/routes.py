"""Originated, filtered and static prefixes to what every device decides for every destination.

The routing model is iBGP in a full mesh over the IGP: every device hears every announcement
that the origin's outgoing and its own incoming prefix-list permit, prefers the highest local
preference, then the nearest origin (RFC 4271, 9.1), and shares over equals. A static route
beats what is learned, a connected LAN beats both; the longest prefix wins.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shadowsim.dataplane.plane import DISCARD, FORWARD, LOCAL, NO_ROUTE
from shadowsim.model.address import Prefix
from shadowsim.model.change import Configs
from shadowsim.model.config import AclEntry, DeviceConfig, PrefixListEntry
from shadowsim.model.topology import Topology

BGP = (179, 179)
CHOSEN = (49152, 65535)  # ports that a client chooses from (RFC 6335, 6)


@dataclass(frozen=True)
class Announcement:
    """Who announces a prefix. `relayed`: it only says again what it heard."""

    origin: int
    preference: int
    relayed: bool = False


@dataclass(frozen=True)
class Routes:
    """What the routing configs say, before the IGP is asked.

    `origins`: device numbers that originate anything, ascending; a *column* is a place in it.
    `heard[prefix]`: announcements that left their origin. `accepts[device]`: the filter of a
    device that has one. `limit[device]`: its maximum-prefix. `static[prefix]`: (device, port or
    None for Null0) pairs. `connected[prefix]`: the device whose LAN it is. `discards[device]`: what
    it drops because others said so (RFC 8955).
    """

    devices: int
    origins: np.ndarray
    heard: Mapping[Prefix, tuple[Announcement, ...]]
    accepts: Mapping[int, tuple[PrefixListEntry, ...]]
    limit: Mapping[int, int]
    static: Mapping[Prefix, tuple[tuple[int, int | None], ...]]
    connected: Mapping[Prefix, int]
    discards: Mapping[int, tuple[AclEntry, ...]]

    @cached_property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Every prefix any device may have a route to, in order."""
        return tuple(sorted({*self.heard, *self.static, *self.connected}))

    @cached_property
    def row(self) -> Mapping[Prefix, int]:
        """The place of every prefix."""
        return {prefix: p for p, prefix in enumerate(self.prefixes)}

    @cached_property
    def column(self) -> Mapping[int, int]:
        """The place of every device among the origins."""
        return {int(origin): k for k, origin in enumerate(self.origins)}

    @cached_property
    def announced_once(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the prefixes that one device announces, and the columns of these devices."""
        found = [
            (self.row[prefix], self.column[group[0].origin])
            for prefix, group in self.heard.items()
            if len(group) == 1
        ]
        rows, columns = np.array(found, dtype=np.int32).reshape(-1, 2).T
        return rows, columns

    @cached_property
    def announced_often(self) -> list[tuple[int, tuple[Announcement, ...]]]:
        """The rows of the prefixes that several devices announce, in order."""
        return sorted((self.row[p], group) for p, group in self.heard.items() if len(group) > 1)

    @cached_property
    def at_origins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What devices decide of the prefixes that they announce: rows, devices, decisions."""
        found = [
            (self.row[prefix], a.origin, NO_ROUTE if (prefix, a.origin) in self.leaks else LOCAL)
            for prefix, group in self.heard.items()
            for a in group
            if len(group) == 1 or (prefix, a.origin) not in self.leaks
        ]
        rows, devices, what = np.array(found, dtype=np.int32).reshape(-1, 3).T
        return rows, devices, what

    @cached_property
    def accepted(self) -> np.ndarray:
        """`[P, D]`: the device takes what it hears of the prefix. Over its limit it takes nothing.

        A session that exceeds maximum-prefix is torn down (RFC 4486, subcode 1).
        """
        accepted = np.ones((len(self.prefixes), self.devices), dtype=np.bool_)
        for device, entries in self.accepts.items():
            accepted[:, device] = [permits(entries, prefix) for prefix in self.prefixes]
        announced = np.array([prefix in self.heard for prefix in self.prefixes], dtype=np.bool_)
        for device, limit in self.limit.items():
            if len(self.heard) <= limit:
                continue
            own = [all(a.origin == device for a in self.heard.get(p, ())) for p in self.prefixes]
            if (accepted[:, device] & announced & ~np.array(own)).sum() > limit:
                accepted[:, device] = False
        return accepted

    @cached_property
    def leaks(self) -> frozenset[tuple[Prefix, int]]:
        """What is announced by whom, and is only said again or really another device's LAN.

        Its origin then does not deliver it, but sends it on by the next best announcement.
        """
        return frozenset(
            (prefix, a.origin)
            for prefix, group in self.heard.items()
            for a in group
            if a.relayed or _is_elsewhere(prefix, a.origin, self.connected)
        )


@dataclass(frozen=True)
class Rib:
    """Per prefix and device: the decision and, where it is FORWARD, the target.

    `decision[P, D]`; `target[P, D]`: a column for one origin; `columns + i` for the set
    `sets[i]` of several; `-1 - n` for the directed link n of a static route.
    """

    prefixes: tuple[Prefix, ...]
    decision: np.ndarray
    target: np.ndarray
    sets: tuple[tuple[int, ...], ...]


def permits(entries: Iterable[PrefixListEntry], prefix: Prefix) -> bool:
    """First match decides; a prefix that matches nothing is denied."""
    return next((entry.permit for entry in entries if entry.matches(prefix)), False)


def routing_inputs(config: DeviceConfig) -> tuple[object, ...]:
    """All of a config that `read_routes` looks at; equal inputs give equal routes."""
    return (config.bgp, config.prefix_lists, config.static_routes)


def read_routes(topology: Topology, configs: Configs) -> Routes:
    """Collect what every config originates, filters and routes statically."""
    heard: dict[Prefix, list[Announcement]] = {}
    static: dict[Prefix, list[tuple[int, int | None]]] = {}
    accepts: dict[int, tuple[PrefixListEntry, ...]] = {}
    limit: dict[int, int] = {}
    silenced = silenced_by(topology, all_discards(configs))
    for number, device in enumerate(topology.devices):
        config = configs[device.name]
        for route in config.static_routes:
            port = topology.ports[device.name].get(route.via)
            if port is not None or route.via == "Null0":
                static.setdefault(route.prefix, []).append((number, port))
        bgp = config.bgp
        if bgp is None:
            accepts[number] = ()
            continue
        for prefix, preference in bgp.networks:
            if lets_pass(config, bgp.filter_out, prefix) and number not in silenced:
                heard.setdefault(prefix, []).append(Announcement(number, preference))
        incoming = config.prefix_lists.get(bgp.filter_in) if bgp.filter_in else None
        if incoming is not None:
            accepts[number] = incoming
        if number in silenced:
            accepts[number] = ()
        if bgp.maximum_prefix is not None:
            limit[number] = bgp.maximum_prefix
    relay(topology, configs, heard, silenced)
    lans = {
        topology.lan[d.name]: i for i, d in enumerate(topology.devices) if topology.hosts_of[d.name]
    }
    origins = sorted({a.origin for group in heard.values() for a in group})
    return Routes(
        devices=len(topology.devices),
        origins=np.array(origins, dtype=np.int32),
        heard={prefix: tuple(group) for prefix, group in heard.items()},
        accepts=accepts,
        limit=limit,
        static={prefix: tuple(group) for prefix, group in static.items()},
        connected=lans,
        discards=_in_force(topology, configs),
    )


def lets_pass(config: DeviceConfig, name: str | None, prefix: Prefix) -> bool:
    """Whether a prefix-list lets a prefix pass; none, or one without lines, lets all pass."""
    entries = config.prefix_lists.get(name) if name else None
    return entries is None or permits(entries, prefix)


def relay(
    topology: Topology,
    configs: Configs,
    heard: dict[Prefix, list[Announcement]],
    silenced: Container[int],
) -> None:
    """Add to `heard` what devices announce again of what others originate, as a leak does.

    RFC 7908 calls it that where it was not meant.
    """
    originated = {prefix: {a.origin for a in group} for prefix, group in heard.items()}
    for number, device in enumerate(topology.devices):
        config = configs[device.name]
        bgp = config.bgp
        if bgp is None or bgp.relays is None or number in silenced:
            continue
        chosen, preference = bgp.relays
        lists = (bgp.filter_in, chosen, bgp.filter_out)
        for prefix, origins in originated.items():
            if number not in origins and all(lets_pass(config, n, prefix) for n in lists):
                heard[prefix].append(Announcement(number, preference, relayed=True))


def all_discards(configs: Configs) -> tuple[AclEntry, ...]:
    """What any device tells everybody to drop."""
    return tuple(e for c in configs.values() if c.bgp is not None for e in c.bgp.discards)


def silenced_by(topology: Topology, discards: Iterable[AclEntry]) -> frozenset[int]:
    """The devices whose every session one of these rules drops: they say and hear nothing.

    The rule itself arrived before the sessions fell, and stays: in truth it comes and goes with
    them, so that a device has a rule without routes or neither.
    """
    found: set[int] = set()
    address = [topology.address[device.name] for device in topology.devices]
    for rule in discards:
        if rule.protocol not in ("ip", "tcp"):
            continue
        for number, mine in enumerate(address):
            others = address[:number] + address[number + 1 :]
            if others and all(_drops_session(rule, mine, other) for other in others):
                found.add(number)
    return frozenset(found)


def _drops_session(rule: AclEntry, mine: int, other: int) -> bool:
    """Whether a rule matches all packets one way between the port of BGP and a chosen one."""
    ports = rule.source_ports, rule.destination_ports
    of_bgp = any(
        _covers(here, BGP) and _covers(there, CHOSEN) for here, there in (ports, ports[::-1])
    )
    return of_bgp and any(
        rule.source.first <= a <= rule.source.last
        and rule.destination.first <= b <= rule.destination.last
        for a, b in ((mine, other), (other, mine))
    )


def _covers(ports: tuple[int, int] | None, wanted: tuple[int, int]) -> bool:
    return ports is None or (ports[0] <= wanted[0] and wanted[1] <= ports[1])


def _in_force(topology: Topology, configs: Configs) -> dict[int, tuple[AclEntry, ...]]:
    discards = all_discards(configs)
    if not discards:
        return {}
    return {n: discards for n, d in enumerate(topology.devices) if configs[d.name].bgp is not None}


def select(
    topology: Topology,
    routes: Routes,
    reached: np.ndarray,
    port_up: np.ndarray,
    distance: Callable[[np.ndarray], np.ndarray],
) -> Rib:
    """The best route of every device to every prefix.

    `reached[D, columns]`: who has a path to which origin. `port_up[N]`: static routes over a
    port that is down do not stand. `distance(devices)` gives `[D, len(devices)]` path costs; it
    is asked only where a prefix has several origins.
    """
    prefixes = routes.prefixes
    devices = len(topology.devices)
    decision = np.full((len(prefixes), devices), NO_ROUTE, dtype=np.int8)
    target = np.zeros((len(prefixes), devices), dtype=np.int32)
    accepted = routes.accepted
    rows, columns = routes.announced_once
    decision[rows] = np.where(reached[:, columns].T & accepted[rows], FORWARD, NO_ROUTE)
    target[rows] = columns[:, None]
    sets: dict[tuple[int, ...], int] = {}
    for p, group in routes.announced_often:
        found = decision[p], target[p]
        _nearest(group, routes.column, reached, accepted[p], distance, sets, *found)
    rows, here, what = routes.at_origins
    decision[rows, here] = what
    for prefix, static in routes.static.items():
        p = routes.row[prefix]
        for device, port in static:
            if port is None:
                decision[p, device] = DISCARD
            elif port_up[port]:
                switch_port = port < 2 * len(topology.links)
                decision[p, device] = FORWARD if switch_port else LOCAL
                target[p, device] = -1 - port
    for prefix, device in routes.connected.items():
        decision[routes.row[prefix], device] = LOCAL
    return Rib(prefixes, decision, target, tuple(sets))


def _nearest(
    group: tuple[Announcement, ...],
    column: Mapping[int, int],
    reached: np.ndarray,
    accepted: np.ndarray,
    distance: Callable[[np.ndarray], np.ndarray],
    sets: dict[tuple[int, ...], int],
    decision: np.ndarray,
    target: np.ndarray,
) -> None:
    """Choose among several origins, device by device: preference, then distance, then all."""
    origins = np.array([a.origin for a in group], dtype=np.int32)
    preference = np.array([a.preference for a in group], dtype=np.int64)
    columns = np.array([column[int(o)] for o in origins])
    far = distance(origins)
    for device in np.flatnonzero(accepted):
        usable = reached[device, columns] & (origins != device)
        if not usable.any():
            continue
        usable &= preference == preference[usable].max()
        usable &= far[device] == far[device][usable].min()
        best = tuple(sorted(int(c) for c in columns[usable]))
        decision[device] = FORWARD
        if len(best) == 1:
            target[device] = best[0]
        else:
            target[device] = len(column) + sets.setdefault(best, len(sets))


def _is_elsewhere(prefix: Prefix, origin: int, connected: Mapping[Prefix, int]) -> bool:
    """Whether an announced prefix is really another device's LAN: a leak."""
    if prefix in connected:
        return connected[prefix] != origin
    return any(
        (lan.covers(prefix) or prefix.covers(lan)) and device != origin
        for lan, device in connected.items()
    )
