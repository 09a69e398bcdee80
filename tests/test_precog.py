"""PreCog: hand-made evidence where the answer is plain, and that it sees what an operator sees."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shadowsim
from shadowsim.errors import BadInput
from shadowsim.journal import Journal
from shadowsim.model.change import Change, Command, apply, parse_script
from shadowsim.model.telemetry import Layout, Sample, Telemetry
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE, VULNERABILITY
from shadowsim.network import NETWORKS
from shadowsim.network.simulated import SimulatedNetwork
from shadowsim.precog import VARIANTS, Evidence, Forecast, Reason, WhatIf, variant
from shadowsim.precog.forecast import forecast_of
from shadowsim.precog.hybrid import Hybrid
from shadowsim.scenario import PRECOGS, Scenario, parse
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
    - {from: web, to: h-B, rate_mbps: 6, class: critical, protocol: udp, port: 5004}
    - {from: h-C, to: h-B, rate_mbps: 6, protocol: udp, port: 443}
    - {from: web, to: db, rate_mbps: 1}
intents:
  - {isolated: {from: guest, to: db}}
  - {reachable: {from: any, to: any, protocol: tcp, port: 443}}
  - {latency: {class: critical, below_ms: 40}}
  - {utilisation: {below_percent: 90}}
change: {script: ""}
"""
SCENARIO = parse(PLACE)
TOPOLOGY, DEMANDS = SCENARIO.topology, SCENARIO.traffic.demands
LAYOUT = Layout(
    tuple(d.name for d in TOPOLOGY.devices),
    tuple(TOPOLOGY.link_name(n) for n in range(TOPOLOGY.directed_links)),
    tuple(d.name for d in DEMANDS),
)
CALM = {"cpu": 0.1, "memory": 0.3, "table": 0.01, "utilisation": 0.5, "up": 1.0}
SERVED = {"offered_bps": 6e6, "throughput_bps": 6e6, "latency_s": 0.02, "loss": 0.0}


def telemetry(n: int, start_s: float = 0.0, **columns: Any) -> Telemetry:
    """`n` samples; a column is a number, `[n]` for every row, or `[n, rows]`."""

    def row(subject: int, names: tuple[str, ...], metrics: tuple[str, ...], i: int) -> Array:
        found = np.zeros((len(names), len(metrics)))
        for j, metric in enumerate(metrics):
            value = np.asarray(columns.get(metric, {**CALM, **SERVED}.get(metric, 0.0)))
            found[:, j] = value if value.ndim == 0 else value[i]
        return found

    return Telemetry(LAYOUT, [
        Sample(
            start_s + i + 1.0,
            row(0, LAYOUT.devices, ("cpu", "memory", "table"), i),
            row(1, LAYOUT.links, ("load_bps", "drop_bps", "utilisation", "up"), i),
            row(2, LAYOUT.demands, tuple(SERVED), i),
        )
        for i in range(n)
    ])  # fmt: skip


NOTHING = telemetry(0)


def evidence(script: str = "", **given: Any) -> Evidence:
    change = Change("", parse_script(script))
    filled: dict[str, Any] = {
        "phase": "shadow",
        "topology": TOPOLOGY,
        "demands": DEMANDS,
        "intents": SCENARIO.intents,
        "change": change,
        "before": SCENARIO.configs,
        "now": apply(SCENARIO.configs, change.commands),
        "baseline": telemetry(10),
        "observed": telemetry(30, 10.0),
        "control": None,
        "horizon_s": 15.0,
        "soak_s": 3.0,
    }
    return Evidence(**{**filled, **given})


@cache
def whatif() -> WhatIf:
    return WhatIf(TOPOLOGY, DEMANDS, SCENARIO.intents)


def forecast(name: str, seen: Evidence) -> Forecast:
    return variant(name, whatif()).forecast(seen)


POLICIES = ("rl", "hybrid-rl")  # what these would do at a place they do not know is not promised


def silent(found: Forecast) -> bool:
    return found.reasons == () and set(found.probabilities.values()) == {0.0}


