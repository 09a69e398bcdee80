"""Processes that are stopped past a deadline and then go on, or end at the instant that counts.

What a person is told is part of it: words, exit codes, and results that say what production has.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from shadowsim.__main__ import STOPPED
from shadowsim.commit.generations import CANCELLED, CONFIRMED, ROLLED_BACK
from shadowsim.errors import Fenced, PersonNeeded
from shadowsim.interruptions import SAME_S
from torture.bench import Bench, Plan, on_benches
from torture.processes import Sayings, children, send, spawn
from torture.result import Result, Wanted, Wrong
from torture.tiny import Hooks, Job, batches, deploy, job, told, wanting
from torture.whole import Whole, command, warm_up

QUICK, FULL = 20, 500  # of each part
WORKERS = 6  # they mostly wait
SHORT_S = 0.5
LONG_S = 30.0
LATE_S = 2.0
PATIENCE_S = 40.0
PACE = 20.0
AGAIN = 0.3  # of the runs that are asked to end: they are asked once more, later
NO_HOOKS = Hooks()
OVERTAKEN = "production was taken over from this process"


def stops(wanted: Wanted) -> Result:
    """The attack `stops`."""
    parts: tuple[Plan, ...] = (
        late_run, stopped_guardian, stopped_guardian_of_a_dead_run, killed_before_confirmation,
        killed_after_confirmation, replaced_guardian, both_killed, two_resumes, held_resume,
        late_run_beside_the_next, asked_to_end,
    )  # fmt: skip
    cases = wanted.cases or (QUICK if wanted.quick else FULL) * len(parts)
    warm_up()
    named = {part.__name__.replace("_", "-"): (part, 1.0) for part in parts}
    return on_benches("stops", named, cases, wanted, WORKERS)


def late_run(bench: Bench) -> str:
    """`shadowsim run` is stopped until its change was taken back; then it goes on."""
    whole = Whole(bench, SHORT_S)
    pid = whole.run("--pace", str(PACE))
    if not bench.family.wait(lambda: whole.says("rollback armed"), PATIENCE_S):
        raise Wrong("it was never armed")
    time.sleep(bench.rng.uniform(0.0, 0.8))
    send(pid, signal.SIGSTOP)
    _taken_back(bench, lambda: _is_settled(whole), pid)
    time.sleep(bench.rng.choice([0.0, 0.1]))
    send(pid, signal.SIGCONT)
    code = bench.family.wait_for(pid, PATIENCE_S)
    _all_end(bench)
    now, result = whole.standing(), whole.result()
    if now is None or result["end_state"] != now.state:
        raise Wrong(f"the result says {result['end_state']}, the commit {now and now.state}")
    digests = result["digests"]
    old = digests["after"] == digests["before"]
    if (now.state, now.position, code, old) == (CONFIRMED, "new", 0, False):
        return "new"
    if (now.state, now.position, code, old) != (ROLLED_BACK, "old", 1, True):
        raise Wrong(f"{now.state}, {now.position}, code {code}, old by the result: {old}")
    if not whole.says(OVERTAKEN) or result["root_cause"] != "overtaken":
        raise Wrong("it does not say that it was overtaken")
    return "old"


def asked_to_end(bench: Bench) -> str:
    """`shadowsim run` is asked to end, busy or waiting: once, twice at once as `timeout` does, or
    again some seconds later, with the run stopped meanwhile or not.

    It leaves with 130 and its change taken back, by itself or by its guardian, or it had ended
    before; either way with a result that says what production has. Who asks again while the first
    request still waits is heard at once, and that may be in the middle of the record.
    """
    whole = Whole(bench, LONG_S)
    pid = whole.run(*bench.rng.choice([(), ("--pace", str(PACE)), ("--pace", str(10 * PACE))]))
    beginning = bench.rng.choice(["ring", "3 risk", "rollback armed", "5 real-time"])
    if not bench.family.wait(lambda: whole.says(beginning), PATIENCE_S):
        raise Wrong(f"it never came to '{beginning}'")
    time.sleep(bench.rng.choice([0.0, 0.01, 0.1]) * bench.rng.random())
    number = bench.rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    for _ in range(bench.rng.choice([1, 1, 2])):
        send(pid, number)
    again = bench.rng.random() < AGAIN and _ask_again(bench, pid, number)
    code = bench.family.wait_for(pid, PATIENCE_S)
    _all_end(bench)
    now = whole.standing()
    if not whole.folder.exists():
        if again and code == STOPPED and now is not None and now.settled:
            return now.position or "old"
        if code != STOPPED or now is not None:
            raise Wrong(f"no result, code {code}, and the commit is {now and now.state}")
        return "old"
    result = whole.result()
    old = result["digests"]["after"] == result["digests"]["before"]
    ended = CANCELLED if result["end_state"] == "refused" else result["end_state"]
    if now is not None and (now.state, now.position) != (ended, "old" if old else "new"):
        raise Wrong(f"the result says {result['end_state']}, the commit {now.state}")
    if (result["end_state"], code, old) in ((CONFIRMED, 0, False), (CONFIRMED, STOPPED, False)):
        return "new"
    if (code, old, result["interrupted"]) != (STOPPED, True, True):
        raise Wrong(f"{result['end_state']}, code {code}, old by the result: {old}")
    if ended == ROLLED_BACK and result["root_cause"] != "interrupted":
        raise Wrong(f"it was taken back for '{result['root_cause']}'")
    return "old"


def _ask_again(bench: Bench, pid: int, number: int) -> bool:
    """Some seconds later, if it is there still; where it is stopped meanwhile it is."""
    later_s = bench.rng.uniform(SAME_S + 0.2, 5.0)
    if bench.rng.random() < 0.75:
        time.sleep(bench.rng.uniform(0.0, 0.1))
        send(pid, signal.SIGSTOP)
    there = not bench.family.wait(lambda: not bench.family.alive(pid), later_s)
    if there:
        send(pid, number)
        send(pid, signal.SIGCONT)
    return there


def _taken_back(bench: Bench, settled: Callable[[], bool], run: int) -> None:
    """Wait for the guardian of a run that was stopped right now. Raises Wrong if it is late."""
    stopped_s = time.monotonic()
    if not bench.family.wait(settled, PATIENCE_S, lambda: children(run)):
        raise Wrong("the guardian never took it back")
    bench.late_s = bench.family.late_s(stopped_s) - SHORT_S
    if bench.late_s > LATE_S:
        raise Wrong(f"the guardian was late by {bench.late_s:.1f} s")


def _is_settled(whole: Whole) -> bool:
    now = whole.standing()
    return now is not None and now.settled


class _Tiny:
    """A deployment that takes about so long, with its processes."""

    def __init__(
        self, bench: Bench, lease_s: float, takes_s: float, hooks: Hooks = NO_HOOKS
    ) -> None:
        self.bench, self.sayings = bench, Sayings()
        found = job(bench.rng, bench.folder / "run", lease_s)
        pauses = len(batches(found.change)) + 1
        self.job: Job = replace(found, pauses_s=(takes_s / pauses,) * pauses)
        self.takes_s = takes_s
        self.run = spawn(lambda: deploy(self.job, self.sayings.say, hooks), bench.out, bench.words)
        self.sayings.listen()

    def armed(self) -> None:
        """Wait until it is armed, and for some of its time beyond."""
        if self.sayings.heard("armed", PATIENCE_S) is None:
            raise Wrong("it was never armed")
        time.sleep(self.bench.rng.uniform(0.0, 0.8 * self.takes_s))

    @property
    def guardian(self) -> int:
        found = self.sayings.heard("guardian")
        return int(found[0]) if found else 0

    def kill_both(self) -> None:
        send(self.guardian, signal.SIGKILL)
        send(self.run, signal.SIGKILL)
        self.sayings.hear(0.0)
        if self.bench.family.alive(self.guardian):
            send(self.guardian, signal.SIGKILL)
        _all_end(self.bench)

    def verdict(self, *, acknowledged: bool | None = None) -> str:
        """How production ended. Raises Wrong."""
        heard = self.sayings.heard("ended") is not None
        self.sayings.close()
        now = self.job.standing()
        if wrong := wanting(self.job, now, heard if acknowledged is None else acknowledged):
            raise Wrong(wrong)
        return now.position or "old"

    def says(self, *options: str) -> tuple[int | None, dict[str, Any], str]:
        """`shadowsim rollback` with these options: its code, its document, its words."""
        out = self.bench.folder / f"document-{time.monotonic_ns()}"
        words = out.with_suffix(".words")
        before = self.bench.family
        arguments = ["rollback", str(self.job.folder), *options]
        code = before.wait_for(spawn(lambda: command(*arguments, "--json"), out, words), PATIENCE_S)
        said = told(words)
        if "Traceback" in said:
            raise Wrong(f"a traceback: {said[-600:]}")
        return code, json.loads(out.read_text() or "{}"), said


def _all_end(bench: Bench, for_s: float = PATIENCE_S) -> None:
    if not bench.family.wait_all(for_s):
        raise Wrong("somebody does not end")


def stopped_guardian(bench: Bench) -> str:
    """The guardian is stopped past a deadline that the run has put off in time."""
    case = _Tiny(bench, SHORT_S, 3 * SHORT_S)
    case.armed()
    guardian = case.guardian
    send(guardian, signal.SIGSTOP)
    time.sleep(SHORT_S * bench.rng.uniform(1.2, 2.0))
    send(guardian, signal.SIGCONT)
    _all_end(bench)
    found = case.sayings.heard("fenced")
    if found and float(found[1]) < 0.8 * SHORT_S:
        raise Wrong("it was taken back, though the run was well")
    return case.verdict()


def stopped_guardian_of_a_dead_run(bench: Bench) -> str:
    """The guardian is stopped while its run dies; when it goes on, it takes the change back."""
    case = _Tiny(bench, SHORT_S, 3 * SHORT_S)
    case.armed()
    guardian = case.guardian
    send(guardian, signal.SIGSTOP)
    send(case.run, signal.SIGKILL)
    bench.family.wait_for(case.run, PATIENCE_S)
    case.sayings.hear(0.0)
    time.sleep(SHORT_S * bench.rng.uniform(0.5, 1.5))
    before = case.job.standing()
    code, found, _ = case.says()
    if (code, found["state"]) != ((0 if before.settled else 4), before.state):
        raise Wrong(f"rollback says {found['state']} and leaves with {code}")
    if not before.settled:
        code, _, said = case.says("--resume", "--wait", "0.2")
        if code != PersonNeeded.exit_code or "--force" not in said:
            raise Wrong(f"--resume beside a stopped guardian: {code}, {said!r}")
    began_s = time.monotonic()
    send(guardian, signal.SIGCONT)
    _all_end(bench)
    bench.late_s = bench.family.late_s(began_s)
    if bench.late_s > LATE_S:
        raise Wrong(f"it took {bench.late_s:.1f} s")
    return case.verdict()


def killed_before_confirmation(bench: Bench) -> str:
    """Run, guardian or both die right before the commit ends: it is taken back, or goes on."""
    return _killed_at(bench, "ending")


def killed_after_confirmation(bench: Bench) -> str:
    """They die right after: what was decided stays."""
    return _killed_at(bench, "ended")


def _killed_at(bench: Bench, instant: str) -> str:
    who = bench.rng.choice(["run", "guardian", "both"])

    def strike(guardian: int) -> None:
        if who != "run":
            os.kill(guardian, signal.SIGKILL)
        if who != "guardian":
            os.kill(os.getpid(), signal.SIGKILL)

    case = _Tiny(bench, LONG_S, 0.02, Hooks(**{instant: strike}))
    _all_end(bench)
    if who == "both" and instant == "ending":
        code, found, _ = case.says()
        if (code, found["state"]) != (4, "open"):
            raise Wrong(f"rollback says {found['state']} and leaves with {code}")
        if (code := case.says("--resume")[0]) != 0:
            raise Wrong(f"--resume left with {code}")
    return case.verdict(acknowledged=instant == "ended" or who == "guardian")


def replaced_guardian(bench: Bench) -> str:
    """The guardian dies while the run goes on: no command is sent before there is another one."""
    killed: list[int] = []
    often = bench.rng.choice([0.3, 0.7, 1.0])
    chance = bench.rng

    def waking(guardian: int) -> None:
        if chance.random() < often:
            os.kill(guardian, signal.SIGKILL)
            while _breathes(guardian):
                time.sleep(0.0005)
            killed.append(guardian)

    def sending(guardian: int) -> None:
        if guardian in killed or not _breathes(guardian):
            os.write(2, b"Traceback: a command is sent, and nobody guards it\n")

    case = _Tiny(bench, LONG_S, 0.02, Hooks(waking=waking, sending=sending))
    _all_end(bench)
    if bench.family.ended[case.run] != 0:
        raise Wrong(f"the run left with {bench.family.ended[case.run]}")
    return case.verdict(acknowledged=True)


def _breathes(pid: int) -> bool:
    """Whether a process is there, and no corpse that nobody has buried."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def both_killed(bench: Bench) -> str:
    """Run and guardian die at once; a person is told, and `--resume` settles it, once."""
    case = _Tiny(bench, LONG_S, 0.1)
    case.armed()
    case.kill_both()
    before = case.job.standing()
    code, found, _ = case.says()
    if (code, found["state"]) != ((0, before.state) if before.settled else (4, "open")):
        raise Wrong(f"rollback says {found['state']} and leaves with {code}")
    if (code := case.says("--resume")[0]) != 0:
        raise Wrong(f"--resume left with {code}")
    written = _contents(case.job)
    code, found, _ = case.says("--resume")
    if code != 0 or _contents(case.job) != written:
        raise Wrong(f"a second --resume left with {code}, and wrote")
    if found["production"] not in ("old", "new"):
        raise Wrong(f"it says that production is {found['production']}")
    return case.verdict()


