"""`kill -9` at random instants, of each process in turn: production is old or new, and says which.

The instants are drawn from the seed, what a process is at then is not: a case made again is the
same plan, not the same microsecond.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from shadowsim.commit.generations import CONFIRMED
from shadowsim.errors import BadInput
from torture.bench import Bench, Plan, instants, on_benches
from torture.processes import KILLED, Family, Sayings, send, spawn
from torture.result import Result, Wanted, Wrong
from torture.tiny import Job, deploy, job, told, wanting
from torture.whole import Whole, command, warm_up

QUICK, FULL = 2_000, 20_000
WORKERS = 4
LEASE_S = 20.0  # here nobody is late, so nobody may be taken for it
LATE_S = 2.0  # not counting how long the machine had no CPU for them
PATIENCE_S = 30.0  # for what has no deadline of its own
AGAIN = 0.2  # of the cases: the next run in the same folder is made, too
PACE = 20.0
WHOLE_S = 1.0  # how long, at that pace, from the decision until it is confirmed


def kills(wanted: Wanted) -> Result:
    """The attack `kills`."""
    parts: dict[str, tuple[Plan, float]] = {
        "run": (kill_run, 30),
        "guardian": (kill_guardian, 20),
        "replacement": (kill_replacement, 15),
        "resume": (kill_resume, 20),
        "several": (kill_several, 13),
        "whole": (kill_whole, 1.2),
        "whole-group": (kill_whole_group, 0.6),
        "fresh": (kill_fresh, 0.2),
    }
    warm_up()
    cases = wanted.cases or (QUICK if wanted.quick else FULL)
    return on_benches("kills", parts, cases, wanted, WORKERS, _measure)


def _measure() -> None:
    """Know how long lives are before the first case, which has children of its own."""
    _life_s()
    _life_of_a_resume_s()


# -- tiny deployments --------------------------------------------------------------------------


def kill_run(bench: Bench) -> str:
    """The run dies; its guardian finds out and takes the change back."""
    case = _Case(bench)
    [at_s] = instants(bench.rng, _life_s(), 1)
    case.until(at_s)
    send(case.run, signal.SIGKILL)
    return case.settled()


def kill_guardian(bench: Bench) -> str:
    """The guardian dies; the run has another one, or leaves production alone."""
    case = _Case(bench)
    [at_s] = instants(bench.rng, _life_s(), 1)
    case.until(at_s)
    case.kill_guardian()
    if bench.family.wait_for(case.run, PATIENCE_S) is None:
        raise Wrong("the run hangs since its guardian died")
    return case.settled()


def kill_replacement(bench: Bench) -> str:
    """The guardian dies, and so does whoever replaces it; then perhaps the run."""
    case = _Case(bench)
    first_s, second_s, third_s = instants(bench.rng, _life_s(), 3)
    case.until(first_s)
    case.kill_guardian()
    case.until(second_s)
    case.kill_guardian()
    if bench.rng.random() < 0.5:
        case.until(third_s)
        send(case.run, signal.SIGKILL)
    if bench.family.wait_for(case.run, PATIENCE_S) is None:
        raise Wrong("the run hangs since its guardian died")
    return case.settled()


def kill_resume(bench: Bench) -> str:
    """Run and guardian die, and whoever takes up what they left, up to three times."""
    case = _Case(bench)
    [at_s] = instants(bench.rng, _life_s(), 1)
    case.until(at_s)
    case.kill_guardian()
    send(case.run, signal.SIGKILL)
    case.kill_guardian()
    for _ in range(bench.rng.randint(1, 3)):
        pid = case.resume()
        time.sleep(bench.rng.uniform(0.0, 1.1 * _life_of_a_resume_s()))
        send(pid, signal.SIGKILL)
        if bench.family.wait_for(pid, PATIENCE_S) is None:
            raise Wrong("a killed resume is still there")
    return case.settled()


def kill_several(bench: Bench) -> str:
    """Everybody that is there dies at nearly the same instant."""
    case = _Case(bench)
    [at_s] = instants(bench.rng, _life_s(), 1)
    case.until(at_s)
    victims = [case.kill_guardian, lambda: send(case.run, signal.SIGKILL)]
    bench.rng.shuffle(victims)
    victims[0]()
    time.sleep(bench.rng.choice([0.0, 0.0, 0.001, 0.005]))
    victims[1]()
    return case.settled()


class _Case:
    """A deployment that has just been started."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.job: Job = job(bench.rng, bench.folder / "run", LEASE_S)
        self.sayings = Sayings()
        self._killed: set[int] = set()  # guardians, whom the run may have buried
        self._began_s = time.monotonic()
        self.run = spawn(lambda: deploy(self.job, self.sayings.say), bench.out, bench.words)
        self.sayings.listen()

    def until(self, at_s: float) -> None:
        """Let it go on until so long after its start."""
        self.sayings.hear(max(self._began_s + at_s - time.monotonic(), 0.0))

    def kill_guardian(self) -> None:
        """Kill the one that guards now, if anybody does."""
        found = self.sayings.heard("guardian")
        if found is not None and self.bench.family.alive(int(found[0])):
            send(int(found[0]), signal.SIGKILL)
            self._killed.add(int(found[0]))

    def resume(self) -> int:
        return resume(self.bench, self.job.folder)

    def settled(self) -> str:
        """Let those go on that live, resume it if need be, and see how production ended."""
        killed_s = time.monotonic()
        family = self.bench.family
        self.bench.late_s = 0.0
        if not family.wait_all(PATIENCE_S):
            raise Wrong("somebody does not end")
        self.bench.late_s = family.late_s(killed_s)
        guardian = self.sayings.heard("guardian")
        alone = guardian is None or int(guardian[0]) in self._killed
        sent = self.sayings.count("sent") > 0
        now = self.job.standing()
        if family.ended[self.run] == KILLED and not alone:
            if self.bench.late_s > LATE_S:
                raise Wrong(f"the guardian took {self.bench.late_s:.2f} s")
            if sent and not now.settled:
                raise Wrong("the guardian lived, but did not take the change back")
        if not now.settled:
            _resumed(self.bench, self.job.folder)
            now = self.job.standing()
        acknowledged = self.sayings.heard("ended") is not None
        self.sayings.close()
        if wrong := wanting(self.job, now, acknowledged):
            raise Wrong(wrong)
        if self.bench.rng.random() < AGAIN:
            self._again()
        return now.position or "old"

    def _again(self) -> None:
        """The next run in the same folder, which nobody disturbs."""
        sayings = Sayings()
        pid = spawn(lambda: deploy(self.job, sayings.say), self.bench.out, self.bench.words)
        sayings.listen()
        code = self.bench.family.wait_for(pid, PATIENCE_S)
        sayings.close()
        if code != 0 or not self.bench.family.wait_all(PATIENCE_S):
            raise Wrong(f"the next run left with {code}")
        if wrong := wanting(self.job, self.job.standing(), True):
            raise Wrong(f"the next run: {wrong}")


