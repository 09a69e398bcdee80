"""A run that goes on to what a board shows of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from shadowsim.page.past import map_of, outcome_of
from shadowsim.page.view import Look
from shadowsim.record import picture_of
from shadowsim.report.recorded import Picture, Result
from shadowsim.scenario import Scenario
from shadowsim.workflow import Run


def looks_of(run: Run) -> dict[str, Look]:
    """What telemetry told last of the links between devices, network by network."""
    links = 2 * len(run.scenario.topology.links)
    found = {}
    for name, telemetry in run.telemetry.items():
        if telemetry.samples:
            last = telemetry.samples[-1]
            load = last.column("link", "utilisation")[:links]
            down = np.flatnonzero(last.column("link", "up")[:links] == 0.0)
            told = [float(x) if np.isfinite(x) else None for x in load]
            found[name] = Look(last.at_s, tuple(told), tuple(down.tolist()))
    return found


def standing_of(scenario: Scenario, network: str, *, writes: bool) -> dict[str, Any]:
    """What stays the same in all views of a run that goes on."""
    return {
        "live": True,
        "may_answer": writes,
        "about": {
            "run": scenario.name,
            "scenario": scenario.name,
            "summary": scenario.summary,
            "change": scenario.change.summary,
            "network": network,
            "precog": scenario.workflow.precog,
            "autonomy": scenario.workflow.autonomy,
            "seed": scenario.seed,
            "no_go_above": scenario.workflow.no_go_above,
        },
        "map": map_of(Picture.model_validate(picture_of(scenario.topology))),
        "until_s": None,
        "marks": [],
        "outcome": None,
    }


def outcome_of_run(found: dict[str, Any]) -> dict[str, Any]:
    """What came of a run, as of one from its folder."""
    return outcome_of(Result.model_validate(found))
