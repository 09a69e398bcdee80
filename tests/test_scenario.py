"""The scenario language: what good files mean, and what is said about bad ones.

Each `tests/bad/NAME.yml` stands beside `NAME.txt`, the exact messages. After a wording was
changed on purpose, `python tests/test_scenario.py` writes them anew; read the difference.
"""

from __future__ import annotations

import difflib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadowsim.errors import BadInput
from shadowsim.model.change import Command, parse_config, parse_script
from shadowsim.model.config import render
from shadowsim.model.faults import FAULT_KINDS, Fault
from shadowsim.model.intents import Limit, PathIntent
from shadowsim.model.traffic import Demand, Profile
from shadowsim.scenario import (
    Expect,
    Mirror,
    Scenario,
    ShadowPlan,
    WorkflowPlan,
    default_configs,
    json_schema,
    load,
    parse,
)
from shadowsim.scenario.findings import MAX_COMPARISONS
from shadowsim.scenario.traffic import busiest_share
from shadowsim.scenario.yamlfile import read_yaml

BAD = Path(__file__).parent / "bad"
BAD_FILES = sorted(p for p in BAD.glob("*.yml") if not p.name.endswith(".clab.yml"))

TINY = """
name: tiny
topology:
  nodes: [A, B, C]
  links: [[A, B], [B, C], [A, C]]
change: {script: ""}
"""

FULL = """\
# yaml-language-server: $schema=../docs/scenario.schema.json
# A cost raised to drain a link moves its traffic
# onto one that cannot carry it.
name: drain-overload
seed: 7
topology:
  topohub: sndlib/abilene
  links: {rate_mbps: 100, delay_ms: 2, queue_packets: 50}
  overrides:
    - {link: [ATLAng, HSTNng], rate_mbps: 40}
  hosts:
    guest1: {on: ATLAng, groups: [guest]}
    db1: {on: CHINng, groups: [db], rate_mbps: 500}
configs:
  all: |
    table-size 5000
  CHINng: |
    interface to-db1
     mtu 9000
traffic:
  demands: topohub
  scale: 0.6
  mix: {critical: 0.1, normal: 0.7, bulk: 0.2}
  profile:
    diurnal: {peak: 1.6, period_s: 600}
    steps: [{at_s: 9, factor: 2}, {at_s: 3, factor: 0}]
intents:
  - {reachable: {from: any, to: any}}
  - {isolated: {from: guest, to: db, protocol: tcp, port: 5432}}
  - no_loop
  - no_black_hole:
  - {waypoint: {from: guest, to: h-LOSAng, via: HSTNng}}
  - {latency: {class: critical, below_ms: 60}}
  - {loss: {below_percent: 1, to: h-LOSAng}}
  - {throughput: {class: normal, above_percent: 90}}
  - {utilisation: {below_percent: 95}}
change:
  summary: drain ATLA-HSTN for maintenance
  script: |
    device ATLAng
    interface to-HSTNng
     ip ospf cost 5000
faults:
  - {at_s: 40, link_loss: {link: [IPLSng, KSCYng], percent: 2}, for_s: 20}
  - {at_s: 10, telemetry_gap: , in: both}
shadow:
  mirror: {classes: [critical, normal], fraction: 0.5, truncate_bytes: 128, anonymise: false}
workflow: {precog: judge, shadow_s: 20, autonomy: ask}
expect:
  decision: no-go
  end_state: refused
  failure_mode: performance_degradation
  blamed: [ip ospf cost 5000]
  breach_below_s: 5
"""


def complaints(text: str | bytes) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse(text, file="x.yml")
    return str(caught.value).splitlines()


def tiny(more: str) -> Scenario:
    return parse(TINY + more)


def shown(path: Path) -> str:
    """The messages about a bad file, as a person in its folder would see them."""
    with pytest.raises(BadInput) as caught:
        load(path)
    return str(caught.value).replace(f"{BAD}/", "") + "\n"


# ---- bad files


