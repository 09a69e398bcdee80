"""The Mirror Engine: a shadow like production, under its traffic, and production left alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_contract import Recording, settle

from shadowsim.mirror import MirrorEngine
from shadowsim.mirror.anonymise import anonymise
from shadowsim.mirror.budget import (
    AIM,
    CALM,
    EDGE_SHARE,
    STEP,
    Budget,
    Ration,
    Reading,
    decide,
    first,
)
from shadowsim.model.address import format_address
from shadowsim.model.change import Configs, apply, parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.telemetry import Sample
from shadowsim.model.traffic import CLASSES
from shadowsim.network import NETWORKS, Network
from shadowsim.network.protocol import Copies, Followed
from shadowsim.network.simulated.copying import Copying
from shadowsim.scenario import Mirror, parse

KEY = b"k" * 32
ADDRESSES = st.integers(0, 2**32 - 1)

PAIR = parse("""
name: pair
seed: 3
topology: {nodes: [A, B, C], links: [[A, B], [B, C], [A, C]]}
traffic:
  demands:
    - {from: A, to: B, rate_mbps: 8, class: critical, protocol: udp, port: 5004}
    - {from: B, to: C, rate_mbps: 4, packet_bytes: 500}
    - {from: C, to: A, rate_mbps: 2, class: bulk, port: 873, packet_bytes: 64}
change:
  script: |
    device A
    interface to-B
     ip ospf cost 70
