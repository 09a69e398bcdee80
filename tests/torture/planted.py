"""The attack `planted`: bugs planted in the safety code, one at a time, to which attack sees each.

A case is a bug: a copy of the sources with one passage replaced, under some cases of each attack,
then the unit tests, then more cases. It fails if nothing sees the bug.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import shadowsim
from torture import model as programs
from torture import power, steps, system
from torture.campaign import Case, Part, work_off
from torture.plants import PLANTS, Plant
from torture.result import Result, Wanted
from torture.scene import repeatable

COUNTS = {
    "soon": {"first": 400, "devices": 40, "races": 80, "system": 60, "disk": 60, "model": 0},
    "late": {"first": 2_500, "devices": 200, "races": 800, "system": 400, "disk": 800, "model": 4},
}
TESTS = "tests/test_commit.py"
CAUGHT, LONGEST_S = "caught by", 3600.0


def planted(wanted: Wanted) -> Result:
    """The attack `planted`; none of it is quick."""
    return work_off("planted", wanted, {"bugs": Part(0 if wanted.quick else len(PLANTS), seen)})


def seen(seed: int, number: int) -> None:
    """Whether a bug is seen. Raises AssertionError if it is not."""
    plant = PLANTS[number]
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        root = Path(name)
        sow(plant, root)
        words = _attacked(root, seed, "soon") or _tested(root) or _attacked(root, seed, "late")
    print(f"| {number} | {plant.what} | `{plant.file}` | {words or '**nothing**'} |", flush=True)
    if not words:
        raise AssertionError(f"nothing has seen it: {plant.what}")


def sow(plant: Plant, root: Path) -> None:
    """A copy of the sources with this bug in it."""
    here = Path(shadowsim.__file__).parents[1]
    leave = shutil.ignore_patterns("__pycache__")
    for part in ("shadowsim", "tests"):
        shutil.copytree(here / part, root / part, ignore=leave)
    file = root / "shadowsim" / "commit" / plant.file
    text = file.read_text(encoding="utf-8")
    if text.count(plant.old) != 1:
        raise AssertionError(f"{plant.file} has {text.count(plant.old)} times: {plant.old}")
    file.write_text(text.replace(plant.old, plant.new), encoding="utf-8")


def _attacked(root: Path, seed: int, when: str) -> str:
    """By which attack it is seen."""
    script = f"from torture.planted import hunt; hunt({seed}, {when!r})"
    done = _run(root, "-c", script)
    lines = [line for line in done.stdout.splitlines() if line.startswith(CAUGHT)]
    if done.returncode != 0:
        raise AssertionError(f"the hunt itself failed: {done.stderr[-2000:]}")
    return lines[-1].removeprefix(CAUGHT).strip() if lines else ""


def _tested(root: Path) -> str:
    """By which test it is seen."""
    done = _run(root, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", TESTS)
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return f"`{failed[0].removeprefix('tests/')}`" if failed else ""


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{root / 'tests'}:{root}"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root, env=env, capture_output=True, text=True, timeout=LONGEST_S, check=False,
    )  # fmt: skip


def hunt(seed: int, when: str) -> None:
    """In the copy: attack until something is seen, and say by what."""
    for name, part, number, case in _cases(seed, COUNTS[when]):
        try:
            repeatable(case)(seed, number)
        except Exception as error:
            words = " ".join(f"{error}".split())[:120] or type(error).__name__
            print(f"{CAUGHT} `{name} --only {part} --case {number}`: {words}", flush=True)
            return


def _cases(seed: int, counts: Mapping[str, int]) -> Iterator[tuple[str, str, int, Case]]:
    """Cases of all attacks in turn, in an order by chance where neighbours are alike."""
    rng = random.Random(seed)
    first = range(len(steps.firsts()) * steps.POWERS)
    devices = range(len(steps.SILENCES) * len(steps.CUTS))
    for number in rng.sample(first, min(counts["first"], len(first))):
        yield "steps", "first", number, steps.first
    for number in rng.sample(devices, counts["devices"]):
        yield "steps", "devices", number, steps.silent
    for number in range(counts["races"]):
        yield "steps", "races", number, steps.race
    for number in range(counts["system"]):
        yield "system", "all", number, system.simulate
    for number in range(counts["disk"]):
        yield "disk", "journalled", number, partial(power.schedule, any_names=False)
        yield "disk", "any_names", number, partial(power.schedule, any_names=True)
    for number in range(counts["model"]):
        yield "model", "programs", number, partial(programs.batch, steps=programs.QUICK[1])
