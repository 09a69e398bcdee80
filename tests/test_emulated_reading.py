"""Counters to telemetry, and topologies to numbers, without any process."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from shadowsim.network.emulated.board import new_board
from shadowsim.network.emulated.reading import (
    Counts,
    UpTime,
    counts,
    demand_reading,
    link_reading,
    lost,
)
from shadowsim.network.emulated.wiring import (
    DSCP,
    openflow_port,
    present,
    probe_rate_bps,
    sides,
    streams_of,
)
from shadowsim.scenario import parse

SQUARE = parse("""
name: square
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
traffic:
  demands:
    - {from: A, to: C, rate_mbps: 5, class: critical, protocol: udp, port: 5004, flows: 2}
    - {from: B, to: D, rate_mbps: 3, class: bulk}
change: {script: ""}
""")
TOPOLOGY, DEMANDS = SQUARE.topology, SQUARE.traffic.demands
STREAMS = streams_of(TOPOLOGY, DEMANDS)
SECOND = dict.fromkeys(
    ("wanted", "sent", "refused", "received", "received_bytes", "highest", "latency_ns"), 0
)


def between(*rows: dict[str, int]) -> Counts:
    """What was counted in one second, per stream."""
    full = [SECOND | row for row in rows] + [SECOND] * (len(STREAMS) - len(rows))
    links = {name: np.zeros(3, np.int64) for name in ("carried_bytes", "dropped_bytes")}
    return Counts(1.0, links, {name: np.array([r[name] for r in full]) for name in SECOND})


def even(packets: int, size: int = 1000, latency_ms: float = 4.0, lost: int = 0) -> dict[str, int]:
    """A stream of packets without a hitch, but for these that are lost in the middle."""
    received = packets - lost
    return {
        "wanted": packets,
        "sent": packets,
        "received": received,
        "received_bytes": received * size,
        "highest": packets,
        "latency_ns": int(received * latency_ms * 1e6),
    }


def test_streams_are_flows_then_probes_of_what_is_tcp():
    assert [(s.demand, s.probe, s.protocol) for s in STREAMS] == [
        (0, False, "udp"),
        (0, False, "udp"),
        (1, False, "tcp"),
        (1, True, "udp"),
    ]
    assert [s.dscp for s in STREAMS] == [46, 46, 8, 8]
    assert len({(s.source, s.source_port, s.protocol) for s in STREAMS}) == len(STREAMS)


def test_coarse_packets_are_larger_and_everything_is_probed_at_its_true_size():
    streams = streams_of(TOPOLOGY, DEMANDS, coarse=5)
    assert [s.packet_bytes for s in streams] == [5000, 5000, 5000, 1000, 1000]
    assert [s.probe for s in streams] == [False, False, False, True, True]


def test_class_marks_are_those_of_the_rfc():
    assert DSCP == {"critical": 46, "normal": 0, "bulk": 8}


def test_the_ends_of_cables_are_the_ports_of_the_topology():
    for cable in range(len(TOPOLOGY.links)):
        for side, (kind, switch, port) in enumerate(sides(TOPOLOGY, cable)):
            device, name = TOPOLOGY.port_of[2 * cable + side]
            assert kind == "switch"
            assert TOPOLOGY.devices[switch].name == device
            assert list(TOPOLOGY.ports[device])[port - 1] == name
            assert openflow_port(TOPOLOGY, 2 * cable + side) == (switch, port)
    host, switch = sides(TOPOLOGY, len(TOPOLOGY.links) + 2)
    assert host == ("host", 2, 0)
    assert switch[:2] == ("switch", TOPOLOGY.device_index[TOPOLOGY.hosts[2].device])


def test_only_cables_between_present_devices_are_present():
    switches, hosts, cables = present(TOPOLOGY, frozenset({"A", "B"}))
    assert switches == [0, 1]
    assert [TOPOLOGY.hosts[j].device for j in hosts] == ["A", "B"]
    assert cables == [0, 4, 5]


def test_what_arrives_is_throughput_and_what_does_not_is_loss():
    found = demand_reading(between(even(300), even(300, lost=30), even(200)), STREAMS, 2)
    assert found[0] == pytest.approx([600 * 8000, 570 * 8000, 0.004, 0.05])
    assert found[1] == pytest.approx([200 * 8000, 200 * 8000, 0.004, 0.0])


def test_a_probe_tells_the_latency_of_tcp():
    rows = (even(0), even(0), even(200, latency_ms=90.0), even(5, latency_ms=7.0))
    found = demand_reading(between(*rows), STREAMS, 2)
    assert found[1, 2] == pytest.approx(0.007)
    assert found[1, 1] == pytest.approx(200 * 8000), "the probe's own bytes are not the demand's"


def test_without_its_probe_tcp_tells_its_own_latency():
    found = demand_reading(between(even(0), even(0), even(200, latency_ms=90.0)), STREAMS, 2)
    assert found[1, 2] == pytest.approx(0.090)


def test_nothing_delivered_has_no_latency_and_loses_all():
    cut = {"wanted": 300, "sent": 300}
    found = demand_reading(between(cut, cut), STREAMS, 2)
    assert np.isnan(found[0, 2])
    assert found[0, 3] > 0.9
    assert found[0, 1] == 0.0


def test_refused_records_are_loss():
    row = even(150) | {"wanted": 200, "refused": 50}
    found = demand_reading(between(even(0), even(0), row), STREAMS, 2)
    assert found[1, 3] == pytest.approx(0.25)


def test_idle_demands_lose_nothing():
    found = demand_reading(between(), STREAMS, 2)
    assert found[:, [0, 1, 3]].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_gap_of_an_outage_is_not_counted_again_when_it_ends():
    """600 packets went missing before; in this second all of 300 arrive."""
    row = even(300) | {"highest": 900}
    assert lost(between(row))[0] == 0


def test_packets_under_way_are_not_lost():
    row = even(300) | {"received": 290, "highest": 290}
    assert lost(between(row))[0] == 0


def test_a_cut_in_the_middle_of_a_second_counts_at_once():
    row = even(300) | {"received": 150, "highest": 150}
    assert 120 <= lost(between(row))[0] <= 150


def test_links_are_read_in_bits_per_second_of_their_rate():
    links = {
        "carried_bytes": np.array([125_000, 250_000, 0]),
        "dropped_bytes": np.array([0, 12_500, 0]),
    }
    found = link_reading(
        dataclasses.replace(between(), at_s=2.0, links=links),
        np.array([1e6, 2e6, 0.0]),
        np.array([1.0, 1.0, 0.0]),
    )
    assert found.tolist() == [[5e5, 0, 0.5, 1], [1e6, 5e4, 0.5, 1], [0, 0, 0, 0]]


def test_counters_of_a_board_are_read_as_a_difference():
    board = new_board(4, 2)
    board.wires.carried_bytes[1] = 7
    first = counts(board, 10.0)
    board.wires.carried_bytes[1] = 107
    board.streams.sent[0] = 5
    found = counts(board, 12.0).since(first)
    assert found.at_s == 2.0
    assert found.links["carried_bytes"].tolist() == [0, 100, 0, 0]
    assert found.streams["sent"].tolist() == [5, 0]
    board.tell_stop()
    assert board.stop


def test_probing_stays_small():
    for rate in (1e4, 1e6, 1e8):
        demand = dataclasses.replace(DEMANDS[1], rate_bps=rate)
        per_s = probe_rate_bps(demand) / 8 / demand.packet_bytes
        assert 0.5 <= per_s <= 2.0


def test_a_link_is_up_if_it_was_for_most_of_the_time() -> None:
    wires = new_board(2, 1).wires
    wires.up[:] = 1
    up = UpTime(wires, 10.0)
    up.count(10.4)
    wires.up[0] = 0
    assert up.mostly(11.0).tolist() == [0.0, 1.0]
    up.count(11.4)
    wires.up[0] = 1
    assert up.mostly(12.0).tolist() == [1.0, 1.0]
