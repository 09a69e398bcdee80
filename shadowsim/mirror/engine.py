"""Production's configs and traffic to a shadow with the same configs and a copy of the traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.random import Generator

from shadowsim.errors import Unreachable
from shadowsim.mirror.blast import Marks
from shadowsim.mirror.lag import ConfigLag
from shadowsim.mirror.subset import Chooser, Subset, whole
from shadowsim.mirror.traffic import Tap
from shadowsim.model.change import Command, Configs, apply, difference
from shadowsim.model.services import ServiceStatus
from shadowsim.model.telemetry import Sample
from shadowsim.model.traffic import Demand
from shadowsim.network.protocol import Network
from shadowsim.scenario import Mirror

NOTHING_KNOWN: Configs = MappingProxyType({})
SPARE_S = 10.0  # a device that is not needed any more is kept for so long
NOTABLE = 0.02  # of the rate of a link: by less its background is not set anew


@dataclass(frozen=True)
class Mirrored:
    """What has been mirrored so far. `share` is of production's bits, `packets` are copies;
    `represented` is the share they stand for of the traffic that the shadow should have.

    `captured_bytes` counts what is left of the copies after truncation, `peak_bps` the most of
    them in one reading, beside `budget_bps`; `shed` are classes left out for it now. `lag_s` is
    how far the shadow's traffic is behind production's at most, `config_lag_s` its own configs,
    from the write in production to when it was seen that they follow, None if nothing changed;
    `replica_lag_s` is the median of the replica of production's database, None
    where it is none. `example` are flow records as the shadow sees them.
    """

    packets: int
    captured_bytes: int
    share: float
    represented: float
    lag_s: float
    example: tuple[str, ...]
    config_lag_s: float | None = None
    budget_bps: float = 0.0
    peak_bps: float = 0.0
    shed: tuple[str, ...] = ()
    replica_lag_s: float | None = None
    services: tuple[ServiceStatus, ...] = ()


@dataclass(frozen=True)
class Notice:
    """Something the engine did of itself, for the journal."""

    kind: str
    data: Mapping[str, Any]


class MirrorEngine:
    """Keeps `shadow` in step with `production`. Of production only its configs, its telemetry and
    its copies are read; all it is told is what to copy. No packet and no command goes there.

    With a `chooser` the shadow is the part of production that the change can reach, and follows
    as that grows and shrinks; without one it is all of production. `known` are the configs that
    production had last; of devices that do not answer now they are all that is known.
    """

    def __init__(
        self,
        production: Network,
        shadow: Network,
        demands: Sequence[Demand],
        plan: Mirror,
        random: Generator,
        *,
        known: Configs = NOTHING_KNOWN,
        chooser: Chooser | None = None,
        hops: int = 1,
    ) -> None:
        self._production = production
        self._shadow = shadow
        self._chooser = chooser
        self._hops = hops
        shadow.follow(production)
        self._tap = Tap(production, demands, plan, random)
        self._names = [demand.name for demand in demands]
        self._running: Configs = {**known, **production.configs()}
        self._lag = ConfigLag(self._running)
        self._wanted: tuple[Configs, Sequence[Command], Configs] = {}, (), {}
        self._sent_bps = np.array([demand.rate_bps for demand in demands], dtype=np.float64)
        self._down: frozenset[int] = frozenset()
        self._lag_s = 0.0
        self._read_at_s = production.now
        self._news: list[Notice] = []
        self._needed_s: dict[str, float] = {}
        self.subset = whole(production.topology, demands)
        if chooser is not None:
            self._choose(keep=False)
            self._resize()
        self._sizes: list[tuple[float, frozenset[str]]] = [(-np.inf, self.subset.devices)]

    # -- configs -------------------------------------------------------------------------------

    def drift(self, trial: Sequence[Command] = ()) -> tuple[Command, ...]:
        """The commands that would bring the shadow to production's configs and, on top, the trial.

        Devices of production that do not answer are left as they are in the shadow.
        """
        running = self._shadow.followed().configs
        wanted, have = self._with(running, trial), self._shadow.configs()
        differ = _differing(wanted, have)
        return difference({n: have[n] for n in differ}, {n: wanted[n] for n in differ})

    def sync(self, trial: Sequence[Command] = ()) -> tuple[Command, ...]:
        """Fit the shadow to what it has to be, and repair what `drift` finds.

        Returns the commands sent to the shadow; none while it is still at work on others.
        """
        followed, now = self._shadow.followed(), self._production.now
        running = followed.configs
        self._running = {**self._running, **running}
        self._lag.saw(running, now, followed.ages_s)
        self._rescale()
        wanted, have = self._with(running, trial), self._shadow.configs()
        differ = _differing(wanted, have)
        self._lag.arrived(set(have) & set(wanted) - set(differ), now, followed.ages_s)
        if not differ or self._shadow.busy:
            return ()
        commands = difference({n: have[n] for n in differ}, {n: wanted[n] for n in differ})
        self._shadow.apply(commands)
        return commands

    def arrived(self, trial: Sequence[Command] = ()) -> None:
        """Look whether the shadow has by now what was sent to it: so its lag is known exactly."""
        wanted, have = self._with(self._running, trial), self._shadow.configs()
        same = set(have) & set(wanted) - set(_differing(wanted, have))
        with suppress(Unreachable):  # then at the next sync
            self._lag.arrived(same, self._production.now, self._shadow.followed().ages_s)

    def _with(self, running: Configs, trial: Sequence[Command]) -> Configs:
        """Production's configs with the trial, as far as its devices answer; of the same configs
        as last time, the same.
        """
        kept, commands, wanted = self._wanted
        if kept != running or commands != trial:
            wanted = apply(running, [command for command in trial if command.device in running])
            self._wanted = dict(running), trial, wanted
        return wanted

    # -- size ----------------------------------------------------------------------------------

    def scale(self, hops: int) -> None:
        """From now on the shadow reaches so many hops around the change, and no further than it
        must. Devices that are new to it get production's configs and the trial at the next sync.
        """
        if self._chooser is not None and hops != self._hops:
            self._hops = hops
            self._rescale(why=f"{hops} hop{'s' * (hops != 1)} were asked for")

    def there(self, at_s: float) -> Marks:
        """`[D]`: the devices that were in the shadow when it was read at this time."""
        devices = next(devices for from_s, devices in reversed(self._sizes) if from_s < at_s)
        return np.array([d.name in devices for d in self._shadow.topology.devices], dtype=np.bool_)

    def _rescale(self, why: str = "") -> None:
        if self._chooser is None:
            return
        before = self.subset
        self._choose(keep=not why)
        if self.subset.devices != before.devices:
            self._resize()
            self._sizes.append((self._production.now, self.subset.devices))
            self._news.append(Notice("shadow_scaled", self._scaled(before, why)))
        elif self._is_notable(before.background_bps):
            self._resize()
        else:
            self.subset = replace(self.subset, background_bps=before.background_bps)

    def _choose(self, *, keep: bool) -> None:
        """Choose the subset anew; `keep` for a while what was needed a moment ago."""
        if self._chooser is None:
            return
        now, beside = self._production.now, self._lag.changed
        given: dict[str, Any] = {"hops": self._hops, "down": self._down}
        needed = self._chooser.choose(self._running, self._sent_bps, beside=beside, **given)
        spared = {n: at_s for n, at_s in self._needed_s.items() if keep and now - at_s < SPARE_S}
        self._needed_s = {**spared, **dict.fromkeys(needed.devices, now)}
        if spared.keys() - needed.devices:
            beside |= spared.keys()
            needed = self._chooser.choose(self._running, self._sent_bps, beside=beside, **given)
        self.subset = needed

    def _resize(self) -> None:
        self._shadow.resize(self.subset.devices, self.subset.background_bps)

    def _is_notable(self, before: Mapping[int, float]) -> bool:
        after, topology = self.subset.background_bps, self._production.topology
        rates_bps = [link.rate_bps for link in topology.links]
        rates_bps += [host.rate_bps for host in topology.hosts]
        return any(
            abs(after.get(n, 0.0) - before.get(n, 0.0)) > NOTABLE * rates_bps[n // 2]
            for n in before.keys() | after.keys()
        )

    def _scaled(self, before: Subset, why: str) -> dict[str, Any]:
        new = sorted(self.subset.devices - before.devices)
        fresh = np.flatnonzero(self.subset.touched & ~before.touched)
        others = set(new) & self._lag.changed
        if not why and others:
            why = f"changed by others: {', '.join(sorted(others))}"
        if not why and fresh.size:
            more = f", and {fresh.size - 1} more" if fresh.size > 1 else ""
            why = f"now meets the change: {self._names[fresh[0]]}{more}"
        return {
            "before": len(before.devices),
            "after": len(self.subset.devices),
            "joined": new,
            "left": sorted(before.devices - self.subset.devices),
            "why": why or ("needed" if new else "not needed any more"),
            "coverage": self.subset.coverage.shares,
        }

    # -- traffic -------------------------------------------------------------------------------

    @property
    def speaks_for(self) -> Marks:
        """`[F]`: the demands whose readings in the shadow say anything of production."""
        return self.subset.demands & self._tap.copied & self._tap.known

    def forward(self, sample: Sample) -> None:
        """Send into the shadow what the copies since the last time say that production sends.

        A share of the packets is copied; the shadow replays the estimate that follows from them,
        so its load is production's plus the sampling error. `sample` is production's telemetry of
        that time, which says what the demands outside of a subset put on the links inside.
        """
        if self._chooser is not None:
            sent = sample.column("demand", "throughput_bps")
            self._sent_bps = np.where(np.isfinite(sent), sent, self._sent_bps)
            self._down = frozenset(np.flatnonzero(sample.column("link", "up") == 0.0).tolist())
        self._lag_s = max(self._lag_s, sample.at_s - self._read_at_s)
        self._read_at_s = sample.at_s
        before = self._tap.ration.classes(self._tap.budget)
        if self._tap.read(self.subset.demands, self._inside_share()):
            self._news.append(Notice("mirror_budget", self._rationed(before)))
        self._shadow.offer(np.where(self.subset.demands, self._tap.rates_bps, 0.0))

    def seen(self, sample: Sample) -> Sample:
        """A sample of the shadow without what says nothing of production: nan, as if not there."""
        mute = ~self.speaks_for
        if not mute.any():
            return sample
        demand = sample.demand.copy()
        demand[mute] = np.nan
        return Sample(sample.at_s, sample.device, sample.link, demand)

    def _inside_share(self) -> float:
        if self._chooser is None:
            return 1.0
        total = float(self._sent_bps.sum())
        inside = float(self._sent_bps[self.subset.demands].sum())
        return inside / total if total else 1.0

    def _rationed(self, before: tuple[str, ...]) -> dict[str, Any]:
        tap = self._tap
        return {
            "before": before,
            "classes": tap.ration.classes(tap.budget),
            "fraction": tap.ration.fraction,
            "expected_bps": round(
                sum(tap.ration.cost_bps[: tap.ration.kept]) * tap.ration.fraction
            ),
            "budget_bps": round(tap.budget.bps),
        }

    # -- what came of it -----------------------------------------------------------------------

    def news(self) -> list[Notice]:
        """What the engine did of itself since this was last called."""
        found, self._news = self._news, []
        return found

    def report(self) -> Mirrored:
        """What has been mirrored since the start."""
        tap, followed = self._tap, self._shadow.followed()
        return Mirrored(
            packets=int(tap.packets.sum()),
            captured_bytes=tap.captured_bytes,
            share=tap.share,
            represented=tap.represented,
            lag_s=self._lag_s,
            example=tap.records(),
            config_lag_s=self._lag.worst_s(self._production.now),
            budget_bps=tap.budget.bps,
            peak_bps=tap.peak_bps,
            shed=tap.budget.classes[tap.ration.kept :],
            replica_lag_s=float(np.median(followed.lags_s)) if followed.lags_s else None,
            services=followed.services,
        )


def _differing(wanted: Configs, have: Configs) -> list[str]:
    both = sorted(set(wanted) & set(have))
    return [n for n in both if have[n] is not wanted[n] and have[n] != wanted[n]]
