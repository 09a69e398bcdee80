"""Whatever dies, the network mends itself or says so.

Here a worker keeps one network up through many tests; whole runs have a module of their own.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from bad_day_runs import KILLS, PARTS, Left, interruptible
from emulation import needs_emulation
from network_contract import SQUARE, TWO_DEVICES, settle
from ovsdb_server import need

from shadowsim.commit.switches import EmulatedDevices
from shadowsim.errors import Fenced, MachineLacks, Settled, ShadowsimError, Unreachable
from shadowsim.model.change import Command, Configs, apply, parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.services import Service
from shadowsim.network import Emulation, Witnessed
from shadowsim.network.emulated.care import NetworkLost
from shadowsim.network.emulated.client import Agent
from shadowsim.network.emulated.network import EmulatedNetwork
from shadowsim.network.emulated.rig import Rig
from shadowsim.network.emulated.rundir import RunDir
from shadowsim.network.emulated.store import ConfigStore

MENDED_S = 15.0
CRASH = Fault("device_crash", at_s=0.0, for_s=4.0, device="D")
fresh = count(10)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    with interruptible():
        yield


@pytest.fixture(scope="module")
def network() -> Iterator[EmulatedNetwork]:
    network = _made()
    yield network
    rundir = network._rig.rundir
    network.close()
    assert not rundir.exists()


def _made() -> EmulatedNetwork:
    made = Emulation("ryu")(SQUARE, SQUARE.configs, "production")
    assert isinstance(made, EmulatedNetwork)
    made.advance(made.now + 1.0)
    return made


def _commands() -> tuple[Command, ...]:
    """Two for one device, so that something could be halfway, and two for another."""
    number = next(fresh)
    return parse_script(f"""
device A
interface to-B
 ip ospf cost {number}
 ip ospf cost {number + 1}
device C
interface to-D
 description a
 description number {number}
