"""The five phases, each a step that extends the run and says whether the next one follows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict
from itertools import groupby

import numpy as np

from shadowsim.errors import Unreachable
from shadowsim.interruptions import listen
from shadowsim.mirror import Chooser, MirrorEngine
from shadowsim.model.change import Change, Command
from shadowsim.model.streams import stream
from shadowsim.model.telemetry import Telemetry, coverage
from shadowsim.network import Witnessed
from shadowsim.rollback.blame import Blame
from shadowsim.workflow.gate import (
    hard_checks,
    mode_of,
    not_covered,
    rehearse_all,
    tell_unmet,
    unmet,
    unmet_by_change,
)
from shadowsim.workflow.restored import STEADY, exceeded
from shadowsim.workflow.state import PERSON_S, TICK_S, Run
from shadowsim.workflow.watch import has_been_dark, roll_back, roll_back_dark, watch

TABLES_S = 2.0  # in which a device's tables must be what its config compiles to
FORECAST_EVERY_S = 5.0  # in the shadow; in production at every tick

Phase = Callable[[Run], bool]
Check = Callable[[Run], bool]
Signs = Callable[[Run], tuple[str, ...]]


# -- phase 1 -----------------------------------------------------------------------------------


def shadow_deployment(run: Run) -> bool:
    """Clone production, warm the clone up under mirrored traffic, and deploy the change to it."""
    scenario = run.scenario
    run.shadow = run.build(run.before, "shadow")
    demands = scenario.traffic.demands
    run.shadow.offer(np.zeros(len(demands)))
    run.mirror = _mirror(run)
    run.telemetry = {
        "production": Telemetry(run.production.layout),
        "shadow": Telemetry(run.shadow.layout),
    }
    run.note(
        "shadow_created",
        scope=scenario.shadow.scope,
        devices=len(run.mirror.subset.devices),
        of=len(scenario.topology.devices),
        coverage=run.mirror.subset.coverage.shares,
        drift=len(run.mirror.drift()),
    )
    run.advance(scenario.workflow.baseline_s)
    repaired = run.mirror.sync()
    run.tell()
    run.note("baseline_taken", samples=len(run.telemetry["shadow"].samples), repaired=len(repaired))
    run.trial_since_s = run.now
    for commands in by_device(scenario.change):
        try:
            deploy(run, run.shadow, commands)
        except NotInstalled:
            run.decision, run.end_state = "inconclusive", "halted"
            run.note("decision", decision=run.decision, why=["the shadow did not take the change"])
            return False
        run.trial += commands
        run.advance(scenario.workflow.soak_s)
    return True


def _mirror(run: Run) -> MirrorEngine:
    scenario = run.scenario
    topology, demands, plan_ = scenario.topology, scenario.traffic.demands, scenario.shadow
    chooser = None
    if plan_.scope == "subset":
        chooser = Chooser(topology, demands, scenario.intents, scenario.change)
    return MirrorEngine(
        run.production,
        run.shadow,
        demands,
        plan_.mirror,
        stream(scenario.seed, "mirror"),
        known=run.before,
        chooser=chooser,
        hops=plan_.hops,
    )


def by_device(change: Change) -> list[tuple[Command, ...]]:
    """The script cut where it goes on to another device."""
    return [tuple(run) for _, run in groupby(change.commands, key=lambda c: c.device)]


class NotInstalled(Exception):
    """A device did not take its commands; `sent` says whether it may have taken some."""

    def __init__(self, sent: bool) -> None:
        self.sent = sent


def deploy(run: Run, network: Witnessed, commands: tuple[Command, ...]) -> None:
    """Apply, and wait until it is installed, and read back from the tables. Raises NotInstalled."""
    where = "production" if network is run.production else "shadow"
    device = commands[0].device
    run.note("deploy", network=where, device=device, commands=[c.brief for c in commands])
    for _ in range(3):
        try:
            if network is run.production:
                run.hold.intend("deploy", device, [str(c) for c in commands])
            network.apply(commands)
            break
        except Unreachable as error:
            run.note("unreachable", network=where, detail=str(error))
            run.advance(2.0)
    else:
        raise NotInstalled(sent=False)
    if not run.settle(network) or not run.runs(network, commands):
        raise NotInstalled(sent=True)
    end_s = run.now + TABLES_S
    while (why := network.misprogrammed().get(device)) is not None:
        if run.now >= end_s - 1e-9:
            run.note("misprogrammed", network=where, device=device, why=why)
            raise NotInstalled(sent=True)
        run.advance(0.1)


# -- phase 2 -----------------------------------------------------------------------------------


def traffic_and_monitoring(run: Run) -> bool:
    """Watch the changed shadow under production's traffic, and keep it in step with production."""
    end_s = run.now + run.scenario.workflow.shadow_s
    run.watched["shadow"] = run.now, end_s
    while run.now < end_s - 1e-9:
        until_s = min(run.now + FORECAST_EVERY_S, end_s)
        while run.now < until_s - 1e-9:
            run.advance(min(run.production.look_every_s, until_s - run.now))
            run.keep_in_step()
        run.predict("shadow")
        tell_unmet(run, "shadow")
    mirrored = run.mirror.report()
    run.note(
        "mirrored",
        packets=mirrored.packets,
        captured_bytes=mirrored.captured_bytes,
        share=mirrored.share,
        represented=mirrored.represented,
        lag_s=mirrored.lag_s,
        config_lag_s=mirrored.config_lag_s,
        replica_lag_s=mirrored.replica_lag_s,
        services=[asdict(status) for status in mirrored.services],
        peak_bps=mirrored.peak_bps,
        budget_bps=mirrored.budget_bps,
        shed=mirrored.shed,
        example=mirrored.example,
    )
    return True