def says_nothing(name: str, found: Forecast) -> bool:
    """Whether a forecast without data expects nothing; those that compare say they do not know."""
    if name in ("supervised", *POLICIES):
        return abstains(found)
    unknown = (DEGRADATION, OUTAGE) if name in ("judge", "canary") else ()
    return found.reasons == () and found.worst == 0.0 and found.unknown == unknown


def abstains(found: Forecast) -> bool:
    """Whether a forecast has no number at all, and says why."""
    return found.unknown == MODES == tuple(r.mode for r in found.reasons) and found.worst == 0.0


def column(demand: int, values: Any, n: int, rest: float) -> Array:
    """`[n, demands]`: these values for one demand, `rest` for the others."""
    found = np.full((n, len(DEMANDS)), rest)
    found[:, demand] = values
    return found


# -- names -------------------------------------------------------------------------------------


def test_the_names_are_those_of_the_scenario_language() -> None:
    assert tuple(VARIANTS) == PRECOGS
    assert all(variant(name, whatif()).name == name for name in VARIANTS)


def test_an_unknown_name_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(BadInput, match="did you mean 'judge'"):
        variant("juge", whatif())


@pytest.mark.parametrize("name", PRECOGS)
def test_calm_evidence_gives_a_silent_forecast(name: str) -> None:
    """What was learned is asked about a place unlike any that it was learned at."""
    said = forecast(name, evidence())
    assert abstains(said) if name == "supervised" else silent(said) or name in POLICIES


@pytest.mark.parametrize("name", PRECOGS)
def test_no_telemetry_is_survived(name: str) -> None:
    seen = evidence(baseline=NOTHING, observed=NOTHING, control=NOTHING)
    assert says_nothing(name, forecast(name, seen))
    seen = replace(seen, phase="production", control=None)
    assert says_nothing(name, forecast(name, seen))


@pytest.mark.parametrize("name", PRECOGS)
def test_dark_telemetry_is_survived(name: str) -> None:
    dark = dict.fromkeys((*CALM, *SERVED, "load_bps", "drop_bps"), np.nan)
    seen = evidence(observed=telemetry(30, **dark), baseline=telemetry(10, **dark))
    assert says_nothing(name, forecast(name, seen))
    assert says_nothing(name, forecast(name, replace(seen, phase="production")))


@pytest.mark.parametrize("name", PRECOGS)
def test_the_same_evidence_gives_the_same_forecast(name: str) -> None:
    seen = evidence(
        "device B\ninterface to-T\n shutdown\n", observed=telemetry(30, 10.0, latency_s=0.06)
    )
    assert forecast(name, seen) == forecast(name, seen)


# -- threshold ---------------------------------------------------------------------------------


def level(utilisation: Any, n: int = 15, **given: Any) -> Forecast:
    return forecast("threshold", evidence(observed=telemetry(n, utilisation=utilisation), **given))


def test_a_level_beyond_its_limit_is_a_degradation() -> None:
    found = level(1.2)
    assert found.mode == DEGRADATION
    assert found.worst > 0.9
    assert "utilisation" in found.reasons[0].text


def test_a_level_well_below_its_limit_is_nothing() -> None:
    assert silent(level(0.6))


def test_a_trend_predicts_the_breach_before_it_comes() -> None:
    rising = np.linspace(0.45, 0.72, 15)
    assert rising.max() < 0.9
    assert level(rising).probabilities[DEGRADATION] > 0.5
    assert level(rising, horizon_s=1.0).worst < 0.2


def test_a_falling_trend_predicts_nothing() -> None:
    assert silent(level(np.linspace(0.72, 0.45, 15)))


def test_noise_alone_predicts_nothing() -> None:
    random = np.random.default_rng(1)
    alarms = sum(level(0.55 * np.exp(random.normal(0, 0.05, 15))).worst >= 0.35 for _ in range(200))
    assert alarms <= 1


def test_one_sample_beyond_the_limit_is_no_level() -> None:
    spike = np.full(15, 0.5)
    spike[-1] = 2.0
    assert level(spike).worst < 0.35


def test_fewer_samples_than_a_level_needs_are_no_data() -> None:
    assert silent(level(1.5, n=2))
    assert level(1.5, n=3).worst > 0.9


