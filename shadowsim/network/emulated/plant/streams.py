"""Turns the streams that the board tells into stamped packets on real sockets, and what arrives
into its counters.

A packet's payload begins with three 8-byte words (slot, sequence number, CLOCK_MONOTONIC in ns),
zeros fill the rest. UDP carries one packet in a datagram, TCP as many as there are in records of
one size. Gaps between packets are drawn evenly from 0.5 to 1.5 of the mean gap, so that streams of
one rate do not march in step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shadowsim.network.emulated.board import TCP, UDP, Board
from shadowsim.network.emulated.plant.agenda import (
    NEVER,
    Agenda,
    due_first,
    new_agenda,
    next_ns,
    put,
)
from shadowsim.network.emulated.plant.system import (
    EALREADY,
    EINPROGRESS,
    EISCONN,
    EPOLL_CLOSED,
    EPOLL_GONE,
    EPOLL_IN,
    EVENT_FD,
    EVENT_WORDS,
    EVENTS,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    SIOCOUTQ,
    SO_ERROR,
    SOCK_NONBLOCK_CLOEXEC,
    SOL_SOCKET,
    TCP_MAXSEG,
    Bytes,
    Ints,
    Records,
    accept4,
    address,
    clock_ns,
    close,
    compiled,
    connect,
    errno,
    getsockopt,
    ioctl,
    long,
    random,
    recv,
    send,
    sendto,
    setsockopt,
    wait,
    watch,
)

HEAD_BYTES = 24
UDP_BYTES, TCP_BYTES = 28, 52  # headers of a packet: IP and UDP; IP, TCP and timestamps
IP_TCP_BYTES = 40  # without options
LONGEST_BYTES, LONGEST_SEGMENT = 65000, 32767
INBOX_BYTES = 1 << 18
CREDIT_NS = 50_000_000  # how long a packet may wait for room
RETRY_NS = 20_000_000  # how often room is looked for that nobody told of
SCAN_NS = 5_000_000  # how often the board is looked at
CHECK_NS = 250_000_000  # how often connections are
STUCK_NS = 2_000_000_000  # without progress: the connection is made anew
AGAIN_NS = 200_000_000  # after a refused connection
OLD_NS = 60_000_000_000  # a packet older than this is not ours
LONG_NS = 3_600_000_000_000
IDLE_NS = 20_000_000
BATCH = 64
NOTHING = -1

# Words of `Board.control`; the first is told, the others are counted.
STOP, STRANGE, RECONNECTED, ROUNDS = 0, 4, 5, 9
CLOSED, CONNECTING, OPEN = 0, 1, 2  # states of a sender
SENDER, DATAGRAMS, LISTENER, CONNECTION = 1, 2, 3, 4  # what a file is

_SENDER = np.dtype(
    [
        ("fd", "i8"),  # -1: none
        ("protocol", "i8"),
        ("receiver", "i8"),
        ("state", "i8"),
        ("rate_bps", "f8"),  # at which `due_ns` was computed; 0: off
        ("due_ns", "i8"),  # when the next packet is called for
        ("unsent", "i8"),  # bytes of the record begun
        ("record", "i8"),
        ("number", "i8"),  # of the record begun
        ("stamp_ns", "i8"),
        ("passed", "i8"),  # bytes given to this connection
        ("acked", "i8"),
        ("moved_ns", "i8"),  # when `acked` last grew, or there was nothing to wait for
    ]
)
_CONNECTION = np.dtype(
    [("fd", "i8"), ("receiver", "i8"), ("slot", "i8"), ("have", "i8"), ("record", "i8")]
)


class Wanted(NamedTuple):
    """The fields of `board.Streams`, as compiled code takes them."""

    on: Ints
    rate_bps: np.ndarray
    packet_bytes: Ints
    wanted: Ints
    sent: Ints
    refused: Ints
    received: Ints
    received_bytes: Ints
    highest: Ints
    latency_ns: Ints


class Traffic(NamedTuple):
    """The sockets and what is under way on them; survives a stop of the loop."""

    senders: Records  # [slots]
    targets: Bytes  # [(slots + 1) * 16] sockaddr_in of each; the last one is AF_UNSPEC
    agenda: Agenda  # of slots
    connections: Records  # accepted ones
    heads: Ints  # [connections + 1, 3] words of the record begun; the last is for datagrams
    head_bytes: Bytes  # the same memory
    kind_of: Ints  # [fds]
    index_of: Ints  # [fds] slot, receiver or connection
    outbox: Ints  # a payload; only its first three words are ever not 0
    inbox: Bytes
    word: Ints  # random state
    scratch: Ints
    events: np.ndarray


def wanted(board: Board) -> Wanted:
    """The board's streams."""
    return Wanted(*(getattr(board.streams, name) for name in Wanted._fields))


