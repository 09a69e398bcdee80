"""Turns the frames that mirror and steering ports give into counts per stream.

Frames of steering ports go on, with the number of the link they are to come in by, to the plant
of another network. Nothing is ever written to a port: what crosses, crosses one way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shadowsim.network.emulated.plant.system import (
    EPOLL_DELETE,
    EPOLL_GONE,
    EVENT_FD,
    EVENT_WORDS,
    EVENTS,
    MSG_DONTWAIT,
    Bytes,
    Ints,
    Numbers,
    address,
    compiled,
    epoll_ctl,
    random,
    read,
    send,
    wait,
)

HEAD_BYTES = 8  # before each frame that goes on: the number of its link
ROOM_BYTES = 34900
SHORTEST_BYTES = 38  # Ethernet, IPv4 without options, ports
IDLE_NS = 50_000_000
BATCH = 64  # frames read from one port before the others get their turn
NOTHING = -1
ANSWER = -2  # of a TCP receiver: belongs to a demand, but is none of its packets
MIRROR, DIVERT = 1, 2  # what a port is, in `Ports.kind`
# Words of `Counted.word`.
FRAMES, CAPTURED, STRANGERS, DIVERTED_STRANGERS, REFUSED = 0, 1, 2, 3, 4


class Ports(NamedTuple):
    """`kind[fd]`; `key` and `stream`, sorted by key, say whose five-tuple is whose; `source` and
    `link`, sorted by source, by which link an address comes in. `fraction[0]` of the copies is
    kept, cut to `snap[0]` bytes.
    """

    kind: Numbers
    key: np.ndarray
    stream: Ints
    source: Ints
    link: Ints
    fraction: np.ndarray
    snap: Ints


class Counted(NamedTuple):
    """Per stream: packets and bytes copied and kept, packets and bytes diverted. Only growing."""

    copied_packets: Ints
    copied_bytes: Ints
    diverted_packets: Ints
    diverted_bytes: Ints
    word: Ints


@compiled
def five_tuple_key(source: int, destination: int, protocol: int, ports: int) -> np.uint64:
    """One number for a five-tuple; `ports` is source port << 16 | destination port."""
    found = np.uint64(0xCBF29CE484222325)
    for value in (source, destination, protocol, ports):
        found = (found ^ np.uint64(value)) * np.uint64(0x100000001B3)
        found ^= found >> np.uint64(29)
    return found


@compiled
def _number(frame: Bytes, at: int, size: int) -> int:
    value = np.int64(0)
    for place in range(size):
        value = (value << 8) | np.int64(frame[at + place])
    return value  # type: ignore[return-value]


@compiled
def _found(values: np.ndarray, wanted: int | np.uint64, names: Ints) -> int:
    at = np.searchsorted(values, wanted)
    return names[at] if at < values.size and values[at] == wanted else NOTHING


@compiled
def _stream(frame: Bytes, at: int, size: int, ports: Ports) -> int:
    """The stream a frame belongs to, or ANSWER, or NOTHING."""
    ip = at + 14
    if size < SHORTEST_BYTES or frame[at + 12] != 8 or frame[at + 13] != 0 or frame[ip] != 0x45:
        return NOTHING
    key = five_tuple_key(
        _number(frame, ip + 12, 4),
        _number(frame, ip + 16, 4),
        _number(frame, ip + 9, 1),
        _number(frame, ip + 20, 4),
    )
    return _found(ports.key, key, ports.stream)


@compiled
def _count_copy(frame: Bytes, size: int, ports: Ports, counted: Counted, state: Ints) -> None:
    if random(state, 0) >= ports.fraction[0]:
        return
    stream = _stream(frame, HEAD_BYTES, size, ports)
    if stream == ANSWER:
        return
    counted.word[CAPTURED] += min(size, ports.snap[0])
    if stream == NOTHING:
        counted.word[STRANGERS] += 1
        return
    counted.copied_packets[stream] += 1
    counted.copied_bytes[stream] += _number(frame, HEAD_BYTES + 16, 2)


@compiled
def _pass_on(frame: Bytes, size: int, ports: Ports, counted: Counted, inject: int) -> None:
    stream = _stream(frame, HEAD_BYTES, size, ports)
    if stream == NOTHING:
        counted.word[DIVERTED_STRANGERS] += 1
    elif stream != ANSWER:
        counted.diverted_packets[stream] += 1
        counted.diverted_bytes[stream] += _number(frame, HEAD_BYTES + 16, 2)
    if size < SHORTEST_BYTES or inject < 0:
        return
    link = _found(ports.source, _number(frame, HEAD_BYTES + 26, 4), ports.link)
    if link == NOTHING:
        return
    for place in range(HEAD_BYTES):
        frame[place] = (link >> (8 * place)) & 255
    if send(inject, address(frame), size + HEAD_BYTES, MSG_DONTWAIT) < 0:
        counted.word[REFUSED] += 1


@compiled
def cross(ports: Ports, counted: Counted, stop: Ints, epoll: int, inject: int, seed: int) -> None:
    """Read the ports that `epoll` watches until `stop[0]`; frames go on to `inject`, if not -1."""
    frame = np.zeros(ROOM_BYTES, np.uint8)
    events = np.zeros(EVENTS * EVENT_WORDS, np.uint32)
    scratch = np.zeros(2, np.int64)
    state = np.full(1, seed, np.int64)
    while stop[0] == 0:
        for event in range(wait(epoll, events, IDLE_NS, scratch)):
            fd = np.int64(events[event * EVENT_WORDS + EVENT_FD])
            for count in range(BATCH):
                size = read(fd, address(frame) + HEAD_BYTES, ROOM_BYTES - HEAD_BYTES)
                if size <= 0:
                    if count == 0 and events[event * EVENT_WORDS] & EPOLL_GONE:
                        epoll_ctl(epoll, EPOLL_DELETE, fd, address(scratch))
                    break
                counted.word[FRAMES] += 1
                if ports.kind[fd] == MIRROR:
                    _count_copy(frame, size, ports, counted, state)
                elif ports.kind[fd] == DIVERT:
                    _pass_on(frame, size, ports, counted, inject)
