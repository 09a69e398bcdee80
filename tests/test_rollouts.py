"""What-if futures: against slow references, chance that is known, and the definitions of truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowsim.dataplane.forwarding import Physical
from shadowsim.dataplane.futures import Futures, Ground, Masks, State, Tape
from shadowsim.dataplane.lasting import failures
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.loading import Loader
from shadowsim.journal import Journal
from shadowsim.model.change import Change, Command, apply, parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.intents import Intents, Limit
from shadowsim.model.telemetry import Sample, Telemetry, layout_of
from shadowsim.model.truth import (
    DEGRADATION,
    MODES,
    OUTAGE,
    VULNERABILITY,
    Spell,
    failure_modes,
)
from shadowsim.network import NETWORKS
from shadowsim.network.damage import damage
from shadowsim.network.simulated.control import Health
from shadowsim.network.timing import ControlModel
from shadowsim.precog import Evidence, WhatIf, variant
from shadowsim.precog.rollouts import Rolled, Rollouts
from shadowsim.precog.sampling import Site, Unknowns, draw, with_failure
from shadowsim.scenario import parse
from shadowsim.workflow import Run, run_workflow

Array = np.ndarray

# T is reached through B alone; A, B and C are a triangle.
PLACE = """
name: place
seed: 4
topology:
  nodes: {A: {hosts: [guest, web]}, B: {}, C: {}, T: {hosts: [db]}}
  links: [[A, B], [B, C], [A, C], [B, T]]
  defaults: {rate_mbps: 10}
configs:
  T: |
    ip access-list extended GUARD
     10 deny ip host guest host db
     20 permit ip any any
    interface to-db
     ip access-group GUARD out
traffic:
  demands:
    - {from: web, to: h-B, rate_mbps: 5, class: critical, protocol: udp, port: 5004}
    - {from: h-C, to: h-B, rate_mbps: 5, protocol: udp, port: 443}
    - {from: web, to: db, rate_mbps: 1, flows: 3}
intents:
  - {isolated: {from: guest, to: db}}
  - {reachable: {from: any, to: any, protocol: tcp, port: 443}}
  - {latency: {class: critical, below_ms: 40}}
  - {utilisation: {below_percent: 90}}
  - {loss: {below_percent: 2}}
  - {throughput: {class: normal, above_percent: 80}}
