"""The config language as one table: a line in its context to a slot and a value, and back.

IOS/FRR-style. A pattern is literal words and `<name:kind>` parts; a part marked `!` belongs to
the slot, the others are the value; `[...]` may be missing. `no` before a line, or before its
slot, or before the first keys of it, removes what is set there. `docs/config.md` explains every
line for people.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from shadowsim.model.address import (
    ANY,
    Prefix,
    format_address,
    network,
    parse_address,
    parse_prefix,
)

Slot = tuple[Any, ...]
Value = tuple[Any, ...]


class NotThisLine(Exception):
    """The words do not have this form."""


class Kind(NamedTuple):
    """A part of a line: `read` takes the words left and returns (value, words used)."""

    read: Callable[[list[str]], tuple[Any, int]]
    write: Callable[[Any], str]


class Endpoint(NamedTuple):
    """One side of an access list line: addresses and an inclusive port range (None: any)."""

    prefix: Prefix
    ports: tuple[int, int] | None


def _one(read: Callable[[str], Any]) -> Callable[[list[str]], tuple[Any, int]]:
    def take(words: list[str]) -> tuple[Any, int]:
        if not words:
            raise NotThisLine
        return read(words[0]), 1

    return take


def _number(low: int, high: int) -> Kind:
    def read(word: str) -> int:
        fits = word.isascii() and word.isdigit() and len(word) <= LONGEST_NUMBER
        if not (fits and low <= int(word) <= high):
            raise ValueError(f"'{word}' must be a whole number from {low} to {high}")
        return int(word)

    return Kind(_one(read), str)


def _choice(*valid: str) -> Kind:
    def read(word: str) -> str:
        if word not in valid:
            close = difflib.get_close_matches(word, valid, n=1)
            meant = f"did you mean '{close[0]}'? " if close else ""
            raise ValueError(f"'{word}' is unknown; {meant}valid: {', '.join(valid)}")
        return word

    return Kind(_one(read), str)


def _name(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:/-]{1,63}", word):
        raise ValueError(f"'{word}' is not a name (letters, digits and _.:/-, 63 at most)")
    return word


def _rest(words: list[str]) -> tuple[str, int]:
    if not words:
        raise NotThisLine
    return " ".join(words), len(words)


def _address(words: list[str]) -> tuple[Prefix, int]:
    """`any`, `host A`, `A WILDCARD` or `A/LEN`."""
    if not words:
        raise NotThisLine
    if words[0] == "any":
        return ANY, 1
    if words[0] == "host" and len(words) > 1:
        return Prefix(parse_address(words[1]), 32), 2
    if "/" in words[0]:
        return parse_prefix(words[0]), 1
    address = parse_address(words[0])
    if len(words) < 2:
        raise ValueError(f"'{words[0]}' needs a wildcard after it (or write 'host {words[0]}')")
    wildcard = parse_address(words[1])
    if wildcard & (wildcard + 1):
        raise ValueError(f"wildcard {words[1]} has holes; only contiguous ones are supported")
    return network(address, 32 - wildcard.bit_length()), 2


def _endpoint(words: list[str]) -> tuple[Endpoint, int]:
    prefix, used = _address(words)
    left = words[used:]
    if left and left[0] == "eq":
        port, _ = PORT.read(left[1:])
        return Endpoint(prefix, (port, port)), used + 2
    if left and left[0] == "range":
        (low, _), (high, _) = PORT.read(left[1:]), PORT.read(left[2:])
        if low > high:
            raise ValueError(f"range {low} {high} is empty")
        return Endpoint(prefix, (low, high)), used + 3
    return Endpoint(prefix, None), used


def _write_endpoint(end: Endpoint) -> str:
    prefix, ports = end
    if prefix == ANY:
        text = "any"
    elif prefix.length == 32:
        text = f"host {format_address(prefix.address)}"
    else:
        wildcard = format_address((1 << (32 - prefix.length)) - 1)
        text = f"{format_address(prefix.address)} {wildcard}"
    if ports is None:
        return text
    return (
        f"{text} eq {ports[0]}" if ports[0] == ports[1] else f"{text} range {ports[0]} {ports[1]}"
    )


LONGEST_NUMBER = 18  # digits; longer ones are not even read
PORT = _number(0, 65535)
PROTOCOLS = {"ip": None, "icmp": 1, "tcp": 6, "udp": 17}
CLASSES = ("critical", "normal", "bulk")
SERVICES = ("ssh", "telnet", "http", "https", "snmp", "netconf")
KINDS = {
    "access-list": Kind(_one(_name), str),
    "action": _choice("permit", "deny"),
    "as-number": _number(1, 2**32 - 1),
    "bits-per-second": _number(1, 10**13),
    "bytes": _number(68, 9216),
    "class": _choice(*CLASSES),
    "cost": _number(1, 65535),
    "count": _number(1, 10_000_000),
    "end": Kind(_endpoint, _write_endpoint),
    "length": _number(0, 32),
    "level": _number(0, 7),
    "name": Kind(_one(_name), str),
    "preference": _number(0, 2**32 - 1),
    "prefix": Kind(_one(parse_prefix), str),
    "protocol": _choice(*PROTOCOLS),
    "sequence": _number(1, 2**31 - 1),
    "service": _choice(*SERVICES),
    "text": Kind(_rest, str),
}


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
    if len(value) == 4 and value[1] in ("ip", "icmp") and (value[2].ports or value[3].ports):
        raise ValueError(f"'{line}': ports go with tcp or udp, not with {value[1]}")
    return ((slot[0], None) if unnumbered else slot), value


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
