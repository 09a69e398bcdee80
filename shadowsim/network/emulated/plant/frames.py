"""Turns files that can be read into frames on wires, and frames that arrive into writes: the loop
around what `wires` decides.
"""

from __future__ import annotations

from shadowsim.network.emulated.plant.agenda import NEVER, next_ns
from shadowsim.network.emulated.plant.system import (
    EPOLL_DELETE,
    EPOLL_GONE,
    EVENT_FD,
    EVENT_WORDS,
    Ints,
    address,
    clock_ns,
    compiled,
    epoll_ctl,
    long,
    read,
    wait,
    write,
)
from shadowsim.network.emulated.plant.wires import (
    ETHERNET_BYTES,
    FRAME_BYTES,
    HEAD_BYTES,
    HEADING,
    NOTHING,
    SLOT_BYTES,
    Relay,
    Told,
    free_slot,
    offer,
    refresh,
    take_due,
    take_slot,
)

BATCH = 32  # frames read from one file before the others get their turn
REFRESH_NS = 5_000_000  # how often frames under way follow a changed rate or delay
IDLE_NS = 20_000_000  # the longest sleep

# Words of `Board.control`; the first and EARLY are told, the others counted.
STOP, INJECTED, REFUSED, NO_SLOT, EARLY, ROUNDS = 0, 1, 2, 3, 7, 8


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
