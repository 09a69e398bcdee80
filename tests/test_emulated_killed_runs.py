"""Whole runs in which something dies: production is old or new, and all is clean.

SHADOWSIM_KILLS is how many are made for each kind of process that is killed in them.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

import pytest
from bad_day_runs import (
    KILLS,
    PARTS,
    Bad,
    Left,
    faults,
    interruptible,
    kill_one,
    neither_old_nor_new,
    run,
    start,
)
from emulation import needs_emulation


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    with interruptible():
        yield


@needs_emulation
@pytest.mark.parametrize("what", PARTS)
@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_in_which_something_is_killed(what: str, number: int) -> None:
    found = kill_one(what, number)
    assert not found["wrong"], found


@needs_emulation
@pytest.mark.parametrize("request_", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_that_is_asked_to_end(request_: signal.Signals, number: int) -> None:
    found = interrupt_one(request_, number)
    assert not found, "\n".join(found)


def interrupt_one(request_: signal.Signals, number: int) -> list[str]:
    """A run that gets a request to end at some moment, coming up and closing among them."""
    chance = random.Random(f"{request_} {number}")
    before = Left.look()
    with run() as bad:
        moment_s = chance.uniform(1.5, 30.0)
        bad.let_go_on(moment_s)
        bad.look()
        over = bad.ended or (bad.home / "runs/small/result.json").exists()
        bad.process.send_signal(request_)
        done = bad.watch(lambda: bad.ended, 20.0)
        code = bad.process.returncode
        wrong = faults(bad, before)
        wrong += [] if done else [f"it went on after {moment_s:.1f} s"]
        wrong += [] if code == 130 or (over and code == 0) else [f"code {code} at {moment_s:.1f} s"]
        if (bad.home / "runs/small/result.json").exists():
            wrong += [f"half changed: {d}" for d in neither_old_nor_new(bad)]
        return wrong


@needs_emulation
def test_when_it_is_killed_itself_all_ends_and_the_folder_can_be_cleaned() -> None:
    before = Left.look()
    with run() as bad:
        assert bad.watch(lambda: _both_up(bad))
        bad.let_go_on(3.0)
        assert not bad.ended
        bad.process.kill()
        bad.process.wait()
        assert not faults(bad, before, folder=False)
        left = bad.home / "run/shadowsim"
        folders = list(left.iterdir())
        assert len(folders) == 2
        cleaning = start(bad.home, "doctor", "--clean")
        assert cleaning.wait(30.0) == 0
        told = (bad.home / "out").read_text()  # also of what others on this machine have left
        assert all(f"removed {folder}, 0 processes ended" in told for folder in folders)
        assert not left.exists()


@needs_emulation
def test_two_runs_at_once_do_not_meet() -> None:
    before = Left.look()
    with run() as one, run() as other:
        both = (one, other)
        done = one.watch(lambda: one.ended) and other.watch(lambda: other.ended)
        assert done
        assert [bad.process.returncode for bad in both] == [0, 0]
        for bad in both:
            assert not faults(bad, before)
            assert bad.result()["end_state"] == "confirmed"


def _both_up(bad: Bad) -> bool:
    return bad.ended or len(bad.parts("plant")) == 2
