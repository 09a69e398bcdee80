"""A look at a change to how long its features, and a forecast by them, take: a new change at the
gate, and in production second by second.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from shadowsim.bench.planner import ABILENE, GERMANY, HEAD
from shadowsim.bench.timing import Row
from shadowsim.model.telemetry import Telemetry
from shadowsim.network import NETWORKS
from shadowsim.precog import Evidence, WhatIf
from shadowsim.precog.features import NAMES, Featurizer
from shadowsim.precog.supervised import supervised
from shadowsim.scenario import Scenario, parse

BEFORE_S, LOOK_S = 20, 40  # network seconds that are observed before and with the change
REPEATS = 30
TWO_COSTS = """change:
  script: |
    device {a}
    interface to-{b}
     ip ospf cost 5000
    device {b}
    interface to-{a}
     ip ospf cost 5000
"""


def looks() -> list[Row]:
    """Two costs on one link, of Abilene and of Germany50."""
    return [*_timed("Abilene", ABILENE), *_timed("Germany50", GERMANY)]


def _timed(where: str, given: dict[str, str]) -> list[Row]:
    plain = parse(HEAD.format(seed=1, **given) + 'change: {script: ""}\n', file="bench.yml")
    link = plain.topology.links[0]
    text = HEAD.format(seed=1, **given) + TWO_COSTS.format(a=link.a, b=link.b)
    gate = _evidence(parse(text, file="bench.yml"))
    parts = gate.topology, gate.demands, gate.intents
    first = []
    for _ in range(1 + REPEATS):  # the first one warms up
        featurizer = Featurizer(*parts, WhatIf(*parts))
        featurizer.of(replace(gate, change=replace(gate.change, commands=())))
        begin = time.perf_counter()
        featurizer.of(gate)
        first.append(time.perf_counter() - begin)
    featurizer, learned = Featurizer(*parts, WhatIf(*parts)), supervised(WhatIf(*parts))
    again = _each_second(gate, featurizer.of)
    told = _each_second(gate, learned.forecast)
    note = f"{len(NAMES)} features, {len(gate.demands)} demands"
    return [
        Row(f"features at the gate, {where}", 1e3 * statistics.median(first[1:]), "ms", 10.0,
            None, f"{note}; the change is new, the network is not"),
        Row(f"features in production, {where}", 1e3 * again, "ms", 1.0, None,
            f"{note}; median of looks second by second"),
        Row(f"forecast in production, {where}", 1e3 * told, "ms", 2.0, None,
            "features and model, as `supervised` makes it; median of looks second by second"),
    ]  # fmt: skip


def _each_second(gate: Evidence, look: Callable[[Evidence], object]) -> float:
    """The median seconds of a look at production, each with a sample more than the last."""
    samples, took = gate.observed.samples, []
    for count in range(LOOK_S - REPEATS, LOOK_S + 1):
        observed = Telemetry(gate.observed.layout, samples[:count])
        one = replace(gate, phase="production", control=None, observed=observed)
        for sample in observed.samples[-1:]:
            sample.column("demand", "loss")  # the network is not what is measured
        begin = time.perf_counter()
        look(one)
        took.append(time.perf_counter() - begin)
    return statistics.median(took[1:])


def _evidence(scenario: Scenario) -> Evidence:
    """The scenario's network, observed under its change and before."""
    network = NETWORKS["simulated"](scenario, scenario.configs, "production")
    before = dict(network.configs())
    samples = list(network.advance(float(BEFORE_S)))
    network.apply(scenario.change.commands)
    samples += network.advance(float(BEFORE_S + LOOK_S))
    layout = network.layout
    now = Telemetry(layout, samples[BEFORE_S:])
    return Evidence(
        "shadow", scenario.topology, scenario.traffic.demands, scenario.intents, scenario.change,
        before, dict(network.configs()), Telemetry(layout, samples[:BEFORE_S]), now,
        Telemetry(layout, samples), horizon_s=15.0, soak_s=3.0,
    )  # fmt: skip
