"""Changes of ten commands to how long the plan and its rehearsal take, and how soon one is back."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace

from shadowsim.bench.timing import Row
from shadowsim.journal import Journal
from shadowsim.model.traffic import Demand, Traffic
from shadowsim.network import NETWORKS
from shadowsim.precog import WhatIf, variant
from shadowsim.scenario import Scenario, parse
from shadowsim.workflow import Run, run_workflow
from shadowsim.workflow.gate import rehearse
from shadowsim.workflow.phases import shadow_deployment

COMMANDS = 10
FLOWS = 10_000  # on the fat tree
REPEATS = 3
HEAD = """
name: bench
seed: {seed}
topology: {topology}
traffic: {traffic}
intents:
  - {{reachable: {{from: any, to: any}}}}
  - {{utilisation: {{below_percent: 90}}}}
workflow: {{baseline_s: 5, shadow_s: 5, monitor_s: 30, soak_s: 1}}
"""
GERMANY = {"topology": "{topohub: sndlib/germany50}", "traffic": "{demands: topohub, scale: 0.5}"}
ABILENE = {
    "topology": "{topohub: sndlib/abilene, links: {rate_mbps: 100}}",
    "traffic": "{demands: topohub, scale: 0.5}",
}
DRAIN = "device ATLAng\ninterface to-HSTNng\n ip ospf cost 5000\n"
SURGE = "{at_s: 40, traffic_surge: {from: any, to: any, factor: 1.4}}"
SPARE = "device STTLng\ninterface to-DNVRng\n shutdown\n"
CUT = "{at_s: 40, link_down: {link: [SNVAng, STTLng]}}"
SHUT = "device ATLAng\ninterface to-HSTNng\n shutdown\ninterface to-IPLSng\n shutdown\n"


def germany_ten() -> list[Row]:
    """Ten costs on ten devices of Germany50, planned and rehearsed in the shadow."""
    return [_rehearsed("Germany50", _ten(GERMANY), 2.0)]


def fat_tree_ten() -> list[Row]:
    """Ten costs on ten switches of a k = 16 fat tree with 10,000 demands."""
    given = {"topology": "{fat_tree: {k: 16}}", "traffic": "{demands: []}"}
    scenario = _ten(given)
    draw = random.Random(1)
    hosts = [host.name for host in scenario.topology.hosts]
    pairs = [draw.sample(hosts, 2) for _ in range(FLOWS)]
    demands = tuple(Demand(source, destination, 2e6) for source, destination in pairs)
    scenario = replace(scenario, traffic=Traffic(demands))
    return [_rehearsed("k=16 fat tree, 10,000 demands", scenario, 20.0)]


def _ten(given: dict[str, str]) -> Scenario:
    """A scenario whose change raises the cost of one port on each of ten devices."""
    plain = parse(HEAD.format(seed=1, **given) + 'change: {script: ""}\n', file="bench.yml")
    first = {link.a: link for link in reversed(plain.topology.links)}
    links = [first[name] for name in sorted(first)[:COMMANDS]]
    lines = [
        f"device {link.a}\ninterface to-{link.b}\n ip ospf cost {12 + n}\n"
        for n, link in enumerate(links)
    ]
    return _scenario("".join(lines), 1, given)


def _scenario(script: str, seed: int, given: dict[str, str], faults: str = "") -> Scenario:
    indented = "".join(f"    {line}\n" for line in script.splitlines())
    change = f"change:\n  summary: bench\n  script: |\n{indented}"
    text = f"{HEAD.format(seed=seed, **given)}{change}faults: [{faults}]\n"
    return parse(text, file="bench.yml")


def _run(scenario: Scenario) -> Run:
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    return Run(scenario, NETWORKS["simulated"], variant("hybrid", model), model, Journal())


def _rehearsed(where: str, scenario: Scenario, goal_s: float) -> Row:
    run = _run(scenario)
    run.before = {}
    run.production = run.factory(scenario, scenario.configs, "production")
    run.before = dict(run.production.configs())
    shadow_deployment(run)
    seconds, network_s = [], []
    for _ in range(1 + REPEATS):  # the first one warms up
        begin, begin_s = time.perf_counter(), run.now
        signature = rehearse(run, scenario.change.commands)
        seconds.append(time.perf_counter() - begin)
        network_s.append(run.now - begin_s)
    note = (
        f"{len(signature.steps)} steps, safe order: {signature.safe_order}; "
        f"{statistics.median(network_s[1:]):.1f} network seconds; {signature.rehearsal.detail}"
    )
    name = f"{COMMANDS} commands planned and rehearsed, {where}"
    return Row(name, statistics.median(seconds[1:]), "s", goal_s, None, note)


def time_to_rollback() -> list[Row]:
    """Network seconds from the sign of a failure to a rollback that is verified, over nine runs."""
    cases = [(DRAIN, SURGE), (SPARE, CUT), (SHUT, SURGE)]
    scenarios = [_scenario(s, seed, ABILENE, f) for s, f in cases for seed in (1, 2, 3)]
    runs = [run_workflow(_run(scenario)) for scenario in scenarios]
    took_s = sorted(r.time_to_rollback_s for r in runs if r.time_to_rollback_s is not None)
    if not took_s:
        return [Row("sign of failure to verified rollback", float("inf"), "s", 2.0, None, "none")]
    note = (
        f"median of {len(took_s)} of {len(runs)} runs that rolled back; "
        f"{took_s[0]:.1f} to {took_s[-1]:.1f} network seconds"
    )
    figure = statistics.median(took_s)
    return [Row("sign of failure to verified rollback", figure, "s", 2.0, None, note)]
