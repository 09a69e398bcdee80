"""Whole runs on real packets in processes of their own, what they start, and what they leave."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from torture.processes import without_cpu_s

from shadowsim.model.change import apply
from shadowsim.scenario import parse

SMALL = """
name: small
seed: 7
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
  defaults: {rate_mbps: 10, delay_ms: 2, queue_packets: 50}
traffic:
  demands:
    - {from: A, to: C, rate_mbps: 1, class: critical, protocol: udp, port: 5004}
    - {from: B, to: D, rate_mbps: 1}
change:
  summary: other costs on two devices
  script: |
    device A
    interface to-B
     ip ospf cost 5
     ip ospf cost 7
    device C
    interface to-D
     ip ospf cost 7
workflow: {baseline_s: 3, shadow_s: 5, soak_s: 1, monitor_s: 5, autonomy: automatic}
"""
PARTS = {
    "agent": "/agent.py",
    "controller": "/controller/launch.py",
    "plant": "shadowsim.network.emulated.plant",
    "ovsdb-server": "ovsdb-server",
    "ovs-vswitchd": "ovs-vswitchd",
}
ALL = PARTS | {"guardian": "shadowsim.commit.guardian"}
KILLS = int(os.environ.get("SHADOWSIM_KILLS", "1"))
LONGEST_S = 150.0
GONE_S = 5.0  # in which what a run has started goes after it
ASKED_A_LOOK = 4


@dataclass
class Left:
    """What a run left behind, in words; nothing if the machine is as before."""

    before: dict[str, set[str]] = field(default_factory=dict)

    @staticmethod
    def look() -> dict[str, set[str]]:
        """Devices, mounts and named namespaces of this machine."""
        spaces = Path("/run/netns")
        return {
            "devices": {p.name for p in Path("/sys/class/net").iterdir()},
            "mounts": {
                line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
            },
            "namespaces": {p.name for p in spaces.iterdir()} if spaces.exists() else set(),
        }


@dataclass
class Bad:
    """One run. `home` is its working and its runtime folder; `seen` all processes it ever had."""

    home: Path
    process: subprocess.Popen[str]
    seen: dict[int, str] = field(default_factory=dict)
    killed: list[int] = field(default_factory=list)

    def watch(self, until: Callable[[], bool], within_s: float = LONGEST_S) -> bool:
        """Wait, and write down who is there; False if that takes too long.

        It is as much longer as one of its processes had work, and the machine no CPU for it.
        """
        until_s = time.monotonic() + within_s
        first_s: dict[int, float] = {}
        while not until():
            self.look()
            waited_s = {pid: without_cpu_s(pid) for pid in (self.process.pid, *self.seen)}
            first_s = waited_s | first_s
            starved_s = max(now_s - first_s[pid] for pid, now_s in waited_s.items())
            if time.monotonic() > until_s + starved_s:
                return False
            for _ in range(ASKED_A_LOOK):  # a look at all processes costs more than the question
                if not until():
                    time.sleep(0.05)
        return True

    def let_go_on(self, for_s: float) -> None:
        """Let time pass until then, by the clock, or until it has ended."""
        until_s = time.monotonic() + for_s
        while not self.ended and time.monotonic() < until_s:
            self.look()
            time.sleep(0.05)

    def look(self) -> None:
        for pid, start in descendants(self.process.pid).items():
            self.seen[pid] = start

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def parts(self, what: str) -> list[int]:
        """The processes of one kind that run for it now."""
        self.look()
        return [
            pid
            for pid in self.seen
            if _started(pid) == self.seen[pid] and ALL[what] in _command(pid, what)
        ]

    def alive(self) -> list[str]:
        """What still runs of all that ever did."""
        return [
            f"{pid} {_words(pid)}" for pid, start in self.seen.items() if _started(pid) == start
        ]

    def sockets(self) -> list[str]:
        lines = Path("/proc/net/unix").read_text().splitlines()
        return [line for line in lines if str(self.home) in line]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "runs/small/result.json").read_text())
        return found


@contextmanager
def interruptible() -> Iterator[None]:
    """Have what is started hear Ctrl-C: who was started in the background inherits that nobody
    does.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def run(*words: str, scenario: str = SMALL) -> Iterator[Bad]:
    """`shadowsim run` on a small scenario, in a folder of its own which is the runtime folder."""
    home = Path(tempfile.mkdtemp(prefix="bad"))
    (home / "run").mkdir()
    (home / "small.yml").write_text(scenario)
    process = start(home, "run", "--network", "emulated", "small.yml", *words)
    bad = Bad(home, process)
    try:
        yield bad
    finally:
        if not bad.ended:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


def start(home: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """`shadowsim` with these words, its outputs in files in `home`."""
    with (home / "out").open("w") as out, (home / "err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "shadowsim", *words],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "XDG_RUNTIME_DIR": str(home / "run"),
                "XDG_STATE_HOME": str(home / "state"),
                **environment,
            },
        )


