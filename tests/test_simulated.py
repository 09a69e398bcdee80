"""The simulated network by itself: time, transients, faults, readings and the truth of them."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowsim.dataplane.forwarding import Compiler, compile, unpack  # noqa: A004
from shadowsim.dataplane.plane import DISCARD, FORWARD, Plane
from shadowsim.errors import Unreachable
from shadowsim.model.address import parse_address
from shadowsim.model.change import apply, difference, parse_script
from shadowsim.model.faults import FAULT_KINDS, Fault
from shadowsim.model.intents import Intents, Limit, PathIntent
from shadowsim.model.telemetry import Array, Sample, Telemetry, coverage
from shadowsim.model.topology import Device, Host, Link, Topology
from shadowsim.model.traffic import Demand, Profile, Traffic
from shadowsim.model.truth import (
    DEGRADATION,
    MODES,
    OUTAGE,
    VULNERABILITY,
    Spell,
    breach_s,
    failure_modes,
    longest,
)
from shadowsim.network.damage import damage
from shadowsim.network.installed import mix
from shadowsim.network.simulated import SimulatedNetwork
from shadowsim.scenario.defaults import default_configs

RATE = 1e7
PAIR = "A-B"
LINE = "A-B B-C"
RING = "A-B B-C C-D D-E E-A"
NOTHING = Intents()
ALL_REACHABLE = Intents((PathIntent("reachable"),))


def wired(cables: str) -> Topology:
    """One host `a` on device A, and so on; 10 Mb/s, 2 ms."""
    ends = [cable.split("-") for cable in cables.split()]
    names = sorted({name for pair in ends for name in pair})
    return Topology(
        "by hand",
        tuple(map(Device, names)),
        tuple(Host(name.lower(), name) for name in names),
        tuple(Link(a, b, rate_bps=RATE) for a, b in ends),
    )


def demand(source: str, destination: str, rate_bps: float = 5e6, **more: object) -> Demand:
    return Demand(source, destination, rate_bps, protocol="udp", **more)  # type: ignore[arg-type]


def up(
    cables: str, *demands: Demand, seed: int = 7, intents: Intents = NOTHING, extra: str = ""
) -> SimulatedNetwork:
    topology = wired(cables)
    configs = apply(default_configs(topology), parse_script(extra))
    return SimulatedNetwork(topology, configs, Traffic(demands), seed=seed, intents=intents)


def run(network: SimulatedNetwork, until_s: float) -> Telemetry:
    return Telemetry(network.layout, network.advance(until_s))


def series(found: Telemetry, subject: str, metric: str, row: str | int = 0) -> Array:
    number = row if isinstance(row, int) else found.layout.names(subject).index(row)
    return found.series(subject, metric)[:, number]


def installed(network: SimulatedNetwork) -> Plane:
    return network._installed


def same(one: Plane, other: Plane) -> bool:
    return np.array_equal(one.decision, other.decision) and np.array_equal(
        one.next_hops, other.next_hops
    )


def digest(samples: list[Sample]) -> str:
    whole = hashlib.sha256()
    for sample in samples:
        for part in (np.array(sample.at_s), sample.device, sample.link, sample.demand):
            whole.update(np.ascontiguousarray(part).tobytes())
    return whole.hexdigest()


# ---- time


def test_time_moves_only_in_advance_and_gives_a_sample_a_second():
    network = up(PAIR, demand("a", "b"))
    assert network.now == 0
    assert [s.at_s for s in network.advance(3.5)] == [1, 2, 3]
    assert network.now == 3.5
    assert [s.at_s for s in network.advance(4)] == [4]


def test_advancing_to_the_past_or_to_now_gives_nothing():
    network = up(PAIR, demand("a", "b"))
    network.advance(5)
    assert network.advance(5) == []
    assert network.advance(2) == []
    assert network.now == 5
    assert [s.at_s for s in network.advance(6)] == [6]


def test_small_steps_give_the_same_history_as_large_ones():
    one, other = up(LINE, demand("a", "c")), up(LINE, demand("a", "c"))
    for network in (one, other):
        network.inject(Fault("link_down", 2.3, 1.4, link=("A", "B")))
    steps = [s for at in np.arange(0.25, 6.25, 0.25) for s in one.advance(float(at))]
    whole = other.advance(6.0)
    assert len(steps) == len(whole) == 6
    for mine, theirs in zip(steps, whole, strict=True):
        assert np.allclose(mine.demand, theirs.demand, rtol=1e-12, equal_nan=True)
        assert np.allclose(mine.link, theirs.link, rtol=1e-12, equal_nan=True)


STORMY = Intents(limits=(Limit("loss", 0.05), Limit("latency", 0.006), Limit("utilisation", 0.7)))
HURTS = {
    "link_down": 0.0, "link_flap": 0.3, "link_loss": 0.2, "link_delay": 0.02, "link_rate": 0.3,
    "device_crash": 0.0, "cpu_hog": 0.5, "memory_leak": 0.3, "table_full": 0.1,
    "telemetry_gap": 0.0, "traffic_surge": 2.0, "retry_storm": 3.0,
}  # fmt: skip
ON_LINKS = ("link_down", "link_flap", "link_loss", "link_delay", "link_rate")


@st.composite
def bad_days(draw):
    """Faults in the first twelve seconds, at whole seconds and between them."""
    found = []
    for kind in draw(st.lists(st.sampled_from(sorted(HURTS)), max_size=4)):
        at_s = draw(st.sampled_from((0.0, 1.0, 2.5, 4.0, 7.75)))
        where = (
            {"link": draw(st.sampled_from((("A", "B"), ("C", "D"))))} if kind in ON_LINKS else {}
        )
        if kind in ("device_crash", "cpu_hog", "memory_leak", "table_full", "telemetry_gap"):
            where = {"device": draw(st.sampled_from("ABD"))}
        found.append(Fault(kind, at_s, draw(st.sampled_from((1.0, 2.25, 6.0))),
                           amount=HURTS[kind], **where))  # fmt: skip
    return tuple(found)


def day(faults, steps, read=lambda samples: None):
    """Twelve seconds with a change at the third: samples, spells. `read` gets every step's."""
    found: list[Sample] = []
    network = up(RING, demand("a", "c"), demand("b", "d", 7e6), demand("e", "a"), intents=STORMY)
    for fault in faults:
        network.inject(fault)
    for at_s in sorted({*steps, 3.0, 12.0}):
        found += network.advance(at_s)
        read(found)
        if at_s == 3.0 and "A" in network.configs():
            network.apply(parse_script("device A\ninterface to-B\nip ospf cost 500\n"))
    return found, network.spells()


