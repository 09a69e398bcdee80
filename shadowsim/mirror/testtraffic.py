"""Wishes for test traffic to traffic in the shadow, until a deadline, with counters as proof.

*Generated* traffic is sent in the shadow beside what is mirrored. *Steered* traffic is
production's own, taken off at its edge: it goes into the shadow instead of production.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from shadowsim.errors import BadInput, Unreachable, choices
from shadowsim.model.address import ANY, Prefix, parse_prefix
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.network.matching import matched_by
from shadowsim.network.protocol import Diverted, Match, Network

Array = np.ndarray

LONGEST_S = 3600.0
MOST = 32  # at once
MOST_MATCHES = 256
MOST_RATE_BPS = 10e9
MOST_FLOWS = 64
REMEMBERED = 100  # of those that are over
PACKET_BYTES = (64, 9216)
TRANSPORTS = ("tcp", "udp")
CRITICAL = CLASSES[0]
GOING = "going"


@dataclass(frozen=True)
class Status:
    """One wish and what came of it; times are those of the network.

    `state` is `going`, or how it ended: `over` (its deadline came), `cancelled`, `ended` (with
    the session) or `stopped` (something came back). `packets` were sent, or taken off;
    `delivered` and `latency_s` are known of generated traffic only, `latency_s` once something
    arrived. `leaked` and `returned` are the packets counted in production, since this began,
    that should have been in the shadow only, and that came back from it: of all test traffic
    together.
    """

    id: str
    kind: str
    what: str
    since_s: float
    until_s: float
    state: str
    packets: int
    bits: float
    delivered: int | None
    latency_s: float | None
    leaked: int
    returned: int

    @property
    def going(self) -> bool:
        return self.state == GOING


@dataclass
class _Wish:
    """One wish that is going: what the network calls it, and the counts from which it began."""

    status: Status
    start: Diverted
    number: int | None = None  # of generated traffic
    size_bits: float = 0.0
    matches: tuple[Match, ...] = ()
    mine: Array = field(default_factory=lambda: np.empty(0, np.bool_))  # which demands it steers


class TestTraffic:
    """Sends test traffic to `shadow` and steers some of production's into it.

    `tick` has to be called as the networks' time passes: it enforces the deadlines, and ends
    everything if anything came back into production. Nothing outlives `end`. Every method
    belongs to the one thread that owns the networks.
    """

    __test__ = False  # pytest takes the name for a class of tests

    def __init__(self, production: Network, shadow: Network, demands: Sequence[Demand]) -> None:
        self._production = production
        self._shadow = shadow
        self._demands = tuple(demands)
        self._going: dict[str, _Wish] = {}
        self._over: dict[str, Status] = {}
        self._given = 0
        self._ended = False

    # -- wishes ----------------------------------------------------------------------------

    def generate(self, flow: Demand, for_s: float) -> str:
        """Send this in the shadow from now on, `for_s` seconds long; its id.

        Raises BadInput if a host is unknown, a number out of bounds, or too much is going on.
        """
        check_flow(self._shadow.topology, flow)
        self._check(for_s)
        what = f"{flow.traffic_class} {flow.protocol}/{flow.port} {flow.source} > "
        what += f"{flow.destination} at {flow.rate_bps / 1e6:g} Mbit/s"
        wish = self._wish("generate", what, for_s)
        wish.size_bits = 8.0 * flow.packet_bytes
        wish.number = self._shadow.send(flow)
        self._going[wish.status.id] = wish
        return wish.status.id

    def steer(
        self,
        match: Match | Sequence[Match],
        for_s: float,
        *,
        everything: bool = False,
        critical: bool = False,
    ) -> str:
        """Let production's traffic that matches go into the shadow instead, for `for_s` seconds.

        Returns its id. Demands that are steered already stay with whoever steers them. Raises
        BadInput where it matches no traffic, or critical traffic without `critical`, or, together
        with what is steered already, all of it without `everything`.
        """
        matches = (match,) if isinstance(match, Match) else tuple(match)
        for one in matches:
            check_match(one)
        self._check(for_s)
        mask = matched_by(self._production.topology, self._demands, matches)
        self._check_steered(mask, everything=everything, critical=critical)
        wish = self._wish("steer", self._said(mask), for_s)
        wish.matches, wish.mine = matches, mask & ~self._steered()
        self._production.divert([*self._matches(), *matches], self._shadow)
        self._going[wish.status.id] = wish
        return wish.status.id

    def cancel(self, name: str) -> Status:
        """End one of them now, and say what came of it; a second call only says it again.

        Raises BadInput if there is none of that id.
        """
        if name in self._going:
            self._finish([name], "cancelled")
        return self.find(name)

    def tick(self) -> None:
        """Time has passed: end what is due, and everything if a packet came back."""
        if not self._going:
            return
        with suppress(Unreachable):  # what cannot be counted now is counted at the next tick
            counted = self._production.diverted()
            if any(counted.returned > wish.start.returned for wish in self._going.values()):
                self._finish(list(self._going), "stopped")
        due = self._production.now + 1e-9
        self._finish([n for n, w in self._going.items() if w.status.until_s <= due], "over")

    def end(self) -> None:
        """End everything, and take no more wishes; a second call does nothing."""
        self._ended = True
        self._finish(list(self._going), "ended")

    # -- what came of them -----------------------------------------------------------------

    def status(self) -> list[Status]:
        """All that is going and the last hundred that are over, in the order they began."""
        now = self._production.diverted()
        going = [self._counted(wish, now) for wish in self._going.values()]
        return sorted([*self._over.values(), *going], key=lambda s: int(s.id[1:]))

    def find(self, name: str) -> Status:
        """One of them. Raises BadInput with those there are."""
        if name in self._going:
            return self._counted(self._going[name], self._production.diverted())
        if name not in self._over:
            there = (*self._going, *self._over)
            raise BadInput(f"there is no test traffic '{name}'; {choices(name, there)}")
        return self._over[name]

    # -- pieces ----------------------------------------------------------------------------

    def _check(self, for_s: float) -> None:
        _within("for_s", for_s, 0.0, LONGEST_S, "seconds")
        if self._ended:
            raise BadInput("the session is ending; it takes no more test traffic")
        if len(self._going) >= MOST:
            raise BadInput(f"{MOST} are going already, which is the most; cancel one first")

    def _check_steered(self, mask: Array, *, everything: bool, critical: bool) -> None:
        names = [d.name for d in self._demands]
        if not mask.any():
            raise BadInput(f"no traffic of production matches; {choices('', names)}")
        found = sum(d.traffic_class == CRITICAL for d in self._picked(mask))
        if found and not critical:
            raise BadInput(
                f"this would steer critical traffic ({_demands(found)}); "
                "say 'critical' if that is meant"
            )
        if (mask | self._steered()).all() and not everything:
            raise BadInput(
                f"this would leave production without traffic (all {_demands(len(mask))}); "
                "say 'everything' if that is meant"
            )

    def _wish(self, kind: str, what: str, for_s: float) -> _Wish:
        self._given += 1
        now = self._production.now
        name = f"{kind[0]}{self._given}"
        status = Status(name, kind, what, now, now + for_s, GOING, 0, 0.0, None, None, 0, 0)
        return _Wish(status, self._production.diverted())

    def _picked(self, mask: Array) -> list[Demand]:
        return [self._demands[i] for i in np.flatnonzero(mask)]

    def _said(self, mask: Array) -> str:
        picked = self._picked(mask)
        more = f" and {_demands(len(picked) - 3, 'more ')}" if len(picked) > 3 else ""
        return ", ".join(d.name for d in picked[:3]) + more

    def _matches(self) -> list[Match]:
        return [match for wish in self._going.values() for match in wish.matches]

    def _steered(self) -> Array:
        """Which demands are steered now."""
        return matched_by(self._production.topology, self._demands, self._matches())

    def _finish(self, names: Sequence[str], state: str) -> None:
        """End these: production gets its traffic back before anything is counted."""
        if not names:
            return
        gone = [self._going.pop(name) for name in names]
        if any(wish.matches for wish in gone):
            self._production.divert(self._matches(), self._shadow)
        for wish in gone:
            if wish.number is not None:
                self._shadow.cease(wish.number)
        now = self._production.diverted()
        for wish in gone:
            counted = self._counted(wish, now)
            ended_s = min(self._production.now, counted.until_s)
            self._over[counted.id] = replace(counted, state=state, until_s=ended_s)
        for name in list(self._over)[: max(len(self._over) - REMEMBERED, 0)]:
            del self._over[name]
        self._inherit()

    def _inherit(self) -> None:
        """Demands whose first steering has ended go on under the next one that matches them."""
        taken = np.zeros(len(self._demands), np.bool_)
        counted: Diverted | None = None
        for wish in self._going.values():
            if not wish.matches:
                continue
            all_of_it = matched_by(self._production.topology, self._demands, wish.matches)
            fresh = all_of_it & ~taken & ~wish.mine
            if fresh.any():
                counted = counted or self._production.diverted()
                wish.start = replace(
                    wish.start,
                    packets=np.where(fresh, counted.packets, wish.start.packets),
                    bits=np.where(fresh, counted.bits, wish.start.bits),
                )
                wish.mine = wish.mine | fresh
            taken |= wish.mine

    def _counted(self, wish: _Wish, now: Diverted) -> Status:
        """The status with the counters as they stand."""
        proven = replace(
            wish.status,
            leaked=now.leaked - wish.start.leaked,
            returned=now.returned - wish.start.returned,
        )
        if wish.number is None:
            packets = (now.packets - wish.start.packets)[wish.mine]
            bits = (now.bits - wish.start.bits)[wish.mine]
            return replace(proven, packets=int(packets.sum()), bits=float(bits.sum()))
        sent = self._shadow.sent(wish.number)
        return replace(
            proven,
            packets=sent.packets,
            bits=sent.packets * wish.size_bits,
            delivered=sent.delivered,
            latency_s=sent.latency_s if math.isfinite(sent.latency_s) else None,
        )


# -- words to wishes ---------------------------------------------------------------------------


def prefixes_of(topology: Topology, name: str) -> tuple[Prefix, ...]:
    """The addresses that a name means: `any`, a host, a group, a device (the hosts on it), or a
    prefix like 10.0.1.0/24 itself. Raises BadInput with near matches.
    """
    if name == "any":
        return (ANY,)
    if name in topology.host_index:
        return (Prefix(topology.address[name], 32),)
    if name in topology.lan:
        return (topology.lan[name],)
    if name in topology.groups:
        return tuple(Prefix(topology.address[host], 32) for host in topology.groups[name])
    if name[:1].isdigit() and "." in name:
        try:
            return (parse_prefix(name),)
        except ValueError as error:
            raise BadInput(str(error)) from None
    raise BadInput(f"there is no host, device or group '{name}'; {_names(topology, name)}")


def matches_of(
    topology: Topology,
    *,
    source: str = "any",
    destination: str = "any",
    traffic_class: str | None = None,
    protocol: str | None = None,
    port: int | None = None,
) -> tuple[Match, ...]:
    """What is meant by names, as matches. Raises BadInput."""
    found = tuple(
        Match(traffic_class, one, other, protocol, port)
        for one in prefixes_of(topology, source)
        for other in prefixes_of(topology, destination)
    )
    if len(found) > MOST_MATCHES:
        raise BadInput(
            f"'{source}' to '{destination}' takes {len(found)} matches, more than {MOST_MATCHES}; "
            "name devices or prefixes instead of groups"
        )
    return found


def check_flow(topology: Topology, flow: Demand) -> None:
    """Raises BadInput if no such flow can be sent."""
    for key, name in (("from", flow.source), ("to", flow.destination)):
        if name not in topology.host_index:
            raise BadInput(f"{key}: there is no host '{name}'; {_hosts(topology, name)}")
    if flow.source == flow.destination:
        raise BadInput(f"from and to are both '{flow.source}'; wanted are two hosts")
    _one_of("class", flow.traffic_class, CLASSES)
    _one_of("protocol", flow.protocol, TRANSPORTS)
    _within("port", flow.port, -1, 65535, "")
    _within("rate", flow.rate_bps, 0.0, MOST_RATE_BPS, "bit/s")
    _within("packet_bytes", flow.packet_bytes, PACKET_BYTES[0] - 1, PACKET_BYTES[1], "bytes")
    _within("flows", flow.flows, 0, MOST_FLOWS, "")


def check_match(match: Match) -> None:
    """Raises BadInput if a match could mean no packet at all."""
    if match.traffic_class is not None:
        _one_of("class", match.traffic_class, CLASSES)
    if match.protocol is not None:
        _one_of("protocol", match.protocol, TRANSPORTS)
    if match.port is not None:
        _within("port", match.port, -1, 65535, "")


def _within(what: str, value: float, above: float, most: float, unit: str) -> None:
    if isinstance(value, bool) or not (math.isfinite(value) and above < value <= most):
        least = f"at least {above + 1:g}" if isinstance(above, int) else f"above {above:g}"
        raise BadInput(f"{what}: {value:g} must be {least} and at most {most:g} {unit}".rstrip())


def _one_of(what: str, value: str, valid: Sequence[str]) -> None:
    if value not in valid:
        raise BadInput(f"{what}: there is no '{value}'; {choices(value, valid)}")


def _hosts(topology: Topology, name: str) -> str:
    """Near matches of a host; for a device or a group, that single hosts are wanted."""
    if name in topology.groups:
        return f"that is a device or group; {choices(name, topology.groups[name])}"
    return choices(name, topology.host_index)


def _names(topology: Topology, name: str) -> str:
    return choices(name, topology.names())


def _demands(count: int, more: str = "") -> str:
    return f"{count} {more}demand{'s' * (count != 1)}"
