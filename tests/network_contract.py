"""What every network must do, as tests; and a wrapper that writes down what a network is told.

A class of tests takes `NetworkContract` in and says how its network is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from shadowsim.errors import Unreachable
from shadowsim.model.address import parse_prefix
from shadowsim.model.change import Command, apply, parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.telemetry import DEMAND_METRICS, DEVICE_METRICS, LINK_METRICS
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.network import Network
from shadowsim.network.protocol import Match
from shadowsim.scenario import Scenario, parse

SQUARE = parse("""
name: square
seed: 5
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
configs:
  C: |
    interface to-D
     ip ospf cost 15
  D: |
    interface to-C
     ip ospf cost 15
traffic:
  demands:
    - {from: A, to: C, rate_mbps: 5, class: critical, protocol: udp, port: 5004}
    - {from: B, to: D, rate_mbps: 3}
change: {script: ""}
""")
TWO_DEVICES = parse_script("""
device A
interface to-B
 ip ospf cost 20
 ip ospf cost 30
device C
interface to-D
 description to Dora
""")
EQUAL_WAYS = parse_script("""
device C
interface to-D
 ip ospf cost 10
device D
interface to-C
 ip ospf cost 10
""")
TEST_FLOW = Demand("h-A", "h-B", 4e6, "bulk", "udp", 9, packet_bytes=1000)
CRITICAL = Match(traffic_class="critical")
INSTALLED_WITHIN_S = 30.0
RATE_TOLERANCE = 0.25


class Recording:
    """A network that writes down what it is told, and passes it on.

    `tried` are the batches of commands it was given, `sent` those that it took.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self.tried: list[tuple[Command, ...]] = []
        self.sent: list[tuple[Command, ...]] = []
        self.sent_at_s: list[float] = []
        self.injected: list[Fault] = []
        self.offers = 0
        self.closed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def apply(self, commands: Sequence[Command]) -> None:
        self.tried.append(tuple(commands))
        self.network.apply(commands)
        self.sent.append(tuple(commands))
        self.sent_at_s.append(self.network.now)

    def inject(self, fault: Fault) -> None:
        self.injected.append(fault)
        self.network.inject(fault)

    def offer(self, rates_bps: Any) -> None:
        self.offers += 1
        self.network.offer(rates_bps)

    def close(self) -> None:
        self.closed += 1
        self.network.close()


def settle(network: Any) -> None:
    """Let time pass until nothing is being installed."""
    end_s = network.now + INSTALLED_WITHIN_S
    while network.busy and network.now < end_s:
        network.advance(network.now + 0.1)
    assert not network.busy


