"""What an operator wants of a device to the commands that say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from numpy.random import Generator

from shadowsim.model.address import Prefix, format_address
from shadowsim.model.change import Command
from shadowsim.model.topology import Topology

Commands = tuple[Command, ...]
T = TypeVar("T")


def top(device: str, *lines: str) -> Commands:
    """Lines of the top level."""
    return tuple(Command(device, "", line) for line in lines)


def under(device: str, context: str, *lines: str) -> Commands:
    """Lines in a context."""
    return tuple(Command(device, context, line) for line in lines)


def on_port(end: tuple[str, str], *lines: str) -> Commands:
    """Lines of a port, which is (device, port)."""
    return under(end[0], f"interface {end[1]}", *lines)


def in_list(device: str, name: str, *lines: str) -> Commands:
    """Lines of an access list."""
    return under(device, f"ip access-list extended {name}", *lines)


def both(ends: Iterable[tuple[str, str]], *lines: str) -> Commands:
    """The same lines at both ends of a cable."""
    return tuple(command for end in ends for command in on_port(end, *lines))


def ends_of(topology: Topology, cable: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two (device, port) of a cable between devices."""
    return topology.port_of[2 * cable], topology.port_of[2 * cable + 1]


def host(topology: Topology, name: str) -> str:
    """A host as an access list names it."""
    return f"host {format_address(topology.address[name])}"


def net(prefix: Prefix) -> str:
    """A prefix as an access list names it: the address and its wildcard."""
    wildcard = (1 << (32 - prefix.length)) - 1
    return f"{format_address(prefix.address)} {format_address(wildcard)}"


def one(random: Generator, of: Sequence[T]) -> T:
    """Any of these, none less likely than another."""
    return of[int(random.integers(len(of)))]


def some(random: Generator, of: Sequence[T], count: int) -> list[T]:
    """So many different ones of these, or all; in the order they have there."""
    places = random.choice(len(of), size=min(count, len(of)), replace=False) if of else ()
    return [of[place] for place in sorted(int(p) for p in places)]
