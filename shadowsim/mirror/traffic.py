"""Copies of production's packets to rates for the shadow, counts, and the next ration of copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from shadowsim.mirror.anonymise import anonymise
from shadowsim.mirror.blast import Marks
from shadowsim.mirror.budget import (
    EDGE_SHARE,
    Budget,
    Ration,
    Reading,
    decide,
    first,
    in_order,
)
from shadowsim.model.address import format_address
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.network.protocol import Copies, Network
from shadowsim.scenario import Mirror

Array = np.ndarray


def budget_of(plan: Mirror, topology: Topology) -> Budget:
    """The budget of a plan, or the share of the edge that copies get where it names none."""
    edge_bps = sum(host.rate_bps for host in topology.hosts)
    bps = EDGE_SHARE * edge_bps if plan.budget_bps is None else plan.budget_bps
    return Budget(bps, in_order(plan.classes), plan.fraction)


class Tap:
    """The mirror ports of production under a budget. Of production it calls `copy` and `copies`.

    `rates_bps[F]` is what every demand sends by the last copies; where nothing was heard of a
    demand that is copied the last rate is kept, and what is not copied is 0.
    """

    def __init__(
        self, production: Network, demands: Sequence[Demand], plan: Mirror, random: Generator
    ) -> None:
        self._production = production
        self._demands = demands
        self._plan = plan
        self._random = random
        self._key = random.bytes(32)
        self._bits = np.array([8.0 * d.packet_bytes for d in demands])
        self._kept_bytes = np.minimum(self._bits / 8.0, plan.truncate_bytes)
        self.budget = budget_of(plan, production.topology)
        self._of = [  # the numbers of the demands of each class
            np.flatnonzero([d.traffic_class == name for d in demands])
            for name in self.budget.classes
        ]
        self.ration = self._expected()
        self.rates_bps = np.zeros(len(demands))
        self.known: Marks = np.zeros(len(demands), dtype=np.bool_)  # of which anything was heard
        self.packets = np.zeros(len(demands), dtype=np.int64)
        self.captured_bytes = 0
        self.strangers = 0
        self.peak_bps = 0.0
        self._seen_bits = self._due_bits = self._stood_bits = 0.0
        self._order()

    @property
    def copied(self) -> Marks:
        """`[F]`: the demands that are copied now."""
        found = np.zeros(len(self._demands), dtype=np.bool_)
        for mine in self._of[: self.ration.kept]:
            found[mine] = True
        return found

    @property
    def share(self) -> float:
        """The share of production's bits that was copied."""
        copied = float((self.packets * self._bits).sum())
        return copied / self._seen_bits if self._seen_bits else 0.0

    @property
    def represented(self) -> float:
        """The share that the copies stand for, of the traffic that the shadow should have."""
        return self._stood_bits / self._due_bits if self._due_bits else 1.0

    def read(self, inside: Marks, inside_share: float) -> bool:
        """Take the last copies in; whether that changed what is copied from now on.

        `inside[F]` are the demands that the shadow offers, `inside_share` how much of
        production's traffic they are.
        """
        copies = self._production.copies()
        if copies.over_s <= 0.0:
            return False
        share, copied = self.ration.fraction, self.copied
        heard = copied & copies.heard
        sent_bps = copies.bits / share / copies.over_s
        self.rates_bps = np.where(heard, sent_bps, np.where(copied, self.rates_bps, 0.0))
        self.known = self.known | heard
        self.packets += copies.packets
        self.captured_bytes += copies.captured_bytes
        self.strangers += copies.strangers
        self.peak_bps = max(self.peak_bps, 8.0 * copies.captured_bytes / copies.over_s)
        self._seen_bits += copies.seen_bits
        due_bits = copies.seen_bits * inside_share
        stood_bits = float(sent_bps[heard & inside].sum()) * copies.over_s
        self._due_bits += due_bits
        self._stood_bits += min(stood_bits, due_bits)
        return self._ration(copies)

    def records(self, most: int = 3) -> tuple[str, ...]:
        """The busiest flows as the mirror tells of them: headers, never what packets carry."""
        busiest = np.argsort(-self.packets, kind="stable")[:most]
        return tuple(self._record(int(i)) for i in busiest if self.packets[i])

    def _ration(self, copies: Copies) -> bool:
        captured = copies.packets * self._kept_bytes * 8.0 / copies.over_s
        reading = Reading(
            self._by_class(captured),
            tuple(bits / copies.over_s for bits in self._by_class(copies.bits)),
            copies.seen_bits / copies.over_s,
        )
        before, self.ration = self.ration, decide(self.budget, self.ration, reading)
        changed = (before.kept, before.fraction) != (self.ration.kept, self.ration.fraction)
        if changed:
            self._order()
        return changed

    def _order(self) -> None:
        self._production.copy(
            self.ration.classes(self.budget),
            self.ration.fraction,
            self._plan.truncate_bytes,
            self._random,
        )

    def _expected(self) -> Ration:
        """What to begin with, by what the demands are said to send."""
        load = np.array([d.rate_bps for d in self._demands])
        cost = load * self._kept_bytes / (self._bits / 8.0)
        costs, loads = self._by_class(cost), self._by_class(load)
        return first(self.budget, costs, loads, float(load.sum()) - sum(loads))

    def _by_class(self, values: Array) -> tuple[float, ...]:
        """The sums over the demands of each class, of `values[F]`."""
        return tuple(float(values[mine].sum()) if mine.size else 0.0 for mine in self._of)

    def _record(self, number: int) -> str:
        demand = self._demands[number]
        address = self._production.topology.address
        ends = [address[demand.source], address[demand.destination]]
        if self._plan.anonymise:
            ends = [anonymise(end, self._key) for end in ends]
        source, destination = map(format_address, ends)
        what = f"{demand.protocol}/{demand.port} {demand.traffic_class}"
        return f"{source} > {destination} {what}: {int(self.packets[number])} packets"
