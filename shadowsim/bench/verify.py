"""Turns networks, intents and single commands into how long it takes to know what still holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from shadowsim.bench.timing import Row, best_of
from shadowsim.dataplane.forwarding import Compiler
from shadowsim.dataplane.verify import Verdict, Verifier
from shadowsim.model.address import format_address
from shadowsim.model.change import Configs, apply, parse_script
from shadowsim.model.intents import PathIntent
from shadowsim.model.topology import Link, Topology, with_default_hosts
from shadowsim.scenario.defaults import default_configs
from shadowsim.scenario.graphs import read_topohub
from shadowsim.scenario.topologies import fat_tree
from shadowsim.scenario.wiring import Wiring

REPEATS = 20


class Case(NamedTuple):
    """A network in which every intent holds, and one script per kind of command."""

    topology: Topology
    configs: Configs
    intents: tuple[PathIntent, ...]
    commands: dict[str, str]


def topology_of(wiring: Wiring) -> Topology:
    hosts = wiring.hosts if wiring.fabric else with_default_hosts(wiring.devices, wiring.hosts)
    links = tuple(Link(cable.a, cable.b) for cable in wiring.cables)
    return Topology(wiring.name, tuple(wiring.devices), tuple(hosts), links)


def case(wiring: Wiring) -> Case:
    """Guard the first and the last host, each behind an access list at its own port."""
    topology = topology_of(wiring)
    near, other, far = topology.hosts[0], topology.hosts[1], topology.hosts[-1]
    address = {host.name: format_address(topology.address[host.name]) for host in topology.hosts}
    script = f"""
        device {near.device}
        ip access-list extended SHUT
        10 deny ip host {address[far.name]} host {address[near.name]}
        20 permit ip any any
        interface to-{near.name}
        ip access-group SHUT out
        device {far.device}
        ip access-list extended GUARD
        10 deny tcp any host {address[far.name]} eq 22
        20 deny udp any range 1024 65535 host {address[far.name]} eq 161
        30 deny udp any range 0 1023 host {address[far.name]} eq 161
        40 permit ip any any
        interface to-{far.name}
        ip access-group GUARD out
    """
    intents = (
        PathIntent("reachable"),
        PathIntent("no_loop"),
        PathIntent("no_black_hole"),
        PathIntent("isolated", far.name, near.name),
        PathIntent("isolated", "any", far.name, "tcp", 22),
        PathIntent("isolated", "any", far.name, "udp", 161),
        PathIntent("waypoint", "any", other.name, via=other.device),
    )
    port = f"to-{topology.links[0].b}"
    interface = f"device {topology.links[0].a}\ninterface {port}\n"
    commands = {
        "a cost": f"{interface} ip ospf cost 500",
        "a shutdown": f"{interface} shutdown",
        "an access list line": (
            f"device {far.device}\nip access-list extended GUARD\n 5 deny icmp any any"
        ),
        "a route to Null0": (f"device {other.device}\nip route {topology.lan[far.device]} Null0"),
    }
    configs = apply(default_configs(topology), parse_script(script))
    return Case(topology, configs, intents, commands)


def after_one_command(case: Case) -> Callable[[str], tuple[Verdict, ...]]:
    """What the bench times: a script applied to the configs, compiled and verified."""
    compiler, verifier = Compiler(case.topology), Verifier(case.topology, case.intents)

    def look(script: str) -> tuple[Verdict, ...]:
        configs = apply(case.configs, parse_script(script))
        return verifier.check(compiler.compile(configs))

    return look


def measure(name: str, case: Case, goal_ms: float) -> list[Row]:
    """Every kind of command in turn, the slowest counts; and the share of verification in it."""
    look = after_one_command(case)
    broken = [verdict.intent.name for verdict in look("") if not verdict.holds]
    if broken:
        raise AssertionError(f"{name}: broken from the start: {', '.join(broken)}")
    whole, alone = {}, {}
    compiler, verifier = Compiler(case.topology), Verifier(case.topology, case.intents)
    for kind, script in case.commands.items():
        planes = [compiler.compile(apply(case.configs, parse_script(s))) for s in ("", script)]
        whole[kind] = best_of(partial(all_of, look, ["", script]), REPEATS) / 2
        alone[kind] = best_of(partial(all_of, verifier.check, planes), REPEATS) / 2
    return [
        row(f"{name}: command to verdicts", whole, goal_ms),
        row(f"{name}: verification alone", alone, goal_ms / 2),
    ]


def all_of(function: Callable[[Any], object], arguments: list[Any]) -> None:
    for argument in arguments:
        function(argument)


def row(name: str, seconds: dict[str, float], goal_ms: float) -> Row:
    note = ", ".join(f"{kind} {s * 1e3:.2g}" for kind, s in seconds.items())
    return Row(name, max(seconds.values()) * 1e3, "ms", goal_ms, None, note)


def run() -> list[Row]:
    """Germany50 with a host per switch, and a fat tree of 320 switches and 1,024 hosts."""
    return [
        *measure("Germany50", case(read_topohub("sndlib/germany50")), 5.0),
        *measure("k = 16 fat tree", case(fat_tree(16)), 50.0),
    ]