def new_traffic(slots: int, seed: int, fds: int = 65536) -> Traffic:
    """No socket yet; `seed` (not 0) decides the gaps."""
    senders = np.zeros(slots, _SENDER)
    senders["fd"] = NOTHING
    connections = np.zeros(4 * slots + 64, _CONNECTION)
    connections["fd"] = NOTHING
    heads = np.zeros((connections.size + 1, 3), np.int64)
    return Traffic(
        senders,
        np.zeros((slots + 1) * 16, np.uint8),
        new_agenda(slots),
        connections,
        heads,
        heads.reshape(-1).view(np.uint8),
        np.zeros(fds, np.int64),
        np.full(fds, NOTHING, np.int64),
        np.zeros(8192, np.int64),
        np.zeros(INBOX_BYTES, np.uint8),
        np.full(1, seed, np.int64),
        np.zeros(2, np.int64),
        np.zeros(EVENTS * EVENT_WORDS, np.uint32),
    )


@compiled
def payload_bytes(t: Traffic, w: Wanted, slot: int) -> int:
    """How long the datagrams or records of a stream are."""
    headers = TCP_BYTES if t.senders[slot].protocol == TCP else UDP_BYTES
    return max(HEAD_BYTES, min(LONGEST_BYTES, long(w.packet_bytes[slot])) - headers)


@compiled
def _gap_ns(t: Traffic, w: Wanted, slot: int, share: float) -> int:
    """`share` of the mean gap between the packets of a stream that is on."""
    gap_ns = 8e9 * max(HEAD_BYTES, w.packet_bytes[slot]) / t.senders[slot].rate_bps
    return long(min(gap_ns * share, LONG_NS))


# -- sending ---------------------------------------------------------------------------------


@compiled
def _scan(t: Traffic, w: Wanted, now_ns: int) -> None:
    """Follow what was told since: begin, end, or change the pace of streams."""
    for slot in range(t.senders.size):
        rate_bps = w.rate_bps[slot]
        if w.on[slot] == 0 or t.senders[slot].fd < 0 or not rate_bps > 0.0:
            rate_bps = 0.0
        before_bps = t.senders[slot].rate_bps
        if rate_bps == before_bps:
            continue
        t.senders[slot].rate_bps = rate_bps
        if rate_bps == 0.0:
            put(t.agenda, slot, NEVER)
            continue
        if before_bps == 0.0:
            t.senders[slot].due_ns = now_ns + _gap_ns(t, w, slot, random(t.word, 0))
        else:
            left_ns = max(0, t.senders[slot].due_ns - now_ns) * (before_bps / rate_bps)
            t.senders[slot].due_ns = now_ns + long(min(left_ns, LONG_NS))
        put(t.agenda, slot, t.senders[slot].due_ns)


@compiled
def _serve(t: Traffic, w: Wanted, slot: int, now_ns: int) -> None:
    """Send what a stream has due, and note when to look at it again."""
    if t.senders[slot].rate_bps <= 0.0:
        put(t.agenda, slot, NEVER)
        return
    tcp = t.senders[slot].protocol == TCP
    if tcp and t.senders[slot].state == CLOSED and now_ns >= t.senders[slot].moved_ns:
        _begin(t, w, slot, now_ns)
    stuck = False
    while t.senders[slot].due_ns <= now_ns and not stuck:
        late = now_ns - t.senders[slot].due_ns > CREDIT_NS
        if late or not tcp:
            w.wanted[slot] += 1
            if tcp:
                w.refused[slot] += 1
            elif not late:
                _send_datagram(t, w, slot)
        elif _send_record(t, w, slot):
            w.wanted[slot] += 1
        else:
            stuck = True
            break
        t.senders[slot].due_ns += _gap_ns(t, w, slot, 0.5 + random(t.word, 0))
    put(t.agenda, slot, now_ns + RETRY_NS if stuck else t.senders[slot].due_ns)


