"""Configs, and what is known of links and traffic, to the condition a network would be in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from shadowsim.dataplane.alike import alike
from shadowsim.dataplane.exposure import newly_open
from shadowsim.dataplane.flows import Loads
from shadowsim.dataplane.forwarding import WHOLE, Physical
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.loading import Routed
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.verify import BrokenPairs, Verdict
from shadowsim.dataplane.worked import Worked
from shadowsim.model.change import Configs
from shadowsim.model.intents import Intents
from shadowsim.model.telemetry import DEMAND_METRICS, Layout, Sample, Telemetry
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.model.truth import DEGRADATION, OUTAGE, VULNERABILITY
from shadowsim.precog.columns import read
from shadowsim.precog.once import OfSamples, same_samples

Array = np.ndarray
RECENT = 3  # samples that make a reading steady
LEAST = 8  # samples without which there is no trend
KEPT = 16  # compilations remembered
READINGS_KEPT = 8
EXPOSING = ("isolated", "waypoint")  # the kinds of intents that are about who gets in
FULL = 1.0 - 1e-9  # of its rate: a link that carries more has no room left but for rounding


@dataclass(frozen=True)
class Observed:
    """What telemetry says of the ground the configs stand on.

    `down`: directed links without signal although both ends are configured; `loss[L]`;
    `rates_bps[F]`: what every demand wants to send.
    """

    down: frozenset[int]
    loss: Array
    rates_bps: Array


@dataclass(frozen=True)
class Condition:
    """How a network would be. `broken`: names of intents; `exposed`: of those, or of management
    services, that expose; `severity` per limit, above 1 is broken; `starved`: critical demands
    that get less than half; `overloaded`: links that are full; `lost_bps`: of each traffic class,
    what is wanted and not delivered. `demand[F, 4]`, with the columns of a Sample, and
    `utilisation[L]` are what demands and links get.
    """

    broken: tuple[str, ...]
    exposed: tuple[str, ...]
    severity: Array
    starved: tuple[str, ...]
    demand: Array
    utilisation: Array
    overloaded: tuple[str, ...] = ()
    lost_bps: tuple[float, ...] = (0.0,) * len(CLASSES)

    def modes(self, margin: float = 1.0) -> frozenset[str]:
        """The failure modes this condition amounts to if it lasts; limits count above `margin`."""
        outage = bool(self.broken or self.starved)
        slow = bool((self.severity > margin).any())
        found = {
            OUTAGE: outage,
            DEGRADATION: slow and not outage,
            VULNERABILITY: bool(self.exposed),
        }
        return frozenset(mode for mode, holds in found.items() if holds)


@dataclass(frozen=True)
class Settled:
    """What follows from configs and links alone, whatever the traffic."""

    configs: Configs
    down: frozenset[int]
    plane: Plane
    violated: tuple[Verdict, ...]
    routed: Routed

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the intents that fail and do not expose."""
        return tuple(v.intent.name for v in self.violated if v.intent.kind not in EXPOSING)

    def exposed(self, before: Configs) -> tuple[str, ...]:
        """Names of the intents that expose, and the management that was closed `before`."""
        names = [v.intent.name for v in self.violated if v.intent.kind in EXPOSING]
        opened = newly_open(before, self.configs)
        return (*names, *(f"management {service} of {name}" for name, service in opened))


