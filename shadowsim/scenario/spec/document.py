"""A whole scenario file as one model, and its JSON Schema."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from shadowsim.scenario.spec.base import BY_SHAPE, MAPPING, TEXT, Spec
from shadowsim.scenario.spec.faults import FaultSpec
from shadowsim.scenario.spec.intents import IntentSpec
from shadowsim.scenario.spec.outage import OutageSpec
from shadowsim.scenario.spec.services import Services
from shadowsim.scenario.spec.topology import TopologySpec
from shadowsim.scenario.spec.traffic import TrafficSpec
from shadowsim.scenario.spec.workflow import ExpectSpec, ShadowSpec, WorkflowSpec

FileName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$",
        json_schema_extra={
            "x-wanted": "a name of letters, digits and _ . - (80 at most, a letter or digit first)"
        },
    ),
]


class ChangeSpec(Spec):
    """A change: what it is for, and its commands."""

    summary: str = Field(
        default="", examples=["drain A-B for maintenance"], description="What it is for."
    )
    script: str = Field(
        examples=["device A\ninterface to-B\n ip ospf cost 5000\n"],
        description="The commands, device by device; an empty text for no change.",
    )


class ScenarioSpec(Spec):
    """A network, its traffic, what must stay true, a change and what goes wrong."""

    name: FileName = Field(examples=["drain-overload"], description="A short name.")
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, examples=[7], description="Same seed, same run."
    )
    topology: TopologySpec = Field(
        examples=[{"topohub": "sndlib/abilene"}], description="Switches, hosts and links."
    )
    configs: dict[str, str] = Field(
        default={},
        examples=[{"A": "interface to-B\n ip ospf cost 20\n"}],
        description="Per device (or all): lines on top of the default config; a text that begins "
        "with hostname replaces it.",
    )
    traffic: TrafficSpec | None = Field(
        default=None,
        examples=[{"demands": "gravity", "scale": 0.6}],
        description="Default: no traffic.",
    )
    intents: (
        list[
            Annotated[
                Annotated[IntentSpec, Tag(MAPPING)]
                | Annotated[Literal["no_loop", "no_black_hole"], Tag(TEXT)],
                BY_SHAPE,
            ]
        ]
        | None
    ) = Field(
        default=None,
        examples=[[{"reachable": {"from": "any", "to": "any"}}, "no_loop"]],
        description="What must stay true. Default: any reaches any, no_loop, no_black_hole.",
    )
    change: ChangeSpec = Field(
        examples=[{"script": "device A\ninterface to-B\n ip ospf cost 50\n"}],
        description="The change that is tried.",
    )
    faults: list[FaultSpec] = Field(
        default=[],
        examples=[[{"at_s": 40, "link_loss": {"link": ["A", "B"], "percent": 2}, "for_s": 20}]],
        description="Failures that are injected.",
    )
    services: Services = Field(default=[])
    shadow: ShadowSpec = Field(
        default=ShadowSpec(),
        examples=[{"mirror": {"fraction": 0.5}}],
        description="The shadow network.",
    )
    workflow: WorkflowSpec = Field(
        default=WorkflowSpec(),
        examples=[{"precog": "hybrid", "shadow_s": 30}],
        description="How the change is tried, judged and watched.",
    )
    expect: ExpectSpec | None = Field(
        default=None,
        examples=[{"decision": "no-go", "end_state": "refused"}],
        description="What should come of it; makes the scenario a test.",
    )
    outage: OutageSpec | None = Field(
        default=None,
        examples=[
            {
                "date": "2021-06-08",
                "who": "Fastly",
                "change": "a customer's valid change of its own configuration",
                "mechanism": "it triggered a defect that had been deployed on May 12",
                "recovery_s": 2940,
                "lost": "85 % of the network returned errors",
                "sources": ["Summary of June 8 outage, Fastly, 2021-06-08"],
            }
        ],
        description="The outage that the scenario is made after: facts from public reports. "
        "Nothing in a run depends on them.",
    )


@cache
def _schema() -> dict[str, Any]:
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "shadowsim scenario",
    }
    return ScenarioSpec.model_json_schema() | head


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a scenario file, for editors and for people."""
    return dict(_schema())