def test_a_critical_demand_that_starves_is_an_outage() -> None:
    starved = telemetry(10, loss=column(0, 0.8, 10, 0.0))
    found = forecast("threshold", evidence(observed=starved))
    assert found.mode == OUTAGE
    assert found.worst > 0.9


def test_another_demand_that_starves_is_none() -> None:
    starved = telemetry(10, loss=column(1, 0.8, 10, 0.0))
    assert forecast("threshold", evidence(observed=starved)).probabilities[OUTAGE] == 0.0


def test_memory_that_runs_out_is_an_outage_to_come() -> None:
    leaking = telemetry(15, memory=np.linspace(0.5, 0.8, 15))
    found = forecast("threshold", evidence(observed=leaking))
    assert found.probabilities[OUTAGE] > 0.5
    assert found.probabilities[DEGRADATION] == 0.0


# -- judge -------------------------------------------------------------------------------------


def latencies(random: np.random.Generator, n: int, spread: float = 0.4) -> Array:
    return 0.02 * np.exp(random.normal(0.0, spread, (n, len(DEMANDS))))


def judged(before: Array, after: Array, metric: str = "latency_s", **given: Any) -> Forecast:
    return forecast("judge", evidence(
        baseline=telemetry(len(before), **{metric: before}),
        observed=telemetry(len(after), float(len(before)), **{metric: after}),
        **given,
    ))  # fmt: skip


def test_identical_distributions_are_hardly_ever_told_apart() -> None:
    random = np.random.default_rng(7)
    material = 0
    alarms = 0
    for _ in range(200):
        before, after = latencies(random, 10), latencies(random, 30)
        effect = np.median(after, axis=0) - np.median(before, axis=0)
        material += bool((effect > 0.003).any())
        alarms += not silent(judged(before, after))
    assert material > 40  # the medians alone would have cried wolf that often
    assert alarms <= 6  # held to 1 %: more than 6 of 200 has a chance below 1 in 200


def test_a_clear_shift_is_found_and_its_demand_named() -> None:
    random = np.random.default_rng(8)
    for worse in range(len(DEMANDS)):
        before, after = latencies(random, 10, 0.05), latencies(random, 30, 0.05)
        after[:, worse] += 0.03
        found = judged(before, after)
        assert found.probabilities[DEGRADATION] > 0.0
        assert [r.text.startswith(DEMANDS[worse].name) for r in found.reasons] == [True]
        assert "more" not in found.reasons[0].text


def test_a_shift_beyond_the_limit_is_likelier_than_one_within() -> None:
    random = np.random.default_rng(9)
    before = latencies(random, 10, 0.05)
    within, beyond = (before[:1].repeat(30, 0) + extra for extra in (0.01, 0.03))
    low, high = judged(before, within).worst, judged(before, beyond).worst
    assert 0.0 < low < 0.5 < high


def test_an_improvement_is_no_reason() -> None:
    random = np.random.default_rng(10)
    assert silent(judged(latencies(random, 10, 0.05) + 0.03, latencies(random, 30, 0.05)))


def test_a_shift_that_production_shows_too_is_not_blamed() -> None:
    random = np.random.default_rng(11)
    before, after = latencies(random, 10, 0.05), latencies(random, 30, 0.05) + 0.03
    too = np.vstack((latencies(random, 10, 0.05), latencies(random, 30, 0.05) + 0.03))
    alone = np.vstack((latencies(random, 10, 0.05), latencies(random, 30, 0.05)))
    assert silent(judged(before, after, control=telemetry(40, latency_s=too)))
    assert not silent(judged(before, after, control=telemetry(40, latency_s=alone)))


def test_a_late_shift_that_production_shows_too_is_not_blamed() -> None:
    random = np.random.default_rng(12)
    late = np.concatenate((np.zeros(60), np.full(30, 0.03)))[:, None]
    before, after = latencies(random, 10, 0.05), latencies(random, 90, 0.05) + late
    too = np.vstack((latencies(random, 10, 0.05), latencies(random, 90, 0.05) + late))
    assert silent(judged(before, after, control=telemetry(100, latency_s=too)))


def test_a_few_errors_after_none_are_no_loss() -> None:
    after = np.zeros((30, len(DEMANDS)))
    after[[3, 11, 19]] = 0.2
    assert silent(judged(np.zeros((10, len(DEMANDS))), after, "loss"))


