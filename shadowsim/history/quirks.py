"""Device models to the commands that misbehave on them, as faults that follow a command."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from shadowsim.history.lines import one
from shadowsim.model.change import Change
from shadowsim.model.faults import WHEREVER, After, Fault
from shadowsim.model.topology import Topology

COMMANDS = (
    "interface", "interface", "ip ospf cost", "shutdown", "no shutdown", "rate-limit output", "mtu",
    "ip access-list extended", "ip access-group", "no ip access", "ip route", "ip prefix-list",
    "router bgp", "router bgp", "description",
)  # fmt: skip
NONE_AT = 0.25  # of all sites
IN_BOTH = 0.5  # of all quirks; the shadow's devices do not have the others


def quirks(topology: Topology, random: Generator) -> tuple[Fault, ...]:
    """What the software of some models does wrong, at a site of these devices; often nothing."""
    models = sorted({device.model for device in topology.devices})
    count = 0 if random.random() < NONE_AT else int(random.integers(1, 3))
    return tuple(_quirk(one(random, models), random) for _ in range(count))


def struck(found: Sequence[Fault], topology: Topology, change: Change) -> tuple[Fault, ...]:
    """Those of the quirks that a change brings about."""
    devices = {device.name: device for device in topology.devices}
    return tuple(
        fault
        for fault in found
        if fault.after is not None
        and any(fault.after.speaks_of(devices[c.device], c) for c in change.commands)
    )


def _quirk(model: str, random: Generator) -> Fault:
    kind, amount, for_s = one(random, (
        ("table_full", 0.0005, 12.0),
        ("table_full", 0.0, None),
        ("device_crash", 0.0, 8.0),
        ("device_crash", 0.0, 25.0),
        ("cpu_hog", 0.9, 20.0),
        ("cpu_hog", 0.6, 30.0),
        ("memory_leak", 0.03, 40.0),
        ("telemetry_gap", 0.0, 10.0),
    ))  # fmt: skip
    network = "both" if random.random() < IN_BOTH else "production"
    after = After(one(random, COMMANDS), model)
    return Fault(kind, 0.0, for_s, network, device=WHEREVER, amount=amount, after=after)
