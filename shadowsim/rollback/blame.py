"""A failure at hand to the commands that, taken back, would remove it: or to none of them.

The question is counterfactual and asked of the what-if model: with links and traffic as they are
observed or expected, which reverts lead to a condition without the failure? The smallest such set
is blamed (`subsets`), and of those only sets that leave no use of a list without the list. Where
the failure stays although the whole change is reverted, the change is not to blame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shadowsim.model.change import Change, Command, Configs, reverted, subject_of
from shadowsim.model.grammar import Slot
from shadowsim.precog.whatif import Condition, Observed, WhatIf
from shadowsim.rollback.dependencies import dangling, list_of, list_used
from shadowsim.rollback.harm import is_more
from shadowsim.rollback.subsets import MOST_TESTS, Minimal, Places, smallest

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
    without = reverted(before, now, change, change.commands)
    reference = whatif.look(without, seen, before)

    def worse(configs: Configs) -> bool:
        """Whether these break something that they do not break without the change."""
        condition = whatif.look(configs, seen, before)
        beyond = whatif.breaks(configs, without, seen.down)
        return bool(beyond) or _worse(condition, reference, margin)

    if not whatif.look(now, seen, before).modes(margin):
        return Blame(False, (), False, "the model of the configs shows no failure")
    if not worse(now):
        return Blame(False, (), True, "it would be the same without the change")
    commands = tuple(dict.fromkeys(change.commands))

    def removes(places: Places) -> bool:
        part = [commands[place] for place in places]
        return not worse(reverted(before, now, change, part))

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
    """Adds to a set of commands what keeps every list that is used without it.

    Only sets that leave no more uses without their list than the whole change taken back are left
    as they are: others get the commands about the use, else about the list, else all there are.
    """
    devices = [name for name in change.devices if name in now and name in before]
    everything = frozenset(range(len(commands)))
    inevitable = dangling(reverted(before, now, change, commands), devices)
    anyway = dangling(now, devices) | inevitable
    subjects = [(command.device, subject_of(command)[0]) for command in commands]

    def about(uses: Iterable[tuple[str, Slot]]) -> Places:
        return frozenset(
            place
            for place, (device, mine) in enumerate(subjects)
            if any(device == at and slot[: len(mine)] == mine for at, slot in uses)
        )

    def closed(places: Places) -> Places:
        while places != everything:
            configs = reverted(before, now, change, [commands[place] for place in places])
            lost = dangling(configs, devices) - anyway
            if not lost:
                break
            lists = [(at, list_used(configs[at], slot)) for at, slot in lost]
            wanted = frozenset(
                place
                for place, (device, mine) in enumerate(subjects)
                if (device, list_of(mine)) in lists
            )
            places |= (about(lost) - places) or (wanted - places) or everything
        return places

    return closed


def _worse(condition: Condition, reference: Condition, margin: float) -> bool:
    """Whether the condition exposes, starves or exceeds something the reference does not."""
    if set(condition.exposed) - set(reference.exposed):
        return True
    if set(condition.starved) - set(reference.starved):
        return True
    level, other = condition.severity, reference.severity
    return bool(((level > margin) & is_more(level, other)).any())
