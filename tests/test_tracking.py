"""Tracking: what MLflow has of a run, and that the work goes on where it has nothing."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from shadowsim import tracking
from shadowsim.tracking import CANDIDATE, CHAMPION, Mlflow, Tracking, Untracked

ROOT = Path(__file__).parent.parent


def installed() -> bool:
    try:
        import mlflow  # noqa: F401
    except ImportError:
        return False
    return True


needs_mlflow = pytest.mark.skipif(not installed(), reason="MLflow is not installed")


class House:
    """A store in a folder of its own, and what it complained of."""

    def __init__(self, folder: Path) -> None:
        self.database, self.kept = folder / "a b" / "mlflow.db", folder / "kept"
        self.said: list[str] = []
        self.tracking = Mlflow(
            f"sqlite:///{self.database}",
            "tests",
            self.kept,
            self.said.append,
            lambda: 1_700_000_000.0,
            wait_s=0.2,
        )

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.database}", f"sqlite:///{self.database}")

    def runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name("tests")
        found: list[Any] = self.client.search_runs([experiment.experiment_id])
        return found

    def lines(self) -> list[dict[str, Any]]:
        path = self.kept / tracking.KEPT
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all tables, made once: that takes seconds."""
    house = House(tmp_path_factory.mktemp("mlflow"))
    house.tracking._experiment = "another"
    assert house.tracking.prepare()
    return house.database


@pytest.fixture
def house(tmp_path: Path, empty_database: Path) -> House:
    found = House(tmp_path)
    found.database.parent.mkdir()
    shutil.copy(empty_database, found.database)
    return found


@pytest.fixture
def bare(tmp_path: Path) -> House:
    """A house in which nothing is yet."""
    return House(tmp_path)


def picture() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    return figure


def work(store: Tracking, folder: Path) -> str:
    """What a training does; the answer is what must never depend on tracking."""
    path = folder / "precog.zip"
    path.write_bytes(b"a model")
    with store.run("training", {"trees": 100, "seed": 7}, {"data": "synthetic"}) as run:
        run.metrics({"service_outage.auroc": 0.9, "loss": math.nan})
        run.metrics({"service_outage.auroc": 0.95}, step=1)
        run.figure(picture(), "calibration.png")
        run.artifact(path, "extra")
        run.model(path, "precog")
    store.promote("precog")
    return "done"


# -- what MLflow has ------------------------------------------------------------------------------


@needs_mlflow
def test_a_run_is_tracked_whole(house: House, tmp_path: Path) -> None:
    assert work(house.tracking, tmp_path) == "done"
    assert (house.said, house.lines()) == ([], [])
    (run,) = house.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"trees": "100", "seed": "7"}
    assert run.data.tags["data"] == "synthetic"
    assert run.data.metrics["service_outage.auroc"] == 0.95
    assert math.isnan(run.data.metrics["loss"])
    history = house.client.get_metric_history(run.info.run_id, "service_outage.auroc")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (0, 0.9, 1_700_000_000_000), (1, 0.95, 1_700_000_000_000)
    ]  # fmt: skip
    listed = {
        item.path
        for folder in ("figures", "extra", "model")
        for item in house.client.list_artifacts(run.info.run_id, folder)
    }
    assert listed == {"figures/calibration.png", "extra/precog.zip", "model/precog.zip"}
    assert (house.database.parent / "artifacts").is_dir()


@needs_mlflow
def test_the_newest_version_is_the_candidate_and_becomes_champion(
    house: House, tmp_path: Path
) -> None:
    work(house.tracking, tmp_path)
    with house.tracking.run("again", {}, {}) as run:
        run.model(tmp_path / "precog.zip", "precog")
    by_alias = house.client.get_model_version_by_alias
    assert int(by_alias("precog", CANDIDATE).version) == 2
    assert int(by_alias("precog", CHAMPION).version) == 1
    house.tracking.promote("precog")
    assert int(by_alias("precog", CHAMPION).version) == 2
    assert by_alias("precog", CHAMPION).source.endswith("/model/precog.zip")


