"""Production under a change to the decision to leave it, or to take it back, and to doing so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shadowsim.model.change import Command, Configs, difference, reverted
from shadowsim.model.telemetry import coverage
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE, VULNERABILITY
from shadowsim.precog import Forecast
from shadowsim.precog.script import growth
from shadowsim.precog.whatif import Observed
from shadowsim.rollback.blame import Blame, blame
from shadowsim.rollback.execute import Execution, execute
from shadowsim.rollback.harm import looker
from shadowsim.rollback.plan import plan
from shadowsim.rollback.signature import RollbackSignature
from shadowsim.rollback.subsets import Minimal
from shadowsim.workflow.gate import Broken, broken_by_change, ground, tell_unmet
from shadowsim.workflow.restored import by_others, exceeded, not_known, unwell
from shadowsim.workflow.state import PERSON_S, TICK_S, Run

LOSSY = 0.001  # of its packets: a link that loses more has a fault
HOLD_S = 5.0  # after a rollback: how long it is watched whether others set it again
MOST_AGAIN = 3  # reverts of what others set again, before a person is asked
NEARLY = 0.95  # of a limit: what the model puts there may in truth be beyond


def watch(run: Run) -> bool:
    """One look at production. True if the run ended with a rollback, or for want of one."""
    plan_ = run.scenario.workflow
    forecast = run.predict("production")
    tell_unmet(run, "production")
    telemetry = run.telemetry["production"]
    run.unclear = False
    if run.kept_by_person:
        return False
    recent = telemetry.since(max(run.now - plan_.horizon_s, run.since_s("production")))
    long_enough = run.now - run.since_s("production") >= plan_.horizon_s
    if long_enough and has_been_dark(run, run.now - plan_.horizon_s):
        return roll_back_dark(run)
    seen = run.whatif.observe(recent, run.configs(run.production, run.deployed))
    broken = broken_by_change(run, seen)
    measured = exceeded(run, recent)
    if measured:
        measured -= exceeded(run, run.baseline("production"))
    signs = sorted(measured | set(broken.broken) | set(broken.exposed))
    if forecast.worst < plan_.no_go_above and not signs:
        return False
    verdict = _attribute(run, seen, measured)
    what = signs or [f"{r.variant}: {r.text}" for r in forecast.reasons[:3]]
    if not verdict.change:
        _tell_once(run, verdict, what)
        return False
    run.signs = tuple(signs)
    return roll_back(run, _mode(run, forecast, broken, measured), verdict, what)


def _mode(run: Run, forecast: Forecast, broken: Broken, measured: set[str]) -> str:
    """The failure mode of what is seen; where nothing is yet, of what is forecast."""
    starving = set(run.telemetry["production"].layout.demands) & measured
    if broken.exposed:
        return VULNERABILITY
    if broken.broken or starving:
        return OUTAGE
    return DEGRADATION if measured else forecast.mode


def has_been_dark(run: Run, since_s: float) -> bool:
    """Whether less than the least share of production's telemetry has arrived since then."""
    samples = run.telemetry["production"].since(since_s).samples
    return coverage(samples) < run.scenario.workflow.minimum_coverage


def roll_back_dark(run: Run) -> bool:
    """Missing data is never a pass: what cannot be seen to be well is taken back."""
    text = "production cannot be seen: too little of its telemetry arrives"
    verdict = Blame(True, run.deployed, True, text)
    return roll_back(run, "any", verdict, cause="telemetry lost")


def _tell_once(run: Run, verdict: Blame, signs: Sequence[str]) -> None:
    """Write down signs that are not followed, each kind of them once."""
    if verdict.text in run.told:
        return
    run.told.add(verdict.text)
    if verdict.explained:
        run.root_cause = "not the change"
        run.note("not_the_change", signs=signs, why=verdict.text)
    else:
        run.note("doubted", signs=signs, why=verdict.text)


