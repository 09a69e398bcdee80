"""Flows between hosts to the sockets that send and receive them, and other things in hosts.

The agent runs this file on the system's own Python: standard library only, from 3.10.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shadowsim.network.emulated.daemons import Failed
from shadowsim.network.emulated.inside import (
    inside,
    open_connection,
    open_listener,
    open_receiver,
    open_sender,
)
from shadowsim.network.emulated.lab import Host, Lab
from shadowsim.network.emulated.verbs import Refused

Key = tuple[int, str, int]  # host, protocol, port
REDIS_UP_S = 15.0  # a fraction of a second, unless the machine has much else to do
_ROUND_TRIP = re.compile(r"time=([0-9.]+) ms")
_TOTALS = re.compile(r"(\d+) packets transmitted, (\d+) received")


@dataclass
class Receivers:
    """Every receiver ever made, numbered in that order; those of removed hosts are None."""

    lab: Lab
    number: dict[Key, int] = field(default_factory=dict)
    sockets: list[socket.socket | None] = field(default_factory=list)

    def open(self, flows: list[dict[str, Any]]) -> tuple[list[socket.socket], list[int], int]:
        """Senders (to be closed once passed on), the receiver of each flow, how many are new.

        Raises Refused where a host or a free port is lacking; then nothing was made.
        """
        for flow in flows:
            self.lab.host(flow["source"])
            self.lab.host(flow["destination"])
        before = len(self.sockets)
        senders: dict[int, socket.socket] = {}
        try:
            self._open_receivers(flows)
            for source in sorted({flow["source"] for flow in flows}):
                self._open_senders(source, flows, senders)
        except BaseException:
            self._close(senders, before)
            raise
        in_order = [senders[number] for number in range(len(flows))]
        return in_order, [self.number[_key(flow)] for flow in flows], len(self.sockets) - before

    def forget(self, hosts: list[int]) -> None:
        """Close the receivers in these hosts; the others keep their numbers."""
        for key in [key for key in self.number if key[0] in hosts]:
            number = self.number.pop(key)
            gone, self.sockets[number] = self.sockets[number], None
            if gone is not None:
                gone.close()

    def _open_receivers(self, flows: list[dict[str, Any]]) -> None:
        wanted = dict.fromkeys(_key(flow) for flow in flows if _key(flow) not in self.number)
        for index in dict.fromkeys(key[0] for key in wanted):
            host = self.lab.hosts[index]
            with inside(host.pid):
                for key in [key for key in wanted if key[0] == index]:
                    with _words(index, key[2]):
                        made = open_receiver(key[1], (host.address, key[2]))
                    self.number[key] = len(self.sockets)
                    self.sockets.append(made)

    def _open_senders(
        self, source: int, flows: list[dict[str, Any]], senders: dict[int, socket.socket]
    ) -> None:
        host = self.lab.hosts[source]
        with inside(host.pid):
            for number, flow in enumerate(flows):
                if flow["source"] == source:
                    here = (host.address, flow["source_port"])
                    there = (self.lab.hosts[flow["destination"]].address, flow["port"])
                    with _words(source, flow["source_port"]):
                        made = open_sender(flow["protocol"], here, there, flow["dscp"])
                    senders[number] = made

    def _close(self, senders: dict[int, socket.socket], before: int) -> None:
        for made in [*senders.values(), *self.sockets[before:]]:
            if made is not None:
                made.close()
        del self.sockets[before:]
        self.number = {key: number for key, number in self.number.items() if number < before}


def _key(flow: dict[str, Any]) -> Key:
    return flow["destination"], flow["protocol"], flow["port"]


@contextlib.contextmanager
def _words(host: int, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(f"host {host}, port {port}: {error.strerror or error}") from None


def listen_in(host: Host, index: int, port: int) -> socket.socket:
    """A socket that listens on the host's own 127.0.0.1. Raises Refused."""
    with inside(host.pid), _words(index, port):
        return open_listener(port)


def dial_in(host: Host, index: int, port: int) -> socket.socket:
    """A connection to the host's own 127.0.0.1. Raises Refused."""
    with inside(host.pid), _words(index, port):
        return open_connection(port)


def ping(source: Host, destination: Host, count: int) -> dict[str, object]:
    """What the real ping says in the source's namespace; round trips in milliseconds."""
    argv = ["ping", "-n", "-i", "0.05", "-W", "1", "-c", str(count), destination.address]
    try:
        with inside(source.pid):
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, timeout=count * 0.05 + 5.0
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"ping: {error}") from None
    totals = _TOTALS.search(done.stdout)
    if totals is None:
        raise Failed(f"ping: {(done.stderr or done.stdout).strip()[-200:]}")
    trips = [float(trip) for trip in _ROUND_TRIP.findall(done.stdout)]
    return {"sent": int(totals[1]), "received": int(totals[2]), "rtts": trips}


def start_redis(
    host: Host,
    index: int,
    rundir: Path,
    owner: tuple[int, int],
    log: int,
    port: int,
    source_port: int | None,
) -> subprocess.Popen[bytes]:
    """A Redis on the host's own 127.0.0.1, a replica of `source_port` there if one is given.

    It runs as the owner and keeps nothing on disk. Raises Refused, Failed.
    """
    listen_in(host, index, port).close()  # refused if the port is taken
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    argv += ["--appendonly", "no", "--daemonize", "no", "--dir", str(rundir)]
    argv += ["--dbfilename", f"redis-{port}.rdb", "--maxmemory", "64mb"]
    argv += ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"]
    argv += ["--repl-diskless-load", "swapdb"]
    if source_port is not None:
        argv += ["--replicaof", "127.0.0.1", str(source_port)]
    try:
        with inside(host.pid):
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=owner[0],
                group=owner[1],
                extra_groups=[],
                cwd="/",
            )
    except FileNotFoundError:
        raise Failed("there is no redis-server on this machine") from None
    _wait_until_it_listens(host, port, process)
    return process


def _wait_until_it_listens(host: Host, port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + REDIS_UP_S
    while time.monotonic() < until_s and process.poll() is None:
        with contextlib.suppress(OSError), inside(host.pid):
            open_connection(port).close()
            return
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, 9)
    raise Failed(f"redis-server does not come up on port {port}; see agent.log")
