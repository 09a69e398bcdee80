"""The sockets of streams, and what is under way on them, as compiled code takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shadowsim.network.emulated.board import TCP, Board
from shadowsim.network.emulated.plant.agenda import Agenda, new_agenda
from shadowsim.network.emulated.plant.system import (
    EVENT_WORDS,
    EVENTS,
    Bytes,
    Ints,
    Records,
    compiled,
    long,
)

HEAD_BYTES = 24
UDP_BYTES, TCP_BYTES = 28, 52  # headers of a packet: IP and UDP; IP, TCP and timestamps
LONGEST_BYTES = 65000
INBOX_BYTES = 1 << 18
NOTHING = -1
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
