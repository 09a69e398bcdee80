"""Turns what arrives on sockets into the counters of the streams that it belongs to."""

from __future__ import annotations

from shadowsim.network.emulated.board import TCP, UDP
from shadowsim.network.emulated.plant.system import (
    EPOLL_IN,
    MSG_DONTWAIT,
    MSG_TRUNC,
    SOCK_NONBLOCK_CLOEXEC,
    Ints,
    accept4,
    address,
    clock_ns,
    close,
    compiled,
    recv,
    watch,
)
from shadowsim.network.emulated.plant.traffic import (
    CONNECTION,
    HEAD_BYTES,
    INBOX_BYTES,
    NOTHING,
    Traffic,
    Wanted,
    payload_bytes,
)

OLD_NS = 60_000_000_000  # a packet older than this is not ours
BATCH = 64
STRANGE = 4  # a word of `Board.control`, counted


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
def take_datagrams(t: Traffic, w: Wanted, control: Ints, fd: int) -> None:
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
def accept(t: Traffic, epoll: int, listener: int) -> None:
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
def take_stream(t: Traffic, w: Wanted, control: Ints, place: int) -> None:
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
