"""Emulated devices as a holder of a rollback reaches them; store and controller are in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from shadowsim.commit import reach, switches
from shadowsim.commit.devices import FileDevices, Gone
from shadowsim.commit.log import LogAltered
from shadowsim.commit.switches import EPOCHS, EmulatedDevices
from shadowsim.dataplane.forwarding import SOUND, Physical
from shadowsim.errors import Fenced, Unreachable
from shadowsim.model.change import Configs
from shadowsim.model.config import DeviceConfig
from shadowsim.model.topology import Topology
from shadowsim.network.emulated import beneath
from shadowsim.network.emulated.controllers import ControllerGone, Outcome, Stale
from shadowsim.network.emulated.openflow import Rules
from shadowsim.network.emulated.store import StoreGone
from shadowsim.scenario import parse

SCENARIO = parse("""
name: pair
topology: {nodes: {A: {hosts: [a]}, B: {hosts: [b]}}, links: [[A, B]]}
traffic: {demands: [{from: a, to: b, rate_mbps: 1}]}
change: {script: "device A\\ninterface to-B\\n ip ospf cost 7"}
""")


class Memory:
    """A store and a controller: what was written, in which epoch, and which rules are held."""

    def __init__(self) -> None:
        self.configs: Configs = dict(SCENARIO.configs)
        self.epochs: list[int] = []
        self.fenced: list[int] = []
        self.held: dict[int, Rules] = {}
        self.took = {1: 0, 2: 0}  # the epoch of what each switch holds
        self.refusing: set[int] = set()
        self.away: set[int] = set()
        self.outcome = Outcome("installed")
        self.epoch = 0
        self.dead = self.closed = self.lost = self.overtaken = False

    def read(self) -> Configs:
        if self.lost:
            raise StoreGone("the database does not answer")
        return dict(self.configs)

    def write(self, configs: Configs, epoch: int) -> None:
        self.epochs.append(epoch)
        self.configs = {**self.configs, **configs}

    def fence(self, generation: int) -> None:
        self.fenced.append(generation)

    def close(self) -> None:
        self.closed = True

    def state(self) -> SimpleNamespace:
        if self.dead:
            raise ControllerGone("the controller has ended")
        switches = {
            dpid: SimpleNamespace(connected=dpid not in self.away, epoch=epoch)
            for dpid, epoch in self.took.items()
        }
        return SimpleNamespace(epoch=self.epoch, switches=switches)

    def install(self, epoch: int, rules: Mapping[int, Rules]) -> dict[int, Outcome]:
        assert epoch == self.epochs[-1]
        if self.overtaken:
            raise Stale("epoch 7 is not above 8")
        taken = {dpid: told for dpid, told in rules.items() if dpid not in self.refusing}
        self.held |= taken
        self.took |= dict.fromkeys(taken, epoch)
        return dict.fromkeys(rules, self.outcome)

    def readback(self, dpids: Iterable[int]) -> dict[int, Rules | None]:
        return {dpid: self.held.get(dpid) for dpid in dpids}


def reached(rundir: Path) -> dict[str, str]:
    topology = TypeAdapter(Topology).dump_json(SCENARIO.topology).decode()
    return {"kind": "emulated", "rundir": str(rundir), "topology": topology}


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    found = Memory()
    monkeypatch.setattr(switches, "ConfigStore", lambda *_: found)
    monkeypatch.setattr(switches, "ControllerCalls", lambda *_: found)
    return found


@pytest.fixture
def devices(memory: Memory, tmp_path: Path) -> EmulatedDevices:
    return EmulatedDevices(reached(tmp_path))


def cost(value: int) -> DeviceConfig:
    from shadowsim.model.change import apply, parse_script

    script = f"device A\ninterface to-B\n ip ospf cost {value}"
    return apply(SCENARIO.configs, parse_script(script))["A"]


def test_what_is_written_is_in_force_and_verified(memory: Memory, devices: EmulatedDevices) -> None:
    devices.prepare()
    devices.fence(2)
    devices.write(cost(7), 2)
    assert memory.fenced == [2]
    assert devices.read()["A"] == cost(7)
    assert devices.verify({"A": cost(7)}) == ()
    assert devices.verify({"A": cost(8)}) == ("config of A is not what the plan leads to",)


def test_every_epoch_is_above_all_of_the_generations_before(
    memory: Memory, devices: EmulatedDevices
) -> None:
    memory.epoch = 5
    devices.write(cost(7), 2)
    memory.epoch = (3 << EPOCHS) + 9
    devices.write(cost(8), 3)
    assert memory.epochs == [(2 << EPOCHS) + 1, (3 << EPOCHS) + 10]


def test_rules_that_are_not_held_are_missed(memory: Memory, devices: EmulatedDevices) -> None:
    assert devices.verify({"A": SCENARIO.configs["A"]}) == ("the rules of A cannot be read back",)
    memory.held = {1: Rules(1)}
    assert devices.verify({"A": SCENARIO.configs["A"]}) == (
        "the rules of A as read back are not those of its config",
    )


def test_a_switch_that_the_change_does_not_touch_is_to_follow_too(
    memory: Memory, devices: EmulatedDevices
) -> None:
    """Its rules come from the configs of all; who is not there takes them when it comes."""
    memory.held = {2: Rules(2)}
    old = {"A": SCENARIO.configs["A"]}
    memory.refusing = {2}
    devices.enforce(2)
    amiss = ("the rules of B as read back are not those of its config",)
    assert devices.verify(old) == amiss
    memory.away = {2}
    assert devices.verify(old) == ()
    memory.refusing = memory.away = set()
    devices.enforce(2)
    assert devices.verify(old) == ()
    assert devices.held


def test_a_switch_that_does_not_take_them_is_out_of_reach(
    memory: Memory, devices: EmulatedDevices
) -> None:
    memory.outcome = Outcome("failed", "table is full")
    with pytest.raises(Unreachable, match="A: failed table is full"):
        devices.write(cost(7), 2)
    memory.dead = True
    with pytest.raises(Unreachable, match="A: the controller has ended"):
        devices.write(cost(7), 2)


def test_what_was_written_and_not_brought_into_force_is(
    memory: Memory, devices: EmulatedDevices
) -> None:
    devices.enforce(2)
    memory.held[1] = Rules(1)  # those of another config, whose writer died before it told these
    assert "rules of A as read back" in devices.verify(SCENARIO.configs)[0]
    devices.enforce(3)
    assert devices.verify(SCENARIO.configs) == ()
    assert memory.epochs[-1] == (3 << EPOCHS) + 1  # nothing of generation 2 comes after it


def test_only_the_latest_generation_brings_anything_into_force(
    memory: Memory, devices: EmulatedDevices
) -> None:
    memory.epoch = 3 << EPOCHS
    for late in (lambda: devices.write(cost(7), 2), lambda: devices.enforce(2)):
        with pytest.raises(Fenced, match="the controller was taken over"):
            late()
    assert not memory.held and not memory.epochs
    devices.enforce(3)
    memory.overtaken = True  # right after it was asked what it had been told
    with pytest.raises(Unreachable, match="was just told something else"):
        devices.enforce(3)
    memory.dead = True
    with pytest.raises(Unreachable, match="the controller has ended"):
        devices.enforce(3)


def test_rules_are_those_of_the_links_that_are_left(
    memory: Memory, devices: EmulatedDevices, tmp_path: Path
) -> None:
    devices.enforce(2)
    sound = memory.held[1]
    beneath.keep(tmp_path, Physical(frozenset({0, 1}), {"A": 0.5}))
    devices.enforce(2)
    assert memory.held[1].digest != sound.digest
    assert devices.verify(SCENARIO.configs) == ()


def test_what_is_broken_beneath_the_configs_is_told_whole_or_not_at_all(tmp_path: Path) -> None:
    assert beneath.kept(tmp_path) == SOUND
    broken = Physical(frozenset({4, 5}), {"A": 0.25})
    beneath.keep(tmp_path, broken)
    assert beneath.kept(tmp_path) == broken
    (tmp_path / beneath.FILE).write_text('{"down": [1, "x"]}')
    assert beneath.kept(tmp_path) == SOUND
    beneath.keep(tmp_path, broken)
    (tmp_path / f"{beneath.FILE}.draft").mkdir()  # nothing can be written there
    beneath.keep(tmp_path, Physical())
    assert beneath.kept(tmp_path) == SOUND and not (tmp_path / beneath.FILE).exists()


def test_a_database_that_is_made_anew_is_waited_for(
    memory: Memory, devices: EmulatedDevices
) -> None:
    del memory.configs["B"]  # type: ignore[attr-defined]
    with pytest.raises(Unreachable, match="just being built again"):
        devices.prepare()


def test_a_network_that_is_gone_is_said_to_be(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(Gone, match="its network has gone"):
        EmulatedDevices(reached(tmp_path / "none")).read()


@pytest.mark.parametrize("ended", [True, False])
def test_a_network_whose_run_and_agent_are_dead_is_gone(
    memory: Memory, devices: EmulatedDevices, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    memory.lost = True
    monkeypatch.setattr(switches, "has_ended", lambda folder: ended)
    with pytest.raises(Gone if ended else StoreGone):
        devices.read()


def test_when_nobody_needs_them_any_more_remains_are_removed(
    memory: Memory, devices: EmulatedDevices, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cleaned: list[tuple[Path, bool]] = []
    monkeypatch.setattr(switches, "remove_dead", lambda f: cleaned.append((f, memory.closed)))
    devices.close()
    assert cleaned == [(tmp_path, True)]


@pytest.mark.parametrize("missing", ["topology", "rundir"])
def test_a_place_that_is_none_is_refused(missing: str, tmp_path: Path) -> None:
    with pytest.raises(LogAltered, match="how production is reached cannot be read"):
        EmulatedDevices({name: v for name, v in reached(tmp_path).items() if name != missing})


def test_what_a_commit_has_written_down_leads_to_its_devices(
    memory: Memory, tmp_path: Path
) -> None:
    def found(where: Mapping[str, str]) -> object:
        devices = reach.reach_in(tmp_path)
        terms = SimpleNamespace(reach=where)
        assert devices(terms) is devices(terms)  # type: ignore[arg-type]
        return devices(terms)  # type: ignore[arg-type]

    assert isinstance(found(reach.FILES), FileDevices)
    assert isinstance(found(reached(tmp_path)), EmulatedDevices)
    with pytest.raises(LogAltered, match="of no kind that is known here"):
        found({"kind": "imagined"})
