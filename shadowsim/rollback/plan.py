"""A change, the configs before it and now, and the part to blame to a rollback signature.

The commands are `difference(now, target)`, cut into steps by device and section. A section
that uses a list stands after the section that defines it. Among the orders that keep this, one
is searched in which no state on the way breaks an intent that holds at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from shadowsim.model.change import Change, Command, Configs, apply, difference, revert
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
    blocks = _blocks(commands)
    order, safe = _safe_order(now, target, blocks, broken)
    steps = _steps(blocks, reverted)
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
        order=tuple(steps[place].id for place in order),
        transiently_safe=safe,
        order_note=_note(safe, len(blocks)),
        verification=(
            *(
                Verification(kind="config_digest", subject=device, expected=target[device].digest)
                for device in touched
            ),
            Verification(kind="intents", subject="all", expected="none broken that held before"),
            Verification(kind="limits", subject="all", expected="none exceeded that held before"),
        ),
    )


def _note(safe: bool, steps: int) -> str:
    if steps < 2:
        return "one step: there is nothing in between" if steps else "nothing to do"
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
    now: Configs, target: Configs, blocks: Sequence[tuple[Command, ...]], broken: Broken
) -> tuple[tuple[int, ...], bool]:
    """An order of the blocks that keeps each device's own, and whether no state on the way breaks
    what holds at both ends. Depth first, and bounded; the plain order where none is found.
    """
    plain = tuple(range(len(blocks)))
    if len(blocks) < 2:
        return plain, True
    allowed = broken(now) | broken(target)
    tried: set[frozenset[int]] = set()

    def search(done: tuple[int, ...], configs: Configs) -> tuple[int, ...] | None:
        if len(done) == len(blocks):
            return done
        for place in _ready(blocks, done):
            reached = frozenset((*done, place))
            if reached in tried or len(tried) >= STATES_TRIED:
                continue
            tried.add(reached)
            after = apply(configs, blocks[place])
            if len(reached) < len(blocks) and broken(after) - allowed:
                continue
            found = search((*done, place), after)
            if found is not None:
                return found
        return None

    safe = search((), now)
    return (plain, False) if safe is None else (safe, True)


def _ready(blocks: Sequence[tuple[Command, ...]], done: Sequence[int]) -> list[int]:
    """The next block of each device."""
    seen: set[str] = set()
    found = []
    for place, block in enumerate(blocks):
        if place not in done and block[0].device not in seen:
            seen.add(block[0].device)
            found.append(place)
    return found


__all__ = ["difference", "plan"]
