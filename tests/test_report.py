"""The page of a run: what it says, that it is safe and self-contained, and its figures."""

from __future__ import annotations

import base64
import json
import re
import shutil
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from shadowsim.errors import BadInput
from shadowsim.journal import Journal
from shadowsim.network import NETWORKS
from shadowsim.plots import (
    Drawing,
    Snapshot,
    analytics_figure,
    save_analytics,
    svg,
    topology_figure,
)
from shadowsim.plots.topology import layout
from shadowsim.precog import WhatIf, variant
from shadowsim.record import claim, document, write
from shadowsim.report import render, write_report
from shadowsim.report.figures import snapshots_of
from shadowsim.report.recorded import read_folder
from shadowsim.report.timeline import PHASES, lanes_of, ticks_of
from shadowsim.rollback.key import installation_key
from shadowsim.scenario import parse
from shadowsim.workflow import Run, run_workflow

HOSTILE = "<script>alert('1')</script> \"&amp; $x ${y} $\\frac{"
SCENARIO = """
name: tiny
topology: {nodes: [A, B, C], links: [[A, B], [B, C], [A, C]]}
traffic: {demands: [{from: any, to: any, rate_mbps: 5}, {from: h-A, to: h-C, rate_mbps: 9, class: critical}]}
intents: [{reachable: {from: any, to: any}}, {utilisation: {below_percent: 90}}]
change:
  summary: %s
  script: |
    device A
    interface to-C
     ip ospf cost 500
    device C
    interface to-A
     ip ospf cost 500
workflow: {shadow_s: 5, monitor_s: 8, soak_s: 1, baseline_s: 5}
expect: {decision: go, end_state: confirmed, breach_below_s: 0.0001}
"""  # noqa: E501


def run_into(folder: Path, text: str) -> Path:
    scenario = parse(text)
    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant(scenario.workflow.precog, whatif)
    run = run_workflow(Run(scenario, NETWORKS["simulated"], precog, whatif, Journal()))
    write(run, document(run, "simulated"), folder, installation_key())
    return folder


@pytest.fixture(scope="session", autouse=True)
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHADOWSIM_KEY", str(tmp_path_factory.mktemp("key") / "key"))
        yield


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return run_into(folder, SCENARIO % json.dumps(HOSTILE))


