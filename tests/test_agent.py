"""The agent: what it builds is real, what it refuses it does not do, and nothing outlives it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import measured
import pytest
from emulation import devices, holders, members, namespace, needs_emulation, run_in

from shadowsim.errors import BadInput, MachineLacks
from shadowsim.network.emulated import client, rundir, spawning
from shadowsim.network.emulated.client import (
    Agent,
    AgentDied,
    AgentRefused,
    Flow,
    NewHost,
    NewSwitch,
)
from shadowsim.network.emulated.framing import Channel, Closed
from shadowsim.network.emulated.rundir import RunDir
from shadowsim.network.emulated.verbs import Refused, check_request

SWITCHES = [NewSwitch(i, 3) for i in range(3)]
HOSTS = [NewHost(i, i, f"10.0.{i}.2", f"10.0.{i}.1") for i in range(3)]
CABLES = [
    *((("host", i, 0), ("switch", i, 1)) for i in range(3)),
    *((("switch", i, 2), ("switch", (i + 1) % 3, 3)) for i in range(3)),
]
SO_NETNS_COOKIE = 71


def close_all(fds):
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def wait_until(holds, within_s=5.0):
    until_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


@contextlib.contextmanager
def agent_for(name="test"):
    folder = RunDir.make(name)
    try:
        with Agent.start(folder.path) as agent:
            yield agent
    finally:
        folder.remove()


@contextlib.contextmanager
def on_this_python(folder):
    """Agents are started on the Python of the tests, so that coverage sees them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            spawning, "SYSTEM_PYTHON", measured.python(folder, "thread", measured.MININET)
        )
        patched.setattr(client, "missing", lambda: ())
        yield


@pytest.fixture(scope="module")
def triangle(tmp_path_factory):
    """An agent with three switches in a ring and a host at each, and the files of its cables."""
    with contextlib.ExitStack() as ending:
        with contextlib.ExitStack() as starting:
            if measured.wanted():
                starting.enter_context(on_this_python(tmp_path_factory.mktemp("measured")))
            agent = ending.enter_context(agent_for())
        cables = agent.build(SWITCHES, HOSTS, CABLES)
        yield agent, cables
        close_all(fd for pair in cables for fd in pair)


class Relay(threading.Thread):
    """Wires: whatever comes out of one side of a cable goes into the other."""

    def __init__(self, pairs):
        super().__init__(daemon=True)
        self.other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
        self.frames: list[bytes] = []
        self.over = False

    def run(self):
        while not self.over:
            for fd in select.select(list(self.other), [], [], 0.05)[0]:
                with contextlib.suppress(BlockingIOError):
                    frame = os.read(fd, 65536)
                    self.frames.append(frame)
                    with contextlib.suppress(OSError):
                        os.write(self.other[fd], frame)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()


def answered(agent, count):
    """A ping from host 0 to host 1 of which all is answered; each answer has a second to come."""
    found = []

    def all_came():
        found.append(agent.ping(0, 1, count))
        return found[-1].received == count

    assert wait_until(all_came, 60)
    return found[-1]


def let_through(agent):
    """Rules on switches 0 and 1, so that hosts 0 and 1 reach each other."""
    for here, host_mac, out in ((0, "02:01:00:00:00:00", 2), (1, "02:01:00:00:00:01", 3)):
        for flow in (
            f"in_port=1,actions=output:{out}",
            f"in_port={out},actions=set_field:{host_mac}->eth_dst,output:1",
        ):
            run_in(agent.pid, "ovs-ofctl", "-O", "OpenFlow13", "add-flow", f"s{here}", flow)


# ---- what is built is real


@needs_emulation
def test_frames_pass_between_hosts_over_the_tap_files(triangle):
    agent, cables = triangle
    assert agent.ping(0, 1).received == 0
    let_through(agent)
    with Relay(cables) as relay:
        answer = answered(agent, 5)
    assert (answer.sent, answer.received, len(answer.rtts_ms)) == (5, 5, 5)
    assert {frame[:6].hex(":") for frame in relay.frames} == {
        "02:00:00:00:00:01", "02:01:00:00:00:00", "02:01:00:00:00:01",
    }  # fmt: skip
    assert all(frame[12:14] == b"\x08\x00" for frame in relay.frames)  # neither ARP nor IPv6


@needs_emulation
def test_bridges_and_hosts_are_as_agreed(triangle):
    agent, _ = triangle
    for i in range(3):
        get = ("ovs-vsctl", "--bare", "get")
        assert f"{i + 1:016x}" in run_in(agent.pid, *get, "bridge", f"s{i}", "datapath_id")
        for port in (1, 2, 3):
            found = run_in(agent.pid, *get, "interface", f"s{i}-p{port}", "ofport")
            assert int(found) == port
    columns = "fail_mode,protocols,datapath_type,other_config"
    bridge = run_in(agent.pid, "ovs-vsctl", "--columns", columns, "list", "bridge", "s1")
    for word in ("secure", "OpenFlow13", "netdev", 'disable-in-band="true"'):
        assert word in bridge
    controller = run_in(agent.pid, "ovs-vsctl", "list", "controller", "s1")
    assert '"tcp:127.0.0.1:6653"' in controller
    assert devices(agent.pid) >= {"lo", "s0", "s0-p1", "s2-p3"}
    assert not {"s0", "s0-p1"} & devices()  # not where we are


