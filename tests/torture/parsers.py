"""The parsers that are attacked, each with its share of the cases.

A parser that is new gets an entry here and a function that prepares it: folder to Target.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torture import stored, texts, wire
from torture.watch import Target


class Parser(NamedTuple):
    """`share`: of the cases; cheap parsers get more of them, those that build a network fewer."""

    share: int
    prepare: Callable[[Path], Target]


PARSERS: dict[str, Parser] = {
    "script": Parser(150, texts.script),
    "config": Parser(90, texts.config),
    "yaml": Parser(25, texts.yaml_text),
    "scenario": Parser(30, texts.scenario),
    "graphml": Parser(45, texts.graphml),
    "containerlab": Parser(25, texts.containerlab),
    "signature": Parser(150, stored.signature),
    "sealed": Parser(60, stored.sealed),
    # The commit log of the guardian and its journal belong here.
    "recorded": Parser(15, stored.recorded),
    "report": Parser(1, stored.report),
    "outcomes": Parser(8, stored.outcomes),
    "session": Parser(40, stored.session),
    "rest": Parser(110, wire.rest),
    "framing": Parser(90, wire.framing),
    "verbs": Parser(100, wire.verbs),
    "ovsdb": Parser(31, wire.ovsdb),
    "resp": Parser(30, wire.resp),
}
