"""What a change can reach to the part of the network that represents the whole for it.

The part holds every device within some hops of a changed one, and every device that a packet
touched by the change, or what answers it, may meet. What is outside stays as a boundary that
announces its routes, as in CrystalNet (Liu et al., SOSP 2017), so the paths inside are those of the
whole network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.loading import Loader
from shadowsim.dataplane.plane import Plane
from shadowsim.mirror.blast import Blast, Marks, Reach
from shadowsim.model.change import Change, Configs
from shadowsim.model.intents import Intents, PathIntent
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Rates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """What share of the network a part of it stands for, each from 0 to 1.

    `links` are cables between devices. `demands` counts them, `bits` weighs them by what they
    send. `intents`: the mean over all intents of the share of their pairs of hosts, demands or
    links that is inside. `rules`: entries in the tables of devices.
    """

    devices: float = 1.0
    links: float = 1.0
    demands: float = 1.0
    bits: float = 1.0
    intents: float = 1.0
    rules: float = 1.0

    @property
    def text(self) -> str:
        return ", ".join(f"{share:.0%} of the {name}" for name, share in asdict(self).items())

    @property
    def shares(self) -> dict[str, float]:
        """By name, to four digits."""
        return {name: round(share, 4) for name, share in asdict(self).items()}


@dataclass(frozen=True)
class Subset:
    """A part of a network.

    `demands[F]` run wholly inside, by every path that they and what answers them may take; only
    they are offered in it.
    `touched[F]` may meet the change; `staked[F]` are those that it could make fare otherwise.
    `background_bps`: by number of directed link inside, what the demands that are not offered
    put on it.
    """

    devices: frozenset[str]
    demands: Marks
    touched: Marks
    staked: Marks
    background_bps: Mapping[int, float] = field(default_factory=dict)
    coverage: Coverage = Coverage()


def whole(topology: Topology, demands: Sequence[Demand]) -> Subset:
    """The part that is everything."""
    every = np.ones(len(demands), dtype=np.bool_)
    return Subset(frozenset(topology.device_index), every, every, every)


class Chooser:
    """Chooses the part for one change. `choose` is a pure function; what is kept saves time."""

    def __init__(
        self, topology: Topology, demands: Sequence[Demand], intents: Intents, change: Change
    ) -> None:
        self._topology = topology
        self._intents = intents
        self._change = change
        self._reach = Reach(topology, demands)
        self._loader = Loader(topology, demands)
        self._limits = Limits(topology, demands, intents.limits)
        home = {host.name: host.device for host in topology.hosts}
        self._homes = [(home[d.source], home[d.destination]) for d in demands]
        self._seen: tuple[Configs, frozenset[int]] | None = None
        self._kept: tuple[Blast, npt.NDArray[np.float64]] | None = None

    def choose(
        self,
        configs: Configs,
        rates_bps: Rates,
        *,
        hops: int = 1,
        down: frozenset[int] = frozenset(),
        beside: frozenset[str] = frozenset(),
    ) -> Subset:
        """The part that represents the network now.

        `configs` are those without the change, of every device; `rates_bps[F]` what the demands
        send; `down` the directed links without signal; `beside` are devices to take in as well.
        """
        blast = self._blast(configs, down)
        names = [device.name for device in self._topology.devices]
        met = blast.met[blast.touched].any(axis=0)
        devices = self._near(hops) | beside | {names[i] for i in np.flatnonzero(met)}
        there = np.array([name in devices for name in names], dtype=np.bool_)
        inside: Marks = np.logical_not((blast.met & ~there).any(axis=1))
        links = self._topology.links
        cables: Marks = np.array([k.a in devices and k.b in devices for k in links], dtype=np.bool_)
        coverage = self._coverage(there, cables, inside, rates_bps, blast.now)
        background = self._background(there, cables, inside, rates_bps)
        marks = (inside, blast.touched, blast.staked)
        return Subset(frozenset(devices), *marks, background, coverage)

    def _blast(self, configs: Configs, down: frozenset[int]) -> Blast:
        if self._kept is None or self._seen is None or not _is(self._seen, (configs, down)):
            blast = self._reach.blast(configs, self._change, down)
            paths = self._loader.route(blast.now).paths
            self._kept = (blast, paths.links[0].copy())
            self._seen = (dict(configs), down)
        return self._kept[0]

    def _near(self, hops: int) -> set[str]:
        """The devices at most so many cables away from a changed one."""
        found = set(self._change.devices)
        for _ in range(min(hops, len(self._topology.devices))):
            ends = [(link.a, link.b) for link in self._topology.links]
            found |= {b for a, b in ends if a in found} | {a for a, b in ends if b in found}
        return found

    def _background(
        self, there: Marks, cables: Marks, inside: Marks, rates_bps: Rates
    ) -> dict[int, float]:
        """By directed link inside: what the flows of the demands outside put on it."""
        if self._kept is None or inside.all():
            return {}
        links, at = self._kept[1], self._topology.device_index
        sent = self._loader.spread(np.where(inside, 0.0, rates_bps))
        hosts = np.array([there[at[host.device]] for host in self._topology.hosts], dtype=np.bool_)
        total = np.zeros(self._topology.directed_links)
        used = links >= 0
        carried = np.broadcast_to(sent[:, None], links.shape)[used]
        total += np.bincount(links[used], weights=carried, minlength=len(total))
        total[~np.repeat(np.concatenate((cables, hosts)), 2)] = 0.0
        return {int(n): float(total[n]) for n in np.flatnonzero(total)}

    def _coverage(
        self, there: Marks, cables: Marks, inside: Marks, rates_bps: Rates, plane: Plane
    ) -> Coverage:
        return Coverage(
            devices=_share(there),
            links=_share(cables),
            demands=_share(inside),
            bits=_share(inside, rates_bps),
            intents=self._intents_inside(there, cables, inside),
            rules=_share(there, plane.routes.astype(np.float64)),
        )

    def _intents_inside(self, there: Marks, cables: Marks, inside: Marks) -> float:
        shares = [self._pairs_inside(path, there) for path in self._intents.paths]
        for limit, mask in zip(self._limits.limits, self._limits.masks, strict=True):
            shares.append(_share(cables if limit.metric == "utilisation" else inside[mask]))
        return float(np.mean(shares)) if shares else 1.0

    def _pairs_inside(self, intent: PathIntent, there: Marks) -> float:
        """The share of an intent's pairs of hosts of which both are there."""
        topology = self._topology
        homes = {host.name: there[topology.device_index[host.device]] for host in topology.hosts}
        ends = (topology.resolve(name) for name in (intent.source, intent.destination))
        source, destination = ([homes[host] for host in hosts] for hosts in ends)
        return _share(np.array(source, dtype=bool)) * _share(np.array(destination, dtype=bool))


def _share(chosen: Marks, weight: Rates | None = None) -> float:
    """The share of what is chosen; all of nothing is 1."""
    total = len(chosen) if weight is None else float(weight.sum())
    if not total:
        return 1.0
    return float((chosen if weight is None else weight[chosen]).sum()) / total


def _is(a: tuple[Configs, frozenset[int]], b: tuple[Configs, frozenset[int]]) -> bool:
    """Whether two grounds are the same; nearly all configs are the same objects."""
    one, other = a[0], b[0]
    return (
        a[1] == b[1]
        and one.keys() == other.keys()
        and all(config is other[n] or config == other[n] for n, config in one.items())
    )
