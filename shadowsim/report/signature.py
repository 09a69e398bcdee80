"""The rollback signature of a run to its steps, ticked off by what the journal says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from shadowsim.report.pieces import joined, percent, seconds, section, tag, words
from shadowsim.report.recorded import Recorded
from shadowsim.rollback.signature import CommandLine, RollbackSignature, Step, Verification

OUTCOMES = {
    "done": ("good", "✓ done"),
    "skipped": ("good", "✓ nothing left to do"),
    "timed out": ("bad", "✗ timed out"),
}


def rollback(run: Recorded) -> str:
    """The plan, step by step, with its rehearsal and its verification."""
    title, plan = "Rollback plan", run.signature
    if run.distrusted:
        text = f"signature.json is not shown, and nothing it says was used: {run.distrusted}"
        return section(
            "rollback", title, f"<p>{tag('bad', '✗ not to be trusted')} {escape(text)}.</p>"
        )
    if plan is None:
        why = "<p>None was made: the change was not going to production.</p>"
        return section("rollback", title, why)
    outcomes = {e.step: e.outcome for e in run.events if e.event == "step"}
    executed = run.first("rollback") is not None
    steps = "\n".join(
        _step(i, step, _outcome(step.id, outcomes, executed))
        for i, step in enumerate(plan.ordered(), 1)
    )
    body = (
        f"<p>{_about(plan, executed)}</p>\n{_order(plan)}\n{_rehearsal(plan)}\n"
        f'<ol class="steps">\n{steps}\n</ol>\n{_verification(run, plan, executed)}\n'
        f"<details><summary>The signature as JSON</summary>"
        f'<pre tabindex="0"><code>{escape(plan.model_dump_json(indent=2))}</code></pre></details>'
    )
    return section("rollback", title, body)


def _about(plan: RollbackSignature, executed: bool) -> str:
    scope = "the blamed part of the change" if plan.scope == "blamed" else "the whole change"
    against = "any failure" if plan.failure_mode == "any" else f"a {words(plan.failure_mode)}"
    state = tag("fair", "executed") if executed else tag("good", "armed, not needed")
    return (
        f"<code>{escape(plan.id)}</code> {state} takes back {scope} against {against} "
        f"(forecast {percent(plan.probability)}) in {len(plan.steps)} "
        f"{'step' if len(plan.steps) == 1 else 'steps'}."
    )


def _order(plan: RollbackSignature) -> str:
    safe = {
        "exists": tag("good", "✓ safe order"),
        "none exists": tag("bad", "✗ no safe order"),
        "none found": tag("wary", "no safe order found"),
    }[plan.safe_order]
    return f"<p>{safe} {escape(plan.order_note)}</p>"


def _rehearsal(plan: RollbackSignature) -> str:
    if not plan.rehearsal.done:
        return f"<p>{tag('wary', 'not rehearsed')} in this form</p>"
    good = plan.rehearsal.verified
    mark = tag("good", "✓ rehearsed") if good else tag("bad", "✗ rehearsal failed")
    return f"<p>{mark} {escape(plan.rehearsal.detail)}, in {seconds(plan.rehearsal.took_s)}</p>"


def _outcome(step: str, outcomes: Mapping[str, str], executed: bool) -> str:
    if step not in outcomes:
        return tag("bad", "✗ not reached") if executed else tag("fair", "held ready")
    tone, text = OUTCOMES.get(outcomes[step], ("wary", escape(outcomes[step])))
    return tag(tone, text)


def _step(number: int, step: Step, outcome: str) -> str:
    after = f"after {joined(step.depends_on)}" if step.depends_on else "depends on no other"
    about = f"step {escape(step.id)}, {after}, {seconds(step.timeout_s)} at most"
    return (
        f"<li><h3>{number}. {escape(step.device)} {outcome}</h3>"
        f'<p class="soft small">{about}</p>'
        f'<div class="pair"><div><p>commands</p>{_commands(step.commands)}</div>'
        f"<div><p>take back</p>{_commands(step.reverts)}</div></div></li>"
    )


def _commands(commands: Sequence[CommandLine]) -> str:
    """The commands as a script: each context once, its lines below it."""
    lines: list[str] = []
    context = ""
    for command in commands:
        if command.context and command.context != context:
            lines.append(command.context)
        context = command.context
        lines.append(f" {command.line}" if context else command.line)
    script = escape("\n".join(lines))
    return f'<pre tabindex="0"><code>{script}</code></pre>'


def _verification(run: Recorded, plan: RollbackSignature, executed: bool) -> str:
    ending = run.last("rolled_back", "halted") if executed else None
    failed = ending.failed if ending else ()
    rest = (*ending.not_known, *ending.by_others) if ending else ()
    if not executed:
        state = tag("fair", "held ready")
    elif ending and rest:
        state = tag("wary", "the configs hold, not all else")
    elif run.result.end_state == "rolled_back":
        state = tag("good", "✓ all hold")
    else:
        state = tag("bad", "✗ not all hold")
    checks = "".join(f"<li>{_check(check)}</li>" for check in plan.verification)
    unmet = f"<p>What does not hold: {joined(failed)}</p>" if failed else ""
    unmet += f"<p>{joined(rest)}</p>" if rest else ""
    return f'<h3>Verified by {state}</h3>{unmet}<ul class="checks">{checks}</ul>'


def _check(check: Verification) -> str:
    if check.kind == "config_digest":
        return f"config of {escape(check.subject)} is <code>{escape(check.expected[:16])}…</code>"
    return f"{words(check.kind)}: {escape(check.expected)}"
