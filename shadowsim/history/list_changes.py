"""A site to changes of its access lists, rate limits, queues and management."""

from __future__ import annotations

from numpy.random import Generator

from shadowsim.history.lines import Commands, host, in_list, net, on_port, one, some, top
from shadowsim.history.networks import DATABASE, GUEST
from shadowsim.history.policies import CLASS_LEVELS, EDGE, GUARD, LEGACY, NOC, homes, port_of
from shadowsim.history.script import Script
from shadowsim.history.sites import Site
from shadowsim.model.address import Prefix
from shadowsim.scenario.defaults import GUARDED_SERVICES, MANAGEMENT_ACL, MANAGEMENT_PREFIX

UNWANTED = (135, 139, 1900, 3389, 5900)
RENEWED = "TO-DB-2"


def block(site: Site, random: Generator) -> Script | None:
    """A port that nobody should use is denied where hosts come in."""
    device = one(random, _with_list(site, EDGE))
    port = one(random, UNWANTED)
    line = f"{int(random.integers(41, 99))} deny {one(random, ('tcp', 'udp'))} any any eq {port}"
    return Script(f"block port {port} at {device}", in_list(device, EDGE, line))


def admit(site: Site, random: Generator) -> Script | None:
    """The hosts of a device may reach a port of the database that others may not."""
    home, _ = port_of(site.topology, DATABASE)
    away = port_of(site.topology, GUEST)[0]
    filtered = {away, *_with_list(site, EDGE)}
    near = one(random, [name for name in homes(site.topology) if name not in filtered])
    source = net(site.topology.lan[near])
    to_db = host(site.topology, DATABASE)
    line = f"{int(random.integers(1, 9))} permit tcp {source} {to_db} eq 23"
    return Script(f"let {near} administer the database", in_list(home, GUARD, line))


def clean(site: Site, random: Generator) -> Script | None:
    """Lines of hosts that are gone are removed from the list before the database."""
    home, _ = port_of(site.topology, DATABASE)
    lines = one(random, (("no 20", "no 40"), ("no 20",), ("no 40",), ("no 10", "no 20")))
    return Script(f"remove stale lines from {GUARD}", in_list(home, GUARD, *lines))


def new_list(site: Site, random: Generator) -> Script | None:
    """A port of hosts gets a list: it is written, then bound."""
    bare = [
        name
        for name in site.topology.host_index
        if site.port(port_of(site.topology, name)).acl_in is None
    ]
    if not bare:
        return None
    end = port_of(site.topology, one(random, bare))
    name = f"IN-{int(random.integers(1, 90))}"
    ports = some(random, UNWANTED, 2)
    lines = [f"{10 * i} deny tcp any any eq {port}" for i, port in enumerate(ports, 1)]
    commands = in_list(end[0], name, *lines, "100 permit ip any any")
    commands += on_port(end, f"ip access-group {name} in")
    return Script(f"filter what comes in at {end[1]} of {end[0]}", commands)


def renew_guard(site: Site, random: Generator) -> Script | None:
    """The list before the database is written anew under another name, bound, the old removed."""
    end = port_of(site.topology, DATABASE)
    to_db = host(site.topology, DATABASE)
    commands = in_list(
        end[0],
        RENEWED,
        f"10 deny tcp any {to_db} range 22 23",
        f"20 deny ip {host(site.topology, GUEST)} {to_db}",
        "100 permit ip any any",
    )
    commands += on_port(end, f"ip access-group {RENEWED} out")
    commands += top(end[0], f"no ip access-list extended {GUARD}")
    return Script(f"replace {GUARD}", commands)


def move_guard(site: Site, random: Generator) -> Script | None:
    """Guests are kept from the database where they come in, and no more where it stands."""
    guests, database = (port_of(site.topology, name) for name in (GUEST, DATABASE))
    to_db = host(site.topology, DATABASE)
    commands = in_list(
        guests[0],
        "FROM-GUESTS",
        f"10 deny ip {host(site.topology, GUEST)} {to_db}",
        "20 permit ip any any",
    )
    commands += on_port(guests, "ip access-group FROM-GUESTS in")
    commands += on_port(database, "no ip access-group out")
    return Script("guard the database where the guests come in", commands)


