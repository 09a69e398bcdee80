"""Old and new rules of a switch to what must be added and deleted, all as plain JSON data."""

from __future__ import annotations

import json
from typing import Any

PARTS = ("flows", "groups", "meters")
KEYS = (
    {"table", "priority", "match", "actions", "goto", "meter"},
    {"id", "slots"},
    {"id", "rate_kbps", "burst_kbit"},
)
Json = dict[str, Any]


def difference(old: Json | None, new: Json) -> Json:
    """What is to be added and deleted; `old` None: nothing is known, so everything must go first.

    Adding what is there under the same key replaces it. A group's number is made from its
    content, so that a group never changes.
    """
    empty: Json = {part: [] for part in PARTS}
    found: Json = {"clear": old is None}
    for part in PARTS:
        before = {_key(part, item): item for item in (old or empty)[part]}
        after = {_key(part, item): item for item in new[part]}
        found[part] = {
            "add": [item for key, item in after.items() if before.get(key) != item],
            "delete": [item for key, item in before.items() if key not in after],
        }
    return found


def well_formed(rules: Any) -> bool:
    """Whether this has the shape of rules; what a switch makes of them is up to the switch."""
    return (
        isinstance(rules, dict)
        and rules.keys() == {"dpid", *PARTS}
        and all(
            isinstance(rules[part], list)
            and all(isinstance(item, dict) and item.keys() == keys for item in rules[part])
            for part, keys in zip(PARTS, KEYS, strict=True)
        )
    )


def _key(part: str, item: Json) -> object:
    """By what a switch tells two of them apart."""
    if part == "flows":
        return item["table"], item["priority"], json.dumps(item["match"])
    return item["id"]
