"""Mistakes found one after the other to one list, each at its line of the scenario file."""

from __future__ import annotations

from collections.abc import Iterable

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.scenario.yamlfile import Document, Path, shorten

MAX_FINDINGS = 200
MAX_LENGTH = 1_000
MAX_COMPARISONS = 200_000


class Findings:
    """The mistakes found so far in a scenario."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.mistakes: list[Mistake] = []

    def __bool__(self) -> bool:
        return bool(self.mistakes)

    def add(self, path: Path, message: str) -> None:
        self._keep(self.document.mistake(path, message))

    def at_line(self, line: int, message: str) -> None:
        self._keep(Mistake(message, self.document.file, line))

    def unknown(self, path: Path, what: str, wrong: str, valid: Iterable[str]) -> None:
        """`there is no device 'ATLAn'; did you mean 'ATLAng'? valid: ...`"""
        self.add(path, self.no_such(what, wrong, valid))

    def no_such(self, what: str, wrong: str, valid: Iterable[str]) -> str:
        """The choices are left out where finding a near match for each would take minutes."""
        names = list(valid)
        missing = f"there is no {what} '{shorten(wrong)}'"
        if len(self.mistakes) * len(names) > MAX_COMPARISONS:
            return missing
        return f"{missing}; {choices(wrong[:200], names)}"

    def include(self, error: BadInput) -> None:
        for mistake in error.mistakes:
            self._keep(mistake)

    def settle(self) -> None:
        """Raises BadInput if anything was found."""
        if self.mistakes:
            raise BadInput(self.mistakes)

    def _keep(self, mistake: Mistake) -> None:
        if len(self.mistakes) == MAX_FINDINGS:
            last = max(found.line or 0 for found in self.mistakes)
            more = "and more; the rest was not looked at"
            self.mistakes.append(Mistake(more, self.document.file, last))
        if len(self.mistakes) < MAX_FINDINGS:
            message = one_line(mistake.message)
            self.mistakes.append(Mistake(message, mistake.file, mistake.line))


def one_line(message: str) -> str:
    """A message of bounded length without the control characters an input may have put in it."""
    kept = message[:MAX_LENGTH]
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in kept)
    return line if len(message) <= MAX_LENGTH else f"{line}..."
