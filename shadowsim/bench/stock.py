"""Two fat trees of stock Mininet to how long they take to come up, as the peer of our own."""

from __future__ import annotations

import os
import subprocess
from time import monotonic

# Plain Mininet, in namespaces that take everything with them, beside no Open vSwitch but its own.
PROGRAM = """
import os, subprocess, sys, time
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/openvswitch"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
ctl = "/usr/share/openvswitch/scripts/ovs-ctl"
os.environ["OVS_DBDIR"] = "/run/openvswitch"
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(["ovsdb-tool", "create", "/run/openvswitch/conf.db",
                "/usr/share/openvswitch/vswitch.ovsschema"], check=True, **quiet)
subprocess.run(["ovsdb-server", "/run/openvswitch/conf.db", "--detach", "--no-chdir",
                "--remote=punix:/run/openvswitch/db.sock", "--pidfile"], check=True, **quiet)
subprocess.run(["ovs-vsctl", "--no-wait", "init"], check=True, **quiet)
subprocess.run(["ovs-vswitchd", "--detach", "--no-chdir", "--pidfile"], check=True, **quiet)
from mininet.net import Mininet
from mininet.node import OVSSwitch
from mininet.topo import Topo

class FatTree(Topo):
    def build(self, mark):
        count = iter(range(1, 1000))
        def switch():
            number = next(count)
            return self.addSwitch(f"{mark}s{number}", dpid=f"{number:016x}", datapath="user",
                                  failMode="secure")
        cores = [switch() for _ in range(4)]
        for pod in range(4):
            aggs, edges = [switch(), switch()], [switch(), switch()]
            for a, agg in enumerate(aggs):
                for core in cores[2 * a:2 * a + 2]:
                    self.addLink(agg, core)
                for edge in edges:
                    self.addLink(agg, edge)
            for e, edge in enumerate(edges):
                for h in range(2):
                    self.addLink(self.addHost(f"{mark}h{pod}{e}{h}"), edge)

begin = time.monotonic()
for mark in "pq":
    Mininet(FatTree(mark), switch=OVSSwitch, controller=None).start()
print(time.monotonic() - begin, flush=True)
os._exit(0)
"""
WITHIN_S = 60.0


def stock_mininet_s() -> float | None:
    """Seconds for two k=4 fat trees without controllers and rules; None where it cannot be run."""
    if os.geteuid() != 0:
        return None
    namespaces = ("--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
    argv = ["unshare", *namespaces, "/usr/bin/python3", "-c", PROGRAM]
    until_s = monotonic() + WITHIN_S
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=until_s - monotonic(), check=True
        )
        return float(done.stdout.split()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
