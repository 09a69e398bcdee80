"""What `doctor` says of the emulated network, and what `doctor --clean` removes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shadowsim.capabilities import examine_emulation
from shadowsim.commands import app
from shadowsim.errors import MachineLacks
from shadowsim.model.faults import FAULT_KINDS, Fault
from shadowsim.network.emulated import client, rundir
from shadowsim.network.emulated.refusals import NOT_HERE, refuse_faults
from shadowsim.network.emulated.rundir import RunDir


def rows() -> dict[str, object]:
    return {finding.what: finding for finding in examine_emulation()}


def test_every_kind_of_fault_has_its_row() -> None:
    found = rows()
    assert {f"fault {kind}" for kind in FAULT_KINDS} <= found.keys()


def test_what_is_refused_is_what_is_said_to_be_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "missing", lambda: ())
    found = rows()
    impossible = {k for k in FAULT_KINDS if not found[f"fault {k}"].ok}  # type: ignore[attr-defined]
    assert impossible == set(NOT_HERE)
    for kind in FAULT_KINDS:
        fault = Fault(kind, 1.0, device="A", link=("A", "B"))
        if kind in impossible:
            with pytest.raises(MachineLacks, match="simulated"):
                refuse_faults([fault])
        else:
            refuse_faults([fault])


def test_a_machine_that_lacks_parts_is_told_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "missing", lambda: ("the program ovs-vswitchd",))
    found = rows()["Mininet, OVS, root"]
    assert not found.ok  # type: ignore[attr-defined]
    assert "ovs-vswitchd" in found.found  # type: ignore[attr-defined]
    assert found.remedy == "make setup-emulated"  # type: ignore[attr-defined]
    assert not found.needed, "simulation does without"  # type: ignore[attr-defined]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for run folders of this user alone."""
    runtime = Path("/tmp") / f"sx{tmp_path.name[-12:]}"
    runtime.mkdir(mode=0o700)
    (runtime / "shadowsim").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(rundir, "RUNTIME", runtime / "login")
    monkeypatch.setattr(rundir, "FALLBACK", runtime / "fallback")
    yield runtime / "shadowsim"
    shutil.rmtree(runtime, ignore_errors=True)


def test_clean_removes_the_folders_of_the_dead_and_nothing_else(home: Path) -> None:
    dead = home / "production-4000000-7-0"
    other = home / "somebody-elses"
    for folder in (dead, other):
        folder.mkdir(mode=0o700)
        (folder / "agent.log").write_text("x")
    result = CliRunner().invoke(app, ["doctor", "--clean", "--json"])
    assert result.exit_code == 0, result.output
    assert [Path(one["folder"]).name for one in json.loads(result.output)] == [dead.name]
    assert not dead.exists()
    assert other.exists()


def test_clean_finds_nothing_where_nothing_is(home: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--clean"])
    assert (result.exit_code, result.output) == (0, "0 left-over networks removed\n")


def test_clean_looks_wherever_a_run_can_have_been(home: Path) -> None:
    """With the variable of now, with that of a login, and with none; never in what others can."""
    places = [home, rundir.RUNTIME / "shadowsim", rundir.FALLBACK]
    for number, place in enumerate(places):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / f"shadow-4000000-7-{number}").mkdir(mode=0o700)
        mine = RunDir.make("alive").path
        mine.rename(place / mine.name)
    found = rundir.clean()
    assert [one.path.name for one in found] == [f"shadow-4000000-7-{n}" for n in range(3)]
    assert [len(list(place.iterdir())) for place in places] == [1, 1, 1]


@pytest.mark.parametrize("how", ["mode", "link"])
def test_clean_leaves_a_place_alone_that_others_can_enter(home: Path, how: str) -> None:
    real = rundir.FALLBACK if how == "mode" else home.parent / "real"
    dead = real / "shadow-4000000-7-0"
    dead.mkdir(parents=True)
    real.chmod(0o777 if how == "mode" else 0o700)
    if how == "link":
        rundir.FALLBACK.symlink_to(real)
    assert rundir.clean() == []
    assert dead.exists()
