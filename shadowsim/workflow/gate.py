"""A run's shadow to what speaks against its change, and to a rollback that has been rehearsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from shadowsim.model.change import Change, Command, Configs, reverted
from shadowsim.model.telemetry import Sample
from shadowsim.model.truth import DEGRADATION, OUTAGE, VULNERABILITY
from shadowsim.precog import Evidence, Forecast
from shadowsim.precog.whatif import RECENT, Observed, mean_of_known
from shadowsim.rollback.execute import execute
from shadowsim.rollback.harm import looker
from shadowsim.rollback.likely import likely
from shadowsim.rollback.plan import plan
from shadowsim.rollback.signature import Rehearsal, RollbackSignature
from shadowsim.workflow.restored import exceeded, is_known, not_known, of_demands, unwell
from shadowsim.workflow.state import BASELINE_S, Run

LEAST_REPRESENTED = 0.5  # of production's traffic: with less in the shadow no load is judged
PARTS_REHEARSED = 3  # of the change, whose rollback is rehearsed beside the whole


def hard_checks(run: Run) -> tuple[list[str], list[str]]:
    """What speaks against the change whatever a forecast says: (failed, missing)."""
    evidence = run.evidence("shadow")
    missing = _unseen(run, evidence)
    if run.mirror.drift(run.trial):
        missing.append("the shadow's configs are not production's with the change")
    failed: list[str] = []
    for seen in _grounds(run, evidence):
        found = _broken_beside(run, evidence.now, seen, run.scenario.change)
        failed += [f"breaks {name}" for name in found.broken]
        failed += [f"exposes {name}" for name in found.exposed]
    failed = list(dict.fromkeys(failed))
    demands = set(evidence.observed.layout.demands)
    observed, already = exceeded(run, evidence.observed), exceeded(run, evidence.baseline)
    missing += _hidden(run, observed & already)
    measured = observed - already
    if measured:
        first, *others = sorted(measured, key=lambda name: (name in demands, name))
        more = f", and {len(others)} more" if others else ""
        failed.append(f"measured in the shadow: {first}{more}")
    return failed, missing


def _hidden(run: Run, failed: set[str]) -> list[str]:
    """What fails in the shadow with the change and before it, but did not in production then.

    What the change does to it cannot be told from what was wrong with the shadow.
    """
    since_s = run.since_s("shadow")
    then = run.telemetry["production"].between(since_s - BASELINE_S, since_s)
    return [
        f"{name} fails in the shadow from before the change on, and not in production"
        for name in sorted(failed - exceeded(run, then))
    ]


def _grounds(run: Run, evidence: Evidence) -> list[Observed]:
    """What the configs may stand on: all links sound, and the links as production has them now."""
    shadow = run.whatif.observe(evidence.observed, evidence.now)
    production = run.whatif.observe(run.telemetry["production"], run.before)
    sound = np.zeros_like(shadow.loss)
    return [
        Observed(frozenset(), sound, shadow.rates_bps),
        Observed(production.down, sound, shadow.rates_bps),
    ]


def _unseen(run: Run, evidence: Evidence) -> list[str]:
    """What would have to be known for a go, and is not."""
    least = run.scenario.workflow.minimum_coverage
    samples = evidence.observed.samples
    missing = []
    covered = _arrived(run, samples)
    if covered < least:
        missing.append(f"only {covered:.0%} of the shadow's telemetry arrived")
    layout = evidence.observed.layout
    for name in evidence.change.devices if samples else ():
        row = layout.devices.index(name)
        if np.mean([np.isfinite(s.device[row]).all() for s in samples]) < least:
            missing.append(f"{name} is changed, and its telemetry did not arrive")
    missing += _limits_unseen(run, samples)
    if run.whatif.limits.limits and run.mirror.report().represented < LEAST_REPRESENTED:
        missing.append("the mirror carries too little of production's traffic to judge limits")
    return missing


def _arrived(run: Run, samples: Sequence[Sample]) -> float:
    """The share of the readings of devices that arrived, of those that were in the shadow."""
    shares = [np.isfinite(s.device[run.mirror.there(s.at_s)]).mean() for s in samples]
    return float(np.mean(shares)) if shares else 0.0


def _limits_unseen(run: Run, samples: Sequence[Sample]) -> list[str]:
    """The limits that the change can bear on, and of which the shadow does not tell enough."""
    subset, speaks = run.mirror.subset, run.mirror.speaks_for
    rates_bps = run.whatif.observe(run.telemetry["production"], run.before).rates_bps
    limits, missing = run.whatif.limits, []
    for limit, mask in zip(limits.limits, limits.masks, strict=True):
        concerned = mask & subset.staked
        if not concerned.any():
            continue
        inside = float(rates_bps[concerned & subset.demands].sum())
        if not is_known(limit, concerned & speaks, samples):
            missing.append(f"nothing is known of {limit.name}")
        elif of_demands(limit) and inside < LEAST_REPRESENTED * rates_bps[concerned].sum():
            missing.append(f"the shadow covers too little of {limit.name}")
    return missing


def not_covered(run: Run) -> list[str]:
    """The limits of which no demand can fare otherwise by the change: none is judged here.

    The configs prove it for all equal paths of these demands, so it is no want of data.
    """
    limits, staked = run.whatif.limits, run.mirror.subset.staked
    pairs = zip(limits.limits, limits.masks, strict=True)
    return [limit.name for limit, mask in pairs if mask.any() and not (mask & staked).any()]


def mode_of(failed: Sequence[str], forecast: Forecast) -> str:
    """The failure mode of a refusal: by the facts if they name one, else by the forecast."""
    if any(text.startswith("breaks ") for text in failed):
        return OUTAGE
    if any(text.startswith("exposes ") for text in failed):
        return VULNERABILITY
    return forecast.mode if forecast.worst > 0.0 else DEGRADATION


def rehearse_all(run: Run) -> dict[str, RollbackSignature]:
    """Plan and rehearse the rollback of the whole change, and of the parts likeliest to be blamed.

    By id of the signature, the whole one first. If that cannot be verified no part is tried.
    """
    whole = rehearse(run, run.scenario.change.commands)
    found = {whole.id: whole}
    for part, why in _likely_parts(run).items() if whole.rehearsal.verified else ():
        signature = rehearse(run, part, why)
        found[signature.id] = signature
    return found


def _likely_parts(run: Run) -> dict[tuple[Command, ...], str]:
    """Parts of the change, and why they are rehearsed: first those that a forecast has named, then
    those that the what-if model would blame in cases imagined, then single commands.
    """
    change = run.scenario.change
    if len(change.commands) < 2:
        return {}
    now = run.configs(run.shadow, run.trial)
    cases = likely(run.whatif, change, run.before, now, ground(run))
    reasons = [set(r.commands) for r in run.forecast.reasons if r.commands]
    named = [tuple(c for c in change.commands if c in reason) for reason in reasons]
    found = dict.fromkeys(named, "named by the forecast")
    for part, times in cases.items():
        found.setdefault(part, f"to blame in {times} of the cases imagined")
    for command in change.commands:
        found.setdefault((command,), "one of the first commands")
    parts = [part for part in found if 0 < len(part) < len(change.commands)]
    return {part: found[part] for part in parts[:PARTS_REHEARSED]}


def rehearse(
    run: Run, blamed: tuple[Command, ...], why: str = "the whole change"
) -> RollbackSignature:
    """Plan the rollback of these commands, execute it in the shadow, and put them back there."""
    change, now = run.scenario.change, run.configs(run.shadow, run.trial)
    signature = plan(
        change,
        run.before,
        now,
        looker(run.whatif, ground(run), run.before),
        run.scenario.topology,
        blamed=blamed,
        forecast=run.forecast,
    )
    run.note(
        "rehearsal",
        signature=signature.id,
        scope=signature.scope,
        why=why,
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
        lambda: (*unwell(run, "shadow", run.shadow, left, reference), *not_known(run, "shadow")),
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


def ground(run: Run) -> Observed:
    """The links and the traffic of production as they are: under these an order is to be safe.

    Traffic of which nothing is reported now is taken to be what it was before the change.
    """
    configs, telemetry = run.configs(run.production, run.deployed), run.telemetry["production"]
    seen = run.whatif.observe(telemetry, configs)
    lately = np.array([s.column("demand", "offered_bps") for s in telemetry.samples[-RECENT:]])
    unknown = ~np.isfinite(lately).any(axis=0)
    baseline = run.baseline("production").samples
    if not unknown.any() or not baseline:
        return seen
    then_bps = mean_of_known([s.column("demand", "offered_bps") for s in baseline])
    return replace(seen, rates_bps=np.where(unknown, then_bps, seen.rates_bps))


class Broken(NamedTuple):
    """Names of intents, and of what is exposed, that would hold without the change."""

    broken: tuple[str, ...]
    exposed: tuple[str, ...]


def broken_by_change(run: Run, seen: Observed) -> Broken:
    """What production's configs break on the links and with the traffic that are seen there."""
    return _broken_beside(run, run.configs(run.production, run.deployed), seen, run.sent)