def _attribute(run: Run, seen: Observed, measured: set[str]) -> Blame:
    """Whom the signs are due to: by the model under the traffic of now, then under the traffic to
    come, and last, where the model shows nothing, by the circumstances.
    """
    change, now = run.sent, run.configs(run.production, run.deployed)
    factor = growth(run.whatif, run.evidence("production"))
    ahead = Observed(seen.down, seen.loss, seen.rates_bps * factor)
    verdicts: list[Blame] = []
    for traffic, margin in ((seen, 1.0), (ahead, 1.0), (ahead, NEARLY)):
        verdicts.append(blame(run.whatif, change, run.before, now, traffic, margin=margin))
        if verdicts[-1].change:
            break
    # The first that blames the change, else the first that shows the failure at all.
    verdict = max(verdicts, key=lambda v: (v.change, v.explained))
    if verdict.explained or not measured:
        return verdict
    return _by_circumstance(run, seen, measured)


def _by_circumstance(run: Run, seen: Observed, measured: set[str]) -> Blame:
    """Whom a failure is due to that is measured, but not shown by the model of the configs."""
    change, now = run.sent, run.configs(run.production, run.deployed)
    if seen.down or (seen.loss > LOSSY).any():
        return Blame(
            False, (), True, "links are down or lossy, and the configs alone explain nothing"
        )
    without = reverted(run.before, now, change, change.commands)
    if run.whatif.same_rules(now, without) and run.whatif.same_tables(now, without):
        return Blame(False, (), True, "packets are treated alike with and without the change")
    plan_ = run.scenario.workflow
    if run.now - run.since_s("production") > plan_.horizon_s + plan_.soak_s:
        return Blame(False, (), True, "it began long after the change, which does not explain it")
    # What is missed while routes follow is measured too, once for every device that is changed.
    if not measured & exceeded(run, run.telemetry["production"].since(run.in_force_s + TICK_S)):
        run.unclear = True
        return Blame(False, (), False, "it may be no more than the change on its way")
    return Blame(True, change.commands, False, "it began with the change, and nothing else changed")


def roll_back(
    run: Run, mode: str, verdict: Blame, signs: Sequence[str] = (), *, cause: str = "change"
) -> bool:
    """Take the blamed part back, and say how it ended. False if a person wants to go on.

    `mode` is "any" where no failure was seen, but `cause` is reason enough.
    """
    run.triggered_s = run.now if run.triggered_s is None else run.triggered_s
    named = [str(command) for command in verdict.commands]
    run.note("trigger", mode=mode, signs=signs, why=verdict.text, blamed=named)
    if not _is_agreed(run, f"roll back ({mode}: {verdict.text})?"):
        run.kept_by_person = True
        return False
    run.settle(run.production)  # what is still being installed would escape the plan
    blamed = tuple(c for c in verdict.commands if c in set(run.deployed)) or run.deployed
    run.blamed, run.root_cause = blamed, cause
    run.failure_mode = mode if mode in MODES else "none"
    _take_back(run, mode, blamed, verdict.minimal)
    return True


def _is_agreed(run: Run, question: str) -> bool:
    """Whether nobody objects. What interrupts a run leaves no time for questions."""
    if run.scenario.workflow.autonomy != "ask" or run.interrupted:
        return True
    run.note("asking", question="roll back", text=question, within_s=PERSON_S)
    with run.hold.asking(PERSON_S):
        answer = run.ask(question, _last_forecast(run))
    run.note("asked", question="roll back", answer=answer)
    return answer is not False


def _last_forecast(run: Run) -> Forecast:
    return run.forecasts[-1][2] if run.forecasts else Forecast()


def _take_back(run: Run, mode: str, blamed: tuple[Command, ...], minimal: Minimal | None) -> None:
    """Plan, execute, read back; again, a few times, if others set again what was taken back.

    "Rolled back" is said only after `HOLD_S` seconds in which it stayed so and users are served.
    """
    reference = exceeded(run, run.baseline("production"))
    for attempt in range(1 + MOST_AGAIN):
        run.signature = _planned(run, mode, blamed, minimal)
        wanted = _wanted(run, blamed)
        execution = _carry_out(run, run.signature, blamed, reference)
        took_s = round(run.now - (run.triggered_s or run.now), 6)
        complete = execution.steps_done == len(run.signature.steps)
        again = _set_again(run, blamed, hold=execution.verified) if complete else ()
        if not again:
            break
        run.note("set_again", commands=[str(c) for c in again], revert=attempt < MOST_AGAIN)
    failed = execution.failed
    if again:
        failed = tuple(
            f"others set '{command}' again, after {1 + MOST_AGAIN} reverts" for command in again
        )
    elif failed and complete:
        failed += _foreign(run, wanted)
    elif not failed and not run.interrupted:
        failed = _unwell(run, blamed, reference)
    rest = {} if failed else _not_verified(run)
    run.execution = replace(execution, verified=not failed and not rest, failed=failed)
    run.time_to_rollback_s = None if failed else took_s
    data: dict[str, object] = {"took_s": took_s, "failed": failed, **rest}
    run.end("halted" if failed else "rolled_back", "", **data)
    tell_unmet(run, "production")