@needs_emulation
def test_a_failed_build_leaves_nothing_and_its_names_are_free_again(triangle):
    agent, _ = triangle
    before = devices(agent.pid)
    run_in(agent.pid, "ip", "link", "add", "s9-p1", "type", "veth", "peer", "x")  # takes the name
    with pytest.raises(AgentRefused, match="a cable's device"):
        agent.build([NewSwitch(9, 1), NewSwitch(8, 1)], [], [(("switch", 8, 1), ("switch", 9, 1))])
    run_in(agent.pid, "ip", "link", "del", "s9-p1")
    assert devices(agent.pid) == before
    assert (agent.status().switches, len(agent.taps())) == (3, len(CABLES))
    new = agent.build(
        [NewSwitch(9, 1), NewSwitch(8, 1)], [], [(("switch", 8, 1), ("switch", 9, 1))]
    )
    agent.remove([8, 9], [])
    close_all(new[0])
    assert devices(agent.pid) == before


@needs_emulation
def test_the_network_grows_and_shrinks():
    with agent_for() as agent:
        close_all(fd for pair in agent.build(SWITCHES, HOSTS, CABLES) for fd in pair)
        before, processes = devices(agent.pid), members(namespace(agent.pid, "pid"))
        agent.remove([2], [2])
        taps = agent.taps()
        assert {tap.ends for tap in taps} == {
            ends for ends in CABLES if not {("switch", 2), ("host", 2)} & {e[:2] for e in ends}
        }
        assert not {name for name in devices(agent.pid) if name.startswith("s2")}
        assert "s1-p2" not in run_in(agent.pid, "ovs-vsctl", "list-ports", "s1")
        cables = [c for c in CABLES if any(e[:2] in (("switch", 2), ("host", 2)) for e in c)]
        new = agent.build([SWITCHES[2]], [HOSTS[2]], cables)
        assert devices(agent.pid) == before
        assert len(members(namespace(agent.pid, "pid"))) == len(processes)
        let_through(agent)
        with Relay([tap.fds for tap in taps]):
            assert answered(agent, 3)
        assert len(agent.taps()) == len(CABLES)
        close_all(fd for pair in new for fd in pair)


@needs_emulation
def test_extra_ports_are_there_once(triangle):
    agent, _ = triangle
    for name, port in (("mirror", 1001), ("divert", 1002)):
        fds = [agent.extra(2, name), agent.extra(2, name)]
        found = run_in(agent.pid, "ovs-vsctl", "get", "interface", f"s2-{name}", "ofport")
        assert int(found) == port
        run_in(agent.pid, "ovs-ofctl", "-O", "OpenFlow13", "packet-out", "s2",
               f"in_port=local packet=020000000001020100000000080041 actions=output:{port}",
        )  # fmt: skip
        assert select.select(fds, [], [], 30.0)[0]
        assert os.read(fds[0], 2000).startswith(bytes.fromhex("020000000001"))
        close_all(fds)


@needs_emulation
def test_a_switch_without_power_carries_and_knows_nothing(triangle):
    agent, cables = triangle
    let_through(agent)
    with Relay(cables):
        assert answered(agent, 2)
        agent.power(0, False)
        assert agent.ping(0, 1, 2).received == 0
        assert "in_port" not in run_in(
            agent.pid, "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "s0"
        )
        agent.control(0, True)  # has power no more than before
        assert "6653" not in run_in(agent.pid, "ovs-vsctl", "get-controller", "s0")
        agent.power(0, True)
        assert "6653" in run_in(agent.pid, "ovs-vsctl", "get-controller", "s0")
        assert agent.ping(0, 1, 2).received == 0
        let_through(agent)
        assert answered(agent, 2)


@needs_emulation
def test_switches_connect_to_the_listener_and_only_while_they_may(triangle):
    agent, _ = triangle
    listener = socket.socket(fileno=agent.listener())
    again = socket.socket(fileno=agent.listener())
    assert again.getsockname() == listener.getsockname() == ("127.0.0.1", 6653)
    listener.settimeout(10.0)
    sessions = {}
    while len(sessions) < 3:
        sessions.update([greet(listener)])
    assert sorted(sessions) == [1, 2, 3]
    agent.control(1, False)
    assert wait_until(lambda: is_over(sessions[2]))
    agent.control(1, True)
    number, session = greet(listener)
    while number != 2:  # a slow machine: another one had to connect again
        session.close()
        number, session = greet(listener)
    for one in (*sessions.values(), session, listener, again):
        one.close()


HELLO, FEATURES_REQUEST = bytes.fromhex("0400000800000001"), bytes.fromhex("0405000800000002")


