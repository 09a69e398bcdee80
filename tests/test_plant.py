"""The process that moves packets: on socket pairs in place of TAP devices, and on loopback."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import measured
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowsim.network.emulated.board import TCP, UDP, Board, new_board
from shadowsim.network.emulated.plant import agenda, client, frames, wires
from shadowsim.network.emulated.plant.client import Plant, PlantGone, Receiver, Stream

LINKS, SLOTS = 4, 8
ROUNDS = 5  # in which a machine that has other work, too, may get in the way
STANDING_BPS = 1.0  # nothing gets off a wire of that rate while it is looked at
EF, BEST_EFFORT, CS1 = 46, 0, 8
FRAMES = {"critical": EF, "normal": BEST_EFFORT, "bulk": CS1}


def frame(packet_bytes: int, dscp: int = BEST_EFFORT, number: int = 0) -> bytes:
    """An Ethernet frame with so long an IP packet, and a number near its end."""
    packet = bytes([0x45, dscp << 2]) + bytes(packet_bytes - 6) + struct.pack("<I", number)
    return bytes(12) + b"\x08\x00" + packet


def number_of(received: bytes) -> int:
    return struct.unpack("<I", received[-4:])[0]


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    until_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


@dataclass
class Bench:
    """A plant with two cables (links 0 and 1, 2 and 3) whose ends are in our hands."""

    board: Board
    plant: Plant
    ends: list[socket.socket] = field(default_factory=list)  # tails of links 0, 1, 2, 3
    plugs: list[socket.socket] = field(default_factory=list)
    inject: socket.socket | None = None

    def wire(self) -> None:
        for _ in range(LINKS):
            end, plug = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for side in (end, plug):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            end.settimeout(5.0)
            self.ends.append(end)
            self.plugs.append(plug)
        self.inject, inward = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.plugs.append(inward)
        self.rewire()

    def rewire(self) -> None:
        a, b, c, d, inject = (plug.fileno() for plug in self.plugs)
        self.plant.wire([(a, b, 0, 1), (c, d, 2, 3)], inject)

    def drain(self) -> None:
        for end in self.ends:
            while select.select([end], [], [], 0)[0] and end.recv(10000):
                pass

    def counts(self, link: int = 0) -> tuple[int, int, int]:
        w = self.board.wires
        return (
            int(w.offered_packets[link]),
            int(w.carried_packets[link]),
            int(w.dropped_packets[link]),
        )

    def since(self, before: tuple[int, int, int], link: int = 0) -> tuple[int, ...]:
        return tuple(now - then for now, then in zip(self.counts(link), before, strict=True))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    board = new_board(LINKS, SLOTS)
    with pytest.MonkeyPatch.context() as patched:
        if measured.wanted():
            program = measured.python(tmp_path_factory.mktemp("measured"), "thread")
            patched.setattr(client, "sys", SimpleNamespace(executable=program))
        plant = Plant.start(board)
    bench = Bench(board, plant)
    bench.wire()
    yield bench
    plant.close()


def reset(board: Board) -> None:
    w = board.wires
    w.up[:], w.rate_bps[:], w.delay_ns[:], w.queue_packets[:] = 1, 1e9, 0, 100
    w.loss[:], w.mtu_bytes[:], w.level[:] = 0.0, 1500, [0, 1, 2]
    board.streams.on[:], board.streams.rate_bps[:] = 0, 0.0


@pytest.fixture
def bench(running: Bench) -> Bench:
    reset(running.board)
    time.sleep(0.05)
    running.drain()
    return running


# -- wires: what is decided, in virtual time ------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    at_ns: int
    packet_bytes: int
    dscp: int


ARRIVALS = st.lists(
    st.builds(
        lambda gap, size, dscp: (gap, size, dscp),
        st.sampled_from([0, 1, 1000, 80_000, 800_000, 5_000_000]),
        st.sampled_from([46, 100, 1000, 1500, 1501]),
        st.sampled_from([EF, BEST_EFFORT, CS1, 17]),
    ),
    max_size=60,
)


def reference(
    arrivals: list[Arrival], rate_bps: float, delay_ns: int, queue: int, level: list[int]
) -> tuple[list[tuple[int, int]], int]:
    """When which frame arrives, and how many are dropped: one slow queue per level."""
    waiting: list[list[int]] = [[], [], []]
    out: list[tuple[int, int]] = []
    free_ns, dropped = 0, 0

    def long_ns(number: int) -> int:
        return int(8e9 * arrivals[number].packet_bytes / rate_bps)

    def serve_until(now_ns: float) -> None:
        nonlocal free_ns
        while any(waiting) and free_ns <= now_ns:
            first = next(q for q in waiting if q).pop(0)
            free_ns += long_ns(first)
            out.append((free_ns + delay_ns, first))

    for number, a in enumerate(arrivals):
        serve_until(a.at_ns)
        kind = {EF: 0, CS1: 2}.get(a.dscp, 1)
        if a.packet_bytes > 1500:
            dropped += 1
        elif free_ns <= a.at_ns:
            free_ns = a.at_ns + long_ns(number)
            out.append((free_ns + delay_ns, number))
        elif len(waiting[level[kind]]) >= queue:
            dropped += 1
        else:
            waiting[level[kind]].append(number)
    serve_until(float("inf"))
    return out, dropped


def put_in(r: wires.Relay, data: bytes) -> int:
    """A frame into a free slot."""
    slot = wires.take_slot(r)
    at = slot * wires.SLOT_BYTES + wires.HEAD_BYTES
    r.frames[at : at + len(data)] = np.frombuffer(data, np.uint8)
    r.slots["bytes"][slot] = len(data)
    return slot


def take_out(r: wires.Relay, slot: int) -> int:
    """The number of the frame in a slot, which is then free."""
    at = slot * wires.SLOT_BYTES + wires.HEAD_BYTES
    data = r.frames[at : at + int(r.slots["bytes"][slot])].tobytes()
    wires.free_slot(r, slot)
    return number_of(data)


@settings(max_examples=150, deadline=None)
@given(
    ARRIVALS,
    st.sampled_from([1e6, 1e7, 1e9]),
    st.sampled_from([0, 3_000_000]),
    st.integers(0, 6),
    st.lists(st.integers(0, 2), min_size=3, max_size=3),
)
def test_a_wire_is_the_reference_queue(
    rows: list[tuple[int, int, int]], rate_bps: float, delay_ns: int, queue: int, level: list[int]
) -> None:
    times = np.cumsum([gap for gap, _, _ in rows])
    arrivals = [Arrival(int(t), s, d) for t, (_, s, d) in zip(times, rows, strict=True)]
    board, r = new_board(2, 1), wires.new_relay(2, 1, fds=4, slots=64)
    reset(board)
    w = wires.told(board)
    w.rate_bps[:], w.delay_ns[:], w.queue_packets[:], w.level[:] = rate_bps, delay_ns, queue, level
    out: list[tuple[int, int]] = []

    def run_until(now_ns: int) -> None:
        while True:
            due_ns = agenda.next_ns(r.agenda)
            slot = wires.take_due(r, w, min(due_ns, now_ns))
            if slot != wires.NOTHING:
                out.append((due_ns, take_out(r, slot)))
            elif due_ns > now_ns:
                return

    for number, a in enumerate(arrivals):
        run_until(a.at_ns)
        wires.offer(r, w, 1, put_in(r, frame(a.packet_bytes, a.dscp, number)), a.at_ns)
    run_until(agenda.NEVER - 1)
    wanted, dropped = reference(arrivals, rate_bps, delay_ns, queue, level)
    assert out == wanted
    assert w.dropped_packets[1] == dropped
    assert w.offered_packets[1] == len(arrivals) == len(out) + dropped
    assert w.carried_bytes[1] == sum(arrivals[n].packet_bytes for _, n in out)
    assert w.offered_packets[0] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=80))
def test_an_agenda_always_knows_the_first(steps: list[tuple[int, int]]) -> None:
    found, due = agenda.new_agenda(10), dict.fromkeys(range(10), agenda.NEVER)
    for thing, at in steps:
        due[thing] = agenda.NEVER if at == 20 else at
        agenda.put(found, thing, due[thing])
        assert agenda.next_ns(found) == min(due.values()) == due[agenda.due_first(found)]


def test_frames_for_which_there_is_no_room_at_all_are_counted() -> None:
    board, r = new_board(2, 1), wires.new_relay(2, 1, fds=1024, slots=8)
    reset(board)
    board.wires.rate_bps[:] = 1e5
    ours, plug = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plug.setblocking(False)
    stop, epoll = np.zeros(1, np.int64), select.epoll()
    r.link_of[plug.fileno()] = 0
    epoll.register(plug.fileno(), select.EPOLLIN)
    for number in range(20):
        ours.send(frame(1000, number=number))
    arguments = (r, wires.told(board), board.control, stop, epoll.fileno(), -1)
    thread = threading.Thread(target=frames.relay, args=arguments)
    thread.start()
    assert eventually(lambda: bool(board.wires.offered_packets[0] == 20), 60.0)
    stop[0] = 1
    thread.join()
    assert board.wires.dropped_packets[0] == board.control[frames.NO_SLOT] == 12
    assert r.frames.size == 9 * wires.SLOT_BYTES


# -- wires: real frames ---------------------------------------------------------------------------


SLEEPER = """
import socket, sys, time
end = socket.socket(fileno=int(sys.argv[1]))
while end.recv(1):
    time.sleep(0.0058)
    end.send(b"x")
