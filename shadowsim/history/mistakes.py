"""A correct script to a wrong one, as it is mistyped, cut short, put in the wrong order or place.

A mistake may turn out to be harmless. Each says in which commands of the new script it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np
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
SEQUENCE = re.compile(r"(?P<head>(?:no )?|.* seq )(?P<number>\d+)(?P<tail>.*)")
LIST_USE = re.compile(r"(?P<head>(?:ip access-group|prefix-list|.* access-class) )(?P<name>\S+)")


@dataclass(frozen=True)
class Spoiled:
    """A script with a mistake: its name, and the commands that it is in."""

    mistake: str
    commands: Commands
    at_fault: Commands


Wrong: TypeAlias = "tuple[Commands, Commands] | None"
Spoil = Callable[[Site, Commands, Generator], Wrong]


def spoil(site: Site, commands: Commands, random: Generator) -> Spoiled | None:
    """The script with one mistake of any kind that can be made in it; None if there is none."""
    kinds, weights = list(MISTAKES), np.array([WEIGHTS.get(kind, 1.0) for kind in MISTAKES])
    for place in random.choice(len(kinds), len(kinds), replace=False, p=weights / weights.sum()):
        found = with_mistake(kinds[place], site, commands, random)
        if found is not None:
            return found
    return None


def with_mistake(mistake: str, site: Site, commands: Commands, random: Generator) -> Spoiled | None:
    """The script with a mistake of this kind; None where it cannot be made, or is refused."""
    found = MISTAKES[mistake](site, commands, random)
    return Spoiled(mistake, *found) if found and _is_one(commands, *found) else None


def _is_one(correct: Commands, wrong: Commands, at_fault: Commands) -> bool:
    """Whether it is another script, and one that devices accept."""
    if wrong == correct or not wrong or not at_fault:
        return False
    try:
        return parse_script(render_script(wrong)) == wrong
    except BadInput:
        return False


# ---- what is left out


def missing_line(site: Site, commands: Commands, random: Generator) -> Wrong:
    """The last line of a block was not pasted."""
    blocks = _blocks(commands)
    longer = [i for i, block in enumerate(blocks) if len(block) > 1]
    if not longer:
        return None
    cut = one(random, longer)
    blocks[cut] = blocks[cut][:-1]
    return _joined(blocks), blocks[cut]


def missing_block(site: Site, commands: Commands, random: Generator) -> Wrong:
    """A block that others rely on was not pasted."""
    blocks = _blocks(commands)
    if len(blocks) < 2:
        return None
    cut = int(random.integers(len(blocks)))
    rest = _joined(blocks[:cut] + blocks[cut + 1 :])
    beside = tuple(c for c in rest if c.device == blocks[cut][0].device)
    return rest, beside or rest


def missing_device(site: Site, commands: Commands, random: Generator) -> Wrong:
    """What belongs to the last device was not pasted."""
    last = commands[-1].device
    rest = tuple(c for c in commands if c.device != last)
    return (rest, rest) if rest else None


def forgotten_no(site: Site, commands: Commands, random: Generator) -> Wrong:
    """`no` was left out, or written where it does not belong: `shutdown` for `no shutdown`."""
    able = [i for i, c in enumerate(commands) if c.line in ("shutdown", "no shutdown")]
    if not able:
        return None
    place = one(random, able)
    line = "shutdown" if commands[place].line.startswith("no ") else "no shutdown"
    return _with(commands, place, commands[place]._replace(line=line))


def left_over(site: Site, commands: Commands, random: Generator) -> Wrong:
    """A line of an earlier script was still in the clipboard, and is pasted in a port's block."""
    able = [i for i, c in enumerate(commands) if c.context.startswith("interface ")]
    if not able:
        return None
    place = one(random, able)
    line = one(random, ("shutdown", "ip ospf cost 10", "ip ospf cost 65535", "mtu 1500"))
    extra = commands[place]._replace(line=line)
    return (*commands[: place + 1], extra, *commands[place + 1 :]), (extra,)


# ---- what is in the wrong place


def wrong_order(site: Site, commands: Commands, random: Generator) -> Wrong:
    """The blocks in reverse: what should come last comes first."""
    blocks = _blocks(commands)
    if len(blocks) < 2:
        return None
    return _joined([*reversed(blocks)]), blocks[-1]


def wrong_device(site: Site, commands: Commands, random: Generator) -> Wrong:
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


def wrong_port(site: Site, commands: Commands, random: Generator) -> Wrong:
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


def wrong_link(site: Site, commands: Commands, random: Generator) -> Wrong:
    """The circuit was mixed up with another one of the device, and so at both its ends."""
    cable_of = {end: c for c in range(len(site.topology.links)) for end in site.ends(c)}
    there = {cable_of[end] for c in commands if (end := _end_of(c)) in cable_of}
    if not there:
        return None
    meant = one(random, sorted(there))
    home = one(random, [device for device, _ in site.ends(meant)])
    others = sorted({c for end, c in cable_of.items() if end[0] == home} - there)
    if not others:
        return None
    other = one(random, others)
    ends = dict(zip(site.ends(meant), _facing(site, meant, other, home), strict=True))
    wrong = tuple(_at(c, ends.get(_end_of(c), _end_of(c))) for c in commands)
    return wrong, tuple(n for c, n in zip(commands, wrong, strict=True) if n != c)


