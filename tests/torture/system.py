"""The attack `system`: a run, its guardians and a person on one machine, from a seed.

Every step (a record, a name, a message, a device that is read or written) is faulty with some
probability: operations fail, processes are killed, or stopped and continued late; devices do not
answer; messages are late or lost; the power fails. What each process does is the code of shadowsim
on the simulated disk; only listening and waiting are done here, as in `guardian.main` and
`rollback_command`.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from shadowsim.commit.devices import FileDevices
from shadowsim.commit.generations import CONFIRMED, ROLLED_BACK, endings
from shadowsim.commit.guard import NotArmed
from shadowsim.commit.guardian import GIVES_WAY, LATE, PATIENCE_S, RETRY_S, Watching, hear, wait_s
from shadowsim.commit.settle import settle, standing
from shadowsim.errors import Fenced, ShadowsimError, Unreachable
from shadowsim.model.change import Configs
from shadowsim.model.config import DeviceConfig
from torture.campaign import Part, work_off
from torture.result import Result, Wanted, Wrong
from torture.scene import (
    FOLDER,
    INJECTED,
    NEW_CONFIGS,
    OLD_CONFIGS,
    Said,
    devices_on,
    make,
    permitted,
    place_on,
    repeatable,
    settle_and_judge,
)
from torture.simulated_disk import Crash, DiskOf, Half, SimulatedDisk
from torture.simulated_processes import Machine, Process

QUICK, FULL = 1_000, 100_000
LEASE_S, SOAK_S, EVERY_S = 6.0, 2.0, 1.0
ARMED_S = 20.0
OPERATION_S = 0.001
LATE_S = 2.0  # how late nobody may be who was not hindered
WAIT_S = 10.0  # how long a person leaves it to a guardian
STEPS = frozenset({"append", "link", "rename"})
RATES = (0.25, 0.25, 0.05, 0.01)
# What a faulty step is, and how often.
FAULTS = (
    ("slow", 30), ("EIO", 10), ("ENOSPC", 5), ("silent", 15), ("stop", 15), ("stop other", 8),
    ("kill", 8), ("kill other", 8), ("power", 1),
)  # fmt: skip


def system(wanted: Wanted) -> Result:
    """The attack `system`."""
    cases = wanted.cases or (QUICK if wanted.quick else FULL)
    return work_off("system", wanted, {"all": Part(cases, repeatable(simulate))})


def simulate(seed: int, number: int) -> None:
    house = House(random.Random(f"{seed}/{number}"))
    house.run()
    for process in house.machine.processes:
        error = process.error
        if error is not None and not permitted(error):
            raise Wrong(f"{process.name} ended with {type(error).__name__}: {error}") from error
    if house.wrong:
        raise Wrong("; ".join(house.wrong))
    settle_and_judge(house.disk, house.said)


def claims(path: str) -> bool:
    """Whether that is how a folder is claimed, before there is anything to go wrong (`steps`)."""
    return path.endswith("/claimed")


@dataclass
class House:
    """One machine and all that happens on it."""

    rng: random.Random
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    machine: Machine = field(default_factory=Machine)
    said: Said = field(default_factory=Said)
    wrong: list[str] = field(default_factory=list)
    silent_until_s: float = 0.0
    fenced: set[str] = field(default_factory=set)
    hindered: set[str] = field(default_factory=set)
    stopped: dict[str, float] = field(default_factory=dict)  # until when, by name
    holder: Process | None = None
    guards: int = 0

    def __post_init__(self) -> None:
        self.rate = self.rng.choice(RATES)
        self.disk.any_names = self.rng.random() < 0.3

    def run(self) -> None:
        rng = self.rng
        owner = Owner(self)
        self.machine.start("owner", owner.body)
        for number in range(rng.choice([0, 0, 1, 2])):
            force = rng.random() < 0.5
            self.machine.start(
                f"person {number}",
                lambda process, force=force: self.resume(process, force),  # type: ignore[misc]
                rng.uniform(0.0, 40.0),
            )
        self.machine.run()

    # -- what the machine does to a process

    def disk_of(self, process: Process) -> DiskOf:
        def before(operation: str, path: str) -> None:
            self.machine.pause(process, OPERATION_S)
            self.wait_while_stopped(process)
            if operation in STEPS and not claims(path) and self.rng.random() < self.rate:
                self.strike(process, filling=operation == "append")

        def after(operation: str, path: str) -> None:
            if operation == "link" and not claims(path):
                self.look(path)

        return DiskOf(self.disk, before, after)

    def strike(self, process: Process, *, filling: bool = False) -> None:
        """A fault strikes here. Raises what comes of it."""
        rng, machine = self.rng, self.machine
        names, weights = zip(*FAULTS, strict=True)
        fault = rng.choices(names, weights)[0]
        other = rng.choice(machine.processes)
        if fault == "slow":
            machine.pause(process, rng.uniform(0.0, 0.05))
        elif fault in ("EIO", "ENOSPC"):
            self.hindered.add(process.name)
            error = OSError(getattr(errno, fault), INJECTED)
            raise Half(rng.random(), error) if filling and rng.random() < 0.5 else error
        elif fault == "silent":
            self.silent_until_s = machine.now_s + rng.choice([0.1, 1.0, 5.0, 90.0])
        elif fault == "stop":
            self.hindered.add(process.name)
            machine.pause(process, rng.choice([0.5, 3.0, 10.0, 40.0]))
        elif fault == "stop other":
            self.hindered.add(other.name)
            self.stopped[other.name] = machine.now_s + rng.choice([0.5, 3.0, 10.0, 40.0])
        elif fault == "kill":
            machine.kill(process)
            raise Half(rng.random(), Crash()) if filling and rng.random() < 0.5 else Crash
        elif fault == "kill other":
            self.hindered.add(other.name)
            machine.kill(other)
            if other is process:
                raise Crash
        else:
            for each in machine.processes:
                if not each.name.startswith("person") or self.begun(each):
                    self.hindered.add(each.name)
                    machine.kill(each)
            self.disk.lose_power(rng)
            raise Crash

    def begun(self, process: Process) -> bool:
        return process.token > 0

    def look(self, path: str) -> None:
        """Whenever a generation ends: what is said of production then must be true."""
        quiet = DiskOf(self.disk)
        past = endings(place_on(quiet))
        logs = [int(n[:-4]) for n in quiet.names(FOLDER) if n.endswith(".log")]
        if max(logs, default=1) > len(past) + 1:
            self.wrong.append("somebody writes in a generation that is not open yet")
        if len(past) != int(path.rpartition("/")[2].removesuffix(".seal")):
            self.wrong.append("a generation was ended that was not open")
        wanted = {CONFIRMED: NEW_CONFIGS, ROLLED_BACK: OLD_CONFIGS}.get(past[-1].state)
        if wanted is not None and dict(devices_on(quiet).read()) != dict(wanted):
            self.wrong.append(f"production was not so when it was {past[-1].state}")

    # -- who takes it back

    def patience(self, process: Process) -> Callable[[], bool]:
        end_s = self.machine.now_s + PATIENCE_S

        def patient() -> bool:
            self.machine.pause(process, RETRY_S)
            return self.machine.now_s < end_s

        return patient

    def devices(self, process: Process) -> Devices:
        return Devices(self, process)

    def guard(self, process: Process, owner: Owner) -> None:
        """A guardian, as in `guardian.main`."""
        machine, disk = self.machine, self.disk_of(process)
        place = place_on(disk)
        now = Watching()
        while not now.why:
            data = machine.receive(process, wait_s(now, machine.now_s))
            self.wait_while_stopped(process)
            if data is None:
                now = Watching(now.until_s, LATE)
                break
            was_armed = now.until_s is not None
            now = hear(now, data)
            if not was_armed and now.until_s is not None and not now.why:
                standing(place, lambda terms: self.devices(process))
                if self.holder is None or self.holder.ended:
                    self.holder = process
                if owner.process is not None and not owner.process.ended:
                    machine.send(owner.process, b"armed\n")
        if now.until_s is None:
            return
        began_s = machine.now_s
        free = process.name not in self.hindered and self.silent_until_s < began_s
        silent_s = self.silent_until_s
        if now.why == LATE and free and began_s > now.until_s + LATE_S / 2:
            self.wrong.append("the guardian has noticed the deadline late")
        settled = self.take_back(process, now.why, self.patience(process))
        if not free or process.name in self.hindered or self.silent_until_s != silent_s:
            return
        if not settled:
            self.wrong.append(f"{process.name} has given up unhindered")
        if machine.now_s > began_s + LATE_S and process.name not in self.fenced:
            self.wrong.append(f"{process.name} took {machine.now_s - began_s:.1f} s unhindered")

    def take_back(self, process: Process, why: str, patient: Callable[[], bool]) -> bool:
        """As in `guardian.take_back`; whether it is settled."""
        place = place_on(self.disk_of(process))
        while True:
            try:
                return settle(place, lambda terms: self.devices(process), why, patient).settled
            except Fenced:
                self.fenced.add(process.name)
                if not all(patient() for _ in range(GIVES_WAY)):
                    return False
            except (ShadowsimError, OSError) as error:
                if not permitted(error):
                    raise
                if not patient():
                    return False

    def wait_while_stopped(self, process: Process) -> None:
        until_s = self.stopped.pop(process.name, 0.0)
        if until_s > self.machine.now_s:
            self.machine.pause(process, until_s - self.machine.now_s)

    def resume(self, process: Process, force: bool) -> None:
        """A person resumes, as `shadowsim rollback --resume` does."""
        place = place_on(self.disk_of(process))
        until_s = self.machine.now_s + (0.0 if force else WAIT_S)
        while not force and self.holder is not None and not self.holder.ended:
            if standing(place, lambda terms: self.devices(process)).settled:
                return
            if self.machine.now_s > until_s:
                return
            self.machine.pause(process, 0.1)
        settle(place, lambda terms: self.devices(process), "resumed", self.patience(process))


class Devices(FileDevices):
    """Production's devices, as one process reaches them."""

    def __init__(self, house: House, process: Process) -> None:
        super().__init__(house.disk_of(process), FOLDER / "devices")
        self._house, self._process = house, process

    def read(self) -> Configs:
        found = dict(super().read())
        if self._house.machine.now_s < self._house.silent_until_s:
            found.pop("B", None)
        return found

    def write(self, config: DeviceConfig, generation: int) -> None:
        house = self._house
        if house.machine.now_s < house.silent_until_s and config.hostname == "B":
            if house.rng.random() < 0.3:
                super().write(config, generation)
            raise Unreachable("B does not answer")
        super().write(config, generation)


