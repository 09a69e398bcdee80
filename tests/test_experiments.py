"""The experiments: that each runs, goes on where it was, and writes down what it found."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import answer
import fine_tuning
import how_early
import how_much_shadow
import numpy as np
import polars as pl
import pytest
import rl_on_unseen
import transfer
import what_rl_adds
import which_costs_least
from answer import Answer, Interval, kept, over_seeds, tell, write_down
from changes import changes_of, tapes_of
from hypothesis import given
from hypothesis import strategies as st
from late import late
from made_tapes import ring
from matplotlib.figure import Figure
from said import said, shown
from scipy.stats import ttest_1samp

from shadowsim.errors import BadInput, MachineLacks
from shadowsim.precog.supervised import standing_model
from shadowsim.scenario import load

ROOT = Path(answer.__file__).parents[1]
DOCUMENT = "".join((ROOT / "docs" / name).read_text() for name in ("experiments.md", "rl.md"))
NAMES = (
    "which_costs_least", "what_rl_adds", "how_much_shadow", "how_early", "fine_tuning", "transfer",
    "rl_on_unseen",
)  # fmt: skip
BEGIN, END = "<!-- what: begin -->", "<!-- what: end -->"
SHARED = {"answer", "changes", "figures", "said", "late"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them share their tapes."""
    return tmp_path_factory.mktemp("experiments")


def quick(main: Any, place: Path) -> tuple[pl.DataFrame, Mapping[Path, bytes]]:
    """Run one in small; its rows, and all that it has made."""
    out = place / main.__module__
    main(quick=True, tapes=place / "tapes", out=out, mlflow="off", docs=place / "none.md")
    there = out.with_name(f"quick-{out.name}")
    return pl.read_csv(there / "rows.csv"), content(there)


def content(folder: Path) -> Mapping[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- each of them -----------------------------------------------------------------------------


def test_every_policy_decides_about_the_same_changes(place: Path) -> None:
    rows, _ = quick(which_costs_least.main, place)
    wanted = {"always go", "never go", "random", "rule by hand", "supervised", "hybrid", "rl",
              "hybrid-rl", "oracle"}  # fmt: skip
    assert set(rows["policy"]) == wanted and set(rows["seed"]) == {0, 1}
    best = rows.filter(pl.col("policy") == "oracle").sort("seed")["cost"]
    for name in wanted:
        mine = rows.filter(pl.col("policy") == name).sort("seed")["cost"]
        assert (mine >= best - 1e-9).all()


def test_learned_policies_are_compared_on_the_same_changes(place: Path) -> None:
    rows, _ = quick(rl_on_unseen.main, place)
    costs = {name: part["cost"].to_list() for (name,), part in rows.group_by("policy")}
    assert {name for name, each in costs.items() if len(each) == 2} == {"rl", "hybrid-rl"}
    assert min(min(each) for each in costs.values()) >= costs["oracle"][0] - 1e-9


def test_an_interval_is_over_seeds_and_over_networks() -> None:
    """Seeds that agree leave that over networks, networks that agree that over seeds."""
    of_networks, of_seeds = np.array([1.0, 4.0, 2.0, 5.0]), np.array([0.5, -0.25, 1.0])
    found = rl_on_unseen.over_seeds_and_networks(np.tile(of_networks, (3, 1)), list("abcd"))
    wanted = over_seeds(of_networks.tolist())
    assert (found.mean, found.half) == pytest.approx((wanted.mean, wanted.half))
    found = rl_on_unseen.over_seeds_and_networks(np.tile(of_seeds[:, None], (1, 4)), list("abcd"))
    wanted = over_seeds(of_seeds.tolist())
    assert (found.mean, found.half) == pytest.approx((wanted.mean, wanted.half))
    both = of_networks + of_seeds[:, None]
    found = rl_on_unseen.over_seeds_and_networks(both, list("aabb"))
    assert found.half > over_seeds([2.5, 3.5]).half
    assert np.isnan(rl_on_unseen.over_seeds_and_networks(both, ["a"] * 4).half)


def test_the_bounds_are_chosen_and_the_trainings_gone_on_with(place: Path) -> None:
    rows, made = quick(what_rl_adds.main, place)
    cost = {(row["policy"], row["seed"]): row["cost"] for row in rows.iter_rows(named=True)}
    assert len(cost) == 2 * 8
    policies = {p: data for p, data in made.items() if p.name == "best.policy"}
    assert len(policies) == 4
    again, after = quick(what_rl_adds.main, place)
    assert again.equals(rows)
    assert {p: after[p] for p in policies} == policies


def test_less_shadow_is_a_smaller_one(place: Path) -> None:
    rows, made = quick(how_much_shadow.main, place)
    shares = {name: part["devices, %"].mean() for (name,), part in rows.group_by("shadow")}
    assert shares[how_much_shadow.FULL] == 100.0
    assert shares["0 hops around the change"] < 100.0
    assert set(rows["shadow"]) == set(list(how_much_shadow.WAYS)[::3])
    tried = [path for path in made if "tried" in path.parts]
    assert len(tried) == rows.height
    stamps = [path.stat().st_mtime_ns for path in tried]
    quick(how_much_shadow.main, place)
    assert [path.stat().st_mtime_ns for path in tried] == stamps


def test_a_lower_bound_takes_back_no_less(place: Path) -> None:
    rows, _ = quick(how_early.main, place)
    for (_, _), part in rows.drop_nulls("bound").group_by("variant", "seed"):
        falling = part.sort("bound", descending=True)
        for what in ("false rollbacks, %", "before it begins, %", "before it counts, %"):
            values = falling[what].to_numpy()
            assert (np.diff(values[np.isfinite(values)]) >= 0.0).all()


def test_a_fine_tune_is_measured_on_what_really_happens(place: Path) -> None:
    rows, made = quick(fine_tuning.main, place)
    assert rows.height == 2 and (rows["futures"] >= 2).all()
    (wrong,) = [p for p in made if "tuned" in p.parts and "unseen-0" in str(p)]
    assert rows["gain"].to_numpy() == pytest.approx((rows["before"] - rows["after"]).to_numpy())
    wrong.write_text('{"before": ')  # damaged: made anew
    assert quick(fine_tuning.main, place)[0].height == 2


def test_a_machine_without_emulation_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "missing", lambda: ["mininet"])
    with pytest.raises(MachineLacks, match="this machine lacks mininet"):
        transfer.main(quick=True, out=tmp_path / "t", mlflow="off")
    assert not list(tmp_path.iterdir())


