"""Topology, configs and traffic to a network that lives in SimPy.

Between two events its state is constant: the installed plane, the rates offered and the faults
active decide every load, and the meter integrates them exactly. Events are commands that become
effective, devices that write their tables, faults that come and go, and the tick at which
traffic varies and telemetry is read.

States are solved when read: they are only written down as time passes, and what they amount to
is found, for all since anything but the rates changed, in one call of the fluid engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import simpy
from numpy.random import Generator

from shadowsim.dataplane.flows import Loads
from shadowsim.dataplane.forwarding import WHOLE
from shadowsim.dataplane.loading import Routed
from shadowsim.dataplane.meter import Readings
from shadowsim.model.change import Command, Configs, apply_one
from shadowsim.model.config import DeviceConfig
from shadowsim.model.faults import Fault
from shadowsim.model.intents import Intents
from shadowsim.model.services import Service, ServiceStatus
from shadowsim.model.streams import stream
from shadowsim.model.telemetry import Sample
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
    Still,
)
from shadowsim.network.simulated.control import Health, hops_from
from shadowsim.network.simulated.copying import Copying
from shadowsim.network.simulated.due import Due
from shadowsim.network.simulated.edge import Diversion, TestFlows
from shadowsim.network.simulated.ground import Ground, ground_of
from shadowsim.network.simulated.service import SimulatedService
from shadowsim.network.simulated.setting import Setting, setting_of
from shadowsim.network.simulated.stretch import Stretch
from shadowsim.network.striking import Process, Striker
from shadowsim.network.timing import ControlModel
from shadowsim.network.witness import Witness

Array = np.ndarray

TICK_S = 1.0
NO_INTENTS = Intents()
USUAL = ControlModel()
BREATH = 0.02  # relative, of what users want from one second to the next
MOST_HELD = 64  # states that are written down before they are solved: it bounds the memory


class SimulatedNetwork:
    """Keeps the `Network` contract. The same arguments always give the same history.

    `name` separates its randomness from that of other networks of the same seed. `intents` are
    used to record the truth (`spells`), never to act. `setting`, where it is given, must be that of
    topology, demands and intents; it only saves the time to make it.
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
        setting: Setting | None = None,
    ) -> None:
        setting = setting or setting_of(topology, traffic.demands, intents)
        if not setting.is_of(topology, traffic.demands, intents):
            raise ValueError("the setting is that of another network")
        self.topology = topology
        self.layout = setting.layout
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
        self._worked = setting.worked
        self._loader = setting.worked.loader
        self._tests = TestFlows(topology, traffic.demands, self._loader)
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
        self._samples: list[Due] = []
        self._closed = False

        self._target = self._worked.plane(configs, self._damage.physical, WHOLE)
        self._installed = self._target
        self._meter = self._loader.meter()
        self._routed = self._route()
        self._offered_bps = self._rates()
        self._stretch = Stretch([0.0])
        self._ground: Ground | None = None
        self._witness = Witness(setting.limits, setting.worked.verdicts, setting.layout, configs)
        self._witness.look(self._installed, configs)
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

    def entrust(self, generation: int, keep: Keep, lend: Lend, still: Still) -> Mapping[str, str]:
        self._keep = keep
        return {"kind": "files"}

    def inject(self, fault: Fault) -> None:
        self._faults.strike(fault)

    def offer(self, rates_bps: Array) -> None:
        self._profile = None
        self._base_bps = np.array(rates_bps, dtype=np.float64)
        if not (self._base_bps >= 0.0).all():
            raise ValueError("rates_bps must be finite and at least 0")
        self._change_rates()

    def advance(self, until_s: float) -> list[Sample]:
        while not self._closed and self._env.peek() <= until_s:
            self._env.step()
        if not self._closed and until_s > self.now:
            self._env.run(until=until_s)
            self._record()
        samples, self._samples = self._samples, []
        return [*samples]

    def resize(
        self, devices: frozenset[str], background_bps: Mapping[int, float] = NOTHING
    ) -> None:
        self._turn()
        self._part = Part(self.topology, self._demands, devices, background_bps)
        self._change_rates()

    def copy(
        self, classes: Sequence[str], fraction: float, truncate_bytes: int, random: Generator
    ) -> None:
        self._record()
        self._count()
        self._copying.copy(classes, fraction, truncate_bytes, random)

    def copies(self) -> Copies:
        self._record()
        self._count()
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
        self._catch_up()
        self._edge.divert(matches, into, self.now)
        self._change_rates()

    def diverted(self) -> Diverted:
        self._catch_up()
        return self._edge.diverted()

    def send(self, flow: Demand) -> int:
        self._catch_up()
        number = self._tests.send(flow)
        self._routed = self._route()
        self._change_rates()
        return number

    def sent(self, number: int) -> Sent:
        self._catch_up()
        return self._tests.sent(number)

    def cease(self, number: int) -> None:
        self._catch_up()
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
        self._catch_up()
        return tuple(self._witness.spells)

    # -- processes -------------------------------------------------------------------------

    def _tick(self) -> Process:
        while True:
            # Late in its instant, so that what happens at the same time is already in.
            yield self._env.timeout(TICK_S)
            self._record()
            self._samples.append(Due(self.now, self._settle))
            self._stretch.read(self._samples[-1])
            self._leak()
            if self._crowd.reacts(self._faults.active):
                self._crowd.react(self._faults.active, self._delivered_share())
            if len(self._stretch.span_s) >= MOST_HELD:
                self._settle()
            if self._profile is not None:
                random = self._random["traffic"]
                self._breath = np.exp(random.normal(0.0, BREATH, len(self._demands)))
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
        self._settle()
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
        self._turn()
        self._keep(config)
        self._configs[config.hostname], self._written_s[config.hostname] = config, self.now
        self._reprogram([config.hostname])

    def _leak(self) -> None:
        """One tick of every memory leak; a device that runs out of memory restarts."""
        for fault in [f for f in self._faults.active if f.kind == "memory_leak"]:
            self._turn()
            named = [fault.device] if fault.device else list(self.topology.device_index)
            for name in set(named) - self._damage.dead:
                self._health.leaked[self.topology.device_index[name]] += fault.amount * TICK_S
        for number in self._on().full:
            self._turn()
            name = self.topology.devices[number].name
            self._health.leaked[number] = 0.0
            crash = Fault("device_crash", self.now, self._control.restart_s, device=name)
            self._faults.strike(crash)

    def _reconsider(self, faults: Iterable[Fault]) -> None:
        """The set of active faults has changed."""
        self._turn()
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
        before = self._target.atom_first
        self._target = self._worked.plane(self._configs, self._damage.physical, before)
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
        self._turn()
        self._installed = mix(self._installed, self._target, devices)
        self._routed = self._route()
        self._witness.look(self._installed, self._configs)

    def _route(self) -> Routed:
        """The paths of the demands on what is installed, and of the test traffic behind them."""
        if self._tests.loader is self._loader:
            return self._worked.routed(self._installed)
        return self._tests.loader.route(self._installed)

    def _change_rates(self) -> None:
        self._record()
        self._offered_bps = self._rates()

    def _rates(self) -> Array:
        """What every flow wants to send now."""
        wanted = self._base_bps * self._crowd.factor(self._faults.active)
        if self._profile is not None:
            wanted = wanted * self._profile.factor(self.now) * self._breath
        staying = self._edge.with_arrivals(self._edge.keep(wanted, self.now))
        return self._loader.spread(self._part.inside(staying))

    # -- readings --------------------------------------------------------------------------

    def _record(self) -> None:
        """Close the state that held until now. It is solved when somebody reads."""
        now = self.now
        span_s = now - self._stretch.at_s[-1]
        if span_s > 0.0:
            self._stretch.hold(self._offered_bps, span_s, now)
            self._edge.count(span_s)

    def _count(self) -> None:
        """Count what came in at the edge in the states of which that is not done yet."""
        stretch, first = self._stretch, self._stretch.counted
        stretch.counted = len(stretch.span_s)
        if first < stretch.counted:
            sent_bps = self._loader.gather(np.array(stretch.offered_bps[first:]))
            self._copying.count(sent_bps, self._damage.dark, stretch.span_s[first:])

    def _catch_up(self) -> None:
        """Solve all states until now."""
        self._record()
        self._settle()

    def _turn(self) -> None:
        """Something else than the rates is about to change: solve what was before."""
        self._catch_up()
        self._ground = None

    def _settle(self) -> None:
        """Solve the states that were written down, all at once, and count and read them.

        Whoever reads what they amount to calls this first, and whoever changes anything they were
        in but the rates: so that is the same in all of them, and is what is now.
        """
        if self._stretch.empty:
            return
        self._count()
        past, self._stretch = self._stretch, Stretch(self._stretch.at_s[-1:])
        try:
            self._read_off(past)
        except BaseException:  # who is asked again to end hears it in the middle of a reading
            for sample in past.due:
                if type(sample) is Due:  # one that has its numbers is a plain Sample
                    sample.miss(self.layout)
            raise

    def _read_off(self, past: Stretch) -> None:
        """What these states amount to."""
        plane, loss, ground = self._installed, self._damage.loss, self._on()
        offered_bps, span_s = past.offered(len(self._offered_bps)), np.array(past.span_s)
        every = self._solve(offered_bps)
        self._tests.count(every, span_s)
        rates = self._meter.rates(self._tests.apart(every), offered_bps, plane.up, loss)
        self._edge.look(rates.demand[:, :, 0], rates.demand[:, :, 1], span_s)
        now = self._meter.at_once(rates, ground.rate_bps)
        self._witness.close(past.at_s, now.demand, now.link[:, :, 2] + ground.background)
        found = self._meter.read(rates, span_s, past.after, plane.rate_bps)
        if past.due:
            self._fill(past.due, found)

    def _on(self) -> Ground:
        """What the states of this stretch are in."""
        if self._ground is None:
            plane = self._installed
            state = plane, self._damage, self._part, self._loader
            memory = self._health.memory(plane.routes)
            self._ground = ground_of(*state, memory, self._table_left())
        return self._ground

    def _solve(self, offered_bps: Array) -> Loads:
        """The loads of states in which the flows of the demands offer `[S, flows]`."""
        loader, links = self._tests.loader, self._on().links
        beside = self._tests.beside(offered_bps)
        if not len(beside):
            return Loads.empty(0, self.topology.directed_links, beside.shape[1])
        return loader.run(links, self._routed, beside)

    def _delivered_share(self) -> Array:
        """The share that is delivered now of what is offered of every demand."""
        offered_bps = self._offered_bps[None]
        loads = self._tests.apart(self._solve(offered_bps))
        rates = self._meter.rates(loads, offered_bps, self._installed.up, self._damage.loss)
        offered, delivered = rates.demand[0, :, 0], rates.demand[0, :, 1]
        share = np.divide(delivered, offered, out=np.ones(len(offered)), where=offered > 0)
        return np.asarray(share)

    def _fill(self, samples: Sequence[Due], found: Readings) -> None:
        """Noisy readings of everything that reports."""
        cpu = self._health.cpu(np.array([sample.at_s for sample in samples])[:, None])
        read = self._on().read(found, cpu, self._random["noise"])
        for sample, *rows in zip(samples, *read, strict=True):
            self._part.hide(*rows)
            sample.fill(*rows)
            hide(sample, self.topology, self._demands, self._damage.dark)

    def _table_left(self) -> Array:
        """Entries that every device has room for in all."""
        left = self._damage.physical.table_left
        sizes = [
            self._configs[d.name].table_size * left.get(d.name, 1.0) for d in self.topology.devices
        ]
        return np.maximum(sizes, 1.0)


def _unkept(config: DeviceConfig) -> None:
    """Nobody keeps it."""
