"""Commands to the kinds they are of: what outcomes are counted by."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import takewhile

from shadowsim.model.grammar import FORMS, Form


def kinds_of(commands: Iterable[str]) -> list[str] | None:
    """The kinds of commands among these, each once; None where there are none."""
    return sorted({kind_of(command) for command in commands}) or None


def kind_of(command: str) -> str:
    """The literal words that a command begins with: `A: interface eth1 / ip ospf cost 5` is an
    `ip ospf cost`. A line that begins with none (of an access list) is of the kind of its context.
    """
    place = command.partition(": ")[2] or command
    context, _, line = place.rpartition(" / ")
    return _head(line.removeprefix("no ")) or _head(context) or line.partition(" ")[0]


@cache
def heads() -> tuple[str, ...]:
    """The literal words that the lines of the language begin with."""
    return tuple(dict.fromkeys(filter(None, map(_literal, FORMS))))


def _head(line: str) -> str:
    return max((h for h in heads() if f"{line} ".startswith(f"{h} ")), key=len, default="")


def _literal(form: Form) -> str:
    return " ".join(
        part.word for part in takewhile(lambda p: p.kind is None and not p.group, form.parts)
    )
