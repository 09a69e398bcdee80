"""The scenario language as pydantic models: plain values to typed ones, and its JSON Schema.

Strict: a text is no number, true is no number. A key without a value counts as absent. What a
model cannot know (whether a name exists) is checked afterwards, where names are known.
"""

from shadowsim.scenario.spec.document import ScenarioSpec, json_schema
from shadowsim.scenario.spec.faults import STARTS, FaultSpec, TrafficFault
from shadowsim.scenario.spec.intents import INTENT_KINDS, IntentSpec, Packets
from shadowsim.scenario.spec.outage import OutageSpec
from shadowsim.scenario.spec.topology import SOURCES, InlineLink, LinkDefaults, Node, TopologySpec
from shadowsim.scenario.spec.traffic import DemandSpec, Mix, ProfileSpec, TrafficSpec
from shadowsim.scenario.spec.workflow import PRECOGS, ExpectSpec, ShadowSpec, WorkflowSpec

__all__ = [
    "INTENT_KINDS",
    "PRECOGS",
    "SOURCES",
    "STARTS",
    "DemandSpec",
    "ExpectSpec",
    "FaultSpec",
    "InlineLink",
    "IntentSpec",
    "LinkDefaults",
    "Mix",
    "Node",
    "OutageSpec",
    "Packets",
    "ProfileSpec",
    "ScenarioSpec",
    "ShadowSpec",
    "TopologySpec",
    "TrafficFault",
    "TrafficSpec",
    "WorkflowSpec",
    "json_schema",
]
