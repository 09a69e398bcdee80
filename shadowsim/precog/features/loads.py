"""A change and the traffic of now to how near limits it leads, and whether that is measured too.

The model is asked what demands and links get: before the change, at its end and on the way, now,
and with more traffic. Where what is measured differs, devices do not do as they are told.
"""

from __future__ import annotations

import numpy as np

from shadowsim.model.telemetry import Sample
from shadowsim.precog.features.feature import Feature, Values
from shadowsim.precog.features.signals import Nearness, Signals, largest, mean, mean_of
from shadowsim.precog.features.walk import Walk
from shadowsim.precog.features.windows import RECENT
from shadowsim.precog.forecast import Evidence
from shadowsim.precog.script import growth
from shadowsim.precog.whatif import FULL, Observed, Settled, WhatIf, same_configs

Array = np.ndarray
NAN = float("nan")

HEADROOM = (1.3, 1.6)  # times the traffic of now
GATE = "; nan in production"

ENDS = (
    Feature("script_severity_before", "share of limit", "the nearest limit without the change"),
    Feature("script_severity_end", "share of limit", "the nearest limit after the change"),
    Feature(
        "script_severity_way", "share of limit",
        f"the nearest limit in the worst state, the last included{GATE}",
    ),
    *(
        Feature(
            f"script_severity_{round(factor * 100)}", "share of limit",
            f"the nearest limit after the change at {factor:g} times the traffic of now",
        )
        for factor in HEADROOM
    ),
    Feature(
        "script_severity_ahead", "share of limit",
        "the nearest limit after the change, under the traffic that its trend leads to",
    ),
    Feature("script_growth", "times now", "traffic that its trend leads to within the horizon"),
    Feature("script_starved_end", "share", "critical demands below half after the change"),
    Feature(
        "script_starved_way", "share",
        f"critical demands below half in the worst state, the last included{GATE}",
    ),
    Feature(
        "script_starved_160", "share", "critical demands below half at 1.6 times the traffic of now"
    ),
    Feature("script_lost_critical", "share", "critical traffic lost after the change"),
    Feature(
        "script_lost_more", "share", "all traffic lost after the change, less that before it"
    ),
    Feature("script_full_end", "links", "full after the change and not before it"),
)  # fmt: skip

NOW = (
    Feature("script_in_force", "share", "changed devices whose config is as the change leaves it"),
    Feature("script_strangers", "devices", "whose config is neither that of before nor of a step"),
    Feature("script_now_broken", "intents", "broken by the configs read back, not by those before"),
    Feature("script_now_exposed", "names", "exposed by the configs read back, not by those before"),
    Feature("script_now_severity", "share of limit", "the nearest limit by the configs read back"),
    Feature(
        "telemetry_residual_severity", "share of limit",
        "the nearest limit as measured less that by the model, for the configs read back",
    ),
    Feature("telemetry_residual_loss", "share", "loss less that of the model, the worst demand"),
    Feature("telemetry_residual_loss_mean", "share", "the same, mean of demands"),
    Feature(
        "telemetry_residual_latency", "1",
        "logarithm of latency over that of the model, the worst demand",
    ),
    Feature("telemetry_residual_latency_mean", "1", "the same, mean of demands"),
    Feature(
        "telemetry_residual_utilisation", "share",
        "utilisation and that of the model: the largest difference of any link",
    ),
)  # fmt: skip
FEATURES = (*ENDS, *NOW)
_UNKNOWN = {feature.name: NAN for feature in FEATURES}