@needs_mlflow
def test_more_than_mlflow_takes_at_once_is_tracked_whole(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server refuses more than 1000 metrics or 100 parameters at once; SQLite does not."""
    from mlflow import MlflowClient

    log_batch, sizes = MlflowClient.log_batch, []

    def spied(client: Any, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        sizes.append((len(metrics), len(params)))
        log_batch(client, run_id, metrics, params)

    monkeypatch.setattr(MlflowClient, "log_batch", spied)
    metrics = {f"metric {n}": float(n) for n in range(2500)}
    parameters = {f"parameter {n}": "x" * 7000 for n in range(250)}
    with house.tracking.run("many", parameters, {}) as run:
        run.metrics(metrics)
    (found,) = house.runs()
    assert found.data.metrics == metrics
    assert len(found.data.params) == 250
    assert sizes == [(0, 100), (0, 100), (0, 50), (1000, 0), (1000, 0), (500, 0)]
    assert house.said == []


@needs_mlflow
def test_a_name_that_mlflow_forbids_is_spelt_otherwise(house: House) -> None:
    with house.tracking.run("odd", {"a=b?": 1}, {}) as run:
        run.metrics({"recall @ 95 %": 0.5})
    (found,) = house.runs()
    assert found.data.params == {"a_b_": "1"}
    assert found.data.metrics == {"recall _ 95 _": 0.5}


@needs_mlflow
@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_work_that_fails_is_a_failed_run_and_is_raised(
    house: House, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), house.tracking.run("bad", {}, {}):
        raise error
    assert [run.info.status for run in house.runs()] == [status]


# -- where it has nothing -------------------------------------------------------------------------


def kept_whole(house: House) -> None:
    """Whether all that a training tells is in files."""
    lines = house.lines()
    kinds = [line["kind"] for line in lines]
    assert kinds == [
        "start", "metrics", "metrics", "figure", "artifact", "model", "end", "promote",
    ]  # fmt: skip
    assert lines[0]["parameters"] == {"trees": "100", "seed": "7"}
    assert lines[1]["values"] == {"service_outage.auroc": 0.9, "loss": None}
    assert (house.kept / "calibration.png").stat().st_size > 0
    assert Path(lines[5]["path"]).read_bytes() == b"a model"


@pytest.fixture
def locked(house: House) -> Iterator[House]:
    with closing(sqlite3.connect(house.database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield house


@needs_mlflow
def test_a_locked_database_stops_nothing(locked: House, tmp_path: Path) -> None:
    assert work(locked.tracking, tmp_path) == "done"
    kept_whole(locked)
    assert len(locked.said) == 2
    assert "database is locked" in locked.said[0]
    assert str(locked.kept) in locked.said[0]
    assert "champion" in locked.said[1]


@needs_mlflow
def test_a_database_that_is_locked_on_the_way_is_told_once(house: House) -> None:
    with house.tracking.run("training", {}, {}) as run:
        run.metrics({"a": 1.0})
        with closing(sqlite3.connect(house.database)) as other:
            other.execute("BEGIN EXCLUSIVE")
            run.metrics({"b": 2.0})
            run.metrics({"c": 3.0})
        run.metrics({"d": 4.0})
    assert len(house.said) == 1
    (found,) = house.runs()
    assert found.data.metrics == {"a": 1.0}
    values = [line["values"] for line in house.lines() if line["kind"] == "metrics"]
    assert values == [{"b": 2.0}, {"c": 3.0}, {"d": 4.0}]
    with house.tracking.run("next", {}, {}) as run:
        run.metrics({"e": 5.0})
    assert len(house.runs()) == 2
    assert len(house.said) == 1


def test_a_folder_that_cannot_be_made_stops_nothing(bare: House, tmp_path: Path) -> None:
    bare.database.parent.write_text("a file where a folder should be")
    assert not bare.tracking.prepare()
    assert work(bare.tracking, tmp_path) == "done"
    kept_whole(bare)
    assert str(bare.database) in bare.said[0]


def test_a_file_that_is_no_database_stops_nothing(bare: House, tmp_path: Path) -> None:
    bare.database.parent.mkdir()
    bare.database.write_bytes(b"not a database at all, but long enough to look like one" * 100)
    assert work(bare.tracking, tmp_path) == "done"
    kept_whole(bare)
    assert "not a database" in bare.said[0]


@needs_mlflow
def test_a_server_that_does_not_answer_stops_nothing(bare: House, tmp_path: Path) -> None:
    bare.tracking._uri = "http://127.0.0.1:9"
    assert work(bare.tracking, tmp_path) == "done"
    kept_whole(bare)


def test_without_mlflow_it_is_said_how_to_get_it(
    bare: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert work(bare.tracking, tmp_path) == "done"
    kept_whole(bare)
    assert "pip install mlflow" in bare.said[0]


def test_where_nothing_can_be_kept_either_the_work_goes_on(bare: House, tmp_path: Path) -> None:
    for path in (bare.database.parent, bare.kept):
        path.write_text("a file where a folder should be")
    assert work(bare.tracking, tmp_path) == "done"
    assert "nor can it be kept" in bare.said[1]


@needs_mlflow
def test_workers_write_side_by_side_to_what_was_prepared(house: House) -> None:
    assert house.tracking.prepare()
    script = (
        "import sys; from pathlib import Path; from shadowsim.tracking import Mlflow\n"
        f"uri, kept = 'sqlite:///{house.database}', Path('{house.kept}')\n"
        "store = Mlflow(uri, 'tests', kept, print, float)\n"
        "with store.run(sys.argv[1], {}, {}) as run:\n"
        "    for n in range(40): run.metrics({'n': n}, step=n)\n"
    )
    command = [sys.executable, "-c", script]
    workers = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for name in ("one", "two")
    ]
    assert [(w.communicate(timeout=120)[0], w.returncode) for w in workers] == [("", 0)] * 2
    runs = house.runs()
    assert {run.info.run_name for run in runs} == {"one", "two"}
    counts = [len(house.client.get_metric_history(run.info.run_id, "n")) for run in runs]
    assert counts == [40, 40]


# -- runs below runs ------------------------------------------------------------------------------


@needs_mlflow
def test_what_is_lost_on_the_way_is_told_once_for_all_parts(house: House) -> None:
    with house.tracking.run("whole", {}, {}) as whole:
        with whole.inner("first", {"n": 1}, {"kind": "part"}) as part:
            part.metrics({"a": 1.0})
        assert whole.complete
        with closing(sqlite3.connect(house.database)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with whole.inner("second", {"n": 2}, {}) as part:
                part.metrics({"a": 2.0})
        with whole.inner("third", {"n": 3}, {}) as part:
            part.metrics({"a": 3.0})
        assert not whole.complete
    assert len(house.said) == 1
    found = {run.info.run_name: run for run in house.runs()}
    assert found.keys() == {"whole", "first"}
    assert found["first"].data.tags["mlflow.parentRunId"] == found["whole"].info.run_id
    assert found["first"].data.metrics == {"a": 1.0}
    values = [line["values"] for line in house.lines() if line["kind"] == "metrics"]
    assert values == [{"a": 2.0}, {"a": 3.0}]


@needs_mlflow
def test_a_part_that_fails_is_a_failed_run(house: House) -> None:
    with (
        pytest.raises(ValueError, match="mine"),
        house.tracking.run("whole", {}, {}) as whole,
        whole.inner("part", {}, {}),
    ):
        raise ValueError("mine")
    assert {run.info.status for run in house.runs()} == {"FAILED"}
    assert len(house.runs()) == 2


def test_untracked_does_nothing(tmp_path: Path) -> None:
    assert work(Untracked(), tmp_path) == "done"
    with pytest.raises(ValueError, match="mine"), Untracked().run("", {}, {}):
        raise ValueError("mine")


# -- how it is loaded -----------------------------------------------------------------------------


def test_mlflow_is_loaded_only_when_it_is_used() -> None:
    script = (
        "import sys; from shadowsim.tracking import Mlflow; from pathlib import Path\n"
        "Mlflow('sqlite:///x.db', 'e', Path('k'), print, float)\n"
        "print(*({'mlflow', 'matplotlib', 'numpy', 'polars'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True, cwd=ROOT)  # fmt: skip
    assert done.stdout.split() == []


@needs_mlflow
def test_telemetry_is_off() -> None:
    script = (
        "from shadowsim.tracking import _imported; _imported()\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(is_telemetry_disabled())"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_DISABLE_TELEMETRY",
             "DO_NOT_TRACK", "CI", "PYTEST_CURRENT_TEST")}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True, cwd=ROOT, env=clean)  # fmt: skip
    assert done.stdout.split() == ["True"]
