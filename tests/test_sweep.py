"""Sweeps: the same runs as `run` makes, whole however they were interrupted, and told in words."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowsim.batch import Local
from shadowsim.commit.hold import Held, Unheld
from shadowsim.errors import BadInput
from shadowsim.outcomes import OutcomeStore
from shadowsim.scenario import Scenario, load
from shadowsim.sweep import carry as carrying
from shadowsim.sweep.carry import carry_all, claim, finished, outcomes
from shadowsim.sweep.plan import Piece, Plan, seeds_of
from shadowsim.sweep.results import mean, rows_of, share, summary

SMALL = """
name: {name}
seed: 3
topology: {{nodes: [A, B, C], links: [[A, B], [B, C], [C, A]]}}
traffic: {{demands: [{{from: A, to: B, rate_mbps: 1, class: critical}}]}}
intents: [{{reachable: {{from: any, to: any}}}}]
change: {{script: "device A\\ninterface to-B\\n {line}\\n"}}
workflow: {{baseline_s: 2, shadow_s: 5, monitor_s: 5}}
{more}
"""
EXPECT = "expect: {decision: go}"


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


def write(folder: Path, name: str, line: str = "ip ospf cost 30", more: str = EXPECT) -> Path:
    path = folder / f"{name}.yml"
    path.write_text(SMALL.format(name=name, line=line, more=more), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def key(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path_factory.getbasetemp() / "key-of-the-sweeps"))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("scenarios")
    return write(folder, "dearer"), write(folder, "shut", "shutdown", "expect: {decision: no-go}")


@pytest.fixture(scope="session")
def plan(files: tuple[Path, Path]) -> Plan:
    return Plan(tuple(load(file) for file in files), (0, 1, 2), ("hybrid", "threshold"))


def carried(folder: Path, plan: Plan, jobs: int = 1) -> list[Any]:
    with claim(folder, plan):
        return list(carry_all(folder, plan, Local(jobs), quiet))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Path:
    """A sweep in one go, by this process."""
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHADOWSIM_KEY", str(tmp_path_factory.getbasetemp() / "key-of-the-sweeps"))
        assert carried(folder, plan) == []
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """What stands in the files of all runs, but for where it stands."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"HERE")
        for path in sorted(folder.rglob("runs/**/*"))
        if path.is_file()
    }


# -- which runs ---------------------------------------------------------------------------------


def test_every_scenario_seed_and_variant_once(plan: Plan) -> None:
    pieces = plan.pieces()
    assert len(pieces) == len(set(pieces)) == 2 * 3 * 2
    assert len({piece.place for piece in pieces}) == len(pieces)
    assert {piece.seed for piece in pieces[:4]} == {0}
    found = plan.scenario(Piece("shut", "threshold", 2))
    assert (found.name, found.workflow.precog, found.seed) == ("shut", "threshold", 2)


def test_without_seeds_and_variants_they_are_the_scenarios_own(plan: Plan) -> None:
    assert replace(plan, seeds=(), variants=()).pieces() == [
        Piece("dearer", "hybrid", 3),
        Piece("shut", "hybrid", 3),
    ]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=4))
def test_seeds_are_as_they_are_written(ranges: list[tuple[int, int]]) -> None:
    wanted = [seed for low, many in ranges for seed in range(low, low + many)]
    text = ",".join(f"{low}:{low + many}" if many > 1 else str(low) for low, many in ranges)
    if len(set(wanted)) == len(wanted):
        assert seeds_of(text) == tuple(wanted)
    else:
        with pytest.raises(BadInput, match="twice"):
            seeds_of(text)


@pytest.mark.parametrize(
    "text", ["", "a", "1:", ":3", "3:3", "5:1", "-1", "1.5", "1,,2", "0:4294967298", "²", "9" * 30]
)
def test_what_is_no_seed_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="--seeds"):
        seeds_of(text)


# -- runs that come out the same ----------------------------------------------------------------


def test_two_processes_make_the_same_runs(whole: Path, plan: Plan, tmp_path: Path) -> None:
    assert carried(tmp_path / "s", plan, jobs=2) == []
    assert content(tmp_path / "s") == content(whole)


