"""A scenario to an outcome, in five phases: shadow, traffic, risk, production, monitoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from shadowsim.errors import Unreachable
from shadowsim.journal import Event, Journal
from shadowsim.mirror import MirrorEngine
from shadowsim.model.change import Change, Command, Configs, apply
from shadowsim.model.streams import stream
from shadowsim.model.telemetry import Telemetry, coverage
from shadowsim.model.truth import DEGRADATION, OUTAGE
from shadowsim.network import Factory, Witnessed
from shadowsim.precog import Evidence, Forecast, Variant, WhatIf
from shadowsim.precog.script import growth
from shadowsim.precog.whatif import Condition, Observed
from shadowsim.rollback.blame import Blame, blame
from shadowsim.rollback.execute import Execution, execute
from shadowsim.rollback.plan import plan
from shadowsim.rollback.signature import Rehearsal, RollbackSignature
from shadowsim.scenario import Scenario

TICK_S = 1.0
INSTALL_TIMEOUT_S = 30.0
STEADY = 2  # consecutive samples that make a measured breach a fact
FORECAST_EVERY_S = 5.0  # in the shadow; in production at every tick

Approve = Callable[[str, Forecast], bool | None]


def nobody(question: str, forecast: Forecast) -> bool | None:
    """Nobody is there to answer."""
    return None


@dataclass
class Run:
    """The state of one run. Phases read and extend it; nothing else is shared between them."""

    scenario: Scenario
    factory: Factory
    precog: Variant
    whatif: WhatIf
    journal: Journal
    approve: Approve = nobody
    phase: str = ""
    production: Witnessed = field(init=False)
    shadow: Witnessed = field(init=False)
    mirror: MirrorEngine = field(init=False)
    before: Configs = field(init=False)
    telemetry: dict[str, Telemetry] = field(default_factory=dict)
    forecasts: list[tuple[float, str, Forecast]] = field(default_factory=list)
    phases: list[tuple[str, float]] = field(default_factory=list)
    trial: tuple[Command, ...] = ()
    trial_since_s: float = 0.0
    deployed: tuple[Command, ...] = ()
    deployed_since_s: float | None = None
    decision: str = "inconclusive"
    end_state: str = "halted"
    failure_mode: str = "none"
    blamed: tuple[Command, ...] = ()
    root_cause: str = "none"
    forecast: Forecast = field(default_factory=Forecast)
    signature: RollbackSignature | None = None
    execution: Execution | None = None
    triggered_s: float | None = None
    time_to_rollback_s: float | None = None
    told: set[str] = field(default_factory=set)

    @property
    def now(self) -> float:
        return self.production.now

    def note(self, kind: str, **data: object) -> None:
        self.journal.write(self.now, self.phase, kind, **data)

    def advance(self, seconds: float) -> None:
        """Let time pass in both networks, second by second, with production mirrored."""
        end_s = self.now + seconds
        while self.now < end_s - 1e-9:
            self._advance_to(min(np.floor(self.now + 1e-9) + TICK_S, end_s))

    def _advance_to(self, at_s: float) -> None:
        samples = self.production.advance(at_s)
        self.telemetry["production"].samples += samples
        for sample in samples:
            self.mirror.forward(sample)
        self.telemetry["shadow"].samples += self.shadow.advance(at_s)

    def settle(self, network: Witnessed) -> bool:
        """Wait until commands are installed; False if that takes too long."""
        end_s = self.now + INSTALL_TIMEOUT_S
        while network.busy and self.now < end_s:
            self.advance(0.1)
        return not network.busy

    def configs(self, network: Witnessed, commands: Sequence[Command]) -> Configs:
        """What a network runs, as read back; for devices that do not answer, as last known."""
        return {**apply(self.before, commands), **network.configs()}

    def evidence(self, where: str) -> Evidence:
        """What is known of the change in the shadow, or in production."""
        in_shadow = where == "shadow"
        since_s = self.trial_since_s if in_shadow else self.deployed_since_s or self.now
        network = self.shadow if in_shadow else self.production
        telemetry = self.telemetry[where]
        return Evidence(
            phase=where,
            topology=self.scenario.topology,
            demands=self.scenario.traffic.demands,
            intents=self.scenario.intents,
            change=self.scenario.change,
            before=self.before,
            now=self.configs(network, self.trial if in_shadow else self.deployed),
            baseline=telemetry.between(since_s - 30.0, since_s),
            observed=telemetry.since(since_s),
            control=self.telemetry["production"] if in_shadow else None,
            horizon_s=self.scenario.workflow.horizon_s,
            soak_s=self.scenario.workflow.soak_s,
        )

    def predict(self, where: str) -> Forecast:
        forecast = self.precog.forecast(self.evidence(where))
        self.forecasts.append((self.now, where, forecast))
        return forecast


Phase = Callable[[Run], bool]


def run_workflow(run: Run) -> Run:
    """Walk the phases until one ends the run. Production is left neither half changed nor unwatched:
    if a phase is interrupted after the first command, the armed rollback fires first.
    """
    run.before = {}
    configs = run.scenario.configs
    run.production = run.factory(run.scenario, configs, "production")
    run.before = dict(run.production.configs())
    try:
        for number, phase in enumerate(PHASES, 1):
            run.phase = phase.__name__
            run.phases.append((run.phase, run.now))
            run.note("phase", number=number)
            if not phase(run):
                break
    except BaseException:
        if run.deployed and run.end_state == "halted" and run.execution is None:
            run.note("interrupted")
            roll_back(run, "any", Blame(True, run.scenario.change.commands, True, "interrupted"))
        raise
    finally:
        run.production.close()
        if hasattr(run, "shadow"):
            run.shadow.close()
    run.note("end", decision=run.decision, end_state=run.end_state)
    return run


# -- phase 1 -----------------------------------------------------------------------------------


def shadow_deployment(run: Run) -> bool:
    """Clone production, warm the clone up under mirrored traffic, and deploy the change to it."""
    scenario = run.scenario
    run.shadow = run.factory(scenario, run.before, "shadow")
    demands = scenario.traffic.demands
    run.shadow.offer(np.zeros(len(demands)))
    random = stream(scenario.seed, "mirror")
    run.mirror = MirrorEngine(run.production, run.shadow, demands, scenario.shadow.mirror, random)
    run.telemetry = {
        "production": Telemetry(run.production.layout),
        "shadow": Telemetry(run.shadow.layout),
    }
    devices = len(scenario.topology.devices)
    run.note("shadow_created", scope=scenario.shadow.scope, devices=devices, drift=len(run.mirror.drift()))
    run.advance(scenario.workflow.baseline_s)
    repaired = run.mirror.sync()
    run.note("baseline_taken", samples=len(run.telemetry["shadow"].samples), repaired=len(repaired))
    run.trial_since_s = run.now
    for commands in by_device(scenario.change):
        if not deploy(run, run.shadow, commands):
            run.decision, run.end_state = "inconclusive", "halted"
            run.note("decision", decision=run.decision, why=["the shadow did not take the change"])
            return False
        run.trial += commands
        run.advance(scenario.workflow.soak_s)
    return True


def by_device(change: Change) -> list[tuple[Command, ...]]:
    """The script cut where it goes on to another device."""
    return [tuple(run) for _, run in groupby(change.commands, key=lambda c: c.device)]


def deploy(run: Run, network: Witnessed, commands: tuple[Command, ...]) -> bool:
    """Apply, and wait until it is installed; False if the device does not answer or is too slow."""
    where = "production" if network is run.production else "shadow"
    run.note("deploy", network=where, device=commands[0].device, commands=[c.line for c in commands])
    for _ in range(3):
        try:
            network.apply(commands)
            break
        except Unreachable as error:
            run.note("unreachable", network=where, detail=str(error))
            run.advance(2.0)
    else:
        return False
    return run.settle(network)


# -- phase 2 -----------------------------------------------------------------------------------


def traffic_and_monitoring(run: Run) -> bool:
    """Watch the changed shadow under production's traffic, and keep it in step with production."""
    end_s = run.now + run.scenario.workflow.shadow_s
    while run.now < end_s - 1e-9:
        run.advance(min(FORECAST_EVERY_S, end_s - run.now))
        repaired = run.mirror.sync(run.trial)
        if repaired:
            run.note("drift_repaired", commands=[str(c) for c in repaired])
        forecast = run.predict("shadow")
        run.note("forecast", network="shadow", probabilities=forecast.probabilities)
    mirrored = run.mirror.report()
    run.note(
        "mirrored",
        packets=mirrored.packets,
        captured_bytes=mirrored.captured_bytes,
        share=mirrored.share,
        lag_s=mirrored.lag_s,
        example=mirrored.example,
    )
    return True