"""


@pytest.fixture
def sleeper() -> Iterator[socket.socket]:
    """A plain process that answers after 5.8 ms: as late as this machine makes it."""
    ours, its = socket.socketpair()
    ours.settimeout(5.0)
    with (
        its,
        subprocess.Popen(
            [sys.executable, "-S", "-c", SLEEPER, str(its.fileno())], pass_fds=[its.fileno()]
        ),
    ):
        its.close()
        with ours:
            yield ours


def test_delay_and_transmission_time(bench: Bench, sleeper: socket.socket) -> None:
    """0.8 ms on the wire and 5 of delay, and at most 0.3 ms more than who only sleeps so long."""
    bench.board.wires.rate_bps[:], bench.board.wires.delay_ns[:] = 1e7, 5_000_000
    taken_s, slept_s = [], []
    for number in range(60):
        began_s = time.monotonic()
        bench.ends[0].send(frame(1000, number=number))
        assert number_of(bench.ends[1].recv(10000)) == number
        taken_s.append(time.monotonic() - began_s)
        began_s = time.monotonic()
        sleeper.send(b"x")
        sleeper.recv(1)
        slept_s.append(time.monotonic() - began_s)
    assert min(taken_s) >= 0.0058
    assert np.median(taken_s) <= np.median(slept_s) + 0.0003


def test_rate_and_order(bench: Bench) -> None:
    """Never faster than its rate; not slower either, in a round in which nothing else is done."""
    bench.board.wires.rate_bps[:], bench.board.wires.queue_packets[:] = 2e7, 1000
    rates_bps = []
    while not rates_bps or (max(rates_bps) < 0.98 * 2e7 and len(rates_bps) < ROUNDS):
        began_s = time.monotonic()
        for number in range(500):
            bench.ends[0].send(frame(1000, number=number))
        assert [number_of(bench.ends[1].recv(10000)) for _ in range(500)] == list(range(500))
        rates_bps.append(500 * 8000 / (time.monotonic() - began_s))
    assert max(rates_bps) == pytest.approx(2e7, rel=0.02)


def test_the_queue_holds_just_what_it_may(bench: Bench) -> None:
    bench.board.wires.rate_bps[:], bench.board.wires.queue_packets[:] = STANDING_BPS, 5
    before = bench.counts()
    for number in range(20):
        bench.ends[0].send(frame(1000, number=number))
    assert eventually(lambda: bench.since(before)[0] == 20)
    bench.board.wires.rate_bps[:] = 2e5
    got = [number_of(bench.ends[1].recv(10000)) for _ in range(6)]
    assert got == [0, 1, 2, 3, 4, 5]
    assert bench.since(before) == (20, 6, 14)
    assert not select.select([bench.ends[1]], [], [], 0.1)[0]


def test_levels_are_served_strictly(bench: Bench) -> None:
    bench.board.wires.rate_bps[:] = STANDING_BPS
    before = bench.counts(2)
    sent = [BEST_EFFORT, CS1, CS1, BEST_EFFORT, EF, BEST_EFFORT, EF]
    for number, dscp in enumerate(sent):
        bench.ends[2].send(frame(500, dscp, number))
    assert eventually(lambda: bench.since(before, 2)[0] == len(sent))
    bench.board.wires.rate_bps[:] = 2e5
    assert [number_of(bench.ends[3].recv(10000)) for _ in sent] == [0, 4, 6, 3, 5, 1, 2]


def test_random_loss(bench: Bench) -> None:
    """Six standard deviations: a plant that draws as it should fails once in 500 million."""
    bench.board.wires.loss[0], bench.board.wires.queue_packets[:] = 0.3, 5000
    lost = 0
    for _ in range(4):
        before = bench.counts()
        for number in range(3000):
            bench.ends[0].send(frame(60, number=number))
        assert eventually(lambda at=before: bench.since(at)[:2] == (3000, 3000))
        dropped = bench.since(before)[2]
        for _ in range(3000 - dropped):
            bench.ends[1].recv(10000)
        lost += dropped
    assert not select.select([bench.ends[1]], [], [], 0.1)[0]
    assert abs(lost - 3600) < 6 * (12_000 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize("told", ["mtu", "down", "no rate"])
def test_what_a_wire_does_not_take(bench: Bench, told: str) -> None:
    w = bench.board.wires
    w.mtu_bytes[0], w.up[0], w.rate_bps[0] = {
        "mtu": (999, 1, 1e9),
        "down": (1500, 0, 1e9),
        "no rate": (1500, 1, 0.0),
    }[told]
    before = bench.counts()
    before_bytes = int(w.dropped_bytes[0])
    bench.ends[0].send(frame(1000))
    assert eventually(lambda: bench.since(before) == (1, 0, 1))
    assert w.dropped_bytes[0] - before_bytes == 1000
    w.mtu_bytes[0], w.up[0], w.rate_bps[0] = 1000, 1, 1e9
    bench.ends[0].send(frame(1000, number=7))
    assert number_of(bench.ends[1].recv(10000)) == 7


def test_a_wire_that_goes_down_loses_what_waits(bench: Bench) -> None:
    bench.board.wires.rate_bps[0] = STANDING_BPS
    before = bench.counts()
    for number in range(5):
        bench.ends[0].send(frame(1000, number=number))
    assert eventually(lambda: bench.since(before)[0] == 5)
    bench.board.wires.up[0] = 0
    assert eventually(lambda: bench.since(before) == (5, 0, 5))


def test_frames_under_way_follow_a_new_rate_and_delay(bench: Bench) -> None:
    w = bench.board.wires
    w.rate_bps[0], w.delay_ns[0] = 1.0, 30_000_000_000
    bench.ends[0].send(frame(1000, number=3))
    time.sleep(0.05)
    w.rate_bps[0] = 1e9
    assert not select.select([bench.ends[1]], [], [], 0.1)[0]
    bench.ends[0].send(frame(100, number=4))
    w.delay_ns[0] = 1_000_000
    assert [number_of(bench.ends[1].recv(10000)) for _ in range(2)] == [3, 4]


def test_injected_frames_come_in_at_the_tail(bench: Bench) -> None:
    before, control = bench.counts(2), bench.board.control.copy()
    assert bench.inject is not None
    hostile = [b"", b"\x02", struct.pack("<q", 99) + frame(100), struct.pack("<q", -1) + b"x"]
    for message in [*hostile, struct.pack("<q", 2) + frame(700, number=11)]:
        bench.inject.send(message)
    assert number_of(bench.ends[3].recv(10000)) == 11
    assert bench.since(before, 2) == (1, 1, 0)
    assert bench.board.control[frames.INJECTED] - control[frames.INJECTED] == 1


def test_wiring_anew_loses_nothing_under_way(bench: Bench) -> None:
    bench.board.wires.delay_ns[0] = 200_000_000
    bench.ends[0].send(frame(1000, number=5))
    time.sleep(0.05)
    bench.rewire()
    assert number_of(bench.ends[1].recv(10000)) == 5


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_plant_rests_also_when_an_end_is_gone() -> None:
    board = new_board(2, 1)
    reset(board)
    plant = Plant.start(board)
    try:
        (a, plug_a), (b, plug_b) = (
            socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)
        )
        plant.wire([(plug_a.fileno(), plug_b.fileno(), 0, 1)])
        plug_a.close()
        a.close()
        time.sleep(0.2)

        def works_s() -> float:
            before_s = cpu_s(plant.pid)
            time.sleep(1.5)
            return cpu_s(plant.pid) - before_s

        assert any(works_s() < 0.03 * 1.5 for _ in range(ROUNDS))
        b.send(frame(100))
        assert eventually(lambda: bool(board.control[frames.REFUSED] == 1))
        plug_b.close()
    finally:
        plant.close()


# -- streams --------------------------------------------------------------------------------------


def sockets(protocol: int) -> tuple[socket.socket, socket.socket]:
    """A sender and a receiver that it is to reach, on loopback."""
    kind = socket.SOCK_DGRAM if protocol == UDP else socket.SOCK_STREAM
    sender, receiver = (socket.socket(socket.AF_INET, kind) for _ in range(2))
    for made in (sender, receiver):
        with socket.socket(socket.AF_INET, kind) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))  # a port not asked for by number is not kept
    if protocol == TCP:
        receiver.listen()
    return sender, receiver


def open_stream(bench: Bench, slot: int, protocol: int, packet_bytes: int = 1000) -> int:
    """A stream on loopback, not on yet; the port of its receiver."""
    bench.board.streams.packet_bytes[slot] = packet_bytes
    sender, receiver = sockets(protocol)
    port: int = receiver.getsockname()[1]
    with sender, receiver:
        bench.plant.streams(
            [Stream(slot, protocol, sender.fileno(), "127.0.0.1", port, slot)],
            [Receiver(slot, protocol, receiver.fileno())],
        )
    return port


@pytest.mark.parametrize("protocol", [UDP, TCP])
@pytest.mark.parametrize(("rate_bps", "packet_bytes"), [(2e7, 1500), (4e6, 250)])
def test_a_stream_keeps_its_rate(
    bench: Bench, protocol: int, rate_bps: float, packet_bytes: int
) -> None:
    s = bench.board.streams
    open_stream(bench, 0, protocol, packet_bytes)
    s.rate_bps[0] = rate_bps

    def seen() -> tuple[float, float]:
        """Its rate, as a share of what it should be, and the mean latency, for a while."""
        at_s, before, latency = time.monotonic(), int(s.received[0]), int(s.latency_ns[0])
        time.sleep(1.5)
        received = int(s.received[0]) - before
        taken_s = time.monotonic() - at_s
        share = 8 * packet_bytes * received / taken_s / rate_bps
        return share, (int(s.latency_ns[0]) - latency) / received / 1e9

    def counted() -> tuple[int, ...]:
        return tuple(int(of[0]) for of in (s.sent, s.received, s.wanted, s.refused))

    def quiet() -> tuple[int, ...]:
        while True:
            now = counted()
            time.sleep(0.2)
            if counted() == now:
                return now

    def all_arrived(before: tuple[int, ...]) -> bool:
        """Once it is off; what comes so late that it is not sent any more is only wanted."""
        s.on[0] = 0
        sent, received, wanted, refused = np.subtract(quiet(), before)
        assert sent <= wanted - refused
        return bool(sent == received == wanted - refused and s.highest[0] == s.sent[0])

    for _ in range(ROUNDS):
        before, s.on[0] = counted(), 1
        time.sleep(0.3)
        share, latency_s = seen()
        arrived = all_arrived(before)
        if abs(share - 1.0) < 0.02 and 0 < latency_s < 0.002 and arrived:
            break
    else:
        pytest.fail(f"{share:.3f} of its rate, {latency_s:.4f} s late, in the last of {ROUNDS}")


def test_a_rate_may_change_at_any_time(bench: Bench) -> None:
    s = bench.board.streams
    open_stream(bench, 1, UDP)
    s.rate_bps[1], s.on[1] = 1.0, 1
    time.sleep(0.1)
    before = int(s.received[1])
    s.rate_bps[1] = 8e6
    assert eventually(lambda: s.received[1] - before > 200, 1.0)
    s.rate_bps[1] = 0.0

    def quiet() -> bool:
        wanted = int(s.wanted[1])
        time.sleep(0.1)
        return bool(s.wanted[1] == wanted)

    assert eventually(quiet)


def test_datagrams_that_cannot_be_sent_are_wanted_only(bench: Bench) -> None:
    s = bench.board.streams
    s.packet_bytes[2] = 100
    sender, _ = sockets(UDP)
    # Bound to loopback, so that there is no way to an address elsewhere.
    bench.plant.streams([Stream(2, UDP, sender.fileno(), "198.51.100.1", 9, 99)])
    wanted, sent = int(s.wanted[2]), int(s.sent[2])
    s.rate_bps[2], s.on[2] = 8e5, 1
    assert eventually(lambda: s.wanted[2] - wanted > 50)
    assert s.sent[2] == sent


def test_tcp_refuses_what_the_peer_does_not_read(bench: Bench) -> None:
    s = bench.board.streams
    s.packet_bytes[3] = 1500
    sender, receiver = sockets(TCP)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    port = receiver.getsockname()[1]
    wanted, sent, refused = int(s.wanted[3]), int(s.sent[3]), int(s.refused[3])
    bench.plant.streams([Stream(3, TCP, sender.fileno(), "127.0.0.1", port, 99)])
    s.rate_bps[3], s.on[3] = 1e8, 1
    assert eventually(lambda: s.refused[3] - refused > 4000, 1.0)
    s.on[3] = 0
    assert eventually(lambda: s.wanted[3] - wanted == (s.sent[3] - sent) + (s.refused[3] - refused))
    receiver.close()


def test_a_reset_connection_is_made_anew_from_the_same_port(bench: Bench) -> None:
    s = bench.board.streams
    s.packet_bytes[4] = 500
    sender, receiver = sockets(TCP)
    receiver.settimeout(5.0)
    here, there = sender.getsockname(), receiver.getsockname()
    since_ns = time.monotonic_ns()
    bench.plant.streams([Stream(4, TCP, sender.fileno(), "127.0.0.1", there[1], 99)])
    s.rate_bps[4], s.on[4] = 1e6, 1
    before = int(bench.board.control[5])
    for round_number in range(3):
        peer, address = receiver.accept()
        peer.settimeout(5.0)
        assert address == here
        slot, number, stamp_ns = struct.unpack("<3q", peer.recv(24, socket.MSG_WAITALL))
        assert slot == 4 and 0 <= number < s.sent[4]
        assert since_ns <= stamp_ns <= time.monotonic_ns()
        since_ns = time.monotonic_ns()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert eventually(lambda n=round_number: bool(bench.board.control[5] > before + n))
    receiver.close()
    sent = int(s.sent[4])
    time.sleep(0.5)
    assert s.sent[4] - sent < 50


def test_a_connection_without_progress_is_made_anew(bench: Bench) -> None:
    s = bench.board.streams
    s.packet_bytes[5] = 1500
    sender, receiver = sockets(TCP)
    receiver.settimeout(6.0)
    port = receiver.getsockname()[1]
    bench.plant.streams([Stream(5, TCP, sender.fileno(), "127.0.0.1", port, 99)])
    began_s = time.monotonic()
    s.rate_bps[5], s.on[5] = 5e7, 1
    first, _ = receiver.accept()
    accepted_s = time.monotonic()
    second, _ = receiver.accept()
    assert time.monotonic() - began_s > 1.5
    assert time.monotonic() - accepted_s < 5.0
    for made in (first, second, receiver):
        made.close()


def hostile_heads(slot: int, protocol: int) -> list[bytes]:
    """Heads that none of our streams has. A datagram may be of a later number than we have sent:
    another network's, steered here.
    """
    now = time.monotonic_ns()
    odd = [0, 1, -1, 1 << 40, (1 << 63) - 1, -(1 << 63)]
    heads = [(a, b, c) for a in [slot, *odd] for b in [5, *odd] for c in (0, -1, now, 1 << 62)]
    return [
        struct.pack("<3q", *head) + bytes(948)
        for head in heads
        if head[0] != slot or (head[1] != 0 and protocol == TCP) or head[1] < 0 or head[2] != now
    ]


@pytest.mark.parametrize("protocol", [UDP, TCP])
def test_hostile_payloads_change_nothing(bench: Bench, protocol: int) -> None:
    s = bench.board.streams
    port = open_stream(bench, 6, protocol)
    names = ("received", "received_bytes", "highest", "latency_ns")
    before = {name: getattr(s, name).copy() for name in names}
    strange = int(bench.board.control[4])
    rubbish = [b"", b"x", bytes(24), b"\xff" * 65000, *hostile_heads(6, protocol)]
    for data in rubbish:
        if protocol == UDP:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                counted = int(bench.board.control[4])
                attacker.sendto(data, ("127.0.0.1", port))  # one by one: its buffer is small
                assert eventually(lambda at=counted: bool(bench.board.control[4] > at)), data[:24]
        else:
            with socket.create_connection(("127.0.0.1", port)) as attacker:
                attacker.sendall(data)
    # An empty connection is not strange.
    assert eventually(lambda: bench.board.control[4] - strange > len(rubbish) // 2), (
        bench.board.control[4] - strange,
        len(rubbish),
    )
    assert bench.plant.alive
    for name in names:
        assert (getattr(s, name) == before[name]).all(), name
    s.rate_bps[6], s.on[6] = 8e6, 1
    assert eventually(lambda: s.received[6] - before["received"][6] > 100)


# -- the process ----------------------------------------------------------------------------------


def test_a_dead_plant_is_told_in_words_and_closed_twice() -> None:
    plant = Plant.start(new_board(2, 1))
    os.kill(plant.pid, signal.SIGINT)
    plant.wire([])
    assert plant.alive
    os.kill(plant.pid, signal.SIGKILL)
    assert eventually(lambda: not plant.alive)
    with pytest.raises(PlantGone, match="the plant has ended"):
        plant.wire([])
    plant.close()
    plant.close()
    with pytest.raises(PlantGone, match="closed"):
        plant.wire([])


def hangs_within(plant: Plant, seconds: float) -> bool:
    """Whether it is found to stand still, looked at often: so many looks, however long they take,
    since whoever looks may have stood still itself, and counts that.
    """
    for _ in range(int(seconds / 0.1)):
        if plant.hangs():
            return True
        time.sleep(0.1)
    return False


def test_a_plant_that_stands_still_is_noticed_and_one_with_nothing_to_do_is_not() -> None:
    plant = Plant.start(new_board(LINKS, SLOTS))
    assert not hangs_within(plant, 3.5)
    os.kill(plant.pid, signal.SIGSTOP)
    assert hangs_within(plant, 3.5)
    os.kill(plant.pid, signal.SIGCONT)
    assert eventually(lambda: not plant.hangs())
    assert not hangs_within(plant, 1.0)
    os.kill(plant.pid, signal.SIGSTOP)
    plant.hangs()
    time.sleep(3.0)  # whoever looks stood still, too
    assert not plant.hangs()
    plant.kill()
    plant.close()


@pytest.mark.parametrize("loop", [0, 1])
def test_one_loop_that_stands_still_is_enough(loop: int) -> None:
    plant = Plant.start(new_board(LINKS, SLOTS))
    plant.board = new_board(LINKS, SLOTS)  # where nobody counts but we
    try:
        for _ in range(35):
            if plant.hangs():
                break
            plant.board.rounds[1 - loop] += 1
            time.sleep(0.1)
        else:
            pytest.fail("it is not noticed")
    finally:
        plant.close()


def test_a_plant_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 0.5)
    plant = Plant.start(new_board(LINKS, SLOTS))
    os.kill(plant.pid, signal.SIGSTOP)
    with pytest.raises(PlantGone, match="did not answer within"):
        plant.wire([])
    assert not plant.alive
    plant.close()


def test_bad_wiring_is_refused_and_the_plant_goes_on(bench: Bench) -> None:
    with pytest.raises(ValueError, match="two cables"):
        bench.plant.wire([(0, 1, 0, 0)])
    with pytest.raises(ValueError, match="not on the board"):
        bench.plant.wire([(0, 1, 0, LINKS)])
    with Path(__file__).open() as file, pytest.raises(PlantGone, match="refused"):
        bench.plant.wire([(file.fileno(), file.fileno(), 0, 1)])
    bench.rewire()
    bench.ends[0].send(frame(100, number=9))
    assert number_of(bench.ends[1].recv(10000)) == 9


def test_a_plant_ends_when_told_on_the_board() -> None:
    board = new_board(2, 1)
    plant = Plant.start(board)
    board.tell_stop()
    assert eventually(lambda: not plant.alive)
    plant.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_plant_ends_with_its_starter_but_not_with_a_thread_of_it(stopped: bool) -> None:
    script = """
