"""Numbered cases of an attack's parts to a result, by several processes side by side.

The results of a part are counted in the order of its cases, so a campaign that was interrupted
goes on where its counts end.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torture.result import Failure, Result, Wanted, Wrong, begun

SAVED_EVERY_S = 10.0
SHOWN = 3_000
AT_ONCE = 8  # cases that are handed to a process together, at most
TIMES = 500  # that a process is handed some, at least: what it has not handed back can be lost
FAILED = "failed"


class Came(NamedTuple):
    """What came of a case. `late_s`: how late something with a deadline was."""

    kind: str = "passed"
    late_s: float = 0.0
    words: str = ""


Case = Callable[[int, int], Came | None]  # a seed and a number; raises Wrong


class Part(NamedTuple):
    """So many cases of one kind."""

    cases: int
    case: Case


def nothing() -> None:
    """There is nothing to get ready."""


def work_off(
    attack: str,
    wanted: Wanted,
    parts: Mapping[str, Part],
    *,
    workers: int | None = None,
    ready: Callable[[], object] = nothing,
) -> Result:
    """All cases of these parts, or the one that is wanted.

    `workers`: how many processes, one for each CPU if it is not said; one means this process. In
    each, `ready` is called before its first case.
    """
    if wanted.only is not None and wanted.only not in parts:
        raise SystemExit(f"there is no part '{wanted.only}'; there are {', '.join(parts)}")
    chosen = {name: part for name, part in parts.items() if wanted.only in (None, name)}
    if wanted.case is not None:
        name, part = next(iter(chosen.items()))
        ready()
        result = Result(attack, wanted.seed, 1)
        came = attempt(part.case, wanted.seed, wanted.case, verbose=True)
        _count(result, name, wanted.case, came)
        return result
    result = begun(attack, wanted, sum(part.cases for part in chosen.values()))
    workers = wanted.workers or workers or os.cpu_count() or 1
    _count_all(result, wanted, _done(chosen, wanted, _left(chosen, result), workers, ready))
    return result


def attempt(case: Case, seed: int, number: int, *, verbose: bool = False) -> Came:
    """Do a case; what came of it."""
    try:
        return case(seed, number) or Came()
    except Exception as error:
        if verbose:
            traceback.print_exc()
        what = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
        return Came(FAILED, words=what[:SHOWN])


def _left(parts: Mapping[str, Part], result: Result) -> list[tuple[str, int]]:
    """What is left to do: of every part evenly, in the order of its cases."""
    places = [
        ((number + 0.5) / part.cases, name, number)
        for name, part in parts.items()
        for number in range(sum(result.counts.get(name, {}).values()), part.cases)
    ]
    return [(name, number) for _, name, number in sorted(places)]


class _Worker:
    """What a process works with."""

    parts: Mapping[str, Part]
    seed: int

    @classmethod
    def begin(cls, parts: Mapping[str, Part], seed: int, ready: Callable[[], object]) -> None:
        cls.parts, cls.seed = parts, seed
        ready()

    @classmethod
    def work(cls, one: tuple[str, int]) -> tuple[str, int, Came]:
        name, number = one
        return name, number, attempt(cls.parts[name].case, cls.seed, number)


Done = Iterator[tuple[str, int, Came]]


def _done(
    parts: Mapping[str, Part],
    wanted: Wanted,
    numbers: Sequence[tuple[str, int]],
    workers: int,
    ready: Callable[[], object],
) -> Done:
    """The cases with what came of each, in this order."""
    begin = (parts, wanted.seed, ready)
    if workers == 1:
        _Worker.begin(*begin)
        yield from map(_Worker.work, numbers)
        return
    at_once = max(1, min(AT_ONCE, len(numbers) // (workers * TIMES)))
    with multiprocessing.get_context("fork").Pool(workers, _Worker.begin, begin) as pool:
        yield from pool.imap(_Worker.work, numbers, at_once)
        pool.close()
        pool.join()  # so that their CPU time is known


def _count_all(result: Result, wanted: Wanted, done: Done) -> None:
    began_s = saved_s = time.monotonic()
    before_s, spent_s = result.took_s, result.cpu_s - _cpu_s()
    try:
        for name, number, came in done:
            _count(result, name, number, came)
            now_s = time.monotonic()
            if now_s > saved_s + SAVED_EVERY_S:
                saved_s = now_s
                result.took_s = round(before_s + now_s - began_s, 1)
                result.save(wanted.out)
                print(f"{result.done:,} of {result.cases:,} cases, {result.failed:,} failed, "
                      f"{result.took_s:,.0f} s", flush=True)  # fmt: skip
        result.finished = True
    finally:
        result.took_s = round(before_s + time.monotonic() - began_s, 1)
        result.cpu_s = round(spent_s + _cpu_s(), 1)
        result.save(wanted.out)


def _cpu_s() -> float:
    """The CPU time of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def _count(result: Result, name: str, number: int, came: Came) -> None:
    counts = result.counts.setdefault(name, {"failed": 0})
    counts[came.kind] = counts.get(came.kind, 0) + 1
    if came.late_s > result.slowest_s.get(name, [0.0])[0]:
        result.slowest_s[name] = [round(came.late_s, 3), number]
    if came.kind == FAILED:
        asked = f"--seed {result.seed} --only {name} --case {number}"
        line = f"python tests/torture {result.attack} {asked}"
        result.fail(Failure(line, f"{name} case {number}: {came.words}"))
