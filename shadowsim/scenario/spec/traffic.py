"""The `traffic` of a scenario as models: who sends how much of what to whom, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from shadowsim.scenario.spec.base import (
    BY_SHAPE,
    LIST,
    TEXT,
    Duration,
    Factor,
    Rate,
    Seconds,
    Share,
    Spec,
)

TrafficClass = Literal["critical", "normal", "bulk"]
Protocol = Literal["tcp", "udp"]
Port = Annotated[int, Field(ge=0, le=65_535)]

FROM = "Who sends: a host, a device (all its hosts), a group, or any."
TO = "Who receives: a host, a device (all its hosts), a group, or any."


class Pair(Spec):
    """Who sends to whom; any to any where nothing is said."""

    source: str = Field(default="any", alias="from", examples=["any"], description=FROM)
    destination: str = Field(default="any", alias="to", examples=["db"], description=TO)


class Service(Pair):
    """The traffic of one class, or of all."""

    traffic_class: TrafficClass | None = Field(
        default=None,
        alias="class",
        examples=["critical"],
        description="Only this class. Default: all.",
    )


class DemandSpec(Spec):
    """Traffic from every host that `from` names to every other that `to` names."""

    source: str = Field(alias="from", examples=["any"], description=FROM)
    destination: str = Field(alias="to", examples=["db"], description=TO)
    rate_mbps: Rate = Field(examples=[5], description="What each pair wants to send, in Mbit/s.")
    traffic_class: TrafficClass = Field(
        default="normal", alias="class", examples=["normal"], description="Its traffic class."
    )
    protocol: Protocol = Field(
        default="tcp", examples=["tcp"], description="tcp yields to congestion, udp does not."
    )
    port: Port = Field(default=443, examples=[443], description="The destination's port.")
    packet_bytes: int = Field(
        default=1000, ge=64, le=9216, examples=[1000], description="Size of its packets."
    )
    flows: int = Field(
        default=1,
        ge=1,
        le=10_000,
        examples=[4],
        description="Connections it is spread over; each takes its own path.",
    )


class Diurnal(Spec):
    """A wave that begins at 1."""

    peak: Factor = Field(examples=[1.6], description="The factor half a period in.")
    period_s: Duration = Field(default=600.0, examples=[600], description="Length of the period.")


class Step(Spec):
    """A factor that holds from a time on."""

    at_s: Seconds = Field(examples=[30], description="From this second on.")
    factor: Annotated[float, Field(ge=0, le=1_000)] = Field(
        examples=[2], description="Times this, until the next step."
    )


class ProfileSpec(Spec):
    """A wave and steps; both multiply every rate."""

    diurnal: Diurnal | None = Field(
        default=None,
        examples=[{"peak": 1.6, "period_s": 600}],
        description="A daily wave, shortened.",
    )
    steps: list[Step] = Field(
        default=[], examples=[[{"at_s": 30, "factor": 2}]], description="Sudden changes."
    )


class Mix(Spec):
    """The share of each class in every pair's traffic; together 1."""

    critical: Share = Field(
        default=0.0, examples=[0.1], description="Share of critical traffic (udp 5004)."
    )
    normal: Share = Field(
        default=0.0, examples=[0.7], description="Share of normal traffic (tcp 443)."
    )
    bulk: Share = Field(default=0.0, examples=[0.2], description="Share of bulk traffic (tcp 873).")


class TrafficSpec(Spec):
    """Who sends how much to whom."""

    demands: Annotated[
        Annotated[Literal["topohub", "gravity"], Tag(TEXT)]
        | Annotated[list[DemandSpec], Tag(LIST)],
        BY_SHAPE,
    ] = Field(
        examples=["gravity", [{"from": "any", "to": "db", "rate_mbps": 5}]],
        description="topohub (the matrix measured on this network), gravity, or a list.",
    )
    pairs: Annotated[int, Field(ge=1, le=200_000)] | None = Field(
        default=None,
        examples=[1000],
        description="gravity: only so many pairs of hosts, drawn by the seed. Default: all.",
    )
    scale: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None,
        examples=[0.6],
        description="topohub, gravity: the load of the busiest link at time 0 as a share of its "
        "rate (default 0.5). A list: a factor on every rate (default 1).",
    )
    mix: Mix | None = Field(
        default=None,
        examples=[{"critical": 0.1, "normal": 0.7, "bulk": 0.2}],
        description="topohub, gravity: the classes each pair's traffic is split into. "
        "Default: all normal.",
    )
    profile: ProfileSpec = Field(
        default=ProfileSpec(),
        examples=[{"diurnal": {"peak": 1.6, "period_s": 600}}],
        description="How the demands vary with time.",
    )
