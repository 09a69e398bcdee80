"""Turns Ethernet frames that come in at one end of a cable into frames that leave the other,
with the rate, delay, queue, priorities and losses that the board tells.

Time is computed, not polled: a frame leaves the queue at max(when it came, when the link became
free) + its transmission time, whenever the loop gets to it. What `offer` and `take_due` decide
depends on the times they are given only; `relay` is the loop around them that reads and writes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shadowsim.network.emulated.board import CLASSES, Board
from shadowsim.network.emulated.plant.agenda import (
    NEVER,
    Agenda,
    due_first,
    new_agenda,
    next_ns,
    put,
)
from shadowsim.network.emulated.plant.system import (
    EPOLL_DELETE,
    EPOLL_GONE,
    EVENT_FD,
    EVENT_WORDS,
    EVENTS,
    Bytes,
    Ints,
    Records,
    address,
    clock_ns,
    compiled,
    epoll_ctl,
    long,
    random,
    read,
    wait,
    write,
)

SLOTS = 8192  # frames that can be under way at once
HEAD_BYTES = 8  # before each frame: where an injected message says its link
FRAME_BYTES = 34816  # longest frame
SLOT_BYTES = HEAD_BYTES + FRAME_BYTES
ETHERNET_BYTES = 14  # not counted on a wire, so that sizes are those of IP packets
BATCH = 32  # frames read from one file before the others get their turn
REFRESH_NS = 5_000_000  # how often frames under way follow a changed rate or delay
IDLE_NS = 20_000_000  # the longest sleep
NOTHING = -1

# Words of `Board.control`; the first and the last are told, the others counted.
STOP, INJECTED, REFUSED, NO_SLOT, EARLY, ROUNDS = 0, 1, 2, 3, 7, 8
# Words of `Relay.word`.
FREE, RANDOM, HEADING = 0, 1, 2

_SLOT = np.dtype([("bytes", "i8"), ("after", "i8"), ("came_ns", "i8"), ("left_ns", "i8")])
_LINK = np.dtype(
    [
        ("fd", "i8"),  # that its frames are written to; -1: none
        ("serving", "i8"),  # the slot in transmission
        ("first", "i8"),  # of the slots in propagation
        ("last", "i8"),
        ("served_bps", "f8"),  # rate at which the end of the transmission was computed
        ("seen_delay_ns", "i8"),  # delay with which the next arrival was
    ]
)
_QUEUE = np.dtype([("first", "i8"), ("last", "i8"), ("waiting", "i8")])


class Told(NamedTuple):
    """The fields of `Wires`, as compiled code takes them."""

    up: Ints
    rate_bps: np.ndarray
    delay_ns: Ints
    queue_packets: Ints
    loss: np.ndarray
    mtu_bytes: Ints
    level: Ints
    stands_for: Ints
    offered_packets: Ints
    offered_bytes: Ints
    carried_packets: Ints
    carried_bytes: Ints
    dropped_packets: Ints
    dropped_bytes: Ints


class Relay(NamedTuple):
    """The frames under way and the state of each directed link; survives a stop of the loop."""

    frames: Bytes  # [(slots + 1) * SLOT_BYTES]
    slots: Records  # [slots + 1]; the last takes what has to be thrown away
    links: Records  # [links]
    queues: Records  # [links * CLASSES], one per link and level
    agenda: Agenda  # link: its transmission ends; links + link: its next frame arrives
    link_of: Ints  # [fds] the link whose frames are read from that file; -1: none
    word: Ints
    scratch: Ints
    events: np.ndarray


def told(board: Board) -> Told:
    """The board's wires."""
    return Told(*(getattr(board.wires, name) for name in Told._fields))


