"""Test traffic: in the shadow only, until its deadline, and counters that would show otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shadowsim.errors import BadInput, MachineLacks
from shadowsim.mirror import testtraffic
from shadowsim.mirror.testtraffic import matches_of
from shadowsim.model.address import ANY, parse_prefix
from shadowsim.model.faults import Fault
from shadowsim.model.traffic import Demand, Profile
from shadowsim.network import NETWORKS
from shadowsim.network.protocol import Match, Network
from shadowsim.network.simulated.edge import Diversion
from shadowsim.scenario import parse

SCENARIO = parse("""
name: square
seed: 5
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
  hosts:
    web: {on: A, groups: [servers]}
    db: {on: A, groups: [servers]}
traffic:
  demands:
    - {from: C, to: web, rate_mbps: 5, class: critical, protocol: udp, port: 5004}
    - {from: B, to: db, rate_mbps: 4}
    - {from: D, to: db, rate_mbps: 3}
    - {from: B, to: D, rate_mbps: 2, class: bulk, port: 873}
change: {script: ""}
""")
WIRES = SCENARIO.topology
DEMANDS = SCENARIO.traffic.demands
FLOW = Demand("h-B", "h-C", 8e6, "bulk", "udp", 9)
NORMAL = Match(traffic_class="normal")
BULK = Match(traffic_class="bulk")


class Pair:
    """Production, its shadow without traffic of its own, and test traffic between them."""

    def __init__(self, **other: Any) -> None:
        scenario = replace(SCENARIO, **other)
        self.production = NETWORKS["simulated"](scenario, scenario.configs, "production")
        self.shadow = NETWORKS["simulated"](scenario, scenario.configs, "shadow")
        self.shadow.offer(np.zeros(len(DEMANDS)))
        self.tests = testtraffic.TestTraffic(self.production, self.shadow, DEMANDS)

    def advance(self, until_s: float) -> None:
        while self.production.now < until_s - 1e-9:
            at_s = min(math.floor(self.production.now + 1e-9) + 1.0, until_s)
            self.here = self.production.advance(at_s)
            self.there = self.shadow.advance(at_s)
            self.tests.tick()

    def offered(self, network: str = "here") -> list[float]:
        """What the demands offered in the last second, in Mbit/s."""
        return list(getattr(self, network)[-1].column("demand", "offered_bps") / 1e6)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.production.close()
    pair.shadow.close()


def load(network: Network, link: str) -> float:
    row = network.layout.links.index(link)
    return float(network.advance(network.now + 1.0)[-1].column("link", "load_bps")[row])


# -- generated ---------------------------------------------------------------------------------


def test_generated_traffic_is_in_the_shadow_and_not_in_production(pair: Pair) -> None:
    without = Pair()
    pair.tests.generate(FLOW, 60.0)
    for at_s in range(1, 6):
        for both in (pair, without):
            both.advance(float(at_s))
        for mine, theirs in zip(pair.here, without.here, strict=True):
            assert np.array_equal(mine.link, theirs.link)
            assert np.array_equal(mine.demand, theirs.demand, equal_nan=True)
    assert load(pair.shadow, "B>C") == pytest.approx(8e6, rel=0.05)
    assert load(without.shadow, "B>C") == 0.0


def test_generated_traffic_is_counted(pair: Pair) -> None:
    name = pair.tests.generate(FLOW, 60.0)
    pair.advance(4.0)
    (found,) = pair.tests.status()
    assert (found.id, found.kind, found.state, found.going) == (name, "generate", "going", True)
    assert (found.since_s, found.until_s) == (0.0, 60.0)
    assert found.packets == found.delivered == 4000
    assert found.bits == 32e6
    assert found.latency_s == pytest.approx(0.0025, rel=0.2)
    assert (found.leaked, found.returned) == (0, 0)
    assert "h-B > h-C at 8 Mbit/s" in found.what


def test_what_generated_traffic_loses_is_counted(pair: Pair) -> None:
    pair.shadow.inject(Fault("link_loss", 0.0, link=("B", "C"), amount=0.25))
    pair.tests.generate(FLOW, 60.0)
    pair.advance(4.0)
    (found,) = pair.tests.status()
    assert found.delivered == pytest.approx(3000, rel=0.01)


def test_traffic_that_never_arrives_has_no_latency(pair: Pair) -> None:
    pair.shadow.inject(Fault("device_crash", 0.0, device="C"))
    pair.advance(1.0)
    pair.tests.generate(FLOW, 60.0)
    pair.advance(4.0)
    (found,) = pair.tests.status()
    assert (found.packets, found.delivered, found.latency_s) == (3000, 0, None)


def test_generated_traffic_competes_with_what_is_mirrored(pair: Pair) -> None:
    pair.shadow.offer(np.array([0.0, 60e6, 0.0, 0.0]))
    pair.advance(2.0)
    before = pair.there[-1].column("demand", "throughput_bps")[1]
    pair.tests.generate(Demand("h-B", "web", 80e6, "critical", "udp", 9), 60.0)
    pair.advance(4.0)
    after = pair.there[-1].column("demand", "throughput_bps")[1]
    assert after < 0.6 * before


def test_traffic_that_ended_leaves_the_links_and_its_place(pair: Pair) -> None:
    for _ in range(40):
        pair.tests.cancel(pair.tests.generate(FLOW, 60.0))
    pair.advance(2.0)
    assert load(pair.shadow, "B>C") == 0.0
    assert len(pair.shadow._tests._places) == 1  # type: ignore[attr-defined]


# -- steered -----------------------------------------------------------------------------------


def test_steered_traffic_is_in_the_shadow_instead_of_production(pair: Pair) -> None:
    pair.advance(2.0)
    pair.tests.steer(NORMAL, 60.0)
    pair.advance(6.0)
    assert pair.offered("here") == pytest.approx([5, 0, 0, 2], rel=0.1)
    assert pair.offered("there") == pytest.approx([0, 4, 3, 0], rel=0.1)
    (found,) = pair.tests.status()
    assert found.bits == pytest.approx(28e6, rel=0.05)
    assert found.packets == pytest.approx(3500, rel=0.05)
    assert (found.leaked, found.returned, found.delivered) == (0, 0, None)


def test_steered_traffic_keeps_its_profile_and_its_surges() -> None:
    wave = replace(SCENARIO.traffic, profile=Profile(steps=((4.0, 3.0),)))
    surge = (Fault("traffic_surge", 6.0, amount=2.0, network="production"),)
    pair = Pair(traffic=wave, faults=surge)
    pair.tests.steer(NORMAL, 60.0)
    pair.advance(3.0)
    assert pair.offered("there") == pytest.approx([0, 4, 3, 0], rel=0.15)
    pair.advance(6.0)
    assert pair.offered("there") == pytest.approx([0, 12, 9, 0], rel=0.15)
    pair.advance(10.0)
    assert pair.offered("there") == pytest.approx([0, 24, 18, 0], rel=0.15)
    assert pair.offered("here")[1:3] == [0.0, 0.0]


def test_steered_traffic_comes_beside_what_is_mirrored(pair: Pair) -> None:
    pair.shadow.offer(np.array([5e6, 1e6, 0.0, 0.0]))
    pair.tests.steer(NORMAL, 60.0)
    pair.advance(3.0)
    pair.shadow.offer(np.array([6e6, 1e6, 0.0, 0.0]))
    pair.advance(5.0)
    assert pair.offered("there") == pytest.approx([6, 5, 3, 0], rel=0.1)


def test_the_shadow_follows_production_to_the_second() -> None:
    """What users want in a second of production's is what arrives in that second."""
    pair, control = Pair(), Pair()
    pair.tests.steer(NORMAL, 60.0)
    quiet = 0.0
    for at_s in range(1, 8):
        pair.advance(float(at_s))
        control.advance(float(at_s))
        wanted = np.array(control.offered("here"))[1:3]
        got = np.array(pair.offered("there"))[1:3]
        quiet = max(quiet, float(np.abs(got / wanted - 1.0).max()))
    assert quiet < 0.06  # the noise of two readings


