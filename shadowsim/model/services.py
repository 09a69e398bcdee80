"""The service databases of a network, and how far their replicas in the shadow are."""

from __future__ import annotations

from dataclasses import dataclass

SERVICE_KINDS = ("redis",)
MOST_SERVICES = 8


@dataclass(frozen=True, slots=True)
class Service:
    """A database on a host that something writes to all the time; one a host."""

    kind: str
    host: str
    writes_per_s: float = 20.0
    value_bytes: int = 100


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A primary in production and its replica in the shadow.

    `written` counts the writes the primary took, `replicated` those of them the replica has (or
    had, where the primary lost them). `lag_s` is the age of the oldest write that it lacks; where
    it lacks none, what the last one took; nan before the first. `connected`: the replica follows.
    """

    host: str
    kind: str
    written: int
    replicated: int
    lag_s: float
    connected: bool
