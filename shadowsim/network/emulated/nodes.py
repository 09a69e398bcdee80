"""Mininet's own classes to nodes and links that start no shell and make no veth pairs.

The agent runs this file on the system's own Python: standard library and Mininet only.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import types
from typing import Any

from shadowsim.network.emulated.daemons import run
from shadowsim.network.emulated.inside import inside, open_tap

if importlib.util.find_spec("distutils") is None:  # Python 3.12; Mininet 2.3 only compares with it
    _version: Any = types.ModuleType("distutils.version")
    _version.StrictVersion = str
    sys.modules.update({"distutils": types.ModuleType("distutils"), _version.__name__: _version})

import mininet.link  # type: ignore[import-not-found, unused-ignore]
import mininet.log  # type: ignore[import-not-found, unused-ignore]
import mininet.net  # type: ignore[import-not-found, unused-ignore]
import mininet.node  # type: ignore[import-not-found, unused-ignore]
import mininet.util  # type: ignore[import-not-found, unused-ignore]

CONTROLLER_PORT = 6653


class Target:
    """What Mininet wants to know of a controller."""

    name, protocol, port = "c", "tcp", CONTROLLER_PORT

    def IP(self) -> str:  # noqa: N802 Mininet's name
        return "127.0.0.1"


class Bridge(mininet.node.OVSSwitch):  # type: ignore[misc]
    """A Mininet switch without a process; its commands are words, run without a shell."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **{**params, "inNamespace": True})  # else it sets up `lo` anew
        self.inNamespace = False

    @classmethod
    def setup(cls) -> None:
        """Nothing: the agent has just started Open vSwitch itself."""

    @classmethod
    def isOldOVS(cls) -> bool:  # noqa: N802
        return False

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802
        self.pid = os.getpid()

    def cmd(self, *args: Any, **_: Any) -> str:
        return run(shlex.split(" ".join(map(str, args))))


class Box(mininet.node.Host):  # type: ignore[misc]
    """A Mininet host: a network namespace that a sleeping process holds open."""

    @classmethod
    def setup(cls) -> None:
        """Nothing: what it needs was looked for before the agent started."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802
        quiet = subprocess.DEVNULL
        argv = ["mnexec", "-cn", "sleep", "infinity"]
        self.shell = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet)
        self.pid = self.shell.pid

    def cmd(self, *args: Any, **_: Any) -> str:
        words = shlex.split(" ".join(map(str, args)))
        return run(["mnexec", "-a", str(self.pid), *words])

    def terminate(self) -> None:
        self.shell.kill()
        self.shell.wait()


class TapIntf(mininet.link.Intf):  # type: ignore[misc]
    """An interface that the lab sets up together with all others."""

    def config(self, **_: Any) -> dict[str, object]:
        return {}


class TapLink(mininet.link.Link):  # type: ignore[misc]
    """Two TAP devices with nothing between them: whoever has their files is the wire."""

    def intfName(self, node: Any, n: int) -> str:  # noqa: N802
        return f"{node.name}-p{n}" if isinstance(node, Bridge) else f"{node.name}-eth{n}"

    def makeIntfPair(self, *args: Any, **_: Any) -> None:  # noqa: N802
        (name1, name2), (node1, node2) = args[:2], args[4:6]
        first = _tap_in(name1, node1)
        try:
            self.fds = (first, _tap_in(name2, node2))
        except OSError:
            os.close(first)
            raise


def _tap_in(name: str, node: Any) -> int:
    if isinstance(node, Bridge):
        return open_tap(name)
    with inside(node.pid):
        return open_tap(name)


def new_mininet() -> Any:
    """An empty Mininet that is silent and leaves the limits of the whole machine alone."""
    mininet.log.lg.setLogLevel("critical")
    mininet.net.Mininet.inited = True
    mininet.util.numCores.ncores = os.cpu_count()
    return mininet.net.Mininet(
        switch=Bridge, host=Box, link=TapLink, intf=TapIntf, controller=None, build=False
    )