def greet(listener):
    """The next switch that connects and stays: its datapath number, and the connection."""
    while True:
        session = listener.accept()[0]
        session.settimeout(5.0)
        with contextlib.suppress(OSError):
            session.sendall(HELLO + FEATURES_REQUEST)
            came = b""
            while chunk := session.recv(1000):
                came += chunk
                at = came.find(bytes.fromhex("0406002000000002"))  # FEATURES_REPLY
                if 0 <= at <= len(came) - 32:
                    return int.from_bytes(came[at + 8 : at + 16], "big"), session
        session.close()


def is_over(session):
    session.setblocking(False)
    try:
        return session.recv(1000) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# ---- sockets


def open_files(agent):
    return set(Path(f"/proc/{agent.pid}/fd").iterdir())


def cookie(made):
    return struct.unpack("Q", made.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]


@needs_emulation
def test_sockets_are_made_inside_the_hosts():
    flows = [
        Flow(0, 20000, 1, 5000, "udp", 46),
        Flow(0, 20001, 1, 5000, "udp", 0),
        Flow(1, 20000, 0, 5000, "tcp", 8),
    ]
    with agent_for() as agent:
        cables = agent.build(SWITCHES, HOSTS, CABLES)
        let_through(agent)
        made = agent.sockets(flows)
        assert made.receivers == (0, 0, 1)
        senders = [socket.socket(fileno=fd) for fd in made.senders]
        udp, listener = (socket.socket(fileno=fd) for fd in made.new)
        assert [s.getsockname() for s in senders] == [
            ("10.0.0.2", 20000), ("10.0.0.2", 20001), ("10.0.1.2", 20000),
        ]  # fmt: skip
        tos = [s.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) for s in senders]
        assert tos == [46 << 2, 0, 8 << 2]
        assert senders[0].getpeername() == ("10.0.1.2", 5000)
        assert not any(os.get_blocking(s.fileno()) for s in (*senders, udp, listener))
        assert not any(os.get_inheritable(s.fileno()) for s in (*senders, udp, listener))
        assert cookie(senders[0]) == cookie(senders[1]) == cookie(listener)
        assert cookie(senders[2]) == cookie(udp)
        assert len({cookie(s) for s in (senders[0], udp, socket.socket())}) == 3
        with Relay(cables) as relay:
            senders[0].send(b"hello")
            senders[2].connect_ex(("10.0.0.2", 5000))
            assert select.select([udp, listener], [], [], 30.0)[0]
            assert wait_until(lambda: len(select.select([udp, listener], [], [], 0)[0]) == 2)
            assert udp.recvfrom(100) == (b"hello", ("10.0.0.2", 20000))
            assert listener.accept()[1] == ("10.0.1.2", 20000)
        assert {frame[15] for frame in relay.frames if frame[23] == 17} == {46 << 2}
        more = agent.sockets([Flow(2, 20000, 1, 5000, "udp", 0), Flow(2, 1, 1, 5000, "tcp", 0)])
        assert (more.receivers, len(more.new)) == ((0, 2), 1)
        agent.remove([], [0])
        again = agent.receivers()
        assert sorted(again) == [0, 2]
        close_all([*more.senders, *more.new, *again.values(), *(f for p in cables for f in p)])
        for one in (*senders, udp, listener):
            one.close()


@needs_emulation
def test_a_port_that_is_taken_is_refused_and_leaves_nothing_open(triangle):
    agent, _ = triangle
    first = agent.sockets([Flow(0, 30000, 1, 31000, "udp", 0)])
    agent.status()  # by now it has closed its copies
    before = open_files(agent)
    with pytest.raises(AgentRefused, match=r"host 0, port 30000: Address already in use"):
        agent.sockets([Flow(0, 30001, 1, 31001, "udp", 0), Flow(0, 30000, 1, 31000, "udp", 0)])
    with pytest.raises(AgentRefused, match="there is no host 7"):
        agent.sockets([Flow(0, 30001, 7, 31001, "udp", 0)])
    agent.status()
    assert open_files(agent) == before
    close_all([*first.senders, *first.new])


@needs_emulation
def test_many_sockets_at_once(triangle):
    agent, _ = triangle
    flows = [Flow(i % 3, 40000 + i, (i + 1) % 3, 9000 + i, "udp", 0) for i in range(500)]
    made = agent.sockets(flows)
    assert len(set(made.senders)) == len(set(made.new)) == 500
    for flow, sender in zip(flows, made.senders, strict=True):
        with socket.socket(fileno=sender) as one:
            assert one.getsockname()[1] == flow.source_port
    close_all(made.new)


@needs_emulation
def test_a_real_redis_runs_in_a_host_as_its_owner_and_is_replicated(triangle):
    agent, _ = triangle
    agent.service(0, 6379)
    with pytest.raises(AgentRefused, match="there is no host 9"):
        agent.service(9, 6379)
    with socket.socket(fileno=agent.dial(0, 6379)) as primary:
        primary.settimeout(3.0)
        primary.sendall(b"SET word true\r\n")
        assert primary.recv(100) == b"+OK\r\n"
        heard = socket.socket(fileno=agent.hear(1, 7000))
        agent.service(1, 6379, source_port=7000)
        heard.settimeout(5.0)
        assert heard.accept()[0].recv(100).startswith(b"*1\r\n$4\r\nPING")  # the replica calls
        heard.close()
    with pytest.raises(AgentRefused, match="host 2, port 6379: Connection refused"):
        agent.dial(2, 6379)
    with pytest.raises(AgentRefused, match="host 0, port 6379: Address already in use"):
        agent.service(0, 6379)


