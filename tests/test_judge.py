"""The judge on what canary judges are known to get wrong, beside a plain canary judge.

Where it is wrong too, a test says so. The cases are those of public reports on Kayenta's judge
(spinnaker/kayenta issues 426, 510, 700 and 780), in this network's metrics.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, mannwhitneyu

from shadowsim.journal import Journal
from shadowsim.model.telemetry import Sample, Telemetry, layout_of
from shadowsim.model.truth import DEGRADATION, OUTAGE, VULNERABILITY
from shadowsim.network import NETWORKS
from shadowsim.precog import Evidence, Forecast, WhatIf, variant
from shadowsim.precog.canary import classified_high
from shadowsim.precog.columns import Columns
from shadowsim.precog.ranks import (
    chance_of_exceeding,
    chance_of_shift,
    discoveries,
    pairs_above,
)
from shadowsim.record import document
from shadowsim.report.recorded import Event as Line
from shadowsim.scenario import Scenario, parse
from shadowsim.workflow import Run, run_workflow

Array = np.ndarray
MANY = 60  # demands where there are many


@cache
def scene(demands: int = 1, critical: int = 0) -> tuple[Scenario, WhatIf]:
    """A pair of devices and demands between them, of which the first are critical."""
    row = "    - {{from: h-A, to: h-B, rate_mbps: 0.1, port: {}, class: {}}}"
    classes = ["critical" if n < critical else "normal" for n in range(demands)]
    rows = "\n".join(row.format(5000 + n, name) for n, name in enumerate(classes))
    scenario = parse(f"""
