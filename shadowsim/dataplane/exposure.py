"""Management services of configs to the source addresses they answer, and what a change opens."""

from __future__ import annotations

from shadowsim.model.address import ADDRESS_SPACE
from shadowsim.model.change import Configs
from shadowsim.model.config import DeviceConfig
from shadowsim.model.words import PROTOCOLS

Ranges = tuple[tuple[int, int], ...]
SERVICE_PORT = {"ssh": 22, "telnet": 23, "http": 80, "https": 443, "snmp": 161, "netconf": 830}
SERVICE_PROTOCOL = {name: "udp" if name == "snmp" else "tcp" for name in SERVICE_PORT}
EVERYONE: Ranges = ((0, ADDRESS_SPACE - 1),)


def open_to(config: DeviceConfig, service: str) -> Ranges:
    """The source addresses a management service answers, as disjoint ascending ranges.

    A service that is not configured answers nobody; one whose access list is missing or empty
    answers everyone. Destination addresses in the list are not looked at: a management access
    list speaks of who connects.
    """
    if service not in config.management:
        return ()
    entries = config.permitted(config.management[service])
    if entries is None:
        return EVERYONE
    undecided: Ranges = EVERYONE
    opened: list[tuple[int, int]] = []
    for entry in entries:
        if not _speaks_of(entry.protocol, entry.destination_ports, service):
            continue
        low, high = entry.source.first, entry.source.last
        if entry.permit:
            opened += [(max(a, low), min(b, high)) for a, b in undecided if a <= high and low <= b]
        undecided = _without(undecided, low, high)
    return tuple(sorted(opened))


def newly_open(before: Configs, now: Configs) -> tuple[tuple[str, str], ...]:
    """The (device, service) pairs that answer an address they did not answer before."""
    found = []
    for device, config in now.items():
        was = before.get(device)
        if was is config or was is None or _guards(was) == _guards(config):
            continue
        for service in config.management:
            left = open_to(config, service)
            for low, high in open_to(was, service):
                left = _without(left, low, high)
            if left:
                found.append((device, service))
    return tuple(sorted(found))


def _guards(config: DeviceConfig) -> tuple[object, ...]:
    """All of a config that says who may connect."""
    guards = {acl: config.permitted(acl) for acl in config.management.values() if acl}
    return config.management, guards


def _speaks_of(protocol: str, ports: tuple[int, int] | None, service: str) -> bool:
    wanted = PROTOCOLS[SERVICE_PROTOCOL[service]]
    if PROTOCOLS[protocol] not in (None, wanted):
        return False
    return ports is None or ports[0] <= SERVICE_PORT[service] <= ports[1]


def _without(ranges: Ranges, low: int, high: int) -> Ranges:
    out: list[tuple[int, int]] = []
    for a, b in ranges:
        if b < low or high < a:
            out.append((a, b))
            continue
        out += [(a, low - 1)] if a < low else []
        out += [(high + 1, b)] if high < b else []
    return tuple(out)
