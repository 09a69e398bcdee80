"""The folder of a history: the same however it was made, gone on with, and refused in words."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from shadowsim.errors import BadInput, ShadowsimError
from shadowsim.history import generate as generating
from shadowsim.history.cases import CHANGES_PER_SITE, Case, change_at
from shadowsim.history.generate import generate, settings
from shadowsim.history.looks import for_training
from shadowsim.history.simulate import over_s, simulate
from shadowsim.history.sites import Site, site
from shadowsim.history.store import claimed, read, unfinished
from shadowsim.history.tables import LABELS, labels_of, looks_of
from shadowsim.model.truth import MODES
from shadowsim.precog.past import Past

# -- a folder that comes out the same -----------------------------------------------------------

SMALL = settings(CHANGES_PER_SITE + 5, 3, "training")
THREE = settings(3 * CHANGES_PER_SITE, 3, "training")
PARTS = ("looks", "labels")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history made in one go, in this process."""
    folder = tmp_path_factory.mktemp("history") / "small"
    generate(folder, SMALL, 1, quiet)
    return folder


def test_two_processes_make_the_same_bytes(small: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    generate(tmp_path / "h", SMALL, 2, lambda *progress: told.append(progress))
    assert content(tmp_path / "h") == content(small)
    assert told[0] == (0, SMALL.changes) and told[-1] == (SMALL.changes, SMALL.changes)


def test_looks_and_labels_are_apart(small: Path) -> None:
    found = read(small)
    mine = ["case", "network", "kind", "phase", "since_s"]
    told = [f"{variant}.{mode}" for variant in SMALL.variants for mode in MODES]
    assert found.looks.columns == [*mine, *SMALL.features, *told]
    assert set(found.looks.columns) & set(LABELS) == {"case", "network", "kind"}
    assert found.labels.schema == LABELS
    assert found.labels["case"].to_list() == list(range(SMALL.changes))
    assert set(found.looks["case"]) == set(range(SMALL.changes))
    gates = found.looks.filter(pl.col("phase") == "shadow")
    assert gates.height == SMALL.changes
    assert found.looks.height > 5 * SMALL.changes
    assert found.labels.select(pl.any_horizontal(*MODES)).to_series().any()


def test_an_onset_stands_where_there_is_a_failure_and_nowhere_else(small: Path) -> None:
    labels = read(small).labels
    for mode in MODES:
        assert (labels[mode] == labels[f"{mode}_at_s"].is_not_null()).all()
        assert (labels[f"{mode}_at_s"].drop_nulls() >= 0.0).all()


def test_no_look_differs_when_the_case_says_something_else_of_itself(
    small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What only the label knows of a case does not get into the evidence."""

    def lying(where: Site, index: int) -> Case:
        told = {"mistake": "none of it", "at_fault": (), "hidden": ("all",)}
        return replace(change_at(where, index), **told)

    monkeypatch.setattr(generating, "change_at", lying)
    generate(tmp_path / "h", SMALL, 1, quiet)
    one, other = content(small), content(tmp_path / "h")
    looks = [name for name in one if name.startswith("looks")]
    assert len(looks) == SMALL.sites == 2
    assert all(one[name] == other[name] for name in looks)
    assert all(one[name] != other[name] for name in one if name.startswith("labels"))


def test_a_site_goes_on_with_its_past(small: Path) -> None:
    looks = read(small).looks.filter(pl.col("phase") == "shadow")
    past = [name for name in SMALL.features if name.startswith("history")]
    assert past
    first = looks.filter(pl.col("case") % CHANGES_PER_SITE == 0)
    last = looks.filter(pl.col("case") % CHANGES_PER_SITE == CHANGES_PER_SITE - 1)
    assert last.select(past).sum().sum_horizontal().item() > 0
    assert first.select(past).rows() != last.select(past).rows()


def test_what_the_changes_of_a_site_share_only_saves_time(small: Path) -> None:
    """Each made by itself, with all that is remembered made anew, they are the same."""
    where, past, happened = site(SMALL.seed, 1, SMALL.networks), Past(), []
    network = where.topology, where.traffic.demands, where.intents
    for number in SMALL.at(where.number):
        one = change_at(where, number % CHANGES_PER_SITE)
        times_s = for_training(over_s(one.scenario), one.scenario.seed)
        observer = generating.observer_of(*network, SMALL.variants)
        record = simulate(one.scenario, past, observer, times_s)
        past = past.with_outcome(where.topology, one.scenario.change, record.label.failed)
        happened.append((one, record))
    kept, mine = read(small), pl.col("case") >= CHANGES_PER_SITE
    assert looks_of(happened, SMALL.features, SMALL.variants).equals(kept.looks.filter(mine))
    assert labels_of(happened).equals(kept.labels.filter(mine))


# -- interrupted, and gone on with --------------------------------------------------------------


def test_a_worker_that_is_killed_is_told_and_the_second_call_goes_on(
    small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "h"

    def kill(done: int, total: int) -> None:
        """As soon as one site is there, while the other is worked on."""
        if done:
            for worker in multiprocessing.active_children():
                worker.kill()

    with pytest.raises(ShadowsimError, match=r"a worker died \(exit code -9\).*goes on"):
        generate(folder, THREE, 2, kill)
    assert multiprocessing.active_children() == []
    left = unfinished(folder, THREE)
    assert 1 <= len(left) <= 2
    before = content(folder)
    generate(folder, THREE, 2, quiet)
    after = content(folder)
    kept = [
        name for name in before if name.endswith(".parquet") and f"labels-{name[-13:]}" in before
    ]
    assert kept and all(after[name] == before[name] for name in kept)
    assert unfinished(folder, THREE) == []
    whole = content(small)
    assert all(after[f"{what}-00000.parquet"] == whole[f"{what}-00000.parquet"] for what in PARTS)


def test_finished_sites_are_not_made_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(where: Site, index: int) -> Case:
        raise AssertionError("a change was made again")

    monkeypatch.setattr(generating, "change_at", never)
    before = content(small)
    generate(small, SMALL, 1, quiet)
    assert content(small) == before


def test_what_a_piece_of_work_raises_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(where: Site, index: int) -> Case:
        raise BadInput("seven")

    monkeypatch.setattr(generating, "change_at", broken)
    with pytest.raises(BadInput, match="seven"):
        generate(tmp_path / "h", SMALL, 1, quiet)


def running(group: int) -> list[str]:
    """The processes of a group that are more than an entry in a table."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(") ")[2].split()[:3]
            found += [stat.parent.name] if int(of) == group and state != "Z" else []
    return found


def test_ctrl_c_leaves_nothing_running_and_the_second_call_goes_on(tmp_path: Path) -> None:
    """The whole group of a terminal is interrupted, as Ctrl-C does it."""
    words = ["history", "--changes", "400", "--out", str(tmp_path / "h"), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "shadowsim", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until_s = time.monotonic() + 120.0
    while not list(tmp_path.glob("h/labels-*.parquet")) and time.monotonic() < until_s:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30.0)
    assert (process.returncode, out, err.splitlines()[-1:]) == (130, "", ["stopped"])
    assert "Traceback" not in err
    until_s = time.monotonic() + 10.0
    while (left := running(process.pid)) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert left == []
    made = settings(400, 0, "training")
    assert 0 < len(unfinished(tmp_path / "h", made)) < made.sites
    with claimed(tmp_path / "h", made):
        assert not list(tmp_path.glob("h/*.part"))


# -- bad input ----------------------------------------------------------------------------------


def test_a_folder_made_with_other_settings_is_refused(small: Path) -> None:
    before = content(small)
    wrong = replace(SMALL, seed=SMALL.seed + 1, features=("x",))
    with pytest.raises(BadInput, match=f"seed {SMALL.seed}, now {wrong.seed}; other features"):
        generate(small, wrong, 1, quiet)
    assert content(small) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear")
    with pytest.raises(BadInput, match=r"something else \(it holds diary.txt\)"):
        generate(tmp_path, SMALL, 1, quiet)
    assert list(content(tmp_path)) == ["diary.txt"]


def test_a_folder_that_another_process_is_at_is_refused(small: Path) -> None:
    with claimed(small, SMALL), pytest.raises(ShadowsimError, match="another process"):
        generate(small, SMALL, 1, quiet)


@pytest.mark.parametrize("what", ["a file", "below a file", "not ours"])
def test_a_folder_that_cannot_be_written_is_told(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "h"}
    with pytest.raises(BadInput, match="cannot be kept here"):
        generate(folder.get(what, Path("/proc/history")), SMALL, 1, quiet)


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "changes": "many"}', "[" * 100_000,
    '{"format": 1, "changes": -1, "seed": 0, "looks": "", "features": [], "variants": []}',
])  # fmt: skip
def test_a_damaged_manifest_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(BadInput, match=r"history\.json: damaged"):
        read(tmp_path)
    with pytest.raises(BadInput, match=r"history\.json: damaged"):
        generate(tmp_path, SMALL, 1, quiet)


