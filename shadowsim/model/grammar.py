"""The config language as one table: a line in its context to a slot and a value, and back.

IOS/FRR-style. A pattern is literal words and `<name:kind>` parts; a part marked `!` belongs to
the slot, the others are the value; `[...]` may be missing. `no` before a line, or before its
slot, or before the first keys of it, removes what is set there. `docs/config.md` explains every
line for people.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from shadowsim.model.words import KINDS, Endpoint, Kind, NotThisLine

Slot = tuple[Any, ...]
Value = tuple[Any, ...]


class Part(NamedTuple):
    """A literal word (kind None), or a typed part; `group` numbers the `[...]` it is in."""

    word: str
    kind: Kind | None
    key: bool
    group: int


@dataclass(frozen=True)
class Form:
    """One line of the language. `opens` says that the lines below it belong to it."""

    context: str
    pattern: str
    opens: bool = False
    rank: int = 5  # in which order a difference sets these; it removes in the reverse order

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        found, group, groups = [], 0, 0
        for token in re.findall(r"\[|\]|[^\s\[\]]+", self.pattern):
            if token == "[":
                groups += 1
                group = groups
            elif token == "]":
                group = 0
            elif match := re.fullmatch(r"<([a-z-]+)(!?)>", token):
                found.append(Part(match[1], KINDS[match[1]], bool(match[2]), group))
            else:
                found.append(Part(token, None, False, group))
        return tuple(found)

    @cached_property
    def head(self) -> str:
        """The literal words that name the slot."""
        return " ".join(p.word for p in self.parts if p.kind is None and p.group == 0)

    @cached_property
    def keys(self) -> int:
        return sum(p.key for p in self.parts)

    def read(self, words: list[str]) -> tuple[Slot, Value]:
        """Slot (within its context) and value. NotThisLine, or ValueError with the reason."""
        keys: list[Any] = []
        values: list[Any] = []
        at, skipped = 0, 0
        for part in self.parts:
            if part.group and part.group == skipped:
                values += [None] if part.kind else []
                continue
            if part.kind is None:
                if at < len(words) and words[at] == part.word:
                    at += 1
                elif part.group:
                    skipped = part.group
                else:
                    raise NotThisLine
                continue
            value, used = part.kind.read(words[at:])
            (keys if part.key else values).append(value)
            at += used
        if at < len(words):
            line = self.pattern.replace("!", "")
            raise ValueError(f"'{' '.join(words[at:])}' is too much; the line is '{line}'")
        return (self.head, *keys), tuple(values)

    def write(self, keys: Slot, values: Value, *, removal: bool = False) -> str:
        """The line of a slot and value; with `removal`, the shortest that names it after `no`."""
        left_keys, left_values = list(keys), list(values)
        out: list[str] = []
        held: list[str] = []
        for part in self.parts:
            if part.kind is None:
                (held if part.group else out).append(part.word)
            elif part.key:
                out.append(part.kind.write(left_keys.pop(0)))
            elif not removal:
                value = left_values.pop(0)
                out += [] if value is None else [*held, part.kind.write(value)]
                held = []
        return " ".join(out)


FORMS = (
    Form("", "table-size <count>"),
    Form("", "qos class <class!> priority <level>"),
    Form("", "management <service!> [access-class <access-list>]"),
    Form(
        "",
        "ip prefix-list <name!> seq <sequence!> <action> <prefix> [ge <length>] [le <length>]",
        rank=1,
    ),
    Form("", "ip access-list extended <name!>", opens=True, rank=0),
    Form("ip access-list extended", "<sequence!> <action> <protocol> <end> <end>", rank=1),
    Form("", "interface <name!>", opens=True, rank=2),
    Form("interface", "description <text>"),
    Form("interface", "ip ospf cost <cost>"),
    Form("interface", "mtu <bytes>"),
    Form("interface", "ip access-group <access-list> in", rank=4),
    Form("interface", "ip access-group <access-list> out", rank=4),
    Form("interface", "rate-limit output <bits-per-second>"),
    Form("interface", "shutdown", rank=9),
    Form("", "ip route <prefix!> <name>", rank=3),
    Form("", "router bgp <as-number>", opens=True, rank=2),
    Form("router bgp", "network <prefix!> [local-preference <preference>]"),
    Form(
        "router bgp",
        "redistribute learned [prefix-list <name>] [local-preference <preference>]",
        rank=4,
    ),
    Form("router bgp", "flowspec <sequence!> discard <protocol> <end> <end>"),
    Form("router bgp", "prefix-list <name> in", rank=4),
    Form("router bgp", "prefix-list <name> out", rank=4),
    Form("router bgp", "maximum-prefix <count>"),
)  # fmt: skip
CONTEXTS = {form.head: form for form in FORMS if form.opens}
_BY_HEAD = {(form.context, form.head): (place, form) for place, form in enumerate(FORMS)}


def locate(slot: Slot) -> tuple[int, Form, Slot, Slot]:
    """(place in the table, form, slot of the context or (), own slot) of a full slot."""
    opener = CONTEXTS.get(slot[0])
    depth = 1 + opener.keys if opener else 0
    if opener and len(slot) > depth:
        place, form = _BY_HEAD[slot[0], slot[depth]]
        return place, form, slot[:depth], slot[depth:]
    place, form = _BY_HEAD["", slot[0]]
    return place, form, (), slot


def natural(key: Any) -> tuple[int, int, Any]:
    """A sort key under which numbers, prefixes and names each keep their own order."""
    if isinstance(key, int):
        return (0, key, "")
    return (1, 0, tuple(key)) if isinstance(key, tuple) else (2, 0, key)


def slot_order(slot: Slot) -> tuple[Any, ...]:
    """The order of a canonical text: by place in the table, contexts kept together."""
    place, _, context, own = locate(slot)
    if context:
        opener_place, *_ = locate(context)
        return (opener_place, tuple(map(natural, context[1:])), place, tuple(map(natural, own[1:])))
    return (place, tuple(map(natural, own[1:])), -1, ())


def write_line(slot: Slot, value: Value, *, removal: bool = False) -> str:
    """The line (without its context) that sets the slot, or that removes it."""
    _, form, _, own = locate(slot)
    line = form.write(own[1:], value, removal=removal)
    return f"no {line}" if removal else line


def context_of(slot: Slot) -> Slot:
    """The slot of the line this one stands under; () at the top."""
    return locate(slot)[2]


def read_header(line: str) -> tuple[Slot, Value] | None:
    """The slot and value of a line that opens a context, None for every other line."""
    words = line.split()
    for form in CONTEXTS.values():
        if line.startswith(form.head + " ") or line == form.head:
            return form.read(words)
    return None


def _trial(forms: list[Form], words: list[str]) -> tuple[Slot, Value]:
    """The first form that fits; else the reason of the one that the words were meant to be."""
    reasons: list[tuple[Form, ValueError]] = []
    for form in forms:
        try:
            return form.read(words)
        except NotThisLine:
            continue
        except ValueError as error:
            reasons.append((form, error))
    for form, reason in reasons:
        if _is_meant(form, words):
            raise ValueError(f"'{' '.join(words)}': {reason}")
    patterns = [form.pattern.replace("!", "") for form in forms]
    close = difflib.get_close_matches(" ".join(words), patterns, n=1, cutoff=0.4)
    meant = f"did you mean '{close[0]}'? " if close else ""
    raise ValueError(f"'{' '.join(words)}' is not a command; {meant}valid: {', '.join(patterns)}")


def _is_meant(form: Form, words: list[str]) -> bool:
    """Whether the words begin as the form does, so that its reason is the one to tell."""
    first = form.parts[0]
    return words[0] == first.word if first.kind is None else words[0].isdigit()


def read_set(context: str, line: str) -> tuple[Slot, Value]:
    """Slot within the context and value of a line. ValueError with the reason and the choices.

    An access list line without a sequence number has the number None: it goes to the end.
    """
    words = line.split()
    forms = [form for form in FORMS if form.context == context]
    unnumbered = context == "ip access-list extended" and words[0] in ("permit", "deny")
    slot, value = _trial(forms, ["1", *words] if unnumbered else words)
    ports_without = _ports_without(value)
    if ports_without:
        raise ValueError(f"'{line}': ports go with tcp or udp, not with {ports_without}")
    return ((slot[0], None) if unnumbered else slot), value


def _ports_without(value: Value) -> str | None:
    """The protocol that knows no ports, of a line that names some all the same."""
    *start, source, destination = value if len(value) >= 3 else (None, None, None)
    if not (isinstance(source, Endpoint) and isinstance(destination, Endpoint)):
        return None
    portless = start[-1] in ("ip", "icmp") and (source.ports or destination.ports)
    return str(start[-1]) if portless else None


def read_removal(context: str, line: str) -> tuple[Slot, Value | None]:
    """The slot, or the beginning of several, that `no LINE` removes. ValueError with the reason.

    An access list line without a number names no slot: the number is None then, and every entry
    with the value that is returned beside it is meant. Otherwise there is no such value.
    """
    words = line.split()
    if context == "ip access-list extended" and words[0] in ("permit", "deny"):
        return read_set(context, line)
    return _slot_of(context, words), None


def _slot_of(context: str, words: list[str]) -> Slot:
    forms = [form for form in FORMS if form.context == context]
    for form in forms:
        if (slot := _slot_only(form, words)) is not None:
            return slot
    return _trial(forms, words)[0]


def _slot_only(form: Form, words: list[str]) -> Slot | None:
    """Match the words against the head and at least one of the keys (if there are any) alone."""
    keys: list[Any] = []
    at = 0
    complete = not form.keys
    for part in form.parts:
        if part.group or (part.kind is not None and not part.key):
            continue
        if at == len(words) and complete:
            break
        if part.kind is None:
            if at >= len(words) or words[at] != part.word:
                return None
            at += 1
            complete = False
        else:
            try:
                value, used = part.kind.read(words[at:])
            except (NotThisLine, ValueError):
                return None
            keys.append(value)
            at += used
            complete = True
    return (form.head, *keys) if at == len(words) and (keys or not form.keys) else None