# -- phase 3 -----------------------------------------------------------------------------------


def risk_assessment(run: Run) -> bool:
    """Go, no-go or inconclusive. Missing data is no pass; a forecast only makes it stricter."""
    plan_ = run.scenario.workflow
    run.forecast = forecast = run.predict("shadow")
    failed, missing = hard_checks(run)
    run.refused_by = tuple(failed)
    missing += [f"the forecast says nothing of {mode}" for mode in forecast.unknown]
    unjudged = not_covered(run)
    if unjudged:
        run.note("not_covered", limits=unjudged)
    strong = [r for r in forecast.reasons if r.probability >= plan_.inconclusive_above]
    why = [*failed, *missing, *(f"{r.variant}: {r.text}" for r in strong)]
    if failed or forecast.worst >= plan_.no_go_above:
        run.decision, run.end_state = "no-go", "refused"
        run.failure_mode = mode_of(failed, forecast)
        run.blamed = forecast.blamed
        run.root_cause = "change" if run.blamed or failed else "unknown"
    elif missing or forecast.worst >= plan_.inconclusive_above:
        run.decision, run.end_state = "inconclusive", "halted"
    else:
        run.decision = "go"
        run.signatures = rehearse_all(run)
        run.signature = next(iter(run.signatures.values()))
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
        question = f"deploy '{run.scenario.change.summary}' to production?"
        run.note("asking", question="deploy", text=question, within_s=PERSON_S)
        answer = run.ask(question, run.forecast)
        run.note("asked", question="deploy", answer=answer)
        if answer is not True:
            run.end_state = "halted" if answer is None else "refused"
        return answer is True
    return True


# -- phase 4 -----------------------------------------------------------------------------------


def production_deployment(run: Run) -> bool:
    """Deploy device by device, with a check between. The rollback is armed before all of it."""
    read_again(run)
    _arm(run)
    try:
        return roll_out(run, watch, signs_beyond(unmet(run, "production")))
    except NotInstalled:
        return _give_up(run)


def no_signs(run: Run) -> tuple[str, ...]:
    """Nobody looks whether production fails."""
    return ()


def signs_beyond(known: Collection[str]) -> Signs:
    """What production does not meet, whoever is to blame, beyond what is known already."""

    def signs(run: Run) -> tuple[str, ...]:
        if run.kept_by_person:
            return ()
        lately = run.telemetry["production"].samples[-STEADY:]
        dark = coverage(lately) < run.scenario.workflow.minimum_coverage
        new = tuple(name for name in unmet(run, "production") if name not in known)
        return (*new, *(["too little of its telemetry arrives"] * dark))

    return signs