@settings(max_examples=40)
@given(bad_days(), st.sets(st.sampled_from([float(n) for n in range(1, 12)])), st.data())
def test_neither_steps_nor_who_reads_when_make_a_difference(faults, steps, data):
    def read(samples):
        for sample in samples:
            if data.draw(st.booleans()):
                sample.column("link", "up")

    one, spells = day(faults, ())
    other, same = day(faults, steps, read)
    assert digest(one) == digest(other)
    assert spells == same


@settings(max_examples=40)
@given(bad_days(), st.sets(st.sampled_from([n / 8 for n in range(1, 96)]), max_size=40))
def test_steps_of_parts_of_a_second_make_none_but_for_rounding(faults, steps):
    (one, spells), (other, same) = day(faults, ()), day(faults, steps)
    assert [s.at_s for s in one] == [s.at_s for s in other]
    for mine, theirs in zip(one, other, strict=True):
        for subject in ("device", "link", "demand"):
            pair = getattr(mine, subject), getattr(theirs, subject)
            assert np.allclose(*pair, rtol=1e-9, atol=1e-12, equal_nan=True)
    assert spells == same


def test_a_sample_is_the_same_whenever_it_is_read():
    faults = Fault("link_down", 2.5, 1.0, link=("A", "B")), Fault("cpu_hog", 4.0, device="A")
    early, late = up(PAIR, demand("a", "b")), up(PAIR, demand("a", "b"))
    for network in (early, late):
        for fault in faults:
            network.inject(fault)
    read = [digest([sample]) for n in range(1, 90) for sample in early.advance(float(n))]
    unread = late.advance(89.0)
    late.close()
    elsewhere = pickle.loads(pickle.dumps(unread[2]))
    assert [digest([sample]) for sample in reversed(unread)] == read[::-1]
    assert type(unread[0]) is type(elsewhere) is Sample
    assert digest([elsewhere]) == read[2]


def test_a_closed_network_stands_still_and_closes_twice():
    network = up(PAIR, demand("a", "b"))
    network.advance(2)
    network.close()
    network.close()
    assert network.advance(9) == []
    assert network.now == 2


# ---- commands


SLOWER = "device A\ninterface to-B\nip ospf cost 500\n"


def test_a_command_takes_time_to_install():
    network = up(RING, demand("a", "b"))
    before = network.configs()["A"]
    assert not network.busy
    network.apply(parse_script(SLOWER))
    assert network.busy
    assert network.configs()["A"] is before
    network.advance(0.02)
    assert network.busy
    network.advance(1.0)
    assert not network.busy
    assert network.configs()["A"].interfaces["to-B"].cost == 500


