"""Files that an agent opened, to cables and sockets that a plant has: plugged in, pulled out."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from shadowsim.model.address import format_address
from shadowsim.model.topology import Topology
from shadowsim.network.emulated.board import TCP, UDP, Board
from shadowsim.network.emulated.client import Agent
from shadowsim.network.emulated.plant.client import Plant, Receiver
from shadowsim.network.emulated.plant.client import Stream as Outlet
from shadowsim.network.emulated.wiring import Stream, sides

PROTOCOLS = {"udp": UDP, "tcp": TCP}
LEAST_SEGMENT, LARGEST_SEGMENT = 88, 32767  # bytes; what Linux allows
TCP_HEADER_BYTES = 40  # of IP and TCP, without options
NO_FILES: Mapping[int, int] = MappingProxyType({})


class Plugs:
    """A plant and what is plugged into it. `inward` is the file of frames from other networks.

    `streams` may grow; `opened` are the slots of those that can send. After a call that raised,
    `start` leads to where it should have led.
    """

    plant: Plant

    def __init__(
        self, topology: Topology, streams: Sequence[Stream], board: Board, inward: int
    ) -> None:
        self._topology, self._streams = topology, streams
        self._board, self._inward = board, inward
        self._cables: list[tuple[int, int, int, int]] = []
        self._receivers: set[int] = set()  # numbers of those that this agent has ever made
        self.opened: set[int] = set()

    def forget(self) -> None:
        """The agent is gone, and with it all that it had made."""
        self.drop_cables(None)
        self.opened, self._receivers = set(), set()

    def lay(self, cables: Sequence[int], pairs: Sequence[tuple[int, int]]) -> None:
        """Have these cables too, when `wire` is called; `pairs` are the files of their ends."""
        self._cables += [
            (a, b, 2 * cable, 2 * cable + 1) for cable, (a, b) in zip(cables, pairs, strict=True)
        ]

    def wire(self) -> None:
        """Give the plant the cables that were laid and not dropped. Raises PlantGone."""
        self.plant.wire(self._cables, self._inward)

    def start(self, agent: Agent, devices: Collection[str], *, again: bool = False) -> None:
        """Start a plant, in place of one that has ended if `again`, with all that is there."""
        if again:
            self.plant.close()
            self._take_taps(agent)
        self.plant = Plant.start(self._board)
        self.wire()
        self.opened = set()
        self.open(agent, range(len(self._streams)), devices, agent.receivers())

    def open(
        self,
        agent: Agent,
        slots: Iterable[int],
        devices: Collection[str],
        receivers: Mapping[int, int] = NO_FILES,
    ) -> None:
        """Sockets for these streams, as far as both their hosts are at one of these devices.

        `receivers` are files of receivers that a plant before this one had.
        """
        homes = [host.device in devices for host in self._topology.hosts]
        here = [
            slot
            for slot in slots
            if homes[self._streams[slot].source] and homes[self._streams[slot].destination]
        ]
        self._tell_sizes(here)
        opened = agent.sockets([self._streams[slot].flow for slot in here])
        unknown = sorted(set(opened.receivers) - self._receivers - receivers.keys())
        fresh = dict(zip(unknown, opened.new, strict=True))
        self._receivers |= {*unknown, *receivers}
        protocol = {
            number: PROTOCOLS[self._streams[slot].protocol]
            for slot, number in zip(here, opened.receivers, strict=True)
        }
        files = {**receivers, **fresh}
        for slot, fd in zip(here, opened.senders, strict=True):
            _prepare(fd, self._streams[slot])
        for number, fd in fresh.items():
            if protocol[number] == TCP:
                _prepare_tcp(fd, LARGEST_SEGMENT)
        try:
            self.plant.streams(
                [
                    Outlet(slot, PROTOCOLS[s.protocol], fd, self._address(s), s.port, number)
                    for slot, fd, number in zip(here, opened.senders, opened.receivers, strict=True)
                    for s in [self._streams[slot]]
                ],
                [Receiver(n, protocol[n], fd) for n, fd in files.items() if n in protocol],
            )
        finally:
            for fd in (*opened.senders, *files.values()):
                os.close(fd)
        self.opened.update(here)

    def shut(self, hosts: set[int]) -> None:
        """Close the sockets of streams from or to these hosts; they are opened anew if need be."""
        ends = {slot: {self._streams[slot].source, self._streams[slot].destination} & hosts
                for slot in self.opened}  # fmt: skip
        shut = [slot for slot, gone in ends.items() if gone]
        self.plant.drop(shut)
        self.opened.difference_update(shut)

    def drop_cables(self, links: set[int] | None) -> None:
        """Let go of the cables whose first directed link is one of these, or of all."""
        gone = [cable for cable in self._cables if links is None or cable[2] in links]
        self._cables = [cable for cable in self._cables if cable not in gone]
        for a, b, *_ in gone:
            for fd in (a, b):
                with suppress(OSError):
                    os.close(fd)

    def _tell_sizes(self, slots: Iterable[int]) -> None:
        """The plant has to know how large the packets are before it gets the socket."""
        for slot in slots:
            self._board.streams.packet_bytes[slot] = self._streams[slot].packet_bytes

    def _address(self, s: Stream) -> str:
        return format_address(self._topology.address[self._topology.hosts[s.destination].name])

    def _take_taps(self, agent: Agent) -> None:
        """Fresh copies of the files of all cables, for a plant that has none."""
        self.drop_cables(None)
        cables = {
            sides(self._topology, number): number
            for number in range(len(self._topology.links) + len(self._topology.hosts))
        }
        self._cables = [
            (*tap.fds, 2 * cables[tap.ends], 2 * cables[tap.ends] + 1) for tap in agent.taps()
        ]


def _prepare(fd: int, s: Stream) -> None:
    """Have TCP send one packet for each record, however large: what is told is a packet."""
    if s.protocol == "tcp":
        _prepare_tcp(fd, max(s.packet_bytes - TCP_HEADER_BYTES, LEAST_SEGMENT))


def _prepare_tcp(fd: int, segment_bytes: int) -> None:
    """A connection shall end at once with the plant: another one gets its addresses then."""
    with socket.socket(fileno=os.dup(fd)) as borrowed:
        borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment_bytes)
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
