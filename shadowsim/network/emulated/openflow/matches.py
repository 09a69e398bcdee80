"""Address ranges, port ranges and access list lines to OpenFlow matches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from shadowsim.model.address import ADDRESS_SPACE, ANY, Prefix
from shadowsim.model.config import AclEntry
from shadowsim.model.words import PROTOCOLS
from shadowsim.network.emulated.openflow.rules import DSCP, Field
from shadowsim.network.emulated.openflow.rules import Match as Fields
from shadowsim.network.protocol import Match

IPV4 = 0x0800
PORTED = {6: "tcp", 17: "udp"}
PORT_BITS, ADDRESS_BITS = 16, 32
Ports = tuple[int, int] | None


def fields(**wanted: Field | None) -> Fields:
    """A match on these fields, less those that are None, in order of their names."""
    return tuple((name, value) for name, value in sorted(wanted.items()) if value is not None)


def prefixes(first: int, after: int, bits: int = ADDRESS_BITS) -> Iterator[Prefix]:
    """The fewest prefixes that hold the numbers from `first` to just below `after`."""
    while first < after:
        fits = (after - first).bit_length() - 1
        free = min((first & -first).bit_length() - 1, fits) if first else fits
        yield Prefix(first, bits - free)
        first += 1 << free


def addressed(name: str, prefix: Prefix) -> dict[str, Field | None]:
    """The match of an address field on a prefix."""
    if prefix.length == ADDRESS_BITS:
        return {name: prefix.address}
    if prefix == ANY:
        return {}
    return {name: (prefix.address, ADDRESS_SPACE - (1 << ADDRESS_BITS - prefix.length))}


def of_entry(entry: AclEntry) -> Iterator[dict[str, Field | None]]:
    """The matches of one access list line; lines with ports speak of TCP and UDP only."""
    yield from _transport(
        {
            "eth_type": IPV4,
            **addressed("ipv4_src", entry.source),
            **addressed("ipv4_dst", entry.destination),
        },
        PROTOCOLS[entry.protocol],
        entry.source_ports,
        entry.destination_ports,
    )


def of_match(match: Match) -> Iterator[dict[str, Field | None]]:
    """The matches of packets that are to be taken off at the edge."""
    ports = None if match.port is None else (match.port, match.port)
    dscp = None if match.traffic_class is None else DSCP[match.traffic_class]
    yield from _transport(
        {
            "eth_type": IPV4,
            "ip_dscp": dscp,
            **addressed("ipv4_src", match.source),
            **addressed("ipv4_dst", match.destination),
        },
        None if match.protocol is None else PROTOCOLS[match.protocol],
        None,
        ports,
    )


def _transport(
    common: dict[str, Field | None], protocol: int | None, source: Ports, destination: Ports
) -> Iterator[dict[str, Field | None]]:
    if source is None and destination is None:
        yield {**common, "ip_proto": protocol}
        return
    for number in PORTED if protocol is None else {protocol} & PORTED.keys():
        name = PORTED[number]
        for here, there in product(_masked(source), _masked(destination)):
            ported = {f"{name}_src": here, f"{name}_dst": there}
            yield {**common, "ip_proto": number, **ported}


def _masked(ports: Ports) -> list[Field | None]:
    """A range of ports as masked values; None where it is every port."""
    if ports is None or ports == (0, (1 << PORT_BITS) - 1):
        return [None]
    found: list[Field | None] = []
    for prefix in prefixes(ports[0], ports[1] + 1, PORT_BITS):
        mask = (1 << PORT_BITS) - (1 << PORT_BITS - prefix.length)
        exact = prefix.length == PORT_BITS
        found.append(prefix.address if exact else (prefix.address, mask))
    return found
