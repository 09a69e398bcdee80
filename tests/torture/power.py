"""The attack `disk`: a change, and its taking back, under random faults and losses of power.

Every round strikes one process with up to two faults and may end with a loss of power; the rounds
after the first are those who take the change back. `any_names`: names not synced survive in any
subset, which no journalling file system does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from torture.campaign import Part, work_off
from torture.faults import Kind, Striking, kinds
from torture.result import Result, Wanted, Wrong
from torture.scene import Said, make, permitted, repeatable, settle_and_judge, take_back
from torture.simulated_disk import DiskOf, SimulatedDisk

QUICK, FULL = 10_000, 200_000
MOST_ROUNDS = 4
WHATS = {
    operation: kinds(operation)
    for operation in ("read", "names", "make_folder", "create", "append", "sync", "link", "rename",
                      "remove")
}  # fmt: skip


def power(wanted: Wanted) -> Result:
    """The attack `disk`."""
    cases = wanted.cases or (QUICK if wanted.quick else FULL)
    parts = {
        "journalled": Part(cases - cases // 2, repeatable(partial(schedule, any_names=False))),
        "any_names": Part(cases // 2, repeatable(partial(schedule, any_names=True))),
    }
    return work_off("disk", wanted, parts)


class Chance:
    """The hooks of one process, in which each operation is struck with some probability."""

    def __init__(self, rng: random.Random, often: float, hang: Callable[[], object]) -> None:
        self._rng, self._often, self._hang = rng, often, hang
        self._striking: Striking | None = None
        self._end = rng.randint(0, 130)  # operations, after which it is killed

    def before(self, operation: str, path: str) -> None:
        self._end -= 1
        if self._striking is None or not self._striking.dead:
            self._striking = Striking(0, Kind("", ""), self._hang)
            if self._end < 0:
                self._striking = Striking(0, Kind("kill", "before"), self._hang)
            elif self._rng.random() < self._often:
                kind = self._rng.choice(WHATS[operation])
                self._striking = Striking(0, kind, self._hang)
        self._striking.before(operation, path)

    def after(self, operation: str, path: str) -> None:
        if self._striking is not None:
            self._striking.after(operation, path)


def schedule(seed: int, number: int, *, any_names: bool) -> None:
    rng = random.Random(f"{seed}/{any_names}/{number}")
    disk, said = SimulatedDisk(any_names), Said()
    often = rng.choice([0.0, 0.01, 0.03, 0.1])

    def hung() -> None:
        if rng.random() < 0.5:
            _attempt(disk, lambda: take_back(DiskOf(disk)))
            return
        chance = Chance(rng, often, lambda: None)
        _attempt(disk, lambda: take_back(DiskOf(disk, chance.before, chance.after)))

    for turn in range(rng.randint(1, MOST_ROUNDS)):
        chance = Chance(rng, often, hung)
        mine = DiskOf(disk, chance.before, chance.after)
        if turn == 0:
            _attempt(disk, lambda mine=mine: make(mine, said))  # type: ignore[misc]
        else:
            _attempt(disk, lambda mine=mine: take_back(mine))  # type: ignore[misc]
        if rng.random() < 0.5:
            disk.lose_power(rng)
    settle_and_judge(disk, said)


def _attempt(disk: SimulatedDisk, process: Callable[[], object]) -> None:
    try:
        process()
    except BaseException as error:
        if not permitted(error):
            raise Wrong(f"it ended with {type(error).__name__}: {error}") from error
