"""This machine to a table of what its emulated network can do, and how."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess

from shadowsim.doctor import Finding
from shadowsim.model.faults import FAULT_KINDS
from shadowsim.network.emulated import spawning
from shadowsim.network.emulated.controllers import LIBRARIES
from shadowsim.network.emulated.refusals import NOT_HERE

SETUP = "make setup-emulated"
HOW = {
    "link_down": "the cable carries nothing, routes follow",
    "link_flap": "the cable carries nothing, routes follow",
    "link_loss": "the cable loses packets at random",
    "link_delay": "the cable is longer",
    "link_rate": "the cable is slower",
    "device_crash": "ports down, flows gone, no controller",
    "table_full": "the compiled rules do without what does not fit",
    "controller_lost": "the switch's connection to it is taken away",
    "config_drift": "written into OVSDB behind the back of the workflow",
    "telemetry_gap": "readings are withheld",
    "traffic_surge": "hosts send more real packets",
    "retry_storm": "hosts send more real packets while less than 90 % arrives",
}


def examine_emulation() -> list[Finding]:
    """What the emulated network needs, and each kind of fault: possible here or not, and how."""
    lacks = spawning.missing()
    parts = [
        Finding("Mininet, OVS, root", not lacks, "; ".join(lacks) or _versions(), False,
                SETUP if lacks else ""),
        *(_library(name) for name in LIBRARIES),
        _program("redis-server", "only for scenarios with services"),
        Finding("netem", True, _netem(), False, ""),
    ]  # fmt: skip
    return parts + [_fault(kind, not lacks) for kind in FAULT_KINDS]


def _versions() -> str:
    said = subprocess.run(
        ["ovs-vswitchd", "--version"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    return said[0].rpartition(" ")[2] if said else "present"


def _library(name: str) -> Finding:
    there = importlib.util.find_spec(LIBRARIES[name]) is not None
    found = "present" if there else "missing"
    return Finding(f"controller {name}", there, found, False, "" if there else SETUP)


def _program(name: str, why: str) -> Finding:
    where = shutil.which(name)
    return Finding(name, where is not None, where or f"missing, {why}", False,
                   "" if where else SETUP)  # fmt: skip


def _netem() -> str:
    return "not needed: delay, rate, loss and queues are made by the plant, on any kernel"


def _fault(kind: str, possible: bool) -> Finding:
    if kind in NOT_HERE:
        return Finding(f"fault {kind}", False, NOT_HERE[kind], False, "--network simulated")
    return Finding(f"fault {kind}", possible, HOW[kind], False, "" if possible else SETUP)
