"""Topology, configs and traffic to a network that lives in SimPy.

Between two events its state is constant: the installed plane, the rates offered and the faults
active decide every load, and the meter integrates them exactly. Events are commands that become
effective, devices that write their tables, faults that come and go, and the tick at which
traffic varies and telemetry is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import simpy
from numpy.random import Generator

from shadowsim.dataplane.flows import Loads
from shadowsim.dataplane.forwarding import Compiler
from shadowsim.dataplane.loading import Loader
from shadowsim.model.change import Command, Configs, apply_one
from shadowsim.model.config import DeviceConfig
from shadowsim.model.faults import Fault
from shadowsim.model.intents import Intents
from shadowsim.model.services import Service, ServiceStatus
from shadowsim.model.streams import stream
from shadowsim.model.telemetry import Sample, layout_of
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand, Profile, Traffic
from shadowsim.model.truth import Spell
from shadowsim.network.commands import Commands, Obeying
from shadowsim.network.damage import Crowd, Damage, damage
from shadowsim.network.dark import hide
from shadowsim.network.installed import behind, mix
from shadowsim.network.misprogrammed import SILENT, not_as_compiled
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
)
from shadowsim.network.simulated.control import Health, hops_from
from shadowsim.network.simulated.copying import Copying
from shadowsim.network.simulated.edge import Diversion, TestFlows
from shadowsim.network.simulated.service import SimulatedService
from shadowsim.network.striking import Process, Striker
from shadowsim.network.timing import ControlModel
from shadowsim.network.witness import Witness

Array = np.ndarray

TICK_S = 1.0
NO_INTENTS = Intents()
USUAL = ControlModel()
NOISE = 0.01  # relative, of every reading
BREATH = 0.02  # relative, of what users want from one second to the next


class SimulatedNetwork:
    """Keeps the `Network` contract. The same arguments always give the same history.

    `name` separates its randomness from that of other networks of the same seed. `intents` are
    used to record the truth (`spells`), never to act.
    """

    def __init__(
        self,
        topology: Topology,
        configs: Configs,
        traffic: Traffic,
        *,
        seed: int = 0,
        name: str = "production",
        intents: Intents = NO_INTENTS,
        services: Sequence[Service] = (),
        control: ControlModel = USUAL,
    ) -> None:
        self.topology = topology
        self.layout = layout_of(topology, traffic.demands)
        self._env = simpy.Environment()
        self._configs: dict[str, DeviceConfig] = dict(configs)
        self._written_s: dict[str, float] = {}
        self._control = control
        self._random = {
            use: stream(seed, name, use) for use in ("control", "health", "noise", "traffic")
        }
        self._demands = traffic.demands
        self._profile: Profile | None = traffic.profile
        self._base_bps = np.array([d.rate_bps for d in traffic.demands])
        self._breath = np.ones(len(traffic.demands))
        self._loader = Loader(topology, traffic.demands)
        self._tests = TestFlows(topology, traffic.demands)
        self._edge = Diversion(topology, traffic.demands)
        self._part = Part(topology, traffic.demands)
        self._homes = {host.name: host.device for host in topology.hosts}
        sources = [self._homes[d.source] for d in traffic.demands]
        self._copying = Copying(traffic.demands, sources)
        self._followed: Network | None = None
        self._wanted_services = tuple(services)
        self._services: list[SimulatedService] = []
        self._crowd = Crowd(topology, traffic.demands)
        self._health = Health(len(topology.devices), self._random["health"])
        self._faults = Striker(
            self._env, lambda fault: self._reconsider([fault]), self._drift, lambda: self._configs
        )
        self._damage: Damage = damage(topology, ())
        self._keep: Keep = _unkept
        self._commands = Commands(self._env, self._obey)
        self._samples: list[Sample] = []
        self._closed = False

        self._compiler = Compiler(topology)
        self._target = self._installed = self._compiler.compile(configs)
        self._meter = self._loader.meter()
        self._routed = self._tests.loader.route(self._installed)
        self._offered_bps = self._rates()
        self._loads = self._solve()
        self._witness = Witness(topology, traffic.demands, intents, self.layout, configs)
        self._witness.look(self._installed, configs)
        self._state_since_s = 0.0
        self._env.process(self._tick())

    # -- the contract ----------------------------------------------------------------------

    @property
    def now(self) -> float:
        return float(self._env.now)

    @property
    def look_every_s(self) -> float:
        return TICK_S

    @property
    def busy(self) -> bool:
        return self._commands.busy

    def configs(self) -> Configs:
        silent = self._damage.deaf | self._part.absent
        return {n: c for n, c in self._configs.items() if n not in silent}

    def misprogrammed(self) -> Mapping[str, str]:
        found = not_as_compiled(self._installed, self._target)
        found |= dict.fromkeys(sorted(self._damage.deaf), SILENT)
        return {name: why for name, why in found.items() if name not in self._part.absent}

    def apply(self, commands: Sequence[Command]) -> None:
        self._commands.give(commands, self.configs())

    def entrust(self, generation: int, keep: Keep, lend: Lend) -> Mapping[str, str]:
        self._keep = keep
        return {"kind": "files"}

    def inject(self, fault: Fault) -> None:
        self._faults.strike(fault)

    def offer(self, rates_bps: Array) -> None:
        self._profile = None
        self._base_bps = np.array(rates_bps, dtype=np.float64)
        self._change_rates()

    def advance(self, until_s: float) -> list[Sample]:
        while not self._closed and self._env.peek() <= until_s:
            self._env.step()
        if not self._closed and until_s > self.now:
            self._env.run(until=until_s)
            self._record()
        samples, self._samples = self._samples, []
        return samples

    def resize(
        self, devices: frozenset[str], background_bps: Mapping[int, float] = NOTHING
    ) -> None:
        self._record()
        self._part = Part(self.topology, self._demands, devices, background_bps)
        self._change_rates()

    def copy(
        self, classes: Sequence[str], fraction: float, truncate_bytes: int, random: Generator
    ) -> None:
        self._record()
        self._copying.copy(classes, fraction, truncate_bytes, random)

    def copies(self) -> Copies:
        self._record()
        return self._copying.copies()

    def follow(self, other: Network) -> None:
        self._followed = other
        self._services = [SimulatedService(service) for service in self._wanted_services]

    def followed(self) -> Followed:
        if self._followed is None:
            return Followed({})
        theirs = self._followed.configs()
        other = self._followed
        ages_s = other._ages_s() if isinstance(other, SimulatedNetwork) else {}
        statuses = tuple(self._replicate(s, theirs) for s in self._services)
        return Followed(theirs, ages_s, (), statuses)

    def _ages_s(self) -> dict[str, float]:
        """How long ago the configs were written that were since this network came up."""
        return {name: self.now - at_s for name, at_s in self._written_s.items()}

    def _replicate(self, service: SimulatedService, theirs: Configs) -> ServiceStatus:
        device = self._homes[service.host]
        up, here = device in theirs, device not in self._damage.dead | self._part.absent
        return service.advance(self.now, primary_up=up, following=up and here)

    def divert(self, matches: Sequence[Match], into: Network) -> None:
        self._record()
        self._edge.divert(matches, into, self.now)
        self._change_rates()

    def diverted(self) -> Diverted:
        self._record()
        return self._edge.diverted()

    def send(self, flow: Demand) -> int:
        self._record()
        number = self._tests.send(flow)
        self._routed = self._tests.loader.route(self._installed)
        self._change_rates()
        return number

    def sent(self, number: int) -> Sent:
        self._record()
        return self._tests.sent(number)

    def cease(self, number: int) -> None:
        self._record()
        self._tests.cease(number)
        self._change_rates()

    def take_in(self, wanted_bps: Array, at_s: float) -> None:
        """From `at_s` on another network sends this much of each demand here, beside its own.

        Networks that run side by side take turns, so `at_s` may be ahead of `now`.
        """
        if at_s > self.now and not self._closed:
            self._env.process(self._arrival(np.array(wanted_bps), at_s))
        elif self._edge.arrive(wanted_bps):
            self._change_rates()

    def close(self) -> None:
        self._closed = True

    # -- the truth, for labels only --------------------------------------------------------

    def spells(self) -> tuple[Spell, ...]:
        """What was really broken from the start until now. No decision may look at this."""
        self._record()
        return tuple(self._witness.spells)

    # -- processes -------------------------------------------------------------------------

    def _tick(self) -> Process:
        while True:
            # Late in its instant, so that what happens at the same time is already in.
            yield self._env.timeout(TICK_S)
            self._record()
            self._samples.append(self._read())
            self._leak()
            self._crowd.react(self._faults.active, self._delivered_share())
            self._breath = np.exp(self._random["traffic"].normal(0.0, BREATH, len(self._demands)))
            self._change_rates()

    def _obey(self, device: str, command: Command) -> Obeying:
        number = self.topology.device_index[device]
        cpu = float(self._health.cpu(self.now)[number])
        slowness = float(self._health.slowness[number])
        random = self._random["control"]
        delay_s = self._control.install_delay_s(command, slowness, cpu, random)
        yield self._env.timeout(delay_s)
        if device in self._damage.deaf | self._part.absent:
            return False
        after = apply_one(self._configs[device], [command])
        self._health.work(np.array([number]), 0.08, self.now)
        if after is not self._configs[device]:
            self._write(after)
        self._faults.obeyed(self.topology.devices[number], command)
        return True

    def _write_tables(self, delay_s: float, devices: Array) -> Process:
        yield self._env.timeout(delay_s)
        deaf = {self.topology.device_index[name] for name in self._damage.deaf}
        self._install_plane(np.array([d for d in devices if d not in deaf], dtype=np.int64))
        self._health.work(devices, 0.05, self.now)

    def _arrival(self, wanted_bps: Array, at_s: float) -> Process:
        yield self._env.timeout(at_s - self.now)
        self.take_in(wanted_bps, self.now)

    # -- changes of state ------------------------------------------------------------------

    def _drift(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self._write(apply_one(self._configs[command.device], [command]))

    def _write(self, config: DeviceConfig) -> None:
        """Have a config in force."""
        self._keep(config)
        self._configs[config.hostname], self._written_s[config.hostname] = config, self.now
        self._reprogram([config.hostname])

    def _leak(self) -> None:
        """One tick of every memory leak; a device that runs out of memory restarts."""
        for fault in [f for f in self._faults.active if f.kind == "memory_leak"]:
            named = [fault.device] if fault.device else list(self.topology.device_index)
            for name in set(named) - self._damage.dead:
                self._health.leaked[self.topology.device_index[name]] += fault.amount * TICK_S
        full = self._health.memory(self._installed.routes) >= 1.0
        for number in np.flatnonzero(full):
            name = self.topology.devices[number].name
            self._health.leaked[number] = 0.0
            crash = Fault("device_crash", self.now, self._control.restart_s, device=name)
            self._faults.strike(crash)

    def _reconsider(self, faults: Iterable[Fault]) -> None:
        """The set of active faults has changed."""
        self._record()
        returned = self._damage.deaf
        self._damage = damage(self.topology, self._faults.active)
        self._health.hogged = self._damage.cpu
        devices = sorted(
            {name for f in faults for name in (*(f.link or ()), f.device) if name}
            | (returned - self._damage.deaf)
        )
        self._reprogram(devices)

    def _reprogram(self, devices: Sequence[str]) -> None:
        """Configs or links at these devices have changed: they follow at once, others in time."""
        self._target = self._compiler.compile(self._configs, self._damage.physical)
        numbers = np.array([self.topology.device_index[name] for name in devices], dtype=np.int64)
        awake = [n for n in numbers if self.topology.devices[n].name not in self._damage.deaf]
        self._install_plane(np.array(awake, dtype=np.int64))
        late = behind(self._installed, self._target)
        if not late.size:
            return
        near = [hops_from(self._target, int(n)) for n in numbers]
        hops = np.min(near, axis=0) if near else np.zeros(len(self.topology.devices))
        delays = self._control.convergence_delays_s(hops, self._random["control"])[late]
        for delay_s in np.unique(delays):
            self._env.process(self._write_tables(float(delay_s), late[delays == delay_s]))

    def _install_plane(self, devices: Array) -> None:
        self._record()
        self._installed = mix(self._installed, self._target, devices)
        self._routed = self._tests.loader.route(self._installed)
        self._loads = self._solve()
        self._witness.look(self._installed, self._configs)

    def _change_rates(self) -> None:
        self._record()
        self._offered_bps = self._rates()
        self._loads = self._solve()

    def _rates(self) -> Array:
        """What every flow wants to send now."""
        wanted = self._base_bps * self._crowd.factor(self._faults.active)
        if self._profile is not None:
            wanted = wanted * self._profile.factor(self.now) * self._breath
        staying = self._edge.with_arrivals(self._edge.keep(wanted, self.now))
        return self._loader.spread(np.where(self._part.demands, staying, 0.0))

    def _solve(self) -> Loads:
        hurt = self._damage
        loads = self._tests.loader.solve(
            self._installed,
            self._routed,
            self._tests.beside(self._offered_bps),
            hurt.loss,
            added_s=hurt.delay_s,
            rate_left=hurt.rate_left * self._part.rate_left(self._rate_bps()),
        )
        return self._tests.apart(loads)

    def _rate_bps(self) -> Array:
        """What every link can carry now."""
        found: Array = self._installed.rate_bps * self._damage.rate_left
        return found

    # -- readings --------------------------------------------------------------------------

    def _record(self) -> None:
        """Close the state that held until now: count it, and write down whether it was well."""
        span_s = self.now - self._state_since_s
        if span_s <= 0.0:
            return
        self._meter.add(
            self._loads, self._offered_bps, self._installed.up, self._damage.loss, span_s
        )
        self._tests.count(span_s)
        offered, throughput = self._per_demand()
        self._edge.count(offered, throughput, span_s)
        self._copying.count(offered, self._damage.dark, span_s)
        rate_bps = self._rate_bps()
        plane = replace(self._installed, rate_bps=rate_bps)
        now = self._loader.at_once(plane, self._loads, self._offered_bps, self._damage.loss)
        used = now.utilisation + self._part.background_share(rate_bps)
        self._witness.close(self._state_since_s, self.now, now.demand, used)
        self._state_since_s = self.now

    def _delivered_share(self) -> Array:
        offered, delivered = self._per_demand()
        share = np.divide(delivered, offered, out=np.ones(len(offered)), where=offered > 0)
        return np.asarray(share)

    def _per_demand(self) -> tuple[Array, Array]:
        """What is offered of every demand now, and what of it is delivered."""
        flows = self._offered_bps, self._loads.throughput_bps[0]
        offered, delivered = map(self._meter.per_demand, flows)
        return offered, delivered

    def _read(self) -> Sample:
        """One noisy reading of everything that reports."""
        link, demand = self._meter.read(self._installed.rate_bps)
        plane = self._installed
        link[:, 2] += self._part.background_share(plane.rate_bps)
        device = np.column_stack((
            self._health.cpu(self.now),
            self._health.memory(plane.routes),
            plane.routes / self._table_left(),
        ))  # fmt: skip
        noise = self._random["noise"]
        device *= np.exp(noise.normal(0.0, NOISE, device.shape))
        link[:, :3] *= np.exp(noise.normal(0.0, NOISE, (len(link), 3)))
        demand[:, :3] *= np.exp(noise.normal(0.0, NOISE, (len(demand), 3)))
        demand[:, 3] = np.clip(demand[:, 3], 0.0, 1.0)
        self._part.hide(device, link, demand)
        sample = Sample(self.now, np.minimum(device, 1.0), link, demand)
        hide(sample, self.topology, self._demands, self._damage.dark)
        return sample

    def _table_left(self) -> Array:
        """Entries that every device has room for in all."""
        left = self._damage.physical.table_left
        sizes = [
            self._configs[d.name].table_size * left.get(d.name, 1.0) for d in self.topology.devices
        ]
        return np.maximum(sizes, 1.0)


def _unkept(config: DeviceConfig) -> None:
    """Nobody keeps it."""