def test_a_run_of_a_sweep_is_that_of_run(whole: Path, plan: Plan, tmp_path: Path) -> None:
    """Whoever holds the rollback: nothing of it shows in what is written."""
    file = plan.scenarios[0].file
    words = ["--seed", "1", "--precog", "threshold", "--out", "runs", "--store", "s.sqlite"]
    said = shadowsim("run", file, *words, cwd=tmp_path)
    assert said.returncode == 0
    alone, swept = tmp_path / "runs" / "dearer", whole / Piece("dearer", "threshold", 1).place
    for name in ("journal.jsonl", "topology.json", "telemetry.parquet"):
        assert (alone / name).read_bytes() == (swept / name).read_bytes()
    one, other = (json.loads((f / "result.json").read_text()) for f in (alone, swept))
    apart = {name: one[name] for name in ("out", "looks")}  # a sweep keeps no looks
    assert one == {**other, **apart}


def test_finished_runs_are_not_made_again_and_missing_and_damaged_ones_are(
    whole: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    shutil.copytree(whole, folder)
    gone, damaged, cut = sorted(plan.pieces())[:3]
    shutil.rmtree(folder / gone.place)
    (folder / damaged.place / "result.json").write_text('{"scenario": ')
    interrupted = json.loads((folder / cut.place / "result.json").read_text())
    (folder / cut.place / "result.json").write_text(json.dumps(interrupted | {"interrupted": True}))
    made: list[Piece] = []
    carry = carrying.carry

    def watched(plan: Plan, folder: Path, piece: Piece) -> None:
        made.append(piece)
        carry(plan, folder, piece)

    monkeypatch.setattr(carrying, "carry", watched)
    assert carried(folder, plan) == []
    assert sorted(made) == [gone, damaged, cut]
    assert {name: len(text) for name, text in content(folder).items()}.keys() == content(
        whole
    ).keys()
    assert all(finished(folder, piece) for piece in plan.pieces())


# -- runs that fail -----------------------------------------------------------------------------


def test_a_run_that_fails_leaves_the_others_and_is_told_with_the_line_that_repeats_it(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    """A folder that is not ours stands where a run is to be written."""
    strange = tmp_path / "s" / Piece("dearer", "hybrid", 1).place
    words = [*files, "--seeds", "0:3", "--out", tmp_path / "s", "--jobs", "1"]
    said = shadowsim("sweep", *words)
    assert said.returncode == 0
    shutil.rmtree(strange)
    strange.mkdir()
    (strange / "diary.txt").write_text("dear")
    said = shadowsim("sweep", *words)
    assert said.returncode == 2
    line = next(line for line in said.stderr.splitlines() if "shadowsim run" in line)
    assert "1 of 6 runs failed" in said.stderr and "no folder of a run" in said.stderr
    rows = pl.read_parquet(tmp_path / "s" / "outcomes.parquet")
    assert rows.height == 5
    assert (strange / "diary.txt").read_text() == "dear"
    again = shadowsim(*shlex.split(line)[1:], "--json", cwd=tmp_path)
    found = json.loads(again.stdout)
    assert (found["scenario"], found["precog"], found["seed"]) == ("dearer", "hybrid", 1)


def test_a_worker_that_is_killed_loses_its_run_alone(plan: Plan, tmp_path: Path) -> None:
    import multiprocessing

    def kill(done: int, total: int) -> None:
        if done == 3:
            multiprocessing.active_children()[0].kill()

    with claim(tmp_path / "s", plan):
        failures = carry_all(tmp_path / "s", plan, Local(2), kill)
    assert [failure.why for failure in failures] == ["a worker died (exit code -9)"]
    # Its last run may have been written down when it died, and only its answer missed.
    assert all(finished(tmp_path / "s", p) for p in plan.pieces() if p != failures[0].piece)
    assert carried(tmp_path / "s", plan) == []


def test_a_node_that_does_not_see_the_folder_says_so(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="all nodes need to see the folder of the sweep"):
        carrying.carry(plan, tmp_path / "s", plan.pieces()[0])
    assert not (tmp_path / "s").exists()


def test_every_run_on_real_packets_has_a_guardian(plan: Plan, tmp_path: Path) -> None:
    emulated, place = replace(plan, network="emulated"), tmp_path / "run"
    with carrying._holding(emulated, plan.scenarios[0], place, bytes(32)) as hold:
        assert isinstance(hold, Held)
    with carrying._holding(plan, plan.scenarios[0], place, bytes(32)) as hold:
        assert isinstance(hold, Unheld)


# -- interrupted --------------------------------------------------------------------------------


def running(group: int) -> list[str]:
    """The processes of a group that are more than an entry in a table."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(") ")[2].split()[:3]
            found += [stat.parent.name] if int(of) == group and state != "Z" else []
    return found


def wait_for(what: Callable[[], Any], most_s: float) -> None:
    until_s = time.monotonic() + most_s
    while not what():
        assert time.monotonic() < until_s
        time.sleep(0.05)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_nothing_running_and_the_second_call_goes_on(
    files: tuple[Path, Path], tmp_path: Path, jobs: str
) -> None:
    words = [
        "sweep",
        *map(str, files),
        "--seeds",
        "0:200",
        "--out",
        str(tmp_path / "s"),
        "--mlflow",
        "off",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "shadowsim", *words, "--jobs", jobs],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: list(tmp_path.glob("s/runs/*/*/[0-9]*/result.json")), 120.0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30.0)
    assert (process.returncode, out, err.splitlines()[-1:]) == (130, "", ["stopped"])
    assert "Traceback" not in err
    wait_for(lambda: running(process.pid) == [], 10.0)
    long = Plan(tuple(load(file) for file in files), tuple(range(200)))
    there = [piece for piece in long.pieces() if finished(tmp_path / "s", piece)]
    assert 0 < len(there) < len(long.pieces())
    with claim(tmp_path / "s", long):
        assert len(outcomes(tmp_path / "s", long)) == len(there)


# -- results ------------------------------------------------------------------------------------


def test_the_command_makes_tables_a_figure_and_fills_the_store_once(
    files: tuple[Path, Path], whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "s")
    words = ["sweep", *files, "--seeds", "0:3", "--variants", "hybrid,threshold"]
    words += ["--out", tmp_path / "s", "--store", tmp_path / "o.sqlite"]
    before = content(whole)
    for folder in (tmp_path / "s",) * 2:
        said = shadowsim(*words, "--json")
        assert (said.returncode, said.stderr) == (0, "")
        assert content(folder).keys() == before.keys()
    found = json.loads(said.stdout)
    assert (found["runs"], found["failed"], len(found["table"])) == (12, [], 4)
    rows = pl.read_parquet(tmp_path / "s" / "outcomes.parquet")
    assert rows.height == 12
    assert rows.select("scenario", "precog", "seed").n_unique() == 12
    documents = {json.loads(text)["seed"] for text in rows["document"]}
    assert documents == {0, 1, 2}
    with OutcomeStore(tmp_path / "o.sqlite") as store:
        assert len(store.read()) == 12
    assert pl.read_csv(tmp_path / "s" / "summary.csv").height == 4
    figure = (tmp_path / "s" / "summary.svg").read_text()
    assert "<svg" in figure


def test_the_summary_is_that_of_the_documents(whole: Path, plan: Plan) -> None:
    documents = outcomes(whole, plan)
    table = summary(rows_of(documents))
    for row in table.iter_rows(named=True):
        mine = [
            d for d in documents if (d["scenario"], d["precog"]) == (row["scenario"], row["precog"])
        ]
        assert row["runs"] == len(mine) == 3
        assert row["met"] == sum(d["expectations"]["met"] for d in mine) / 3
        assert row["breach_s"] == pytest.approx(sum(d["breach_s"] for d in mine) / 3)
        assert row["rollbacks"] == sum(d["time_to_rollback_s"] is not None for d in mine)
    assert table["met"].to_list() == [1.0, 1.0, 0.0, 0.0]  # one that expects what does not come


def test_where_nothing_is_expected_nothing_is_met(whole: Path, plan: Plan) -> None:
    documents = [d | {"expectations": {"met": True, "details": []}} for d in outcomes(whole, plan)]
    assert summary(rows_of(documents))["met"].to_list() == [None] * 4
    assert summary(rows_of([])).is_empty()


@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_in_its_interval(counted: tuple[int, int]) -> None:
    some, of = counted
    value, low, high = share(some, of)
    if not of:
        assert (value, low, high) == (None, None, None)
        return
    assert low is not None and high is not None and value == some / of
    assert 0.0 <= low <= value + 1e-12 and value - 1e-12 <= high <= 1.0 and low < high
    # The bounds are where the score test just rejects: |p - b| = z sqrt(b (1 - b) / n).
    for bound in (low, high):
        spread = 1.959964**2 * bound * (1 - bound) / of
        assert (value - bound) ** 2 == pytest.approx(spread, abs=1e-12)


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_mean_lies_in_its_interval(values: list[float]) -> None:
    value, low, high = mean(values)
    if len(values) < 2:
        assert (value, low, high) == ((values[0] if values else None), None, None)
        return
    assert low is not None and high is not None and value is not None
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    if len(set(values)) == 1:
        assert low == pytest.approx(value) == pytest.approx(high)
    assert mean(values) == (value, low, high)


# -- tracked ------------------------------------------------------------------------------------

needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed")


@needs_mlflow
def test_mlflow_has_one_run_for_the_sweep_and_below_it_one_for_each(
    files: tuple[Path, Path], whole: Path, plan: Plan, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    shutil.copytree(whole, tmp_path / "s")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    words = ["sweep", *files, "--seeds", "0:3", "--variants", "hybrid,threshold"]
    for store in (uri, "off", uri):  # the last time everything is there
        said = shadowsim(*words, "--out", tmp_path / "s", "--mlflow", store)
        assert (said.returncode, said.stderr) == (0, "")
    client = MlflowClient(uri, uri)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (above,) = [run for run in found if run.data.tags["kind"] == "sweep"]
    below = [run for run in found if run.data.tags["kind"] == "run"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {above.info.run_id}
    assert {
        (run.data.params["scenario"], run.data.params["precog"], int(run.data.params["seed"]))
        for run in below
    } == {(piece.scenario, piece.precog, piece.seed) for piece in plan.pieces()}
    assert len(below) == 12
    assert above.data.metrics["dearer/hybrid/met"] == 1.0
    assert above.data.metrics["shut/hybrid/met"] == 0.0
    met = {run.data.params["scenario"]: run.data.metrics["expectations_met"] for run in below}
    assert met == {"dearer": 1.0, "shut": 0.0}


def test_where_nothing_can_be_tracked_no_run_is_lost(
    files: tuple[Path, Path], whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "s")
    words = ["sweep", *files, "--seeds", "0:3", "--variants", "hybrid,threshold", "--json"]
    words += ["--out", tmp_path / "s", "--mlflow", "sqlite:////proc/no/mlflow.db"]
    said = shadowsim(*words, cwd=tmp_path)
    assert said.returncode == 0
    assert json.loads(said.stdout)["runs"] == 12
    assert not (tmp_path / "s" / "tracked.json").exists()  # the next time it is tried again
    assert said.stderr.count("MLflow does not track") == 1  # once, not once a run
    lines = (tmp_path / "runs" / "untracked" / "untracked.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert len([line for line in kept if line["kind"] == "start"]) == 13


# -- bad input ----------------------------------------------------------------------------------


def shadowsim(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "shadowsim", *map(str, words)]
    argv += ["--mlflow", "off"] if words[0] == "sweep" and "--mlflow" not in words else []
    said = subprocess.run(argv, capture_output=True, text=True, timeout=300, cwd=cwd)
    assert "Traceback" not in said.stdout + said.stderr
    return said


@pytest.mark.parametrize(("words", "part"), [
    (["--seeds", "5:1"], "--seeds: '5:1' has no seed"),
    (["--variants", "hybird"], "did you mean 'hybrid'"),
    (["--variants", "judge,judge"], "names a variant twice"),
    (["--network", "real"], "--network: there is no 'real'"),
    (["--engine", "spark"], "--engine: there is no 'spark'; valid: local, ray"),
    (["--engine", "ray"], "--address HOST:PORT"),
    (["--address", "127.0.0.1:1"], "add --engine ray"),
    (["--jobs", "0"], "jobs"),
    (["--seeds", "0:600000", "--variants", "judge,script"], "1,200,000 runs are too many"),
    (["--out", "/proc/sweep"], "a sweep cannot be kept here"),
    (["no-such-file.yml"], "no-such-file.yml"),
], ids=str)  # fmt: skip
def test_bad_words_are_told(
    files: tuple[Path, Path], words: list[str], part: str, tmp_path: Path
) -> None:
    found = shadowsim("sweep", files[0], "--out", tmp_path / "s", *words)
    assert (found.returncode, found.stdout) == (2, "")
    assert part in " ".join(found.stderr.split())
    assert not (tmp_path / "s").exists()


def test_a_folder_made_with_other_settings_is_refused(whole: Path, plan: Plan) -> None:
    before = content(whole)
    dearer = replace(plan.scenarios[0], summary="another")
    for other, words in (
        (replace(plan, seeds=(0, 1)), "other seeds"),
        (replace(plan, variants=("judge",)), "other variants"),
        (replace(plan, scenarios=(dearer, plan.scenarios[1])), "other scenarios"),
        (replace(plan, network="emulated"), "network simulated, now emulated"),
    ):
        with pytest.raises(BadInput, match=f"other settings:.*{words}"):
            carried(whole, other)
    assert content(whole) == before


def test_where_a_scenario_lies_does_not_matter(plan: Plan) -> None:
    moved: tuple[Scenario, ...] = tuple(replace(s, file="/elsewhere.yml") for s in plan.scenarios)
    assert replace(plan, scenarios=moved).settings() == plan.settings()


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"format": 9}', '{"format": 1}'])
def test_damaged_settings_are_told(plan: Plan, tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(BadInput, match=r"sweep\.json: damaged"):
        carried(tmp_path, plan)


# -- on a Ray cluster ---------------------------------------------------------------------------

# With SHADOWSIM_RAY=required nothing is skipped: without Ray the tests fail.
needs_ray = pytest.mark.skipif(
    find_spec("ray") is None and os.environ.get("SHADOWSIM_RAY") != "required",
    reason="this machine lacks Ray; 'make setup-cluster' installs it",
)
SMALL_NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with a core each, on this machine."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args=SMALL_NODE | {"include_dashboard": False})
    try:
        yield found
    finally:
        found.shutdown()


def workers_of(node: Any) -> dict[str, list[str]]:
    """The processes that a node has its tasks worked on by, with their titles."""
    raylet = str(node.all_processes["raylet"][0].process.pid)
    found: dict[str, list[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(") ")[2].split()[1]
            title = (folder / "cmdline").read_bytes().decode().split("\0")
            if parent == raylet and title[0].startswith("ray::"):
                found[folder.name] = title
    return found


@needs_ray
def test_a_node_that_is_killed_loses_nothing(
    cluster: Any, files: tuple[Path, Path], tmp_path: Path
) -> None:
    node = cluster.add_node(**SMALL_NODE)
    folder, seeds = tmp_path / "s", tuple(range(60))
    words = [
        "sweep",
        *map(str, files),
        "--seeds",
        "0:60",
        "--out",
        str(folder),
        "--json",
        "--mlflow",
        "off",
    ]
    words += ["--engine", "ray", "--address", cluster.address]
    process = subprocess.Popen(
        [sys.executable, "-m", "shadowsim", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    busy = lambda: "ray::worked" in {title[0] for title in workers_of(node).values()}  # noqa: E731
    wait_for(lambda: len(list(folder.glob("runs/*/*/[0-9]*"))) > 10 and busy(), 120.0)
    os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    for pid in workers_of(node):
        with suppress(ProcessLookupError):  # it ends by itself without its raylet
            os.kill(int(pid), signal.SIGKILL)
    there = len(list(folder.glob("runs/*/*/[0-9]*")))
    out, err = process.communicate(timeout=240.0)
    assert process.returncode == 0 and "Traceback" not in err
    assert 10 < there < 120
    assert json.loads(out)["failed"] == []
    rows = pl.read_parquet(folder / "outcomes.parquet")
    assert rows.height == rows.select("scenario", "seed").n_unique() == 120
    plan = Plan(tuple(load(file) for file in files), seeds)
    assert all(finished(folder, piece) for piece in plan.pieces())
    assert carried(tmp_path / "local", replace(plan, seeds=seeds[:4])) == []
    local, remote = content(tmp_path / "local"), content(folder)
    assert local == {name: remote[name] for name in local}


@pytest.fixture
def silent() -> Iterator[str]:
    """Something that listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def another() -> Iterator[str]:
    """A server of something else."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_ray
@pytest.mark.parametrize(("who", "part"), [
    ("127.0.0.1:1", "no Ray cluster: Connection refused"),
    ("silent", "no Ray cluster: no answer"),
    ("another", "something answers there that is not Ray"),
    ("no.such.host.invalid:6379", "no Ray cluster"),
    ("6379", "'6379' is not HOST:PORT"),
    ("localhost:port", "'localhost:port' is not HOST:PORT"),
    ("localhost:99999", "'localhost:99999' is not HOST:PORT"),
])  # fmt: skip
def test_an_address_that_does_not_answer_is_told_within_seconds(
    who: str, part: str, files: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(who) if who in ("silent", "another") else who
    began_s = time.monotonic()
    words = ["--engine", "ray", "--address", address, "--out", tmp_path / "s"]
    said = shadowsim("sweep", files[0], *words)
    assert time.monotonic() - began_s < 30.0
    assert (said.returncode, said.stdout) == (2, "")
    assert part in said.stderr
    assert not (tmp_path / "s").exists()


def test_without_ray_it_is_said_how_to_get_it(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parent.parent}")
    words = ["--engine", "ray", "--address", "127.0.0.1:1", "--out", tmp_path / "s"]
    said = shadowsim("sweep", files[0], *words)
    assert (said.returncode, said.stdout) == (3, "")
    assert "pip install 'shadowsim[ray]'" in said.stderr
    assert not (tmp_path / "s").exists()


def test_ray_is_only_imported_where_it_is_asked_for() -> None:
    script = (
        "import shadowsim.batch.on_ray, shadowsim.sweep.carry, sys; print('ray' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.stdout.split() == ["False"]
