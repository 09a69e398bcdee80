"""Requests to end come when they come, and are heard where nothing is half done."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from shadowsim.__main__ import told
from shadowsim.api.desk import Desk
from shadowsim.errors import BadInput
from shadowsim.interruptions import SAME_S, listen, listening, uninterrupted
from shadowsim.shadow_commands import Pace

if TYPE_CHECKING:
    from shadowsim.workflow import Run


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Who starts the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def ask() -> None:
    signal.raise_signal(signal.SIGINT)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_request_to_end_waits_for_the_end_of_a_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        ask()
        done.append("the rest")
    assert done == ["the rest"]


def test_who_asks_twice_at_once_has_asked_once() -> None:
    clock, done = Clock(), []
    with pytest.raises(KeyboardInterrupt), uninterrupted(clock):
        ask()
        clock.now_s += 0.9 * SAME_S
        ask()
        done.append("the rest")
    assert done == ["the rest"]


def test_who_asks_again_does_not_wait() -> None:
    clock, done = Clock(), []
    with pytest.raises(KeyboardInterrupt), uninterrupted(clock):
        ask()
        clock.now_s += 1.1 * SAME_S
        ask()
        done.append("the rest")
    assert done == []


def test_requests_in_blocks_within_blocks_are_heard_after_the_outermost() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            ask()
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_a_block_that_listens_hears_what_has_waited_and_what_comes() -> None:
    done = []
    with uninterrupted():
        ask()
        done.append("before")
        with pytest.raises(KeyboardInterrupt), listening():
            done.append("not this")
    with uninterrupted(), pytest.raises(KeyboardInterrupt), listening():
        done.append("listening")
        ask()
        done.append("nor this")
    assert done == ["before", "listening"]


def test_after_a_request_was_heard_the_next_one_waits_again() -> None:
    clock, done = Clock(), []
    with pytest.raises(KeyboardInterrupt), uninterrupted(clock):
        ask()
        with pytest.raises(KeyboardInterrupt):
            listen()
        ask()  # the same, heard already
        listen()
        clock.now_s += 1.1 * SAME_S
        ask()
        done.append("put in order")
    assert done == ["put in order"]


def test_where_the_first_request_is_heard_and_answered_the_block_is_closed_again() -> None:
    clock, done = Clock(), []
    with pytest.raises(KeyboardInterrupt), uninterrupted(clock), listening():
        with pytest.raises(KeyboardInterrupt):
            ask()
        clock.now_s += 1.1 * SAME_S
        ask()
        done.append("put in order")
    assert done == ["put in order"]


def test_within_what_listens_a_block_is_done_to_its_end() -> None:
    done = []
    with uninterrupted(), pytest.raises(KeyboardInterrupt), listening():
        with uninterrupted():
            ask()
            done.append("the rest")
        done.append("not this")
    assert done == ["the rest"]


def test_outside_of_a_block_listening_changes_nothing() -> None:
    with pytest.raises(KeyboardInterrupt), listening():
        ask()
    listen()


def test_who_ignores_requests_ignores_them_in_a_block() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGHUP)
            listen()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_have_nothing_to_do() -> None:
    done = []

    def work() -> None:
        with uninterrupted(), listening():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]


def test_who_asks_again_and_again_is_heard_all_the_same() -> None:
    clock, asked = Clock(), []
    with pytest.raises(KeyboardInterrupt), uninterrupted(clock):
        for _ in range(10):
            ask()
            asked.append(clock.now_s)
            clock.now_s += 0.6 * SAME_S
    assert asked == [0.0, 0.6 * SAME_S]


def test_requests_while_handlers_are_put_back_leave_none_of_them_deaf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def heard(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, heard) for number in (signal.SIGTERM, signal.SIGHUP)}
    plain = signal.signal
    done = []

    def asking(number: signal.Signals, handler: Any) -> Any:
        found = plain(number, handler)
        if number == signal.SIGINT and done and len(done) == 1:
            done.append("put back")
            ask()
        return found

    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            monkeypatch.setattr(signal, "signal", asking)
            done.append("the block")
        monkeypatch.undo()
        assert done == ["the block", "put back"]
        for number in (signal.SIGTERM, signal.SIGHUP):
            with pytest.raises(KeyboardInterrupt, match=str(int(number))):
                signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            done.append("the next block")
        assert done[2:] == ["the next block"]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_what_was_on_its_way_is_the_context_of_the_request_that_waited() -> None:
    with pytest.raises(KeyboardInterrupt) as stopped, uninterrupted():
        ask()
        raise BadInput("the disk is full")
    assert isinstance(stopped.value.__context__, BadInput)


def test_a_person_is_told_what_was_on_its_way(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="130"), told(), uninterrupted():
        ask()
        raise BadInput("the disk is full")
    assert capsys.readouterr().err == "the disk is full\nstopped\n"


LONG_S = 20.0


def _pace() -> None:
    Pace(1.0)(cast("Run", SimpleNamespace(now=LONG_S, interrupted=False)))


def _desk() -> None:
    Desk().attend(None, LONG_S)


@pytest.mark.parametrize("wait", [_pace, _desk])
def test_a_run_that_is_held_up_for_its_watcher_listens(wait: Callable[[], None]) -> None:
    began_s = time.monotonic()
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        timer.start()
        wait()
    assert time.monotonic() - began_s < LONG_S / 2


def test_a_run_that_is_being_ended_is_not_held_up() -> None:
    pace = Pace(2.0)
    assert pace.due_s(cast("Run", SimpleNamespace(now=4.0, interrupted=False))) == 2.0
    assert pace.due_s(cast("Run", SimpleNamespace(now=9.0, interrupted=True))) == 0.0


def test_the_desk_answers_to_the_end_before_it_hears_a_request() -> None:
    desk, done = Desk(), []

    def work(room: object) -> None:
        ask()
        done.append("answered")

    asking = threading.Thread(target=lambda: desk.ask(cast("Any", work)))
    asking.start()
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        desk.attend(cast("Any", "a room"), LONG_S)
    asking.join()
    assert done == ["answered"]