import os, signal, sys, threading, time
from shadowsim.network.emulated.board import new_board
from shadowsim.network.emulated.plant.client import Plant
plants = []
thread = threading.Thread(target=lambda: plants.append(Plant.start(new_board(2, 1))))
thread.start(); thread.join(); time.sleep(0.2)
print(plants[0].pid, plants[0].alive, flush=True)
if sys.argv[1] == "True":
    os.kill(plants[0].pid, signal.SIGSTOP)
    os.waitid(os.P_PID, plants[0].pid, os.WSTOPPED)  # it has stopped, not only been asked to
os.kill(os.getpid(), 9)
"""
    argv = [sys.executable, "-c", script, str(stopped)]
    done = subprocess.run(argv, capture_output=True, text=True)
    pid, alive = done.stdout.split()
    assert alive == "True"
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize("after_s", [0.0, 0.1, 1.0, 3.0])
def test_a_plant_that_is_still_starting_ends_with_its_starter(
    after_s: float, tmp_path: Path
) -> None:
    script = """
import os, subprocess, sys, threading
from shadowsim.network.emulated.board import new_board
from shadowsim.network.emulated.plant.client import Plant
class Started(subprocess.Popen):
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        print(self.pid, flush=True)
        threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), 9)).start()
subprocess.Popen = Started
Plant.start(new_board(2, 1))
"""
    # Nothing is compiled yet in that cache, so that its start takes long.
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    argv = [sys.executable, "-c", script, str(after_s)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment)
    (pid,) = done.stdout.split()
    assert eventually(lambda: not Path(f"/proc/{pid}").exists(), within_s=60.0)
    assert not list(tmp_path.rglob("streams.stream-*.nbi"))  # before it was done with its start
