"""Numbered cases of an attack's parts to a result, from where an earlier run left off."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torture.result import Failure, Result, Wanted, begun
from torture.scene import TOKENS, Wrong

SAVED_EVERY_S = 10.0
SHOWN = 300

Case = Callable[[int, int], None]  # a seed and a number; raises Wrong


class Part(NamedTuple):
    """So many cases of one kind."""

    cases: int
    case: Case


def work_off(attack: str, wanted: Wanted, parts: Mapping[str, Part]) -> Result:
    """All cases of these parts, or the one that is wanted."""
    if wanted.only is not None and wanted.only not in parts:
        raise SystemExit(f"there is no part '{wanted.only}'; there are {', '.join(parts)}")
    chosen = {name: part for name, part in parts.items() if wanted.only in (None, name)}
    if wanted.case is not None:
        name, part = next(iter(chosen.items()))
        result = Result(attack, wanted.seed, 1)
        one_case(result, name, part.case, wanted.case, verbose=True)
        return result
    result = begun(attack, wanted, sum(part.cases for part in chosen.values()))
    for name, part in chosen.items():
        _part(result, wanted, name, part)
    result.finished = True
    result.save(wanted.out)
    return result


def _part(result: Result, wanted: Wanted, name: str, part: Part) -> None:
    began_s = saved_s = time.monotonic()
    cpu_s = time.process_time()
    took_s, spent_s = result.took_s, result.cpu_s
    for number in range(sum(result.counts.get(name, {}).values()), part.cases):
        one_case(result, name, part.case, number)
        now_s = time.monotonic()
        result.took_s = round(took_s + now_s - began_s, 1)
        result.cpu_s = round(spent_s + time.process_time() - cpu_s, 1)
        if now_s > saved_s + SAVED_EVERY_S:
            saved_s = now_s
            result.save(wanted.out)
            print(f"{name}: {number + 1:,} of {part.cases:,} cases, {result.failed:,} failed, "
                  f"{result.took_s:,.0f} s", flush=True)  # fmt: skip


def one_case(result: Result, name: str, case: Case, number: int, verbose: bool = False) -> None:
    """Do a case, and count what came of it."""
    counts = result.counts.setdefault(name, {"passed": 0, "failed": 0})
    TOKENS.count = 0
    try:
        case(result.seed, number)
    except Exception as error:
        counts["failed"] += 1
        asked = f"--seed {result.seed} --only {name} --case {number}"
        line = f"python tests/torture {result.attack} {asked}"
        what = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
        result.fail(Failure(line, f"{name} case {number}: {what[:SHOWN]}"))
        if verbose:
            traceback.print_exc()
    else:
        counts["passed"] += 1