def test_commands_install_one_after_another_and_devices_side_by_side():
    network = up(RING, demand("a", "b"))
    script = "device A\ninterface to-B\n" + "".join(f"description {i}\n" for i in range(20))
    network.apply(parse_script(script + "device B\ntable-size 77\n"))
    seen, other_first = [], False
    for step in range(1, 400):
        network.advance(step * 0.01)
        words = network.configs()["A"].interfaces["to-B"].description
        seen += [words] if words and words not in seen else []
        other_first |= network.busy and network.configs()["B"].table_size == 77
    assert seen == [str(i) for i in range(20)]
    assert other_first
    assert not network.busy


def test_what_is_applied_later_to_a_device_is_installed_later():
    """A rollback sent while its change is still being installed must have the last word."""
    wrong = []
    for seed in range(10):
        network = up(RING, demand("a", "b"), seed=seed)
        before = network.configs()
        commands = parse_script("device A\ninterface to-B\nip ospf cost 500\nmtu 9000\nshutdown")
        network.apply(commands)
        network.apply(difference(apply(before, commands), before))
        network.advance(5.0)
        wrong += [] if network.configs() == before else [seed]
    assert wrong == []


TWO_SIDED = "device A\ninterface to-B\nip ospf cost 500\ndevice B\ninterface to-A\nip ospf cost 500"


def test_between_two_planes_there_is_one_that_is_neither_and_the_end_is_the_target():
    network = up(RING, demand("a", "b"))
    before = compile(network.topology, network.configs())
    assert same(installed(network), before)
    goal_configs = apply(network.configs(), parse_script(TWO_SIDED))
    goal = compile(network.topology, goal_configs)
    network.apply(parse_script(TWO_SIDED))
    between = 0
    for step in range(1, 300):
        network.advance(step * 0.01)
        between += not same(installed(network), before) and not same(installed(network), goal)
    assert between > 3
    assert network.configs() == goal_configs
    assert same(installed(network), goal)


def test_devices_that_have_not_written_keep_their_decisions_but_no_link_that_is_down():
    topology = wired(RING)
    configs = default_configs(topology)
    script = "device A\nip route 10.0.1.128/25 Null0\ndevice C\ninterface to-B\nshutdown"
    compiler = Compiler(topology)
    before = compiler.compile(configs)
    goal = compiler.compile(apply(configs, parse_script(script)))
    assert goal.atoms > before.atoms

    def at(plane: Plane, device: str, address: str) -> tuple[int, list[str]]:
        atom = int(np.searchsorted(plane.atom_first, parse_address(address), "right")) - 1
        number = topology.device_index[device]
        links = unpack(plane.next_hops, plane.atoms)[:, atom] & (plane.graph.tail == number)
        return plane.decision[number, atom], [topology.link_name(n) for n in np.flatnonzero(links)]

    nobody, everybody = mix(before, goal, np.array([], int)), mix(before, goal, np.arange(5))
    assert at(nobody, "A", "10.0.1.200") == (FORWARD, ["A>B"])
    assert at(nobody, "B", "10.0.2.2") == (FORWARD, [])
    assert at(nobody, "D", "10.0.1.2") == (FORWARD, ["D>C"])
    only_a = mix(before, goal, np.array([0]))
    assert at(only_a, "A", "10.0.1.200") == (DISCARD, [])
    assert at(only_a, "A", "10.0.1.2") == (FORWARD, ["A>B"])
    assert at(only_a, "D", "10.0.1.2") == (FORWARD, ["D>C"])
    assert same(everybody, goal)


def test_a_transient_can_break_what_holds_at_both_ends():
    """The device that raised its cost sends back to a neighbour that does not know yet."""
    network = up(RING, demand("b", "a"), intents=ALL_REACHABLE)
    network.advance(2)
    network.apply(parse_script(TWO_SIDED))
    network.advance(10)
    broken = [s for s in network.spells() if s.unreachable]
    assert broken
    assert all(2 < s.from_s < s.to_s < 5 for s in broken)
    assert network.spells()[-1].well
    assert failure_modes(network.spells()) == ()


def test_a_random_series_of_changes_always_ends_in_the_compiled_plane():
    network = up(RING, demand("a", "c"), seed=3)
    random = np.random.default_rng(3)
    at = 0.0
    for _ in range(12):
        device = "ABCDE"[random.integers(5)]
        port = random.choice(list(network.topology.ports[device]))
        line = random.choice(["ip ospf cost 3", "shutdown", "no shutdown", "mtu 9000", "no mtu"])
        network.apply(parse_script(f"device {device}\ninterface {port}\n{line}"))
        at += float(random.uniform(0.05, 2.0))
        network.advance(at)
    network.advance(at + 5)
    assert not network.busy
    assert same(installed(network), compile(network.topology, network.configs()))


