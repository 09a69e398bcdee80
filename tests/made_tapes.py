"""A small network whose changes end in every way there is, as tapes; and a model that is none."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from shadowsim.env.making import tape
from shadowsim.env.pool import Pool, pool
from shadowsim.env.tape import Tape
from shadowsim.env.worlds import Setting
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import PHASES, Model, PhaseModel
from shadowsim.precog.past import Past
from shadowsim.precog.trees import LEAF, Trees
from shadowsim.scenario import Scenario, parse

# A ring; T is reached through B alone, and so are guests kept from T.
RING = """
name: ring
seed: 6
topology:
  nodes: {{A: {{hosts: [guest, a]}}, B: {{}}, C: {{}}, D: {{}}, T: {{hosts: [db]}}}}
  links: [[A, B], [B, C], [C, D], [A, D], [B, T]]
  defaults: {{rate_mbps: 20}}
configs:
  T: |
    ip access-list extended GUARD
     10 deny ip host guest host db
     20 permit ip any any
    interface to-db
     ip access-group GUARD out
traffic:
  demands:
    - {{from: a, to: h-B, rate_mbps: 6, class: critical, protocol: udp, port: 5004}}
    - {{from: h-D, to: h-C, rate_mbps: 6, protocol: udp, port: 443}}
    - {{from: h-B, to: db, rate_mbps: 2}}
intents:
  - {{isolated: {{from: guest, to: db}}}}
  - {{reachable: {{from: h-B, to: any}}}}
  - {{utilisation: {{below_percent: 90}}}}
workflow: {{baseline_s: 8, shadow_s: 10, monitor_s: 20, soak_s: 2}}
change: {{script: "{script}"}}
faults: [{faults}]
"""
HARMLESS = "device A\\ninterface to-B\\n description to Bea"
CUTTING = "device A\\ninterface to-B\\n ip ospf cost 20\\ndevice B\\ninterface to-T\\n shutdown"
OPENING = "device T\\nip access-list extended GUARD\\n no 10"
DRAIN = "device A\\ninterface to-B\\n ip ospf cost 5000"  # then a goes by D and C, as h-D does
SURGE = "{at_s: 30, traffic_surge: {from: h-D, to: h-C, factor: 2.6}}"
DEAF = "{at_s: 25, device_crash: {device: B}, in: production}"


def ring(script: str = HARMLESS, *faults: str, **given: Any) -> Scenario:
    scenario = parse(RING.format(script=script, faults=", ".join(faults)))
    return replace(scenario, workflow=replace(scenario.workflow, **given))


def taped(scenario: Scenario) -> Tape:
    return tape(Setting.of(scenario, Past()), "ring", scenario.change.summary)


@cache
def tapes() -> tuple[Tape, ...]:
    """A change that is harmless, one that cuts T off (of two commands one is to blame), one that
    opens T, one that a surge makes too much.
    """
    return tuple(taped(ring(*of)) for of in ((HARMLESS,), (CUTTING,), (OPENING,), (DRAIN, SURGE)))


@cache
def small() -> Pool:
    return pool(tapes())


def no_model(features: tuple[str, ...] = NAMES) -> Model:
    """One member a mode; MODES[0] is likely if script_commands is above 1, all else as it comes."""
    outputs, place = len(MODES) + 1, features.index("script_commands")
    trees = Trees(
        n_features=len(features),
        baseline=np.full(outputs, 0.3),
        first=np.array([0] + [1] * outputs, np.int32),
        root=np.array([0], np.int32),
        feature=np.array([place, LEAF, LEAF], np.int32),
        threshold=np.array([1.5, 0.0, 0.0]),
        nan_left=np.zeros(3, np.uint8),
        right=np.array([2, 0, 0], np.int32),
        value=np.array([0.0, -3.0, 3.0]),
    )
    phase = PhaseModel(
        members=1,
        trees=trees,
        calibration=np.array([[1.0] * 3, [1.0] * 3, [0.0] * 3]),
        most_apart=np.ones(3),
        low=np.full(len(features), -np.inf),
        high=np.full(len(features), np.inf),
        always=np.zeros(len(features), bool),
        most_outside=len(features),
    )
    return Model(features, dict.fromkeys(PHASES, phase), 15.0, 3, None, {}, "None at all.")
