"""What PreCog is given, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shadowsim.model.change import Change, Command, Configs
from shadowsim.model.intents import Intents
from shadowsim.model.telemetry import Telemetry
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE
from shadowsim.precog.past import Past

Probabilities = Mapping[str, float]
NO_PAST = Past()


@dataclass(frozen=True)
class Evidence:
    """All that an operator would have before them: history, script, topology, telemetry.

    `phase` is "shadow" while the trial runs, "production" once the change is out. `observed` is
    the network that has the change, since it has it; `baseline` the same network before;
    `control` production during the trial. `before` are the configs without the change, `now`
    those read back from the network observed; `past` counts earlier changes at this site. No
    simulator state, fault or label is in here.
    """

    phase: str
    topology: Topology
    demands: Sequence[Demand]
    intents: Intents
    change: Change
    before: Configs
    now: Configs
    baseline: Telemetry
    observed: Telemetry
    control: Telemetry | None
    horizon_s: float
    soak_s: float
    past: Past = NO_PAST


@dataclass(frozen=True)
class Reason:
    """One sentence why a failure mode is expected, by whom, and how strongly."""

    variant: str
    mode: str
    probability: float
    text: str
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Forecast:
    """Probability of each failure mode within the horizon; reasons, the strongest first."""

    probabilities: Probabilities = field(default_factory=lambda: dict.fromkeys(MODES, 0.0))
    reasons: tuple[Reason, ...] = ()

    @property
    def mode(self) -> str:
        """The most probable failure mode."""
        return max(MODES, key=lambda mode: self.probabilities[mode])

    @property
    def worst(self) -> float:
        """How probable any failure is at least: by the surest reason."""
        told = (*self.probabilities.values(), *(reason.probability for reason in self.reasons))
        return max((p for p in told if math.isfinite(p)), default=0.0)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The failure modes for which there is no number."""
        return tuple(m for m in MODES if not math.isfinite(self.probabilities.get(m, math.nan)))

    @property
    def blamed(self) -> tuple[Command, ...]:
        """The commands the strong reasons for the most probable mode name."""
        strong = [r for r in self.reasons if r.mode == self.mode and r.probability >= 0.5]
        return tuple(dict.fromkeys(c for reason in strong for c in reason.commands))


class Variant(Protocol):
    """One way to forecast. Its name is the same everywhere."""

    name: str

    def forecast(self, evidence: Evidence) -> Forecast:
        """The forecast from this evidence; the same evidence gives the same forecast."""
        ...


def forecast_of(reasons: Sequence[Reason]) -> Forecast:
    """A forecast in which each mode is as probable as its strongest reason says.

    By definition a degradation is one without an outage, so it is less probable by as much as an
    outage is likely.
    """
    ranked = sorted(reasons, key=lambda r: (-r.probability, r.mode, r.text))
    probabilities = dict.fromkeys(MODES, 0.0)
    for reason in reversed(ranked):
        probabilities[reason.mode] = reason.probability
    probabilities[DEGRADATION] *= 1.0 - probabilities[OUTAGE]
    return Forecast(probabilities, tuple(ranked))
