"""A scenario without its change to production and its shadow, for as long as one wants."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from shadowsim.errors import Unreachable
from shadowsim.journal import Journal
from shadowsim.mirror.testtraffic import TestTraffic
from shadowsim.model.change import Change
from shadowsim.network import Factory, Network
from shadowsim.precog import WhatIf, variant
from shadowsim.scenario import Scenario
from shadowsim.workflow import Run
from shadowsim.workflow.phases import shadow_deployment

SYNC_EVERY_S = 5.0
REMEMBERED = 600  # samples of each network


class Session:
    """Production, its whole shadow and the mirror between them; nothing is changed in either.

    The faults of the scenario strike all the same. Close it in the end.
    """

    def __init__(self, scenario: Scenario, factory: Factory) -> None:
        quiet = replace(
            scenario,
            change=Change("", ()),
            shadow=replace(scenario.shadow, scope="full"),
            workflow=replace(scenario.workflow, baseline_s=0.0),
        )
        whatif = WhatIf(quiet.topology, quiet.traffic.demands, quiet.intents)
        precog = variant("threshold", whatif)
        self._run = run = Run(quiet, factory, precog, whatif, Journal())
        run.before = {}
        run.production = factory(quiet, quiet.configs, "production")
        try:
            run.before = {**quiet.configs, **run.production.configs()}
            shadow_deployment(run)
        except BaseException:
            self._close_networks()
            raise
        self._synced_s = run.now
        self.tests = TestTraffic(run.production, run.shadow, quiet.traffic.demands)

    @property
    def scenario(self) -> Scenario:
        return self._run.scenario

    @property
    def production(self) -> Network:
        return self._run.production

    @property
    def shadow(self) -> Network:
        return self._run.shadow

    @property
    def now(self) -> float:
        return self._run.now

    def advance(self, seconds: float) -> None:
        """Let time pass in both networks; what is due of the test traffic ends."""
        self._run.advance(seconds)
        self.tests.tick()
        if self.now >= self._synced_s + SYNC_EVERY_S:
            self._synced_s = self.now
            with suppress(Unreachable):  # then at the next time
                self._run.mirror.sync()
        for telemetry in self._run.telemetry.values():
            del telemetry.samples[:-REMEMBERED]

    def close(self) -> None:
        """End all test traffic and take both networks down; a second call does nothing."""
        try:
            self.tests.end()
        finally:
            self._close_networks()

    def _close_networks(self) -> None:
        self._run.production.close()
        if hasattr(self._run, "shadow"):
            self._run.shadow.close()