def test_steady_errors_after_none_are_loss() -> None:
    found = judged(np.zeros((10, len(DEMANDS))), column(1, 0.06, 30, 0.0), "loss")
    assert found.mode == DEGRADATION
    assert found.reasons[0].text.startswith(DEMANDS[1].name)


def test_a_critical_demand_that_is_lost_is_an_outage() -> None:
    none = np.zeros((10, len(DEMANDS)))
    assert judged(none, column(0, 1.0, 30, 0.0), "loss").mode == OUTAGE
    assert judged(none, column(0, 0.3, 30, 0.0), "loss").mode == DEGRADATION
    assert judged(none, column(1, 0.8, 30, 0.0), "loss").mode == DEGRADATION


def test_too_few_samples_are_not_judged() -> None:
    random = np.random.default_rng(13)
    before, after = latencies(random, 10, 0.05), latencies(random, 30, 0.05) + 0.05
    assert says_nothing("judge", judged(before[:4], after))
    assert says_nothing("judge", judged(before, after[:4]))
    assert not silent(judged(before, after))


def test_a_demand_that_reports_nothing_does_not_hide_another() -> None:
    random = np.random.default_rng(14)
    before, after = latencies(random, 10, 0.05), latencies(random, 30, 0.05)
    after[:, 1] += 0.05
    before[:, 0] = after[:, 0] = np.nan
    found = judged(before, after)
    assert [r.text.startswith(DEMANDS[1].name) for r in found.reasons] == [True]


def test_one_missing_sample_does_not_hide_a_clear_shift() -> None:
    random = np.random.default_rng(15)
    before, after = latencies(random, 10, 0.05), latencies(random, 30, 0.05)
    after[:, 1] += 0.05
    after[7, 1] = np.nan
    assert not silent(judged(before, after))


# -- script ------------------------------------------------------------------------------------


def read(script: str, **given: Any) -> Forecast:
    rates = np.array([d.rate_bps for d in DEMANDS])
    offered = np.broadcast_to(rates, (30, len(rates)))
    return forecast(
        "script", evidence(script, observed=telemetry(30, offered_bps=offered), **given)
    )


def test_shutting_the_only_path_is_an_outage() -> None:
    found = read("device B\ninterface to-T\n shutdown\n")
    assert found.mode == OUTAGE
    assert found.worst > 0.9
    assert found.blamed == (Command("B", "interface to-T", "shutdown"),)


def test_shutting_one_of_two_paths_is_none() -> None:
    found = read("device A\ninterface to-C\n shutdown\n")
    assert found.probabilities[OUTAGE] == 0.0
    assert found.probabilities[VULNERABILITY] == 0.0


def test_a_cost_that_overloads_is_a_degradation() -> None:
    found = read("device A\ninterface to-B\n ip ospf cost 5000\n")
    assert found.mode == DEGRADATION
    assert found.worst > 0.9
    assert found.blamed == (Command("A", "interface to-B", "ip ospf cost 5000"),)


def test_the_same_cost_in_a_quiet_hour_is_nothing() -> None:
    quiet = telemetry(30, offered_bps=1e6)
    script = "device A\ninterface to-B\n ip ospf cost 5000\n"
    assert silent(forecast("script", evidence(script, observed=quiet)))
    assert not silent(forecast("script", evidence(script, observed=quiet, control=telemetry(40))))


def test_an_access_list_that_opens_is_a_vulnerability() -> None:
    found = read("device T\nip access-list extended GUARD\n no 10\n")
    assert found.mode == VULNERABILITY
    assert found.worst > 0.9
    assert found.blamed == (Command("T", "ip access-list extended GUARD", "no 10"),)


def test_management_that_is_opened_is_a_vulnerability() -> None:
    found = read("device C\nno management ssh\nmanagement telnet\n")
    assert found.mode == VULNERABILITY
    assert found.blamed == (Command("C", "", "management telnet"),)


