"""A topology to the processes that are its emulated network: built, told, read, mended, closed."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from shadowsim.dataplane.plane import Plane
from shadowsim.errors import BadInput
from shadowsim.interruptions import uninterrupted
from shadowsim.model.telemetry import DEVICE_METRICS
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.network.emulated.board import Board, new_board
from shadowsim.network.emulated.client import Agent, NewSwitch
from shadowsim.network.emulated.controllers import Controller, ControllerGone, Kind, State
from shadowsim.network.emulated.openflow import Rules
from shadowsim.network.emulated.plant.client import Plant
from shadowsim.network.emulated.plugs import Plugs
from shadowsim.network.emulated.rundir import RunDir
from shadowsim.network.emulated.store import ConfigStore
from shadowsim.network.emulated.wiring import (
    SPARE,
    Stream,
    new_hosts,
    present,
    probe_rate_bps,
    sides,
    streams_of,
)

# What a pass through Open vSwitch takes, which no cable of the model has: measured on two cores
# with little to do, and with as much as they can bear.
EARLY_NS, EARLY_COARSE_NS = 250_000, 600_000
READY_S = 20.0  # until every switch holds its rules
POLL_S = 0.02
HUNG_S = 4.0  # a look at the switches takes milliseconds; two that take that long are too many
DAEMONS = ("ovsdb-server", "ovs-vswitchd")

Array = np.ndarray


class Rig:
    """All processes of one network, and the memory shared with its plant.

    `epoch` numbers what was installed. Whatever dies is brought back by `mend`; `restarts` counts
    how often each did. Any call may raise ShadowsimError while something is dead.
    """

    agent: Agent
    controller: Controller
    store: ConfigStore
    _state: State

    def __init__(
        self,
        topology: Topology,
        demands: Sequence[Demand],
        controller: Kind,
        name: str,
        coarse: int = 1,
    ) -> None:
        self.topology = topology
        self.demands = demands
        self.kind = controller
        self.coarse = coarse
        self._folder = RunDir.make(name)
        self.rundir: Path = self._folder.path
        self.streams: list[Stream] = list(streams_of(topology, demands, coarse))
        self.board: Board = new_board(topology.directed_links, len(self.streams) + SPARE)
        self.board.tell_early(EARLY_NS if coarse == 1 else EARLY_COARSE_NS)
        self.there: frozenset[str] = frozenset()
        self.epoch = 0
        self.restarts = dict.fromkeys(("agent", "controller", "plant", *DAEMONS), 0)
        self._wanted: frozenset[str] = frozenset()
        self._unfinished = False  # whether the plant may lack cables or sockets
        self._off: frozenset[str] = frozenset()
        self._cut: frozenset[str] = frozenset()
        self._daemons = dict.fromkeys(DAEMONS, 0)  # restarts that this agent told
        self._slow_looks = 0
        self._rules: dict[int, Rules] = {}
        self._connected: frozenset[str] = frozenset()
        self._current: frozenset[str] = frozenset()
        self._load = (0.0, monotonic())
        self._closed = False
        inward, self._entrance = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inward = inward
        self._plugs = Plugs(topology, self.streams, self.board, inward.fileno())
        for end in (inward, self._entrance):
            end.setblocking(False)
        atexit.register(self.close)

    @property
    def plant(self) -> Plant:
        """The process that moves the packets."""
        return self._plugs.plant

    @property
    def entrance(self) -> int:
        """Frames written here, behind the number of a link, come in at the tail of that link."""
        return self._entrance.fileno()

    def build(self, devices: Collection[str]) -> None:
        """Bring all processes up, with these devices, anew if there were any.

        Raises ShadowsimError if one of them dies on the way; then it may be tried again.
        """
        self._wanted = frozenset(devices)
        self._rebuild()

    def resize(self, devices: frozenset[str]) -> None:
        """Only these devices from now on. Packets under way between the others are lost.

        After an error `mend`, and then the same again, lead to where this should have led.
        """
        self._wanted = devices
        gone = [
            [n for n in before if n not in set(now)]
            for before, now in zip(
                present(self.topology, self.there), present(self.topology, devices), strict=True
            )
        ]
        if devices == self.there:
            return
        self._unfinished = True
        switches, hosts, cables = gone
        if switches:
            self._plugs.shut(set(hosts))
            self.agent.remove(switches, hosts)
            self._plugs.drop_cables({2 * cable for cable in cables})
            self.there &= devices
            self._off, self._cut = self._off & devices, self._cut & devices
        self._lay(devices)
        self._plugs.wire()
        self._open([slot for slot in range(len(self.streams)) if slot not in self._plugs.opened])
        self._unfinished = False

    def holds(self, host: str) -> bool:
        """Whether a host is there."""
        return self.topology.hosts[self.topology.host_index[host]].device in self.there

    def lifelines(self) -> tuple[int, ...]:
        """Files that end the agent and the controller when nobody holds them open any more."""
        return (self.agent.lifeline, self.controller.lifeline)

    # -- what is told ----------------------------------------------------------------------

    def install(self, all_rules: Sequence[Rules]) -> tuple[str, ...]:
        """Have the switches hold these rules, `[devices]`; the names of those that do now.

        A switch that is not connected gets them when it is again.
        """
        self.epoch += 1
        names = [d.name for d in self.topology.devices]
        self._rules = {r.dpid: r for r in all_rules if names[r.dpid - 1] in self.there}
        found = self.controller.install(self.epoch, self._rules)
        return tuple(names[dpid - 1] for dpid, outcome in found.items() if outcome.installed)

    def await_ready(self) -> None:
        """Wait until every switch is connected and holds its rules, or refuses them.

        Raises ControllerGone.
        """
        until_s = monotonic() + READY_S
        while not self._all_hold():
            if monotonic() > until_s:
                raise ControllerGone(f"not all switches took their rules within {READY_S:g} s")
            sleep(POLL_S)

    def tell_wires(
        self, plane: Plane, up: Array, *, rate_left: Array, delay_s: Array, loss: Array
    ) -> None:
        """What the cables are like from now on; rates are those of the cables, not of configs."""
        wires, topology = self.board.wires, self.topology
        rates = [link.rate_bps for link in topology.links]
        rates += [host.rate_bps for host in topology.hosts]
        wires.rate_bps[:] = np.repeat(np.array(rates), 2) * rate_left
        wires.delay_ns[:] = (1e9 * (np.array(topology.delay_s) + delay_s)).astype(np.int64)
        wires.queue_packets[:] = topology.queue_packets
        wires.loss[:] = loss
        wires.stands_for[:] = self.coarse
        wires.mtu_bytes[:] = plane.mtu_bytes.astype(np.int64) * self.coarse
        wires.level[: plane.graph.edges] = plane.level[plane.graph.tail]
        wires.level[plane.graph.edges + 1 :: 2] = plane.level[plane.graph.host_device]
        wires.up[:] = up

    def tell_streams(self, rates_bps: Array) -> None:
        """What every demand wants to send, `[demands]`, split over its flows, probes beside it."""
        told = self.board.streams
        for slot, s in enumerate(self.streams):
            if s.demand < 0:
                continue
            demand = self.demands[s.demand]
            rate_bps = float(rates_bps[s.demand]) / demand.flows
            told.rate_bps[slot] = probe_rate_bps(demand) * (rate_bps > 0) if s.probe else rate_bps
            told.on[slot] = slot in self._plugs.opened

    def add_stream(self, s: Stream, rate_bps: float) -> int:
        """Send test traffic; the slot it has. Raises BadInput if there is no room for it."""
        if len(self.streams) >= self.board.slots:
            raise BadInput(f"this network has carried {SPARE} streams of test traffic, its most")
        slot = len(self.streams)
        self.streams.append(s)
        told = self.board.streams
        told.rate_bps[slot] = rate_bps
        self._open([slot])
        told.on[slot] = slot in self._plugs.opened
        return slot

    def condition(self, off: frozenset[str], cut: frozenset[str]) -> None:
        """These switches are crashed, with nothing in them, and these have no controller."""
        for device in sorted((off ^ self._off) & self.there):
            self.agent.power(self.topology.device_index[device], device not in off)
            self._off ^= {device}
        for device in sorted((cut ^ self._cut) & self.there):
            self.agent.control(self.topology.device_index[device], device not in cut)
            self._cut ^= {device}

    # -- what is read ----------------------------------------------------------------------

    def look(self) -> None:
        """Find out which switches the controller reaches."""
        began_s = monotonic()
        self._state = self.controller.state()
        self._slow_looks = self._slow_looks + 1 if monotonic() > began_s + HUNG_S else 0
        names = [d.name for d in self.topology.devices]
        self._connected = frozenset(
            names[dpid - 1] for dpid, s in self._state.switches.items() if s.connected
        )
        self._current = frozenset(
            names[dpid - 1] for dpid, s in self._state.switches.items() if s.epoch == self.epoch
        )

    @property
    def connected(self) -> frozenset[str]:
        """The devices that the controller reached when last looked at."""
        return self._connected & self.there

    @property
    def current(self) -> frozenset[str]:
        """The devices that held all rules told when last looked at."""
        return self._current & self.there

    @property
    def refused(self) -> dict[str, str]:
        """The devices that refused what they were told last, and by which error."""
        names = [d.name for d in self.topology.devices]
        found = {names[dpid - 1]: s.refused for dpid, s in self._state.switches.items()}
        return {name: error for name, error in found.items() if error and name in self.there}

    def held(self) -> dict[str, Rules | None]:
        """What every switch that is there says it holds; None of one that does not answer."""
        index = self.topology.device_index
        found = self.controller.readback(index[name] + 1 for name in sorted(self.there))
        return {self.topology.devices[dpid - 1].name: held for dpid, held in found.items()}

    def unreachable(self) -> frozenset[str]:
        """The devices that took no commands when last looked at, or cannot since it is dead."""
        parts = [getattr(self, name, None) for name in ("agent", "controller")]
        if not all(part is not None and part.alive for part in parts):
            return self.there
        return self.there - self._connected

    def device_reading(self, table_left: Array) -> Array:
        """`[devices, 3]`, columns of a Sample; `table_left[devices]` entries there is room for.

        One Open vSwitch is all switches, so each has its CPU and memory, as shares of the machine.
        """
        status = self.agent.status()
        for daemon in status.daemons:
            self.restarts[daemon.name] += max(daemon.restarts - self._daemons[daemon.name], 0)
            self._daemons[daemon.name] = daemon.restarts
        state = self._state
        cpu_s = sum(d.cpu_s for d in status.daemons) + state.cpu_s
        memory = sum(d.rss_bytes for d in status.daemons) + state.rss_bytes
        (before_s, at_s), self._load = self._load, (cpu_s, monotonic())
        busy = max(cpu_s - before_s, 0.0) / max(self._load[1] - at_s, 1e-3) / status.cores
        found = np.empty((len(self.topology.devices), len(DEVICE_METRICS)))
        found[:, 0] = min(busy, 1.0)
        found[:, 1] = min(memory / status.memory_bytes, 1.0)
        flows = {dpid: s.flows or 0 for dpid, s in state.switches.items()}
        held = np.array([flows.get(n + 1, 0) for n in range(len(found))], dtype=float)
        found[:, 2] = np.minimum(held / np.maximum(table_left, 1.0), 1.0)
        return found

    # -- what dies, and the end ------------------------------------------------------------

    def mend(self) -> tuple[str, ...]:
        """Bring back what has died; which parts that were. They must be told everything again.

        Raises ShadowsimError where that did not work out; then it may be tried again.
        """
        if not self.agent.alive:
            self.restarts["agent"] += 1
            self._rebuild()
            return ("agent", "controller", "plant")
        if not self.controller.alive:
            self.restarts["controller"] += 1
            self._start_controller()
            return ("controller",)
        if not self.plant.alive or self._unfinished or self._plant_hangs():
            self.restarts["plant"] += 1
            self._start_plant(again=True)
            return ("plant",)
        self._look_closely()
        return ()

    def fell(self) -> None:
        """End the agent, and with it all that is built, so that `mend` builds everything anew."""
        self.agent.close()

    def close(self) -> None:
        """End every process and remove the folder; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with uninterrupted(), ExitStack() as ending:
            ending.callback(atexit.unregister, self.close)
            ending.callback(self._folder.remove)
            ending.callback(os.close, self.board.fd)
            ending.callback(self._entrance.close)
            ending.callback(self._inward.close)
            self.end()

    def end(self) -> None:
        """End every process. Files that others write to stay open until `close`."""
        with ExitStack() as ending:
            ending.callback(self._plugs.forget)
            parts = [getattr(self, name, None) for name in ("agent", "controller", "store")]
            for part in (*parts, getattr(self._plugs, "plant", None)):
                if part is not None:
                    ending.callback(part.close)

    def _plant_hangs(self) -> bool:
        """Whether the plant runs and moves nothing; it is ended then."""
        hangs = self.plant.hangs()
        if hangs:
            self.plant.kill()
        return hangs

    def _look_closely(self) -> None:
        """Look, and end what runs but does not answer: it is as good as dead, and gets replaced."""
        try:
            self.look()
        except ControllerGone:
            if self.controller.alive:
                self.controller.kill()
            raise
        if self._slow_looks > 1:
            self._slow_looks = 0
            self.agent.kill("ovs-vswitchd", 9)

    # -- build -----------------------------------------------------------------------------

    def _bring_up(self, devices: frozenset[str]) -> None:
        self._wanted = devices
        self._unfinished = True
        self.agent = Agent.start(self.rundir)
        self._daemons = dict.fromkeys(DAEMONS, 0)
        self.store = ConfigStore(self.rundir / "db.sock", list(self.topology.device_index))
        self._lay(devices)
        self._start_controller()
        self._start_plant()

    def _rebuild(self) -> None:
        """With the agent everything has gone that it had made, except for files in the folder."""
        self.end()
        self._off = self._cut = self._connected = self._current = self.there = frozenset()
        for path in self.rundir.iterdir():
            if path.suffix != ".log":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._bring_up(self._wanted)

    def _all_hold(self) -> bool:
        """Whether every switch that can be reached holds its rules."""
        self.look()
        names = [d.name for d in self.topology.devices]
        wanted = {names[dpid - 1] for dpid in self._rules} - self._off - self._cut
        return wanted - self.refused.keys() <= self._connected & self._current

    def _lay(self, devices: frozenset[str]) -> None:
        """Have the agent build these devices, their hosts and cables, where they are not yet."""
        was = present(self.topology, self.there)
        switches, hosts, cables = (
            [n for n in now if n not in set(before)]
            for now, before in zip(present(self.topology, devices), was, strict=True)
        )
        ports = [self.topology.ports[d.name] for d in self.topology.devices]
        pairs = self.agent.build(
            [NewSwitch(i, len(ports[i])) for i in switches],
            new_hosts(self.topology, hosts),
            [sides(self.topology, cable) for cable in cables],
        )
        self._plugs.lay(cables, pairs)
        self.there = devices

    def _start_controller(self) -> None:
        if hasattr(self, "controller"):
            self.controller.close()
        self._connected = self._current = frozenset()
        listener = self.agent.listener()
        try:
            self.controller = Controller.start(self.kind, listener, self.rundir)
        finally:
            os.close(listener)

    def _start_plant(self, *, again: bool = False) -> None:
        self._unfinished = True
        self._plugs.start(self.agent, self.there, again=again)
        self._unfinished = False

    def _open(self, slots: Iterable[int]) -> None:
        self._plugs.open(self.agent, slots, self.there)
