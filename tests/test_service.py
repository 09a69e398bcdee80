"""A real Redis primary and its real replica behind the relay; and the model of the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ovsdb_server import need

from shadowsim.model.services import Service
from shadowsim.network.emulated.primary import Primary
from shadowsim.network.emulated.relay import Forbidden, Relay, permitted
from shadowsim.network.emulated.resp import (
    LONGEST_REPLY,
    RedisClient,
    RedisSaid,
    decode,
    encode,
)
from shadowsim.network.emulated.service import ReplicatedService
from shadowsim.network.simulated.service import SimulatedService
from shadowsim.scenario import parse

SERVICE = Service("redis", "db", writes_per_s=100, value_bytes=64)


class Ports(NamedTuple):
    """Where the primary, the replica and the relay between them listen."""

    primary: int
    replica: int
    relay: int


class Loopback:
    """A place that is this machine; `kill` is kill -9."""

    def __init__(self, folder: Path) -> None:
        need("redis-server", shutil.which("redis-server") is not None)
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.dials = True

    def start(self, port: int, source_port: int | None) -> None:
        words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        words += ["--dir", str(self._folder), "--dbfilename", f"{port}.rdb"]
        words += ["--repl-diskless-sync-delay", "0"]
        words += ["--replicaof", "127.0.0.1", str(source_port)] if source_port else []
        self.processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
        eventually(lambda: answers(port))

    def dial(self, port: int) -> socket.socket:
        if not self.dials:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", port), timeout=1)

    def hear(self, port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port))

    def kill(self) -> None:
        self.processes[-1].send_signal(signal.SIGKILL)
        self.processes[-1].wait()

    def alive(self) -> int:
        return sum(process.poll() is None for process in self.processes)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def eventually(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come about in time"
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture
def places() -> Iterator[tuple[Loopback, Loopback]]:
    with tempfile.TemporaryDirectory(prefix="ss-") as name:
        pair = Loopback(Path(name)), Loopback(Path(name))
        yield pair
        for place in pair:
            for process in place.processes:
                if process.poll() is None:
                    process.kill()
                process.wait()


@pytest.fixture
def ports() -> Ports:
    return Ports(*free_ports(3))


@pytest.fixture
def primary(places: tuple[Loopback, Loopback], ports: Ports) -> Iterator[Primary]:
    started = Primary(SERVICE, places[0], ports.primary)
    yield started
    started.close()


@pytest.fixture
def replicated(
    primary: Primary, places: tuple[Loopback, Loopback], ports: Ports
) -> Iterator[ReplicatedService]:
    started = follow(primary, places, ports)
    yield started
    started.close()


def follow(primary: Primary, places: tuple[Loopback, Loopback], ports: Ports) -> ReplicatedService:
    return ReplicatedService(primary, places[1], port=ports.replica, relay_port=ports.relay)


def grows(replicated: ReplicatedService) -> bool:
    """Whether the replica follows, and has got something since now."""
    before = replicated.status().replicated
    deadline_s = time.monotonic() + 15
    while time.monotonic() < deadline_s:
        status = replicated.status()
        if status.connected and status.replicated > before:
            return True
        time.sleep(0.01)
    return False


def say(port: int, *words: str | int) -> object:
    client = RedisClient(socket.create_connection(("127.0.0.1", port), timeout=30), timeout_s=30)
    try:
        return client.call(*words)
    finally:
        client.close()


# ---- RESP


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"+OK\r\n", b"OK"),
        (b":-12\r\n", -12),
        (b"$-1\r\n", None),
        (b"$0\r\n\r\n", b""),
        (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
        (b"*2\r\n$1\r\na\r\n*1\r\n:3\r\n", [b"a", [3]]),
        (encode("SET", b"\xff\r\n", 3), [b"SET", b"\xff\r\n", b"3"]),
    ],
)
def test_resp_is_read_whole_or_not_at_all(data: bytes, value: object) -> None:
    assert decode(data) == (value, len(data))
    assert all(decode(data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"$99999999999\r\n",
        b"*99999\r\n",
        b":x\r\n",
        b"$x\r\n",
        b"\r\n",
        b"*1\r\n" * 9,
    ],
)
def test_what_is_not_resp_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_no_reply_is_nested_without_end() -> None:
    """It used to be followed until Python's stack was full."""
    with pytest.raises(ValueError, match="nested too deep"):
        decode(b"*1\r\n" * 100_000)


def test_a_reply_that_does_not_end_is_left() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = RedisClient(ours, timeout_s=10.0)
        client._data = b"+" + b"x" * (2 * LONGEST_REPLY)
        theirs.sendall(b"x")
        with pytest.raises(ValueError, match="too long"):
            client.call("PING")


