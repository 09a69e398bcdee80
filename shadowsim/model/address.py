"""IPv4 prefixes as two integers, and their text."""

from __future__ import annotations

from typing import NamedTuple

ADDRESS_SPACE = 1 << 32


class Prefix(NamedTuple):
    """An IPv4 prefix; `address` has no bit set beyond `length`."""

    address: int
    length: int

    @property
    def first(self) -> int:
        return self.address

    @property
    def last(self) -> int:
        return self.address | ((1 << (32 - self.length)) - 1)

    def covers(self, other: Prefix) -> bool:
        differing = self.address ^ other.address
        return self.length <= other.length and differing >> (32 - self.length) == 0

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{self.length}"


ANY = Prefix(0, 0)


def format_address(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def parse_address(text: str) -> int:
    """Dotted quad to integer. Raises ValueError with the reason."""
    parts = text.split(".")
    if len(parts) != 4 or not all(p.isascii() and p.isdigit() and len(p) <= 3 for p in parts):
        raise ValueError(f"'{text}' is not an IPv4 address (like 10.0.1.2)")
    octets = [int(p) for p in parts]
    if max(octets) > 255:
        raise ValueError(f"'{text}' is not an IPv4 address: {max(octets)} is above 255")
    return octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]


def parse_prefix(text: str) -> Prefix:
    """`a.b.c.d/len` to a Prefix. Raises ValueError with the reason."""
    head, slash, tail = text.partition("/")
    address = parse_address(head)
    if not slash:
        return Prefix(address, 32)
    if not (tail.isascii() and tail.isdigit() and int(tail) <= 32):
        raise ValueError(f"'{text}' is not a prefix: its length must be 0 to 32")
    prefix = network(address, int(tail))
    if prefix.address != address:
        raise ValueError(f"'{text}' has host bits set; did you mean '{prefix}'?")
    return prefix


def network(address: int, length: int) -> Prefix:
    """The prefix of that length in which `address` lies."""
    return Prefix(address & (ADDRESS_SPACE - (1 << (32 - length))), length)
