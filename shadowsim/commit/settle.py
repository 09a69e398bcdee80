"""A commit that its owner has left to production in its old config, verified, or to words why not.

Every step is safe to repeat: the configs read from the devices, not the log, decide what is sent,
so it does not matter whether what was last begun has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from shadowsim.commit.devices import Devices, Gone
from shadowsim.commit.generations import (
    CANCELLED,
    HALTED,
    ROLLED_BACK,
    TAKEN_OVER,
    Ending,
    Place,
    end,
    endings,
)
from shadowsim.commit.log import Log, LogAltered, LogWriter, read_log
from shadowsim.commit.owner import FIRST
from shadowsim.commit.terms import MIXED, Terms, read_terms
from shadowsim.errors import Fenced, PersonNeeded, Unreachable
from shadowsim.model.change import Command, Configs, apply, difference

OPEN, NOTHING, GONE = "open", "nothing begun", "gone"

Reach = Callable[[Terms], Devices]
Wait = Callable[[], bool]  # lets some time pass; whether there is patience left


class NotRestored(PersonNeeded):
    """Production could not be brought back to its old config; the words say what is missing."""


@dataclass(frozen=True)
class Standing:
    """How a commit stands. `state` is that of its seal, or OPEN, or NOTHING.

    `generation` is the one that is open, or the last; `position` of production: old, new, mixed,
    gone where it does not exist any more, or "" where nothing was begun. `log` is what the last
    generation wrote.
    """

    state: str
    why: str
    generation: int
    terms: Terms | None
    position: str
    log: Log

    @property
    def settled(self) -> bool:
        return self.state != OPEN


def standing(place: Place, reach: Reach) -> Standing:
    """How a commit stands now; writes nothing. Raises LogAltered, Unreachable, OSError."""
    past = endings(place)
    over = bool(past) and past[-1].state != TAKEN_OVER
    generation = len(past) if over else len(past) + 1
    log = _log(place, generation)
    terms = _terms(place, generation)
    if terms is None:
        last = past[-1] if past else Ending(NOTHING, "the change was never begun", "")
        if last.state not in (CANCELLED, NOTHING):
            raise LogAltered(f"{place.log(FIRST)}: what the commit opened with is gone")
        return Standing(last.state, last.why, generation, None, "", log)
    state, why = (past[-1].state, past[-1].why) if over else (OPEN, "")
    try:
        position = terms.position(reach(terms).read())
    except Gone:
        position = GONE
    return Standing(state, why, generation, terms, position, log)


def settle(place: Place, reach: Reach, why: str, wait: Wait) -> Standing:
    """Take production over and bring it back to its old config, unless the commit has ended.

    One that has ended is left alone: nothing at all is written. `why` is what is written down as
    the reason. A device that does not answer is tried again while `wait()` says so. Raises
    NotRestored, with the commit still open, and LogAltered, LogBroken, Fenced, OSError; a later
    call goes on from wherever this one came to. Fenced says that somebody else has taken over.
    """
    now = standing(place, reach)
    if now.settled or now.terms is None:
        return now
    if now.generation == FIRST:
        place.disk.sync(place.log(FIRST))  # who wrote the terms may have died before it did
    if not _end(place, now.generation, TAKEN_OVER, why):
        return standing(place, reach)
    generation = now.generation + 1
    log = LogWriter(place.disk, place.log(generation), place.key, place.head("log", generation))
    seen = {"records": len(now.log.records), "head": now.log.heads[-1]}
    log.append("took over", **now.terms.data(), why=why, **seen)
    if now.position == GONE:
        gone = "production is gone, and nothing can be taken back in it"
        _end(place, generation, HALTED, gone)
        return standing(place, reach)
    devices = reach(now.terms)
    devices.fence(generation)
    _restore(now.terms, devices, generation, log, wait)
    _end(place, generation, ROLLED_BACK, why)
    return standing(place, reach)


def _end(place: Place, generation: int, state: str, why: str) -> bool:
    """End a generation; False if it has ended otherwise, so that nothing is left to do."""
    ending, mine = end(place, generation, state, why)
    if not mine and ending.state == TAKEN_OVER:
        raise Fenced(f"somebody else has taken production over: {ending.why}")
    return mine


def _restore(terms: Terms, devices: Devices, generation: int, log: LogWriter, wait: Wait) -> None:
    """Go through the armed steps, then through whatever they leave; verify by reading back."""
    for step in terms.signature.ordered():
        _bring(terms, devices, generation, log, wait, step.id, step.commands)
    while True:
        for device, rest in groupby(left(terms, devices.read()), key=lambda c: c.device):
            _bring(terms, devices, generation, log, wait, f"rest of {device}", tuple(rest))
        devices.enforce(generation)
        failed = _verify(terms, devices)
        if not failed or not wait():
            break
    log.append("verified", failed=list(failed))
    if failed:
        raise NotRestored("; ".join(failed))


def _bring(
    terms: Terms, devices: Devices, generation: int, log: LogWriter, wait: Wait,
    what: str, commands: Sequence[Command],
) -> None:  # fmt: skip
    """Have the config of one device as these commands leave it; nothing if it is so already."""
    device = commands[0].device
    while True:
        now = devices.read()
        if device in now:
            after = apply({device: now[device]}, commands)[device]
            if after is now[device]:
                return
            log.append("intend", what=what, device=device, digest=after.digest)
            try:
                devices.write(after, generation)
            except Unreachable:
                pass
            else:
                log.append("did", what=what, device=device, outcome="done")
                return
        if not wait():
            raise NotRestored(f"{device} does not answer: {what} was not taken back")


def left(terms: Terms, now: Configs) -> tuple[Command, ...]:
    """What brings these configs back to the old ones, as far as they are there."""
    mine = {name: now[name] for name in terms.before if name in now}
    return difference(mine, terms.target(mine))


def _verify(terms: Terms, devices: Devices) -> tuple[str, ...]:
    """What of the old config is not in force, by what is read back now."""
    now = devices.read()
    silent = tuple(f"{name} does not answer" for name in terms.before if name not in now)
    mine = {name: now[name] for name in terms.before if name in now}
    return silent + devices.verify(terms.target(mine))


def _terms(place: Place, generation: int) -> Terms | None:
    """What the commit is about; None where it was never opened, so that nothing was sent."""
    for number in range(generation, 0, -1):
        records = _log(place, number).records
        if records:
            return read_terms(records[0], place.key)
    return None


def _log(place: Place, generation: int) -> Log:
    log = read_log(place.disk, place.log(generation), place.key, place.head("log", generation))
    if log.records and log.records[0].kind != ("open" if generation == FIRST else "took over"):
        raise LogAltered(f"{place.log(generation)}: does not begin as a log does")
    return log


__all__ = ["MIXED", "NOTHING", "OPEN", "NotRestored", "Standing", "left", "settle", "standing"]
