"""`shadowsim rollback`: every state a run can be left in, and every folder that is none."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from shadowsim.commands import app
from shadowsim.commit.devices import FileDevices, Gone
from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import CANCELLED, CONFIRMED, HALTED, ROLLED_BACK
from shadowsim.commit.hold import STOWED, Held, beside, commit_in, held
from shadowsim.commit.holder import holding
from shadowsim.commit.owner import NotSettled
from shadowsim.errors import BadInput, ShadowsimError, Unreachable
from shadowsim.model.change import apply, parse_script

# The attacks deploy the same way; they are a folder of programs beside these tests.
sys.path.append(str(Path(__file__).parent))
from torture.tiny import Production, job

KEY = b"k" * 32
RING = """
name: ring
topology:
  nodes: {A: {hosts: [a]}, B: {hosts: [b]}, C: {}}
  links: [[A, B], [B, C], [C, A]]
traffic: {demands: [{from: a, to: b, rate_mbps: 1}]}
change:
  script: |
    device A
    interface to-B
     ip ospf cost 500
    device B
    interface to-A
     ip ospf cost 500
workflow: {baseline_s: 2, shadow_s: 5, monitor_s: 5, soak_s: 1, horizon_s: 5}
"""


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))


@dataclass
class Left:
    """A run that was left in some state."""

    run: Path
    before: dict[str, Any]
    hold: Held

    @property
    def commit(self) -> Path:
        found = commit_in(beside(self.run))
        assert found is not None
        return found

    def device(self) -> Path:
        return next(p for p in sorted((self.commit / "devices").iterdir()) if p.name[0] != "@")

    def contents(self) -> dict[str, tuple[bytes, int]]:
        files = [path for path in sorted(self.commit.rglob("*")) if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def leave(
    folder: Path, state: str | None = None, *, sent: int | None = None, name: str = "c0"
) -> Left:
    """A run that died with its guardian after it had sent so much, or ended like this."""
    one = job(random.Random(4), folder / "run", 60.0)
    hold = Held(beside(one.folder) / name, KEY, 60.0)
    production = Production(one.before)
    hold.arm(production, one.change, one.before, one.signature)  # type: ignore[arg-type]
    for command in one.change.commands[:sent]:
        hold.intend("deploy", command.device, [str(command)])
        production.apply([command])
    if state is not None:
        hold.end(state)
        hold.release()
    else:
        os.kill(hold._guard.pid, signal.SIGKILL)
        hold._guard._process.wait()
        hold._guard._outbox.close()
        hold._guard._inbox.close()
    return Left(one.folder, dict(one.before), hold)


def said(*arguments: str | Path) -> tuple[int, str]:
    """What the command line says, by its exit code."""
    done = CliRunner().invoke(app, ["rollback", *map(str, arguments)])
    if isinstance(done.exception, ShadowsimError):
        return done.exception.exit_code, str(done.exception)
    if isinstance(done.exception, OSError):
        return BadInput.exit_code, f"{done.exception.filename}: {done.exception.strerror}"
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def document(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    code, words = said(*arguments, "--json")
    return code, json.loads(words)


# -- every state -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "sent", "words"),
    [
        (CONFIRMED, None, "confirmed: production has its new config\n"),
        (CANCELLED, 0, "cancelled: production has its old config\n"),
        (ROLLED_BACK, 0, "rolled_back: production has its old config\n"),
        (ROLLED_BACK, 1, "rolled_back: production has the new config without the part that was"
                         " blamed\n"),
        (HALTED, 0, "halted: production has its old config\n"),
    ],
)  # fmt: skip
def test_what_has_ended_is_told_and_left_alone(
    tmp_path: Path, state: str, sent: int | None, words: str
) -> None:
    left = leave(tmp_path, state, sent=sent)
    before = left.contents()
    assert said(left.run) == (0, words)
    assert said(left.run, "--resume") == (0, words)
    assert said(left.run, "--resume", "--force") == (0, words)
    assert left.contents() == before


@pytest.mark.parametrize("sent", [1, None])
def test_what_a_run_left_to_a_person_comes_with_the_script_for_it(
    tmp_path: Path, sent: int | None
) -> None:
    left = leave(tmp_path, HALTED, sent=sent)
    before = left.contents()
    code, words = said(left.run, "--resume", "--force")
    line, script = words.split("\n", 1)
    assert code == 0
    assert line.endswith(
        "; the run left it to a person, so --resume leaves it too. This script takes back what is"
        " left of the change:"
    )
    assert document(left.run)[1]["by_hand"] == script.splitlines()
    assert left.contents() == before
    devices = FileDevices(RealDisk(), left.commit / "devices")
    assert apply(devices.read(), parse_script(script)) == left.before


@pytest.mark.parametrize(
    ("sent", "position", "words"),
    [
        (0, "old", "production has its old config"),
        (1, "mixed", "production has neither its old nor its new config"),
        (None, "new", "production has its new config"),
    ],
)
def test_what_was_left_open_is_brought_back(
    tmp_path: Path, sent: int | None, position: str, words: str
) -> None:
    left = leave(tmp_path, sent=sent)
    code, text = said(left.run)
    assert (code, words in text) == (4, True)
    code, found = document(left.run)
    assert (code, found["state"], found["production"]) == (4, "open", position)
    assert [entry["kind"] for entry in found["log"]] == ["intend"] * len(found["log"])
    assert said(left.run, "--resume") == (
        0, "rolled_back (resumed by hand): production has its old config\n"
    )  # fmt: skip
    code, found = document(left.run)
    assert (code, found["state"], found["production"]) == (0, "rolled_back", "old")
    assert found["generation"] == 2
    assert found["log"][0]["kind"] == "took over"
    assert found["log"][-1] == {"kind": "verified", "failed": []}
    before = left.contents()
    assert said(left.run, "--resume")[0] == 0
    assert left.contents() == before


def test_it_says_how_to_settle_what_is_open(tmp_path: Path) -> None:
    left = leave(tmp_path)
    code, text = said(left.run)
    assert code == 4
    assert "--resume" in text
    with pytest.raises(NotSettled, match="rollback --resume"), held(left.run, KEY, 1.0):
        pass


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (Unreachable("no answer"), "production does not answer, so that nobody knows what it has"),
        (Gone("its network has gone"), "open: production is gone with its network; 'shadowsim"
                                       " rollback --resume' ends the commit"),
    ],
)  # fmt: skip
def test_a_production_that_is_silent_or_gone_needs_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: Unreachable, words: str
) -> None:
    def read(devices: FileDevices) -> NoReturn:
        raise why

    left = leave(tmp_path)
    monkeypatch.setattr(FileDevices, "read", read)
    code, text = said(left.run)
    assert code == 4 and words in text
    assert said(left.run, "--resume")[0] == (0 if isinstance(why, Gone) else 4)


def test_the_folder_of_the_run_of_the_commit_and_of_both_do(tmp_path: Path) -> None:
    left = leave(tmp_path, CONFIRMED)
    words = "confirmed: production has its new config\n"
    assert said(beside(left.run)) == said(left.commit) == (0, words)
    left.run.mkdir()
    left.hold.stow(left.run)
    assert not beside(left.run).exists()
    assert said(left.run) == said(left.run / STOWED) == (0, words)


def test_a_guardian_that_is_alive_is_waited_for(tmp_path: Path) -> None:
    left = leave(tmp_path)
    with holding(left.commit):
        code, text = said(left.run, "--resume", "--wait", "0.2")
        assert code == 4
        assert "its guardian is alive" in text
        assert "--force" in text
        assert document(left.run)[1]["state"] == "open"
        assert said(left.run, "--resume", "--force")[0] == 0
    assert document(left.run)[1]["state"] == "rolled_back"


def test_what_others_settle_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave(tmp_path)
    with holding(left.commit):
        program = [sys.executable, "-m", "shadowsim", "rollback", "--resume", str(left.run)]
        waiting = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        assert said(left.run, "--resume", "--force")[0] == 0
        told, _ = waiting.communicate(timeout=30)
    assert (waiting.returncode, told) == (
        0, "rolled_back (resumed by hand): production has its old config\n"
    )  # fmt: skip


# -- several in one place ----------------------------------------------------------------------


@pytest.fixture
def several(tmp_path: Path) -> Left:
    """One that was confirmed, and two that were left open: no lock has kept them apart."""
    leave(tmp_path, CONFIRMED, name="c0")
    leave(tmp_path, sent=1, name="c1")
    return leave(tmp_path, name="c2")


def test_one_that_ended_hides_no_open_one(several: Left) -> None:
    code, words = said(several.run)
    assert code == 4
    assert [line.partition(": ")[2].partition(":")[0] for line in words.splitlines()] == [
        "confirmed", "open", "open"
    ]  # fmt: skip
    code, found = document(several.run)
    assert (code, [one["production"] for one in found]) == (4, ["new", "mixed", "new"])
    with pytest.raises(NotSettled), held(several.run, KEY, 1.0):
        pass


def test_all_that_were_left_open_are_settled(several: Left) -> None:
    assert said(several.run, "--resume")[0] == 0
    code, found = document(several.run)
    assert (code, [one["production"] for one in found]) == (0, ["new", "old", "old"])
    with held(several.run, KEY, 1.0):
        assert commit_in(beside(several.run)) is None


def test_one_that_cannot_be_settled_keeps_no_other_from_it(several: Left) -> None:
    second = beside(several.run) / "c1"
    with holding(second):
        code, words = said(several.run, "--resume", "--wait", "0.1")
    assert (code, "c1: its guardian is alive" in words) == (4, True)
    states = [one["state"] for one in document(several.run)[1]]
    assert states == [CONFIRMED, "open", ROLLED_BACK]
    Path(second / "1.seal").write_bytes(b"confirmed")
    code, words = said(several.run, "--json")
    assert (code, "c1/1.seal: altered" in words) == (4, True)


def test_what_an_earlier_run_does_late_touches_no_open_commit(tmp_path: Path) -> None:
    """Whoever stows or begins: what is open stays, whatever its name."""
    ended, left = leave(tmp_path, CONFIRMED, name="c1"), leave(tmp_path, sent=1, name="c2")
    left.run.mkdir()
    ended.hold.stow(ended.run)
    assert commit_in(left.run / STOWED) == left.run / STOWED / "c1"
    assert said(left.run)[0] == 4
    assert said(left.run, "--resume")[0] == 0
    assert document(left.run)[1]["production"] == "old"


# -- every folder that is none -----------------------------------------------------------------


def test_folders_that_are_none(tmp_path: Path) -> None:
    assert said(tmp_path / "nowhere") == (2, f"{tmp_path / 'nowhere'}: no folder of a run")
    code, text = said(tmp_path)
    assert (code, "nothing to take back" in text) == (2, True)
    (tmp_path / "file").write_text("")
    assert said(tmp_path / "file")[0] == 2
    code, text = said("/")
    assert (code, "nothing to take back" in text) == (2, True)


def test_a_run_is_found_however_its_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open commit lies beside the folder, and so does not in the folder as it was named."""
    left = leave(tmp_path / "runs")
    (left.run / "figures").mkdir(parents=True)
    (tmp_path / "latest").symlink_to(left.run)
    (tmp_path / "all").symlink_to(left.run.parent)
    monkeypatch.chdir(left.run / "figures")
    open_ = said(left.run)
    assert open_[0] == 4
    names = ("..", "../../run", "../../run/", "../figures/..", tmp_path / "latest")
    for name in (*names, tmp_path / "all/run", tmp_path / "all/../runs/run"):
        assert said(name) == open_, name
    monkeypatch.chdir(left.run)
    assert said(".") == said("./") == open_
    assert said(".", "--resume")[0] == 0
    left.run.rename(tmp_path / "archive")
    left.run.symlink_to(tmp_path / "archive")
    assert said(left.run)[1].startswith("rolled_back")