# ---- what it refuses

VALID = {
    "build": {
        "switches": [{"index": 50, "ports": 2}],
        "hosts": [{"index": 50, "switch": 50, "address": "10.9.0.2", "gateway": "10.9.0.1"}],
        "cables": [[["host", 50, 0], ["switch", 50, 1]]],
    },
    "remove": {"switches": [0], "hosts": [0]},
    "taps": {},
    "extra": {"switch": 0, "name": "mirror"},
    "sockets": {
        "flows": [
            {"source": 0, "source_port": 1, "destination": 1, "port": 2, "protocol": "udp",
             "dscp": 0}
        ]
    },
    "receivers": {},
    "listener": {},
    "power": {"switch": 0, "on": False},
    "control": {"switch": 0, "on": False},
    "status": {},
    "ping": {"source": 0, "destination": 1, "count": 1},
    "service": {"host": 0, "kind": "redis", "port": 6379, "primary": True, "source_port": 6380},
    "dial": {"host": 0, "port": 6379},
    "hear": {"host": 0, "port": 6379},
    "kill": {"what": "ovs-vswitchd", "signal": 9},
    "stop": {},
}  # fmt: skip
HOSTILE = [
    "", " ", "0", "-1", "; reboot", "$(reboot)", "`reboot`", "| reboot", "&& reboot", "\n", "\0",
    "../../etc/passwd", "--help", "-p", "s0 -- del-br s1", "%s%n", "'", '"', "\\", "é", "\u202e",
    "10.0.0.2/0", "10.0.0.2;reboot", "010.0.0.2", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::1",
    "{{7*7}}", "a" * 5000, "\ud800", "mirror ", "REDIS", "udp\n", "switch\0", "eth0", "lo",
    None, 1.0, 0.5, -1, 2**31, 2**63, 10**4000, 1e308, [], {}, [[]], {"index": 0}, ["x"],
]  # fmt: skip


def mutants(value):
    """Every copy of a value in which one scalar, or one container, is hostile."""
    yield from HOSTILE
    if isinstance(value, dict):
        for key in value:
            for other in mutants(value[key]):
                yield {**value, key: other}
            yield {k: v for k, v in value.items() if k != key}
        yield {**value, "cmd": "reboot"}
    elif isinstance(value, list):
        for i, one in enumerate(value):
            for other in mutants(one):
                yield [*value[:i], other, *value[i + 1 :]]
        yield [*value, "reboot"]


HARMLESS = {("remove", "switches"), ("remove", "hosts"), ("sockets", "flows"),
            ("build", "switches"), ("build", "hosts"), ("build", "cables")}  # fmt: skip


def hostile_requests():
    for verb, fields in VALID.items():
        for field in fields:
            for other in mutants(fields[field]):
                if other == [] and (verb, field) in HARMLESS:
                    continue  # an empty list is a fine list
                if type(other) is type(fields[field]) and other == fields[field]:
                    continue
                yield verb, {**fields, field: other}
            if (verb, field) != ("service", "source_port"):
                yield verb, {k: v for k, v in fields.items() if k != field}
        yield verb, {**fields, "cmd": "reboot"}
        yield verb, {**fields, "fds": 3}
    for other in HOSTILE:
        yield other, {}
    yield "do_stop", {}
    yield "__init__", {}


@needs_emulation
def test_every_bad_argument_is_refused_in_words_and_does_nothing(triangle):
    agent, _ = triangle

    def picture():
        shown = run_in(agent.pid, "ovs-vsctl", "show").splitlines()
        bridges = [line for line in shown if "is_connected" not in line]  # it is told later
        status = agent.status()
        inner = members(namespace(agent.pid, "pid"))
        restarts = [daemon.restarts for daemon in status.daemons]
        return devices(agent.pid), bridges, status.switches, status.hosts, inner, restarts

    before, asked = picture(), 0
    for verb, fields in hostile_requests():
        with pytest.raises(AgentRefused) as refused:
            agent.call(verb, **fields)
            pytest.fail(f"{verb} took {fields}")
        words = str(refused.value)
        assert 10 < len(words) < 400 and words.isascii() and "could not do that" not in words, words
        asked += 1
    assert asked > 1500
    assert picture() == before


def test_what_is_nested_deeper_than_can_be_told_is_refused_in_words():
    deep = []
    for _ in range(2 * sys.getrecursionlimit()):
        deep = [deep]
    for request in ({"verb": deep}, {"verb": "hear", "host": deep, "port": 1}):
        with pytest.raises(Refused, match="nested too deep"):
            check_request(request)


