"""A change and its circumstances to what an operator would have seen of it, and to what came of it.

The change is tried on a shadow and then deployed to production whatever anyone says, and nothing
is taken back. The evidence is what a run of the workflow would have had at the same times; the
label is the truth, of which no look knows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from shadowsim.history.looks import Look, Observer
from shadowsim.journal import Journal
from shadowsim.model.faults import Fault
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.truth import Spell, failure_modes, onsets, since
from shadowsim.network import NETWORKS, Factory, Witnessed
from shadowsim.precog import Evidence, Forecast, WhatIf
from shadowsim.precog.past import Past
from shadowsim.scenario import Scenario
from shadowsim.workflow import Run
from shadowsim.workflow.phases import (
    NotInstalled,
    read_again,
    roll_out,
    shadow_deployment,
    traffic_and_monitoring,
)

LIKELY = 0.5


@dataclass(frozen=True)
class Label:
    """What really came of a change.

    `came_at_s`: the failure modes that came and would not have without the change, and when each
    began, in seconds since the change began in production. `anyway`: those that came and would
    have. `sign`: whether anything spoke against the change before it was deployed. `background`:
    the faults that production had while it was monitored.
    """

    came_at_s: dict[str, float]
    anyway: tuple[str, ...]
    sign: bool
    background: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return bool(self.came_at_s)


@dataclass(frozen=True)
class Record:
    """The evidence of one change, in order of time, and apart from it the label."""

    looks: tuple[Look, ...]
    label: Label


class Silent:
    """Forecasts nothing, so that nobody acts."""

    name = "silent"

    def forecast(self, evidence: Evidence) -> Forecast:
        return Forecast()


@dataclass
class _Onlooker:
    """Looks at production at given times since the change began there, and never has enough."""

    observer: Observer
    times_s: list[float]
    found: list[Look] = field(default_factory=list)

    def __call__(self, run: Run) -> bool:
        since_s = run.now - run.since_s("production")
        if self.times_s and self.times_s[0] <= since_s + 1e-9:
            self.found.append(self.observer.look(run.evidence("production"), since_s)[0])
            self.times_s = [at_s for at_s in self.times_s if at_s > since_s + 1e-9]
        return False


class _Nobody:
    """Looks at nothing, and never has enough."""

    times_s: Sequence[float] = ()

    def __call__(self, run: Run) -> bool:
        return False


def simulate(
    scenario: Scenario,
    past: Past,
    observer: Observer,
    looks: Sequence[float],
    networks: Factory = NETWORKS["simulated"],
) -> Record:
    """Let the change of a scenario happen, and look at it once in the shadow, at the gate, and in
    production as soon as each of `looks` (seconds since the change began there) has come.

    If a device does not take its commands the rest of the script is not sent, in the shadow and in
    production. `past` is of the earlier changes at this site.
    """
    run = Run(scenario, networks, Silent(), observer.whatif, Journal(), past=past)
    _try(run)
    gate, told = observer.look(run.evidence("shadow"), run.now - run.trial_since_s)
    sign = _signs(since(run.shadow.spells(), run.trial_since_s), told["script"])
    onlooker = _Onlooker(observer, sorted(looks))
    _let_happen(run, onlooker)
    return Record((gate, *onlooker.found), _label(run, sign, networks))


@dataclass(frozen=True)
class LeftAlone:
    """What production reported of a change that was left alone, since when it had it, and what
    came of it.
    """

    telemetry: Telemetry
    since_s: float
    label: Label


def left_alone(scenario: Scenario, networks: Factory = NETWORKS["simulated"]) -> LeftAlone:
    """Let the change of a scenario happen at the time a run would deploy it, and take nothing back.

    The sign of the label is whether the shadow failed.
    """
    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    run = Run(scenario, networks, Silent(), whatif, Journal())
    _try(run)
    sign = bool(failure_modes(since(run.shadow.spells(), run.trial_since_s)))
    _let_happen(run, _Nobody())
    label = _label(run, sign, networks)
    return LeftAlone(run.telemetry["production"], run.deployed_since_s or run.now, label)


def _try(run: Run) -> None:
    """Try the change on a shadow; nobody decides anything by what is seen."""
    run.begin()
    if shadow_deployment(run):
        traffic_and_monitoring(run)


def _let_happen(run: Run, onlooker: _Onlooker | _Nobody) -> None:
    """Deploy to production and leave it there until its time is over."""
    _dismiss_shadow(run)
    read_again(run)
    with suppress(NotInstalled):
        roll_out(run, onlooker)
    _leave_alone(run, onlooker)
    run.production.close()


def _leave_alone(run: Run, onlooker: _Onlooker | _Nobody) -> None:
    """Let production be monitored for as long as a run does it, by whole seconds where it is looked
    at: between two looks nobody has to be asked, and the network computes a stretch at once.
    """
    end_s = run.now + run.scenario.workflow.monitor_s
    began_s = run.since_s("production")
    for at_s in [*(np.ceil(began_s + since_s) for since_s in onlooker.times_s), end_s]:
        if at_s <= end_s:
            run.telemetry["production"].samples += run.production.advance(float(at_s))
            onlooker(run)


def over_s(scenario: Scenario) -> float:
    """How long a change is looked at in production, at least."""
    plan, devices = scenario.workflow, len(scenario.change.devices)
    return plan.monitor_s + devices * plan.soak_s


def _dismiss_shadow(run: Run) -> None:
    """Nothing in production depends on its shadow, and from the gate on nobody asks it."""
    run.shadow.close()
    run.shadow_lost = True


def _signs(trial: Collection[Spell], script: Forecast) -> bool:
    """Whether the shadow failed of the change, or the what-if model has some state of the script
    fail under the traffic of then.
    """
    return bool(failure_modes(trial)) or any(r.probability >= LIKELY for r in script.reasons)


def _label(run: Run, sign: bool, networks: Factory) -> Label:
    from_s, end_s = run.deployed_since_s or 0.0, run.now
    spells = _from(run.production.spells(), from_s)
    seen = onsets(spells)
    came = onsets(spells, _without_change(run.scenario, end_s, networks)) if seen else {}
    about = [f.name for f in run.scenario.faults if _is_about(f, from_s, end_s)]
    return Label(
        {mode: at_s - from_s for mode, at_s in came.items()},
        tuple(mode for mode in seen if mode not in came),
        sign,
        tuple(dict.fromkeys(about)),
    )


def _from(spells: Collection[Spell], at_s: float) -> list[Spell]:
    """The spells from a time on, cut there."""
    return [replace(s, from_s=max(s.from_s, at_s)) for s in spells if s.to_s > at_s]


def _without_change(scenario: Scenario, until_s: float, networks: Factory) -> tuple[Spell, ...]:
    """What would have been broken in production if nobody had touched it: its twin's truth."""
    twin: Witnessed = networks(scenario, scenario.configs, "production")
    twin.advance(until_s)
    twin.close()
    return twin.spells()


def _is_about(fault: Fault, from_s: float, end_s: float) -> bool:
    """Whether a fault holds in production at any time between these."""
    over = fault.at_s + (float("inf") if fault.for_s is None else fault.for_s)
    return fault.network != "shadow" and fault.at_s < end_s and over > from_s