def resume(bench: Bench, folder: Path, *options: str) -> int:
    """Start `shadowsim rollback --resume FOLDER`; its pid."""
    arguments = ["rollback", "--resume", *options, str(folder)]
    return spawn(lambda: command(*arguments), bench.out, bench.words)


def _resumed(bench: Bench, folder: Path) -> None:
    code = bench.family.wait_for(resume(bench, folder), PATIENCE_S)
    if code not in (0, BadInput.exit_code):
        raise Wrong(f"--resume left with {code}")
    if code and "nothing to take back" not in told(bench.words):
        raise Wrong("--resume found nothing, and does not say so")


@cache
def _life_s() -> float:
    """How long a tiny deployment lives that nobody disturbs: the median of a few."""
    return _median_s(_undisturbed)


@cache
def _life_of_a_resume_s() -> float:
    """And the resume of one whose run and guardian were killed in the middle."""
    return _median_s(_resume_once)


def _undisturbed(case: _Case) -> float:
    began_s = time.monotonic()
    case.bench.family.wait_for(case.run, PATIENCE_S)
    return time.monotonic() - began_s


def _resume_once(case: _Case) -> float:
    case.sayings.heard("sent", PATIENCE_S)
    case.kill_guardian()
    send(case.run, signal.SIGKILL)
    case.bench.family.wait_all(PATIENCE_S)
    began_s = time.monotonic()
    case.bench.family.wait_for(case.resume(), PATIENCE_S)
    return time.monotonic() - began_s