@pytest.fixture
def folder(ran: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ran, tmp_path / "run"))


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text, ids, and whether tags nest."""

    VOID = frozenset({"meta", "br", "img", "link", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def append(folder: Path, *events: dict[str, Any]) -> None:
    """Add events before the last one of the journal."""
    lines = (folder / "journal.jsonl").read_text().splitlines()
    end = json.loads(lines[-1])
    added = [json.dumps({"at_s": end["at_s"], "phase": PHASES[4], **event}) for event in events]
    (folder / "journal.jsonl").write_text("\n".join([*lines[:-1], *added, lines[-1]]) + "\n")


# -- what it says ------------------------------------------------------------------------------


def test_a_confirmed_run_told_whole(ran: Path) -> None:
    page = Page(render(ran))
    assert "Confirmed" in page.text
    assert "was deployed to production, and stays" in page.text
    for name in PHASES:
        assert name.replace("_", " ") in page.text
    assert "not reached" not in page.text
    assert "armed, not needed" in page.text
    assert "✓ rehearsed" in page.text
    assert page.text.count("held ready") == 3  # two steps and the verification
    assert "interface to-C\n no ip ospf cost" in page.text or "ip ospf cost 10" in page.text
    events = (ran / "journal.jsonl").read_text().splitlines()
    assert f"All {len(events)} events" in page.text


def test_expectations_stand_beside_what_came(ran: Path) -> None:
    text = Page(render(ran)).text
    result = json.loads((ran / "result.json").read_text())
    met = [d["met"] for d in result["expectations"]["details"]]
    assert met == [True, True, result["breach_s"] < 0.0001]
    assert f"{sum(met)} of 3" in text
    assert text.count("✗ not met") == 3 - sum(met)


def test_a_rollback_is_ticked_off_from_the_journal(folder: Path) -> None:
    edit(folder / "result.json", lambda r: r.update(
        end_state="rolled_back", failure_mode="service_outage", time_to_rollback_s=0.42,
        blamed=["A: interface to-C / ip ospf cost 500"]))  # fmt: skip
    append(
        folder,
        {"event": "trigger", "mode": "service_outage", "why": "without it, it would not be"},
        {"event": "rollback", "scope": "whole", "steps": 2},
        {"event": "step", "step": "s1", "outcome": "done"},
        {"event": "step", "step": "s2", "outcome": "skipped"},
        {"event": "rolled_back", "took_s": 0.42, "failed": []},
    )
    text = Page(render(folder)).text
    assert "verified 0.42 s after the trigger" in text
    assert "✓ done" in text
    assert "✓ nothing left to do" in text
    assert "✓ all hold" in text
    assert "rollback triggered: service outage (without it, it would not be)" in text


def test_a_rollback_that_stuck_needs_a_person(folder: Path) -> None:
    edit(folder / "result.json", lambda r: r.update(end_state="halted", time_to_rollback_s=10.0))
    append(
        folder,
        {"event": "rollback", "scope": "whole"},
        {"event": "step", "step": "s1", "outcome": "timed out"},
        {"event": "halted", "took_s": 10.0, "failed": ["step s1 on A timed out"]},
    )
    text = Page(render(folder)).text
    assert "A person is needed." in text
    assert "✗ timed out" in text
    assert "✗ not reached" in text
    assert "What does not hold: step s1 on A timed out" in text


def test_a_refused_run_shows_the_shadow_and_an_untouched_production(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    cut = next(i for i, e in enumerate(lines) if e["event"] == "phase" and e["number"] == 4)
    (folder / "journal.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines[:cut]))
    (folder / "signature.json").unlink()
    edit(folder / "result.json", lambda r: r.update(
        end_state="refused", decision="no-go", observed_in="shadow",
        failure_mode="performance_degradation"))  # fmt: skip
    text = Page(render(folder)).text
    assert "the change led to a performance degradation. Production was not touched." in text
    assert text.count("not reached") == 2
    assert "None was made" in text
    titles = [shot.title for shot in snapshots_of(read_folder(folder))]
    assert titles[0].startswith("shadow, before the change")
    assert titles[2].startswith("production, at the end (not touched)")


@pytest.mark.parametrize("change", [
    {"order_note": "safe, honestly"}, {"transiently_safe": False}, {"seal": ""}, {"seal": "é"},
])  # fmt: skip
def test_a_signature_that_was_altered_is_said_to_be_and_not_shown(
    folder: Path, change: dict[str, Any]
) -> None:
    assert "not to be trusted" not in render(folder)
    edit(folder / "signature.json", lambda s: s.update(change))
    text = Page(render(folder)).text
    assert "✗ not to be trusted" in text
    assert "the seal does not fit: altered, or made elsewhere" in text
    assert "order" not in text[text.index("not to be trusted") : text.index("Journal")]


def test_where_no_key_was_ever_made_no_signature_is_believed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))
    assert "✗ not to be trusted" in Page(render(folder)).text
    assert not (tmp_path / "key").exists()


# -- safe and self-contained -------------------------------------------------------------------


def test_nothing_is_fetched_and_nothing_runs(ran: Path) -> None:
    text = render(ran)
    page = Page(text)
    assert not re.search(r"(?:https?:)?//[a-z]", text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    targets = {a["id"] for _, a in page.tags if a.get("id")}
    assert len(targets) == len([a for _, a in page.tags if a.get("id")])
    for link in page.all("a"):
        assert str(link["href"])[1:] in targets
    for image in page.all("img"):
        assert str(image["src"]).startswith("data:image/svg+xml;base64,")
        assert len(image["alt"] or "") > 20


def test_what_comes_from_files_is_escaped(folder: Path) -> None:
    def spoil(result: dict[str, Any]) -> None:
        result.update(scenario=HOSTILE, summary=HOSTILE, network=HOSTILE, end_state=HOSTILE,
                      blamed=[HOSTILE], failure_mode=HOSTILE, root_cause=HOSTILE)  # fmt: skip
        result["reasons"] = [
            {"variant": HOSTILE, "mode": HOSTILE, "probability": 1, "text": HOSTILE}
        ]
        result["expectations"]["details"][0].update(what=HOSTILE, expected=HOSTILE, got=HOSTILE)

    edit(folder / "result.json", spoil)
    edit(
        folder / "topology.json", lambda t: t["devices"].append({"name": HOSTILE, "position": None})
    )
    append(
        folder,
        {"event": HOSTILE, "phase": HOSTILE, HOSTILE: [HOSTILE, {HOSTILE: 1}]},
        {"event": "trigger", "mode": HOSTILE, "why": HOSTILE},
        {"event": "deploy", "network": HOSTILE, "device": HOSTILE},
        {"event": "phase", "phase": HOSTILE},
    )
    text = render(folder)
    page = Page(text)
    assert page.all("script") == []
    assert "<script" not in text
    assert page.text.count(HOSTILE) > 10


def test_headings_descend_one_at_a_time(ran: Path) -> None:
    levels = [int(tag[1]) for tag, _ in Page(render(ran)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_same_folder_gives_the_same_page(ran: Path) -> None:
    assert render(ran) == render(ran)


def test_the_page_is_written_whole(folder: Path, tmp_path: Path) -> None:
    assert write_report(folder) == folder / "report.html"
    there = write_report(folder, tmp_path / "new" / "page.html")
    assert there.read_text(encoding="utf-8") == render(folder)
    assert [p.name for p in there.parent.iterdir()] == ["page.html"]
    with pytest.raises(BadInput, match="cannot be written"):
        write_report(folder, folder / "result.json" / "page.html")
    for place in (Path(), Path("/"), folder):
        with pytest.raises(BadInput, match="cannot be written: is a folder"):
            write_report(folder, place)


# -- broken folders ----------------------------------------------------------------------------


def replaced(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def stray_link(folder: Path) -> None:
    edit(folder / "topology.json", lambda t: t["links"][0].update(a="nowhere"))


def stray_step(folder: Path) -> None:
    edit(folder / "signature.json", lambda s: s.update(order=["s9"]))


def other_table(folder: Path) -> None:
    pl.DataFrame({"at_s": [1.0]}).write_parquet(folder / "telemetry.parquet")


@pytest.mark.parametrize(
    "name", ["result.json", "journal.jsonl", "topology.json", "telemetry.parquet"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BadInput) as caught:
        render(folder)
    assert caught.value.mistakes[0].file == str(folder / name)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("result.json", replaced("result.json", "{"), "document: Invalid JSON"),
        ("result.json", replaced("result.json", '{"scenario": 1}'), "decision: Field required"),
        ("result.json", replaced("result.json", "[" * 100_000), "document: Invalid JSON"),
        ("journal.jsonl", replaced("journal.jsonl", ""), "holds no event"),
        ("topology.json", replaced("topology.json", '{"devices": []}'), "devices: Tuple should"),
        ("topology.json", stray_link, 'a link ends at "nowhere"'),
        ("signature.json", replaced("signature.json", "{}"), "id: Field required"),
        ("signature.json", stray_step, "must name every step once"),
        ("telemetry.parquet", replaced("telemetry.parquet", "PAR1"), "cannot be read as"),
        ("telemetry.parquet", other_table, "column network is not there"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(
    folder: Path, name: str, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(folder)
    with pytest.raises(BadInput, match=re.escape(said)) as caught:
        render(folder)
    assert caught.value.mistakes[0].file == str(folder / name)


def test_a_run_is_not_written_through_a_link(ran: Path, tmp_path: Path) -> None:
    """Else the folder of a run could be somebody's, wherever it is."""
    shutil.copytree(ran, tmp_path / "theirs")
    for there in (tmp_path / "theirs", tmp_path / "nowhere"):
        link = tmp_path / f"link-to-{there.name}"
        link.symlink_to(there)
        with pytest.raises(BadInput, match="symbolic link"):
            claim(link)
    claim(tmp_path / "theirs")


