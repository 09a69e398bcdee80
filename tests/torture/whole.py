"""Whole runs of the command line, as processes to be killed or stopped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import Place
from shadowsim.commit.hold import STOWED, beside, commit_in
from shadowsim.commit.reach import reach_in
from shadowsim.commit.settle import Standing, standing
from shadowsim.journal import Journal
from shadowsim.network import NETWORKS
from shadowsim.precog import WhatIf, variant
from shadowsim.rollback.key import installation_key
from shadowsim.scenario import parse
from shadowsim.workflow import Run, run_workflow
from torture.bench import Bench
from torture.processes import spawn

NAME = "ring"
SCENARIO = """
name: ring
seed: 3
topology:
  nodes: {A: {hosts: [a]}, B: {hosts: [b]}, C: {}}
  links: [[A, B], [B, C], [C, A]]
traffic:
  demands:
    - {from: a, to: b, rate_mbps: 1}
intents:
  - {reachable: {from: any, to: any}}
change:
  summary: raise the cost of A-B at both ends
  script: |
    device A
    interface to-B
     ip ospf cost 500
    device B
    interface to-A
     ip ospf cost 500
workflow: {baseline_s: 2, shadow_s: 5, monitor_s: 6, soak_s: 1, horizon_s: 5, confirm_within_s: %s}
expect: {decision: go, end_state: confirmed}
"""


def warm_up() -> None:
    """Have everything imported and compiled that a run needs, but no threads started."""
    import polars  # noqa: F401

    import shadowsim.__main__
    import shadowsim.live
    import shadowsim.outcomes
    import shadowsim.record  # noqa: F401

    scenario = parse(SCENARIO % 30, file="ring.yml")
    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    run_workflow(Run(scenario, NETWORKS["simulated"], variant("hybrid", whatif), whatif, Journal()))


def command(*arguments: str) -> int:
    """Be the command line, with what is imported already."""
    from shadowsim.__main__ import main

    sys.argv = ["shadowsim", *arguments]
    main()
    return 0


def program(*arguments: str) -> int:
    """Be the command line as a fresh interpreter."""
    os.execv(sys.executable, [sys.executable, "-m", "shadowsim", *arguments])


class Whole:
    """The runs of one scenario in one folder."""

    def __init__(self, bench: Bench, confirm_within_s: float, *, fresh: bool = False) -> None:
        self.bench = bench
        self.runs = bench.folder / "runs"
        self.folder = self.runs / NAME
        self._scenario = bench.folder / "ring.yml"
        self._scenario.write_text(SCENARIO % confirm_within_s)
        self._be = program if fresh else command

    def run(self, *options: str, group: bool = False) -> int:
        """Start `shadowsim run`, of a process group of its own if asked to; its pid."""
        where = ["--out", str(self.runs), "--store", str(self.runs / "outcomes.sqlite")]

        def be() -> int:
            if group:
                os.setpgid(0, 0)
            return self._be("run", str(self._scenario), *where, *options)

        return spawn(be, self.bench.out, self.bench.words)

    def rollback(self, *options: str, out: Path | None = None) -> int:
        """Start `shadowsim rollback` on it; its pid."""
        return spawn(
            lambda: self._be("rollback", str(self.folder), *options),
            out or self.bench.out,
            self.bench.words,
        )

    def says(self, word: str) -> bool:
        return self.bench.out.exists() and word in self.bench.out.read_text("utf-8", "replace")

    @property
    def commit(self) -> Path | None:
        """Where the commit lies; None if none was begun."""
        for folder in (beside(self.folder), self.folder / STOWED):
            if (found := commit_in(folder)) is not None:
                return found
        return None

    def standing(self) -> Standing | None:
        if self.commit is None:
            return None
        place = Place(RealDisk(), self.commit.absolute(), installation_key())
        return standing(place, reach_in(place.folder))

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text("utf-8"))
        return found

    def litter(self) -> Sequence[str]:
        """What lies about that belongs to no run."""
        known = {NAME, "outcomes.sqlite", beside(self.folder).name}
        return sorted(path.name for path in self.runs.iterdir() if path.name not in known)
