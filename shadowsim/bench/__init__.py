"""Benchmarks that measure each room beside its best known peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shadowsim.bench.timing import Row
from shadowsim.errors import BadInput, choices


def benchmarks() -> dict[str, Callable[[], list[Row]]]:
    """Every benchmark by its name."""
    from shadowsim.bench import fluid, forwarding, verify, whole

    return {
        "abilene": fluid.abilene_132,
        "fat-tree": fluid.fat_tree_10000,
        "one-change": fluid.one_change,
        "packets": fluid.packet_simulator,
        "next-hops": forwarding.next_hops_k32,
        "verify": verify.run,
        "scenario": whole.scenario_90s,
        "command-line": whole.command_line,
    }


def measure(names: Sequence[str], progress: Callable[[str], None] | None = None) -> list[Row]:
    """Run these benchmarks, or all. Raises BadInput for a name that is none."""
    known = benchmarks()
    for name in names:
        if name not in known:
            raise BadInput(f"there is no benchmark '{name}'; {choices(name, known)}")
    rows: list[Row] = []
    for name in names or known:
        if progress is not None:
            progress(f"measuring {name} ...")
        rows += known[name]()
    return rows


__all__ = ["Row", "benchmarks", "measure"]
