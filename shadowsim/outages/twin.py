"""A scenario to how its change goes if nobody judges it and nobody takes it back: its twin.

The twin lies beside the runs of a sweep, in the place of one more variant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shadowsim.batch.folder import keep
from shadowsim.history.simulate import left_alone
from shadowsim.outages.traffic import delivery_of
from shadowsim.sweep.carry import carry
from shadowsim.sweep.plan import Piece, Plan

LEFT_ALONE = "left-alone"


def pieces_of(plan: Plan) -> list[Piece]:
    """Every run of a plan, and before them a twin for each scenario and seed."""
    runs = plan.pieces()
    twins = dict.fromkeys(Piece(run.scenario, LEFT_ALONE, run.seed) for run in runs)
    return [*twins, *runs]


def work(plan: Plan, folder: Path, piece: Piece) -> None:
    """Make one run or one twin, and keep it in the folder of the sweep."""
    if piece.precog != LEFT_ALONE:
        carry(plan, folder, piece)
        return
    place = folder / piece.place
    place.mkdir(parents=True, exist_ok=True)
    keep(place / "result.json", json.dumps(_twin(plan, piece)).encode())


def _twin(plan: Plan, piece: Piece) -> dict[str, Any]:
    found = left_alone(plan.scenario(piece))
    delivery = delivery_of(found.telemetry).since(found.since_s)
    over_s = float(delivery.at_s[-1]) - found.since_s if len(delivery.at_s) else 0.0
    return {
        "scenario": piece.scenario,
        "precog": LEFT_ALONE,
        "seed": piece.seed,
        "interrupted": False,
        "over_s": round(over_s, 3),
        "wanted_bits": round(delivery.wanted_bits, 3),
        "lost_bits": round(delivery.lost_bits(over_s), 3),
        "failed_after_s": {mode: round(s, 3) for mode, s in found.label.came_at_s.items()},
        "sign": found.label.sign,
        "lost_shares": delivery.shares,
    }