def test_deleting_before_replacing_opens_for_a_moment() -> None:
    script = """
        device T
        no ip access-list extended GUARD
        ip access-list extended GUARD
         10 deny tcp any host 10.0.3.2 eq 23
         20 deny ip host 10.0.0.2 host 10.0.3.2
         30 permit ip any any
    """
    found = read(script)
    assert found.mode == VULNERABILITY
    assert found.blamed == (Command("T", "", "no ip access-list extended GUARD"),)
    assert "for a moment" in found.reasons[0].text
    merged = "device T\nip access-list extended GUARD\n 5 deny tcp any host 10.0.3.2 eq 23\n"
    assert read(merged).probabilities[VULNERABILITY] == 0.0


def test_an_outage_on_the_way_counts_if_it_lasts() -> None:
    moment = "device B\ninterface to-T\n shutdown\n no shutdown\n"
    lasting = moment.replace(
        " no shutdown", "device A\n table-size 9\ndevice B\ninterface to-T\n no shutdown"
    )
    brief = read(moment).probabilities[OUTAGE]
    assert 0.0 < brief < 0.35
    assert read(lasting, soak_s=1.0).probabilities[OUTAGE] == brief
    assert read(lasting, soak_s=3.0).probabilities[OUTAGE] > 0.9


@pytest.mark.parametrize("script", [
    "device B\ninterface to-T\n description to Tom\n",
    "device B\ninterface to-T\n ip ospf cost 99\n",
    "device C\ntable-size 9000\nmanagement ssh access-class MGMT\n",
    "",
])  # fmt: skip
def test_harmless_scripts_are_harmless(script: str) -> None:
    assert silent(read(script))


def test_only_the_command_that_does_it_is_blamed() -> None:
    found = read("""
        device A
        interface to-B
         description first
        device B
        table-size 9000
        interface to-T
         rate-limit output 9000000
         shutdown
         description last
    """)
    assert found.blamed == (Command("B", "interface to-T", "shutdown"),)


def test_a_limit_that_could_not_be_read_before_the_change_is_no_crash() -> None:
    unserved = apply(SCENARIO.configs, parse_script("device A\ninterface to-web\n shutdown\n"))
    found = read(
        "device A\ninterface to-web\n no shutdown\ndevice B\ninterface to-T\n description x\n",
        before=unserved,
        intents=SCENARIO.intents,
    )
    assert set(found.probabilities) == set(MODES)
    tight = parse(PLACE.replace("below_ms: 40", "below_ms: 2"))
    judge = VARIANTS["script"](WhatIf(tight.topology, DEMANDS, tight.intents))
    seen = evidence("device A\ninterface to-web\n no shutdown\n", before=unserved)
    assert judge.forecast(seen).probabilities[DEGRADATION] > 0.5


def test_in_production_the_traffic_of_the_horizon_counts() -> None:
    rates = np.array([d.rate_bps for d in DEMANDS])
    growth = np.linspace(1.0, 1.3, 20)[:, None]
    for factor, alarm in ((np.ones((20, 1)), False), (growth, True), (growth[::-1], False)):
        seen = telemetry(20, offered_bps=rates * factor)
        found = forecast("script", evidence(phase="production", observed=seen))
        assert (found.probabilities[DEGRADATION] > 0.5) is alarm


def test_in_production_a_link_without_signal_counts() -> None:
    up = np.ones((20, len(LAYOUT.links)))
    up[:, [LAYOUT.links.index("B>T"), LAYOUT.links.index("T>B")]] = 0.0
    found = forecast("script", evidence(phase="production", observed=telemetry(20, up=up)))
    assert found.probabilities[OUTAGE] > 0.9


# -- hybrid ------------------------------------------------------------------------------------


def samples_of_evidence() -> Iterator[Evidence]:
    yield evidence()
    yield evidence("device B\ninterface to-T\n shutdown\n")
    yield evidence("device T\nip access-list extended GUARD\n no 10\n")
    yield evidence(observed=telemetry(30, 10.0, latency_s=0.06))
    yield evidence(observed=telemetry(30, 10.0, utilisation=0.95, loss=0.1))
    yield evidence(phase="production", observed=telemetry(30, 10.0, loss=0.9))
    yield evidence(
        "device A\ninterface to-B\n ip ospf cost 5000\n", observed=telemetry(30, latency_s=0.05)
    )