def _alter(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def _log(left: Left) -> None:
    _alter(left.commit / "1.log", b"a tiny change", b"a tidy change")


def _order(left: Left) -> None:
    first, second, *rest = (left.commit / "1.log").read_bytes().splitlines(keepends=True)
    (left.commit / "1.log").write_bytes(b"".join([second, first, *rest]))


def _signature(left: Left) -> None:
    _alter(left.commit / "1.log", b'"timeout_s":', b'"timeout_S":')


def _other_key(left: Left) -> None:
    Path(os.environ["SHADOWSIM_KEY"]).write_bytes(b"o" * 32)


def _seal(left: Left) -> None:
    (left.commit / "1.seal").write_bytes(b"confirmed")


def _seal_of_another(left: Left) -> None:
    other = leave(left.run.parent / "other", CONFIRMED)
    shutil.copy(other.commit / "1.seal", left.commit / "2.seal")


def _device_altered(left: Left) -> None:
    left.device().write_text("hostname\n\nwhat is this\n")


def _commit_unreadable(left: Left) -> None:
    log = left.commit / "1.log"
    log.unlink()
    log.mkdir()


@pytest.mark.parametrize(
    ("alter", "code", "words"),
    [
        (_log, 4, "1.log:1: altered, or written with another key"),
        (_order, 4, "1.log:1: altered"),
        (_signature, 4, "1.log:1: altered"),
        (_other_key, 4, "written with another key"),
        (_seal, 4, "1.seal: altered, or made with another key"),
        (_seal_of_another, 4, "2.seal has nothing before it"),
        (_device_altered, 2, "@1:"),
        (_commit_unreadable, 2, "1.log"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--resume",), ("--resume", "--force")])
def test_nothing_is_concluded_from_what_was_altered(
    tmp_path: Path,
    alter: Callable[[Left], None],
    code: int,
    words: str,
    options: tuple[str, ...],
) -> None:
    left = leave(tmp_path)
    alter(left)
    before = left.contents()
    found, text = said(left.run, *options)
    assert (found, words in text) == (code, True), text
    assert left.contents() == before


def test_a_device_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = leave(tmp_path)
    device = left.device()
    name = device.name.partition("@")[0]
    device.unlink()
    assert document(left.run)[1]["production"] == "mixed"
    monkeypatch.setattr("shadowsim.commit.guardian.PATIENCE_S", 0.0)
    monkeypatch.setattr("shadowsim.commit.guardian.patience", lambda clock: lambda: False)
    code, text = said(left.run, "--resume")
    assert code == 4
    assert name in text
    assert "does not answer" in text


def test_a_torn_last_line_is_what_a_crash_leaves(tmp_path: Path) -> None:
    left = leave(tmp_path, sent=1)
    log = left.commit / "1.log"
    log.write_bytes(log.read_bytes()[:-7])
    code, found = document(left.run)
    assert (code, found["torn"], found["production"]) == (4, True, "mixed")
    assert said(left.run, "--resume")[0] == 0


# -- a run that can keep nothing ---------------------------------------------------------------


def run_ring_in(folder: Path, largest: int) -> subprocess.CompletedProcess[str]:
    """A run none of whose files may be larger; -1: without a limit."""
    folder.mkdir()
    (folder / "ring.yml").write_text(RING)
    program = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest}))\n"
        "from shadowsim.__main__ import main\n"
        "sys.argv = ['shadowsim', 'run', 'ring.yml', '--out', 'runs', '--store', 'o.sqlite']\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True
    )


