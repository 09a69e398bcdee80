"""Cases that wait more than they compute to their results, by a few workers side by side.

The results of a part are counted in the order of its cases, so a campaign that was interrupted
goes on where its counts end.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torture.processes import Family, adopt, fork_guardians
from torture.result import Failure, Result, Wanted, begun

SAVED_EVERY_S = 10.0
SAID_EVERY = 500  # cases


class Broken(Exception):
    """What must not happen has happened, in words."""


@dataclass
class Bench:
    """What a case is given. `slow_s`: how late, in seconds, what had a deadline was."""

    rng: random.Random
    folder: Path
    family: Family
    late_s: float = 0.0

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def words(self) -> Path:
        return self.folder / "words"


Part = Callable[[Bench], str]  # how production ended: old or new. Raises Broken.


def campaign(
    attack: str,
    parts: Mapping[str, tuple[Part, float]],
    cases: int,
    wanted: Wanted,
    workers: int,
    ready: Callable[[], object] = lambda: None,
) -> Result:
    """Work off the cases of every part (each has its share of them), or the one asked for.

    `ready` is called in every worker before its first case.
    """
    if wanted.only is not None and wanted.only not in parts:
        raise SystemExit(f"there is no part '{wanted.only}'; there are {', '.join(parts)}")
    chosen = {n: p for n, p in parts.items() if wanted.only in (None, n)}
    result = begun(attack, wanted, cases)
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="torture-", dir=place) as scratch:
        os.environ["SHADOWSIM_KEY"] = str(Path(scratch) / "key")
        if wanted.case is not None:
            numbers = [(name, wanted.case) for name in chosen]
            result = Result(attack, wanted.seed, 1)
        else:
            numbers = _numbers(chosen, cases, result)
        _Worker.attack, _Worker.seed, _Worker.scratch = attack, wanted.seed, Path(scratch)
        _Worker.parts = {name: part for name, (part, _) in chosen.items()}
        _Worker.ready = staticmethod(ready)  # type: ignore[assignment]
        _work_off(result, numbers, wanted, workers if wanted.case is None else 1)
    result.finished = wanted.case is None
    result.save(wanted.out)
    return result


def _numbers(
    parts: Mapping[str, tuple[Part, float]], cases: int, result: Result
) -> list[tuple[str, int]]:
    """What is left to do: of every part evenly, in the order of its cases."""
    whole = sum(share for _, share in parts.values())
    places = []
    for name, (_, share) in parts.items():
        count = max(1, round(cases * share / whole))
        done = sum(result.counts.get(name, {}).values())
        places += [((number + 0.5) / count, name, number) for number in range(done, count)]
    return [(name, number) for _, name, number in sorted(places)]


def _work_off(result: Result, numbers: list[tuple[str, int]], wanted: Wanted, workers: int) -> None:
    began_s = saved_s = time.monotonic()
    before_s = result.took_s
    with multiprocessing.get_context("fork").Pool(workers, _Worker.begin) as pool:
        for done, (name, number, kind, words, late_s) in enumerate(
            pool.imap(_Worker.work, numbers), 1
        ):
            counts = result.counts.setdefault(name, {"old": 0, "new": 0, "failed": 0})
            counts[kind] += 1
            if late_s > result.slowest_s.get(name, [0.0])[0]:
                result.slowest_s[name] = [round(late_s, 3), number]
            if kind == "failed":
                line = f"python tests/torture {result.attack} --seed {result.seed}"
                result.fail(Failure(f"{line} --only {name} --case {number}", f"{name}: {words}"))
            result.took_s = round(before_s + time.monotonic() - began_s, 1)
            if done % SAID_EVERY == 0 or done == len(numbers):
                print(f"{result.done:,} cases, {result.failed:,} failed, {result.took_s:,.0f} s",
                      flush=True)  # fmt: skip
            if time.monotonic() > saved_s + SAVED_EVERY_S:
                saved_s = time.monotonic()
                result.save(wanted.out)


class _Worker:
    """What the workers were forked with."""

    attack: str
    parts: Mapping[str, Part]
    seed: int
    scratch: Path

    ready: Callable[[], object]

    @classmethod
    def begin(cls) -> None:
        adopt()
        fork_guardians()
        cls.ready()

    @classmethod
    def work(cls, one: tuple[str, int]) -> tuple[str, int, str, str, float]:
        name, number = one
        rng = random.Random(f"{cls.seed}/{cls.attack}/{name}/{number}")
        folder = Path(tempfile.mkdtemp(dir=cls.scratch))
        bench = Bench(rng, folder, Family())
        try:
            kind, words = cls.parts[name](bench), ""
            if bench.family.reap():
                raise Broken("somebody is still running")
            if "Traceback" in (said := _read(bench.words)):
                raise Broken(f"a traceback: {said[-2500:]}")
        except Broken as broken:
            said = _read(bench.words)
            kind, words = "failed", f"{broken} | said: {said[-500:]!r}"
        finally:
            bench.family.end()
        shutil.rmtree(folder, ignore_errors=True)
        return name, number, kind, words, bench.late_s


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""


def instants(rng: random.Random, life_s: float, count: int) -> list[float]:
    """So many instants of a life, and some after it, in order."""
    return sorted(rng.uniform(0.0, 1.1 * life_s) for _ in range(count))
