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
from shadowsim.errors import Unreachable
from shadowsim.model.change import Configs
from shadowsim.model.config import DeviceConfig
from shadowsim.model.topology import Topology
from shadowsim.network.emulated.controllers import ControllerGone, Outcome
from shadowsim.network.emulated.openflow import Rules
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
        self.outcome = Outcome("installed")
        self.epoch = 0
        self.dead = self.closed = False

    def read(self) -> Configs:
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
        return SimpleNamespace(epoch=self.epoch)

    def install(self, epoch: int, rules: Mapping[int, Rules]) -> dict[int, Outcome]:
        assert epoch == self.epochs[-1]
        self.held |= rules
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
    devices.write(cost(8), 2)
    assert memory.epochs == [(2 << EPOCHS) + 1, (3 << EPOCHS) + 10]


def test_rules_that_are_not_held_are_missed(memory: Memory, devices: EmulatedDevices) -> None:
    assert devices.verify({"A": SCENARIO.configs["A"]}) == ("the rules of A cannot be read back",)
    memory.held = {1: Rules(1)}
    assert devices.verify({"A": SCENARIO.configs["A"]}) == (
        "the rules of A as read back are not those of its config",
    )


def test_a_switch_that_does_not_take_them_is_out_of_reach(
    memory: Memory, devices: EmulatedDevices
) -> None:
    memory.outcome = Outcome("failed", "table is full")
    with pytest.raises(Unreachable, match="A: failed table is full"):
        devices.write(cost(7), 2)
    memory.dead = True
    with pytest.raises(Unreachable, match="A: the controller has ended"):
        devices.write(cost(7), 2)


def test_a_database_that_is_made_anew_is_waited_for(
    memory: Memory, devices: EmulatedDevices
) -> None:
    del memory.configs["B"]  # type: ignore[attr-defined]
    with pytest.raises(Unreachable, match="just being built again"):
        devices.prepare()


def test_a_network_that_is_gone_is_said_to_be(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(Gone, match="its network has gone"):
        EmulatedDevices(reached(tmp_path / "none")).read()


def test_when_nobody_needs_them_any_more_remains_are_removed(
    memory: Memory, devices: EmulatedDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[bool] = []
    monkeypatch.setattr(switches, "clean", lambda: cleaned.append(memory.closed))
    devices.close()
    assert cleaned == [True]


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
