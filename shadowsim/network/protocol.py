"""The contract that every network keeps, simulated or emulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.random import Generator

from shadowsim.model.address import ANY, Prefix
from shadowsim.model.change import Command, Configs
from shadowsim.model.config import DeviceConfig
from shadowsim.model.faults import Fault
from shadowsim.model.services import ServiceStatus
from shadowsim.model.telemetry import Array, Layout, Sample
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.model.truth import Spell

NOTHING: Mapping[int, float] = MappingProxyType({})

Keep = Callable[[DeviceConfig], None]
Lend = Callable[[Sequence[int]], None]
Still = Callable[[], None]


@dataclass(frozen=True)
class Copies:
    """What the mirror ports at the edge gave since they were last read.

    Per demand, `[demands]` each: `packets` copied, `bits` of these packets before they were
    truncated, `heard` (whether anything is known of it at all). `seen_bits` is all the traffic
    that came in at the edge, copied or not; `captured_bytes` what is left of the copies after
    truncation; `strangers` counts copies that belong to no demand. `over_s` is the time covered.
    """

    packets: np.ndarray
    bits: np.ndarray
    heard: np.ndarray
    seen_bits: float
    captured_bytes: int
    strangers: int
    over_s: float


@dataclass(frozen=True, slots=True)
class Match:
    """Packets as they come in from a host; what is None or ANY is not looked at."""

    traffic_class: str | None = None
    source: Prefix = ANY
    destination: Prefix = ANY
    protocol: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class Diverted:
    """What was taken off at the edge since the start, and where it was seen afterwards.

    `packets[demands]` and `bits[demands]` left for the other network; `strangers` belonged to no
    demand. `leaked` packets of them were seen within this network all the same, and `returned`
    packets came back from the other one: both must be 0, and both are counted, not assumed.
    """

    packets: np.ndarray
    bits: np.ndarray
    strangers: int
    leaked: int
    returned: int


@dataclass(frozen=True)
class Sent:
    """What became of test traffic so far. `latency_s` is the mean over what arrived, else nan."""

    packets: int
    delivered: int
    latency_s: float


@dataclass(frozen=True)
class Followed:
    """What a shadow's own databases know of production by replication.

    `configs` of the devices that answer in production. `ages_s` says how long ago these were
    written there, of devices of which that is known. `lags_s` are the times from a write in
    production to the replica having it, one per device and write, as far as they were measured.
    """

    configs: Configs
    ages_s: Mapping[str, float] = field(default_factory=dict)
    lags_s: tuple[float, ...] = ()
    services: tuple[ServiceStatus, ...] = ()


class Network(Protocol):
    """A network that runs, with its own time.

    Time moves only in `advance`. Nothing here tells what caused what one measures: faults and
    ground truth are not among what a network tells its operator.
    """

    @property
    def topology(self) -> Topology: ...

    @property
    def layout(self) -> Layout:
        """The names of the rows of its samples."""
        ...

    @property
    def now(self) -> float:
        """Seconds since the network came up."""
        ...

    @property
    def look_every_s(self) -> float:
        """How often it is worth the while to look what has changed."""
        ...

    @property
    def busy(self) -> bool:
        """Whether commands are still being installed."""
        ...

    def configs(self) -> Configs:
        """The running config of every device that answers."""
        ...

    def misprogrammed(self) -> Mapping[str, str]:
        """Devices whose tables are not what their running config compiles to, and why in words.

        The tables are read back from the devices now, whatever was told to them before. Of a
        device that does not answer they cannot be, so it is among these; one that is on the way
        to what it shall hold is too.
        """
        ...

    def apply(self, commands: Sequence[Command]) -> None:
        """Begin to install commands, in order per device; devices work side by side.

        Raises Unreachable, having begun nothing, if a device does not answer.
        """
        ...

    def entrust(self, generation: int, keep: Keep, lend: Lend, still: Still) -> Mapping[str, str]:
        """Let another process reach the devices from now on; what it has to know for that.

        Only while this generation has not been fenced off are configs put in force; after that,
        whatever lets time pass raises Fenced. Where the devices would be gone with this process,
        `keep(config)` is called before a config is in force; what it raises keeps it from being so.
        `lend(fds)` is told the files that keep the network up, now and whenever they are others.
        `still()` raises Fenced once the devices are not this generation's any more, Settled if
        nobody else's either: devices that had to be made anew cannot know.
        """
        ...

    def inject(self, fault: Fault) -> None:
        """Let a fault strike at its time. Raises MachineLacks where this network cannot."""
        ...

    def offer(self, rates_bps: Array) -> None:
        """From now on each demand wants to send at this rate, `[demands]`."""
        ...

    def advance(self, until_s: float) -> list[Sample]:
        """Let time pass, and return the telemetry of it; nothing if it is that late already."""
        ...

    def resize(
        self, devices: frozenset[str], background_bps: Mapping[int, float] = NOTHING
    ) -> None:
        """Only these devices, with their hosts and the cables between them, are there from now on.

        The others are neither configured nor measured: nan in every sample, missing in `configs`.
        They are the boundary: they go on announcing what their last config says, so that inside
        packets are routed as in the whole network; what is sent to them is lost. Devices that
        come back have that last config.

        `background_bps` is, by number of directed link, what traffic that is not there would put
        on it. The link has that much less of its rate, and its utilisation in samples is counted
        as if the traffic were there, of the whole rate.
        """
        ...

    def copy(
        self, classes: Sequence[str], fraction: float, truncate_bytes: int, random: Generator
    ) -> None:
        """From now on copy this share of the packets of these classes as they come in from hosts.

        An empty `classes` ends it. What is copied still goes where it was going.
        """
        ...

    def copies(self) -> Copies:
        """What was copied since this was last called."""
        ...

    def follow(self, other: Network) -> None:
        """Keep replicas of the other network's configs and services here from now on.

        The other one is only read; what this network itself runs is not touched.
        """
        ...

    def followed(self) -> Followed:
        """What the replicas hold now. Raises Unreachable where they cannot be read."""
        ...

    def divert(self, matches: Sequence[Match], into: Network) -> None:
        """From now on take matching packets off at the edge, into the same place of `into`.

        They do not enter this network. An empty `matches` ends it.
        """
        ...

    def diverted(self) -> Diverted:
        """What was diverted since the start."""
        ...

    def send(self, flow: Demand) -> int:
        """Send test traffic between two hosts from now on, beside the demands; its number.

        It is not among the demands of `layout`, but the links carry it.
        """
        ...

    def sent(self, number: int) -> Sent:
        """What became of the test traffic of that number."""
        ...

    def cease(self, number: int) -> None:
        """Send no more of it; a second call does nothing."""
        ...

    def close(self) -> None:
        """Take the network down; a second call does nothing."""
        ...


class Witnessed(Network, Protocol):
    """A network that also knows what really happened, for labels and for nothing else."""

    def spells(self) -> tuple[Spell, ...]: ...
