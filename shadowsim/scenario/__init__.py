"""YAML to a frozen Scenario, all mistakes reported together; and the language's JSON Schema."""

from shadowsim.scenario.defaults import default_configs
from shadowsim.scenario.outage import Outage
from shadowsim.scenario.scenario import (
    Expect,
    Mirror,
    Scenario,
    ShadowPlan,
    WorkflowPlan,
    load,
    parse,
)
from shadowsim.scenario.spec import PRECOGS, json_schema

__all__ = [
    "PRECOGS",
    "Expect",
    "Mirror",
    "Outage",
    "Scenario",
    "ShadowPlan",
    "WorkflowPlan",
    "default_configs",
    "json_schema",
    "load",
    "parse",
]
