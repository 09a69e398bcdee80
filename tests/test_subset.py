"""A subset stands for the whole network: its paths, its loads, and what it says it covers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_contract import Recording, settle
from reference_forwarding import Reference
from strategies import configured

from shadowsim.dataplane.forwarding import Physical
from shadowsim.dataplane.forwarding import compile as compile_
from shadowsim.dataplane.trace import trace
from shadowsim.journal import Journal
from shadowsim.mirror import Chooser, MirrorEngine, Subset
from shadowsim.mirror.blast import Reach
from shadowsim.model.change import Change, Configs, apply, parse_config, parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.intents import Intents
from shadowsim.model.topology import Device, Host, Link, Topology
from shadowsim.model.traffic import Demand
from shadowsim.network import NETWORKS
from shadowsim.precog import WhatIf, variant
from shadowsim.scenario import Scenario, load, parse
from shadowsim.workflow import Run, run_workflow

FILES = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yml"))

# A ladder of two rows, A to F and U to Z; the change is at B, and G hangs off F.
LADDER = """
name: ladder
seed: 4
topology:
  nodes: [A, B, C, D, E, F, G, U, V, W, X, Y, Z]
  links:
    - [A, B]
    - [B, C]
    - [C, D]
    - [D, E]
    - [E, F]
    - [F, G]
    - [U, V]
    - [V, W]
    - [W, X]
    - [X, Y]
    - [Y, Z]
    - [A, U]
    - [C, W]
    - [F, Z]
  defaults: {rate_mbps: 20}
traffic:
  demands:
    - {from: A, to: C, rate_mbps: 4, class: critical, protocol: udp, port: 5004}
    - {from: B, to: D, rate_mbps: 3}
    - {from: E, to: G, rate_mbps: 2}
    - {from: W, to: Z, rate_mbps: 5, class: bulk}
    - {from: D, to: X, rate_mbps: 6}
intents:
  - {reachable: {from: any, to: any}}
  - {loss: {class: critical, below_percent: 2}}