def test_what_is_missing_or_damaged_in_a_history_is_told(small: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no history"):
        read(tmp_path)
    folder = tmp_path / "h"
    shutil.copytree(small, folder)
    part = folder / "looks-00001.parquet"
    whole = part.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PAR1 and nothing"):
        part.write_bytes(damaged)
        with pytest.raises(BadInput, match=r"looks-00001.parquet: damaged"):
            read(folder)
    part.unlink()
    with pytest.raises(BadInput, match=r"looks-00001.parquet: missing"):
        read(folder)
    (folder / "labels-00001.parquet").unlink()
    with pytest.raises(BadInput, match="unfinished: 1 of 2 sites"):
        read(folder)


def said(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "shadowsim", "history", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("words", "part"), [
    (["--changes", "-1"], "changes"),
    (["--changes", "0"], "changes"),
    (["--jobs", "0"], "jobs"),
    (["--seed", "-1"], "seed"),
    (["--looks", "trainign"], "did you mean 'training'"),
    (["--out", "/proc/h"], "cannot be kept here"),
], ids=str)  # fmt: skip
def test_bad_words_are_told(words: list[str], part: str, tmp_path: Path) -> None:
    found = said("--out", tmp_path / "h", *words)
    assert (found.returncode, found.stdout) == (2, "")
    assert part in found.stderr and "Traceback" not in found.stderr
    assert not (tmp_path / "h").exists()


def test_the_command_prints_what_came_of_the_changes(small: Path) -> None:
    """It is finished already, so this only reads."""
    words = ["--changes", SMALL.changes, "--seed", SMALL.seed, "--out", small]
    told = json.loads(said(*words, "--json").stdout)
    assert (
        told["kinds"][-1]["changes"]
        == SMALL.changes
        == sum(row["changes"] for row in told["kinds"][:-1])
    )
    labels = read(small).labels
    for mode in MODES:
        assert told["kinds"][-1][mode] == pytest.approx(labels[mode].mean())
    table = said(*words).stdout
    assert f"{SMALL.changes} changes in" in table and " all " in table
