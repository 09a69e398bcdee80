"""The events of a run to a bar of its phases, drawn to scale, and a list of what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from shadowsim.plots import Mark, Period
from shadowsim.report.pieces import joined, plain, seconds, section, words
from shadowsim.report.recorded import Event, Recorded

PHASES = (
    "shadow_deployment",
    "traffic_and_monitoring",
    "risk_assessment",
    "production_deployment",
    "realtime_monitoring",
)
QUIET = frozenset({"phase", "forecast", "rehearsal", "end"})  # shown in another way
REPEATED = frozenset(
    {"deploy", "step", "rehearsed", "drift_repaired", "not_the_change", "doubted", "unreachable"}
)
ENDINGS = ("rolled_back", "confirmed", "halted")
STRONG = frozenset({"decision", "trigger", "not_deployed", *ENDINGS})
WIDTH, BAR, PIN = 1100.0, 34.0, 24.0  # of the drawing, in its own units


def periods_of(run: Recorded) -> list[Period]:
    """The phases that were reached, each to the beginning of the next."""
    began = [event for event in run.events if event.event == "phase"]
    ends = [event.at_s for event in began[1:]] + [run.events[-1].at_s]
    return [
        Period(_number(event.phase, i), event.phase.replace("_", " "), event.at_s, end_s)
        for i, (event, end_s) in enumerate(zip(began, ends, strict=True), 1)
    ]


def _number(phase: str, otherwise: int) -> int:
    return PHASES.index(phase) + 1 if phase in PHASES else otherwise


def marks_of(run: Recorded) -> list[Mark]:
    """The instants that every figure over time shows."""
    found = (
        ("decision", run.first("decision"), lambda e: f"decision: {e.decision}"),
        ("deployed", run.first("deploy", network="production"), lambda e: "deployed to production"),
        ("trigger", run.first("trigger"), lambda e: "rollback triggered"),
        ("end", run.last(*ENDINGS), lambda e: e.event.replace("_", " ")),
    )
    return [Mark(kind, event.at_s, label(event)) for kind, event, label in found if event]


def timeline(run: Recorded) -> str:
    """The bar with a numbered pin for each thing that happened, and what the numbers stand for."""
    periods, told = periods_of(run), told_of(run.events)
    reached = {period.number: period for period in periods}
    phases = "".join(_phase(n, name, reached.get(n)) for n, name in enumerate(PHASES, 1))
    items = "\n".join(
        f'<li{_strong(event)}><span class="at">{event.at_s:,.1f} s</span> {text}</li>'
        for event, text in told
    )
    body = (
        f'<ul class="phases">{phases}</ul>\n{_drawing(periods, [event for event, _ in told])}\n'
        f'<ol class="events">\n{items}\n</ol>'
    )
    return section("timeline", "Timeline of the five phases", body)


def _phase(number: int, name: str, period: Period | None) -> str:
    took = seconds(period.to_s - period.from_s) if period else "not reached"
    absent = "" if period else ' class="absent"'
    return (
        f'<li{absent}><i class="k{number}"></i>{number} {words(name)} '
        f'<span class="soft">{took}</span></li>'
    )


def _strong(event: Event) -> str:
    return ' class="strong"' if event.event in STRONG else ""


# -- the drawing -------------------------------------------------------------------------------


def _drawing(periods: Sequence[Period], pins: Sequence[Event]) -> str:
    end_s = max((period.to_s for period in periods), default=0.0) or 1.0
    scale = (WIDTH - 2 * PIN) / end_s
    places = [PIN + min(pin.at_s, end_s) * scale for pin in pins]
    lanes = lanes_of(places)
    top = 14 + PIN * (max(lanes, default=0) + 1)
    bars = "".join(
        _bar(p, PIN + p.from_s * scale, (p.to_s - p.from_s) * scale, top) for p in periods
    )
    placed = list(zip(pins, places, lanes, strict=True))
    stems = "".join(_stem(pin, x, top, lane) for pin, x, lane in placed)
    heads = "".join(_head(i, pin, x, top, lane) for i, (pin, x, lane) in enumerate(placed, 1))
    ticks = "".join(_tick(at_s, PIN + at_s * scale, top + BAR) for at_s in ticks_of(end_s))
    alt = "; ".join(f"{p.name} {seconds(p.from_s)} to {seconds(p.to_s)}" for p in periods)
    return (
        f'<svg class="bar" viewBox="0 0 {WIDTH:g} {top + BAR + 24:g}" role="img" '
        f'aria-label="Phases to scale: {escape(alt)}">{bars}{ticks}{stems}{heads}</svg>'
    )


def lanes_of(places: Sequence[float]) -> list[int]:
    """For each pin, from left to right, the lowest lane in which it covers no other."""
    ends: list[float] = []
    lanes = []
    for x in places:
        lane = next((i for i, end in enumerate(ends) if x - end >= PIN), len(ends))
        ends[lane : lane + 1] = [x]
        lanes.append(lane)
    return lanes


def _bar(period: Period, x: float, width: float, top: float) -> str:
    kind = f"p{(period.number - 1) % len(PHASES) + 1}"
    full = f"{period.number} {period.name}"
    text = full if len(full) * 7 < width else str(period.number) if width > 12 else ""
    label = (
        f'<text x="{x + width / 2:.1f}" y="{top + 22:g}" text-anchor="middle">{escape(text)}</text>'
    )
    place = f'x="{x:.1f}" y="{top:g}" width="{max(width, 1.5):.1f}" height="{BAR:g}"'
    rect = f'<rect class="{kind}" {place}><title>{escape(full)}</title></rect>'
    return rect + (label if text else "")


def _stem(event: Event, x: float, top: float, lane: int) -> str:
    y = top - 14 - PIN * lane
    return f'<line{_strong(event)} x1="{x:.1f}" x2="{x:.1f}" y1="{y:g}" y2="{top + 6:g}"/>'


def _head(number: int, event: Event, x: float, top: float, lane: int) -> str:
    y = top - 14 - PIN * lane
    return (
        f'<g{_strong(event)}><circle cx="{x:.1f}" cy="{y:g}" r="10.5"/>'
        f'<text x="{x:.1f}" y="{y + 4.3:g}" text-anchor="middle">{number}</text></g>'
    )


def _tick(at_s: float, x: float, y: float) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y:g}" y2="{y + 5:g}"/>'
        f'<text class="tick" x="{x:.1f}" y="{y + 19:g}" text-anchor="middle">{at_s:g} s</text>'
    )


def ticks_of(end_s: float) -> list[float]:
    """About ten round times from 0 to the end."""
    step = next(
        (m * 10.0**e for e in range(-3, 9) for m in (1, 2, 5) if end_s / (m * 10.0**e) <= 12), end_s
    )
    return [i * step for i in range(int(end_s / step) + 1)]


# -- in words ----------------------------------------------------------------------------------


def told_of(events: Sequence[Event]) -> list[tuple[Event, str]]:
    """The events worth a pin, in words; the same done again and again counts once."""
    groups: list[list[Event]] = []
    for event in events:
        if event.event in QUIET:
            continue
        if groups and event.event in REPEATED and _alike(groups[-1][0], event):
            groups[-1].append(event)
        else:
            groups.append([event])
    return [(group[0], _in_words(group)) for group in groups]


def _alike(one: Event, other: Event) -> bool:
    return (one.event, one.phase, one.network) == (other.event, other.phase, other.network)


def _in_words(group: Sequence[Event]) -> str:
    said = SAID.get(group[0].event)
    return said(group) if said else words(group[0].event) + _brief(group[0])


def _brief(event: Event) -> str:
    details = [f"{key.replace('_', ' ')} {plain(value)}" for key, value in event.details.items()]
    text = ", ".join(details)
    return f": {escape(text if len(text) < 120 else text[:119] + '…')}" if text else ""


def _deployed(group: Sequence[Event]) -> str:
    devices = list(dict.fromkeys(event.device for event in group))
    more = f" and {len(devices) - 4} more" if len(devices) > 4 else ""
    where = "production" if group[0].network == "production" else "the shadow"
    return f"the change goes to {where}: {escape(', '.join(devices[:4]))}{more}"


def _decided(group: Sequence[Event]) -> str:
    return f"decision: {words(group[0].decision)}{_why(group[0].reasons[:3])}"


def _why(reasons: Sequence[str]) -> str:
    return f' <span class="why">({joined(reasons)})</span>' if reasons else ""


def _rehearsed(group: Sequence[Event]) -> str:
    verified = sum(bool(event.verified) for event in group)
    plans = "a rollback plan is" if len(group) == 1 else f"{len(group)} rollback plans are"
    outcome = "verified" if verified == len(group) else f"{verified} of {len(group)} verified"
    return f"{plans} rehearsed in the shadow: {outcome}"


def _asked(group: Sequence[Event]) -> str:
    said = group[0].details.get("answer")
    answer = "nobody is there" if said is None else "yes" if said else "no"
    return f"a person is asked: {escape(plain(group[0].details.get('question', '')))}? {answer}"


def _rollback(group: Sequence[Event]) -> str:
    scope = "the blamed part" if group[0].scope == "blamed" else "the whole change"
    return f"rollback of {scope} begins"


def _created(group: Sequence[Event]) -> str:
    details = group[0].details
    devices, of = details.get("devices"), details.get("of")
    if devices == of:
        return "the shadow is cloned from production"
    return escape(f"a part of production is shadowed: {plain(devices)} of {plain(of)} devices")


def _scaled(event: Event) -> str:
    told = event.details
    return (
        f"the shadow is scaled from {told.get('before')} to {told.get('after')} devices: "
        f"{plain(told.get('why', ''))}"
    )


def _rationed(event: Event) -> str:
    return f"the mirror's budget allows {plain(event.details.get('classes', ()))} from now on"


def _mirrored(group: Sequence[Event]) -> str:
    packets = group[0].details.get("packets")
    count = f": {packets:,} packets" if isinstance(packets, int) else ""
    return f"production's traffic was mirrored to the shadow{count}"


SAID: Mapping[str, Callable[[Sequence[Event]], str]] = {
    "shadow_created": _created,
    "shadow_scaled": lambda g: joined(_scaled(event) for event in g),
    "mirror_budget": lambda g: joined(_rationed(event) for event in g),
    "not_covered": lambda g: (
        f"not judged in the shadow: {escape(plain(g[0].details.get('limits', ())))}"
    ),
    "baseline_taken": lambda g: "the baseline is taken, before the change",
    "deploy": _deployed,
    "mirrored": _mirrored,
    "decision": _decided,
    "rehearsed": _rehearsed,
    "asked": _asked,
    "observe_only": lambda g: "autonomy is observe: nothing is deployed",
    "doubted": lambda g: f"signs of trouble are doubted{_why(g[0].reasons)}",
    "armed": lambda g: "rollback armed, before the first command",
    "overtaken": lambda g: "taken over by the guardian, since the run did not answer",
    "trigger": lambda g: f"rollback triggered: {words(g[0].mode)}{_why(g[0].reasons)}",
    "rollback": _rollback,
    "step": lambda g: joined(f"step {event.step} {event.outcome}" for event in g),
    "set_again": lambda g: (
        f"others set it again: {escape(plain(g[0].details.get('commands', ())))}"
    ),
    "rolled_back": lambda g: f"rolled back and verified, {seconds(g[0].took_s)} after the trigger",
    "confirmed": lambda g: "change confirmed",
    "halted": lambda g: f"halted{_why((*g[0].failed, *g[0].unmet))}",
    "not_the_change": lambda g: f"signs of trouble, not due to the change{_why(g[0].reasons)}",
}