def new_relay(links: int, seed: int, fds: int = 65536, slots: int = SLOTS) -> Relay:
    """No frame under way and no cable; `seed` (not 0) decides which frames are lost at random."""
    slot = np.zeros(slots + 1, _SLOT)
    slot["after"] = np.arange(1, slots + 2)
    slot["after"][slots - 1] = NOTHING
    link = np.zeros(links, _LINK)
    queue = np.zeros(links * CLASSES, _QUEUE)
    for table, names in ((link, ("fd", "serving", "first", "last")), (queue, ("first", "last"))):
        for name in names:
            table[name] = NOTHING
    word = np.zeros(4, np.int64)
    word[RANDOM] = seed
    return Relay(
        np.empty((slots + 1) * SLOT_BYTES, np.uint8),
        slot,
        link,
        queue,
        new_agenda(2 * links),
        np.full(fds, NOTHING, np.int64),
        word,
        np.zeros(2, np.int64),
        np.zeros(EVENTS * EVENT_WORDS, np.uint32),
    )


@compiled
def take_slot(r: Relay) -> int:
    """An unused slot, or NOTHING."""
    slot = r.word[FREE]
    if slot != NOTHING:
        r.word[FREE] = r.slots[slot].after
    return slot  # type: ignore[no-any-return]


@compiled
def free_slot(r: Relay, slot: int) -> None:
    """Give a slot back."""
    r.slots[slot].after = r.word[FREE]
    r.word[FREE] = slot


@compiled
def _drop(r: Relay, w: Told, link: int, slot: int) -> None:
    """Count a frame as dropped and forget it."""
    w.dropped_packets[link] += 1
    w.dropped_bytes[link] += max(0, r.slots[slot].bytes - ETHERNET_BYTES)
    free_slot(r, slot)


@compiled
def _is_up(w: Told, link: int) -> bool:
    return w.up[link] != 0 and w.rate_bps[link] > 0.0  # type: ignore[no-any-return]


@compiled
def _level(r: Relay, w: Told, link: int, slot: int) -> int:
    """The priority level of a frame, from the DSCP of its IPv4 packet."""
    at = slot * SLOT_BYTES + HEAD_BYTES
    kind = 1
    if r.slots[slot].bytes > 15 and r.frames[at + 12] == 8 and r.frames[at + 13] == 0:
        dscp = r.frames[at + 15] >> 2
        kind = 0 if dscp == 46 else (2 if dscp == 8 else 1)
    return max(0, min(CLASSES - 1, long(w.level[link, kind])))


@compiled
def offer(r: Relay, w: Told, link: int, slot: int, now_ns: int) -> None:
    """A frame that is in `slot` comes in at the tail of a link at `now_ns`."""
    packet_bytes = max(0, r.slots[slot].bytes - ETHERNET_BYTES)
    w.offered_packets[link] += 1
    w.offered_bytes[link] += packet_bytes
    if not _is_up(w, link) or packet_bytes > w.mtu_bytes[link]:
        _drop(r, w, link, slot)
        return
    queue = link * CLASSES + _level(r, w, link, slot)
    idle = r.links[link].serving == NOTHING
    if not idle and r.queues[queue].waiting >= w.queue_packets[link]:
        _drop(r, w, link, slot)
        return
    r.slots[slot].after = NOTHING
    r.slots[slot].came_ns = now_ns
    if r.queues[queue].last == NOTHING:
        r.queues[queue].first = slot
    else:
        r.slots[r.queues[queue].last].after = slot
    r.queues[queue].last = slot
    r.queues[queue].waiting += 1
    if idle:
        _serve(r, w, link, now_ns)


@compiled
def _pop(r: Relay, queue: int) -> int:
    """Take the first frame out of a queue, or NOTHING."""
    slot = r.queues[queue].first
    if slot != NOTHING:
        r.queues[queue].first = r.slots[slot].after
        if r.queues[queue].first == NOTHING:
            r.queues[queue].last = NOTHING
        r.queues[queue].waiting -= 1
    return slot  # type: ignore[no-any-return]


@compiled
def _serve(r: Relay, w: Told, link: int, from_ns: int) -> None:
    """Begin the transmission of the first frame of the first level that has one."""
    slot = NOTHING
    for queue in range(link * CLASSES, (link + 1) * CLASSES):
        slot = _pop(r, queue)
        if slot != NOTHING:
            break
    r.links[link].serving = slot
    ends_ns = NEVER
    if slot != NOTHING:
        bits = 8.0 * max(0, r.slots[slot].bytes - ETHERNET_BYTES)
        rate_bps = w.rate_bps[link]
        r.links[link].served_bps = rate_bps
        ends_ns = from_ns + _long_ns(bits * 1e9, rate_bps)
    put(r.agenda, link, ends_ns)


