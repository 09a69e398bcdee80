"""Outages that really happened: what is said of them, and that the scenarios do what they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from shadowsim.dataplane.forwarding import Compiler
from shadowsim.dataplane.plane import FORWARD, LOCAL, NO_ROUTE, Plane
from shadowsim.journal import Journal
from shadowsim.model.change import apply, parse_script
from shadowsim.network import NETWORKS
from shadowsim.precog import WhatIf, variant
from shadowsim.record import document
from shadowsim.scenario import Outage, load, parse
from shadowsim.workflow import Run, run_workflow

FOLDER = Path(__file__).parent.parent / "scenarios" / "outages"
HAPPENED = sorted(FOLDER.glob("*.yml"))
WENT_WELL = sorted((FOLDER / "well").glob("*.yml"))
MOST_LINES = 120

TEXT = """
name: leak
topology: {nodes: [A, B], links: [[A, B]]}
change: {script: ""}
"""
FACTS = """
outage:
  date: 2021-06-08
  who: Fastly
  change: a valid change of a customer's configuration
  mechanism: it triggered a defect that had been deployed before
  recovery_s: 2940
  lost: 85 % of the network returned errors
  sources: ["Summary of June 8 outage, Fastly, 2021-06-08"]
"""


# -- what is said of them ------------------------------------------------------------------------


def test_the_facts_are_read_and_change_nothing_else() -> None:
    with_facts, without = parse(TEXT + FACTS), parse(TEXT)
    assert with_facts.outage == Outage(
        date(2021, 6, 8),
        "Fastly",
        "a valid change of a customer's configuration",
        "it triggered a defect that had been deployed before",
        2940.0,
        "85 % of the network returned errors",
        ("Summary of June 8 outage, Fastly, 2021-06-08",),
    )
    assert replace(with_facts, outage=None) == without


def test_what_is_not_published_stays_open() -> None:
    told = [line for line in FACTS.splitlines() if "recovery_s" not in line and "lost" not in line]
    outage = parse(TEXT + "\n".join(told)).outage
    assert outage is not None
    assert outage.recovery_s is None
    assert outage.lost == "unknown"


# -- the library -----------------------------------------------------------------------------------

happened = pytest.mark.parametrize("path", HAPPENED, ids=lambda path: path.stem)
every = pytest.mark.parametrize("path", [*HAPPENED, *WENT_WELL], ids=lambda path: path.stem)


def test_as_many_changes_went_well_as_did_not() -> None:
    assert len(HAPPENED) >= 8
    assert len(WENT_WELL) >= len(HAPPENED)


@happened
def test_an_outage_says_what_was_public_and_what_was_simplified(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    scenario = load(path)
    assert "What was public:" in scenario.summary
    assert "What was simplified:" in scenario.summary
    assert scenario.outage is not None
    assert path.stem.startswith(f"{scenario.outage.day.isoformat()}-")
    assert all(source.count(",") >= 2 for source in scenario.outage.sources)


@pytest.mark.parametrize("path", WENT_WELL, ids=lambda path: path.stem)
def test_what_went_well_is_no_outage(path: Path) -> None:
    scenario = load(path)
    assert scenario.outage is None
    assert scenario.expect is not None
    assert scenario.expect.end_state == "confirmed"


@every
def test_it_comes_to_what_the_file_expects(path: Path) -> None:
    scenario = load(path)
    assert scenario.name == path.stem
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant(scenario.workflow.precog, model)
    ended = run_workflow(Run(scenario, NETWORKS["simulated"], precog, model, Journal()))
    expectations = document(ended, "simulated")["expectations"]
    assert [d for d in expectations["details"] if not d["met"]] == []
    assert len(expectations["details"]) >= 3


# -- routes that are announced again ---------------------------------------------------------------

REMOVED = "device B\nno ip prefix-list SOME seq 10\n"
ROW = """
name: row
topology: {nodes: [A, B, C, D], links: [[A, B], [B, C], [C, D]]}
configs:
  B: |
    ip prefix-list SOME seq 10 permit PREFIX
    router bgp 65000
     redistribute learned prefix-list SOME local-preference 200
  D: |
    router bgp 65000
     network 9.0.0.0/8