def run_ring(folder: Path, largest: int, settled: bool = True) -> tuple[int, str, dict[str, Any]]:
    """Such a run: its code, what it says, and how it stands then."""
    done = run_ring_in(folder, largest)
    assert "Traceback" not in done.stderr
    assert {path.name for path in (folder / "runs").iterdir()} == {"ring.commit"}
    code, found = document(folder / "runs" / "ring")
    assert code == (0 if settled else 4)
    if settled:
        assert f"production has its {found['production']} config" in done.stderr
    return done.returncode, done.stderr, found


def test_a_full_disk_is_told_with_what_production_has(tmp_path: Path) -> None:
    """First only the record of the run meets the limit, then what is written while deploying."""
    assert run_ring_in(tmp_path / "first", -1).returncode == 0  # compiled kernels are files too
    code, words, found = run_ring(tmp_path / "record", 6000)
    assert (code, found["state"], found["production"]) == (1, "confirmed", "new")
    # Which of its files it is, and who writes that one, decides the words.
    assert re.search("the run could not be kept: (File too large|Input/output error)", words)
    log = Path(found["commit"]) / "1.log"
    opening, first, second, *_ = log.read_bytes().splitlines(keepends=True)
    fits = len(opening + first) + len(second) // 2  # one device has the change, the other has not
    code, words, found = run_ring(tmp_path / "log", fits, settled=False)
    assert (code, found["state"]) == (4, "open")  # its guardian has no room for a log either
    assert "production has neither its old nor its new config" in words
    assert said(tmp_path / "log/runs/ring", "--resume")[0] == 0  # once there is room
    assert document(tmp_path / "log/runs/ring")[1]["production"] == "old"
