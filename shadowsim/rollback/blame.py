"""A failure at hand to the commands that, taken back, would remove it: or to none of them.

The question is counterfactual and asked of the what-if model: with links and traffic as they are
observed, which reverts lead to a condition without the failure? The smallest such set is blamed.
Where the failure stays although the whole change is reverted, the change is not to blame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from shadowsim.model.change import Change, Command, Configs, reverted
from shadowsim.precog.whatif import Condition, Observed, WhatIf

LARGEST_PAIRED = 12  # commands; with more, no pairs are tried
RELIEF = 0.98  # a limit must fall to this share of its level to count as relieved


@dataclass(frozen=True)
class Blame:
    """Whom the failure is due to. `commands` empty and `change` False: not the change.

    `explained` says whether the model shows the failure at all.
    """

    change: bool
    commands: tuple[Command, ...]
    explained: bool
    text: str


def blame(
    whatif: WhatIf,
    change: Change,
    before: Configs,
    now: Configs,
    seen: Observed,
    margin: float = 1.0,
) -> Blame:
    """Attribute what is broken `now`. Limits count from `margin` of their bound on."""
    present = whatif.look(now, seen, before)
    without = whatif.look(reverted(before, now, change, change.commands), seen, before)
    if not present.modes(margin):
        return Blame(False, (), False, "the model of the configs shows no failure")
    if not _better(present, without, margin):
        return Blame(False, (), True, "it would be the same without the change")
    for candidate in _candidates(change):
        condition = whatif.look(reverted(before, now, change, candidate), seen, before)
        if not _worse(condition, without, margin):
            names = "; ".join(f"'{command}'" for command in candidate)
            return Blame(True, candidate, True, f"without {names} it would not be")
    if len(change.commands) == 1:
        return Blame(True, change.commands, True, f"without '{change.commands[0]}' it would not be")
    return Blame(True, change.commands, True, "only the whole change taken back removes it")


def _candidates(change: Change) -> Iterator[tuple[Command, ...]]:
    """Sets of commands, the smaller ones first: each alone, pairs, the lines of each device."""
    commands = change.commands
    if len(commands) < 2:
        return
    yield from ((command,) for command in commands)
    if 2 < len(commands) <= LARGEST_PAIRED:
        yield from combinations(commands, 2)
    for device in change.devices:
        mine = tuple(c for c in commands if c.device == device)
        if 1 < len(mine) < len(commands):
            yield mine


def _better(present: Condition, without: Condition, margin: float) -> bool:
    """Whether something that fails now would not fail, or clearly less, without the change."""
    return _worse(present, without, margin)


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