change: {script: ""}
"""


def plane_of(permitted: str, script: str = "") -> Plane:
    scenario = parse(ROW.replace("PREFIX", permitted))
    return Compiler(scenario.topology).compile(apply(scenario.configs, parse_script(script)))


def turns_to(plane: Plane, device: str, host: str) -> set[str]:
    """The devices that this one sends to for a host, by the next hop bits."""
    atom = int(plane.host_atom[plane.topology.host_index[host]])
    here = plane.topology.device_index[device]
    return {
        plane.topology.devices[head].name
        for e, head in enumerate(plane.graph.head)
        if plane.graph.tail[e] == here and plane.next_hops[e, atom >> 6] >> atom % 64 & 1
    }


def test_only_what_the_list_permits_is_announced_again_and_is_sent_on() -> None:
    plane = plane_of("lan(D)")
    assert turns_to(plane, "C", "h-D") == {"B"}, "the higher preference attracts"
    assert turns_to(plane, "B", "h-D") == {"C"}, "and is sent on to where it really is"
    assert turns_to(plane, "A", "h-C") == {"B"}
    assert turns_to(plane, "D", "h-D") == set(), "what is connected beats what is announced"


def test_a_list_without_lines_permits_everything() -> None:
    permitted = plane_of("9.0.0.0/8"), plane_of("9.0.0.0/8", REMOVED)
    assert [turns_to(plane, "C", "h-D") for plane in permitted] == [{"D"}, {"B"}]


def test_what_is_announced_again_is_not_delivered() -> None:
    plane = plane_of("9.0.0.0/8")
    atom = int((plane.atom_first <= 9 << 24).sum()) - 1
    assert plane.decision[plane.topology.device_index["B"], atom] == FORWARD
    assert plane.decision[plane.topology.device_index["D"], atom] == LOCAL


# -- filters that the routing protocol carries -----------------------------------------------------

TOLD = """
name: told
topology: {{nodes: [A, B, C], links: [[A, B], [B, C]]}}
configs:
  A: |
    router bgp 65000
     flowspec 10 discard {rule}
{more}change: {{script: ""}}
"""


def told(rule: str, more: str = "") -> Plane:
    scenario = parse(TOLD.format(rule=rule, more=more))
    return Compiler(scenario.topology).compile(scenario.configs)


def hears(plane: Plane, device: str, host: str) -> bool:
    atom = plane.host_atom[plane.topology.host_index[host]]
    return bool(plane.decision[plane.topology.device_index[device], atom] != NO_ROUTE)


def test_everybody_filters_what_one_announces() -> None:
    plane = told("udp host h-A host h-C eq 53")
    assert hears(plane, "C", "h-A")
    filtering = (plane.filter_in >= 0).nonzero()[0]
    entered = {plane.topology.port_of[number ^ 1][0] for number in filtering}
    assert entered == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("rule", "silent"),
    [
        ("tcp any any", {"A", "B", "C"}),
        ("ip any any", {"A", "B", "C"}),
        ("tcp any any eq 179", {"A", "B", "C"}),
        ("tcp any eq 179 any", {"A", "B", "C"}),
        ("tcp any any eq 80", set()),
        ("tcp any any range 179 50000", {"A", "B", "C"}),
        ("udp any any", set()),
        ("tcp host 10.0.2.1 any", {"C"}),
        ("tcp host h-C any", set()),
    ],
)
def test_a_rule_that_discards_bgp_leaves_devices_without_routes(
    rule: str, silent: set[str]
) -> None:
    plane = told(rule)
    hosts = {"A": "h-B", "B": "h-A", "C": "h-A"}
    assert {d for d, host in hosts.items() if not hears(plane, d, host)} == silent


def test_who_speaks_no_bgp_is_told_nothing() -> None:
    plane = told("udp any any eq 53", "  B: no router bgp\n")
    assert plane.routes[1] < plane.routes[0]


# -- defects that sleep ----------------------------------------------------------------------------

LINE = "ip prefix-list WAKES seq 5 permit 10.0.0.0/8"
SLEEPS = f"""
name: sleeps
topology:
  nodes: {{A: {{model: old}}, B: {{model: new}}, C: {{model: new}}}}
  links: [[A, B], [B, C]]
change: {{script: ""}}
faults:
  - {{while: {{command: {LINE}, model: new}}, telemetry_gap: {{device: WHERE}}, in: both}}
"""


@pytest.mark.parametrize(("where", "dark"), [("any", {"B"}), ("all", {"A", "B", "C"})])
def test_a_defect_wakes_with_its_line_and_sleeps_without(where: str, dark: set[str]) -> None:
    scenario = parse(SLEEPS.replace("WHERE", where))
    network = NETWORKS["simulated"](scenario, scenario.configs, "production")

    def silent(until_s: float) -> set[str]:
        [*_, last] = network.advance(until_s)
        unknown = np.isnan(last.column("device", "cpu"))
        return {scenario.topology.devices[number].name for number in np.flatnonzero(unknown)}

    assert silent(2) == set()
    network.apply(parse_script(f"device A\n{LINE}\ndevice B\n{LINE}\n"))
    assert silent(4) == dark
    network.apply(parse_script("device A\nno ip prefix-list WAKES\n"))
    assert silent(6) == dark
    network.apply(parse_script("device B\nno ip prefix-list WAKES\n"))
    assert silent(8) == set()
