"""Flows, groups and meters of one switch as frozen values, to JSON and back, with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from shadowsim.network.emulated.controller import delta

COPY_PORT, STEER_PORT = 1001, 1002  # OpenFlow ports that lead to the Mirror Engine
DSCP = {"critical": 46, "normal": 0, "bulk": 8}  # EF, default and CS1 (RFC 4594)

Field = int | tuple[int, int]  # the value, or (value, mask)
Match = tuple[tuple[str, Field], ...]
Action = tuple[str | int, ...]


class Flow(NamedTuple):
    """One flow entry: what matches does `actions` in order, then goes on to table `goto`.

    `match`: (field, value) in order of field, by the names of OpenFlow's OXM fields and `reg0`,
    in which the number of the port stands through which the packet shall leave. Actions:
    `("dec_ttl",)`, `("reg0", port)`, `("eth_dst", mac)`, `("group", id)`, `("queue", level)`,
    `("clear_in_port",)`, `("output", port)`, `("trunc", port, bytes)`. Whatever passes here passes
    meter `meter` first. No actions and no `goto`: dropped.
    """

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    meter: int | None = None


class Group(NamedTuple):
    """A select group. Each slot is a bucket that loads reg0 with its port and goes to table 3."""

    id: int
    slots: tuple[int, ...]


class Meter(NamedTuple):
    """Drops what exceeds `rate_kbps`, but for bursts of up to `burst_kbit`."""

    id: int
    rate_kbps: int
    burst_kbit: int


@dataclass(frozen=True)
class Rules:
    """All that one switch holds, in canonical order: equal rules are equal values."""

    dpid: int
    flows: tuple[Flow, ...] = ()
    groups: tuple[Group, ...] = ()
    meters: tuple[Meter, ...] = ()
    as_json: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "flows", tuple(sorted(self.flows, key=_order)))
        set_(self, "groups", tuple(sorted(self.groups)))
        set_(self, "meters", tuple(sorted(self.meters)))
        lists = {name: [v._asdict() for v in getattr(self, name)] for name in delta.PARTS}
        set_(self, "as_json", {"dpid": self.dpid, **lists})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal digests, equal rules."""
        text = json.dumps(self.as_json, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Rules:
        """The rules of such JSON, in whichever order it names them."""
        return Rules(
            data["dpid"],
            tuple(Flow(**{name: _frozen(v) for name, v in f.items()}) for f in data["flows"]),
            tuple(Group(g["id"], tuple(g["slots"])) for g in data["groups"]),
            tuple(Meter(**m) for m in data["meters"]),
        )


def difference(old: Rules | None, new: Rules) -> dict[str, Any]:
    """What makes a switch with rules `old` (None: unknown) one with `new`, as plain data.

    `{"clear": bool, "flows": {"add": [...], "delete": [...]}, "groups": ..., "meters": ...}`;
    adding a flow or meter that is there under the same key replaces it.
    """
    return delta.difference(old.as_json if old else None, new.as_json)


def differing(held: Rules, wanted: Rules) -> dict[str, int]:
    """How many flows, groups and meters only one of the two has, or each has in its own way."""
    if held.digest == wanted.digest:
        return {}
    found = difference(held, wanted)
    return {part: len(found[part]["add"]) + len(found[part]["delete"]) for part in delta.PARTS}


def _order(flow: Flow) -> tuple[int, int, str]:
    return flow.table, -flow.priority, json.dumps(flow.match)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value