name: pair
topology: {{nodes: {{A: {{}}, B: {{}}}}, links: [[A, B]]}}
traffic:
  demands:
{rows}
intents: [{{latency: {{below_ms: 40}}}}]
change: {{script: ""}}
""")
    return scenario, WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)


def telemetry(scenario: Scenario, metric: str, values: Any, start_s: float) -> Telemetry:
    """One sample a second: `values[n]` or `[n, demands]` of one metric, all else calm."""
    demands = scenario.traffic.demands
    found = Telemetry(layout_of(scenario.topology, demands))
    for n, value in enumerate(np.asarray(values, dtype=float)):
        demand = np.tile([1e5, 1e5, 0.02, 0.0], (len(demands), 1))
        demand[:, ["offered_bps", "throughput_bps", "latency_s", "loss"].index(metric)] = value
        if metric == "loss" and np.isnan(value).any():
            demand[np.isnan(demand[:, 3]), :] = np.nan
        device = np.full((2, 3), 0.1)
        link = np.ones((scenario.topology.directed_links, 4))
        found.samples.append(Sample(start_s + n + 1.0, device, link, demand))
    return found


def said(
    name: str,
    before: Any,
    after: Any,
    metric: str = "latency_s",
    *,
    beside: Any = None,
    demands: int = 1,
    critical: int = 0,
) -> Forecast:
    """What a variant says. `beside` is production from the start of the time before on."""
    scenario, whatif = scene(demands, critical)
    baseline = telemetry(scenario, metric, before, 0.0)
    control = None if beside is None else telemetry(scenario, metric, beside, 0.0)
    return variant(name, whatif).forecast(Evidence(
        phase="production" if control is None else "shadow",
        topology=scenario.topology,
        demands=scenario.traffic.demands,
        intents=scenario.intents,
        change=scenario.change,
        before=scenario.configs,
        now=scenario.configs,
        baseline=baseline,
        observed=telemetry(scenario, metric, after, float(len(baseline.samples))),
        control=control,
        horizon_s=15.0,
        soak_s=3.0,
    ))  # fmt: skip


def quiet(found: Forecast) -> bool:
    return found.reasons == () and set(found.probabilities.values()) == {0.0}


def unsure(found: Forecast) -> bool:
    """Whether it says that it does not know; exposures it never speaks of."""
    return found.unknown == (DEGRADATION, OUTAGE) and found.probabilities[VULNERABILITY] == 0.0


def noise(seed: int, *shape: int, spread: float = 0.02) -> Array:
    return np.exp(np.random.default_rng(seed).normal(0.0, spread, shape))


CALM = 0.02 * noise(1, 30)


# -- what a plain canary judge gets wrong ---------------------------------------------------------


def test_seven_of_ten_readings_at_a_hundred_times_the_baseline() -> None:
    """Issue 780: three readings that are as before pull the end of the interval down to nothing."""
    before, after = np.full(10, 0.001), np.array([0.1] * 7 + [0.001] * 3)
    assert quiet(said("canary", before, after))
    assert said("judge", before, after).probabilities[DEGRADATION] >= 0.35
    assert not quiet(said("canary", before, np.array([0.1] * 8 + [0.001] * 2)))


def test_the_same_in_one_of_many_demands() -> None:
    before, after = 0.001 * noise(2, 10, MANY), 0.001 * noise(3, 30, MANY)
    beside = 0.001 * noise(4, 40, MANY)
    after[np.random.default_rng(5).permutation(30)[:21], 7] = 0.1
    found = said("judge", before, after, beside=beside, demands=MANY)
    name = scene(MANY)[0].traffic.demands[7].name
    assert [r.text for r in found.reasons] == [f"{name}: latency 1.0 to 70.3 ms"]


def test_errors_in_half_of_the_readings_where_there_were_none() -> None:
    """Issue 426: most differences are nothing, so the interval holds nothing too."""
    none, some = np.zeros(30), np.tile([0.0, 0.1], 15)
    assert quiet(said("canary", none, some, "loss"))
    found = said("judge", none, some, "loss")
    assert found.mode == DEGRADATION
    assert "0.0% to" in found.reasons[0].text


def test_a_mean_of_nothing_divides_nothing() -> None:
    """Issue 510."""
    found = said("judge", np.zeros(10), np.full(10, 0.5), "loss")
    assert found.probabilities[DEGRADATION] > 0.5
    assert not quiet(said("canary", np.zeros(10), np.full(10, 0.5), "loss"))


def test_a_change_of_variance_only() -> None:
    """Issue 780: the middle is where it was; who sends voice hears the difference."""
    random = np.random.default_rng(6)
    after = 0.02 + random.permutation(np.linspace(-0.018, 0.018, 30))
    assert quiet(said("canary", CALM, after))
    found = said("judge", CALM, after)
    assert found.probabilities[DEGRADATION] > 0.0
    assert "more latency than any without the change" in found.reasons[0].text


@pytest.mark.parametrize(("n", "m"), [(0, 30), (30, 0), (0, 0), (1, 1), (2, 30), (4, 4), (5, 5)])
def test_too_little_data_is_no_pass(n: int, m: int) -> None:
    found = said("judge", CALM[:m], CALM[:n])
    assert unsure(found)
    # A canary judge needs one reading on each side, and passes on them.
    assert quiet(said("canary", CALM[:m], CALM[:n])) == bool(n and m)


def test_readings_that_are_missing_are_no_pass() -> None:
    """Issue 700: with missing values replaced, no data at all passes."""
    dark = np.full(30, np.nan)
    for before, after in ((CALM, dark), (dark, CALM), (dark, dark)):
        assert unsure(said("judge", before, after, "loss"))


def test_demands_that_report_no_more_are_no_pass() -> None:
    before, after = np.zeros((30, 10)), np.zeros((30, 10))
    after[:, :2] = np.nan
    assert quiet(said("judge", before, after, "loss", demands=10))
    after[:, :3] = np.nan
    assert unsure(said("judge", before, after, "loss", demands=10))
    # Half of the metrics may be missing until a canary judge notices.
    assert quiet(said("canary", before, after, "loss", demands=10))


@pytest.mark.parametrize("name", ["judge", "canary"])
def test_where_there_are_no_demands_none_can_get_worse(name: str) -> None:
    scenario = parse("""
