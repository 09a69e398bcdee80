"""The Mirror Engine: a shadow like production, under its traffic, and production left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_contract import Recording, settle

from shadowsim.mirror import MirrorEngine
from shadowsim.mirror.anonymise import anonymise
from shadowsim.model.address import format_address
from shadowsim.model.change import Configs, apply, parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.telemetry import Sample
from shadowsim.network import NETWORKS, Network
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
    """A production that may be read, and nothing else."""

    topology = PAIR.topology
    now = 0.0

    def __init__(self, configs: Configs = PAIR.configs) -> None:
        self.running = dict(configs)

    def configs(self) -> Configs:
        return dict(self.running)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the Mirror Engine called {name}() of production")


class Listener:
    """A shadow that only keeps the rates it was offered last."""

    topology = PAIR.topology

    def __init__(self) -> None:
        self.rates: list[Any] = []

    def offer(self, rates_bps: Any) -> None:
        self.rates.append(np.array(rates_bps))


def engine(
    plan: Mirror = ALL, production: Any = None, shadow: Any = None, seed: int = 0
) -> tuple[MirrorEngine, Any]:
    shadow = shadow or Listener()
    production = production or Untouchable()
    random = np.random.default_rng(seed)
    return MirrorEngine(production, shadow, PAIR.traffic.demands, plan, random), shadow


def second(at_s: float, offered: Any) -> Sample:
    demand = np.zeros((3, 4))
    demand[:, 0] = offered
    return Sample(at_s, np.zeros((3, 3)), np.zeros((12, 4)), demand)


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


def test_the_shadow_follows_production() -> None:
    mirror, shadow = engine()
    for at_s, factor in enumerate((1.0, 0.5, 3.0), 1):
        mirror.forward(second(at_s, RATES * factor))
        assert shadow.rates[-1] == pytest.approx(RATES * factor, rel=0.002)


def test_a_part_of_the_packets_estimates_the_whole() -> None:
    mirror, shadow = engine(replace(ALL, fraction=0.2))
    for at_s in range(1, 201):
        mirror.forward(second(at_s, RATES))
    rates = np.stack(shadow.rates)
    packets = RATES / np.array([8 * d.packet_bytes for d in PAIR.traffic.demands])
    error = np.sqrt((1 - 0.2) / (0.2 * packets))  # relative, of one second
    assert rates.mean(axis=0) == pytest.approx(RATES, rel=float(4 * error.max() / np.sqrt(200)))
    assert rates.std(axis=0) / RATES == pytest.approx(error, rel=0.25)


def test_classes_that_are_not_mirrored_are_absent() -> None:
    mirror, shadow = engine(replace(ALL, classes=("normal",)))
    mirror.forward(second(1.0, RATES))
    assert shadow.rates[-1][[0, 2]].tolist() == [0.0, 0.0]
    assert shadow.rates[-1][1] > 0
    assert len(mirror.report().example) == 1


def test_where_nothing_is_reported_the_last_rate_is_kept() -> None:
    mirror, shadow = engine()
    mirror.forward(second(1.0, RATES))
    mirror.forward(second(2.0, [np.nan, 1e6, np.nan]))
    assert shadow.rates[-1] == pytest.approx([8e6, 1e6, 2e6], rel=0.002)
    mirror.forward(second(3.0, [np.nan] * 3))
    assert shadow.rates[-1] == pytest.approx([8e6, 1e6, 2e6], rel=0.002)


def test_nothing_is_ever_sent_to_production(networks: tuple[Network, Recording]) -> None:
    drifted_configs = apply(PAIR.configs, parse_script("device B\ntable-size 5000\n"))
    mirror, shadow = engine(ALL, Untouchable(drifted_configs), networks[1])
    assert mirror.sync(TRIAL) != ()
    mirror.forward(second(1.0, RATES))
    settle(shadow)
    assert mirror.drift(TRIAL) == ()
    mirror.report()


# -- report ------------------------------------------------------------------------------------


def test_the_report_counts_packets_and_what_is_left_of_them() -> None:
    mirror, _ = engine(replace(ALL, truncate_bytes=96))
    for at_s in (1.0, 2.0, 4.5):
        mirror.forward(second(at_s, RATES))
    report = mirror.report()
    packets = [3 * 1000, 3 * 1000, 3 * 3906]  # a second: 8 Mbit of 1000 bytes, 4 of 500, 2 of 64
    assert report.packets == sum(packets)
    assert report.captured_bytes == packets[0] * 96 + packets[1] * 96 + packets[2] * 64
    assert report.share == pytest.approx(1.0, abs=0.001)
    assert report.lag_s == pytest.approx(2.5)


def test_the_share_is_of_all_of_productions_bytes() -> None:
    mirror, _ = engine(replace(ALL, classes=("critical", "bulk"), fraction=0.5))
    for at_s in range(1, 101):
        mirror.forward(second(at_s, RATES))
    assert mirror.report().share == pytest.approx(0.5 * 10 / 14, rel=0.01)


def test_a_report_before_any_traffic_is_empty() -> None:
    report = engine()[0].report()
    assert (report.packets, report.captured_bytes, report.share, report.example) == (0, 0, 0.0, ())


@pytest.mark.parametrize("hidden", [True, False])
def test_examples_show_addresses_only_if_they_may(hidden: bool) -> None:
    mirror, _ = engine(replace(ALL, anonymise=hidden))
    mirror.forward(second(1.0, RATES))
    example = mirror.report().example
    assert len(example) == 3
    assert example[0].endswith("tcp/873 bulk: 3906 packets")  # the most packets come first
    real = [format_address(PAIR.topology.address[host]) for host in ("h-A", "h-B", "h-C")]
    assert any(address in line for line in example for address in real) is not hidden
