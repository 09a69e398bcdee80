"""Two runs to how far they agree, the page of it, and what of it need not be run again."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

from shadowsim import bench, machine_commands
from shadowsim.bench import Measured, Row, measure
from shadowsim.bench import markdown as bench_page
from shadowsim.errors import BadInput, MachineLacks, ShadowsimError
from shadowsim.fidelity import Errors, Fidelity, Skipped, compare, markdown
from shadowsim.sidebyside import Study, coarse_of, side_by_side

VERDICT = {"decision": "go", "failure_mode": "none", "end_state": "confirmed"}
SCENARIO = """
name: NAME
topology: {nodes: [A, B], links: [[A, B]]}
traffic:
  demands: [{from: A, to: B, rate_mbps: RATE}]
change: {script: ""}
"""
Demands = dict[str, tuple[float, float, float, float]]  # offered and got bit/s, latency s, loss
FREE: Demands = {"a": (1e6, 1e6, 0.010, 0.0), "b": (2e6, 2e6, 0.020, 0.0)}


def folder(place: Path, demands: Demands, decided_s: float = 10.0, **verdict: str) -> Path:
    """The folder of a run in which every demand fared like this until the decision."""
    place.mkdir(parents=True)
    (place / "result.json").write_text(json.dumps({**VERDICT, **verdict}))
    journal = [{"event": "phase", "at_s": 0.0}, {"event": "decision", "at_s": decided_s}]
    (place / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal))
    rows = []
    for at_s in range(1, 21):
        usual = 3 < at_s <= decided_s
        for name, values in demands.items():
            metrics = ("offered_bps", "throughput_bps", "latency_s", "loss")
            for metric, value in zip(metrics, values, strict=True):
                told = value if usual else 77.0
                rows.append((float(at_s), "production", "demand", name, metric, told))
                rows.append((float(at_s), "shadow", "demand", name, metric, 99.0))
    columns = ["at_s", "network", "subject", "name", "metric", "value"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(place / "telemetry.parquet")
    return place


def compared(tmp_path: Path, one: Demands, two: Demands, **emulated: Any) -> Fidelity:
    folders = {
        "simulated": folder(tmp_path / "simulated", one),
        "emulated": folder(tmp_path / "emulated", two, **emulated),
    }
    return compare("made-up", folders, 1)


# -- compare -----------------------------------------------------------------------------------


def test_equal_runs_have_no_error(tmp_path: Path) -> None:
    found = compared(tmp_path, FREE, FREE)
    assert found.agree
    assert found.throughput.values == found.latency.values == (0.0, 0.0)
    assert found.saturated.values == ()
    assert found.latency_ms == pytest.approx(15.0)
    assert (found.one_sided, found.coarse) == (0, 1)


def test_errors_are_relative_to_the_simulated_network(tmp_path: Path) -> None:
    other: Demands = {"a": (1e6, 0.9e6, 0.012, 0.0), "b": (2e6, 2.2e6, 0.020, 0.0)}
    found = compared(tmp_path, FREE, other)
    assert found.throughput.values == pytest.approx((0.1, 0.1))
    assert found.latency.values == pytest.approx((0.2, 0.0))
    assert found.latency.median == pytest.approx(0.1)
    assert found.latency.p95 == pytest.approx(0.19)


def test_only_the_time_before_the_first_decision_counts(tmp_path: Path) -> None:
    """After 6 s, when the emulated run decided, its numbers are of other configs."""
    found = compared(tmp_path, FREE, FREE, decided_s=6.0)
    assert found.throughput.values == pytest.approx((0.0, 0.0))


def test_what_is_saturated_is_told_apart_by_the_simulated_network(tmp_path: Path) -> None:
    one: Demands = {"udp": (2e6, 1e6, 0.1, 0.5), "tcp": (2e6, 1.5e6, 0.1, 0.0), **FREE}
    two: Demands = {"udp": (2e6, 1.1e6, 0.1, 0.4), "tcp": (2e6, 1.5e6, 0.2, 0.0), **FREE}
    two["a"] = (1e6, 0.5e6, 0.010, 0.5)  # lost in the emulated network only: that is an error
    found = compared(tmp_path, one, two)
    assert sorted(found.saturated.values) == pytest.approx([0.0, 0.1])
    assert sorted(found.saturated_latency.values) == pytest.approx([0.0, 1.0])
    assert sorted(found.throughput.values) == pytest.approx([0.0, 0.5])


def test_what_gets_through_in_one_network_only_is_counted_apart(tmp_path: Path) -> None:
    found = compared(tmp_path, FREE, {**FREE, "a": (1e6, 0.0, math.nan, 1.0)})
    assert found.one_sided == 1
    assert len(found.throughput.values) == 1


def test_a_latency_that_was_never_read_is_no_error(tmp_path: Path) -> None:
    found = compared(tmp_path, FREE, {**FREE, "a": (1e6, 1e6, math.nan, 0.0)})
    assert len(found.throughput.values) == 2
    assert found.latency.values == pytest.approx((0.0,))


def test_nothing_in_common_is_nan_and_no_crash(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a": FREE["a"]}, {"b": FREE["b"]})
    assert math.isnan(found.throughput.median)
    assert math.isnan(found.latency_ms)
    assert "| made-up | 0 | - | - | - |" in markdown([found], "command", "")


@pytest.mark.parametrize("what", ["decision", "failure_mode", "end_state"])
def test_each_part_of_the_verdict_counts(what: str, tmp_path: Path) -> None:
    found = compared(tmp_path, FREE, FREE, **{what: "other"})
    assert not found.agree


def test_what_is_no_run_is_bad_input(tmp_path: Path) -> None:
    folders = {"simulated": folder(tmp_path / "one", FREE), "emulated": tmp_path}
    with pytest.raises(BadInput, match="is not the folder of a run"):
        compare("made-up", folders, 1)


# -- the page ----------------------------------------------------------------------------------


def row(name: str, throughput: float, latency: float, *, agree: bool = True) -> Fidelity:
    said = ("go", "none", "confirmed")
    return Fidelity(
        scenario=name,
        verdicts={"simulated": said, "emulated": said if agree else ("no-go", "none", "refused")},
        throughput=Errors((throughput,)),
        latency=Errors((latency,)),
        saturated=Errors(),
        saturated_latency=Errors(),
        latency_ms=7.0,
        one_sided=0,
        coarse=4,
    )


def test_the_page_says_what_agrees_and_marks_what_does_not() -> None:
    page = markdown([row("one", 0.01, 0.02), row("two", 0.2, 0.02, agree=False)], "the command", "")
    assert "Made by `the command`" in page
    assert "| all | 1 of 2 |" in page
    assert "| one | go, none, confirmed | go, none, confirmed | yes | 4 |" in page
    assert "| two | go, none, confirmed | no-go, none, refused | **no** | 4 |" in page
    assert "| one | 1 | 1.0% / 1.0% | 2.0% / 2.0% | 7.0 ms | 0 | - | - | 0 |" in page
    assert "| two | 1 | **20.0% / 20.0%** |" in page
    assert "Not compared" not in page


def test_the_summary_is_over_all_demands() -> None:
    page = markdown([row("one", 0.0, 0.1), row("two", 0.04, 0.3)], "c", "")
    assert "throughput of 2 free demands, median / p95 error | 5% | 2.0% / 3.8% |" in page
    assert "latency of 2 free demands, median / p95 error | 15% | **20.0% / 29.0%** |" in page


def test_the_page_ends_with_what_was_left_out_and_the_notes() -> None:
    page = markdown([], "c", "## Why\n\nBecause.\n\n", [Skipped("big", "too much")])
    assert page.endswith("- big: too much\n\n## Why\n\nBecause.\n")
    assert "0 of 0" in page


# -- runs, once --------------------------------------------------------------------------------


class Runs:
    """Makes folders of runs, and writes down which; `broken` ones fail."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = tmp_path
        self.made: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.broken: set[tuple[str, str]] = set()

    def scenario(self, name: str, rate: float = 1.0) -> Path:
        file = self.place / f"{name}.yml"
        file.write_text(SCENARIO.replace("NAME", name).replace("RATE", str(rate)))
        return file

    def __call__(self, file: Path, kind: str, out: Path) -> None:
        self.made.append((file.stem, kind))
        if (file.stem, kind) in self.broken:
            raise ShadowsimError("it broke")
        if not (out / file.stem).exists():
            folder(out / file.stem, FREE)

    def study(self, *, controller: str = "ryu", again: bool = False) -> Study:
        self.made = []
        return Study(self.place / "runs", controller, self, self.told.append, again)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


