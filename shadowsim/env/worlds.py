"""A scenario to what can happen to its change: tried, deployed and left alone, or taken back.

All of it is the workflow's own code, driven without anybody who decides. Production does not
depend on its shadow, so once it has the change it is simulated without one. As in a history, what
a run does between its decision and the deployment (rehearsing rollbacks) takes no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from shadowsim.history.looks import Features
from shadowsim.journal import Journal
from shadowsim.model.change import Command, Configs
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.truth import Spell
from shadowsim.network import NETWORKS
from shadowsim.precog import Evidence, Forecast, WhatIf
from shadowsim.precog.features import Featurizer
from shadowsim.precog.past import Past
from shadowsim.rollback.blame import Blame, blame
from shadowsim.scenario import Scenario
from shadowsim.workflow import Run
from shadowsim.workflow.phases import (
    NotInstalled,
    leave,
    read_again,
    roll_out,
    shadow_deployment,
    traffic_and_monitoring,
)
from shadowsim.workflow.watch import roll_back

Floats = np.ndarray
Commands = tuple[Command, ...]

EVERY_S = 2.0  # between looks at production
BEYOND_S = 15.0  # after the last look, so that a rollback that begins at it can end


@dataclass(frozen=True)
class Setting:
    """A change, the earlier ones at its site, and what networks like this are looked at with."""

    scenario: Scenario
    past: Past
    whatif: WhatIf
    featurizer: Features

    @classmethod
    def of(cls, scenario: Scenario, past: Past) -> Setting:
        network = scenario.topology, scenario.traffic.demands, scenario.intents
        whatif = WhatIf(*network)
        return cls(scenario, past, whatif, Featurizer(*network, whatif))


@dataclass(frozen=True)
class Trial:
    """When the shadow was looked at, how long it had the change then, what share of the trial was
    left, and what was seen.
    """

    at_s: Sequence[float]
    since_s: Sequence[float]
    left: Sequence[float]
    rows: Sequence[Floats]


@dataclass
class World:
    """Production that gets the change at `go_s` and is left alone: its looks, until `end_s`.

    `left`: the share of the monitoring still to come; `parts`: the part of the change that is to
    blame by what is seen then, empty where it is all of it or none. `spells` is the truth, until
    BEYOND_S after the end.
    """

    go_s: float
    end_s: float = 0.0
    at_s: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)
    parts: list[Commands] = field(default_factory=list)
    spells: tuple[Spell, ...] = ()


@dataclass(frozen=True)
class Back:
    """Production in which commands were taken back from `from_s` on, the last of them at `done_s`,
    and the workflow had seen at `until_s` whether it is well again (`restored`).
    """

    from_s: float
    done_s: float
    until_s: float
    restored: bool
    spells: tuple[Spell, ...]


@dataclass
class _Camera:
    """A variant that forecasts nothing and keeps the features of what it is shown."""

    featurizer: Features
    seen: list[Evidence] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)
    name: str = "camera"

    def forecast(self, evidence: Evidence) -> Forecast:
        self.seen.append(evidence)
        self.rows.append(self.featurizer.of(evidence))
        return Forecast()


def tried(setting: Setting) -> Trial:
    """The change in the shadow, looked at when the workflow forecasts, or once if it cannot be
    deployed there.
    """
    run, camera = _run(setting)
    run.begin()
    if shadow_deployment(run):
        traffic_and_monitoring(run)
    if not run.forecasts:
        run.predict("shadow")
    run.shadow.close()
    run.production.close()
    times_s = [at_s for at_s, _, _ in run.forecasts]
    since_s, left = [e.since_s for e in camera.seen], [e.left for e in camera.seen]
    return Trial(times_s, since_s, left, camera.rows)


def left_alone(setting: Setting, go_s: float) -> World:
    """Production with the change, whatever comes of it."""
    run, world = _deploying(setting, go_s), World(go_s)

    def look(run: Run) -> bool:
        if run.now - go_s >= EVERY_S * (len(world.at_s) + 1) - 1e-9:
            _look(run, setting, world)
        return False

    with suppress(NotInstalled):
        roll_out(run, look)
    leave(run, look)
    if not world.at_s or world.at_s[-1] < run.now - 1e-9:
        _look(run, setting, world)
    world.end_s = run.now
    run.advance(BEYOND_S)
    run.production.close()
    world.spells = run.production.spells()
    return world


def taken_back(setting: Setting, world: World, place: int, part: Commands = ()) -> Back:
    """The same production until a look, where the workflow takes back a part of what is deployed,
    or all of it.
    """
    run, at_s = _deploying(setting, world.go_s), world.at_s[place]

    def due(run: Run) -> bool:
        return run.now >= at_s - 1e-9

    try:
        goes_on = roll_out(run, due)
    except NotInstalled:
        goes_on = True
    if goes_on:
        leave(run, due)
    from_s = run.now
    if run.deployed:
        roll_back(run, "any", Blame(True, part or run.deployed, True, "decided"))
    steps_s = [event.at_s for event in run.journal.events if event.kind == "step"]
    done_s = max(steps_s, default=from_s)
    until_s = max(run.now, world.end_s)
    run.advance(until_s - run.now)
    run.production.close()
    restored = run.end_state == "rolled_back" or not run.deployed
    return Back(from_s, done_s, until_s, restored, run.production.spells())


def untouched(scenario: Scenario, until_s: float) -> tuple[Spell, ...]:
    """The truth of production if nobody had touched it."""
    twin = NETWORKS["simulated"](scenario, scenario.configs, "production")
    twin.advance(until_s)
    twin.close()
    return twin.spells()


def _run(setting: Setting) -> tuple[Run, _Camera]:
    camera = _Camera(setting.featurizer)
    run = Run(
        setting.scenario,
        NETWORKS["simulated"],
        camera,
        setting.whatif,
        Journal(),
        past=setting.past,
    )
    return run, camera


def _deploying(setting: Setting, go_s: float) -> Run:
    """A run that has come to the time of go."""
    run, _ = _run(setting)
    run.begin()
    run.telemetry = {"production": Telemetry(run.production.layout)}
    run.shadow_lost = True
    run.advance(go_s)
    read_again(run)
    return run


def _look(run: Run, setting: Setting, world: World) -> None:
    world.at_s.append(run.now)
    evidence = run.evidence("production")
    world.left.append(evidence.left)
    world.rows.append(setting.featurizer.of(evidence))
    world.parts.append(_to_blame(run, run.configs(run.production, run.deployed)))


def _to_blame(run: Run, now: Configs) -> Commands:
    """The part of the change that the workflow would blame for what is wrong under the links and
    the traffic of now.
    """
    since_s = max(run.now - run.scenario.workflow.horizon_s, run.since_s("production"))
    seen = run.whatif.observe(run.telemetry["production"].since(since_s), now)
    verdict = blame(run.whatif, run.scenario.change, run.before, now, seen)
    part = tuple(c for c in verdict.commands if c in set(run.deployed))
    return part if len(part) < len(run.deployed) else ()
