"""A scenario to a finished run with its folder: the one way of it, whoever asks for the run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from shadowsim.commit.hold import Hold
from shadowsim.errors import ShadowsimError
from shadowsim.history.recording import Recorder
from shadowsim.interruptions import uninterrupted
from shadowsim.journal import Journal
from shadowsim.network import Factory, Simulation
from shadowsim.precog import WhatIf, variant
from shadowsim.record import document, write
from shadowsim.scenario import Scenario
from shadowsim.workflow import Approve, Run, nobody, run_workflow

Document = dict[str, Any]


class NotKept(ShadowsimError):
    """The record of a run could not be written."""


def begin(
    scenario: Scenario, networks: Factory, journal: Journal, approve: Approve = nobody
) -> Run:
    """A run that waits to be carried out, judged by the variant that the scenario names."""
    of = scenario.topology, scenario.traffic.demands, scenario.intents
    whatif = WhatIf(*of, networks.worked(*of) if isinstance(networks, Simulation) else None)
    precog = variant(scenario.workflow.precog, whatif)
    return Run(scenario, networks, precog, whatif, journal, approve)


def carry_out(
    state: Run,
    network: str,
    folder: Path,
    key: bytes,
    holding: AbstractContextManager[Hold],
    keep: Callable[[Document], None] = lambda found: None,
) -> Document:
    """Walk the phases under this hold, and write the folder of the run; the outcome.

    `keep` is told the outcome before it is returned. A run that is interrupted once its shadow is
    up leaves its record too: what was taken back, and whether that held. Raises NotKept if it
    cannot be written.
    """
    recorder = state.looked = Recorder(state.scenario)
    with uninterrupted(), holding as state.hold:
        try:
            run_workflow(state)
        finally:
            if state.telemetry:
                found = document(state, network, str(folder))
                looks = recorder.parquet()
                found["looks"] = recorder.document(looks)
                if state.hold.supplanted:
                    why = "another one has begun here since this was overtaken"
                    raise NotKept(f"{folder}: the run could not be kept: {why}")
                try:
                    write(state, found, folder, key, looks)
                    state.hold.stow(folder)
                    keep(found)
                except OSError as error:
                    why = f"the run could not be kept: {error.strerror}"
                    raise NotKept(f"{error.filename or folder}: {why}") from error
    return found
