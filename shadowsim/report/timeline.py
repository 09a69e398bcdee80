"""The events of a run to a bar of its phases, drawn to scale, and a list of what happened."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from shadowsim.plots import Mark, Period
from shadowsim.report.pieces import seconds, section, words
from shadowsim.report.recorded import Recorded
from shadowsim.report.told import Told, told_of

PHASES = (
    "shadow_deployment",
    "traffic_and_monitoring",
    "risk_assessment",
    "production_deployment",
    "realtime_monitoring",
)
ENDINGS = ("rolled_back", "confirmed", "halted")
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
        f'<li{_strong(one)}><span class="at">{one.at_s:,.1f} s</span> {_said(one)}</li>'
        for one in told
    )
    body = (
        f'<ul class="phases">{phases}</ul>\n{_drawing(periods, told)}\n'
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


def _strong(told: Told) -> str:
    return ' class="strong"' if told.strong else ""


def _said(told: Told) -> str:
    why = f' <span class="why">({escape("; ".join(told.why))})</span>' if told.why else ""
    return escape(told.text) + why


# -- the drawing -------------------------------------------------------------------------------


def _drawing(periods: Sequence[Period], pins: Sequence[Told]) -> str:
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


def _stem(told: Told, x: float, top: float, lane: int) -> str:
    y = top - 14 - PIN * lane
    return f'<line{_strong(told)} x1="{x:.1f}" x2="{x:.1f}" y1="{y:g}" y2="{top + 6:g}"/>'


def _head(number: int, told: Told, x: float, top: float, lane: int) -> str:
    y = top - 14 - PIN * lane
    return (
        f'<g{_strong(told)}><circle cx="{x:.1f}" cy="{y:g}" r="10.5"/>'
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
