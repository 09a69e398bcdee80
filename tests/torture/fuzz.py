"""Every parser of what strangers write, under millions of nearly good inputs.

Case K of a parser depends on the seed, the parser's name and K alone. A parser passes a case if
it takes it, or refuses it in words a person can read: no other exception, no more than a stated
time and memory, no file opened outside its folder, no program run. What it takes must come back
from where it can be written. Cases are worked off in a process of their own, which may die.
"""

from __future__ import annotations

import contextlib
import difflib
import mmap
import multiprocessing
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from torture.parsers import PARSERS, Parser
from torture.processes import without_cpu_s
from torture.result import Failure, Result, Wanted, begun
from torture.scratch import scratched
from torture.stored import KEY
from torture.watch import Target, Watch, bound_memory, installed, judged, unbound_memory

QUICK, FULL = 200_000, 10_000_000
DEEP = 50_000  # more than any case is nested
ROUND = 50_000  # cases after which the worker is a new one, and all parsers have had their share
HUNG_S = 60.0  # without a sign of life, not counting how long the machine had no CPU for it
SAVED_EVERY_S = 10.0
NEAR_MATCHES = 10_000  # that are remembered
TOLD_EACH = 20  # failures of one parser that are said in one round
KINDS = ("parsed", "refused", "failed")
# Places on the board; DONE has one for each kind.
AT, DONE, SLOWEST_US, SLOWEST, SPENT_US = 0, 1, 4, 5, 6
MOST_SHOWN = 4000


def fuzz(wanted: Wanted) -> Result:
    """The attack `fuzz`."""
    if wanted.only is not None and wanted.only not in PARSERS:
        raise SystemExit(f"there is no parser '{wanted.only}'; there are {', '.join(PARSERS)}")
    parsers = {n: p for n, p in PARSERS.items() if wanted.only in (None, n)}
    if wanted.case is not None:
        return _again(next(iter(parsers)), wanted.case, wanted.seed)
    cases = wanted.cases or (QUICK if wanted.quick else FULL)
    result = begun("fuzz", wanted, cases)
    with scratched(KEY) as scratch:
        workers = wanted.workers or os.cpu_count() or 1
        _prepare_once([*parsers], scratch)
        Campaign(result, shares(parsers, cases), scratch, wanted.out, workers).run()
    return result


def _prepare_once(names: list[str], scratch: Path) -> None:
    """Have all targets prepared by a process without a watch: the first time on a machine that
    compiles kernels, and takes longer than a worker may be silent.
    """
    process = multiprocessing.get_context("fork").Process(target=_prepare, args=(names, scratch))
    process.start()
    process.join()


def _prepare(names: list[str], scratch: Path) -> None:
    for name in names:
        prepared(name, scratch)


