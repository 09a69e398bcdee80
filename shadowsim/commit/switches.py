"""The devices of an emulated production, as whoever holds its rollback reaches them.

Their configs are in the network's own OVSDB, where fencing is a condition of every transaction;
their rules are compiled anew from those configs and the links that are left, and told to the
network's own controller, which takes nothing of an earlier epoch. All are reached through the
folder of the network. It stays up as long as the holder keeps the files that it was lent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from shadowsim.commit.devices import Gone
from shadowsim.commit.log import LogAltered
from shadowsim.dataplane.forwarding import Compiler
from shadowsim.errors import Fenced, Unreachable
from shadowsim.model.change import Configs
from shadowsim.model.config import DeviceConfig
from shadowsim.model.topology import Topology
from shadowsim.network.emulated.beneath import kept
from shadowsim.network.emulated.controllers import (
    ControllerCalls,
    ControllerGone,
    Outcome,
    Stale,
)
from shadowsim.network.emulated.openflow import Rules, rules
from shadowsim.network.emulated.rundir import Tenant, has_ended, remove_dead
from shadowsim.network.emulated.store import ConfigStore, StoreGone

EPOCHS = 40  # bits: a generation's epochs are above all of the one before


class EmulatedDevices:
    """Keeps the `Devices` contract over OVSDB and a controller."""

    def __init__(self, reach: Mapping[str, str]) -> None:
        """Raises LogAltered if that is no place of an emulated network."""
        try:
            self._topology = TypeAdapter(Topology).validate_json(reach["topology"])
            self._rundir = Path(reach["rundir"])
        except (KeyError, TypeError, ValidationError) as error:
            raise LogAltered(f"how production is reached cannot be read: {error}") from None
        self._store = ConfigStore(self._rundir / "db.sock", list(self._topology.device_index))
        self._controller = ControllerCalls(self._rundir)
        self._tenant = Tenant.of(self._rundir)
        self._told = 0  # the last epoch that this process told

    def read(self) -> Configs:
        gone = Gone("its network has gone, and production with it")
        if not self._rundir.exists():
            raise gone
        try:
            return self._store.read()
        except StoreGone:
            if has_ended(self._rundir):
                raise gone from None
            raise

    def prepare(self) -> None:
        self._rules(self.read())

    def fence(self, generation: int) -> None:
        self._store.fence(generation)

    def write(self, config: DeviceConfig, generation: int) -> None:
        number = self._topology.device_index[config.hostname] + 1
        try:
            found = self._tell({config.hostname: config}, generation)
        except ControllerGone as error:
            raise Unreachable(f"{config.hostname}: {error}") from None
        if not found[number].installed:
            raise Unreachable(f"{config.hostname}: {found[number].outcome} {found[number].error}")

    def enforce(self, generation: int) -> None:
        try:
            self._tell({}, generation)
        except ControllerGone as error:
            raise Unreachable(str(error)) from None

    def verify(self, configs: Configs) -> tuple[str, ...]:
        stored = self._store.read()
        wanted = self._rules(stored)
        names = [name for name in self._topology.device_index if name in configs]
        numbers = {self._topology.device_index[name] + 1: name for name in [*names, *self._late()]}
        held = self._controller.readback(numbers)
        wrong = [
            f"config of {name} is not what the plan leads to"
            for name, config in configs.items()
            if stored[name].digest != config.digest
        ]
        for number, name in numbers.items():
            rules_held = held.get(number)
            if rules_held is None:
                wrong.append(f"the rules of {name} cannot be read back")
            elif rules_held.digest != wanted[number].digest:
                wrong.append(f"the rules of {name} as read back are not those of its config")
        return tuple(wrong)

    def _late(self) -> tuple[str, ...]:
        """Switches that did not take what they were told last, though they are connected.

        The rules of a device follow from the configs of all, so that these are of any device.
        """
        known = self._controller.state().switches
        return tuple(
            name
            for name, number in self._topology.device_index.items()
            if (found := known.get(number + 1)) and found.connected and found.epoch < self._told
        )

    @property
    def held(self) -> bool:
        return True

    def close(self) -> None:
        """Let go of it; if the run that made this network is dead, so are its remains soon."""
        self._store.close()
        self._tenant.leave()
        remove_dead(self._rundir)

    def _tell(self, configs: Configs, generation: int) -> Mapping[int, Outcome]:
        """Store these, and have the controller hand out the rules of all that is stored then."""
        told = self._controller.state().epoch
        if told >> EPOCHS > generation:
            raise Fenced("the controller was taken over from this process")
        epoch = max(told, generation << EPOCHS) + 1
        self._store.write(configs, epoch)
        self._told = epoch
        try:
            return self._controller.install(epoch, self._rules(self._store.read()))
        except Stale:  # somebody told it something between these two: what, is looked at again
            raise Unreachable("the controller was just told something else") from None

    @cached_property
    def _compiler(self) -> Compiler:
        return Compiler(self._topology)

    def _rules(self, configs: Configs) -> dict[int, Rules]:
        """What every switch is to hold; mirroring and steering have ended with the run.

        Raises Unreachable while the database, made anew, does not have all configs yet.
        """
        if len(configs) < len(self._topology.devices):
            raise Unreachable("production is just being built again: not all configs are there")
        plane = self._compiler.compile(configs, kept(self._rundir))
        return {found.dpid: found for found in rules(plane)}
