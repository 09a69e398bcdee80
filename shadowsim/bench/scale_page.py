"""What networks of many sizes took, and sweeps on one machine and on two nodes, to a page."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Sequence

from shadowsim.bench.scale import Point
from shadowsim.bench.scale_sweeps import Swept
from shadowsim.scenario.topologies import MAX_HOSTS

HEADINGS = (
    "network", "switches", "hosts", "links", "demands", "build, s", "compile, s", "network up, s",
    "a second, s", "a command, s", "memory, MB", "telemetry, MB a second",
)  # fmt: skip
GOALS = (
    ("compile_s", "forwarding compiled within 60 s", 60.0),
    ("change_s", "a command to verdicts within 10 s", 10.0),
    ("second_s", "a network second of 50,000 demands within 1 s", 1.0),
    ("memory_mb", "12 GB of memory", 12_000.0),
)
NOTES = """\
- **Times are seconds of processor time** of one process, since other work on a machine adds little
  to that; all that is measured here works on one core. Sweeps are measured by the clock.
- **build**: the text of a scenario to topology and configs. **compile**: these to all forwarding.
  **network up**: a simulated network, with its traffic routed, and every pair of hosts verified.
  **a second**: one second of it, with telemetry of every device, link and demand. **a command**:
  a cost on one link changes; compiled, verified, routed anew.
- **memory** is the most that was resident, Python and its libraries (about 200 MB) included.
- Demands are drawn between hosts of different switches, at most 50,000, up to 1 Gbit/s each on
  links of 10.
- Hosts under one switch share a prefix and a path, so that forwarding and verification grow with
  switches, not with hosts. Telemetry is written to disk a few rows at a time.
"""


def page(points: Sequence[Point], sweeps: Sequence[Swept], command: str, image: str) -> str:
    """The page, as Markdown; `image` is where the figure lies."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = ["# Scale", "", f"Made by `{command}` on: {machine}.", ""]
    lines += table(HEADINGS, [cells(point) for point in points])
    lines += ["", f"![Time and memory against size]({image})", "", *NOTES.splitlines(), ""]
    lines += ["## Where the next wall is", "", *walls(points), ""]
    if sweeps:
        lines += ["## More than one process, more than one node", "", *_sweeps(sweeps), ""]
    return "\n".join(lines)


def cells(point: Point) -> list[str]:
    """A point for people."""
    sizes = point.switches, point.hosts, point.links, point.demands
    times = point.build_s, point.compile_s, point.network_s, point.second_s, point.change_s
    numbers = [*(f"{size:,}" for size in sizes), *(f"{time_s:.3g}" for time_s in times)]
    return [point.size.name, *numbers, f"{point.memory_mb:.0f}", f"{point.sample_mb:.2g}"]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]


def walls(points: Sequence[Point]) -> Iterator[str]:
    """Where each goal is missed, if all goes on as between the two largest fat trees."""
    trees = sorted((p for p in points if p.size.k), key=_switches)[-2:]
    yield f"A topology has at most {MAX_HOSTS:,} hosts: fat trees end at k={_largest_tree()}."
    if len(trees) < 2:
        return
    small, large = trees
    yield f"Between {small.size.name} and {large.size.name}:"
    yield ""
    ratio = math.log(large.switches / small.switches)
    for measure, goal, most in GOALS:
        # Of memory, what is there anyway is no part of what grows.
        floor = min(point.memory_mb for point in points) if measure == "memory_mb" else 0.0
        last, before = (getattr(point, measure) - floor for point in (large, small))
        power = math.log(last / before) / ratio if 0.0 < before < last else 0.0
        yield f"- {goal}: {_wall(large, last, power, most - floor)}"


def _wall(large: Point, last: float, power: float, most: float) -> str:
    if power <= 0.0:
        return "does not grow with switches"
    switches = large.switches * (most / last) ** (1.0 / power)
    tree = f"k={2 * int(math.sqrt(switches / 5))}"  # k switches a side: 5 k^2 / 4 in all
    return f"grows as switches to the power of {power:.2f}; up to about {switches:,.0f} ({tree})"


def _largest_tree() -> int:
    return max(k for k in range(2, MAX_HOSTS, 2) if k**3 // 4 <= MAX_HOSTS)


def _switches(point: Point) -> int:
    return point.switches


def _sweeps(sweeps: Sequence[Swept]) -> list[str]:
    rows = [[s.how, str(s.runs), f"{s.wall_s:.1f}", f"{s.wall_s / s.runs:.2f}"] for s in sweeps]
    return [
        "The same `shadowsim sweep` of 90-second runs on Abilene, by the clock, start included:",
        "",
        *table(("how", "runs", "all, s", "each, s"), rows),
        "",
        "Runs do not know of each other, so nodes add up. Here both nodes are on this machine and",
        "share its cores: what is shown is what a second node costs, not what it brings.",
    ]