@needs_emulation
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"switches": [{"index": 0, "ports": 1}]}, "switch 0 is there already"),
        ({"switches": [{"index": 9, "ports": 1}] * 2}, "switch 9 is there already"),
        ({"hosts": [{"index": 9, "switch": 9, "address": "10.0.9.9", "gateway": "10.0.9.1"}]},
         "host 9 stands at switch 9: none there"),
        ({"hosts": [{"index": 9, "switch": 0, "address": "10.0.0.2", "gateway": "10.0.0.1"}]},
         "address 10.0.0.2 is there already"),
        ({"cables": [[["switch", 7, 1], ["switch", 0, 1]]]}, "there is none"),
        ({"cables": [[["switch", 0, 1], ["switch", 1, 1]]]}, "port 1 of switch 0 has a cable"),
        ({"cables": [[["switch", 0, 4], ["switch", 1, 4]]]}, "switch 0 has 3 ports, not 4"),
    ],
)  # fmt: skip
def test_a_build_that_does_not_fit_is_refused(triangle, wrong, words):
    agent, _ = triangle
    before = devices(agent.pid)
    with pytest.raises(AgentRefused, match=words):
        agent.call("build", **{"switches": [], "hosts": [], "cables": [], **wrong})
    assert devices(agent.pid) == before


@needs_emulation
def test_what_is_not_there_is_refused(triangle):
    agent, _ = triangle
    for verb, fields in (
        ("remove", {"switches": [9], "hosts": []}),
        ("extra", {"switch": 9, "name": "mirror"}),
        ("power", {"switch": 9, "on": True}),
        ("ping", {"source": 0, "destination": 9, "count": 1}),
        ("hear", {"host": 9, "port": 80}),
    ):
        with pytest.raises(AgentRefused, match=r"there is no (switch|host) 9"):
            agent.call(verb, **fields)
    with pytest.raises(AgentRefused, match="only a replica, needs a source_port"):
        agent.call("service", host=0, kind="redis", port=80, primary=True, source_port=81)


@needs_emulation
def test_garbage_on_the_wire_is_refused():
    folder = RunDir.make("garbage")
    agent = Agent.start(folder.path)
    try:
        wire = agent._channel.connection
        for line in (b"\n", b"reboot\n", b"[]\n", b"\xff\xfe\n", b"[" * 100000 + b"\n"):
            wire.sendall(line)
            with pytest.raises(AgentRefused, match="JSON"):
                agent._reply("garbage", 5.0)
        assert agent.status().switches == 0
        with contextlib.suppress(OSError):
            wire.sendall(b"x" * (5 << 20))
        with pytest.raises((AgentRefused, AgentDied)):
            agent._reply("garbage", 5.0)
        assert wait_until(lambda: not agent.alive)
    finally:
        agent.close()
        folder.remove()


# ---- who may talk to it


def spawn(folder, uid, gid=0):
    with (folder / "agent.log").open("ab") as log:
        return subprocess.Popen(
            [*spawning.unshare(), "/usr/bin/python3", "-I", str(spawning.AGENT_FILE), str(folder),
             str(uid), str(gid)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def connect(folder):
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(10.0)
    made.connect(str(folder / "agent.sock"))
    return made


def connect_soon(folder):
    """Its socket is there a moment before it listens."""
    found = []

    def listens():
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            found.append(connect(folder))
        return found

    assert wait_until(listens)
    return found[0]


@needs_emulation
def test_a_second_client_is_refused(triangle):
    agent, _ = triangle
    with pytest.raises(ConnectionRefusedError):
        connect(agent._rundir)
    assert agent.alive


def listens_as_owner(path):
    """Whether it is there, and is not to be given another mode any more."""
    return path.exists() and path.stat().st_mode & 0o777 == 0o600


@needs_emulation
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_sent_away_and_the_owner_is_served(tmp_path):
    folder = Path("/tmp") / f"shadowsim-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        process = spawn(folder, 0)
        assert wait_until(lambda: listens_as_owner(folder / "agent.sock"))
        folder.chmod(0o711)
        (folder / "agent.sock").chmod(0o666)
        script = (
            "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(5)\n"
            f"s.connect('{folder}/agent.sock'); print(s.recv(10))"
        )
        stranger = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3",
             "-c", script],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert stranger.stdout == "b''\n"
        with connect_soon(folder) as wire:
            assert Channel(wire).receive() == ({"ok": True, "agent": 1}, [])
        assert process.wait(5.0) == 0
    finally:
        RunDir(folder).remove()


@needs_emulation
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_the_owner_needs_belongs_to_the_owner():
    folder = Path("/tmp") / f"shadowsim-owned-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    try:
        process = spawn(folder, 65534, 65534)
        assert wait_until((folder / "agent.sock").exists)
        with connect_soon(folder) as wire:
            assert Channel(wire).receive()[0]["ok"]
            for name in ("agent.sock", "db.sock"):
                found = (folder / name).stat()
                assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65534, 0o600)
            ask = Channel(wire)
            ask.send({"verb": "build", **VALID["build"]})
            close_all(ask.receive()[1])
            ask.send(
                {"verb": "service", "host": 50, "kind": "redis", "port": 8080, "primary": True}
            )
            assert ask.receive()[0]["ok"]
            redis = [p for p in Path("/proc").glob("[0-9]*") if _is_redis_of(p, 65534)]
            assert redis
        assert process.wait(5.0) == 0
    finally:
        RunDir(folder).remove()