def test_a_device_that_does_not_answer_takes_nothing_and_neither_does_any_other():
    network = up(RING, demand("a", "c"))
    given = dict(network.configs())
    network.inject(Fault("controller_lost", 1.0, 10.0, device="B"))
    network.advance(2)
    before = network.configs()
    assert set(before) == {"A", "C", "D", "E"}
    with pytest.raises(Unreachable, match="no answer from B"):
        network.apply(parse_script(TWO_SIDED))
    assert not network.busy
    network.advance(5)
    assert network.configs() == before
    network.advance(12)
    assert network.configs() == given
    network.apply(parse_script(TWO_SIDED))
    network.advance(14)
    assert network.configs()["B"].interfaces["to-A"].cost == 500


def test_a_device_that_falls_silent_keeps_what_it_has_and_busy_ends():
    network = up(RING, demand("a", "c"))
    network.inject(Fault("controller_lost", 0.5, 10.0, device="A"))
    script = "device A\ninterface to-B\n" + "".join(f"description {i}\n" for i in range(40))
    network.apply(parse_script(script))
    network.advance(9)
    assert not network.busy
    network.advance(12)
    assert 0 <= int(network.configs()["A"].interfaces["to-B"].description) < 39


# ---- traffic


def test_demands_breathe_with_the_profile():
    topology = wired(PAIR)
    profile = Profile(peak=2.0, period_s=20.0, steps=((30.0, 0.5),))
    traffic = Traffic((demand("a", "b", 1e6),), profile)
    network = SimulatedNetwork(topology, default_configs(topology), traffic, seed=1)
    offered = series(run(network, 40), "demand", "offered_bps")
    assert offered[10] == pytest.approx(2e6, rel=0.15)
    assert offered[19] == pytest.approx(1e6, rel=0.15)
    assert offered[39] == pytest.approx(0.5e6, rel=0.15)


def test_an_offer_replaces_the_rates():
    network = up(PAIR, demand("a", "b", 1e6), demand("b", "a", 1e6))
    network.offer(np.array([4e6, 0.0]))
    found = run(network, 5)
    assert series(found, "demand", "offered_bps")[1:] == pytest.approx(4e6, rel=0.15)
    assert (series(found, "demand", "offered_bps", 1) == 0).all()


def test_readings_are_near_the_truth_and_carry_what_was_delivered():
    found = run(up(LINE, demand("a", "c", 5e6)), 20)
    assert series(found, "demand", "throughput_bps").mean() == pytest.approx(5e6, rel=0.03)
    assert series(found, "demand", "loss").max() < 0.02
    assert series(found, "link", "load_bps", "A>B").mean() == pytest.approx(5e6, rel=0.03)
    assert series(found, "link", "utilisation", "B>C").mean() == pytest.approx(0.5, rel=0.03)
    assert series(found, "link", "load_bps", "B>A").max() == 0
    # two cables of 2 ms, two host cables of 0.1 ms, four transmissions, some queueing
    assert 0.0042 < series(found, "demand", "latency_s").mean() < 0.008
    assert coverage(found.samples) == 1.0


@pytest.mark.parametrize(("start_s", "part"), [(4.0, 0.5), (4.25, 0.5), (4.75, 0.25)])
def test_an_outage_of_half_a_second_takes_its_share_of_the_second(start_s, part):
    """Readings are averages over time, not looks at the end of a second."""
    network = up(PAIR, demand("a", "b"))
    network.inject(Fault("link_down", start_s, 0.5, link=("A", "B")))
    found = run(network, 8)
    share = series(found, "demand", "throughput_bps") / series(found, "demand", "offered_bps")
    assert share[4] == pytest.approx(1 - part, abs=0.05)
    assert share[5] == pytest.approx(0.5 + part, abs=0.05)
    assert np.delete(share, [4, 5]) == pytest.approx(1.0, abs=0.06)
    assert series(found, "demand", "loss")[4] == pytest.approx(part, abs=0.05)
    assert series(found, "demand", "latency_s")[4] == pytest.approx(0.0035, abs=0.0006)


# ---- faults: each has its effect, and it ends


def test_every_kind_of_fault_is_tested_here():
    text = Path(__file__).read_text()
    assert [kind for kind in FAULT_KINDS if f'Fault("{kind}"' not in text] == []


def phases(found: Telemetry, values: Array, from_s: float, to_s: float) -> tuple[Array, ...]:
    """Readings of the seconds wholly before, within and (some time) after a fault.

    A reading of a device is that of its instant: such faults begin half a second later here.
    """
    at = found.at_s
    return (
        values[at <= from_s],
        values[(at > from_s + 1) & (at <= to_s)],
        values[at > to_s + 2],
    )