def test_only_what_replicas_say_goes_back_to_production() -> None:
    good = encode("PING") + encode("replconf", "ACK", 12) + encode("PSYNC", "?", -1)
    assert permitted(good + b"*1\r\n$4\r\nPI") == (good, b"*1\r\n$4\r\nPI")
    for bad in (
        encode("SET", "a", "b"),
        encode("PING") + encode("FLUSHALL"),
        b"SET a b\r\n",
        b"*0\r\n",
        b"*1\r\n*1\r\n$4\r\nPING\r\n",
        b"*1\r\n" * 5000,
        b"$4\r\nPING\r\n",
        b"*1\r\n$65537\r\n" + b"x" * 66_000,
    ):
        with pytest.raises(Forbidden):
            permitted(bad)


# ---- the relay


def test_the_relay_carries_more_than_it_holds() -> None:
    """A slow reader makes the relay wait; nothing is lost, and it does not take it all in."""
    primary, listening = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    relay = Relay(listening, lambda: socket.create_connection(primary.getsockname()))
    replica = socket.create_connection(listening.getsockname())
    server, _ = primary.accept()
    sent = os.urandom(1 << 20) * 24
    sender = threading.Thread(target=server.sendall, args=(sent,), daemon=True)
    sender.start()
    time.sleep(0.3)
    assert relay.to_shadow_bytes < len(sent)
    got = bytearray()
    while len(got) < len(sent):
        got += replica.recv(1 << 16)
    sender.join(5)
    assert got == sent
    assert relay.to_shadow_bytes == len(sent)
    server.close()
    assert replica.recv(1) == b""  # the end is passed on
    relay.close()
    relay.close()
    primary.close()


def test_the_relay_cuts_whoever_says_more_than_a_replica() -> None:
    primary, listening = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    relay = Relay(listening, lambda: socket.create_connection(primary.getsockname()))
    intruder = socket.create_connection(listening.getsockname())
    server, _ = primary.accept()
    intruder.sendall(encode("PING"))
    assert server.recv(100) == encode("PING")
    intruder.sendall(encode("FLUSHALL"))
    assert intruder.recv(1) == b""
    assert server.recv(100) == b""
    assert (relay.forbidden, relay.to_production_bytes) == (1, len(encode("PING")))
    relay.close()
    primary.close()


# ---- the real thing


def test_the_replica_follows(replicated: ReplicatedService, ports: Ports) -> None:
    assert grows(replicated)
    carried_bytes = replicated.relay.to_shadow_bytes
    before = replicated.status().replicated

    def follows() -> bool:
        """Half a second of it: whatever stands still now and then, it is so in between."""
        status = replicated.status()
        assert (status.host, status.kind) == ("db", "redis")
        lags_s = replicated.lags_s()[-20:]
        return (
            status.connected
            and status.replicated >= before + 60
            and 0 <= status.written - status.replicated <= 50
            and statistics.median(lags_s) < 0.1
            and 0 < status.lag_s < 1
        )

    eventually(follows)
    carried_bytes = replicated.relay.to_shadow_bytes - carried_bytes
    value = say(ports.replica, "GET", "shadowsim:7")
    assert isinstance(value, bytes) and len(value) == SERVICE.value_bytes
    assert carried_bytes > 50 * SERVICE.value_bytes  # some had come before they were counted


def test_offsets_are_equal_after_quiet(places: tuple[Loopback, Loopback], ports: Ports) -> None:
    """What INFO says of both sides, when nothing more is written."""
    primary = Primary(Service("redis", "db", 0.2), places[0], ports.primary)
    replicated = follow(primary, places, ports)
    assert grows(replicated)

    def offset(port: int, key: bytes) -> int:
        info = say(port, "INFO", "replication")
        assert isinstance(info, bytes)
        return int(next(line for line in info.split() if line.startswith(key)).split(b":")[1])

    eventually(
        lambda: (
            offset(ports.primary, b"master_repl_offset:")
            == offset(ports.replica, b"slave_repl_offset:")
            > 0
        )
    )
    replicated.close()
    primary.close()


def test_the_replica_takes_no_writes(replicated: ReplicatedService, ports: Ports) -> None:
    assert grows(replicated)
    with pytest.raises(RedisSaid, match="READONLY"):
        say(ports.replica, "SET", "a", "b")


@pytest.mark.parametrize("victim", [0, 1], ids=["primary", "replica"])
def test_both_come_back_after_kill_9(
    replicated: ReplicatedService, places: tuple[Loopback, Loopback], ports: Ports, victim: int
) -> None:
    assert grows(replicated)
    for _ in range(2):
        places[victim].kill()
        eventually(lambda: places[victim].alive() == 1)
        assert grows(replicated)
    assert replicated.status().lag_s < 5
    same = say(ports.primary, "GET", "shadowsim:heartbeat")
    assert isinstance(same, bytes)
    eventually(lambda: say(ports.primary, "DBSIZE") == say(ports.replica, "DBSIZE"), within_s=15)


def test_a_replica_that_is_cut_off_is_seen_and_catches_up(
    replicated: ReplicatedService, places: tuple[Loopback, Loopback], ports: Ports
) -> None:
    assert grows(replicated)
    say(ports.replica, "REPLICAOF", "127.0.0.1", 1)  # nobody is there
    eventually(lambda: not replicated.status().connected)
    before = replicated.status()
    eventually(lambda: replicated.status().lag_s > 1)
    cut = replicated.status()
    assert cut.replicated == before.replicated
    assert cut.written > before.written
    say(ports.replica, "REPLICAOF", "127.0.0.1", ports.relay)
    assert grows(replicated)
    eventually(lambda: replicated.status().lag_s < 0.5)


