"""Good inputs that cases are made from: the project's own files, and what its runs leave."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import yaml

from shadowsim.model.change import render_script
from shadowsim.model.config import render
from shadowsim.scenario import Scenario, load, parse

ROOT = Path(__file__).resolve().parents[2]

TINY = """
name: tiny
topology: {nodes: [A, B, C], links: [[A, B], [B, C], [A, C]]}
traffic: {demands: [{from: any, to: any, rate_mbps: 5}]}
intents: [{reachable: {from: any, to: any}}, {utilisation: {below_percent: 90}}]
change:
  summary: a detour
  script: |
    device A
    interface to-C
     ip ospf cost 500
    device C
    interface to-A
     ip ospf cost 500
workflow: {shadow_s: 5, monitor_s: 8, soak_s: 1, baseline_s: 5}
"""
SQUARE = """
name: square
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
  hosts: {web: {on: A, groups: [servers]}, db: {on: A, groups: [servers]}}
traffic:
  demands:
    - {from: C, to: web, rate_mbps: 5, class: critical, protocol: udp, port: 5004}
    - {from: B, to: db, rate_mbps: 4}
    - {from: B, to: D, rate_mbps: 2, class: bulk, port: 873}
change: {script: "device A\\ninterface to-B\\n ip ospf cost 70\\n"}
"""

SCRIPT = """\
device A
ip access-list extended WEB
 10 permit tcp 10.0.0.0 0.0.0.255 any eq 443
 deny udp any host 10.0.1.1 range 5000 6000
 permit ip any any
!
interface to-B
 description a link # and a comment
 ip ospf cost 500
 mtu 9000
 ip access-group WEB in
 rate-limit output 10000000
 shutdown
device core-1.lab
table-size 512
qos class critical priority 0
management ssh access-class WEB
ip prefix-list OUT seq 5 permit 10.0.0.0/8 ge 16 le 24
ip route 10.9.0.0/16 Null0
ip route 10.8.0.0/16 to-B
router bgp 65000
 network 10.0.1.0/24 local-preference 200
 prefix-list OUT out
 maximum-prefix 100
exit
no ip route 10.8.0.0/16
no interface to-C
"""

GRAPHML = """\
<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key attr.name="label" attr.type="string" for="node" id="d1" />
  <key attr.name="Longitude" attr.type="double" for="node" id="d2" />
  <key attr.name="Latitude" attr.type="double" for="node" id="d3" />
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d4"><default>1.0</default></key>
  <graph edgedefault="undirected" id="g">
    <node id="0"><data key="d1">Paris</data><data key="d2">2.3</data><data key="d3">48.8</data></node>
    <node id="1"><data key="d1">Rome</data><data key="d2">12.5</data></node>
    <node id="2"><data key="d1">Paris</data></node>
    <node id="3" />
    <edge source="0" target="1"><data key="d4">10000000.0</data></edge>
    <edge source="1" target="2" id="e1" />
    <edge source="1" target="2" id="e2" />
    <edge source="2" target="3" />
  </graph>
</graphml>
"""

CLAB = """\
name: lab
topology:
  defaults: {kind: nokia_srlinux}
  groups: {clients: {kind: linux}}
  nodes:
    spine1: {kind: nokia_srlinux, image: ghcr.io/nokia/srlinux}
    leaf1: {}
    leaf2:
    client1: {kind: linux, group: guests}
    client2: {group: clients}
  links:
    - endpoints: ["spine1:e1-1", "leaf1:e1-49"]
    - endpoints: ["spine1:e1-2", "leaf2:e1-49"]
    - endpoints: ["client1:eth1", "leaf1:e1-1"]
    - endpoints: [{node: client2, interface: eth1}, {node: leaf2, interface: e1-1}]
    - endpoints: ["leaf1:e1-9", "host:eth9"]
    - {type: macvlan, endpoint: "leaf2:e1-9"}
"""


@cache
def scenario_texts() -> tuple[str, ...]:
    """The scenarios of the project, and those that are bad on purpose, the large ones left out."""
    files = sorted((ROOT / "scenarios").glob("*.yml")) + sorted((ROOT / "tests/bad").glob("*.yml"))
    texts = (file.read_text(encoding="utf-8") for file in files)
    return (TINY, SQUARE, *(text for text in texts if len(text) < 4000))


@cache
def scenario_values() -> tuple[str, ...]:
    """The same as JSON, those that are YAML at all."""
    found = []
    for text in scenario_texts():
        try:
            value = yaml.safe_load(text)
            found.append(json.dumps(value))
        except (yaml.YAMLError, TypeError, ValueError, RecursionError):
            continue
    return tuple(found)


@cache
def scenarios() -> tuple[Scenario, ...]:
    files = sorted((ROOT / "scenarios").glob("square-*.yml")) + [
        ROOT / "scenarios" / name for name in ("drain-fits.yml", "route-leak.yml")
    ]
    return (parse(TINY), parse(SQUARE), *map(load, files))


@cache
def scripts() -> tuple[str, ...]:
    return (SCRIPT, *(render_script(s.change.commands) for s in scenarios()))


@cache
def configs() -> tuple[str, ...]:
    """Rendered configs, a large one with every kind of line among them."""
    found = {render(config) for s in scenarios() for config in s.configs.values()}
    whole = "\n".join(line for line in SCRIPT.splitlines() if not line.startswith("device"))
    return (f"hostname A\n{whole}\n", *sorted(found)[:40])


def run_folder(folder: Path, key: bytes) -> Path:
    """The folder of a run with all there can be in it, made once."""
    out = folder / "run"
    if not (out / "result.json").exists():
        from shadowsim.journal import Journal
        from shadowsim.network import NETWORKS
        from shadowsim.precog import WhatIf, variant
        from shadowsim.record import document, write
        from shadowsim.workflow import Run, run_workflow

        scenario = parse(TINY)
        whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
        precog = variant(scenario.workflow.precog, whatif)
        run = run_workflow(Run(scenario, NETWORKS["simulated"], precog, whatif, Journal()))
        write(run, document(run, "simulated"), out, key)
    return out