def _median_s(of: Callable[[_Case], float]) -> float:
    took_s = []
    for number in range(5):
        with tempfile.TemporaryDirectory() as folder:
            case = _Case(Bench(random.Random(number), Path(folder), Family()))
            took_s.append(of(case))
            case.bench.family.wait_all(PATIENCE_S)
            case.sayings.close()
    return statistics.median(took_s)


# -- whole runs --------------------------------------------------------------------------------


def kill_whole(bench: Bench) -> str:
    """`shadowsim run` is killed at a random instant."""
    return _kill_whole(bench, Whole(bench, LEASE_S), group=False)


def kill_whole_group(bench: Bench) -> str:
    """All that a terminal would reach of it is killed; its guardian is out of that reach."""
    return _kill_whole(bench, Whole(bench, LEASE_S), group=True)


def kill_fresh(bench: Bench) -> str:
    """The same with interpreters that were started for it, guardian and all."""
    return _kill_whole(bench, Whole(bench, LEASE_S, fresh=True), group=bench.rng.random() < 0.5)


def _kill_whole(bench: Bench, whole: Whole, *, group: bool) -> str:
    began_s = time.monotonic()
    pid = whole.run("--pace", str(PACE), group=group)
    fresh = bench.rng.random() < 0.75
    if fresh:  # from the middle of its life, which is when production is changed
        bench.family.wait(lambda: whole.says("decision: go") or not bench.family.alive(pid), 60.0)
        began_s = time.monotonic()
    time.sleep(max(began_s + bench.rng.uniform(0.0, WHOLE_S) - time.monotonic(), 0.0))
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    if not bench.family.wait_all(PATIENCE_S):
        raise Wrong("somebody does not end")
    bench.late_s = bench.family.late_s(killed_s)
    died = bench.family.ended[pid] == KILLED
    if died and bench.late_s > LATE_S:
        raise Wrong(f"the guardian took {bench.late_s:.2f} s")
    ended = _ended(whole, "confirmed:" if not died else "")
    _run_again(bench, whole)
    return ended


def _ended(whole: Whole, acknowledged: str) -> str:
    """How production ended, after a resume if that was needed."""
    bench = whole.bench
    if whole.commit is not None:
        code = bench.family.wait_for(whole.rollback("--resume"), PATIENCE_S)
        if code != 0:
            raise Wrong(f"--resume left with {code}")
    now = whole.standing()
    if now is None:
        return "old"
    wanted = "new" if now.state == CONFIRMED else "old"
    if not now.settled or now.position not in (wanted, "" if wanted == "old" else wanted):
        raise Wrong(f"{now.state}, production {now.position or 'untouched'}")
    if acknowledged and now.state != CONFIRMED:
        raise Wrong(f"it said that it confirmed, but stands as {now.state}")
    return wanted


def _run_again(bench: Bench, whole: Whole) -> None:
    """The same once more, which nobody disturbs."""
    pid = whole.run()
    if (code := bench.family.wait_for(pid, 60.0)) != 0:
        raise Wrong(f"the next run left with {code}")
    if not bench.family.wait_all(PATIENCE_S):
        raise Wrong("the guardian of the next run does not end")
    now = whole.standing()
    if now is None or (now.state, now.position) != (CONFIRMED, "new"):
        raise Wrong(f"the next run ended as {now and now.state}")
    if whole.result()["end_state"] != "confirmed":
        raise Wrong("the result of the next run is not its own")
    if whole.litter():
        raise Wrong(f"left about: {', '.join(whole.litter())}")