def _not_verified(run: Run) -> dict[str, tuple[str, ...]]:
    """What speaks for no failure of the rollback, but leaves open whether users are served."""
    found = {"not_known": not_known(run, "production"), "by_others": by_others(run)}
    return {name: texts for name, texts in found.items() if texts}


def _planned(
    run: Run, mode: str, blamed: tuple[Command, ...], minimal: Minimal | None
) -> RollbackSignature:
    """The plan for production as it is now: in the form that was rehearsed, if it is still safe."""
    rehearsed = next(
        (s for s in run.signatures.values() if {c.value() for c in s.reverts} == set(blamed)), None
    )
    signature = plan(
        run.sent,
        run.before,
        run.configs(run.production, run.deployed),
        looker(run.whatif, ground(run), run.before),
        run.scenario.topology,
        blamed=blamed,
        minimal=minimal,
        mode=mode,
        forecast=_last_forecast(run),
        first=_sequence(rehearsed) if rehearsed else (),
        under_way=run.under_way,
    )
    if rehearsed is not None and _sequence(rehearsed) == _sequence(signature):
        return signature.model_copy(update={"rehearsal": rehearsed.rehearsal})
    return signature


def _sequence(signature: RollbackSignature) -> list[Command]:
    """The commands of a plan in the order of execution."""
    return [c.value() for step in signature.ordered() for c in step.commands]


def _wanted(run: Run, blamed: Sequence[Command]) -> Configs:
    """What the devices that answer are to run without the blamed commands."""
    now = run.production.configs()
    return reverted(run.before, now, run.sent, blamed, run.under_way)


def _carry_out(
    run: Run, signature: RollbackSignature, blamed: Sequence[Command], reference: set[str]
) -> Execution:
    """Execute a plan on production."""
    run.note(
        "rollback",
        signature=signature.id,
        scope=signature.scope,
        steps=len(signature.steps),
        rehearsed=signature.rehearsal.verified,
        order=signature.order_note,
        plan=signature.outline(),
    )
    return execute(
        run.production,
        signature,
        run.advance,
        lambda: _unwell(run, blamed, reference),
        lambda step, outcome: run.note("step", step=step, outcome=outcome),
        lambda step: run.hold.intend(step.id, step.device, [c.line for c in step.commands]),
    )


def _unwell(run: Run, blamed: Sequence[Command], reference: set[str]) -> tuple[str, ...]:
    left = tuple(c for c in run.deployed if c not in set(blamed))
    return unwell(run, "production", run.production, left, reference)


def _set_again(run: Run, blamed: Sequence[Command], *, hold: bool) -> tuple[Command, ...]:
    """What others have set again of what was taken back: by the configs read back, now and, with
    `hold`, in the seconds after. An interrupted run has no time to wait.
    """
    end_s = run.now + (HOLD_S if hold and not run.interrupted else 0.0)
    while True:
        wanted = _wanted(run, blamed)
        now = run.production.configs()
        found = difference(wanted, {name: now[name] for name in wanted if name in now})
        if found or run.now >= end_s - 1e-9:
            return found
        run.advance(min(TICK_S, end_s - run.now))


def _foreign(run: Run, wanted: Configs) -> tuple[str, ...]:
    """What stands in the configs that the plan did not lead to, by name."""
    now = run.production.configs()
    known = {name: config for name, config in wanted.items() if name in now}
    found = difference(known, {name: now[name] for name in known})
    return tuple(f"others have set '{command}'" for command in found)
