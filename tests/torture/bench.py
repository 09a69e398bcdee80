"""A plan for real processes to a case: with a folder, chance, and nobody left over in the end."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torture.campaign import Came, Case, Part, nothing, work_off
from torture.processes import Family, adopt, fork_guardians
from torture.result import Result, Wanted, Wrong
from torture.scratch import scratched

KEY = b"k" * 32
SAID = 2_500  # characters of what the processes said, where they said too much


@dataclass
class Bench:
    """What a plan is given. `late_s`: how late what had a deadline was."""

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


Plan = Callable[[Bench], str]  # how production ended: old or new. Raises Wrong.


def on_benches(
    attack: str,
    plans: Mapping[str, tuple[Plan, float]],
    cases: int,
    wanted: Wanted,
    workers: int,
    ready: Callable[[], object] = nothing,
) -> Result:
    """Work off the cases of every plan (each has its share of them), or the one asked for.

    They wait more than they compute, so a few `workers` do it side by side.
    """
    whole = sum(share for _, share in plans.values())

    def begin() -> None:
        adopt()
        fork_guardians()
        ready()

    with scratched(KEY) as scratch:
        parts = {
            name: Part(max(1, round(cases * share / whole)), _case(attack, name, plan, scratch))
            for name, (plan, share) in plans.items()
        }
        return work_off(attack, wanted, parts, workers=workers, ready=begin)


def _case(attack: str, name: str, plan: Plan, scratch: Path) -> Case:
    def case(seed: int, number: int) -> Came:
        rng = random.Random(f"{seed}/{attack}/{name}/{number}")
        bench = Bench(rng, Path(tempfile.mkdtemp(dir=scratch)), Family())
        try:
            kind = plan(bench)
            if bench.family.reap():
                raise Wrong("somebody is still running")
            if "Traceback" in (said := _said(bench)):
                raise Wrong(f"a traceback: {said[-SAID:]}")
        except Wrong as wrong:
            raise Wrong(f"{wrong} | said: {_said(bench)[-500:]!r}") from wrong
        finally:
            bench.family.end()
            shutil.rmtree(bench.folder, ignore_errors=True)
        return Came(kind, bench.late_s)

    return case


def _said(bench: Bench) -> str:
    return bench.words.read_text("utf-8", "replace") if bench.words.exists() else ""


def instants(rng: random.Random, life_s: float, count: int) -> list[float]:
    """So many instants of a life, and some after it, in order."""
    return sorted(rng.uniform(0.0, 1.1 * life_s) for _ in range(count))