# -- phase 3 -----------------------------------------------------------------------------------


def risk_assessment(run: Run) -> bool:
    """Go, no-go or inconclusive. Missing data is never a pass; a forecast only makes it stricter."""
    plan_ = run.scenario.workflow
    run.forecast = forecast = run.predict("shadow")
    failed, missing = hard_checks(run)
    strong = [r for r in forecast.reasons if r.probability >= plan_.inconclusive_above]
    why = [*failed, *missing, *(f"{r.variant}: {r.text}" for r in strong)]
    if failed or forecast.worst >= plan_.no_go_above:
        run.decision, run.end_state = "no-go", "refused"
        run.failure_mode = forecast.mode if forecast.worst >= plan_.no_go_above else _mode_of(run)
        run.blamed = forecast.blamed
        run.root_cause = "change" if run.blamed or failed else "unknown"
    elif missing or forecast.worst >= plan_.inconclusive_above:
        run.decision, run.end_state = "inconclusive", "halted"
    else:
        run.decision = "go"
        run.signature = rehearse(run)
        if not run.signature.rehearsal.verified:
            run.decision, run.end_state = "inconclusive", "halted"
            why.append(f"rehearsal of the rollback: {run.signature.rehearsal.detail}")
    run.note(
        "decision", decision=run.decision, why=why, probabilities=forecast.probabilities,
        blamed=[str(c) for c in run.blamed],
    )  # fmt: skip
    return run.decision == "go" and _may_deploy(run)


