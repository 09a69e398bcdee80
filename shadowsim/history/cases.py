"""A seed and a number to one past change: a scenario, and what nobody could see of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shadowsim.history.circumstances import PLAN, circumstances
from shadowsim.history.grammar import written
from shadowsim.history.mistakes import spoil
from shadowsim.history.sites import Site, site
from shadowsim.model.change import Change, Command
from shadowsim.model.streams import stream
from shadowsim.scenario import Scenario

CHANGES_PER_SITE = 20
MISTAKEN = 0.45  # of all changes


@dataclass(frozen=True)
class Case:
    """One past change at one site.

    `number` is among all cases; its site is `number // CHANGES_PER_SITE`. `network` and `kind` are
    what splits go by. `mistake` names what the operator got wrong, None where nothing, and
    `at_fault` the commands it is in. `hidden` names the circumstances the shadow cannot show.
    """

    number: int
    scenario: Scenario
    network: str
    kind: str
    mistake: str | None
    at_fault: tuple[Command, ...]
    hidden: tuple[str, ...]


def case(seed: int, number: int) -> Case:
    """The case of that number: the same arguments give the same one in any process.

    To sample all the changes of a site, make the site once and use `change_at`.
    """
    return change_at(site(seed, number // CHANGES_PER_SITE), number % CHANGES_PER_SITE)


def change_at(where: Site, index: int) -> Case:
    """The change of that index (from 0, below CHANGES_PER_SITE) at a site."""
    number = where.number * CHANGES_PER_SITE + index
    random = stream(where.seed, "history", "case", str(number))
    kind, script = written(where, random)
    wrong = spoil(where, script.commands, random) if random.random() < MISTAKEN else None
    change = Change(script.summary, wrong.commands if wrong else script.commands)
    around = circumstances(where, change, random)
    scenario = Scenario(
        name=f"history-{number}",
        summary="",
        seed=int(random.integers(2**32)),
        topology=where.topology,
        configs=where.configs,
        traffic=replace(where.traffic, profile=around.profile),
        intents=where.intents,
        change=change,
        faults=around.faults,
        shadow=around.shadow,
        workflow=PLAN,
        expect=None,
        file="",
    )
    return Case(
        number=number,
        scenario=scenario,
        network=where.network,
        kind=kind,
        mistake=wrong.mistake if wrong else None,
        at_fault=wrong.at_fault if wrong else (),
        hidden=around.hidden,
    )