change: {script: ""}
"""
SCENARIO = parse(PLACE)
TOPOLOGY, DEMANDS, INTENTS = SCENARIO.topology, SCENARIO.traffic.demands, SCENARIO.intents
LINKS = TOPOLOGY.directed_links
RATES = np.array([d.rate_bps for d in DEMANDS])
DRAIN = "device A\ninterface to-B\n ip ospf cost 5000\n"
SPARE = "device A\ninterface to-C\n shutdown\n"
STILL = Unknowns(
    level_spread=0.0, breath=0.0, trend_s=0.0, peak_chance=0.0, surges_per_hour=0.0,
    link_down_per_hour=0.0, link_loss_per_hour=0.0, crashes_per_hour=0.0,
)  # fmt: skip


# -- the definitions ---------------------------------------------------------------------------


@st.composite
def histories(draw: Any) -> tuple[Array, Array]:
    """`[N, K, 6]` masks of two things of each kind, mostly held on, and `[N, K]` spans."""
    count, steps = draw(st.integers(1, 4)), draw(st.integers(1, 14))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    flips = random.random((count, steps, 6)) < draw(st.sampled_from([0.05, 0.2, 0.5]))
    span_s = random.choice([0.0, 0.1, 0.9, 1.0, 2.0], (count, steps))
    return np.cumsum(flips, axis=1) % 2 == 1, span_s


def spells_of(broken: Array, span_s: Array) -> list[Spell]:
    ends = np.cumsum(span_s)
    return [
        Spell(
            float(end - span), float(end),
            *(frozenset(str(u) for u in range(2) if row[2 * kind + u]) for kind in range(3)),
        )
        for row, span, end in zip(broken, span_s, ends, strict=True)
        if span > 0.0
    ]  # fmt: skip


def masks_of(broken: Array) -> Masks:
    return Masks(broken[..., :2], broken[..., 2:4], broken[..., 4:], ("0", "1"), ("0", "1"))


@settings(max_examples=300, deadline=None)
@given(histories())
def test_failures_are_those_of_the_truth(history: tuple[Array, Array]) -> None:
    broken, span_s = history
    found = failures(masks_of(broken), span_s)
    for n in range(len(broken)):
        spells = spells_of(broken[n], span_s[n])
        came = tuple(mode for mode, yes in zip(MODES, found.came[n], strict=True) if yes)
        assert came == failure_modes(spells)


@settings(max_examples=200, deadline=None)
@given(histories())
def test_an_onset_is_when_the_spell_that_failed_began(history: tuple[Array, Array]) -> None:
    broken, span_s = history
    found = failures(masks_of(broken), span_s)
    assert np.array_equal(np.isfinite(found.onset_s), found.came)
    for n, mode in zip(*np.nonzero(found.came), strict=True):
        spells = spells_of(broken[n], span_s[n])
        onset_s = float(found.onset_s[n, mode])
        assert MODES[mode] in failure_modes(s for s in spells if s.to_s > onset_s + 1e-9)
        name = str(found.thing[n, mode])
        kind = {DEGRADATION: "slow", OUTAGE: "unreachable", VULNERABILITY: "exposed"}[MODES[mode]]
        at = [s for s in spells if s.from_s <= onset_s + 1e-9 < s.to_s - 1e-12]
        assert name in getattr(at[0], kind)
        earlier = [s for s in spells if s.to_s <= onset_s + 1e-9]
        assert not earlier or name not in getattr(earlier[-1], kind)


# -- the engine --------------------------------------------------------------------------------


def engine(threads: int = 1, text: str = PLACE) -> Futures:
    scenario = parse(text)
    return Futures(scenario.topology, scenario.traffic.demands, scenario.intents, threads)


GROUNDS = (
    Ground(Physical(), np.zeros(LINKS)),
    Ground(Physical(frozenset({0, 1})), np.zeros(LINKS)),
    Ground(Physical(), np.where(np.arange(LINKS) == 2, 0.1, 0.0)),
    Ground(Physical(), np.zeros(LINKS), 0.03, 0.6),
    Ground(Physical(frozenset({6, 7})), np.zeros(LINKS)),
)
SCRIPTS = ("", DRAIN, SPARE, "device T\nip access-list extended GUARD\n no 10\n",
           "device A\nqos class critical priority 0\nqos class normal priority 1\n")  # fmt: skip
CASES = [
    (apply(SCENARIO.configs, parse_script(script)), ground)
    for script in SCRIPTS
    for ground in GROUNDS
]


def a_tape(futures: int, steps: int, states: int, seed: int = 3) -> Tape:
    random = np.random.default_rng(seed)
    shape = (futures, steps)
    return Tape(
        state=random.integers(0, states, shape, dtype=np.int32),
        span_s=random.choice([0.0, 0.4, 1.0, 2.0], shape),
        base_bps=RATES,
        factor=random.uniform(0.1, 2.5, (futures, 1)) * random.uniform(0.9, 1.1, shape),
        surge=random.integers(0, 2, shape, dtype=np.int32),
        surges=np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 4.0]]),
        begin=random.integers(0, 50, shape, dtype=np.int32),
        breath=np.exp(random.normal(0.0, 0.05, 60)),
    )


def slowly(states: list[State], tape: Tape, n: int, k: int, intents: Intents = INTENTS) -> Spell:
    """One step, by the parts that the simulated network is made of."""
    state = states[tape.state[n, k]]
    _, ground = CASES[tape.state[n, k]]
    rates = tape.base_bps * tape.factor[n, k] * tape.surges[tape.surge[n, k]]
    rates = rates * tape.breath[tape.begin[n, k] :][: len(DEMANDS)]
    loader = Loader(TOPOLOGY, DEMANDS)
    offered, left = loader.spread(rates), ground.rate_left
    links = loader.links(state.plane, ground.loss, added_s=ground.added_s, rate_left=left)
    loads = loader.run(links, loader.route(state.plane), offered)
    plane = replace(state.plane, rate_bps=state.plane.rate_bps * left)
    now = loader.at_once(plane, loads, offered, ground.loss)
    limits = Limits(TOPOLOGY, DEMANDS, intents.limits)
    severity = limits.severity(now.demand, now.utilisation)
    slow = {x.name for x, s in zip(limits.limits, severity, strict=True) if s > 1.0}
    starved = limits.starved(now.demand, layout_of(TOPOLOGY, DEMANDS))
    begin_s = float(tape.span_s[n, :k].sum())
    return Spell(
        begin_s, begin_s + float(tape.span_s[n, k]),
        frozenset({*state.unreachable, *starved}), state.exposed, frozenset(slow),
    )  # fmt: skip


def test_every_step_is_what_one_network_alone_would_be() -> None:
    fast = engine()
    states = [fast.state(configs, ground, SCENARIO.configs) for configs, ground in CASES]
    tape = a_tape(25, 14, len(states))
    masks = fast.masks(states, tape)
    seen: set[str] = set()
    for n in range(25):
        spells = []
        for k in np.flatnonzero(tape.span_s[n] > 0.0):
            spell = slowly(states, tape, n, int(k))
            spells.append(spell)
            for mask, names, wanted in (
                (masks.unreachable, masks.things, spell.unreachable),
                (masks.exposed, masks.exposures, spell.exposed),
                (masks.slow, fast.bounds.names, spell.slow),
            ):
                assert {names[u] for u in np.flatnonzero(mask[n, k])} == wanted
                seen |= wanted
        modes = failure_modes(spells)
        found = failures(masks, tape.span_s).came[n]
        assert tuple(m for m, yes in zip(MODES, found, strict=True) if yes) == modes
    assert len(seen) == 7  # each of four limits, two intents and the critical demand


def test_the_numbers_held_to_limits_are_those_of_a_meter() -> None:
    """So many bounds stand side by side that a small error crosses one of them."""
    bounds = {
        "latency": np.geomspace(0.004, 0.2, 120),
        "loss": np.linspace(0.004, 0.99, 60),
        "throughput": np.linspace(0.01, 0.99, 60),
        "utilisation": np.linspace(0.01, 0.99, 60),
    }
    ladder = Intents((), tuple(
        Limit(metric, float(bound), traffic_class)
        for metric, values in bounds.items()
        for bound in values
        for traffic_class in (None, "critical", "normal")
    ))  # fmt: skip
    fast = Futures(TOPOLOGY, DEMANDS, ladder)
    states = [fast.state(configs, ground, SCENARIO.configs) for configs, ground in CASES]
    tape = a_tape(10, 12, len(states))
    masks = fast.masks(states, tape)
    for n, k in zip(*np.nonzero(tape.span_s > 0.0), strict=True):
        found = {fast.bounds.names[m] for m in np.flatnonzero(masks.slow[n, k])}
        assert found == slowly(states, tape, int(n), int(k), ladder).slow


@pytest.mark.parametrize("seed", range(6))
def test_what_is_not_solved_is_well_for_certain(seed: int) -> None:
    fast = engine()
    states = [fast.state(configs, ground, SCENARIO.configs) for configs, ground in CASES]
    tape = a_tape(40, 25, len(states), seed)
    tape = replace(tape, factor=tape.factor * (0.5 + 0.1 * seed))
    skipping, all_of_it = (fast.masks(states, tape, skip=skip) for skip in (True, False))
    assert skipping.solved < all_of_it.solved == (tape.span_s > 0.0).sum()
    for name in ("unreachable", "exposed", "slow"):
        one, other = getattr(skipping, name), getattr(all_of_it, name)
        lasts = tape.span_s > 0.0
        assert np.array_equal(one[lasts], other[lasts])


def test_neither_threads_nor_chunks_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = engine()
    monkeypatch.setattr("shadowsim.dataplane.futures.FLOWS_AT_ONCE", 35)
    two = engine(threads=2)
    states = [alone.state(configs, ground, SCENARIO.configs) for configs, ground in CASES]
    tape = a_tape(200, 40, len(states))
    one, other = alone.masks(states, tape), two.masks(states, tape)
    for name in ("unreachable", "exposed", "slow"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_packets_of_very_different_lengths_are_all_solved() -> None:
    """A load of short packets can shorten the wait, so the most traffic need not wait longest."""
    text = PLACE.replace("port: 5004", "port: 5004, packet_bytes: 100")
    fast = engine(text=text)
    state = fast.state(SCENARIO.configs, GROUNDS[0], SCENARIO.configs)
    tape = replace(a_tape(10, 10, 1), factor=np.full((10, 10), 0.01))
    assert fast.masks([state], tape).solved == (tape.span_s > 0.0).sum()


TANDEM = """
name: tandem
topology: {nodes: {X: {}, Y: {}, Z: {}}, links: [[X, Y], [Y, Z]], defaults: {rate_mbps: 10}}
traffic:
  demands:
    - {from: h-X, to: h-Y, rate_mbps: 40, flows: 9}
    - {from: h-X, to: h-Z, rate_mbps: 40}
    - {from: h-Y, to: h-Z, rate_mbps: 8, class: critical}
