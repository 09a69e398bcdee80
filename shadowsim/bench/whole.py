"""A whole run, and the commands as a user starts them, to seconds and megabytes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from shadowsim.bench.timing import Row, best_of

# Phases that add up to 90 seconds of the network, with a sample of everything every second.
SCENARIO = """
name: bench
seed: 1
topology: {topohub: sndlib/abilene}
traffic: {demands: topohub, scale: 0.5}
change:
  summary: raise a cost
  script: |
    device ATLAng
    interface to-HSTNng
     ip ospf cost 15
workflow: {baseline_s: 10, shadow_s: 25, monitor_s: 50, soak_s: 2}
"""
# VmHWM is of this program alone; ru_maxrss would count what the parent had before the exec.
_MEMORY = """
import json, sys
from shadowsim.__main__ import main
sys.argv = ["shadowsim", "run", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
heavy = [name for name in ("torch", "mlflow", "ray", "sklearn") if name in sys.modules]
print(json.dumps({"mb": int(peak.split()[1]) / 1024, "heavy": heavy}), file=sys.stderr)
"""


def scenario_90s() -> list[Row]:
    """Ninety network seconds of the whole workflow on Abilene, after imports."""
    from shadowsim.journal import Journal
    from shadowsim.network import NETWORKS
    from shadowsim.precog import WhatIf, variant
    from shadowsim.scenario import parse
    from shadowsim.workflow import Run, run_workflow

    scenario = parse(SCENARIO, file="bench.yml")
    ends: list[float] = []

    def once() -> None:
        whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
        run = Run(scenario, NETWORKS["simulated"], variant("hybrid", whatif), whatif, Journal())
        run_workflow(run)
        ends.append(run.now)

    seconds = best_of(once, 5)
    note = f"{ends[-1]:.0f} network seconds, production and shadow, hybrid forecast every second"
    return [Row("whole scenario on Abilene", seconds, "s", 0.5, None, note)]


def command_line() -> list[Row]:
    """`shadowsim --help`, and the memory of a `run`."""
    command = [sys.executable, "-m", "shadowsim", "--help"]
    start = best_of(lambda: subprocess.run(command, check=True, capture_output=True), 5)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yml"
        file.write_text(SCENARIO, encoding="utf-8")
        out = ["--json", "--out", f"{folder}/runs", "--store", f"{folder}/outcomes.sqlite"]
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, str(file), *out],
            check=True,
            capture_output=True,
            text=True,
        )
    found = json.loads(done.stderr.splitlines()[-1])
    heavy = ", ".join(found["heavy"]) or "nothing heavy"
    return [
        Row("shadowsim --help", start, "s", 0.4, None, "a process of its own"),
        Row("memory of a run", found["mb"], "MB", 400.0, None, f"peak resident; imported {heavy}"),
    ]