class WhatIf:
    """Answers for one network. Remembers compilations and what was last read off, nothing else.

    `worked`, where it is given, must be of the same; it only saves time.
    """

    def __init__(
        self,
        topology: Topology,
        demands: Sequence[Demand],
        intents: Intents,
        worked: Worked | None = None,
    ) -> None:
        self.topology = topology
        self.demands = tuple(demands)
        self.intents = intents
        self.limits = Limits(topology, demands, intents.limits)
        self._worked = worked or Worked(topology, demands, intents)
        self._atoms = WHOLE
        self._layout = Layout((), (), tuple(d.name for d in demands))
        self._kept: list[Settled] = []
        self._observed: list[tuple[tuple[Sample, ...], Plane, Observed]] = []
        self.trend = OfSamples(_trend)  # of all traffic together, bit/s per sample, and its level
        self.window = OfSamples(partial(read, demands=len(self.demands)))  # judges share it
        classes = [CLASSES.index(demand.traffic_class) for demand in demands]
        self._class_of = np.array(classes, dtype=np.intp)
        self._flows_of = np.array([demand.flows for demand in demands], dtype=np.intp)
        self._first_flow = np.cumsum(self._flows_of) - self._flows_of

    def observe(self, telemetry: Telemetry, configs: Configs) -> Observed:
        """Read links and traffic off the last samples; what is not reported is well and idle."""
        plane, recent = self.settle(configs).plane, tuple(telemetry.samples[-RECENT:])
        for samples, of, kept in self._observed:
            if of is plane and same_samples(samples, recent):
                return kept
        found = self._read(recent, plane)
        self._observed = [(recent, plane, found), *self._observed[: READINGS_KEPT - 1]]
        return found

    def _read(self, recent: Sequence[Sample], plane: Plane) -> Observed:
        links = len(plane.up)
        if not recent:
            return Observed(frozenset(), np.zeros(links), np.zeros(len(self._layout.demands)))
        seen_down = np.any([s.column("link", "up") == 0.0 for s in recent], axis=0)
        dark = plane.up & seen_down
        load, drop, used, _ = mean_of_known([s.link for s in recent]).T
        calm = used < 0.9
        loss = np.where(calm & (load > 0), drop / np.maximum(load, 1.0), 0.0)
        rates = mean_of_known([s.column("demand", "offered_bps") for s in recent])
        return Observed(frozenset(np.flatnonzero(dark).tolist()), np.minimum(loss, 1.0), rates)

    def same_rules(self, a: Configs, b: Configs) -> bool:
        """Whether packets are treated alike under both: then neither explains a difference."""
        return alike(self.settle(a).plane, self.settle(b).plane)

    def same_tables(self, a: Configs, b: Configs) -> bool:
        """Whether devices hold as many routes under both, and refuse as many."""
        one, two = (self.settle(configs).plane for configs in (a, b))
        return np.array_equal(one.routes, two.routes) and np.array_equal(one.refused, two.refused)

    def look(self, configs: Configs, seen: Observed, before: Configs) -> Condition:
        """The condition under these configs when settled. `before` says what was closed."""
        settled = self.settle(configs, seen.down)
        demand, utilisation = (rows[0] for rows in self.load(settled, seen))
        return Condition(
            broken=settled.broken,
            exposed=settled.exposed(before),
            severity=self.limits.severity(demand, utilisation),
            starved=self.limits.starved(demand, self._layout),
            demand=demand,
            utilisation=utilisation,
            overloaded=tuple(
                self.topology.link_name(int(n)) for n in np.flatnonzero(utilisation >= FULL)
            ),
            lost_bps=self._lost_bps(demand),
        )

    def broken_pairs(self, configs: Configs, down: frozenset[int]) -> dict[str, BrokenPairs]:
        """By name of each intent that fails under these configs, all hosts for whom it does."""
        settled = self.settle(configs, down)
        if not settled.violated:
            return {}
        broken = {verdict.intent for verdict in settled.violated}
        pairs = self._worked.verifier.broken_pairs(settled.plane)
        of_intent = zip(self.intents.paths, pairs, strict=True)
        return {intent.name: found for intent, found in of_intent if intent in broken}

    def breaks(self, configs: Configs, other: Configs, down: frozenset[int]) -> tuple[str, ...]:
        """Names of the intents that these configs break, for somebody, and the others do not.

        An intent of all hosts that fails for one who is cut off anyway hides nobody else.
        """
        broken, anyway = self.settle(configs, down).broken, self.settle(other, down).broken
        if not set(broken) & set(anyway):
            return broken
        mine, theirs = self.broken_pairs(configs, down), self.broken_pairs(other, down)
        return tuple(
            name for name in broken if name not in anyway or mine[name].beyond([theirs[name]])
        )

    def examples(self, configs: Configs) -> tuple[str, ...]:
        """Of each intent that fails under these configs on sound links, a packet and its way."""
        verdicts = self._worked.verifier.check(self.settle(configs).plane)
        return tuple(_tell(v.witness) for v in verdicts if v.witness is not None)

    def load(
        self, settled: Settled, seen: Observed, factors: Sequence[float] = (1.0,)
    ) -> tuple[Array, Array]:
        """What demands and links would get at these multiples of the traffic, in one solve.

        Shapes: `[B, F, 4]` with the columns of a Sample, and utilisation `[B, L]`, for B factors.
        """
        plane, loader = settled.plane, self._worked.loader
        offered = np.multiply.outer(np.asarray(factors), loader.spread(seen.rates_bps))
        loads = loader.solve(settled.routed, offered, seen.loss)
        rate = plane.rate_bps
        utilisation = np.divide(
            loads.link_load_bps, rate, out=np.zeros_like(loads.link_load_bps), where=rate > 0
        )
        return self._per_demand(offered, loads), utilisation

    def passing(self, settled: Settled, links: Array) -> Array:
        """`[F]`: the share of each demand's flows that are delivered over any of `links[L]`."""
        paths = settled.routed.paths
        on_the_way = np.arange(paths.links.shape[2]) < paths.hops[0][:, None]
        over = (links[paths.links[0]] & on_the_way).any(axis=1)
        found: Array = self._sums(over[None].astype(np.float64))[0] / self._flows_of
        return found

    def _per_demand(self, offered: Array, loads: Loads) -> Array:
        """`[B, F, 4]`, with the columns of a Sample; latency is the mean over what is delivered."""
        sent = loads.throughput_bps
        offered_bps, sent_bps = self._sums(offered), self._sums(sent)
        weighted = self._sums(np.where(sent > 0, loads.latency_s, 0.0) * sent)
        found = np.empty((*sent_bps.shape, len(DEMAND_METRICS)))
        found[..., 0], found[..., 1], found[..., 2], found[..., 3] = (
            offered_bps,
            sent_bps,
            np.nan,
            1,
        )
        np.divide(weighted, sent_bps, out=found[..., 2], where=sent_bps > 0)
        np.divide(sent_bps, offered_bps, out=found[..., 3], where=offered_bps > 0)
        found[..., 3] = 1.0 - found[..., 3]
        return found

    def _sums(self, flows: Array) -> Array:
        """Per flow to per demand, along the last axis; the flows of a demand stand together."""
        if flows.shape[-1] == len(self._flows_of):
            return flows
        found: Array = np.add.reduceat(flows, self._first_flow, axis=-1)
        return found

    def _lost_bps(self, demand: Array) -> tuple[float, ...]:
        """What is offered and not delivered, class by class, of demands `[F, 4]`."""
        lost = np.maximum(demand[:, 0] - demand[:, 1], 0.0)
        found = np.bincount(self._class_of, np.nan_to_num(lost), len(CLASSES))
        return tuple(float(bps) for bps in found)

    def settle(self, configs: Configs, down: frozenset[int] = frozenset()) -> Settled:
        """Compile, verify and route; the last few are kept."""
        for kept in self._kept:
            if kept.down == down and same_configs(kept.configs, configs):
                return kept
        plane = self._worked.plane(configs, Physical(down=down), self._atoms)
        self._atoms = plane.atom_first  # as fine as those of all before
        violated = tuple(v for v in self._worked.verdicts(plane) if not v.holds)
        fresh = Settled(dict(configs), down, plane, violated, self._worked.routed(plane))
        self._kept = [fresh, *self._kept[: KEPT - 1]]
        return fresh