@compiled
def _write_head(t: Traffic, slot: int, number: int, stamp_ns: int) -> None:
    t.outbox[0] = slot
    t.outbox[1] = number
    t.outbox[2] = stamp_ns


@compiled
def _send_datagram(t: Traffic, w: Wanted, slot: int) -> None:
    """Send a datagram; one that the socket does not take is not counted as sent."""
    _write_head(t, slot, w.sent[slot], clock_ns(t.scratch))
    size = payload_bytes(t, w, slot)
    flags = MSG_DONTWAIT | MSG_NOSIGNAL
    target = address(t.targets) + 16 * slot
    if sendto(t.senders[slot].fd, address(t.outbox), size, flags, target, 16) >= 0:
        w.sent[slot] += 1


@compiled
def _send_record(t: Traffic, w: Wanted, slot: int) -> bool:
    """Begin the next record if there is room, after the rest of the one before."""
    if t.senders[slot].state != OPEN or not _send_rest(t, slot):
        return False
    t.senders[slot].record = payload_bytes(t, w, slot)
    t.senders[slot].number = w.sent[slot]
    t.senders[slot].stamp_ns = clock_ns(t.scratch)
    t.senders[slot].unsent = t.senders[slot].record
    _send_rest(t, slot)
    if t.senders[slot].unsent == t.senders[slot].record:
        t.senders[slot].unsent = 0
        return False
    w.sent[slot] += 1
    return True


@compiled
def _send_rest(t: Traffic, slot: int) -> bool:
    """Whether nothing of the record begun is left to send."""
    unsent = t.senders[slot].unsent
    if unsent == 0:
        return True
    _write_head(t, slot, t.senders[slot].number, t.senders[slot].stamp_ns)
    at = address(t.outbox) + t.senders[slot].record - unsent
    size = send(t.senders[slot].fd, at, unsent, MSG_DONTWAIT | MSG_NOSIGNAL)
    if size >= 0:
        t.senders[slot].passed += size
        t.senders[slot].unsent = unsent - size
        return bool(size == unsent)
    return False


# -- connections of senders ------------------------------------------------------------------


@compiled
def _begin(t: Traffic, w: Wanted, slot: int, now_ns: int) -> None:
    """Begin to connect."""
    # Linux forgets the segment size when a connection ends; without it, records would be joined
    # to packets that are too long for the wires.
    t.scratch[0] = min(LONGEST_SEGMENT, payload_bytes(t, w, slot) + TCP_BYTES - IP_TCP_BYTES)
    fd = t.senders[slot].fd
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, address(t.scratch), 4)
    t.senders[slot].unsent = 0
    t.senders[slot].passed = 0
    t.senders[slot].acked = 0
    t.senders[slot].moved_ns = now_ns
    t.senders[slot].state = CONNECTING
    _go_on_connecting(t, slot, now_ns)


@compiled
def _go_on_connecting(t: Traffic, slot: int, now_ns: int) -> None:
    """See whether the connection is there; if it was refused, have it tried again later."""
    fd = t.senders[slot].fd
    if connect(fd, address(t.targets) + 16 * slot, 16) == 0:
        t.senders[slot].state = OPEN
        return
    why = errno(t.scratch)
    if why == EISCONN:
        t.senders[slot].state = OPEN
    elif why not in (EINPROGRESS, EALREADY):
        _disconnect(t, slot, now_ns + AGAIN_NS)


@compiled
def _disconnect(t: Traffic, slot: int, again_ns: int) -> None:
    """Give a connection up and have it made anew, from and to the same ports."""
    fd = t.senders[slot].fd
    connect(fd, address(t.targets) + 16 * t.senders.size, 16)
    t.scratch[1] = 4
    # Reading the error clears it; else the next connection would begin with that of this one.
    getsockopt(fd, SOL_SOCKET, SO_ERROR, address(t.scratch), address(t.scratch) + 8)
    t.senders[slot].state = CLOSED
    t.senders[slot].unsent = 0
    t.senders[slot].moved_ns = again_ns