def test_several_steer_side_by_side_and_no_packet_counts_twice(pair: Pair) -> None:
    first = pair.tests.steer(NORMAL, 60.0)
    second = pair.tests.steer([BULK, Match(source=parse_prefix("10.0.1.0/24"))], 60.0)
    pair.advance(4.0)
    one, two = pair.tests.status()
    total = pair.production.diverted()
    assert one.bits == pytest.approx(28e6, rel=0.1)
    assert two.bits == pytest.approx(8e6, rel=0.1)
    assert one.bits + two.bits == pytest.approx(total.bits.sum())
    assert pair.tests.cancel(first).state == "cancelled"
    pair.advance(8.0)
    assert pair.offered("here") == pytest.approx([5, 0, 3, 0], rel=0.1)  # B's is still steered
    ended, two = pair.tests.status()
    assert ended.bits == one.bits
    assert two.bits == pytest.approx(16e6 + 16e6, rel=0.1)  # and counts for the second since then
    pair.tests.cancel(second)
    pair.advance(10.0)
    assert pair.offered("here") == pytest.approx([5, 4, 3, 2], rel=0.1)


# -- the end of it -----------------------------------------------------------------------------


def test_a_deadline_is_kept(pair: Pair) -> None:
    pair.advance(1.0)
    pair.tests.steer(NORMAL, 3.0)
    pair.tests.generate(FLOW, 2.0)
    pair.advance(8.0)
    steered, generated = pair.tests.status()
    assert (steered.state, steered.since_s, steered.until_s) == ("over", 1.0, 4.0)
    assert (generated.state, generated.until_s) == ("over", 3.0)
    assert generated.packets == 2000
    assert pair.offered("here") == pytest.approx([5, 4, 3, 2], rel=0.1)
    assert pair.offered("there") == [0, 0, 0, 0]
    assert steered.bits == pytest.approx(pair.production.diverted().bits.sum())


