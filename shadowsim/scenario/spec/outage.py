"""`outage` as a model: the public facts about an outage that a scenario is made after."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shadowsim.scenario.spec.base import Duration, Spec

Words = Annotated[str, Field(min_length=1)]
Day = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        json_schema_extra={"format": "date", "x-wanted": "a date, year-month-day"},
    ),
]


class OutageSpec(Spec):
    """What the public reports say. Nothing in a run depends on it."""

    date: Day = Field(examples=["2022-07-08"], description="The day it began.")
    who: Words = Field(examples=["Rogers"], description="Whose network it was.")
    change: Words = Field(
        examples=["removed a route filter"], description="The change that brought it about."
    )
    mechanism: Words = Field(
        examples=["a flood of routes filled the memory of the core routers"],
        description="How the change became an outage.",
    )
    recovery_s: Duration | None = Field(
        default=None,
        examples=[1080],
        description="Seconds from the first harm until service was restored, as published. "
        "Default: not published.",
    )
    lost: Words = Field(
        default="unknown",
        examples=["half of all traffic"],
        description="How much did not arrive, in the words of the reports.",
    )
    sources: Annotated[list[Words], Field(min_length=1)] = Field(
        examples=[["Summary of June 8 outage, Fastly, 2021-06-08"]],
        description="The reports: title, organisation, date.",
    )
