"""Benchmarks that measure each room beside its best known peer."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from shadowsim.bench.timing import Row
from shadowsim.errors import BadInput, MachineLacks, choices

HEADINGS = ("what", "figure", "goal", "", "beside", "note")


def benchmarks(network: str = "simulated") -> dict[str, Callable[[], list[Row]]]:
    """Every benchmark of what computes, or of the emulated network, by its name."""
    return _emulated() if network == "emulated" else _simulated()


def _emulated() -> dict[str, Callable[[], list[Row]]]:
    from shadowsim.bench import emulated

    return {
        "up": emulated.fat_tree_up,
        "change": emulated.change_to_traffic,
        "rollback": emulated.rollback,
        "config-lag": emulated.config_lag,
        "mirror": emulated.mirror_cost,
        "load": emulated.packets_moved,
    }


def _simulated() -> dict[str, Callable[[], list[Row]]]:
    from shadowsim.bench import (
        env,
        features,
        fluid,
        forwarding,
        many,
        page,
        planner,
        rl,
        rollouts,
        scale,
        telemetry,
        verify,
        whole,
    )

    return {
        "abilene": fluid.abilene_132,
        "fat-tree": fluid.fat_tree_10000,
        "one-change": fluid.one_change,
        "packets": fluid.packet_simulator,
        "next-hops": forwarding.next_hops_k32,
        "verify": verify.run,
        "rollouts": rollouts.futures_1000,
        "env": env.run,
        "plan": planner.germany_ten,
        "plan-fat-tree": planner.fat_tree_ten,
        "features": features.looks,
        "ppo": rl.ppo,
        "revert-time": planner.time_to_rollback,
        "scenario": whole.scenario_90s,
        "journal": whole.journal,
        "sweep": many.runs_1000,
        "history": many.changes_20000,
        "training": many.training_20000,
        "telemetry": telemetry.rows_10_million,
        "scale": scale.k48,
        "command-line": whole.command_line,
        "page": page.shown,
    }


@dataclass(frozen=True)
class Measured:
    """What was measured, and why the other benchmarks, by name, could not be."""

    rows: list[Row]
    lost: dict[str, str]


def measure(
    names: Sequence[str],
    progress: Callable[[str], None] | None = None,
    network: str = "simulated",
) -> Measured:
    """Run these benchmarks, or all, each in a process of its own: none inherits what another
    has loaded, started or left behind, and one that fails takes no other's rows with it. Raises
    BadInput for a name that is none, MachineLacks.
    """
    known = benchmarks(network)
    for name in names:
        if name not in known:
            raise BadInput(f"there is no benchmark '{name}'; {choices(name, known)}")
    found = Measured([], {})
    for name in names or known:
        if progress is not None:
            progress(f"measuring {name} ...")
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                found.rows.extend(fresh.submit(_rows, name, network).result())
        except MachineLacks:
            raise
        except BrokenExecutor:
            found.lost[name] = "its process was killed; is there enough memory?"
        except Exception as error:
            found.lost[name] = str(error) or type(error).__name__
    return found


def _rows(name: str, network: str) -> list[Row]:
    return benchmarks(network)[name]()


def markdown(measured: Measured, command: str = "shadowsim bench --out docs/benchmarks.md") -> str:
    """The rows as a page, with the command that made it and the machine it ran on."""
    cores = os.cpu_count()
    machine = f"{platform.machine()}, {cores} cores, Python {platform.python_version()}"
    lines = [
        "# Benchmarks",
        "",
        f"Made by `{command}`, every peer in the same run as what",
        f"stands beside it, on: {machine}. On other machines the ratios travel better.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|" + "---|" * len(HEADINGS),
        *(
            f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |"
            for row in measured.rows
        ),
    ]
    if measured.lost:
        lines += ["", *(f"Not measured: {name} ({why})." for name, why in measured.lost.items())]
    return "\n".join(lines) + "\n"


__all__ = ["HEADINGS", "Measured", "Row", "benchmarks", "markdown", "measure"]
