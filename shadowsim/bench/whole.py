"""A whole run, and the commands as a user starts them, to seconds and megabytes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from shadowsim.bench.timing import Row, alternating, best_of

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
_ONE = """
    device ATLAng
    interface to-HSTNng
     ip ospf cost 15
"""
_TEN = "\n" + "".join(
    f"    device {device}\n    interface to-{neighbour}\n     ip ospf cost {cost}\n"
    for device, neighbour, cost in (
        ("ATLAng", "HSTNng", 15), ("HSTNng", "ATLAng", 15), ("ATLAng", "WASHng", 16),
        ("WASHng", "ATLAng", 16), ("CHINng", "NYCMng", 17), ("NYCMng", "CHINng", 17),
        ("DNVRng", "KSCYng", 18), ("KSCYng", "DNVRng", 18), ("LOSAng", "HSTNng", 19),
        ("HSTNng", "LOSAng", 19),
    )
)  # fmt: skip
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


def journal() -> list[Row]:
    """What it costs a run that a guardian holds its rollback: journal, process, and all."""
    return [
        *_journal("one command", SCENARIO),
        *_journal("ten commands", SCENARIO.replace(_ONE, _TEN)),
    ]


def _journal(what: str, text: str) -> list[Row]:
    from shadowsim.bench.timed_disk import TimedDisk
    from shadowsim.commit.hold import Unheld, held
    from shadowsim.commit.reach import DEVICES
    from shadowsim.journal import Journal
    from shadowsim.network import NETWORKS
    from shadowsim.precog import WhatIf, variant
    from shadowsim.rollback.key import installation_key
    from shadowsim.scenario import parse
    from shadowsim.workflow import Run, run_workflow

    scenario = parse(text, file="bench.yml")
    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    disks: list[TimedDisk] = []

    def once(folder: Path | None) -> None:
        run = Run(scenario, NETWORKS["simulated"], variant("hybrid", whatif), whatif, Journal())
        if folder is None:
            run.hold = Unheld()
            run_workflow(run)
            return
        disks.append(TimedDisk(DEVICES))
        with held(folder / str(len(disks)), installation_key(), 30.0, disks[-1]) as run.hold:
            run_workflow(run)

    with tempfile.TemporaryDirectory() as folder:
        held_s, alone_s = alternating(lambda: once(Path(folder)), lambda: once(None), 15)
    journal_s = statistics.median(disk.others_s for disk in disks[1:])
    devices_s = statistics.median(disk.within_s for disk in disks[1:])
    share, written_share = 100 * (held_s / alone_s - 1), 100 * journal_s / alone_s
    note = f"{held_s:.3f} s instead of {alone_s:.3f} s, medians of 15 that alternate; of it"
    note += f" {devices_s * 1e3:.1f} ms are files that stand for the devices' own memory"
    written = f"{journal_s * 1e3:.1f} ms of {alone_s:.3f} s: log and seal, written and synced"
    return [
        Row(f"journal written, {what}", written_share, "% of a run", 5.0, None, written),
        Row(f"rollback held, {what}", share, "% of a run", 5.0, None, note),
    ]


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
