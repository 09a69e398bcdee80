"""What one switch is told: config text to a frozen map of typed settings, and back without loss.

A config is a finite map from *slot* to value. A slot is the part of a line that names what is
set (`interface to-B` / `ip ospf cost`), the value is the rest (`500`). On finite maps
application, difference and reversal are exact by construction; `change.py` only spells them
as commands. The grammar itself is the table `FORMS` in `grammar.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shadowsim.model.address import Prefix
from shadowsim.model.grammar import Slot, context_of, slot_order, write_line

Settings = Mapping[Slot, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Interface:
    """One port as configured. `rate_limit_bps` shapes what leaves through it."""

    name: str
    description: str = ""
    cost: int = 10
    mtu_bytes: int = 1500
    shutdown: bool = False
    acl_in: str | None = None
    acl_out: str | None = None
    rate_limit_bps: int | None = None


@dataclass(frozen=True, slots=True)
class AclEntry:
    """One line of an extended access list; ports are inclusive ranges, None where any."""

    sequence: int
    permit: bool
    protocol: str
    source: Prefix
    source_ports: tuple[int, int] | None
    destination: Prefix
    destination_ports: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class PrefixListEntry:
    sequence: int
    permit: bool
    prefix: Prefix
    ge: int | None
    le: int | None

    def matches(self, prefix: Prefix) -> bool:
        """Longer prefixes match only through `ge` and `le`, as in IOS."""
        if not self.prefix.covers(prefix):
            return False
        low = self.ge if self.ge is not None else self.prefix.length
        high = self.le if self.le is not None else (32 if self.ge is not None else low)
        return low <= prefix.length <= high


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """`via` is a port name, or `Null0` to discard."""

    prefix: Prefix
    via: str


@dataclass(frozen=True, slots=True)
class Bgp:
    """What the device originates and how it filters. None of the filters set: all is permitted.

    `relays`: (list, local preference) where it announces again what it hears from others.
    `discards`: what it tells everybody to drop, as RFC 8955 distributes filters.
    """

    asn: int
    networks: tuple[tuple[Prefix, int], ...]  # (prefix, local preference)
    filter_in: str | None
    filter_out: str | None
    maximum_prefix: int | None
    relays: tuple[str | None, int] | None = None
    discards: tuple[AclEntry, ...] = ()


@dataclass(frozen=True)
class DeviceConfig:
    """The config of one device. Equal texts give equal values; never mutate `settings`."""

    hostname: str
    settings: Settings

    @cached_property
    def interfaces(self) -> dict[str, Interface]:
        found = {}
        for name in self._names("interface"):
            where = ("interface", name)
            found[name] = Interface(
                name,
                description=self._value((*where, "description"), ""),
                cost=self._value((*where, "ip ospf cost"), 10),
                mtu_bytes=self._value((*where, "mtu"), 1500),
                shutdown=(*where, "shutdown") in self.settings,
                acl_in=self._value((*where, "ip access-group in"), None),
                acl_out=self._value((*where, "ip access-group out"), None),
                rate_limit_bps=self._value((*where, "rate-limit output"), None),
            )
        return found

    @cached_property
    def access_lists(self) -> dict[str, tuple[AclEntry, ...]]:
        """Entries in order of sequence. A list that exists but is empty permits everything."""
        found: dict[str, list[AclEntry]] = {
            name: [] for name in self._names("ip access-list extended")
        }
        for slot, value in self.settings.items():
            if slot[0] == "ip access-list extended" and len(slot) == 4:
                action, protocol, source, destination = value
                found[slot[1]].append(
                    AclEntry(slot[3], action == "permit", protocol, *source, *destination)
                )
        return {
            name: tuple(sorted(entries, key=lambda e: e.sequence))
            for name, entries in found.items()
        }

    @cached_property
    def prefix_lists(self) -> dict[str, tuple[PrefixListEntry, ...]]:
        found: dict[str, list[PrefixListEntry]] = {}
        for (_, name, sequence), value in self._under("ip prefix-list seq"):
            action, prefix, ge, le = value
            entry = PrefixListEntry(sequence, action == "permit", prefix, ge, le)
            found.setdefault(name, []).append(entry)
        return {
            name: tuple(sorted(entries, key=lambda e: e.sequence))
            for name, entries in found.items()
        }

    @cached_property
    def static_routes(self) -> tuple[StaticRoute, ...]:
        return tuple(sorted(
            (StaticRoute(slot[1], value[0]) for slot, value in self._under("ip route")),
            key=lambda route: route.prefix,
        ))  # fmt: skip

    @cached_property
    def bgp(self) -> Bgp | None:
        if ("router bgp",) not in self.settings:
            return None
        networks = (
            (slot[2], 100 if value[0] is None else value[0])
            for slot, value in self._under("router bgp")
            if len(slot) == 3 and slot[1] == "network"
        )
        relays = self.settings.get(("router bgp", "redistribute learned"))
        discards = (
            AclEntry(slot[2], False, protocol, *source, *destination)
            for slot, (protocol, source, destination) in self._flowspec()
        )
        return Bgp(
            asn=self.settings[("router bgp",)][0],
            networks=tuple(sorted(networks)),
            filter_in=self._value(("router bgp", "prefix-list in"), None),
            filter_out=self._value(("router bgp", "prefix-list out"), None),
            maximum_prefix=self._value(("router bgp", "maximum-prefix"), None),
            relays=None if relays is None else (relays[0], 100 if relays[1] is None else relays[1]),
            discards=tuple(sorted(discards, key=lambda entry: entry.sequence)),
        )

    def _flowspec(self) -> Iterable[tuple[Slot, tuple[Any, ...]]]:
        return (
            (slot, value)
            for slot, value in self._under("router bgp")
            if len(slot) == 3 and slot[1] == "flowspec discard"
        )

    @cached_property
    def qos(self) -> dict[str, int]:
        """Traffic class to priority level, 0 served first. Empty: every class shares one queue."""
        return {slot[1]: value[0] for slot, value in self._under("qos class priority")}

    @cached_property
    def management(self) -> dict[str, str | None]:
        """Management service to the access list that guards it, None where open to everyone."""
        return {slot[1]: value[0] for slot, value in self._under("management")}

    @cached_property
    def table_size(self) -> int:
        return int(self._value(("table-size",), 4096))

    def permitted(self, acl: str | None) -> tuple[AclEntry, ...] | None:
        """The entries an access list decides by; None where it decides nothing.

        As in IOS, a list that does not exist or has no entries permits everything.
        """
        return (self.access_lists.get(acl) or None) if acl else None

    @cached_property
    def acl_lines(self) -> int:
        """How many lines of access lists its ports decide by, each port on its own."""
        used = (acl for i in self.interfaces.values() for acl in (i.acl_in, i.acl_out) if acl)
        return sum(len(self.permitted(acl) or ()) for acl in used)

    @cached_property
    def text(self) -> str:
        return render(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rendered text: equal digests, equal configs."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def _value(self, slot: Slot, default: Any) -> Any:
        value = self.settings.get(slot)
        return default if value is None else value[0]

    def _names(self, context: str) -> list[str]:
        return sorted(s[1] for s in self.settings if s[0] == context and len(s) == 2)

    def _under(self, head: str) -> Iterable[tuple[Slot, tuple[Any, ...]]]:
        return ((slot, value) for slot, value in self.settings.items() if slot[0] == head)


def render(config: DeviceConfig) -> str:
    """The canonical text of a config: one section per context, in a fixed order."""
    out = [f"hostname {config.hostname}"]
    section: Slot = ()
    for slot in sorted(config.settings, key=slot_order):
        context = context_of(slot)
        if not context or context != section:
            out.append("!")
            section = context or slot
        indent = " " if context else ""
        out.append(indent + write_line(slot, config.settings[slot]))
    return "\n".join(out) + "\n"
