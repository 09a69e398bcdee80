"""A count of links and flows to one block of memory that a network and its plant share.

The network writes what is *told*, the plant what is *counted*; nobody writes both. Every word is
8 bytes wide and aligned, so that each is read whole. Counters only grow.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CLASSES = 3  # traffic classes, as in shadowsim.model.traffic
UDP, TCP = 0, 1
CONTROL_WORDS = 10


@dataclass(frozen=True)
class Wires:
    """Directed links, `[links]` each, numbered as `Topology` does.

    Told: `up` (1 or 0), `rate_bps`, `delay_ns` (propagation), `queue_packets` (what may wait),
    `loss` (fraction lost at random after the queue), `mtu_bytes` (longer IP packets are dropped),
    `level` `[links, CLASSES]` (the priority of each class, 0 is served first), `stands_for` (how
    many packets one stands for: the time it waits and is sent is that much shorter for it, as if
    it was the first of them, but not for those behind it; 1 at least).
    Counted, in frames and in bytes of IP packets: `offered_*` (came in at the tail),
    `carried_*` (left the queue; what is lost at random is among them), `dropped_*` (did not fit
    the queue or the MTU, was lost at random, or met a wire that was down).
    """

    up: Ints
    rate_bps: Floats
    delay_ns: Ints
    queue_packets: Ints
    loss: Floats
    mtu_bytes: Ints
    level: Ints
    stands_for: Ints
    offered_packets: Ints
    offered_bytes: Ints
    carried_packets: Ints
    carried_bytes: Ints
    dropped_packets: Ints
    dropped_bytes: Ints


@dataclass(frozen=True)
class Streams:
    """Streams of real packets, one per slot, `[slots]` each.

    Told: `on` (1 or 0), `rate_bps` (of IP packets, wanted), `packet_bytes` (of an IP packet).
    Counted: `wanted` packets that the rate called for, `sent` of them, `refused` (TCP had no room
    for them), `received` packets, `received_bytes` (of their IP packets), `highest` (the highest
    sequence number received, plus 1), `latency_ns` (sum over `received`).
    """

    on: Ints
    rate_bps: Floats
    packet_bytes: Ints
    wanted: Ints
    sent: Ints
    refused: Ints
    received: Ints
    received_bytes: Ints
    highest: Ints
    latency_ns: Ints


@dataclass(frozen=True)
class Board:
    """The whole block. `fd` is a memfd that can be passed to another process."""

    fd: int
    links: int
    slots: int
    wires: Wires = field(init=False, repr=False)
    streams: Streams = field(init=False, repr=False)
    control: Ints = field(init=False, repr=False)

    def __post_init__(self) -> None:
        memory = mmap.mmap(self.fd, size_bytes(self.links, self.slots))
        words = np.frombuffer(memory, dtype=np.int64)
        at = 0

        def take(name: str, *shape: int) -> npt.NDArray[np.generic]:
            nonlocal at
            count = int(np.prod(shape))
            piece = words[at : at + count].reshape(shape)
            at += count
            return piece.view(np.float64) if name in ("rate_bps", "loss") else piece

        wires = {
            name: take(name, self.links, CLASSES) if name == "level" else take(name, self.links)
            for name in Wires.__dataclass_fields__
        }
        streams = {name: take(name, self.slots) for name in Streams.__dataclass_fields__}
        object.__setattr__(self, "wires", Wires(**wires))  # type: ignore[arg-type]
        object.__setattr__(self, "streams", Streams(**streams))  # type: ignore[arg-type]
        object.__setattr__(self, "control", take("control", CONTROL_WORDS))

    @property
    def rounds(self) -> Ints:
        """How often the loops of the plant have gone round: that of cables, that of streams."""
        return self.control[8:10]

    @property
    def stop(self) -> bool:
        """Whether the plant shall end."""
        return bool(self.control[0])

    def tell_stop(self) -> None:
        self.control[0] = 1

    def tell_early(self, early_ns: int) -> None:
        """How much before its time a frame may arrive."""
        self.control[7] = early_ns


def size_bytes(links: int, slots: int) -> int:
    """How large the block of so many links and slots is."""
    wires = len(Wires.__dataclass_fields__) - 1 + CLASSES
    return 8 * (links * wires + slots * len(Streams.__dataclass_fields__) + CONTROL_WORDS)


def new_board(links: int, slots: int) -> Board:
    """A fresh board: every wire down, every stream off, every counter 0."""
    fd = os.memfd_create("shadowsim-board")
    os.ftruncate(fd, size_bytes(links, slots))
    return Board(fd, links, slots)
