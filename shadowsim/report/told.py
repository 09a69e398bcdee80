"""The events of a run to what a person reads of them: plain words, for the report and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from shadowsim.report.pieces import plain, seconds
from shadowsim.report.recorded import Event

# Shown in another way: phases as a bar, forecasts as curves, what is not met beside the network.
QUIET = frozenset({"phase", "forecast", "rehearsal", "end", "unmet", "asking"})
REPEATED = frozenset(
    {"deploy", "step", "rehearsed", "drift_repaired", "not_the_change", "doubted", "unreachable"}
)
STRONG = frozenset({"decision", "trigger", "not_deployed", "rolled_back", "confirmed", "halted"})
LONGEST = 120
Words = str | tuple[str, Sequence[str]]


class Told(NamedTuple):
    """Something that happened, in words. Nothing in it is escaped for HTML."""

    at_s: float
    text: str
    why: tuple[str, ...]
    strong: bool


def told_of(events: Sequence[Event]) -> list[Told]:
    """The events worth a line; the same done again and again counts once."""
    groups: list[list[Event]] = []
    for event in events:
        if event.event in QUIET:
            continue
        if groups and event.event in REPEATED and _alike(groups[-1][0], event):
            groups[-1].append(event)
        else:
            groups.append([event])
    return [_told(group) for group in groups]


def _alike(one: Event, other: Event) -> bool:
    return (one.event, one.phase, one.network) == (other.event, other.phase, other.network)


def _told(group: Sequence[Event]) -> Told:
    first = group[0]
    said = SAID[first.event](group) if first.event in SAID else _brief(first)
    text, why = (said, ()) if isinstance(said, str) else said
    return Told(first.at_s, text, tuple(why), first.event in STRONG)


def _brief(event: Event) -> str:
    details = [f"{key.replace('_', ' ')} {plain(value)}" for key, value in event.details.items()]
    text = ", ".join(details)
    shown = text if len(text) < LONGEST else f"{text[: LONGEST - 1]}…"
    return event.event.replace("_", " ") + (f": {shown}" if shown else "")


def _deployed(group: Sequence[Event]) -> Words:
    devices = list(dict.fromkeys(event.device for event in group))
    more = f" and {len(devices) - 4} more" if len(devices) > 4 else ""
    where = "production" if group[0].network == "production" else "the shadow"
    return f"the change goes to {where}: {', '.join(devices[:4])}{more}"


def _rehearsed(group: Sequence[Event]) -> Words:
    verified = sum(bool(event.verified) for event in group)
    plans = "a rollback plan is" if len(group) == 1 else f"{len(group)} rollback plans are"
    outcome = "verified" if verified == len(group) else f"{verified} of {len(group)} verified"
    return f"{plans} rehearsed in the shadow: {outcome}"


def _asked(group: Sequence[Event]) -> Words:
    said = group[0].details.get("answer")
    answer = "nobody is there" if said is None else "yes" if said else "no"
    return f"a person is asked: {plain(group[0].details.get('question', ''))}? {answer}"


def _rollback(group: Sequence[Event]) -> Words:
    scope = "the blamed part" if group[0].scope == "blamed" else "the whole change"
    return f"rollback of {scope} begins"


def _rolled_back(group: Sequence[Event]) -> Words:
    last = group[0]
    but = (*last.not_known, *last.by_others)
    verified = "rolled back, its configs verified" if but else "rolled back and verified"
    return f"{verified}, {seconds(last.took_s)} after the trigger", but


def _created(group: Sequence[Event]) -> Words:
    details = group[0].details
    devices, of = details.get("devices"), details.get("of")
    if devices == of:
        return "the shadow is cloned from production"
    return f"a part of production is shadowed: {plain(devices)} of {plain(of)} devices"


def _scaled(event: Event) -> str:
    told = event.details
    return (
        f"the shadow is scaled from {told.get('before')} to {told.get('after')} devices: "
        f"{plain(told.get('why', ''))}"
    )


def _rationed(event: Event) -> str:
    return f"the mirror's budget allows {plain(event.details.get('classes', ()))} from now on"


def _mirrored(group: Sequence[Event]) -> Words:
    packets = group[0].details.get("packets")
    count = f": {packets:,} packets" if isinstance(packets, int) else ""
    return f"production's traffic was mirrored to the shadow{count}"


def _joined(texts: Sequence[str]) -> str:
    return "; ".join(texts)


SAID: Mapping[str, Callable[[Sequence[Event]], Words]] = {
    "shadow_created": _created,
    "shadow_scaled": lambda g: _joined([_scaled(event) for event in g]),
    "mirror_budget": lambda g: _joined([_rationed(event) for event in g]),
    "not_covered": lambda g: (
        f"not judged in the shadow: {plain(g[0].details.get('limits', ()))}"
    ),
    "baseline_taken": lambda g: "the baseline is taken, before the change",
    "deploy": _deployed,
    "mirrored": _mirrored,
    "decision": lambda g: (
        f"decision: {g[0].decision.replace('_', ' ')}", g[0].reasons[:3]
    ),
    "rehearsed": _rehearsed,
    "asked": _asked,
    "observe_only": lambda g: "autonomy is observe: nothing is deployed",
    "doubted": lambda g: ("signs of trouble are doubted", g[0].reasons),
    "armed": lambda g: "rollback armed, before the first command",
    "overtaken": lambda g: "taken over by the guardian, since the run did not answer",
    "left": lambda g: "the run was cut short: how the change ended is what others made of it",
    "trigger": lambda g: (f"rollback triggered: {g[0].mode.replace('_', ' ')}", g[0].reasons),
    "rollback": _rollback,
    "step": lambda g: _joined([f"step {event.step} {event.outcome}" for event in g]),
    "set_again": lambda g: (
        f"others set it again: {plain(g[0].details.get('commands', ()))}"
    ),
    "rolled_back": _rolled_back,
    "confirmed": lambda g: "change confirmed",
    "halted": lambda g: ("halted", (*g[0].failed, *g[0].unmet)),
    "frozen": lambda g: (f"production fails: {g[0].device} is left alone for now", g[0].signs),
    "thawed": lambda g: f"production is well again: on to {g[0].device}",
    "not_the_change": lambda g: ("signs of trouble, not due to the change", g[0].reasons),
}  # fmt: skip
