"""The text of a change script, and what it makes of the configs, to features of its wording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shadowsim.model.address import Prefix
from shadowsim.model.change import Configs
from shadowsim.model.config import DeviceConfig
from shadowsim.model.kinds import kind_of
from shadowsim.precog.features.feature import Feature, Values
from shadowsim.precog.steps import Step

GROUPS = {
    "shutdown": ("shutdown",),
    "cost": ("ip ospf cost",),
    "access": ("ip access-list extended", "ip access-group"),
    "routing": (
        "ip route", "ip prefix-list", "router bgp", "network", "prefix-list", "maximum-prefix",
    ),
    "capacity": ("rate-limit output", "mtu", "table-size", "qos class"),
    "management": ("management",),
}  # fmt: skip

FEATURES = (
    Feature("script_commands", "commands", "how many there are"),
    Feature("script_devices", "devices", "how many are changed"),
    Feature("script_kinds", "kinds", "kinds of commands"),
    Feature("script_removals", "share", "commands that begin with no"),
    *(
        Feature(f"script_of_{group}", "share", f"commands of: {', '.join(kinds)}")
        for group, kinds in GROUPS.items()
    ),
    Feature(
        "script_opens_bits", "bits",
        "the widest of the permits added and denies removed: prefix lengths of both ends together",
    ),
    Feature(
        "script_closes_bits", "bits",
        "the widest of the denies added and permits removed: prefix lengths of both ends together",
    ),
    Feature(
        "script_routes_bits", "bits",
        "the shortest prefix of static routes, networks and prefix lists that is set or removed",
    ),
)  # fmt: skip

Match = tuple[bool, int, object]


def values(before: Configs, steps: Sequence[Step]) -> Values:
    """The values of FEATURES; shares are nan for an empty script, bits where nothing matches."""
    commands = [step.command for step in steps]
    kinds = [kind_of(str(command)) for command in commands]
    devices = [command.device for command in commands]
    after = steps[-1].configs if steps else before
    return {
        "script_commands": float(len(commands)),
        "script_devices": float(len(set(devices))),
        "script_kinds": float(len(set(kinds))),
        "script_removals": _share([command.line.startswith("no ") for command in commands]),
        **{f"script_of_{g}": _share([k in of for k in kinds]) for g, of in GROUPS.items()},
    } | _widths(before, after, set(devices))


def _widths(before: Configs, after: Configs, devices: Iterable[str]) -> Values:
    opens, closes, routes = set[int](), set[int](), set[int]()
    for old, new in ((before[name], after[name]) for name in devices):
        if old is new:
            continue
        was, will = _matches(old), _matches(new)
        for permit, bits, _ in will - was:
            (opens if permit else closes).add(bits)
        for permit, bits, _ in was - will:
            (closes if permit else opens).add(bits)
        routes |= {prefix.length for _, prefix in _prefixes(old) ^ _prefixes(new)}
    named = {"opens": opens, "closes": closes, "routes": routes}
    return {
        f"script_{name}_bits": float(min(bits, default=float("nan")))
        for name, bits in named.items()
    }


def _matches(config: DeviceConfig) -> set[Match]:
    """The lines of access lists: (permits, bits matched, all but the number of the line)."""
    return {
        (e.permit, e.source.length + e.destination.length,
         (name, e.protocol, e.source, e.source_ports, e.destination, e.destination_ports))
        for name, entries in config.access_lists.items()
        for e in entries
    }  # fmt: skip


def _prefixes(config: DeviceConfig) -> set[tuple[object, Prefix]]:
    """What the device routes, announces and filters by: (all else that is said, prefix)."""
    found: set[tuple[object, Prefix]] = {
        (route.via, route.prefix) for route in config.static_routes
    }
    if config.bgp is not None:
        found |= {(preference, prefix) for prefix, preference in config.bgp.networks}
    for name, entries in config.prefix_lists.items():
        found |= {((name, e.permit, e.ge, e.le), e.prefix) for e in entries}
    return found


def _share(marks: Sequence[bool]) -> float:
    return sum(marks) / len(marks) if marks else float("nan")