@compiled
def _long_ns(bits_e9: float, rate_bps: float) -> int:
    """How long so many bits take, an hour at most: no rate told can make a time overflow."""
    return long(min(3.6e12, bits_e9 / rate_bps)) if rate_bps > 0.0 else 3_600_000_000_000


@compiled
def _served(r: Relay, w: Told, link: int, now_ns: int) -> None:
    """A transmission ends: the frame propagates, or is lost at random, and the next one begins."""
    slot = r.links[link].serving
    w.carried_packets[link] += 1
    w.carried_bytes[link] += max(0, r.slots[slot].bytes - ETHERNET_BYTES)
    if w.loss[link] > 0.0 and random(r.word, RANDOM) < w.loss[link]:
        _drop(r, w, link, slot)
    else:
        came_ns = r.slots[slot].came_ns
        r.slots[slot].left_ns = came_ns + (now_ns - came_ns) // max(1, w.stands_for[link])
        r.slots[slot].after = NOTHING
        if r.links[link].last == NOTHING:
            r.links[link].first = slot
            _expect(r, w, link)
        else:
            r.slots[r.links[link].last].after = slot
        r.links[link].last = slot
    _serve(r, w, link, now_ns)


@compiled
def _expect(r: Relay, w: Told, link: int) -> None:
    """Compute when the first frame in propagation arrives."""
    slot = r.links[link].first
    at_ns = NEVER
    if slot != NOTHING:
        delay_ns = w.delay_ns[link]
        r.links[link].seen_delay_ns = delay_ns
        at_ns = r.slots[slot].left_ns + max(0, delay_ns)
    put(r.agenda, r.links.size + link, at_ns)


@compiled
def take_due(r: Relay, w: Told, now_ns: int) -> int:
    """Let happen what is due until a frame arrives: its slot, its link in word HEADING.

    NOTHING when no more frame arrives until `now_ns`. Whoever takes the slot frees it.
    """
    links = r.links.size
    while next_ns(r.agenda) <= now_ns:
        thing = due_first(r.agenda)
        if thing < links:
            _served(r, w, thing, r.agenda.at_ns[thing])
            continue
        link = thing - links
        slot = r.links[link].first
        r.links[link].first = r.slots[slot].after
        if r.links[link].first == NOTHING:
            r.links[link].last = NOTHING
        _expect(r, w, link)
        r.word[HEADING] = link
        return slot  # type: ignore[no-any-return]
    return NOTHING


@compiled
def refresh(r: Relay, w: Told, now_ns: int) -> None:
    """Follow what was told since: frames under way take a new rate or delay, or meet a down wire.

    Frames in propagation still arrive when a wire goes down; those that wait are dropped.
    """
    for link in range(r.links.size):
        slot = r.links[link].serving
        if slot != NOTHING and not _is_up(w, link):
            while slot != NOTHING:
                _drop(r, w, link, slot)
                _serve(r, w, link, now_ns)
                slot = r.links[link].serving
        elif slot != NOTHING and w.rate_bps[link] != r.links[link].served_bps:
            left_ns = max(0, r.agenda.at_ns[link] - now_ns)
            rate_bps = w.rate_bps[link]
            put(r.agenda, link, now_ns + _long_ns(left_ns * r.links[link].served_bps, rate_bps))
            r.links[link].served_bps = rate_bps
        if r.links[link].first != NOTHING and w.delay_ns[link] != r.links[link].seen_delay_ns:
            _expect(r, w, link)


@compiled
def _deliver(r: Relay, w: Told, control: Ints, now_ns: int) -> None:
    """Write the frames that have arrived, or will within `control[EARLY]`.

    What that takes off the wires is what a pass through a real switch adds to them; and frames
    that are handed over together cost the switches far less.
    """
    while True:
        slot = take_due(r, w, now_ns + control[EARLY])
        if slot == NOTHING:
            return
        fd = r.links[r.word[HEADING]].fd
        at = address(r.frames) + slot * SLOT_BYTES + HEAD_BYTES
        if fd < 0 or write(fd, at, long(r.slots[slot].bytes)) < 0:
            control[REFUSED] += 1
        free_slot(r, slot)