def _is_redis_of(process, uid):
    with contextlib.suppress(OSError):
        return (process / "comm").read_text() == "redis-server\n" and process.stat().st_uid == uid
    return False


@needs_emulation
@pytest.mark.parametrize("argv", [(), ("/", "0", "0"), ("/tmp", "x", "0"), ("relative", "0", "0")])
def test_a_wrong_place_is_refused_in_words(argv):
    done = subprocess.run(
        [*spawning.unshare(), "/usr/bin/python3", "-I", str(spawning.AGENT_FILE), *argv],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("shadowsim agent: ") and "Traceback" not in done.stderr


@needs_emulation
def test_it_refuses_to_run_where_it_could_leave_something_behind(tmp_path):
    done = subprocess.run(
        ["/usr/bin/python3", "-I", str(spawning.AGENT_FILE), str(tmp_path), "0", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "must be root and pid 1" in done.stderr


# ---- bad days


class Traces(contextlib.ExitStack):
    """What an agent has made on this machine, and whether anything of it is still there.

    Its namespaces are held open, so that nobody else's are called the same.
    """

    def __init__(self, agent):
        super().__init__()
        self.pid_namespace = namespace(agent.pid, "pid")
        inner = members(self.pid_namespace)
        self.namespaces = {namespace(pid, "net") for pid in inner}
        self.process, self.folder = agent._process, agent._rundir
        for pid in inner:
            for kind in ("pid", "net"):
                self.callback(os.close, os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY))

    def left(self):
        return [
            *members(self.pid_namespace),
            *(pid for namespace in self.namespaces for pid in holders(namespace)),
            *rundir._workers(self.folder),
        ]


def machine():
    return devices(), Path("/proc/self/mounts").read_text(), set(Path("/run").iterdir())


@needs_emulation
@pytest.mark.parametrize("how", ["agent", "unshare", "close", "stop", "term"])
def test_nothing_outlives_the_agent(how):
    before = machine()
    with contextlib.ExitStack() as ending, agent_for() as agent:
        cables = agent.build(SWITCHES, HOSTS, CABLES)
        agent.service(0, 6379)
        traces = ending.enter_context(Traces(agent))
        assert len(traces.left()) > 6 and len(traces.namespaces) == 4
        if how == "agent":
            os.kill(agent.pid, signal.SIGKILL)
        elif how == "unshare":
            os.kill(agent._process.pid, signal.SIGKILL)
        elif how == "term":
            os.kill(agent.pid, signal.SIGTERM)
        else:
            getattr(agent, how)()
        assert wait_until(lambda: not agent.alive)
        with pytest.raises(AgentDied):
            agent.status()
        assert wait_until(lambda: traces.left() == [])
        close_all(fd for pair in cables for fd in pair)
    assert machine() == before
    assert not traces.folder.exists()


MAIN = """
import sys, time
from pathlib import Path
from shadowsim.network.emulated.client import Agent, NewHost, NewSwitch
from shadowsim.network.emulated.rundir import RunDir
folder = RunDir.make("victim")
agent = Agent.start(folder.path)
agent.build([NewSwitch(0, 1)], [NewHost(0, 0, "10.0.0.2", "10.0.0.1")],
            [(("host", 0, 0), ("switch", 0, 1))])
print(folder.path, agent.pid, flush=True)
while True:
    agent.ping(0, 0, 100)
"""


@needs_emulation
def test_nothing_outlives_the_main_process_and_its_folder_is_found(monkeypatch):
    before = machine()
    with (
        tempfile.TemporaryDirectory(prefix="ss-") as place,  # in which no other test cleans up
        contextlib.ExitStack() as ending,
    ):
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        command = [sys.executable, "-c", MAIN]
        main = ending.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        folder, pid = main.stdout.readline().split()
        inside = namespace(pid, "pid")
        ending.enter_context(Path(f"/proc/{pid}/ns/pid").open("rb"))  # nobody's is called the same
        assert len(members(inside)) > 3
        assert folder not in {str(one.path) for one in rundir.leftovers()}
        main.kill()
        assert wait_until(lambda: not members(inside))
        assert folder in {str(one.path) for one in rundir.leftovers()}
        assert folder in {str(one.path) for one in rundir.clean()}
        assert not Path(folder).exists() and machine() == before


@needs_emulation
@pytest.mark.parametrize("number", [9, 15])
@pytest.mark.parametrize("what", ["ovsdb-server", "ovs-vswitchd"])
def test_a_daemon_that_dies_is_started_again(triangle, what, number):
    agent, cables = triangle

    def daemon():
        return next(one for one in agent.status().daemons if one.name == what)

    before = daemon()
    agent.kill(what, number)
    assert wait_until(lambda: daemon().restarts == before.restarts + 1 and daemon().alive)
    assert wait_until(lambda: "s2-p3" in devices(agent.pid))
    run_in(
        agent.pid,
        "ovs-vsctl",
        "--retry",
        "-t",
        "60",
        "set",
        "bridge",
        "s0",
        f"external_ids:a={number}",
    )
    let_through(agent)
    with Relay(cables):
        assert answered(agent, 2)
    assert (agent._rundir / "db.sock").stat().st_mode & 0o777 == 0o600


@needs_emulation
def test_a_daemon_that_is_stopped_is_seen_and_does_not_hinder_the_end():
    with agent_for() as agent:
        close_all(fd for pair in agent.build(SWITCHES, HOSTS, CABLES) for fd in pair)
        agent.kill("ovs-vswitchd", 19)
        assert wait_until(lambda: agent.status().daemons[1].state in "Tt")
        agent.kill("ovs-vswitchd", 18)
        assert wait_until(lambda: agent.status().daemons[1].state in "SRD")
        agent.kill("ovs-vswitchd", 19)
        threading.Thread(target=lambda: _try(lambda: agent.control(0, False))).start()
        time.sleep(0.1)  # that call is stuck now
        agent.close()
        assert agent._process.returncode == 0  # one that is hindered is killed


def ends_by_itself(agent):
    """As it does when whoever made it goes, with nobody there to kill it if that takes too long."""
    agent._channel.connection.shutdown(socket.SHUT_RDWR)
    assert agent._process.wait(60) == 0
    agent.close()


def _try(call):
    with contextlib.suppress(AgentDied):
        call()


@needs_emulation
def test_a_call_that_takes_too_long_ends_the_agent_in_words(triangle):
    with agent_for() as agent:
        os.kill(agent.pid, signal.SIGSTOP)
        with pytest.raises(AgentDied, match="did not answer in time"):
            agent.call("status", 0.2)
        assert not agent.alive


@needs_emulation
def test_an_interrupted_call_ends_the_agent_so_that_no_reply_is_taken_for_another(monkeypatch):
    with agent_for() as agent:

        def interrupted():
            raise KeyboardInterrupt

        monkeypatch.setattr(agent._channel, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            agent.status()
        monkeypatch.undo()
        with pytest.raises(AgentDied, match="closed"):
            agent.taps()
        assert not agent.alive


@needs_emulation
def test_two_agents_do_not_meet():
    with agent_for("production") as one, agent_for("shadow") as other:
        for agent in (one, other):
            close_all(fd for pair in agent.build(SWITCHES, HOSTS, CABLES) for fd in pair)
        listeners = [socket.socket(fileno=agent.listener()) for agent in (one, other)]
        assert len({cookie(made) for made in listeners}) == 2
        one.remove([0], [0])
        assert (one.status().switches, other.status().switches) == (2, 3)
        one.close()
        assert other.ping(0, 0, 1).received == 1
        for made in listeners:
            made.close()


def fat_tree():
    """A k=4 fat tree: 20 switches, 16 hosts, 48 cables."""
    free = [0] * 20
    cables = []

    def port(switch):
        free[switch] += 1
        return ("switch", switch, free[switch])

    for edge in range(8):
        cables += [(("host", 2 * edge + n, 0), port(edge)) for n in range(2)]
        cables += [(port(edge), port(8 + edge // 2 * 2 + n)) for n in range(2)]
    cables += [(port(8 + a), port(16 + a % 2 * 2 + n)) for a in range(8) for n in range(2)]
    hosts = [
        NewHost(h, h // 2, f"10.0.{h // 2}.{h % 2 + 2}", f"10.0.{h // 2}.1") for h in range(16)
    ]
    return [NewSwitch(i, 4) for i in range(20)], hosts, cables


@needs_emulation
def test_two_fat_trees_come_and_go_by_themselves():
    """How fast they do is measured by `shadowsim bench emulated`."""
    with agent_for("production") as one, agent_for("shadow") as other:
        for agent in (one, other):
            cables = agent.build(*fat_tree())
            assert len(cables) == 48
            close_all(fd for pair in cables for fd in pair)
        for agent in (one, other):
            ends_by_itself(agent)


# ---- folders


def test_a_folder_is_private_and_short_and_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path) if len(str(tmp_path)) < 60 else "/nowhere")
    one, other = RunDir.make("production"), RunDir.make("production")
    assert one.path != other.path
    assert one.path.stat().st_mode & 0o777 == 0o700
    assert len(str(one.path / "controller.sock")) < 100
    assert str(os.getpid()) in one.path.name
    assert not {one.path, other.path} & {left.path for left in rundir.leftovers()}
    for folder in (one, other, one):
        folder.remove()
        assert not folder.path.exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 17, "A", "a-b", "a\n"])
def test_a_folder_has_a_plain_name(name):
    with pytest.raises(BadInput, match="name"):
        RunDir.make(name)


def test_a_place_that_others_could_enter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "base", lambda: tmp_path / "base")
    (tmp_path / "base").mkdir(mode=0o755)
    with pytest.raises(MachineLacks, match="mode 0700"):
        RunDir.make("a")
    (tmp_path / "base").rmdir()
    (tmp_path / "base").symlink_to(tmp_path)
    for call in (lambda: RunDir.make("a"), rundir.leftovers):
        with pytest.raises(MachineLacks, match="mode 0700"):
            call()


@pytest.mark.parametrize("call", [lambda: RunDir.make("a"), rundir.leftovers])
def test_a_place_that_others_take_away_meanwhile_is_no_mistake(tmp_path, monkeypatch, call):
    """The last of them removes it between any two looks at it."""
    place = tmp_path / "base"
    monkeypatch.setattr(rundir, "base", lambda: place)
    monkeypatch.setattr(rundir, "RUNTIME", tmp_path / "nowhere")
    monkeypatch.setattr(rundir, "FALLBACK", tmp_path / "nowhere")

    def gone(look, times):
        left = [place] * times

        def looked(path):
            if path in left:
                left.remove(path)
                path.rmdir()
            return look(path)

        return looked

    place.mkdir(mode=0o700)
    monkeypatch.setattr(Path, "lstat", gone(Path.lstat, 2))
    monkeypatch.setattr(Path, "iterdir", gone(Path.iterdir, 1))
    found = call()
    assert found.path.parent == place if isinstance(found, RunDir) else found == []


def test_only_the_one_that_is_meant_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "base", lambda: tmp_path / "base")
    base = RunDir.make("alive").path.parent
    mine, other = base / f"mine-{os.getpid()}-1-0", base / f"other-{os.getpid()}-1-0"
    for folder in (mine, other):
        folder.mkdir()
    assert rundir.has_ended(mine) and not rundir.has_ended(next(base.glob("alive*")))
    rundir.remove_dead(mine)
    rundir.remove_dead(mine)
    rundir.Tenant.of(mine).leave()  # who comes too late
    assert other.exists() and not mine.exists() and len(list(base.iterdir())) == 2


def test_only_what_is_ours_and_dead_is_cleaned(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "base", lambda: tmp_path / "base")
    monkeypatch.setattr(rundir, "RUNTIME", tmp_path / "nowhere")
    monkeypatch.setattr(rundir, "FALLBACK", tmp_path / "nowhere")
    assert rundir.leftovers() == []
    alive = RunDir.make("alive").path
    base = alive.parent
    dead = base / f"dead-{os.getpid()}-1-0"  # our number, but another process had it then
    others = [base / "notes", base / "dead-x-1-0", base / "linked-1-1-0"]
    dead.mkdir()
    (dead / "agent.log").write_text("words")
    others[0].mkdir()
    others[1].write_text("not a folder")
    others[2].symlink_to(tmp_path)
    sleeper = subprocess.Popen(["sleep", "60", str(dead)], stderr=subprocess.DEVNULL)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(dead)])
    script = tmp_path / "shadowsim/network/emulated/agent.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time; time.sleep(60)")
    worker = subprocess.Popen([sys.executable, str(script), str(dead), "0", "0"])
    assert wait_until(lambda: rundir.leftovers() == [rundir.Leftover(dead, (worker.pid,))])
    tenant = rundir.Tenant.of(dead)  # a guardian, say
    rundir.remove_dead(dead)
    rundir.remove_dead(alive)
    assert rundir.clean() == [] and worker.poll() is None and not rundir.has_ended(dead)
    tenant.leave()
    rundir.clean()
    assert worker.wait(5.0) == -9
    assert bystander.poll() is None
    assert not dead.exists() and alive.exists() and all(map(os.path.lexists, others))
    for process in (bystander, sleeper):
        process.kill()
        process.wait()


