"""A private folder to a pair of Open vSwitch daemons that is kept alive.

The agent runs this file on the system's own Python: standard library only, from 3.10.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
DATABASE, VSWITCHD = "ovsdb-server", "ovs-vswitchd"
QUIET = ("--pidfile", "-vconsole:warn", "-vsyslog:off", "-vfile:off")
UP_S = 15.0  # a fraction of a second, unless the machine has much else to do
TICK_HZ = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """A program did not do what was asked of it; the message says which, and its last words."""


def run(argv: Sequence[str], *, text: str | None = None, within_s: float = 30.0) -> str:
    """Run a program to its end, without a shell, and return what it wrote. Raises Failed."""
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, check=False, timeout=within_s
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{argv[0]} did not end within {within_s:g} s") from None
    except OSError as error:
        raise Failed(f"{argv[0]}: {error.strerror}") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-400:]
        raise Failed(f"{argv[0]}: {words or 'it was not done in time'}")
    return done.stdout


# ovs-vswitchd makes room for 32 packets of the MTU at every look at a port; without this the C
# library returns that memory each time, and page faults take a whole core.
MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1073741824:glibc.malloc.top_pad=16777216"
    ":glibc.malloc.tcache_max=65536:glibc.malloc.tcache_count=127"
}
URGENT = -15  # niceness of what forwards packets


@dataclass
class Daemon:
    """One program that shall always run."""

    name: str
    argv: tuple[str, ...]
    log: int
    restarts: int = 0
    process: subprocess.Popen[bytes] | None = None
    watch: int = -1
    started_s: float = 0.0
    quick_deaths: int = 0

    def start(self) -> None:
        """Start it; `watch` becomes readable when it dies."""
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, **MEMORY},
        )
        with contextlib.suppress(OSError):  # where it waits for a core, all latencies grow
            os.setpriority(os.PRIO_PROCESS, self.process.pid, URGENT)
        self.watch = os.pidfd_open(self.process.pid)
        self.started_s = time.monotonic()

    def bury(self) -> float:
        """Forget the dead process; returns how many seconds to wait before the next start."""
        if self.watch >= 0:
            os.close(self.watch)
        self.watch = -1
        if self.process is not None:
            self.process.wait()
        lived_s = time.monotonic() - self.started_s
        self.quick_deaths = self.quick_deaths + 1 if lived_s < 1.0 else 0
        return min(0.05 * 2**self.quick_deaths, 2.0) if self.quick_deaths else 0.0

    def status(self) -> dict[str, object]:
        """What the kernel knows about it; `state` as in proc(5)."""
        state, cpu_s, rss_bytes = "X", 0.0, 0
        with contextlib.suppress(OSError, IndexError, ValueError):
            pid = self.process.pid if self.process is not None else 0
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s, rss_bytes = (int(words[11]) + int(words[12])) / TICK_HZ, int(words[21])
            state = words[0]
        return {
            "name": self.name,
            "cpu_s": cpu_s,
            "rss_bytes": rss_bytes * PAGE_BYTES,
            "restarts": self.restarts,
            "alive": state not in "XZ",
            "state": state,
        }


@dataclass
class Daemons:
    """ovsdb-server and ovs-vswitchd of this namespace, their files in `home` (a private tmpfs).

    The database can also be reached through `rundir/db.sock`, which belongs to the owner.
    """

    home: Path
    rundir: Path
    owner: tuple[int, int]
    log: int
    all: dict[str, Daemon] = field(default_factory=dict)
    ending: bool = False

    def start(self) -> None:
        """Make an empty database and start both. Raises Failed."""
        database, remote = self.home / "conf.db", f"punix:{self.home}/db.sock"
        run(["ovsdb-tool", "create", str(database), SCHEMA])
        remotes = (f"--remote={remote}", f"--remote=punix:{self.rundir}/db.sock")
        vswitchd = (VSWITCHD, remote[1:], *QUIET, "--disable-system")
        self.all = {
            DATABASE: Daemon(DATABASE, (DATABASE, str(database), *remotes, *QUIET), self.log),
            VSWITCHD: Daemon(VSWITCHD, vswitchd, self.log),
        }
        self._start(DATABASE)
        run(["ovs-vsctl", "--retry", "--no-wait", "-t", "10", "init"])
        self._start(VSWITCHD)

    def watch(self, client: int, gone: Callable[[], None]) -> None:
        """Start again what dies, until the client goes away: then call `gone`. For a thread."""
        while not self.ending:
            poll = select.poll()
            poll.register(client, select.POLLRDHUP)
            by_watch = {daemon.watch: daemon for daemon in self.all.values() if daemon.watch >= 0}
            for watch in by_watch:
                poll.register(watch, select.POLLIN)
            for ready, _ in poll.poll(None if len(by_watch) == len(self.all) else 500):
                if ready == client:
                    gone()
                elif not self.ending:
                    self._start_again(by_watch[ready])
            for daemon in self.all.values():
                if daemon.watch < 0 and not self.ending:  # it could not even be started
                    self._start_again(daemon)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to one of them."""
        process = self.all[name].process
        if process is not None:
            os.kill(process.pid, number)

    def stop(self, within_s: float) -> None:
        """End both, politely first."""
        self.ending = True
        processes = [d.process for d in self.all.values() if d.process is not None]
        for process in processes:
            process.terminate()
        until_s = time.monotonic() + within_s
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(until_s - time.monotonic(), 0.01))
                continue
            process.kill()

    def _start(self, name: str) -> None:
        self.all[name].start()
        if name == DATABASE:
            self._hand_over()

    def _start_again(self, daemon: Daemon) -> None:
        time.sleep(daemon.bury())
        with contextlib.suppress(OSError):
            (self.home / f"{daemon.name}.pid").unlink()
        try:
            self._start(daemon.name)
        except (Failed, OSError) as error:
            os.write(self.log, f"starting {daemon.name} again: {error}\n".encode())
        daemon.restarts += 1

    def _hand_over(self) -> None:
        """Wait until the database's sockets are there, and give the owner its own."""
        inner, outer = self.home / "db.sock", self.rundir / "db.sock"
        until_s = time.monotonic() + UP_S
        while not (_answers(inner) and _answers(outer) and _give(outer, *self.owner)):
            if time.monotonic() > until_s:
                raise Failed("ovsdb-server does not come up; see its log")
            time.sleep(0.005)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _give(path: Path, uid: int, gid: int) -> bool:
    """Give a socket of root's to somebody; never anything that a link leads to."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_nlink != 1 or found.st_uid != 0:
            return False
        itself = Path(f"/proc/self/fd/{fd}")
        itself.chmod(0o600)
        os.chown(itself, uid, gid)
    finally:
        os.close(fd)
    return True


def keep_watch(daemons: Daemons, client: int, gone: Callable[[], None]) -> threading.Thread:
    """Watch in a thread of its own, so that a long request delays no restart."""
    thread = threading.Thread(target=daemons.watch, args=(client, gone), daemon=True)
    thread.start()
    return thread