# -- what they share --------------------------------------------------------------------------


def test_a_variant_is_shown_what_the_tape_was_made_of(place: Path) -> None:
    """What the supervised model says of the looks again is what it says of the tape's features."""
    case = next(changes_of(tapes_of(place / "quick-tapes", "unseen", 0, 2)))
    looks = shown(case.tape)
    found = said(case, "supervised").chances
    assert np.isnan(np.delete(found, looks, axis=0)).all()
    for phase, mine in (("shadow", case.tape.world < 0), ("production", case.tape.world >= 0)):
        rows = looks[mine[looks]]
        look = standing_model().look(case.tape.features[rows], phase)
        wanted = np.where(look.unknown, np.nan, look.probabilities)
        assert found[rows] == pytest.approx(wanted, abs=0.02, nan_ok=True)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12, unique=True))
def test_an_interval_is_where_a_t_test_does_not_reject(values: list[float]) -> None:
    found = over_seeds([*values, float("nan")])
    wanted = ttest_1samp(values, 0.0).confidence_interval(0.95)
    scale = max(map(abs, values)) + 1.0
    assert found.mean - found.half == pytest.approx(wanted.low, abs=1e-9 * scale, rel=1e-6)
    assert found.mean + found.half == pytest.approx(wanted.high, abs=1e-9 * scale, rel=1e-6)


def test_one_seed_has_no_interval_and_none_no_mean() -> None:
    assert str(over_seeds([3.0, float("nan")])) == "3.00"
    assert str(over_seeds([])) == "-"
    assert not over_seeds([3.0]).is_above and not over_seeds([-3.0]).is_below


def test_a_late_shadow_hears_what_was_said_then() -> None:
    scenario = ring()
    shadow = late(3.0)(scenario, scenario.configs, "shadow")
    production = late(3.0)(scenario, scenario.configs, "production")
    shadow.follow(production)
    count = len(scenario.traffic.demands)
    for second in range(6):
        shadow.offer(np.full(count, 1e6 * second))
        sample = shadow.advance(second + 1.0)[-1]
        wanted = 1e6 * max(second - 3, 0)
        assert sample.column("demand", "offered_bps") == pytest.approx([wanted] * count, rel=0.1)


def test_a_bound_is_reached_or_missed_by_the_time_of_a_rollback() -> None:
    """A failure at 10 s: seen at 8 s it is back before; at 12 s before it counts; good ones too."""
    looks = [[(8.0, 0.4)], [(2.0, 0.1), (12.0, 0.6)], [(4.0, 0.3)], [(4.0, 0.9)]]
    fails_s = [10.0, 10.0, float("nan"), float("nan")]
    low, high = (how_early.reached(looks, fails_s, bound) for bound in (0.2, 0.5))
    assert low["false rollbacks, %"] == 100.0 and high["false rollbacks, %"] == 50.0
    assert low["before it begins, %"] == 50.0 and high["before it begins, %"] == 0.0
    assert low["before it counts, %"] == 50.0  # 12 s and 1.1 s are too late by 0.1 s
    assert low["failing"] == 2.0 and low["at once"] == 0.0
    assert low["lead, s"] == 0.0 and high["lead, s"] == -2.0