# ---- what the machine lacks


def test_a_machine_that_lacks_something_is_told_what_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(spawning, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(spawning, "SYSTEM_PYTHON", str(tmp_path / "python3"))
    with pytest.raises(MachineLacks) as lacks:
        Agent.start(tmp_path)
    for word in ("ovs-vswitchd", "unshare", "Mininet for", "make setup-emulated"):
        assert word in str(lacks.value)
    assert list(tmp_path.iterdir()) == []


def test_no_root_and_no_sudo_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(spawning.os, "geteuid", lambda: 12345)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "root, or sudo without a password (`sudo -n`)" in spawning.missing()


# ---- the wire


def test_many_files_travel_in_order():
    here, there = (Channel(one) for one in socket.socketpair())
    fds = [os.memfd_create(str(n)) for n in range(777)]
    sender = threading.Thread(target=here.send, args=({"ok": True}, fds))
    sender.start()
    there.connection.settimeout(5.0)
    message, came = there.receive()
    sender.join()
    assert message == {"ok": True}
    assert [
        Path(f"/proc/self/fd/{fd}").readlink().name.split(":")[1].split()[0] for fd in came
    ] == [str(n) for n in range(777)]
    assert not any(os.get_inheritable(fd) for fd in came)
    close_all([*fds, *came])
    here.close()
    with pytest.raises(Closed):
        there.receive()
    there.close()
