"""The hold of a run at its edges: told too early, overtaken, or beside what an earlier run left."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from shadowsim.carried import NotKept, begin, carry_out
from shadowsim.commands import app
from shadowsim.commit import alone, guard, hold
from shadowsim.commit.alone import AtWork
from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import (
    CANCELLED,
    CONFIRMED,
    ROLLED_BACK,
    TAKEN_OVER,
    Place,
    end,
    endings,
)
from shadowsim.commit.guard import Guard, NotArmed
from shadowsim.commit.guardian import LOST
from shadowsim.commit.hold import Held, Unheld, beside, commit_in, held
from shadowsim.commit.holder import holding
from shadowsim.commit.lying import lying
from shadowsim.commit.owner import NotSettled, claim
from shadowsim.commit.reach import reach_in
from shadowsim.commit.settle import Standing, settle, standing
from shadowsim.errors import (
    BadInput,
    Fenced,
    MachineLacks,
    Settled,
    ShadowsimError,
    Unreachable,
)
from shadowsim.journal import Journal
from shadowsim.model.change import Configs, parse_config
from shadowsim.network import factory
from shadowsim.rollback_command import told
from shadowsim.scenario import parse
from shadowsim.workflow import Run

# The attacks deploy the same way; they are a folder of programs beside these tests.
sys.path.append(str(Path(__file__).parent))
from torture.tiny import Job, Production, job

KEY = b"k" * 32
PAIR = """
name: pair
topology: {nodes: {A: {hosts: [a]}, B: {hosts: [b]}}, links: [[A, B]]}
traffic: {demands: [{from: a, to: b, rate_mbps: 1}]}
change: {script: "device A\\ninterface to-B\\n ip ospf cost 7"}
workflow: {confirm_within_s: 30}
"""


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))


@pytest.fixture
def tiny(tmp_path: Path) -> Job:
    return job(random.Random(1), tmp_path / "run", 20.0)


@pytest.fixture
def one(tiny: Job) -> Iterator[Held]:
    found = Held(beside(tiny.folder) / "c", KEY, 20.0)
    yield found
    found.release()


def arm(one: Held, tiny: Job) -> Production:
    production = Production(tiny.before)
    one.arm(production, tiny.change, tiny.before, tiny.signature)  # type: ignore[arg-type]
    return production


def die(one: Held) -> None:
    """The guardian, that is."""
    os.kill(one._guard.pid, signal.SIGKILL)
    one._guard._process.wait()


def test_before_it_is_armed_it_has_nothing_to_say(one: Held, tiny: Job) -> None:
    one.extend()
    with pytest.raises(RuntimeError, match="nothing was armed"):
        one.did("deploy", "A", "done")
    with pytest.raises(OSError, match="as it is"), one.asking(1.0):
        raise OSError("as it is")
    assert not one._place.folder.exists()
    arm(one, tiny)
    one.end(CONFIRMED)


def test_who_says_often_that_all_is_well_looks_at_its_guardian_now_and_then(
    one: Held, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    at_s = iter(number / 100 for number in range(100))
    monkeypatch.setattr(hold.time, "monotonic", lambda: next(at_s))
    monkeypatch.setattr(one._guard, "extend", lambda: looks.append(one._looked_s))
    for _ in range(30):
        one.extend()
    assert 3 <= len(looks) <= 8
    monkeypatch.undo()
    arm(one, tiny)
    one.end(CONFIRMED)


def test_what_the_change_does_not_touch_is_not_kept(one: Held, tiny: Job) -> None:
    production = arm(one, tiny)
    production._keep(parse_config("hostname other\n"))
    kept = {path.name.partition("@")[0] for path in (one._place.folder / "devices").iterdir()}
    assert "other" not in kept
    assert len(kept) == len(tiny.before)
    one.end(CONFIRMED)


def test_production_that_its_guardian_cannot_reach_is_left_alone(one: Held, tiny: Job) -> None:
    production = Production(tiny.before)
    production.entrust = lambda *_: {"kind": "emulated"}  # type: ignore[method-assign]
    with pytest.raises(NotArmed):
        one.arm(production, tiny.change, tiny.before, tiny.signature)  # type: ignore[arg-type]
    assert [ending.state for ending in endings(one._place)] == [CANCELLED]
    assert not (one._place.folder / "devices").exists()


def test_devices_made_anew_learn_whose_they_are(one: Held, tiny: Job) -> None:
    """Their fence went with them: only the commit says whether this run may tell them anything."""
    production = arm(one, tiny)
    production.still()
    end(one._place, 1, TAKEN_OVER, "late")
    with pytest.raises(Fenced, match="late") as taken:
        production.still()
    assert not isinstance(taken.value, Settled)  # somebody waits for what this run knows
    settle(one._place, reach_in(one._place.folder), "late", lambda: False)
    with pytest.raises(Settled, match="late"):
        production.still()


def test_what_this_run_has_ended_itself_is_its_own_to_mend(one: Held, tiny: Job) -> None:
    production = arm(one, tiny)
    one.end(CONFIRMED)
    production.still()


def test_of_what_died_after_it_was_taken_back_it_is_known_what_it_was_back_to(
    one: Held, tiny: Job
) -> None:
    arm(one, tiny)
    settle(one._place, reach_in(one._place.folder), "late", lambda: False)
    found = standing(one._place, reach_in(one._place.folder))

    class Silent:
        def read(self) -> Configs:
            raise Unreachable("it does not answer")

    def known(found: Standing) -> Configs:
        return hold._known(found, lambda terms: Silent())  # type: ignore[arg-type,return-value]

    assert known(found) == tiny.before
    assert known(replace(found, state="open")) == {}
    assert known(replace(found, terms=None)) == {}


def test_it_waits_until_whoever_took_over_is_done(
    one: Held, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm(one, tiny)
    real, looks = hold.standing, iter([False, False, True])
    monkeypatch.setattr(
        hold,
        "standing",
        lambda *a: real(*a) if next(looks) else replace(real(*a), state="open"),
    )
    one.end(ROLLED_BACK)
    assert one.taken() == (ROLLED_BACK, tiny.before)
    assert not list(looks)


def test_what_was_never_begun_leaves_no_configs(
    one: Held, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm(one, tiny)
    real = hold.standing
    monkeypatch.setattr(hold, "standing", lambda *a: replace(real(*a), terms=None))
    one.end(CANCELLED)
    assert one.taken() == (CANCELLED, {})


def test_it_leaves_the_rest_to_who_has_it(
    one: Held, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guardian has died, and somebody else takes care of it: that one is waited for."""
    monkeypatch.setattr(hold, "SETTLED_S", 0.1)
    arm(one, tiny)
    die(one)
    with holding(one._place.folder):
        one.release()
    assert not tiny.standing().settled


