"""Features: what each says where the answer is plain, that they are honest, and what they see."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowsim.dataplane.forwarding import Compiler
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.loading import Loader
from shadowsim.journal import Journal
from shadowsim.model.address import format_address
from shadowsim.model.change import Change, apply, parse_script
from shadowsim.model.intents import Limit
from shadowsim.model.telemetry import Sample, Telemetry, layout_of
from shadowsim.model.topology import Device, Link, Topology
from shadowsim.network import NETWORKS
from shadowsim.precog import Evidence, Forecast, Variant, WhatIf, variant
from shadowsim.precog.features import FEATURES, NAMES, SOURCES, Featurizer, document
from shadowsim.precog.features.graph import Cabling
from shadowsim.precog.features.signals import (
    PLACE as COLUMN,
)
from shadowsim.precog.features.signals import (
    Nearness,
    Readings,
    Signals,
    Touched,
    largest,
    mean,
    stacked,
    usual,
)
from shadowsim.precog.features.telemetry import COVERAGES
from shadowsim.precog.features.telemetry import NAMES as STATISTICS_OF_SIGNALS
from shadowsim.precog.features.windows import RECENT, ROW, WINDOW, Reference, slope, statistics
from shadowsim.precog.past import Past
from shadowsim.precog.whatif import Observed
from shadowsim.scenario import Scenario, load, parse
from shadowsim.workflow import Run, run_workflow

Array = np.ndarray
ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "scenarios").glob("*.yml"))

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
    - {from: web, to: db, rate_mbps: 1, flows: 3}
    - {from: h-B, to: db, rate_mbps: 1, class: bulk}
intents:
  - {isolated: {from: guest, to: db}}
  - {reachable: {from: any, to: any, protocol: tcp, port: 443}}
  - {latency: {class: critical, below_ms: 40}}
  - {loss: {class: normal, below_percent: 2}}
  - {throughput: {above_percent: 50}}
  - {utilisation: {below_percent: 90}}
change: {script: ""}
"""
DRAIN = "device A\ninterface to-B\n ip ospf cost 5000\n"
CUT = "device B\ninterface to-T\n shutdown\n"
REPLACE = """
device T
no ip access-list extended GUARD
ip access-list extended GUARD
 10 deny tcp any any eq 23
 20 deny ip host guest host db
 30 permit ip any any
"""
SCRIPTS = ("", DRAIN, CUT, REPLACE, "device C\ntable-size 9000\n")


@dataclass
class Place:
    """A network at rest, and evidence made by hand about it."""

    text: str = PLACE
    noise: int = 1
    scenario: Scenario = field(init=False)

    def __post_init__(self) -> None:
        self.scenario = parse(self.text)
        s = self.scenario
        self.layout = layout_of(s.topology, s.traffic.demands)
        self.whatif = WhatIf(s.topology, s.traffic.demands, s.intents)
        self.featurizer = Featurizer(s.topology, s.traffic.demands, s.intents, self.whatif)
        self.rates = np.array([d.rate_bps for d in s.traffic.demands])

    def telemetry(self, n: int, start_s: float = 0.0, script: str = "", **given: Any) -> Telemetry:
        """What the model says would be measured, with 1 % of noise; a column may be given."""
        random = np.random.default_rng((self.noise, round(start_s)))
        configs = apply(self.scenario.configs, parse_script(script))
        offered = np.broadcast_to(given.get("offered_bps", self.rates), (n, len(self.rates)))
        samples = []
        for i in range(n):
            seen = Observed(frozenset(), np.zeros(len(self.layout.links)), offered[i])
            demand, utilisation = self.whatif.load(self.whatif.settle(configs), seen)
            device = np.tile((0.1, 0.3, 0.01), (len(self.layout.devices), 1))
            link = np.zeros((len(self.layout.links), 4))
            link[:, 2], link[:, 3] = utilisation[0], 1.0
            link[:, 0] = utilisation[0] * 1e7
            rows = {"device": device, "link": link, "demand": demand[0]}
            for row in rows.values():
                row *= np.exp(random.normal(0.0, 0.01, row.shape))
            link[:, 3] = 1.0
            sample = Sample(start_s + i + 1.0, **rows)
            for column, values in given.items():
                subject, metric = column.split("_", 1) if column != "offered_bps" else ("", "")
                if subject:
                    sample.column(subject, metric)[:] = np.asarray(values)[
                        i if np.ndim(values) else ...
                    ]
            samples.append(sample)
        return Telemetry(self.layout, samples)

    def evidence(self, script: str = "", **given: Any) -> Evidence:
        change = Change("", parse_script(self.named(script)))
        filled: dict[str, Any] = {
            "phase": "shadow",
            "topology": self.scenario.topology,
            "demands": self.scenario.traffic.demands,
            "intents": self.scenario.intents,
            "change": change,
            "before": self.scenario.configs,
            "now": apply(self.scenario.configs, change.commands),
            "control": None,
            "horizon_s": 15.0,
            "soak_s": 3.0,
        }
        if "baseline" not in given:
            filled["baseline"] = self.telemetry(20)
        if "observed" not in given:
            filled["observed"] = self.telemetry(30, 20.0, self.named(script))
        return Evidence(**{**filled, **given})

    def named(self, script: str) -> str:
        """The script with hosts by their addresses, as a scenario's is."""
        address = self.scenario.topology.address
        return re.sub(
            r"host ([a-z][\w-]*)", lambda m: f"host {format_address(address[m[1]])}", script
        )

    def of(self, script: str = "", **given: Any) -> dict[str, float]:
        return named(self.featurizer.of(self.evidence(script, **given)))


