"""The wiring of a topology while it is put together, before it becomes a frozen Topology."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shadowsim.model.topology import Device, Host
from shadowsim.scenario.yamlfile import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}")
NAME_IN_WORDS = "letters, digits and _ . - (50 at most, a letter or digit first)"
RESERVED = ("any", "all")
KM_PER_SECOND = 200_000.0
SHORTEST_S = 1e-5


@dataclass(frozen=True, slots=True)
class Cable:
    """A link before its defaults are filled in. `path` is where the scenario speaks of it.

    `natural_*`: what its source tells, used unless the scenario says otherwise for all links.
    """

    a: str
    b: str
    path: Path
    rate_mbps: float | None = None
    delay_ms: float | None = None
    queue_packets: int | None = None
    natural_delay_s: float | None = None
    natural_rate_bps: float | None = None


@dataclass
class Wiring:
    """What a source of topologies gives.

    `hostless`: devices that want no default host. `fabric`: host links have the rate of the
    others, and no device gets a default host. `matrix`: measured traffic between devices.
    """

    name: str
    devices: list[Device] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)
    cables: list[Cable] = field(default_factory=list)
    hostless: frozenset[str] = frozenset()
    fabric: bool = False
    matrix: Mapping[tuple[str, str], float] = field(default_factory=dict)


def name_trouble(name: str) -> str | None:
    """Why a name cannot be used, None where it can."""
    if name in RESERVED:
        return f"the name '{name}' stands for all hosts or devices; choose another"
    return None if NAME.fullmatch(name) else f"a name consists of {NAME_IN_WORDS}"


def safe_names(wanted: Iterable[str], before_number: str = "_") -> list[str]:
    """Names that are unique and safe, as close to the wanted ones as can be."""
    taken: dict[str, int] = {}  # with the last number that was tried
    found = []
    for i, name in enumerate(wanted):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        base = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")[:40] or f"n{i}"
        base = f"{base}_" if base in RESERVED else base
        choice, nth = base, taken.get(base, 1)
        while choice in taken:
            nth += 1
            choice = f"{base}{before_number}{nth}"
        taken[base] = nth
        taken.setdefault(choice, 1)
        found.append(choice)
    return found


def delay_of_length(km: float | None) -> float | None:
    """The time light takes in a fibre of that length."""
    return None if km is None else max(km / KM_PER_SECOND, SHORTEST_S)
