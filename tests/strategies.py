"""Small random topologies, configs, commands and changes, for property tests.

Configs are made as values, commands as text: neither uses the parser or the writer that the
tests are about. Names come from small pools, so that statements meet each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from shadowsim.model.address import ANY, Prefix, format_address, network
from shadowsim.model.change import Change, Command
from shadowsim.model.config import DeviceConfig
from shadowsim.model.grammar import FORMS, Form
from shadowsim.model.topology import Device, Host, Link, Topology
from shadowsim.model.traffic import CLASSES
from shadowsim.model.words import PROTOCOLS, SERVICES, Endpoint

DEVICES = ("A", "core-1.lab")
INTERFACES = ("to-B", "to-B-2", "eth0/1", "Vlan10:5")
ACLS = ("WEB", "MGMT", "10", "in")
PREFIX_LISTS = ("OUT", "PL-2", "seq")
CONTEXT_NAMES = {"interface": INTERFACES, "ip access-list extended": ACLS}
ACL_HEAD = "ip access-list extended"


def edges(low: int, high: int, *usual: int) -> st.SearchStrategy[int]:
    """Whole numbers, mostly both ends and the usual ones."""
    return st.sampled_from([low, high, *usual]) | st.integers(low, high)


prefixes = st.builds(
    network,
    st.sampled_from([10 << 24, 10 << 24 | 1 << 8, 10 << 24 | 200, 192 << 24 | 2 << 8, 2**32 - 1])
    | st.integers(0, 2**32 - 1),
    st.sampled_from([0, 8, 24, 25, 32]) | st.integers(0, 32),
)
ports = st.none() | st.tuples(edges(0, 65535, 22, 443), edges(0, 65535, 22)).map(
    lambda pair: (min(pair), max(pair))
)
texts = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Z", "C"), exclude_characters="#"),
        min_size=1,
        max_size=6,
    ),
    min_size=1,
    max_size=3,
).map(" ".join)

# The values of every kind of part in the grammar.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "access-list": st.sampled_from(ACLS),
    "action": st.sampled_from(["permit", "deny"]),
    "as-number": st.sampled_from([1, 65000, 65001, 2**32 - 1]),
    "bits-per-second": edges(1, 10**13, 1_000_000),
    "bytes": edges(68, 9216, 1500, 9000),
    "class": st.sampled_from(CLASSES),
    "cost": edges(1, 65535, 10, 500),
    "count": edges(1, 10_000_000, 4096),
    "end": st.builds(Endpoint, prefixes, ports),
    "length": edges(0, 32, 24),
    "level": edges(0, 7),
    "name": st.sampled_from(INTERFACES),
    "preference": edges(0, 2**32 - 1, 100, 200),
    "prefix": prefixes,
    "protocol": st.sampled_from(list(PROTOCOLS)),
    "sequence": edges(1, 2**31 - 11, 5, 10, 20),
    "service": st.sampled_from(SERVICES),
    "text": texts,
}


def _kind(form: Form, word: str) -> st.SearchStrategy[Any]:
    """A `<name>` in a prefix-list line, or one that refers to it, is a prefix-list's."""
    listed = word == "name" and "prefix-list" in form.pattern
    return st.sampled_from(PREFIX_LISTS) if listed else VALUES[word]


@st.composite
def parts(draw: st.DrawFn, form: Form) -> list[Any]:
    """One value for each typed part of a form, in order; None where an optional one is left out."""
    values = [
        draw(st.none() | _kind(form, p.word)) if p.group else draw(_kind(form, p.word))
        for p in form.parts
        if p.kind is not None
    ]
    if values and isinstance(values[-1], Endpoint) and values[-3] in ("ip", "icmp"):
        values[-2:] = [Endpoint(end.prefix, None) for end in values[-2:]]
    return values


# ---- configs, as values


@st.composite
def settings_of(draw: st.DrawFn, form: Form) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """One statement as slots and values, with the context it stands in."""
    typed = [p for p in form.parts if p.kind is not None]
    values = draw(parts(form))
    slot = (form.head, *(v for p, v in zip(typed, values, strict=True) if p.key))
    value = tuple(v for p, v in zip(typed, values, strict=True) if not p.key)
    if not form.context:
        return {slot: value}
    if form.context == "router bgp":
        context, opened = (form.context,), (draw(VALUES["as-number"]),)
    else:
        context, opened = (form.context, draw(st.sampled_from(CONTEXT_NAMES[form.context]))), ()
    return {context: opened, (*context, *slot): value}


statements = st.sampled_from(FORMS).flatmap(settings_of)


@st.composite
def device_configs(draw: st.DrawFn, hostname: str = "A") -> DeviceConfig:
    settings: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for statement in draw(st.lists(statements, max_size=8)):
        settings |= statement
    return DeviceConfig(hostname, settings)


@st.composite
def network_configs(draw: st.DrawFn, devices: tuple[str, ...] = DEVICES) -> dict[str, DeviceConfig]:
    return {name: draw(device_configs(name)) for name in devices}


