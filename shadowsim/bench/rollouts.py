"""A thousand what-if futures of one change on Abilene to how long they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

import numpy as np

from shadowsim.bench.timing import Row, best_of
from shadowsim.dataplane.forwarding import Physical
from shadowsim.dataplane.futures import Futures, Ground, Masks
from shadowsim.model.change import apply
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.truth import MODES
from shadowsim.network import NETWORKS
from shadowsim.precog import Evidence, WhatIf
from shadowsim.precog.rollouts import MOST_FUTURES, Rolled, Rollouts
from shadowsim.precog.sampling import Site, Unknowns, draw
from shadowsim.scenario import Scenario, parse

FUTURES = 1000
SECONDS = 60
GOAL_S = 1.0
SCENARIO = """
name: bench
seed: 1
topology: {{topohub: sndlib/abilene, links: {{rate_mbps: 100}}}}
traffic: {{demands: topohub, scale: {scale}}}
intents:
  - {{reachable: {{from: any, to: any}}}}
  - {{latency: {{below_ms: 60}}}}
  - {{utilisation: {{below_percent: 90}}}}
change:
  summary: drain a link
  script: |
    device ATLAng
    interface to-HSTNng
     ip ospf cost 5000
"""
REGIMES = {"light": 0.2, "near its limit": 0.4, "beyond it": 0.6}


def futures_1000() -> list[Row]:
    """1,000 futures drawn, looked at with and without the change, and told; a forecast as a run
    makes it; and 1,000 futures of which every step is solved, as if nothing were certain.
    """
    rows = []
    for regime, scale in REGIMES.items():
        scenario = parse(SCENARIO.format(scale=scale), file="bench.yml")
        evidence = _evidence(scenario)
        for futures, goal_s in ((FUTURES, GOAL_S), (MOST_FUTURES, 0.25)):
            whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
            rollouts = Rollouts(whatif, futures, least=futures)
            seconds = best_of(_rolling(rollouts, evidence), 7)
            name = f"{futures:,} what-if futures on Abilene, {regime}"
            rows.append(Row(name, seconds, "s", goal_s, None, _told(rollouts.roll(evidence))))
        rows.append(_all_solved(scenario, evidence, regime))
    return rows


def _rolling(rollouts: Rollouts, evidence: Evidence) -> Callable[[], object]:
    """Roll with another seed each time."""
    seeds = count(0)
    return lambda: rollouts.roll(evidence, next(seeds))


def _evidence(scenario: Scenario) -> Evidence:
    """What is known after half a minute of a network without faults."""
    network = NETWORKS["simulated"](scenario, scenario.configs, "production")
    seen = Telemetry(network.layout, network.advance(30.0))
    change = scenario.change
    return Evidence(
        "shadow", scenario.topology, scenario.traffic.demands, scenario.intents, change,
        scenario.configs, apply(scenario.configs, change.commands), seen, seen, seen,
        scenario.workflow.horizon_s, scenario.workflow.soak_s,
    )  # fmt: skip


def _told(rolled: Rolled) -> str:
    chances = ", ".join(
        f"{mode.split('_')[1]} {p:.3f} (+-{error:.3f})"
        for mode, p, error in zip(MODES, rolled.probability, rolled.standard_error, strict=True)
        if p > 0.0
    )
    return f"{rolled.solved:,} steps solved; {chances or 'no failure'}"


def _all_solved(scenario: Scenario, evidence: Evidence, regime: str) -> Row:
    """The engine alone, without leaving out what is certain."""
    demands, change = scenario.traffic.demands, scenario.change
    engine = Futures(scenario.topology, demands, scenario.intents, threads=2)
    whatif = WhatIf(scenario.topology, demands, scenario.intents)
    seen = whatif.observe(evidence.observed, scenario.configs)
    site = Site.of(scenario.topology, demands, seen, evidence.observed)
    random = np.random.default_rng(1)
    drawn = draw(site, Unknowns(), (change.commands,), 1.0, FUTURES, SECONDS, random)
    ground = Ground(Physical(), np.zeros_like(seen.loss))
    states = [
        engine.state(configs, ground, scenario.configs)
        for configs in (scenario.configs, apply(scenario.configs, change.commands))
    ]
    drawn.tape.state[:] = drawn.stage
    look: partial[Masks] = partial(engine.masks, states, drawn.tape, skip=False)
    seconds = best_of(look, 5)
    note = f"{look().solved:,} steps, {seconds / look().solved * 1e6:.1f} us each, two threads"
    name = f"{FUTURES:,} futures on Abilene, {regime}, every step solved"
    return Row(name, seconds, "s", GOAL_S, None, note)