def unbind(site: Site, random: Generator) -> Script | None:
    """A list at the edge is no longer wanted: unbound, then removed."""
    device = one(random, _with_list(site, EDGE))
    ports = site.configs[device].interfaces
    bound = [name for name, port in ports.items() if port.acl_in == EDGE]
    commands: Commands = ()
    for name in bound:
        commands += on_port((device, name), "no ip access-group in")
    commands += top(device, f"no ip access-list extended {EDGE}")
    return Script(f"no filter at the edge of {device}", commands)


def remove_list(site: Site, random: Generator) -> Script | None:
    """A list that is bound nowhere is removed."""
    device = one(random, _with_list(site, LEGACY))
    commands = top(device, f"no ip access-list extended {LEGACY}")
    return Script(f"remove {LEGACY}, which is not used", commands)


def limit_guests(site: Site, random: Generator) -> Script | None:
    """What guests get is limited, or limited otherwise."""
    end = port_of(site.topology, GUEST)
    rate = round(site.topology.links[0].rate_bps * one(random, (0.05, 0.2, 0.3)))
    return Script("limit the guests' rate", on_port(end, f"rate-limit output {rate}"))


def limit_hosts(site: Site, random: Generator) -> Script | None:
    """What goes to some hosts is limited to well above what they get."""
    received: dict[str, float] = {}
    for demand in site.traffic.demands:
        received[demand.destination] = received.get(demand.destination, 0.0) + demand.rate_bps
    commands: Commands = ()
    for name in some(random, sorted(received), int(random.integers(1, 3))):
        rate = round(received[name] * float(random.uniform(1.3, 4.0)))
        commands += on_port(port_of(site.topology, name), f"rate-limit output {rate}")
    return Script("limit the rate of customers to what they pay for", commands)


def queues(site: Site, random: Generator) -> Script | None:
    """Critical traffic is served first, at some devices."""
    commands: Commands = ()
    lines = [f"qos class {level}" for level in CLASS_LEVELS]
    for device in some(random, list(site.topology.device_index), int(random.integers(1, 5))):
        commands += top(device, *lines)
    return Script("serve critical traffic first", commands)


def admit_noc(site: Site, random: Generator) -> Script | None:
    """A second network may manage some devices."""
    commands: Commands = ()
    for device in some(random, list(site.topology.device_index), int(random.integers(1, 4))):
        commands += in_list(device, MANAGEMENT_ACL, f"30 deny tcp {net(NOC)} any eq 23")
    return Script("say that the new operations centre does not use telnet", commands)


def renew_management(site: Site, random: Generator) -> Script | None:
    """Who may manage a device is written anew under another name, used, and the old removed."""
    device = one(random, list(site.topology.device_index))
    commands = in_list(device, "MGMT-2", f"10 permit tcp {net(MANAGEMENT_PREFIX)} any eq 22")
    used = sorted(site.configs[device].management)
    commands += top(device, *(f"management {service} access-class MGMT-2" for service in used))
    commands += top(device, f"no ip access-list extended {MANAGEMENT_ACL}")
    return Script(f"replace {MANAGEMENT_ACL} at {device}", commands)


def narrow_management(site: Site, random: Generator) -> Script | None:
    """Only a part of the management network may manage some devices; the new line comes first."""
    part = Prefix(MANAGEMENT_PREFIX.address | int(random.integers(1, 9)) << 8, 24)
    commands: Commands = ()
    for device in some(random, list(site.topology.device_index), int(random.integers(1, 4))):
        line = f"5 permit tcp {net(part)} any eq 22"
        commands += in_list(device, MANAGEMENT_ACL, line, "no 10")
    return Script(f"manage from {part} only", commands)


def close_service(site: Site, random: Generator) -> Script | None:
    """A management service is switched off."""
    devices = some(random, list(site.topology.device_index), int(random.integers(1, 4)))
    service = one(random, GUARDED_SERVICES)
    commands = tuple(c for device in devices for c in top(device, f"no management {service}"))
    return Script(f"no {service} any more", commands)


def _with_list(site: Site, name: str) -> list[str]:
    return [device for device, config in site.configs.items() if name in config.access_lists]
