"""A scenario to an outcome, in five phases: shadow, traffic, risk, production, monitoring."""

from __future__ import annotations

from contextlib import ExitStack

from shadowsim.commit.generations import CONFIRMED, ROLLED_BACK
from shadowsim.errors import Fenced, Unreachable
from shadowsim.interruptions import listen, uninterrupted
from shadowsim.model.change import Configs
from shadowsim.rollback.blame import Blame
from shadowsim.workflow.phases import PHASES, Phase
from shadowsim.workflow.state import Approve, Run, nobody
from shadowsim.workflow.watch import roll_back


def run_workflow(run: Run) -> Run:
    """Walk the phases until one ends the run.

    Production is not left half changed: if a phase is interrupted after the first command, the
    armed rollback fires before the interruption goes on its way. A request to end is heard where
    nothing is half done: between two phases and two seconds of the networks, before a device is
    changed and before the change is confirmed, while networks are built, and while a person is
    waited for. Who holds the rollback is not: 20 s for a guardian, at most, that does not come up.
    """
    with uninterrupted():
        _walk(run)
    run.note("end", decision=run.decision, end_state=run.end_state)
    return run


def _walk(run: Run) -> None:
    run.begin()
    try:
        for number, phase in enumerate(PHASES, 1):
            run.phase = phase.__name__
            run.phases.append((run.phase, run.now))
            run.note("phase", number=number)
            listen()
            if not _goes_on(run, phase):
                break
    except Fenced as error:
        _follow(run, error)
    except BaseException:
        run.interrupted = True
        if run.armed and run.end_state != "confirmed" and run.execution is None:
            _undo(run)
        raise
    finally:
        with ExitStack() as ending:
            ending.callback(run.production.close)
            if hasattr(run, "shadow"):
                ending.callback(run.shadow.close)
            # First, since others need production to take it back; again, if it was interrupted.
            ending.callback(_let_go, run)
            ending.callback(_let_go, run)


def _undo(run: Run) -> None:
    """Take back what was begun, since the run is not to go on."""
    run.journal.unwatch()
    run.note("interrupted")
    try:
        if run.deployed:
            verdict = Blame(True, run.deployed, True, "interrupted")
            roll_back(run, "any", verdict, cause="interrupted")
        else:
            run.deployed_since_s = None
            run.end("refused", "not_deployed")
    except Fenced as error:
        _follow(run, error)


def _follow(run: Run, error: Fenced) -> None:
    """Somebody else has taken production over, since this process did not answer: say how."""
    run.note("overtaken", why=str(error))
    _ended_by_others(run, *run.hold.taken())
    run.failure_mode, run.root_cause = "none", "overtaken"


def _let_go(run: Run) -> None:
    """Let production go; of what this run has not ended, others say how it ended."""
    came = run.hold.release()
    if came is None or (run.overtaken is not None and run.end_state != "halted"):
        return
    _ended_by_others(run, *came)
    run.note("left", end_state=run.end_state)
    if run.root_cause == "none":
        run.root_cause = "interrupted"


def _ended_by_others(run: Run, state: str, configs: Configs) -> None:
    run.end_state = state if state in (ROLLED_BACK, CONFIRMED) else "halted"
    run.overtaken = configs


def _goes_on(run: Run, phase: Phase) -> bool:
    """Walk a phase. A shadow that is lost before production was touched is no verdict."""
    try:
        return phase(run)
    except Unreachable as error:
        if run.deployed_since_s is not None or not hasattr(run, "mirror"):
            raise
        run.decision, run.end_state = "inconclusive", "halted"
        run.note("decision", decision=run.decision, why=[str(error)])
        return False


__all__ = ["PHASES", "Approve", "Run", "nobody", "run_workflow"]