@compiled
def _check(t: Traffic, control: Ints, now_ns: int) -> None:
    """Make connections anew on which nothing was acknowledged for long."""
    for slot in range(t.senders.size):
        if t.senders[slot].fd < 0 or t.senders[slot].protocol != TCP:
            continue
        state = t.senders[slot].state
        if state == OPEN:
            t.scratch[0] = 0
            ioctl(t.senders[slot].fd, SIOCOUTQ, address(t.scratch))
            waiting = t.scratch[0] & 0xFFFFFFFF
            acked = t.senders[slot].passed - waiting
            if waiting == 0 or acked != t.senders[slot].acked:
                t.senders[slot].acked = acked
                t.senders[slot].moved_ns = now_ns
        if state != CLOSED and now_ns - t.senders[slot].moved_ns > STUCK_NS:
            _disconnect(t, slot, now_ns)
            control[RECONNECTED] += 1


@compiled
def _sender_event(t: Traffic, w: Wanted, control: Ints, slot: int, flags: int, now_ns: int) -> None:
    """A sender has room again, is connected, or lost its connection."""
    if t.senders[slot].protocol != TCP:
        return
    if t.senders[slot].state == CONNECTING:
        _go_on_connecting(t, slot, now_ns)
    elif t.senders[slot].state == OPEN and flags & (EPOLL_GONE | EPOLL_CLOSED):
        _disconnect(t, slot, now_ns)
        control[RECONNECTED] += 1
    if t.senders[slot].state == OPEN:
        _send_rest(t, slot)
    _serve(t, w, slot, now_ns)


# -- receiving -------------------------------------------------------------------------------


@compiled
def _is_ours(t: Traffic, w: Wanted, row: int, receiver: int, protocol: int, now_ns: int) -> bool:
    """Whether the head in `heads[row]` is one that this process sent to that receiver."""
    slot, number, stamp_ns = t.heads[row, 0], t.heads[row, 1], t.heads[row, 2]
    if slot < 0 or slot >= t.senders.size or stamp_ns > now_ns or stamp_ns < now_ns - OLD_NS:
        return False
    if t.senders[slot].protocol != protocol or t.senders[slot].receiver != receiver:
        return False
    if t.senders[slot].fd < 0 or number < 0:
        return False
    # A datagram may be one that the plant of another network sent and that was steered here.
    return protocol == UDP or bool(w.highest[slot] <= number < w.sent[slot])


@compiled
def _count(t: Traffic, w: Wanted, row: int, now_ns: int) -> None:
    """Count the packet whose head is in `heads[row]`."""
    slot = t.heads[row, 0]
    w.received[slot] += 1
    w.received_bytes[slot] += w.packet_bytes[slot]
    w.latency_ns[slot] += now_ns - t.heads[row, 2]
    w.highest[slot] = max(w.highest[slot], t.heads[row, 1] + 1)


@compiled
def _take_datagrams(t: Traffic, w: Wanted, control: Ints, fd: int) -> None:
    """Read datagrams; only their heads are copied."""
    row = t.connections.size
    head = address(t.heads) + HEAD_BYTES * row
    for _ in range(BATCH):
        size = recv(fd, head, HEAD_BYTES, MSG_DONTWAIT | MSG_TRUNC)
        if size < 0:
            return
        now_ns = clock_ns(t.scratch)
        ours = size >= HEAD_BYTES and _is_ours(t, w, row, t.index_of[fd], UDP, now_ns)
        if ours and size == payload_bytes(t, w, t.heads[row, 0]):
            _count(t, w, row, now_ns)
        else:
            control[STRANGE] += 1


@compiled
def _accept(t: Traffic, epoll: int, listener: int) -> None:
    """Accept connections; one for which there is no room is closed at once."""
    for _ in range(BATCH):
        fd = accept4(listener, 0, 0, SOCK_NONBLOCK_CLOEXEC)
        if fd < 0:
            return
        place = 0
        while place < t.connections.size and t.connections[place].fd >= 0:
            place += 1
        if place == t.connections.size or fd >= t.kind_of.size:
            close(fd)
            continue
        t.connections[place].fd = fd
        t.connections[place].receiver = t.index_of[listener]
        t.connections[place].slot = NOTHING
        t.connections[place].have = 0
        t.kind_of[fd] = CONNECTION
        t.index_of[fd] = place
        watch(epoll, fd, EPOLL_IN, t.scratch)


