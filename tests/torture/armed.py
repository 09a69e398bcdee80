"""A change to a rollback of it that needs no planner."""

from __future__ import annotations

from itertools import groupby

from shadowsim.model.change import Change, Configs, apply, difference
from shadowsim.rollback.armed import change_id
from shadowsim.rollback.signature import Digests, RollbackSignature, Step, lines


def armed(change: Change, before: Configs) -> RollbackSignature:
    """A rollback of the whole change, section by section; not sealed."""
    now = apply(before, change.commands)
    sections = [
        tuple(section)
        for _, section in groupby(difference(now, before), key=lambda c: (c.device, c.context))
    ]
    steps = tuple(
        Step(
            id=f"s{number}",
            device=section[0].device,
            commands=lines(section),
            reverts=(),
            depends_on=(),
            timeout_s=10.0,
        )
        for number, section in enumerate(sections, 1)
    )
    return RollbackSignature(
        id="whole",
        change_id=change_id(change),
        failure_mode="any",
        probability=0.0,
        scope="whole",
        digests=Digests(before={}, now={}, after={}),
        reverts=lines(change.commands),
        steps=steps,
        order=tuple(step.id for step in steps),
        transiently_safe=True,
        safe_order="exists",
        order_note="",
        verification=(),
    )