""")


def _kill(network: EmulatedNetwork, what: str, how: int = signal.SIGKILL) -> None:
    kill_part(network._rig, what, how)


def kill_part(rig: Rig, what: str, how: int = signal.SIGKILL) -> None:
    if what in ("ovs-vswitchd", "ovsdb-server"):
        rig.agent.kill(what, how)  # type: ignore[arg-type]
    else:
        os.kill(getattr(rig, what).pid, how)


def _mended(network: EmulatedNetwork, wanted: Configs) -> None:
    """It works again in time, with these configs: in the database, in the tables, for packets."""
    rig = network._rig
    end_s = network.now + MENDED_S
    network.advance(network.now + 0.3)
    while network.busy or len(network.configs()) < len(wanted):
        assert network.now < end_s, f"not mended: {rig.restarts}"
        network.advance(network.now + 0.1)
    network.advance(network.now + 1.0)
    assert dict(network.configs()) == dict(wanted)
    assert dict(rig.store.read()) == dict(wanted)
    held = rig.controller.readback(rig._rules)
    for dpid, rules in rig._rules.items():
        found = held[dpid]
        assert found is not None and found.digest == rules.digest
    arrives = pytest.approx([5e6, 3e6], rel=0.25)
    network.advance(network.now + 1.0)
    while (last := network.advance(network.now + 1.0)[-1]).column(
        "demand", "throughput_bps"
    ) != arrives:  # TCP waits for longer and longer while nothing gets through
        assert network.now < end_s + 5.0, last.demand
    assert np.isfinite(last.device).all()


@needs_emulation
class TestOneNetwork:
    @pytest.mark.parametrize("what", PARTS)
    def test_idle(self, network: EmulatedNetwork, what: str) -> None:
        before, wanted = network._rig.restarts[what], network.configs()
        _kill(network, what)
        _mended(network, wanted)
        assert network._rig.restarts[what] == before + 1

    @pytest.mark.parametrize("what", PARTS)
    @pytest.mark.parametrize("number", range(KILLS))
    def test_while_commands_are_applied(
        self, network: EmulatedNetwork, what: str, number: int
    ) -> None:
        commands = _commands()
        wanted = apply(network.configs(), commands)
        delay_s = random.Random(f"{what} {number}").uniform(0.0, 0.03)
        network.apply(commands)  # devices obey as time goes on, and no sooner
        assert network.busy
        threading.Timer(delay_s, _kill, (network, what)).start()
        _mended(network, wanted)

    @pytest.mark.parametrize("what", PARTS)
    def test_while_it_is_resized(self, network: EmulatedNetwork, what: str) -> None:
        wanted = network.configs()
        threading.Timer(0.02, _kill, (network, what)).start()
        network.resize(frozenset("ABD"))
        network.advance(network.now + 0.5)
        threading.Timer(0.05, _kill, (network, what)).start()
        network.resize(frozenset("ABCD"))
        _mended(network, wanted)

    @pytest.mark.parametrize("what", ["controller", "ovs-vswitchd"])
    def test_stopped_for_a_while(self, network: EmulatedNetwork, what: str) -> None:
        commands = _commands()
        wanted = apply(network.configs(), commands)
        _kill(network, what, signal.SIGSTOP)
        threading.Timer(4.0, _kill, (network, what, signal.SIGCONT)).start()
        network.apply(commands)
        _mended(network, wanted)

    def test_a_switch_that_crashed_stays_so_in_a_new_agent(self, network: EmulatedNetwork) -> None:
        wanted = network.configs()
        network.inject(CRASH)
        network.advance(network.now + 0.5)
        _kill(network, "agent")
        network.advance(network.now + 2.0)
        assert set(network.configs()) == {"A", "B", "C"}
        with pytest.raises(Unreachable, match="D"):
            network.apply(parse_script("device D\ninterface to-A\n ip ospf cost 9\n"))
        network.advance(network.now + 3.0)
        _mended(network, wanted)

    def test_what_cannot_be_started_just_now_is_started_later(
        self, network: EmulatedNetwork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mend, failures = Rig.mend, [OSError(errno.EAGAIN, "Resource temporarily unavailable")]

        def first_fails(rig: Rig) -> tuple[str, ...]:
            if failures:
                raise failures.pop()
            return mend(rig)

        monkeypatch.setattr(Rig, "mend", first_fails)
        wanted = network.configs()
        _kill(network, "controller")
        _mended(network, wanted)
        assert not failures

    def test_what_others_wrote_a_moment_ago_is_not_written_over(
        self, network: EmulatedNetwork
    ) -> None:
        ours = parse_script("device A\ninterface to-B\n ip ospf cost 41\n")
        theirs = parse_script("device A\ninterface to-D\n ip ospf cost 43\n")
        wanted = apply(network.configs(), [*ours, *theirs])
        others = ConfigStore(network._rig.rundir / "db.sock", list(SQUARE.topology.device_index))
        others.write({"A": apply(network.configs(), theirs)["A"]}, network._rig.epoch)
        others.close()
        time.sleep(0.5)  # in which no time passes in the network, as while a person is asked
        network.apply(ours)
        _mended(network, wanted)

    def test_while_it_is_dead_nobody_answers(self, network: EmulatedNetwork) -> None:
        wanted = network.configs()
        os.kill(network._rig.agent.pid, signal.SIGKILL)
        _until(lambda: not network._rig.agent.alive)
        assert not network.configs()
        with pytest.raises(Unreachable):
            network.apply(TWO_DEVICES)
        assert not network.busy
        _mended(network, wanted)


@needs_emulation
@pytest.mark.parametrize("what", PARTS)
def test_what_dies_on_the_way_up_gets_a_second_try(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    tries = []

    def await_ready(rig: Rig) -> None:
        tries.append(what)
        if len(tries) == 1:
            kill_part(rig, what)
        wait(rig)

    wait = Rig.await_ready
    monkeypatch.setattr(Rig, "await_ready", await_ready)
    network = _made()
    try:
        assert len(tries) >= (2 if what in ("agent", "controller") else 1)
        _mended(network, SQUARE.configs)
    finally:
        network.close()


NOBODY = (lambda config: None, lambda fds: None, lambda: None)  # keeps, holds, or has ended it


@needs_emulation
def test_what_dies_on_the_way_up_every_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Left.look()
    monkeypatch.setattr(Rig, "await_ready", lambda rig: rig.controller.kill())
    with pytest.raises(NetworkLost, match="cannot be read: the controller does not answer"):
        _made()
    assert Left.look() == before


@needs_emulation
@pytest.mark.parametrize("after", [(Rig, "mend"), (ConfigStore, "claim")], ids=["built", "claimed"])
def test_who_takes_over_what_is_just_built_anew_finds_it_as_it_was(
    monkeypatch: pytest.MonkeyPatch, after: tuple[type, str]
) -> None:
    network, work = _made(), getattr(*after)
    try:
        guardian = EmulatedDevices(network.entrust(1, *NOBODY))
        network.apply(TWO_DEVICES)
        settle(network)
        wanted = dict(network.configs())
        assert wanted != dict(SQUARE.configs)

        def overtaken(of: Rig | ConfigStore, *given: int) -> object:
            found = work(of, *given)
            if found != ():  # something was brought back
                guardian.fence(2)
            return found

        monkeypatch.setattr(*after, overtaken)
        _kill(network, "agent")
        with pytest.raises(Fenced):
            network.advance(network.now + MENDED_S)
        assert dict(guardian.read()) == wanted
        _until(lambda: not guardian.verify(wanted))
        for device in TWO_DEVICES:
            guardian.write(SQUARE.configs[device.device], 2)
        assert not guardian.verify(SQUARE.configs)
        guardian._store.close()
    finally:
        network.close()


@needs_emulation
@pytest.mark.parametrize("what", ["agent", "controller"])
def test_what_is_made_anew_after_the_change_was_taken_back_is_told_nothing(what: str) -> None:
    """All that this run could tell is what it had deployed; a new database knows of no fence."""
    network, settled = _made(), []

    def still() -> None:
        if settled:
            raise Settled("it was taken back")

    try:
        network.entrust(1, *NOBODY[:2], still)
        network.apply(TWO_DEVICES)
        settle(network)
        settled.append(True)
        _kill(network, what)
        with pytest.raises(Settled):
            network.advance(network.now + MENDED_S)
        assert network._rig.controller.state().epoch == 0
        assert what == "controller" or not network._rig.store.read()
    finally:
        network.close()


@needs_emulation
def test_who_takes_over_brings_into_force_what_was_only_written() -> None:
    """Production's writer was killed between its database and its switches; a link is cut."""
    network = _made()
    try:
        guardian = EmulatedDevices(network.entrust(1, *NOBODY))
        network.inject(Fault("link_down", network.now, link=("A", "B")))
        network.apply(TWO_DEVICES)
        settle(network)
        assert not guardian.verify(network.configs())  # the cut is known to whoever takes over
        network.copy(("critical",), 1.0, 96, np.random.default_rng(1))
        assert guardian.verify(network.configs())  # copies end with the run
        network._rig.store.write(SQUARE.configs, network._rig.epoch + 1)
        assert guardian.verify(SQUARE.configs)
        guardian.fence(2)
        guardian.enforce(2)
        _until(lambda: not guardian.verify(SQUARE.configs))
        guardian._store.close()
    finally:
        network.close()