def test_a_table_with_a_byte_turned_is_read_or_refused(folder: Path) -> None:
    """At some of them polars panics, which is no Exception in Python."""
    path = folder / "telemetry.parquet"
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), len(whole) // 300):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_folder(folder)
        except BadInput as error:
            assert error.mistakes[0].file == str(path)
            refused += 1
    assert refused > 10


def test_readings_that_cannot_be_drawn_are_missing(folder: Path) -> None:
    path = folder / "telemetry.parquet"
    found = pl.read_parquet(path)
    huge = found.with_columns(value=pl.lit(1e300), at_s=pl.lit(1e300))
    pl.concat([found, huge, found.with_columns(value=pl.lit(1e300))]).write_parquet(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        render(folder)
    assert read_folder(folder).readings.worst["value"].max() < 1e18


def test_a_broken_line_of_the_journal_is_counted(folder: Path) -> None:
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"at_s": "soon", "phase": "x", "event": "y"}\n')
    with pytest.raises(BadInput, match=r"at_s") as caught:
        render(folder)
    assert caught.value.mistakes[0].line == len((folder / "journal.jsonl").read_text().splitlines())


def test_no_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        render(tmp_path / "nowhere")


# -- figures -----------------------------------------------------------------------------------


def test_snapshots_hold_the_loads_of_their_moment(ran: Path) -> None:
    run = read_folder(ran)
    deployed = run.first("deploy", network="production")
    assert deployed is not None
    before, worst, after = snapshots_of(run)
    table = pl.read_parquet(ran / "telemetry.parquet").filter(
        network="production", metric="utilisation", name="A>C"
    )
    early = table.filter(pl.col("at_s") <= deployed.at_s).sort("at_s")["value"][-1]
    assert before.utilisation["A>C"] == pytest.approx(early)
    assert after.utilisation["A>C"] < 0.01 < early  # the cost took its traffic away
    assert max(worst.utilisation.values()) >= max(after.utilisation.values())
    assert not any("h-" in name for name in before.utilisation)


