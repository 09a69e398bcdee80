"""The mirror and steering ports of a production network to what was copied and diverted there."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from shadowsim.model.topology import Topology
from shadowsim.network.emulated.plant.copying import (
    ANSWER,
    CAPTURED,
    DIVERT,
    DIVERTED_STRANGERS,
    MIRROR,
    STRANGERS,
    Counted,
    Ports,
    cross,
    five_tuple_key,
)
from shadowsim.network.emulated.wiring import Stream

MOST_FILES = 65536
PROTOCOL = {"tcp": 6, "udp": 17}


@dataclass(frozen=True)
class Crossed:
    """Totals since the start, `[streams]` each, and of frames that belong to none."""

    copied_packets: np.ndarray
    copied_bytes: np.ndarray
    diverted_packets: np.ndarray
    diverted_bytes: np.ndarray
    captured_bytes: int
    strangers: int
    diverted_strangers: int

    @classmethod
    def none(cls, streams: int) -> Crossed:
        """Nothing at all."""
        zero = np.zeros(streams, dtype=np.int64)
        return cls(zero, zero, zero, zero, 0, 0, 0)

    def plus(self, other: Crossed) -> Crossed:
        """The sum of both."""
        return Crossed(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Crossed)))


@dataclass
class Crossing:
    """Reads ports in a thread of its own, without the interpreter's lock. Never writes to one."""

    topology: Topology
    streams: Sequence[Stream]
    seed: int
    ports: Ports = field(init=False)
    counted: Counted = field(init=False)
    _stop: np.ndarray = field(init=False)
    _epoll: select.epoll = field(init=False)
    _fds: list[int] = field(default_factory=list)
    _inject: int = -1
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._stop = np.zeros(1, np.int64)
        self._epoll = select.epoll()
        self.ports = _ports(self.topology, self.streams)
        none = np.zeros(len(self.streams), np.int64)
        self.counted = Counted(none, none.copy(), none.copy(), none.copy(), np.zeros(8, np.int64))

    def watch(self, fd: int, steering: bool) -> None:
        """Read this port from now on; the file is the crossing's own then."""
        self.ports.kind[fd] = DIVERT if steering else MIRROR
        self._fds.append(fd)
        self._epoll.register(fd, select.EPOLLIN)
        if self._thread is None:
            self._start()

    def keep(self, fraction: float, truncate_bytes: int) -> None:
        """Which share of the copies is kept, and how much of each."""
        self.ports.fraction[0] = fraction
        self.ports.snap[0] = truncate_bytes

    def lead_to(self, inject: int) -> None:
        """Where diverted frames go on to: a datagram socket of another plant, or -1."""
        self._join()
        self._inject = inject
        if self._fds:
            self._start()

    def crossed(self) -> Crossed:
        """The totals of now."""
        c = self.counted
        return Crossed(
            c.copied_packets.copy(),
            c.copied_bytes.copy(),
            c.diverted_packets.copy(),
            c.diverted_bytes.copy(),
            captured_bytes=int(c.word[CAPTURED]),
            strangers=int(c.word[STRANGERS]),
            diverted_strangers=int(c.word[DIVERTED_STRANGERS]),
        )

    def close(self) -> None:
        """Read no more; a second call does nothing."""
        self._join()
        for fd in self._fds:
            os.close(fd)
        self._fds = []
        if not self._epoll.closed:
            self._epoll.close()

    def _start(self) -> None:
        arguments = (
            self.ports, self.counted, self._stop, self._epoll.fileno(), self._inject, self.seed | 1,
        )  # fmt: skip
        self._stop[0] = 1
        cross(*arguments)  # compiles it here, since numba does not like to do so in a thread
        self._stop[0] = 0
        self._thread = threading.Thread(target=cross, args=arguments, name="crossing", daemon=True)
        self._thread.start()

    def _join(self) -> None:
        if self._thread is not None:
            self._stop[0] = 1
            self._thread.join()
            self._thread = None


def _ports(topology: Topology, streams: Sequence[Stream]) -> Ports:
    """Whose packets are whose. Probes are streams too, so that nobody takes them for strangers."""
    address, hosts = topology.address, topology.hosts
    ends = [(address[hosts[s.source].name], address[hosts[s.destination].name]) for s in streams]
    found = [
        (five_tuple_key(a, b, PROTOCOL[s.protocol], s.source_port << 16 | s.port), number)
        for number, (s, (a, b)) in enumerate(zip(streams, ends, strict=True))
    ] + [
        (five_tuple_key(b, a, PROTOCOL["tcp"], s.port << 16 | s.source_port), ANSWER)
        for s, (a, b) in zip(streams, ends, strict=True)
        if s.protocol == "tcp"
    ]
    keys = np.array([key for key, _ in found], dtype=np.uint64)
    names = np.array([name for _, name in found], dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    sources = np.array([address[host.name] for host in hosts], dtype=np.int64)
    by_source = np.argsort(sources)
    links = np.array([topology.up_link(j) for j in range(len(hosts))], dtype=np.int64)
    return Ports(
        kind=np.zeros(MOST_FILES, np.int32),
        key=keys[order],
        stream=names[order],
        source=sources[by_source],
        link=links[by_source],
        fraction=np.ones(1),
        snap=np.full(1, 96, np.int64),
    )
