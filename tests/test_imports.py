"""The plan of the house, enforced: who imports whom, and what a room may not do."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

import shadowsim

ROOT = Path(shadowsim.__file__).parent

# From the top down; a room imports from its own level and from those above it. Modules that are
# not there yet have their place all the same.
ORDER = (
    {"errors", "interruptions"},
    {"model"},
    {"dataplane"},
    {"scenario"},
    {"network"},
    {"mirror"},
    {"precog"},
    {"rollback", "commit"},
    {"journal", "workflow"},
    {"batch", "arrow"},
    {"history"},
    {"learning"},
    {"env"},
    {"record", "recorded", "tracking", "analytics", "plots", "netmap", "report", "outcomes",
     "telemetry_table", "readings",
     "examine", "doctor", "capabilities", "live", "session", "carried"},
    {"sweep", "rl"},
    {"fidelity", "outages"},
    {"sidebyside"},
    {"api", "page", "bench", "shadow_commands", "serve_command", "machine_commands",
     "rollback_command", "learning_commands", "tapes_command", "train_command",
     "train_rl_command", "outcomes_command", "evaluate_command", "sweep_command",
     "outages_command", "scale_command", "given", "commands", "__main__"},
)  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}

MODULES = {
    ".".join(("shadowsim", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(name: str) -> set[str]:
    """The modules of shadowsim that a module imports, wherever it does."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found |= {module if module in MODULES else base for module in inner}
    return {module for module in found if module.split(".")[0] == "shadowsim"}


def test_every_import_is_found():
    """Else the tests below would hold of nothing."""
    assert "shadowsim.model.grammar" in imported("shadowsim.model.config")
    assert "shadowsim.network.simulated.network" in imported("shadowsim.network.simulated")
    assert sum(len(imported(name)) for name in MODULES) > 150
    assert all(found in MODULES for name in MODULES for found in imported(name))


@pytest.mark.parametrize("name", sorted(n for n in MODULES if room(n)))
def test_rooms_import_only_rooms_above_them(name):
    assert room(name) in LEVEL, f"{room(name)} has no place in ORDER yet"
    below = {
        found for found in imported(name) if room(found) and LEVEL[room(found)] > LEVEL[room(name)]
    }
    assert not below


def test_no_imports_in_a_circle():
    graph = nx.DiGraph((name, found) for name in MODULES for found in imported(name))
    assert list(nx.simple_cycles(graph)) == []


# ---- what is loaded


def loaded(statement: str, names: list[str]) -> list[str]:
    """Which of these packages a fresh interpreter has after a statement."""
    script = f"import sys\n{statement}\nprint(*({set(names)!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return sorted(done.stdout.split())


HEAVY = [
    "numpy", "numba", "polars", "pyarrow", "pandas", "matplotlib", "scipy", "torch", "mlflow",
    "ray",
]  # fmt: skip


def test_the_command_line_starts_light():
    assert loaded("import shadowsim.commands", HEAVY) == []
    assert loaded("import shadowsim.__main__", ["typer", "pydantic", *HEAVY]) == []
    assert loaded("import shadowsim.commands, numpy", HEAVY) == ["numpy"]


def test_the_workflow_needs_nothing_for_training_or_pictures():
    names = ["torch", "mlflow", "matplotlib", "polars"]
    assert loaded("import shadowsim.workflow", names) == []


RUN = """
from pathlib import Path
from shadowsim.carried import begin, carry_out
from shadowsim.commit.hold import Unheld
from shadowsim.journal import Journal
from shadowsim.network import NETWORKS
from shadowsim.scenario import load
from contextlib import nullcontext
run = begin(load(Path("scenarios/drain-fits.yml")), NETWORKS["simulated"], Journal())
carry_out(run, "simulated", Path({folder!r}), b"k" * 32, nullcontext(Unheld()))
"""


def test_a_run_loads_nothing_to_read_tables_with(tmp_path: Path):
    names = ["polars", "pandas", "matplotlib", "torch", "mlflow", "sklearn"]
    assert loaded(RUN.format(folder=str(tmp_path / "run")), names) == []
    assert (tmp_path / "run" / "telemetry.parquet").exists()


# ---- what no room does

FREE = {
    "commands", "bench", "train_command", "train_rl_command", "evaluate_command", "sweep_command",
}  # fmt: skip
CLOCKS = {
    ("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"),
    ("datetime", "today"), ("date", "today"),
}  # fmt: skip
SEEDED = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64"}


def where(name: str, nodes: list[ast.AST]) -> list[str]:
    return [f"{MODULES[name].relative_to(ROOT.parent)}:{getattr(n, 'lineno', 0)}" for n in nodes]


def offences(name: str) -> list[ast.AST]:
    """Uses of a wall clock or of random state that is shared by the whole process."""
    found: list[ast.AST] = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found += [node for alias in node.names if alias.name.split(".")[0] == "random"]
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if node.module == "random" or any((node.module, n) in CLOCKS for n in names):
                found.append(node)
            if node.module == "numpy.random" and names - SEEDED:
                found.append(node)
        elif isinstance(node, ast.Attribute):
            of = ast.unparse(node.value)
            if (of.split(".")[-1], node.attr) in CLOCKS:
                found.append(node)
            if of in ("np.random", "numpy.random") and node.attr not in SEEDED:
                found.append(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("default_rng"):
            found += [] if node.args or node.keywords else [node]
    return found


def test_nothing_reads_a_wall_clock_or_global_randomness():
    found = [w for n in MODULES if room(n) not in FREE for w in where(n, offences(n))]
    assert found == []


def test_the_clocks_that_are_allowed_are_seen():
    """The command line does ask what time it is, so the check above sees something."""
    assert offences("shadowsim.commands")


def test_there_are_no_assert_statements():
    """`python -O` drops them; what must hold is raised."""
    found = [
        w
        for n in MODULES
        for w in where(n, [x for x in ast.walk(TREES[n]) if isinstance(x, ast.Assert)])
    ]
    assert found == []


def test_only_what_talks_to_people_prints():
    found = [
        w
        for n in MODULES
        if room(n) not in {*FREE, "live", "__main__"}
        for w in where(n, [
            x
            for x in ast.walk(TREES[n])
            if isinstance(x, ast.Call) and isinstance(x.func, ast.Name) and x.func.id == "print"
        ])
    ]  # fmt: skip
    assert found == []