class Owner:
    """A run, with its guardian kept informed as `Guard` does."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.process: Process | None = None
        self._guardian: Process | None = None

    def body(self, process: Process) -> None:
        self.process = process
        process.at_end.append(self._hang_up)
        self._start()
        make(self._house.disk_of(process), self._house.said, self._arm, self._soak)

    def _start(self) -> None:
        house = self._house
        house.guards += 1
        if self._guardian is not None:
            self._hang_up()
        self._guardian = house.machine.start(
            f"guardian {house.guards}", lambda process: house.guard(process, self), 0.2
        )

    def _hang_up(self) -> None:
        if self._guardian is not None:
            self._house.machine.send(self._guardian, b"")

    def _arm(self) -> None:
        self._tell()
        machine, process = self._house.machine, self._running
        if machine.receive(process, ARMED_S) != b"armed\n":
            machine.kill(self._guardian)  # type: ignore[arg-type]
            raise NotArmed("the guardian did not arm the rollback")

    def _soak(self) -> None:
        house = self._house
        end_s = house.machine.now_s + SOAK_S
        while house.machine.now_s < end_s:
            house.machine.pause(self._running, EVERY_S)
            house.wait_while_stopped(self._running)
            if house.rng.random() < house.rate:
                house.strike(self._running)
            if self._guardian is not None and self._guardian.ended:
                self._start()
                self._arm()
            elif house.rng.random() >= house.rate / 2:  # else it is lost
                self._tell()

    def _tell(self) -> None:
        until_s = self._house.machine.now_s + LEASE_S
        if self._guardian is not None and not self._guardian.ended:
            self._house.machine.send(self._guardian, b"until %.6f\n" % until_s)

    @property
    def _running(self) -> Process:
        if self.process is None:
            raise RuntimeError("it has not begun")
        return self.process