def test_there_are_many_bad_files() -> None:
    assert len(BAD_FILES) >= 90
    assert {p.stem for p in BAD_FILES} == {p.stem for p in BAD.glob("*.txt")}


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.stem)
def test_bad_file(path: Path) -> None:
    assert shown(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.stem)
def test_messages_are_one_line_each_and_no_python(path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load(path)
    for mistake in caught.value.mistakes:
        assert mistake.message.isprintable()
        for word in ("Input should", "NoneType", "<class '", "Traceback", "pydantic"):
            assert word not in mistake.message


@pytest.mark.parametrize(
    ("monster", "message"),
    [
        ("[" * 100_000, "x.yml:1: nested more than 32 deep"),
        ("a: " + "[" * 100_000, "x.yml:1: nested more than 32 deep"),
        ("{" * 100_000, "x.yml:1: a key must be plain text, not a list, mapping or alias"),
        ("- " * 100_000, "x.yml:1: nested more than 32 deep"),
        ("a: [" + "1," * 60_000 + "]", "x.yml:1: the file has more than 50,000 keys and values"),
        ("a" * (2 << 20), "x.yml: the file has more than 1,048,576 bytes"),
        (b"\x7fELF\x02\x01\x00\x00", "x.yml: this is a binary file; wanted YAML text in UTF-8"),
        (b"name: caf\xe9", "x.yml:1: byte 0xe9 is not UTF-8 text; wanted YAML text in UTF-8"),
        ("a: \x07", "x.yml:1: character U+0007 is not allowed in YAML text"),
        (b"", "x.yml: the file is empty; wanted a mapping of keys to values"),
    ],
    ids=lambda value: None if value[:2] == "x." else f"{len(value)}-bytes",
)
def test_monsters_fail_with_one_message(monster: str | bytes, message: str) -> None:
    assert complaints(monster) == [message]


@pytest.mark.parametrize("libyaml", [True, False])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n" + "- 1\n" * 49_997, None),  # 50,000 with the mapping, its key and its list
        ("a:\n" + "- 1\n" * 49_998, 49_999),
        ("".join(f"k{i}: 1\n" for i in range(30_000)), 25_000),
        ("- " * 100 + "1\n" + "- 1\n" * 60_000, 1),  # too deep before it is too much
        ("a: \ud800\n" + "b: 1\n" * 30_000, 1),
    ],
    ids=["as many as may be", "one more", "a mapping", "too deep", "half a character"],
)
def test_too_many_nodes_are_told_alike_whoever_counts(
    text: str, line: int | None, libyaml: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    if line is None:
        assert len(read_yaml(text).lines) == 49_998
        return
    with pytest.raises(BadInput) as caught:
        read_yaml(text)
    assert caught.value.mistakes[-1].line == line


TIMED = """
import sys, time
from shadowsim.errors import BadInput
from shadowsim.scenario import parse
monster = sys.stdin.buffer.read()
before = time.process_time()
try:
    parse(monster, file="x.yml")
except BadInput:
    print(time.process_time() - before)
"""


@pytest.mark.parametrize(
    "monster",
    ["[" * 100_000, "{" * 100_000, "- " * 100_000, "a: [" + "1," * 60_000 + "]", "a" * (2 << 20)],
    ids=lambda monster: monster[:4],
)
def test_monsters_fail_fast(monster: str) -> None:
    """In a process of its own: the tracer that measures coverage would be measured too."""
    command = [sys.executable, "-c", TIMED]
    done = subprocess.run(command, input=monster.encode(), capture_output=True, check=True)
    assert float(done.stdout) < 3


def test_a_billion_laughs_are_refused_unexpanded() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(300))
    found = complaints(bomb)
    assert found[0] == "x.yml:1: anchor '&a' is not allowed; write it out"
    assert found[-1].endswith("too many mistakes; the rest of the file was not read")
    assert len(found) < 110


def test_many_mistakes_stay_readable() -> None:
    found = complaints(TINY + "".join(f"key{i}: 1\n" for i in range(1_000)))
    assert len(found) == 101
    assert found[-1] == "x.yml:106: and 900 more mistakes"


