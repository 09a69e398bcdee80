"""What a client asks of the agent to values that are certainly of the right kind.

Every verb has its fields here, and every field a check of type, range or form. Nothing is done
before all of it holds. The agent runs this file on the system's own Python: standard library only.
"""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], Any]

MOST_SWITCHES, MOST_PORTS, MOST_HOSTS, MOST_CABLES, MOST_FLOWS = 1000, 1000, 4000, 4000, 10000
MIRROR_PORT, DIVERT_PORT = 1001, 1002
DAEMONS = ("ovsdb-server", "ovs-vswitchd")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT)


class Refused(Exception):
    """A request that is not carried out; the message says why, and nothing was done."""


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except RecursionError:  # JSON is read deeper than it is written
        return "something that is nested too deep"
    return text if len(text) <= 40 else text[:37] + "..."


def integer(low: int, high: int) -> Check:
    """A whole number in a range, ends included."""

    def check(value: Any, at: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Refused(f"{at} must be a whole number {low}..{high}, not {_shown(value)}")
        return value

    return check


def boolean(value: Any, at: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise Refused(f"{at} must be true or false, not {_shown(value)}")
    return value


def choice(*valid: str | int) -> Check:
    """One of a few values, of the same type."""

    def check(value: Any, at: str) -> str | int:
        for one in valid:
            if type(value) is type(one) and value == one:
                return one
        words = ", ".join(map(str, valid))
        raise Refused(f"{at} must be one of {words}, not {_shown(value)}")

    return check


def address(value: Any, at: str) -> str:
    """An IPv4 address that a host may have, in its one plain form."""
    try:
        number = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise Refused(f"{at} must be an IPv4 address, not {_shown(value)}") from None
    if number.is_loopback or number.is_multicast or number.is_unspecified or number.is_link_local:
        raise Refused(f"{at} must be an address for a host, not {_shown(value)}")
    return str(number)


def listed(item: Check, most: int, *, exactly: bool = False) -> Check:
    """A list with at most (or exactly) so many items."""

    def check(value: Any, at: str) -> list[Any]:
        if not isinstance(value, list):
            raise Refused(f"{at} must be a list, not {_shown(value)}")
        if len(value) > most or (exactly and len(value) != most):
            rule = "exactly" if exactly else "at most"
            raise Refused(f"{at} must have {rule} {most} items, not {len(value)}")
        return [item(one, f"{at}[{number}]") for number, one in enumerate(value)]

    return check


def record(fields: Mapping[str, Check]) -> Check:
    """An object with exactly these fields; those whose name ends in `?` may be missing."""
    needed = {name for name in fields if not name.endswith("?")}
    checks = {name.rstrip("?"): check for name, check in fields.items()}

    def check(value: Any, at: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Refused(f"{at} must be an object, not {_shown(value)}")
        for name in value:
            if name not in checks:
                raise Refused(f"{at} has no field {_shown(name)}; it has {_named(checks)}")
        for name in sorted(needed - value.keys()):
            raise Refused(f"{at} lacks the field '{name}'")
        return {name: checks[name](one, f"{at}.{name}") for name, one in value.items()}

    return check


def _named(fields: Mapping[str, Check]) -> str:
    return ", ".join(sorted(fields)) or "none"


def cable_end(value: Any, at: str) -> tuple[str, int, int]:
    """`[kind, index, port]`: a switch's port (from 1), or a host's only port 0."""
    parts = listed(lambda one, _: one, 3, exactly=True)(value, at)
    kind = choice("switch", "host")(parts[0], f"{at}[0]")
    if kind == "host":
        return kind, HOST(parts[1], f"{at}[1]"), choice(0)(parts[2], f"{at}[2]")
    return kind, SWITCH(parts[1], f"{at}[1]"), integer(1, MOST_PORTS)(parts[2], f"{at}[2]")


SWITCH, HOST = integer(0, MOST_SWITCHES - 1), integer(0, MOST_HOSTS - 1)
PORT = integer(1, 65535)
_NEW_SWITCH = record({"index": SWITCH, "ports": integer(0, MOST_PORTS)})
_NEW_HOST = record({"index": HOST, "switch": SWITCH, "address": address, "gateway": address})
_FLOW = record(
    {
        "source": HOST,
        "source_port": PORT,
        "destination": HOST,
        "port": PORT,
        "protocol": choice("udp", "tcp"),
        "dscp": integer(0, 63),
    }
)

VERBS: Mapping[str, Mapping[str, Check]] = {
    "build": {
        "switches": listed(_NEW_SWITCH, MOST_SWITCHES),
        "hosts": listed(_NEW_HOST, MOST_HOSTS),
        "cables": listed(listed(cable_end, 2, exactly=True), MOST_CABLES),
    },
    "remove": {"switches": listed(SWITCH, MOST_SWITCHES), "hosts": listed(HOST, MOST_HOSTS)},
    "taps": {},
    "extra": {"switch": SWITCH, "name": choice("mirror", "divert")},
    "sockets": {"flows": listed(_FLOW, MOST_FLOWS)},
    "receivers": {},
    "listener": {},
    "power": {"switch": SWITCH, "on": boolean},
    "control": {"switch": SWITCH, "on": boolean},
    "status": {},
    "ping": {"source": HOST, "destination": HOST, "count": integer(1, 100)},
    "service": {
        "host": HOST,
        "kind": choice("redis"),
        "port": PORT,
        "primary": boolean,
        "source_port?": PORT,
    },
    "dial": {"host": HOST, "port": PORT},
    "hear": {"host": HOST, "port": PORT},
    "kill": {"what": choice(*DAEMONS), "signal": choice(*map(int, SIGNALS))},
    "stop": {},
}
_RECORDS = {verb: record(fields) for verb, fields in VERBS.items()}


def check_request(request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The verb of a request and its checked fields. Raises Refused."""
    verb = request.get("verb")
    if not isinstance(verb, str) or verb not in VERBS:
        raise Refused(f"no verb {_shown(verb)}; there are {', '.join(VERBS)}")
    fields = {name: value for name, value in request.items() if name != "verb"}
    return verb, _RECORDS[verb](fields, verb)
