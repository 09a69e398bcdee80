"""Batches of commands to devices that obey them one by one, each device beside the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence

import simpy

from shadowsim.errors import Unreachable
from shadowsim.model.change import Command
from shadowsim.network.striking import Process

Obeying = Generator[simpy.Event, None, bool]


class Commands:
    """What devices have still to do.

    `obey` is a process in which a device obeys one command; it returns False where the device has
    gone away, and what else it was to do is lost.
    """

    def __init__(self, env: simpy.Environment, obey: Callable[[str, Command], Obeying]) -> None:
        self._env = env
        self._obey = obey
        self._queues: dict[str, list[Command]] = {}

    @property
    def busy(self) -> bool:
        """Whether any device has anything to do."""
        return any(self._queues.values())

    def give(self, commands: Sequence[Command], answering: Collection[str]) -> None:
        """Hand over a batch. Raises Unreachable, having begun nothing, if one does not answer."""
        by_device: dict[str, list[Command]] = {}
        for command in commands:
            by_device.setdefault(command.device, []).append(command)
        deaf = sorted(by_device.keys() - {*answering})
        if deaf:
            raise Unreachable(f"no answer from {', '.join(deaf)}")
        for device, mine in by_device.items():
            queue = self._queues.setdefault(device, [])
            idle = not queue
            queue += mine
            if idle:
                self._env.process(self._work(device, queue))

    def _work(self, device: str, queue: list[Command]) -> Process:
        while queue:
            try:
                there = yield from self._obey(device, queue[0])
            except BaseException:
                queue.clear()  # whoever hears of it may want to tell the device something else
                raise
            if not there:
                queue.clear()
                return
            queue.pop(0)
