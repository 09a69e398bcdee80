"""The change script, read against this very network, to a forecast.

Every state the script passes through is compiled, verified and loaded with the traffic of now.
A command is blamed for what is broken after it and was not before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from shadowsim.model.change import Change, Command, Configs, apply
from shadowsim.model.truth import DEGRADATION, OUTAGE, OUTAGE_S, VULNERABILITY
from shadowsim.precog.forecast import Evidence, Forecast, Reason, forecast_of
from shadowsim.precog.whatif import Condition, Observed, WhatIf

PASSING = 0.25  # an outage in a state that lasts for the installing of one command only
LASTING = 0.95
EXPOSING = 0.97
NEAR = 0.85  # of a limit: nearer than this is worth a warning
TREND = 20  # samples that the growth of traffic is read off


@dataclass(frozen=True)
class Step:
    """A command of a change, the configs after it, and for how long at least they stay (s)."""

    command: Command
    configs: Configs
    held_s: float


def steps(change: Change, before: Configs, soak_s: float) -> list[Step]:
    """The configs after each command, in the order in which the change is deployed.

    Who soaks between devices keeps the last state of each for `soak_s`; the end stays for ever.
    """
    found: list[Step] = []
    configs, commands = before, change.commands
    for place, command in enumerate(commands):
        configs = apply(configs, [command])
        last = place + 1 == len(commands)
        handover = last or commands[place + 1].device != command.device
        found.append(Step(command, configs, np.inf if last else soak_s if handover else 0.0))
    return found


@dataclass(frozen=True)
class State:
    """One state on the way: after `command`, lasting for at least `held_s` seconds."""

    command: Command
    condition: Condition
    held_s: float


class Script:
    """Dangerous commands and sequences, dangerous *here*."""

    name = "script"

    def __init__(self, whatif: WhatIf) -> None:
        self._whatif = whatif

    def forecast(self, evidence: Evidence) -> Forecast:
        if evidence.phase == "production":
            return self._as_it_stands(evidence)
        traffic = evidence.control or evidence.observed
        seen = self._whatif.observe(traffic, evidence.before)
        start = self._whatif.look(evidence.before, seen, evidence.before)
        states = self._walk(evidence, seen)
        return forecast_of(_findings(start, states, self._whatif))

    def _walk(self, evidence: Evidence, seen: Observed) -> list[State]:
        return [
            State(s.command, self._whatif.look(s.configs, seen, evidence.before), s.held_s)
            for s in steps(evidence.change, evidence.before, evidence.soak_s)
        ]

    def _as_it_stands(self, evidence: Evidence) -> Forecast:
        """In production: the configs of now under the traffic that its trend leads to."""
        seen = self._whatif.observe(evidence.observed, evidence.now)
        factor = growth(self._whatif, evidence)
        ahead = Observed(seen.down, seen.loss, seen.rates_bps * factor)
        condition = self._whatif.look(evidence.now, ahead, evidence.before)
        reasons = [
            Reason("script", VULNERABILITY, EXPOSING, f"exposed: {name}")
            for name in condition.exposed
        ]
        reasons += [
            Reason("script", OUTAGE, LASTING, f"broken: {name}") for name in condition.broken
        ]
        reasons += [
            Reason(
                "script",
                OUTAGE,
                0.8,
                f"{name} gets less than half, at {factor:.2f} times the traffic",
            )
            for name in condition.starved
        ]
        for limit, severity in zip(self._whatif.limits.limits, condition.severity, strict=True):
            if severity > NEAR:
                text = f"{limit.name}: {severity:.0%} of it at {factor:.2f} times the traffic"
                reasons.append(Reason("script", DEGRADATION, _crossing(severity), text))
        return forecast_of(reasons)


def growth(whatif: WhatIf, evidence: Evidence) -> float:
    """By how much all traffic together will have grown at the horizon, from its recent trend."""
    slope_bps, level_bps = whatif.trend(evidence.observed.samples[-TREND:])
    return float(max(1.0 + slope_bps * evidence.horizon_s / level_bps, 1.0))


def _crossing(severity: float) -> float:
    """Probability that a level predicted at this share of its limit is really beyond it.

    The prediction is uncertain by some 5 %; a logistic of that width around the limit.
    """
    return float(1.0 / (1.0 + np.exp(-(severity - 1.0) / 0.03)))


def _findings(start: Condition, states: Sequence[State], whatif: WhatIf) -> list[Reason]:
    """What the states break that was not broken at the start, and by which command."""
    found: list[Reason] = []
    if not states:
        return found
    for name in sorted({n for s in states for n in s.condition.exposed} - set(start.exposed)):
        first = next(s for s in states if name in s.condition.exposed)
        stays = name in states[-1].condition.exposed
        how = "opens" if stays else "opens for a moment, until a later command closes it again,"
        found.append(_reason(VULNERABILITY, EXPOSING, f"{how} {name}", first))
    for name in sorted({n for s in states for n in _outages(s.condition)} - set(_outages(start))):
        broken = [name in _outages(s.condition) for s in states]
        first = states[broken.index(True)]
        if broken[-1]:
            found.append(_reason(OUTAGE, LASTING, f"breaks {name}", first))
            continue
        held_s = longest_s([s.held_s for s in states], broken)
        probability = LASTING if held_s >= OUTAGE_S - 0.5 else PASSING
        text = f"breaks {name} on the way, for {held_s:g} s or more"
        found.append(_reason(OUTAGE, probability, text, first))
    return found + _limit_findings(start, states, whatif)


def _limit_findings(start: Condition, states: Sequence[State], whatif: WhatIf) -> list[Reason]:
    found = []
    end = states[-1].condition.severity
    for number, limit in enumerate(whatif.limits.limits):
        was, will = start.severity[number], end[number]
        if not will > NEAR or will <= was * 1.02:
            continue
        least = was * 1.02 if np.isfinite(was) else NEAR
        first = next(s for s in states if s.condition.severity[number] > least)
        text = f"{limit.name}: from {_share(was)} to {will:.0%} of it under the traffic of now"
        found.append(_reason(DEGRADATION, _crossing(will), text, first))
    return found


def _share(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else "nothing"


def _outages(condition: Condition) -> tuple[str, ...]:
    return (*condition.broken, *(f"{name} (below half)" for name in condition.starved))


def longest_s(held_s: Sequence[float], broken: Sequence[bool]) -> float:
    """The longest time for which states in a row are broken, 0 where none is."""
    runs = groupby(zip(held_s, broken, strict=True), key=lambda pair: pair[1])
    return max((sum(s for s, _ in run) for is_broken, run in runs if is_broken), default=0.0)


def _reason(mode: str, probability: float, text: str, state: State) -> Reason:
    return Reason("script", mode, probability, f"'{state.command}' {text}", (state.command,))