def shares(parsers: Mapping[str, Parser], cases: int) -> dict[str, int]:
    """How many of the cases each parser gets, one at least; together they are that many."""
    whole = sum(parser.share for parser in parsers.values())
    found = {name: max(1, cases * parser.share // whole) for name, parser in parsers.items()}
    first = next(iter(found))
    found[first] = max(1, found[first] + cases - sum(found.values()))
    return found


def rng_of(seed: int, parser: str, number: int) -> random.Random:
    return random.Random(f"{seed}/{parser}/{number}")


def line_of(seed: int, parser: str, number: int) -> str:
    return f"python tests/torture fuzz --seed {seed} --only {parser} --case {number}"


class Task(NamedTuple):
    """Cases of one parser in a row, and what had come of it before them."""

    name: str
    start: int
    end: int
    counts: Mapping[str, int]
    spent_s: float

    @classmethod
    def of(cls, name: str, start: int, count: int, result: Result) -> Task:
        before = dict(result.counts.get(name) or dict.fromkeys(KINDS, 0))
        return cls(name, start, start + count, before, result.spent_s.get(name, 0.0))

    def expected_s(self) -> float:
        """What it will take, by what the cases before it took; unknown is long."""
        done = sum(self.counts.values())
        return (self.end - self.start) * (self.spent_s / done if done else 1.0)


class Campaign:
    """Works the cases off, in rounds, and survives its workers."""

    def __init__(
        self,
        result: Result,
        wanted: Mapping[str, int],
        scratch: Path,
        out: Path | None,
        workers: int,
    ) -> None:
        self._result = result
        self._wanted = wanted
        self._scratch = scratch
        self._out = out
        self._workers = workers
        self._saved_s = self._began_s = time.monotonic()
        self._before = (result.took_s, result.cpu_s, time.process_time() + _children_s())

    def run(self) -> None:
        try:
            while left := sum(map(self._left, self._wanted)):
                self._round(max(1, left // ROUND))
                self._say()
            self._result.finished = True
        finally:
            self._save()

    def _round(self, rounds: int) -> None:
        """All parsers get their share of the cases, by new processes."""
        waiting = [Task.of(name, self._done(name), -(-self._left(name) // rounds), self._result)
                   for name in self._wanted]  # fmt: skip
        waiting.sort(key=Task.expected_s)
        idle = [self._fresh() for _ in range(self._workers)]
        busy: dict[Worker, Task] = {}
        try:
            while busy or waiting:
                while idle and waiting:
                    worker, task = idle.pop(), waiting.pop()
                    worker.begin(task.name, task.start, task.end)
                    busy[worker] = task
                wait([worker.here for worker in busy], 0.5)
                for worker in [*busy]:
                    over = worker.over(self._tell)
                    self._note(busy[worker], worker.board)
                    if over:
                        waiting += self._left_by(worker, busy.pop(worker))
                        idle += [
                            Worker(self._scratch, self._result.seed) if worker.died else worker
                        ]
                self._save_sometimes()
        finally:
            for worker in [*idle, *busy]:
                worker.dismiss()

    def _left(self, name: str) -> int:
        return max(0, self._wanted[name] - self._done(name))

    def _done(self, name: str) -> int:
        return sum(self._result.counts.get(name, {}).values())

    def _fresh(self) -> Worker:
        return Worker(self._scratch, self._result.seed)

    def _left_by(self, worker: Worker, task: Task) -> list[Task]:
        """A worker that dies costs the case it died of; what comes after that is to be done."""
        if not worker.died:
            return []
        self._tell(task.name, self._done(task.name), f"the process ended: {worker.died}")
        self._result.counts[task.name]["failed"] += 1
        start = self._done(task.name)
        return [Task.of(task.name, start, task.end - start, self._result)] * (start < task.end)

    def _note(self, task: Task, board: memoryview) -> None:
        """Write down what the board says."""
        name = task.name
        now = {
            kind: task.counts[kind] + int(board[place]) for place, kind in enumerate(KINDS, DONE)
        }
        self._result.counts[name] = now
        self._result.spent_s[name] = round(task.spent_s + int(board[SPENT_US]) / 1e6, 3)
        slowest_s = int(board[SLOWEST_US]) / 1e6
        if slowest_s > self._result.slowest_s.get(name, [0.0])[0]:
            self._result.slowest_s[name] = [round(slowest_s, 4), int(board[SLOWEST])]

    def _tell(self, name: str, number: int, what: str) -> None:
        line = line_of(self._result.seed, name, number)
        self._result.fail(Failure(line, f"{name} case {number}: {what}"))

    def _say(self) -> None:
        done, cases = self._result.done, self._result.cases
        passed_s = self._before[0] + time.monotonic() - self._began_s
        print(f"{done:,} of {cases:,} cases, {self._result.failed:,} failed, {passed_s:,.0f} s",
              flush=True)  # fmt: skip

    def _save_sometimes(self) -> None:
        if time.monotonic() - self._saved_s > SAVED_EVERY_S:
            self._save()
            self._say()

    def _save(self) -> None:
        took_s, cpu_s, then_s = self._before
        self._result.took_s = round(took_s + time.monotonic() - self._began_s, 1)
        self._result.cpu_s = round(cpu_s + time.process_time() + _children_s() - then_s, 1)
        self._result.save(self._out)
        self._saved_s = time.monotonic()


def _children_s() -> float:
    """The CPU time of the workers that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


class Worker:
    """A process that works off cases; the board is memory that it shares with us."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.board = memoryview(mmap.mmap(-1, 4096)).cast("q")
        context = multiprocessing.get_context("fork")
        self.here, there = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work,
            args=(self.here, there, self.board, scratch, seed),
            daemon=True,
        )
        self._process.start()
        there.close()  # so that its end is noticed
        self.died = ""
        self._sign = (0, 0.0)  # the case it is at, and since when

    def begin(self, name: str, start: int, end: int) -> None:
        self.board[:] = memoryview(bytes(4096)).cast("q")
        self.board[AT] = start
        self._sign = (-1, self._lived_s())
        self.here.send((name, start, end))

    def over(self, tell: Any) -> bool:
        """Hear what it has to say; whether it is done, or died (`died` says of what)."""
        try:
            if self.here.poll():
                said = self.here.recv()
                if said is None:
                    return True
                tell(*said)
                return False
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.died = _cause(self._process.exitcode)
            return True
        self._look()
        return False

    def _look(self) -> None:
        """End a process that shows no sign of life."""
        at, since_s = self._sign
        if at != self.board[AT]:
            self._sign = (int(self.board[AT]), self._lived_s())
        elif self._lived_s() - since_s > HUNG_S:
            self._process.kill()

    def _lived_s(self) -> float:
        """A clock that stands still while the process wants a CPU and there is none."""
        return time.monotonic() - without_cpu_s(self._process.pid or 0)

    def dismiss(self) -> None:
        with contextlib.suppress(OSError):
            self.here.send(None)
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"no sign of life for {HUNG_S:g} s" if name == "SIGKILL" else name


def _work(other: Connection, pipe: Connection, board: memoryview, scratch: Path, seed: int) -> None:
    """What a worker does: parts of the cases of parsers, until it is told None."""
    other.close()  # else it would not be noticed that nobody is there any more
    os.chdir(scratch)
    _remember_near_matches()

    watch = installed(scratch)
    targets: dict[str, Target] = {}
    while (asked := pipe.recv()) is not None:
        name, start, end = asked
        unbound_memory()
        if name not in targets:
            targets[name] = prepared(name, scratch)
        bound_memory(targets[name].memory_bytes)
        _cases(pipe, board, watch, (name, targets[name], seed), range(start, end))
        pipe.send(None)


def _remember_near_matches() -> None:
    """Else half the time of a case would go into looking for what the same words may have meant."""
    look = difflib.get_close_matches

    @lru_cache(NEAR_MATCHES)
    def known(word: str, possible: tuple[str, ...], n: int, cutoff: float) -> tuple[str, ...]:
        return tuple(look(word, possible, n, cutoff))

    def remembered(word: Any, possible: Any, n: int = 3, cutoff: float = 0.6) -> list[Any]:
        return [*known(word, tuple(possible), n, cutoff)]

    difflib.get_close_matches = remembered  # type: ignore[assignment]


def _cases(
    pipe: Connection,
    board: memoryview,
    watch: Watch,
    of: tuple[str, Target, int],
    numbers: range,
) -> None:
    name, target, seed = of
    told = 0
    for number in numbers:
        board[AT] = number
        case = target.make(rng_of(seed, name, number))
        began_s = time.process_time()
        kind, words = judged(target, case, watch)
        took_us = int((time.process_time() - began_s) * 1e6)
        board[DONE + KINDS.index(kind)] += 1
        board[SPENT_US] += took_us
        if took_us > board[SLOWEST_US]:
            board[SLOWEST_US], board[SLOWEST] = took_us, number
        if kind == "failed" and told < TOLD_EACH:
            told += 1
            pipe.send((name, number, words))


def prepared(name: str, scratch: Path) -> Target:
    """The target of a parser, in a folder of its own."""
    folder = scratch / name
    folder.mkdir(exist_ok=True)
    return PARSERS[name].prepare(folder)


def _again(name: str, number: int, seed: int) -> Result:
    """One case, here and now, with all there is to see of it."""
    result = Result("fuzz", seed, 1, {name: dict.fromkeys(KINDS, 0)})
    began_s = time.monotonic()
    with scratched(KEY) as scratch:
        os.chdir(scratch)
        watch = installed(scratch)
        target = prepared(name, scratch)
        bound_memory(target.memory_bytes)
        case = target.make(rng_of(seed, name, number))
        print(f"the case: {_shown(case)}", flush=True)
        kind, words = judged(target, case, watch)
        result.counts[name][kind] += 1
        print(f"{kind}: {words}", flush=True)
        if kind == "failed":
            _trace(target, case, watch)
            result.failures.append(Failure(line_of(seed, name, number), words))
        os.chdir("/")
    result.took_s = round(time.monotonic() - began_s, 1)
    return result


def _shown(case: Any) -> str:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(DEEP)
    try:
        return ascii(case)[:MOST_SHOWN]
    finally:
        sys.setrecursionlimit(limit)  # the case itself has what everybody has


def _trace(target: Target, case: Any, watch: Watch) -> None:
    """Where it comes from, for whoever mends it."""
    signal.setitimer(signal.ITIMER_PROF, target.slow_s)
    watch.on = True
    try:
        target.parse(case)
    except BaseException:
        watch.on = False
        traceback.print_exc(limit=-12, file=sys.stdout)
    finally:
        watch.on = False
        signal.setitimer(signal.ITIMER_PROF, 0.0)
