"""The events of a run to what a person sees of it: one frozen value that goes to JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import Any

from shadowsim.model.truth import MODES
from shadowsim.report.recorded import Event, Reason
from shadowsim.report.timeline import PHASES
from shadowsim.report.told import QUIET, told_of

NETWORKS = ("production", "shadow")
Texts = tuple[str, ...]
Json = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """A network at an instant: the utilisation of each directed link, None where nothing was told
    of it, and the numbers of those that are down.
    """

    at_s: float = 0.0
    load: tuple[float | None, ...] = ()
    down: tuple[int, ...] = ()


@dataclass(frozen=True)
class Seen:
    """One of the two networks: what was read off it, what it does not meet, which devices have the
    change, and on which it was taken back.
    """

    look: Look = Look()
    unmet: Texts = ()
    changed: Texts = ()
    restored: Texts = ()


@dataclass(frozen=True)
class Foreseen:
    """What PreCog said of a network so far: (at_s, probability of each of MODES), and at last why.

    None is the probability of a mode of which nothing is known.
    """

    series: tuple[tuple[float | None, ...], ...] = ()
    because: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Step:
    """A step of the rollback. `state`: ready, under way, or the outcome: done, skipped, ..."""

    name: str
    device: str
    commands: Texts
    depends_on: Texts
    state: str = "ready"


@dataclass(frozen=True)
class Plan:
    """The rollback that is held ready or carried out.

    `state`: armed, under way, verified, not verified, not needed.
    """

    signature: str
    scope: str
    state: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Question:
    """What a person is asked; the questions of a run are numbered from 1."""

    number: int
    kind: str
    text: str
    asked_s: float
    within_s: float | None


def _networks(value: Any) -> Callable[[], Mapping[str, Any]]:
    return lambda: dict.fromkeys(NETWORKS, value)


@dataclass(frozen=True)
class View:
    """A run as it is seen at an instant.

    `began` are the phases with their beginning; `rehearsals` the plans tried in the shadow, with
    whether they were verified; `heard` the events that are told in words.
    """

    at_s: float = 0.0
    began: tuple[tuple[str, float], ...] = ()
    ended: bool = False
    decision: str = ""
    why: Texts = ()
    end_state: str = ""
    question: Question | None = None
    asked: int = 0
    seen: Mapping[str, Seen] = field(default_factory=_networks(Seen()))
    foreseen: Mapping[str, Foreseen] = field(default_factory=_networks(Foreseen()))
    rehearsals: tuple[tuple[str, bool], ...] = ()
    plan: Plan | None = None
    heard: tuple[Event, ...] = ()


def view_of(events: Iterable[Event], view: View | None = None) -> View:
    """What is seen after these events, from a beginning or from an earlier view."""
    return reduce(after, events, view or View())


def after(view: View, event: Event) -> View:
    """What is seen after one more event. What is not known changes nothing but the time."""
    heard = view.heard if event.event in QUIET else (*view.heard, event)
    found = replace(view, at_s=max(view.at_s, event.at_s), heard=heard)
    return STEPS[event.event](found, event) if event.event in STEPS else found


def read_off(view: View, looks: Mapping[str, Look]) -> View:
    """What is seen after the networks were looked at."""
    seen = {name: replace(view.seen[name], look=look) for name, look in looks.items()}
    latest_s = max((look.at_s for look in looks.values()), default=0.0)
    return replace(view, at_s=max(view.at_s, latest_s), seen={**view.seen, **seen})


# -- event by event ----------------------------------------------------------------------------


def _network(view: View, event: Event, **now: Any) -> View:
    if event.network not in view.seen:
        return view
    seen = replace(view.seen[event.network], **now)
    return replace(view, seen={**view.seen, event.network: seen})


def _phase(view: View, event: Event) -> View:
    return replace(view, began=(*view.began, (event.phase, event.at_s)))


def _deploy(view: View, event: Event) -> View:
    changed = view.seen[event.network].changed if event.network in view.seen else ()
    return _network(view, event, changed=tuple(dict.fromkeys((*changed, event.device))))


def _forecast(view: View, event: Event) -> View:
    if event.network not in view.foreseen:
        return view
    point = (event.at_s, *(event.probabilities.get(mode) for mode in MODES))
    series = (*view.foreseen[event.network].series, point)
    foreseen = {**view.foreseen, event.network: Foreseen(series, event.because)}
    return replace(view, foreseen=foreseen)


def _rehearsed(view: View, event: Event) -> View:
    return replace(view, rehearsals=(*view.rehearsals, (event.signature, bool(event.verified))))


def _asking(view: View, event: Event) -> View:
    number = view.asked + 1
    question = Question(number, event.question, event.text, event.at_s, event.within_s)
    return replace(view, asked=number, question=question)


def _planned(event: Event, scope: str, state: str) -> Plan:
    steps = tuple(Step(s.step, s.device, s.commands, s.depends_on) for s in event.plan)
    return Plan(event.signature, scope, state, steps)


def _rollback(view: View, event: Event) -> View:
    return replace(view, plan=_begun(_planned(event, event.scope, "under way")))


def _begun(plan: Plan) -> Plan:
    """The steps that wait for no other are under way: that is how a plan is carried out."""
    over = {step.name for step in plan.steps if step.state in ("done", "skipped")}
    steps = tuple(
        replace(step, state="under way")
        if step.state == "ready" and over.issuperset(step.depends_on)
        else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)


def _step(view: View, event: Event) -> View:
    if view.plan is None:
        return view
    steps = tuple(
        replace(step, state=event.outcome) if step.name == event.step else step
        for step in view.plan.steps
    )
    back = [step.device for step in steps if step.name == event.step and step.state == "done"]
    production = view.seen["production"]
    restored = tuple(dict.fromkeys((*production.restored, *back)))
    seen = {**view.seen, "production": replace(production, restored=restored)}
    return replace(view, seen=seen, plan=_begun(replace(view.plan, steps=steps)))


def _over(view: View, event: Event) -> View:
    """How it ended, and what that means for the rollback that was held ready or carried out."""
    states = {"rolled_back": "verified", "confirmed": "not needed", "refused": "not needed"}
    plan = view.plan
    if plan is not None and plan.state in ("armed", "under way"):
        rest = event.not_known or event.by_others
        state = "configs verified" if rest else states.get(event.event, "not verified")
        plan = replace(plan, state=state)
    return replace(view, end_state=event.event, plan=plan, question=None)


def _end(view: View, event: Event) -> View:
    told = event.details.get("end_state")
    end_state = told if isinstance(told, str) else view.end_state
    return replace(view, ended=True, end_state=end_state, question=None)


STEPS: Mapping[str, Callable[[View, Event], View]] = {
    "phase": _phase,
    "deploy": _deploy,
    "forecast": _forecast,
    "unmet": lambda view, event: _network(view, event, unmet=event.names),
    "decision": lambda view, event: replace(view, decision=event.decision, why=event.reasons),
    "rehearsed": _rehearsed,
    "asking": _asking,
    "asked": lambda view, event: replace(view, question=None),
    "armed": lambda view, event: replace(view, plan=_planned(event, "whole", "armed")),
    "rollback": _rollback,
    "step": _step,
    "rolled_back": _over,
    "confirmed": _over,
    "halted": _over,
    "end": _end,
}


# -- as JSON -----------------------------------------------------------------------------------


def document(view: View) -> Json:
    """The view for the page. Its keys are what changes together; all of it is plain JSON."""
    return {
        "at_s": round(view.at_s, 2),
        "phases": _phases(view),
        "decision": {"decision": view.decision, "why": list(view.why)},
        "end": {"ended": view.ended, "end_state": view.end_state},
        "question": None if view.question is None else asdict(view.question),
        **{name: _seen(view.seen[name]) for name in NETWORKS},
        "forecast": {"modes": list(MODES), **{n: _foreseen(view.foreseen[n]) for n in NETWORKS}},
        "rehearsals": [{"signature": s, "verified": v} for s, v in view.rehearsals],
        "plan": None if view.plan is None else _plan(view.plan),
        "told": [
            {"at_s": one.at_s, "text": one.text, "why": list(one.why), "strong": one.strong}
            for one in told_of(view.heard)
        ],
    }


def _phases(view: View) -> list[Json]:
    """All five, each with when it began and ended, and whether it is done, now, or not reached."""
    began = dict(view.began)
    starts = [at_s for _, at_s in view.began]
    now = view.began[-1][0] if view.began else ""
    found = []
    for number, name in enumerate(PHASES, 1):
        from_s = began.get(name)
        ends = [at_s for at_s in starts if from_s is not None and at_s > from_s]
        state = "ahead" if from_s is None else "done"
        if name == now and not view.ended:
            state = "now"
        to_s = None if from_s is None else min(ends, default=view.at_s)
        found.append(
            {"number": number, "name": name.replace("_", " "), "from_s": from_s, "to_s": to_s,
             "state": "not reached" if state == "ahead" and view.ended else state}
        )  # fmt: skip
    return found


def _seen(seen: Seen) -> Json:
    load = [None if x is None or not math.isfinite(x) else round(x, 3) for x in seen.look.load]
    return {
        "at_s": round(seen.look.at_s, 2),
        "load": load,
        "down": list(seen.look.down),
        "unmet": list(seen.unmet),
        "changed": list(seen.changed),
        "restored": list(seen.restored),
    }


def _plan(plan: Plan) -> Json:
    steps = [
        {
            "name": step.name,
            "device": step.device,
            "commands": list(step.commands),
            "depends_on": list(step.depends_on),
            "state": step.state,
        }
        for step in plan.steps
    ]
    told = {"signature": plan.signature, "scope": plan.scope, "state": plan.state}
    return {**told, "steps": steps}


def _foreseen(foreseen: Foreseen) -> Json:
    return {
        "series": [[None if x is None else round(x, 4) for x in p] for p in foreseen.series],
        "because": [reason.model_dump() for reason in foreseen.because],
    }


def changes(before: Json, now: Json) -> Json:
    """The keys of `now` whose values are others than before: merged in, they make it `now`."""
    return {key: value for key, value in now.items() if key not in before or before[key] != value}