def test_a_system_that_has_no_scores_for_memory_does_without(
    tmp_path: Path, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path("/proc/self/oom_score_adj").read_text()
    with monkeypatch.context() as patched:
        patched.setattr(guard, "Path", lambda name: tmp_path / "none")
        found = Held(beside(tiny.folder) / "c", KEY, 20.0)
    arm(found, tiny)
    assert Path("/proc/self/oom_score_adj").read_text() == before
    found.end(CONFIRMED)
    found.release()
    assert tiny.standing().state == CONFIRMED


def test_a_guard_that_is_not_armed_puts_nothing_off(tmp_path: Path) -> None:
    found = Guard(tmp_path / "c", 20.0)
    found.extend()
    assert found._told_s == 0.0
    found.end(done=True)


# -- the folder beside that of the run ---------------------------------------------------------


def test_an_earlier_commit_is_removed_once_it_has_ended(tiny: Job) -> None:
    with held(tiny.folder, KEY, 20.0) as first:
        arm(first, tiny)
        with pytest.raises(NotSettled, match="neither confirmed nor taken back"):
            held(tiny.folder, KEY, 20.0).__enter__()
        first.end(CONFIRMED)
    earlier = commit_in(beside(tiny.folder))
    with held(tiny.folder, KEY, 20.0) as second:
        assert commit_in(beside(tiny.folder)) is None
        arm(second, tiny)
        second.end(CONFIRMED)
    assert commit_in(beside(tiny.folder)) not in (None, earlier)
    assert [path.name for path in tiny.folder.parent.iterdir() if "commit" in path.name] == [
        beside(tiny.folder).name
    ]


def test_only_what_has_ended_is_stowed(tiny: Job) -> None:
    tiny.folder.mkdir()
    with held(tiny.folder, KEY, 20.0) as one:
        one.stow(tiny.folder)
        arm(one, tiny)
        one.stow(tiny.folder)
        assert not (tiny.folder / hold.STOWED).exists()
        one.end(CONFIRMED)
        one.stow(tiny.folder)
    assert commit_in(tiny.folder / hold.STOWED) is not None
    assert not beside(tiny.folder).exists()


def test_what_was_claimed_and_never_begun_is_not_stowed(one: Held, tiny: Job) -> None:
    claim(one._place)
    tiny.folder.mkdir()
    one.stow(tiny.folder)
    assert not beside(tiny.folder).exists()
    assert not list(tiny.folder.iterdir())


def test_a_folder_without_a_commit_is_one_that_has_ended(tiny: Job) -> None:
    beside(tiny.folder).mkdir()
    with held(tiny.folder, KEY, 20.0) as one:
        assert not beside(tiny.folder).exists()
        arm(one, tiny)
        one.end(CONFIRMED)


# -- two runs, one folder ----------------------------------------------------------------------


def lock_of(tiny: Job) -> Path:
    return tiny.folder.with_name(f".{tiny.folder.name}.lock")


def test_a_folder_is_for_one_run_at_a_time(tiny: Job) -> None:
    with held(tiny.folder, KEY, 20.0) as first:
        with pytest.raises(AtWork, match="another run is at work here"):
            held(tiny.folder, KEY, 20.0).__enter__()
        arm(first, tiny)
        with pytest.raises(NotSettled):  # which says more
            held(tiny.folder, KEY, 20.0).__enter__()
        first.end(CONFIRMED)
        with pytest.raises(AtWork):  # its record is still to come
            held(tiny.folder, KEY, 20.0).__enter__()
        assert not first.supplanted
    with held(tiny.folder, KEY, 20.0):
        assert lock_of(tiny).exists()
    assert not lock_of(tiny).exists()


def test_the_guardian_does_not_keep_the_lock_of_its_run(tiny: Job) -> None:
    with held(tiny.folder, KEY, 20.0) as one:
        arm(one, tiny)
        lock = lock_of(tiny).stat()
        files = [path.stat() for path in Path(f"/proc/{one._guard.pid}/fd").iterdir()]
        assert files
        assert not any(os.path.samestat(lock, file) for file in files)
        one.end(CONFIRMED)


def test_who_was_overtaken_and_stands_still_is_not_waited_for(tiny: Job) -> None:
    late = held(tiny.folder, KEY, 20.0)
    first = late.__enter__()
    arm(first, tiny)
    settle(first._place, reach_in(first._place.folder), "late", lambda: False)
    with held(tiny.folder, KEY, 20.0) as second:
        assert first.supplanted
        with pytest.raises(AtWork):
            held(tiny.folder, KEY, 20.0).__enter__()
        arm(second, tiny)
        late.__exit__(None, None, None)
        assert lock_of(tiny).exists()
        second.end(CONFIRMED)
        assert not second.supplanted
    assert not lock_of(tiny).exists()
    assert tiny.standing().state == CONFIRMED


def test_one_at_a_time_follows(tiny: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "RETRY_S", 0.0)
    with held(tiny.folder, KEY, 20.0) as first:
        arm(first, tiny)
        settle(first._place, reach_in(first._place.folder), "late", lambda: False)
        with holding(beside(tiny.folder)), pytest.raises(AtWork):
            held(tiny.folder, KEY, 20.0).__enter__()
        assert not first.supplanted


@pytest.mark.parametrize("cleared", [False, True])
def test_two_that_follow_at_once_do_not_both(cleared: bool, tiny: Job) -> None:
    """The slower one finds that the lock is another one by then, and perhaps the commit gone."""
    commit = tiny.folder.with_name("run.commit") / "overtaken"
    commit.mkdir(parents=True)

    def slow(name: str) -> Path | None:
        if name == "second":
            return None
        lock_of(tiny).unlink()
        second.enter_context(alone.alone(tiny.folder, "second", slow))
        if cleared:
            shutil.rmtree(commit.parent)
        return commit

    with ExitStack() as second, alone.alone(tiny.folder, "first", slow) as still:
        assert still()
        with pytest.raises(AtWork):
            alone.alone(tiny.folder, "third", slow).__enter__()
        assert not still()
    assert not lock_of(tiny).exists()


def test_a_lock_that_goes_away_as_it_is_taken_is_none(
    tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, late = alone.fcntl.flock, [lock_of(tiny)]

    def flock(fd: int, operation: int) -> None:
        real(fd, operation)
        for path in late:
            path.unlink()
        late.clear()

    monkeypatch.setattr(alone.fcntl, "flock", flock)
    with held(tiny.folder, KEY, 20.0) as one:
        assert not one.supplanted
        assert lock_of(tiny).exists()


def test_where_nothing_can_be_locked_nothing_is_begun(
    tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(alone.fcntl, "flock", none)
    with pytest.raises(MachineLacks, match="No locks available"):
        held(tiny.folder, KEY, 20.0).__enter__()


def test_a_commit_that_names_nobody_is_nobodys(tiny: Job) -> None:
    assert hold._overtaken(beside(tiny.folder), KEY, "") is None
    with held(tiny.folder, KEY, 20.0) as one:
        arm(one, tiny)
        name = one._place.folder.name
        assert hold._overtaken(beside(tiny.folder), KEY, name) is None
        end(one._place, 1, TAKEN_OVER, "")
        assert hold._overtaken(beside(tiny.folder), KEY, name) is None
        assert hold._overtaken(beside(tiny.folder), KEY, "another") is None


def test_a_run_that_was_followed_keeps_no_record(tiny: Job, tmp_path: Path) -> None:
    """Its folder is that of the next run by now."""
    scenario = parse(PAIR, file="pair.yml")
    run = begin(scenario, factory("simulated"), Journal())
    before = tmp_path / "pair"
    with held(before, KEY, 20.0) as one:
        one._still = lambda: False
        with pytest.raises(NotKept, match="another one has begun here since"):
            carry_out(run, "simulated", before, KEY, nullcontext(one))
    assert not before.exists()


# -- a run that is cut short -------------------------------------------------------------------


def carry(folder: Path, beside: Callable[[Run], None]) -> dict[str, Any]:
    """What a run of PAIR leaves that this goes on beside, and that comes to no end of its own."""
    run = begin(parse(PAIR, file="pair.yml"), factory("simulated"), Journal())
    run.beside = beside
    with suppress(KeyboardInterrupt):
        carry_out(run, "simulated", folder, KEY, held(folder, KEY, 20.0))
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def stowed(folder: Path) -> Standing:
    commit = commit_in(folder / hold.STOWED)
    assert commit is not None
    return standing(Place(RealDisk(), commit, KEY), reach_in(commit))


def test_a_run_that_is_asked_again_as_it_takes_back_says_what_its_guardian_did(
    tmp_path: Path,
) -> None:
    asked: list[bool] = []

    def ask(run: Run) -> None:
        if run.deployed:
            asked.append(run.interrupted)
            raise KeyboardInterrupt

    found = carry(tmp_path / "pair", ask)
    assert asked == [False, True]
    now = stowed(tmp_path / "pair")
    assert (now.state, now.position, now.why) == (ROLLED_BACK, "old", LOST)
    assert (found["end_state"], found["root_cause"]) == (ROLLED_BACK, "interrupted")
    assert found["digests"]["after"] == found["digests"]["before"]
    assert found["interrupted"]


def test_a_run_that_is_asked_as_it_waits_for_its_guardian_waits_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = Guard.end, [True]

    def end(guard: Guard, *, done: bool) -> None:
        if asked:
            asked.clear()
            raise KeyboardInterrupt
        real(guard, done=done)

    def ask(run: Run) -> None:
        if run.deployed:
            raise KeyboardInterrupt

    monkeypatch.setattr(Guard, "end", end)
    found = carry(tmp_path / "pair", ask)
    assert not asked
    assert stowed(tmp_path / "pair").state == found["end_state"] == ROLLED_BACK


def test_what_nobody_could_take_back_is_halted_and_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the run nor anybody after it: production has part of the change."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def ask(run: Run) -> None:
        if run.deployed:
            die(run.hold)  # type: ignore[arg-type]
            monkeypatch.setattr(hold, "settle", full)
            monkeypatch.setattr(Held, "intend", interrupt)
            raise KeyboardInterrupt

    found = carry(tmp_path / "pair", ask)
    commit = commit_in(beside(tmp_path / "pair"))
    assert commit is not None
    now = standing(Place(RealDisk(), commit, KEY), reach_in(commit))
    assert (now.state, now.position) == ("open", "new")
    assert found["end_state"] == "halted"
    assert found["digests"]["after"] != found["digests"]["before"]


def test_what_somebody_else_takes_over_meanwhile_is_waited_for(
    one: Held, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*_: object) -> None:
        settle(one._place, reach_in(one._place.folder), "by hand", lambda: False)
        raise Fenced("somebody else has taken production over")

    arm(one, tiny)
    die(one)
    monkeypatch.setattr(hold, "settle", overtaken)
    assert one.release() == (ROLLED_BACK, tiny.before)


def test_of_a_commit_that_is_gone_nothing_is_known(one: Held, tiny: Job) -> None:
    arm(one, tiny)
    die(one)
    shutil.rmtree(one._place.folder)
    assert one.release() == ("open", {})
    assert one.release() is None


class Full(RealDisk):
    """A disk that has no room once, for what a device is to run now."""

    room = 1  # for its config of before

    def create(self, path: Path, data: bytes) -> None:
        if path.name.startswith("@draft."):
            self.room -= 1
            if self.room == -1:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        super().create(path, data)


def run_pair(tmp_path: Path, *options: str) -> Result:
    (tmp_path / "pair.yml").write_text(PAIR, encoding="utf-8")
    where = ["--out", str(tmp_path / "runs"), "--store", str(tmp_path / "outcomes.sqlite")]
    return CliRunner().invoke(app, ["run", str(tmp_path / "pair.yml"), *where, *options])


def test_a_write_that_failed_is_told_with_what_production_has_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "RealDisk", Full)
    error = run_pair(tmp_path).exception
    assert isinstance(error, ShadowsimError)
    first, last = str(error).splitlines()
    assert "what A runs is unknown" in first
    assert last == f"rolled_back ({LOST}): production has its old config"
    assert error.exit_code == 1
    found = json.loads((tmp_path / "runs/pair/result.json").read_text())
    assert (found["end_state"], found["root_cause"]) == (ROLLED_BACK, "interrupted")
    assert found["digests"]["after"] == found["digests"]["before"]


def test_a_second_run_in_one_folder_is_refused_in_words(tmp_path: Path) -> None:
    with held(tmp_path / "runs/pair", KEY, 20.0):
        error = run_pair(tmp_path).exception
    assert isinstance(error, AtWork)
    assert error.exit_code == NotSettled.exit_code
    assert str(error).endswith("wait until it has ended, or say --out for another place")
    assert not list((tmp_path / "runs").iterdir())
    assert run_pair(tmp_path).exit_code == 0


def keep_nothing(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "telemetry.parquet")


def test_a_run_without_a_record_is_not_told_with_the_commit_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_pair(tmp_path).exit_code == 0
    monkeypatch.setattr("shadowsim.record.write_table", keep_nothing)
    error = run_pair(tmp_path, "--autonomy", "observe").exception
    assert isinstance(error, ShadowsimError)
    assert str(error).splitlines()[1:] == ["nothing was sent to production"]
    assert error.exit_code == 1
    error = run_pair(tmp_path).exception
    assert str(error).splitlines()[1:] == ["confirmed: production has its new config"]


def test_on_a_file_system_without_links_no_change_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("shadowsim.commit.disk.os.link", none)
    error = run_pair(tmp_path).exception
    assert isinstance(error, MachineLacks)
    assert "no hard links (Operation not permitted)" in str(error)
    found = json.loads((tmp_path / "runs/pair/result.json").read_text())
    assert found["digests"]["after"] == found["digests"]["before"]
    assert (found["decision"], found["end_state"]) == ("go", "halted")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["pair"]


def test_a_commit_that_is_gone_says_nothing_of_production(tmp_path: Path) -> None:
    settled, words = told(tmp_path / "gone")
    assert not settled
    assert "nobody knows what production has" in words


@pytest.mark.parametrize(
    ("pace", "lease_s"), [((), 30.0), (("--pace", "20"), 30.0), (("--pace", "0.5"), 60.0)]
)
def test_who_is_slow_on_purpose_is_not_taken_for_dead(
    pace: tuple[str, ...], lease_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`confirm_within_s` is in seconds of the network, where those are longer than the clock's."""
    leases: list[float] = []

    def none(folder: Path, key: bytes, for_s: float) -> None:
        leases.append(for_s)
        raise BadInput("that is all")

    monkeypatch.setattr(hold, "held", none)
    (tmp_path / "pair.yml").write_text(PAIR, encoding="utf-8")
    where = ["--out", str(tmp_path / "runs"), "--store", str(tmp_path / "outcomes.sqlite")]
    CliRunner().invoke(app, ["run", str(tmp_path / "pair.yml"), *where, *pace])
    assert leases == [lease_s]


def test_what_nobody_holds_nobody_takes_over(tiny: Job) -> None:
    one = Unheld()
    one.arm(None, tiny.change, tiny.before, tiny.signature)  # type: ignore[arg-type]
    with one.asking(1.0):
        one.extend()
        one.intend("deploy", "A", [])
        one.did("deploy", "A", "done")
    one.end(CONFIRMED)
    one.release()
    one.stow(tiny.folder)
    assert not one.supplanted
    with pytest.raises(NotImplementedError):
        one.taken()


# -- what lies beside a folder of runs ---------------------------------------------------------


def test_commits_stand_as_their_runs_left_them(tmp_path: Path) -> None:
    def left(run: str) -> Place:
        place = Place(RealDisk(), beside(tmp_path / run) / run, KEY)
        claim(place)
        place.disk.create(place.log(1), b"")
        return place

    assert lying(tmp_path) == {}
    beside(tmp_path / "never begun").mkdir()
    waiting, dead, forged = map(left, ("waiting", "dead", "forged"))
    end(dead, 1, TAKEN_OVER, "")
    assert lying(tmp_path) == {"open": 3}
    end(dead, 2, ROLLED_BACK, "")
    end(replace(forged, key=b"another"), 1, CONFIRMED, "")
    assert lying(tmp_path) == {"open": 1, "rolled_back": 1, "altered": 1}
    end(waiting, 1, CONFIRMED, "")
    assert lying(tmp_path) == {"confirmed": 1, "rolled_back": 1, "altered": 1}
