"""A correct script to a wrong one, as it is mistyped, cut short, put in the wrong order or place.

A mistake may turn out to be harmless. Each says in which commands of the new script it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby

from numpy.random import Generator

from shadowsim.errors import BadInput
from shadowsim.history.lines import Commands, one
from shadowsim.history.sites import Site
from shadowsim.model.change import Command, parse_script, render_script

NUMBERED = re.compile(
    r"(?P<head>.*(?:ip ospf cost|rate-limit output|mtu|maximum-prefix|table-size|eq|priority"
    r"|local-preference) )(?P<number>\d+)(?P<tail>.*)"
)
ADDRESS = re.compile(r"\b(\d+)\.(\d+)\.(\d+)\.(\d+)\b")
WORD_PREFIX = re.compile(r"\b(\d+\.\d+\.\d+\.\d+)/(\d+)\b")
WILDCARD = re.compile(r"\b(\d+\.\d+\.\d+\.\d+) (0\.\d+\.\d+\.\d+)\b")
LIST_USE = re.compile(r"(?P<head>(?:ip access-group|prefix-list|.* access-class) )(?P<name>\S+)")


@dataclass(frozen=True)
class Spoiled:
    """A script with a mistake: its name, and the commands that it is in."""

    mistake: str
    commands: Commands
    at_fault: Commands


Spoil = Callable[[Site, Commands, Generator], tuple[Commands, Commands] | None]


def spoil(site: Site, commands: Commands, random: Generator) -> Spoiled | None:
    """The script with one mistake of any kind that can be made in it; None if there is none."""
    kinds = list(MISTAKES)
    for place in random.permutation(len(kinds)):
        found = MISTAKES[kinds[place]](site, commands, random)
        if found is not None and _is_one(commands, *found):
            return Spoiled(kinds[place], *found)
    return None


def _is_one(correct: Commands, wrong: Commands, at_fault: Commands) -> bool:
    """Whether it is another script, and one that devices accept."""
    if wrong == correct or not wrong or not at_fault:
        return False
    try:
        return parse_script(render_script(wrong)) == wrong
    except BadInput:
        return False


# ---- what is left out


def missing_line(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """The last line of a block was not pasted."""
    blocks = _blocks(commands)
    longer = [i for i, block in enumerate(blocks) if len(block) > 1]
    if not longer:
        return None
    cut = one(random, longer)
    blocks[cut] = blocks[cut][:-1]
    return _joined(blocks), blocks[cut]


def missing_device(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """What belongs to the last device was not pasted."""
    last = commands[-1].device
    rest = tuple(c for c in commands if c.device != last)
    return (rest, rest) if rest else None


def forgotten_no(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """`no` was left out, or written where it does not belong: `shutdown` for `no shutdown`."""
    able = [i for i, c in enumerate(commands) if c.line in ("shutdown", "no shutdown")]
    if not able:
        return None
    place = one(random, able)
    line = "shutdown" if commands[place].line.startswith("no ") else "no shutdown"
    return _with(commands, place, commands[place]._replace(line=line))


# ---- what is in the wrong place


def wrong_order(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """The blocks in reverse: what should come last comes first."""
    blocks = _blocks(commands)
    if len(blocks) < 2:
        return None
    return _joined([*reversed(blocks)]), blocks[-1]


def wrong_device(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """All lines for a device were given to a neighbour of it, at the ports that exist there."""
    device = one(random, sorted({c.device for c in commands}))
    near = sorted({
        end[0]
        for cable in range(len(site.topology.links))
        for end in site.ends(cable)
        if device in {e[0] for e in site.ends(cable)} and end[0] != device
    })  # fmt: skip
    other = one(random, near)
    ports = list(site.topology.ports[other])
    moved = tuple(
        c if c.device != device else _moved(c, other, one(random, ports)) for c in commands
    )
    return moved, tuple(n for c, n in zip(commands, moved, strict=True) if c.device == device)


def wrong_port(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """The lines of a port were given to another one of the device."""
    blocks = _blocks(commands)
    able = [i for i, block in enumerate(blocks) if block[0].context.startswith("interface ")]
    if not able:
        return None
    place = one(random, able)
    device, context = blocks[place][0].device, blocks[place][0].context
    ports = [p for p in site.topology.ports[device] if f"interface {p}" != context]
    if not ports:
        return None
    port = one(random, ports)
    blocks[place] = tuple(c._replace(context=f"interface {port}") for c in blocks[place])
    return _joined(blocks), blocks[place]


def wrong_direction(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """`in` for `out`, or `out` for `in`."""
    able = [i for i, c in enumerate(commands) if c.line.split()[-1] in ("in", "out")]
    if not able:
        return None
    place = one(random, able)
    head, _, way = commands[place].line.rpartition(" ")
    line = f"{head} {'out' if way == 'in' else 'in'}"
    return _with(commands, place, commands[place]._replace(line=line))


def wrong_action(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """`permit` for `deny`, or `deny` for `permit`."""
    able = [i for i, c in enumerate(commands) if {"permit", "deny"} & {*c.line.split()}]
    able = [i for i in able if not commands[i].line.startswith("no ")]
    if not able:
        return None
    place = one(random, able)
    swap = {"permit": "deny", "deny": "permit"}
    words = [swap.get(word, word) for word in commands[place].line.split()]
    return _with(commands, place, commands[place]._replace(line=" ".join(words)))


# ---- what is mistyped


def wrong_number(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """A digit too few or too many, or two digits swapped."""
    able = [(i, m) for i, c in enumerate(commands) if (m := NUMBERED.fullmatch(c.line))]
    if not able:
        return None
    place, match = one(random, able)
    number = match["number"]
    typed = one(random, (number[:-1], number + "0", number[1::-1] + number[2:], number[:-2]))
    line = f"{match['head']}{int(typed or '1') or 1}{match['tail']}"
    return _with(commands, place, commands[place]._replace(line=line))


def wrong_sequence(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """The number of another line of the list: of the next one, or of one below it."""
    able = [
        (i, m) for i, c in enumerate(commands) if (m := re.fullmatch(r"(no )?(\d+)(.*)", c.line))
    ]
    if not able:
        return None
    place, match = one(random, able)
    number = max(int(match[2]) + one(random, (-10, 10, 100)), 1)
    return _with(
        commands, place, commands[place]._replace(line=f"{match[1] or ''}{number}{match[3]}")
    )


def wrong_mask(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """A mask that is an octet too wide: /16 for /24, 0.0.255.255 for 0.0.0.255."""
    able = [
        i for i, c in enumerate(commands) if WORD_PREFIX.search(c.line) or WILDCARD.search(c.line)
    ]
    if not able:
        return None
    place = one(random, able)
    line = WORD_PREFIX.sub(_wider, commands[place].line)
    line = WILDCARD.sub(lambda m: f"{m[1]} {_wider_wildcard(m[2])}", line)
    return _with(commands, place, commands[place]._replace(line=line))


def wrong_address(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """An octet of an address that is one off, or has a digit too few."""
    able = [i for i, c in enumerate(commands) if _typed_addresses(c.line)]
    if not able:
        return None
    place = one(random, able)
    match = one(random, _typed_addresses(commands[place].line))
    octets = [int(match[i]) for i in range(1, 5)]
    which = 2 if octets[0] == 10 else 1
    octets[which] = (octets[which] + one(random, (-1, 1, 2))) % max(len(site.topology.devices), 2)
    line = commands[place].line
    typed = ".".join(map(str, octets))
    line = line[: match.start()] + typed + line[match.end() :]
    return _with(commands, place, commands[place]._replace(line=line))


def wrong_name(
    site: Site, commands: Commands, random: Generator
) -> tuple[Commands, Commands] | None:
    """A list's name misspelt where it is used: a list that does not exist."""
    able = [(i, m) for i, c in enumerate(commands) if (m := LIST_USE.match(c.line))]
    if not able:
        return None
    place, match = one(random, able)
    line = commands[place].line
    name = match["name"].replace("-", "_") if "-" in match["name"] else match["name"] + "1"
    line = match["head"] + name + line[match.end() :]
    return _with(commands, place, commands[place]._replace(line=line))


