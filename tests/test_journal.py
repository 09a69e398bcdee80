"""What a run does, as lines: every value as JSON has it, the same for the same run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shadowsim.journal import Event, Journal


class Link(NamedTuple):
    a: str
    b: str


@dataclass(frozen=True)
class Named:
    name: str

    def __str__(self) -> str:
        return self.name


def test_every_value_is_one_that_json_has() -> None:
    data = {
        "text": "é", "none": None, "truth": True, "count": 3,
        "rate": 1.23456789, "nothing": float("nan"), "endless": float("inf"),
        "mean": np.float64(0.5), "many": np.int64(7),
        "some": (1.5, [Named("A")], {2}), "by": {1: frozenset({"x"})},
        "link": Link("A", "B"), "device": Named("B"),
    }  # fmt: skip
    assert json.loads(Event(1.23456789, "deploy", "sent", data).line()) == {
        "at_s": 1.234568, "phase": "deploy", "event": "sent",
        "text": "é", "none": None, "truth": True, "count": 3,
        "rate": 1.234568, "nothing": None, "endless": None, "mean": 0.5, "many": 7,
        "some": [1.5, ["A"], [2]], "by": {"1": ["x"]},
        "link": "Link(a='A', b='B')", "device": "B",
    }  # fmt: skip


def test_each_event_is_told_until_nobody_watches() -> None:
    seen: list[str] = []
    journal = Journal(lambda event: seen.append(event.kind))
    journal.write(0.0, "deploy", "sent", device="A")
    journal.unwatch()
    journal.write(1.0, "deploy", "done")
    assert seen == ["sent"]
    assert journal.text() == (
        '{"at_s": 0.0, "phase": "deploy", "event": "sent", "device": "A"}\n'
        '{"at_s": 1.0, "phase": "deploy", "event": "done"}\n'
    )