def named(vector: Array) -> dict[str, float]:
    return dict(zip(NAMES, vector.tolist(), strict=True))


@cache
def place() -> Place:
    return Place()


def same(a: Array, b: Array) -> bool:
    """To the last bit, nan included."""
    return a.tobytes() == b.tobytes()


# -- what they are -----------------------------------------------------------------------------


def test_they_are_named_and_explained() -> None:
    assert 60 <= len(NAMES) <= 110
    assert len(set(NAMES)) == len(NAMES) == len(FEATURES)
    assert {feature.source for feature in FEATURES} == set(SOURCES)
    for feature in FEATURES:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", feature.name)
        assert feature.unit
        assert len(feature.text) > 10
        assert not feature.text.endswith(".")
    assert len({feature.text for feature in FEATURES}) > 0.9 * len(FEATURES)


def test_the_page_is_made_from_the_code() -> None:
    assert (ROOT / "docs" / "features.md").read_text(encoding="utf-8") == document(FEATURES)


# -- over all scenarios ------------------------------------------------------------------------


class Watching:
    """A variant that writes down the features of every look, and hands on to another."""

    def __init__(self, scenario: Scenario, inner: Variant) -> None:
        self.name = inner.name
        self._inner = inner
        demands, intents = scenario.traffic.demands, scenario.intents
        self.featurizer = Featurizer(
            scenario.topology, demands, intents, WhatIf(scenario.topology, demands, intents)
        )
        self.looks: list[tuple[Evidence, Array]] = []

    def forecast(self, evidence: Evidence) -> Forecast:
        kept = replace(evidence, control=_copy(evidence.control))
        self.looks.append((kept, self.featurizer.of(evidence)))
        return self._inner.forecast(evidence)


def _copy(telemetry: Telemetry | None) -> Telemetry | None:
    """As it is now: production's goes on."""
    return None if telemetry is None else Telemetry(telemetry.layout, list(telemetry.samples))


def watched(scenario: Scenario) -> Watching:
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    watching = Watching(scenario, variant(scenario.workflow.precog, model))
    run_workflow(Run(scenario, NETWORKS["simulated"], watching, model, Journal()))
    return watching


@pytest.fixture(scope="session")
def looks() -> dict[str, Watching]:
    """Every scenario, run once."""
    return {path.stem: watched(load(path)) for path in FILES}


NEVER_UNKNOWN = {
    *(f.name for f in FEATURES if f.source == "history"),
    *(name for name in NAMES if "coverage" in name),
    "telemetry_samples", "telemetry_production",
    "topology_devices", "topology_betweenness", "topology_degree", "topology_parts",
    "topology_carried_links", "topology_loss_share",
    "script_commands", "script_devices", "script_kinds", "script_removals",
    *(name for name in NAMES if name.startswith("script_of_")),
    "script_same_rules", "script_broken_end", "script_broken_way",
    "script_broken_way_s", "script_exposed_end", "script_exposed_way", "script_cut_broken",
    "script_in_force", "script_strangers", "script_now_broken", "script_now_exposed",
    "script_growth", "script_lost_more", "script_full_end",
}  # fmt: skip


def test_every_value_is_finite_or_nan_and_nan_only_where_that_is_said(
    looks: dict[str, Watching],
) -> None:
    rows = np.array([vector for watching in looks.values() for _, vector in watching.looks])
    assert len(rows) > 500
    assert not np.isinf(rows).any()
    unknown = {name for name, values in zip(NAMES, rows.T, strict=True) if np.isnan(values).any()}
    dark = {"script_growth", "script_lost_more", "script_full_end"}  # where a shadow went dark
    assert unknown & NEVER_UNKNOWN <= dark


def test_no_feature_is_dead(looks: dict[str, Watching]) -> None:
    """Each has been seen to vary: those of history once there is one, and two over scripts of a
    kind that no scenario has.
    """
    here = place()
    routed = "device A\nip route 10.0.0.0/9 to-B\nip route 10.1.0.0/16 to-B\nmanagement ssh\n"
    rows = [here.featurizer.of(here.evidence(routed))]
    for watching in looks.values():
        past = Past()
        for failed in (False, True, True):
            evidence, _ = watching.looks[-1]
            past = past.with_outcome(evidence.topology, evidence.change, failed)
            rows.append(watching.featurizer.of(replace(evidence, past=past)))
        rows += [vector for _, vector in watching.looks]
    spans = np.nanmax(rows, axis=0) - np.nanmin(rows, axis=0)
    dead = [name for name, span in zip(NAMES, spans, strict=True) if not span > 1e-6]
    assert dead == []