def test_many_unknown_names_stay_readable_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near matches are looked for among all names, so only for as many words as is quick."""
    sought: list[str] = []
    close = difflib.get_close_matches

    def counted(word: str, *rest: Any, **how: Any) -> list[str]:
        sought.append(word)
        return close(word, *rest, **how)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    nodes = ", ".join(f"node{i}" for i in range(9_000))
    links = ", ".join(f"[node0, nod{i}]" for i in range(9_000))
    demands = "".join(f"    - {{from: x{i}, to: any, rate_mbps: 1}}\n" for i in range(300))
    text = f"name: x\ntopology:\n  nodes: [{nodes}]\n  links: [{links}]\n"
    found = complaints(f"{text}traffic:\n  demands:\n{demands}change: {{script: ''}}")
    assert 1 <= len(sought) <= MAX_COMPARISONS // 9_000 + 1
    assert "did you mean 'node0'?" in found[0]
    assert len(found) == 201
    assert found[-1] == "x.yml:4: and more; the rest was not looked at"


def test_control_characters_do_not_reach_the_terminal() -> None:
    script = '"device A\\e[31m\\ninterface to-B\\n bad \\a\\n"'
    found = complaints(TINY.replace('""', script))
    assert found
    assert all(line.isprintable() for line in found)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.yml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(BadInput, match=reason):
            load(path)


# ---- plain values


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: [no, on, yes, true, 0x10, 0o10, 1e3, '5', ~, 1_000, 2024-01-01, !!str 5, -.inf]"
    assert read_yaml(text).values["a"] == [
        "no", "on", "yes", True, 16, 8, 1000.0, "5", None, "1_000", "2024-01-01", "5", -math.inf,
    ]  # fmt: skip


def test_every_node_has_its_line() -> None:
    document = read_yaml("a:\n  - b: 1\n    c: |\n\n      x\n  - d\n")
    assert document.line(("a", 0, "c")) == 3
    assert document.line(("a", 1)) == 6
    assert document.line(("a", 0, "unheard of", 5)) == 2
    assert document.blocks[("a", 0, "c")] == 4


# ---- what a good file means


def test_full_scenario() -> None:
    scenario = parse(FULL, file="scenarios/drain.yml")
    assert scenario.name == "drain-overload"
    assert scenario.summary == (
        "A cost raised to drain a link moves its traffic onto one that cannot carry it."
    )
    assert (scenario.seed, scenario.file) == (7, "scenarios/drain.yml")
    assert scenario.change.commands == (
        Command("ATLAng", "interface to-HSTNng", "ip ospf cost 5000"),
    )
    assert scenario.shadow == ShadowPlan("full", Mirror(("critical", "normal"), 0.5, 128, False))
    assert scenario.workflow == WorkflowPlan(precog="judge", shadow_s=20, autonomy="ask")
    assert scenario.expect == Expect(
        "no-go",
        "refused",
        "performance_degradation",
        blamed=("ip ospf cost 5000",),
        breach_below_s=5,
    )
    assert scenario.faults == (
        Fault("telemetry_gap", 10, network="both"),
        Fault("link_loss", 40, 20, link=("IPLSng", "KSCYng"), amount=0.02),
    )
    assert scenario.intents.paths == (
        PathIntent("reachable"),
        PathIntent("isolated", "guest", "db", "tcp", 5432),
        PathIntent("no_loop"),
        PathIntent("no_black_hole"),
        PathIntent("waypoint", "guest", "h-LOSAng", via="HSTNng"),
    )
    assert scenario.intents.limits == (
        Limit("latency", 0.06, "critical"),
        Limit("loss", 0.01, destination="h-LOSAng"),
        Limit("throughput", 0.9, "normal"),
        Limit("utilisation", 0.95),
    )
    assert scenario.traffic.profile == Profile(1.6, 600, ((3, 0), (9, 2)))
    assert all(config.table_size == 5000 for config in scenario.configs.values())
    assert scenario.configs["CHINng"].interfaces["to-db1"].mtu_bytes == 9000


def test_what_is_left_out_has_defaults() -> None:
    scenario = tiny("traffic:\nfaults:\nexpect:\n")
    assert scenario.seed == 0
    assert scenario.traffic.demands == ()
    assert [intent.kind for intent in scenario.intents.paths] == [
        "reachable", "no_loop", "no_black_hole",
    ]  # fmt: skip
    assert scenario.intents.limits == scenario.faults == scenario.change.commands == ()
    assert scenario.workflow == WorkflowPlan()
    assert scenario.shadow == ShadowPlan()
    assert scenario.expect is None
    assert tiny("intents: []").intents.paths == ()


def test_same_text_same_scenario() -> None:
    assert parse(FULL) == parse(FULL)


def test_every_fault_can_be_said_in_si_units() -> None:
    places = {
        "link_down": "link: [A, B]",
        "link_flap": "link: [A, B], half_period_s: 2",
        "link_loss": "link: [B, A], percent: 2",
        "link_delay": "link: [A, B], add_ms: 50",
        "link_rate": "link: [A, B], percent: 10",
        "device_crash": "device: A",
        "cpu_hog": "device: A, percent: 90",
        "memory_leak": "device: A, percent_per_s: 3",
        "table_full": "device: A, percent: 25",
        "controller_lost": "",
        "config_drift": "device: B, script: 'table-size 99'",
        "telemetry_gap": "device: C",
        "traffic_surge": "to: C, factor: 3",
        "retry_storm": "from: A, class: critical, factor: 4",
    }
    lines = [
        f"  - {{at_s: {i}, {kind}: {{{places[kind]}}}}}\n" for i, kind in enumerate(FAULT_KINDS)
    ]
    faults = {fault.kind: fault for fault in tiny("faults:\n" + "".join(lines)).faults}
    assert tuple(faults) == FAULT_KINDS
    amounts = {kind: fault.amount for kind, fault in faults.items() if fault.amount}
    assert amounts == pytest.approx(
        {
            "link_flap": 2, "link_loss": 0.02, "link_delay": 0.05, "link_rate": 0.1,
            "cpu_hog": 0.9, "memory_leak": 0.03, "table_full": 0.25,
            "traffic_surge": 3, "retry_storm": 4,
        }
    )  # fmt: skip
    assert faults["link_loss"].link == ("B", "A")
    assert faults["controller_lost"].device is None
    assert parse_script(faults["config_drift"].script) == (Command("B", "", "table-size 99"),)
    assert (faults["retry_storm"].source, faults["retry_storm"].traffic_class) == ("A", "critical")


def test_automation_gives_its_script_again_and_again():
    line = "faults: [{{at_s: 5, config_drift: {{device: B, script: 'table-size 99'{}}}}}]\n"
    (fault,) = tiny(line.format(", every_s: 2.5")).faults
    assert (fault.kind, fault.amount) == ("config_drift", 2.5)
    for value in ("0", "-1", "often", "1e9"):
        with pytest.raises(BadInput, match=r"faults\[0\]\.config_drift\.every_s"):
            tiny(line.format(f", every_s: {value}"))
    with pytest.raises(BadInput, match="did you mean 'every_s'"):
        tiny(line.format(", every: 2"))


# ---- configs


def test_default_configs_equal_their_own_text() -> None:
    for source in ("nodes: [A, B]\n  links: [[A, B], [A, B]]", "fat_tree: {k: 4}"):
        topology = parse(f"name: x\ntopology:\n  {source}\nchange: {{script: ''}}").topology
        for config in default_configs(topology).values():
            assert parse_config(render(config)) == config


def test_default_config_of_a_device() -> None:
    config = tiny("").configs["A"]
    assert config.interfaces["to-B"].cost == 10
    assert {"to-B", "to-C", "to-h-A"} == set(config.interfaces)
    assert config.bgp is not None
    assert config.bgp.maximum_prefix == 100
    assert [str(prefix) for prefix, _ in config.bgp.networks] == ["10.0.0.0/24"]
    assert config.management == {"ssh": "MGMT", "snmp": "MGMT"}
    assert config.table_size == 4096


def test_configs_on_top_removed_and_replaced() -> None:
    scenario = tiny(
        "configs:\n"
        "  A: |\n    no management ssh\n    interface to-B\n     ip ospf cost 7\n"
        "  B: |\n    # all of it\n    hostname B\n    table-size 9\n"
        "  all: |\n    table-size 8\n"
    )
    assert scenario.configs["A"].management == {"snmp": "MGMT"}
    assert scenario.configs["A"].interfaces["to-B"].cost == 7
    assert scenario.configs["A"].table_size == 8
    assert dict(scenario.configs["B"].settings) == {("table-size",): (9,)}


def test_lines_of_scripts_are_lines_of_the_file() -> None:
    head = "name: x\ntopology: {nodes: [A]}\n"
    text = f"{head}change:\n  script: |  # a remark\n\n\n    device A\n    nope\n"
    assert complaints(text)[0].startswith("x.yml:8: 'nope' is not a command")
    text = f"{head}configs:\n  A: |\n    hostname A\n    nope\nchange: {{script: ''}}"
    assert complaints(text)[0].startswith("x.yml:6: 'nope' is not a command")


def test_names_of_hosts_stand_for_addresses_on_access_list_lines_only() -> None:
    script = (
        '"device A\\nip access-list extended X\\n permit tcp host h-B any eq 22 # host none\\n'
        " 30 deny ip lan(B) host h-C\\nno ip access-list extended host\\n"
        'interface to-B\\n description host none in lan(none)"'
    )
    commands = parse(TINY.replace('""', script)).change.commands
    assert [command.line for command in commands] == [
        "10 permit tcp host 10.0.1.2 any eq 22",
        "30 deny ip 10.0.1.0/24 host 10.0.2.2",
        "no ip access-list extended host",
        "description host none in lan(none)",
    ]


def test_limits_on_a_class_are_not_judged_while_its_traffic_is_unknown() -> None:
    limits = "intents: [{loss: {class: critical, below_percent: 1}}]\n"
    demands = "traffic: {demands: [{from: A, to: %s, rate_mbps: 1, class: critical}]}\n"
    assert len(tiny(limits + demands % "B").intents.limits) == 1
    found = complaints(TINY + limits + demands % "Q")
    assert len(found) == 1
    assert "there is no host, device or group 'Q'" in found[0]


def test_phases_may_be_as_short_as_is_sensible() -> None:
    plan = tiny("workflow: {baseline_s: 2, shadow_s: 5, monitor_s: 5}\n").workflow
    assert (plan.baseline_s, plan.shadow_s, plan.monitor_s) == (2, 5, 5)


def test_names_are_checked_after_a_bad_topology_but_not_what_depends_on_it() -> None:
    text = TINY.replace("[A, C]]", "[A, Q]]").replace('""', '"device A\\ninterface to-C\\n mtu 99"')
    assert complaints(text + "faults: [{at_s: 1, device_crash: {device: X}}]") == [
        "x.yml:5: there is no node 'Q'; valid: A, B, C",
        "x.yml:7: there is no device 'X'; valid: A, B, C",
    ]


# ---- traffic


@pytest.mark.parametrize("scale", [0.3, 0.9])
@pytest.mark.parametrize("source", ["topohub: sndlib/polska", "topohub: topozoo/Abilene"])
def test_shapes_are_scaled_to_the_busiest_link(source: str, scale: float) -> None:
    demands = "topohub" if "sndlib" in source else "gravity"
    scenario = parse(
        f"name: x\ntopology: {{{source}}}\ntraffic: {{demands: {demands}, scale: {scale}}}\n"
        "change: {script: ''}"
    )
    share = busiest_share(scenario.topology, scenario.configs, scenario.traffic.demands)
    assert share == pytest.approx(scale)
    assert {demand.traffic_class for demand in scenario.traffic.demands} == {"normal"}


def test_the_measured_matrix_keeps_its_proportions() -> None:
    text = FULL.replace("  mix: {critical: 0.1, normal: 0.7, bulk: 0.2}\n", "")
    scenario = parse(text.replace("class: critical, below_ms", "below_ms"))
    rate = {(d.source, d.destination): d.rate_bps for d in scenario.traffic.demands}
    assert len(rate) == 132
    ratio = rate["h-CHINng", "h-HSTNng"] / rate["h-CHINng", "h-ATLAM5"]
    assert ratio == pytest.approx(329673 / 2770)
    assert not any("guest1" in pair or "db1" in pair for pair in rate)


def test_a_mix_splits_every_pair() -> None:
    demands = parse(FULL).traffic.demands
    assert len(demands) == 3 * 132
    critical, normal, bulk = demands[:3]
    assert normal.rate_bps == pytest.approx(7 * critical.rate_bps)
    assert [(d.traffic_class, d.protocol, d.port) for d in (critical, normal, bulk)] == [
        ("critical", "udp", 5004),
        ("normal", "tcp", 443),
        ("bulk", "tcp", 873),
    ]


def test_a_list_of_demands_is_expanded() -> None:
    scenario = tiny(
        "traffic:\n  scale: 2\n  demands:\n"
        "    - {from: any, to: C, rate_mbps: 3, class: bulk}\n"
        "    - {from: h-A, to: B, rate_mbps: 1, protocol: udp, port: 53, "
        "packet_bytes: 200, flows: 4}\n"
    )
    assert scenario.traffic.demands == (
        Demand("h-A", "h-C", 6e6, "bulk"),
        Demand("h-B", "h-C", 6e6, "bulk"),
        Demand("h-A", "h-B", 2e6, "normal", "udp", 53, 200, 4),
    )


def test_gravity_weighs_by_capacity() -> None:
    scenario = parse(
        "name: x\ntopology:\n  nodes: {A: , B: , C: {hosts: 2}}\n"
        "  links: [[A, B], {endpoints: [B, C], rate_mbps: 300}]\n"
        "traffic: {demands: gravity}\nchange: {script: ''}"
    )
    rate = {(d.source, d.destination): d.rate_bps for d in scenario.traffic.demands}
    assert len(rate) == 10
    assert rate["h-A", "h-C-0"] / rate["h-A", "h-B"] == pytest.approx(3 / 2 / 4)
    share = busiest_share(scenario.topology, scenario.configs, scenario.traffic.demands)
    assert share == pytest.approx(0.5)


def test_shapes_that_reach_nobody_are_refused() -> None:
    text = TINY + "traffic: {demands: gravity}\nconfigs: {all: no router bgp}\n"
    assert complaints(text) == ["x.yml:7: no traffic crosses any link under the initial configs"]


# ---- JSON Schema


def test_schema_is_valid_and_describes_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for model in (schema, *schema["$defs"].values()):
        for key, node in model.get("properties", {}).items():
            assert node.get("description"), key
        assert model.get("additionalProperties", True) is False


@pytest.mark.parametrize("text", [TINY, FULL])
def test_schema_admits_good_scenarios(text: str) -> None:
    jsonschema.validate(read_yaml(text).values, json_schema())


@pytest.mark.parametrize(
    "stem", ["key_unknown_top", "key_missing", "type_seed", "fault_two_kinds", "range_mirror"]
)
def test_schema_refuses_bad_scenarios(stem: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(read_yaml((BAD / f"{stem}.yml").read_bytes()).values, json_schema())


def test_every_example_of_the_schema_is_valid() -> None:
    schema = json_schema()
    for model in (schema, *schema["$defs"].values()):
        for node in model.get("properties", {}).values():
            for example in node.get("examples", ()):
                whole = node | {"$defs": schema["$defs"]}
                jsonschema.Draft202012Validator(whole).validate(example)


def test_importing_is_quick() -> None:
    code = "import shadowsim.scenario, sys; print([m for m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for heavy in ("networkx", "topohub", "numba", "scipy"):
        assert f"'{heavy}'" not in loaded.stdout


# ---- fuzz: nothing but BadInput ever comes out

FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.integers(-2, 70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["A", "B", "any", "h-A", "all", "-", "to-B", "no_loop", "gravity", "topohub"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
SCRIPT = (
    "device A B interface to-B no ip ospf cost 5 access-list extended X permit deny tcp any eq "
    "hostname router bgp network 10.0.0.0/8 ! exit # shutdown route Null0 table-size \n"
)
SCRIPT_WORDS = st.sampled_from(SCRIPT.split(" "))


def survives(text: str | bytes) -> None:
    try:
        parse(text, file="x.yml")
    except BadInput as error:
        assert error.mistakes
        assert all(m.message.isprintable() and m.message for m in error.mistakes)


@FUZZ
@given(st.text() | st.binary())
def test_fuzz_anything(source: str | bytes) -> None:
    survives(source)


@FUZZ
@given(st.lists(st.sampled_from(list("[]{}:-,&*!|>'\"#%@`?~ \n\tab1.")), max_size=60).map("".join))
def test_fuzz_yaml(source: str) -> None:
    survives(source)


@FUZZ
@given(st.data())
def test_fuzz_characters_of_a_good_scenario(data: st.DataObject) -> None:
    text = FULL
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.text(max_size=4)) + text[end:]
    survives(text)


@FUZZ
@given(st.data())
def test_fuzz_lines_of_a_good_scenario(data: st.DataObject) -> None:
    lines = FULL.splitlines(keepends=True)
    survives("".join(data.draw(st.lists(st.sampled_from(lines), max_size=60))))
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    survives("".join(lines))


@FUZZ
@given(st.data())
def test_fuzz_values_of_a_good_scenario(data: st.DataObject) -> None:
    tree: Any = read_yaml(FULL).values
    if data.draw(st.booleans()):
        tree["topology"] = {"nodes": {"A": {"hosts": 2}, "B": {}}, "links": [["A", "B"]]}
    for _ in range(data.draw(st.integers(1, 3))):
        node = tree
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                break
            place = data.draw(st.sampled_from(places))
            if isinstance(node[place], dict | list) and data.draw(st.integers(0, 3)):
                node = node[place]
                continue
            if isinstance(node, dict) and data.draw(st.booleans()):
                node[data.draw(st.text(max_size=5))] = node.pop(place)
            else:
                node[place] = data.draw(VALUES)
            break
    survives(yaml.safe_dump(tree, allow_unicode=True))


@FUZZ
@given(st.lists(SCRIPT_WORDS, max_size=25).map(" ".join))
def test_fuzz_scripts(script: str) -> None:
    tree: Any = read_yaml(TINY).values
    tree["change"]["script"] = script
    tree["configs"] = {"A": script, "all": script}
    tree["faults"] = [{"at_s": 1, "config_drift": {"device": "B", "script": script}}]
    survives(yaml.safe_dump(tree))


# ---- what fuzzing found


def test_halves_of_a_character_are_joined_or_refused() -> None:
    """A lone surrogate could not be written to any file of the run later."""
    found = parse(TINY.replace('script: ""', 'script: "", summary: "a \\ud83d\\ude00"'))
    assert found.change.summary == "a \U0001f600"
    for half in ("\\ud83d", "\\ude00", "\\ude00\\ud83d"):
        (said,) = complaints(TINY.replace('script: ""', f'script: "", summary: "{half}"'))
        assert said.startswith("x.yml:6: ")
        assert "holds half a character" in said
        assert said.isprintable()


def test_an_escape_beyond_the_last_character_is_told_with_its_line() -> None:
    (said,) = complaints(TINY.replace('script: ""', 'script: "", summary: "\\U00110000"'))
    assert said == r"x.yml:6: an escape \U is beyond the last character, \U0010FFFF"


def test_no_message_commands_a_terminal() -> None:
    said = complaints(TINY.replace('script: ""', 'script: "device \\e[31m\\x07\\nno"'))
    assert all(line.isprintable() for line in said)


if __name__ == "__main__":
    for bad_file in BAD_FILES:
        bad_file.with_suffix(".txt").write_text(shown(bad_file), encoding="utf-8")