def _may_deploy(run: Run) -> bool:
    autonomy = run.scenario.workflow.autonomy
    if autonomy == "observe":
        run.end_state = "refused"
        run.note("observe_only")
        return False
    if autonomy == "ask":
        answer = run.approve(f"deploy '{run.scenario.change.summary}' to production?", run.forecast)
        run.note("asked", question="deploy", answer=answer)
        run.end_state = "halted" if answer is None else "refused"
        return answer is True
    return True


def hard_checks(run: Run) -> tuple[list[str], list[str]]:
    """What speaks against the change whatever a forecast says: (failed, missing)."""
    evidence = run.evidence("shadow")
    missing = []
    covered = coverage(evidence.observed.samples)
    if covered < run.scenario.workflow.minimum_coverage:
        missing.append(f"only {covered:.0%} of the shadow's telemetry arrived")
    if run.mirror.drift(run.trial):
        missing.append("the shadow's configs are not production's with the change")
    seen = run.whatif.observe(evidence.observed, evidence.now)
    clean = Observed(frozenset(), np.zeros_like(seen.loss), seen.rates_bps)
    start = run.whatif.look(run.before, clean, run.before)
    end = run.whatif.look(evidence.now, clean, run.before)
    failed = [f"breaks {name}" for name in end.broken if name not in start.broken]
    failed += [f"exposes {name}" for name in end.exposed if name not in start.exposed]
    measured = _exceeded(run, evidence.observed) - _exceeded(run, evidence.baseline)
    failed += [f"measured in the shadow: {name}" for name in sorted(measured)]
    return failed, missing


def _mode_of(run: Run) -> str:
    """The failure mode that the shadow's own condition amounts to."""
    evidence = run.evidence("shadow")
    seen = run.whatif.observe(evidence.observed, evidence.now)
    modes = run.whatif.look(evidence.now, seen, run.before).modes()
    return min(modes) if modes else DEGRADATION


def _exceeded(run: Run, telemetry: Telemetry) -> set[str]:
    """The limits that the last samples exceed, and critical demands that starve in them."""
    recent = telemetry.samples[-STEADY:]
    if len(recent) < STEADY:
        return set()
    limits = run.whatif.limits
    rows = [limits.severity(s.demand, s.column("link", "utilisation")) for s in recent]
    always = np.all(np.nan_to_num(np.stack(rows)) > 1.0, axis=0)
    names = {limit.name for limit, broken in zip(limits.limits, always, strict=True) if broken}
    starved = [set(limits.starved(s.demand, telemetry.layout)) for s in recent]
    return names | set.intersection(*starved)


