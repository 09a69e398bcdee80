"""The controller on real Open vSwitch, under Ryu and under os-ken."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import measured
import numpy as np
import pytest
from emulation import needs_emulation
from private_ovs import PrivateOvs, lacks
from reference_openflow import packet, switched
from reference_verify import Header
from test_openflow import DIAMOND, LINE, with_filter
from test_verify import ANY_ANY, routed

from shadowsim.errors import MachineLacks
from shadowsim.model.address import ANY, Prefix, format_address
from shadowsim.model.config import AclEntry
from shadowsim.network.emulated import controllers
from shadowsim.network.emulated.controllers import (
    LIBRARIES,
    Controller,
    ControllerGone,
    Kind,
    Outcome,
    Stale,
)
from shadowsim.network.emulated.openflow import Flow, Group, Meter, Rules, rules
from shadowsim.network.protocol import Match

REQUIRED = os.environ.get("SHADOWSIM_EMULATED") == "required"
KILLS = 10  # per library
# Tests whose controllers coverage sees: all that one does, and no more, since it takes time.
MEASURED = (
    "test_what_is_read_back_is_what_was_told",
    "test_a_switch_that_refuses_keeps_what_it_had",
    "test_switches_that_start_anew_get_everything_again",
    "test_an_epoch_that_is_not_above_the_last_is_refused",
    "test_meters_change_with_what_they_limit",
)

pytestmark = [
    needs_emulation,
    pytest.mark.skipif(bool(lacks()) and not REQUIRED, reason=f"this machine lacks {lacks()}"),
]


@pytest.fixture(params=LIBRARIES)
def kind(request: pytest.FixtureRequest) -> Kind:
    if importlib.util.find_spec(LIBRARIES[request.param]) is None and not REQUIRED:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def ovs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateOvs]:
    """Four switches with three ports each."""
    made = PrivateOvs(tmp_path_factory.mktemp("ovs"))
    made.bridges([3] * 4)
    yield made
    made.close()


@pytest.fixture
def controller(
    kind: Kind, ovs: PrivateOvs, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Controller]:
    with pytest.MonkeyPatch.context() as patched:
        if measured.wanted() and request.node.originalname in MEASURED:
            program = measured.python(tmp_path, "eventlet")
            patched.setattr(controllers, "sys", SimpleNamespace(executable=program))
        started = Controller.start(kind, ovs.listener_fd, tmp_path)
    ovs.reconnect()
    connected(started, 4)
    yield started
    started.close()
    log = (tmp_path / "controller.log").read_text()
    assert "Traceback" not in log, log


def until(true: Callable[[], bool], within_s: float = 60.0) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not come about in time"
        time.sleep(0.05)


def connected(controller: Controller, switches: int) -> None:
    until(lambda: sum(s.connected for s in controller.state().switches.values()) == switches)


def told(found: tuple[Rules, ...]) -> dict[int, Rules]:
    return {rules.dpid: rules for rules in found}


def everything() -> dict[int, Rules]:
    """Rules in which everything there is occurs."""
    plane = routed(DIAMOND)
    entries = (
        AclEntry(1, False, "tcp", Prefix(10 << 24, 8), (1000, 2999), ANY, (443, 443)),
        AclEntry(2, False, "icmp", ANY, None, Prefix(10 << 24 | 3 << 8 | 2, 32), None),
        AclEntry(3, False, "ip", ANY, None, ANY, (53, 54)),
        ANY_ANY,
    )
    plane = with_filter(plane, *entries)
    plane.filter_out[3] = 0
    plane.level[:] = [0, 1, 2]
    plane.rate_bps[:] = 1e7
    found = rules(plane, diverts=[Match("bulk", port=80)], copies=["critical"], copy_bytes=96)
    return told(found)


def held(controller: Controller, wanted: dict[int, Rules]) -> bool:
    return controller.readback(wanted) == wanted


def install(controller: Controller, epoch: int, wanted: dict[int, Rules]) -> None:
    done = controller.install(epoch, wanted)
    assert done == {dpid: Outcome("installed") for dpid in wanted}


def test_what_is_read_back_is_what_was_told(controller: Controller, ovs: PrivateOvs) -> None:
    wanted = everything()
    install(controller, 7, wanted)
    found = controller.readback(wanted)
    for dpid, expected in wanted.items():
        said = found[dpid]
        assert said == expected and said.digest == expected.digest
    dump = ovs.run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "s0")
    assert dump.count("cookie=0x7,") == len(wanted[1].flows)
    assert "max_len=96" in dump
    dump = ovs.run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "s1")
    assert "tp_src=0x3e8/0xfff8" in dump
    state = controller.state()
    held_by = state.switches[1]
    assert (held_by.connected, held_by.epoch, state.epoch) == (True, 7, 7)
    counts = (held_by.flows, held_by.groups, held_by.meters)
    assert counts == (len(wanted[1].flows), len(wanted[1].groups), len(wanted[1].meters))
    assert min(counts) > 0 and state.cpu_s > 0 and state.rss_bytes > 1e6


def test_open_vswitch_treats_packets_as_the_rules_say(
    controller: Controller, ovs: PrivateOvs
) -> None:
    """`ofproto/trace` and the slow switch of the tests agree."""
    rng = np.random.default_rng(1)
    wanted = everything()
    install(controller, 1, wanted)
    sent = dropped = 0
    for _ in range(60):
        number, port = int(rng.integers(4)), int(rng.integers(1, 4))
        address = [10 << 24 | int(rng.choice([0, 3])) << 8 | 2 for _ in range(2)]
        protocol, ports = int(rng.choice([1, 6, 17])), rng.choice([53, 80, 443, 1500], 2)
        dscp = int(rng.choice([0, 8, 46]))
        header = Header(protocol, int(ports[0]), int(ports[1]))
        kind = {1: "icmp", 6: "tcp", 17: "udp"}[protocol]
        flow = f"{kind},in_port={port},nw_src={format_address(address[0])}"
        flow += f",nw_dst={format_address(address[1])},nw_tos={4 * dscp},nw_ttl=64"
        flow += f",{kind}_src={ports[0]},{kind}_dst={ports[1]}" if protocol > 1 else ""
        traced = ovs.run("ovs-appctl", "ofproto/trace", f"s{number}", flow)
        said = sorted(int(p) for p in re.findall(r"output:(\d+)", traced.split("Final flow")[0]))
        said += [1001] if "output(port=1001,max_len=96)" in traced else []
        ways = switched(wanted[number + 1], port, packet(*address, header, dscp))
        if "recirc(" in traced or len(ways) > 1:
            continue  # which bucket it is, a trace does not tell
        expected = sorted(out.port for out in ways[0])
        assert said == expected, traced
        sent, dropped = sent + bool(expected), dropped + (not expected)
    assert sent > 20 and dropped > 5


def test_a_change_sends_only_what_differs(controller: Controller, ovs: PrivateOvs) -> None:
    install(controller, 1, everything())
    changed = told(rules(routed(DIAMOND)))
    install(controller, 2, changed)
    assert held(controller, changed)
    dump = ovs.run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "s1")
    assert "cookie=0x1," in dump and "cookie=0x2," in dump
    assert controller.state().switches[1].meters == len(changed[1].meters) == 1


def test_the_flow_that_always_stands_carries_the_epoch(
    controller: Controller, ovs: PrivateOvs
) -> None:
    install(controller, 3, everything())
    install(controller, 4, everything())
    dump = ovs.run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "s0", "table=0")
    assert re.findall(r"cookie=(0x\w+),.*priority=1 actions=goto_table:1", dump) == ["0x4"]


def test_what_somebody_else_changes_is_seen(controller: Controller, ovs: PrivateOvs) -> None:
    wanted = everything()
    install(controller, 1, wanted)
    for change in (
        ("del-flows", "s0", "table=2"),
        ("add-flow", "s1", "table=1,priority=9,in_port=1,actions=drop"),
        ("del-groups", "s0"),
        ("mod-flows", "s2", "table=1,in_port=1,actions=drop"),
        ("del-meters", "s3"),
    ):
        ovs.run("ovs-ofctl", "-O", "OpenFlow13", *change)
        dpid = int(change[1][1:]) + 1
        found = controller.readback([dpid])[dpid]
        assert found is not None and found.digest != wanted[dpid].digest
    assert not any(
        rules is not None and rules.digest == wanted[dpid].digest
        for dpid, rules in controller.readback(wanted).items()
    )


def test_an_epoch_that_is_not_above_the_last_is_refused(controller: Controller) -> None:
    wanted = told(rules(routed(DIAMOND)))
    install(controller, 5, wanted)
    for epoch in (5, 4):
        with pytest.raises(Stale, match="not above 5"):
            controller.install(epoch, everything())
    assert held(controller, wanted)


def test_a_switch_that_refuses_keeps_what_it_had(controller: Controller) -> None:
    wanted = told(rules(routed(DIAMOND)))
    install(controller, 1, wanted)
    group = Group(77, (1, 2))
    bad = Rules(1, (*wanted[1].flows, Flow(2, 9, (), (("group", 5),))), (group,))
    done = controller.install(2, {**wanted, 1: bad})
    assert done[1].outcome == "failed" and "BAD_OUT_GROUP" in done[1].error
    assert all(done[dpid].installed for dpid in (2, 3, 4))
    assert held(controller, wanted)
    refused = {dpid: s.refused for dpid, s in controller.state().switches.items()}
    assert refused == {1: done[1].error, 2: "", 3: "", 4: ""}
    install(controller, 3, everything())
    assert held(controller, everything())
    assert not any(s.refused for s in controller.state().switches.values())


def test_what_somebody_deleted_is_no_reason_to_refuse_a_change(
    controller: Controller, ovs: PrivateOvs
) -> None:
    wanted = told(rules(routed(DIAMOND)))
    install(controller, 1, wanted)
    ovs.run("ovs-ofctl", "-O", "OpenFlow13", "del-groups", "s0")
    more = Flow(2, 9, (), (("group", wanted[1].groups[0].id),))
    wanted[1] = Rules(1, (*wanted[1].flows, more), wanted[1].groups, wanted[1].meters)
    install(controller, 2, wanted)
    assert held(controller, wanted)


def test_a_switch_that_is_away_gets_its_rules_when_it_comes(
    controller: Controller, ovs: PrivateOvs
) -> None:
    ovs.run("ovs-vsctl", "del-controller", "s2")
    connected(controller, 3)
    wanted = everything()
    done = controller.install(1, wanted)
    assert done[3] == Outcome("absent") and done[4].installed
    assert controller.readback([3]) == {3: None}
    ovs.run("ovs-vsctl", "set-controller", "s2", "tcp:127.0.0.1:6653")
    until(lambda: held(controller, wanted))
    assert controller.state().switches[3].epoch == 1


def test_switches_that_start_anew_get_everything_again(
    controller: Controller, ovs: PrivateOvs
) -> None:
    wanted = everything()
    install(controller, 4, wanted)
    ovs.kill_vswitchd()
    until(lambda: held(controller, wanted))
    until(lambda: all(s.epoch == 4 for s in controller.state().switches.values()))


def test_a_controller_that_starts_anew_changes_nothing_until_it_is_told(
    kind: Kind, controller: Controller, ovs: PrivateOvs, tmp_path: Path
) -> None:
    wanted = everything()
    install(controller, 9, wanted)
    controller.kill()
    assert not controller.alive
    with pytest.raises(ControllerGone):
        controller.state()
    before = ovs.flows("s0")
    again = Controller.start(kind, ovs.listener_fd, tmp_path)
    ovs.reconnect()
    try:
        connected(again, 4)
        assert ovs.flows("s0") == before
        assert held(again, wanted)
        assert {s.epoch for s in again.state().switches.values()} == {0}
        other = told(rules(routed(LINE)))
        install(again, 10, other)
        assert held(again, other)
    finally:
        again.close()


def test_a_controller_killed_on_the_way_leaves_the_old_or_the_new(
    kind: Kind, ovs: PrivateOvs, tmp_path: Path
) -> None:
    lines = [AclEntry(n, n % 3 > 0, "tcp", Prefix(10 << 24 | n, 32), None, ANY, (n, n + 9))
             for n in range(1, 120)]  # fmt: skip
    choices = [
        told(rules(with_filter(routed(DIAMOND), *half, ANY_ANY)))[2]
        for half in (lines, [replace(line, permit=not line.permit) for line in lines])
    ]
    rng, found, took_s = random.Random(kind), [], 0.1
    for turn in range(KILLS):
        controller = Controller.start(kind, ovs.listener_fd, tmp_path)
        ovs.reconnect()
        connected(controller, 4)
        if turn == 0:
            install(controller, 1, {2: choices[1]})
            began_s = time.monotonic()
            install(controller, 2, {2: choices[0]})
            took_s = time.monotonic() - began_s
            reference = {0: ovs.flows("s1")}
            install(controller, 3, {2: choices[1]})
            reference[1] = ovs.flows("s1")
            assert reference[0] != reference[1]
        wanted = {2: choices[turn % 2]}

        def tell(controller: Controller = controller, wanted: dict[int, Rules] = wanted) -> None:
            try:
                controller.install(9, wanted)
            except ControllerGone:
                return

        teller = threading.Thread(target=tell)
        teller.start()
        time.sleep(rng.uniform(0.0, took_s))
        controller.kill()
        teller.join()
        controller.close()
        time.sleep(0.1)  # what is still in the socket
        flows = ovs.flows("s1")
        assert flows in reference.values(), "mixed"
        found.append(flows == reference[turn % 2])
    assert found  # both old and new occur, but chance decides how often


def test_it_listens_nowhere_else(controller: Controller, tmp_path: Path) -> None:
    mode = (tmp_path / "ctl.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    mine = {str(link.readlink()) for link in Path(f"/proc/{controller.pid}/fd").iterdir()
            if link.is_symlink()}  # fmt: skip
    listening = "0A"
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{controller.pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == listening or table.startswith("udp"):
                assert f"socket:[{words[9]}]" not in mine


def ask(rundir: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(rundir / "ctl.sock"))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").readline()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b'{"verb": "shutdown"}\n',
        b'{"verb": ["state"]}\n',
        b'{"verb": "install"}\n',
        b'{"verb": "install", "epoch": true, "switches": {}}\n',
        b'{"verb": "install", "epoch": -1, "switches": {}}\n',
        b'{"verb": "install", "epoch": 1e9, "switches": {}}\n',
        b'{"verb": "install", "epoch": 1, "switches": [1]}\n',
        b'{"verb": "install", "epoch": 1, "switches": {"; reboot": {}}}\n',
        b'{"verb": "install", "epoch": 1, "switches": {"1": 5}}\n',
        b'{"verb": "install", "epoch": 1, "switches": {"1": {"flows": 3}}}\n',
        b'{"verb": "install", "epoch": 1, "switches": {"1": {"flows": [{}]}}}\n',
        b'{"verb": "readback", "dpids": "1"}\n',
        b'{"verb": "readback", "dpids": [{}]}\n',
        b"\xff\xfe\n",
    ],
)
def test_what_is_no_request_is_refused_in_words(
    kind: Kind, lonely: Callable[[Kind], tuple[Controller, Path]], line: bytes
) -> None:
    controller, rundir = lonely(kind)
    assert b'"error"' in ask(rundir, line)
    assert controller.alive and controller.state().epoch == 0


@pytest.fixture(scope="module")
def lonely(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Kind], tuple[Controller, Path]]]:
    """One controller of each kind, to which no switch connects."""
    made: dict[Kind, tuple[Controller, Path]] = {}
    listener = socket.create_server(("127.0.0.1", 0))

    def of(kind: Kind) -> tuple[Controller, Path]:
        if kind not in made:
            rundir = tmp_path_factory.mktemp(kind)
            made[kind] = Controller.start(kind, listener.fileno(), rundir), rundir
        return made[kind]

    yield of
    listener.close()
    for controller, _ in made.values():
        controller.close()


def test_it_ends_when_its_parent_does(kind: Kind, tmp_path: Path) -> None:
    program = (
        "import os, signal, socket, sys, pathlib\n"
        "from shadowsim.network.emulated.controllers import Controller\n"
        "made = socket.create_server(('127.0.0.1', 0))\n"
        "rundir = pathlib.Path(sys.argv[2])\n"
        "print(Controller.start(sys.argv[1], made.fileno(), rundir).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, kind, str(tmp_path)], capture_output=True, text=True
    )
    pid = int(done.stdout)
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert done.returncode == -signal.SIGKILL


def test_closing_twice_leaves_nothing(kind: Kind, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as made:
        controller = Controller.start(kind, made.fileno(), tmp_path)
        controller.close()
        controller.close()
    assert not controller.alive and not (tmp_path / "ctl.sock").exists()
    assert not Path(f"/proc/{controller.pid}").exists()


def test_a_long_path_is_no_obstacle(kind: Kind, tmp_path: Path) -> None:
    rundir = tmp_path / ("x" * 120)
    rundir.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as made:
        controller = Controller.start(kind, made.fileno(), rundir)
        assert controller.state().switches == {}
        controller.close()


def test_a_library_that_is_missing_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(controllers, "LIBRARIES", {"ryu": "no_such_ryu"})
    with pytest.raises(MachineLacks, match="make setup-emulated"):
        Controller.start("ryu", 0, tmp_path)


def test_one_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit('it is broken')")
    monkeypatch.setattr(controllers, "LAUNCH", tmp_path / "broken.py")
    said = pytest.raises(ControllerGone, match="it is broken")
    with socket.create_server(("127.0.0.1", 0)) as made, said:
        Controller.start("ryu", made.fileno(), tmp_path)


def test_meters_change_with_what_they_limit(controller: Controller) -> None:
    plain = told(rules(routed(DIAMOND)))[1]
    for epoch, meters in enumerate([(Meter(1, 500, 240),), (Meter(1, 700, 240), Meter(2, 1, 240)),
                                    (Meter(2, 1, 240),), ()], 1):  # fmt: skip
        used = {meter.id for meter in meters}
        flows = tuple(
            flow._replace(meter=dict(flow.match)["reg0"]) if flow.table == 4
            and dict(flow.match)["reg0"] in used else flow._replace(meter=None)
            for flow in plain.flows
        )  # fmt: skip
        wanted = {1: Rules(1, flows, plain.groups, meters)}
        install(controller, epoch, wanted)
        assert held(controller, wanted)
