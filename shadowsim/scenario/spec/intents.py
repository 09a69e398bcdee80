"""The `intents` of a scenario as models: what must stay true, one key for each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shadowsim.model.intents import LIMIT_METRICS, PATH_KINDS
from shadowsim.scenario.spec.base import Spec, one_of
from shadowsim.scenario.spec.traffic import Pair, Port, Service

INTENT_KINDS = (*PATH_KINDS, *LIMIT_METRICS)


class Packets(Pair):
    """Packets from here to there."""

    protocol: Literal["ip", "icmp", "tcp", "udp"] = Field(
        default="ip", examples=["tcp"], description="Their protocol; ip stands for all."
    )
    port: Port | None = Field(default=None, examples=[443], description="The destination's port.")


class Waypoint(Packets):
    """Packets that must pass a device."""

    via: str = Field(examples=["FW"], description="The device they must pass.")


class Everywhere(Spec):
    """Nothing to say: it holds for the whole network."""


class LatencyLimit(Service):
    """A bound on latency."""

    below_ms: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        examples=[60], description="The latency it must stay below."
    )


class LossLimit(Service):
    """A bound on loss."""

    below_percent: Annotated[float, Field(gt=0, le=100)] = Field(
        examples=[1], description="The loss it must stay below, in percent of what is sent."
    )


class ThroughputLimit(Service):
    """A bound on throughput."""

    above_percent: Annotated[float, Field(ge=0, lt=100)] = Field(
        examples=[90],
        description="The throughput it must stay above, in percent of what is offered.",
    )


class UtilisationLimit(Spec):
    """A bound on the load of every link."""

    below_percent: Annotated[float, Field(gt=0, le=1_000)] = Field(
        examples=[90], description="The load every link must stay below, in percent of its rate."
    )


ANY_PAIR = [{"from": "any", "to": "db"}]


class IntentSpec(Spec):
    """One thing that must stay true: exactly one of the keys."""

    flags = INTENT_KINDS
    model_config = one_of(INTENT_KINDS)

    reachable: Packets | None = Field(
        default=None, examples=ANY_PAIR, description="Packets arrive, on every path they may take."
    )
    isolated: Packets | None = Field(
        default=None, examples=ANY_PAIR, description="No packet arrives."
    )
    waypoint: Waypoint | None = Field(
        default=None,
        examples=[{"from": "any", "to": "db", "via": "FW"}],
        description="No packet arrives on a path that misses a device.",
    )
    no_loop: Everywhere | None = Field(
        default=None, examples=[{}], description="No packet comes back to a device it has left."
    )
    no_black_hole: Everywhere | None = Field(
        default=None,
        examples=[{}],
        description="No packet reaches a device without a route for it.",
    )
    latency: LatencyLimit | None = Field(
        default=None,
        examples=[{"class": "critical", "below_ms": 60}],
        description="A bound on latency.",
    )
    loss: LossLimit | None = Field(
        default=None,
        examples=[{"class": "critical", "below_percent": 1}],
        description="A bound on loss.",
    )
    throughput: ThroughputLimit | None = Field(
        default=None,
        examples=[{"class": "normal", "above_percent": 90}],
        description="A bound on throughput.",
    )
    utilisation: UtilisationLimit | None = Field(
        default=None, examples=[{"below_percent": 90}], description="A bound on the load of links."
    )
