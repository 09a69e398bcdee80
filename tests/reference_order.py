"""What is wrong on the way between two configs, by looking at every state afresh.

Slow on purpose: nothing is kept from one state to the next, and nothing of the planner is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import permutations

import numpy as np

from shadowsim.dataplane.forwarding import Compiler, Physical
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.loading import Loader
from shadowsim.dataplane.verify import verify
from shadowsim.model.change import Change, Configs, apply
from shadowsim.network.damage import matched
from shadowsim.scenario import Scenario


def wrong(scenario: Scenario, configs: Configs) -> frozenset[str]:
    """Intents and limits that do not hold and links that are full, under the scenario's faults."""
    topology, demands = scenario.topology, scenario.traffic.demands
    down = {
        2 * cable + side
        for fault in scenario.faults
        if fault.kind == "link_down"
        for cable in topology.cables(*fault.link or ("", ""))
        for side in (0, 1)
    }
    rates = np.array([demand.rate_bps for demand in demands])
    for fault in scenario.faults:
        if fault.kind == "traffic_surge":
            rates[matched(topology, demands, fault)] *= fault.amount
    plane = Compiler(topology).compile(configs, Physical(down=frozenset(down)))
    found = {v.intent.name for v in verify(plane, scenario.intents.paths) if not v.holds}
    loader = Loader(topology, demands)
    no_loss, offered = np.zeros(topology.directed_links), loader.spread(rates)
    loads = loader.solve(loader.route(plane), offered, no_loss)
    load, rate = loads.link_load_bps[0], np.where(plane.up, plane.rate_bps, np.inf)
    found |= {f"full {topology.link_name(int(n))}" for n in np.flatnonzero(load > 0.999999 * rate)}
    limits = Limits(topology, demands, scenario.intents.limits)
    reading = loader.at_once(plane, loads, offered, no_loss)
    severity = limits.severity(reading.demand, reading.utilisation)
    found |= {lim.name for lim, s in zip(limits.limits, severity, strict=True) if s > 1.0}
    return frozenset(found)


def hurt_on_the_way(scenario: Scenario, states: Iterable[Configs]) -> set[str]:
    """What is wrong in any of the states, but neither in the first nor in the last."""
    found = [wrong(scenario, configs) for configs in states]
    return set().union(*found) - found[0] - found[-1]


def naive(before: Configs, change: Change) -> Iterator[Configs]:
    """The states when a change is undone command by command, the last first."""
    for count in range(len(change.commands), -1, -1):
        yield apply(before, change.commands[:count])


def orders(needs: Sequence[frozenset[int]]) -> Iterator[tuple[int, ...]]:
    """Every order in which all come after what they need."""
    for order in permutations(range(len(needs))):
        if all(needs[place] <= set(order[:at]) for at, place in enumerate(order)):
            yield order


def smallest_sets(count: int, passes: Callable[[frozenset[int]], bool]) -> list[frozenset[int]]:
    """All sets of the least size that pass, by trying each set there is."""
    sets = [frozenset(p for p in range(count) if mask >> p & 1) for mask in range(1, 1 << count)]
    passing = [places for places in sets if passes(places)]
    least = min((len(places) for places in passing), default=0)
    return [places for places in passing if len(places) == least]
