"""Outages under every variant: what became of each, at what cost, and the page that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from test_command_line import Shell

from shadowsim.batch import Local
from shadowsim.errors import BadInput
from shadowsim.history.simulate import left_alone
from shadowsim.outages.blocks import Code, Page, Part, Picture, Table, Text, html, markdown
from shadowsim.outages.page import Found, duration, page_of
from shadowsim.outages.table import by_change, by_variant, frame
from shadowsim.outages.traffic import Delivery, delivery_in, delivery_of
from shadowsim.outages.twin import LEFT_ALONE, pieces_of, work
from shadowsim.outages.verdicts import (
    ASKED,
    HALTED,
    MISSED,
    REFUSED,
    STOPPED,
    TAKEN_BACK,
    WENT,
    Verdict,
    lines,
    verdict,
    verdicts,
)
from shadowsim.outages_command import files_of
from shadowsim.scenario import Scenario, parse
from shadowsim.sweep.carry import claim, finished, work_off
from shadowsim.sweep.plan import Piece, Plan
from shadowsim.telemetry_table import write_table

SQUARE = """
name: {name}
seed: 3
topology: {{nodes: [A, B, C], links: [[A, B], [B, C], [C, A]]}}
traffic:
  demands:
    - {{from: A, to: B, rate_mbps: 1, class: critical}}
    - {{from: C, to: B, rate_mbps: 3}}
intents: [{{reachable: {{from: any, to: any}}}}]
change: {{summary: "{name}", script: "device {device}\\n{line}\\n"}}
workflow: {{baseline_s: 2, shadow_s: 10, monitor_s: 6, soak_s: 1}}
{more}
"""
CUT = SQUARE.format(
    name="cut", device="B", line="interface to-A\\n shutdown\\ninterface to-C\\n shutdown",
    more="""outage:
  {date: "2021-06-08", who: 'Some | one', change: both uplinks shut, mechanism: nothing was left,
   recovery_s: 2940, lost: all of it, sources: ["A report, Some one, 2021-06-09"]}""",
)  # fmt: skip
FINE = SQUARE.format(name="fine", device="A", line="interface to-B\\n description x", more="")
SEEDS = (0, 1)


@pytest.fixture(autouse=True)
def key(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path_factory.getbasetemp() / "key-of-outages"))


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan((parse(CUT), parse(FINE)), SEEDS, ("always-go", "script"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Path:
    folder = tmp_path_factory.mktemp("outages") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHADOWSIM_KEY", str(tmp_path_factory.getbasetemp() / "key-of-outages"))
        with claim(folder, plan):
            doing = partial(work, plan, folder.absolute())
            assert work_off(folder, pieces_of(plan), doing, Local(1), lambda *_: None) == []
    return folder


@pytest.fixture(scope="session")
def found(made: Path, plan: Plan) -> Found:
    runs = frame(verdicts(made, plan))
    return Found(plan.scenarios, runs, lines(made, plan, ["cut"]), "shadowsim outages PLACE")


# -- the traffic -------------------------------------------------------------------------------


def delivery(lost: Sequence[float], from_s: float = 10.0) -> Delivery:
    at_s = from_s + 1.0 + np.arange(len(lost))
    return Delivery(from_s, at_s, np.full(len(lost), 8.0), np.array(lost, dtype=float))


def test_what_is_lost_is_summed_over_the_time_between_readings() -> None:
    assert delivery([0, 4, 8]).lost_bits(3.0) == 12.0
    assert delivery([0, 4, 8]).wanted_bits == 24.0
    assert delivery([0, 4, 8]).lost_bits(2.0) == 4.0
    assert delivery([0, 4, 8]).shares == [(1.0, 0.0), (2.0, 0.5), (3.0, 1.0)]


def test_what_is_lost_at_the_end_goes_on_being_lost() -> None:
    assert delivery([0, 4]).lost_bits(10.0) == 4.0 * 9
    assert delivery([4, 0]).lost_bits(10.0) == 4.0
    assert delivery([]).lost_bits(10.0) == 0.0


def test_since_leaves_out_what_was_before() -> None:
    later = delivery([8, 8, 2]).since(12.0)
    assert (later.from_s, later.lost_bits(1.0)) == (12.0, 2.0)


def test_the_same_traffic_from_a_run_and_from_its_file(made: Path, plan: Plan) -> None:
    """Of a twin's telemetry, written as a run writes it."""
    telemetry = left_alone(plan.scenario(Piece("cut", "always-go", 0))).telemetry
    telemetry.samples[3].demand[0] = np.nan  # nothing reported: in neither sum
    path = made / "twin.parquet"
    write_table({"production": telemetry}, path)
    kept, direct = delivery_in(path), delivery_of(telemetry)
    path.unlink()
    np.testing.assert_allclose(kept.at_s, direct.at_s)
    np.testing.assert_allclose(kept.wanted_bps, direct.wanted_bps)
    np.testing.assert_allclose(kept.lost_bps, direct.lost_bps, atol=1e-6)
    assert direct.wanted_bps[3] < 0.9 * direct.wanted_bps[2]


