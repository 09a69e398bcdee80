"""A sweep to how long it takes in one process, in several, and on the nodes of a Ray cluster."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shadowsim.bench.many import MAIN
from shadowsim.bench.whole import SCENARIO

# A cluster of nodes with one core each; it ends when its standard input does.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 80_000_000}
found = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
for _ in range(int(sys.argv[1]) - 1):
    found.add_node(**node)
print("cluster", found.address, flush=True)
sys.stdin.read()
found.shutdown()
"""


@dataclass(frozen=True)
class Swept:
    """How so many runs were made, and the seconds it took by the clock."""

    how: str
    runs: int
    wall_s: float


def sweeps(runs: int, nodes: Sequence[int] = (1, 2)) -> list[Swept]:
    """The same sweep in one process and in two, and where Ray is installed on so many nodes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yml"
        file.write_text(SCENARIO, encoding="utf-8")
        _swept_s(file, 1, Path(folder) / "warm", ["--jobs", "1"])
        found = [
            Swept(f"one machine, `--jobs {n}`", runs,
                  _swept_s(file, runs, Path(folder) / f"jobs-{n}", ["--jobs", str(n)]))
            for n in (1, 2)
        ]  # fmt: skip
        for n in nodes if find_spec("ray") is not None else ():
            seconds = _on_cluster_s(file, runs, Path(folder) / f"nodes-{n}", n)
            found.append(Swept(f"`--engine ray`, {n} node{'s' * (n > 1)} of a core", runs, seconds))
    return found


def _on_cluster_s(file: Path, runs: int, out: Path, nodes: int) -> float:
    command = [sys.executable, "-c", CLUSTER, str(nodes)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as cluster:
        try:
            lines = iter(cluster.stdout or ())
            address = next(line.split()[1] for line in lines if line.startswith("cluster "))
            return _swept_s(file, runs, out, ["--engine", "ray", "--address", address])
        finally:
            if cluster.stdin is not None:
                cluster.stdin.close()


def _swept_s(file: Path, runs: int, out: Path, engine: Sequence[str]) -> float:
    words = ["sweep", str(file), "--seeds", f"0:{runs}", "--variants", "hybrid", "--out", str(out)]
    words += ["--mlflow", "off", "--store", str(out.with_suffix(".sqlite")), *engine]
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", MAIN, *words], check=True, capture_output=True)
    return time.perf_counter() - began_s
