"""What holds while only rates change, to the links and the readings that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.random import Generator

from shadowsim.dataplane.flows import Links
from shadowsim.dataplane.loading import Loader
from shadowsim.dataplane.meter import Readings
from shadowsim.dataplane.plane import Plane
from shadowsim.model.telemetry import DEVICE_METRICS
from shadowsim.network.damage import Damage
from shadowsim.network.part import Part

Array = np.ndarray
NOISE = 0.01  # relative, of every reading


@dataclass(frozen=True)
class Ground:
    """What all states of a stretch are in; links L, devices D.

    `rate_bps[L]`: what a link can carry with its faults. `background[L]`: the share of that which
    the background takes; `seen_background[L]`: of the rate that is configured. `memory[D]` and
    `table[D]`: the shares of a device's memory and of its table's entries that are taken; `full`:
    the numbers of the devices that are out of memory.
    """

    links: Links
    rate_bps: Array
    background: Array
    seen_background: Array
    memory: Array
    table: Array
    full: tuple[int, ...]

    def read(self, found: Readings, cpu: Array, random: Generator) -> tuple[Array, Array, Array]:
        """Noisy readings `[T, ...]` of devices, links and demands; `cpu[T, D]`."""
        link, demand = found.link, found.demand
        link[:, :, 2] += self.seen_background
        device = np.empty((*cpu.shape, len(DEVICE_METRICS)))
        device[:, :, 0] = cpu
        device[:, :, 1] = self.memory
        device[:, :, 2] = self.table
        _blur((device, link[:, :, :3], demand[:, :, :3]), random)
        loss = demand[:, :, 3]
        np.minimum(np.maximum(loss, 0.0, out=loss), 1.0, out=loss)
        np.minimum(device, 1.0, out=device)
        return device, link, demand


def ground_of(
    plane: Plane, hurt: Damage, part: Part, loader: Loader, memory: Array, room: Array
) -> Ground:
    """The ground under these faults. `room[D]`: entries that a device has room for."""
    rate_bps = plane.rate_bps * hurt.rate_left
    left = hurt.rate_left * part.rate_left(rate_bps)
    return Ground(
        loader.links(plane, hurt.loss, added_s=hurt.delay_s, rate_left=left),
        rate_bps,
        part.background_share(rate_bps),
        part.background_share(plane.rate_bps),
        memory,
        plane.routes / room,
        tuple(np.flatnonzero(memory >= 1.0).tolist()),
    )


def _blur(parts: Sequence[Array], random: Generator) -> None:
    """The noise of `[T, rows, columns]` each, drawn reading after reading."""
    ends = list(accumulate(part[0].size for part in parts))
    noise = np.exp(random.normal(0.0, NOISE, (len(parts[0]), ends[-1])))
    for part, end in zip(parts, ends, strict=True):
        part *= noise[:, end - part[0].size : end].reshape(part.shape)