@st.composite
def near_pairs(draw: st.DrawFn) -> tuple[dict[str, DeviceConfig], dict[str, DeviceConfig]]:
    """Two config sets that share much: what one has and the other has not is drawn slot by slot."""
    before, extra = draw(network_configs()), draw(network_configs(DEVICES[:1]))
    after = {}
    for name, config in before.items():
        settings = dict(config.settings)
        for slot in draw(st.lists(st.sampled_from(sorted(settings, key=str)))) if settings else ():
            for under in [s for s in settings if s[: len(slot)] == slot]:
                del settings[under]
        more = extra[name].settings if name in extra else {}
        after[name] = DeviceConfig(name, {**settings, **more})
    return before, after


# ---- commands, as text


def spellings(value: Any) -> st.SearchStrategy[str]:
    """Every way in which a value may be written."""
    if isinstance(value, Endpoint):
        return st.builds(
            lambda prefix, tail: prefix + tail,
            st.sampled_from(_prefix_spellings(value.prefix)),
            st.sampled_from(_port_spellings(value.ports)),
        )
    return st.just(str(value))


def _prefix_spellings(prefix: Prefix) -> list[str]:
    address = format_address(prefix.address)
    wildcard = format_address(prefix.last - prefix.first)
    found = [f"{address}/{prefix.length}", f"{address} {wildcard}"]
    found += ["any"] if prefix == ANY else []
    return found + ([f"host {address}"] if prefix.length == 32 else [])


def _port_spellings(ports: tuple[int, int] | None) -> list[str]:
    if ports is None:
        return [""]
    low, high = ports
    return [f" range {low} {high}", *([f" eq {low}"] if low == high else [])]


@st.composite
def lines_of(draw: st.DrawFn, form: Form, *, short: bool = False) -> str:
    """A line of that form; `short`: only the words that name the slot, as `no` takes them."""
    left = iter(draw(parts(form)))
    out: list[str] = []
    held: list[str] = []
    for part in form.parts:
        if part.kind is None:
            (held if part.group else out).append(part.word)
            continue
        value = next(left)
        if value is not None and (part.key or not short):
            out += [*held, draw(spellings(value))]
        held = []
    return " ".join(out)


@st.composite
def command_lines(draw: st.DrawFn, form: Form, *, unnumbered: bool = True) -> str:
    """A line that sets or removes; `unnumbered`: access list lines may go without their number."""
    kind = draw(st.sampled_from(["set", "set", "set", "no", "no slot"]))
    if kind == "no slot":
        return "no " + draw(lines_of(form, short=True))
    line = draw(lines_of(form))
    if kind == "no":
        return "no " + line
    if unnumbered and form.context == ACL_HEAD and draw(st.booleans()):
        return re.sub(r"^\d+ ", "", line)
    return line


@st.composite
def contexts(draw: st.DrawFn, head: str) -> str:
    """The line that opens a context; "" for the top level."""
    if not head:
        return ""
    if head == "router bgp":
        return f"{head} {draw(VALUES['as-number'])}"
    return f"{head} {draw(st.sampled_from(CONTEXT_NAMES[head]))}"


@st.composite
def commands(
    draw: st.DrawFn, devices: tuple[str, ...] = DEVICES, *, unnumbered: bool = True
) -> Command:
    form = draw(st.sampled_from(FORMS))
    context = draw(contexts(form.context))
    line = draw(command_lines(form, unnumbered=unnumbered))
    return Command(draw(st.sampled_from(devices)), context, line)


def scripts(*, unnumbered: bool = True, most: int = 10) -> st.SearchStrategy[tuple[Command, ...]]:
    return st.lists(commands(unnumbered=unnumbered), max_size=most).map(tuple)


changes: st.SearchStrategy[Change] = st.builds(Change, st.just("a change"), scripts())


@st.composite
def passing_changes(draw: st.DrawFn) -> Change:
    """Changes of few slots, many of which are set, removed and set again on the way."""
    acts: list[Command] = []
    for _ in range(draw(st.integers(1, 4))):
        form, device = draw(st.sampled_from(FORMS)), draw(st.sampled_from(DEVICES))
        context, line = draw(contexts(form.context)), draw(lines_of(form))
        acts += [Command(device, context, line), Command(device, context, f"no {line}")]
        acts += [Command(device, "", f"no {context}")] if context else []
    return Change("a change", tuple(draw(st.lists(st.sampled_from(acts), max_size=10))))


# ---- topologies


@st.composite
def topologies(draw: st.DrawFn, most: int = 5) -> Topology:
    """Connected or not, with parallel cables, and devices without hosts."""
    names = [f"d{i}" for i in range(draw(st.integers(1, most)))]
    ends = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda p: p[0] != p[1])
    cables = draw(st.lists(ends, max_size=2 * most)) if len(names) > 1 else []
    homes = draw(st.lists(st.sampled_from(names), min_size=1, max_size=most))
    return Topology(
        "random",
        tuple(map(Device, names)),
        tuple(Host(f"h{i}", home) for i, home in enumerate(homes)),
        tuple(Link(a, b) for a, b in cables),
    )


def configured(topology: Topology, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Plain config texts: every port open at cost 10, every LAN announced, and `extra` lines."""
    found = {}
    for device in topology.devices:
        lines = [f"hostname {device.name}"]
        lines += [f"interface {port}" for port in topology.ports[device.name]]
        lines += ["router bgp 65000"]
        if topology.hosts_of[device.name]:
            lines += [f" network {topology.lan[device.name]}"]
        found[device.name] = "\n".join([*lines, "!", (extra or {}).get(device.name, "")]) + "\n"
    return found