@needs_emulation
def test_a_plant_that_stands_still_is_replaced(network: EmulatedNetwork) -> None:
    before, wanted = network._rig.restarts["plant"], network.configs()
    _kill(network, "plant", signal.SIGSTOP)
    _mended(network, wanted)
    assert network._rig.restarts["plant"] == before + 1


@needs_emulation
def test_services_run_with_production_and_their_replicas_outlive_an_agent() -> None:
    need("redis-server", shutil.which("redis-server") is not None)
    scenario = replace(SQUARE, services=(Service("redis", "h-B", 100.0),))
    emulation = Emulation("ryu")
    production, shadow = networks = [
        emulation(scenario, scenario.configs, name) for name in ("production", "shadow")
    ]
    assert isinstance(production, EmulatedNetwork) and isinstance(shadow, EmulatedNetwork)
    try:
        assert not shadow._primaries
        before = production._primaries["h-B"].written
        _side_by_side(networks, lambda: production._primaries["h-B"].written >= before + 100)
        shadow.follow(production)

        def grows() -> None:
            written = production._primaries["h-B"].written
            _side_by_side(networks, lambda: _replicated(shadow) > written)

        grows()
        for network in (shadow, production):
            _kill(network, "agent")
            restarts = network._rig.restarts
            _side_by_side(networks, lambda told=restarts: told["agent"] == 1)
            grows()
        shadow.resize(frozenset("ACD"))
        _side_by_side(networks, lambda: shadow.followed().services == ())
        shadow.resize(frozenset("ABCD"))
        grows()
    finally:
        for network in reversed(networks):
            network.close()


def _replicated(shadow: EmulatedNetwork) -> int:
    return sum(s.replicated for s in shadow.followed().services if s.connected)


def _side_by_side(networks: Sequence[Witnessed], true: Callable[[], bool]) -> None:
    end_s = networks[0].now + MENDED_S + 10.0
    while not true():
        assert networks[0].now < end_s
        at_s = networks[0].now + 0.1
        for network in networks:
            network.advance(at_s)


@needs_emulation
def test_what_cannot_be_brought_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _made()

    def start(rundir: Path) -> Agent:
        raise ShadowsimError("no agent today")

    try:
        network.apply(_commands())
        monkeypatch.setattr(Agent, "start", start)
        _kill(network, "agent")
        with pytest.raises(NetworkLost, match=r"'production' .* no agent today"):
            network.advance(network.now + 60.0)
        network.advance(network.now + 1.0)
        assert not network.busy and not network.configs()
        assert not network._rig.plant.alive and not network._rig.controller.alive
    finally:
        network.close()
    assert not network._rig.rundir.exists()


@needs_emulation
def test_commands_are_in_force_before_they_are_done(network: EmulatedNetwork) -> None:
    commands = _commands()
    network.apply(commands)
    settle(network)
    held = network._rig.controller.readback(network._rig._rules)
    wanted = network._rig._rules
    assert all((found := held[d]) and found.digest == wanted[d].digest for d in wanted)


def _until(true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_no_room_for_the_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(tempfile.mkdtemp(prefix="bad"))
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "mkdir", full)
        with pytest.raises(MachineLacks, match=r"No space left on device.*XDG_RUNTIME_DIR"):
            RunDir.make("production")
    finally:
        shutil.rmtree(home)


def test_an_interrupted_clock_goes_on_where_it_was() -> None:
    code = """
import signal, threading, os
from shadowsim.network.emulated.clock import WallClock
clock, ticks = WallClock(), []
def tick():
    while True:
        yield clock.env.timeout(0.4)
        ticks.append(clock.now)
clock.env.process(tick())
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    clock.advance(60.0)
except KeyboardInterrupt:
    was, before = clock.now, len(ticks)
    clock.advance(was + 0.9)
    print(round(clock.now - was, 6), len(ticks) - before)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert found.stdout.split() in (["0.9", "2"], ["0.9", "3"]), found.stderr
