"""An Open vSwitch of one's own for tests: daemons in namespaces of their own, which die with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

INSIDE = """
set -e
mount -t tmpfs tmpfs /run/openvswitch
ip link set lo up
ovsdb-tool create /run/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /run/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock \
  --pidfile=/run/openvswitch/ovsdb-server.pid --detach --no-chdir \
  -vconsole:off -vfile:off -vsyslog:off
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile=/run/openvswitch/ovs-vswitchd.pid --detach --no-chdir \
  -vconsole:off -vfile:off -vsyslog:off
exec "$1" -c "$2" "$3"
"""
HAND_OVER = """
import socket, sys
made = socket.create_server(("", 6653))
with socket.socket(socket.AF_UNIX) as way:
    way.connect(sys.argv[1])
    socket.send_fds(way, [b"x"], [made.fileno()])
    made.close()
    way.recv(1)
"""


def lacks() -> str:
    """What this machine lacks for it; "" if nothing."""
    tools = ("unshare", "nsenter", "ovs-vswitchd", "ovs-vsctl")
    missing = [tool for tool in tools if not shutil.which(tool)]
    if os.geteuid() != 0:
        missing.append("root")
    return ", ".join(missing)


class PrivateOvs:
    """Bridges s0, s1, ... with dpids 1, 2, ..., dummy ports, and a listening socket in there."""

    def __init__(self, folder: Path) -> None:
        Path("/run/openvswitch").mkdir(exist_ok=True)
        way = str(folder / "way")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(way)
            listener.listen()
            self._process = subprocess.Popen(
                ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc",
                 "sh", "-c", INSIDE, "sh", sys.executable, HAND_OVER, way],
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            listener.settimeout(20)
            self._way, _ = listener.accept()
        _, fds, _, _ = socket.recv_fds(self._way, 1, 1)
        self.listener_fd, self._turn = fds[0], 1
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._inner = children.read_text().split()[0]

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program in there; what it wrote."""
        done = subprocess.run(
            ["nsenter", "-t", self._inner, "-n", "-m", "-p", *argv],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{argv}: {done.stderr}")
        return done.stdout

    def bridges(self, ports: list[int]) -> None:
        """As many bridges as `ports` has numbers, each with so many ports; they connect."""
        words: list[str] = []
        for i, count in enumerate(ports):
            words += ["--", "add-br", f"s{i}", "--", "set", "bridge", f"s{i}",
                      "datapath_type=netdev", "protocols=OpenFlow13", "fail_mode=secure",
                      f"other_config:datapath-id={i + 1:016x}",
                      "other_config:disable-in-band=true"]  # fmt: skip
            words += ["--", "set-controller", f"s{i}", "tcp:127.0.0.1:6653",
                      "--", "set", "controller", f"s{i}", "max_backoff=1000"]  # fmt: skip
            for p in [*range(1, count + 1), 1001, 1002]:
                name = f"s{i}p{p}"
                words += ["--", "add-port", f"s{i}", name, "--", "set", "interface", name,
                          "type=internal", f"ofport_request={p}"]  # fmt: skip
        self.run("ovs-vsctl", *words[1:])

    def reconnect(self) -> None:
        """Let every bridge connect now: after short sessions it would wait for up to 8 s.

        It is told another address; had it none in between, it would flush its flows.
        """
        self._turn += 1
        target = f"tcp:127.0.0.{self._turn}:6653"
        bridges = self.run("ovs-vsctl", "list-br").split()
        words = [word for name in bridges for word in ("--", "set-controller", name, target)]
        self.run("ovs-vsctl", *words[1:])

    def kill_vswitchd(self) -> None:
        """kill -9, and start it again, as a supervisor would."""
        pid = self.run("cat", "/run/openvswitch/ovs-vswitchd.pid").strip()
        self.run("kill", "-9", pid)
        self.run("rm", "-f", "/run/openvswitch/ovs-vswitchd.pid")
        self.run("ovs-vswitchd", "--pidfile=/run/openvswitch/ovs-vswitchd.pid", "--detach",
                 "--no-chdir", "-vconsole:off", "-vfile:off", "-vsyslog:off")  # fmt: skip

    def flows(self, switch: str) -> list[str]:
        """What a bridge holds, without cookies and counts."""
        out = self.run("ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", switch)
        lines = [line.strip() for line in out.splitlines() if "table=" in line]
        return sorted(line.split(", ", 1)[1] for line in lines)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.listener_fd)
        self._way.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
