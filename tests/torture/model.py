"""The attack `model`: random programs of operations on a commit, beside a model of fifty lines."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from shadowsim.commit.generations import CANCELLED, CONFIRMED, ROLLED_BACK
from shadowsim.commit.guardian import Watching, hear, wait_s
from shadowsim.commit.owner import FIRST, Commit, NotSettled, claim
from shadowsim.commit.settle import NOTHING, OPEN, standing
from shadowsim.errors import Fenced
from shadowsim.model.change import apply_one
from shadowsim.model.config import DeviceConfig
from torture.campaign import Part, work_off
from torture.faults import Kind, Striking
from torture.result import Result, Wanted, Wrong
from torture.scene import (
    CHANGE,
    NEW_CONFIGS,
    OLD_CONFIGS,
    TERMS,
    devices_on,
    place_on,
    repeatable,
    take_back,
)
from torture.simulated_disk import Crash, DiskOf, SimulatedDisk

BATCH = 25  # programs to a case
QUICK, FULL = (300, 50), (5_000, 100)  # programs, operations in each
DEVICES = sorted(OLD_CONFIGS)
HALF_CONFIGS = {
    name: apply_one(config, [c for c in CHANGE.commands if c.device == name][:1])
    for name, config in OLD_CONFIGS.items()
}


def model(wanted: Wanted) -> Result:
    """The attack `model`. A case is a batch of programs, so that its seed says which."""
    programs, steps = QUICK if wanted.quick else FULL
    cases = wanted.cases or programs // BATCH
    part = Part(cases, repeatable(partial(batch, steps=steps)))
    return work_off("model", wanted, {"programs": part})


def batch(seed_: int, number: int, steps: int) -> None:
    run: Any = seed(f"{seed_}/{number}")(Commits)
    run_state_machine_as_test(
        run,
        settings=settings(
            max_examples=BATCH,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


class Model:
    """What a commit is, without disks, logs and seals."""

    def __init__(self) -> None:
        self.state, self.generation = NOTHING, FIRST
        self.configs = dict(OLD_CONFIGS)  # of the devices
        self.until_s = 0.0
        self.unknown = False  # somebody died while taking it back

    @property
    def settled(self) -> bool:
        return self.state != OPEN

    @property
    def owners(self) -> bool:
        """Whether the one who made it may still act."""
        return self.state == OPEN and self.generation == FIRST

    def open(self, until_s: float) -> None:
        self.state, self.until_s = OPEN, until_s

    def write(self, config: DeviceConfig) -> bool:
        if self.owners:
            self.configs[config.hostname] = config
        return self.owners

    def end(self, state: str) -> bool:
        mine = self.owners
        if mine:
            self.state = state
        return mine

    def extend(self, until_s: float) -> None:
        self.until_s = until_s

    def take_back(self) -> None:
        if not self.settled:
            self.state, self.generation, self.unknown = ROLLED_BACK, self.generation + 1, False
            self.configs = dict(OLD_CONFIGS)

    def die(self, state: str, generation: int) -> bool:
        """Somebody died while taking it back, and left this; whether that can be."""
        if self.settled:
            return state == self.state and generation == self.generation
        ahead = generation - self.generation
        if state == ROLLED_BACK:
            self.configs = dict(OLD_CONFIGS)
        self.unknown = (self.unknown or ahead > 0) and state == OPEN
        self.state, self.generation = state, generation
        return ahead in (0, 1) and state in (OPEN, ROLLED_BACK) and (ahead == 1 or state == OPEN)


class Commits(RuleBasedStateMachine):
    """The code, and the model beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        self.disk, self.model = SimulatedDisk(), Model()
        self.mine = DiskOf(self.disk)
        self.commit: Commit | None = None
        self.clock_s = 0.0
        self.guardian: Watching | None = None

    @rule()
    def open(self) -> None:
        place = place_on(self.mine)
        if self.mine.names(place.folder):
            try:
                claim(place)
            except NotSettled:
                return
            raise Wrong("two have claimed one commit")
        claim(place)
        self.mine.make_folder(place.folder / "devices")
        for config in OLD_CONFIGS.values():
            devices_on(self.mine).write(config, FIRST)
        self.commit = Commit(place, TERMS)
        self.guardian = hear(Watching(), b"until %.6f\n" % (self.clock_s + 10))
        self.model.open(self.clock_s + 10)

    @precondition(lambda self: self.model.state not in (NOTHING, OPEN))
    @rule()
    def another(self) -> None:
        """A program goes on with another commit, elsewhere."""
        self.check()
        self.begin()
        self.open()

    @precondition(lambda self: self.commit)
    @rule(device=st.sampled_from(DEVICES), intend=st.booleans(), half=st.booleans())
    def write(self, device: str, intend: bool, half: bool) -> None:
        """Also by an owner that was overtaken: with or without asking first. `half`: only the
        first command, which sets something in passing.

        Who took over may have died before the fence was up; then asking is what keeps it back.
        """
        intend = intend or self.model.unknown
        config = HALF_CONFIGS[device] if half else NEW_CONFIGS[device]
        allowed = self.model.write(config)
        self._expect(allowed, lambda: self._write(device, config, intend))

    def _write(self, device: str, config: Any, intend: bool) -> None:
        commit: Any = self.commit
        if intend or (self.model.generation == FIRST and self.model.settled):
            commit.intend("deploy", device, ["..."])
        commit.write(devices_on(self.mine), config)
        commit.did("deploy", device, "done")

    @precondition(lambda self: self.commit)
    @rule(state=st.sampled_from([CONFIRMED, CANCELLED, ROLLED_BACK]))
    def end(self, state: str) -> None:
        """Only what is true is said: confirmed with all of it, else with nothing of it."""
        true = NEW_CONFIGS if state == CONFIRMED else OLD_CONFIGS
        if self.model.owners and self.model.configs != true:
            return
        commit: Any = self.commit
        self._expect(self.model.end(state), lambda: commit.end(state))

    @precondition(lambda self: self.guardian)
    @rule(for_s=st.floats(0.1, 20.0))
    def extend(self, for_s: float) -> None:
        message = b"until %.6f\n" % (self.clock_s + for_s)
        cut = len(message) // 2
        watching: Any = self.guardian
        self.guardian = hear(hear(watching, message[:cut]), message[cut:])
        self.model.extend(self.clock_s + for_s)

    @precondition(lambda self: self.guardian)
    @rule(for_s=st.floats(0.0, 8.0))
    def let_time_pass(self, for_s: float) -> None:
        self.clock_s += for_s
        left_s = wait_s(self.guardian, self.clock_s)  # type: ignore[arg-type]
        near = abs(self.clock_s - self.model.until_s) < 1e-5  # deadlines are told to a microsecond
        if not near and (left_s == 0.0) != (self.clock_s >= self.model.until_s):
            raise Wrong(f"{left_s} s left at {self.clock_s} s, until {self.model.until_s} s")
        if left_s == 0.0:
            self.resume()

    @precondition(lambda self: self.commit)
    @rule()
    def crash(self) -> None:
        self.commit = None

    @rule(chance=st.integers(0, 2**32))
    def lose_power(self, chance: int) -> None:
        """Whatever was said to be durable is; so nothing changes."""
        self.disk.lose_power(random.Random(chance))
        self.commit = None

    @rule()
    def resume(self) -> None:
        take_back(self.mine)
        self.model.take_back()

    @rule(at=st.integers(0, 120), half=st.booleans(), power=st.integers(0, 9))
    def die_while_taking_back(self, at: int, half: bool, power: int) -> None:
        striking = Striking(at, Kind("kill", "half" if half else "before"), lambda: None)
        try:
            take_back(DiskOf(self.disk, striking.before, striking.after))
        except Crash:
            if power > 4:
                self.disk.lose_power(random.Random(power))
                self.commit = None
            now = standing(place_on(self.mine), lambda terms: devices_on(self.mine))
            if not self.model.die(now.state, now.generation):
                raise Wrong(f"it died, and left {now.state} {now.generation}") from None
        else:
            self.model.take_back()

    def teardown(self) -> None:
        self.check()

    def check(self) -> None:
        """Both say the same."""
        now = standing(place_on(self.mine), lambda terms: devices_on(self.mine))
        if (now.state, now.generation) != (self.model.state, self.model.generation):
            raise Wrong(f"{now.state} {now.generation}; {self.model.state} {self.model.generation}")
        if self.model.state == NOTHING or self.model.unknown:
            return
        found = devices_on(self.mine).read()
        for name, config in found.items():
            if config != self.model.configs[name]:
                raise Wrong(f"{name} has not the config that the model says")

    def _expect(self, allowed: bool, act: Any) -> None:
        try:
            act()
        except Fenced as error:
            if allowed:
                raise Wrong(f"it was refused: {error}") from error
        else:
            if not allowed:
                raise Wrong("who was overtaken, or had ended it, went on")
        self.check()
