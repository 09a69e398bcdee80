"""What is to be copied or diverted where hosts come in, to mirrors, rules and counts of it."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, Literal

import numpy as np

from shadowsim.errors import BadInput
from shadowsim.model.traffic import CLASSES
from shadowsim.network.emulated.crossing import Crossed, Crossing
from shadowsim.network.emulated.reading import SENDING, Counts, counts
from shadowsim.network.emulated.rig import Rig
from shadowsim.network.emulated.store import bridge_name
from shadowsim.network.emulated.wiring import openflow_port
from shadowsim.network.matching import matched_by
from shadowsim.network.protocol import Copies, Diverted, Match, Network

FRAME_BYTES = 14  # of Ethernet, before the packet
PORTS: tuple[Literal["mirror", "divert"], ...] = ("mirror", "divert")
SETTLE_S = 0.5  # packets that were under way when a diversion began are not leaks


class Edge:
    """The mirror and steering ports of one network. All classes are mirrored by Open vSwitch
    itself, some of them by copies in the flow table; either way the port is only read.
    """

    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig = rig
        self._streams = tuple(rig.streams)  # those of test traffic are none of ours
        self._seed = seed
        self._crossing: Crossing | None = None
        self._classes: tuple[str, ...] = ()
        self._fraction = 1.0
        self._bytes = 96
        self._matches: tuple[Match, ...] = ()
        self._entrance = -1
        self._fresh = False  # the ports were closed for a while: nothing is known of it
        self._before = Crossed.none(len(self._streams))  # what earlier crossings counted
        self._read = self._before
        self._read_s = monotonic()
        self._seen_bytes = 0
        self._heard = np.zeros(len(rig.demands), dtype=np.bool_)
        self._watched = np.zeros(len(rig.demands), dtype=np.bool_)
        self._received = np.zeros(len(self._streams), dtype=np.int64)
        self._from_s = np.full(len(rig.demands), np.inf)  # when a packet is a leak, per demand
        self._counted_s = monotonic()
        self._leaked = 0
        self._sending = counts(rig.board, self._counted_s)
        self._away = {name: np.zeros(rig.board.slots, dtype=np.int64) for name in SENDING}

    def rules_wanted(self) -> dict[str, Any]:
        """What the rules have to do for it, as arguments of `openflow.rules`."""
        copied = self._classes if not self._mirrors_all() else ()
        return {
            "diverts": self._matches,
            "copies": copied,
            "copy_bytes": self._bytes + FRAME_BYTES,
        }

    def copy(self, classes: Sequence[str], fraction: float, truncate_bytes: int) -> None:
        """Copy this much from now on; the rules must be installed again."""
        self._classes = tuple(c for c in CLASSES if c in classes)
        self._fraction, self._bytes = fraction, truncate_bytes
        self._heard |= self._copied()
        first = self._crossing is None
        self._open()
        self._mirror()
        if first:
            self._begin()

    def copies(self) -> Copies:
        """What was copied since last time."""
        rig = self._rig
        now_s = monotonic()
        streams = [s for s in self._streams if not s.probe]
        owner = np.array([s.demand for s in streams], dtype=np.int64)
        seen = self._seen()
        found, before = self._crossed(), self._read
        packets = found.copied_packets - before.copied_packets
        size = found.copied_bytes - before.copied_bytes
        captured = found.captured_bytes - before.captured_bytes
        here = slice(0, len(streams))
        count = len(rig.demands)
        copies = Copies(
            packets=rig.coarse * np.bincount(owner, packets[here], count).astype(np.int64),
            bits=8.0 * np.bincount(owner, size[here], count),
            heard=self._heard if not self._fresh else np.zeros(count, dtype=np.bool_),
            seen_bits=8.0 * (seen - self._seen_bytes),
            captured_bytes=rig.coarse * captured,
            strangers=found.strangers - before.strangers,
            over_s=now_s - self._read_s,
        )
        self._read, self._read_s, self._seen_bytes = found, now_s, seen
        self._heard = self._copied()
        self._fresh = self._fresh and self._crossing is None
        return copies

    def divert(self, matches: Sequence[Match], into: Network) -> None:
        """Take these off from now on; the rules must be installed again."""
        entrance = getattr(into, "entrance", None)
        if entrance is None:
            raise BadInput("real packets can only be diverted into another emulated network")
        self.count_leaks()
        self.away()
        self._matches, self._entrance = tuple(matches), entrance if matches else -1
        before = self._watched
        self._watched = matched_by(self._rig.topology, self._rig.demands, matches)
        self._from_s[~(before & self._watched)] = np.inf
        self._open()

    def took_effect(self) -> None:
        """The rules are installed: what is seen of diverted demands a moment later has leaked."""
        fresh = self._watched & np.isinf(self._from_s)
        self._from_s[fresh] = monotonic() + SETTLE_S

    def diverted(self) -> Diverted:
        """What was diverted so far. What returned is what Open vSwitch saw come in by the port."""
        self.count_leaks()
        found = self._crossed()
        streams = [s for s in self._streams if not s.probe]
        owner = np.array([s.demand for s in streams], dtype=np.int64)
        here, count = slice(0, len(streams)), len(self._rig.demands)
        return Diverted(
            packets=np.bincount(owner, found.diverted_packets[here], count).astype(np.int64),
            bits=8.0 * np.bincount(owner, found.diverted_bytes[here], count),
            strangers=found.diverted_strangers,
            leaked=self._leaked,
            returned=self._returned(),
        )

    def away(self, now: Counts | None = None) -> dict[str, np.ndarray]:
        """What hosts sent of diverted demands until now, in all: `SENDING`, `[slots]` each."""
        now = now or counts(self._rig.board, monotonic())
        between, self._sending = now.since(self._sending), now
        owner = np.array([-1 if s.probe else s.demand for s in self._rig.streams])
        here = np.flatnonzero(np.append(self._watched, np.False_)[owner])
        for name, total in self._away.items():
            total[here] += between.streams[name][here]
        return self._away

    def reopen(self) -> None:
        """The agent was made anew, and the ports with it. Totals go on from where they were."""
        if self._crossing is not None:
            self.close()
            self._open()
            self._mirror()

    def close(self) -> None:
        """Read nothing more; a second call does nothing."""
        if self._crossing is not None:
            self._before = self._crossed()
            self._crossing.close()
            self._crossing = None
            self._fresh = True

    # -- parts -----------------------------------------------------------------------------

    def _mirrors_all(self) -> bool:
        return self._classes == CLASSES

    def _copied(self) -> np.ndarray:
        """Which demands are copied now."""
        return np.array([d.traffic_class in self._classes for d in self._rig.demands], np.bool_)

    def _seen(self) -> int:
        return int(self._rig.board.wires.offered_bytes[self._up_links()].sum())

    def _open(self) -> None:
        """Make the ports on every device that has hosts, on the first need of them."""
        if self._crossing is None:
            self._crossing = Crossing(self._rig.topology, self._streams, self._seed)
            for device in self._devices():
                for name in PORTS:
                    fd = self._rig.agent.extra(device, name)
                    self._crossing.watch(fd, steering=name == "divert")
            self._begin()
        self._crossing.lead_to(self._entrance)
        self._crossing.keep(self._fraction, self._bytes)

    def _begin(self) -> None:
        """Count from now on: until now the ports were not there, or nothing was mirrored."""
        self._read, self._read_s, self._seen_bytes = self._crossed(), monotonic(), self._seen()

    def _mirror(self) -> None:
        """Have Open vSwitch mirror all that comes in from hosts, or nothing."""
        for device in self._devices():
            bridge = bridge_name(device)
            if self._mirrors_all():
                ports = [f"{bridge}-p{port}" for port in self._host_ports(device)]
                snap = self._bytes + FRAME_BYTES
                self._rig.store.mirror(bridge, ports, f"{bridge}-mirror", snap)
            else:
                self._rig.store.unmirror(bridge)
        self._rig.store.await_switches()

    def _devices(self) -> list[int]:
        topology, there = self._rig.topology, self._rig.there
        return sorted({
            topology.device_index[h.device] for h in topology.hosts if h.device in there
        })  # fmt: skip

    def _host_ports(self, device: int) -> list[int]:
        topology = self._rig.topology
        mine = topology.hosts_of[topology.devices[device].name]
        links = [topology.up_link(topology.host_index[h.name]) for h in mine]
        return [openflow_port(topology, link)[1] for link in links]

    def _up_links(self) -> list[int]:
        return [self._rig.topology.up_link(j) for j in range(len(self._rig.topology.hosts))]

    def _crossed(self) -> Crossed:
        if self._crossing is None:
            return self._before
        return self._before.plus(self._crossing.crossed())

    def _arrived(self) -> np.ndarray:
        return self._rig.board.streams.received[: len(self._received)].copy()

    def count_leaks(self) -> None:
        """Packets of diverted demands that hosts of this network received all the same.

        To be called often: a stretch counts only where it began after the diversion was certain.
        """
        now, now_s = self._arrived(), monotonic()
        certain = self._watched & (self._from_s <= self._counted_s)
        mine = [not s.probe and bool(certain[s.demand]) for s in self._streams]
        self._leaked += int((now - self._received)[np.array(mine, dtype=np.bool_)].sum())
        self._received, self._counted_s = now, now_s

    def _returned(self) -> int:
        if self._crossing is None:
            return 0
        return sum(
            self._rig.store.came_in(f"{bridge_name(device)}-divert") for device in self._devices()
        )