def _broken_beside(run: Run, configs: Configs, seen: Observed, change: Change) -> Broken:
    now = run.whatif.settle(configs, seen.down)
    broken, exposed = now.broken, now.exposed(run.before)
    if not broken and not exposed:
        return Broken((), ())
    without = reverted(run.before, configs, change, change.commands)
    opened = run.whatif.settle(without, seen.down).exposed(run.before)
    return Broken(
        run.whatif.breaks(configs, without, seen.down),
        tuple(name for name in exposed if name not in opened),
    )


def unmet(run: Run, where: str) -> tuple[str, ...]:
    """What a network does not meet now, whoever is to blame."""
    configs = run.configs(
        *((run.shadow, run.trial) if where == "shadow" else (run.production, run.deployed))
    )
    telemetry = run.telemetry[where]
    settled = run.whatif.settle(configs, run.whatif.observe(telemetry, configs).down)
    exposed = (f"exposed: {name}" for name in settled.exposed(run.before))
    return tuple(sorted({*settled.broken, *exposed, *exceeded(run, telemetry)}))


def tell_unmet(run: Run, where: str) -> None:
    """Write down what a network does not meet now, when that has changed."""
    names = unmet(run, where)
    if names != run.unmet.get(where, ()):
        run.unmet[where] = names
        run.note("unmet", network=where, names=names)


def unmet_by_change(run: Run, reference: set[str]) -> tuple[str, ...]:
    """Intents that production would meet without the change, and limits it met before it."""
    configs, telemetry = run.configs(run.production, run.deployed), run.telemetry["production"]
    seen = run.whatif.observe(telemetry, configs)
    found = _broken_beside(run, configs, seen, run.sent)
    limits = exceeded(run, telemetry) - reference
    return tuple(sorted({*found.broken, *found.exposed} | limits))
