"""Topology, configs and traffic to a network of real packets, real switches and a real controller.

Configs live in the network's own OVSDB. A command is written there, compiled by the one compiler,
and installed by the controller before the next command of that device is taken. SimPy, in real
time, decides when faults strike and when telemetry is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from numpy.random import Generator
from pydantic import TypeAdapter

from shadowsim.dataplane.forwarding import Compiler
from shadowsim.dataplane.limits import Limits
from shadowsim.dataplane.verify import Verifier
from shadowsim.errors import BadInput, MachineLacks, ShadowsimError
from shadowsim.interruptions import uninterrupted
from shadowsim.model.change import Command, Configs, apply_one
from shadowsim.model.config import DeviceConfig
from shadowsim.model.faults import Fault
from shadowsim.model.streams import stream
from shadowsim.model.telemetry import Array, Sample, layout_of
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.model.truth import Spell
from shadowsim.network.commands import Commands, Obeying
from shadowsim.network.damage import Damage, damage
from shadowsim.network.dark import hide
from shadowsim.network.emulated.beneath import keep
from shadowsim.network.emulated.care import CARE_S, Care, NetworkLost
from shadowsim.network.emulated.clock import WallClock
from shadowsim.network.emulated.controllers import Kind
from shadowsim.network.emulated.edge import Edge
from shadowsim.network.emulated.following import Following, RigPlace
from shadowsim.network.emulated.meter import Meter
from shadowsim.network.emulated.openflow import rules
from shadowsim.network.emulated.primary import Primary
from shadowsim.network.emulated.refusals import coarseness, growth, refuse_faults
from shadowsim.network.emulated.rig import Rig
from shadowsim.network.emulated.tables import Tables, unlike
from shadowsim.network.emulated.wanting import Wanting
from shadowsim.network.emulated.wiring import test_stream
from shadowsim.network.part import Part
from shadowsim.network.protocol import (
    NOTHING,
    Copies,
    Diverted,
    Followed,
    Keep,
    Lend,
    Match,
    Network,
    Sent,
    Still,
)
from shadowsim.network.striking import Process, Striker
from shadowsim.network.witness import Witness
from shadowsim.scenario import Scenario

TICK_S = 1.0
CARRIER_S = 0.03  # until it is known that a cable is cut


class EmulatedNetwork:
    """Keeps the `Network` contract with real packets.

    `clock` is shared with the networks that run beside it. Raises MachineLacks where this machine
    cannot carry it; then, and after any other failure, nothing of it is left.

    A process of it that dies is started again and told everything again: what is to be in force
    is all known here. Until then no device answers, and what was begun goes on afterwards. Where
    that fails, `advance` raises NetworkLost, and no device ever answers again.
    """

    def __init__(
        self, scenario: Scenario, configs: Configs, name: str, clock: WallClock, controller: Kind
    ) -> None:
        topology, demands = scenario.topology, scenario.traffic.demands
        self.topology: Topology = topology
        self.layout = layout_of(topology, demands)
        self.clock = clock
        self._demands = demands
        profile, random = scenario.traffic.profile, stream(scenario.seed, name, "traffic")
        self._wanting = Wanting(topology, demands, profile, random, clock.now)
        self._damage: Damage = damage(topology, ())
        self._part = Part(topology, demands)
        self._faults = Striker(clock.env, self._changed, self._drift, lambda: self._running)
        self._running: dict[str, DeviceConfig] = dict(configs)
        self._commands = Commands(clock.env, self._obey)
        self._samples: list[Sample] = []
        self._closed = False
        self._silent: frozenset[str] = frozenset()  # who did not answer when it was closed
        self._compiler = Compiler(topology)
        self._tables = Tables(self._compiler.compile(configs))
        limits = Limits(topology, demands, scenario.intents.limits)
        verdicts = partial(Verifier(topology, scenario.intents.paths).check, witnesses=False)
        self._witness = Witness(limits, verdicts, self.layout, configs)
        refuse_faults(scenario.faults)
        grown = growth(profile, scenario.faults)
        coarse = coarseness(self._tables.target, demands, grown)
        self._rig = Rig(topology, demands, controller, name, coarse)
        self._edge = Edge(self._rig, scenario.seed)
        self._care = Care(self._rig, name, self._tell_all, self._hand_over)
        self._services = scenario.services if name == "production" else ()
        self._primaries: dict[str, Primary] = {}
        self._following: Following | None = None
        try:
            self._come_up()
        except BaseException:
            self.close()
            raise

    def _come_up(self) -> None:
        try:
            self._build()
        except (BadInput, MachineLacks):
            raise
        except ShadowsimError:  # something died on the way: once may be chance
            self._build()
        self._tables.all_hold()
        self._meter = Meter(self._rig, self._edge, self.now)
        self._since_s = self.now
        self._tell_wires()
        self._tell_streams()
        self._witness.look(self._tables.installed, self._running)
        self._meter.skip()
        for process in (self._tick(), self._caring()):
            self.clock.env.process(process)

    def _build(self) -> None:
        """Bring all of it up, anew if need be, and read back that it is."""
        self._rig.build(self.topology.device_index)
        self._rig.store.write(self._running, self._rig.epoch)
        self._install_rules()
        self._rig.await_ready()
        for device, why in self.misprogrammed().items():
            raise NetworkLost(f"rules of '{device}' are not those of its config: {why}")
        self._end_services()
        for service in self._services:
            place = RigPlace(self._rig, self.topology.host_index[service.host])
            self._primaries[service.host] = Primary(service, place)

    def _end_services(self) -> None:
        while self._primaries:
            self._primaries.popitem()[1].close()

    # -- the contract ----------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.clock.now

    @property
    def look_every_s(self) -> float:
        return CARE_S

    @property
    def busy(self) -> bool:
        return self._commands.busy

    def configs(self) -> Configs:
        deaf = self._deaf()
        return {n: c for n, c in self._running.items() if n not in deaf}

    def misprogrammed(self) -> Mapping[str, str]:
        here = [n for n in self.topology.device_index if n not in self._part.absent]
        try:
            self._rig.look()
            held = self._rig.held()
        except ShadowsimError as error:
            return dict.fromkeys(here, f"they cannot be read: {error}")
        deaf = self._deaf()
        wanted = rules(self._tables.target, **self._edge.rules_wanted())
        return unlike(
            {name: said for name, said in held.items() if name not in deaf},
            {name: wanted[self.topology.device_index[name]] for name in here},
            self._rig.refused,
        )

    def apply(self, commands: Sequence[Command]) -> None:
        self._commands.give(commands, self.configs())

    def entrust(self, generation: int, keep: Keep, lend: Lend, still: Still) -> Mapping[str, str]:
        self._care.entrust(generation, lend, still)
        return {
            "kind": "emulated",
            "rundir": str(self._rig.rundir),
            "topology": TypeAdapter(Topology).dump_json(self.topology).decode(),
        }

    def inject(self, fault: Fault) -> None:
        self._faults.strike(fault)

    def offer(self, rates_bps: Array) -> None:
        self._wanting.offer(rates_bps)
        self._tell_streams()

    def advance(self, until_s: float) -> list[Sample]:
        if not self._closed:
            self.clock.advance(until_s)
        samples, self._samples = self._samples, []
        return samples

    def resize(
        self, devices: frozenset[str], background_bps: Mapping[int, float] = NOTHING
    ) -> None:
        absent = self._part.absent
        self._part = Part(self.topology, self._demands, devices, background_bps)
        if self._part.absent != absent:
            self._care.tell_anew()  # switches that come back have no mirror ports any more
        else:
            self._tell_wires()
            self._tell_streams()

    def copy(
        self, classes: Sequence[str], fraction: float, truncate_bytes: int, random: Generator
    ) -> None:
        self._care.attempt(lambda: self._edge.copy(classes, fraction, truncate_bytes), edge=True)
        self._care.attempt(self._install_rules)

    def copies(self) -> Copies:
        return self._edge.copies()

    def follow(self, other: Network) -> None:
        if not isinstance(other, EmulatedNetwork):
            raise BadInput("only an emulated network has a database to be followed")
        try:
            self._following = Following(self._rig, other, other._rig, other._primaries)
        except ShadowsimError:  # something has died in either of them
            for network in (other, self):
                network._look_after()
            self._following = Following(self._rig, other, other._rig, other._primaries)

    def followed(self) -> Followed:
        return Followed({}) if self._following is None else self._following.followed()

    def divert(self, matches: Sequence[Match], into: Network) -> None:
        self._care.attempt(lambda: self._edge.divert(matches, into), edge=True)
        if isinstance(into, EmulatedNetwork):
            into._meter.arrive(self._edge)
        self._care.attempt(self._install_rules)
        if not self._care.behind:
            self._edge.took_effect()

    def diverted(self) -> Diverted:
        return self._edge.diverted()

    def send(self, flow: Demand) -> int:
        number = len(self._rig.streams)
        return self._rig.add_stream(test_stream(self.topology, flow, number), flow.rate_bps)

    def sent(self, number: int) -> Sent:
        told = self._rig.board.streams
        received = int(told.received[number])
        latency_s = told.latency_ns[number] / received / 1e9 if received else float("nan")
        return Sent(int(told.sent[number]), received, latency_s)

    def cease(self, number: int) -> None:
        self._rig.board.streams.on[number] = 0

    @property
    def entrance(self) -> int:
        """The socket that frames from another network come in by."""
        return self._rig.entrance

    def close(self) -> None:
        if self._closed:
            return
        self._silent = self._deaf()
        self._closed = True
        with uninterrupted(), ExitStack() as ending:
            ending.callback(self._rig.close)
            ending.callback(self._edge.close)
            ending.callback(self._end_services)
            if self._following is not None:
                ending.callback(self._following.close)

    # -- the truth, for labels only --------------------------------------------------------

    def spells(self) -> tuple[Spell, ...]:
        """What was really broken from the start until the last reading."""
        return tuple(self._witness.spells)

    # -- processes -------------------------------------------------------------------------

    def _tick(self) -> Process:
        while True:
            yield self.clock.env.timeout(TICK_S)
            if self._closed:
                return
            self._samples.append(self._read())
            self._wanting.breathe()
            self._tell_streams()

    def _caring(self) -> Process:
        """Bring back what has died, and follow configs that somebody else wrote."""
        while not self._closed:
            yield self.clock.env.timeout(self._care.pause_s)
            with self._care.trying():
                self._look_after()

    def _look_after(self) -> None:
        """One round of care. Raises ShadowsimError if something is not well after it."""
        if self._closed:
            return
        if self._care.mend():
            self._meter.skip()
        self._notice_installed()
        if self._following is not None:
            self._following.keep()
        self._edge.count_leaks()
        if self._rig.store.poll():
            self._follow()

    def _obey(self, device: str, command: Command) -> Obeying:
        yield self.clock.env.timeout(0.0)
        if self._closed or device in self._faulty():
            return False
        # What others wrote a moment ago, or while a person was asked, is not written over.
        if not self._care.behind and self._rig.store.poll():
            self._care.attempt(self._follow)
        after = apply_one(self._running[device], [command])
        if after is not self._running[device]:
            self._write({device: after})
        self._faults.obeyed(self.topology.devices[self.topology.device_index[device]], command)
        while device in self._deaf() - self._faulty() and not self._closed:
            yield self.clock.env.timeout(CARE_S)
        return True

    def _reroute(self) -> Process:
        yield self.clock.env.timeout(CARRIER_S)
        if not self._closed:
            self._recompile()

    # -- changes of state ------------------------------------------------------------------

    def _faulty(self) -> frozenset[str]:
        """Devices that take no commands because of a fault, or since they are not there."""
        if self._care.lost:
            return frozenset(self._running)
        return self._damage.deaf | self._part.absent

    def _deaf(self) -> frozenset[str]:
        """Those, and devices that do not answer because something has died."""
        if self._closed:
            return self._silent
        dead = frozenset(self._running) if self._care.behind else self._rig.unreachable()
        return self._faulty() | dead

    def _present(self, configs: Mapping[str, DeviceConfig]) -> Configs:
        return {n: c for n, c in configs.items() if n not in self._part.absent}

    def _write(self, configs: Mapping[str, DeviceConfig]) -> None:
        """Store configs and have them in force."""
        self._running.update(configs)
        self._care.attempt(lambda: self._store(configs))
        self._recompile()

    def _store(self, configs: Mapping[str, DeviceConfig]) -> None:
        self._rig.store.write(self._present(configs), self._rig.epoch + 1)

    def _drift(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self._write({command.device: apply_one(self._running[command.device], [command])})

    def _follow(self) -> None:
        """Take over what somebody else wrote into the database."""
        found = self._rig.store.seen()
        fresh = {n: c for n, c in found.items() if c != self._running.get(n)}
        if fresh:
            self._running.update(fresh)
            self._recompile()

    def _changed(self, fault: Fault) -> None:
        """The set of active faults has changed: wires feel it at once, routes after a while."""
        self._damage = damage(self.topology, self._faults.active)
        self._tell_wires()
        self._tell_streams()
        self._care.attempt(self._tell_switches)
        self.clock.env.process(self._reroute())

    def _recompile(self) -> None:
        self._tables.target = self._compiler.compile(self._running, self._damage.physical)
        self._care.attempt(self._install_rules)
        self._tell_wires()
        self._witness.look(self._tables.installed, self._running)

    def _install_rules(self) -> None:
        """Hand the rules over; switches that are deaf keep what they have, and get them later."""
        edge = self._edge.rules_wanted()
        keep(self._rig.rundir, self._damage.physical)
        self._tables.tell()
        self._tables.hold(self._rig.install(rules(self._tables.target, **edge)))

    def _notice_installed(self) -> None:
        """Switches that were away hold their rules soon after they are back."""
        if self._tables.missing & self._rig.current:
            self._tables.hold(self._rig.current)
            self._witness.look(self._tables.installed, self._running)

    def _tell_switches(self) -> None:
        hurt = self._damage
        self._rig.condition(hurt.dead, hurt.deaf - hurt.dead)

    def _tell_all(self, reopen: bool) -> None:
        """Everything that the parts have to know, whatever they know of it already."""
        self._rig.resize(frozenset(self.topology.device_index) - self._part.absent)
        self._tell_switches()
        self._rig.store.write(self._present(self._running), self._rig.epoch + 1)
        if reopen:
            self._edge.reopen()
        self._install_rules()
        self._rig.await_ready()
        self._edge.took_effect()
        self._notice_installed()
        self._tell_wires()
        self._tell_streams()

    def _hand_over(self) -> None:
        """Tell what a network made anew has lost, for whoever has taken it over meanwhile."""
        self._rig.store.restore(self._present(self._running), self._rig.epoch + 1)
        self._tell_switches()
        self._install_rules()
        self._tell_wires()
        self._tell_streams()

    def _tell_wires(self) -> None:
        self._meter.wires_change(self.now)
        hurt, plane = self._damage, self._tables.target
        up = plane.up & self._part.links
        up[list(hurt.physical.down)] = False
        left = hurt.rate_left * self._part.rate_left(plane.rate_bps)
        self._rig.tell_wires(plane, up, rate_left=left, delay_s=hurt.delay_s, loss=hurt.loss)

    def _tell_streams(self) -> None:
        wanted = self._wanting.rates_bps(self.now, self._faults.active)
        self._rig.tell_streams(wanted * self._part.demands)

    # -- readings --------------------------------------------------------------------------

    def _read(self) -> Sample:
        rate_bps = self._tables.target.rate_bps
        link, demand = self._meter.links_and_demands(self.now, rate_bps)
        link[:, 2] += self._part.background_share(rate_bps)
        device = self._meter.devices(self._table_left())
        utilisation = link[:, 2] / np.maximum(self._damage.rate_left, 1e-9)
        self._witness.close((self._since_s, self.now), demand[None].copy(), utilisation[None])
        self._since_s = self.now
        self._wanting.react(self._faults.active, 1.0 - demand[:, 3])
        sample = Sample(self.now, device, link, demand)
        hide(sample, self.topology, self._demands, self._damage.dark)
        self._part.hide(device, link, demand)
        return sample

    def _table_left(self) -> Array:
        left = self._damage.physical.table_left
        names = [d.name for d in self.topology.devices]
        return np.array([self._running[n].table_size * left.get(n, 1.0) for n in names])
