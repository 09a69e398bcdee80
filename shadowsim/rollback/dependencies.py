"""Commands between two configs to what each needs done before it: definition before use.

On one device, a list is whole before it is used, and used no more before it is removed. Across
devices, a link is set up at both ends before it is opened and open before a static route leads
over it; and what decides over a prefix elsewhere is there before the prefix is announced, and goes
after it is withdrawn. A section that goes takes all with it that stands in it; one that comes is
there from its first line on: a port is open then, BGP hears.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shadowsim.model.address import Prefix
from shadowsim.model.change import Command, Configs, subject_of
from shadowsim.model.config import DeviceConfig
from shadowsim.model.grammar import Slot, context_of, locate
from shadowsim.model.topology import Topology

ACL, PREFIX_LIST = "ip access-list extended", "ip prefix-list seq"
USES = {  # the last words of a slot whose value names a list, and what kind of list
    "ip access-group in": ACL,
    "ip access-group out": ACL,
    "prefix-list in": PREFIX_LIST,
    "prefix-list out": PREFIX_LIST,
    "redistribute learned": PREFIX_LIST,
}
BGP: Slot = ("router bgp",)
FILTERS: tuple[Slot, ...] = ((*BGP, "prefix-list in"), (*BGP, "prefix-list out"))
MOST_PREFIXES: Slot = (*BGP, "maximum-prefix")
GUARDS = (  # without which a section must not be, not even while it is new
    "ip access-group in",
    "ip access-group out",
    "prefix-list in",
    "prefix-list out",
    "maximum-prefix",
)


class _Subject(NamedTuple):
    """A command with the slot it is about, and the configs of its device at both ends.

    `comes`, `goes`: the slots that it sets or removes and that are other at the target than now:
    with a whole section all under it, with the first line of a section also the section.
    """

    place: int
    device: str
    slot: Slot
    comes: frozenset[Slot]
    goes: frozenset[Slot]
    now: DeviceConfig
    target: DeviceConfig


def dependencies(
    topology: Topology, now: Configs, target: Configs, commands: Sequence[Command]
) -> tuple[frozenset[int], ...]:
    """For each of the commands that lead from `now` to `target`, the places of those it needs.

    There is no circle: lists need nothing but the end of their use, uses need lists, opening a
    port needs what stands on it, routes need ports, announcements need filters, and what fills a
    new section needs what guards it.
    """
    subjects = [
        _subject(place, c, now[c.device], target[c.device]) for place, c in enumerate(commands)
    ]
    return tuple(
        frozenset(
            other.place for other in subjects if other is not mine and _needs(topology, mine, other)
        )
        for mine in subjects
    )


def _subject(place: int, command: Command, now: DeviceConfig, target: DeviceConfig) -> _Subject:
    slot, removes = subject_of(command)
    old, new = now.settings, target.settings
    comes, goes = frozenset[Slot](), frozenset[Slot]()
    if removes:
        goes = frozenset(s for s in old if s[: len(slot)] == slot and s not in new)
    else:
        comes = frozenset(s for s in (slot, context_of(slot)) if old.get(s) != new.get(s))
    return _Subject(place, command.device, slot, comes, goes, now, target)


def _needs(topology: Topology, mine: _Subject, other: _Subject) -> bool:
    return (
        (mine.device == other.device and (_needs_here(mine, other) or _is_guarded(mine, other)))
        or _needs_on_link(topology, mine, other)
        or _needs_of_prefix(mine, other)
    )


def _needs_here(mine: _Subject, other: _Subject) -> bool:
    """A use needs all that sets its list; the removal of a list needs the end of its uses, or, if
    others come in place of all its entries, those: it must not be empty in between.
    """
    used = {list_used(mine.target, slot) for slot in mine.comes} - {None}
    comes = {list_of(slot) for slot in other.comes} - {None}
    gone = {list_of(slot) for slot in mine.goes} - {None}
    if used & comes or any(not _is_kept(mine, of) for of in gone & comes if of):
        return True
    ended = {list_used(other.now, slot) for slot in other.comes | other.goes}
    return any(not is_defined(mine.target, of) for of in gone & ended if of)


def _is_kept(subject: _Subject, of: tuple[str, str]) -> bool:
    """Whether an entry of a list stays, if with another value."""
    both = subject.now.settings.keys() & subject.target.settings.keys()
    return any(list_of(slot) == of and len(slot) > 2 for slot in both)


def _is_guarded(mine: _Subject, other: _Subject) -> bool:
    """In a new section, what shuts a port comes first, then guards, then all else."""
    section = context_of(mine.slot) or mine.slot
    if section in mine.now.settings or section not in other.comes:
        return False
    return _place_in_section(other.slot) < _place_in_section(mine.slot)


def _place_in_section(slot: Slot) -> int:
    own = locate(slot)[3][0]
    return 0 if own == "shutdown" else 1 if own in GUARDS else 2


def _needs_on_link(topology: Topology, mine: _Subject, other: _Subject) -> bool:
    """Opening needs what stands at both ends; a route an open port; shutting, no route."""
    here, there = _link(topology, mine), _link(topology, other)
    if _opens(mine) and not _opens(other) and not _shuts(other):
        return here is not None and here == there and len(other.slot) > 2
    if mine.slot[0] == "ip route" and mine.comes:
        over = _cable_of(topology, mine.device, mine.target, mine.slot)
        return over is not None and over == there and _opens(other)
    if _shuts(mine) and other.slot[0] == "ip route":
        return here is not None and here == _cable_of(topology, other.device, other.now, other.slot)
    return False


def _needs_of_prefix(mine: _Subject, other: _Subject) -> bool:
    """Announcing needs what decides over the prefix; dropping such a thing needs the withdrawal."""
    announced = _networks(mine.comes - mine.now.settings.keys())
    if any(_decides(other, prefix, comes=True) for prefix in announced):
        return True
    return any(_decides(mine, prefix, comes=False) for prefix in _networks(other.goes))


def _decides(subject: _Subject, prefix: Prefix, *, comes: bool) -> bool:
    """Whether a command makes, or drops, something that decides who hears of a prefix.

    What ends all of BGP drops nothing: there is nobody left to hear.
    """
    if BGP in subject.goes:
        return False
    slots, config = (subject.comes, subject.target) if comes else (subject.goes, subject.now)
    if any(slot in FILTERS or _matches(config, slot, prefix) for slot in slots):
        return True
    if MOST_PREFIXES not in subject.comes | subject.goes:
        return False
    was, will = (c.settings.get(MOST_PREFIXES) for c in (subject.now, subject.target))
    raised = was is not None and (will is None or will > was)
    return raised == comes


def _matches(config: DeviceConfig, slot: Slot, prefix: Prefix) -> bool:
    """Whether a slot is an entry of a prefix list that speaks of a prefix."""
    entries = config.prefix_lists.get(slot[1], ()) if slot[0] == PREFIX_LIST else ()
    return any(entry.sequence == slot[2] and entry.matches(prefix) for entry in entries)


def _networks(slots: Iterable[Slot]) -> list[Prefix]:
    return [slot[2] for slot in slots if slot[:2] == (*BGP, "network")]


def _opens(subject: _Subject) -> bool:
    """Whether a port that is closed now is open with it, and stays so.

    One that is not configured is closed, and any line of its section opens it.
    """
    port = subject.slot[:2]
    opened = _is_open(subject.target, port) and not _is_open(subject.now, port)
    return opened and (port in subject.comes or (*port, "shutdown") in subject.goes)


def _shuts(subject: _Subject) -> bool:
    port = subject.slot[:2]
    shut = _is_open(subject.now, port) and not _is_open(subject.target, port)
    return shut and (port in subject.goes or (*port, "shutdown") in subject.comes)


def _is_open(config: DeviceConfig, port: Slot) -> bool:
    settings = config.settings
    return port[0] == "interface" and port in settings and (*port, "shutdown") not in settings


def _link(topology: Topology, subject: _Subject) -> int | None:
    """The cable of the port that a command is about."""
    if subject.slot[0] != "interface":
        return None
    return _cable(topology, subject.device, subject.slot[1])


def _cable_of(topology: Topology, device: str, config: DeviceConfig, slot: Slot) -> int | None:
    """The cable that a static route leads over."""
    value = config.settings.get(slot)
    return None if value is None else _cable(topology, device, str(value[0]))


def _cable(topology: Topology, device: str, port: str) -> int | None:
    number = topology.ports[device].get(port)
    return None if number is None else number // 2


def list_of(slot: Slot) -> tuple[str, str] | None:
    """The list that a slot is a part of."""
    return (slot[0], slot[1]) if slot[0] in (ACL, PREFIX_LIST) else None


def list_used(config: DeviceConfig, slot: Slot) -> tuple[str, str] | None:
    """The list that a setting of a config uses: (kind, name)."""
    kind = ACL if slot[0] == "management" else USES.get(slot[-1])
    value = config.settings.get(slot)
    return (kind, value[0]) if kind and value and value[0] else None


def is_defined(config: DeviceConfig, wanted: tuple[str, str]) -> bool:
    """Whether a list has an entry. One that has none permits everything."""
    kind, name = wanted
    lists = config.access_lists if kind == ACL else config.prefix_lists
    return bool(lists.get(name))


def dangling(configs: Configs, devices: Iterable[str]) -> frozenset[tuple[str, Slot]]:
    """The settings of these devices that use a list that is not defined: (device, slot)."""
    return frozenset(
        (device, slot)
        for device in devices
        for slot in configs[device].settings
        if (used := list_used(configs[device], slot)) and not is_defined(configs[device], used)
    )
