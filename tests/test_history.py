"""Labelled history: the truth of hand-made changes, evidence that knows none of it, and a folder
that comes out the same however it was made.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowsim.history import simulate as simulating
from shadowsim.history.looks import TRAINING_LOOKS, Observer, for_evaluation, for_training
from shadowsim.history.simulate import Record, over_s, simulate
from shadowsim.journal import Journal
from shadowsim.model.telemetry import METRICS, Telemetry
from shadowsim.model.truth import (
    DEGRADATION,
    DEGRADATION_S,
    MODES,
    OUTAGE,
    OUTAGE_S,
    SLACK_S,
    VULNERABILITY,
    Spell,
    failure_modes,
    onsets,
)
from shadowsim.network import NETWORKS
from shadowsim.network.simulated import SimulatedNetwork
from shadowsim.precog import Evidence, Forecast, WhatIf, variant
from shadowsim.precog.forecast import NO_PAST
from shadowsim.precog.past import Past
from shadowsim.scenario import Scenario, parse
from shadowsim.workflow import Run, run_workflow

Array = np.ndarray

# -- what a failure is, less what came anyway ---------------------------------------------------

NAMES = ("a", "b")
STEP_S = 0.5


def spells_of(rows: list[tuple[frozenset[str], frozenset[str], frozenset[str]]]) -> list[Spell]:
    return [Spell(i * STEP_S, (i + 1) * STEP_S, *row) for i, row in enumerate(rows)]


def slow_onsets(spells: list[Spell], less: list[Spell]) -> dict[str, float]:
    """The same, step by step over a grid of time on which every spell is one step."""

    def first(of: str, lasting_s: float) -> float | None:
        found = []
        for name in NAMES:
            run = 0
            for i, spell in enumerate(spells):
                near = [
                    other
                    for other in less
                    if other.from_s < spell.to_s + SLACK_S and other.to_s > spell.from_s - SLACK_S
                ]
                counts = name in getattr(spell, of)
                counts &= not any(name in getattr(other, of) for other in near)
                run = run + 1 if counts else 0
                if run and run * STEP_S >= lasting_s:
                    found.append((i + 1 - run) * STEP_S)
        return min(found, default=None)

    found = {OUTAGE: first("unreachable", OUTAGE_S), VULNERABILITY: first("exposed", 0.0)}
    found[DEGRADATION] = None if found[OUTAGE] is not None else first("slow", DEGRADATION_S)
    return {mode: at_s for mode, at_s in found.items() if at_s is not None}


things = st.frozensets(st.sampled_from(NAMES))
# Mostly broken, so that stretches are often long enough to be a failure.
often = st.one_of(things, st.just(frozenset(NAMES)), st.just(frozenset(NAMES)))
rare = st.one_of(st.just(frozenset()), st.just(frozenset()), st.just(frozenset()), things)
many = st.lists(st.tuples(often, rare, often), min_size=1, max_size=40)
few = st.lists(st.tuples(rare, rare, rare), max_size=40)


@given(many, few)
def test_onsets_are_those_of_a_walk_over_time(broken: Any, anyway: Any) -> None:
    spells, less = spells_of(broken), spells_of(anyway)
    assert onsets(spells, less) == slow_onsets(spells, less)
    assert onsets(spells, spells) == {}
    assert tuple(onsets(spells)) == failure_modes(spells)


def test_what_lasts_longer_with_the_change_counts_from_when_it_would_have_ended() -> None:
    broken = [Spell(0, 10), Spell(10, 60, unreachable=frozenset({"x"}))]
    anyway = [Spell(0, 10), Spell(10, 20, unreachable=frozenset({"x"})), Spell(20, 60)]
    assert onsets(broken, anyway) == {OUTAGE: 20 + SLACK_S}


def test_another_thing_that_fails_anyway_excuses_nothing() -> None:
    broken = [Spell(10, 60, slow=frozenset({"x"}))]
    assert onsets(broken, [Spell(10, 60, slow=frozenset({"y"}))]) == {DEGRADATION: 10}


# -- changes whose truth is plain ---------------------------------------------------------------

# A ring; T is reached through B alone, and so are guests kept from T.
RING = """
name: ring
seed: 6
topology:
  nodes: {{A: {{hosts: [guest, a]}}, B: {{}}, C: {{}}, D: {{}}, T: {{hosts: [db]}}}}
  links: [[A, B], [B, C], [C, D], [A, D], [B, T]]
  defaults: {{rate_mbps: 20}}
