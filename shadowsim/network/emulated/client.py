"""Typed calls to requests to the agent, which is root so that nothing else has to be.

One method per verb. Files come back as numbers that belong to the caller, closed on exec.
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from shadowsim.errors import MachineLacks, ShadowsimError
from shadowsim.interruptions import uninterrupted
from shadowsim.network.emulated.framing import Channel, Closed, Garbled
from shadowsim.network.emulated.spawning import (
    END_S,
    REMEDY,
    kill,
    last_words,
    missing,
    spawn,
)

START_S, CALL_S, BUILD_S = 20.0, 30.0, 120.0

End = tuple[Literal["switch", "host"], int, int]


class AgentDied(ShadowsimError):
    """The agent is gone, or does not answer; its network went with it."""


class AgentRefused(ShadowsimError):
    """The agent does not do that; it says why, and did nothing."""


@dataclass(frozen=True)
class NewSwitch:
    """A switch to build, with ports 1..`ports`."""

    index: int
    ports: int


@dataclass(frozen=True)
class NewHost:
    """A host to build, at a switch; the gateway's address need not be on its link."""

    index: int
    switch: int
    address: str
    gateway: str


@dataclass(frozen=True)
class Flow:
    """Packets from a host's port to a host's port."""

    source: int
    source_port: int
    destination: int
    port: int
    protocol: Literal["udp", "tcp"]
    dscp: int


@dataclass(frozen=True)
class Tap:
    """A cable: its two ends, and the file of the TAP device at each."""

    ends: tuple[End, End]
    fds: tuple[int, int]


@dataclass(frozen=True)
class Sockets:
    """For each flow its sender and the number of its receiver; and the receivers that are new.

    Receivers are numbered from 0 over all calls; `new` are the files of the last ones.
    """

    senders: tuple[int, ...]
    receivers: tuple[int, ...]
    new: tuple[int, ...]


@dataclass(frozen=True)
class DaemonStatus:
    """What one of Open vSwitch's daemons uses. `state` is a letter of proc(5), T for stopped."""

    name: str
    cpu_s: float
    rss_bytes: int
    restarts: int
    alive: bool
    state: str


@dataclass(frozen=True)
class Status:
    """What the network uses of what the machine has."""

    daemons: tuple[DaemonStatus, ...]
    memory_bytes: int
    cores: int
    switches: int
    hosts: int


@dataclass(frozen=True)
class Ping:
    """Echo requests sent and answered, and the round trips of those answered."""

    sent: int
    received: int
    rtts_ms: tuple[float, ...]


