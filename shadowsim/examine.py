"""A scenario to what its configs and its change mean, without running it."""

from __future__ import annotations

from typing import Any

import numpy as np

from shadowsim.mirror import Chooser
from shadowsim.model.change import apply, difference
from shadowsim.precog.whatif import Condition, Observed, WhatIf
from shadowsim.scenario import Scenario


def examine(scenario: Scenario) -> dict[str, Any]:
    """Sizes, and what is broken before the change and after it by the model of the configs."""
    topology = scenario.topology
    whatif = WhatIf(topology, scenario.traffic.demands, scenario.intents)
    rates = np.array([d.rate_bps for d in scenario.traffic.demands])
    seen = Observed(frozenset(), np.zeros(topology.directed_links), rates)
    after = apply(scenario.configs, scenario.change.commands)
    states = {"before": scenario.configs, "after": after}
    conditions = {when: whatif.look(c, seen, scenario.configs) for when, c in states.items()}
    net = difference(scenario.configs, after)
    notes = [
        f"commands of the change: {len(scenario.change.commands)}, settings it changes: {len(net)}"
    ]
    notes += _shadow(scenario)
    for when, condition in conditions.items():
        told = _told(whatif, condition, whatif.examples(states[when]))
        notes += [f"{when} the change: {text}" for text in told]
    return {
        "scenario": scenario.name,
        "size": f"{len(topology.devices)} devices, {len(topology.hosts)} hosts, "
        f"{len(topology.links)} links, {len(scenario.traffic.demands)} demands",
        "broken_before": list(conditions["before"].broken + conditions["before"].exposed),
        "broken_after": list(conditions["after"].broken + conditions["after"].exposed),
        "notes": notes,
    }


def _shadow(scenario: Scenario) -> list[str]:
    """What a shadow that is a part of the network would cover, at the start and when scaled."""
    plan = scenario.shadow
    if plan.scope == "full":
        return []
    topology, demands = scenario.topology, scenario.traffic.demands
    chooser = Chooser(topology, demands, scenario.intents, scenario.change)
    rates = np.array([d.rate_bps for d in demands])
    notes = []
    for at_s, hops in ((0.0, plan.hops), *plan.scale):
        subset = chooser.choose(scenario.configs, rates, hops=hops)
        notes.append(
            f"shadow at {at_s:g} s: {len(subset.devices)} of {len(topology.devices)} devices, "
            f"covers {subset.coverage.text}"
        )
    return notes


def _told(whatif: WhatIf, condition: Condition, examples: tuple[str, ...]) -> list[str]:
    told = [f"broken: {name}" for name in condition.broken]
    told += [f"exposed: {name}" for name in condition.exposed]
    told += [f"  for example {text}" for text in examples[:3]]
    told += [f"{name} gets less than half" for name in condition.starved[:3]]
    told += [
        f"{limit.name}: at {level:.0%} of it"
        for limit, level in zip(whatif.limits.limits, condition.severity, strict=True)
        if np.isfinite(level)
    ]
    return told
