"""Past changes as they are sampled: the same in any process, valid, and fit for their purpose."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest
import yaml

from shadowsim.dataplane.exposure import newly_open, open_to
from shadowsim.dataplane.forwarding import compile as compile_plane
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.trace import trace
from shadowsim.dataplane.verify import Verifier
from shadowsim.errors import BadInput
from shadowsim.history import CHANGES_PER_SITE, Case, Site, case, change_at, site
from shadowsim.history.circumstances import production_s
from shadowsim.history.distribution import distribution
from shadowsim.history.grammar import KINDS
from shadowsim.history.list_changes import UNWANTED
from shadowsim.history.mistakes import MISTAKES, spoil, with_mistake
from shadowsim.history.networks import DATABASE, a_network, network, networks
from shadowsim.history.policies import EDGE, GUARD, LEGACY, port_of
from shadowsim.history.quirks import struck
from shadowsim.history.script import Script
from shadowsim.model.change import Change, apply, numbered, parse_script, render_script
from shadowsim.model.faults import WHEREVER, After, Fault
from shadowsim.model.intents import Limit, PathIntent
from shadowsim.model.streams import stream
from shadowsim.precog.whatif import Condition, Observed, WhatIf
from shadowsim.scenario import Scenario, parse
from shadowsim.scenario.intents import BOUNDS

SEED = 5
DIGEST = """
import hashlib
from shadowsim.history import change_at, site
sites = [site({seed}, number) for number in range({count})]
text = "".join(repr(change_at(where, index)) for where in sites for index in range(20))
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def sites() -> list[Site]:
    return [site(SEED, number) for number in range(24)]


@pytest.fixture(scope="module")
def cases(sites: list[Site]) -> list[Case]:
    return [change_at(where, index) for where in sites for index in range(CHANGES_PER_SITE)]


def look(where: Site, commands: tuple = ()) -> Condition:
    """The condition of a site after these commands, with its traffic of now."""
    whatif = WhatIf(where.topology, where.traffic.demands, where.intents)
    rates = np.array([demand.rate_bps for demand in where.traffic.demands])
    seen = Observed(frozenset(), np.zeros(where.topology.directed_links), rates)
    return whatif.look(apply(where.configs, commands), seen, where.configs)


def plane(where: Site, commands: tuple = ()) -> Plane:
    return compile_plane(where.topology, apply(where.configs, commands))


def scripts(where: Site, kind: str, count: int = 3) -> list[Script]:
    """Correct scripts of a kind, as far as it can be made at a site."""
    made = (KINDS[kind](where, stream(SEED, kind, str(i))) for i in range(count))
    return [script for script in made if script is not None]


# ---- the same in any process


