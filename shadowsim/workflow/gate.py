"""A run's shadow to what speaks against its change, and to a rollback that has been rehearsed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.model.change import Command, Configs
from shadowsim.model.telemetry import Telemetry, coverage
from shadowsim.model.truth import DEGRADATION
from shadowsim.network import Witnessed
from shadowsim.precog.whatif import Condition, Observed
from shadowsim.rollback.execute import execute
from shadowsim.rollback.plan import plan
from shadowsim.rollback.signature import Rehearsal, RollbackSignature
from shadowsim.workflow.state import Run

PARTS_REHEARSED = 3  # single commands whose rollback is rehearsed beside the whole
STEADY = 2  # consecutive samples that make a measured breach a fact


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
    measured = exceeded(run, evidence.observed) - exceeded(run, evidence.baseline)
    failed += [f"measured in the shadow: {name}" for name in sorted(measured)]
    return failed, missing


def mode_of(run: Run) -> str:
    """The failure mode that the shadow's own condition amounts to."""
    evidence = run.evidence("shadow")
    seen = run.whatif.observe(evidence.observed, evidence.now)
    modes = run.whatif.look(evidence.now, seen, run.before).modes()
    return min(modes) if modes else DEGRADATION


def exceeded(run: Run, telemetry: Telemetry) -> set[str]:
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


def rehearse_all(run: Run) -> dict[str, RollbackSignature]:
    """Plan and rehearse the rollback of the whole change, and of the parts likeliest to be blamed.

    By id of the signature, the whole one first. If that cannot be verified no part is tried.
    """
    whole = rehearse(run, run.scenario.change.commands)
    found = {whole.id: whole}
    for part in _likely_parts(run) if whole.rehearsal.verified else ():
        signature = rehearse(run, part)
        found[signature.id] = signature
    return found


def _likely_parts(run: Run) -> list[tuple[Command, ...]]:
    """Single commands: first those a forecast has named, then those that come first."""
    commands = run.scenario.change.commands
    suspected = [c for reason in run.forecast.reasons for c in reason.commands]
    singles = list(dict.fromkeys((*suspected, *commands)))
    return [(command,) for command in singles[:PARTS_REHEARSED]] if len(commands) > 1 else []


def rehearse(run: Run, blamed: tuple[Command, ...]) -> RollbackSignature:
    """Plan the rollback of these commands, execute it in the shadow, and put them back there."""
    change, now = run.scenario.change, run.configs(run.shadow, run.trial)
    signature = plan(
        change,
        run.before,
        now,
        lambda configs: broken_by(run, configs),
        blamed=blamed,
        forecast=run.forecast,
    )
    run.note(
        "rehearsal",
        signature=signature.id,
        scope=signature.scope,
        steps=len(signature.steps),
        order=signature.order_note,
    )
    reference = exceeded(run, run.baseline("shadow"))
    trial, run.trial = run.trial, tuple(c for c in run.trial if c not in set(blamed))
    left = run.trial
    execution = execute(
        run.shadow,
        signature,
        run.advance,
        lambda: unmet_by(run, "shadow", run.shadow, left, reference),
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
    run.note(
        "rehearsed",
        signature=signature.id,
        scope=signature.scope,
        verified=rehearsal.verified,
        took_s=rehearsal.took_s,
        detail=rehearsal.detail,
    )
    return signature.model_copy(update={"rehearsal": rehearsal})


def broken_by(run: Run, configs: Configs) -> frozenset[str]:
    condition = run.whatif.look(configs, _idle(run), run.before)
    return frozenset((*condition.broken, *condition.exposed))


def _idle(run: Run) -> Observed:
    links, demands = run.scenario.topology.directed_links, len(run.scenario.traffic.demands)
    return Observed(frozenset(), np.zeros(links), np.zeros(demands))


def unmet_by(
    run: Run, where: str, network: Witnessed, commands: Sequence[Command], reference: set[str]
) -> tuple[str, ...]:
    """Intents and limits a network does not meet that were met before the change."""
    configs = run.configs(network, commands)
    seen = run.whatif.observe(run.telemetry[where], configs)
    now: Condition = run.whatif.look(configs, seen, run.before)
    then = run.whatif.look(run.before, seen, run.before)
    unmet = (set(now.broken) | set(now.exposed)) - set(then.broken) - set(then.exposed)
    return tuple(sorted(unmet | (exceeded(run, run.telemetry[where]) - reference)))