def test_a_damaged_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(BadInput, match="telemetry"):
        delivery_in(tmp_path / "x.parquet")


# -- twins -------------------------------------------------------------------------------------


def test_every_run_has_a_twin_of_its_seed(plan: Plan, made: Path) -> None:
    twins = [piece for piece in pieces_of(plan) if piece.precog == LEFT_ALONE]
    assert sorted(twins) == sorted(
        Piece(name, LEFT_ALONE, seed) for name in ("cut", "fine") for seed in SEEDS
    )
    assert all(finished(made, twin) for twin in twins)


def test_left_alone_a_cut_loses_what_went_over_it_and_a_description_nothing(made: Path) -> None:
    cut = finished(made, Piece("cut", LEFT_ALONE, 0))
    fine = finished(made, Piece("fine", LEFT_ALONE, 0))
    assert cut is not None
    assert fine is not None
    assert cut["lost_bits"] / cut["wanted_bits"] > 0.9
    assert "service_outage" in cut["failed_after_s"]
    assert cut["sign"]
    assert fine["lost_bits"] < 0.01 * fine["wanted_bits"]
    assert fine["failed_after_s"] == {}
    assert cut["over_s"] >= 6.0  # as long as a run watches production


def test_what_is_there_is_not_made_again(made: Path, plan: Plan) -> None:
    def never(piece: Piece) -> None:
        raise AssertionError(piece)

    seen: list[tuple[int, int]] = []
    with claim(made, plan):
        work_off(made, pieces_of(plan), never, Local(1), lambda *told: seen.append(told))
    assert seen == [(12, 12)]


# -- verdicts ----------------------------------------------------------------------------------


def run_of(end_state: str, observed_in: str = "shadow", **more: Any) -> dict[str, Any]:
    return {
        "scenario": "x", "precog": "judge", "seed": 1, "end_state": end_state,
        "observed_in": observed_in, "refused_by": [], "triggered_after_s": None,
        "time_to_rollback_s": None, "breach_s": 0.0, "failure_mode": "none",
        "gate": {"no_go_above": 0.5}, **more,
    }  # fmt: skip


TWIN = {"failed_after_s": {"service_outage": 1.0}, "over_s": 10.0, "wanted_bits": 80.0,
        "lost_bits": 40.0}  # fmt: skip
GOOD = {**TWIN, "failed_after_s": {}, "lost_bits": 0.0}
JOURNAL = [
    {"at_s": 2.0, "event": "deploy", "network": "shadow"},
    {"at_s": 7.0, "event": "forecast", "probabilities": {"a": 0.4, "b": None}},
    {"at_s": 12.0, "event": "forecast", "probabilities": {"a": 0.6, "b": None}},
    {"at_s": 17.0, "event": "decision"},
    {"at_s": 20.0, "event": "deploy", "network": "production"},
]


def judged(run: dict[str, Any], twin: dict[str, Any] = TWIN) -> Verdict:
    return verdict(run, twin, JOURNAL, delivery([8, 8, 0], from_s=20.0))