def test_a_piece_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []
    for _ in range(2):
        found = kept(tmp_path / "a" / "b.json", lambda: {"x": made.append(1) or [1.5]})
        assert found == {"x": [1.5]}
    assert made == [1]


# -- what is written down ---------------------------------------------------------------------


class Kept:
    """A store that keeps what it is told."""

    complete = True

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.told: list[Mapping[str, float]] = []
        self.files: list[str] = []

    @contextmanager
    def run(self, name: str, parameters: Any, tags: Any) -> Iterator[Kept]:
        self.runs.append(name)
        yield self

    inner = run

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.told.append(values)

    def figure(self, figure: Figure, name: str) -> None:
        self.files.append(name)

    def artifact(self, path: Path, folder: str = "") -> None:
        self.files.append(path.name)


def an_answer() -> Answer:
    rows = pl.DataFrame({"seed": [0, 1], "policy": ["a", "a"], "cost": [1.0, 2.0]})
    return Answer(
        "what", "What?", "**That.**", "Small.", "python experiments/what.py",
        pl.DataFrame({"policy": ["a"], "cost": [str(Interval(1.5, 0.25))]}), rows,
        Figure(), {"cost": 1.5},
    )  # fmt: skip


def test_an_answer_is_tracked_with_a_run_for_each_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Kept()
    monkeypatch.setattr(answer, "tracking_of", lambda uri, now: store)
    tell(an_answer(), tmp_path / "o", None, "sqlite:///x.db")
    assert store.runs == ["what", "what/0", "what/1"]
    assert store.told == [{"cost": 1.5}, {"a/cost": 1.0}, {"a/cost": 2.0}]
    assert store.files == ["table.csv", "rows.csv", "figure.png"]
    assert pl.read_csv(tmp_path / "o" / "table.csv").rows() == [("a", "1.50 ± 0.25")]


def test_only_what_stands_between_the_markers_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- what: begin -->\nold\n<!-- what: end -->\nafter\n")
    for _ in range(2):
        write_down(an_answer(), page)
        text = page.read_text()
        assert text.startswith("before\n<!-- what: begin -->\n**That.**\n")
        assert text.endswith("<!-- what: end -->\nafter\n") and "old" not in text
        assert "| a | 1.50 ± 0.25 |" in text and "python experiments/what.py" in text
        assert (tmp_path / "images" / "experiment-what.svg").exists()


@pytest.mark.parametrize(
    "text",
    ["", f"{BEGIN}", f"{END}{BEGIN}", f"{BEGIN}{END}" * 2],
    ids=("nothing", "no end", "the other way", "twice"),
)
def test_a_page_without_its_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(BadInput, match=r"page\.md: wanted once, in this order: <!-- what: begin"):
        write_down(an_answer(), page)
    assert page.read_text() == text and list(tmp_path.iterdir()) == [page]


def test_the_document_holds_the_answer_of_each_experiment() -> None:
    files = {path.stem for path in (ROOT / "experiments").glob("*.py")} - SHARED
    assert files == set(NAMES)
    for name in NAMES:
        part = DOCUMENT.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0]
        assert f"\npython experiments/{name}.py" in part and "±" in part
        (picture,) = re.findall(r"\]\((images/[^)]+)\)", part)
        assert (ROOT / "docs" / picture).exists()


# -- bad input --------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "unseen-2-0").mkdir()
    (tmp_path / "unseen-2-0" / "diary.txt").write_text("dear")
    with pytest.raises(BadInput, match=r"a folder of something else \(it holds diary.txt\)"):
        tapes_of(tmp_path, "unseen", 0, 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be kept here: Not a directory"):
        tapes_of(tmp_path / "file", "unseen", 0, 2)


def test_a_policy_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"gone\.policy"):
        fine_tuning.main(quick=True, policy=tmp_path / "gone.policy", out=tmp_path / "o")
    assert not list(tmp_path.iterdir())


def test_a_variant_or_a_scenario_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'hybrid'"):
        transfer.main(variants="hybird", out=tmp_path / "o")
    with pytest.raises(BadInput, match=r"gone\.yml"):
        transfer.main(scenarios=[tmp_path / "gone.yml"], out=tmp_path / "o")
    assert not list(tmp_path.iterdir())


def test_failures_are_words_and_exit_codes(tmp_path: Path) -> None:
    words = [sys.executable, ROOT / "experiments" / "transfer.py", "--variants", "hybird"]
    found = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert "there is no 'hybird'" in found.stderr and "Traceback" not in found.stderr


def test_quick_scenarios_are_short() -> None:
    short = transfer.shortened(load(transfer.SCENARIOS[0]))
    plan = short.workflow
    assert plan.baseline_s + plan.shadow_s + plan.monitor_s <= 12.0 and short.expect is None
