"""A change, the configs before it and now, and the part to blame to a rollback signature.

The commands are `difference(now, target)`, cut into steps by device and section. What uses a list
stands after what defines it. Among the orders that keep this, one is searched in which no state
on the way, command by command, breaks an intent that holds at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from shadowsim.model.change import Change, Command, Configs, apply, rank_of, revert
from shadowsim.precog.forecast import Forecast
from shadowsim.rollback.signature import (
    Digests,
    RollbackSignature,
    Step,
    Verification,
    change_id,
    digests,
    lines,
)

Broken = Callable[[Configs], frozenset[str]]
STATES_TRIED = 200
TIMEOUT_S = 10.0


def plan(
    change: Change,
    before: Configs,
    now: Configs,
    broken: Broken,
    *,
    blamed: Sequence[Command] | None = None,
    mode: str = "any",
    forecast: Forecast | None = None,
) -> RollbackSignature:
    """The signature that reverts the blamed commands (None: all of the change).

    `broken(configs)` names what those configs break; it is asked about every state on the way.
    """
    reverted = tuple(change.commands) if blamed is None else tuple(blamed)
    commands = revert(before, now, change, reverted)
    target = apply(now, commands)
    touched = tuple(dict.fromkeys((*change.devices, *(c.device for c in commands))))
    ordered, safe = _safe_order(now, target, commands, broken)
    steps = _steps(_blocks(ordered), reverted)
    whole = len(reverted) == len(change.commands)
    identity = change_id(change)
    part = "whole" if whole else change_id(Change("", reverted))[:6]
    return RollbackSignature(
        id=f"{identity}-{part}",
        change_id=identity,
        failure_mode=mode,  # type: ignore[arg-type]
        probability=0.0 if forecast is None else forecast.probabilities.get(mode, forecast.worst),
        scope="whole" if whole else "blamed",
        digests=Digests(
            before=digests(before, touched),
            now=digests(now, touched),
            after=digests(target, touched),
        ),
        reverts=lines(reverted),
        steps=steps,
        order=tuple(step.id for step in steps),
        transiently_safe=safe,
        order_note=_note(safe, len(commands)),
        verification=(
            *(
                Verification(kind="config_digest", subject=device, expected=target[device].digest)
                for device in touched
            ),
            Verification(kind="intents", subject="all", expected="none broken that held before"),
            Verification(kind="limits", subject="all", expected="none exceeded that held before"),
        ),
    )


def _note(safe: bool, commands: int) -> str:
    if commands < 2:
        return "one command: there is nothing in between" if commands else "nothing to do"
    if safe:
        return "every state on the way keeps the intents that hold at both ends"
    return "no order was found that keeps every intent on the way"


def _blocks(commands: Sequence[Command]) -> tuple[tuple[Command, ...], ...]:
    """Consecutive commands of one device and one section."""
    return tuple(tuple(run) for _, run in groupby(commands, key=lambda c: (c.device, c.context)))


def _steps(blocks: Sequence[tuple[Command, ...]], reverted: Sequence[Command]) -> tuple[Step, ...]:
    found: list[Step] = []
    for place, block in enumerate(blocks):
        device, context = block[0].device, block[0].context
        earlier = tuple(step.id for step in found if step.device == device)
        mine = tuple(
            c for c in reverted if c.device == device and (not context or c.context == context)
        )
        found.append(
            Step(
                id=f"s{place + 1}",
                device=device,
                commands=lines(block),
                reverts=lines(mine),
                depends_on=earlier[-1:],
                timeout_s=TIMEOUT_S,
            )
        )
    return tuple(found)


def _safe_order(
    now: Configs, target: Configs, commands: Sequence[Command], broken: Broken
) -> tuple[tuple[Command, ...], bool]:
    """An order in which no command leads to a state that breaks what holds at both ends.

    Depth first over the orders that keep every device's ranks, the given one first, and bounded.
    With no such order: the given one, and False.
    """
    if len(commands) < 2:
        return tuple(commands), True
    allowed = broken(now) | broken(target)
    most = max(STATES_TRIED, 3 * len(commands))
    tried: set[frozenset[int]] = set()
    way: list[int] = []
    open_: list[tuple[Configs, list[int]]] = [(now, _ready(commands, way))]
    while open_ and len(way) < len(commands) and len(tried) < most:
        configs, ready = open_[-1]
        if not ready:
            open_.pop()
            way = way[:-1]
            continue
        place = ready.pop(0)
        reached = frozenset((*way, place))
        if reached in tried:
            continue
        tried.add(reached)
        after = apply(configs, [commands[place]])
        if len(reached) < len(commands) and broken(after) - allowed:
            continue
        way = [*way, place]
        open_.append((after, _ready(commands, way)))
    complete = len(way) == len(commands)
    return tuple(commands[place] for place in way) if complete else tuple(commands), complete


def _ready(commands: Sequence[Command], done: Sequence[int]) -> list[int]:
    """What may come next: of each device, the commands of the lowest rank that are left."""
    gone = set(done)
    left = [place for place in range(len(commands)) if place not in gone]
    lowest: dict[str, int] = {}
    for place in left:
        device, rank = commands[place].device, rank_of(commands[place])
        lowest[device] = min(rank, lowest.get(device, rank))
    return [p for p in left if rank_of(commands[p]) == lowest[commands[p].device]]