def test_how_it_went() -> None:
    deployed = {"observed_in": "production"}
    back = {"triggered_after_s": 3.0, "time_to_rollback_s": 1.5}
    assert judged(run_of("refused", refused_by=["a limit"])).how == STOPPED
    assert judged(run_of("refused")).how == REFUSED
    assert judged(run_of("halted")).how == ASKED
    assert judged(run_of("confirmed", **deployed)).how == MISSED
    assert judged(run_of("confirmed", **deployed), GOOD).how == WENT
    assert judged(run_of("halted", **deployed)).how == HALTED
    taken = judged(run_of("rolled_back", **deployed, **back))
    assert (taken.how, taken.detected_s, taken.back_s) == (TAKEN_BACK, 3.0, 4.5)
    assert (taken.lost, taken.lost_alone) == (16 / 80, 0.5)


def test_refused_is_detected_by_the_first_forecast_that_forbids_it_or_by_the_decision() -> None:
    assert judged(run_of("refused")).detected_s == 10.0
    surer = judged(run_of("refused", gate={"no_go_above": 0.9}))
    assert surer.detected_s == 15.0
    assert (surer.lost, surer.back_s) == (0.0, None)
    assert judged(run_of("halted")).detected_s is None


def test_only_a_good_change_that_is_not_let_through_is_a_false_alarm() -> None:
    assert judged(run_of("refused"), GOOD).false_alarm
    assert not judged(run_of("refused")).false_alarm
    assert not judged(run_of("confirmed", observed_in="production"), GOOD).false_alarm


def test_where_nothing_was_reported_no_share_is_told() -> None:
    dark = {**TWIN, "wanted_bits": 0.0, "lost_bits": 0.0}
    assert judged(run_of("confirmed", observed_in="production"), dark).lost is None
    refused = judged(run_of("refused"), dark)
    assert (refused.lost, refused.lost_alone) == (0.0, None)
    (row,) = by_change(frame([refused])).to_dicts()
    assert row["lost_alone"] is None


def test_the_cut_is_stopped_in_the_shadow_and_the_description_goes_through(found: Found) -> None:
    told = {(r["scenario"], r["precog"]): r for r in by_change(found.runs).iter_rows(named=True)}
    for variant in ("always-go", "script"):
        assert told["cut", variant]["how"] == STOPPED
        assert told["cut", variant]["lost"] == 0.0
        assert told["cut", variant]["lost_alone"] > 0.9
        assert told["fine", variant]["how"] == WENT
        assert told["fine", variant]["false_alarms"] == 0
    assert told["cut", "script"]["detected_s"] < told["cut", "always-go"]["detected_s"]


# -- tables ------------------------------------------------------------------------------------


def one(how: str, **more: Any) -> Verdict:
    base = Verdict("x", "judge", 0, how, True, None, None, 0.0, 0.5, 10.0, 0.0, "none")
    return replace(base, **more)


def test_the_more_often_and_then_the_worse_is_told() -> None:
    often = [one(STOPPED, seed=0), one(MISSED, seed=1), one(STOPPED, seed=2)]
    (row,) = by_change(frame(often)).to_dicts()
    assert (row["how"], row["times"], row["runs"]) == (STOPPED, 2, 3)
    (row,) = by_change(frame(often[:2])).to_dicts()
    assert (row["how"], row["times"], row["runs"]) == (MISSED, 1, 2)


def test_variants_are_counted_over_outages_that_hurt_and_good_changes_apart() -> None:
    runs = frame([
        one(STOPPED), one(MISSED, seed=1, lost=0.4), one(WENT, seed=2, fails=False),
        one(REFUSED, scenario="good", fails=False), one(TAKEN_BACK, scenario="good", fails=False),
        one(WENT, scenario="good", fails=False), one(STOPPED, scenario="bad but unknown"),
    ])  # fmt: skip
    (row,) = by_variant(runs, ["x"]).to_dicts()
    assert (row["outages"], row[STOPPED], row[MISSED], row[REFUSED]) == (2, 1, 1, 0)
    assert row["lost"] == pytest.approx(0.2)
    assert (row["ordinary"], row["false refusals"], row["false rollbacks"]) == (3, 1, 1)


def test_without_runs_the_tables_are_empty(plan: Plan) -> None:
    empty = frame([])
    assert by_change(empty).is_empty()
    assert by_variant(empty, ["x"]).is_empty()
    page = page_of(Found(plan.scenarios, empty, {}, "none"))
    assert markdown(page, "images").startswith("# Outages")