def test_the_end_ends_everything_at_once(pair: Pair) -> None:
    pair.tests.steer(NORMAL, 60.0)
    pair.tests.generate(FLOW, 60.0)
    pair.advance(2.5)
    pair.tests.end()
    pair.tests.end()
    assert {s.state for s in pair.tests.status()} == {"ended"}
    counted = pair.production.diverted().bits.sum()
    pair.advance(5.0)
    assert pair.production.diverted().bits.sum() == counted
    assert pair.offered("here") == pytest.approx([5, 4, 3, 2], rel=0.1)
    with pytest.raises(BadInput, match="ending"):
        pair.tests.generate(FLOW, 1.0)


def test_cancelling_twice_says_the_same(pair: Pair) -> None:
    name = pair.tests.steer(NORMAL, 60.0)
    pair.advance(2.0)
    said = pair.tests.cancel(name)
    pair.advance(3.0)
    assert pair.tests.cancel(name) == said == pair.tests.find(name)
    with pytest.raises(BadInput, match="no test traffic 's9'"):
        pair.tests.cancel("s9")


def test_a_long_session_remembers_only_the_last(pair: Pair) -> None:
    names = [pair.tests.generate(FLOW, 60.0) for _ in range(3)]
    for _ in range(120):
        pair.tests.cancel(pair.tests.generate(FLOW, 60.0))
    found = [s.id for s in pair.tests.status()]
    assert found[:3] == names
    assert found[3:] == [f"g{n}" for n in range(24, 124)]


def test_a_closed_shadow_does_not_stop_production(pair: Pair) -> None:
    pair.tests.steer(NORMAL, 2.0)
    pair.shadow.close()
    pair.advance(5.0)
    assert pair.offered("here") == pytest.approx([5, 4, 3, 2], rel=0.1)


