"""A thousand futures of this change, and the same ones without it, to a forecast.

What fails in a future counts if it does not fail in the same future without the change: the same
traffic, the same failures of links and devices. Left out are the mixtures of old and new routes
while the other devices follow a command (some 0.2 s each), what happens to a deployment when a
device crashes in the middle of it, and retries of users.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from shadowsim.dataplane.futures import Futures, Ground, Masks, State, Tape
from shadowsim.dataplane.lasting import Failures, failures
from shadowsim.model.change import Command, Configs, apply, reverted
from shadowsim.model.streams import stream
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE
from shadowsim.precog.forecast import Evidence, Forecast, Reason
from shadowsim.precog.sampling import Draw, Site, Unknowns, deploy_s, draw
from shadowsim.precog.whatif import WhatIf

Array = np.ndarray

MOST_FUTURES = 256
FEWEST_FUTURES = 64
FLOW_STEPS = 3e6  # in all futures together: some 0.25 s, if all had to be solved
MONITORED_S = 60  # after the deployment
LEAST_TOLD = 0.01  # a probability below this is no reason
ASKED = 16  # failed futures of each mode that are asked which command did it
BLAMED = 0.25  # of them: a command that did it less often is not named
USUAL = Unknowns()


@dataclass(frozen=True)
class Rolled:
    """What came of the futures, with the failure modes in the order of MODES.

    `probability[3]` that the mode comes with the change and would not without it, and its
    `standard_error[3]` (binomial; where a count is 0 of n, up to 3 / n are not excluded at 95 %);
    `time_s[3]`: median time from now until that begins, nan where it never does; `thing[3]`: what
    fails most often, "" for nothing; `commands[3]`: those that do it; `solved` steps.
    """

    futures: int
    probability: Array
    standard_error: Array
    time_s: Array
    thing: tuple[str, ...]
    commands: tuple[tuple[Command, ...], ...]
    solved: int = 0


@dataclass(frozen=True)
class Walk:
    """The configs a network passes through, the first without the change; `by[i]`: the commands
    that lead to stage i + 1. `now` of them are in force, and `batches` are still to come.
    """

    stages: tuple[Configs, ...]
    by: tuple[tuple[Command, ...], ...]
    now: int
    batches: tuple[tuple[Command, ...], ...]


class Rollouts:
    """What-if futures. The same evidence gives the same forecast.

    There are as many futures as stay within FLOW_STEPS, but `least` in any case, and at most
    `futures`. What an operator cannot know is drawn as `unknowns` says.
    """

    name = "rollouts"

    def __init__(
        self,
        whatif: WhatIf,
        futures: int = MOST_FUTURES,
        *,
        least: int = FEWEST_FUTURES,
        unknowns: Unknowns = USUAL,
        threads: int = 2,
    ) -> None:
        self._whatif = whatif
        self._most, self._least = futures, min(least, futures)
        self._unknowns = unknowns
        self._threads = threads
        self._engine: Futures | None = None
        self._kept: list[tuple[Configs, Configs, Ground, State]] = []

    def forecast(self, evidence: Evidence) -> Forecast:
        rolled = self.roll(evidence)
        reasons = [
            _reason(rolled, number)
            for number in range(len(MODES))
            if rolled.probability[number] >= LEAST_TOLD
        ]
        found = {mode: float(p) for mode, p in zip(MODES, rolled.probability, strict=True)}
        return Forecast(found, tuple(sorted(reasons, key=lambda r: (-r.probability, r.mode))))

    def roll(self, evidence: Evidence, seed: int = 0) -> Rolled:
        """Draw the futures, and look at each with and without the change.

        Beside the `seed`, what is drawn follows from the change and the time of the last sample.
        """
        engine = self._engine_of(evidence)
        walk, traffic = walk_of(evidence), _traffic(evidence)
        seen = self._whatif.observe(traffic, walk.stages[walk.now])
        site = Site.of(evidence.topology, evidence.demands, seen, traffic)
        usual_s = deploy_s(walk.batches, evidence.soak_s)
        seconds = math.ceil(usual_s) + MONITORED_S
        if evidence.phase == "production":
            seconds = max(math.ceil(evidence.horizon_s), 1)
        size = max((seconds + len(walk.by)) * sum(d.flows for d in evidence.demands), 1)
        count = min(max(int(FLOW_STEPS // size), self._least), self._most)
        script = "\n".join(str(command) for command in evidence.change.commands)
        at_s = traffic.samples[-1].at_s if traffic.samples else 0.0
        random = stream(seed, self.name, evidence.phase, script, f"{at_s:.6f}")
        drawn = draw(site, self._unknowns, walk.batches, evidence.soak_s, count, seconds, random)
        drawn = drawn._replace(stage=drawn.stage + walk.now)
        return _Comparison(self, engine, evidence, walk, drawn).rolled()

    def state(self, engine: Futures, configs: Configs, ground: Ground, before: Configs) -> State:
        """The state of these configs on this ground; what the last looks used is remembered."""
        for old, closed, below, state in self._kept:
            if _alike(below, ground) and _same(old, configs) and _same(closed, before):
                return state
        state = engine.state(configs, ground, before)
        self._kept = [(configs, before, ground, state), *self._kept[:31]]
        return state

    def _engine_of(self, evidence: Evidence) -> Futures:
        if self._engine is None:
            self._engine = Futures(
                evidence.topology, evidence.demands, evidence.intents, self._threads
            )
        return self._engine


class _Comparison:
    """The futures of one forecast, with the change and without it."""

    def __init__(
        self, rollouts: Rollouts, engine: Futures, evidence: Evidence, walk: Walk, drawn: Draw
    ) -> None:
        self._rollouts, self._engine, self._evidence = rollouts, engine, evidence
        self._walk, self._drawn = walk, drawn
        self._states: list[State] = []
        self._number: dict[tuple[int, int], int] = {}
        self._solved = 0

    def rolled(self) -> Rolled:
        drawn = self._drawn
        count = len(drawn.stage)
        with_it = self._numbers(drawn.stage, drawn.ground)
        without = self._numbers(np.zeros_like(drawn.stage), drawn.ground)
        differ = ((with_it != without) & (drawn.tape.span_s > 0.0)).any(axis=1)
        came = np.zeros((count, len(MODES)), dtype=np.bool_)
        rows = np.flatnonzero(differ)
        if not rows.size:
            return self._told(came, None, None, rows)
        masks, failed = self._failures(rows, with_it)
        again = np.flatnonzero(failed.came.any(axis=1))
        came[rows] = failed.came
        if again.size:
            _, anyway = self._failures(rows[again], without)
            came[rows[again]] &= ~anyway.came
        return self._told(came, masks, failed, rows)

    def _numbers(self, stage: Array, ground: Array) -> Array:
        """The numbers of the states in force; stages that treat all packets alike have one."""
        width = len(self._walk.stages)
        found = np.empty(width * len(self._drawn.grounds), dtype=np.int32)
        key = ground * width + stage
        for pair in np.unique(key).tolist():
            found[pair] = self._number_of(pair % width, pair // width)
        numbers: Array = found[key]
        return numbers

    def _number_of(self, stage: int, ground: int) -> int:
        known = self._number.get((stage, ground))
        if known is not None:
            return known
        physical = self._drawn.grounds[ground]
        state = self._rollouts.state(
            self._engine, self._walk.stages[stage], physical, self._evidence.before
        )
        on_it = sorted({n for (_, g), n in self._number.items() if g == ground})
        number = next((n for n in on_it if equal(self._states[n], state)), len(self._states))
        self._states += [state] if number == len(self._states) else []
        self._number[stage, ground] = number
        return number

    def _failures(self, rows: Array, state: Array) -> tuple[Masks, Failures]:
        tape = _part(self._drawn.tape, rows, state[rows])
        masks = self._engine.masks(self._states, tape)
        self._solved += masks.solved
        return masks, failures(masks, tape.span_s)

    def _told(
        self, came: Array, masks: Masks | None, failed: Failures | None, rows: Array
    ) -> Rolled:
        count, probability = len(came), came.mean(axis=0)
        time_s = np.full(len(MODES), np.nan)
        things = [""] * len(MODES)
        commands: list[tuple[Command, ...]] = [()] * len(MODES)
        for mode in range(len(MODES)):
            mine = np.flatnonzero(came[rows, mode])
            if not mine.size or masks is None or failed is None:
                continue
            time_s[mode] = np.median(failed.onset_s[mine, mode])
            names = [self._names(masks, mode)[n] for n in failed.thing[mine, mode]]
            things[mode] = min(Counter(names).items(), key=lambda pair: (-pair[1], pair[0]))[0]
            asked = mine[:ASKED]
            commands[mode] = self._to_blame(rows[asked], failed.step[asked, mode], names, mode)
        error = np.sqrt(probability * (1.0 - probability) / count)
        return Rolled(
            count, probability, error, time_s, tuple(things), tuple(commands), self._solved
        )

    def _names(self, masks: Masks, mode: int) -> tuple[str, ...]:
        if MODES[mode] == DEGRADATION:
            return self._engine.bounds.names
        return masks.things if MODES[mode] == OUTAGE else masks.exposures

    def _to_blame(
        self, rows: Array, step: Array, names: Sequence[str], mode: int
    ) -> tuple[Command, ...]:
        """The commands after which these things are broken, and before which they are not, on the
        links and with the traffic of the step in which they were first broken.
        """
        drawn, last = self._drawn, self._drawn.stage[rows, step]
        stages = np.minimum(np.arange(int(last.max()) + 1), last[:, None])
        ground = np.broadcast_to(drawn.ground[rows, step][:, None], stages.shape)
        state = self._numbers(stages, ground)
        tape = drawn.tape
        still = replace(
            tape,
            state=state,
            span_s=np.ones(stages.shape),
            factor=np.broadcast_to(tape.factor[rows, step][:, None], stages.shape),
            surge=np.broadcast_to(tape.surge[rows, step][:, None], stages.shape),
            begin=np.broadcast_to(tape.begin[rows, step][:, None], stages.shape),
        )
        masks = self._engine.masks(self._states, still, skip=False)
        mask = {DEGRADATION: masks.slow, OUTAGE: masks.unreachable}.get(MODES[mode], masks.exposed)
        places = {name: place for place, name in enumerate(self._names(masks, mode))}
        guilty: Counter[Command] = Counter()
        for row, name in enumerate(names[: len(rows)]):
            broken = mask[row, : last[row] + 1, places[name]]
            well = np.flatnonzero(~broken)
            if len(well) and well[-1] < last[row]:
                guilty.update(self._walk.by[int(well[-1])])
        order = [c for by in self._walk.by for c in by]
        return tuple(dict.fromkeys(c for c in order if guilty[c] >= BLAMED * len(rows)))


def walk_of(evidence: Evidence) -> Walk:
    """In the shadow: before the change, and on as it would be deployed. In production: as read
    back, with the script's last stage that is just that, if any is.
    """
    commands = evidence.change.commands
    if evidence.phase != "production":
        stages: list[Configs] = [evidence.before]
        for command in commands:
            stages.append(apply(stages[-1], [command]))
        batches = tuple(tuple(run) for _, run in groupby(commands, key=lambda c: c.device))
        return Walk(tuple(stages), tuple((c,) for c in commands), 0, batches)
    now = evidence.now
    without = reverted(evidence.before, now, evidence.change, commands, under_way=commands)
    stages = [without]
    for command in commands:
        stages.append(apply(stages[-1], [command]))
    there = [place for place, configs in enumerate(stages) if _same(configs, now)]
    if there:
        place = there[-1]
        return Walk(tuple(stages[: place + 1]), tuple((c,) for c in commands[:place]), place, ())
    return Walk((without, now), (commands,), 1, ())


def _traffic(evidence: Evidence) -> Telemetry:
    """What tells of the traffic that production will have, as far back as it goes."""
    if evidence.phase != "production":
        return evidence.control or evidence.observed
    samples = evidence.baseline.samples + evidence.observed.samples
    return Telemetry(evidence.observed.layout, samples)


def equal(a: State, b: State) -> bool:
    """Whether no intent, limit or demand can tell two states apart.

    What flows get follows from their paths, levels and links; the rest stands in the verdicts.
    """
    pairs = (
        (a.paths.links, b.paths.links), (a.paths.hops, b.paths.hops), (a.level, b.level),
        (a.links.rate_bps, b.links.rate_bps), (a.links.delay_s, b.links.delay_s),
        (a.links.loss, b.links.loss),
    )  # fmt: skip
    return (a.unreachable, a.exposed) == (b.unreachable, b.exposed) and all(
        np.array_equal(one, other) for one, other in pairs
    )


def _alike(a: Ground, b: Ground) -> bool:
    return a.physical == b.physical and np.array_equal(a.loss, b.loss)


def _same(a: Configs, b: Configs) -> bool:
    return len(a) == len(b) and all(
        b.get(name) is config or b.get(name) == config for name, config in a.items()
    )


def _part(tape: Tape, rows: Array, state: Array) -> Tape:
    """Some futures of a tape, in these states."""
    mine = {name: getattr(tape, name)[rows] for name in ("span_s", "factor", "surge", "begin")}
    return replace(tape, state=state, **mine)


def _reason(rolled: Rolled, number: int) -> Reason:
    p, error = float(rolled.probability[number]), float(rolled.standard_error[number])
    text = (
        f"{rolled.thing[number]}: fails with the change and not without it in {p:.0%} "
        f"(standard error {error:.1%}) of {rolled.futures} futures, "
        f"{rolled.time_s[number]:.0f} s from now"
    )
    return Reason("rollouts", MODES[number], p, text, rolled.commands[number])
