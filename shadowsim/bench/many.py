"""A sweep, and a history, as a user starts them to how long a thousand runs, and twenty thousand
changes, take.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shadowsim.bench.timing import Row
from shadowsim.bench.whole import SCENARIO

CORES = 2
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
