"""What large networks need: drawn traffic, telemetry on disk, answers that are given once, proofs
for many destinations at once; and that what measures them measures.
"""

from __future__ import annotations

import errno
import itertools
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow
import pyarrow.parquet
import pytest

from shadowsim import telemetry_table
from shadowsim.bench.scale import Point, drawn_demands, fat_tree, rows_of
from shadowsim.bench.scale_figure import scale_figure
from shadowsim.bench.scale_page import page
from shadowsim.bench.scale_sweeps import Swept
from shadowsim.carried import begin, carry_out
from shadowsim.commit.hold import Unheld
from shadowsim.dataplane import forwarding
from shadowsim.dataplane.pairs import ends_of, proved_of
from shadowsim.dataplane.propagate import wires_of
from shadowsim.dataplane.surely import OPEN, WHOLLY, WITHIN
from shadowsim.dataplane.verify import Verifier
from shadowsim.errors import BadInput
from shadowsim.history import store
from shadowsim.history.observing import ASKED, observer_beside, observer_of
from shadowsim.journal import Journal
from shadowsim.model.change import apply
from shadowsim.model.telemetry import METRICS, Layout, Sample, Telemetry
from shadowsim.network import factory
from shadowsim.precog import Evidence, variant
from shadowsim.precog.once import OfSamples, Once
from shadowsim.precog.stacked import Stacked
from shadowsim.readings import by_second
from shadowsim.report import recorded
from shadowsim.scale_command import scale
from shadowsim.scenario import Scenario, load, parse
from shadowsim.telemetry_table import pieces, write_table
from shadowsim.workflow import Run, run_workflow

ROOT = Path(__file__).parents[1]
SEVERAL = """
name: x
seed: {seed}
topology:
  nodes: {{A: {{hosts: 3}}, B: {{hosts: 0}}, C: , D: {{hosts: 2}}}}
  links: [[A, B], [B, C], [C, D]]
traffic: {{demands: gravity{pairs}}}
change: {{script: ''}}
"""


# ---- pairs


def drawn(seed: int, pairs: str = "") -> list[tuple[str, str]]:
    scenario = parse(SEVERAL.format(seed=seed, pairs=pairs))
    return [(demand.source, demand.destination) for demand in scenario.traffic.demands]


def test_all_pairs_drawn_are_all_pairs() -> None:
    assert sorted(drawn(1, ", pairs: 22")) == sorted(drawn(1))
    assert len(drawn(1)) == 2 * (3 * 1 + 3 * 2 + 1 * 2)


def test_pairs_are_drawn_by_the_seed_none_twice_and_each_as_often_as_another() -> None:
    assert drawn(1, ", pairs: 5") == drawn(1, ", pairs: 5")
    many = [drawn(seed, ", pairs: 5") for seed in range(60)]
    assert all(len(set(pairs)) == 5 for pairs in many)
    often = {pair: sum(pair in pairs for pairs in many) for pair in drawn(1)}
    assert set(itertools.chain(*many)) == set(often)
    assert max(often.values()) < 60 * 5 / 22 + 5 * np.sqrt(60 * 5 / 22)


def test_the_busiest_link_carries_its_share_of_drawn_pairs_too() -> None:
    from shadowsim.scenario.traffic import busiest_share

    scenario = parse(SEVERAL.format(seed=3, pairs=", pairs: 4, scale: 0.7"))
    given = scenario.topology, scenario.configs, scenario.traffic.demands
    assert busiest_share(*given) == pytest.approx(0.7)


# ---- telemetry


def telemetry(samples: int) -> Telemetry:
    random = np.random.default_rng(samples)
    layout = Layout(("A", "B"), ("A>B", "B>A", "h>A"), ("h>k:bulk",))
    rows = [(2, 3), (3, 4), (1, 4)]
    return Telemetry(
        layout,
        [Sample(float(at), *(random.random(shape) for shape in rows)) for at in range(samples)],
    )


@pytest.mark.parametrize("at_once", [1, 7, 2**18])
def test_the_table_holds_every_reading_however_few_rows_are_in_memory(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_table, "ROWS_AT_ONCE", at_once)
    found = {"production": telemetry(5), "shadow": telemetry(0), "third": telemetry(3)}
    assert max(piece.num_rows for piece in pieces(found)) <= max(at_once, 3)
    write_table(found, tmp_path / "t.parquet")
    expected = [
        (sample.at_s, network, subject, name, metric, value)
        for network, series in found.items()
        for subject, metrics in METRICS.items()
        for metric in metrics
        for sample in series.samples
        for name, value in zip(
            series.layout.names(subject), sample.column(subject, metric).tolist(), strict=True
        )
    ]
    assert pl.read_parquet(tmp_path / "t.parquet").rows() == expected


