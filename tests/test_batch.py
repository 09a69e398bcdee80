"""Pieces of work in several processes: every answer once, whatever becomes of whom."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from shadowsim.batch import Died, Local
from shadowsim.errors import BadInput


def _no_seven(piece: int) -> int:
    if piece == 7:
        raise BadInput("seven")
    return piece * piece


def _die_of_seven(piece: int) -> int:
    if piece == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return piece * piece


def _leave_a_file(folder: Path, piece: int) -> None:
    with (folder / str(piece)).open("x"):
        pass


@pytest.mark.parametrize(("jobs", "pieces"), [(1, 9), (2, 9), (50, 2)])
def test_every_piece_is_done_once(jobs: int, pieces: int, tmp_path: Path) -> None:
    found = list(Local(jobs).answers(partial(_leave_a_file, tmp_path), range(pieces)))
    assert sorted(answer.piece for answer in found) == list(range(pieces))
    assert {path.name for path in tmp_path.iterdir()} == set(map(str, range(pieces)))
    assert list(Local(jobs).answers(_no_seven, [])) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_piece_of_work_raises_is_its_answer_and_the_others_have_theirs(jobs: int) -> None:
    found = {answer.piece: answer for answer in Local(jobs).answers(_no_seven, range(5, 12))}
    with pytest.raises(BadInput, match="seven"):
        found.pop(7).get()
    assert {piece: answer.get() for piece, answer in found.items()} == {
        piece: piece * piece for piece in (5, 6, 8, 9, 10, 11)
    }
    assert multiprocessing.active_children() == []


def test_who_dies_of_a_piece_is_replaced() -> None:
    found = {answer.piece: answer for answer in Local(2).answers(_die_of_seven, [7, *range(5)])}
    with pytest.raises(Died, match=r"a worker died \(exit code -9\)"):
        found.pop(7).get()
    assert {piece: answer.get() for piece, answer in found.items()} == {
        piece: piece * piece for piece in range(5)
    }
    assert multiprocessing.active_children() == []


def test_who_dies_before_it_is_asked_is_replaced_too() -> None:
    """Of two that are killed while nobody listens, each takes one piece with it, and no more."""
    found = []
    for answer in Local(2).answers(_no_seven, range(10, 30)):
        found.append(answer)
        if len(found) == 1:
            for worker in multiprocessing.active_children():
                worker.kill()
                worker.join()
    assert sorted(answer.piece for answer in found) == list(range(10, 30))
    assert [type(answer.error) for answer in found if answer.error] == [Died, Died]
    assert multiprocessing.active_children() == []


MASKS = """
import signal
from functools import partial
from shadowsim.batch import Local
masks = Local(2).answers(partial(signal.pthread_sigmask, signal.SIG_BLOCK), [(), ()])
print(sum(signal.SIGINT in answer.get() for answer in masks))
"""


def test_ctrl_c_is_for_whoever_started_them() -> None:
    """The first process of an interpreter too, which has Python start another one beside it."""
    done = subprocess.run([sys.executable, "-c", MASKS], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_nobody_works_on_once_the_answers_are_closed() -> None:
    with closing(Local(2).answers(_no_seven, range(100))) as answers:
        next(answers)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
