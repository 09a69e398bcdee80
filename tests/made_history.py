"""A made-up history, small and quick, whose failures follow a known rule; and the least tree."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import typer
from typer.testing import CliRunner

from shadowsim.history.store import Manifest, claimed, write
from shadowsim.learning.dataset import Table, table
from shadowsim.learning.fit import Growing, fit
from shadowsim.learning.splits import Splits, split
from shadowsim.model.truth import MODES
from shadowsim.precog.features import NAMES
from shadowsim.precog.model import Model
from shadowsim.precog.trees import LEAF, Trees
from shadowsim.train_command import train

FEATURES = tuple(f"script_f{n}" for n in range(6))
GROWING = Growing(most_trees=40, most_leaves=8, least_rows=20)
# "drain" is one of those that are held out.
KINDS = ("drain", "undrain", "recost", "capacity", "uncap", "shut", "retire", "swap")
SHADOW, PRODUCTION = (10.0, 28.0), (1.0, 4.0, 9.0, 20.0)


def tables(
    changes: int = 1200, seed: int = 5, networks: int = 30
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """looks and labels of sites of 20 changes; f0 to f2 tell of one mode each, f5 of nothing.

    What they tell comes through in full at the gate, and in production from 3 s on; f3 is missing
    in a third of the rows. A failure begins after 2 to 40 s, the sooner the higher f4.
    """
    random = np.random.default_rng(seed)
    number = np.arange(changes)
    site = number // 20
    network = np.array([f"net/{n}" for n in random.integers(networks, size=site.max() + 1)])[site]
    kind = np.array(KINDS)[random.integers(8, size=changes)]
    hidden = random.normal(size=(changes, 3))
    chance = 1.0 / (1.0 + np.exp(-(3.0 * hidden - np.array([2.5, 3.0, 3.5]))))
    came = random.random((changes, 3)) < chance
    speed = random.normal(size=changes)
    begins = np.exp(np.log(8.0) - 0.7 * speed + 0.3 * random.normal(size=changes)).clip(2.0, 40.0)
    looks: dict[str, list[Any]] = {name: [] for name in ("case", "phase", "since_s", *FEATURES)}
    for phase, times in (("shadow", SHADOW), ("production", PRODUCTION)):
        for since_s in times:
            shown = 1.0 if phase == "shadow" or since_s > 3.0 else 0.3
            signal = shown * hidden + 0.3 * random.normal(size=(changes, 3))
            maybe = np.where(random.random(changes) < 0.33, np.nan, random.normal(size=changes))
            columns = [*signal.T, maybe, speed, random.normal(size=changes)]
            looks["case"] += number.tolist()
            looks["phase"] += [phase] * changes
            looks["since_s"] += (since_s + random.random(changes)).tolist()
            for name, column in zip(FEATURES, columns, strict=True):
                looks[name] += column.tolist()
    labels = pl.DataFrame({
        "case": number, "network": network, "kind": kind,
        **{mode: came[:, n] for n, mode in enumerate(MODES)},
        **{
            f"{mode}_at_s": pl.Series(np.where(came[:, n], begins, np.nan)).fill_nan(None)
            for n, mode in enumerate(MODES)
        },
    })  # fmt: skip
    frame = pl.DataFrame(looks).join(labels.select("case", "network", "kind"), on="case")
    return frame, labels


def kept(folder: Path, changes: int = 2400, seed: int = 5, data_seed: int = 11) -> Path:
    """A made-up history in the columns of a real one: `script` tells the truth as far as features
    do, of `judge` half is noise, `threshold` always says the same, `canary` the contrary.
    """
    looks, labels = tables(changes, seed, networks=200)
    looks = looks.filter((pl.col("phase") == "production") | (pl.col("since_s") > 20.0))
    random = np.random.default_rng([seed, 1])
    renamed = looks.rename(dict(zip(FEATURES, NAMES, strict=False)))
    columns = [pl.lit(0.0).alias(name) for name in NAMES[len(FEATURES) :]]
    for n, mode in enumerate(MODES):
        true = 1.0 / (1.0 + np.exp(-(3.0 * looks[FEATURES[n]].to_numpy() - 3.0)))
        noise = random.random(len(true))
        columns += [
            pl.Series(f"script.{mode}", true),
            pl.Series(f"judge.{mode}", np.where(noise < 0.5, noise * 2.0, true)),
            pl.lit(0.1).alias(f"threshold.{mode}"),
            pl.Series(f"canary.{mode}", 1.0 - true),
        ]
    labels = labels.with_columns(sign=pl.any_horizontal(MODES), hidden=pl.lit([]), mistake=None)
    made, looks = Manifest(changes, data_seed, "training", NAMES, ()), renamed.with_columns(columns)
    with claimed(folder, made):
        for site in range(made.sites):
            mine = pl.col("case") // 20 == site
            write(folder, site, looks.filter(mine), labels.filter(mine))
    return folder


@cache
def fitted(seed: int = 3) -> tuple[Table, Splits, Model]:
    """The made-up history, shared out, and a model of it."""
    found = table(*tables(), FEATURES)
    splits = split(found.changes, seed)
    return found, splits, fit(found, splits, seed, data_seed=5, growing=GROWING)


class Learned(NamedTuple):
    """A made-up history as a folder, the model that `train` made of it, and what it said."""

    history: Path
    model: Path
    said: dict[str, Any]
    place: TemporaryDirectory[str]  # gone when nobody holds it any more


@cache
def learned() -> Learned:
    """What the command made of a kept history, once for all tests."""
    place = TemporaryDirectory()
    history, model = kept(Path(place.name) / "history"), Path(place.name) / "made" / "by.model"
    app = typer.Typer()
    app.command()(train)
    words = ["--history", str(history), "--out", str(model), "--seed", "2", "--json"]
    said = CliRunner().invoke(app, [*words, "--mlflow", "off"])
    assert said.exit_code == 0, said.output
    return Learned(history, model, json.loads(said.stdout), place)


def stump(**different: Any) -> Trees:
    """Node 0 asks for feature 0; nodes 1 and 2 are leaves."""
    columns: dict[str, Any] = {
        "n_features": 2,
        "baseline": np.zeros(1),
        "first": np.array([0, 1], np.int32),
        "root": np.array([0], np.int32),
        "feature": np.array([0, LEAF, LEAF], np.int32),
        "threshold": np.zeros(3),
        "nan_left": np.zeros(3, np.uint8),
        "right": np.array([2, 0, 0], np.int32),
        "value": np.array([0.0, -1.0, 1.0]),
    }
    return Trees(**(columns | different))
