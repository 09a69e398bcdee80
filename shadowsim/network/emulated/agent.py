"""Requests of one client to a network of its own: the only part of shadowsim that is root.

Run as pid 1 of fresh namespaces, so that the kernel takes down with it all that it ever made:
`unshare --net --pid --mount --fork --kill-child --mount-proc python3 -I agent.py RUNDIR UID GID`.
It runs on the system's own Python, where neither shadowsim nor its libraries are installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any


def _alone() -> None:
    """Let the files beside this one be imported by their names, and nothing else of shadowsim."""
    for name in ("shadowsim", "shadowsim.network", "shadowsim.network.emulated"):
        package = types.ModuleType(name)
        package.__path__ = []
        sys.modules[name] = package
    sys.modules["shadowsim.network.emulated"].__path__ = [str(Path(__file__).resolve().parent)]


if __name__ == "__main__" and not TYPE_CHECKING:
    sys.dont_write_bytecode = True
    _alone()

from shadowsim.network.emulated.daemons import Daemons, Failed, keep_watch  # noqa: E402
from shadowsim.network.emulated.framing import Channel, Closed, Garbled, TooLong  # noqa: E402
from shadowsim.network.emulated.inside import bring_up, open_listener, without_ipv6  # noqa: E402
from shadowsim.network.emulated.lab import Lab  # noqa: E402
from shadowsim.network.emulated.nodes import CONTROLLER_PORT  # noqa: E402
from shadowsim.network.emulated.streams import (  # noqa: E402
    Receivers,
    dial_in,
    listen_in,
    ping,
    start_redis,
)
from shadowsim.network.emulated.verbs import Refused, check_request  # noqa: E402

WAIT_FOR_CLIENT_S = 15.0
SEND_S = 30.0
OVS_HOME = Path("/run/openvswitch")
MS_NOSUID, MS_NODEV = 2, 4

Answer = tuple[dict[str, object], list[int]]


class Agent:
    """The network, and one method per verb: checked fields to an answer and its files."""

    def __init__(self, rundir: Path, owner: tuple[int, int], daemons: Daemons) -> None:
        self.rundir, self.owner, self.daemons = rundir, owner, daemons
        self.lab = Lab()
        self.receivers = Receivers(self.lab)
        self.listening: socket.socket | None = None

    def answer(self, request: dict[str, Any], channel: Channel) -> bool:
        """Do what is asked and reply; returns whether to go on. Raises Closed."""
        reply: dict[str, object]
        fds: list[int] = []
        own: list[socket.socket] = []
        go_on = True
        try:
            verb, fields = check_request(request)
            go_on = verb != "stop"
            reply, fds = getattr(self, f"do_{verb}")(own, **fields)
        except (Refused, Failed) as refused:
            reply = {"ok": False, "error": str(refused)}
        except Exception as error:
            traceback.print_exc()
            reply = {"ok": False, "error": f"the agent could not do that: {error}"}
        channel.connection.settimeout(SEND_S)
        channel.send({"ok": True, **reply}, fds)
        for one in own:
            one.close()
        return go_on

    def do_build(self, _: list[socket.socket], **fields: Any) -> Answer:
        cables = self.lab.build(fields["switches"], fields["hosts"], fields["cables"])
        return {}, [fd for cable in cables for fd in cable.fds]

    def do_remove(self, _: list[socket.socket], switches: list[int], hosts: list[int]) -> Answer:
        self.lab.remove(switches, hosts)
        self.receivers.forget(hosts)
        return {}, []

    def do_taps(self, _: list[socket.socket]) -> Answer:
        cables = self.lab.cables
        return {"cables": [cable.ends for cable in cables]}, [f for c in cables for f in c.fds]

    def do_extra(self, _: list[socket.socket], switch: int, name: str) -> Answer:
        return {}, [self.lab.extra(switch, name)]

    def do_sockets(self, own: list[socket.socket], flows: list[dict[str, Any]]) -> Answer:
        senders, receivers, new = self.receivers.open(flows)
        own += senders
        fresh = self.receivers.sockets[len(self.receivers.sockets) - new :]
        fds = [made.fileno() for made in [*senders, *fresh] if made is not None]
        return {"senders": len(senders), "receivers": receivers}, fds

    def do_receivers(self, _: list[socket.socket]) -> Answer:
        there = {
            number: key
            for key, number in sorted(self.receivers.number.items(), key=lambda item: item[1])
        }
        made = [self.receivers.sockets[number] for number in there]
        rows = [[number, *key] for number, key in there.items()]
        return {"receivers": rows}, [one.fileno() for one in made if one is not None]

    def do_listener(self, _: list[socket.socket]) -> Answer:
        if self.listening is None:
            self.listening = open_listener(CONTROLLER_PORT)
        return {}, [self.listening.fileno()]

    def do_power(self, _: list[socket.socket], switch: int, on: bool) -> Answer:
        self.lab.power(switch, on)
        return {}, []

    def do_control(self, _: list[socket.socket], switch: int, on: bool) -> Answer:
        self.lab.control(switch, on)
        return {}, []

    def do_status(self, _: list[socket.socket]) -> Answer:
        return {
            "daemons": [daemon.status() for daemon in self.daemons.all.values()],
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "cores": os.cpu_count(),
            "switches": len(self.lab.switches),
            "hosts": len(self.lab.hosts),
        }, []

    def do_ping(self, _: list[socket.socket], source: int, destination: int, count: int) -> Answer:
        return ping(self.lab.host(source), self.lab.host(destination), count), []

    def do_service(self, _: list[socket.socket], **fields: Any) -> Answer:
        host, source_port = self.lab.host(fields["host"]), fields.get("source_port")
        if fields["primary"] != (source_port is None):
            raise Refused("service: a replica, and only a replica, needs a source_port")
        index, port = fields["host"], fields["port"]
        process = start_redis(
            host, index, self.rundir, self.owner, self.daemons.log, port, source_port
        )
        return {"pid": process.pid}, []

    def do_dial(self, own: list[socket.socket], host: int, port: int) -> Answer:
        own.append(dial_in(self.lab.host(host), host, port))
        return {}, [own[0].fileno()]

    def do_hear(self, own: list[socket.socket], host: int, port: int) -> Answer:
        own.append(listen_in(self.lab.host(host), host, port))
        return {}, [own[0].fileno()]

    def do_kill(self, _: list[socket.socket], what: str, signal: int) -> Answer:
        self.daemons.signal(what, signal)
        return {}, []

    def do_stop(self, _: list[socket.socket]) -> Answer:
        return {}, []


def serve(agent: Agent, channel: Channel) -> None:
    """Answer until the client goes away or says stop."""
    go_on = True
    while go_on:
        channel.connection.settimeout(1.0)
        try:
            go_on = agent.answer(channel.receive_line(), channel)
        except TimeoutError:
            pass  # nothing asked; the dead are buried all the same
        except Garbled as error:
            channel.send({"ok": False, "error": str(error)})
            go_on = not isinstance(error, TooLong)
        except Closed:
            return
        _bury_orphans()


def _bury_orphans() -> None:
    """Reap, as pid 1 must; no child is being waited for elsewhere in this thread now."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def wait_for_client(listening: socket.socket, owner_uid: int) -> socket.socket:
    """The first connection from the owner or root; others are closed. Raises TimeoutError."""
    until_s = time.monotonic() + WAIT_FOR_CLIENT_S
    while True:
        listening.settimeout(max(until_s - time.monotonic(), 0.001))
        client, _ = listening.accept()
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("3i", credentials)[1] in (owner_uid, 0):
            return client
        client.close()