def test_a_primary_runs_without_a_replica_and_one_that_comes_later_gets_all_of_it(
    primary: Primary, places: tuple[Loopback, Loopback], ports: Ports
) -> None:
    eventually(lambda: primary.written >= 100)
    places[1].dials = False
    replicated = follow(primary, places, ports)
    first = replicated.status()
    places[1].dials = True
    assert first.written >= 100 and first.replicated == 0
    try:
        assert grows(replicated)
        assert say(ports.replica, "EXISTS", "shadowsim:0") == 1
        eventually(lambda: replicated.status().lag_s < 0.5)
        assert max(replicated.lags_s()) < 5.0  # what was before it is no lag
    finally:
        replicated.close()
    before = primary.written
    eventually(lambda: primary.written > before)  # it does not need its replica


def test_what_was_written_before_a_replica_counts_as_written_when_it_begins(
    places: tuple[Loopback, Loopback], ports: Ports
) -> None:
    primary = Primary(Service("redis", "db", 0.05), places[0], ports.primary)
    eventually(lambda: primary.written == 1)  # and nothing more in the next 20 s
    time.sleep(1.0)
    places[1].dials = False
    began_s = time.monotonic()
    replicated = follow(primary, places, ports)
    try:
        eventually(lambda: replicated.status().lag_s > 0.2)
        assert replicated.status().lag_s <= time.monotonic() - began_s
        places[1].dials = True
        eventually(lambda: replicated.status().replicated == 1)
        assert replicated.lags_s()[0] <= time.monotonic() - began_s
    finally:
        replicated.close()
        primary.close()


def test_closing_leaves_nothing(places: tuple[Loopback, Loopback], ports: Ports) -> None:
    before = threading.active_count()
    primary = Primary(SERVICE, places[0], ports.primary)
    replicated = follow(primary, places, ports)
    assert grows(replicated)
    for _ in range(2):
        replicated.close()
        primary.close()
    eventually(lambda: places[0].alive() + places[1].alive() == 0, within_s=5)
    assert threading.active_count() == before
    assert not any(answers(port) for port in (ports.primary, ports.replica, ports.relay))


def test_a_start_that_fails_leaves_nothing(
    primary: Primary, places: tuple[Loopback, Loopback], ports: Ports
) -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", ports.relay)), pytest.raises(OSError):
        follow(primary, places, ports)
    assert places[1].alive() == 0
    assert threading.active_count() == before


# ---- the model


def test_the_model_follows_as_the_real_one_does() -> None:
    model = SimulatedService(SERVICE)
    first = model.advance(0.0)
    assert (first.written, first.replicated, first.connected) == (0, 0, True)
    for second in range(1, 6):
        status = model.advance(float(second))
        assert status.written == 100 * second
        assert 0 <= status.written - status.replicated <= 1
        assert 0 < status.lag_s < 0.1


def test_the_model_falls_behind_and_catches_up() -> None:
    model = SimulatedService(SERVICE)
    model.advance(5.0)
    cut = [model.advance(5.0 + step, following=False) for step in (0.5, 1.0, 4.0)]
    assert [status.connected for status in cut] == [False, False, False]
    assert len({status.replicated for status in cut}) == 1
    assert [round(status.lag_s, 1) for status in cut] == [0.5, 1.0, 4.0]
    assert cut[-1].written == 900
    assert not model.advance(9.5).connected  # Redis asks again once a second
    after = model.advance(12.0)
    assert after.connected
    assert after.written == 1200
    assert after.written - after.replicated <= 1
    assert after.lag_s < 0.1


def test_the_model_writes_nothing_to_a_primary_that_is_down() -> None:
    model = SimulatedService(SERVICE)
    model.advance(2.0)
    down = model.advance(7.0, primary_up=False)
    assert (down.written, down.connected) == (200, False)
    assert down.replicated == 200  # all of it was under way
    assert model.advance(10.0).written == 500


def test_the_model_counts_the_same_in_small_steps_and_large() -> None:
    small, large = SimulatedService(SERVICE), SimulatedService(SERVICE)
    for step in range(1, 1001):
        small.advance(step / 100)
    assert small.advance(10.0) == large.advance(10.0)


# ---- the scenario


def test_services_of_a_scenario() -> None:
    text = """
name: tiny
topology: {nodes: [A, B], links: [[A, B]]}
change: {script: ""}
services:
  - {redis: {host: h-A, writes_per_s: 5, value_bytes: 64}}
  - {redis: {host: h-B}}
"""
    assert parse(text).services == (
        Service("redis", "h-A", 5.0, 64),
        Service("redis", "h-B", 20.0, 100),
    )
    assert parse(text.split("services:")[0]).services == ()
