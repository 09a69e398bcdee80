"""Real ovsdb-server processes of a test's own: no root, no bridge of the machine is touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SERVER = shutil.which("ovsdb-server") or "/usr/sbin/ovsdb-server"


def need(program: str, there: bool) -> None:
    """Skip the test where the program is not installed, or fail if it may not be skipped."""
    if not there:
        if os.environ.get("SHADOWSIM_EMULATED") == "required":
            pytest.fail(f"{program} is not installed, but SHADOWSIM_EMULATED=required")
        pytest.skip(f"{program} is not installed")


class OvsdbServer:
    """One database in a folder; `kill` is kill -9, `start` brings the same database back.

    `bounce` does both: the first now, the second a little later, while the test goes on.
    """

    def __init__(self, folder: Path) -> None:
        need("ovsdb-server", Path(SERVER).exists() and SCHEMA.exists())
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "db.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._comeback: threading.Timer | None = None
        create = ["ovsdb-tool", "create", str(folder / "conf.db"), str(SCHEMA)]
        subprocess.run(create, check=True)
        self.start()
        self.transact([{"op": "insert", "table": "Open_vSwitch", "row": {}}])

    def start(self) -> None:
        names = [f"--remote=punix:{self.socket}", f"--unixctl={self._folder / 'ctl'}"]
        command = [SERVER, str(self._folder / "conf.db"), *names, "--no-chdir"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            try:
                self.transact([])
                return
            except OSError:
                time.sleep(0.01)
        raise TimeoutError("ovsdb-server did not come up")

    def bounce(self, after_s: float) -> None:
        self.settle()
        self.kill()
        self._comeback = threading.Timer(after_s, self.start)
        self._comeback.start()

    def settle(self) -> None:
        """Wait for the last bounce to be over."""
        if self._comeback is not None:
            self._comeback.join()
        self._comeback = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process = None

    def transact(self, operations: list[dict]) -> list:
        """Straight JSON-RPC, so that the client under test is not what prepares its own test."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            request = {"method": "transact", "params": ["Open_vSwitch", *operations], "id": 0}
            client.sendall(json.dumps(request).encode())
            answer = b""
            while True:
                piece = client.recv(65536)
                if not piece:
                    raise ConnectionError("closed")
                answer += piece
                try:
                    result = json.loads(answer)["result"]
                except ValueError:
                    continue
                assert not [r for r in result if r and "error" in r], result
                return result

    def add_bridge(self, name: str, ports: Iterable[str] = ()) -> None:
        """A bridge with ports, held by the root row so that it is not garbage."""
        made, ids = [], []
        for i, port in enumerate(ports):
            face = {"op": "insert", "table": "Interface", "row": {"name": port}}
            made.append({**face, "uuid-name": f"face{i}"})
            row = {"name": port, "interfaces": ["named-uuid", f"face{i}"]}
            made.append({"op": "insert", "table": "Port", "row": row, "uuid-name": f"port{i}"})
            ids.append(["named-uuid", f"port{i}"])
        row = {"name": name, "ports": ["set", ids]}
        bridge = {"op": "insert", "table": "Bridge", "row": row, "uuid-name": "bridge"}
        held = ["bridges", "insert", ["set", [["named-uuid", "bridge"]]]]
        hold = {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [held]}
        self.transact([*made, bridge, hold])

    def ids(self, bridge: str) -> dict[str, str]:
        where = [["name", "==", bridge]]
        select = {"op": "select", "table": "Bridge", "where": where, "columns": ["external_ids"]}
        return dict(self.transact([select])[0]["rows"][0]["external_ids"][1])

    def set_id(self, bridge: str, key: str, value: str) -> None:
        """What `ovs-vsctl set bridge s0 external_ids:KEY=VALUE` does."""
        change = [
            ["external_ids", "delete", ["set", [key]]],
            ["external_ids", "insert", ["map", [[key, value]]]],
        ]
        where = [["name", "==", bridge]]
        self.transact([{"op": "mutate", "table": "Bridge", "where": where, "mutations": change}])

    def rows(self, table: str) -> list[dict]:
        return self.transact([{"op": "select", "table": table, "where": []}])[0]["rows"]

    def close(self) -> None:
        self.settle()
        self.kill()
