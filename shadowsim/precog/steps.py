"""A change and the configs before it to the configs after each of its commands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadowsim.model.change import Change, Command, Configs, apply


@dataclass(frozen=True)
class Step:
    """A command of a change, the configs after it, and for how long at least they stay (s)."""

    command: Command
    configs: Configs
    held_s: float


def steps(change: Change, before: Configs, soak_s: float) -> list[Step]:
    """The configs after each command, in the order in which the change is deployed.

    Who soaks between devices keeps the last state of each for `soak_s`; the end stays for ever.
    """
    found: list[Step] = []
    configs, commands = before, change.commands
    for place, command in enumerate(commands):
        configs = apply(configs, [command])
        last = place + 1 == len(commands)
        handover = last or commands[place + 1].device != command.device
        found.append(Step(command, configs, np.inf if last else soak_s if handover else 0.0))
    return found