def test_two_processes_sample_the_same(cases):
    """Also where texts hash otherwise, so that no order of a set is in it."""
    text = "".join(map(repr, cases[: 8 * CHANGES_PER_SITE]))
    other = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    done = subprocess.run(
        [sys.executable, "-c", DIGEST.format(seed=SEED, count=8)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": other},
    )
    assert done.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_a_case_is_a_change_at_its_site(sites, cases):
    for number in (3, 47):
        where = sites[number // CHANGES_PER_SITE]
        assert repr(case(SEED, number)) == repr(change_at(where, number % CHANGES_PER_SITE))
        assert cases[number].number == number
    assert repr(case(SEED + 1, 3)) != repr(case(SEED, 3))


# ---- valid


def test_every_site_is_well_before_anything_is_changed(sites):
    for where in sites:
        found = look(where)
        assert not found.modes(), (where.number, where.network)
        assert (found.severity < 0.95).all()
        assert not found.overloaded


def test_every_script_parses_renders_and_applies(cases):
    for found in cases:
        scenario = found.scenario
        commands = scenario.change.commands
        assert commands
        assert parse_script(render_script(commands)) == commands
        assert numbered(scenario.configs, commands) == commands
        after = apply(scenario.configs, commands)
        assert after.keys() == scenario.configs.keys()
        ports = scenario.topology.ports
        for command in commands:
            head, _, port = command.context.partition(" ")
            assert head != "interface" or port in ports[command.device]


def as_yaml(scenario: Scenario) -> str:
    """A case's scenario as a person would have to write it."""
    topology = scenario.topology
    nodes = {
        d.name: {"model": d.model, "hosts": [h.name for h in topology.hosts_of[d.name]]}
        for d in topology.devices
    }
    links = [
        {
            "endpoints": [link.a, link.b],
            "rate_mbps": link.rate_bps / 1e6,
            "delay_ms": link.delay_s * 1e3,
            "queue_packets": link.queue_packets,
        }
        for link in topology.links
    ]
    demands = [
        {
            "from": d.source, "to": d.destination, "rate_mbps": d.rate_bps / 1e6,
            "class": d.traffic_class, "protocol": d.protocol, "port": d.port,
            "packet_bytes": d.packet_bytes, "flows": d.flows,
        }
        for d in scenario.traffic.demands
    ]  # fmt: skip
    steps = [{"at_s": at_s, "factor": factor} for at_s, factor in scenario.traffic.profile.steps]
    intents, shadow = scenario.intents, scenario.shadow
    script = render_script(scenario.change.commands)
    document = {
        "name": scenario.name,
        "seed": scenario.seed,
        "topology": {"nodes": nodes, "links": links},
        "configs": {name: config.text for name, config in scenario.configs.items()},
        "traffic": {"demands": demands, "profile": {"steps": steps}},
        "intents": [*map(path_spec, intents.paths), *map(limit_spec, intents.limits)],
        "change": {"summary": scenario.change.summary, "script": script},
        "faults": [*map(fault_spec, scenario.faults)],
        "shadow": {"scope": shadow.scope, "mirror": {"fraction": shadow.mirror.fraction}},
        "workflow": asdict(scenario.workflow),
    }
    return yaml.safe_dump(document, sort_keys=False)


def path_spec(intent: PathIntent) -> dict:
    given = {"from": intent.source, "to": intent.destination, "via": intent.via}
    if intent.protocol != "ip":
        given |= {"protocol": intent.protocol, "port": intent.port}
    return {intent.kind: {key: value for key, value in given.items() if value is not None}}


def limit_spec(limit: Limit) -> dict:
    key, unit = BOUNDS[limit.metric]
    of = {"class": limit.traffic_class} if limit.traffic_class else {}
    return {limit.metric: {key: limit.bound * unit} | of}


def fault_spec(fault: Fault) -> dict:
    units = {
        "link_loss": ("percent", 1e2), "link_delay": ("add_ms", 1e3), "cpu_hog": ("percent", 1e2),
        "link_flap": ("half_period_s", 1.0), "table_full": ("percent", 1e2),
        "memory_leak": ("percent_per_s", 1e2), "traffic_surge": ("factor", 1.0),
        "retry_storm": ("factor", 1.0),
    }  # fmt: skip
    what: dict = {"link": [*fault.link]} if fault.link else {}
    what |= {"device": fault.device} if fault.device else {}
    if fault.kind in units:
        key, unit = units[fault.kind]
        what[key] = fault.amount * unit
    if fault.kind in ("traffic_surge", "retry_storm"):
        what |= {"from": fault.source, "to": fault.destination}
        what |= {"class": fault.traffic_class} if fault.traffic_class else {}
    after = fault.after and {"command": fault.after.command, "model": fault.after.model}
    start = {"after": after} if after else {"at_s": fault.at_s}
    ended = {"for_s": fault.for_s} if fault.for_s else {}
    return start | ended | {"in": fault.network, fault.kind: what}


def test_a_case_is_what_its_file_would_be_read_as(cases):
    for found in cases[::13]:
        scenario = found.scenario
        read = parse(as_yaml(scenario))
        assert read.configs == scenario.configs
        assert read.change == scenario.change
        assert read.workflow == scenario.workflow
        assert read.shadow == scenario.shadow
        assert {h.name: h.device for h in read.topology.hosts} == {
            h.name: h.device for h in scenario.topology.hosts
        }
        assert read.topology.address == scenario.topology.address
        rates = [link.rate_bps for link in read.topology.links]
        assert rates == pytest.approx([link.rate_bps for link in scenario.topology.links])
        assert [d.name for d in read.traffic.demands] == [d.name for d in scenario.traffic.demands]
        assert read.traffic.profile == scenario.traffic.profile
        assert read.intents.paths == scenario.intents.paths
        bounds = [limit.bound for limit in read.intents.limits]
        assert bounds == pytest.approx([limit.bound for limit in scenario.intents.limits])
        plain = [replace(fault, amount=0.0) for fault in scenario.faults]
        assert [replace(fault, amount=0.0) for fault in read.faults] == plain
        amounts = [fault.amount for fault in read.faults]
        assert amounts == pytest.approx([fault.amount for fault in scenario.faults])


def test_faults_speak_of_what_is_there(cases):
    for found in cases:
        topology = found.scenario.topology
        for fault in found.scenario.faults:
            assert fault.link is None or topology.cables(*fault.link)
            somewhere = fault.device == WHEREVER and fault.after is not None
            assert fault.device is None or somewhere or fault.device in topology.device_index
            topology.resolve(fault.destination)


def test_what_is_hidden_is_in_the_scenario(cases):
    for found in cases:
        scenario = found.scenario
        after_s = production_s(scenario.change)
        assert ("later peak" in found.hidden) == bool(scenario.traffic.profile.steps)
        assert all(at_s > after_s for at_s, _ in scenario.traffic.profile.steps)
        assert ("subset" in found.hidden) == (scenario.shadow.scope == "subset")
        quirks = [f for f in scenario.faults if f.after and f.network == "production"]
        assert ("production quirk" in found.hidden) == bool(quirks)
        latent = [f for f in scenario.faults if f.kind == "link_down" and f.for_s is None]
        assert ("latent" in found.hidden) == bool(latent)
        assert all(fault.at_s > after_s for fault in latent)


def test_an_unknown_network_is_told():
    with pytest.raises(BadInput, match="did you mean 'sndlib/abilene'"):
        network("sndlib/abilen", stream(SEED))


# ---- mistakes


def test_every_mistake_changes_the_script_and_says_where(sites):
    met: Counter[str] = Counter()
    for where in sites:
        for kind in KINDS:
            for script in scripts(where, kind, 1):
                for name in MISTAKES:
                    found = with_mistake(name, where, script.commands, stream(SEED, name, kind))
                    if found is None:
                        continue
                    met[name] += 1
                    assert found.mistake == name
                    assert found.commands != script.commands
                    assert found.at_fault
                    assert {*found.at_fault} <= {*found.commands}
                    assert parse_script(render_script(found.commands)) == found.commands
    assert met.keys() == MISTAKES.keys()


def test_what_is_spoiled_is_another_script(sites):
    for where in sites:
        for kind in KINDS:
            for script in scripts(where, kind, 1):
                found = spoil(where, script.commands, stream(SEED, "spoil", kind))
                assert found is None or found.commands != script.commands


def test_cases_say_what_is_wrong_with_them(cases):
    for found in cases:
        assert (found.mistake is None) == (not found.at_fault)
        assert {*found.at_fault} <= {*found.scenario.change.commands}


# ---- all of it is reached


def test_all_kinds_mistakes_and_circumstances_are_reached(cases):
    text = distribution(cases)
    print(text)
    assert {found.kind for found in cases} == {*KINDS}
    assert {found.mistake for found in cases} >= {*MISTAKES} - {"wrong direction"}
    hidden = {name for found in cases for name in found.hidden}
    assert len(hidden) == 7
    assert all(kind in text for kind in KINDS)


def test_all_networks_are_reached():
    random = stream(SEED, "networks")
    drawn = Counter(a_network(random) for _ in range(20_000))
    assert drawn.keys() == {*networks()}
    groups = Counter(name.partition("/")[0] for name in drawn.elements())
    assert 0.3 < groups["sndlib"] / 20_000 < 0.4
    assert 0.1 < groups["fat_tree"] / 20_000 < 0.2


# ---- correct scripts do what they are for


def test_no_correct_script_breaks_an_intent_of_reachability(sites):
    """Where no static route stays as it is when the ways around it change."""
    plain = [where for where in sites if not where.pinned]
    assert len(plain) > 3
    for where in plain:
        for kind in KINDS:
            for script in scripts(where, kind, 1):
                assert not look(where, script.commands).broken, (where.number, kind)


ABOUT_WAYS = {
    "drain", "undrain", "recost", "normalise costs", "capacity", "maintenance", "shut",
    "open spare", "retire", "swap", "large frames", "empty device", "static route", "remove route",
}  # fmt: skip


def test_what_is_not_about_ways_opens_nothing(sites):
    for where in sites[:12]:
        for kind in KINDS.keys() - ABOUT_WAYS:
            for script in scripts(where, kind, 1):
                assert not look(where, script.commands).exposed, (where.number, kind)


def carried(where: Site, found: Plane, cable: int) -> bool:
    """Whether any demand is sent over a cable."""
    paths = trace(found, where.traffic.demands)
    used = paths.links[0][np.arange(paths.links.shape[2]) < paths.hops[0][:, None]]
    return bool({2 * cable, 2 * cable + 1} & {*used.tolist()})


def is_empty(where: Site, script: Script) -> bool:
    return not carried(where, plane(where, script.commands), script.cable)


def is_shut(where: Site, script: Script) -> bool:
    after = plane(where, script.commands)
    return not after.up[2 * script.cable] and not after.up[2 * script.cable + 1]


def is_open(where: Site, script: Script) -> bool:
    after = plane(where, script.commands)
    return bool(after.up[2 * script.cable] and after.up[2 * script.cable + 1])


def is_undrained(where: Site, script: Script) -> bool:
    after = apply(where.configs, script.commands)
    costs = {after[d].interfaces[p].cost for d, p in where.ends(script.cable)}
    return len(costs) == 1 and max(costs) < 5000


def has_its_rate(where: Site, script: Script) -> bool:
    after, bought = plane(where, script.commands), script.summary
    rates = after.rate_bps[2 * script.cable : 2 * script.cable + 2]
    given = where.topology.links[script.cable].rate_bps
    wanted = given if "full rate" in bought else float(bought.split(" has ")[1].split()[0]) * 1e6
    return bool(np.allclose(rates, wanted, rtol=1e-5))


def carries_only_its_own(where: Site, script: Script) -> bool:
    device = script.summary.split(" off ")[1].split(" for ")[0]
    after, homes = plane(where, script.commands), where.topology.hosts
    home = {host.name: host.device for host in homes}
    through = [
        d for d in where.traffic.demands if device not in (home[d.source], home[d.destination])
    ]
    paths = trace(after, through)
    used = paths.links[0][np.arange(paths.links.shape[2]) < paths.hops[0][:, None]]
    mine = {2 * c + s for c, li in enumerate(where.topology.links) if device in (li.a, li.b)
            for s in (0, 1)}  # fmt: skip
    return not mine & {*used.tolist()}


def changes_no_rule(where: Site, script: Script) -> bool:
    whatif = WhatIf(where.topology, where.traffic.demands, where.intents)
    return whatif.same_rules(where.configs, apply(where.configs, script.commands))


def denies(where: Site, script: Script) -> bool:
    """No host of the device whose port has the list reaches anybody at the port blocked."""
    device = script.commands[0].device
    _, _, protocol, _, _, _, port = script.commands[0].line.split()
    bound = [n for n, p in where.configs[device].interfaces.items() if p.acl_in == EDGE]
    source = bound[0].removeprefix("to-")
    intent = PathIntent("isolated", source, other(where, source), protocol, int(port))
    [verdict] = Verifier(where.topology, (intent,)).check(plane(where, script.commands))
    return verdict.holds


def other(where: Site, source: str) -> str:
    return next(host.name for host in where.topology.hosts if host.name != source)


def lets_in(where: Site, script: Script) -> bool:
    """A port of the database is open to the hosts of a device that it was closed to."""
    near = script.summary.split()[1]
    intent = PathIntent("reachable", near, DATABASE, "tcp", 23)
    before, after = (
        Verifier(where.topology, (intent,)).check(plane(where, commands))[0].holds
        for commands in ((), script.commands)
    )
    return after and not before


def has_no(name: str) -> Callable[[Site, Script], bool]:
    def check(where: Site, script: Script) -> bool:
        device = script.commands[-1].device
        return name not in apply(where.configs, script.commands)[device].access_lists

    return check


def filters(where: Site, script: Script) -> bool:
    after = apply(where.configs, script.commands)[script.commands[0].device]
    [port] = [p for p in after.interfaces.values() if p.acl_in and p.acl_in.startswith("IN-")]
    entries = after.permitted(port.acl_in) or ()
    return {e.destination_ports[0] for e in entries if not e.permit} <= {*UNWANTED}


def manages_less(where: Site, script: Script) -> bool:
    after = apply(where.configs, script.commands)
    device = script.commands[0].device
    still = open_to(after[device], "ssh")
    return not newly_open(where.configs, after) and (
        bool(still) or "ssh" in script.summary or "snmp" in script.summary
    )


def goes_there(where: Site, script: Script) -> bool:
    device, prefix, port = (
        script.commands[0].device, *script.commands[0].line.removeprefix("ip route ").split(),
    )  # fmt: skip
    after = plane(where, script.commands)
    to = next(name for name, lan in where.topology.lan.items() if str(lan) == prefix)
    atom = after.host_atom[where.topology.host_index[where.topology.hosts_of[to][0].name]]
    link = where.topology.ports[device][port]
    return bool(after.next_hops[link, atom // 64] >> np.uint64(atom % 64) & np.uint64(1))


def is_heard_from(where: Site, script: Script) -> bool:
    """The prefix is announced by the device named, and by no other."""
    words = script.summary.split()
    prefix, device = words[1], words[-1]
    after = apply(where.configs, script.commands)
    origins = [n for n, c in after.items() if any(str(p) == prefix for p, _ in c.bgp.networks)]
    lists = after[device].prefix_lists.get(after[device].bgp.filter_out or "", None)
    permitted = lists is None or any(str(e.prefix) == prefix and e.permit for e in lists)
    return origins == [device] and permitted


def is_heard_from_nobody(where: Site, script: Script) -> bool:
    prefix = script.summary.split()[1]
    after = apply(where.configs, script.commands)
    return not any(str(p) == prefix for c in after.values() for p, _ in c.bgp.networks)


MEANT: dict[str, Callable[[Site, Script], bool]] = {
    "drain": is_empty,
    "undrain": is_undrained,
    "capacity": has_its_rate,
    "uncap": has_its_rate,
    "maintenance": is_shut,
    "shut": is_shut,
    "open spare": is_open,
    "retire": is_shut,
    "swap": is_shut,
    "large frames": is_open,
    "empty device": carries_only_its_own,
    "describe": changes_no_rule,
    "block port": denies,
    "admit to database": lets_in,
    "new list": filters,
    "renew guard": has_no(GUARD),
    "unbind list": has_no(EDGE),
    "remove list": has_no(LEGACY),
    "admit operators": manages_less,
    "renew management": manages_less,
    "narrow management": manages_less,
    "close service": manages_less,
    "static route": goes_there,
    "announce": is_heard_from,
    "move service": is_heard_from,
    "withdraw": is_heard_from_nobody,
}


@pytest.mark.parametrize("kind", MEANT)
def test_a_correct_script_does_what_it_is_for(sites, kind):
    tried = 0
    for where in sites[:16]:
        for script in scripts(where, kind):
            tried += 1
            assert MEANT[kind](where, script), (where.number, where.network, script)
    assert tried >= 3


def test_the_checks_see_a_script_that_does_not(sites):
    """What the drains are checked for does not hold of the network as it is."""
    seen = [
        carried(where, plane(where), cable) for where in sites[:8] for cable in where.used
    ]  # fmt: skip
    assert sum(seen) > len(seen) / 3


def test_the_guard_that_moves_is_bound_once(sites):
    for where in sites[:8]:
        for script in scripts(where, "move guard", 1):
            after = apply(where.configs, script.commands)
            device, port = port_of(where.topology, DATABASE)
            assert after[device].interfaces[port].acl_out is None


# ---- quirks


def test_only_quirks_that_the_change_meets_are_in_its_scenario(sites):
    where = sites[0]
    device = where.topology.devices[0]
    fault = Fault("cpu_hog", 0.0, device=WHEREVER, after=After("ip ospf cost", device.model))
    other_model = replace(fault, after=After("ip ospf cost", "none"))
    change = Change("", tuple(parse_script(
        f"device {device.name}\ninterface to-X\n ip ospf cost 5\n"
    )))  # fmt: skip
    assert struck((fault, other_model), where.topology, change) == (fault,)
