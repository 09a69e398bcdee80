"""On real packets: something dies while a run changes production or changes it back, and production
is old or new in the end. The attack `emulated` does this many times.
"""

from __future__ import annotations

import os
import signal

import pytest
from bad_day_runs import Left, faults, run, start
from emulation import needs_emulation
from torture.emulated import CI, DEPLOY, KINDS, ROLLBACK, RUN, SCENARIO, has_begun, one

pytestmark = needs_emulation


@pytest.mark.parametrize("number", range(CI))
@pytest.mark.parametrize("phase", [DEPLOY, ROLLBACK])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_killed_production_is_old_or_new_and_the_machine_clean(
    kind: str, phase: str, number: int
) -> None:
    outcome, wrong = one(1, kind, phase, number)
    assert not wrong
    if kind == RUN:
        assert outcome == "rolled_back by guardian"


def test_where_run_and_guardian_are_dead_production_is_gone_and_that_is_an_end() -> None:
    """Then nobody holds its agent. `doctor --clean` is only needed for the folder."""
    before = Left.look()
    with run(scenario=SCENARIO) as bad:
        commit = bad.home / "runs/small.commit"
        assert bad.watch(lambda: has_begun(commit, DEPLOY) or bad.ended)
        guardians = bad.parts("guardian")
        assert len(guardians) == 1
        for pid in (bad.process.pid, *guardians):
            os.kill(pid, signal.SIGKILL)
        bad.process.wait()
        assert not faults(bad, before, folder=False)
        for words, code, said in (
            (["rollback", "runs/small"], 4, "open: production is gone with its network"),
            (["rollback", "runs/small", "--resume"], 0, "halted (production is gone"),
            (["doctor", "--clean"], 0, "2 left-over networks removed"),
        ):
            assert start(bad.home, *words).wait(60.0) == code, (bad.home / "err").read_text()
            assert said in (bad.home / "out").read_text()