def _contents(job: Job) -> dict[str, tuple[bytes, int]]:
    folder = job.place.folder
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def two_resumes(bench: Bench) -> str:
    """Two people take it up at the same time."""
    case = _Tiny(bench, LONG_S, 0.1)
    case.armed()
    case.kill_both()
    force = ["--force"] * (bench.rng.random() < 0.5)

    def resume() -> int:
        return command("rollback", "--resume", *force, str(case.job.folder))

    pids = [spawn(resume, bench.out, bench.words)]
    time.sleep(bench.rng.choice([0.0, 0.0, 0.01, 0.03]))
    pids.append(spawn(resume, bench.out, bench.words))
    codes = [bench.family.wait_for(pid, PATIENCE_S) for pid in pids]
    allowed: Callable[[int | None], bool] = lambda code: code == 0 or (bool(force) and code == 4)  # noqa: E731
    if not all(map(allowed, codes)) or (0 not in codes and not case.job.standing().settled):
        raise Wrong(f"they left with {codes}")
    if not case.job.standing().settled and case.says("--resume")[0] != 0:
        raise Wrong("and a third one does not settle it")
    return case.verdict()


def held_resume(bench: Bench) -> str:
    """The run stands still, its guardian waits; `--resume` waits too, and says so."""
    case = _Tiny(bench, LONG_S, 1.0)
    case.armed()
    send(case.run, signal.SIGSTOP)
    before = case.job.standing()
    code, _, said = case.says("--resume", "--wait", "0.1")
    if not before.settled and (
        code != PersonNeeded.exit_code or "its guardian is alive" not in said
    ):
        raise Wrong(f"--resume beside a guardian: {code}, {said!r}")
    if before.settled and code != 0:
        raise Wrong(f"--resume left with {code}")
    code, found, _ = case.says("--resume", "--force")
    if code != 0 or found["production"] != ("new" if before.state == CONFIRMED else "old"):
        raise Wrong(f"--force: {code}, production {found['production']}")
    send(case.run, signal.SIGCONT)
    _all_end(bench)
    _fenced(case, unless=before.settled)
    return case.verdict()


