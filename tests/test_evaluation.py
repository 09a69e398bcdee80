"""Stacking and the comparison of variants, on a made-up history whose truth is known."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from made_history import kept, learned
from typer.testing import CliRunner

from shadowsim.errors import BadInput
from shadowsim.evaluate_command import evaluate
from shadowsim.history.folds import KNOWN, fold_of
from shadowsim.learning.comparison import Comparison, compare
from shadowsim.learning.dataset import table
from shadowsim.learning.evaluation import names_asked, wronged
from shadowsim.learning.looks import APART, GATE, Histories, read
from shadowsim.learning.splits import split
from shadowsim.learning.stacking import STACK, stack, with_supervised
from shadowsim.learning.training import STACKED, trained
from shadowsim.learning.walk import OperatingPoint
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import PHASES
from shadowsim.precog.model_file import load
from shadowsim.precog.stack import Stack, Weights, from_text, read_stack, to_text
from shadowsim.precog.supervised import beside


@pytest.fixture(scope="module")
def folder() -> Path:
    return learned().history


@pytest.fixture(scope="module")
def past(folder: Path) -> Histories:
    return read([folder])


@pytest.fixture(scope="module")
def model() -> Path:
    return learned().model


def test_histories_side_by_side_keep_their_changes_apart(folder: Path, tmp_path: Path) -> None:
    other = kept(tmp_path / "other", 400, seed=6, data_seed=12)
    found = read([folder, other])
    assert found.seeds == (11, 12)
    assert found.labels["case"].is_unique().all()
    assert found.labels.filter(pl.col("case") >= APART).height == 400
    assert found.looks["case"].is_sorted()
    first = found.looks.group_by("case", maintain_order=True).first()
    assert (first["phase"] == GATE).all()


def test_the_stack_learns_from_its_own_fold_only(past: Histories, model: Path) -> None:
    """All other changes replaced by nonsense, it is the same, byte for byte."""
    looks = with_supervised(past.looks, load(model, NAMES))
    splits = split(table(past.looks, past.labels, NAMES).changes, 2)
    mine = past.labels.filter(pl.Series(splits.of(STACK)))["case"]
    elsewhere = ~pl.col("case").is_in(mine.implode())
    names = [name for name in looks.columns if name.rpartition(".")[0] in STACKED]
    spoilt = looks.with_columns(
        pl.when(elsewhere).then(pl.lit(0.77)).otherwise(pl.col(name)).alias(name) for name in names
    )
    one = stack(looks, past.labels, splits, STACKED, 2)
    two = stack(spoilt, past.labels, splits, STACKED, 2)
    assert to_text(one) == to_text(two) == beside(model).read_text()
    assert all(fold_of(name) == KNOWN for name in past.labels.filter(
        pl.Series(splits.of(STACK)))["network"])  # fmt: skip


@pytest.fixture(scope="module")
def compared(past: Histories, model: Path) -> Comparison:
    return compare(past, [model], 1, lambda _: None)


def test_the_hybrid_believes_who_is_right(compared: Comparison) -> None:
    found = compared
    auroc = {
        v.variant: np.mean([v.modes[mode]["AUROC"].value for mode in MODES])
        for v in found.verdicts if v.slice == found.slices[0]
    }  # fmt: skip
    assert auroc["hybrid"] > max(auroc["judge"], auroc["threshold"]) + 0.05
    assert auroc["hybrid"] > auroc["script"] - 0.02
    assert auroc["canary"] < 0.3
    oracle = next(v for v in found.verdicts if v.variant == "oracle")
    assert oracle.shares["stopped"].value == oracle.shares["no_go_precision"].value == 1.0
    nobody = next(v for v in found.verdicts if v.variant == "always-go")
    assert nobody.shares["stopped"].value == 0.0


def test_what_slips_through_is_told_apart_and_adds_up(compared: Comparison) -> None:
    hybrid = compared.verdicts[[v.variant for v in compared.verdicts].index("hybrid")]
    for of in ("breaks ", "hidden: nothing"):  # of these changes nothing was hidden
        rows = compared.through.filter(pl.col("when").str.starts_with(of))
        count = rows["slipped"].sum()
        assert count > 0
        for name in ("rolled_back_before", "rolled_back_in_time", "rolled_back"):
            assert rows[name].sum() / count == pytest.approx(hybrid.shares[name].value)


def test_good_changes_that_are_wronged_are_counted_by_kind(past: Histories) -> None:
    random, point = np.random.default_rng(4), OperatingPoint(0.6, 0.95)
    told = np.zeros((past.looks.height, len(MODES)))
    told[:, 1] = random.random(past.looks.height)
    chosen = random.random(past.labels.height) < 0.5
    kinds: dict[str, list[int]] = {}
    said = past.looks.select("case", "phase").with_columns(said=pl.Series(told[:, 1]))
    of = said.partition_by("case", as_dict=True)
    for label in past.labels.filter(pl.Series(chosen)).iter_rows(named=True):
        if any(label[mode] for mode in MODES):
            continue
        mine = of[label["case"],]
        refused = mine.filter(pl.col("phase") == GATE)["said"].item() >= 0.6
        taken_back = not refused and (mine.filter(pl.col("phase") != GATE)["said"] >= 0.95).any()
        count = kinds.setdefault(label["kind"], [0, 0, 0])
        for place, more in enumerate((refused, taken_back, True)):
            count[place] += more
    found = wronged(past.looks, past.labels, told, chosen, point)
    assert {kind: counts for kind, *counts in found.rows()[:-1]} == kinds
    total = tuple(map(sum, zip(*kinds.values(), strict=True)))
    assert found.row(-1) == ("hidden: nothing", *total)  # of none of these was anything hidden


def test_what_the_page_tells_of_good_changes_adds_up(compared: Comparison) -> None:
    hybrid = compared.verdicts[[v.variant for v in compared.verdicts].index("hybrid")]
    *_, (_, refused, taken_back, good) = compared.wronged.rows()
    assert good == hybrid.changes - hybrid.failures
    assert refused / good == pytest.approx(hybrid.shares["false_refusals"].value)
    through = good - refused  # in this history it abstains from none
    assert taken_back / through == pytest.approx(hybrid.shares["false_rollbacks"].value)


def test_nothing_that_is_judged_was_fitted_to(
    past: Histories, model: Path, compared: Comparison
) -> None:
    """Changes on known networks have no part in the comparison."""
    folds = [fold_of(name) for name in past.labels["network"]]
    unknown = past.labels.filter(pl.Series([f != KNOWN for f in folds]))["case"]
    less = Histories(
        past.looks.filter(pl.col("case").is_in(unknown.implode())),
        past.labels.filter(pl.col("case").is_in(unknown.implode())),
        past.seeds,
    )
    assert len(less.labels) < len(past.labels)
    part = compare(less, [model], 1, lambda _: None)
    assert [str(v) for v in compared.verdicts] == [str(v) for v in part.verdicts]


def test_without_networks_that_are_new_it_says_what_to_make(past: Histories, model: Path) -> None:
    known = past.labels.filter(
        pl.Series([fold_of(name) == KNOWN for name in past.labels["network"]])
    )
    looks = past.looks.filter(pl.col("case").is_in(known["case"].implode()))
    with pytest.raises(BadInput, match="--networks unseen"):
        compare(Histories(looks, known, past.seeds), [model], 1, lambda _: None)


def test_variants_that_were_asked_are_found(past: Histories) -> None:
    assert set(names_asked(past.looks)) == {"script", "judge", "threshold", "canary"}


@pytest.fixture(scope="module")
def said(folder: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = typer.Typer()
    app.command()(evaluate)
    out = tmp_path_factory.mktemp("evaluation")
    store = f"sqlite:///{out}/mlflow.db"
    found = CliRunner().invoke(app, [
        "--history", str(folder), "--model", str(model), "--model", str(model),
        "--out", str(out / "page"), "--mlflow", store, "--json",
    ])  # fmt: skip
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_evaluate_writes_a_page_and_its_figures(said: dict[str, Any]) -> None:
    page = Path(said["out"])
    text = page.read_text()
    assert {file.name for file in page.parent.iterdir()} == {
        "evaluation.md", "decisions.png", "calibration-hybrid.png", "calibration-supervised.png",
    }  # fmt: skip
    for verdict in said["verdicts"]:
        assert f"| {verdict['variant']} |" in text
    assert "2 seeds" in text
    assert "MISSED" in text or "met" in text


def test_evaluate_is_tracked(said: dict[str, Any]) -> None:
    database = Path(said["out"]).parent.parent / "mlflow.db"
    with sqlite3.connect(database) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM runs")}
        stopped = connection.execute(
            "SELECT value FROM metrics JOIN runs USING (run_uuid) "
            "WHERE key = 'stopped' AND runs.name = 'evaluate oracle'"
        ).fetchall()
    assert {"evaluation", "evaluate hybrid", "evaluate oracle"} <= names
    assert stopped == [(1.0,)]


def test_too_short_a_history_for_the_hybrid_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="make a longer history"):
        trained(read([kept(tmp_path / "h", 400)]), 2, 1)


# ---- the stack and its file


def random_stack(seed: int) -> Stack:
    random = np.random.default_rng(seed)
    shape = (len(MODES), 3)
    phases = {
        phase: Weights(random.random(shape), random.normal(size=shape), random.normal(size=3))
        for phase in PHASES
    }
    return Stack(("a", "b", "c"), phases, seed)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000))
def test_a_surer_variant_never_makes_a_failure_less_probable(seed: int) -> None:
    random = np.random.default_rng(seed)
    said = random.random((1, 3, len(MODES)))
    said[random.random(said.shape) < 0.2] = np.nan
    surer = said + random.random(said.shape) * (1.0 - np.nan_to_num(said))
    for phase in PHASES:
        one, two = (random_stack(seed).probabilities(x, phase) for x in (said, surer))
        assert (two >= one - 1e-12).all()


def test_a_stack_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "s.stack"
    path.write_text(to_text(random_stack(3)))
    assert to_text(read_stack(path, ("a", "b", "c"))) == path.read_text()
    with pytest.raises(BadInput, match="learned whom of a, b, c"):
        read_stack(path, ("a", "b"))


def test_every_altered_byte_of_a_stack_is_refused(tmp_path: Path) -> None:
    path, text = tmp_path / "s.stack", to_text(random_stack(3)).encode()
    for place in range(0, len(text) - 1, 7):
        path.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
        with pytest.raises(BadInput):
            read_stack(path, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["phases"].pop("shadow"), "the phases"),
        (lambda d: d["phases"]["shadow"]["said"].pop(), "not those of its variants"),
        (lambda d: d["phases"]["shadow"]["said"][0].append(1.0), "not those of its variants"),
        (lambda d: d["phases"]["shadow"]["bias"].append(1.0), "not those of a stack"),
        (lambda d: d["phases"]["shadow"]["said"][0].__setitem__(0, -1.0), "negative"),
        (lambda d: d["phases"]["shadow"]["bias"].__setitem__(0, 1e9), "not those of a stack"),
        (lambda d: d.__setitem__("format", "pickle"), "not a stack"),
        (lambda d: d.__setitem__("more", 1), "not a stack"),
    ],
)
def test_a_forged_stack_is_refused(change: Any, says: str) -> None:
    """With a right digest, as a stranger would write it."""
    document = json.loads(to_text(random_stack(3)).partition("\n")[2])
    change(document)
    content = json.dumps(document, indent=1)
    digest = hashlib.sha256(content.encode()).hexdigest()
    with pytest.raises(ValueError, match=says):
        from_text(f"{digest}\n{content}\n")
