"""The `outage` of a scenario to a frozen value: what the public reports say of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from shadowsim.scenario.findings import Findings
from shadowsim.scenario.spec import OutageSpec


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage that happened, as published. No decision and no run depends on it.

    `recovery_s`: seconds from the first harm until service was restored; None: not published.
    `lost`: how much did not arrive, in words. `sources`: title, organisation, date of each report.
    """

    day: date
    who: str
    change: str
    mechanism: str
    recovery_s: float | None
    lost: str
    sources: tuple[str, ...]


def build(spec: OutageSpec | None, findings: Findings) -> Outage | None:
    """The facts, where there are any; a day that no calendar has is a mistake."""
    if spec is None:
        return None
    try:
        day = date.fromisoformat(spec.date)
    except ValueError:
        findings.add(("outage", "date"), f"outage.date: no calendar has a {spec.date}")
        return None
    given = spec.change, spec.mechanism, spec.recovery_s, spec.lost, tuple(spec.sources)
    return Outage(day, spec.who, *given)