def test_hybrid_is_the_surest_of_its_parts() -> None:
    loud = 0
    for seen in samples_of_evidence():
        parts = [forecast(name, seen) for name in ("threshold", "judge", "script")]
        found = forecast("hybrid", seen)
        surest = {m: max(_surest(p, m) for p in parts) for m in MODES}
        for mode in (OUTAGE, VULNERABILITY):
            assert found.probabilities[mode] == surest[mode]
        without = 1.0 - found.probabilities[OUTAGE]  # a degradation is one without an outage
        assert found.probabilities[DEGRADATION] == pytest.approx(surest[DEGRADATION] * without)
        assert found.worst == max(p.worst for p in parts) == max(surest.values())
        assert sorted(r.text for r in found.reasons) == sorted(
            r.text for p in parts for r in p.reasons
        )
        strengths = [r.probability for r in found.reasons]
        assert strengths == sorted(strengths, reverse=True)
        loud += bool(found.reasons)
    assert loud >= 5


def test_hybrid_does_not_know_what_none_of_its_parts_knows() -> None:
    blind, sure = (Fixed(forecast_of((), unknown)) for unknown in ((OUTAGE, DEGRADATION), ()))
    half = Fixed(forecast_of((Reason("half", OUTAGE, 0.2, "perhaps"),), (OUTAGE,)))
    assert Hybrid((blind, sure)).forecast(evidence()).unknown == ()
    assert Hybrid((blind, half)).forecast(evidence()).unknown == (OUTAGE,)
    assert Hybrid((blind, half)).forecast(evidence()).worst == 0.2
    assert Hybrid((blind, blind)).forecast(evidence()).unknown == (DEGRADATION, OUTAGE)


def test_the_likeliest_mode_is_one_that_is_known() -> None:
    found = Forecast({DEGRADATION: math.nan, OUTAGE: 0.2, VULNERABILITY: 0.1})
    assert (found.mode, found.worst, found.unknown) == (OUTAGE, 0.2, (DEGRADATION,))
    assert (found.of(OUTAGE), found.of(DEGRADATION), found.of("any")) == (0.2, 0.2, 0.2)


@dataclass(frozen=True)
class Fixed:
    """A variant that always says the same."""

    said: Forecast
    name: str = "fixed"

    def forecast(self, evidence: Evidence) -> Forecast:
        return self.said


def _surest(found: Forecast, mode: str) -> float:
    return max((r.probability for r in found.reasons if r.mode == mode), default=0.0)


@pytest.mark.parametrize("name", [name for name in PRECOGS if name != "supervised"])
def test_probabilities_are_probabilities(name: str) -> None:
    for seen in samples_of_evidence():
        found = forecast(name, seen)
        assert tuple(found.probabilities) == MODES
        assert all(0.0 <= p <= 1.0 for p in found.probabilities.values())
        assert all(r.variant != "" and r.mode in MODES and r.text for r in found.reasons)
        assert 1.0 >= found.worst >= max(found.probabilities.values())
        assert found.probabilities[found.mode] == max(found.probabilities.values())


# -- nothing leaks -----------------------------------------------------------------------------

DRAIN = PLACE.replace("rate_mbps: 6", "rate_mbps: 3").replace(
    'change: {script: ""}',
    'change: {script: "device A\\ninterface to-B\\n ip ospf cost 5000\\n"}\n',
)
FUTURES = (
    "[]",
    "[{at_s: 75, link_down: {link: [B, T]}}]",
    "[{at_s: 75, traffic_surge: {factor: 3}}, {at_s: 80, device_crash: {device: C}}]",
    "[{at_s: 75, telemetry_gap: {}}, {at_s: 75, memory_leak: {device: B, percent_per_s: 9}}]",
    '[{at_s: 75, config_drift: {device: C, script: "interface to-A\\n shutdown\\n"}}]',
    "[{at_s: 75, controller_lost: {}}, {at_s: 75, link_loss: {link: [A, C], percent: 30}}]",
)


def workflow_of(scenario: Scenario) -> Run:
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant(scenario.workflow.precog, model)
    return run_workflow(Run(scenario, NETWORKS["simulated"], precog, model, Journal()))


@pytest.fixture(scope="session")
def futures() -> list[Run]:
    return [workflow_of(parse(f"{DRAIN}faults: {faults}\n")) for faults in FUTURES]


