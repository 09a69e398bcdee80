"""What PreCog is given, and what it says."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
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
LIKELY = 0.5  # a reason is strong from here on


@dataclass(frozen=True)
class Evidence:
    """All that an operator would have before them: history, script, topology, telemetry.

    `phase` is "shadow" while the trial runs, "production" once the change is out. `observed` is
    the network that has the change, since it has it; `baseline` the same network before;
    `control` production during the trial. `before` are the configs without the change, `now`
    those read back from the network observed; `past` counts earlier changes at this site. The
    network observed has had the change for `since_s` seconds, and `left` is the share of the trial,
    or of the monitoring, still to come. No simulator state, fault or label is in here.
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
    since_s: float = 0.0
    left: float = 0.0


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
    """Probability of each failure mode within the horizon; reasons, the strongest first.

    nan is the probability of a mode of which nothing is known. It is no pass: who decides treats it
    as missing.
    """

    probabilities: Probabilities = field(default_factory=lambda: dict.fromkeys(MODES, 0.0))
    reasons: tuple[Reason, ...] = ()

    @property
    def mode(self) -> str:
        """The most probable failure mode of those that are known of."""
        return max(MODES, key=lambda mode: _known(self.probabilities[mode], -1.0))

    @property
    def worst(self) -> float:
        """How probable any failure is at least: by the surest reason."""
        told = (*self.probabilities.values(), *(reason.probability for reason in self.reasons))
        return max((p for p in told if math.isfinite(p)), default=0.0)

    def of(self, mode: str) -> float:
        """How probable a mode is; where it has no number, how probable any failure is at least."""
        return _known(self.probabilities.get(mode, math.nan), self.worst)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The failure modes for which there is no number."""
        return tuple(m for m in MODES if not math.isfinite(self.probabilities.get(m, math.nan)))

    @property
    def blamed(self) -> tuple[Command, ...]:
        """The commands the strong reasons for the most probable mode name."""
        strong = [r for r in self.reasons if r.mode == self.mode and r.probability >= LIKELY]
        return tuple(dict.fromkeys(c for reason in strong for c in reason.commands))


class Variant(Protocol):
    """One way to forecast. Its name is the same everywhere."""

    name: str

    def forecast(self, evidence: Evidence) -> Forecast:
        """The forecast from this evidence; the same evidence gives the same forecast."""
        ...


def forecast_of(reasons: Sequence[Reason], unknown: Collection[str] = ()) -> Forecast:
    """A forecast in which each mode is as probable as its strongest reason says.

    By definition a degradation is one without an outage, so it is less probable by as much as an
    outage is likely. Of the modes `unknown` too little was seen: they have no number unless a
    reason says that they are likelier than not.
    """
    ranked = sorted(reasons, key=lambda r: (-r.probability, r.mode, r.text))
    probabilities = dict.fromkeys(MODES, 0.0)
    for reason in reversed(ranked):
        probabilities[reason.mode] = reason.probability
    probabilities[DEGRADATION] *= 1.0 - probabilities[OUTAGE]
    sure = {reason.mode for reason in ranked if reason.probability >= LIKELY}
    probabilities.update({mode: math.nan for mode in unknown if mode not in sure})
    return Forecast(probabilities, tuple(ranked))


def _known(probability: float, otherwise: float) -> float:
    return probability if math.isfinite(probability) else otherwise