BOTH = [("one", "simulated"), ("one", "emulated")]


def test_a_pair_is_run_once(runs: Runs) -> None:
    files = [runs.scenario("one")]
    rows, skipped = side_by_side(files, runs.study())
    assert ([r.scenario for r in rows], skipped) == (["one"], [])
    assert runs.made == BOTH
    again, _ = side_by_side(files, runs.study())
    assert runs.made == []
    assert again == rows
    side_by_side(files, runs.study(again=True))
    assert runs.made == BOTH


def test_what_has_changed_is_run_again(runs: Runs) -> None:
    files = [runs.scenario("one")]
    side_by_side(files, runs.study())
    side_by_side(files, runs.study(controller="os-ken"))
    assert runs.made == [("one", "emulated")]
    runs.scenario("one", rate=2.0)
    side_by_side(files, runs.study(controller="os-ken"))
    assert runs.made == BOTH


def test_what_broke_is_skipped_and_tried_again(runs: Runs) -> None:
    files = [runs.scenario("one"), runs.scenario("two")]
    runs.broken = {("one", "emulated")}
    rows, skipped = side_by_side(files, runs.study())
    assert [r.scenario for r in rows] == ["two"]
    assert skipped == [Skipped("one", "it broke", failed=True)]
    runs.broken = set()
    rows, skipped = side_by_side(files, runs.study())
    assert runs.made == [("one", "emulated")]
    assert (len(rows), skipped) == (2, [])