@compiled
def hang_up(t: Traffic, place: int) -> None:
    """Close an accepted connection."""
    fd = t.connections[place].fd
    t.kind_of[fd] = 0
    t.index_of[fd] = NOTHING
    t.connections[place].fd = NOTHING
    close(fd)


@compiled
def _take_stream(t: Traffic, w: Wanted, control: Ints, place: int) -> None:
    """Read from a connection; one that brings anything but our records is closed."""
    for _ in range(8):
        size = recv(t.connections[place].fd, address(t.inbox), INBOX_BYTES, MSG_DONTWAIT)
        if size == 0:
            hang_up(t, place)
        if size <= 0:
            return
        if not _parse(t, w, place, size, clock_ns(t.scratch)):
            control[STRANGE] += 1
            hang_up(t, place)
            return
        if size < INBOX_BYTES:
            return


@compiled
def _parse(t: Traffic, w: Wanted, place: int, size: int, now_ns: int) -> bool:
    """Take `size` bytes of the inbox; False if they are no records of ours."""
    have, at = t.connections[place].have, 0
    while at < size:
        if have < HEAD_BYTES:
            while have < HEAD_BYTES and at < size:
                t.head_bytes[HEAD_BYTES * place + have] = t.inbox[at]
                have += 1
                at += 1
            if have == HEAD_BYTES and not _begin_record(t, w, place, now_ns):
                return False
        if have >= HEAD_BYTES:
            step = min(t.connections[place].record - have, size - at)
            have += step
            at += step
            if have == t.connections[place].record:
                _count(t, w, place, now_ns)
                have = 0
    t.connections[place].have = have
    return True


@compiled
def _begin_record(t: Traffic, w: Wanted, place: int, now_ns: int) -> bool:
    """A head is whole: whether it is ours. The first of a connection replaces that before it."""
    if not _is_ours(t, w, place, t.connections[place].receiver, TCP, now_ns):
        return False
    slot = t.heads[place, 0]
    if t.connections[place].slot == NOTHING:
        for other in range(t.connections.size):
            if t.connections[other].fd >= 0 and t.connections[other].slot == slot:
                hang_up(t, other)
        t.connections[place].slot = slot
    t.connections[place].record = payload_bytes(t, w, slot)
    return t.connections[place].slot == slot  # type: ignore[no-any-return]


# -- the loop --------------------------------------------------------------------------------


@compiled
def _look(t: Traffic, w: Wanted, control: Ints, epoll: int, ready: int) -> None:
    """Serve the sockets that became ready."""
    for event in range(ready):
        flags = long(t.events[event * EVENT_WORDS])
        fd = long(t.events[event * EVENT_WORDS + EVENT_FD])
        kind, index = t.kind_of[fd], long(t.index_of[fd])
        if kind == SENDER:
            _sender_event(t, w, control, index, flags, clock_ns(t.scratch))
        elif kind == DATAGRAMS:
            _take_datagrams(t, w, control, fd)
        elif kind == LISTENER:
            _accept(t, epoll, fd)
        elif kind == CONNECTION:
            _take_stream(t, w, control, index)
        _send_due(t, w)


@compiled
def _send_due(t: Traffic, w: Wanted) -> int:
    """Send what is due and say what time it is."""
    now_ns = clock_ns(t.scratch)
    while next_ns(t.agenda) <= now_ns:
        _serve(t, w, due_first(t.agenda), now_ns)
    return now_ns


@compiled
def stream(t: Traffic, w: Wanted, control: Ints, stop: Ints, epoll: int) -> None:
    """Send and receive until `stop[0]` or `control[STOP]` is set.

    `epoll` watches the sockets and a file that becomes readable when `stop` is set.
    """
    scan_ns = check_ns = 0
    while stop[0] == 0 and control[STOP] == 0:
        control[ROUNDS] += 1
        now_ns = _send_due(t, w)
        if now_ns >= scan_ns:
            _scan(t, w, now_ns)
            scan_ns = now_ns + SCAN_NS
        if now_ns >= check_ns:
            _check(t, control, now_ns)
            check_ns = now_ns + CHECK_NS
        wait_ns = min(next_ns(t.agenda), scan_ns) - clock_ns(t.scratch)
        wait_ns = max(0, min(wait_ns, IDLE_NS))
        _look(t, w, control, epoll, wait(epoll, t.events, wait_ns, t.scratch))
