"""A failure at hand to the commands that, taken back, would remove it: or to none of them.

The question is counterfactual and asked of the what-if model: with links and traffic as they are
observed or expected, which reverts lead to a condition without the failure? The smallest such set
is blamed (`subsets`), and of those only sets that leave no use of a list without the list. Where
the failure stays although the whole change is reverted, the change is not to blame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shadowsim.model.change import Change, Command, Configs, reverted, subject_of
from shadowsim.precog.whatif import Condition, Observed, WhatIf
from shadowsim.rollback.dependencies import dangling
from shadowsim.rollback.subsets import MOST_TESTS, Minimal, Places, smallest

RELIEF = 0.98  # a limit must fall to this share of its level to count as relieved
WORDS = {
    "cardinality": "no fewer commands would do",
    "inclusion": "each of them is needed",
    "not shown": "perhaps fewer commands would do",
}


@dataclass(frozen=True)
class Blame:
    """Whom the failure is due to. `commands` empty and `change` False: not the change.

    `explained` says whether the model shows the failure at all; `minimal`, in which sense no
    smaller set of commands would do (None where none was searched for); `looks`, at how many
    conditions the model was asked to look.
    """

    change: bool
    commands: tuple[Command, ...]
    explained: bool
    text: str
    minimal: Minimal | None = None
    looks: int = 2


def blame(
    whatif: WhatIf,
    change: Change,
    before: Configs,
    now: Configs,
    seen: Observed,
    margin: float = 1.0,
    most_tests: int = MOST_TESTS,
) -> Blame:
    """Attribute what is broken `now`. Limits count from `margin` of their bound on."""
    present = whatif.look(now, seen, before)
    without = whatif.look(reverted(before, now, change, change.commands), seen, before)
    if not present.modes(margin):
        return Blame(False, (), False, "the model of the configs shows no failure")
    if not _worse(present, without, margin):
        return Blame(False, (), True, "it would be the same without the change")
    commands = tuple(dict.fromkeys(change.commands))

    def removes(places: Places) -> bool:
        part = [commands[place] for place in places]
        condition = whatif.look(reverted(before, now, change, part), seen, before)
        return not _worse(condition, without, margin)

    closed = _closure(change, commands, before, now)
    found = smallest(len(commands), removes, closed, most_tests)
    blamed = tuple(commands[place] for place in sorted(found.places))
    blamed = change.commands if len(blamed) == len(commands) else blamed
    return Blame(
        True, blamed, True, _text(blamed, change, found.minimal), found.minimal, 2 + found.tests
    )


def _text(blamed: tuple[Command, ...], change: Change, minimal: Minimal) -> str:
    if len(blamed) == len(change.commands) > 1 and minimal != "not shown":
        return "only the whole change taken back removes it"
    names = "; ".join(f"'{command}'" for command in blamed)
    return f"without {names} it would not be" + (f" ({WORDS[minimal]})" * (len(blamed) > 1))


def _closure(
    change: Change, commands: tuple[Command, ...], before: Configs, now: Configs
) -> Callable[[Places], Places]:
    """Adds to a set of commands those that would use a list that is gone without it."""
    devices = [name for name in change.devices if name in now and name in before]
    anyway = dangling(now, devices) | dangling(before, devices)
    subjects = [(command.device, subject_of(command)[0]) for command in commands]

    def closed(places: Places) -> Places:
        while True:
            part = [commands[place] for place in places]
            lost = dangling(reverted(before, now, change, part), devices) - anyway
            found = places | {place for place, s in enumerate(subjects) if s in lost}
            if found == places:
                return places
            places = found

    return closed


def _worse(condition: Condition, reference: Condition, margin: float) -> bool:
    """Whether the condition breaks something the reference does not."""
    if set(condition.broken) - set(reference.broken):
        return True
    if set(condition.exposed) - set(reference.exposed):
        return True
    if set(condition.starved) - set(reference.starved):
        return True
    beyond = condition.severity > margin
    relieved = reference.severity < np.maximum(condition.severity * RELIEF, 0.0)
    return bool((beyond & relieved).any())
