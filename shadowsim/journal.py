"""What a run does, event by event, to lines of JSON: the same run, the same bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Event:
    """One thing that happened, at a time of the network, in a phase of the workflow."""

    at_s: float
    phase: str
    kind: str
    data: Mapping[str, Any]

    def line(self) -> str:
        return json.dumps(
            {
                "at_s": round(self.at_s, 6),
                "phase": self.phase,
                "event": self.kind,
                **_plain(self.data),
            },
            ensure_ascii=False,
        )


class Journal:
    """The events of one run, in order. `watch` is told each one as it comes."""

    def __init__(self, watch: Callable[[Event], None] = lambda event: None) -> None:
        self.events: list[Event] = []
        self._watch = watch

    def unwatch(self) -> None:
        """Tell nobody any more: whoever watches may be what has failed."""
        self._watch = lambda event: None

    def write(self, at_s: float, phase: str, kind: str, **data: Any) -> None:
        event = Event(at_s, phase, kind, data)
        self.events.append(event)
        self._watch(event)

    def text(self) -> str:
        return "".join(event.line() + "\n" for event in self.events)


def _plain(value: Any) -> Any:
    """Only what JSON has: floats cut to what is meant by them, null for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, list | set | frozenset) or type(value) is tuple:
        return [_plain(item) for item in value]
    return str(value)