intents: [{throughput: {class: critical, above_percent: 90}}]
change: {script: ""}
"""


def test_where_links_are_full_less_traffic_may_be_worse_and_is_solved() -> None:
    """With less on the first link, the flow over both takes more of the second."""
    scenario = parse(TANDEM)
    fast = engine(text=TANDEM)
    ground = Ground(Physical(), np.zeros(scenario.topology.directed_links))
    state = fast.state(scenario.configs, ground, scenario.configs)
    surge = np.tile(np.array([0, 1], dtype=np.int32), 100)[None]
    tape = replace(
        a_tape(1, 200, 1),
        span_s=np.ones((1, 200)),
        base_bps=np.array([d.rate_bps for d in scenario.traffic.demands]),
        factor=np.ones((1, 200)),
        surge=surge,
        surges=np.array([[1.0, 1.0, 1.0], [0.01, 1.0, 1.0]]),
        breath=np.ones(60),
    )
    assert np.array_equal(fast.masks([state], tape).slow[..., 0], surge == 1)


# -- the variant -------------------------------------------------------------------------------


def telemetry(samples: int = 30, start_s: float = 0.0, factor: Any = 1.0) -> Telemetry:
    """All is up and served; `factor` of the rates, a number or one a sample."""
    layout = layout_of(TOPOLOGY, DEMANDS)
    factors = np.broadcast_to(factor, samples)

    def sample(i: int) -> Sample:
        device = np.tile([0.1, 0.3, 0.01], (len(layout.devices), 1))
        link = np.tile([1e6, 0.0, 0.1, 1.0], (LINKS, 1))
        demand = np.column_stack((
            RATES * factors[i], RATES * factors[i], np.full(3, 0.01), np.zeros(3)
        ))  # fmt: skip
        return Sample(start_s + i + 1.0, device, link, demand)

    return Telemetry(layout, [sample(i) for i in range(samples)])


def evidence(script: str = "", **given: Any) -> Evidence:
    change = Change("", parse_script(script))
    seen = telemetry()
    filled: dict[str, Any] = {
        "phase": "shadow",
        "topology": TOPOLOGY,
        "demands": DEMANDS,
        "intents": INTENTS,
        "change": change,
        "before": SCENARIO.configs,
        "now": apply(SCENARIO.configs, change.commands),
        "baseline": telemetry(10),
        "observed": telemetry(30, 10.0),
        "control": seen,
        "horizon_s": 15.0,
        "soak_s": 3.0,
    }
    return Evidence(**{**filled, **given})


def rollouts(unknowns: Unknowns = STILL, futures: int = 64) -> Rollouts:
    model = WhatIf(TOPOLOGY, DEMANDS, INTENTS)
    return Rollouts(model, futures, least=futures, unknowns=unknowns)


def roll(script: str, unknowns: Unknowns = STILL, futures: int = 64, **given: Any) -> Rolled:
    return rollouts(unknowns, futures).roll(evidence(script, **given))


def chance(rolled: Rolled, mode: str) -> float:
    return float(rolled.probability[MODES.index(mode)])


def test_a_change_that_does_nothing_fails_in_no_future() -> None:
    wild = Unknowns(peak=3.0, link_down_per_hour=20.0, crashes_per_hour=20.0)
    unused = "device C\nip route 192.0.2.0/24 Null0\n"
    for script in ("", "device B\ninterface to-T\n description to Tom\n", unused):
        for phase in ("shadow", "production"):
            rolled = roll(script, wild, phase=phase)
            assert not rolled.probability.any()
            assert rolled.solved == 0


@pytest.mark.parametrize(("script", "mode"), [
    ("device B\ninterface to-T\n shutdown\n", OUTAGE),
    (DRAIN, DEGRADATION),
    ("device T\nip access-list extended GUARD\n no 10\n", VULNERABILITY),
    ("device C\nno management ssh\nmanagement telnet\n", VULNERABILITY),
])  # fmt: skip
def test_what_must_fail_fails_in_every_future(script: str, mode: str) -> None:
    commands = parse_script(script)
    for phase in ("shadow", "production"):
        rolled = roll(script, phase=phase)
        assert {m: chance(rolled, m) for m in MODES} == {m: float(m == mode) for m in MODES}
        assert rolled.commands[MODES.index(mode)] == commands[-1:]
        assert rolled.standard_error.tolist() == [0.0, 0.0, 0.0]


def test_only_the_command_that_does_it_is_blamed() -> None:
    script = f"device T\ntable-size 9000\n{DRAIN} description dear\ndevice C\ntable-size 9000\n"
    forecast = rollouts().forecast(evidence(script))
    assert forecast.blamed == (Command("A", "interface to-B", "ip ospf cost 5000"),)
    assert forecast.mode == DEGRADATION


def test_an_outage_on_the_way_counts_if_the_next_device_is_waited_for() -> None:
    lasting = (
        "device B\ninterface to-T\n shutdown\ndevice A\ntable-size 9000\n"
        "device B\ninterface to-T\n no shutdown\n"
    )
    assert chance(roll(lasting, soak_s=1.0), OUTAGE) == 0.0
    assert chance(roll(lasting, soak_s=3.0), OUTAGE) == 1.0


def test_an_exposure_of_a_moment_counts() -> None:
    script = """
        device T
        no ip access-list extended GUARD
        ip access-list extended GUARD
         20 deny ip host guest host db
         30 permit ip any any
    """
    text = script.replace("guest", "10.0.0.2").replace("host db", "host 10.0.3.2")
    rolled = roll(text)
    assert chance(rolled, VULNERABILITY) == 1.0
    assert rolled.commands[2][0].line == "no ip access-list extended GUARD"
    assert 0.01 < rolled.time_s[2] < 1.0


def test_traffic_that_is_to_grow_counts() -> None:
    script = "device A\ninterface to-B\n ip ospf cost 5000\n"
    quiet = telemetry(30, 0.0, 0.6)
    growing = telemetry(30, 0.0, np.linspace(0.3, 0.6, 30))
    calm = replace(STILL, trend_s=30.0)
    assert chance(roll(script, calm, control=quiet), DEGRADATION) == 0.0
    assert chance(roll(script, calm, control=growing), DEGRADATION) == 1.0


def test_what_fails_without_the_change_too_is_not_held_against_it() -> None:
    busy = telemetry(30, 0.0, 2.5)
    assert chance(roll(DRAIN, control=busy), DEGRADATION) == 0.0
    assert chance(roll(DRAIN), DEGRADATION) == 1.0


def test_the_same_evidence_gives_the_same_forecast_and_later_evidence_another() -> None:
    seen = evidence(SPARE)
    wild = Unknowns(link_down_per_hour=60.0)
    one, other = rollouts(wild), rollouts(wild)
    first = one.roll(seen)
    assert one.forecast(seen) == other.forecast(seen) == one.forecast(seen)
    later = replace(seen, control=telemetry(31))
    assert not np.array_equal(one.roll(later).probability, first.probability)


# -- chance that is known ----------------------------------------------------------------------


def test_a_fault_of_a_known_rate_has_its_probability() -> None:
    """Without the spare way of A, an outage comes as soon as A-B, or C-B of four cables, fails.

    C still has A behind it, but A has no way on: with A-C shut, B-C leaves C alone.
    """
    rate = 30.0
    unknowns = replace(STILL, link_down_per_hour=rate, repair_s=1e6)
    rolled = roll(SPARE, unknowns, 4000)
    seconds = 61
    fails = 1.0 - np.exp(-4 * rate * seconds / 3600.0)
    in_time = (seconds - 2) / seconds  # begins at a whole second, and lasts for three
    wanted = fails * 0.5 * in_time
    error = rolled.standard_error[1]
    assert 0.005 < error < 0.01
    assert abs(chance(rolled, OUTAGE) - wanted) < 4 * error


def test_a_level_that_is_uncertain_crosses_its_limit_as_often_as_a_normal_does() -> None:
    """Drained, C>B carries 10 of 10 Mb/s times a log-normal factor, at a limit of nine tenths."""
    unknowns = replace(STILL, level_spread=0.1)
    rolled = roll(DRAIN, unknowns, 4000, control=telemetry(30, 0.0, 0.85))
    # h-C, web to h-B and web to db: 11 Mb/s times 0.85, broken above 9.
    from scipy.stats import norm

    wanted = norm.sf(np.log(9.0 / (11.0 * 0.85)) / 0.1)
    assert 0.5 < wanted < 0.8
    assert abs(chance(rolled, DEGRADATION) - wanted) < 4 * rolled.standard_error[0]


@pytest.mark.parametrize(("unknowns", "factor"), [
    (Unknowns(level_spread=0.08, link_down_per_hour=2.0), 0.78),
    (replace(STILL, breath=0.05), 0.815),
    (Unknowns(peak_chance=0.9, peak=0.3, surges_per_hour=20.0), 0.7),
])  # fmt: skip
def test_the_standard_error_is_the_spread_over_seeds(unknowns: Unknowns, factor: float) -> None:
    one = rollouts(unknowns, 100)
    seen = evidence(DRAIN, control=telemetry(30, 0.0, factor))
    rolled = [one.roll(seen, seed) for seed in range(60)]
    found = np.array([chance(r, DEGRADATION) for r in rolled])
    claimed = np.sqrt(np.mean([r.standard_error[0] ** 2 for r in rolled]))
    assert 0.02 < claimed < 0.051
    # The spread of 60 values is known to some 9 %; 0.7 to 1.35 is three of that on either side.
    assert 0.7 < found.std(ddof=1) / claimed < 1.35


def test_commands_take_as_long_as_in_the_simulated_network() -> None:
    commands = parse_script("device A\ninterface to-B\n ip ospf cost 5\nrouter bgp 65000\n")
    site = Site(TOPOLOGY, DEMANDS, WhatIf(TOPOLOGY, DEMANDS, INTENTS).observe(
        telemetry(), SCENARIO.configs), np.full(4, 0.1), np.zeros(0))  # fmt: skip
    random = np.random.default_rng(5)
    drawn = draw(site, STILL, (commands,), 3.0, 4000, 20, random)
    installed_s = [(drawn.tape.span_s * (drawn.stage <= n)).sum(axis=1) for n in (0, 1)]
    model = ControlModel()
    slow = np.concatenate([Health(100, random).slowness for _ in range(40)])
    one_s = np.array([model.install_delay_s(commands[0], s, 0.1, random) for s in slow])
    both_s = one_s + [model.install_delay_s(commands[1], s, 0.1, random) for s in slow]
    for mine, theirs in zip(installed_s, (one_s, both_s), strict=True):
        assert np.quantile(mine, [0.1, 0.5, 0.9]) == pytest.approx(
            np.quantile(theirs, [0.1, 0.5, 0.9]), rel=0.06
        )


def test_failures_that_are_drawn_do_what_injected_ones_do() -> None:
    now = Ground(Physical(frozenset({4})), np.where(np.arange(LINKS) == 2, 0.1, 0.0))
    ends = [(link.a, link.b) for link in TOPOLOGY.links]
    wanted = [
        *(Fault("link_down", 0.0, link=pair) for pair in ends),
        *(Fault("link_loss", 0.0, link=pair, amount=STILL.link_loss) for pair in ends),
        *(Fault("device_crash", 0.0, device=device.name) for device in TOPOLOGY.devices),
    ]
    for kind, fault in enumerate(wanted):
        found, alone = with_failure(TOPOLOGY, STILL, now, kind), damage(TOPOLOGY, [fault])
        assert found.physical.down == alone.physical.down | {4}
        assert found.loss == pytest.approx(1.0 - (1.0 - now.loss) * (1.0 - alone.loss))


def test_it_is_a_variant_like_the_others() -> None:
    found = variant("rollouts", WhatIf(TOPOLOGY, DEMANDS, INTENTS)).forecast(evidence(DRAIN))
    assert found.probabilities[DEGRADATION] > 0.9
    assert found.reasons[0].variant == "rollouts"
    assert "standard error" in found.reasons[0].text


def test_more_flows_get_fewer_futures() -> None:
    seen = replace(evidence(), demands=[replace(d, flows=3000) for d in DEMANDS])
    model = WhatIf(TOPOLOGY, seen.demands, INTENTS)
    assert Rollouts(model).roll(seen).futures == 64
    assert Rollouts(WhatIf(TOPOLOGY, DEMANDS, INTENTS)).roll(evidence()).futures == 256


# -- beside the simulated network --------------------------------------------------------------


def test_as_many_futures_fail_as_simulated_networks_do() -> None:
    """The same drain, so near its limit that the small changes of every second decide."""
    factor, count = 0.817, 100
    text = PLACE.replace("rate_mbps: 5,", f"rate_mbps: {5 * factor},")
    text = text.replace("rate_mbps: 1,", f"rate_mbps: {factor},")
    scenario = parse(text)
    commands = parse_script(DRAIN)
    failed = 0
    for seed in range(count):
        network = NETWORKS["simulated"](
            replace(scenario, seed=seed), scenario.configs, "production"
        )
        network.apply(commands)
        network.advance(61.0)
        failed += failure_modes(network.spells()) == (DEGRADATION,)
    share = failed / count
    assert 0.2 < share < 0.8
    rolled = roll(DRAIN, replace(STILL, breath=0.02), 4000, control=telemetry(30, 0.0, factor))
    error = np.sqrt(share * (1.0 - share) / count + rolled.standard_error[0] ** 2)
    assert abs(chance(rolled, DEGRADATION) - share) < 3 * error


QUIET = PLACE.replace("rate_mbps: 5", "rate_mbps: 3").replace(
    'change: {script: ""}',
    'change: {script: "device A\\ninterface to-B\\n ip ospf cost 5000\\n"}\n'
    "workflow: {precog: rollouts, baseline_s: 10, shadow_s: 20, monitor_s: 30}",
)


def test_a_fault_to_come_changes_no_forecast_made_before() -> None:
    runs = []
    for faults in ("[]", "[{at_s: 50, link_down: {link: [A, C]}}]"):
        scenario = parse(f"{QUIET}\nfaults: {faults}\n")
        model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
        precog = variant(scenario.workflow.precog, model)
        run = Run(scenario, NETWORKS["simulated"], precog, model, Journal())
        runs.append(run_workflow(run).forecasts)
    calm, struck = ([f for f in forecasts if f[0] < 50.0] for forecasts in runs)
    assert calm == struck
    assert {where for _, where, _ in calm} == {"shadow", "production"}
    assert runs[0] != runs[1]


def test_in_the_middle_of_a_deployment_production_is_what_is_read_back() -> None:
    script = f"device C\ntable-size 9000\n{DRAIN}device T\ntable-size 9000\n"
    seen = evidence(script, phase="production")
    commands = seen.change.commands
    for done in range(len(commands) + 1):
        part = replace(seen, now=apply(SCENARIO.configs, commands[:done]))
        fails = chance(rollouts().roll(part), DEGRADATION)
        assert fails == float(commands[1] in commands[:done])
    strange = apply(seen.now, parse_script("device B\ninterface to-T\n ip ospf cost 77\n"))
    rolled = rollouts().roll(replace(seen, now=strange))
    assert chance(rolled, DEGRADATION) == 1.0
    assert commands[1] in rolled.commands[0]
