"""This machine to a list of what it has and lacks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("numpy", "numba", "simpy", "networkx", "topohub", "polars", "matplotlib", "pydantic")
SMALLEST = """
name: doctor
topology: {nodes: [A, B, C], links: [[A, B], [B, C], [A, C]]}
traffic:
  demands:
    - {from: A, to: C, rate_mbps: 10}
    - {from: C, to: A, rate_mbps: 10, protocol: udp, port: 5004, class: critical}
configs:
  B: |
    interface to-C
     ip ospf cost 30
intents: [{reachable: {from: any, to: any}}, no_loop]
change:
  summary: deny everything towards C
  script: |
    device C
    ip access-list extended CLOSED
     10 deny ip any any
    interface to-A
     ip access-group CLOSED in
"""


class Finding(NamedTuple):
    """One thing looked for. `needed`: nothing runs without it."""

    what: str
    ok: bool
    found: str
    needed: bool
    remedy: str


def examine_machine() -> list[Finding]:
    """Look at Python, packages, memory, the places that are written to, and the engine."""
    basics = [_python(), *map(_package, PACKAGES), _memory(), _sqlite(), _writable()]
    return [*basics, _engine()]


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding(
        "Python", ok, platform.python_version(), True, "" if ok else "install Python 3.11+"
    )


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name), True, "")
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "missing", True, "make setup")


def _memory() -> Finding:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    gib = pages * size / 2**30
    text = f"{gib:.1f} GiB, {os.cpu_count()} cores"
    return Finding("memory", gib >= 1.0, text, False, "" if gib >= 1.0 else "1 GiB or more")


def _sqlite() -> Finding:
    return Finding("SQLite", True, sqlite3.sqlite_version, True, "")


def _writable() -> Finding:
    here = Path.cwd()
    ok = os.access(here, os.W_OK)
    return Finding(
        "this folder", ok, "writable" if ok else "read only", True, "" if ok else "use --out"
    )


def _engine() -> Finding:
    """Run the engine once on a small change; this compiles its kernels if they are not yet."""
    try:
        from shadowsim.examine import examine
        from shadowsim.scenario import parse

        found = examine(parse(SMALLEST, file="doctor.yml"))
    except Exception as error:  # whatever is wrong with a compiler is a finding, not a crash
        return Finding("engine", False, str(error).split("\n")[0], True, "make clean setup")
    ok = not found["broken_before"] and found["broken_after"] == ["reachable any>any"]
    return Finding("engine", ok, "compiled" if ok else "wrong verdicts", True, "")
