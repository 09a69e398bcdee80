"""What a client may say, as models with the checks of test traffic; and mistakes in it to words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shadowsim.errors import choices
from shadowsim.mirror.testtraffic import LONGEST_S, MOST_FLOWS, MOST_RATE_BPS, PACKET_BYTES
from shadowsim.model.traffic import Demand

Name = Annotated[str, Field(min_length=1, max_length=100)]
TrafficClass = Literal["critical", "normal", "bulk"]
Protocol = Literal["tcp", "udp"]
Port = Annotated[int, Field(ge=1, le=65_535)]
For = Annotated[
    float, Field(gt=0, le=LONGEST_S, description="Deadline: seconds of the network from now.")
]


class Wish(BaseModel):
    """Strict: what is not known is not ignored, and nothing is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Generate(Wish):
    """Traffic between two hosts of the shadow."""

    source: Name = Field(alias="from", examples=["h-A"], description="The host that sends.")
    destination: Name = Field(alias="to", examples=["h-B"], description="The host that receives.")
    rate_mbps: float = Field(gt=0, le=MOST_RATE_BPS / 1e6, examples=[5])
    traffic_class: TrafficClass = Field(default="bulk", alias="class")
    protocol: Protocol = Field(default="udp", description="tcp yields to congestion.")
    port: Port = Field(default=9, description="The receiver's port; 9 discards.")
    packet_bytes: int = Field(default=1000, ge=PACKET_BYTES[0], le=PACKET_BYTES[1])
    flows: int = Field(default=1, ge=1, le=MOST_FLOWS, description="Connections it is spread over.")
    for_s: For = Field(examples=[30])

    def flow(self) -> Demand:
        return Demand(
            self.source,
            self.destination,
            self.rate_mbps * 1e6,
            self.traffic_class,
            self.protocol,
            self.port,
            self.packet_bytes,
            self.flows,
        )


class Steer(Wish):
    """Production's traffic that all of this fits goes into the shadow instead of production."""

    source: Name = Field(
        default="any", alias="from", description="A host, device, group, prefix, or any."
    )
    destination: Name = Field(
        default="any",
        alias="to",
        examples=["h-B"],
        description="A host, device, group, prefix, or any.",
    )
    traffic_class: TrafficClass | None = Field(default=None, alias="class", examples=["normal"])
    protocol: Protocol | None = Field(default=None)
    port: Port | None = Field(default=None, examples=[443], description="The receiver's port.")
    for_s: For = Field(examples=[20])
    everything: bool = Field(default=False, description="Even if nothing is left in production.")
    critical: bool = Field(default=False, description="Even if critical traffic is among it.")


WISHES: Mapping[str, type[Wish]] = {"/traffic/generate": Generate, "/traffic/steer": Steer}


def mistakes(errors: Iterable[Mapping[str, Any]], path: str) -> str:
    """All that is wrong with what a client said, a line each."""
    return "\n".join(dict.fromkeys(_mistake(error, path) for error in errors))


def _mistake(error: Mapping[str, Any], path: str) -> str:
    kind, words = error["type"], str(error["msg"])
    place: Sequence[Any] = [part for part in error["loc"] if part != "body"]
    where = ".".join(str(part)[:100] for part in place)
    if kind == "extra_forbidden":
        return f"there is no '{where}'; {choices(where, _keys(path))}"
    if kind == "missing":
        return f"'{where}' is missing" if where else "the body is missing"
    if kind == "json_invalid":
        return f"the body is not JSON: {error.get('ctx', {}).get('error', words)}"
    if kind == "literal_error" and isinstance(error.get("input"), str):
        valid = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        return f"{where}: there is no '{error['input'][:100]}'; {choices(error['input'], valid)}"
    return f"{where or 'the body'}: {words[:1].lower()}{words[1:]}"


def _keys(path: str) -> list[str]:
    fields = WISHES[path].model_fields if path in WISHES else {}
    return [field.alias or name for name, field in fields.items()]