def rehearse(run: Run) -> RollbackSignature:
    """Plan the whole rollback, execute it in the shadow, and put the change back there."""
    change, now = run.scenario.change, run.configs(run.shadow, run.trial)
    signature = plan(change, run.before, now, lambda c: _broken(run, c), forecast=run.forecast)
    run.note("rehearsal", steps=len(signature.steps), order=signature.order_note)
    reference = _exceeded(run, run.evidence("shadow").baseline)
    trial, run.trial = run.trial, ()
    execution = execute(
        run.shadow, signature, run.advance, lambda: _unmet(run, "shadow", run.shadow, (), reference)
    )
    run.mirror.sync(trial)
    run.settle(run.shadow)
    run.trial = trial
    rehearsal = Rehearsal(
        done=True,
        verified=execution.verified,
        took_s=round(execution.took_s, 6),
        detail="; ".join(execution.failed) or "verified in the shadow",
    )
    run.note("rehearsed", verified=rehearsal.verified, took_s=rehearsal.took_s, detail=rehearsal.detail)
    return signature.model_copy(update={"rehearsal": rehearsal})


def _broken(run: Run, configs: Configs) -> frozenset[str]:
    condition = run.whatif.look(configs, _idle(run), run.before)
    return frozenset((*condition.broken, *condition.exposed))


def _idle(run: Run) -> Observed:
    links, demands = run.scenario.topology.directed_links, len(run.scenario.traffic.demands)
    return Observed(frozenset(), np.zeros(links), np.zeros(demands))


def _unmet(
    run: Run, where: str, network: Witnessed, commands: Sequence[Command], reference: set[str]
) -> tuple[str, ...]:
    """Intents and limits a network does not meet that were met before the change."""
    configs = run.configs(network, commands)
    seen = run.whatif.observe(run.telemetry[where], configs)
    now: Condition = run.whatif.look(configs, seen, run.before)
    then = run.whatif.look(run.before, seen, run.before)
    unmet = (set(now.broken) | set(now.exposed)) - set(then.broken) - set(then.exposed)
    return tuple(sorted(unmet | (_exceeded(run, run.telemetry[where]) - reference)))


# -- phase 4 -----------------------------------------------------------------------------------


def production_deployment(run: Run) -> bool:
    """Deploy device by device, with a check between; the rollback is armed before the first command."""
    run.deployed_since_s = run.now
    assert_armed = run.signature
    run.note("armed", signature=assert_armed.id if assert_armed else "none")
    for commands in by_device(run.scenario.change):
        previously = run.deployed
        run.deployed += commands
        if not deploy(run, run.production, commands):
            return _give_up(run, previously, commands[0].device)
        end_s = run.now + run.scenario.workflow.soak_s
        while run.now < end_s - 1e-9:
            run.advance(TICK_S)
            if watch(run):
                return False
    return True


def _give_up(run: Run, previously: tuple[Command, ...], device: str) -> bool:
    """A device did not take its commands: take back what was done, if anything was."""
    if not previously and run.production.configs().get(device) == run.before[device]:
        run.deployed, run.deployed_since_s = (), None
        run.end_state = "refused"
        run.note("not_deployed", device=device)
        return False
    reason = Blame(True, run.scenario.change.commands, True, f"{device} did not take its commands")
    roll_back(run, "any", reason)
    return False


# -- phase 5 -----------------------------------------------------------------------------------


def realtime_monitoring(run: Run) -> bool:
    """Watch production; take the change back if it fails, or is about to, because of it."""
    end_s = run.now + run.scenario.workflow.monitor_s
    while run.now < end_s - 1e-9:
        run.advance(min(TICK_S, end_s - run.now))
        if watch(run):
            return False
    unmet = _unmet(run, "production", run.production, run.deployed, set())
    run.end_state = "halted" if unmet else "confirmed"
    run.note(run.end_state, unmet=unmet)
    return False


