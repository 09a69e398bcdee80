"""`shadow`, `workflow` and `expect` as models: how the change is tried, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from shadowsim.scenario.spec.base import Duration, Rate, Seconds, Share, Spec
from shadowsim.scenario.spec.traffic import TrafficClass

Precog = Literal[
    "always-go", "threshold", "canary", "judge", "script", "rollouts", "supervised", "hybrid", "rl",
    "hybrid-rl",
]  # fmt: skip
PRECOGS: tuple[Precog, ...] = get_args(Precog)


class MirrorSpec(Spec):
    """What of production's traffic the shadow sees."""

    classes: list[TrafficClass] = Field(
        default=["critical", "normal", "bulk"],
        min_length=1,
        examples=[["critical", "normal"]],
        description="The classes that are mirrored.",
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, examples=[0.5], description="The share of their packets that is mirrored."
    )
    truncate_bytes: int = Field(
        default=96, ge=64, le=9216, examples=[96], description="How much of each packet is kept."
    )
    anonymise: bool = Field(
        default=True, examples=[True], description="Replace addresses by pseudonyms."
    )
    budget_mbps: Rate | None = Field(
        default=None,
        examples=[20],
        description="The most bandwidth that captured copies may take; a tenth of the rate of "
        "all hosts together if not given. Bulk is shed first, then normal.",
    )


Hops = Annotated[int, Field(ge=0, le=64)]


class ScaleSpec(Spec):
    """One step up or down."""

    at_s: Seconds = Field(examples=[25], description="When.")
    hops: Hops = Field(examples=[2], description="How far around the change it reaches from then.")


class ShadowSpec(Spec):
    """What the shadow network is."""

    scope: Literal["full", "subset"] = Field(
        default="full",
        examples=["subset"],
        description="How much of production is shadowed: all of it, or what the change can reach.",
    )
    hops: Hops | None = Field(
        default=None,
        examples=[1],
        description="Of a subset: how many cables around a changed device belong to it (1).",
    )
    scale: list[ScaleSpec] = Field(
        default=[],
        max_length=100,
        examples=[[{"at_s": 25, "hops": 2}]],
        description="Of a subset: when it is made larger or smaller while it runs.",
    )
    mirror: MirrorSpec = Field(
        default=MirrorSpec(), examples=[{"fraction": 0.5}], description="What traffic it sees."
    )


class WorkflowSpec(Spec):
    """The phases of the workflow and the bars it sets."""

    precog: Precog = Field(
        default="hybrid", examples=["hybrid"], description="Who predicts failures."
    )
    autonomy: Literal["observe", "ask", "automatic"] = Field(
        default="automatic", examples=["automatic"], description="Whether a person decides."
    )
    baseline_s: Annotated[float, Field(ge=2, le=1_000_000)] = Field(
        default=10.0, examples=[10], description="Seconds watched before the change."
    )
    shadow_s: Annotated[float, Field(ge=5, le=1_000_000)] = Field(
        default=30.0, examples=[30], description="Seconds watched in the shadow."
    )
    monitor_s: Annotated[float, Field(ge=5, le=1_000_000)] = Field(
        default=60.0, examples=[60], description="Seconds watched in production."
    )
    soak_s: Seconds = Field(
        default=3.0, examples=[3], description="Seconds between one device and the next."
    )
    horizon_s: Duration = Field(
        default=15.0, examples=[15], description="How far ahead failures are predicted."
    )
    confirm_within_s: Annotated[float, Field(ge=0.5, le=86_400)] = Field(
        default=30.0,
        examples=[30],
        description="Seconds of yours without a sign of life of the run until its guardian takes"
        " the change back.",
    )
    no_go_above: Share = Field(
        default=0.5, examples=[0.5], description="Probability of failure above which it is a no-go."
    )
    inconclusive_above: Share = Field(
        default=0.35, examples=[0.35], description="Probability above which it is inconclusive."
    )
    minimum_coverage: Share = Field(
        default=0.8,
        examples=[0.8],
        description="Share of telemetry without which nothing is concluded.",
    )


class ExpectSpec(Spec):
    """What should come of it; what is left out may be anything."""

    decision: Literal["go", "no-go", "inconclusive"] | None = Field(
        default=None, examples=["no-go"], description="What the gate decides."
    )
    end_state: Literal["confirmed", "rolled_back", "refused", "halted"] | None = Field(
        default=None, examples=["refused"], description="How it ends."
    )
    failure_mode: (
        Literal["performance_degradation", "service_outage", "security_vulnerability", "none"]
        | None
    ) = Field(
        default=None, examples=["performance_degradation"], description="How the change fails."
    )
    blamed: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None,
        examples=[["ip ospf cost 5000"]],
        description="Parts of the commands to blame.",
    )
    time_to_rollback_below_s: Duration | None = Field(
        default=None, examples=[5], description="Seconds in which it is taken back."
    )
    breach_below_s: Duration | None = Field(
        default=None, examples=[3], description="Seconds for which an intent may be broken."
    )