"""
SCRIPT = "device B\ninterface to-C\n ip ospf cost 45\n"
# With it A>C goes by U, V and W; C to W carries D>X all the time, which never meets B.


def ladder(shadow: str = "scope: subset, hops: 0", faults: str = "", more: str = "") -> Scenario:
    script = "".join(f"    {line}\n" for line in SCRIPT.splitlines())
    return parse(
        f"{LADDER}{more}change:\n  summary: a change\n  script: |\n{script}"
        f"faults: [{faults}]\nshadow: {{{shadow}}}\n"
    )


def chooser_of(scenario: Scenario) -> Chooser:
    return Chooser(scenario.topology, scenario.traffic.demands, scenario.intents, scenario.change)


def rates_of(scenario: Scenario) -> Any:
    return np.array([d.rate_bps for d in scenario.traffic.demands])


def chosen(scenario: Scenario, **how: Any) -> Subset:
    how = {"hops": scenario.shadow.hops, **how}
    return chooser_of(scenario).choose(scenario.configs, rates_of(scenario), **how)


def down(scenario: Scenario, a: str, b: str) -> frozenset[int]:
    return frozenset(2 * i + side for i in scenario.topology.cables(a, b) for side in (0, 1))


def devices_on(scenario: Scenario, configs: Configs, physical: Physical) -> list[set[str]]:
    """The devices on the paths of every demand, as the flows are hashed."""
    plane = compile_(scenario.topology, configs, physical)
    paths = trace(plane, scenario.traffic.demands)
    flows = [i for i, d in enumerate(scenario.traffic.demands) for _ in range(d.flows)]
    found: list[set[str]] = [set() for _ in scenario.traffic.demands]
    for flow, demand in enumerate(flows):
        used = paths.links[0, flow, : max(int(paths.hops[0, flow]), 0)]
        found[demand] |= {scenario.topology.port_of[link][0] for link in used}
    return found


# -- what is chosen ----------------------------------------------------------------------------


def test_the_subset_is_around_the_change_and_on_the_way_of_its_demands() -> None:
    found = chosen(ladder())
    assert found.devices == {"A", "B", "C", "D", "U", "V", "W"}
    assert found.touched.tolist() == [True, True, False, False, False]
    assert found.demands.tolist() == [True, True, False, False, False]


def test_hops_add_devices_and_nothing_is_lost() -> None:
    scenario = ladder()
    sizes = [chosen(scenario, hops=hops).devices for hops in range(8)]
    assert all(a <= b for a, b in pairwise(sizes))
    assert sizes[-1] == set(scenario.topology.device_index)
    assert chosen(scenario, hops=64).coverage.shares == dict.fromkeys(
        chosen(scenario).coverage.shares, 1.0
    )


def test_a_failed_link_moves_the_subset() -> None:
    scenario = ladder()
    cut = chosen(scenario, down=down(scenario, "D", "E"))
    assert cut.devices >= chosen(scenario).devices
    bypass = chosen(ladder(), down=down(scenario, "V", "W"))
    assert bypass.devices >= {"A", "B", "C", "D"}


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_demand_that_meets_a_changed_device_is_inside_with_its_whole_way(path: Path) -> None:
    scenario = load(path)
    subset = chosen(scenario, hops=0)
    changed = set(scenario.change.devices)
    state = scenario.configs
    for command in (None, *scenario.change.commands):
        state = state if command is None else apply(state, [command])
        last = command is None or command is scenario.change.commands[-1]
        if not last:
            continue
        for number, met in enumerate(devices_on(scenario, state, Physical())):
            if met & changed:
                assert subset.touched[number], scenario.traffic.demands[number].name
            if subset.touched[number]:
                assert subset.demands[number]
            if subset.demands[number]:
                assert met <= subset.devices


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_no_demand_that_is_not_touched_takes_another_way_with_the_change(path: Path) -> None:
    scenario = load(path)
    blast = Reach(scenario.topology, scenario.traffic.demands).blast(
        scenario.configs, scenario.change, frozenset()
    )
    after = apply(scenario.configs, scenario.change.commands)
    ways = []
    for configs in (scenario.configs, after):
        plane = compile_(scenario.topology, configs)
        paths = trace(plane, scenario.traffic.demands)
        flows = [i for i, d in enumerate(scenario.traffic.demands) for _ in range(d.flows)]
        hops = paths.hops[0]
        ways.append([tuple(paths.links[0, f, : max(hops[f], 0)]) for f in range(len(flows))])
    moved = {flows[f] for f in range(len(flows)) if ways[0][f] != ways[1][f]}
    assert moved <= set(np.flatnonzero(blast.touched).tolist())
    assert (blast.touched <= blast.staked).all()


def test_who_treats_packets_otherwise_is_touched_although_it_is_not_changed() -> None:
    """A leak at one device makes another one refuse all routes: maximum-prefix."""
    scenario = load(next(path for path in FILES if path.stem == "maximum-prefix"))
    found = chosen(scenario, hops=0)
    meets = [scenario.traffic.demands[i].name for i in np.flatnonzero(found.touched)]
    assert len(meets) > 0


def test_a_device_without_demands_is_a_subset_too() -> None:
    scenario = ladder()
    lonely = replace(scenario, change=Change("x", parse_script("device G\ntable-size 5000\n")))
    quiet = replace(lonely, traffic=replace(lonely.traffic, demands=lonely.traffic.demands[:2]))
    found = chosen(quiet)
    assert found.devices == {"G"}
    assert not found.touched.any()
    assert found.coverage.demands == 0.0


# -- the way back ------------------------------------------------------------------------------

COSTS = st.sampled_from([5, 10, 10, 20])


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Topology, Configs, Change, list[Demand]]:
    """A network with costs that differ by direction, a change of it, and demands."""
    names = [f"d{i}" for i in range(draw(st.integers(4, 8)))]  # a ring, with chords
    chords = st.tuples(*[st.sampled_from(names)] * 2).filter(lambda ends: ends[0] != ends[1])
    ends = [*pairwise((*names, names[0])), *draw(st.lists(chords, max_size=3))]
    hosts = tuple(Host(f"h{i}", name) for i, name in enumerate(names))
    links = tuple(Link(a, b) for a, b in ends)
    topology = Topology("random", tuple(map(Device, names)), hosts, links)
    costs = {
        name: "\n".join(f"interface {port}\n ip ospf cost {draw(COSTS)}" for port in ports)
        for name, ports in topology.ports.items()
    }
    configs = {n: parse_config(text) for n, text in configured(topology, costs).items()}
    devices = draw(st.lists(st.sampled_from(list(configs)), min_size=1, max_size=3, unique=True))
    commands = []
    for name in devices:
        ports = [f"interface {port}\n ip ospf cost {draw(COSTS)}" for port in topology.ports[name]]
        ports += [f"interface {port}\n shutdown" for port in topology.ports[name]]
        lines = draw(st.lists(st.sampled_from(ports), min_size=1, max_size=2)) if ports else []
        commands += parse_script("\n".join([f"device {name}", *lines, "management telnet"]) + "\n")
    pairs = [(a.name, b.name) for a in topology.hosts for b in topology.hosts if a != b]
    of = st.builds(Demand, st.just(""), st.just(""), st.just(1e6), protocol=PROTOCOLS)
    chosen_ = draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1, max_size=6))
    demands = [replace(draw(of), source=a, destination=b) for a, b in chosen_]
    return topology, configs, Change("a change", tuple(commands)), demands


PROTOCOLS = st.sampled_from(["tcp", "tcp", "udp"])


def on_the_way(topology: Topology, configs: Configs, source: str, goal: str) -> set[str]:
    """The devices that a packet between two hosts may meet, by plain tables and a plain walk."""
    tables = Reference(topology, configs).tables
    home = {host.name: host.device for host in topology.hosts}
    found, ahead = set[str](), [home[source]]
    while ahead:
        device = ahead.pop()
        if device not in found:
            found.add(device)
            links = tables[device].lookup(topology.address[goal])[1]
            ahead += [topology.link_name(number).split(">")[1] for number in links]
    return found


@given(drawn())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_way_back_of_tcp_is_inside(
    case: tuple[Topology, Configs, Change, list[Demand]],
) -> None:
    topology, configs, change, demands = case
    chooser = Chooser(topology, demands, Intents(), change)
    found = chooser.choose(configs, np.ones(len(demands)), hops=0)
    after = apply(configs, change.commands)
    for number, demand in enumerate(demands):
        ways = [(demand.source, demand.destination)]
        ways += [(demand.destination, demand.source)] if demand.protocol == "tcp" else []
        meets = [on_the_way(topology, c, *way) for c in (configs, after) for way in ways]
        if set.union(*meets) & set(change.devices):
            assert found.touched[number]
            assert found.demands[number]
        assert not found.demands[number] or set.union(*meets) <= found.devices
    assert found.coverage.demands == found.demands.mean()


def test_answers_that_take_another_way_take_it_along() -> None:
    """C answers over W, V and U, which no packet from A to C meets."""
    around = "configs:\n  C: |\n    interface to-B\n     ip ospf cost 100\n"
    change = "device B\nmanagement telnet\n"
    quiet = replace(ladder(more=around), change=Change("x", parse_script(change)))
    demand = quiet.traffic.demands[0]
    for protocol, back in (("udp", set[str]()), ("tcp", {"U", "V", "W"})):
        traffic = replace(quiet.traffic, demands=(replace(demand, protocol=protocol),))
        found = chosen(replace(quiet, traffic=traffic))
        assert found.devices == {"A", "B", "C"} | back
        assert found.demands.tolist() == [True]


def test_a_change_on_the_way_back_touches() -> None:
    """What B does to the answers it does to the connection, which never passes B on its way."""
    away = "configs:\n  A: |\n    interface to-B\n     ip ospf cost 100\n"
    quiet = replace(
        ladder(more=away), change=Change("x", parse_script("device B\nmanagement telnet\n"))
    )
    demand = quiet.traffic.demands[0]
    for protocol in ("udp", "tcp"):
        traffic = replace(quiet.traffic, demands=(replace(demand, protocol=protocol),))
        found = chosen(replace(quiet, traffic=traffic))
        assert found.touched.tolist() == found.staked.tolist() == [protocol == "tcp"]


# -- what it covers ----------------------------------------------------------------------------


def test_the_coverage_is_counted() -> None:
    scenario = ladder()
    found = chosen(scenario)
    told = found.coverage
    assert told.devices == pytest.approx(7 / 13)
    assert told.links == pytest.approx(7 / 14)
    assert told.demands == pytest.approx(2 / 5)
    assert told.bits == pytest.approx(7 / 20)
    assert told.intents == pytest.approx(((7 / 13) ** 2 + 1.0) / 2)
    routes = compile_(scenario.topology, scenario.configs).routes
    inside = [scenario.topology.device_index[n] for n in found.devices]
    assert told.rules == pytest.approx(routes[inside].sum() / routes.sum())
    assert told.text.startswith("54% of the devices, 50% of the links")


def test_the_background_is_what_the_others_put_on_links_inside() -> None:
    scenario = ladder()
    found = chosen(scenario)
    names = [scenario.topology.link_name(n) for n in range(scenario.topology.directed_links)]
    told = {names[n]: bps for n, bps in found.background_bps.items()}
    # D>X goes by C and W, or by E, Y; W>Z leaves the subset at once.
    inside = {n for n in names if all(end.removeprefix("h-") in found.devices
                                      for end in n.split(">"))}  # fmt: skip
    assert set(told) <= inside
    assert told["h-D>D"] == 6e6
    assert told["h-W>W"] == 5e6
    assert "h-A>A" not in told


# -- the shadow that it makes ------------------------------------------------------------------


def pair(scenario: Scenario) -> tuple[Any, Any, MirrorEngine]:
    production = NETWORKS["simulated"](scenario, scenario.configs, "production")
    shadow: Any = Recording(NETWORKS["simulated"](scenario, scenario.configs, "shadow"))
    shadow.offer(np.zeros(len(scenario.traffic.demands)))
    mirror = MirrorEngine(
        production,
        shadow,
        scenario.traffic.demands,
        scenario.shadow.mirror,
        np.random.default_rng(1),
        chooser=chooser_of(scenario) if scenario.shadow.scope == "subset" else None,
        hops=scenario.shadow.hops,
    )
    return production, shadow, mirror


def go(production: Any, shadow: Any, mirror: MirrorEngine, until_s: float) -> list[Any]:
    found = []
    while production.now < until_s - 1e-9:
        at_s = min(np.floor(production.now + 1e-9) + 1.0, until_s)
        for sample in production.advance(at_s):
            mirror.forward(sample)
        found += [mirror.seen(sample) for sample in shadow.advance(at_s)]
    return found


def test_a_subset_reads_what_the_whole_reads_and_nan_elsewhere() -> None:
    part, whole_ = ladder(), ladder("scope: full")
    read = {}
    for scenario in (part, whole_):
        nets = pair(scenario)
        nets[1].apply(scenario.change.commands)
        read[scenario.shadow.scope] = np.array([s.demand for s in go(*nets, 14.0)][-6:])
    inside = chosen(part).demands
    mine, full = (read[scope].mean(axis=0) for scope in ("subset", "full"))
    assert np.isnan(mine[~inside]).all()
    assert mine[inside][:, :2] == pytest.approx(full[inside][:, :2], rel=0.03)
    assert mine[inside][:, 2] == pytest.approx(full[inside][:, 2], rel=0.15)
    assert mine[inside][:, 3] == pytest.approx(full[inside][:, 3], abs=0.01)


def test_links_shared_with_the_others_are_as_full_as_in_production() -> None:
    scenario = ladder("scope: subset, hops: 2")
    production, shadow, mirror = pair(scenario)
    there = go(production, shadow, mirror, 20.0)
    mirror.sync()
    there = go(production, shadow, mirror, 30.0)[-5:]
    here = production.advance(31.0)
    used = np.mean([s.column("link", "utilisation") for s in there], axis=0)
    real = here[-1].column("link", "utilisation")
    known = np.isfinite(used)
    assert 0 < known.sum() < len(used)
    assert mirror.subset.background_bps != {}
    assert used[known] == pytest.approx(real[known], abs=0.03)


def test_only_what_is_there_is_configured() -> None:
    production, shadow, mirror = pair(ladder())
    assert set(shadow.configs()) == mirror.subset.devices
    assert mirror.drift() == ()
    assert set(production.configs()) > mirror.subset.devices


def test_the_shadow_grows_when_production_takes_another_way_and_shrinks_again() -> None:
    scenario = load(next(path for path in FILES if path.stem == "subset-grows"))
    scenario = replace(scenario, faults=())
    production, shadow, mirror = pair(scenario)
    production.inject(Fault("link_down", 2.0, for_s=6.0, link=("Stuttgart", "Wuerzburg")))
    trial = scenario.change.commands
    sizes, told = [], []
    for at_s in range(1, 26):
        go(production, shadow, mirror, float(at_s))
        mirror.sync(trial)
        sizes.append(len(mirror.subset.devices))
        told += mirror.news()
    assert sizes[0] == 21
    assert max(sizes) == 39
    assert sizes[-1] == 21
    assert sizes[8] == 39  # not at once, when it is over
    assert [n.kind for n in told] == ["shadow_scaled", "shadow_scaled"]
    assert told[0].data["why"].startswith("now meets the change: ")
    assert (told[0].data["before"], told[0].data["after"]) == (21, 39)
    assert told[1].data["why"] == "not needed any more"
    assert told[0].data["coverage"]["devices"] == pytest.approx(39 / 50)
    assert mirror.there(2.0).sum() == 21
    assert mirror.there(9.0).sum() == 39


def test_devices_that_join_get_productions_configs_and_the_trial() -> None:
    scenario = ladder()
    production, shadow, mirror = pair(scenario)
    trial = (*scenario.change.commands, *parse_script("device B\nmanagement telnet\n"))
    go(production, shadow, mirror, 1.0)
    mirror.sync(trial)
    settle(shadow)
    script = "device E\ninterface to-F\n description by hand\n"
    production.inject(Fault("config_drift", 1.0, device="E", script=script))
    go(production, shadow, mirror, 3.0)
    mirror.scale(3)
    assert mirror.subset.devices > chosen(scenario).devices
    mirror.sync(trial)
    settle(shadow)
    inside = mirror.subset.devices
    wanted = apply(production.configs(), trial)
    assert dict(shadow.configs()) == {n: c for n, c in wanted.items() if n in inside}
    mirror.scale(0)
    assert mirror.subset.devices == chosen(scenario).devices | {"E"}
    whys = [notice.data["why"] for notice in mirror.news()]
    assert whys[0] == "3 hops were asked for"
    assert whys[-1] == "0 hops were asked for"


def test_a_device_that_others_change_joins() -> None:
    scenario = ladder()
    production, shadow, mirror = pair(scenario)
    production.inject(
        Fault("config_drift", 1.0, device="G", script="device G\nmanagement telnet\n")
    )
    go(production, shadow, mirror, 2.0)
    commands = mirror.sync()
    assert "G" in mirror.subset.devices
    assert {c.device for c in commands} == {"G"}
    assert mirror.news()[0].data["why"] == "changed by others: G"


# -- in the workflow ---------------------------------------------------------------------------


def ran(scenario: Scenario) -> Run:
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant(scenario.workflow.precog, model)
    return run_workflow(Run(scenario, NETWORKS["simulated"], precog, model, Journal()))


def events(run: Run, kind: str) -> list[Any]:
    return [event for event in run.journal.events if event.kind == kind]


def test_a_go_in_a_subset_is_a_go() -> None:
    run = ran(ladder())
    assert (run.decision, run.end_state) == ("go", "confirmed")
    (created,) = events(run, "shadow_created")
    assert (created.data["devices"], created.data["of"]) == (7, 13)
    assert created.data["coverage"]["demands"] == 0.4
    assert events(run, "not_covered") == []


def test_what_is_not_there_is_no_missing_telemetry_but_what_is_dark_is() -> None:
    dark = ", ".join(
        f"{{at_s: 12, telemetry_gap: {{device: {n}}}, in: shadow}}" for n in ("U", "V", "W")
    )
    run = ran(ladder(faults=dark))
    assert run.decision == "inconclusive"
    (decision,) = events(run, "decision")
    assert any("of the shadow's telemetry arrived" in why for why in decision.data["why"])
    outside = ", ".join(
        f"{{at_s: 12, telemetry_gap: {{device: {n}}}, in: shadow}}" for n in ("X", "Y", "Z")
    )
    assert ran(ladder(faults=outside)).decision == "go"


def test_a_limit_that_the_change_cannot_bear_on_is_said_not_to_be_judged() -> None:
    run = ran(ladder(more="  - {latency: {from: E, to: G, below_ms: 50}}\n"))
    assert run.decision == "go"
    (told,) = events(run, "not_covered")
    assert told.data["limits"] == ["latency all E>G < 50 ms"]


def test_a_class_that_is_not_mirrored_is_never_a_pass() -> None:
    unmirrored = ladder("mirror: {classes: [normal, bulk]}")
    plain = replace(unmirrored, workflow=replace(unmirrored.workflow, precog="threshold"))
    run = ran(plain)
    assert run.decision == "inconclusive"
    (decision,) = events(run, "decision")
    assert "nothing is known of loss critical < 0.02" in decision.data["why"]
    assert ran(unmirrored).decision != "go"  # a learned model may be sterner, never milder


def test_it_is_scaled_when_the_scenario_says_so() -> None:
    run = ran(ladder("scope: subset, hops: 0, scale: [{at_s: 30, hops: 0}, {at_s: 20, hops: 3}]"))
    assert run.decision == "go"
    up, back = events(run, "shadow_scaled")
    assert (up.at_s, back.at_s) == (20.0, 30.0)
    assert up.data["before"] == back.data["after"] == 7
    assert up.data["after"] == back.data["before"] > 7


def test_drift_in_the_trial_reaches_the_shadow_and_its_lag_is_told() -> None:
    drift = '{at_s: 20.5, config_drift: {device: C, script: "management telnet\\n"}}'
    run = ran(ladder(faults=drift))
    assert [c for e in events(run, "drift_repaired") for c in e.data["commands"]] == [
        "C: management telnet"
    ]
    (mirrored,) = events(run, "mirrored")
    assert 0.5 < mirrored.data["config_lag_s"] < 2.0  # it is looked at once a second
    assert run.runs(run.shadow, run.trial)