@pytest.mark.parametrize(
    ("fault", "subject", "metric", "row", "usual", "hurt"),
    [
        (Fault("link_down", 5, 5, link=("A", "B")), "link", "up", "A>B", 1, 0),
        (Fault("link_down", 5, 5, link=("B", "A")), "link", "up", "B>A", 1, 0),
        (Fault("link_down", 5, 5, link=("A", "B")), "demand", "throughput_bps", 0, 5e6, 0),
        (Fault("link_loss", 5, 5, link=("A", "B"), amount=0.3), "demand", "loss", 0, 0, 0.3),
        (Fault("link_loss", 5, 5, link=("A", "B"), amount=0.3), "link", "drop_bps", "A>B", 0, 15e5),
        (Fault("link_delay", 5, 5, link=("A", "B"), amount=0.1), "demand", "latency_s", 0, 0.006,
         0.106),
        (Fault("link_rate", 5, 5, link=("A", "B"), amount=0.2), "demand", "throughput_bps", 0, 5e6,
         2e6),
        (Fault("device_crash", 5, 5, device="B"), "link", "up", "C>B", 1, 0),
        (Fault("device_crash", 5, 5, device="B"), "demand", "throughput_bps", 0, 5e6, 0),
        (Fault("table_full", 5, 5, device="B", amount=0.0005), "demand", "throughput_bps", 0, 5e6,
         0),
        (Fault("traffic_surge", 5, 5, amount=1.6), "demand", "offered_bps", 0, 5e6, 8e6),
        (Fault("traffic_surge", 5, 5, source="a", amount=1.6), "demand", "offered_bps", 0, 5e6,
         8e6),
        (Fault("traffic_surge", 5, 5, source="c", amount=1.6), "demand", "offered_bps", 0, 5e6,
         5e6),
        (Fault("traffic_surge", 5, 5, traffic_class="bulk", amount=1.6), "demand", "offered_bps", 0,
         5e6, 5e6),
    ],
    ids=lambda v: v.name if isinstance(v, Fault) else None,
)  # fmt: skip
def test_a_fault_shows_while_it_lasts(fault, subject, metric, row, usual, hurt):
    network = up(LINE, demand("a", "c"))
    network.inject(fault)
    found = run(network, 16)
    before, during, later = phases(found, series(found, subject, metric, row), 5, 10)
    margin = max(0.12 * max(usual, hurt), 1e-3)
    assert before == pytest.approx(usual, abs=margin)
    assert during == pytest.approx(hurt, abs=margin)
    assert later == pytest.approx(usual, abs=margin)


def test_a_fault_without_an_end_stays():
    network = up(PAIR, demand("a", "b"))
    network.inject(Fault("link_down", 5, link=("A", "B")))
    assert (series(run(network, 60), "link", "up", "A>B")[5:] == 0).all()


def test_a_link_that_flaps_is_down_and_up_in_turns_and_ends_up():
    network = up(PAIR, demand("a", "b"))
    network.inject(Fault("link_flap", 4, 10, link=("A", "B"), amount=2.0))
    up_ = series(run(network, 20), "link", "up", "A>B").astype(int).tolist()
    assert up_ == [1] * 4 + [0, 0, 1, 1, 0, 0, 1, 1, 0, 0] + [1] * 6


def test_a_crash_is_dark_and_around_it_traffic_finds_another_way():
    network = up(RING, demand("a", "c"))
    network.inject(Fault("device_crash", 5.5, 5, device="B"))
    found = run(network, 20)
    cpu = phases(found, series(found, "device", "cpu", "B"), 5, 10)
    assert [bool(np.isnan(part).all()) for part in cpu] == [False, True, False]
    assert not np.isnan(series(found, "device", "cpu", "A")).any()
    throughput = series(found, "demand", "throughput_bps")
    assert throughput[8:] == pytest.approx(5e6, rel=0.12)
    _, around, back = phases(found, series(found, "link", "load_bps", "A>E"), 5, 10)
    assert around == pytest.approx(5e6, rel=0.12)
    assert back == pytest.approx(0)


def test_a_crashed_device_is_not_configured():
    network = up(RING, demand("a", "c"))
    network.inject(Fault("device_crash", 1, 5, device="B"))
    network.advance(2)
    assert "B" not in network.configs()
    with pytest.raises(Unreachable):
        network.apply(parse_script("device B\ntable-size 5"))
    network.advance(7)
    assert "B" in network.configs()


def test_a_cpu_hog_shows_and_slows_installation():
    network = up(LINE, demand("a", "c"))
    network.inject(Fault("cpu_hog", 5.5, 5, device="A", amount=0.8))
    found = run(network, 16)
    before, during, later = phases(found, series(found, "device", "cpu", "A"), 5, 10)
    assert max(before.max(), later.max()) < 0.3
    assert during.min() > 0.8
    assert series(found, "device", "cpu", "B").max() < 0.3


def install_time_s(*faults: Fault) -> float:
    """How long twenty commands take."""
    network = up(LINE, demand("a", "c"))
    for fault in faults:
        network.inject(fault)
    network.advance(1)
    network.apply(parse_script("device A\n" + "".join(f"table-size {i}\n" for i in range(1, 21))))
    while network.busy:
        network.advance(network.now + 0.05)
    return network.now - 1


