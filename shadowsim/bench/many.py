"""A sweep, a history, and what is learned from it to how long a thousand runs, and twenty thousand
changes, take.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from shadowsim.bench.timing import Row
from shadowsim.bench.whole import SCENARIO
from shadowsim.errors import MachineLacks

CORES = 2
SEED = 101
# Networks, looks, changes, and how many times over: in all as many changes as `make train` has.
HISTORIES = (
    ("known", "training", 800, 25),
    ("validation", "evaluation", 100, 25),
    ("unseen", "evaluation", 200, 25),
)
MAIN = "from shadowsim.__main__ import main; main()"


def runs_1000() -> list[Row]:
    """A thousand runs of ninety network seconds on Abilene, each with its folder."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yml"
        file.write_text(SCENARIO, encoding="utf-8")

        def swept(seeds: int, out: Path) -> list[str]:
            words = ["sweep", str(file), "--seeds", f"0:{seeds}", "--variants", "hybrid"]
            return [*words, "--mlflow", "off", "--out", str(out)]

        whole_s, note = _carried_on(swept, few=10, many=100, wanted=1000)
    note += "; nothing is tracked"
    return [Row("sweep of 1,000 runs on Abilene", whole_s, "s", 120.0, None, note)]


def changes_20000() -> list[Row]:
    """Twenty thousand labelled changes of networks to learn from: whole sites, of 20 each."""

    def made(changes: int, out: Path) -> list[str]:
        words = ["history", "--changes", str(changes), "--seed", "101", "--networks", "known"]
        return [*words, "--out", str(out)]

    whole_s, note = _carried_on(made, few=80, many=800, wanted=20_000)
    return [Row("history of 20,000 changes", whole_s, "s", 300.0, None, note)]


def training_20000() -> list[Row]:
    """Learning from twenty thousand changes. Raises MachineLacks."""
    try:
        from shadowsim.learning.looks import Histories
        from shadowsim.learning.training import trained
    except ImportError:
        raise MachineLacks("scikit-learn is not installed: make setup") from None
    parts = list(_histories())
    looks, labels = (pl.concat(tables, how="diagonal") for tables in zip(*parts, strict=True))
    past = Histories(looks, labels, (SEED,))
    began_s = time.perf_counter()
    trained(past, 0, CORES)
    took_s = time.perf_counter() - began_s
    told = ", ".join(f"{networks} {some} x {times}" for networks, _, some, times in HISTORIES)
    note = (
        f"fitted, calibrated, tested; {looks.height:,} looks ({told}: where changes repeat, trees"
    )
    note += " stop sooner than in `make train`)"
    return [Row("training on 20,000 changes, tests on 7,500", took_s, "s", 300.0, None, note)]


def _histories() -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Looks and labels of as many changes as `make train` learns from and tests on: a few changes
    many times over, on the same networks, so that no network is in two folds.
    """
    from shadowsim.learning.looks import APART, read

    apart = itertools.count()
    for networks, kind, some, times in HISTORIES:
        with tempfile.TemporaryDirectory() as folder:
            words = ["history", "--changes", str(some), "--seed", str(SEED), "--looks", kind]
            _took_s([*words, "--networks", networks, "--out", folder, "--jobs", str(CORES)])
            found = read([Path(folder)])
        for number in itertools.islice(apart, times):
            case = pl.col("case") + number * APART
            yield found.looks.with_columns(case), found.labels.with_columns(case)


def _carried_on(
    words: Callable[[int, Path], list[str]], few: int, many: int, wanted: int
) -> tuple[float, str]:
    """The seconds that as many as are wanted take, and how that is known: some and few are
    measured, so that what a command costs once is not multiplied.
    """
    with tempfile.TemporaryDirectory() as folder:
        took_s = [
            _took_s([*words(count, Path(folder) / str(number)), "--jobs", str(CORES)])
            for number, count in enumerate((few, few, many))  # the first one warms up
        ]
    each_s = (took_s[2] - took_s[1]) / (many - few)
    note = (
        f"carried on from {many} in {took_s[2]:.1f} s: {each_s:.3f} s each in {CORES} processes,"
        f" and {took_s[1] - each_s * few:.1f} s once"
    )
    return took_s[1] + each_s * (wanted - few), note


def _took_s(words: list[str]) -> float:
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", MAIN, *words], check=True, capture_output=True)
    return time.perf_counter() - began_s
