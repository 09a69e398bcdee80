"""What every device does with every address, the slow way: networkx and plain dictionaries.

Written from the rules in words, not from the compiler:

* A switch link works if both its ports are configured and open, their MTUs agree and it is not
  cut. OSPF takes every shortest path by the cost of the port that is left.
* A device announces its `network` prefixes that its outgoing prefix-list permits, and takes what
  its incoming one permits; without BGP it does neither. With more foreign prefixes taken than
  `maximum-prefix` it takes none.
* Connected beats static beats announced; of the announcements the highest local preference,
  of these the nearest origin, and all equals share. The longest prefix with a route decides.
* With `redistribute learned` a device announces what others originate too, as its incoming list,
  the list that is named and its outgoing one permit, and sends on what it then gets for it.
* What `flowspec` lines discard fills a place each in the table of every device with BGP. A device
  whose BGP packets to or from every other are discarded by one of them announces and takes nothing.
* An origin delivers what it announces itself, unless it is another device's LAN (or holds it, or
  is held by it): then it sends it on by the next best announcement.
* Access list lines take their places in the table first; of the routes, the last in order of
  prefix do not get in. A LAN always does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx

from shadowsim.model.address import Prefix
from shadowsim.model.config import AclEntry, DeviceConfig, PrefixListEntry
from shadowsim.model.topology import Topology

FORWARD, LOCAL, DISCARD, NO_ROUTE = "forward", "local", "discard", "no route"
Decision = tuple[str, frozenset[int]]  # what is done, and over which directed links
NOTHING: Decision = (NO_ROUTE, frozenset())


@dataclass
class Table:
    """The routes of one device, and how many entries did not fit."""

    routes: dict[Prefix, Decision]
    entries: int
    refused: int

    def lookup(self, address: int) -> Decision:
        fitting = [p for p in self.routes if p.first <= address <= p.last]
        return self.routes[max(fitting, key=lambda p: p.length)] if fitting else NOTHING


class Reference:
    """The tables of all devices. `down`: directed links that are cut."""

    def __init__(
        self,
        topology: Topology,
        configs: Mapping[str, DeviceConfig],
        down: frozenset[int] = frozenset(),
        table_left: Mapping[str, float] | None = None,
    ) -> None:
        self.topology = topology
        self.configs = configs
        self.working = {n for n in range(topology.directed_links) if self._works(n, down)}
        self.graph = nx.MultiDiGraph()
        self.graph.add_nodes_from(d.name for d in topology.devices)
        for number in self.working:
            if number < 2 * len(topology.links):
                tail, head = topology.link_name(number).split(">")
                cost = configs[tail].interfaces[topology.port_of[number][1]].cost
                self.graph.add_edge(tail, head, key=number, cost=cost)
        reverse = self.graph.reverse()
        self.cost_to = {
            d: nx.single_source_dijkstra_path_length(reverse, d, weight="cost") for d in configs
        }
        self.lans = {topology.lan[d]: d for d in configs if topology.hosts_of[d]}
        self.silenced = self._silenced()
        self.relayed: set[tuple[str, Prefix]] = set()
        self.announced = self._announced()
        self.tables = {d: self._table(d, (table_left or {}).get(d, 1.0)) for d in configs}

    def _works(self, number: int, down: frozenset[int]) -> bool:
        if number in down:
            return False
        switch = number < 2 * len(self.topology.links)
        ports = {self.topology.port_of[number], self.topology.port_of[number ^ 1]}
        found = [self.configs[device].interfaces.get(port) for device, port in ports]
        if any(i is None or i.shutdown for i in found):
            return False
        return not switch or len({i.mtu_bytes for i in found if i}) == 1

    def _announced(self) -> dict[Prefix, dict[str, int]]:
        """Prefix to its origins, each with its local preference."""
        found: dict[Prefix, dict[str, int]] = {}
        for name, config in self.configs.items():
            for prefix, preference in config.bgp.networks if config.bgp else ():
                out = config.bgp.filter_out if config.bgp else None
                if _lets_pass(config, out, prefix) and name not in self.silenced:
                    found.setdefault(prefix, {})[name] = preference
        first_hand = {prefix: set(origins) for prefix, origins in found.items()}
        for name, config in self.configs.items():
            bgp = config.bgp
            if bgp is None or bgp.relays is None or name in self.silenced:
                continue
            for prefix, origins in first_hand.items():
                lists = (bgp.filter_in, bgp.relays[0], bgp.filter_out)
                if name not in origins and all(_lets_pass(config, a, prefix) for a in lists):
                    found[prefix][name] = bgp.relays[1]
                    self.relayed.add((name, prefix))
        return found

    def _silenced(self) -> set[str]:
        """The devices that cannot hold a session with any other for some rule of `flowspec`."""
        rules = [r for c in self.configs.values() if c.bgp for r in c.bgp.discards]
        return {
            mine
            for mine in self.configs
            for rule in rules
            if len(self.configs) > 1
            and all(
                _drops_bgp(rule, self.topology.address, mine, o) for o in self.configs if o != mine
            )
        }

    def next_hops(self, device: str, goal: str) -> frozenset[int]:
        """Links that begin a shortest path from a device to another."""
        left = self.cost_to[goal]
        return frozenset(
            number
            for _, head, number, cost in self.graph.out_edges(device, keys=True, data="cost")
            if head in left and cost + left[head] == left[device]
        )

    def _taken(self, device: str) -> set[Prefix]:
        bgp = self.configs[device].bgp
        if bgp is None or device in self.silenced:
            return set()
        taken = {p for p in self.announced if _lets_pass(self.configs[device], bgp.filter_in, p)}
        foreign = [p for p in taken if set(self.announced[p]) != {device}]
        over = bgp.maximum_prefix is not None and len(foreign) > bgp.maximum_prefix
        return set() if over else taken

    def _learned(self, device: str, prefix: Prefix, taken: set[Prefix]) -> Decision:
        origins = self.announced[prefix]
        if device in origins and not self._leaked(device, prefix):
            return LOCAL, frozenset()
        near = {
            origin: (-preference, self.cost_to[origin][device])
            for origin, preference in origins.items()
            if origin != device and device in self.cost_to[origin]
        }
        if prefix not in taken or not near:
            return NOTHING
        best = [origin for origin in near if near[origin] == min(near.values())]
        return FORWARD, frozenset().union(*(self.next_hops(device, origin) for origin in best))

    def _leaked(self, device: str, prefix: Prefix) -> bool:
        if (device, prefix) in self.relayed:
            return True
        if prefix in self.lans:
            return self.lans[prefix] != device
        overlapping = (
            d for lan, d in self.lans.items() if lan.covers(prefix) or prefix.covers(lan)
        )
        return any(d != device for d in overlapping)

    def _table(self, device: str, left: float) -> Table:
        config = self.configs[device]
        taken = self._taken(device)
        routes = {prefix: self._learned(device, prefix, taken) for prefix in self.announced}
        for route in config.static_routes:
            number = self.topology.ports[device].get(route.via)
            if route.via == "Null0":
                routes[route.prefix] = (DISCARD, frozenset())
            elif number in self.working and number < 2 * len(self.topology.links):
                routes[route.prefix] = (FORWARD, frozenset([number]))
            elif number in self.working:
                routes[route.prefix] = (LOCAL, frozenset())
        routes |= {lan: (LOCAL, frozenset()) for lan, d in self.lans.items() if d == device}
        routes = {prefix: d for prefix, d in routes.items() if d != NOTHING}
        used = [a for i in config.interfaces.values() for a in (i.acl_in, i.acl_out) if a]
        lines = sum(len(config.access_lists.get(name, ())) for name in used)
        told = [r for c in self.configs.values() if c.bgp for r in c.bgp.discards]
        entries = lines + len(routes) + (len(told) if config.bgp else 0)
        refused = max(entries - int(config.table_size * left), 0)
        last = sorted((p for p in routes if routes[p][0] != LOCAL), reverse=True)
        for prefix in last[:refused]:
            del routes[prefix]
        return Table(routes, entries - refused, refused)


def _drops_bgp(rule: AclEntry, address: Mapping[str, int], mine: str, other: str) -> bool:
    """Whether the rule drops all packets of a session one way, whatever port the client chose."""
    if rule.protocol not in ("ip", "tcp"):
        return False
    packets = [(port, 179) for port in (49152, 65535)], [(179, port) for port in (49152, 65535)]
    return any(
        rule.source.first <= address[a] <= rule.source.last
        and rule.destination.first <= address[b] <= rule.destination.last
        and all(_has(rule.source_ports, s) and _has(rule.destination_ports, d) for s, d in way)
        for a, b in ((mine, other), (other, mine))
        for way in packets
    )


def _has(ports: tuple[int, int] | None, port: int) -> bool:
    return ports is None or ports[0] <= port <= ports[1]


def _lets_pass(config: DeviceConfig, name: str | None, prefix: Prefix) -> bool:
    """No list, or one that does not exist, permits all; else the first line that fits decides."""
    if name is None or name not in config.prefix_lists:
        return True
    for line in config.prefix_lists[name]:
        if _fits(line, prefix):
            return line.permit
    return False


def _fits(line: PrefixListEntry, prefix: Prefix) -> bool:
    if prefix.length < line.prefix.length:
        return False
    if prefix.address >> (32 - line.prefix.length) != line.prefix.address >> (
        32 - line.prefix.length
    ):
        return False
    if line.ge is None and line.le is None:
        return prefix.length == line.prefix.length
    return (line.ge or line.prefix.length) <= prefix.length <= (32 if line.le is None else line.le)