# -- the page ----------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The texts of all cells, and every tag that was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.inside = tag in ("td", "th")
        if self.inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def test_the_page_says_the_same_in_markdown_and_in_html(found: Found) -> None:
    page = page_of(found)
    text, parser = markdown(page, "images"), Cells()
    parser.feed(html(page, "<p>of a test</p>"))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [c.strip().replace("\\|", "|") for r in rows for c in re.split(r"(?<!\\)\|", r)[1:-1]]
    assert cells == parser.cells
    assert {"img", "nav", "table"} <= parser.tags
    assert "script" not in parser.tags
    assert "49 min" in cells
    assert STOPPED in cells
    assert "shadowsim outages PLACE" in text


def test_what_a_scenario_says_cannot_become_markup(found: Found) -> None:
    (cut, *others) = found.scenarios
    assert cut.outage is not None
    evil = replace(cut, summary="<script>x</script>", outage=replace(cut.outage, who="<b>&"))
    text = html(page_of(replace(found, scenarios=(evil, *others))), "")
    assert "<script" not in text
    assert "<b>" not in text


def test_pictures_are_files_beside_the_markdown_and_in_the_html(found: Found) -> None:
    page = page_of(found)
    assert set(page.pictures) == {"outages-traffic.svg", "outages-variants.svg"}
    assert all(b"<svg" in data for data in page.pictures.values())
    text = markdown(page, "images")
    assert all(f"(images/{name})" in text for name in page.pictures)
    assert page_of(found).pictures == page.pictures  # the same bytes for the same figures


def test_blocks_to_markdown_and_html() -> None:
    blocks = (Text("a < b"), Code("one\ntwo"), Table("t", ["a", "b"], [["1", "x|y"]], (0,)),
              Picture("p.svg", b"<svg/>", "alt", "caption"))  # fmt: skip
    page = Page("kind", "Title", "Lead", [Part("part", "Part", blocks)])
    assert markdown(page, "img") == (
        "# Title\n\nLead\n\n## Part\n\na < b\n\n    one\n    two\n\n"
        "| a | b |\n|---:|---|\n| 1 | x\\|y |\n\n![alt](img/p.svg)\n\ncaption\n"
    )
    assert "a &lt; b" in html(page, "")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "not published"), (27, "27 s"), (1620, "27 min"), (68400, "19.0 h")],
)
def test_durations_as_people_say_them(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


# -- the command -------------------------------------------------------------------------------


def test_scenarios_are_named_one_by_one_or_by_their_folder(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yml", "notes.md"):
        (tmp_path / name).touch()
    assert files_of([tmp_path]) == [tmp_path / "a.yml", tmp_path / "b.yml"]
    assert files_of([tmp_path / "b.yml"]) == [tmp_path / "b.yml"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no scenario"):
        files_of([tmp_path / "empty"])


def test_one_command_writes_the_page_and_goes_on_where_it_was(shell: Shell, tmp_path: Path) -> None:
    for text in (CUT, FINE):
        scenario: Scenario = parse(text)
        (tmp_path / f"{scenario.name}.yml").write_text(text)
    words = ("outages", str(tmp_path), "--seeds", "0", "--variants", "always-go", "--jobs", "1",
             "--docs", str(tmp_path / "docs"), "--out", str(tmp_path / "runs"))  # fmt: skip
    first = shell(*words, "--json")
    assert first.code == 0, first.err
    told = json.loads(first.out)
    assert told["outages"] == ["cut"]
    assert [row["how"] for row in told["runs"]] == [STOPPED, WENT]
    assert told["failed"] == []
    docs = tmp_path / "docs"
    assert {str(p.relative_to(docs)) for p in docs.rglob("*") if p.is_file()} == {
        "outages.md", "outages.html", "images/outages-traffic.svg", "images/outages-variants.svg",
    }  # fmt: skip
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("result.json")}
    again = shell(*words)
    assert again.code == 0, again.err
    assert "always-go" in again.out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("result.json")} == before


def test_what_is_wrong_is_found_before_anything_is_run(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "cut.yml").write_text(CUT)
    said = shell("outages", str(tmp_path), "--variants", "scrpt", "--out", str(tmp_path / "o"))
    assert said.code == 2
    assert "script" in said.err
    assert not (tmp_path / "o").exists()


def test_the_frame_has_a_column_for_each_field() -> None:
    assert frame([one(STOPPED)]).schema["back_s"] == pl.Float64
