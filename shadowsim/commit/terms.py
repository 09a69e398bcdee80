"""A change and its armed rollback to the record that every log begins with, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shadowsim.commit.log import LogAltered, Record
from shadowsim.errors import BadInput
from shadowsim.model.change import (
    Change,
    Configs,
    apply,
    parse_config,
    parse_script,
    render_script,
    reverted,
)
from shadowsim.rollback.armed import Armed, change_id

OLD, NEW, MIXED = "old", "new", "mixed"


@dataclass(frozen=True)
class Terms:
    """What a commit is about: all that another process needs to take the change back.

    `before` has the configs of the devices touched; `signature` is the rollback of the whole
    change; `reach` says how production is reached.
    """

    change: Change
    before: Configs
    signature: Armed
    reach: Mapping[str, str]

    def target(self, now: Configs) -> Configs:
        """The configs without the change; what others have set meanwhile stays as it is.

        However far the change had come: what it sets only in passing goes, too, where it is found.
        """
        commands = self.change.commands
        return reverted(self.before, now, self.change, commands, under_way=commands)

    def position(self, now: Configs) -> str:
        """Whether these configs are without the change, with all of it, or neither."""
        mine = {name: now[name] for name in self.before if name in now}
        if len(mine) == len(self.before):
            target = self.target(mine)
            if all(target[name] is config for name, config in mine.items()):
                return OLD
            with_it = apply(mine, self.change.commands)
            if all(with_it[name] is config for name, config in mine.items()):
                return NEW
        return MIXED

    def data(self) -> dict[str, Any]:
        """What a log can hold of it."""
        return {
            "commit": change_id(self.change),
            "summary": self.change.summary,
            "script": render_script(self.change.commands),
            "before": {name: config.text for name, config in self.before.items()},
            "signature": dict(self.signature.document),
            "reach": dict(self.reach),
        }


def read_terms(record: Record, key: bytes) -> Terms:
    """The terms in a record. Raises LogAltered where these are none, or their seal is not ours."""
    try:
        data = record.data
        signature = Armed(data["signature"])
        signature.ordered()
        sealed = signature.is_sealed_by(key)
        terms = Terms(
            Change(data["summary"], parse_script(data["script"])),
            {name: parse_config(text) for name, text in data["before"].items()},
            signature,
            data["reach"],
        )
    except (LookupError, TypeError, AttributeError, BadInput) as error:
        raise LogAltered(f"what the commit opens with cannot be used: {error}") from None
    if not sealed:
        raise LogAltered("the armed rollback was altered, or made elsewhere: its seal does not fit")
    return terms
