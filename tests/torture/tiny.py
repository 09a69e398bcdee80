"""A small change to a few devices, deployed as a run does it: under the real hold, quickly."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from shadowsim.commit import hold as holds
from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import CONFIRMED, ROLLED_BACK, Place
from shadowsim.commit.guard import Guard
from shadowsim.commit.reach import FILES, reach_in
from shadowsim.commit.settle import Standing, standing
from shadowsim.errors import Fenced
from shadowsim.model.change import Change, Command, Configs, apply, parse_config, parse_script
from shadowsim.model.config import DeviceConfig
from shadowsim.rollback.key import installation_key
from shadowsim.rollback.signature import RollbackSignature
from torture.armed import armed

Say = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """A change, where it is deployed, and how long its deployment dawdles between its steps."""

    change: Change
    before: Configs
    signature: RollbackSignature
    folder: Path
    lease_s: float
    pauses_s: tuple[float, ...]
    back: bool  # it is taken back by the run itself

    @property
    def place(self) -> Place:
        found = holds.commit_in(holds.beside(self.folder))
        return Place(RealDisk(), found or self.folder, installation_key())

    def standing(self) -> Standing:
        """How its commit stands. Its words come from a process of its own elsewhere."""
        return standing(self.place, reach_in(self.place.folder))


def job(rng: random.Random, folder: Path, lease_s: float, pause_s: float = 0.002) -> Job:
    """A change of two to five devices, whose names are not all harmless.

    A port of the first is shut in passing, from the first command to the last.
    """
    names = rng.sample(["A", "b-2", "C_3", "D.e", "x:y/0", "North", "Z"], rng.randint(2, 5))
    before = {
        name: parse_config(f"hostname {name}\ninterface to-{name}\n ip ospf cost 10\n")
        for name in names
    }
    parts = [f"device {name}\ninterface to-{name}\n ip ospf cost {rng.randint(11, 999)}\n"
             + " shutdown\n" * (rng.random() < 0.3) for name in names]  # fmt: skip
    port = f"device {names[0]}\ninterface to-{names[0]}\n"
    script = [f"{port} shutdown\n", *parts[1:], parts[0], f"{port} no shutdown\n"]
    change = Change("a tiny change", parse_script("".join(script)))
    signature = armed(change, before)
    pauses = tuple(rng.uniform(0, pause_s) for _ in range(2 * len(names) + 2))
    return Job(change, before, signature, folder, lease_s, pauses, rng.random() < 0.25)


def batches(change: Change) -> list[tuple[Command, ...]]:
    """What is sent at once, in order: commands of one device."""
    return [tuple(some) for _, some in groupby(change.commands, key=lambda c: c.device)]


class Production:
    """Devices that do at once what they are told."""

    def __init__(self, configs: Configs) -> None:
        self._configs = dict(configs)
        self._keep: Callable[[DeviceConfig], None] = lambda config: None

    def entrust(
        self,
        generation: int,
        keep: Callable[[DeviceConfig], None],
        lend: object,
        still: Callable[[], None],
    ) -> Mapping[str, str]:
        self._keep, self.still = keep, still
        return FILES

    def apply(self, commands: Sequence[Command]) -> None:
        after = apply(self._configs, commands)
        for name, config in after.items():
            if config is not self._configs[name]:
                self._keep(config)
        self._configs = dict(after)


class _Told(Guard):
    """The guard of a run that says who its guardian is."""

    say: Say
    longest_s = 0.0  # between two signs of life

    def gap_s(self) -> float:
        """The longest so far that it was without a sign of life, if it is without one now, too."""
        self.longest_s = max(self.longest_s, time.monotonic() - self._told_s)
        return self.longest_s

    def _tell(self, for_s: float | None = None) -> bool:
        if self._armed:
            self.gap_s()
        return super()._tell(for_s)

    def _start(self, for_s: float | None = None) -> None:
        super()._start(for_s)
        self.say("guardian", self.pid)


def _nothing(pid: int) -> None: ...


@dataclass(frozen=True)
class Hooks:
    """What is done at instants of a deployment; each is told who guards it then."""

    waking: Callable[[int], None] = _nothing  # before the guardian is looked after
    sending: Callable[[int], None] = _nothing  # right before a command is sent
    ending: Callable[[int], None] = _nothing  # right before it is confirmed
    ended: Callable[[int], None] = _nothing  # and right after


NO_HOOKS = Hooks()


def deploy(job: Job, say: Say, hooks: Hooks = NO_HOOKS) -> int:
    """Be the run that deploys it."""
    _Told.say = staticmethod(say)  # type: ignore[assignment]
    holds.Guard = _Told  # type: ignore[misc]
    production = Production(job.before)
    pauses = iter(job.pauses_s)
    with holds.held(job.folder, installation_key(), job.lease_s) as hold:
        try:
            say("arming")
            hold.arm(production, job.change, job.before, job.signature)  # type: ignore[arg-type]
            say("armed")
            for commands in batches(job.change):
                _dawdle(hold, next(pauses))
                hooks.waking(hold._guard.pid)
                hold.intend("deploy", commands[0].device, [str(c) for c in commands])
                hooks.sending(hold._guard.pid)
                production.apply(commands)
                say("sent", os.getpid())
            say("ending")
            _dawdle(hold, next(pauses))
            hooks.ending(hold._guard.pid)
            _end(job, hold, production)
            hooks.ended(hold._guard.pid)
            say("ended")
        except Fenced as error:
            gap_s = hold._guard.gap_s()  # type: ignore[attr-defined]
            state, _configs = hold.taken()
            say("fenced", state, gap_s)
            print(error, file=sys.stderr)
            return Fenced.exit_code
    return 0


def _dawdle(hold: holds.Held, for_s: float) -> None:
    """Let time pass as a run does: with signs of life."""
    until_s = time.monotonic() + for_s
    while True:
        hold.extend()
        if (left_s := until_s - time.monotonic()) <= 0:
            return
        time.sleep(min(0.01, left_s))


def _end(job: Job, hold: holds.Held, production: Production) -> None:
    if not job.back:
        hold.end(CONFIRMED)
        return
    for step in job.signature.ordered():
        hold.intend(step.id, step.device, [c.line for c in step.commands])
        production.apply([line.value() for line in step.commands])
    hold.end(ROLLED_BACK)


def wanting(job: Job, now: Standing, acknowledged: bool) -> str:
    """What is wrong with how production ended, in words; "" if nothing is."""
    wanted = "new" if now.state == CONFIRMED else "old"
    if not now.settled:
        return f"not settled: {now.state}, {now.position or 'untouched'}"
    if now.position not in (wanted, "" if wanted == "old" else wanted):
        return f"{now.state}, but production is {now.position}"
    if acknowledged and now.state != (ROLLED_BACK if job.back else CONFIRMED):
        return f"it was acknowledged, but stands as {now.state}"
    return ""


def told(words: Path) -> str:
    """What the processes of a case have said to a person."""
    return words.read_text("utf-8", "replace") if words.exists() else ""


__all__ = ["Hooks", "Job", "Production", "deploy", "job", "told", "wanting"]
