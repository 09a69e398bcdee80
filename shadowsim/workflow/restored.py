"""A network after a rollback to what in it is not as before the change, and what nobody knows.

A config restored is not a service restored: retries may keep a network down, or state be lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.model.change import Command, Configs, difference, reverted
from shadowsim.model.intents import Limit
from shadowsim.model.telemetry import Sample, Telemetry
from shadowsim.model.traffic import CLASSES
from shadowsim.network import Witnessed
from shadowsim.precog.whatif import Observed
from shadowsim.workflow.state import Run

SERVED = 0.9  # of what arrived before the change: with less, service is not restored
STEADY = 2  # consecutive samples that make a measured breach a fact
NAMED = 3  # lines of others that are named


def exceeded(run: Run, telemetry: Telemetry) -> set[str]:
    """The limits that the last samples exceed, and critical demands that starve in them."""
    recent = telemetry.samples[-STEADY:]
    if len(recent) < STEADY:
        return set()
    limits = run.whatif.limits
    demand = np.array([s.demand for s in recent])
    severity = limits.severity(demand, np.array([s.column("link", "utilisation") for s in recent]))
    broken = (severity > 1.0).all(axis=0)
    starving = limits.starving(demand)
    names = {limits.limits[n].name for n in np.flatnonzero(broken)}
    if not starving.any():
        return names
    demands = telemetry.layout.demands
    return names | set.intersection(*({demands[n] for n in np.flatnonzero(r)} for r in starving))


def of_demands(limit: Limit) -> bool:
    return limit.metric != "utilisation"


def is_known(limit: Limit, mask: np.ndarray, samples: Sequence[Sample]) -> bool:
    """Whether any reading of what a limit speaks of arrived lately."""
    if limit.metric == "utilisation":
        return any(np.isfinite(s.column("link", "utilisation")).any() for s in samples[-STEADY:])
    return any(np.isfinite(s.demand[mask, 3]).any() for s in samples[-STEADY:])


def unwell(
    run: Run, where: str, network: Witnessed, commands: Sequence[Command], reference: set[str]
) -> tuple[str, ...]:
    """What is not as before the change: intents, limits, and what users get.

    Neither what others have broken (`by_others`) nor what nobody knows (`not_known`).
    """
    configs = run.configs(network, commands)
    fallen = _fallen(run, where, configs)
    ours = fallen - _without_change(run, where, configs, fallen)
    limits = exceeded(run, run.telemetry[where]) - reference
    return (*sorted(ours | limits), *_unserved(run, where, configs))


def by_others(run: Run) -> tuple[str, ...]:
    """What held in production before the change and is broken by what others have set since."""
    configs = run.configs(run.production, run.deployed)
    theirs = _without_change(run, "production", configs, _fallen(run, "production", configs))
    if not theirs:
        return ()
    change = run.sent
    without = reverted(run.before, configs, change, change.commands, change.commands)
    lines = [f"'{command}'" for command in difference(run.before, without)]
    more = f" and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    return tuple(
        f"{name} is broken by what others have set: {', '.join(lines[:NAMED])}{more}"
        for name in sorted(theirs)
    )


def _fallen(run: Run, where: str, configs: Configs) -> frozenset[str]:
    """Intents that fail, and what is exposed, under these configs but not under those of before,
    on the links of now.
    """
    return _failing(run, where, configs, run.whatif.observe(run.telemetry[where], configs).down)


def _without_change(
    run: Run, where: str, configs: Configs, fallen: frozenset[str]
) -> frozenset[str]:
    """Those of them that fail, too, if all settings that the change speaks of are as before it."""
    if not fallen:
        return fallen
    change = run.sent if where == "production" else run.scenario.change
    before = _before(run, where)
    without = reverted(before, configs, change, change.commands, change.commands)
    down = run.whatif.observe(run.telemetry[where], configs).down
    return fallen & _failing(run, where, without, down)


def _failing(run: Run, where: str, configs: Configs, down: frozenset[int]) -> frozenset[str]:
    """What these configs break, or expose, on those links, and those of before do not."""
    before = _before(run, where)
    opened = set(run.whatif.settle(configs, down).exposed(run.before))
    opened.difference_update(run.whatif.settle(before, down).exposed(run.before))
    return frozenset((*run.whatif.breaks(configs, before, down), *opened))


def _before(run: Run, where: str) -> Configs:
    """What the configs were without the change; the shadow's are production's of now."""
    return run.before if where == "production" else run.configs(run.production, run.deployed)


def _unserved(run: Run, where: str, configs: Configs) -> list[str]:
    """The traffic classes of which clearly less arrives than before the change, steadily.

    What would be lost of the traffic of then on the links of now is not held against the rollback.
    """
    baseline, recent = run.baseline(where), run.telemetry[where].samples[-STEADY:]
    if not baseline.samples or not recent:
        return []
    then = run.whatif.observe(baseline, configs)
    links = run.whatif.observe(Telemetry(baseline.layout, recent), configs)
    condition = run.whatif.look(
        configs, Observed(links.down, links.loss, then.rates_bps), run.before
    )
    before = _rates(baseline.samples)
    found = []
    for number, name in enumerate(CLASSES):
        mine, telling = _telling(run, where, name)
        if not telling:
            continue
        now = max(_share(_rates([sample])[:, mine]) for sample in telling)
        was = _share(before[:, mine])
        offered = float(then.rates_bps[mine].sum())
        could = 1.0 - condition.lost_bps[number] / offered if offered else 1.0
        if now < SERVED * min(was, could):
            found.append(f"of {name} traffic {now:.0%} arrives, before the change {was:.0%}")
    return found


def not_known(run: Run, where: str) -> tuple[str, ...]:
    """The traffic classes and limits of which nothing is known any more: they are not verified."""
    baseline, recent = run.baseline(where).samples, run.telemetry[where].samples[-STEADY:]
    found = []
    for name in CLASSES:
        mine, telling = _telling(run, where, name)
        if mine.any() and not telling:
            found.append(f"nothing is known of {name} traffic")
    limits = run.whatif.limits
    for limit, mask in zip(limits.limits, limits.masks, strict=True):
        was_known = any(is_known(limit, mask, [sample]) for sample in baseline)
        if mask.any() and was_known and not is_known(limit, mask, recent):
            found.append(f"nothing is known of {limit.name}")
    return tuple(found)


def _telling(run: Run, where: str, name: str) -> tuple[np.ndarray, list[Sample]]:
    """The demands of a class that were reported before the change, and those of the last samples
    that report enough of them.
    """
    of_class = np.array([d.traffic_class == name for d in run.scenario.traffic.demands], np.bool_)
    mine = of_class & _reported(run.baseline(where).samples, len(of_class)).any(axis=0)
    recent = run.telemetry[where].samples[-STEADY:]
    shares = _reported(recent, len(of_class))[:, mine]
    least = run.scenario.workflow.minimum_coverage * mine.sum()
    known = mine.any() & (shares.sum(axis=1) >= least)
    return mine, [sample for sample, enough in zip(recent, known, strict=True) if enough]


def _reported(samples: Sequence[Sample], demands: int) -> np.ndarray:
    """`[samples, demands]`: whether it is known what is offered and what arrives."""
    rates = np.array([sample.demand[:, :2] for sample in samples]).reshape(len(samples), demands, 2)
    found: np.ndarray = np.isfinite(rates).all(axis=2)
    return found


def _rates(samples: Sequence[Sample]) -> np.ndarray:
    """`[samples, demands, 2]`: what is offered, and what arrives; 0 where either is not known."""
    rates = np.array([sample.demand[:, :2] for sample in samples])
    found: np.ndarray = np.where(np.isfinite(rates).all(axis=2, keepdims=True), rates, 0.0)
    return found


def _share(rates: np.ndarray) -> float:
    """What arrives of what is offered in all these samples; 1 where nothing is."""
    offered, arrived = rates.sum(axis=1).sum(axis=0)
    return float(arrived / offered) if offered > 0 else 1.0