def _fenced(case: _Tiny, *, unless: bool) -> None:
    """The late run says that it was overtaken, and leaves for a person to look."""
    code = case.bench.family.ended[case.run]
    if unless:
        return
    if code != Fenced.exit_code or OVERTAKEN not in told(case.bench.words):
        raise Wrong(f"the late run left with {code}")


def late_run_beside_the_next(bench: Bench) -> str:
    """A run that was overtaken goes on when the next one is at work in the same folder."""
    case = _Tiny(bench, SHORT_S, 1.0)
    case.armed()
    send(case.run, signal.SIGSTOP)
    _taken_back(bench, lambda: case.job.standing().settled, case.run)
    was = case.job.standing()
    sayings = Sayings()
    following = replace(case.job, lease_s=LONG_S, back=False)
    pid = spawn(lambda: deploy(following, sayings.say), bench.out, bench.words)
    sayings.listen()
    if sayings.heard("armed", PATIENCE_S) is None:
        raise Wrong("the next run was never armed")
    send(case.run, signal.SIGCONT)
    _all_end(bench)
    _fenced(case, unless=was.state != ROLLED_BACK or case.sayings.heard("ended") is not None)
    if bench.family.ended[pid] != 0 or sayings.heard("ended") is None:
        raise Wrong(f"the next run left with {bench.family.ended[pid]}")
    sayings.close()
    case.sayings.close()
    if wrong := wanting(following, following.standing(), True):
        raise Wrong(f"the next run: {wrong}")
    return "new"
