"""What the tests on real packets share: when they run, and looks into namespaces."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from shadowsim.network.emulated.rundir import Leftover, leftovers
from shadowsim.network.emulated.spawning import missing

LACKS = missing()

# With SHADOWSIM_EMULATED=required nothing is skipped: what is missing makes the tests fail.
needs_emulation = pytest.mark.skipif(
    bool(LACKS) and os.environ.get("SHADOWSIM_EMULATED") != "required",
    reason=f"this machine lacks {', '.join(LACKS)}",
)


def left_behind(before: Iterable[Leftover] = (), within_s: float = 30.0) -> set[Leftover]:
    """What was left on the machine since `before`. Tests that run beside this one kill agents on
    purpose, and clean up after them: they are given time to.
    """
    ends_s = time.monotonic() + within_s
    while (left := set(leftovers()) - set(before)) and time.monotonic() < ends_s:
        time.sleep(0.2)
    return left


def run_in(pid: int, *argv: str) -> str:
    """Run a program in the network and mount namespaces of a process."""
    found = [
        line
        for member in members(namespace(pid, "pid"))
        for line in _read(Path(f"/proc/{member}/environ")).split("\0")
        if line.startswith("OVS_RUNDIR=")  # where there is no /run/openvswitch
    ]
    environment = {**os.environ, **dict(line.split("=", 1) for line in found)}
    return subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "-m", *argv],
        check=True, capture_output=True, text=True, timeout=90, env=environment,
    ).stdout  # fmt: skip


def devices(pid: int | str = "self") -> set[str]:
    """The network devices that a process sees."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return {line.split(":")[0].strip() for line in lines}


def namespace(pid: int, kind: str) -> str:
    """What the kernel calls the namespace of a process (`net`, `pid`, `mnt`)."""
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def members(pid_namespace: str) -> set[int]:
    """The processes in a pid namespace."""
    return {
        int(p.parts[2]) for p in Path("/proc").glob("[0-9]*/ns/pid") if _link(p) == pid_namespace
    }


def holders(net_namespace: str) -> set[int]:
    """The processes in a network namespace."""
    return {
        int(p.parts[2]) for p in Path("/proc").glob("[0-9]*/ns/net") if _link(p) == net_namespace
    }


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
