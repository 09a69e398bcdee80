"""What an operator does not know of the next minute, drawn many times over.

The draws are of traffic (where its trend leads, a peak to come, surges, the small changes of
every second), of what breaks without anybody's doing, and of how long devices take over commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from shadowsim.dataplane.forwarding import Physical
from shadowsim.dataplane.futures import Ground, Tape
from shadowsim.model.change import Command
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.network.timing import SLOWNESS_SPREAD, ControlModel
from shadowsim.precog.whatif import Observed

Array = np.ndarray

RECENT = 20  # samples that a trend is fitted to
LEAST = 8  # samples without which there is none
STEADY = 3  # samples that make a level
SERIES = 65536  # small changes that windows are taken of
SURGED = 8  # destinations that surges of one forecast go to
IDLE_CPU = 0.12  # of a device that does not report


@dataclass(frozen=True)
class Unknowns:
    """How uncertain the next minute is taken to be. Rates are of events per hour.

    The traffic measured may be off by `level_spread`, and each demand varies by `breath` from
    second to second (both log-normal). A trend goes on for `trend_s`; how steep it is, is known
    to the standard error of its fit. With `peak_chance` a rise is still to come, within `peak_s`,
    exponential with mean `peak`, or by as much as traffic has already swung if that is more.
    A surge multiplies what is sent to one host, or all, by a factor within `surge`, for `surge_s`.
    Of each cable, and device, it is known how often it fails, and a failure is over in `repair_s`
    at the mean (exponential). At most one such failure is drawn a future.
    """

    level_spread: float = 0.03
    breath: float = 0.02
    trend_s: float = 30.0
    peak_chance: float = 0.3
    peak: float = 0.15
    peak_s: float = 20.0
    surges_per_hour: float = 0.5
    surge: tuple[float, float] = (1.3, 2.5)
    surge_s: float = 20.0
    link_down_per_hour: float = 0.02
    link_loss_per_hour: float = 0.02
    link_loss: float = 0.03
    crashes_per_hour: float = 0.01
    repair_s: float = 30.0
    most_grounds: int = 32  # different failures; more are taken for one of these


class Draw(NamedTuple):
    """N futures of K steps. `stage[N, K]`: how many commands are installed; `ground[N, K]`: on
    which of the `grounds`, of which the first is what is seen now. The tape's states are not set.
    """

    stage: Array
    ground: Array
    grounds: tuple[Ground, ...]
    tape: Tape


@dataclass(frozen=True)
class Site:
    """What is known of a network. `cpu[devices]`, `totals[samples]`: all traffic lately."""

    topology: Topology
    demands: Sequence[Demand]
    seen: Observed
    cpu: Array
    totals_bps: Array

    @classmethod
    def of(
        cls, topology: Topology, demands: Sequence[Demand], seen: Observed, telemetry: Telemetry
    ) -> Site:
        """Read a site off its telemetry; where that is dark, the usual is taken."""
        cpu = telemetry.series("device", "cpu")[-STEADY:]
        known = np.isfinite(cpu)
        level = np.where(known, cpu, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        offered = telemetry.series("demand", "offered_bps")
        always = np.isfinite(offered[-RECENT:]).all(axis=0)
        totals = offered[:, always].sum(axis=1)
        level = np.where(known.any(axis=0), level, IDLE_CPU)
        return cls(topology, demands, seen, level, totals[np.isfinite(totals)])


def draw(
    site: Site, unknowns: Unknowns, batches: Sequence[Sequence[Command]], soak_s: float,
    futures: int, seconds: int, random: Generator,
) -> Draw:  # fmt: skip
    """Draw that many futures of so many seconds, in which these batches are deployed from now on.

    A batch is what one device is told at once; `soak_s` passes before the next.
    """
    done_s = _installed_s(site, batches, soak_s, futures, random)
    ticks = np.broadcast_to(np.arange(seconds, dtype=np.float64), (futures, seconds))
    begins_s = np.sort(np.concatenate((ticks, np.minimum(done_s, seconds)), axis=1), axis=1)
    ends_s = np.concatenate((begins_s[:, 1:], np.full((futures, 1), float(seconds))), axis=1)
    stage = (done_s[:, None, :] <= begins_s[:, :, None]).sum(axis=2)
    second = np.minimum(begins_s.astype(np.int64), seconds - 1)
    rows = np.arange(futures)[:, None]
    surges, surge = _surges(site, unknowns, futures, seconds, random)
    grounds, ground = _grounds(site, unknowns, futures, seconds, random)
    demands = len(site.demands)
    tape = Tape(
        state=np.zeros(stage.shape, dtype=np.int32),
        span_s=ends_s - begins_s,
        base_bps=site.seen.rates_bps,
        factor=_factors(site, unknowns, futures, seconds, random)[rows, second],
        surge=surge[rows, second],
        surges=surges,
        begin=random.integers(0, SERIES, (futures, seconds), dtype=np.int32)[rows, second],
        breath=np.exp(random.normal(0.0, unknowns.breath, SERIES + demands)),
    )
    return Draw(stage, ground[rows, second], grounds, tape)


def deploy_s(batches: Sequence[Sequence[Command]], soak_s: float) -> float:
    """How long the deployment usually takes, until the last command is installed."""
    model = ControlModel()
    soaks = max(len(batches) - 1, 0) * soak_s
    return soaks + sum(model.usual_s(c) for batch in batches for c in batch)


def _installed_s(
    site: Site, batches: Sequence[Sequence[Command]], soak_s: float, futures: int, random: Generator
) -> Array:
    """`[N, commands]`: when each command is installed."""
    model = ControlModel()
    names = dict.fromkeys(command.device for batch in batches for command in batch)
    slowness = {n: np.exp(random.normal(0.0, SLOWNESS_SPREAD, futures)) for n in names}
    now_s = np.zeros(futures)
    found = []
    for number, batch in enumerate(batches):
        now_s = now_s + (soak_s if number else 0.0)
        for command in batch:
            cpu = float(site.cpu[site.topology.device_index[command.device]])
            now_s = now_s + model.install_delays_s(command, slowness[command.device], cpu, random)
            found.append(now_s)
    return np.stack(found, axis=1) if found else np.zeros((futures, 0))


def _factors(
    site: Site, unknowns: Unknowns, futures: int, seconds: int, random: Generator
) -> Array:
    """`[N, seconds]`: what all traffic together is multiplied by."""
    at_s = np.arange(seconds, dtype=np.float64)
    level = np.exp(random.normal(0.0, unknowns.level_spread, (futures, 1)))
    slope, error, swing = _trend(site.totals_bps)
    steep = random.normal(slope, error, (futures, 1))
    trend = np.maximum(1.0 + steep * np.minimum(at_s, unknowns.trend_s), 0.0)
    comes = random.random((futures, 1)) < unknowns.peak_chance
    height = random.exponential(max(unknowns.peak, swing), (futures, 1)) * comes
    from_s = random.uniform(-unknowns.peak_s, seconds, (futures, 1))
    peak = 1.0 + height * np.clip((at_s - from_s) / unknowns.peak_s, 0.0, 1.0)
    found: Array = level * trend * peak
    return found


def _trend(totals_bps: Array) -> tuple[float, float, float]:
    """Growth per second relative to now, its standard error, and how far above now it has been.

    Draper and Smith, Applied Regression Analysis, 1.4.
    """
    level = float(totals_bps[-STEADY:].mean()) if len(totals_bps) else 0.0
    if len(totals_bps) < LEAST or level <= 0.0:
        return 0.0, 0.0, 0.0
    recent = totals_bps[-RECENT:]
    x = np.arange(len(recent)) - (len(recent) - 1) / 2
    slope = float((x * recent).sum() / (x * x).sum())
    rest = recent - recent.mean() - slope * x
    error = float(np.sqrt((rest * rest).sum() / (len(recent) - 2) / (x * x).sum()))
    high = np.convolve(totals_bps, np.full(STEADY, 1.0 / STEADY), "valid").max()
    return slope / level, error / level, max(float(high) / level - 1.0, 0.0)


def _surges(
    site: Site, unknowns: Unknowns, futures: int, seconds: int, random: Generator
) -> tuple[Array, Array]:
    """Kinds of surges as factors `[S, demands]`, of which 0 is none, and `[N, seconds]` of them."""
    hosts = sorted({d.destination for d in site.demands})
    chosen = [hosts[i] for i in random.integers(0, len(hosts), SURGED)] if hosts else []
    wanted = np.array([[d.destination == host for d in site.demands] for host in chosen])
    hit = np.concatenate((
        np.zeros((1, len(site.demands)), dtype=np.bool_),
        np.ones((1, len(site.demands)), dtype=np.bool_),
        wanted.reshape(len(chosen), len(site.demands)),
    ))  # fmt: skip
    surges = np.where(hit, random.uniform(*unknowns.surge, (len(hit), 1)), 1.0)
    kind = random.integers(1, len(hit), futures)
    struck = _when(unknowns.surges_per_hour, futures, seconds, unknowns.surge_s, random)
    return surges, np.where(struck, kind[:, None], 0).astype(np.int32)


def _when(
    per_hour: float, futures: int, seconds: int, lasts_s: float | Array, random: Generator
) -> Array:
    """`[N, seconds]`: whether what comes so often, and lasts so long, is there."""
    comes = random.random(futures) < -np.expm1(-per_hour * seconds / 3600.0)
    from_s = random.integers(0, max(seconds, 1), futures)[:, None]
    at_s = np.arange(seconds)
    until_s = from_s + np.ceil(np.reshape(lasts_s, (-1, 1)))
    found: Array = comes[:, None] & (at_s >= from_s) & (at_s < until_s)
    return found


def _grounds(
    site: Site, unknowns: Unknowns, futures: int, seconds: int, random: Generator
) -> tuple[tuple[Ground, ...], Array]:
    """The ground of now, and those of failures that were drawn; `[N, seconds]` which one holds."""
    topology = site.topology
    cables, devices = len(topology.links), len(topology.devices)
    rates = np.concatenate((
        np.full(cables, unknowns.link_down_per_hour),
        np.full(cables, unknowns.link_loss_per_hour),
        np.full(devices, unknowns.crashes_per_hour),
    ))  # fmt: skip
    lasts_s = random.exponential(unknowns.repair_s, futures)
    struck = _when(float(rates.sum()), futures, seconds, lasts_s, random)
    what = np.searchsorted(np.cumsum(rates), random.random(futures) * rates.sum(), "right")
    what = np.minimum(what, len(rates) - 1)
    hit = struck.any(axis=1)
    kinds = np.array(list(dict.fromkeys(what[hit].tolist()))[: unknowns.most_grounds], np.int64)
    spare = random.integers(0, max(len(kinds), 1), futures)
    place = np.where(np.isin(what, kinds), _index(kinds, what), spare)
    now = Ground(Physical(site.seen.down), site.seen.loss)
    found = (now, *(with_failure(topology, unknowns, now, int(kind)) for kind in kinds))
    return found, np.where(struck, 1 + place[:, None], 0)


def _index(kinds: Array, what: Array) -> Array:
    """The place of each of `what` in `kinds`; any where it is not there."""
    order = np.argsort(kinds)
    if not len(kinds):
        return np.zeros(len(what), dtype=np.int64)
    found: Array = order[np.minimum(np.searchsorted(kinds[order], what), len(kinds) - 1)]
    return found


def with_failure(topology: Topology, unknowns: Unknowns, now: Ground, kind: int) -> Ground:
    """The ground of now with one more failure: each cable down, then lossy, then each device."""
    cables = len(topology.links)
    if kind < cables:
        return Ground(Physical(now.physical.down | {2 * kind, 2 * kind + 1}), now.loss)
    if kind < 2 * cables:
        loss = now.loss.copy()
        hurt = [2 * (kind - cables), 2 * (kind - cables) + 1]
        loss[hurt] = 1.0 - (1.0 - loss[hurt]) * (1.0 - unknowns.link_loss)
        return Ground(now.physical, loss)
    name = topology.devices[kind - 2 * cables].name
    cut = {n ^ side for n in topology.ports[name].values() for side in (0, 1)}
    return Ground(Physical(now.physical.down | cut), now.loss)
