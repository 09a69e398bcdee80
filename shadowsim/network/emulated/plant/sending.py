"""Turns what is due of streams into packets and records on sockets, and keeps TCP connected."""

from __future__ import annotations

from shadowsim.network.emulated.board import TCP
from shadowsim.network.emulated.plant.agenda import NEVER, put
from shadowsim.network.emulated.plant.system import (
    EALREADY,
    EINPROGRESS,
    EISCONN,
    EPOLL_CLOSED,
    EPOLL_GONE,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SIOCOUTQ,
    SO_ERROR,
    SOL_SOCKET,
    TCP_MAXSEG,
    Ints,
    address,
    clock_ns,
    compiled,
    connect,
    errno,
    getsockopt,
    ioctl,
    long,
    random,
    send,
    sendto,
    setsockopt,
)
from shadowsim.network.emulated.plant.traffic import (
    CLOSED,
    CONNECTING,
    HEAD_BYTES,
    OPEN,
    TCP_BYTES,
    Traffic,
    Wanted,
    payload_bytes,
)

IP_TCP_BYTES = 40  # without options
LONGEST_SEGMENT = 32767
CREDIT_NS = 50_000_000  # how long a packet may wait for room
RETRY_NS = 20_000_000  # how often room is looked for that nobody told of
STUCK_NS = 2_000_000_000  # without progress: the connection is made anew
AGAIN_NS = 200_000_000  # after a refused connection
LONG_NS = 3_600_000_000_000
RECONNECTED = 5  # a word of `Board.control`, counted


@compiled
def _gap_ns(t: Traffic, w: Wanted, slot: int, share: float) -> int:
    """`share` of the mean gap between the packets of a stream that is on."""
    gap_ns = 8e9 * max(HEAD_BYTES, w.packet_bytes[slot]) / t.senders[slot].rate_bps
    return long(min(gap_ns * share, LONG_NS))


# -- sending ---------------------------------------------------------------------------------


@compiled
def scan(t: Traffic, w: Wanted, now_ns: int) -> None:
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
def serve(t: Traffic, w: Wanted, slot: int, now_ns: int) -> None:
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
def check(t: Traffic, control: Ints, now_ns: int) -> None:
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
def sender_event(t: Traffic, w: Wanted, control: Ints, slot: int, flags: int, now_ns: int) -> None:
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
    serve(t, w, slot, now_ns)