# -- counters that would show it ---------------------------------------------------------------


def test_a_diversion_that_still_forwards_is_found_out(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copying(self: Diversion, wanted_bps: Any, at_s: float) -> Any:
        keep(self, wanted_bps, at_s)
        return wanted_bps

    keep = Diversion.keep
    monkeypatch.setattr(Diversion, "keep", copying)
    pair.tests.steer(NORMAL, 60.0)
    pair.advance(4.0)
    (found,) = pair.tests.status()
    assert found.leaked == pytest.approx(3500, rel=0.1)
    assert found.returned == 0


def test_a_diversion_that_leaves_a_little_behind_is_found_out(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Diversion.keep
    monkeypatch.setattr(
        Diversion, "keep", lambda self, wanted, at_s: keep(self, wanted, at_s) + 1e-3 * self._away
    )
    pair.tests.steer(NORMAL, 60.0)
    pair.advance(4.0)
    assert pair.tests.status()[0].leaked == 2  # one packet of each demand was begun


def test_a_shadow_that_sends_back_is_found_out_and_stopped(pair: Pair) -> None:
    pair.shadow.offer(np.array([0.0, 0.0, 0.0, 2e6]))
    pair.tests.steer(NORMAL, 60.0)
    generated = pair.tests.generate(FLOW, 60.0)
    pair.advance(2.0)
    pair.shadow.divert([BULK], pair.production)
    pair.advance(4.0)
    steered = pair.tests.status()[0]
    assert steered.state == "stopped"
    assert steered.returned > 0
    assert pair.tests.find(generated).state == "stopped"
    pair.advance(5.0)
    assert pair.offered("here")[1:3] == pytest.approx([4, 3], rel=0.1)


def test_two_that_divert_into_each_other_come_to_rest(pair: Pair) -> None:
    pair.shadow.offer(np.array([0.0, 1e6, 0.0, 0.0]))
    pair.production.divert([NORMAL], pair.shadow)
    pair.shadow.divert([NORMAL], pair.production)
    pair.advance(4.0)
    found = pair.production.diverted()
    assert found.returned == pytest.approx(500, rel=0.1)
    assert found.leaked == found.returned


def test_it_is_diverted_only_into_its_like(pair: Pair) -> None:
    class Wall:
        pass

    with pytest.raises(MachineLacks):
        pair.production.divert([NORMAL], Wall())  # type: ignore[arg-type]


def test_another_receiver_takes_over_from_the_first(pair: Pair) -> None:
    other = NETWORKS["simulated"](SCENARIO, SCENARIO.configs, "other")
    other.offer(np.zeros(len(DEMANDS)))
    pair.production.divert([NORMAL], pair.shadow)
    pair.advance(2.0)
    pair.production.divert([NORMAL], other)
    pair.advance(4.0)
    assert pair.offered("there") == [0, 0, 0, 0]
    last = other.advance(4.0)[-1].column("demand", "offered_bps") / 1e6
    assert last == pytest.approx([0, 4, 3, 0], rel=0.1)


# -- refusals ----------------------------------------------------------------------------------

BAD_FLOWS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown source": ({"source": "h-Bb"}, "from: there is no host 'h-Bb'; did you mean 'h-B'"),
    "unknown destination": ({"destination": "dbb"}, "did you mean 'db'"),
    "a device": ({"source": "A"}, "that is a device or group; valid: db, h-A, web"),
    "to itself": ({"destination": "h-B"}, "two hosts"),
    "class": ({"traffic_class": "critcal"}, "did you mean 'critical'"),
    "protocol": ({"protocol": "icmp"}, "valid: tcp, udp"),
    "port": ({"port": 70000}, "port: 70000 must be at least 0 and at most 65535"),
    "no rate": ({"rate_bps": 0.0}, "rate: 0 must be above 0"),
    "endless rate": ({"rate_bps": math.inf}, "rate: inf"),
    "rate that is none": ({"rate_bps": math.nan}, "rate: nan"),
    "size": ({"packet_bytes": 20}, "packet_bytes: 20 must be at least 64"),
    "flows": ({"flows": 0}, "flows: 0 must be at least 1"),
}


@pytest.mark.parametrize("name", BAD_FLOWS)
def test_bad_flows_are_refused(name: str, pair: Pair) -> None:
    changed, told = BAD_FLOWS[name]
    with pytest.raises(BadInput) as refused:
        pair.tests.generate(replace(FLOW, **changed), 10.0)
    assert told in str(refused.value)
    assert pair.tests.status() == []


@pytest.mark.parametrize("for_s", [0.0, -1.0, 3600.5, math.inf, math.nan, True])
def test_deadlines_out_of_bounds_are_refused(for_s: float, pair: Pair) -> None:
    for begin in (lambda: pair.tests.generate(FLOW, for_s), lambda: pair.tests.steer(BULK, for_s)):
        with pytest.raises(BadInput, match="for_s"):
            begin()
    assert pair.production.diverted().packets.sum() == 0


def test_steering_of_nothing_is_refused(pair: Pair) -> None:
    with pytest.raises(BadInput, match="no traffic of production matches"):
        pair.tests.steer(Match(port=22), 10.0)
    with pytest.raises(BadInput, match="no traffic"):
        pair.tests.steer([], 10.0)
    with pytest.raises(BadInput, match="class"):
        pair.tests.steer(Match(traffic_class="x"), 10.0)


def test_critical_traffic_is_steered_only_when_that_is_said(pair: Pair) -> None:
    with pytest.raises(BadInput, match=r"critical traffic \(1 demand\)"):
        pair.tests.steer(Match(port=5004), 10.0)
    pair.tests.steer(Match(port=5004), 10.0, critical=True)
    pair.advance(2.0)
    assert pair.offered("here")[0] == 0.0


def test_everything_is_steered_only_when_that_is_said(pair: Pair) -> None:
    with pytest.raises(BadInput, match="without traffic"):
        pair.tests.steer(Match(), 10.0, critical=True)
    pair.tests.steer([NORMAL, BULK], 10.0)
    with pytest.raises(BadInput, match="without traffic"):  # nor bit by bit
        pair.tests.steer(Match(port=5004), 10.0, critical=True)
    pair.tests.steer(Match(), 10.0, critical=True, everything=True)
    pair.advance(2.0)
    assert pair.offered("here") == [0, 0, 0, 0]


def test_no_more_than_32_at_once(pair: Pair) -> None:
    for _ in range(32):
        pair.tests.generate(FLOW, 2.0)
    with pytest.raises(BadInput, match="32"):
        pair.tests.steer(BULK, 2.0)
    pair.advance(3.0)
    pair.tests.steer(BULK, 2.0)


# -- names -------------------------------------------------------------------------------------


def test_names_become_matches() -> None:
    (one,) = matches_of(WIRES, destination="db", traffic_class="normal", port=443)
    assert one == Match("normal", ANY, parse_prefix("10.0.0.4/32"), None, 443)
    (lan,) = matches_of(WIRES, source="B")
    assert str(lan.source) == "10.0.1.0/24"
    assert len(matches_of(WIRES, source="servers", destination="servers")) == 4
    (prefix,) = matches_of(WIRES, source="10.0.0.0/8")
    assert str(prefix.source) == "10.0.0.0/8"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("servrs", "did you mean 'servers'"),
        ("10.0.0.1/8", "did you mean '10.0.0.0/8'"),
        ("10.0.0.999", "999"),
        ("", "valid:"),
        ("../../etc", "valid:"),
    ],
)
def test_unknown_names_are_refused(name: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        matches_of(WIRES, source=name)
    assert told in str(refused.value)