def watch(run: Run) -> bool:
    """One look at production. True if the run ended with a rollback, or for want of one."""
    plan_ = run.scenario.workflow
    forecast = run.predict("production")
    telemetry = run.telemetry["production"]
    recent = telemetry.since(max(run.now - plan_.horizon_s, run.deployed_since_s or 0.0))
    if len(recent.samples) >= plan_.horizon_s - 1 and coverage(recent.samples) < plan_.minimum_coverage:
        text = f"production has been dark for {plan_.horizon_s:g} s"
        return roll_back(run, "any", Blame(True, run.scenario.change.commands, True, text))
    seen = run.whatif.observe(recent, run.configs(run.production, run.deployed))
    baseline = telemetry.between((run.deployed_since_s or 0.0) - 10.0, run.deployed_since_s or 0.0)
    measured = _exceeded(run, recent) - _exceeded(run, baseline)
    if forecast.worst < plan_.no_go_above and not measured:
        return False
    verdict = _attribute(run, seen, recent, measured)
    what = sorted(measured) or [f"{r.variant}: {r.text}" for r in forecast.reasons[:3]]
    if not verdict.change:
        if verdict.text not in run.told:
            run.told.add(verdict.text)
            run.root_cause = "not the change"
            run.note("not_the_change", signs=what, why=verdict.text)
        return False
    mode = forecast.mode if forecast.worst >= plan_.no_go_above else DEGRADATION
    starving = set(telemetry.layout.demands) & measured
    return roll_back(run, OUTAGE if starving else mode, verdict, what)


def _attribute(run: Run, seen: Observed, recent: Telemetry, measured: set[str]) -> Blame:
    """Whom the signs are due to: by the model under the traffic of now, then under the traffic to
    come, and last, where the model shows nothing, by what else was seen to change.
    """
    change, now = run.scenario.change, run.configs(run.production, run.deployed)
    factor = growth(run.evidence("production"))
    ahead = Observed(seen.down, seen.loss, seen.rates_bps * factor)
    verdict = blame(run.whatif, change, run.before, now, ahead)
    if not verdict.explained:
        verdict = blame(run.whatif, change, run.before, now, ahead, margin=0.95)
    if verdict.explained or not measured:
        return verdict
    if seen.down or (seen.loss > 0.001).any():
        return Blame(False, (), True, "links are down or lossy, and the configs alone explain nothing")
    return Blame(True, change.commands, False, "it began after the change, and nothing else changed")


def roll_back(run: Run, mode: str, verdict: Blame, signs: Sequence[str] = ()) -> bool:
    """Take the blamed part back, and say how it ended. False if a person wants to go on."""
    run.triggered_s = run.now if run.triggered_s is None else run.triggered_s
    forecast = run.forecasts[-1][2] if run.forecasts else Forecast()
    run.note("trigger", mode=mode, signs=signs, why=verdict.text, blamed=[str(c) for c in verdict.commands])
    if run.scenario.workflow.autonomy == "ask":
        answer = run.approve(f"roll back ({mode}: {verdict.text})?", forecast)
        run.note("asked", question="roll back", answer=answer)
        if answer is False:
            return False
    change = Change(run.scenario.change.summary, run.deployed)
    blamed = [c for c in verdict.commands if c in set(run.deployed)] or list(run.deployed)
    now = run.configs(run.production, run.deployed)
    signature = plan(
        change, run.before, now, lambda c: _broken(run, c), blamed=blamed, mode=mode, forecast=forecast
    )
    if run.signature is not None and run.signature.order == signature.order:
        signature = signature.model_copy(update={"rehearsal": run.signature.rehearsal})
    run.signature, run.blamed, run.failure_mode = signature, tuple(blamed), mode
    run.root_cause = "change"
    run.note("rollback", signature=signature.id, scope=signature.scope, steps=len(signature.steps))
    left = tuple(c for c in run.deployed if c not in set(blamed))
    baseline_end_s = run.deployed_since_s or 0.0
    baseline = run.telemetry["production"].between(baseline_end_s - 10.0, baseline_end_s)
    reference = _exceeded(run, baseline)
    run.execution = execute(
        run.production,
        signature,
        run.advance,
        lambda: _unmet(run, "production", run.production, left, reference),
        lambda step, outcome: run.note("step", step=step, outcome=outcome),
    )
    run.time_to_rollback_s = round(run.now - run.triggered_s, 6)
    run.end_state = "rolled_back" if run.execution.verified else "halted"
    run.note(run.end_state, took_s=run.time_to_rollback_s, failed=run.execution.failed)
    return True


PHASES: tuple[Phase, ...] = (
    shadow_deployment,
    traffic_and_monitoring,
    risk_assessment,
    production_deployment,
    realtime_monitoring,
)

__all__ = ["PHASES", "Approve", "Event", "Run", "nobody", "run_workflow"]
