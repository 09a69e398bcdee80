"""Commands between two configs to what each needs done before it: definition before use.

On one device, a list is whole before it is used, and used no more before it is removed. Across
devices, a link is set up at both ends before it is opened and open before a static route leads
over it; and what decides over a prefix elsewhere is there before the prefix is announced, and goes
after it is withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shadowsim.model.change import Command, Configs, subject_of
from shadowsim.model.config import DeviceConfig
from shadowsim.model.grammar import Slot
from shadowsim.model.topology import Topology

ACL, PREFIX_LIST = "ip access-list extended", "ip prefix-list seq"
USES = {  # the last words of a slot whose value names a list, and what kind of list
    "ip access-group in": ACL,
    "ip access-group out": ACL,
    "prefix-list in": PREFIX_LIST,
    "prefix-list out": PREFIX_LIST,
    "redistribute learned": PREFIX_LIST,
}


class _Subject(NamedTuple):
    """A command with the slot it is about, and the configs of its device at both ends."""

    place: int
    device: str
    slot: Slot
    removes: bool
    now: DeviceConfig
    target: DeviceConfig


def dependencies(
    topology: Topology, now: Configs, target: Configs, commands: Sequence[Command]
) -> tuple[frozenset[int], ...]:
    """For each of the commands that lead from `now` to `target`, the places of those it needs.

    There is no circle: lists need nothing but the end of their use, uses need lists, opening a
    port needs what stands on it, routes need ports, announcements need filters.
    """
    subjects = [
        _Subject(place, c.device, *subject_of(c), now[c.device], target[c.device])
        for place, c in enumerate(commands)
    ]
    return tuple(
        frozenset(
            other.place for other in subjects if other is not mine and _needs(topology, mine, other)
        )
        for mine in subjects
    )


def _needs(topology: Topology, mine: _Subject, other: _Subject) -> bool:
    return (
        (mine.device == other.device and _needs_here(mine, other))
        or _needs_on_link(topology, mine, other)
        or _needs_of_prefix(mine, other)
    )


def _needs_here(mine: _Subject, other: _Subject) -> bool:
    """A use needs all that sets its list; the removal of a list needs the end of its uses."""
    used = None if mine.removes else list_used(mine.target, mine.slot)
    if used is not None and not other.removes and list_of(other.slot) == used:
        return True
    gone = list_of(mine.slot) if mine.removes else None
    if gone is None or is_defined(mine.target, gone):
        return False
    return list_used(other.now, other.slot) == gone


def _needs_on_link(topology: Topology, mine: _Subject, other: _Subject) -> bool:
    """Opening needs what stands at both ends; a route an open port; shutting, no route."""
    here, there = _link(topology, mine), _link(topology, other)
    if _opens(mine) and not _opens(other) and not _shuts(other):
        return other.slot[0] == "interface" and len(other.slot) > 2 and here == there
    if mine.slot[0] == "ip route" and not mine.removes:
        return _opens(other) and _cable_of(topology, mine.device, mine.target, mine.slot) == there
    if _shuts(mine) and other.slot[0] == "ip route":
        return here is not None and here == _cable_of(topology, other.device, other.now, other.slot)
    return False


def _needs_of_prefix(mine: _Subject, other: _Subject) -> bool:
    """Announcing needs what decides over the prefix; dropping such a thing needs the withdrawal."""
    if _is_network(mine) and not mine.removes and mine.slot not in mine.now.settings:
        return _decides(other, mine.slot[2], comes=True)
    if _is_network(other) and other.removes:
        return _decides(mine, other.slot[2], comes=False)
    return False


def _decides(subject: _Subject, prefix: object, *, comes: bool) -> bool:
    """Whether a command makes, or drops, something that decides who hears of a prefix."""
    slot, settings = subject.slot, subject.now.settings
    if slot[0] == PREFIX_LIST:
        config = subject.target if comes else subject.now
        entries = {e.sequence: e for e in config.prefix_lists.get(slot[1], ())}
        entry = entries.get(slot[2]) if len(slot) > 2 else None
        return subject.removes != comes and entry is not None and entry.matches(prefix)  # type: ignore[arg-type]
    if slot[0] != "router bgp" or len(slot) < 2:
        return False
    if slot[1] in ("prefix-list in", "prefix-list out"):
        return subject.removes != comes
    if slot[1] != "maximum-prefix":
        return False
    was, will = settings.get(slot), subject.target.settings.get(slot)
    raised = was is not None and (will is None or will > was)
    return raised == comes


def _is_network(subject: _Subject) -> bool:
    return subject.slot[:2] == ("router bgp", "network") and len(subject.slot) > 2


def _opens(subject: _Subject) -> bool:
    return subject.removes and subject.slot[-1] == "shutdown"


def _shuts(subject: _Subject) -> bool:
    return not subject.removes and subject.slot[-1] == "shutdown"


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
