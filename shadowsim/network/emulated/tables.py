"""What the switches were told and what they said that they hold, to the plane in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from shadowsim.dataplane.plane import Plane
from shadowsim.network.emulated.openflow import Rules, differing
from shadowsim.network.installed import mix
from shadowsim.network.misprogrammed import SILENT, differ


class Tables:
    """`target` is what all devices are to hold; `installed` has of each what it holds for sure.

    `missing` are those of which it is not known yet whether they hold what they were told.
    """

    def __init__(self, target: Plane) -> None:
        self.target = self.installed = target
        self.missing: frozenset[str] = frozenset()

    def tell(self) -> None:
        """Every device is told `target` now; of none it is known whether it holds it."""
        self.missing = frozenset(self.target.topology.device_index)

    def hold(self, devices: Iterable[str]) -> None:
        """These devices hold what they were told."""
        done = self.missing & frozenset(devices)
        self.missing -= done
        index = self.target.topology.device_index
        numbers = sorted(index[name] for name in done)
        self.installed = mix(self.installed, self.target, np.array(numbers, dtype=np.int64))

    def all_hold(self) -> None:
        """All of `target` is in force."""
        self.installed, self.missing = self.target, frozenset()


def unlike(
    held: Mapping[str, Rules | None], wanted: Mapping[str, Rules], refused: Mapping[str, str]
) -> dict[str, str]:
    """The devices that do not hold what is `wanted` of them, and why; None: it does not answer."""
    found = {}
    for name, should in wanted.items():
        said = held.get(name)
        if why := SILENT if said is None else differ(**differing(said, should)):
            error = refused.get(name)
            found[name] = f"{why}; it refused them: {error}" if error else why
    return found