def test_the_same_evidence_gives_the_same_vector_whatever_came_before(
    looks: dict[str, Watching],
) -> None:
    for name in ("drain-then-peak", "delete-before-replace", "mirror-budget", "service-follows"):
        watching = looks[name]
        scenario = load(ROOT / "scenarios" / f"{name}.yml")
        for evidence, vector in watching.looks[:: max(len(watching.looks) // 5, 1)]:
            fresh = Watching(scenario, watching._inner).featurizer
            assert same(fresh.of(evidence), vector)
            assert same(watching.featurizer.of(evidence), vector)


def test_nothing_that_is_remembered_is_mistaken_for_something_else() -> None:
    """Evidence that differs in one thing at a time, read by one featurizer and by a fresh one."""
    here = Place()
    first = here.evidence(DRAIN, phase="production")
    up = np.ones((30, len(here.layout.links)))
    up[:, [here.layout.links.index("A>C"), here.layout.links.index("C>A")]] = 0.0
    waits = Change("", parse_script(f"{CUT}device A\ntable-size 9\ndevice B\ntable-size 9\n"))
    other = [
        first,
        replace(first, baseline=here.telemetry(20, offered_bps=here.rates / 2)),
        replace(first, observed=here.telemetry(30, 20.0, DRAIN, link_up=up)),
        replace(first, now=here.scenario.configs),
        replace(first, before=first.now),
        replace(first, change=Change("", parse_script(CUT))),
        replace(first, change=waits),
        replace(first, change=waits, soak_s=1.0),
        replace(first, phase="shadow", control=here.telemetry(50)),
        replace(first, horizon_s=60.0),
        replace(first, past=Past().with_outcome(first.topology, first.change, True)),
    ]
    fresh = [Place().featurizer.of(evidence) for evidence in other]
    assert len({vector.tobytes() for vector in fresh[:9]}) == 9
    for order in (other, other[::-1], [e for e in other for _ in range(2)]):
        for evidence in order:
            index = next(i for i, e in enumerate(other) if e is evidence)
            assert same(here.featurizer.of(evidence), fresh[index]), index


def test_a_prefix_that_came_up_meanwhile_makes_no_rule_another() -> None:
    """What is remembered of before then tells the destinations apart less finely."""
    here = Place()
    here.of("device A\nip route 10.77.0.0/16 to-B\n")
    assert here.of("device A\ninterface to-B\n description x\n")["script_same_rules"] == 1.0
    assert here.of("device A\nip route 10.77.0.0/16 to-B\n")["script_same_rules"] == 0.0


def test_a_route_that_is_there_already_alters_no_rule_but_a_table() -> None:
    """So a device that fails of a full table is not said to fail of something else."""
    here = Place()
    whatif, before = here.whatif, here.scenario.configs
    database = format_address(here.scenario.topology.address["db"])
    after = apply(before, parse_script(f"device A\nip route {database}/32 to-B\n"))
    assert whatif.same_rules(before, after) and not whatif.same_tables(before, after)
    assert whatif.same_rules(before, before) and whatif.same_tables(before, before)


FUTURES = (
    "[]",
    "[{at_s: 75, traffic_surge: {factor: 3}}, {at_s: 80, device_crash: {device: C}}]",
    "[{at_s: 75, telemetry_gap: {}}, {at_s: 75, memory_leak: {device: B, percent_per_s: 9}}]",
    '[{at_s: 75, config_drift: {device: C, script: "interface to-A\\n shutdown\\n"}}]',
)


def test_what_is_hidden_changes_nothing_before_it_shows() -> None:
    calm = PLACE.replace("rate_mbps: 6", "rate_mbps: 3").replace(
        'change: {script: ""}', 'change: {script: "device A\\ninterface to-B\\n ip ospf cost 5000"}'
    )
    runs = [watched(parse(f"{calm}faults: {faults}\n")) for faults in FUTURES]
    before = [
        [vector.tobytes() for evidence, vector in run.looks if _at_s(evidence) < 75.0]
        for run in runs
    ]
    assert len(before[0]) > 15
    assert before.count(before[0]) == len(runs)
    after = [[vector.tobytes() for _, vector in run.looks][len(before[0]) :] for run in runs]
    assert all(later != after[0] for later in after[1:])


def _at_s(evidence: Evidence) -> float:
    return evidence.observed.samples[-1].at_s if evidence.observed.samples else 0.0


# -- names do not count, nor does the unit of rates --------------------------------------------


NEW_NAMES = {
    "A": "Zagreb", "B": "Yaren", "C": "Quito", "T": "Aden", "guest": "visitor", "web": "shop",
    "db": "accounts", "GUARD": "AT-THE-DOOR",
}  # fmt: skip


def renamed(text: str) -> str:
    return re.sub(r"\b(A|B|C|T|guest|web|db|GUARD)\b", lambda m: NEW_NAMES[m[0]], text)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("phase", ["shadow", "production"])
def test_names_do_not_count(script: str, phase: str) -> None:
    here, there = place(), Place(renamed(PLACE))
    assert [d.name for d in there.scenario.topology.devices] == ["Zagreb", "Yaren", "Quito", "Aden"]
    vectors = []
    for where, text in ((here, script), (there, renamed(script))):
        evidence = where.evidence(text, phase=phase)
        past = Past()
        for earlier in ("A", "B"):
            name = earlier if where is here else NEW_NAMES[earlier]
            change = Change("", parse_script(f"device {name}\ntable-size 9\n"))
            past = past.with_outcome(where.scenario.topology, change, earlier == "A")
        vectors.append(where.featurizer.of(replace(evidence, past=past)))
    assert same(*vectors)


def test_the_unit_of_rates_does_not_count_in_telemetry() -> None:
    here = place()
    evidence = here.evidence(DRAIN, control=here.telemetry(50))
    small = here.featurizer.of(evidence)

    def scaled(telemetry: Telemetry) -> Telemetry:
        link, demand = np.array([8.0, 8.0, 1.0, 1.0]), np.array([8.0, 8.0, 1.0, 1.0])
        samples = [Sample(s.at_s, s.device, s.link * link, s.demand * demand)
                   for s in telemetry.samples]  # fmt: skip
        return Telemetry(telemetry.layout, samples)

    large = Place(re.sub(r"rate_mbps: (\d+)", lambda m: f"rate_mbps: {8 * int(m[1])}", PLACE))
    there = replace(
        evidence,
        topology=large.scenario.topology,
        demands=large.scenario.traffic.demands,
        **{name: scaled(getattr(evidence, name)) for name in ("baseline", "observed", "control")},
    )
    big = large.featurizer.of(there)
    for name, a, b in zip(NAMES, small, big, strict=True):
        if name.startswith("telemetry_") and "residual" not in name:
            assert a == pytest.approx(b, rel=1e-12, abs=1e-12, nan_ok=True), name


# -- missing telemetry -------------------------------------------------------------------------

TOLD_BY_TELEMETRY = [
    name
    for name in NAMES
    if (name.startswith("telemetry_") and "coverage" not in name)
    or name in {f"script_{what}" for what in (
        "severity_before", "severity_end", "severity_way", "severity_130", "severity_160",
        "severity_ahead", "growth", "starved_end", "starved_way", "starved_160", "lost_critical",
        "lost_more", "full_end", "now_severity",
    )}
]  # fmt: skip
ALWAYS_TOLD = {"telemetry_samples", "telemetry_production"}


def dark(telemetry: Telemetry) -> Telemetry:
    return Telemetry(telemetry.layout, [
        Sample(s.at_s, *(np.full_like(part, np.nan) for part in (s.device, s.link, s.demand)))
        for s in telemetry.samples
    ])  # fmt: skip


@pytest.mark.parametrize("phase", ["shadow", "production"])
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("how", ["dark", "empty"])
@pytest.mark.parametrize("control", [False, True])
def test_no_telemetry_is_never_a_healthy_value(
    phase: str, script: str, how: str, control: bool
) -> None:
    here = place()
    nothing = Telemetry(here.layout, []) if how == "empty" else dark(here.telemetry(30, 20.0))
    also = nothing if control and phase == "shadow" else None
    for baseline in (nothing, here.telemetry(20)):
        found = here.of(script, phase=phase, observed=nothing, baseline=baseline, control=also)
        told = {name for name in TOLD_BY_TELEMETRY if np.isfinite(found[name])}
        assert told <= ALWAYS_TOLD
        expected = 1.0 if not script else 0.0  # of nothing changed, nothing is missing
        for name in NAMES:
            if "coverage" in name and not ("touched" in name and how == "dark"):
                assert found[name] == 0.0
        if how == "dark":
            assert found["telemetry_coverage_touched_mean"] == expected
        assert found["telemetry_samples"] == len(nothing.samples)


def test_what_a_shadow_does_not_tell_production_may() -> None:
    here = place()
    nothing = dark(here.telemetry(30, 20.0))
    found = here.of(DRAIN, observed=nothing, control=here.telemetry(50))
    assert found["script_severity_end"] > 1.0
    assert np.isnan(found["script_now_severity"])
    assert np.isnan(found["telemetry_severity_level"])


def test_coverage_says_how_much_is_missing() -> None:
    here = place()
    full = here.evidence(DRAIN)
    for share in (0.25, 0.75):
        samples = [
            Sample(s.at_s, s.device.copy(), s.link.copy(), s.demand.copy())
            for s in full.observed.samples
        ]
        for sample in samples:
            for part in (sample.device, sample.link, sample.demand):
                part[: round(share * len(part))] = np.nan
        found = named(here.featurizer.of(replace(full, observed=Telemetry(here.layout, samples))))
        for what in ("coverage", "coverage_links", "coverage_demands"):
            assert found[f"telemetry_{what}_mean"] == pytest.approx(1.0 - share, abs=0.05)
        assert found["telemetry_coverage_touched_mean"] == 0.0  # A is the first device
        assert np.isnan(found["telemetry_cpu_touched_shift"])
        assert np.isfinite(found["telemetry_cpu_worst_level"])


def test_one_missing_sample_moves_little() -> None:
    here = place()
    full = here.evidence(DRAIN)
    samples = list(full.observed.samples)
    samples[-1] = dark(full.observed).samples[-1]
    gap = here.featurizer.of(replace(full, observed=Telemetry(here.layout, samples)))
    whole = here.featurizer.of(full)
    for name, a, b in zip(NAMES, gap, whole, strict=True):
        if name.endswith("_level"):
            assert a == pytest.approx(b, rel=0.05, abs=0.02, nan_ok=True), name
    assert np.isnan(named(gap)["telemetry_severity_last"])


# -- history -----------------------------------------------------------------------------------


def test_history_is_of_what_the_change_touches() -> None:
    here = place()
    topology = here.scenario.topology
    past = Past()
    for name, line, failed in (
        ("A", "table-size 9", True),
        ("A", "table-size 8", True),
        ("B", "management ssh", False),
        ("C", "table-size 7", False),
    ):
        change = Change("", parse_script(f"device {name}\n{line}\n"))
        past = past.with_outcome(topology, change, failed)  # fmt: skip
    on_a, on_b = here.of(DRAIN, past=past), here.of(CUT, past=past)
    site = (2 + 1.0) / (4 + 4.0)
    assert on_a["history_failure_rate"] == on_b["history_failure_rate"] == site
    assert on_a["history_changes"] == 4
    assert on_a["history_device_failure_rate"] == (2 + 2 * site) / (2 + 2)
    assert on_b["history_device_failure_rate"] == (0 + 2 * site) / (1 + 2)
    assert on_a["history_device_changes"] == 2
    assert on_a["history_kind_failure_rate"] == site  # no cost was ever set
    assert on_a["history_kind_changes"] == 0
    resized = here.of("device C\ntable-size 5\n", past=past)
    assert resized["history_kind_failure_rate"] == (2 + 2 * site) / (3 + 2)
    assert here.of(DRAIN)["history_failure_rate"] == 0.25


def test_more_failures_never_lower_a_rate() -> None:
    here = place()
    change = Change("", parse_script(DRAIN))
    past, last = Past(), 0.0
    for _ in range(6):
        past = past.with_outcome(here.scenario.topology, change, True)
        rate = here.of(DRAIN, past=past)["history_device_failure_rate"]
        assert last < rate < 1.0
        last = rate


# -- telemetry ---------------------------------------------------------------------------------


def test_what_production_does_too_is_taken_out() -> None:
    here = place()
    surge = np.repeat((1.0, 1.3), (20, 30))[:, None] * here.rates
    after = here.telemetry(30, 20.0, offered_bps=surge[20:])
    alone = here.of(baseline=here.telemetry(20), observed=after, control=here.telemetry(50))
    too = here.of(
        baseline=here.telemetry(20), observed=after, control=here.telemetry(50, offered_bps=surge)
    )
    assert alone["telemetry_utilisation_worst_shift"] > 0.15
    assert abs(too["telemetry_utilisation_worst_shift"]) < 0.05
    assert too["telemetry_utilisation_worst_level"] == alone["telemetry_utilisation_worst_level"]


def test_a_leak_is_seen_before_the_memory_is_full() -> None:
    here = place()
    leak = np.repeat(np.linspace(0.3, 0.7, 30)[:, None], len(here.layout.devices), axis=1)
    found = here.of(CUT, observed=here.telemetry(30, 20.0, device_memory=leak))
    assert found["telemetry_memory_touched_ahead"] == pytest.approx(0.7 + 15 * 0.4 / 29, abs=0.03)
    assert found["telemetry_memory_touched_shift"] == pytest.approx(0.39, abs=0.03)
    calm = here.of(CUT)
    assert calm["telemetry_memory_touched_ahead"] < 0.35


def test_a_change_of_variance_alone_is_seen() -> None:
    here = place()
    random = np.random.default_rng(3)
    shape = (30, len(here.rates))
    wild = 0.02 * np.exp(random.normal(0.0, 0.6, shape))
    steady = here.telemetry(20, demand_latency_s=np.full((20, len(here.rates)), 0.02))
    found = here.of(baseline=steady, observed=here.telemetry(30, 20.0, demand_latency_s=wild))
    assert found["telemetry_latency_mean_spread"] > 2.0
    calm = here.of(
        baseline=steady, observed=here.telemetry(30, 20.0, demand_latency_s=np.full(shape, 0.02))
    )
    assert abs(calm["telemetry_latency_mean_spread"]) < 0.1


def test_a_device_that_does_not_do_as_told_shows_in_the_residuals() -> None:
    here = place()
    quiet = here.rates * 0.4
    obeyed = here.of(DRAIN, observed=here.telemetry(30, 20.0, DRAIN, offered_bps=quiet))
    # The config read back has the new cost, the packets go as before.
    ignored = here.of(DRAIN, observed=here.telemetry(30, 20.0, offered_bps=quiet))
    for name in ("utilisation", "severity"):
        assert abs(obeyed[f"telemetry_residual_{name}"]) < 0.05
    assert abs(obeyed["telemetry_residual_loss"]) < 0.02
    assert ignored["telemetry_residual_utilisation"] > 0.2
    early = here.of(
        DRAIN,
        phase="production",
        now=here.scenario.configs,
        observed=here.telemetry(30, 20.0, offered_bps=quiet),
    )
    assert early["telemetry_residual_utilisation"] < 0.05
    lossy = here.telemetry(30, 20.0, demand_loss=np.full((30, len(here.rates)), 0.4))
    assert here.of(observed=lossy)["telemetry_residual_loss_mean"] > 0.3


def test_starving_and_loss_are_told_by_class() -> None:
    here = place()
    found = here.of(CUT)
    assert found["telemetry_lost_bulk_level"] > 0.95
    assert found["telemetry_lost_critical_level"] < 0.05
    assert found["telemetry_starved_level"] == 0.0
    drained = here.of("device A\ninterface to-B\n shutdown\ninterface to-C\n shutdown\n")
    assert drained["telemetry_lost_critical_level"] > 0.95
    assert drained["telemetry_starved_level"] == 1.0


# -- topology ----------------------------------------------------------------------------------


def test_what_hangs_on_the_only_path_is_told() -> None:
    here = place()
    spur, triangle = here.of(CUT), here.of(DRAIN)
    assert (spur["topology_redundancy"], triangle["topology_redundancy"]) == (1.0, 2.0)
    assert (spur["topology_parts"], triangle["topology_parts"]) == (2.0, 1.0)
    assert spur["topology_betweenness"] == pytest.approx(2 / 3)  # T with A and C, of three pairs
    assert triangle["topology_betweenness"] == 0.0
    assert spur["topology_intents"] == 0.5
    assert triangle["topology_intents"] == 0.0
    assert spur["topology_carried_bulk"] == 1.0
    assert triangle["topology_carried_bulk"] == 0.0
    assert spur["topology_carried_links"] == pytest.approx(2 / 14)
    assert spur["topology_loss_share"] == pytest.approx(2 / 14)
    assert triangle["topology_loss_severity"] > 1.0


def test_a_device_of_which_no_port_is_named_is_touched_whole() -> None:
    here = place()
    whole = here.of("device B\ntable-size 9\n")
    assert whole["topology_intents"] == 0.5
    assert whole["topology_carried_links"] > here.of(CUT)["topology_carried_links"]


# -- script ------------------------------------------------------------------------------------


def test_the_end_is_told_from_the_way() -> None:
    here = place()
    cut = here.of(CUT)
    assert (cut["script_broken_end"], cut["script_broken_way"]) == (1.0, 0.0)
    back = here.of(f"{CUT} no shutdown\n")
    assert (back["script_broken_end"], back["script_broken_way"]) == (0.0, 1.0)
    assert back["script_broken_way_s"] == 0.0
    waits = here.of(f"{CUT}device A\ntable-size 9\ndevice B\ninterface to-T\n no shutdown\n")
    assert waits["script_broken_way_s"] == 6.0
    assert waits["script_breaks_at"] == pytest.approx(1 / 3)
    opened = here.of(REPLACE)
    assert (opened["script_exposed_end"], opened["script_exposed_way"]) == (0.0, 1.0)
    assert np.isnan(here.of(DRAIN)["script_breaks_at"])


def test_headroom_is_monotone_and_told_at_the_traffic_of_now() -> None:
    here = place()
    quiet = here.telemetry(30, 20.0, offered_bps=here.rates * 0.4)
    found = here.of(DRAIN, observed=quiet, control=here.telemetry(50, offered_bps=here.rates * 0.4))
    path = [found[f"script_severity_{at}"] for at in ("before", "end", "130", "160")]
    assert path == sorted(path)
    assert path[0] < 0.5 < path[1] < 1.0
    busy = here.of(DRAIN, control=here.telemetry(50))
    assert busy["script_severity_end"] > 1.0
    assert busy["script_full_end"] >= 1.0


def test_growth_leads_ahead() -> None:
    here = place()
    rising = here.telemetry(30, 20.0, offered_bps=np.linspace(0.5, 0.8, 30)[:, None] * here.rates)
    found = here.of(observed=rising, phase="production")
    assert found["script_growth"] > 1.15
    assert found["script_severity_ahead"] > found["script_severity_end"]


def test_widths_of_matches() -> None:
    here = place()
    found = here.of("""
device T
ip access-list extended GUARD
 no 10
 5 permit tcp 10.0.0.0 0.0.255.255 host db
 7 deny udp any host db eq 9
""")
    assert found["script_opens_bits"] == 16 + 32
    assert found["script_closes_bits"] == 0 + 32
    assert np.isnan(found["script_routes_bits"])
    routed = here.of(
        "device A\nip route 10.0.0.0/9 to-B\nip prefix-list X seq 5 permit 10.0.3.0/24"
    )
    assert routed["script_routes_bits"] == 9
    assert routed["script_of_routing"] == 1.0
    assert here.of(REPLACE)["script_removals"] == pytest.approx(1 / 4)


def test_a_filter_on_the_spare_shows_when_the_first_line_is_cut() -> None:
    spare = Place((ROOT / "scenarios" / "filter-on-the-spare.yml").read_text(encoding="utf-8"))
    change = spare.scenario.change
    evidence = replace(
        spare.evidence(), change=change, now=apply(spare.scenario.configs, change.commands)
    )
    found = named(spare.featurizer.of(evidence))
    assert found["script_broken_end"] == 0.0
    assert found["script_cut_broken"] == 1.0
    harmless = Change("", change.commands[:2])
    without = named(spare.featurizer.of(replace(evidence, change=harmless)))
    assert without["script_cut_broken"] == 0.0


def test_what_the_configs_now_hold_is_told() -> None:
    here = place()
    text = f"{DRAIN}device C\ninterface to-B\n ip ospf cost 7\n"
    configs = here.scenario.configs
    half = here.of(text, phase="production", now=apply(configs, parse_script(DRAIN)))
    assert (half["script_in_force"], half["script_strangers"]) == (0.5, 0.0)
    none = here.of(text, phase="production", now=configs)
    assert (none["script_in_force"], none["script_strangers"]) == (0.0, 0.0)
    other = apply(configs, parse_script(f"{text}{CUT}"))
    drifted = here.of(text, phase="production", now=other)
    assert (drifted["script_in_force"], drifted["script_strangers"]) == (1.0, 1.0)
    assert drifted["script_now_broken"] == 1.0
    assert drifted["script_broken_end"] == 0.0


def test_a_change_of_text_changes_no_rules() -> None:
    here = place()
    assert here.of("device A\ninterface to-B\n description x\n")["script_same_rules"] == 1.0
    assert here.of(DRAIN)["script_same_rules"] == 0.0


# -- the parts against slow references ---------------------------------------------------------

METRICS = ("latency", "loss", "throughput", "utilisation")
limits_ = st.lists(
    st.builds(
        Limit,
        st.sampled_from(METRICS),
        st.sampled_from([0.05, 0.5, 0.9]),
        st.sampled_from([None, "critical", "normal", "bulk"]),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(limits_, st.integers(0, 2**32 - 1))
def test_nearness_is_the_worst_of_the_limits(chosen: list[Limit], seed: int) -> None:
    here = place()
    random = np.random.default_rng(seed)
    demand = random.random((7, len(here.rates), 4))
    utilisation = random.random((7, len(here.layout.links)))
    demand[random.random(demand.shape) < 0.2] = np.nan
    demand[random.random(demand.shape[:2]) < 0.2, 0] = 0.0
    limits = Limits(here.scenario.topology, here.scenario.traffic.demands, chosen)
    fast = largest(Nearness(limits).of(demand, utilisation))
    for row in range(7):
        each = limits.severity(demand[row], utilisation[row])
        known = each[np.isfinite(each)]
        slow = known.max() if known.size else np.nan
        assert fast[row] == pytest.approx(slow, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_many_loads_at_once_are_each_of_them(script: str) -> None:
    here = place()
    s = here.scenario
    configs = apply(s.configs, parse_script(here.named(script)))
    loader = Loader(s.topology, s.traffic.demands)
    plane = Compiler(s.topology).compile(configs)
    loss = np.zeros(s.topology.directed_links)
    factors = (1.0, 1.3, 0.1, 3.0)
    seen = Observed(frozenset(), loss, here.rates)
    demands, utilisations = here.whatif.load(here.whatif.settle(configs), seen, factors)
    for factor, demand, utilisation in zip(factors, demands, utilisations, strict=True):
        offered = loader.spread(here.rates * factor)
        loads = loader.solve(loader.route(plane), offered, loss)
        slow = loader.at_once(plane, loads, offered, loss)
        np.testing.assert_allclose(demand, slow.demand, rtol=1e-12)
        np.testing.assert_allclose(utilisation, slow.utilisation, rtol=1e-12)


def test_passing_counts_the_flows_over_a_link() -> None:
    here = place()
    settled = here.whatif.settle(here.scenario.configs)
    paths = settled.routed.paths
    first = np.cumsum([0, *(d.flows for d in here.scenario.traffic.demands)])
    for link in range(here.scenario.topology.directed_links):
        marks = np.arange(here.scenario.topology.directed_links) == link
        for demand, share in enumerate(here.whatif.passing(settled, marks)):
            flows = range(first[demand], first[demand + 1])
            over = [link in paths.links[0, f, : max(paths.hops[0, f], 0)] for f in flows]
            assert share == np.mean(over)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.data())
def test_the_graph_agrees_with_networkx(devices: int, data: st.DataObject) -> None:
    ends = st.tuples(st.integers(0, devices - 1), st.integers(0, devices - 1))
    pairs = [p for p in data.draw(st.lists(ends, max_size=16)) if p[0] != p[1]]
    topology = Topology(
        "random",
        tuple(Device(f"d{i}") for i in range(devices)),
        (),
        tuple(Link(f"d{a}", f"d{b}") for a, b in pairs),
    )
    cabling = Cabling(topology)
    plain = nx.Graph(pairs)
    plain.add_nodes_from(range(devices))
    expected = nx.betweenness_centrality(plain)
    np.testing.assert_allclose(
        cabling.betweenness(), [expected[i] for i in range(devices)], atol=1e-12
    )
    room = nx.DiGraph()
    room.add_nodes_from(range(devices))
    for a, b in pairs:
        for u, v in ((a, b), (b, a)):
            room.add_edge(
                u, v, capacity=room.edges[u, v]["capacity"] + 1 if room.has_edge(u, v) else 1
            )
    for a, b in pairs:
        assert cabling.redundancy(a, b) == nx.maximum_flow_value(room, a, b)
    for device in range(devices):
        rest = plain.subgraph(set(range(devices)) - {device})
        assert cabling.parts_without(device) == nx.number_connected_components(rest)
        assert cabling.degree(device) == sum(device in pair for pair in pairs)


def test_a_slope_is_that_of_a_line_fitted() -> None:
    random = np.random.default_rng(5)
    signals, at_s = random.random((4, 15, 3)), np.sort(random.random((4, 15)) * 20, axis=1)
    signals[random.random(signals.shape) < 0.3] = np.nan
    signals[0, 3:, 0] = np.nan  # too few
    found = slope(signals, at_s)
    for b in range(4):
        for s in range(3):
            told = np.isfinite(signals[b, :, s])
            slow = (
                np.polyfit(at_s[b, told], signals[b, told, s], 1)[0] if told.sum() >= 6 else np.nan
            )
            assert found[b, s] == pytest.approx(slow, nan_ok=True)
    assert np.isnan(found[0, 0])


def known(signals: Array) -> Array:
    return signals[np.isfinite(signals)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 3), st.floats(0.0, 1.0), st.integers(0, 2**32 - 1))
def test_statistics_are_those_of_what_is_known_column_by_column(
    samples: int, networks: int, missing: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    signals, at_s = random.random((networks, samples, 4)), np.arange(samples) * 1.5
    signals[random.random(signals.shape) < missing] = np.nan
    before = Reference(random.random((networks, 4)), random.random((networks, 4)))
    drift = random.random((networks, 4))
    found = statistics(signals, at_s, before, drift, 5.0)
    assert found.shape == (networks, len(ROW), 4)
    for of in range(networks):
        for s in range(4):
            column = signals[of, -WINDOW:, s]
            told = dict(zip(ROW, found[of, :, s].tolist(), strict=True))
            recent, whole = known(column[-RECENT:]), known(column)
            level = recent.mean() if recent.size else np.nan
            rise = float(slope(signals[of], at_s)[s])
            apart = whole.std() if whole.size else np.nan
            expected = {
                "last": column[-1] if samples else np.nan,
                "level": level,
                "mean": whole.mean() if whole.size else np.nan,
                "max": whole.max() if whole.size else np.nan,
                "slope": rise,
                "ahead": level + max(rise, 0.0) * 5.0 if np.isfinite(rise) else np.nan,
                "shift": level - before.mean[of, s] - drift[of, s],
                "spread": np.log((apart + 0.01) / (before.deviation[of, s] + 0.01)),
            }
            assert told == pytest.approx(expected, nan_ok=True)


def test_a_slope_is_of_the_last_samples_at_their_own_times() -> None:
    at_s = np.cumsum(np.arange(1.0, 41.0))
    bent = np.where(np.arange(40) < 25, 100.0, 3.0 * at_s)[:, None]
    assert slope(bent, at_s) == pytest.approx([3.0])
    assert slope(np.stack([bent, -bent]), at_s)[:, 0] == pytest.approx([3.0, -3.0])
    with pytest.raises(ValueError, match="broadcast"):
        slope(bent, at_s[:5])


@pytest.mark.parametrize("shape", [(0, 4, 2), (3, 0, 2), (0, 3, 4, 2), (2, 5, 4, 2)])
def test_a_mean_of_nothing_is_not_known(shape: tuple[int, ...]) -> None:
    found = mean(np.ones(shape), kept=2)
    assert found.shape == (*shape[:-3], *shape[-2:])
    assert np.isnan(found).all() == (shape[-3] == 0 or found.size == 0)


def test_many_networks_at_once_are_each_of_them() -> None:
    here = place()
    s = here.scenario
    signals = Signals(s.traffic.demands, here.whatif.limits)
    parts = [stacked(here.telemetry(12, start, script).samples)
             for start, script in ((0.0, ""), (7.0, DRAIN), (9.0, CUT))]  # fmt: skip
    together = Readings(*(np.stack(part) for part in zip(*parts, strict=True)))
    touched = Touched(np.arange(4) == 1, np.arange(s.topology.directed_links) < 2)
    fast = signals.of(together, usual(together.demand), touched)
    assert fast.shape == (3, 12, len(COLUMN))
    for row, part in zip(fast, parts, strict=True):
        np.testing.assert_array_equal(row, signals.of(part, usual(part.demand), touched))


def test_statistics_of_coverage_are_known_by_name() -> None:
    marked = {n for n, c in zip(STATISTICS_OF_SIGNALS, COVERAGES, strict=True) if c}
    assert marked == {name for name in NAMES if "coverage" in name}
