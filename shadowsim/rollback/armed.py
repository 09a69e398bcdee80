"""A sealed rollback signature to the steps that are taken in need, by whoever holds it then.

It is read as plain JSON. The seal says that it was made here, and checked then against its schema
(`signature.py`), which a process that only waits, and starts with every run, has no use for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shadowsim.model.change import Change, Command, render_script


@dataclass(frozen=True)
class ArmedStep:
    """Commands that go to one device together."""

    id: str
    commands: tuple[Command, ...]


@dataclass(frozen=True)
class Armed:
    """A signature as JSON holds it, with its seal."""

    document: Mapping[str, Any]

    def ordered(self) -> tuple[ArmedStep, ...]:
        """The steps in the order of execution. Raises LookupError, TypeError if this is no plan."""
        steps = {step["id"]: step["commands"] for step in self.document["steps"]}
        return tuple(
            ArmedStep(
                name, tuple(Command(c["device"], c["context"], c["line"]) for c in steps[name])
            )
            for name in self.document["order"]
        )

    def is_sealed_by(self, key: bytes) -> bool:
        return hmac.compare_digest(
            self.document["seal"].encode(), seal(self.document, key).encode()
        )


def seal(document: Mapping[str, Any], key: bytes) -> str:
    """HMAC-SHA256 of all of a signature but its seal, keys in order, without spaces."""
    body = {name: value for name, value in document.items() if name != "seal"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def change_id(change: Change) -> str:
    """A short name that depends on the script alone."""
    return hashlib.sha256(render_script(change.commands).encode()).hexdigest()[:12]
