"""What is wrong on the way between two configs, by looking at every state afresh.

Slow on purpose: nothing is kept from one state to the next, and nothing of the planner is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from shadowsim.dataplane.flows import Loads
from shadowsim.dataplane.forwarding import Compiler, Physical
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.loading import Loader
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.verify import verify
from shadowsim.model.change import Change, Configs, apply
from shadowsim.network.damage import matched
from shadowsim.scenario import Scenario


class Levels(NamedTuple):
    """How near each thing is to what it must not exceed, 1, by (what must hold, of whom)."""

    of: dict[tuple[str, str], float]

    def beyond(self, *ends: Levels) -> set[str]:
        """What is exceeded here for someone for whom it is not at the ends, or by less there."""
        found = set()
        for (name, whom), level in self.of.items():
            worst = max(end.of.get((name, whom), 0.0) for end in ends)
            if level > 1.0 and (worst <= 1.0 or worst < 0.98 * level):
                found.add(name)
        return found


def levels(scenario: Scenario, configs: Configs) -> Levels:
    """Of intents by pair of hosts, limits by demand and link, full links, and traffic lost."""
    topology, demands = scenario.topology, scenario.traffic.demands
    plane, loader, loads, offered = _under_faults(scenario, configs)
    pairs = [
        (intent, replace(intent, source=source, destination=destination))
        for intent in scenario.intents.paths
        for source, destination in product(
            topology.resolve(intent.source), topology.resolve(intent.destination)
        )
        if source != destination
    ]
    verdicts = verify(plane, [pair for _, pair in pairs])
    found = {
        (intent.name, f"{pair.source}>{pair.destination}"): 0.0 if verdict.holds else 2.0
        for (intent, pair), verdict in zip(pairs, verdicts, strict=True)
    }
    load, rate = loads.link_load_bps[0], np.where(plane.up, plane.rate_bps, np.inf)
    for n, full in enumerate(load > 0.999999 * rate):
        found[f"full {topology.link_name(n)}", ""] = 2.0 if full else 0.0
    no_loss = np.zeros(topology.directed_links)
    reading = loader.at_once(plane, loads, offered, no_loss)
    for demand, (wanted, sent, *_) in zip(demands, reading.demand, strict=True):
        found["lost", demand.name] = (1.0 - sent / wanted) / 0.02 if wanted > 0 else 0.0
    for limit in scenario.intents.limits:
        for n, demand in enumerate(demands):
            level = Limits(topology, [demand], [limit]).severity(reading.demand[[n]], np.zeros(1))
            found[limit.name, demand.name] = float(np.nan_to_num(level[0]))
        for n, used in enumerate(reading.utilisation if limit.metric == "utilisation" else ()):
            found[limit.name, topology.link_name(n)] = float(used) / limit.bound
    return Levels(found)


def wrong(scenario: Scenario, configs: Configs) -> frozenset[str]:
    """Intents and limits that do not hold and links that are full, under the scenario's faults."""
    return frozenset(
        name
        for (name, _), level in levels(scenario, configs).of.items()
        if level > 1.0 and name != "lost"
    )


def _under_faults(scenario: Scenario, configs: Configs) -> tuple[Plane, Loader, Loads, np.ndarray]:
    """The plane under the faults, and what the traffic comes to on it."""
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
    loader = Loader(topology, demands)
    no_loss, offered = np.zeros(topology.directed_links), loader.spread(rates)
    return plane, loader, loader.solve(loader.route(plane), offered, no_loss), offered


def hurt_on_the_way(scenario: Scenario, states: Iterable[Configs]) -> set[str]:
    """What is wrong for someone in any of the states, but neither in the first nor in the last."""
    found = [levels(scenario, configs) for configs in states]
    return set().union(*(state.beyond(found[0], found[-1]) for state in found))


def open_to_all(configs: Configs) -> set[tuple[str, str]]:
    """The ports and services that an access list guards which has no entry."""
    guards = {
        (name, where): guard
        for name, config in configs.items()
        for where, guard in (
            *((f"{port.name} in", port.acl_in) for port in config.interfaces.values()),
            *((f"{port.name} out", port.acl_out) for port in config.interfaces.values()),
            *config.management.items(),
        )
    }
    return {at for at, acl in guards.items() if acl and not configs[at[0]].access_lists.get(acl)}


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
