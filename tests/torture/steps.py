"""Every operation of a change and of its taking back, with every fault; then all pairs of them.

`first`: a fault strikes the one who makes the change. `devices`: devices do not answer while it is
taken back. `races`: who makes it and who takes it back run in turns. `pairs`: after a first fault,
another one strikes the one who takes the change back; states of the disk that are equal are
attacked once. Faults come with and without a loss of power.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from shadowsim.commit.devices import FileDevices
from shadowsim.commit.settle import NotRestored
from shadowsim.errors import Unreachable
from shadowsim.model.change import Configs
from shadowsim.model.config import DeviceConfig
from torture.campaign import Part, work_off
from torture.faults import BEFORE, EXCEPTION, HANG, KILL, Kind, Striking, kinds
from torture.result import Result, Wanted, Wrong
from torture.scene import (
    FOLDER,
    TOKENS,
    Said,
    make,
    never,
    permitted,
    repeatable,
    settle_and_judge,
    take_back,
)
from torture.simulated_disk import DiskOf, SimulatedDisk
from torture.simulated_processes import Machine, Process

POWERS = 4  # 0: none is lost; else one of several ways to lose what was not synced
STRIDE = 7_919  # a prime that divides no number of pairs
QUICK_RACES = 1_000
LONGEST = 120  # operations of who takes it back
PATIENCE = 8  # how often a device is tried again
LATER = 1_000_000  # where the names of a recovery begin


def steps(wanted: Wanted) -> Result:
    """The attack `steps`."""
    parts = {
        "first": Part(len(firsts()) * POWERS, first),
        "devices": Part(len(SILENCES) * len(CUTS), silent),
    }
    races = QUICK_RACES if wanted.quick else len(makings()) * LONGEST
    parts["races"] = Part(races, race)
    if not wanted.quick or wanted.only == "pairs":
        parts["pairs"] = Part(len(pairs().numbers), pair)
    if wanted.cases is not None:
        parts = {n: Part(min(part.cases, wanted.cases), part.case) for n, part in parts.items()}
    parts = {name: Part(part.cases, repeatable(part.case)) for name, part in parts.items()}
    return work_off("steps", wanted, parts)


# -- one fault


class Fault(NamedTuple):
    """Operation `at` is struck."""

    at: int
    kind: Kind


NONE = Fault(-1, Kind(KILL, BEFORE))


@lru_cache(1)
def firsts() -> tuple[Fault, ...]:
    """No fault at all, then every fault of every operation of who makes the change."""
    seen = Striking(*NONE, hang=never)
    make(DiskOf(SimulatedDisk(), seen.before, seen.after), Said())
    return (NONE, *_all(seen.seen))


def _all(operations: list[str]) -> list[Fault]:
    return [Fault(at, kind) for at, operation in enumerate(operations) for kind in kinds(operation)]


def first(seed: int, number: int) -> None:
    fault, power = firsts()[number // POWERS], number % POWERS
    disk, said = struck(fault)
    if power:
        disk.lose_power(random.Random(f"{seed}/{number}"))
    settle_and_judge(disk, said)


def struck(fault: Fault) -> tuple[SimulatedDisk, Said]:
    """What the disk has after this fault, and what was said before it.

    One who hangs goes on when somebody else has taken the change back.
    """
    disk, said = SimulatedDisk(), Said()
    striking = Striking(*fault, hang=lambda: take_back(DiskOf(disk)))
    run(lambda: make(DiskOf(disk, striking.before, striking.after), said))
    return disk, said


def run(process: Callable[[], object]) -> None:
    """Let a process end however it does. Raises Wrong for what no person should see."""
    try:
        process()
    except BaseException as error:
        if not permitted(error):
            raise Wrong(f"it ended with {type(error).__name__}: {error}") from error


# -- devices that do not answer


class Silence(NamedTuple):
    """Write number `at`, and `more` after it, are not answered; `done`: but carried out."""

    at: int
    more: int
    done: bool
    mute: bool  # nor is a device then read


SILENCES = tuple(
    Silence(at, more, done, mute)
    for at in range(8)
    for more in (0, 1, 99)
    for done in (False, True)
    for mute in (False, True)
)
CUTS = range(30, 95, 5)  # after how many operations the one who makes the change is killed


class Silent(FileDevices):
    """Devices of which some do not answer for a while."""

    def __init__(self, disk: DiskOf, silence: Silence) -> None:
        super().__init__(disk, FOLDER / "devices")
        self.silence, self.writes, self.muted = silence, -1, 0

    def read(self) -> Configs:
        found = dict(super().read())
        if self.muted > 0:
            self.muted -= 1
            found.pop("B", None)
        return found

    def write(self, config: DeviceConfig, generation: int) -> None:
        self.writes += 1
        at = self.silence.at
        if at <= self.writes <= at + self.silence.more:
            if self.silence.done:
                super().write(config, generation)
            self.muted = 2 if self.silence.mute else 0
            raise Unreachable(f"{config.hostname} does not answer")
        super().write(config, generation)


def silent(seed: int, number: int) -> None:
    silence, cut = SILENCES[number // len(CUTS)], CUTS[number % len(CUTS)]
    disk, said = struck(Fault(cut, Kind(KILL, BEFORE)))
    tries = iter([True] * PATIENCE)
    devices = Silent(DiskOf(disk), silence)
    try:
        take_back(DiskOf(disk), lambda: next(tries, False), devices)
    except NotRestored:
        if silence.more < 2:
            raise Wrong("there was patience enough, and it was not restored") from None
    settle_and_judge(disk, said)


# -- two at the same time


@lru_cache(1)
def makings() -> tuple[str, ...]:
    """The operations of who makes the change."""
    seen = Striking(*NONE, hang=never)
    make(DiskOf(SimulatedDisk(), seen.before, seen.after), Said())
    return tuple(seen.seen)


def race(seed: int, number: int) -> None:
    """One makes so many operations, the other so many; then the one all of its, then the other.

    The numbers run through all pairs, neighbours far apart, so that the first ones are a sample.
    """
    every = len(makings()) * LONGEST
    first_at, second_at = divmod(number * STRIDE % every, LONGEST)
    disk, said = SimulatedDisk(), Said()
    machine = Machine()

    def paused(process: Process, at: int, for_s: float) -> DiskOf:
        hanging = Striking(at, Kind(HANG, BEFORE), lambda: machine.pause(process, for_s))
        return DiskOf(disk, hanging.before, hanging.after)

    machine.start("makes", lambda process: make(paused(process, first_at, 2.0), said))
    machine.start("takes", lambda process: take_back(paused(process, second_at, 9.0)), 1.0)
    machine.run()
    for process in machine.processes:
        if process.error is not None and not permitted(process.error):
            raise Wrong(f"who {process.name} it ended with {process.error!r}")
    settle_and_judge(disk, said)


# -- two faults


class Pairs(NamedTuple):
    """The states after a first fault, and how many second faults there are up to each."""

    states: tuple[tuple[Fault, int], ...]
    ends: tuple[int, ...]

    @property
    def numbers(self) -> range:
        return range(self.ends[-1])


@lru_cache(1)
def pairs() -> Pairs:
    """All pairs, those that differ: most first faults leave what another has left, too."""
    seen: set[str] = set()
    states: list[tuple[Fault, int]] = []
    sizes: list[int] = []
    for fault in firsts():
        for power in range(POWERS):
            TOKENS.count = 0
            disk, said = _after(fault, power)
            state = f"{disk.state()}{said}"
            if state not in seen:
                seen.add(state)
                states.append((fault, power))
                sizes.append(len(_seconds(disk)))
    return Pairs(tuple(states), tuple(accumulate(sizes)))


def _after(fault: Fault, power: int) -> tuple[SimulatedDisk, Said]:
    disk, said = struck(fault)
    if power:
        disk.lose_power(random.Random(f"pair {fault.at} {power}"))
    TOKENS.count = LATER
    return disk, said


def _seconds(disk: SimulatedDisk) -> list[Fault]:
    """Every fault of every operation of who takes back what this disk has."""
    seen = Striking(*NONE, hang=never)
    copy = disk.copy()
    take_back(DiskOf(copy, seen.before, seen.after))
    return [f for f in _all(seen.seen) if f.kind.what != EXCEPTION]  # INTERRUPT is like it


def pair(seed: int, number: int) -> None:
    which = bisect_right(pairs().ends, number)
    within = number - (pairs().ends[which - 1] if which else 0)
    disk, said = _first_of(which)
    disk = disk.copy()
    TOKENS.count = LATER
    fault = _seconds_of(which)[within]
    TOKENS.count = LATER
    striking = Striking(*fault, hang=lambda: take_back(DiskOf(disk)))
    run(lambda: take_back(DiskOf(disk, striking.before, striking.after)))
    if number % 2 and fault.kind.what != HANG:
        disk.lose_power(random.Random(f"{seed}/{number}"))
    settle_and_judge(disk, said)


@lru_cache(2)
def _first_of(which: int) -> tuple[SimulatedDisk, Said]:
    TOKENS.count = 0
    return _after(*pairs().states[which])


@lru_cache(2)
def _seconds_of(which: int) -> list[Fault]:
    return _seconds(_first_of(which)[0])
