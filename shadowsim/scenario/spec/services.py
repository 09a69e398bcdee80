"""The `services` of a scenario as models: databases whose state the shadow replicates."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shadowsim.model.services import MOST_SERVICES
from shadowsim.scenario.spec.base import Spec


class RedisSpec(Spec):
    """A Redis on a host of production, with a replica on the same host of the shadow."""

    host: str = Field(examples=["db"], description="The host it runs on.")
    writes_per_s: Annotated[float, Field(gt=0, le=1_000)] = Field(
        default=20.0, examples=[20], description="How often something is written to it."
    )
    value_bytes: Annotated[int, Field(ge=48, le=10_000)] = Field(
        default=100, examples=[100], description="How much is written each time."
    )


class ServiceSpec(Spec):
    """A service database and what is special about it."""

    redis: RedisSpec = Field(
        examples=[{"host": "db", "writes_per_s": 20}], description="A Redis database."
    )


Services = Annotated[
    list[ServiceSpec],
    Field(
        json_schema_extra={"maxItems": MOST_SERVICES},  # more is said in words of its own
        examples=[[{"redis": {"host": "db", "writes_per_s": 20, "value_bytes": 100}}]],
        description="Databases on hosts of production, each replicated to the shadow.",
    ),
]
