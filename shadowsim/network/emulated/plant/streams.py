"""Turns the streams that the board tells into stamped packets on real sockets, and what arrives
into its counters.

A packet's payload begins with three 8-byte words (slot, sequence number, CLOCK_MONOTONIC in ns),
zeros fill the rest. UDP carries one packet in a datagram, TCP as many as there are in records of
one size. Gaps between packets are drawn evenly from 0.5 to 1.5 of the mean gap, so that streams of
one rate do not march in step.

`traffic` is the state, `sending` and `receiving` are the two ways; this is the loop around them.
"""

from __future__ import annotations

from shadowsim.network.emulated.plant.agenda import due_first, next_ns
from shadowsim.network.emulated.plant.receiving import accept, take_datagrams, take_stream
from shadowsim.network.emulated.plant.sending import check, scan, sender_event, serve
from shadowsim.network.emulated.plant.system import (
    EVENT_FD,
    EVENT_WORDS,
    Ints,
    clock_ns,
    compiled,
    long,
    wait,
)
from shadowsim.network.emulated.plant.traffic import (
    CONNECTION,
    DATAGRAMS,
    LISTENER,
    SENDER,
    Traffic,
    Wanted,
)

SCAN_NS = 5_000_000  # how often the board is looked at
CHECK_NS = 250_000_000  # how often connections are
IDLE_NS = 20_000_000
STOP, ROUNDS = 0, 9  # words of `Board.control`; the first is told, the other counted


@compiled
def _look(t: Traffic, w: Wanted, control: Ints, epoll: int, ready: int) -> None:
    """Serve the sockets that became ready."""
    for event in range(ready):
        flags = long(t.events[event * EVENT_WORDS])
        fd = long(t.events[event * EVENT_WORDS + EVENT_FD])
        kind, index = t.kind_of[fd], long(t.index_of[fd])
        if kind == SENDER:
            sender_event(t, w, control, index, flags, clock_ns(t.scratch))
        elif kind == DATAGRAMS:
            take_datagrams(t, w, control, fd)
        elif kind == LISTENER:
            accept(t, epoll, fd)
        elif kind == CONNECTION:
            take_stream(t, w, control, index)
        _send_due(t, w)


@compiled
def _send_due(t: Traffic, w: Wanted) -> int:
    """Send what is due and say what time it is."""
    now_ns = clock_ns(t.scratch)
    while next_ns(t.agenda) <= now_ns:
        serve(t, w, due_first(t.agenda), now_ns)
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
            scan(t, w, now_ns)
            scan_ns = now_ns + SCAN_NS
        if now_ns >= check_ns:
            check(t, control, now_ns)
            check_ns = now_ns + CHECK_NS
        wait_ns = min(next_ns(t.agenda), scan_ns) - clock_ns(t.scratch)
        wait_ns = max(0, min(wait_ns, IDLE_NS))
        _look(t, w, control, epoll, wait(epoll, t.events, wait_ns, t.scratch))
