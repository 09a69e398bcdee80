"""A change, the configs before it and now, and the part to blame to a rollback signature.

The commands are `difference(now, target)`, in an order (`order`) that keeps what each needs
(`dependencies`) and in which no state on the way, command by command, breaks an intent, exceeds a
limit or fills a link that is well at both ends; or, if there is no such order, in which the states
on the way hurt least, of all orders or (the note says so) of those the search came to. They are cut
into steps by device and section; steps that may go side by side (`waves`) do not depend on each
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from shadowsim.model.change import Change, Command, Configs, apply, revert
from shadowsim.model.topology import Topology
from shadowsim.precog.forecast import Forecast
from shadowsim.rollback.armed import change_id
from shadowsim.rollback.dependencies import dependencies
from shadowsim.rollback.harm import Look
from shadowsim.rollback.order import MOST_STATES, Order, States, safest
from shadowsim.rollback.signature import (
    Digests,
    RollbackSignature,
    Step,
    Verification,
    digests,
    lines,
)
from shadowsim.rollback.subsets import Minimal
from shadowsim.rollback.waves import Block, waves

TIMEOUT_S = 10.0
TOLD = 3  # things that an order hurts, named in the signature


def plan(
    change: Change,
    before: Configs,
    now: Configs,
    look: Look,
    topology: Topology,
    *,
    blamed: Sequence[Command] | None = None,
    minimal: Minimal | None = None,
    mode: str = "any",
    forecast: Forecast | None = None,
    first: Sequence[Command] = (),
    most_states: int = MOST_STATES,
    under_way: Sequence[Command] = (),
) -> RollbackSignature:
    """The signature that reverts the blamed commands (None: all of the change).

    `look(configs)` says what those configs do to the users; it is asked about states on the way,
    each once and no more than `most_states` of them (or three for each command) for the order.
    `minimal` says in which sense the blamed are the fewest. `first` is an order, as of a rehearsed
    plan, that is kept if it is safe. `under_way` are the commands of which nobody knows how far
    they have come (`revert`).
    """
    reverted = tuple(change.commands) if blamed is None else tuple(blamed)
    commands = revert(before, now, change, reverted, under_way)
    target = apply(now, commands)
    touched = tuple(dict.fromkeys((*change.devices, *(c.device for c in commands))))
    needs = dependencies(topology, now, target, commands)
    states = States(now, target, commands, look)
    order = safest(states, needs, first, most_states)
    steps = _steps(states, order, needs, reverted)
    whole = len(reverted) == len(change.commands)
    identity = change_id(change)
    part = "whole" if whole else change_id(Change("", reverted))[:6]
    return RollbackSignature(
        id=f"{identity}-{part}",
        change_id=identity,
        failure_mode=mode,  # type: ignore[arg-type]
        probability=0.0 if forecast is None else forecast.of(mode),
        scope="whole" if whole else "blamed",
        minimal=minimal,
        digests=Digests(
            before=digests(before, touched),
            now=digests(now, touched),
            after=digests(target, touched),
        ),
        reverts=lines(reverted),
        steps=steps,
        order=tuple(step.id for step in steps),
        transiently_safe=order.existence == "exists",
        safe_order=order.existence,
        order_note=_note(order),
        verification=(
            *(
                Verification(kind="config_digest", subject=device, expected=target[device].digest)
                for device in touched
            ),
            Verification(kind="intents", subject="all", expected="none broken that held before"),
            Verification(kind="limits", subject="all", expected="none exceeded that held before"),
            Verification(kind="service", subject="all", expected="delivered as before the change"),
        ),
    )


def _note(order: Order) -> str:
    if len(order.places) < 2:
        return "one command: there is nothing in between" if order.places else "nothing to do"
    if order.existence == "exists":
        return "every state on the way keeps the intents and limits that hold at both ends"
    hurt = sorted(order.hurts)
    names = ", ".join(hurt[:TOLD]) + (f" and {len(hurt) - TOLD} more" if len(hurt) > TOLD else "")
    if order.existence == "none exists":
        none = "no order keeps all that holds at both ends"
        if order.complete:
            return f"{none}; the one that hurts least hurts {names}"
        best = f"{none}; this is the best found within {order.states} states"
        return f"{best}, and what was looked at of it hurts {names or 'nothing'}"
    seen = f"within {order.states} states no order was found that keeps all that holds at both ends"
    return f"{seen}; on its way this one hurts {names or 'nothing that was looked at'}"


def _steps(
    states: States,
    order: Order,
    needs: Sequence[frozenset[int]],
    reverted: Sequence[Command],
) -> tuple[Step, ...]:
    """Consecutive commands of one device and section as steps, with the steps they depend on."""
    commands = states.commands
    blocks = [
        Block(device, tuple(run))
        for (device, _), run in groupby(
            order.places, key=lambda place: (commands[place].device, commands[place].context)
        )
    ]
    groups: tuple[tuple[int, ...], ...] = tuple((n,) for n in range(len(blocks)))
    if order.existence == "exists":
        groups = waves(states, blocks, needs)
    step_of = {place: n for n, block in enumerate(blocks) for place in block.places}
    found: list[Step] = []
    for previous, group in zip([(), *groups], groups, strict=False):
        for number in group:
            block = blocks[number]
            used = {step_of[n] for place in block.places for n in needs[place]} - {number}
            found.append(_step(number, block, commands, reverted, sorted({*previous, *used})))
    return tuple(found)


def _step(
    number: int,
    block: Block,
    commands: Sequence[Command],
    reverted: Sequence[Command],
    depends_on: Sequence[int],
) -> Step:
    mine = tuple(commands[place] for place in block.places)
    context = mine[0].context
    about = [
        c for c in reverted if c.device == block.device and (not context or c.context == context)
    ]
    return Step(
        id=f"s{number + 1}",
        device=block.device,
        commands=lines(mine),
        reverts=lines(tuple(about)),
        depends_on=tuple(f"s{n + 1}" for n in depends_on),
        timeout_s=TIMEOUT_S,
    )  # fmt: skip
