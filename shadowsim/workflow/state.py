"""The state of one run, and how time passes in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from shadowsim.commit.generations import CANCELLED
from shadowsim.commit.hold import Hold, Unheld
from shadowsim.errors import Fenced, ShadowsimError, Unreachable
from shadowsim.interruptions import listen, listening
from shadowsim.journal import Journal
from shadowsim.mirror import MirrorEngine
from shadowsim.model.change import Change, Command, Configs, apply
from shadowsim.model.telemetry import Sample, Telemetry
from shadowsim.network import Factory, Witnessed
from shadowsim.precog import Evidence, Forecast, Variant, WhatIf
from shadowsim.precog.forecast import NO_PAST
from shadowsim.precog.past import Past
from shadowsim.rollback.execute import Execution
from shadowsim.rollback.signature import RollbackSignature
from shadowsim.scenario import Scenario

TICK_S = 1.0
INSTALL_TIMEOUT_S = 30.0
RETRY_S = 2.0  # after the shadow did not answer: a real one is waited for each time
REASONS_TOLD = 3  # of a forecast, in the journal
PERSON_S = 600.0  # for an answer; without one nothing is deployed, and a change is taken back
BASELINE_S = 30.0  # how far back the time before a change is looked at

Approve = Callable[[str, Forecast], bool | None]


def nobody(question: str, forecast: Forecast) -> bool | None:
    """Nobody is there to answer."""
    return None


def nothing(run: Run) -> None:
    """Nothing is done beside the run."""


def unrecorded(run: Run, evidence: Evidence) -> None:
    """What a forecast was made from is not kept."""


class ShadowLost(Unreachable):
    """The shadow is gone before production was touched: nothing more can be judged."""


@dataclass
class Run:
    """The state of one run. Phases read and extend it; nothing else is shared between them."""

    scenario: Scenario
    factory: Factory
    precog: Variant
    whatif: WhatIf
    journal: Journal
    approve: Approve = nobody
    beside: Callable[[Run], None] = nothing  # called whenever time has passed in both networks
    looked: Callable[[Run, Evidence], None] = unrecorded  # called whenever a forecast was made
    hold: Hold = field(default_factory=Unheld)
    past: Past = NO_PAST  # of the site, before this change
    phase: str = ""
    production: Witnessed = field(init=False)
    shadow: Witnessed = field(init=False)
    mirror: MirrorEngine = field(init=False)
    before: Configs = field(init=False)
    telemetry: dict[str, Telemetry] = field(default_factory=dict)
    forecasts: list[tuple[float, str, Forecast]] = field(default_factory=list)
    watched: dict[str, tuple[float, float]] = field(default_factory=dict)  # from when to when, s
    phases: list[tuple[str, float]] = field(default_factory=list)
    trial: tuple[Command, ...] = ()
    trial_since_s: float = 0.0
    deployed: tuple[Command, ...] = ()
    under_way: tuple[Command, ...] = ()  # of what is deployed: not known to be in force yet
    deployed_since_s: float | None = None
    in_force_s: float = 0.0  # when the last command sent to production was
    unclear: bool = False  # whether what was seen at the last look is still to be told apart
    decision: str = "inconclusive"
    end_state: str = "halted"
    refused_by: tuple[str, ...] = ()  # the hard checks that failed at the gate
    signs: tuple[str, ...] = ()  # what was broken when the change was taken back
    failure_mode: str = "none"
    blamed: tuple[Command, ...] = ()
    root_cause: str = "none"
    forecast: Forecast = field(default_factory=Forecast)
    signature: RollbackSignature | None = None
    signatures: dict[str, RollbackSignature] = field(default_factory=dict)
    execution: Execution | None = None
    triggered_s: float | None = None
    time_to_rollback_s: float | None = None
    told: set[str] = field(default_factory=set)
    unmet: dict[str, tuple[str, ...]] = field(default_factory=dict)  # network by network, at last
    kept_by_person: bool = False
    interrupted: bool = False
    armed: bool = False  # the rollback is held, and the change has not ended
    overtaken: Configs | None = None  # what production runs since somebody took it over
    shadow_lost: bool = False
    unanswered_s: float = -RETRY_S  # when the shadow did not answer last

    @property
    def now(self) -> float:
        return self.production.now

    def begin(self) -> None:
        """Bring production up."""
        self.before = {}
        configs = self.scenario.configs
        self.production = self.build(configs, "production")
        self.before = {**configs, **self.production.configs()}  # it may be dead just now

    def build(self, configs: Configs, name: str) -> Witnessed:
        """A network that runs these. Real ones take a while; nothing was sent to production yet."""
        with listening():
            return self.factory(self.scenario, configs, name)

    def ask(self, question: str, forecast: Forecast) -> bool | None:
        """What a person says to it."""
        with listening():
            return self.approve(question, forecast)

    def end(self, end_state: str, note: str = "", **data: object) -> None:
        """Say how it ended; of a change that was begun only once that cannot be undone any more.

        Raises Fenced if somebody has ended it meanwhile.
        """
        if self.armed:
            self.hold.end(CANCELLED if end_state == "refused" else end_state)
            self.armed = False
        self.end_state = end_state
        self.note(note or end_state, **data)

    def note(self, kind: str, **data: object) -> None:
        self.journal.write(self.now, self.phase, kind, **data)

    def advance(self, seconds: float) -> None:
        """Let time pass in both networks, second by second, with production mirrored.

        Once production has the change only production decides: it is watched on if the shadow is
        lost. Before that raises ShadowLost. Requests to end the run are heard between two seconds.
        """
        end_s = self.now + seconds
        while self.now < end_s - 1e-9:
            listen()
            self._advance_to(min(np.floor(self.now + 1e-9) + TICK_S, end_s))

    def _advance_to(self, at_s: float) -> None:
        samples = self._advance_production(at_s)
        self.telemetry["production"].samples += samples
        if not self.shadow_lost:
            try:
                self._advance_shadow(samples, at_s)
            except Fenced:  # real networks share a clock, so production's may come up here
                raise
            except (ShadowsimError, OSError) as error:
                self._lose_shadow(error)
        self._attend()
        self.hold.extend()

    def _attend(self) -> None:
        """What goes on beside the run cannot end it; a network that is lost is found by itself."""
        try:
            self.beside(self)
        except Fenced:
            raise
        except (ShadowsimError, OSError) as error:
            if str(error) not in self.told:
                self.told.add(str(error))
                self.note("beside_failed", detail=str(error))

    def _advance_production(self, at_s: float) -> list[Sample]:
        try:
            return self.production.advance(at_s)
        except Fenced:
            raise
        except (ShadowsimError, OSError) as error:
            # Real networks share a clock, so the end of the shadow can come up here: then
            # production answers as before, and no device of the shadow ever will again.
            if self.shadow_lost or self.shadow.configs() or not self.production.configs():
                raise
            self._lose_shadow(error)
            return self.production.advance(at_s)

    def _advance_shadow(self, samples: Sequence[Sample], at_s: float) -> None:
        for sample in samples:
            self.mirror.forward(sample)
        self._scale()
        found = self.shadow.advance(at_s)
        self.telemetry["shadow"].samples += [self.mirror.seen(sample) for sample in found]
        self.tell()

    def _lose_shadow(self, error: Exception) -> None:
        self.shadow_lost = True
        self.note("shadow_lost", detail=str(error))
        if self.deployed_since_s is None:
            raise ShadowLost(f"the shadow was lost: {error}") from error

    def _scale(self) -> None:
        """Make the shadow larger or smaller where the scenario says so."""
        due = [hops for at_s, hops in self.scenario.shadow.scale if at_s <= self.now + 1e-9]
        if due:
            self.mirror.scale(due[-1])

    def tell(self) -> None:
        """Write down what the mirror did of itself."""
        for notice in self.mirror.news():
            self.note(notice.kind, **notice.data)

    def keep_in_step(self) -> None:
        """Bring the shadow to production's configs with the trial, and wait until it has them."""
        if self.now < self.unanswered_s + RETRY_S - 1e-9:
            return
        try:
            repaired = self.mirror.sync(self.trial)
        except Unreachable as error:
            self.unanswered_s = self.now
            self.note("unreachable", network="shadow", detail=str(error))
            return
        self.tell()
        if repaired:
            self.note("drift_repaired", commands=[str(command) for command in repaired])
            self.settle(self.shadow)
            self.mirror.arrived(self.trial)

    def settle(self, network: Witnessed) -> bool:
        """Wait until commands are installed; False if that takes too long."""
        end_s = self.now + INSTALL_TIMEOUT_S
        while network.busy and self.now < end_s:
            self.advance(0.1)
        return not network.busy

    @property
    def sent(self) -> Change:
        """What production has of the change, or may have."""
        return Change(self.scenario.change.summary, self.deployed)

    def runs(self, network: Witnessed, commands: Sequence[Command]) -> bool:
        """Whether these commands are in force there, by the configs read back."""
        found = network.configs()
        if any(command.device not in found for command in commands):
            return False
        return all(config is found[name] for name, config in apply(found, commands).items())

    def configs(self, network: Witnessed, commands: Sequence[Command]) -> Configs:
        """What a network runs, as read back; for devices that do not answer, as last known."""
        if self.overtaken is not None and network is self.production:
            return {**network.configs(), **self.overtaken}
        return {**apply(self.before, commands), **network.configs()}

    def since_s(self, where: str) -> float:
        """Since when the shadow, or production, has had the change; now, if it has it not."""
        if where == "shadow":
            return self.trial_since_s
        return self.now if self.deployed_since_s is None else self.deployed_since_s

    def left(self, where: str) -> float:
        """The share of the trial, or of the monitoring of production, still to come: all of it
        before monitoring has begun, none of a trial that has no monitoring.
        """
        if where not in self.watched:
            return 0.0 if where == "shadow" else 1.0
        from_s, to_s = self.watched[where]
        rest_s = to_s - self.now
        return rest_s / (to_s - from_s) if rest_s > 1e-9 else 0.0

    def baseline(self, where: str) -> Telemetry:
        """The last readings of a network from before it had the change."""
        since_s = self.since_s(where)
        return self.telemetry[where].between(since_s - BASELINE_S, since_s)

    def evidence(self, where: str) -> Evidence:
        """What is known of the change in the shadow, or in production."""
        in_shadow = where == "shadow"
        network = self.shadow if in_shadow else self.production
        return Evidence(
            phase=where,
            topology=self.scenario.topology,
            demands=self.scenario.traffic.demands,
            intents=self.scenario.intents,
            change=self.scenario.change,
            before=self.before,
            now=self.configs(network, self.trial if in_shadow else self.deployed),
            baseline=self.baseline(where),
            observed=self.telemetry[where].since(self.since_s(where)),
            control=self.telemetry["production"] if in_shadow else None,
            horizon_s=self.scenario.workflow.horizon_s,
            soak_s=self.scenario.workflow.soak_s,
            past=self.past,
            since_s=self.now - self.since_s(where),
            left=self.left(where),
        )

    def predict(self, where: str) -> Forecast:
        evidence = self.evidence(where)
        forecast = self.precog.forecast(evidence)
        self.forecasts.append((self.now, where, forecast))
        because = [
            {"variant": r.variant, "mode": r.mode, "probability": r.probability, "text": r.text}
            for r in forecast.reasons[:REASONS_TOLD]
        ]
        self.note("forecast", network=where, probabilities=forecast.probabilities, because=because)
        self.looked(self, evidence)
        return forecast
