"""The runs of changes and their twins to what became of each change, and at what cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shadowsim.errors import BadInput, Mistake
from shadowsim.outages.traffic import Delivery, delivery_in
from shadowsim.outages.twin import LEFT_ALONE
from shadowsim.sweep.carry import finished
from shadowsim.sweep.plan import Piece, Plan

STOPPED = "stopped in the shadow"
REFUSED = "refused at the gate"
ASKED = "left to a person at the gate"
TAKEN_BACK = "rolled back in production"
HALTED = "left to a person in production"
MISSED = "missed"
WENT = "went through"
HOWS = (STOPPED, REFUSED, ASKED, TAKEN_BACK, HALTED, MISSED, WENT)

Document = Mapping[str, Any]
Line = Sequence[tuple[float, float]]  # seconds since the change, and the share lost


@dataclass(frozen=True)
class Verdict:
    """What one variant made of one change under one seed.

    `fails`: the change, left alone, does harm. `detected_s`: from when the change was in force
    first (in the shadow, or in production) to the first forecast that forbids it, or the decision.
    `back_s`: from the first command in production to the verified end of the rollback. `lost`, and
    `lost_alone` if it is left alone: shares of what all demands wanted in the time in which the
    twin was watched, `over_s`.
    """

    scenario: str
    precog: str
    seed: int
    how: str
    fails: bool
    detected_s: float | None
    back_s: float | None
    lost: float
    lost_alone: float
    over_s: float
    breach_s: float
    failure_mode: str

    @property
    def false_alarm(self) -> bool:
        """Whether a change that does no harm was not let through."""
        return not self.fails and self.how != WENT


def verdicts(folder: Path, plan: Plan) -> list[Verdict]:
    """One for each run whose twin is there as well. Raises BadInput where a run is damaged."""
    found = []
    for piece in plan.pieces():
        run = finished(folder, piece)
        twin = finished(folder, Piece(piece.scenario, LEFT_ALONE, piece.seed))
        if run is not None and twin is not None:
            place = folder / piece.place
            journal = _events(place / "journal.jsonl")
            found.append(verdict(run, twin, journal, delivery_in(place / "telemetry.parquet")))
    return found


def lines(folder: Path, plan: Plan, names: Iterable[str]) -> dict[str, dict[str, Line]]:
    """Per scenario named: the share of traffic lost over time since the change came to production,
    left alone and under each variant (nothing where it kept the change out); of the first seed.
    """
    found: dict[str, dict[str, Line]] = {}
    for name in names:
        pieces = [piece for piece in plan.pieces() if piece.scenario == name]
        seed = pieces[0].seed
        twin = finished(folder, Piece(name, LEFT_ALONE, seed))
        if twin is None:
            continue
        found[name] = {LEFT_ALONE: twin["lost_shares"]}
        for piece in (piece for piece in pieces if piece.seed == seed):
            run = finished(folder, piece)
            if run is not None:
                found[name][piece.precog] = _line(run, folder / piece.place, twin["over_s"])
    return found


def _line(run: Document, place: Path, over_s: float) -> Line:
    if run["observed_in"] != "production":
        return [(over_s, 0.0)]
    since_s = _first(_events(place / "journal.jsonl"), "deploy", network="production")
    shares = delivery_in(place / "telemetry.parquet").since(since_s).shares
    return [(at_s, share) for at_s, share in shares if at_s <= over_s]


def _events(file: Path) -> list[Document]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        raise BadInput([Mistake("cannot be read as a journal", str(file))]) from None


def verdict(
    run: Document, twin: Document, journal: Sequence[Document], delivery: Delivery
) -> Verdict:
    """What became of one change. `delivery` is production's, of the whole run."""
    deployed = run["observed_in"] == "production"
    fails = bool(twin["failed_after_s"])
    since_s = _first(journal, "deploy", network="production" if deployed else "shadow")
    over_s, wanted = twin["over_s"], max(twin["wanted_bits"], 1.0)
    lost = delivery.since(since_s).lost_bits(over_s) / wanted if deployed else 0.0
    return Verdict(
        scenario=run["scenario"],
        precog=run["precog"],
        seed=run["seed"],
        how=_how(run, fails, deployed=deployed),
        fails=fails,
        detected_s=_detected_s(run, journal, since_s, deployed=deployed),
        back_s=_back_s(run),
        lost=lost,
        lost_alone=twin["lost_bits"] / wanted,
        over_s=over_s,
        breach_s=run["breach_s"],
        failure_mode=run["failure_mode"],
    )


def _how(run: Document, fails: bool, *, deployed: bool) -> str:
    if not deployed:
        if run["end_state"] != "refused":
            return ASKED
        return STOPPED if run["refused_by"] else REFUSED
    if run["end_state"] == "confirmed":
        return MISSED if fails else WENT
    return TAKEN_BACK if run["end_state"] == "rolled_back" else HALTED


def _detected_s(
    run: Document, journal: Sequence[Document], since_s: float, *, deployed: bool
) -> float | None:
    if deployed:
        found: float | None = run["triggered_after_s"]
        return found
    if run["end_state"] != "refused":
        return None
    bar = run["gate"]["no_go_above"]
    said = (e["at_s"] for e in journal if e["event"] == "forecast" and _worst(e) >= bar)
    at_s = min(next(said, float("inf")), _first(journal, "decision"))
    return round(at_s - since_s, 3) if at_s < float("inf") else None


def _worst(forecast: Document) -> float:
    return max((p for p in forecast["probabilities"].values() if p is not None), default=0.0)


def _back_s(run: Document) -> float | None:
    if run["end_state"] != "rolled_back" or run["triggered_after_s"] is None:
        return None
    return round(float(run["triggered_after_s"]) + (run["time_to_rollback_s"] or 0.0), 3)


def _first(journal: Iterable[Document], event: str, **fields: str) -> float:
    """When this happened first; infinity if it never did."""
    wanted = {"event": event, **fields}.items()
    return next((e["at_s"] for e in journal if wanted <= e.items()), float("inf"))