def roll_out(run: Run, enough: Check, signs: Signs = no_signs) -> bool:
    """Deploy to production; every second between two devices and after the last is looked at.

    False as soon as `enough(run)`. While production shows `signs` of failure it is frozen: no other
    device is begun, and if that lasts for the horizon, what was deployed is taken back. Raises
    NotInstalled; what may have been done is `deployed`.
    """
    run.deployed_since_s = run.now
    for commands in by_device(run.scenario.change):
        listen()
        if run.deployed and not _goes_on(run, commands[0].device, enough, signs):
            return False
        previously = run.deployed
        run.deployed, run.under_way = run.deployed + commands, commands
        try:
            deploy(run, run.production, commands)
        except NotInstalled as error:
            run.deployed = run.deployed if error.sent else previously
            raise
        run.in_force_s, run.under_way = run.now, ()
        end_s = run.now + run.scenario.workflow.soak_s
        while run.now < end_s - 1e-9 or run.unclear:
            run.advance(TICK_S)
            if enough(run):
                return False
    return True


def _goes_on(run: Run, device: str, enough: Check, signs: Signs) -> bool:
    """Let production be while it fails; whether the next device may be begun then."""
    seen = signs(run)
    if not seen:
        return True
    run.note("frozen", device=device, signs=seen)
    calm, end_s = 0, run.now + run.scenario.workflow.horizon_s
    while run.now < end_s - 1e-9:
        run.advance(min(TICK_S, end_s - run.now))
        if enough(run):
            return False
        now = signs(run)
        calm, seen = (0, now) if now else (calm + 1, seen)
        if calm == STEADY:
            run.note("thawed", device=device)
            return True
    text = "production fails while the change is half way out"
    cause = run.root_cause if run.root_cause == "not the change" else "unknown"
    return not roll_back(run, "any", Blame(True, run.deployed, True, text), seen, cause=cause)


def _arm(run: Run) -> None:
    """Have the rollback held by somebody who fires it unless the change is confirmed."""
    if run.signature is None:
        raise RuntimeError("nothing is deployed without a rollback to it")
    run.hold.arm(run.production, run.scenario.change, run.before, run.signature)
    run.armed = True
    run.note("armed", signature=run.signature.id, plan=run.signature.outline())


def read_again(run: Run) -> None:
    """What others have changed since the run began is theirs, and no rollback may undo it."""
    found = {**run.before, **run.production.configs()}
    changed = [name for name, config in found.items() if config != run.before[name]]
    if changed:
        run.note("changed_by_others", devices=changed)
    run.before = found


def _give_up(run: Run) -> bool:
    """A device did not take its commands: take back what was done, if anything may have been."""
    if run.deployed:
        verdict = Blame(True, run.deployed, True, "a device did not take its commands")
        if not roll_back(run, "any", verdict, cause="device did not answer"):
            run.end("halted", unmet=(f"{verdict.text}, and a person wants to keep the rest",))
    else:
        run.deployed_since_s = None
        run.end("refused", "not_deployed")
    return False


# -- phase 5 -----------------------------------------------------------------------------------


def realtime_monitoring(run: Run) -> bool:
    """Watch production; take the change back if it fails, or is about to, because of it."""
    if not leave(run, watch):
        return False
    if has_been_dark(run, run.since_s("production")) and roll_back_dark(run):
        return False
    found = unmet_by_change(run, exceeded(run, run.baseline("production")))
    if not run.runs(run.production, run.deployed):
        found = ("the change is not in force any more", *found)
    listen()
    run.end("halted" if found else "confirmed", unmet=found)
    return False


def leave(run: Run, enough: Check) -> bool:
    """Leave production with its change for as long as it is monitored; False once `enough(run)`."""
    end_s = run.now + run.scenario.workflow.monitor_s
    run.watched["production"] = run.now, end_s
    while run.now < end_s - 1e-9:
        run.advance(min(TICK_S, end_s - run.now))
        if enough(run):
            return False
    return True


PHASES: tuple[Phase, ...] = (
    shadow_deployment,
    traffic_and_monitoring,
    risk_assessment,
    production_deployment,
    realtime_monitoring,
)