class Forward:
    """Asks the model of one network what traffic gets."""

    def __init__(self, whatif: WhatIf, signals: Signals) -> None:
        self._whatif = whatif
        self._signals = signals
        self._nearness = Nearness(whatif.limits)

    def of(self, evidence: Evidence, walk: Walk, seen: Observed, current: Observed) -> Values:
        """The values of FEATURES; `seen` is the traffic the change will meet, `current` has met.

        What depends on traffic is nan where none was reported.
        """
        production = evidence.phase == "production"
        arrived = current.down == walk.end.down and same_configs(evidence.now, walk.end.configs)
        now = walk.end if arrived else self._whatif.settle(evidence.now, current.down)
        found = dict(_UNKNOWN)
        found |= _in_force(evidence, walk, arrived=arrived) | _verdict(now, walk)
        traffic = evidence.observed if production else evidence.control or evidence.observed
        rise = growth(self._whatif, evidence)
        ahead = None
        if _reported(traffic.samples[-RECENT:]):
            ahead = self._whatif.load(walk.end, seen, (1.0, *HEADROOM, rise))
            found |= self._ends(walk, seen, rise, *ahead, on_the_way=not production)
        recent = evidence.observed.samples[-RECENT:]
        if _reported(recent):
            there = ahead if arrived and seen is current else None
            found |= self._residuals(now, recent, *(there or self._whatif.load(now, current)))
        return found

    def _ends(
        self,
        walk: Walk,
        seen: Observed,
        rise: float,
        will: Array,
        full_end: Array,
        *,
        on_the_way: bool,
    ) -> Values:
        was, full_before = self._whatif.load(walk.start, seen)
        near = largest(self._nearness.of(will, full_end)).tolist()
        starved = self._signals.starved(will).tolist()
        way, starved_way = NAN, NAN
        if on_the_way:
            way, starved_way = self._way(walk, seen, near[0], starved[0])
        fresh = (full_end[0] >= FULL) & (full_before[0] < FULL)
        return {
            "script_severity_before": float(largest(self._nearness.of(was, full_before))[0]),
            "script_severity_end": near[0],
            "script_severity_way": way,
            "script_severity_130": near[1],
            "script_severity_160": near[2],
            "script_severity_ahead": near[3],
            "script_growth": rise,
            "script_starved_end": starved[0],
            "script_starved_way": starved_way,
            "script_starved_160": starved[2],
            "script_lost_critical": float(self._signals.lost(will[0])[0]),
            "script_lost_more": _lost(will[0]) - _lost(was[0]),
            "script_full_end": float(fresh.sum()),
        }

    def _way(self, walk: Walk, seen: Observed, near: float, starved: float) -> tuple[float, float]:
        """The nearest limit and the share starved in the worst of all states."""
        for state in walk.states[:-1]:
            demand, utilisation = self._whatif.load(state, seen)
            near = float(np.fmax(near, largest(self._nearness.of(demand, utilisation))[0]))
            starved = float(np.fmax(starved, self._signals.starved(demand)[0]))
        return near, starved

    def _residuals(
        self, now: Settled, recent: list[Sample], demands: Array, utilisations: Array
    ) -> Values:
        demand, utilisation = demands[0], utilisations[0]
        measured = mean(np.array([s.demand for s in recent]), kept=2)
        full = mean(np.array([s.column("link", "utilisation") for s in recent]), kept=1)
        near = float(largest(self._nearness.of(demand, utilisation)))
        loss = measured[:, 3] - demand[:, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            later = np.log(measured[:, 2] / demand[:, 2])
        apart = np.where(now.plane.up, np.abs(full - utilisation), NAN)
        return {
            "script_now_severity": near,
            "telemetry_residual_severity": float(largest(self._nearness.of(measured, full))) - near,
            "telemetry_residual_loss": float(largest(loss)),
            "telemetry_residual_loss_mean": mean_of(loss),
            "telemetry_residual_latency": float(largest(np.where(np.isfinite(later), later, NAN))),
            "telemetry_residual_latency_mean": mean_of(later),
            "telemetry_residual_utilisation": float(largest(apart)),
        }


def _in_force(evidence: Evidence, walk: Walk, *, arrived: bool) -> Values:
    """Whether the configs read back are those that the change leads to."""
    if arrived:
        there = 1.0 if evidence.change.commands else NAN
        return {"script_in_force": there, "script_strangers": 0.0}
    target, now, before = walk.end.configs, evidence.now, walk.start.configs
    mine = evidence.change.devices
    reached = [now.get(name) == target[name] for name in mine]
    strange = 0
    for name, config in now.items():
        if config is before[name] or config == before[name] or config == target[name]:
            continue
        strange += all(config != step.configs[name] for step in walk.steps)
    return {
        "script_in_force": sum(reached) / len(reached) if reached else NAN,
        "script_strangers": float(strange),
    }


def _verdict(now: Settled, walk: Walk) -> Values:
    broken, exposed = walk.end_verdict if now is walk.end else walk.verdict(now)
    return {"script_now_broken": float(len(broken)), "script_now_exposed": float(len(exposed))}


def _reported(recent: list[Sample]) -> bool:
    """Whether any of these samples tells what any demand sends."""
    return any(np.isfinite(sample.demand[:, 0]).any() for sample in recent)


def _lost(demand: Array) -> float:
    offered = demand[:, 0].sum()
    return float(1.0 - demand[:, 1].sum() / offered) if offered > 0 else NAN