def test_a_run_that_was_broken_off_does_not_pass_for_the_one_before(runs: Runs) -> None:
    files = [runs.scenario("one")]
    side_by_side(files, runs.study())
    runs.broken = {("one", "emulated")}
    side_by_side(files, runs.study(again=True))
    runs.broken = set()
    side_by_side(files, runs.study())
    assert runs.made == [("one", "emulated")]


def test_what_the_machine_refuses_is_not_run_at_all(runs: Runs) -> None:
    rows, skipped = side_by_side([runs.scenario("much", rate=1e5)], runs.study())
    assert (rows, runs.made) == ([], [])
    assert "packets a second" in skipped[0].why
    assert not skipped[0].failed
    assert any("skipped" in line for line in runs.told)


def test_two_of_one_name_are_refused(runs: Runs) -> None:
    file = runs.scenario("one")
    with pytest.raises(BadInput, match="several scenarios are named one"):
        side_by_side([file, file], runs.study())
    assert runs.made == []


def test_coarse_is_that_of_the_run(runs: Runs) -> None:
    from shadowsim.scenario import load

    assert coarse_of(load(runs.scenario("little"))) == 1
    assert coarse_of(load(runs.scenario("more", rate=95.0))) > 1
    with pytest.raises(MachineLacks):
        coarse_of(load(runs.scenario("much", rate=1e5)))


# -- the command -------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_keeps_the_notes(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(file: Path, kind: str, out: Path, store: Path, controller: str) -> None:
        runs(file, kind, out)

    monkeypatch.setattr(machine_commands, "_run", made)
    page = runs.place / "fidelity.md"
    (runs.place / "fidelity-notes.md").write_text("## Why\n\nBy hand.\n")
    for _ in range(2):
        machine_commands.fidelity(
            [runs.scenario("one")], out=page, runs=runs.place / "runs", as_json=True
        )
        told = json.loads(capsys.readouterr().out)
        assert told["compared"][0]["same"] is True
        assert told["compared"][0]["latency"]["demands"] == 2
        assert page.read_text().endswith("By hand.\n")
    assert runs.made == BOTH


@pytest.mark.parametrize(("name", "rate", "code"), [("broken", 1.0, 1), ("much", 1e5, 3)])
def test_the_command_tells_by_its_exit_code_what_was_not_compared(
    name: str, rate: float, code: int, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(file: Path, kind: str, out: Path, store: Path, controller: str) -> None:
        runs(file, kind, out)

    runs.broken = {("broken", "emulated")}
    monkeypatch.setattr(machine_commands, "_run", made)
    with pytest.raises(typer.Exit) as leaving:
        machine_commands.fidelity([runs.scenario(name, rate)], runs=runs.place / "runs")
    assert leaving.value.exit_code == code


def test_the_command_refuses_an_unknown_controller(runs: Runs) -> None:
    with pytest.raises(BadInput, match="did you mean 'ryu'"):
        machine_commands.fidelity([runs.scenario("one")], controller="ryo", runs=runs.place)


def test_the_benchmarks_of_the_emulated_network_are_named_when_one_is_not_known() -> None:
    with pytest.raises(BadInput, match=r"no benchmark 'rollbak'; did you mean 'rollback'"):
        measure(["rollbak"], network="emulated")
    with pytest.raises(BadInput, match=r"no benchmark 'rollback'; valid: abilene"):
        measure(["rollback"])
    with pytest.raises(BadInput, match=r"--network: there is no 'emulatd'; did you mean"):
        machine_commands.bench(network="emulatd")


def _killed() -> list[Row]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def _wrong() -> list[Row]:
    raise ValueError("a number too large")


def _lacking() -> list[Row]:
    raise MachineLacks("root")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], list[Row]]]:
    """Benchmarks in place of the real ones, in processes that know of them."""
    made = {"killed": _killed, "wrong": _wrong, "up": lambda: [Row("up", 5.0, "s", 15.0)]}
    monkeypatch.setattr(bench, "benchmarks", lambda network: made)
    monkeypatch.setattr(bench, "get_context", lambda _: multiprocessing.get_context("fork"))
    return made


@pytest.mark.usefixtures("planted")
def test_a_benchmark_that_fails_takes_no_rows_of_others_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    with pytest.raises(ShadowsimError, match=r"killed was not measured.*memory") as failed:
        machine_commands.bench(out=page)
    assert failed.value.exit_code == 1
    assert "wrong was not measured: a number too large" in str(failed.value)
    assert "15 s" in capsys.readouterr().out
    assert "| up | 5 s | 15 s | met |" in page.read_text()
    assert "\nNot measured: wrong (a number too large).\n" in page.read_text()


def test_a_machine_that_can_carry_none_is_told_at_once(
    planted: dict[str, Callable[[], list[Row]]],
) -> None:
    planted["killed"] = _lacking
    with pytest.raises(MachineLacks, match="root"):
        measure([])


def test_the_page_of_the_benchmarks_says_how_it_was_made() -> None:
    measured = Measured([Row("up", 5.0, "s", 15.0)], {})
    page = bench_page(measured, "shadowsim bench --network emulated")
    assert "Made by `shadowsim bench --network emulated`" in page
    assert "| up | 5 s | 15 s | met |" in page