MISTAKES: Mapping[str, Spoil] = {
    "missing line": missing_line,
    "missing device": missing_device,
    "forgotten no": forgotten_no,
    "wrong order": wrong_order,
    "wrong device": wrong_device,
    "wrong port": wrong_port,
    "wrong direction": wrong_direction,
    "wrong action": wrong_action,
    "wrong number": wrong_number,
    "wrong sequence": wrong_sequence,
    "wrong mask": wrong_mask,
    "wrong address": wrong_address,
    "wrong name": wrong_name,
}


def _blocks(commands: Commands) -> list[Commands]:
    """The commands by device and context, as they stand together in the script."""
    return [tuple(group) for _, group in groupby(commands, key=lambda c: (c.device, c.context))]


def _joined(blocks: list[Commands]) -> Commands:
    return tuple(command for block in blocks for command in block)


def _with(commands: Commands, place: int, command: Command) -> tuple[Commands, Commands]:
    return (*commands[:place], command, *commands[place + 1 :]), (command,)


def _moved(command: Command, device: str, port: str) -> Command:
    if command.context.startswith("interface "):
        return Command(device, f"interface {port}", command.line)
    return command._replace(device=device)


def _typed_addresses(line: str) -> list[re.Match[str]]:
    """The addresses of a line that are no wildcards, masks of none, or zero."""
    return [m for m in ADDRESS.finditer(line) if m[1] not in ("0", "255") and m[4] != "255"]


def _wider(match: re.Match[str]) -> str:
    length = max(int(match[2]) - 8, 0)
    octets = match[1].split(".")
    kept = octets[: length // 8] + ["0"] * (4 - length // 8)
    return f"{'.'.join(kept)}/{length - length % 8}"


def _wider_wildcard(wildcard: str) -> str:
    octets = wildcard.split(".")
    last_zero = max(i for i, octet in enumerate(octets) if octet == "0") if "0" in octets else 0
    return ".".join(["255" if i >= last_zero else octet for i, octet in enumerate(octets)])