def wrong_direction(site: Site, commands: Commands, random: Generator) -> Wrong:
    """`in` for `out`, or `out` for `in`."""
    able = [i for i, c in enumerate(commands) if c.line.split()[-1] in ("in", "out")]
    if not able:
        return None
    place = one(random, able)
    head, _, way = commands[place].line.rpartition(" ")
    line = f"{head} {'out' if way == 'in' else 'in'}"
    return _with(commands, place, commands[place]._replace(line=line))


def wrong_action(site: Site, commands: Commands, random: Generator) -> Wrong:
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


def wrong_number(site: Site, commands: Commands, random: Generator) -> Wrong:
    """A digit too few or too many, or two digits swapped."""
    able = [(i, m) for i, c in enumerate(commands) if (m := NUMBERED.fullmatch(c.line))]
    if not able:
        return None
    place, match = one(random, able)
    number = match["number"]
    typed = one(random, (number[:-1], number + "0", number[1::-1] + number[2:], number[:-2]))
    line = f"{match['head']}{int(typed or '1') or 1}{match['tail']}"
    return _with(commands, place, commands[place]._replace(line=line))


def wrong_sequence(site: Site, commands: Commands, random: Generator) -> Wrong:
    """The number of another line of the list, or of none, in the place of the right one."""
    able = [(i, m) for i, c in enumerate(commands) if (m := SEQUENCE.fullmatch(c.line))]
    if not able:
        return None
    place, match = one(random, able)
    meant = int(match["number"])
    there = [number for number in _sequences(site, commands[place]) if number != meant]
    number = one(random, [*there, meant + 100])
    line = f"{match['head']}{number}{match['tail']}"
    return _with(commands, place, commands[place]._replace(line=line))


def _sequences(site: Site, command: Command) -> list[int]:
    """The numbers of the lines of the list that a command is about, as it is before."""
    config, words = site.configs[command.device], command.line.split()
    if "prefix-list" in words:
        name = words[words.index("prefix-list") + 1]
        return [entry.sequence for entry in config.prefix_lists.get(name, ())]
    name = command.context.rpartition(" ")[2]
    return [entry.sequence for entry in config.access_lists.get(name, ())]


def wrong_list(site: Site, commands: Commands, random: Generator) -> Wrong:
    """Another list of the device is removed than the one that is meant."""
    head = "no ip access-list extended "
    able = [i for i, c in enumerate(commands) if c.line.startswith(head)]
    if not able:
        return None
    place = one(random, able)
    lists = site.configs[commands[place].device].access_lists
    others = [name for name in lists if f"{head}{name}" != commands[place].line]
    if not others:
        return None
    return _with(commands, place, commands[place]._replace(line=head + one(random, others)))


def wrong_mask(site: Site, commands: Commands, random: Generator) -> Wrong:
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


def wrong_address(site: Site, commands: Commands, random: Generator) -> Wrong:
    """An octet of an address that is one off, or has a digit too few."""
    able = [i for i, c in enumerate(commands) if _typed_addresses(c.line)]
    if not able:
        return None
    place = one(random, able)
    match = one(random, _typed_addresses(commands[place].line))
    octets = [int(match[i]) for i in range(1, 5)]
    which = one(random, (1, 2, 2)) if octets[0] == 10 else 1
    octets[which] = (octets[which] + one(random, (-1, 1, 2))) % max(len(site.topology.devices), 2)
    line = commands[place].line
    typed = ".".join(map(str, octets))
    line = line[: match.start()] + typed + line[match.end() :]
    return _with(commands, place, commands[place]._replace(line=line))


def wrong_name(site: Site, commands: Commands, random: Generator) -> Wrong:
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
    "missing block": missing_block,
    "missing device": missing_device,
    "forgotten no": forgotten_no,
    "left over": left_over,
    "wrong order": wrong_order,
    "wrong device": wrong_device,
    "wrong port": wrong_port,
    "wrong link": wrong_link,
    "wrong direction": wrong_direction,
    "wrong action": wrong_action,
    "wrong number": wrong_number,
    "wrong sequence": wrong_sequence,
    "wrong list": wrong_list,
    "wrong mask": wrong_mask,
    "wrong address": wrong_address,
    "wrong name": wrong_name,
}

# How often a mistake is made that could be made, beside those of weight 1.
WEIGHTS: Mapping[str, float] = {
    "missing device": 0.5,
    "forgotten no": 2.0,
    "wrong device": 0.3,
    "wrong link": 2.0,
    "wrong number": 0.7,
    "wrong address": 2.0,
    "wrong mask": 2.0,
    "wrong sequence": 2.0,
    "wrong action": 1.5,
    "wrong name": 2.0,
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


def _end_of(command: Command) -> tuple[str, str]:
    """The (device, port) that a command is about, "" where it is about no port."""
    head, _, port = command.context.partition(" ")
    return command.device, port if head == "interface" else ""


def _at(command: Command, end: tuple[str, str]) -> Command:
    if end == _end_of(command):
        return command
    return Command(end[0], f"interface {end[1]}", command.line)


def _facing(site: Site, meant: int, other: int, home: str) -> list[tuple[str, str]]:
    """The ends of the other cable in the order of the meant one's, `home` facing itself."""
    ends = list(site.ends(other))
    aligned = (site.ends(meant)[0][0] == home) == (ends[0][0] == home)
    return ends if aligned else ends[::-1]


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
