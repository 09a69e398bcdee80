"""A scenario to its tape: the trial once, production once for every time of go, and its twins.

All of it is the workflow's own code, with nobody who decides. Two things are not as in a run. The
rollback is not rehearsed between the decision and the deployment. And nobody executes a rollback
at every look: production is left to its twin without the change, or to one in which the part was
taken back at the end of the deployment, after the time a rollback takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from shadowsim.env.harm import Harm, harm
from shadowsim.env.tape import AMOUNTS, Tape
from shadowsim.journal import Journal
from shadowsim.model.change import Change, Command, Configs, revert
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.truth import MODES, Spell, onsets
from shadowsim.network import Witnessed, simulated
from shadowsim.network.timing import ControlModel
from shadowsim.precog import Evidence, Forecast, WhatIf
from shadowsim.precog.features import Featurizer
from shadowsim.precog.past import Past
from shadowsim.rollback.blame import blame
from shadowsim.scenario import Scenario
from shadowsim.workflow import Run
from shadowsim.workflow.phases import (
    NotInstalled,
    by_device,
    deploy,
    leave,
    read_again,
    roll_out,
    shadow_deployment,
    traffic_and_monitoring,
)

Floats = np.ndarray
Commands = tuple[Command, ...]

EVERY_S = 2.0  # between looks at production
AFTERMATH_S = 60.0  # for which what is broken at the end stays so, until a person has found it
PARTS = 3  # of a change that are simulated
STEP_S = 0.15  # of a rollback: until a step is read back, beside the time its commands take
NEWS_S = 0.2  # until the other devices have followed
BUSY = 1.2  # times the usual: how long a command takes on average on a device with its usual load


@dataclass(frozen=True)
class Tools:
    """What the changes at one network are looked at with."""

    whatif: WhatIf
    featurizer: Featurizer

    @classmethod
    def of(cls, scenario: Scenario) -> Tools:
        network = scenario.topology, scenario.traffic.demands, scenario.intents
        whatif = WhatIf(*network)
        return cls(whatif, Featurizer(*network, whatif))


@dataclass
class _Camera:
    """A variant that forecasts nothing and keeps the features of what it is shown."""

    featurizer: Featurizer
    rows: list[Floats] = field(default_factory=list)
    name: str = "camera"

    def forecast(self, evidence: Evidence) -> Forecast:
        self.rows.append(self.featurizer.of(evidence))
        return Forecast()


@dataclass
class _World:
    """Production with the change from `go_s` on, left alone; its looks, and who is to blame then.

    `took_s`: how long it takes at a look to take all back; `part_took_s`, the part to blame.
    """

    go_s: float
    end_s: float = 0.0
    at_s: list[float] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)
    parts: list[Commands] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    part_took_s: list[float] = field(default_factory=list)
    spells: tuple[Spell, ...] = ()


def tape(scenario: Scenario, past: Past, tools: Tools, network: str = "", kind: str = "") -> Tape:
    """Everything that can happen to the change of a scenario, at every decision.

    The same arguments give the same tape. `past` is of the earlier changes at this site.
    """
    times_s, since_s, shown = _trial(scenario, past, tools)
    worlds = [_world(scenario, past, tools, go_s) for go_s in times_s]
    end_s = worlds[-1].end_s
    twin = simulated(scenario, scenario.configs, "production")
    twin.advance(end_s)
    twin.close()
    without = twin.spells()
    parts = list(dict.fromkeys(part for world in worlds for part in world.parts if part))[:PARTS]
    lesser = {
        part: _lesser(scenario, past, tools, times_s[0], part, end_s, without) for part in parts
    }
    return _taped(scenario, network, kind, (times_s, since_s, shown), worlds, without, lesser)


# ---- what is simulated


def _trial(
    scenario: Scenario, past: Past, tools: Tools
) -> tuple[list[float], list[float], list[Floats]]:
    """When the trial was looked at, how long the shadow had the change then, and what was seen."""
    camera = _Camera(tools.featurizer)
    run = Run(scenario, simulated, camera, tools.whatif, Journal(), past=past)
    run.begin()
    if shadow_deployment(run):
        traffic_and_monitoring(run)
    if not run.forecasts:
        run.predict("shadow")
    run.shadow.close()
    run.production.close()
    times_s = [at_s for at_s, _, _ in run.forecasts]
    return times_s, [at_s - run.trial_since_s for at_s in times_s], camera.rows


def _production(scenario: Scenario, past: Past, tools: Tools, go_s: float) -> Run:
    """A run that has come to the time of go, without its shadow, on which production does not
    depend.
    """
    run = Run(scenario, simulated, _Camera(tools.featurizer), tools.whatif, Journal(), past=past)
    run.begin()
    run.telemetry = {"production": Telemetry(run.production.layout)}
    run.shadow_lost = True
    run.advance(go_s)
    read_again(run)
    return run


def _world(scenario: Scenario, past: Past, tools: Tools, go_s: float) -> _World:
    run, world = _production(scenario, past, tools, go_s), _World(go_s)

    def look(run: Run) -> bool:
        since_s = run.now - go_s
        if since_s >= EVERY_S * (len(world.at_s) + 1) - 1e-9:
            _look(run, tools, world)
        return False

    with suppress(NotInstalled):
        roll_out(run, look)
    leave(run, look)
    if not world.at_s or world.at_s[-1] < run.now - 1e-9:
        _look(run, tools, world)
    run.production.close()
    world.end_s, world.spells = run.now, run.production.spells()
    return world


def _look(run: Run, tools: Tools, world: _World) -> None:
    change, now = Change("", run.deployed), run.configs(run.production, run.deployed)
    part = _to_blame(run, now)
    world.at_s.append(run.now)
    world.rows.append(tools.featurizer.of(run.evidence("production")))
    world.parts.append(part)
    world.took_s.append(_takes_s(revert(run.before, now, change, run.deployed)))
    world.part_took_s.append(_takes_s(revert(run.before, now, change, part)))


def _to_blame(run: Run, now: Configs) -> Commands:
    """The part of the change that the workflow would blame by what is seen; empty if it is all of
    it, or none.
    """
    since_s = max(run.now - run.scenario.workflow.horizon_s, run.since_s("production"))
    seen = run.whatif.observe(run.telemetry["production"].since(since_s), now)
    verdict = blame(run.whatif, run.scenario.change, run.before, now, seen)
    part = tuple(c for c in verdict.commands if c in set(run.deployed))
    return part if len(part) < len(run.deployed) else ()


def _takes_s(commands: Sequence[Command]) -> float:
    """How long a rollback takes until these commands are in force everywhere, device by device."""
    control = ControlModel()
    steps = len({(command.device, command.context) for command in commands})
    busy_s = BUSY * sum(control.usual_s(command) for command in commands)
    return busy_s + STEP_S * steps + NEWS_S * bool(commands)


@dataclass(frozen=True)
class _Lesser:
    """Production with what is left of the change when a part is taken back, from `from_s` on."""

    from_s: float
    harm: Harm


def _lesser(
    scenario: Scenario,
    past: Past,
    tools: Tools,
    go_s: float,
    part: Commands,
    end_s: float,
    without: Sequence[Spell],
) -> _Lesser:
    run = _production(scenario, past, tools, go_s)
    with suppress(NotInstalled):
        roll_out(run, lambda run: False)
        now = run.configs(run.production, run.deployed)
        back = revert(run.before, now, scenario.change, part)
        for commands in by_device(Change("", back)):
            deploy(run, run.production, commands)
    from_s = run.now + NEWS_S
    run.advance(max(end_s - run.now, 0.0))
    run.production.close()
    return _Lesser(from_s, _harm_of(scenario, run.production, without))


def _harm_of(scenario: Scenario, production: Witnessed, without: Sequence[Spell]) -> Harm:
    return harm(production.spells(), without, scenario.intents)


# ---- what it amounts to


def _taped(
    scenario: Scenario,
    network: str,
    kind: str,
    trial: tuple[list[float], list[float], list[Floats]],
    worlds: Sequence[_World],
    without: Sequence[Spell],
    lesser: dict[Commands, _Lesser],
) -> Tape:
    times_s, since_s, shown = trial
    harms = [harm(world.spells, without, scenario.intents) for world in worlds]
    came = [_came(world, without) for world in worlds]
    last = len(times_s) - 1
    nothing = np.zeros(len(AMOUNTS))
    waiting = [
        _amounts(delay_s=times_s[n + 1] - times_s[n]) if n < last else nothing
        for n in range(len(times_s))
    ]
    acting = [
        _amounts(done.between(world.go_s, world.at_s[0]))
        for world, done in zip(worlds, harms, strict=True)
    ]
    rows = [
        _Row(shown[n], -1, since_s[n], 1.0 - (n + 1) / len(times_s), False, waiting[n], acting[n],
             nothing, came[n])
        for n in range(len(times_s))
    ]  # fmt: skip
    for number, (world, done) in enumerate(zip(worlds, harms, strict=True)):
        for place, at_s in enumerate(world.at_s):
            left = lesser.get(world.parts[place])
            back_s = at_s + world.took_s[place]
            rows.append(_Row(
                world.rows[place], number, at_s - world.go_s,
                (world.end_s - at_s) / (world.end_s - world.go_s), left is not None,
                _waited(world, done, place), _amounts(done.between(at_s, back_s)),
                nothing if left is None else _parted(world, done, left, place), came[number],
            ))  # fmt: skip
    columns = {
        name: np.array(found)
        for name, found in zip(_Row._fields, zip(*rows, strict=True), strict=True)
    }
    return Tape(network, kind, **columns)


class _Row(NamedTuple):
    """One decision of a Tape."""

    features: Floats
    world: int
    since_s: float
    left: float
    has_part: bool
    waiting: Floats
    acting: Floats
    parting: Floats
    came: Floats


def _amounts(harms: Floats | None = None, delay_s: float = 0.0) -> Floats:
    return np.array([*(np.zeros(len(AMOUNTS) - 1) if harms is None else harms), delay_s])


def _waited(world: _World, done: Harm, place: int) -> Floats:
    if place + 1 < len(world.at_s):
        return _amounts(done.between(world.at_s[place], world.at_s[place + 1]))
    return _amounts(done.lasting(world.end_s, AFTERMATH_S))


def _parted(world: _World, done: Harm, left: _Lesser, place: int) -> Floats:
    back_s = world.at_s[place] + world.part_took_s[place]
    during = done.between(world.at_s[place], back_s)
    from_s = min(max(back_s, left.from_s), world.end_s)
    after = left.harm.between(from_s, world.end_s)
    return _amounts(during + after + left.harm.lasting(world.end_s, AFTERMATH_S))


def _came(world: _World, without: Sequence[Spell]) -> np.ndarray:
    from_s = world.go_s
    spells = [
        Spell(max(s.from_s, from_s), s.to_s, s.unreachable, s.exposed, s.slow)
        for s in world.spells
        if s.to_s > from_s
    ]
    found = onsets(spells, without)
    return np.array([mode in found for mode in MODES])
