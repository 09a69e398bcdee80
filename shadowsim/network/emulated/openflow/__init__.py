"""The compiled data plane to OpenFlow 1.3 rules as plain data: what one switch is to do."""

from __future__ import annotations

from shadowsim.network.emulated.openflow.rules import (
    COPY_PORT,
    DSCP,
    STEER_PORT,
    Flow,
    Group,
    Meter,
    Rules,
    difference,
    differing,
)
from shadowsim.network.emulated.openflow.translate import port_numbers, rules

__all__ = [
    "COPY_PORT",
    "DSCP",
    "STEER_PORT",
    "Flow",
    "Group",
    "Meter",
    "Rules",
    "difference",
    "differing",
    "port_numbers",
    "rules",
]
