"""Frames at the edge to counts and to another network, on sockets that stand for TAP devices."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from shadowsim.network.emulated.crossing import Crossing
from shadowsim.network.emulated.wiring import Stream, streams_of
from shadowsim.scenario import parse

SCENARIO = parse("""
name: square
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
traffic:
  demands:
    - {from: A, to: C, rate_mbps: 5, class: critical, protocol: udp, port: 5004}
    - {from: B, to: D, rate_mbps: 3}
change: {script: ""}
""")
TOPOLOGY = SCENARIO.topology
STREAMS = streams_of(TOPOLOGY, SCENARIO.traffic.demands)
WITHIN_S = 20.0  # the first use compiles


def frame(stream: Stream, size: int = 1000, keep: int | None = None) -> bytes:
    """An Ethernet frame of a stream with an IP packet of that size, cut to `keep` bytes."""
    hosts, address = TOPOLOGY.hosts, TOPOLOGY.address
    ends = (address[hosts[end].name] for end in (stream.source, stream.destination))
    protocol = 17 if stream.protocol == "udp" else 6
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, size, 0, 0, 64, protocol, 0, *ends)
    ports = struct.pack(">HH", stream.source_port, stream.port)
    return (bytes(12) + b"\x08\x00" + ip + ports + bytes(size - 24))[:keep]


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a cable that keeps frames apart."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ends[0].setblocking(False)
    ends[1].settimeout(WITHIN_S)
    return ends


class Edge:
    """A crossing with one mirror and one steering port, and what comes out at the other side."""

    def __init__(self) -> None:
        self.crossing = Crossing(TOPOLOGY, STREAMS, seed=5)
        mirror, self.mirror = pair()
        divert, self.divert = pair()
        self._entrance, self.inside = pair()
        self.crossing.lead_to(self._entrance.fileno())
        self.crossing.watch(mirror.detach(), steering=False)
        self.crossing.watch(divert.detach(), steering=True)

    def until(self, holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < end_s, self.crossing.crossed()
            time.sleep(0.005)


@pytest.fixture
def edge() -> Iterator[Edge]:
    found = Edge()
    yield found
    found.crossing.close()
    found.crossing.close()


def test_copies_are_counted_by_stream_with_their_whole_size(edge: Edge) -> None:
    for _ in range(10):
        edge.mirror.send(frame(STREAMS[0], 1000, keep=110))
    edge.mirror.send(frame(STREAMS[1], 700, keep=110))
    edge.until(lambda: edge.crossing.crossed().copied_packets.sum() == 11)
    found = edge.crossing.crossed()
    assert found.copied_packets.tolist() == [10, 1, 0]
    assert found.copied_bytes.tolist() == [10_000, 700, 0]
    assert found.captured_bytes == 11 * 96
    assert found.strangers == 0


def test_what_is_of_no_stream_is_a_stranger(edge: Edge) -> None:
    other = frame(STREAMS[0])[:34] + struct.pack(">HH", 1, 2) + bytes(50)
    for junk in (b"x", bytes(60), other, bytes(12) + b"\x08\x06" + bytes(40)):
        edge.mirror.send(junk)
    edge.until(lambda: edge.crossing.crossed().strangers == 4)
    assert edge.crossing.crossed().copied_packets.sum() == 0


def test_a_share_of_the_copies_is_kept(edge: Edge) -> None:
    edge.crossing.keep(0.25, 96)
    for number in range(2000):
        edge.mirror.send(frame(STREAMS[0], keep=64))
        if number % 50 == 0:
            time.sleep(0.001)
    edge.until(lambda: edge.crossing.counted.word[0] == 2000)
    assert edge.crossing.crossed().copied_packets[0] == pytest.approx(500, abs=70)


def test_diverted_frames_go_on_whole_to_the_link_of_their_host(edge: Edge) -> None:
    sent = frame(STREAMS[1], 900)
    edge.divert.send(sent)
    message = edge.inside.recv(10_000)
    assert struct.unpack("<q", message[:8])[0] == TOPOLOGY.up_link(STREAMS[1].source)
    assert message[8:] == sent
    found = edge.crossing.crossed()
    assert found.diverted_packets.tolist() == [0, 1, 0]
    assert found.diverted_bytes.tolist() == [0, 900, 0]
    assert found.copied_packets.sum() == 0


def test_nothing_is_ever_written_to_a_port(edge: Edge) -> None:
    edge.mirror.send(frame(STREAMS[0]))
    edge.divert.send(frame(STREAMS[1]))
    edge.inside.send(frame(STREAMS[1]))
    edge.inside.recv(10_000)
    for port in (edge.mirror, edge.divert):
        port.settimeout(0.1)
        with pytest.raises(TimeoutError):
            port.recv(10_000)


def test_without_another_network_diverted_frames_are_counted_and_gone(edge: Edge) -> None:
    edge.crossing.lead_to(-1)
    edge.divert.send(frame(STREAMS[1]))
    edge.until(lambda: edge.crossing.crossed().diverted_packets[1] == 1)
    edge.inside.settimeout(0.1)
    with pytest.raises(TimeoutError):
        edge.inside.recv(10_000)


def test_diverted_frames_of_unknown_hosts_are_counted_and_gone(edge: Edge) -> None:
    foreign = bytearray(frame(STREAMS[1]))
    foreign[26:30] = bytes([192, 0, 2, 1])
    edge.divert.send(bytes(foreign))
    edge.until(lambda: edge.crossing.crossed().diverted_strangers == 1)
    edge.inside.settimeout(0.1)
    with pytest.raises(TimeoutError):
        edge.inside.recv(10_000)


def test_any_bytes_at_a_port_do_no_harm(edge: Edge) -> None:
    random = np.random.default_rng(3)
    for _ in range(500):
        edge.mirror.send(random.bytes(int(random.integers(1, 200))))
        edge.divert.send(random.bytes(int(random.integers(1, 200))))
    edge.until(lambda: edge.crossing.counted.word[0] == 1000)
    edge.mirror.send(frame(STREAMS[0]))
    edge.until(lambda: edge.crossing.crossed().copied_packets[0] == 1)
