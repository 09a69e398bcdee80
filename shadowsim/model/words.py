"""The typed parts of config lines: words to values, and values to words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from shadowsim.model.address import (
    ANY,
    Prefix,
    format_address,
    network,
    parse_address,
    parse_prefix,
)
from shadowsim.model.traffic import CLASSES


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