def test_a_busy_cpu_installs_slower():
    assert install_time_s(Fault("cpu_hog", 0, device="A", amount=0.6)) > 1.5 * install_time_s()


def test_a_memory_leak_ends_in_a_restart_that_clears_it():
    network = up(LINE, demand("a", "c"))
    network.inject(Fault("memory_leak", 5, 20, device="B", amount=0.05))
    found = run(network, 60)
    memory = series(found, "device", "memory", "B")
    assert memory[:5].max() < 0.4
    restarted = int(np.flatnonzero(np.isnan(memory))[0])
    assert 14 < restarted < 22
    assert (np.diff(memory[5:restarted]) > 0.02).all()
    assert np.isnan(memory[restarted + 1 : restarted + 19]).all()
    throughput = series(found, "demand", "throughput_bps")
    assert throughput[restarted + 1 : restarted + 19].max() == 0
    assert throughput[restarted + 23 :] == pytest.approx(5e6, rel=0.12)
    assert series(found, "device", "memory", "A").max() < 0.4


def test_a_restart_leaves_an_empty_memory():
    network = up(LINE, demand("a", "c"))
    network.inject(Fault("memory_leak", 5, 30, device="B", amount=0.05))
    memory = series(run(network, 60), "device", "memory", "B")
    assert memory[40:] == pytest.approx(memory[:5].mean(), rel=0.1)


def test_a_memory_leak_that_ends_in_time_stops_growing():
    network = up(LINE, demand("a", "c"))
    network.inject(Fault("memory_leak", 5, 5, device="B", amount=0.05))
    memory = series(run(network, 30), "device", "memory", "B")
    assert memory[12:].mean() == pytest.approx(memory[:5].mean() + 0.25, abs=0.06)
    assert np.ptp(memory[12:]) < 0.06


def test_a_table_that_is_full_reads_as_full():
    network = up(LINE, demand("a", "c"))
    network.inject(Fault("table_full", 5.5, 5, device="B", amount=0.0005))
    found = run(network, 16)
    _, during, _ = phases(found, series(found, "device", "table", "B"), 5, 10)
    assert during.min() > 0.9


def test_table_use_shows_in_the_reading():
    extra = "device B\ntable-size 4\n"
    found = run(up(LINE, demand("a", "c"), extra=extra), 5)
    assert series(found, "device", "table", "B") == pytest.approx(0.75, rel=0.1)


def test_without_a_controller_a_device_keeps_its_old_routes():
    """A break elsewhere then makes it send into nothing, until it hears again."""
    network = up(RING, demand("a", "c"))
    network.inject(Fault("controller_lost", 3, 9, device="A"))
    network.inject(Fault("link_down", 5, 30, link=("B", "C")))
    found = run(network, 20)
    throughput = series(found, "demand", "throughput_bps")
    assert throughput[6:12].max() == 0
    assert throughput[15:] == pytest.approx(5e6, rel=0.12)
    assert not np.isnan(series(found, "device", "cpu", "A")).any()


def test_drift_changes_a_config_behind_everyones_back():
    network = up(RING, demand("a", "b"))
    network.inject(Fault("config_drift", 5, script=SLOWER))
    found = run(network, 12)
    before, _, later = phases(found, series(found, "link", "load_bps", "A>E"), 5, 6)
    assert before == pytest.approx(0)
    assert later == pytest.approx(5e6, rel=0.12)
    assert network.configs()["A"].interfaces["to-B"].cost == 500


def test_drift_that_has_an_end_goes_away():
    """As the docstring of Fault says of every kind; or such a fault should be refused."""
    network = up(RING, demand("a", "b"))
    network.inject(Fault("config_drift", 5, 5, script=SLOWER))
    network.advance(20)
    assert network.configs()["A"].interfaces["to-B"].cost == 10


def test_automation_sets_again_what_is_taken_back_until_it_ends():
    """At its end what it first changed is set back, as by any drift that ends."""
    network = up(RING, demand("a", "b"))
    network.inject(Fault("config_drift", 5, 9, script=SLOWER, amount=2.0))
    back = parse_script("device A\ninterface to-B\n ip ospf cost 10\n")
    costs = []
    for at_s in range(1, 18):
        network.advance(float(at_s) + 0.5)
        costs.append(network.configs()["A"].interfaces["to-B"].cost)
        network.apply(back)
    again = [at_s for at_s, cost in enumerate(costs, 1) if cost == 500]
    assert again == [5, 7, 9, 11, 13]