def same_configs(a: Configs, b: Configs) -> bool:
    """Whether two sets of configs are equal."""
    # Maps do not look into what is the same object, as nearly all of these are.
    return a is b or a == b


def _trend(samples: Sequence[Sample]) -> tuple[float, float]:
    """The slope by least squares of what all demands together send, and its level; of too little
    that is known, 0 and 1.
    """
    if len(samples) < LEAST:
        return 0.0, 1.0
    offered = np.array([sample.column("demand", "offered_bps") for sample in samples])
    known = np.isfinite(offered).all(axis=0)
    total = offered[:, known].sum(axis=1)
    level = total[-RECENT:].mean()
    if total.size == 0 or level <= 0:
        return 0.0, 1.0
    time = np.arange(len(total)) - (len(total) - 1) / 2
    return (time * total).sum() / (time * time).sum(), level


def mean_of_known(readings: list[Array]) -> Array:
    """Of each number, of the readings in which it is known."""
    stacked = np.array(readings)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    found: Array = total / np.maximum(known.sum(axis=0), 1)
    return found


def _tell(witness: object) -> str:
    packet = getattr(witness, "packet", "")
    path = " > ".join(getattr(witness, "path", ()))
    return f"{packet} by {path}: {getattr(witness, 'reason', '')}"