class Agent:
    """A running agent and the network it holds; close it, or use it in a `with` block.

    Any method raises AgentRefused if the agent does not do it, and AgentDied if it is gone.
    Methods may be called from any thread; one at a time is served.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, rundir: Path) -> None:
        self._process, self._channel, self._rundir = process, channel, rundir
        self._lock = threading.RLock()
        self._closed = False
        credentials = channel.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid: int = struct.unpack("3i", credentials)[0]

    @classmethod
    def start(cls, rundir: Path) -> Agent:
        """Start an agent with a private folder (0700, ours). Raises MachineLacks, AgentDied."""
        lacks = missing()
        if lacks:
            raise MachineLacks(
                f"the emulated network needs {', '.join(lacks)}: {REMEDY}, or use a virtual machine"
            )
        _allow_many_files()
        process = spawn(rundir)
        try:
            channel = _connect(process, rundir)
        except BaseException:
            kill(process)
            raise
        agent = cls(process, channel, rundir)
        try:
            agent._reply("start", START_S)
        except BaseException:
            agent.close()
            raise
        return agent

    @property
    def alive(self) -> bool:
        """Whether it runs and its connection holds."""
        if self._closed or self._process.poll() is not None:
            return False
        poll = select.poll()
        poll.register(self._channel.connection, select.POLLRDHUP)
        return not poll.poll(0)

    @property
    def lifeline(self) -> int:
        """The file without which it ends: its connection."""
        return self._channel.connection.fileno()

    def close(self) -> None:
        """End it and its network; returns when both are gone. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):  # wakes a thread that waits for a reply
            self._channel.connection.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._channel.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            kill(self._process, self.pid)

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- one method per verb

    def build(
        self,
        switches: Sequence[NewSwitch],
        hosts: Sequence[NewHost],
        cables: Sequence[tuple[End, End]],
    ) -> list[tuple[int, int]]:
        """Add to the network; the files of the two TAP devices of each new cable."""
        _, fds = self.call(
            "build",
            BUILD_S,
            switches=[asdict(one) for one in switches],
            hosts=[asdict(one) for one in hosts],
            cables=[[list(a), list(b)] for a, b in cables],
        )
        return list(zip(fds[::2], fds[1::2], strict=True))

    def remove(self, switches: Sequence[int], hosts: Sequence[int]) -> None:
        """Take down nodes and every cable that leads to one. Files handed out become useless."""
        self.call("remove", BUILD_S, switches=list(switches), hosts=list(hosts))

    def taps(self) -> list[Tap]:
        """All cables there are, with fresh copies of their files."""
        reply, fds = self.call("taps")
        pairs = zip(fds[::2], fds[1::2], strict=True)
        found = []
        for (a, b), pair in zip(reply["cables"], pairs, strict=True):
            found.append(Tap(((a[0], a[1], a[2]), (b[0], b[1], b[2])), pair))
        return found

    def extra(self, switch: int, name: Literal["mirror", "divert"]) -> int:
        """The file of a switch's mirror (OpenFlow port 1001) or divert (1002) device."""
        return self._one_file("extra", switch=switch, name=name)

    def sockets(self, flows: Sequence[Flow]) -> Sockets:
        """Sockets inside the hosts for these flows, all non-blocking.

        UDP senders are connected, TCP senders are bound only. All flows to one host, protocol
        and port share a receiver: a bound UDP socket, or a TCP socket that listens.
        """
        reply, fds = self.call("sockets", flows=[asdict(flow) for flow in flows])
        count = reply["senders"]
        return Sockets(tuple(fds[:count]), tuple(reply["receivers"]), tuple(fds[count:]))

    def receivers(self) -> dict[int, int]:
        """All receivers there are, by their numbers, with fresh copies of their files."""
        reply, fds = self.call("receivers")
        return {row[0]: fd for row, fd in zip(reply["receivers"], fds, strict=True)}

    def listener(self) -> int:
        """The socket to which the switches connect; always the same one."""
        return self._one_file("listener")

    def power(self, switch: int, on: bool) -> None:
        """Crash a switch (it carries and knows nothing), or let it come back empty."""
        self.call("power", switch=switch, on=on)

    def control(self, switch: int, on: bool) -> None:
        """Take a switch's connection to the controller away, or give it back."""
        self.call("control", switch=switch, on=on)

    def status(self) -> Status:
        """What its daemons use, and the size of the machine and of the network."""
        reply, _ = self.call("status")
        daemons = tuple(DaemonStatus(**row) for row in reply.pop("daemons"))
        return Status(daemons=daemons, **reply)

    def ping(self, source: int, destination: int, count: int = 1) -> Ping:
        """Ping a host from a host, at most 100 times, 50 ms apart; each waits 1 s at most."""
        reply, _ = self.call("ping", source=source, destination=destination, count=count)
        return Ping(reply["sent"], reply["received"], tuple(reply["rtts"]))

    def service(
        self, host: int, port: int, *, source_port: int | None = None, kind: str = "redis"
    ) -> int:
        """Start a real Redis on 127.0.0.1 in a host; its process id as the agent sees it.

        With `source_port` it is a replica of what listens on that port of 127.0.0.1 there.
        """
        fields: dict[str, Any] = {"host": host, "kind": kind, "port": port}
        if source_port is not None:
            fields["source_port"] = source_port
        reply, _ = self.call("service", primary=source_port is None, **fields)
        return int(reply["pid"])

    def dial(self, host: int, port: int) -> int:
        """A TCP connection to 127.0.0.1 inside a host (blocking)."""
        return self._one_file("dial", host=host, port=port)

    def hear(self, host: int, port: int) -> int:
        """A socket that listens on 127.0.0.1 inside a host (blocking)."""
        return self._one_file("hear", host=host, port=port)

    def kill(self, what: Literal["ovs-vswitchd", "ovsdb-server"], signal: int) -> None:
        """Send 9, 15, 18 or 19 to a daemon; one that dies is started again."""
        self.call("kill", what=what, signal=signal)

    def stop(self) -> None:
        """End by request instead of by going away; then as `close`."""
        with contextlib.suppress(AgentDied):
            self.call("stop")
        self.close()

    # ---- the wire

    def call(
        self, verb: str, within_s: float = CALL_S, **fields: Any
    ) -> tuple[dict[str, Any], list[int]]:
        """Ask for any verb; its reply and files. Ctrl-C is heard when they have come."""
        with uninterrupted(), self._lock:
            if self._closed:
                raise AgentDied("the agent was closed")
            try:
                return self._ask(verb, within_s, fields)
            except (AgentRefused, AgentDied):
                raise
            except BaseException:  # a second Ctrl-C, say: the next call would read this reply
                self.close()
                raise

    def _ask(
        self, verb: str, within_s: float, fields: dict[str, Any]
    ) -> tuple[dict[str, Any], list[int]]:
        self._channel.connection.settimeout(within_s)
        try:
            self._channel.send({"verb": verb, **fields})
        except (Closed, OSError) as error:
            raise self._died(verb, error) from None
        return self._reply(verb, within_s)

    def _reply(self, verb: str, within_s: float) -> tuple[dict[str, Any], list[int]]:
        self._channel.connection.settimeout(within_s)
        try:
            reply, fds = self._channel.receive()
        except (Closed, Garbled, OSError) as error:
            raise self._died(verb, error) from None
        if reply.pop("ok", None) is not True:
            raise AgentRefused(str(reply.get("error", "the agent refused")))
        return reply, fds

    def _one_file(self, verb: str, **fields: Any) -> int:
        return self.call(verb, **fields)[1][0]

    def _died(self, verb: str, error: Exception) -> AgentDied:
        """Whatever broke the conversation, it cannot be resumed: end the agent."""
        slow = isinstance(error, TimeoutError)
        if slow:
            kill(self._process, self.pid)
        self.close()
        why = "did not answer in time" if slow else str(error) or "is gone"
        return AgentDied(f"the agent {why} ('{verb}'){last_words(self._rundir)}")


def _allow_many_files() -> None:
    """Let this process open as many files as it may: each flow is two, and each cable."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _connect(process: subprocess.Popen[bytes], rundir: Path) -> Channel:
    until_s = time.monotonic() + START_S
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        while True:
            with contextlib.suppress(OSError):
                connection.connect(str(rundir / "agent.sock"))
                return Channel(connection)
            if process.poll() is not None or time.monotonic() > until_s:
                raise AgentDied(f"the agent did not come up{last_words(rundir)}")
            time.sleep(0.005)
    except BaseException:
        connection.close()
        raise