@pytest.mark.parametrize("device", ["B", None])
def test_a_telemetry_gap_hides_readings_and_nothing_else(device):
    network = up(LINE, demand("b", "c"), demand("a", "c"))
    network.inject(Fault("telemetry_gap", 5.5, 5, device=device))
    found = run(network, 16)
    for subject, metric, row in (("device", "cpu", "B"), ("link", "load_bps", "B>C"),
                                 ("link", "up", "b>B"), ("demand", "loss", 0)):  # fmt: skip
        parts = phases(found, series(found, subject, metric, row), 5, 10)
        assert [bool(np.isnan(part).all()) for part in parts] == [False, True, False]
    hidden = np.isnan(phases(found, series(found, "demand", "loss", 1), 5, 10)[1])
    assert hidden.all() == (device is None)
    assert set(network.configs()) == {"A", "B", "C"}
    _, _, back = phases(found, series(found, "demand", "throughput_bps"), 5, 10)
    assert back == pytest.approx(5e6, rel=0.12)


STORM = Fault("retry_storm", 2, 40, amount=4.0)
CAUSE = Fault("link_rate", 10, 5, link=("A", "B"), amount=0.3)


def offered_in(*faults: Fault) -> Array:
    network = up(PAIR, demand("a", "b", 6e6))
    for fault in faults:
        network.inject(fault)
    return series(run(network, 60), "demand", "offered_bps")


def test_a_retry_storm_outlives_its_cause():
    """Metastable: the link is whole again at 15 s, the overload keeps itself up."""
    offered = offered_in(STORM, CAUSE)
    assert offered[:10] == pytest.approx(6e6, rel=0.12)
    assert offered[20:42] == pytest.approx(24e6, rel=0.12)
    assert offered[46:] == pytest.approx(6e6, rel=0.12)


def test_a_retry_storm_needs_a_cause_and_the_cause_alone_does_not_last():
    assert offered_in(STORM) == pytest.approx(6e6, rel=0.12)
    assert offered_in(CAUSE) == pytest.approx(6e6, rel=0.12)


def test_faults_on_one_link_add_up():
    topology = wired(PAIR)
    both = [Fault("link_loss", 0, link=("A", "B"), amount=0.5),
            Fault("link_loss", 0, link=("A", "B"), amount=0.2),
            Fault("link_rate", 0, link=("A", "B"), amount=0.5),
            Fault("link_rate", 0, link=("B", "A"), amount=0.5),
            Fault("link_delay", 0, link=("A", "B"), amount=0.1),
            Fault("link_delay", 0, link=("A", "B"), amount=0.2)]  # fmt: skip
    found = damage(topology, both)
    assert found.loss[:2] == pytest.approx(0.6)
    assert found.rate_left[:2] == pytest.approx(0.25)
    assert found.delay_s[:2] == pytest.approx(0.3)
    assert (found.loss[2:] == 0).all()


def test_two_faults_on_one_link_end_one_by_one():
    network = up(PAIR, demand("a", "b"))
    network.inject(Fault("link_down", 3, 6, link=("A", "B")))
    network.inject(Fault("link_down", 5, 2, link=("A", "B")))
    up_ = series(run(network, 12), "link", "up", "A>B").astype(int).tolist()
    assert up_ == [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1]


# ---- the same again


def eventful(seed: int) -> str:
    network = up(RING, demand("a", "c"), demand("d", "b", 7e6), seed=seed, intents=ALL_REACHABLE)
    network.inject(Fault("link_flap", 3, 6, link=("A", "B"), amount=0.7))
    network.inject(Fault("device_crash", 12, 3, device="D"))
    network.inject(Fault("retry_storm", 1, amount=3.0))
    network.advance(2)
    network.apply(parse_script(TWO_SIDED))
    return digest(network.advance(20)) + repr(network.spells())


def test_the_same_seed_gives_the_same_samples_and_another_seed_others():
    assert eventful(1) == eventful(1)
    assert eventful(1) != eventful(2)


def test_production_and_shadow_have_their_own_noise():
    topology, traffic = wired(PAIR), Traffic((demand("a", "b"),))
    found = [
        digest(SimulatedNetwork(topology, default_configs(topology), traffic, name=name).advance(3))
        for name in ("production", "shadow")
    ]
    assert found[0] != found[1]


def test_two_processes_give_the_same_samples_bit_for_bit():
    script = "from test_simulated import eventful, hashlib\n"
    script += "print(hashlib.sha256(eventful(1).encode()).hexdigest())"
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    ]
    assert found[0] == found[1] == hashlib.sha256(eventful(1).encode()).hexdigest()


# ---- the truth


def broken(seconds: float, at: float = 0.0, **what: str) -> Spell:
    """A spell from `at` on, in which each of `what` is broken."""
    return Spell(at, at + seconds, **{kind: frozenset(v.split()) for kind, v in what.items()})


