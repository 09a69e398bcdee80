"""The contract that every network keeps, simulated or emulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shadowsim.model.change import Command, Configs
from shadowsim.model.faults import Fault
from shadowsim.model.telemetry import Array, Layout, Sample
from shadowsim.model.topology import Topology
from shadowsim.model.truth import Spell


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
    def busy(self) -> bool:
        """Whether commands are still being installed."""
        ...

    def configs(self) -> Configs:
        """The running config of every device that answers."""
        ...

    def apply(self, commands: Sequence[Command]) -> None:
        """Begin to install commands, in order per device; devices work side by side.

        Raises Unreachable, having begun nothing, if a device does not answer.
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

    def close(self) -> None:
        """Take the network down; a second call does nothing."""
        ...


class Witnessed(Network, Protocol):
    """A network that also knows what really happened, for labels and for nothing else."""

    def spells(self) -> tuple[Spell, ...]: ...
