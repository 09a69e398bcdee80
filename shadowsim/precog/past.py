"""Earlier changes at a site and what came of them, to counts that a forecast may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shadowsim.model.change import Change
from shadowsim.model.kinds import kind_of
from shadowsim.model.topology import Topology

Counts = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Past:
    """How many earlier changes there were, and how many of them failed: (changes, failed).

    By name of the device changed, by its model, by the kind of command, and under "" in all.
    """

    by_device: Counts = field(default_factory=dict)
    by_model: Counts = field(default_factory=dict)
    by_kind: Counts = field(default_factory=dict)
    total: tuple[int, int] = (0, 0)

    def with_outcome(self, topology: Topology, change: Change, failed: bool) -> Past:
        """The past after one more change."""
        return self.counting(change.devices, *concerned(topology, change), failed=failed)

    def counting(
        self,
        devices: Iterable[str],
        models: Iterable[str],
        kinds: Iterable[str],
        *,
        failed: bool,
    ) -> Past:
        """The past after one more change of these devices, of these models, by these commands."""
        return Past(
            _counted(self.by_device, devices, failed),
            _counted(self.by_model, models, failed),
            _counted(self.by_kind, kinds, failed),
            (self.total[0] + 1, self.total[1] + failed),
        )


def concerned(topology: Topology, change: Change) -> tuple[list[str], list[str]]:
    """The models of the devices that a change is of, and the kinds of its commands; each once."""
    models = {device.name: device.model for device in topology.devices}
    kinds = {kind_of(str(command)) for command in change.commands}
    return sorted({models[name] for name in change.devices}), sorted(kinds)


def _counted(counts: Counts, names: Iterable[str], failed: bool) -> Counts:
    found = dict(counts)
    for name in names:
        changes, failures = found.get(name, (0, 0))
        found[name] = (changes + 1, failures + failed)
    return found
