"""A sweep as a user starts it to how long a thousand runs take."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shadowsim.bench.timing import Row
from shadowsim.bench.whole import SCENARIO

RUNS, MEASURED = 1000, 100
GOAL_S = 120.0
CORES = 2
MAIN = "from shadowsim.__main__ import main; main()"


def runs_1000() -> list[Row]:
    """A thousand runs of ninety network seconds on Abilene, each with its folder.

    A hundred are measured, and ten, so that what a sweep costs once is not multiplied.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yml"
        file.write_text(SCENARIO, encoding="utf-8")
        _swept_s(file, MEASURED // 10, Path(folder) / "warm")
        few_s = _swept_s(file, MEASURED // 10, Path(folder) / "few")
        many_s = _swept_s(file, MEASURED, Path(folder) / "many")
    each_s = (many_s - few_s) / (MEASURED - MEASURED // 10)
    whole_s = few_s + each_s * (RUNS - MEASURED // 10)
    note = (
        f"carried on from {MEASURED} runs in {many_s:.1f} s: {each_s:.3f} s each in {CORES} "
        f"processes, and {few_s - each_s * MEASURED / 10:.1f} s once; nothing is tracked"
    )
    return [Row("sweep of 1,000 runs on Abilene", whole_s, "s", GOAL_S, None, note)]


def _swept_s(file: Path, seeds: int, out: Path) -> float:
    words = ["sweep", str(file), "--seeds", f"0:{seeds}", "--variants", "hybrid"]
    words += ["--jobs", str(CORES), "--mlflow", "off", "--out", str(out)]
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", MAIN, *words], check=True, capture_output=True)
    return time.perf_counter() - began_s