configs:
  T: |
    ip access-list extended GUARD
     10 deny ip host guest host db
     20 permit ip any any
    interface to-db
     ip access-group GUARD out
traffic:
  demands:
    - {{from: a, to: h-B, rate_mbps: 6, class: critical, protocol: udp, port: 5004}}
    - {{from: h-D, to: h-C, rate_mbps: 6, protocol: udp, port: 443}}
    - {{from: h-B, to: db, rate_mbps: 2}}
intents:
  - {{isolated: {{from: guest, to: db}}}}
  - {{reachable: {{from: h-B, to: any}}}}
  - {{utilisation: {{below_percent: 90}}}}
workflow: {{baseline_s: 8, shadow_s: 10, monitor_s: 40, soak_s: 3}}
change: {{script: "{script}"}}
faults: [{faults}]
"""
HARMLESS = "device A\\ninterface to-B\\n description to Bea"
CUTTING = "device B\\ninterface to-T\\n shutdown"
OPENING = "device T\\nip access-list extended GUARD\\n no 10"
DRAIN = "device A\\ninterface to-B\\n ip ospf cost 5000"  # then a goes by D and C, as h-D does
SURGE = "{at_s: 40, traffic_surge: {from: h-D, to: h-C, factor: 2.6}}"
CUT = "{at_s: 40, link_down: {link: [B, T]}}"
WAY_BACK = "{at_s: 40, link_down: {link: [A, B]}}"


def ring(script: str = HARMLESS, *faults: str, **given: Any) -> Scenario:
    scenario = parse(RING.format(script=script, faults=", ".join(faults)))
    return replace(scenario, workflow=replace(scenario.workflow, **given))


class Everything:
    """All numbers of the evidence, so that whatever differs in it differs here."""

    def of(self, evidence: Evidence) -> Array:
        parts = [_numbers(evidence.baseline), _numbers(evidence.observed)]
        parts += [_numbers(evidence.control)] if evidence.control else []
        configs = "".join(evidence.now[name].digest for name in sorted(evidence.now))
        counts = [*evidence.past.total, len(evidence.past.by_device), hash(configs) % 1000]
        return np.concatenate([*parts, np.array(counts, dtype=np.float64)])


def _numbers(telemetry: Telemetry) -> Array:
    found = [telemetry.series(of, metric).ravel() for of in METRICS for metric in METRICS[of]]
    return np.concatenate(found)


@cache
def observer() -> Observer:
    scenario = ring()
    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    names = ("threshold", "judge", "script")
    return Observer(whatif, Everything(), {name: variant(name, whatif) for name in names})


def happened(scenario: Scenario, *looks: float, past: Past = NO_PAST) -> Record:
    return simulate(scenario, past, observer(), looks)


def test_a_harmless_change_leaves_no_label() -> None:
    label = happened(ring()).label
    assert (label.came_at_s, label.anyway, label.sign, label.background) == ({}, (), False, ())


def test_a_link_that_is_shut_is_an_outage_at_once_and_can_be_seen_before() -> None:
    label = happened(ring(CUTTING)).label
    assert set(label.came_at_s) == {OUTAGE}
    assert 0.0 < label.came_at_s[OUTAGE] < 3.0
    assert label.sign


def test_an_opened_way_is_a_vulnerability() -> None:
    label = happened(ring(OPENING)).label
    assert set(label.came_at_s) == {VULNERABILITY}
    assert label.sign


def test_what_only_a_later_peak_brings_out_is_due_to_the_change_and_leaves_no_sign() -> None:
    record = happened(ring(DRAIN, SURGE))
    label = record.label
    assert set(label.came_at_s) == {DEGRADATION}
    assert not label.sign
    assert label.background == ("traffic_surge",)
    began_s = 40.0 - label.came_at_s[DEGRADATION]
    assert 18.0 < began_s < 25.0  # the change began after 18 s of trial, and some of installing


def test_what_fails_without_the_change_as_well_is_not_its_failure() -> None:
    label = happened(ring(HARMLESS, CUT)).label
    assert (label.came_at_s, label.anyway) == ({}, (OUTAGE,))
    assert label.background == ("link_down B-T",)


def test_a_fault_that_the_network_would_have_borne_without_the_change_is_no_excuse() -> None:
    """The way by A is cut; the change had shut the other one."""
    shut = "device C\\ninterface to-B\\n shutdown"
    label = happened(ring(shut, WAY_BACK)).label
    assert set(label.came_at_s) == {OUTAGE}
    assert label.anyway == ()


def test_an_own_failure_beside_one_of_the_background_still_counts() -> None:
    label = happened(ring(OPENING, CUT)).label
    assert set(label.came_at_s) == {VULNERABILITY}
    assert label.anyway == (OUTAGE,)


def test_a_fault_of_the_shadow_or_after_the_end_is_not_about() -> None:
    later = "{at_s: 500, link_down: {link: [B, T]}}"
    elsewhere = "{at_s: 30, link_down: {link: [B, C]}, in: shadow}"
    over = "{at_s: 2, link_delay: {link: [B, C], add_ms: 1}, for_s: 3}"
    assert happened(ring(HARMLESS, later, elsewhere, over)).label.background == ()


def test_what_only_the_shadow_shows_is_a_sign() -> None:
    """No state of the script would fail by the what-if model, and production does not."""
    label = happened(ring(HARMLESS, "{at_s: 15, link_down: {link: [B, T]}, in: shadow}")).label
    assert (label.came_at_s, label.sign) == ({}, True)


def test_what_was_not_installed_did_nothing() -> None:
    deaf = "{at_s: 1, controller_lost: {device: B}}"
    assert happened(ring(CUTTING, deaf)).label.came_at_s == {}


def test_the_rest_of_a_script_is_not_sent_after_a_device_that_does_not_take_its_part() -> None:
    deaf = "{at_s: 19, controller_lost: {device: C}}"
    script = f"{OPENING}\\ndevice C\\ninterface to-B\\n description x\\n{CUTTING}"
    assert set(happened(ring(script, deaf)).label.came_at_s) == {VULNERABILITY}


# -- what is looked at, and when ----------------------------------------------------------------


def test_looks_are_one_at_the_gate_and_then_as_asked() -> None:
    record = happened(ring(DRAIN), 2.5, 10.0, 10.0, 30.0, 900.0)
    assert [look.phase for look in record.looks] == ["shadow", *["production"] * 3]
    at_s = [look.since_s for look in record.looks]
    assert at_s[0] >= 10.0
    for asked_s, found_s in zip((2.5, 10.0, 30.0), at_s[1:], strict=True):
        assert asked_s <= found_s < asked_s + 1.5


def test_training_looks_are_spread_over_the_time() -> None:
    times = [for_training(60.0, seed) for seed in range(50)]
    assert all(len(found) == TRAINING_LOOKS and list(found) == sorted(found) for found in times)
    assert all(0.0 <= found[0] < 2.0 and 40.0 < found[-1] <= 60.0 for found in times)
    assert for_training(60.0, 1) == for_training(60.0, 1) != for_training(60.0, 2)
    assert for_evaluation(9.0, 1) == [2.0, 4.0, 6.0, 8.0]


def test_the_time_looked_over_is_that_which_is_simulated() -> None:
    record = happened(ring(DRAIN), *for_evaluation(200.0, 1))
    assert over_s(ring(DRAIN)) <= record.looks[-1].since_s + 2.0 <= over_s(ring(DRAIN)) + 8.0


def same(one: Record, other: Record, until_s: float = np.inf) -> bool:
    """Whether all looks until then are; a bool, since pytest explains bytes for hours in CI."""
    pairs = [
        [(k.phase, k.since_s, k.features.tobytes(), k.forecasts.tobytes()) for k in r.looks]
        for r in (one, other)
    ]
    return [k for k in pairs[0] if k[1] < until_s] == [k for k in pairs[1] if k[1] < until_s]


def test_the_gate_is_looked_at_with_what_a_run_of_the_workflow_has_there() -> None:
    scenario, seen = ring(DRAIN), []

    class Listening:
        name = "listening"

        def forecast(self, evidence: Evidence) -> Forecast:
            seen.append(evidence)
            return Forecast(dict.fromkeys(MODES, 0.9))

    run = Run(scenario, NETWORKS["simulated"], Listening(), observer().whatif, Journal())
    assert run_workflow(run).decision == "no-go"
    gate = happened(scenario).looks[0]
    assert gate.since_s == run.now - run.trial_since_s
    assert gate.features.tobytes() == Everything().of(seen[-1]).tobytes()


def test_production_does_not_depend_on_its_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    times = for_evaluation(40.0, 1)
    alone = happened(ring(DRAIN, SURGE), *times)
    monkeypatch.setattr(simulating, "_dismiss_shadow", lambda run: None)
    beside = happened(ring(DRAIN, SURGE), *times)
    assert same(alone, beside)
    assert alone.label == beside.label


def test_the_past_of_the_site_is_in_the_evidence() -> None:
    scenario = ring(DRAIN)
    past = Past().with_outcome(scenario.topology, scenario.change, True)
    gates = [happened(scenario, past=each).looks[0].features for each in (Past(), past)]
    assert np.flatnonzero(gates[0] != gates[1]).size == 3


# -- no look knows what is to come --------------------------------------------------------------

FUTURES = (
    (CUT,),
    (SURGE, "{at_s: 45, device_crash: {device: C}}"),
    ("{at_s: 40, telemetry_gap: {}}", "{at_s: 40, memory_leak: {device: B, percent_per_s: 9}}"),
    ('{at_s: 40, config_drift: {device: C, script: "interface to-D\\n shutdown"}}',),
    ("{at_s: 40, controller_lost: {}}", "{at_s: 41, link_loss: {link: [A, D], percent: 30}}"),
)


@pytest.mark.parametrize("faults", FUTURES, ids=lambda f: f[0].split()[2].rstrip(":"))
def test_what_strikes_after_a_look_changes_no_bit_of_it(faults: tuple[str, ...]) -> None:
    times = for_evaluation(40.0, 1)
    calm, struck = happened(ring(DRAIN), *times), happened(ring(DRAIN, *faults), *times)
    before_s = 40.0 - (calm.looks[0].since_s + 8.0) - 4.0
    assert sum(look.since_s < before_s for look in calm.looks[1:]) >= 5
    assert same(calm, struck, before_s)
    assert not same(calm, struck)


def test_a_profile_that_differs_after_a_look_changes_no_bit_of_it() -> None:
    calm = ring(DRAIN)
    steps = replace(calm.traffic, profile=replace(calm.traffic.profile, steps=((40.0, 1.8),)))
    times = for_evaluation(40.0, 1)
    one, other = happened(calm, *times), happened(replace(calm, traffic=steps), *times)
    assert one.label != other.label
    assert same(one, other, 14.0)


def test_looks_do_not_ask_for_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    times = for_evaluation(40.0, 1)
    knowing = happened(ring(CUTTING), *times)
    monkeypatch.setattr(SimulatedNetwork, "spells", lambda self: ())
    blind = happened(ring(CUTTING), *times)
    assert same(knowing, blind)
    assert knowing.label.failed and not blind.label.failed