class NetworkContract:
    """Mix into a class of tests. `SQUARE` is small enough for a network of real processes.

    `late_s` is how much later than asked for what is asked for may begin.
    """

    late_s = 0.1

    def make_network(self, scenario: Scenario) -> Network:
        """A network of this scenario that has just come up; its faults are not injected."""
        raise NotImplementedError

    @pytest.fixture
    def network(self) -> Iterator[Network]:
        network = self.make_network(SQUARE)
        yield network
        network.close()

    # -- configs -------------------------------------------------------------------------------

    def test_configs_read_back_are_those_given(self, network: Network) -> None:
        found = network.configs()
        assert dict(found) == dict(SQUARE.configs)
        assert {n: c.digest for n, c in found.items()} == {
            n: c.digest for n, c in SQUARE.configs.items()
        }

    def test_what_was_read_back_is_a_picture_of_its_time(self, network: Network) -> None:
        earlier = network.configs()
        network.apply(TWO_DEVICES)
        settle(network)
        assert dict(earlier) == dict(SQUARE.configs)

    def test_commands_are_in_force_once_it_is_not_busy(self, network: Network) -> None:
        network.apply(TWO_DEVICES)
        assert network.busy
        settle(network)
        assert dict(network.configs()) == apply(SQUARE.configs, TWO_DEVICES)

    def test_commands_of_a_device_take_effect_in_their_order(self, network: Network) -> None:
        network.apply(TWO_DEVICES)
        settle(network)
        assert network.configs()["A"].interfaces["to-B"].cost == 30

    def test_the_same_commands_twice_are_as_good_as_once(self, network: Network) -> None:
        network.apply(TWO_DEVICES)
        settle(network)
        once = dict(network.configs())
        network.apply(TWO_DEVICES)
        settle(network)
        assert dict(network.configs()) == once

    def test_no_commands_are_nothing_to_do(self, network: Network) -> None:
        network.apply(())
        assert not network.busy
        assert dict(network.configs()) == dict(SQUARE.configs)

    def test_a_device_that_does_not_exist_is_unreachable(self, network: Network) -> None:
        ghost = Command("nowhere", "", "table-size 5000")
        with pytest.raises(Unreachable):
            network.apply([*TWO_DEVICES, ghost])
        self._nothing_was_begun(network)

    def test_a_device_that_does_not_answer_is_unreachable(self, network: Network) -> None:
        network.inject(Fault("controller_lost", 1.0, for_s=4.0, device="C"))
        network.advance(2.0)
        assert set(network.configs()) == {"A", "B", "D"}
        with pytest.raises(Unreachable, match="C"):
            network.apply(TWO_DEVICES)
        self._nothing_was_begun(network)

    def test_a_device_that_answers_again_takes_commands_again(self, network: Network) -> None:
        network.inject(Fault("controller_lost", 1.0, for_s=2.0, device="C"))
        network.advance(5.0)
        network.apply(TWO_DEVICES)
        settle(network)
        assert dict(network.configs()) == apply(SQUARE.configs, TWO_DEVICES)

    def _nothing_was_begun(self, network: Network) -> None:
        assert not network.busy
        network.advance(network.now + 5.0)
        assert dict(network.configs()) == dict(SQUARE.configs)

    # -- tables --------------------------------------------------------------------------------

    def test_tables_are_those_of_the_configs_once_all_is_settled(self, network: Network) -> None:
        assert network.misprogrammed() == {}
        network.apply(TWO_DEVICES)
        settle(network)
        network.advance(network.now + 1.0)
        assert network.misprogrammed() == {}

    def test_tables_follow_a_cut_and_its_end(self, network: Network) -> None:
        network.inject(Fault("link_down", 1.0, for_s=2.0, link=("A", "B")))
        for at_s in (2.5, 5.0):
            network.advance(at_s)
            assert network.misprogrammed() == {}

    def test_tables_of_who_does_not_answer_cannot_be_read(self, network: Network) -> None:
        network.inject(Fault("controller_lost", 1.0, for_s=2.0, device="C"))
        network.advance(2.0)
        found = network.misprogrammed()
        assert set(found) == {"C"} and "does not answer" in found["C"]
        network.advance(5.0)
        assert network.misprogrammed() == {}

    def test_who_is_not_there_has_no_tables(self, network: Network) -> None:
        network.resize(frozenset({"A", "B", "D"}))
        network.advance(1.0)
        assert network.misprogrammed() == {}

    # -- time ----------------------------------------------------------------------------------

    def test_time_moves_in_advance_alone(self, network: Network) -> None:
        start_s = network.now
        network.configs()
        network.apply(TWO_DEVICES)
        network.offer(np.full(2, 1e6))
        network.inject(Fault("link_down", 100.0, link=("A", "B")))
        assert network.now == start_s
        network.advance(start_s + 2.5)
        assert network.now == pytest.approx(start_s + 2.5)

    def test_time_never_goes_back(self, network: Network) -> None:
        network.advance(3.0)
        assert network.advance(1.0) == []
        assert network.now == pytest.approx(3.0)

    # -- telemetry -----------------------------------------------------------------------------

    def test_the_layout_names_every_row_once(self, network: Network) -> None:
        layout, topology = network.layout, network.topology
        assert layout.devices == tuple(d.name for d in topology.devices)
        assert len(set(layout.links)) == len(layout.links) == topology.directed_links
        assert layout.demands == tuple(d.name for d in SQUARE.traffic.demands)

    def test_samples_have_the_shapes_of_the_layout(self, network: Network) -> None:
        layout = network.layout
        for sample in network.advance(3.0):
            assert sample.device.shape == (len(layout.devices), len(DEVICE_METRICS))
            assert sample.link.shape == (len(layout.links), len(LINK_METRICS))
            assert sample.demand.shape == (len(layout.demands), len(DEMAND_METRICS))
            assert np.isfinite(sample.device).all()
            assert set(sample.column("link", "up")) <= {0.0, 1.0}
            for subject, metric in (("device", "cpu"), ("device", "memory"), ("demand", "loss")):
                column = sample.column(subject, metric)
                assert ((column >= 0) & (column <= 1)).all(), metric

    def test_there_is_one_sample_a_second_in_order(self, network: Network) -> None:
        times = [s.at_s for s in network.advance(3.2)]
        times += [s.at_s for s in network.advance(6.2)]
        assert len(times) == 6
        assert np.diff(times) == pytest.approx(np.ones(5), abs=0.3)
        assert times[-1] <= network.now

    # -- traffic -------------------------------------------------------------------------------

    def test_demands_send_what_the_scenario_says(self, network: Network) -> None:
        assert _offered(network, 4.0) == pytest.approx([5e6, 3e6], rel=RATE_TOLERANCE)

    def test_demands_send_what_is_offered(self, network: Network) -> None:
        network.offer(np.array([1e6, 9e6]))
        assert _offered(network, 4.0) == pytest.approx([1e6, 9e6], rel=RATE_TOLERANCE)
        network.offer(np.array([8e6, 0.0]))
        network.advance(5.0)
        assert _offered(network, 8.0) == pytest.approx([8e6, 0.0], rel=RATE_TOLERANCE, abs=1e4)

    def test_what_is_sent_arrives_where_nothing_is_in_the_way(self, network: Network) -> None:
        network.advance(2.0)
        last = network.advance(5.0)[-1]
        assert last.column("demand", "loss") == pytest.approx(np.zeros(2), abs=0.01)
        assert last.column("demand", "throughput_bps") == pytest.approx(
            [5e6, 3e6], rel=RATE_TOLERANCE
        )
        assert (last.column("demand", "latency_s") > 0).all()

    # -- faults --------------------------------------------------------------------------------

    def test_a_fault_is_harmless_before_its_time_and_after_it(self, network: Network) -> None:
        network.inject(Fault("link_down", 4.0, for_s=4.0, link=("A", "B")))
        wire = network.layout.links.index("A>B")
        up = {round(s.at_s): s.column("link", "up")[wire] for s in network.advance(12.5)}
        assert {up[at] for at in (1, 2, 3, 4)} == {1.0}
        assert {up[at] for at in (6, 7)} == {0.0}
        assert {up[at] for at in (10, 11, 12)} == {1.0}

    def test_a_telemetry_gap_is_nan_and_nothing_else(self, network: Network) -> None:
        network.inject(Fault("telemetry_gap", 2.0, device="B"))
        last = network.advance(4.5)[-1]
        dark = network.layout.devices.index("B")
        assert np.isnan(last.device[dark]).all()
        assert np.isfinite(np.delete(last.device, dark, axis=0)).all()
        assert set(network.configs()) == {"A", "B", "C", "D"}

    # -- test traffic --------------------------------------------------------------------------

    def test_test_traffic_arrives_and_the_links_carry_it(self, network: Network) -> None:
        before = _load(network, "A>B", 4.0)
        number = network.send(TEST_FLOW)
        network.advance(5.0)
        assert _load(network, "A>B", 8.0) - before == pytest.approx(4e6, rel=RATE_TOLERANCE)
        found = network.sent(number)
        wanted = 4e6 * (network.now - 4.0) / (8 * TEST_FLOW.packet_bytes)
        assert found.packets == pytest.approx(wanted, rel=RATE_TOLERANCE)
        assert found.delivered == pytest.approx(found.packets, rel=0.05)
        assert 0.002 < found.latency_s < 0.1

    def test_test_traffic_is_not_among_the_demands(self, network: Network) -> None:
        layout = network.layout
        network.send(TEST_FLOW)
        assert network.layout == layout
        assert _offered(network, 4.0) == pytest.approx([5e6, 3e6], rel=RATE_TOLERANCE)

    def test_what_has_ceased_is_sent_no_more(self, network: Network) -> None:
        number = network.send(TEST_FLOW)
        network.advance(3.0)
        network.cease(number)
        network.cease(number)
        network.advance(4.0)
        counted = network.sent(number)
        network.advance(6.0)
        assert network.sent(number) == counted
        assert counted.packets > 0
        again = network.send(TEST_FLOW)
        assert again != number
        network.advance(8.0)
        assert network.sent(again).packets > 0
        assert network.sent(number) == counted

    # -- diversion -----------------------------------------------------------------------------

    @pytest.fixture
    def other(self) -> Iterator[Network]:
        network = self.make_network(SQUARE)
        network.offer(np.zeros(2))
        yield network
        network.close()

    def test_what_is_diverted_is_there_and_not_here(self, network: Network, other: Network) -> None:
        _side_by_side(network, other, 2.0)
        network.divert([CRITICAL], other)
        _side_by_side(network, other, 4.0)
        here, there = _side_by_side(network, other, 8.0)
        assert here == pytest.approx([0.0, 3e6], rel=RATE_TOLERANCE, abs=1e4)
        assert there == pytest.approx([5e6, 0.0], rel=RATE_TOLERANCE, abs=1e4)
        found = network.diverted()
        assert found.bits[0] == pytest.approx(5e6 * (network.now - 2.0), rel=RATE_TOLERANCE)
        assert found.packets[0] == pytest.approx(found.bits[0] / 8e3, rel=0.01)
        assert (found.bits[1], found.packets[1]) == (0, 0)
        assert (found.strangers, found.leaked, found.returned) == (0, 0, 0)

    def test_an_ended_diversion_leaves_everything_as_before(
        self, network: Network, other: Network
    ) -> None:
        network.divert([CRITICAL], other)
        _side_by_side(network, other, 3.0)
        network.divert([], other)
        _side_by_side(network, other, 5.0)
        counted = network.diverted()
        here, there = _side_by_side(network, other, 8.0)
        assert here == pytest.approx([5e6, 3e6], rel=RATE_TOLERANCE)
        assert there == pytest.approx([0.0, 0.0], abs=1e4)
        assert counted.packets[0] > 0
        assert network.diverted().packets.tolist() == counted.packets.tolist()

    def test_the_last_diversion_is_the_one_that_counts(
        self, network: Network, other: Network
    ) -> None:
        network.divert([CRITICAL], other)
        network.divert([Match(traffic_class="normal", protocol="tcp", port=443)], other)
        _side_by_side(network, other, 3.0)
        here, there = _side_by_side(network, other, 7.0)
        assert here == pytest.approx([5e6, 0.0], rel=RATE_TOLERANCE, abs=1e4)
        assert there == pytest.approx([0.0, 3e6], rel=RATE_TOLERANCE, abs=1e4)

    @pytest.mark.parametrize(
        "match",
        [
            Match(traffic_class="bulk"),
            Match(protocol="udp", port=5005),
            Match(source=parse_prefix("10.0.7.0/24")),
            Match(destination=parse_prefix("10.0.0.0/32")),
        ],
        ids=["class", "port", "source", "destination"],
    )
    def test_what_no_packet_matches_diverts_nothing(
        self, network: Network, other: Network, match: Match
    ) -> None:
        network.divert([match], other)
        _side_by_side(network, other, 2.0)
        assert network.diverted().packets.tolist() == [0, 0]

    # -- size ----------------------------------------------------------------------------------

    def test_only_a_part_is_there(self, network: Network) -> None:
        network.advance(1.0)
        network.resize(frozenset({"A", "B", "D"}))
        last = network.advance(5.0)[-1]
        assert set(network.configs()) == {"A", "B", "D"}
        layout = network.layout
        dark = [name for name, row in zip(layout.devices, last.device, strict=True)
                if np.isnan(row).all()]  # fmt: skip
        assert dark == ["C"]
        ends = {
            name
            for name, row in zip(layout.links, last.link, strict=True)
            if np.isfinite(row).all()
        }
        assert ends == {n for n in layout.links if not {"C", "h-C"} & set(n.split(">"))}
        assert np.isnan(last.demand[0]).all()
        assert last.column("demand", "throughput_bps")[1] == pytest.approx(3e6, rel=RATE_TOLERANCE)
        assert last.column("demand", "loss")[1] == pytest.approx(0.0, abs=0.01)

    def test_who_is_not_there_takes_no_commands(self, network: Network) -> None:
        network.resize(frozenset({"A", "B", "D"}))
        with pytest.raises(Unreachable, match="C"):
            network.apply(TWO_DEVICES)
        assert not network.busy
        network.apply([command for command in TWO_DEVICES if command.device == "A"])
        settle(network)
        assert network.configs()["A"].interfaces["to-B"].cost == 30

    def test_what_comes_back_has_its_last_config_and_carries_again(self, network: Network) -> None:
        network.apply(TWO_DEVICES)
        settle(network)
        network.resize(frozenset({"A", "B", "D"}))
        network.advance(4.0)
        network.resize(frozenset({"A", "B", "C", "D"}))
        assert dict(network.configs()) == apply(SQUARE.configs, TWO_DEVICES)
        last = network.advance(9.0)[-1]
        assert np.isfinite(last.demand).all()
        assert last.column("demand", "throughput_bps") == pytest.approx(
            [5e6, 3e6], rel=RATE_TOLERANCE
        )

    def test_a_background_leaves_a_link_that_much_less(self, network: Network) -> None:
        row = network.layout.links.index("A>D")  # on the way from B to D
        network.resize(frozenset({"A", "B", "D"}), {row: 98e6})
        network.advance(4.0)
        last = network.advance(9.0)[-1]
        got = last.column("demand", "throughput_bps")[1]
        assert got == pytest.approx(2e6, rel=RATE_TOLERANCE)
        assert last.column("link", "utilisation")[row] == pytest.approx(1.0, abs=0.03)

    # -- copies --------------------------------------------------------------------------------

    def test_copies_are_counted_by_demand(self, network: Network) -> None:
        network.copy(CLASSES, 1.0, 96, np.random.default_rng(1))
        network.advance(4.0)
        found = network.copies()
        packets = np.array([5e6, 3e6]) * found.over_s / 8e3
        assert found.over_s == pytest.approx(network.now, abs=self.late_s)
        assert found.packets == pytest.approx(packets, rel=RATE_TOLERANCE)
        assert found.bits == pytest.approx(found.packets * 8e3, rel=0.06)
        assert found.heard.tolist() == [True, True]
        assert found.seen_bits == pytest.approx(found.bits.sum(), rel=0.06)
        assert found.captured_bytes == pytest.approx(96 * found.packets.sum(), rel=0.01)
        assert found.strangers == 0

    def test_where_ways_are_equal_a_packet_is_copied_once(self, network: Network) -> None:
        network.apply(EQUAL_WAYS)
        settle(network)
        network.copy(CLASSES, 1.0, 96, np.random.default_rng(1))
        network.copies()
        network.advance(network.now + 3.0)
        found = network.copies()
        assert found.bits.min() > 0
        assert found.bits.sum() == pytest.approx(found.seen_bits, rel=0.03)

    def test_a_share_of_the_packets_of_some_classes_is_copied(self, network: Network) -> None:
        network.copy(("critical",), 0.25, 128, np.random.default_rng(1))
        network.advance(6.0)
        found = network.copies()
        wanted = 0.25 * 5e6 * found.over_s / 8e3
        assert found.packets[0] == pytest.approx(wanted, rel=RATE_TOLERANCE)
        assert found.packets[1] == 0
        assert not found.heard[1]
        assert found.seen_bits == pytest.approx(8e6 * found.over_s, rel=RATE_TOLERANCE)

    def test_what_is_copied_still_arrives(self, network: Network) -> None:
        network.copy(CLASSES, 1.0, 96, np.random.default_rng(1))
        network.advance(2.0)
        last = network.advance(5.0)[-1]
        assert last.column("demand", "loss") == pytest.approx(np.zeros(2), abs=0.01)

    def test_no_classes_end_it(self, network: Network) -> None:
        assert network.copies().packets.tolist() == [0, 0]
        network.copy(CLASSES, 1.0, 96, np.random.default_rng(1))
        network.advance(2.0)
        network.copy((), 1.0, 96, np.random.default_rng(1))
        assert network.copies().packets.min() > 0
        network.advance(4.0)
        network.copies()
        network.advance(6.0)
        found = network.copies()
        assert found.packets.tolist() == [0, 0]
        assert not found.heard.any()
        assert found.captured_bytes == 0

    # -- the end -------------------------------------------------------------------------------

    def test_closing_twice_is_as_good_as_once(self, network: Network) -> None:
        network.advance(1.0)
        network.close()
        network.close()


def _offered(network: Network, until_s: float) -> list[float]:
    samples = network.advance(until_s)[-2:]
    found: list[float] = np.mean([s.column("demand", "offered_bps") for s in samples], axis=0)
    return found


def _load(network: Network, link: str, until_s: float) -> float:
    """What a link carried in the last two seconds up to then."""
    row = network.layout.links.index(link)
    samples = network.advance(until_s)[-2:]
    return float(np.mean([s.column("link", "load_bps")[row] for s in samples]))


def _side_by_side(network: Network, other: Network, until_s: float) -> tuple[Any, Any]:
    """Let time pass in both; what each demand offered to each of them, on the average."""
    here, there = [], []
    while network.now < until_s - 1e-9:
        at_s = min(np.floor(network.now + 1e-9) + 1.0, until_s)
        here += network.advance(at_s)
        there += other.advance(at_s)
    offered = ([s.column("demand", "offered_bps") for s in samples] for samples in (here, there))
    return tuple(np.mean(rows, axis=0) for rows in offered)  # type: ignore[return-value]
