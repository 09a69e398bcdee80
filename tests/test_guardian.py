"""The guardian as a process: what it hears, what it does, and that it is there when it counts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from many_files import many_files

from shadowsim.commit import guard, guardian
from shadowsim.commit.devices import Devices, FileDevices, Gone
from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import CONFIRMED, ROLLED_BACK, Place, end
from shadowsim.commit.guard import Guard, NotArmed
from shadowsim.commit.guardian import LATE, LOST, Watching, hear, main, take_back, wait_s, watch
from shadowsim.commit.hold import Held, commit_in
from shadowsim.commit.holder import holding
from shadowsim.commit.reach import reach_in
from shadowsim.commit.settle import Reach, Standing, settle, standing
from shadowsim.commit.terms import Terms
from shadowsim.errors import Fenced, Unreachable
from shadowsim.rollback.key import installation_key

# The attacks deploy the same way; they are a folder of programs beside these tests.
sys.path.append(str(Path(__file__).parent))
from torture.processes import without_cpu_s
from torture.tiny import Production, job

KEY = b"k" * 32


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))
    return installation_key()


class Deployment:
    """A tiny change, held; nothing is sent before it is asked for."""

    def __init__(self, folder: Path, lease_s: float = 20.0) -> None:
        self.job = job(random.Random(1), folder, lease_s)
        self.hold = Held(folder, KEY, lease_s)
        self.production = Production(self.job.before)

    def arm(self) -> None:
        self.hold.arm(self.production, self.job.change, self.job.before, self.job.signature)

    def hurry(self, lease_s: float) -> None:
        """The deadline is this near from now on; while it was not, nothing could come too late."""
        self.hold._guard._lease_s = lease_s
        self.hold._guard.extend(lease_s)

    def send(self) -> None:
        for command in self.job.change.commands:
            self.hold.intend("deploy", command.device, [str(command)])
            self.production.apply([command])

    @property
    def guardian(self) -> int:
        return self.hold._guard.pid

    @property
    def place(self) -> Place:
        return self.hold._place

    def standing(self) -> Standing:
        return standing(self.place, reach_in(self.place.folder))

    def settled(self, for_s: float = 10.0) -> tuple[str, str]:
        until(lambda: self.standing().settled, for_s)
        return self.standing().state, self.standing().position


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    made: list[Deployment] = []

    def make(lease_s: float = 20.0) -> Deployment:
        made.append(Deployment(tmp_path / "c", lease_s))
        return made[-1]

    yield make
    for one in made:
        one.hold.release()


def until(over: Callable[[], object], for_s: float = 10.0) -> None:
    end_s = time.monotonic() + for_s
    while not over():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- what it hears -----------------------------------------------------------------------------


def test_the_last_deadline_counts() -> None:
    now = hear(Watching(), b"until 5\nuntil 9.5\nunt")
    assert now == Watching(9.5, "", b"unt")
    assert hear(now, b"il 11\n") == Watching(11.0)
    assert wait_s(now, 9.0) == 0.5
    assert wait_s(now, 99.0) == 0.0
    assert wait_s(Watching(), 99.0) is None


@pytest.mark.parametrize("data", [b"", b"until soon\n", b"till 5\n", b"\n", b"x" * 5000])
def test_silence_and_nonsense_mean_that_nobody_is_well(data: bytes) -> None:
    assert hear(Watching(5.0), data).why == LOST


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(1, 30))
def test_what_is_heard_does_not_depend_on_how_it_is_cut(times: list[float], size: int) -> None:
    data = b"".join(b"until %.6f\n" % at_s for at_s in times)
    now = Watching()
    for start in range(0, len(data), size):
        now = hear(now, data[start : start + size])
    assert now == hear(Watching(), data)
    assert now.until_s == float(b"%.6f" % times[-1])


def test_what_was_said_in_time_counts_however_late_it_is_heard() -> None:
    theirs, ours = os.pipe()
    os.write(ours, b"until 1\n")
    armed: list[int] = []
    late_s = iter([0.0, 50.0, 100.0])

    def clock() -> float:
        at_s = next(late_s)
        if at_s == 50.0:  # it is long past the first deadline when it looks again
            os.write(ours, b"until 60\n")
        return at_s

    assert watch(theirs, lambda: armed.append(1), clock) == Watching(60.0, LATE)
    assert armed == [1]
    os.write(ours, b"until 1\n")
    os.close(ours)
    assert watch(theirs, lambda: armed.append(1), lambda: 0.0).why == LOST
    os.close(theirs)


# -- what it does, in this process -------------------------------------------------------------


def guarding(folder: Path, said: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """Be the guardian that hears this, and then that nobody is there any more."""
    theirs, ours = os.pipe()
    os.write(ours, said)
    os.close(ours)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with os.fdopen(theirs) as stdin, (folder.parent / "said").open("w") as out:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out)
        try:
            return main(folder)
        finally:
            monkeypatch.undo()
            for number, handler in handlers.items():
                signal.signal(number, handler)


@pytest.fixture
def left(deployment: Callable[..., Deployment]) -> Deployment:
    """A change that was sent; its guardian is dead."""
    one = deployment()
    one.arm()
    one.send()
    os.kill(one.guardian, signal.SIGKILL)
    until(lambda: not is_there(one.guardian))
    return one


def test_it_takes_back_what_nobody_holds_any_more(
    left: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))
    assert guarding(left.place.folder, b"until 1e8\n", monkeypatch) == 0
    assert left.settled() == (ROLLED_BACK, "old")
    said = (left.place.folder.parent / "said").read_text()
    assert said == f"armed\nguardian: {LOST}: rolled_back: production has its old config\n"


def test_it_says_nothing_of_what_has_ended_without_it(
    left: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    left.hold.end(CONFIRMED)
    assert guarding(left.place.folder, b"until 1e8\n", monkeypatch) == 0
    assert (left.place.folder.parent / "said").read_text() == "armed\n"
    assert left.settled() == (CONFIRMED, "new")


def test_it_does_nothing_that_it_was_not_asked_for(
    left: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarding(left.place.folder, b"", monkeypatch) == 0
    assert not left.standing().settled


def test_it_does_not_say_armed_of_what_it_cannot_read(
    left: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = left.place.log(1)
    log.write_bytes(log.read_bytes().replace(b'"open"', b'"0pen"'))
    assert guarding(left.place.folder, b"until 1e8\n", monkeypatch) == 4
    said = (left.place.folder.parent / "said").read_text()
    assert said.startswith("guardian: the rollback was not armed: ")
    assert "1.log:1: altered" in said


def test_it_does_not_say_armed_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert guarding(tmp_path / "nowhere", b"until 1e8\n", monkeypatch) == 4
    assert "never begun" in (tmp_path / "said").read_text()


def test_it_tries_for_as_long_as_it_is_patient(
    left: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "PATIENCE_S", 0.0)
    monkeypatch.setattr(guardian, "RETRY_S", 0.0)
    clock = iter([0.0, 1.0, 100.0, 200.0])
    reach = reach_in(left.place.folder)
    for path in (left.place.folder / "devices").iterdir():
        path.unlink()
    words = take_back(left.place, reach, LATE, lambda: next(clock))
    assert words.startswith("not taken back, a person is needed: ")


def test_what_would_go_with_it_is_held_until_somebody_has_settled_it(
    left: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has given up, and that is told; whoever settles it later finds production as it was."""
    devices, away = left.place.folder / "devices", tmp_path / "away"
    looks, closed = [], []

    def sleep(for_s: float) -> None:
        looks.append(for_s)
        said = (tmp_path / "said").read_text()
        assert f"guardian: {LOST}: not taken back, a person is needed: " in said
        assert not closed
        if len(looks) == 2:
            away.rename(devices)
            with holding(left.place.folder) as mine:
                assert mine
                settle(left.place, reach_in(left.place.folder), "by a person", lambda: False)

    monkeypatch.setattr(guardian, "patience", lambda clock: lambda: False)
    monkeypatch.setattr(guardian, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    monkeypatch.setattr(FileDevices, "held", True)
    monkeypatch.setattr(FileDevices, "close", lambda of: closed.append(of))
    devices.rename(away)
    before = signal.getsignal(signal.SIGTERM)
    assert guarding(left.place.folder, b"until 1e8\n", monkeypatch) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    assert (len(looks), len(closed)) == (2, 1)
    assert left.standing().why == "by a person"


def test_what_is_gone_is_not_held_and_what_does_not_answer_is(left: Deployment) -> None:
    def saying(error: Exception) -> Reach:
        def reach(terms: Terms) -> Devices:
            raise error

        return reach

    assert not guardian._is_over(left.place, saying(Unreachable("not now")))
    assert guardian._is_over(left.place, saying(Gone("with its network")))


def test_what_it_has_taken_back_it_does_not_hold_any_longer(
    left: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(FileDevices, "held", True)
    assert guarding(left.place.folder, b"until 1e8\n", monkeypatch) == 0
    assert (tmp_path / "said").read_text() == (
        f"armed\nguardian: {LOST}: rolled_back: production has its old config\n"
    )


def test_it_leaves_alone_what_somebody_else_takes_over(
    left: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fenced(*_: object) -> Standing:
        raise Fenced("taken over")

    monkeypatch.setattr(guardian, "settle", fenced)
    monkeypatch.setattr(guardian, "patience", lambda clock: lambda: False)
    reach = reach_in(left.place.folder)
    assert take_back(left.place, reach, LATE, time.monotonic) == "somebody else settles it"


def test_production_that_is_gone_is_said_to_be(
    left: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Standing("halted", "production is gone", 2, None, "gone", left.standing().log)
    monkeypatch.setattr(guardian, "settle", lambda *_: gone)
    reach = reach_in(left.place.folder)
    assert take_back(left.place, reach, LATE, time.monotonic) == "halted: production is gone"


# -- as a process ------------------------------------------------------------------------------


def test_it_has_loaded_nothing_that_makes_a_run_wait(left: Deployment) -> None:
    """It starts with every run; not even to take a simulated change back does it need more."""
    program = f"""
import sys
from pathlib import Path
from shadowsim.commit.guardian import main
before = set(sys.modules)
code = main(Path({str(left.place.folder)!r}))
heavy = {{"pydantic", "numpy", "numba", "simpy", "yaml", "networkx", "polars"}} & {{*sys.modules}}
print(code, sorted(heavy), sorted(n for n in {{*sys.modules}} - before if "shadowsim" in n))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"until 1e8\n", capture_output=True, check=True
    )
    assert done.stdout == b"armed\n0 [] []\n", done
    assert left.settled() == (ROLLED_BACK, "old")


def test_it_is_out_of_reach_of_what_a_terminal_sends(deployment: Callable[..., Deployment]) -> None:
    one = deployment()
    one.arm()
    assert os.getsid(one.guardian) == one.guardian != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(one.guardian, number)
    time.sleep(0.5)
    assert is_there(one.guardian)
    one.send()
    one.hold.end(CONFIRMED)
    one.hold.release()
    until(lambda: not Path(f"/proc/{one.guardian}").exists())  # not even as a zombie
    assert one.settled() == (CONFIRMED, "new")


def test_the_deadline_is_kept(deployment: Callable[..., Deployment]) -> None:
    one = deployment()
    one.arm()
    one.send()
    before_s, starved_s = time.time(), without_cpu_s(one.guardian)
    one.hurry(0.5)
    after_s = time.time()
    until(lambda: not is_there(one.guardian))
    starved_s = without_cpu_s(one.guardian) - starved_s  # known until it is buried
    sealed_s = one.place.seal(2).stat().st_mtime
    assert before_s + 0.5 <= sealed_s < after_s + 0.5 + 2.0 + starved_s
    assert one.settled() == (ROLLED_BACK, "old")
    assert one.standing().why == LATE
    with pytest.raises(Fenced, match="was not confirmed by its deadline"):
        one.hold.end(CONFIRMED)
    state, configs = one.hold.taken()
    assert state == ROLLED_BACK
    assert configs == one.job.before


def test_a_deadline_that_is_put_off_does_not_pass(deployment: Callable[..., Deployment]) -> None:
    one = deployment()
    one.arm()
    one.hold._guard._lease_s = 0.5
    with one.hold.asking(60.0):
        time.sleep(0.8)
        assert not one.standing().settled
        one.hold._guard._lease_s = 20.0
    one.send()
    one.hold.end(CONFIRMED)
    assert one.settled() == (CONFIRMED, "new")


def test_who_has_many_files_open_has_a_guardian_too(
    deployment: Callable[..., Deployment],
) -> None:
    with many_files():
        one = deployment()
        one.arm()
        one.hold.end(CONFIRMED)


def test_nothing_is_sent_that_nobody_guards(deployment: Callable[..., Deployment]) -> None:
    one = deployment()
    one.arm()
    before = one.guardian
    os.kill(before, signal.SIGKILL)
    until(lambda: not is_there(before))
    one.hold.intend("deploy", "A", [])
    assert one.guardian != before
    assert is_there(one.guardian)


def test_one_that_dies_while_somebody_is_asked_is_replaced(
    deployment: Callable[..., Deployment],
) -> None:
    """And has what was left of the time for an answer, not the usual one."""
    one = deployment()
    one.arm()
    before = one.guardian
    one.hold._guard._lease_s = 0.5
    with one.hold.asking(60.0):
        os.kill(before, signal.SIGKILL)
        until(lambda: one.guardian != before and is_there(one.guardian))
        time.sleep(0.8)
        assert not one.standing().settled
        one.hold._guard._lease_s = 20.0
    one.send()
    one.hold.end(CONFIRMED)
    assert one.settled() == (CONFIRMED, "new")


def test_after_an_answer_the_deadline_is_as_near_as_ever(
    deployment: Callable[..., Deployment],
) -> None:
    one = deployment()
    one.arm()
    one.send()
    one.hold._guard._lease_s = 0.5
    with one.hold.asking(600.0):
        pass
    assert one.settled() == (ROLLED_BACK, "old")


def test_an_answer_that_never_comes_is_not_waited_for(
    deployment: Callable[..., Deployment],
) -> None:
    one = deployment()
    one.arm()
    one.send()
    with pytest.raises(Fenced), one.hold.asking(0.3):
        time.sleep(0.5)
        assert one.settled() == (ROLLED_BACK, "old")
        raise OSError("whatever fails then")


def test_one_that_cannot_be_replaced_while_somebody_is_asked_is_told_afterwards(
    deployment: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = deployment()
    one.arm()

    def none(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with one.hold.asking(20.0):
        monkeypatch.setattr(guard.subprocess, "Popen", none)
        os.kill(one.guardian, signal.SIGKILL)
        until(lambda: not is_there(one.guardian))
        time.sleep(3 * guard.ATTEND_S)
    with pytest.raises(NotArmed, match="Cannot allocate memory"):
        one.hold.intend("deploy", "A", [])


def test_one_that_is_replaced_though_it_lives_does_not_wake_up(
    deployment: Callable[..., Deployment],
) -> None:
    """It was stopped for so long that its pipe is full; continued, it would see a deadline pass."""
    one = deployment()
    one.arm()
    before = one.guardian
    os.kill(before, signal.SIGSTOP)
    while one.guardian == before:
        one.hold._guard.extend(20.0)
    assert not is_there(before)
    one.send()
    one.hold.end(CONFIRMED)
    assert one.settled() == (CONFIRMED, "new")


def test_a_replacement_is_armed_even_if_the_run_dies_while_it_starts(tmp_path: Path) -> None:
    program = f"""
import os, random, signal, subprocess, sys, time
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_guardian as tests
from pathlib import Path
one = tests.Deployment(Path({str(tmp_path / "c")!r}))
one.arm()
one.send()
os.kill(one.guardian, signal.SIGKILL)
Popen = subprocess.Popen
def started(*args, **given):
    Popen(*args, **given)
    os.kill(os.getpid(), signal.SIGKILL)
tests.guard.subprocess.Popen = started
tests.until(lambda: not tests.is_there(one.guardian))
time.sleep(0.2)  # it looks no more often
one.hold.extend()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = commit_in(tmp_path / "c")
    assert found is not None
    place = Place(RealDisk(), found, KEY)
    until(lambda: standing(place, reach_in(found)).settled)
    now = standing(place, reach_in(found))
    assert (now.state, now.position, now.why) == (ROLLED_BACK, "old", LOST)


def test_without_a_guardian_nothing_is_armed(
    deployment: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = deployment()
    os.kill(one.guardian, signal.SIGKILL)
    with pytest.raises(NotArmed, match="did not arm the rollback"):
        one.arm()
    assert one.settled() == ("cancelled", "old")


def test_a_guardian_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "ARMED_S", 0.1)
    one = Guard(tmp_path / "c", 20.0)
    os.kill(one.pid, signal.SIGSTOP)
    with pytest.raises(NotArmed):
        one.arm()
    one.end(done=True)


def test_a_system_that_starts_no_process_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(guard.subprocess, "Popen", none)
    with pytest.raises(NotArmed, match="Cannot allocate memory"):
        Guard(tmp_path / "c", 20.0)


def test_what_it_was_lent_is_open_in_it_and_in_its_replacement(
    deployment: Callable[..., Deployment], tmp_path: Path
) -> None:
    one = deployment()
    with (tmp_path / "lent").open("w") as file:
        for armed in (False, True):
            if armed:
                one.arm()
            one.hold._guard.lend([file.fileno()])
            held = Path(f"/proc/{one.guardian}/fd/{file.fileno()}").readlink()
            assert held == tmp_path / "lent"
    assert is_there(one.guardian)


def test_memory_is_taken_from_the_run_first(deployment: Callable[..., Deployment]) -> None:
    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    mine = score(os.getpid())
    one = deployment()
    one.arm()
    assert score(os.getpid()) == min(mine + guard.LIKELIER, 1000)
    assert score(one.guardian) == mine
    os.kill(one.guardian, signal.SIGKILL)
    until(lambda: not is_there(one.guardian))
    one.hold.extend()
    assert score(one.guardian) == mine
    one.hold.release()
    assert score(os.getpid()) == mine


def test_who_dies_without_a_guardian_is_taken_back_by_its_run(left: Deployment) -> None:
    left.hold.release()
    assert left.settled(0.5) == (ROLLED_BACK, "old")
    left.hold.release()


def test_a_run_that_others_ended_says_so_whatever_fails(left: Deployment) -> None:
    end(left.place, 1, "taken over", "resumed by hand")
    left.place.log(1).unlink()
    with pytest.raises(Fenced, match="another run began since"):
        left.hold.did("deploy", "A", "done")