def test_a_gap_in_telemetry_stays_a_gap(folder: Path) -> None:
    path = folder / "telemetry.parquet"
    dark = pl.when(pl.col("at_s") == 3.0).then(float("nan")).otherwise(pl.col("value"))
    pl.read_parquet(path).with_columns(value=dark).write_parquet(path)
    worst = read_folder(folder).readings.worst
    assert worst.filter(at_s=3.0)["value"].null_count() == worst.filter(at_s=3.0).height > 0
    assert worst.filter(at_s=4.0)["value"].null_count() == 0


def boxes(figure: Any) -> list[list[Any]]:
    """Where the names of devices stand, per panel."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [
        [t.get_window_extent(renderer) for t in axes.texts] for axes in figure.axes if axes.texts
    ]


@pytest.mark.parametrize("count", [12, 50])
def test_names_of_devices_do_not_overlap(count: int) -> None:
    places = np.random.default_rng(count).uniform(0, 10, (count, 2))
    names = [f"device-{i}" for i in range(count)]
    drawing = Drawing(
        {n: (float(x), float(y)) for n, (x, y) in zip(names, places, strict=True)},
        [(a, b, (f"{a}>{b}",)) for a, b in pairwise(names)],
    )
    figure = topology_figure(
        drawing, [Snapshot("one", {}), Snapshot("two", {})], names[:2], names[:1]
    )
    panels = boxes(figure)
    assert len(panels) == 2
    for panel in panels:
        assert len(panel) > 0.7 * count
        assert all(box.count_overlaps(panel) == 1 for box in panel)


def test_what_the_font_has_no_sign_for_is_escaped() -> None:
    """All of it would be the same box, and matplotlib would say so on standard error."""
    names = ["A\x1b[2J", "\u5317\u4eac", "a\tb", "Z\u00fcrich"]
    drawing = Drawing({name: (float(i), 0.0) for i, name in enumerate(names)}, [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = topology_figure(drawing, [Snapshot("the end (\x1b)", {})])
        svg(figure)
    axes = figure.axes[0]
    assert axes.get_title() == "the end (\\x1b)"
    told = {text.get_text() for text in axes.texts}
    assert told == {"A\\x1b[2J", "\\u5317\\u4eac", "a\\tb", "Z\u00fcrich"}


def test_many_devices_go_without_names() -> None:
    names = [str(i) for i in range(61)]
    drawing = Drawing(dict.fromkeys(names), [(a, "0", ()) for a in names[1:]])
    assert boxes(topology_figure(drawing, [Snapshot("one", {})])) == []


def test_a_fabric_is_drawn_in_layers_above_its_hosts() -> None:
    links = [(edge, spine, ()) for edge in ("e1", "e2", "e3") for spine in ("s1", "s2")]
    names = ("s1", "s2", "e1", "e2", "e3")
    drawing = Drawing(dict.fromkeys(names), links, frozenset({"e1", "e2", "e3"}))
    height = {name: round(y, 6) for name, (_, y) in layout(drawing).items()}
    assert height["e1"] == height["e2"] == height["e3"] < height["s1"] == height["s2"]


@pytest.mark.parametrize("names", [["A"], ["A", "B"], ["A", "B", "C", "D"]])
def test_any_network_can_be_laid_out(names: list[str]) -> None:
    links = [("A", "B", ())] if "B" in names else []
    found = layout(Drawing(dict.fromkeys(names), links))
    assert list(found) == names
    assert np.isfinite(list(found.values())).all()


def test_figures_of_the_page_are_pictures(ran: Path) -> None:
    sources = [str(image["src"]) for image in Page(render(ran)).all("img")]
    pictures = [ET.fromstring(base64.b64decode(s.partition(",")[2])) for s in sources]
    assert len(pictures) == 3
    assert all(p.tag.endswith("svg") and len(list(p.iter())) > 100 for p in pictures)


@pytest.mark.parametrize("rows", [[], [{"decision": "go", "end_state": "confirmed"}]])
def test_analytics_are_drawn_of_anything(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    assert len(analytics_figure(rows).axes) == 5
    assert svg(analytics_figure(rows)) == svg(analytics_figure(rows))
    save_analytics(rows, tmp_path / "new" / "a.png")
    save_analytics(rows, tmp_path / "a.svg")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


def test_analytics_know_two_kinds_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"valid: \.png, \.svg"):
        save_analytics([], tmp_path / "a.jpg")


# -- the bar of the phases ---------------------------------------------------------------------


def test_pins_that_would_cover_each_other_are_stacked() -> None:
    assert lanes_of([0, 100, 101, 102, 130, 300]) == [0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize("end_s", [0.004, 0.5, 1, 77.7, 3600, 9e6])
def test_ticks_are_few_and_round(end_s: float) -> None:
    ticks = ticks_of(end_s)
    assert ticks[0] == 0
    assert 4 <= len(ticks) <= 13
    assert ticks[-1] <= end_s * (1 + 1e-9)
