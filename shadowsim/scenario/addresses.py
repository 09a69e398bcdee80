"""Names of hosts and devices in scripts to the addresses they have: `host web`, `lan(Berlin)`."""

from __future__ import annotations

import re
from collections.abc import Callable

from shadowsim.model.address import format_address
from shadowsim.model.topology import Topology

_LAN = r"\blan\((?P<lan>[^()]*)\)"
_HOST_OR_LAN = re.compile(rf"\bhost\s+(?P<host>[A-Za-z]\S*)|{_LAN}")
_ONLY_LAN = re.compile(rf"(?P<host>(?!))|{_LAN}")
_FILTER_LINE = re.compile(r"\s*(no\s+)?((\d+\s+)?(permit|deny)|flowspec\s+\d+\s+discard)\s")
_PLACEHOLDERS = {"host": "host 0.0.0.1", "lan": "0.0.0.0/24"}

Unknown = Callable[[int, str, str, list[str]], None]


def addressed(text: str, topology: Topology | None, unknown: Unknown) -> str:
    """The text with the address of each `host NAME` and the prefix of each `lan(DEVICE)`.

    A host is named so on the lines of access lists and filters only; comments and descriptions
    stay.
    `unknown(line, kind, name, valid)` is told of each name that is none, with its place in the
    text counted from 0; a placeholder stands there then, as it does for every name without a
    topology.
    """
    return "\n".join(
        _line(line, number, topology, unknown) for number, line in enumerate(text.splitlines())
    )


def _line(line: str, number: int, topology: Topology | None, unknown: Unknown) -> str:
    if line.split()[:1] == ["description"]:
        return line

    def replaced(match: re.Match[str]) -> str:
        kind = "host" if match["host"] else "lan"
        name = match["host"] or (match["lan"] or "").strip()
        if topology is None:
            return _PLACEHOLDERS[kind]
        if kind == "host" and name in topology.host_index:
            return f"host {format_address(topology.address[name])}"
        if kind == "lan" and name in topology.lan:
            return str(topology.lan[name])
        valid = topology.host_index if kind == "host" else topology.lan
        unknown(number, "host" if kind == "host" else "device", name, list(valid))
        return _PLACEHOLDERS[kind]

    named = _HOST_OR_LAN if _FILTER_LINE.match(line) else _ONLY_LAN
    code, mark, comment = line.partition("#")
    return named.sub(replaced, code) + mark + comment