name: still
topology: {nodes: {A: {}, B: {}}, links: [[A, B]]}
intents: [{reachable: {from: any, to: any}}]
change: {script: ""}
""")
    whatif = WhatIf(scenario.topology, (), scenario.intents)
    seen = [telemetry(scenario, "loss", np.zeros((30, 0)), start_s) for start_s in (0.0, 30.0)]
    found = variant(name, whatif).forecast(Evidence(
        "production", scenario.topology, (), scenario.intents, scenario.change, scenario.configs,
        scenario.configs, seen[0], seen[1], None, 15.0, 3.0,
    ))  # fmt: skip
    assert quiet(found)


def test_a_critical_demand_that_reports_no_more_is_no_pass() -> None:
    before, after = np.zeros((30, 10)), np.zeros((30, 10))
    after[:, 0] = np.nan
    assert quiet(said("judge", before, after, "loss", demands=10))
    assert unsure(said("judge", before, after, "loss", demands=10, critical=1))


def test_what_is_unknown_does_not_hide_what_is_seen() -> None:
    before, after = np.zeros((30, 10)), np.zeros((30, 10))
    after[:, :5], after[:, 9] = np.nan, 0.9
    found = said("judge", before, after, "loss", demands=10, critical=10)
    assert found.mode == OUTAGE
    assert found.worst > 0.9
    assert found.unknown == (DEGRADATION,)


def test_many_metrics_do_not_cry_wolf() -> None:
    """A canary judge's tolerance, a quarter of the estimate, makes it slow to cry, but no slower
    for more metrics.
    """
    alarms = dict.fromkeys(("judge", "canary"), 0)
    for seed in range(100):
        before, after, beside = (
            0.02 * noise(100 * seed + k, n, MANY, spread=0.4) for k, n in enumerate((10, 30, 40))
        )
        for name in alarms:
            found = said(name, before, after, beside=beside, demands=MANY)
            alarms[name] += not quiet(found)
    assert alarms["judge"] <= 1
    assert alarms["canary"] >= 2


def test_many_metrics_do_not_cry_wolf_where_nothing_runs_beside() -> None:
    alarms = 0
    for seed in range(100):
        before, after = (0.02 * noise(7000 + 2 * seed + k, 30, MANY, spread=0.6) for k in (0, 1))
        alarms += not quiet(said("judge", before, after, demands=MANY))
    assert alarms <= 2


def test_one_bad_demand_of_many_is_not_averaged_away() -> None:
    """A score is a mean: it passes at 95 with a demand of 60 that nobody can use."""
    before, after = 0.02 * noise(7, 30, MANY), 0.02 * noise(8, 30, MANY)
    after[:, 3] = 2.0
    assert said("canary", before, after, demands=MANY).worst < 0.35
    assert said("judge", before, after, demands=MANY).worst > 0.5


def test_a_shadow_that_is_always_slower_is_not_the_change() -> None:
    """An A/A comparison: it was slower by as much before the trial."""
    before, after, beside = 0.03 * noise(9, 10), 0.03 * noise(10, 30), 0.02 * noise(11, 40)
    assert quiet(said("judge", before, after, beside=beside))
    assert not quiet(said("canary", before, after, beside=beside))
    assert not quiet(said("judge", before, after + 0.02, beside=beside))


def test_a_shadow_that_wanders_by_itself_is_not_the_change() -> None:
    """What it wandered beside production between the halves of the baseline is the noise."""
    wander = np.concatenate((np.zeros(5), np.full(5, 0.01)))
    before, after = 0.02 * noise(12, 10) + wander, 0.02 * noise(13, 30) + 0.0215
    beside = 0.02 * noise(14, 40)
    assert quiet(said("judge", before, after, beside=beside))
    assert not quiet(said("judge", before - wander, after, beside=beside))


def test_production_that_drifts_is_not_the_change() -> None:
    drift = np.linspace(0.0, 0.03, 40)
    before, after = 0.02 * noise(15, 10) + drift[:10], 0.02 * noise(16, 30) + drift[10:]
    beside = 0.02 * noise(17, 40) + drift
    assert quiet(said("judge", before, after, beside=beside))
    still = 0.02 * noise(17, 40)
    assert not quiet(said("judge", before, after, beside=still))


def test_where_production_is_not_seen_the_time_before_is_compared_with() -> None:
    dark = np.full(40, np.nan)
    before, after = 0.02 * noise(18, 10), 0.05 * noise(19, 30)
    assert not quiet(said("judge", before, after, beside=dark))
    assert quiet(said("judge", before, 0.02 * noise(20, 30), beside=dark))


def test_a_metric_of_two_modes_is_compared_as_a_whole() -> None:
    modes = np.where(np.random.default_rng(21).random(70) < 0.5, 0.02, 0.06) * noise(22, 70)
    before, after = modes[:30], modes[30:60]
    assert quiet(said("judge", before, after))
    mostly = np.where(np.arange(30) % 10 == 0, 0.02, 0.06)
    seldom = np.where(np.arange(30) % 10 == 0, 0.06, 0.02)
    assert not quiet(said("judge", seldom, mostly))
    assert quiet(said("judge", mostly, seldom))


@pytest.mark.parametrize("name", ["judge", "canary"])
@pytest.mark.parametrize("level", [0.0, 0.02])
def test_a_metric_that_never_moves_is_quiet(name: str, level: float) -> None:
    for n in (10, 30):
        assert quiet(said(name, np.full(n, level), np.full(30, level)))
        assert quiet(said(name, np.full(n, level), np.full(30, level), beside=np.full(60, level)))


def test_a_metric_that_never_moved_and_then_does_once_is_found() -> None:
    for name in ("judge", "canary"):
        assert not quiet(said(name, np.full(10, 0.02), np.full(30, 0.05)))
        assert quiet(said(name, np.full(10, 0.05), np.full(30, 0.02)))


def test_ties_are_no_difference() -> None:
    steps = np.tile([0.02, 0.024, 0.028], 10)
    for name in ("judge", "canary"):
        assert quiet(said(name, steps, np.roll(steps, 1)))


def test_what_is_too_small_to_matter_is_quiet_however_certain() -> None:
    assert quiet(said("judge", CALM, CALM + 0.002))
    assert not quiet(said("canary", np.full(30, 0.02), np.full(30, 0.0201)))


def test_a_blip_is_no_effect_even_if_all_else_moves_a_little() -> None:
    after = CALM + 0.001
    after[[3, 17]] = 5.0
    assert quiet(said("judge", CALM, after))


def test_a_run_with_too_short_a_baseline_is_inconclusive() -> None:
    """And what it leaves behind is JSON, in which there is no nan."""
    scenario, whatif = scene()
    run = Run(
        replace(scenario, workflow=replace(scenario.workflow, precog="judge", baseline_s=2.0)),
        NETWORKS["simulated"],
        variant("judge", whatif),
        whatif,
        Journal(),
    )
    found = document(run_workflow(run), "simulated")
    assert (run.decision, run.end_state) == ("inconclusive", "halted")
    assert "the forecast says nothing of service_outage" in run.journal.text()
    assert (found["forecast"][OUTAGE], found["forecast"][VULNERABILITY]) == (None, 0.0)
    assert json.loads(json.dumps(found, allow_nan=False))["forecast"][DEGRADATION] is None
    lines = [Line.model_validate_json(event.line()) for event in run.journal.events]
    told = [line.probabilities[OUTAGE] for line in lines if line.event == "forecast"]
    assert told
    assert set(told) == {None}


# -- what it gets wrong, too ----------------------------------------------------------------------


def test_six_readings_of_which_three_are_errors_are_too_few_for_the_judge() -> None:
    """Issue 426 with its own numbers: no order of six and six readings is sure enough."""
    none, some = np.zeros(6), np.array([0.0, 0.1, 0.2, 0.1, 0.0, 0.0])
    assert quiet(said("judge", none, some, "loss"))
    assert quiet(said("canary", none, some, "loss"))


def test_without_production_beside_it_drift_is_blamed_on_the_change() -> None:
    """In production there is nothing to compare with but the time before."""
    for name in ("judge", "canary"):
        assert not quiet(said(name, CALM, CALM + 0.03))


# -- the baselines --------------------------------------------------------------------------------


def test_always_go_says_go() -> None:
    assert quiet(said("always-go", np.zeros(30), np.ones(30), "loss"))


def test_a_critical_metric_that_fails_fails_the_canary() -> None:
    before, after = 0.02 * noise(23, 30, MANY), 0.02 * noise(24, 30, MANY)
    after[:, 3] = 2.0
    found = said("canary", before, after, demands=MANY, critical=MANY)
    assert found.probabilities[DEGRADATION] > 0.9
    lost = np.zeros((30, MANY))
    lost[:, 3] = 0.9
    zero = np.zeros((30, MANY))
    found = said("canary", zero, lost, "loss", demands=MANY, critical=MANY)
    assert found.mode == OUTAGE


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 12), st.integers(5, 12), st.booleans())
def test_the_canary_rule_is_that_of_the_interval(seed: int, n: int, m: int, tied: bool) -> None:
    """Against the lower end of the interval, found by shifting the data until the test accepts."""
    random = np.random.default_rng(seed)
    a, b = random.normal(random.uniform(0, 3), 1.0, n), random.normal(0.0, 1.0, m)
    if tied:
        a, b = np.round(a), np.round(b)
    apart = np.unique(a[:, None] - b[None, :])
    between = [apart[0] - 1.0, *((x + y) / 2 for x, y in pairwise(apart)), apart[-1] + 1.0]
    accepted = [x for x in between if _accepts(a - x, b)]
    lower = max((x for x in apart if x < accepted[0]), default=-math.inf)
    expected = lower > 0.25 * abs(np.median(a[:, None] - b[None, :])) and a.mean() >= b.mean()
    assert classified_high(Columns(a[:, None]), Columns(b[:, None])).tolist() == [expected]
    gaps = np.full(3, np.nan)  # readings that are missing change nothing, nor do other metrics
    both = np.column_stack([np.insert(a, [0, 2, n], gaps), np.pad(a, (0, 3))])
    other = np.column_stack([np.append(b, gaps), np.pad(b, (3, 0), constant_values=9.0)])
    assert classified_high(Columns(both), Columns(other))[0] == expected


def _accepts(a: Array, b: Array) -> bool:
    test = mannwhitneyu(a, b, alternative="greater", method="asymptotic")
    return bool(test.pvalue >= 0.01)


# -- the ranks ------------------------------------------------------------------------------------


@st.composite
def sets(draw: st.DrawFn) -> tuple[Array, Array]:
    """Two sets of columns of small numbers, tied often, some of them missing."""
    columns = draw(st.integers(1, 4))
    value = st.integers(0, draw(st.sampled_from([3, 1000])))
    rows = st.lists(st.lists(value | st.just(math.nan), min_size=columns, max_size=columns),
                    min_size=2, max_size=9)  # fmt: skip
    return np.array(draw(rows), dtype=float), np.array(draw(rows), dtype=float)


@settings(max_examples=200, deadline=None)
@given(sets())
def test_the_chance_of_a_shift_is_scipys(both: tuple[Array, Array]) -> None:
    a, b = both
    for column, found in enumerate(chance_of_shift(a, b)):
        x, y = (s[np.isfinite(s[:, column]), column] for s in (a, b))
        if not len(x) or not len(y) or len(np.unique(np.concatenate((x, y)))) == 1:
            assert found == 1.0
            continue
        test = mannwhitneyu(x, y, alternative="greater", method="asymptotic")
        assert found == pytest.approx(test.pvalue, abs=1e-12)
        assert pairs_above(a, b)[column] == test.statistic


@settings(max_examples=100, deadline=None)
@given(sets())
def test_ties_are_counted(both: tuple[Array, Array]) -> None:
    for column, found in enumerate(Columns(both[0]).tied):
        values = both[0][np.isfinite(both[0][:, column]), column]
        counts = np.unique(values, return_counts=True)[1]
        assert found == (counts**3 - counts).sum()


@pytest.mark.parametrize(("n", "m"), [(4, 3), (3, 5), (5, 5)])
def test_the_chance_of_exceeding_is_that_of_all_orders(n: int, m: int) -> None:
    random = np.random.default_rng(25)
    values = np.arange(n + m, dtype=float)
    trials = np.array([random.permutation(values) for _ in range(20_000)]).T
    high, low = trials[:n], trials[n:]
    chance = chance_of_exceeding(high, low)
    for level in np.unique(chance):
        share = float((chance <= level + 1e-12).mean())
        assert share == pytest.approx(level, abs=0.015)
    assert chance_of_exceeding(low, low) == pytest.approx(1.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30), st.sampled_from([0.01, 0.05, 0.5]))
def test_discoveries_are_scipys(chances: list[float], rate: float) -> None:
    chance = np.array(chances)
    expected = false_discovery_control(chance) <= rate
    near = np.abs(false_discovery_control(chance) - rate) < 1e-9
    assert (discoveries(chance, rate) == expected)[~near].all()


@settings(max_examples=100, deadline=None)
@given(sets())
def test_the_middle_is_the_median_of_what_is_there(both: tuple[Array, Array]) -> None:
    for column, found in enumerate(Columns(both[0]).middle()):
        values = both[0][np.isfinite(both[0][:, column]), column]
        assert (math.isnan(found) and not len(values)) or found == np.median(values)
