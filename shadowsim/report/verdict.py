"""A run to its outcome in a word, a sentence and a few numbers, beside what was expected."""

from __future__ import annotations

from html import escape

from shadowsim.report.pieces import joined, plain, seconds, section, table, tag, words
from shadowsim.report.recorded import Recorded, Result

# End state to tone (a class of the page), sign and words.
STATES = {
    "confirmed": ("good", "✓", "Confirmed"),
    "rolled_back": ("fair", "↺", "Rolled back"),
    "refused": ("wary", "⊘", "Refused"),
    "halted": ("bad", "!", "Halted"),
}
SHOWN = 3  # commands blamed, before "and more"


def verdict(run: Recorded) -> str:
    """The first thing to read, and the expectations of the scenario if it has any."""
    result = run.result
    tone, sign, name = STATES.get(result.end_state, ("wary", "?", words(result.end_state)))
    facts = "".join(f"<div><dt>{what}</dt><dd>{value}</dd></div>" for what, value in _facts(result))
    return (
        f'<section id="verdict" class="verdict {tone}" aria-label="Verdict">\n'
        f'<p class="badge"><span aria-hidden="true">{sign}</span> {name}</p>\n'
        f'<p class="says">{_said(run)}{_blamed(result)}</p>\n<dl class="facts">{facts}</dl>\n'
        f"</section>\n{_expected(result)}"
    )


def _facts(result: Result) -> list[tuple[str, str]]:
    details = result.expectations.details
    met = sum(detail.met for detail in details)
    came = ", ".join(words(mode) for mode in result.failure_modes) or "none"
    took = result.time_to_rollback_s
    return [
        ("Decision on the shadow", words(result.decision)),
        ("Failure foreseen", words(result.failure_mode)),
        ("Failure that came", f"{came}<span>in {_where(result)}</span>"),
        ("Time to rollback", "no rollback" if took is None else seconds(took)),
        ("Production in breach", seconds(result.breach_s)),
        ("Root cause", words(result.root_cause)),
        ("Expectations met", f"{met} of {len(details)}" if details else "none given"),
    ]


def _where(result: Result) -> str:
    return "production" if result.deployed else "the shadow"


def _said(run: Recorded) -> str:
    tell = {
        "confirmed": _confirmed,
        "rolled_back": _rolled_back,
        "refused": _refused,
        "halted": _halted,
    }.get(run.result.end_state)
    return tell(run) if tell else ""


def _confirmed(run: Recorded) -> str:
    came = " and a ".join(words(mode) for mode in run.result.failure_modes)
    cause = words(run.result.root_cause)
    but = f" Production did show a {came}; root cause: {cause}." if came else ""
    return f"The change passed on the shadow, was deployed to production, and stays.{but}"


def _rolled_back(run: Recorded) -> str:
    mode = run.result.failure_mode
    trouble = "it did not look right" if mode in ("any", "none") else f"a {words(mode)} was at hand"
    last = run.last("rolled_back")
    rest = (*last.not_known, *last.by_others) if last else ()
    verified = "its configs verified" if rest else "verified"
    but = f" But {joined(rest)}." if rest else ""
    took = seconds(run.result.time_to_rollback_s)
    return (
        f"The change passed on the shadow and was deployed. In production {trouble}; the change "
        f"was taken back, {verified} {took} after the trigger.{but}"
    )


def _refused(run: Recorded) -> str:
    result = run.result
    if result.decision == "no-go":
        mode = words(result.failure_mode)
        return f"On the shadow, the change led to a {mode}. Production was not touched."
    return "The change passed on the shadow, but was not deployed. Production was not touched."


def _halted(run: Recorded) -> str:
    last = run.last("halted", "asked", "decision")
    why = (last.failed or last.unmet or last.reasons) if last else ()
    because = f": {joined(why)}" if why else ""
    if run.result.time_to_rollback_s is not None:
        return f"A person is needed. The change was taken back, but not all is well since{because}."
    if run.result.deployed:
        return f"A person is needed. The change is in production, and not all is well{because}."
    return (
        f"A person is needed. The shadow gave no clear answer{because}. Production was not touched."
    )


def _blamed(result: Result) -> str:
    if not result.blamed:
        return ""
    commands = " ".join(f"<code>{escape(line)}</code>" for line in result.blamed[:SHOWN])
    left = len(result.blamed) - SHOWN
    return f"<br>Blamed: {commands}{f' and {left} more' if left > 0 else ''}"


def _expected(result: Result) -> str:
    details = result.expectations.details
    if not details:
        return ""
    rows = [
        (
            tag("good", "✓ met") if detail.met else tag("bad", "✗ not met"),
            words(detail.what),
            escape(plain(detail.expected)),
            escape(plain(detail.got)),
        )
        for detail in details
    ]
    title = "What the scenario expects"
    return section("expectations", title, table(title, ("", "of", "expected", "came"), rows))