@compiled
def _take_in(r: Relay, w: Told, control: Ints, link: int, slot: int, now_ns: int) -> None:
    """Offer a frame that was read; without a free slot it is lost."""
    if slot < r.slots.size - 1:
        offer(r, w, link, slot, now_ns)
        return
    packet_bytes = max(0, r.slots[slot].bytes - ETHERNET_BYTES)
    w.offered_packets[link] += 1
    w.offered_bytes[link] += packet_bytes
    w.dropped_packets[link] += 1
    w.dropped_bytes[link] += packet_bytes
    control[NO_SLOT] += 1


@compiled
def _read_frames(r: Relay, w: Told, control: Ints, fd: int, injected: bool, now_ns: int) -> int:
    """Take up to BATCH frames from the end of a cable, or injected ones; say how many."""
    head_bytes = HEAD_BYTES if injected else 0
    for count in range(BATCH):
        slot = take_slot(r)
        into = slot if slot != NOTHING else r.slots.size - 1
        at = into * SLOT_BYTES + HEAD_BYTES - head_bytes
        size = read(fd, address(r.frames) + at, FRAME_BYTES + head_bytes) - head_bytes
        link = long(r.link_of[fd])
        if injected and size > 0:
            link = _injected_link(r, into)
        if size > 0 and link != NOTHING:
            r.slots[into].bytes = size
            control[INJECTED] += injected
            _take_in(r, w, control, link, into, now_ns)
            continue
        if slot != NOTHING:
            free_slot(r, slot)
        if size + head_bytes <= 0:
            return count
    return BATCH


@compiled
def _injected_link(r: Relay, slot: int) -> int:
    """The link that the head of an injected message names, or NOTHING if there is none such."""
    link = long(0)
    for byte in range(HEAD_BYTES - 1, -1, -1):
        link = (link << 8) | long(r.frames[slot * SLOT_BYTES + byte])
    return link if 0 <= link < r.links.size and r.links[link].fd >= 0 else NOTHING


@compiled
def _look(r: Relay, w: Told, control: Ints, epoll: int, inject: int, ready: int) -> None:
    """Serve the files that became ready; one that is gone is not watched any more."""
    for event in range(ready):
        fd = long(r.events[event * EVENT_WORDS + EVENT_FD])
        if fd != inject and r.link_of[fd] == NOTHING:
            continue
        now_ns = clock_ns(r.scratch)
        _deliver(r, w, control, now_ns)
        frames = _read_frames(r, w, control, fd, fd == inject, now_ns)
        if frames == 0 and r.events[event * EVENT_WORDS] & EPOLL_GONE:
            epoll_ctl(epoll, EPOLL_DELETE, fd, address(r.scratch))


@compiled
def relay(r: Relay, w: Told, control: Ints, stop: Ints, epoll: int, inject: int) -> None:
    """Move frames until `stop[0]` or `control[STOP]` is set.

    `epoll` watches the ends of the cables, the file `inject` of injected frames (-1: none), and
    one that becomes readable when `stop` is set.
    """
    refresh_ns = 0
    while stop[0] == 0 and control[STOP] == 0:
        control[ROUNDS] += 1
        now_ns = clock_ns(r.scratch)
        if now_ns >= refresh_ns:
            refresh(r, w, now_ns)
            refresh_ns = now_ns + REFRESH_NS
        _deliver(r, w, control, now_ns)
        wait_ns = IDLE_NS
        if next_ns(r.agenda) != NEVER:
            due_ns = next_ns(r.agenda) - control[EARLY] // 2
            wait_ns = max(0, min(due_ns, refresh_ns) - clock_ns(r.scratch))
        ready = wait(epoll, r.events, wait_ns, r.scratch)
        _look(r, w, control, epoll, inject, ready)
