"""A rollback plan as JSON: what it holds, its schema, and a seal that shows an alteration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from shadowsim.errors import BadInput, Mistake
from shadowsim.model.change import Command, Configs
from shadowsim.rollback.armed import Armed, seal

Digest = str
LARGEST_BYTES = 4 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CommandLine(_Frozen):
    """One config line of one device."""

    device: str
    context: str = Field(description="The line that opens the context; empty at the top level.")
    line: str

    def value(self) -> Command:
        return Command(self.device, self.context, self.line)


class Step(_Frozen):
    """Commands that go to one device together."""

    id: str
    device: str
    commands: tuple[CommandLine, ...]
    reverts: tuple[CommandLine, ...] = Field(
        description="The commands of the change it takes back."
    )
    depends_on: tuple[str, ...] = Field(
        description="Steps that must be done before this one; others may go beside it."
    )
    timeout_s: float = Field(gt=0)


class Digests(_Frozen):
    """SHA-256 of the configs of the devices touched, device by device."""

    before: Mapping[str, Digest] = Field(description="Before the change.")
    now: Mapping[str, Digest] = Field(description="With the change, when the plan was made.")
    after: Mapping[str, Digest] = Field(description="What the rollback must lead to.")


class Verification(_Frozen):
    """What must hold before anyone says "rolled back"."""

    kind: Literal["config_digest", "intents", "limits", "service"]
    subject: str
    expected: str


class Rehearsal(_Frozen):
    """What came of executing the plan in the shadow."""

    done: bool
    verified: bool = False
    took_s: float = 0.0
    detail: str = ""


class RollbackSignature(_Frozen):
    """The plan that takes a change, or the blamed part of it, back."""

    format: Literal["shadowsim.rollback/1"] = "shadowsim.rollback/1"
    id: str
    change_id: str
    failure_mode: Literal[
        "performance_degradation", "service_outage", "security_vulnerability", "any"
    ]
    probability: float = Field(ge=0, le=1)
    scope: Literal["whole", "blamed"]
    minimal: Literal["cardinality", "inclusion", "not shown"] | None = Field(
        default=None,
        description="No smaller set removes the failure; or none of its commands can be missed; "
        "or neither was shown. Null where no set was searched for.",
    )
    digests: Digests
    reverts: tuple[CommandLine, ...]
    steps: tuple[Step, ...]
    order: tuple[str, ...] = Field(description="Step ids in the order of execution.")
    transiently_safe: bool = Field(
        description="No command on the way breaks an intent or limit, fills a link or loses "
        "traffic for anyone for whom it is well at both ends."
    )
    safe_order: Literal["exists", "none exists", "none found"] = Field(
        description="Whether there is such an order: this one, none at all, or none among the "
        "states looked at; else this is the order found that hurts least, of all there are if "
        "`order_note` says so."
    )
    order_note: str
    verification: tuple[Verification, ...]
    rehearsal: Rehearsal = Rehearsal(done=False)
    seal: str = Field(
        default="", description="HMAC-SHA256 of all the rest, by the installation's key."
    )

    @model_validator(mode="after")
    def _can_be_followed(self) -> RollbackSignature:
        """Every step stands in the order once, after those it depends on."""
        known = [step.id for step in self.steps]
        if sorted(self.order) != sorted(known) or len(set(known)) < len(known):
            raise PydanticCustomError("order", "'order' must name every step once")
        done: set[str] = set()
        for step in self.ordered():
            if not done.issuperset(step.depends_on):
                raise PydanticCustomError("order", "a step stands before one it depends on")
            done.add(step.id)
        return self

    def ordered(self) -> tuple[Step, ...]:
        by_id = {step.id: step for step in self.steps}
        return tuple(by_id[name] for name in self.order)

    def sealed(self, key: bytes) -> RollbackSignature:
        """The same plan with its seal."""
        return self.model_copy(update={"seal": seal(self.model_dump(mode="json"), key)})

    def is_sealed_by(self, key: bytes) -> bool:
        return self.armed().is_sealed_by(key)

    def outline(self) -> list[dict[str, Any]]:
        """The steps in the order of execution, as a journal tells them."""
        return [
            {
                "step": step.id,
                "device": step.device,
                "commands": [command.value().brief for command in step.commands],
                "depends_on": list(step.depends_on),
            }
            for step in self.ordered()
        ]

    def armed(self) -> Armed:
        """The same plan as whoever holds it reads it."""
        return Armed(self.model_dump(mode="json"))


def lines(commands: tuple[Command, ...]) -> tuple[CommandLine, ...]:
    return tuple(CommandLine(device=c.device, context=c.context, line=c.line) for c in commands)


def digests(configs: Configs, devices: tuple[str, ...]) -> dict[str, Digest]:
    return {device: configs[device].digest for device in devices}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a signature (draft 2020-12)."""
    schema = RollbackSignature.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class NotSealedHere(BadInput):
    """A signature that was altered, or made elsewhere; nothing that it says is to be believed."""


def read_signature(path: Path, key: bytes | None) -> RollbackSignature:
    """A signature from a file. Raises BadInput if it is none; NotSealedHere if not by this key.

    Without a key nothing was ever sealed here.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise BadInput([Mistake("too large for a rollback signature", str(path))])
        signature = RollbackSignature.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(path))]) from None
    except ValidationError as error:
        raise BadInput([
            Mistake(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}", str(path))
            for e in error.errors()
        ]) from None  # fmt: skip
    if key is None or not signature.is_sealed_by(key):
        raise NotSealedHere(
            [Mistake("the seal does not fit: altered, or made elsewhere", str(path))]
        )
    return signature
