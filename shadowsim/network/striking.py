"""Faults to when they hold and when not, as processes in SimPy: the same for every network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import simpy

from shadowsim.model.change import Command, Configs, difference, parse_script
from shadowsim.model.config import DeviceConfig
from shadowsim.model.faults import WHEREVER, After, Fault
from shadowsim.model.topology import Device

Process = Generator[simpy.Event, None, None]


@dataclass
class Striker:
    """The faults of one network. `active` hold now, oldest first; `waiting` are for a command;
    `causes` are what brought those about that a command did, and on which device.

    `changed(fault)` is called whenever one has begun or ended to hold; `drift(commands)` is what
    config drift does, and `configs()` says what runs, so that it can be undone.
    """

    env: simpy.Environment
    changed: Callable[[Fault], None]
    drift: Callable[[Iterable[Command]], None]
    configs: Callable[[], Mapping[str, DeviceConfig]]
    active: list[Fault] = field(default_factory=list)
    waiting: list[Fault] = field(default_factory=list)
    causes: dict[Fault, tuple[After, str]] = field(default_factory=dict)

    def strike(self, fault: Fault) -> None:
        """Let it strike at its time, or now if that has passed; or when its command comes."""
        if fault.after is not None:
            self.waiting.append(fault)
        else:
            self.env.process(self._strike(fault))

    def obeyed(self, device: Device, command: Command) -> None:
        """A command got into force: what waits for it strikes, unless it holds there already."""
        for fault in self.waiting:
            here = fault.device in (None, WHEREVER, device.name)
            if fault.after is not None and here and fault.after.speaks_of(device, command):
                where = device.name if fault.device == WHEREVER else fault.device
                now = replace(fault, at_s=0.0, device=where, after=None)
                if now not in self.active:
                    self.causes[now] = fault.after, device.name
                    self.strike(now)
        self._let_sleep(device.name)

    def _let_sleep(self, device: str) -> None:
        """End the faults whose cause has just left the config of this device."""
        for fault, (after, there) in list(self.causes.items()):
            config = self.configs().get(device)
            if after.ends and there == device and config and not after.stands_in(config):
                del self.causes[fault]
                if fault in self.active:
                    self.active.remove(fault)
                    self.changed(fault)

    def _strike(self, fault: Fault) -> Process:
        yield self.env.timeout(max(fault.at_s - self.env.now, 0.0))
        end_s = np.inf if fault.for_s is None else self.env.now + fault.for_s
        if fault.kind == "config_drift":
            yield from self._drift(fault, end_s)
            return
        while self.env.now < end_s:
            self.active.append(fault)
            self.changed(fault)
            half_s = fault.amount if fault.kind == "link_flap" else np.inf
            left_s = min(end_s - self.env.now, half_s)
            if left_s == np.inf:
                return
            yield self.env.timeout(left_s)
            self.active.remove(fault)
            self.changed(fault)
            if half_s < np.inf and self.env.now < end_s:
                yield self.env.timeout(min(half_s, end_s - self.env.now))

    def _drift(self, fault: Fault, end_s: float) -> Process:
        """Give the script, again every `amount` seconds if that is not 0. At the end what it first
        changed is set back.
        """
        before: Configs = dict(self.configs())
        commands = parse_script(fault.script)
        self.drift(commands)
        undo = difference(self.configs(), before)
        every_s = fault.amount or np.inf
        while self.env.now + every_s < end_s:
            yield self.env.timeout(every_s)
            self.drift(commands)
        if end_s < np.inf:
            yield self.env.timeout(end_s - self.env.now)
            self.drift(undo)
