"""A folder to an agent that is root in namespaces of its own, or to what a machine lacks for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

AGENT_FILE = Path(__file__).resolve().with_name("agent.py")
SYSTEM_PYTHON = "/usr/bin/python3"
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = (
    *("unshare", "ip", "mnexec", "ping"),
    *("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl"),
)
REMEDY = "`make setup-emulated` gets it"
END_S = 4.0


def missing() -> tuple[str, ...]:
    """What this machine lacks for an agent, in words; nothing if one can be started."""
    lacks = [f"the program {name}" for name in PROGRAMS if not shutil.which(name, path=SYSTEM_PATH)]
    if not Path("/dev/net/tun").exists():
        lacks.append("TAP devices (/dev/net/tun)")
    find = "import importlib.util as u; raise SystemExit(not u.find_spec('mininet.net'))"
    if not _runs(SYSTEM_PYTHON, "-I", "-c", find):
        lacks.append(f"Mininet for {SYSTEM_PYTHON}")
    if not _runs(*_as_root("true")):
        lacks.append("root, or sudo without a password (`sudo -n`)")
    elif not lacks and not _runs(*_as_root(*unshare(), "true")):
        lacks.append("the right to make namespaces (unshare)")
    return tuple(lacks)


def _runs(*argv: str) -> bool:
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            argv, stdin=quiet, stdout=quiet, stderr=quiet, timeout=20.0, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _as_root(*argv: str) -> list[str]:
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", *argv]


def unshare() -> list[str]:
    """The words before a program that is to run in fresh namespaces, as their pid 1."""
    program = shutil.which("unshare", path=SYSTEM_PATH) or "unshare"
    options = ("--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
    return [program, *options]


def spawn(rundir: Path) -> subprocess.Popen[bytes]:
    """Start an agent for this user, with a private folder (0700, ours)."""
    argv = [SYSTEM_PYTHON, "-I", str(AGENT_FILE), str(rundir), str(os.geteuid()), str(os.getegid())]
    with (rundir / "agent.log").open("ab") as log:
        return subprocess.Popen(
            _as_root(*unshare(), *argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # Ctrl-C in a terminal is for us to handle
        )


def last_words(rundir: Path) -> str:
    """What an agent said last, behind a colon; nothing if it said nothing."""
    with contextlib.suppress(OSError):
        lines = (rundir / "agent.log").read_text(errors="replace").strip().splitlines()
        # What Open vSwitch says has bars; and unshare says this whenever its child was killed.
        mine = [ln for ln in lines[-50:] if "|" not in ln and "sigprocmask unblock" not in ln]
        if mine:
            return f": {mine[-1][-300:]}"
    return ""


def kill(process: subprocess.Popen[bytes], pid: int | None = None) -> None:
    """The last resort: the kernel then takes down the namespaces. Waits for it.

    `process` ends when the agent (`pid`) has, unless it must be killed itself.
    """
    for target in (pid, process.pid):
        if target and process.poll() is None:
            _kill_as_root(target)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)


def _kill_as_root(pid: int) -> None:
    if os.geteuid() != 0:
        _runs("sudo", "-n", "kill", "-KILL", str(pid))
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
