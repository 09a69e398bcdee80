"""Outages that really happened: what is said of them, and that the scenarios do what they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shadowsim.scenario import Outage, parse

TEXT = """
name: leak
topology: {nodes: [A, B], links: [[A, B]]}
change: {script: ""}
"""
FACTS = """
outage:
  date: 2021-06-08
  who: Fastly
  change: a valid change of a customer's configuration
  mechanism: it triggered a defect that had been deployed before
  recovery_s: 2940
  lost: 85 % of the network returned errors
  sources: ["Summary of June 8 outage, Fastly, 2021-06-08"]
"""


# -- what is said of them ------------------------------------------------------------------------


def test_the_facts_are_read_and_change_nothing_else() -> None:
    with_facts, without = parse(TEXT + FACTS), parse(TEXT)
    assert with_facts.outage == Outage(
        date(2021, 6, 8),
        "Fastly",
        "a valid change of a customer's configuration",
        "it triggered a defect that had been deployed before",
        2940.0,
        "85 % of the network returned errors",
        ("Summary of June 8 outage, Fastly, 2021-06-08",),
    )
    assert replace(with_facts, outage=None) == without


def test_what_is_not_published_stays_open() -> None:
    told = [line for line in FACTS.splitlines() if "recovery_s" not in line and "lost" not in line]
    outage = parse(TEXT + "\n".join(told)).outage
    assert outage is not None
    assert outage.recovery_s is None
    assert outage.lost == "unknown"
