"""A topology to a sensible config for each of its devices."""

from __future__ import annotations

from typing import Any

from shadowsim.model.address import ANY, Prefix, parse_prefix
from shadowsim.model.config import DeviceConfig
from shadowsim.model.topology import Topology
from shadowsim.model.words import Endpoint

ASN = 65_000
COST = 10
SMALLEST_TABLE = 4096
MANAGEMENT_ACL = "MGMT"
MANAGEMENT_PREFIX = parse_prefix("10.255.0.0/16")
GUARDED_SERVICES = ("ssh", "snmp")


def default_configs(topology: Topology) -> dict[str, DeviceConfig]:
    """One config per device: shortest paths everywhere, guarded management, sized tables.

    Made as settings and not as text, for speed; equal to what its text is parsed to.
    """
    prefixes = sum(1 for hosts in topology.hosts_of.values() if hosts)
    common = _common(prefixes)
    return {
        device.name: DeviceConfig(device.name, common | _own(topology, device.name))
        for device in topology.devices
    }


def _common(prefixes: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What every device is told."""
    acl = ("ip access-list extended", MANAGEMENT_ACL)
    ssh = Endpoint(ANY, (22, 22))
    return {
        ("table-size",): (max(SMALLEST_TABLE, 4 * prefixes),),
        **{("management", service): (MANAGEMENT_ACL,) for service in GUARDED_SERVICES},
        acl: (),
        (*acl, "", 10): ("permit", "tcp", Endpoint(MANAGEMENT_PREFIX, None), ssh),
        ("router bgp",): (ASN,),
        ("router bgp", "maximum-prefix"): (-(-2 * prefixes // 100) * 100,),
    }


def _own(topology: Topology, name: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Its ports, and the prefix of its hosts if it has any."""
    settings: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    switch_links = 2 * len(topology.links)
    for port, number in topology.ports[name].items():
        settings["interface", port] = ()
        if number < switch_links:
            settings["interface", port, "ip ospf cost"] = (COST,)
    if topology.hosts_of[name]:
        lan: Prefix = topology.lan[name]
        settings["router bgp", "network", lan] = (None,)
    return settings
