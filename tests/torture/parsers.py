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
    "script": Parser(200, texts.script),
    "config": Parser(120, texts.config),
    "yaml": Parser(40, texts.yaml_text),
    "scenario": Parser(40, texts.scenario),
    "graphml": Parser(60, texts.graphml),
    "containerlab": Parser(40, texts.containerlab),
    "signature": Parser(120, stored.signature),
    "sealed": Parser(40, stored.sealed),
    # The commit log of the guardian and its journal belong here.
    "recorded": Parser(30, stored.recorded),
    "report": Parser(1, stored.report),
    "outcomes": Parser(20, stored.outcomes),
    "session": Parser(29, stored.session),
    "rest": Parser(40, wire.rest),
    "framing": Parser(60, wire.framing),
    "verbs": Parser(100, wire.verbs),
    "ovsdb": Parser(20, wire.ovsdb),
    "resp": Parser(40, wire.resp),
}