""")
RATES = np.array([8e6, 4e6, 2e6])
TRIAL = PAIR.change.commands
ALL = Mirror()


# -- anonymise ---------------------------------------------------------------------------------


def shared_bits(a: int, b: int) -> int:
    return 32 - (a ^ b).bit_length()


@given(ADDRESSES, ADDRESSES, st.binary(min_size=16, max_size=32))
def test_two_addresses_share_exactly_as_many_bits_as_before(a: int, b: int, key: bytes) -> None:
    assert shared_bits(anonymise(a, key), anonymise(b, key)) == shared_bits(a, b)


@given(ADDRESSES, st.integers(0, 31))
def test_neighbours_of_every_distance_stay_neighbours(a: int, bit: int) -> None:
    b = a ^ (1 << bit)
    assert shared_bits(anonymise(a, KEY), anonymise(b, KEY)) == 31 - bit


def test_no_two_addresses_become_one() -> None:
    sample = {*range(10 << 24, (10 << 24) + 512), *range(0, 2**32, 2**23 + 1)}
    found = {anonymise(address, KEY) for address in sample}
    assert len(found) == len(sample)
    assert all(0 <= address < 2**32 for address in found)


def test_a_block_is_mapped_onto_a_whole_block() -> None:
    found = sorted(anonymise((10 << 24) + i, KEY) for i in range(256))
    assert found == list(range(found[0], found[0] + 256))
    assert found[0] % 256 == 0


def test_the_key_decides_and_the_address_is_hidden() -> None:
    sample = [(10 << 24) + 977 * i for i in range(500)]
    mine, other = ([anonymise(a, key) for a in sample] for key in (KEY, b"l" * 32))
    assert mine == [anonymise(a, KEY) for a in sample]
    assert sum(a == b for a, b in zip(mine, other, strict=True)) < 5
    assert sum(a == b for a, b in zip(mine, sample, strict=True)) < 5


# -- stand-ins ---------------------------------------------------------------------------------


class Untouchable:
    """A production that may be read and told what to copy, and nothing else.

    Its copies of a second are drawn from `offered_bps`; nan is a demand that nothing is heard of.
    """

    topology = PAIR.topology

    def __init__(self, configs: Configs = PAIR.configs) -> None:
        self.running = dict(configs)
        self.now = 0.0
        self.offered_bps = np.zeros(3)
        self.ordered: list[tuple[tuple[str, ...], float]] = []
        self._taps = Copying(PAIR.traffic.demands, ["A", "B", "C"])

    def configs(self) -> Configs:
        return dict(self.running)

    def copy(self, classes: Any, fraction: float, truncate_bytes: int, random: Any) -> None:
        self.ordered.append((tuple(classes), fraction))
        self._taps.copy(classes, fraction, truncate_bytes, random)

    def copies(self) -> Copies:
        return self._taps.copies()

    def sends(self, at_s: float, offered_bps: Any) -> Sample:
        """Time passes until then; its telemetry."""
        offered = np.array(offered_bps, dtype=np.float64)
        dark = {name for name, bps in zip("ABC", offered, strict=True) if np.isnan(bps)}
        self._taps.count(np.nan_to_num(offered)[None], dark, [at_s - self.now])
        self.now = at_s
        demand = np.zeros((3, 4))
        demand[:, :2] = offered[:, None]
        return Sample(at_s, np.zeros((3, 3)), np.ones((12, 4)), demand)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the Mirror Engine called {name}() of production")


class Listener:
    """A shadow that only keeps the rates it was offered last."""

    topology = PAIR.topology

    def __init__(self) -> None:
        self.rates: list[Any] = []

    def offer(self, rates_bps: Any) -> None:
        self.rates.append(np.array(rates_bps))

    def follow(self, other: Network) -> None:
        self.other = other

    def followed(self) -> Followed:
        return Followed(self.other.configs(), lags_s=(0.001, 0.003, 0.002))


def engine(
    plan: Mirror = ALL, production: Any = None, shadow: Any = None, seed: int = 0
) -> tuple[MirrorEngine, Any]:
    shadow = shadow or Listener()
    production = production or Untouchable()
    random = np.random.default_rng(seed)
    return MirrorEngine(production, shadow, PAIR.traffic.demands, plan, random), shadow


def mirrored(plan: Mirror = ALL) -> tuple[MirrorEngine, Listener, Untouchable]:
    production = Untouchable()
    mirror, shadow = engine(plan, production)
    return mirror, shadow, production


# -- drift -------------------------------------------------------------------------------------


@pytest.fixture
def networks() -> tuple[Network, Recording]:
    production = NETWORKS["simulated"](PAIR, PAIR.configs, "production")
    return production, Recording(NETWORKS["simulated"](PAIR, PAIR.configs, "shadow"))


def drifted(production: Network, script: str) -> None:
    production.inject(Fault("config_drift", 0.0, device="B", script=script))
    production.advance(1.0)


def test_networks_that_are_alike_have_no_drift(networks: tuple[Network, Recording]) -> None:
    mirror, shadow = engine(ALL, *networks)
    assert mirror.drift() == () == mirror.sync()
    assert shadow.tried == []


def test_drift_of_production_is_found_and_repaired(networks: tuple[Network, Recording]) -> None:
    production, shadow = networks
    mirror, _ = engine(ALL, *networks)
    drifted(production, "device B\ninterface to-C\n ip ospf cost 44\nmanagement telnet\n")
    found = mirror.drift()
    assert {c.device for c in found} == {"B"}
    assert mirror.sync() == found
    settle(shadow)
    assert mirror.drift() == ()
    assert dict(shadow.configs()) == dict(production.configs()) != dict(PAIR.configs)


def test_drift_is_repaired_around_the_trial(networks: tuple[Network, Recording]) -> None:
    production, shadow = networks
    mirror, _ = engine(ALL, *networks)
    shadow.apply(TRIAL)
    settle(shadow)
    assert mirror.drift(TRIAL) == ()
    drifted(production, "device B\ninterface to-A\n description changed by hand\n")
    assert {c.device for c in mirror.sync(TRIAL)} == {"B"}
    settle(shadow)
    assert dict(shadow.configs()) == apply(production.configs(), TRIAL)


def test_a_trial_that_the_shadow_lost_is_put_back(networks: tuple[Network, Recording]) -> None:
    mirror, shadow = engine(ALL, *networks)
    assert mirror.sync(TRIAL) == TRIAL
    settle(shadow)
    shadow.inject(Fault("config_drift", 0.0, script="device A\ninterface to-B\n ip ospf cost 1\n"))
    shadow.advance(shadow.now + 1.0)
    assert mirror.drift(TRIAL) == TRIAL
    assert mirror.drift() != ()


def test_without_a_trial_the_shadow_goes_back(networks: tuple[Network, Recording]) -> None:
    mirror, shadow = engine(ALL, *networks)
    mirror.sync(TRIAL)
    settle(shadow)
    mirror.sync()
    settle(shadow)
    assert dict(shadow.configs()) == dict(PAIR.configs)


def test_devices_that_do_not_answer_are_left_alone(networks: tuple[Network, Recording]) -> None:
    production, shadow = networks
    mirror, _ = engine(ALL, *networks)
    shadow.apply(parse_script("device A\ntable-size 5000\ndevice B\ntable-size 6000\n"))
    settle(shadow)
    production.inject(Fault("controller_lost", 0.0, device="A"))
    production.advance(1.0)
    assert {c.device for c in mirror.drift(TRIAL)} == {"B"}
    shadow.inject(Fault("controller_lost", shadow.now, device="B"))
    shadow.advance(shadow.now + 1.0)
    assert mirror.sync(TRIAL) == ()


# -- traffic -----------------------------------------------------------------------------------


def test_states_counted_together_are_counted_as_one_by_one() -> None:
    together, apart = (Copying(PAIR.traffic.demands, ["A", "B", "C"]) for _ in range(2))
    for taps in (together, apart):
        taps.copy(("normal", "critical"), 0.5, 64, np.random.default_rng(1))
    offered = np.random.default_rng(2).uniform(0.0, 1e8, (5, 3))
    spans = [0.1, 1.0, 0.3, 0.7, 0.2]
    together.count(offered, {"B"}, spans)
    for rates, span in zip(offered, spans, strict=True):
        apart.count(rates[None], {"B"}, [span])
    one, other = together.copies(), apart.copies()
    assert one.packets.any() and not one.heard[1]
    assert repr(one) == repr(other)


def test_the_shadow_follows_production() -> None:
    mirror, shadow, production = mirrored()
    for at_s, factor in enumerate((1.0, 0.5, 3.0), 1):
        mirror.forward(production.sends(at_s, RATES * factor))
        assert shadow.rates[-1] == pytest.approx(RATES * factor, rel=0.002)


def test_a_part_of_the_packets_estimates_the_whole() -> None:
    mirror, shadow, production = mirrored(replace(ALL, fraction=0.2))
    for at_s in range(1, 201):
        mirror.forward(production.sends(at_s, RATES))
    rates = np.stack(shadow.rates)
    packets = RATES / np.array([8 * d.packet_bytes for d in PAIR.traffic.demands])
    error = np.sqrt((1 - 0.2) / (0.2 * packets))  # relative, of one second
    assert rates.mean(axis=0) == pytest.approx(RATES, rel=float(4 * error.max() / np.sqrt(200)))
    assert rates.std(axis=0) / RATES == pytest.approx(error, rel=0.25)


def test_classes_that_are_not_mirrored_are_absent() -> None:
    mirror, shadow, production = mirrored(replace(ALL, classes=("normal",)))
    mirror.forward(production.sends(1.0, RATES))
    assert shadow.rates[-1][[0, 2]].tolist() == [0.0, 0.0]
    assert shadow.rates[-1][1] > 0
    assert len(mirror.report().example) == 1
    assert mirror.speaks_for.tolist() == [False, True, False]


def test_what_says_nothing_of_production_is_no_reading_of_the_shadow() -> None:
    mirror, _, production = mirrored(replace(ALL, classes=("normal",)))
    sample = production.sends(1.0, RATES)
    mirror.forward(sample)
    assert np.isnan(mirror.seen(sample).demand[[0, 2]]).all()
    assert np.isfinite(mirror.seen(sample).demand[1]).all()
    assert np.isfinite(sample.demand).all()


def test_where_nothing_is_heard_the_last_rate_is_kept() -> None:
    mirror, shadow, production = mirrored()
    mirror.forward(production.sends(1.0, RATES))
    mirror.forward(production.sends(2.0, [np.nan, 1e6, np.nan]))
    assert shadow.rates[-1] == pytest.approx([8e6, 1e6, 2e6], rel=0.002)
    mirror.forward(production.sends(3.0, [np.nan] * 3))
    assert shadow.rates[-1] == pytest.approx([8e6, 1e6, 2e6], rel=0.002)


def test_nothing_is_ever_sent_to_production(networks: tuple[Network, Recording]) -> None:
    drifted_configs = apply(PAIR.configs, parse_script("device B\ntable-size 5000\n"))
    production = Untouchable(drifted_configs)
    mirror, shadow = engine(ALL, production, networks[1])
    assert mirror.sync(TRIAL) != ()
    mirror.forward(production.sends(1.0, RATES))
    settle(shadow)
    assert mirror.drift(TRIAL) == ()
    mirror.report()


# -- lag ---------------------------------------------------------------------------------------


def test_the_lag_of_configs_is_from_the_write_to_being_there(
    networks: tuple[Network, Recording],
) -> None:
    production, shadow = networks
    mirror, _ = engine(ALL, *networks)
    mirror.sync()
    assert mirror.report().config_lag_s is None
    drifted(production, "device B\nmanagement telnet\n")
    shadow.advance(1.0)
    assert mirror.sync() != ()
    for at_s in (1.1, 1.2, 1.3, 1.4, 1.5, 1.6):
        production.advance(at_s)
        shadow.advance(at_s)
        if not shadow.busy:
            break
    mirror.arrived()
    took_s = production.now  # the drift was at 0 and seen at 1
    assert mirror.report().config_lag_s == pytest.approx(took_s)
    assert 1.0 < took_s < 1.6
    production.advance(9.0)
    assert mirror.report().config_lag_s == pytest.approx(took_s)


def test_a_change_that_never_arrives_lags_until_now(networks: tuple[Network, Recording]) -> None:
    production, shadow = networks
    mirror, _ = engine(ALL, *networks)
    shadow.inject(Fault("controller_lost", 0.0, device="B"))
    shadow.advance(1.0)
    drifted(production, "device B\nmanagement telnet\n")
    assert mirror.sync() == ()
    production.advance(7.0)
    assert mirror.report().config_lag_s == pytest.approx(7.0)


def test_nothing_is_sent_twice_while_the_shadow_is_at_work(
    networks: tuple[Network, Recording],
) -> None:
    production, shadow = networks
    mirror, _ = engine(ALL, *networks)
    drifted(production, "device B\nmanagement telnet\n")
    assert mirror.sync() != ()
    assert shadow.busy
    assert mirror.sync() == ()
    assert len(shadow.tried) == 1


# -- report ------------------------------------------------------------------------------------


def test_the_report_counts_packets_and_what_is_left_of_them() -> None:
    mirror, _, production = mirrored(replace(ALL, truncate_bytes=96))
    for at_s in (1.0, 2.0, 4.5):
        mirror.forward(production.sends(at_s, RATES))
    report = mirror.report()
    packets = [4500, 4500, 17578]  # 8 Mbit/s of 1000 bytes, 4 of 500, 2 of 64
    assert report.packets == sum(packets)
    assert report.captured_bytes == packets[0] * 96 + packets[1] * 96 + packets[2] * 64
    assert report.share == pytest.approx(1.0, abs=0.001)
    assert report.lag_s == pytest.approx(2.5)


def test_the_share_is_of_all_of_productions_bits() -> None:
    mirror, _, production = mirrored(replace(ALL, classes=("critical", "bulk"), fraction=0.5))
    for at_s in range(1, 101):
        mirror.forward(production.sends(at_s, RATES))
    assert mirror.report().share == pytest.approx(0.5 * 10 / 14, rel=0.01)
    assert mirror.report().represented == pytest.approx(10 / 14, rel=0.01)


def test_a_report_before_any_traffic_is_empty() -> None:
    report = engine()[0].report()
    assert (report.packets, report.captured_bytes, report.share, report.example) == (0, 0, 0.0, ())


@pytest.mark.parametrize("hidden", [True, False])
def test_examples_show_addresses_only_if_they_may(hidden: bool) -> None:
    mirror, _, production = mirrored(replace(ALL, anonymise=hidden))
    mirror.forward(production.sends(1.0, RATES))
    example = mirror.report().example
    assert len(example) == 3
    assert example[0].endswith("tcp/873 bulk: 3906 packets")  # the most packets come first
    real = [format_address(PAIR.topology.address[host]) for host in ("h-A", "h-B", "h-C")]
    assert any(address in line for line in example for address in real) is not hidden


# -- budget ------------------------------------------------------------------------------------

RATE = st.floats(0.0, 1e9)
KEPT_SHARE = 0.1  # of a packet


def read(budget: Budget, ration: Ration, load: tuple[float, ...], noise: float = 1.0) -> Reading:
    """What comes of a ration when the classes send this much; the last is never copied."""
    got = [bps * ration.fraction * noise * (i < ration.kept) for i, bps in enumerate(load[:-1])]
    return Reading(tuple(bps * KEPT_SHARE for bps in got), tuple(got), sum(load))


def budgets() -> st.SearchStrategy[Budget]:
    return st.builds(
        lambda bps, count, fraction: Budget(bps, CLASSES[:count], fraction),
        st.floats(1e4, 1e8),
        st.integers(1, 3),
        st.floats(0.01, 1.0),
    )


def course(budget: Budget, load: tuple[float, ...], ration: Ration, seconds: int) -> list[Ration]:
    found = [ration]
    for _ in range(seconds):
        found.append(decide(budget, found[-1], read(budget, found[-1], load)))
    return found


def loads_of(budget: Budget) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[RATE] * (len(budget.classes) + 1))


def fresh(budget: Budget, load: tuple[float, ...]) -> Ration:
    return first(budget, tuple(bps * KEPT_SHARE for bps in load[:-1]), load[:-1], load[-1])


@given(st.data(), budgets())
def test_the_budget_is_never_exceeded_twice_in_a_row(data: Any, budget: Budget) -> None:
    expected, load = data.draw(loads_of(budget)), data.draw(loads_of(budget))
    rations = course(budget, load, fresh(budget, expected), 60)
    over = [sum(read(budget, r, load).captured_bps) > budget.bps * (1 + 1e-9) for r in rations]
    assert not any(a and b for a, b in pairwise(over))
    assert sum(over) <= len(budget.classes)


@given(st.data(), budgets())
def test_critical_is_never_sampled_less_than_what_matters_less(data: Any, budget: Budget) -> None:
    ration = fresh(budget, data.draw(loads_of(budget)))
    for load in data.draw(st.lists(loads_of(budget), max_size=40)):
        ration = decide(budget, ration, read(budget, ration, load))
        shares = [ration.fraction * (i < ration.kept) for i in range(len(budget.classes))]
        assert shares == sorted(shares, reverse=True)
        assert 0.0 < ration.fraction <= budget.fraction
        assert ration.fraction == budget.fraction or ration.kept == 1


@given(st.data(), budgets())
def test_what_was_shed_comes_back_slowly_when_there_is_room(data: Any, budget: Budget) -> None:
    load = data.draw(loads_of(budget))
    less = budget.bps / KEPT_SHARE / budget.fraction / 4.0
    calm = tuple(min(bps, less / len(load)) + 1.0 for bps in load[:-1]) + load[-1:]
    busy = course(budget, load, fresh(budget, load), 5)[-1]
    back = course(budget, calm, busy, 200)
    assert (back[-1].kept, back[-1].fraction) == (len(budget.classes), budget.fraction)
    steps = [(a, b) for a, b in pairwise(back) if (a.kept, a.fraction) != (b.kept, b.fraction)]
    assert all(b.kept - a.kept <= 1 and b.fraction <= a.fraction * STEP * 1.001 for a, b in steps)
    if steps:
        assert back[CALM - 1].kept == busy.kept


def test_bulk_goes_first_then_normal_then_critical_is_sampled() -> None:
    load = (8e6, 8e6, 8e6, 0.0)
    kept = [
        fresh(Budget(bps, CLASSES), load).classes(Budget(bps, CLASSES)) for bps in (3e6, 2e6, 1e6)
    ]
    assert kept == [CLASSES, CLASSES[:2], CLASSES[:1]]
    tight = fresh(Budget(1e5, CLASSES), load)
    assert tight.kept == 1
    assert tight.fraction * 8e5 == pytest.approx(AIM * 1e5)


def test_the_engine_sheds_for_its_budget_and_says_so() -> None:
    mirror, shadow, production = mirrored(replace(ALL, budget_bps=5e6))
    mirror.forward(production.sends(1.0, RATES))
    assert mirror.news() == []
    surge = RATES * np.array([1.0, 1.0, 3.0])
    mirror.forward(production.sends(2.0, surge))
    (notice,) = mirror.news()
    assert notice.kind == "mirror_budget"
    assert notice.data["classes"] == ("critical", "normal")
    for at_s in range(3, 30):
        mirror.forward(production.sends(float(at_s), surge))
    assert shadow.rates[-1] == pytest.approx([8e6, 4e6, 0.0], rel=0.01)
    assert mirror.speaks_for.tolist() == [True, True, False]
    assert mirror.news() == []
    report = mirror.report()
    assert report.shed == ("bulk",)
    assert report.represented == pytest.approx(12 / 18, abs=0.05)
    for at_s in range(30, 60):
        mirror.forward(production.sends(float(at_s), [8e6, 4e6, 1e5]))
    assert mirror.report().shed == ()
    assert production.ordered[-1] == (CLASSES, 1.0)


def test_without_a_budget_a_share_of_the_edge_is_the_budget() -> None:
    assert engine()[0].report().budget_bps == pytest.approx(EDGE_SHARE * 3e9)


def test_the_report_tells_the_lag_of_the_replica() -> None:
    mirror, _, _ = mirrored()
    assert mirror.report().replica_lag_s == pytest.approx(0.002)
