"""The failures a user can meet, each with the exit code the command line gives it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class ShadowsimError(Exception):
    """Base of every failure that is told to a person in words, without a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        """The words, in which nothing that was quoted can command a terminal."""
        return "".join(map(_shown, super().__str__()))


def escaped(character: str) -> str:
    """In ASCII, as `\\x1b`."""
    return character.encode("unicode_escape").decode()


def _shown(character: str) -> str:
    harmless = character.isprintable() or character == "\n"
    return character if harmless else escaped(character)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with an input: where it stands and what to do about it."""

    message: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = self.file
        if self.line is not None:
            where = f"{self.file}:{self.line}" if self.file else f"line {self.line}"
        return f"{where}: {self.message}" if where else self.message


class BadInput(ShadowsimError):
    """The input cannot be used; holds every mistake found in it, in order of line."""

    exit_code = 2

    def __init__(self, mistakes: Sequence[Mistake] | str) -> None:
        listed = [Mistake(mistakes)] if isinstance(mistakes, str) else list(mistakes)
        self.mistakes = tuple(sorted(listed, key=lambda m: (m.file, m.line or 0)))
        super().__init__("\n".join(str(m) for m in self.mistakes))


class MachineLacks(ShadowsimError):
    """The machine lacks something; the message says what and how to get it."""

    exit_code = 3


class Unreachable(ShadowsimError):
    """A device did not take a command: its management plane does not answer."""


class PersonNeeded(ShadowsimError):
    """The tool will not decide this alone."""

    exit_code = 4


class Fenced(PersonNeeded):
    """Somebody has taken production over from this process; what it does no longer counts."""


class Settled(Fenced):
    """And has brought that to its end, so that nobody waits for anything of this process."""


def choices(wrong: str, valid: Iterable[str], *, limit: int = 12) -> str:
    """Say what would have been right: a near match of `wrong` first, then the valid names."""
    names = sorted({str(name) for name in valid})
    by_lower = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.6)
    if not close and len(wrong) >= 4:  # a part of a long name, such as a city's
        close = [name for name in by_lower if wrong.lower() in name][:1]
    meant = f"did you mean '{by_lower[close[0]]}'? " if close else ""
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    shown = ", ".join(names[:limit]) + more
    return f"{meant}valid: {shown}" if names else f"{meant}none exist"