def descendants(root: int) -> dict[int, str]:
    """Processes that a process started, and those they started; with when they started."""
    found: dict[int, str] = {}
    fresh = [root]
    while fresh:
        for pid in _children(fresh.pop()):
            fresh.append(pid)
            if start := _started(pid):
                found[pid] = start
    return found


def _children(pid: int) -> list[int]:
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        raise RuntimeError("this kernel does not tell whose children processes are")
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it is gone
        return []
    return [int(child) for t in threads for child in _read(t / "children").split()]


def faults(bad: Bad, before: dict[str, set[str]], *, folder: bool = True) -> list[str]:
    """What is wrong after a run that has ended, in words."""
    bad.watch(lambda: not bad.alive(), GONE_S)
    words = (bad.home / "err").read_text()
    wrong = [f"still runs: {one}" for one in bad.alive()]
    wrong += [f"socket: {one}" for one in bad.sockets()]
    wrong += [f"{k}: {v - before[k]}" for k, v in Left.look().items() if v - before[k]]
    if "Traceback" in words or "Exception ignored" in words:
        wrong.append(f"traceback: {words[-1500:]}")
    if folder and (bad.home / "run/shadowsim").exists():
        wrong.append(f"folder: {list((bad.home / 'run/shadowsim').iterdir())}")
    return wrong


def neither_old_nor_new(bad: Bad) -> list[str]:
    """Devices of production whose last known config is neither that before nor that after."""
    return [device for device, age in _ages(bad).items() if age == "neither"]


def _ages(bad: Bad) -> dict[str, str]:
    """Which the last known config of each device is: the old one, the new one, neither of them,
    or unchanged, where both are the same."""
    scenario = parse(SMALL)
    old, new = scenario.configs, apply(scenario.configs, scenario.change.commands)
    after = bad.result()["digests"]["after"]
    known = {d: {new[d].digest: "new", old[d].digest: "old"} for d in after}
    return {
        d: "unchanged"
        if old[d].digest == new[d].digest == digest
        else known[d].get(digest, "neither")
        for d, digest in after.items()
    }


def kill_one(what: str, number: int) -> dict[str, Any]:
    """A run in which a process of this kind is killed at a random moment; what came of it."""
    chance = random.Random(f"{what} {number}")
    before, began_s = Left.look(), time.monotonic()
    with run() as bad:
        bad.watch(lambda: bool(bad.parts(what)) or bad.ended)
        moment_s = chance.uniform(0.0, 26.0)
        bad.let_go_on(moment_s)
        there = bad.parts(what)
        if there:
            os.kill(chance.choice(there), signal.SIGKILL)
        done = bad.watch(lambda: bad.ended)
        code = bad.process.returncode
        wrong = faults(bad, before)
        wrong += [] if done else [f"it did not end within {LONGEST_S:g} s"]
        wrong += [] if code in (0, 1, 3, 4) else [f"exit code {code}"]
        result, ages = {}, {"old"}  # what ends before there is a result has begun no deployment
        if (bad.home / "runs/small/result.json").exists():
            result = bad.result()
            wrong += [f"half changed: {d}" for d in neither_old_nor_new(bad)]
            ages = {*_ages(bad).values()} - {"unchanged"}
        words = (bad.home / "err").read_text().strip()
        if not result and not words:
            wrong.append("it ended without a word")
        return {
            "what": what, "at_s": round(moment_s, 1), "of": len(there), "code": code,
            "ended": result.get("end_state", ""), "decision": result.get("decision", ""),
            "production": f"all {ages.pop()}" if len(ages) == 1 else "old and new",
            "took_s": round(time.monotonic() - began_s, 1), "words": words[-300:],
            "wrong": wrong,
        }  # fmt: skip


def _started(pid: int) -> str:
    words = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return "" if not words or words[0] in "ZX" else words[19]


def _words(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")


def _command(pid: int, what: str) -> str:
    """Of programs the first word, of scripts all; `unshare` and `sudo` have the agent's words."""
    words = _words(pid)
    first = words.split(" ", 1)[0]
    if what in ("ovsdb-server", "ovs-vswitchd"):
        return Path(first).name
    return "" if Path(first).name in ("unshare", "sudo") else words


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown: what came of the kills of each kind of process."""
    yield "| killed | runs | they ended | production | machine |"
    yield "|---|---|---|---|---|"
    for what in dict.fromkeys(one["what"] for one in found):
        mine = [one for one in found if one["what"] == what]
        ended = Counter(one["ended"] or f"in words, exit code {one['code']}" for one in mine)
        production = Counter(one["production"] for one in mine)
        wrong = [fault for one in mine for fault in one["wrong"]]
        told = [", ".join(f"{n} {name}" for name, n in c.items()) for c in (ended, production)]
        yield f"| {what} | {len(mine)} | {' | '.join(told)} | {'; '.join(wrong) or 'clean'} |"


if __name__ == "__main__":  # how many runs for each kind of process
    told = []
    for what, number in product(PARTS, range(int(sys.argv[1]))):
        told.append(kill_one(what, number))
        print(json.dumps(told[-1]), file=sys.stderr, flush=True)
    print("\n".join(table(told)))