@pytest.mark.parametrize(
    ("spells", "modes"),
    [
        ([], ()),
        ([broken(100)], ()),
        ([broken(3.0, unreachable="x")], (OUTAGE,)),
        ([broken(2.999, unreachable="x")], ()),
        ([broken(5.0, slow="x")], (DEGRADATION,)),
        ([broken(4.999, slow="x")], ()),
        ([broken(0.001, exposed="x")], (VULNERABILITY,)),
        ([broken(1.5, unreachable="x"), broken(1.5, 1.5, unreachable="x y")], (OUTAGE,)),
        ([broken(2, unreachable="x"), broken(2, 2, unreachable="y")], ()),
        ([broken(2, unreachable="x"), broken(1, 2), broken(2, 3, unreachable="x")], ()),
        ([broken(2, slow="x"), broken(3, 2, slow="x", exposed="z")], (DEGRADATION, VULNERABILITY)),
        ([broken(9, slow="x", unreachable="y")], (OUTAGE,)),
        ([broken(9, slow="x"), broken(3, 9, unreachable="y")], (OUTAGE,)),
        ([broken(9, slow="x"), broken(2, 9, unreachable="y")], (DEGRADATION,)),
        ([broken(9, slow="a", unreachable="b", exposed="c")], (OUTAGE, VULNERABILITY)),
    ],
)
def test_failure_modes_have_their_borders(spells, modes):
    assert failure_modes(spells) == modes
    assert [m for m in MODES if m in modes] == list(modes)


def test_the_longest_is_of_one_thing_without_a_break():
    spells = [broken(2, slow="x"), broken(3, 2, slow="x y"), broken(4, 5, slow="y"), broken(1, 9)]
    assert longest(spells, lambda s: s.slow) == 7
    assert longest(spells, lambda s: s.unreachable) == 0


def test_breach_seconds_count_anything_broken_once():
    spells = [broken(2, slow="x y", unreachable="z"), broken(3, 2), broken(0.5, 5, exposed="e")]
    assert breach_s(spells) == 2.5


@pytest.mark.parametrize(("for_s", "modes"), [(2.9, ()), (3.1, (OUTAGE,))])
def test_an_outage_in_the_network_is_in_its_spells(for_s, modes):
    network = up(PAIR, demand("a", "b", traffic_class="critical"))
    network.inject(Fault("link_down", 4.3, for_s, link=("A", "B")))
    network.advance(12)
    spells = network.spells()
    assert failure_modes(spells) == modes
    assert breach_s(spells) == pytest.approx(for_s)
    assert [spells[0].from_s, spells[-1].to_s] == [0, 12]
    assert all(a.to_s == b.from_s for a, b in pairwise(spells))
    assert [s.well for s in spells] == [True, False, True]


@pytest.mark.parametrize(("for_s", "modes"), [(4.9, ()), (5.1, (DEGRADATION,))])
def test_a_limit_that_is_broken_is_in_its_spells(for_s, modes):
    limits = Intents(limits=(Limit("latency", 0.05),))
    network = up(PAIR, demand("a", "b"), intents=limits)
    network.inject(Fault("link_delay", 4.3, for_s, link=("A", "B"), amount=0.1))
    network.advance(12)
    assert failure_modes(network.spells()) == modes
    assert breach_s(network.spells()) == pytest.approx(for_s)


def test_management_that_was_opened_is_a_vulnerability_and_closing_it_ends_it():
    network = up(PAIR, demand("a", "b"))
    network.apply(parse_script("device A\nmanagement telnet"))
    network.advance(2)
    network.apply(parse_script("device A\nno management telnet"))
    network.advance(4)
    assert failure_modes(network.spells()) == (VULNERABILITY,)
    exposed = [s for s in network.spells() if s.exposed]
    assert [s.exposed for s in exposed] == [{"management telnet of A"}]
    assert exposed[0].to_s < 3


def test_asking_for_the_spells_changes_nothing():
    quiet, asked = up(RING, demand("a", "c")), up(RING, demand("a", "c"))
    for at in (0.5, 1.5, 2.25):
        asked.advance(at)
        asked.spells()
    assert asked.now == 2.25
    quiet.advance(2.25)
    for mine, theirs in zip(quiet.advance(5), asked.advance(5), strict=True):
        assert np.allclose(mine.demand, theirs.demand, rtol=1e-12)
    assert [s.well for s in asked.spells()] == [s.well for s in quiet.spells()]


def test_a_network_does_not_touch_the_configs_it_was_given():
    topology = wired(PAIR)
    given = default_configs(topology)
    kept = dict(given)
    network = SimulatedNetwork(topology, given, Traffic((demand("a", "b"),)))
    network.apply(parse_script("device A\ntable-size 9"))
    network.advance(2)
    assert network.configs()["A"].table_size == 9
    assert given == kept