def test_a_full_disk_is_an_os_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left") as caught:
        write_table({"production": telemetry(4)}, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("error", [OSError("it says so"), pyarrow.ArrowInvalid("it says so")])
def test_what_arrow_has_no_number_for_is_an_os_error_too(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", refuse)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_table({"production": telemetry(4)}, tmp_path / "t.parquet")
    assert caught.value.filename == str(tmp_path / "t.parquet")


@pytest.mark.parametrize("folder", ["exp:a", "s3:b", "file:c", "mock:d", "x y%20"])
def test_a_relative_path_is_a_path_whatever_it_looks_like(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    write_table({"production": telemetry(4)}, Path(folder) / "t.parquet")
    assert pl.read_parquet((tmp_path / folder / "t.parquet").read_bytes()).height == 4 * 22


def test_a_column_has_the_words_that_are_in_it(tmp_path: Path) -> None:
    write_table({"production": telemetry(4), "shadow": telemetry(4)}, tmp_path / "t.parquet")
    texts = ["network", "subject", "name", "metric"]
    with pyarrow.parquet.ParquetFile(tmp_path / "t.parquet", read_dictionary=texts) as file:
        table = file.read(texts)
    found = {name: set(table[name].chunk(0).dictionary.to_pylist()) for name in texts}
    assert found["network"] == {"production", "shadow"}
    assert found["subject"] == {"device", "link", "demand"}
    assert found["name"] == {"A", "B", "A>B", "B>A", "h>A", "h>k:bulk"}
    assert len(found["metric"]) == sum(map(len, METRICS.values()))


@pytest.mark.parametrize("reader", [recorded._read_telemetry, by_second])
def test_of_a_damaged_footer_polars_is_not_asked(
    reader: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take as much memory as the footer says."""
    path = tmp_path / "t.parquet"
    write_table({"production": telemetry(4)}, path)
    path.write_bytes(with_damaged_footer(path.read_bytes()))
    monkeypatch.setattr(pl, "scan_parquet", lambda path: pytest.fail("it was asked"))
    with pytest.raises(BadInput, match="cannot be read as telemetry"):
        reader(path)


def test_a_history_with_a_damaged_footer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "looks-00000.parquet"
    write_table({"production": telemetry(4)}, path)
    path.write_bytes(with_damaged_footer(path.read_bytes()))
    monkeypatch.setattr(pl, "read_parquet", lambda path: pytest.fail("it was asked"))
    with pytest.raises(BadInput, match="damaged, or no Parquet file"):
        store._tables([path])


def with_damaged_footer(whole: bytes) -> bytes:
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    return whole[:-footer] + bytes(255 - b for b in whole[-footer:-8]) + whole[-8:]


# ---- asked once


class Compared:
    """Asks fresh variants what those of the run have said, who remember."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.looks = 0

    def __call__(self, run: Run, evidence: Evidence) -> None:
        self.looks += 1
        if self.looks % 9 != 2:
            return
        assert isinstance(run.precog, Stacked)
        for name, part in run.precog.parts.items():
            asked = len(evidence.observed.samples)
            assert part.forecast(evidence) is part.forecast(evidence)
            fresh = variant(name, run.whatif).forecast(evidence)
            assert repr(fresh) == repr(part.forecast(evidence)), (name, asked)
        mine = observer_beside(run.precog, run.whatif, ASKED)
        s = self.scenario
        other = observer_of(s.topology, s.traffic.demands, s.intents, ASKED)
        one, two = mine.look(evidence, 1.0)[0], other.look(evidence, 1.0)[0]
        np.testing.assert_array_equal(one.features, two.features)
        np.testing.assert_array_equal(one.forecasts, two.forecasts)


@pytest.mark.parametrize("name", ["square-answers", "fault-not-the-change"])
def test_who_remembers_says_what_a_fresh_one_says(name: str) -> None:
    scenario = load(ROOT / "scenarios" / f"{name}.yml")
    run = begin(scenario, factory("simulated", "ryu"), Journal())
    compared = run.looked = Compared(scenario)
    run_workflow(run)
    assert compared.looks > 10


def test_evidence_that_has_grown_is_asked_again() -> None:
    given = telemetry(3)
    evidence = _evidence(given)
    asked = []
    once = Once(lambda e: asked.append(len(e.observed.samples)) or len(asked))
    assert (once(evidence), once(evidence)) == (1, 1)
    given.samples += telemetry(1).samples
    assert once(evidence) == 2
    assert once(replace(evidence)) == 3
    assert asked == [3, 4, 4]


def test_other_samples_are_read_again() -> None:
    samples = telemetry(3).samples
    read = OfSamples(lambda some: [s.at_s for s in some])
    assert read(samples) is read([*samples])
    assert read(samples[1:]) == [1.0, 2.0]
    assert read([]) == []


def _evidence(observed: Telemetry) -> Evidence:
    scenario = parse(SEVERAL.format(seed=1, pairs=""))
    return Evidence(
        "production", scenario.topology, scenario.traffic.demands, scenario.intents,
        scenario.change, scenario.configs, scenario.configs, telemetry(0), observed, None,
        horizon_s=15.0, soak_s=3.0,
    )  # fmt: skip


# ---- runs and figures


@pytest.mark.parametrize("name", ["drain-k16", "cut-off-k16"])
def test_a_change_on_320_switches_comes_out_as_it_should(name: str, tmp_path: Path) -> None:
    scenario = load(ROOT / "scenarios" / "scale" / f"{name}.yml")
    run = begin(scenario, factory("simulated", "ryu"), Journal())
    found = carry_out(run, "simulated", tmp_path / "run", b"key", nullcontext(Unheld()))
    assert found["expectations"]["met"], found["expectations"]["details"]
    rows = pl.scan_parquet(tmp_path / "run" / "telemetry.parquet").select(pl.len()).collect()
    samples = sum(len(series.samples) for series in run.telemetry.values())
    topology = scenario.topology
    readings = 3 * len(topology.devices) + 4 * topology.directed_links
    assert rows.item() == samples * (readings + 4 * len(scenario.traffic.demands))


def test_the_benchmark_measures_a_small_tree_too() -> None:
    rows = {row.name: row for row in rows_of(4, 4, 20)}
    assert len(rows) == 5
    assert rows["fat tree k=4: memory"].figure > 0.05
    assert 0 < rows["fat tree k=4: one network second"].figure < 1.0
    assert all(row.met for row in rows.values())
    assert "224 demands" in rows["fat tree k=4: one network second"].note


def test_demands_are_drawn_between_hosts_of_different_switches() -> None:
    topology = parse(SEVERAL.format(seed=1, pairs="")).topology
    home = {host.name: host.device for host in topology.hosts}
    found = drawn_demands(topology, 1)
    assert len({(d.source, d.destination) for d in found}) == len(found) == 22
    assert all(home[d.source] != home[d.destination] for d in found)


def test_the_page_says_where_the_walls_are() -> None:
    points = [point(k, 0.001 * k**5, 200.0 + k**3 / 100) for k in (8, 16)]
    text = page(points, [Swept("one machine", 10, 25.0)], "shadowsim scale", "images/scale.png")
    assert "| fat tree k=16 | 320 |" in text
    # k**5 is switches ** 2.5; 60 s are reached where 0.001 k**5 = 60.
    assert f"to the power of 2.50; up to about {1.25 * 60_000**0.4:,.0f} (k=8)" in text
    assert "fat trees end at k=72" in text
    assert "| one machine | 10 | 25.0 | 2.50 |" in text
    assert scale_figure(points).axes[0].get_xscale() == "log"


def test_the_command_writes_the_page_and_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shadowsim.bench.scale.SIZES", (fat_tree(4), fat_tree(6), fat_tree(8)))
    scale(largest=6, sweep_runs=0, out=tmp_path / "scale.md", seed=1, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [point["switches"] for point in found["points"]] == [20, 45]
    assert found["sweeps"] == []
    text = (tmp_path / "scale.md").read_text()
    assert "shadowsim scale --largest 6 --sweep-runs 0 --out" in text
    assert "Between fat tree k=4 and fat tree k=6:" in text
    assert "More than one process" not in text
    assert (tmp_path / "images" / "scale.png").read_bytes().startswith(b"\x89PNG")


def point(k: int, compile_s: float, memory_mb: float) -> Point:
    times = {"build_s": 0.1, "network_s": 0.1, "second_s": 0.1, "change_s": 0.1}
    return Point(
        fat_tree(k), 5 * k * k // 4, k**3 // 4, k**3 // 2, 50_000,
        compile_s=compile_s, memory_mb=memory_mb, sample_mb=1.0, **times,
    )  # fmt: skip


# ---- proofs


@pytest.mark.parametrize(
    ("script", "proved"),
    [
        ("", WHOLLY),
        ("device pod0-agg0\ninterface to-core-0\n ip ospf cost 500", WHOLLY),
        ("device pod0-edge0\ninterface to-h-pod0-edge0-0\n shutdown", WITHIN),
        ("device pod0-edge0\ninterface to-pod0-agg0\n shutdown\n"
         "interface to-pod0-agg1\n shutdown", OPEN),
    ],
)  # fmt: skip
def test_what_is_well_is_proved_and_what_is_not_is_not(script: str, proved: int) -> None:
    scenario = parse(
        f"name: x\ntopology: {{fat_tree: {{k: 4}}}}\nchange: {{script: {script!r}}}".replace(
            "'", '"'
        )
    )
    configs = apply(scenario.configs, scenario.change.commands)
    plane = forwarding.compile(scenario.topology, configs)
    verifier = Verifier(scenario.topology, scenario.intents.paths)
    atoms = verifier.header_atoms(plane)
    ends, _ = ends_of(plane, atoms, verifier._member)
    found = proved_of(wires_of(plane, atoms), ends, atoms)
    assert set(found.tolist()) == {proved}
    broken = any(not verdict.holds for verdict in verifier.check(plane))
    assert broken == (proved != WHOLLY)
