"""The controller process, as a network sees it: started, told rules, asked, ended."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shadowsim.errors import MachineLacks, ShadowsimError
from shadowsim.network.emulated.openflow import Rules

Kind = Literal["ryu", "os-ken"]
LIBRARIES: Mapping[str, str] = {"ryu": "ryu", "os-ken": "os_ken"}
LAUNCH = Path(__file__).parent / "controller" / "launch.py"
SOCKET, LOG = "ctl.sock", "controller.log"
START_S, CALL_S = 20.0, 15.0
GRACE_S = 2.0


class ControllerGone(ShadowsimError):
    """The controller does not answer, or ended."""


class Stale(ShadowsimError):
    """The controller has already been told rules of a later epoch."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the rules of a switch: `installed`, `absent` (it is not connected, and gets
    them as soon as it is) or `failed`, with the `error` that the switch reported."""

    outcome: str
    error: str = ""

    @property
    def installed(self) -> bool:
        return self.outcome == "installed"


@dataclass(frozen=True, slots=True)
class SwitchState:
    """A switch as the controller knows it. `epoch`: of the rules it holds, 0 if none were told.

    Counts are what it said itself within about a second, None while nothing is known. `refused`
    is the OpenFlow error by which it refused what it was told last, in words; else empty.
    """

    connected: bool
    epoch: int
    flows: int | None
    groups: int | None
    meters: int | None
    refused: str


@dataclass(frozen=True, slots=True)
class State:
    """Switches by dpid; the last `epoch` told; CPU time and memory that the process has used."""

    switches: Mapping[int, SwitchState]
    epoch: int
    cpu_s: float
    rss_bytes: int


class ControllerCalls:
    """A running controller as anyone of its user can tell and ask it, by its folder.

    Calls may come from several threads.
    """

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir

    def install(
        self, epoch: int, rules: Mapping[int, Rules], timeout_s: float = CALL_S
    ) -> dict[int, Outcome]:
        """Bring the switches of these dpids to these rules, each at one stroke.

        Returns when all have answered. Other switches keep what they have. Raises Stale unless
        `epoch` is above the last one told, ControllerGone.
        """
        switches = {str(dpid): wanted.as_json for dpid, wanted in rules.items()}
        found = self._call("install", timeout_s, epoch=epoch, switches=switches)
        return {int(dpid): Outcome(**outcome) for dpid, outcome in found.items()}

    def state(self, timeout_s: float = CALL_S) -> State:
        """How the switches and the process are. Raises ControllerGone."""
        found = self._call("state", timeout_s)
        names = ("connected", "epoch", "flows", "groups", "meters", "refused")
        switches = {
            int(dpid): SwitchState(*(said.get(name) for name in names))
            for dpid, said in found["switches"].items()
        }
        return State(switches, found["epoch"], found["cpu_s"], found["rss_bytes"])

    def readback(self, dpids: Iterable[int], timeout_s: float = CALL_S) -> dict[int, Rules | None]:
        """What these switches say that they hold; None of one that does not answer.

        The digest of what was read equals that of what was told, if that is what is held.
        Raises ControllerGone.
        """
        found = self._call("readback", timeout_s, dpids=list(dpids))
        return {
            int(d): None if said is None else Rules.from_json(said) for d, said in found.items()
        }

    def _connect(self, timeout_s: float) -> socket.socket:
        """A connection; by way of the directory, since the path of a socket must be short."""
        directory = os.open(self._rundir, os.O_PATH | os.O_DIRECTORY)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        except OSError:
            connection.close()
            raise
        finally:
            os.close(directory)
        return connection

    def _call(self, verb: str, timeout_s: float, **arguments: Any) -> Any:
        request = json.dumps({"verb": verb, **arguments}).encode() + b"\n"
        try:
            with self._connect(timeout_s) as connection, connection.makefile("rb") as answers:
                connection.sendall(request)
                line = answers.readline()
        except OSError as error:
            raise ControllerGone(f"the controller does not answer ({error})") from error
        if not line.endswith(b"\n"):
            raise ControllerGone("the controller ended while it was asked")
        answer = json.loads(line)
        if "error" in answer:
            stale = answer["error"].startswith("epoch")
            raise (Stale if stale else ControllerGone)(f"the controller refused: {answer['error']}")
        return answer["ok"]


class Controller(ControllerCalls):
    """A controller that this process has started."""

    def __init__(self, process: subprocess.Popen[bytes], rundir: Path) -> None:
        super().__init__(rundir)
        self._process = process

    @staticmethod
    def start(kind: Kind, listener_fd: int, rundir: Path) -> Controller:
        """Start one that serves switches on the listening socket, and wait until it can be told.

        `rundir` is a directory of this user; a controller that ran there before must have ended.
        The process ends when this one does. Raises MachineLacks, ControllerGone.
        """
        if importlib.util.find_spec(LIBRARIES[kind]) is None:
            raise MachineLacks(f"the controller {kind} is not installed: make setup-emulated")
        (rundir / SOCKET).unlink(missing_ok=True)
        with (rundir / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-Wignore", str(LAUNCH), kind, str(listener_fd), str(rundir)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(listener_fd,),
                start_new_session=True,  # Ctrl-C is for us; we end it
                env=_environment(),
            )
        controller = Controller(process, rundir)
        controller._await_socket()
        return controller

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def lifeline(self) -> int:
        """The file without which it ends: its standard input."""
        if self._process.stdin is None:
            raise ControllerGone("this controller is not ours to hold")
        return self._process.stdin.fileno()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def pause(self, paused: bool = True) -> None:
        """Stop it where it stands, or let it go on."""
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its socket; a second call does nothing."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        (self._rundir / SOCKET).unlink(missing_ok=True)

    def _await_socket(self) -> None:
        until_s = time.monotonic() + START_S
        while not (self._rundir / SOCKET).exists() or not self._listens():
            if not self.alive or time.monotonic() > until_s:
                self.close()
                log = (self._rundir / LOG).read_text(errors="replace").strip()
                last = log.splitlines()[-1] if log else "it said nothing"
                raise ControllerGone(f"the controller did not start: {last}")
            time.sleep(0.01)

    def _listens(self) -> bool:
        try:
            self._connect(1.0).close()
        except OSError:
            return False
        return True


def _environment() -> dict[str, str]:
    """What a Python process needs, and nothing of what Ryu would read."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}
