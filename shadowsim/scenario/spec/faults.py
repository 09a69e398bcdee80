"""The `faults` of a scenario as models: when, where and how something fails."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shadowsim.model.faults import FAULT_KINDS
from shadowsim.scenario.spec.base import Duration, Factor, Seconds, Spec, one_of
from shadowsim.scenario.spec.topology import LINK, Ends
from shadowsim.scenario.spec.traffic import Service

Percent = Annotated[float, Field(ge=0, le=100)]

DEVICE = "The device that is hit."


class OnLink(Spec):
    """A link."""

    link: Ends = Field(description=LINK)


class LinkFlap(OnLink):
    """A link that goes down and up."""

    half_period_s: Annotated[float, Field(ge=0.05, le=1_000_000)] = Field(
        examples=[1], description="Seconds down, and seconds up."
    )


class LinkLoss(OnLink):
    """A link that loses packets."""

    percent: Percent = Field(examples=[2], description="Packets lost, in percent.")


class LinkDelay(OnLink):
    """A link that became longer."""

    add_ms: Annotated[float, Field(gt=0, le=10_000)] = Field(
        examples=[50], description="Milliseconds added."
    )


class LinkRate(OnLink):
    """A link that became slower."""

    percent: Annotated[float, Field(gt=0, le=100)] = Field(
        examples=[10], description="Rate that is left, in percent."
    )


class OnDevice(Spec):
    """A device."""

    device: str = Field(examples=["A"], description=DEVICE)


class OnDevices(Spec):
    """A device, or all of them."""

    device: str | None = Field(
        default=None, examples=["A"], description=f"{DEVICE} Default: every device."
    )


class CpuHog(OnDevice):
    """A device whose CPU is taken."""

    percent: Percent = Field(examples=[90], description="CPU taken, in percent.")


class MemoryLeak(OnDevice):
    """A device that loses memory."""

    percent_per_s: Annotated[float, Field(gt=0, le=100)] = Field(
        examples=[1], description="Memory lost, in percent per second."
    )


class TableFull(OnDevice):
    """A device whose table shrinks."""

    percent: Percent = Field(examples=[10], description="Table that is left, in percent.")


class ConfigDrift(OnDevice):
    """A device that someone configures behind our back."""

    script: str = Field(
        examples=["interface to-B\n ip ospf cost 1\n"],
        description="The commands, of this device only.",
    )
    every_s: Annotated[float, Field(ge=0.1, le=1_000_000)] | None = Field(
        default=None,
        examples=[2],
        description="Seconds after which they are given again, and again, as automation does. "
        "Default: once.",
    )


class TrafficFault(Service):
    """Traffic that grows."""

    factor: Factor = Field(examples=[3], description="How many times the traffic.")


ON_LINK = {"link": ["A", "B"]}
STARTS = ("at_s", "after", "while")


class AfterSpec(Spec):
    """A command that brings a fault about."""

    command: Annotated[str, Field(min_length=1)] = Field(
        examples=["ip ospf cost"],
        description="How the command begins, or the line that its context is opened by.",
    )
    model: str | None = Field(
        default=None,
        examples=["generic"],
        description="The model of the devices on which it does. Default: any.",
    )


class FaultSpec(Spec):
    """A failure that is injected: when or after what, where, and exactly one kind."""

    flags = FAULT_KINDS
    model_config = one_of(FAULT_KINDS, STARTS)

    at_s: Seconds | None = Field(default=None, examples=[40], description="When it begins.")
    after: AfterSpec | None = Field(
        default=None,
        examples=[{"command": "ip ospf cost"}],
        description="It begins when such a command gets into force: on the device that is hit, "
        "or on any ('device: any' is the one it got into force on, 'device: all' is every one).",
    )
    during: AfterSpec | None = Field(
        default=None,
        alias="while",
        examples=[{"command": "qos class"}],
        description="As after, and it ends when no line of that device's config begins so any "
        "more.",
    )
    for_s: Duration | None = Field(
        default=None, examples=[20], description="How long it lasts. Default: it stays."
    )
    network: Literal["production", "shadow", "both"] = Field(
        default="production",
        alias="in",
        examples=["production"],
        description="Which network is hit.",
    )
    link_down: OnLink | None = Field(
        default=None, examples=[ON_LINK], description="A link goes down."
    )
    link_flap: LinkFlap | None = Field(
        default=None,
        examples=[{**ON_LINK, "half_period_s": 1}],
        description="A link goes down and up.",
    )
    link_loss: LinkLoss | None = Field(
        default=None, examples=[{**ON_LINK, "percent": 2}], description="A link loses packets."
    )
    link_delay: LinkDelay | None = Field(
        default=None, examples=[{**ON_LINK, "add_ms": 50}], description="A link takes longer."
    )
    link_rate: LinkRate | None = Field(
        default=None,
        examples=[{**ON_LINK, "percent": 10}],
        description="A link keeps a part of its rate.",
    )
    device_crash: OnDevice | None = Field(
        default=None, examples=[{"device": "A"}], description="A device stops."
    )
    cpu_hog: CpuHog | None = Field(
        default=None,
        examples=[{"device": "A", "percent": 90}],
        description="Something takes its CPU.",
    )
    memory_leak: MemoryLeak | None = Field(
        default=None, examples=[{"device": "A", "percent_per_s": 1}], description="It loses memory."
    )
    table_full: TableFull | None = Field(
        default=None, examples=[{"device": "A", "percent": 10}], description="Its table shrinks."
    )
    controller_lost: OnDevices | None = Field(
        default=None, examples=[{"device": "A"}], description="The controller is out of reach."
    )
    config_drift: ConfigDrift | None = Field(
        default=None,
        examples=[{"device": "A", "script": "interface to-B\n shutdown\n"}],
        description="Someone changes its config.",
    )
    telemetry_gap: OnDevices | None = Field(
        default=None, examples=[{"device": "A"}], description="No telemetry comes from it."
    )
    traffic_surge: TrafficFault | None = Field(
        default=None, examples=[{"to": "db", "factor": 3}], description="Demands grow."
    )
    retry_storm: TrafficFault | None = Field(
        default=None,
        examples=[{"to": "db", "factor": 3}],
        description="Failing demands are retried.",
    )