def test_what_is_to_come_changes_no_forecast_made_before(futures: list[Run]) -> None:
    calm = [f for f in futures[0].forecasts if f[0] < 75.0]
    assert {where for _, where, _ in calm} == {"shadow", "production"}
    assert len(calm) > 25
    for run in futures[1:]:
        assert [f for f in run.forecasts if f[0] < 75.0] == calm
        assert [e.line() for e in run.journal.events if e.at_s < 75.0] == [
            e.line() for e in futures[0].journal.events if e.at_s < 75.0
        ]


def test_what_has_come_does_change_forecasts(futures: list[Run]) -> None:
    later = [[f for f in run.forecasts if f[0] >= 75.0] for run in futures]
    assert later[1] != later[0] != later[2]


LEADS: dict[str, tuple[str, str, str]] = {
    "go": ("table-size 9000", "go", "confirmed"),
    "no-go": ("interface to-C\\n shutdown\\n ip ospf cost 5\\n interface to-B\\n shutdown",
              "no-go", "refused"),
    "back": ("interface to-B\\n ip ospf cost 5000", "go", "rolled_back"),
}  # fmt: skip


@pytest.mark.parametrize("lead", LEADS)
def test_no_decision_needs_the_truth(lead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, decision, end_state = LEADS[lead]
    text = DRAIN.replace("interface to-B\\n ip ospf cost 5000", script)
    surge = "faults: [{at_s: 75, traffic_surge: {from: h-C, to: h-B, factor: 2}}]\n"
    knowing = workflow_of(parse(text + surge))
    assert (knowing.decision, knowing.end_state) == (decision, end_state)

    def never(self: object) -> None:
        raise AssertionError("somebody who decides looked at the truth")

    monkeypatch.setattr(SimulatedNetwork, "spells", never)
    blind = workflow_of(parse(text + surge))
    assert (blind.decision, blind.end_state) == (decision, end_state)
    assert blind.journal.text() == knowing.journal.text()


PACKAGE = Path(shadowsim.__file__).parent
DECIDERS = sorted(
    path
    for room in ("precog", "rollback", "workflow", "mirror")
    for path in (PACKAGE / room).rglob("*.py")
)
FORBIDDEN = (
    "shadowsim.network.simulated",
    "shadowsim.model.faults",
    "shadowsim.model.truth.Spell",
    "shadowsim.model.truth.failure_modes",
    "shadowsim.model.truth.breach_s",
    "shadowsim.model.truth.longest",
    "shadowsim.record",
)
SECRETS = {"spells", "faults", "_damage", "_active", "_crowd", "_installed", "_spells", "expect"}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def told(source: str) -> list[str]:
    """What a module imports or names that it must not know of."""
    tree = ast.parse(source)
    found = [
        name for name in imported(tree) if any(f"{name}.".startswith(f"{f}.") for f in FORBIDDEN)
    ]
    found += [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in SECRETS]
    return found


@pytest.mark.parametrize("path", DECIDERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_those_who_decide_know_neither_simulator_nor_faults_nor_labels(path: Path) -> None:
    assert told(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("leak", [
    "from shadowsim.network.simulated import SimulatedNetwork",
    "import shadowsim.network.simulated.network",
    "from shadowsim.model.truth import OUTAGE, Spell",
    "from shadowsim.model import faults",
    "network.spells()",
    "run.scenario.faults",
])  # fmt: skip
def test_a_leak_would_be_noticed(leak: str) -> None:
    assert told(leak) != []


def test_precog_and_rollback_do_not_know_the_scenario() -> None:
    for path in DECIDERS:
        if path.relative_to(PACKAGE).parts[0] in ("precog", "rollback"):
            names = list(imported(ast.parse(path.read_text(encoding="utf-8"))))
            assert not [
                n for n in names if n.startswith(("shadowsim.scenario", "shadowsim.workflow"))
            ]


def test_evidence_holds_what_an_operator_has() -> None:
    assert {field.name for field in fields(Evidence)} == {
        "phase", "topology", "demands", "intents", "change", "before", "now", "baseline",
        "observed", "control", "horizon_s", "soak_s", "past", "since_s", "left",
    }  # fmt: skip
