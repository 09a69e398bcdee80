"""A fault and the operation that it strikes, to what that does to the process."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from torture.scene import INJECTED, Injected
from torture.simulated_disk import Crash, Half

BEFORE, HALF, AFTER = "before", "half", "after"
KILL, EXCEPTION, INTERRUPT, EIO, ENOSPC, HANG = (
    "kill", "exception", "interrupt", "EIO", "ENOSPC", "hang",
)  # fmt: skip
READING = frozenset({"read", "names"})
FILLING = frozenset({"create", "append"})


class Kind(NamedTuple):
    """What strikes, and when."""

    what: str
    when: str


def kinds(operation: str) -> tuple[Kind, ...]:
    """All that can strike an operation. What comes before the next one is not told apart from
    what comes after this one where nothing lies between.
    """
    found = [Kind(what, BEFORE) for what in (KILL, EXCEPTION, INTERRUPT, EIO, HANG)]
    if operation in READING:
        return tuple(found)
    found += [Kind(what, AFTER) for what in (KILL, EXCEPTION, INTERRUPT, HANG)]
    if operation != "sync":  # one that fails has not been done: see `SimulatedDisk`
        found += [Kind(EIO, AFTER), Kind(ENOSPC, BEFORE)]
    if operation in FILLING:
        found += [Kind(what, HALF) for what in (KILL, INTERRUPT, EIO, ENOSPC)]
    return tuple(found)


@dataclass
class Striking:
    """The hooks of one process: at operation number `at` the fault of this kind strikes."""

    at: int
    kind: Kind
    hang: Callable[[], object]
    count: int = -1
    dead: bool = False
    seen: list[str] = field(default_factory=list)

    def before(self, operation: str, path: str) -> None:
        if self.dead:
            raise Crash
        self.count += 1
        self.seen.append(operation)
        if self.count != self.at:
            return
        if self.kind.when == BEFORE or (self.kind.when == HALF and operation not in FILLING):
            self._strike()
        elif self.kind.when == HALF:
            self.dead = self.kind.what == KILL
            raise Half(0.5, self._error())

    def after(self, operation: str, path: str) -> None:
        if self.count == self.at and self.kind.when == AFTER:
            self._strike()

    def _strike(self) -> None:
        if self.kind.what == HANG:
            self.hang()
            return
        self.dead = self.kind.what == KILL
        raise self._error()

    def _error(self) -> BaseException:
        if self.kind.what in (EIO, ENOSPC):
            return OSError(getattr(errno, self.kind.what), INJECTED)
        return {KILL: Crash, EXCEPTION: Injected, INTERRUPT: KeyboardInterrupt}[self.kind.what]()