def listen_as_owner(path: Path, owner: tuple[int, int]) -> socket.socket:
    """A Unix socket that belongs to the owner, who alone may open it."""
    os.setegid(owner[1])
    os.seteuid(owner[0])
    try:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(4)
    finally:
        os.seteuid(0)
        os.setegid(0)
    return listening


def private_folder(rundir: Path, owner: tuple[int, int]) -> Path:
    """A tmpfs of this mount namespace where Open vSwitch's programs look for each other."""
    home = OVS_HOME
    if not home.is_dir():  # its service never ran here, and this machine shall stay as it is
        home = rundir / "ovs"
        home.mkdir(mode=0o700)
        os.chown(home, *owner, follow_symlinks=False)  # who can then remove it
        os.environ["OVS_RUNDIR"] = str(home)
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(b"tmpfs", bytes(home), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=0755")
    if done != 0:
        raise OSError(ctypes.get_errno(), f"mount on {home}")
    return home


def check_place(argv: Sequence[str]) -> tuple[Path, tuple[int, int]]:
    """The arguments, if this process is where it must be. Raises Refused."""
    if os.getuid() != 0 or os.getpid() != 1:
        raise Refused("the agent must be root and pid 1 of namespaces of its own")
    if len(argv) != 3 or not all(part.isascii() and part.isdigit() for part in argv[1:]):
        raise Refused("the agent wants RUNDIR UID GID")
    rundir, uid, gid = Path(argv[0]), int(argv[1]), int(argv[2])
    found = rundir.lstat()
    mine = found.st_uid == uid and found.st_mode & 0o777 == 0o700
    if not (rundir.is_absolute() and rundir.is_dir() and not rundir.is_symlink() and mine):
        raise Refused(f"{rundir} must be a folder of user {uid} with mode 0700")
    return rundir, (uid, gid)


def prepare_process() -> None:
    """Limits, environment and signals of pid 1, for itself and its children."""
    os.umask(0o077)
    os.chdir("/")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ.clear()
    os.environ.update(PATH="/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", LANG="C")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def main(argv: Sequence[str]) -> None:
    """Come up, serve one client, and end with everything."""
    rundir, owner = check_place(argv)
    prepare_process()
    listening = listen_as_owner(rundir / "agent.sock", owner)
    daemons = Daemons(private_folder(rundir, owner), rundir, owner, sys.stderr.fileno())
    without_ipv6()
    bring_up("lo")
    client = wait_for_client(listening, owner[0])
    listening.close()
    channel = Channel(client)
    try:
        daemons.start()
        agent = Agent(rundir, owner, daemons)
    except (Failed, OSError) as error:
        channel.send({"ok": False, "error": str(error)})
        return

    ending = threading.RLock()  # both threads may want to end, and a signal may interrupt one

    def end() -> None:
        with ending:
            daemons.ending = True
            agent.lab.demolish()  # all devices at once; else each socket on one takes its time
            daemons.stop(0.5)
            os._exit(0)

    signal.signal(signal.SIGTERM, lambda *_: end())
    keep_watch(daemons, client.fileno(), end)
    channel.send({"ok": True, "agent": 1})
    with contextlib.suppress(Closed, OSError):
        serve(agent, channel)
    end()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Refused, Failed, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"shadowsim agent: {error}")
