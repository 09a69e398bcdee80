"""Networks of many sizes to the time and the memory that each step of simulating them takes."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from shadowsim.bench.timing import Row
from shadowsim.dataplane.forwarding import Compiler
from shadowsim.model.change import Command, apply
from shadowsim.model.telemetry import Sample
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand, Traffic
from shadowsim.network.simulated import SimulatedNetwork
from shadowsim.precog import WhatIf
from shadowsim.scenario import Scenario, parse

MOST_DEMANDS = 50_000
LARGEST_RATE_BPS = 1e9  # of a demand, on links of 10 Gbit/s
Found = TypeVar("Found")
SECONDS = 4  # of the network, observed and read
STATUS = Path("/proc/self/status")
SCENARIO = """
name: scale
topology: {{{source}, links: {{rate_mbps: 10000, delay_ms: 0.05, queue_packets: 200}}}}
intents: [{{reachable: {{from: any, to: any}}}}, no_loop, {{utilisation: {{below_percent: 90}}}}]
change: {{script: ""}}
"""
DRAIN = """
name: drain
seed: 16
topology:
  fat_tree: {{k: {k}}}
  links: {{rate_mbps: 10000, delay_ms: 0.05, queue_packets: 200}}
traffic: {{demands: gravity, pairs: {pairs}, scale: 0.4, mix: {{critical: 0.2, normal: 0.8}}}}
intents:
  - {{reachable: {{from: any, to: any}}}}
  - no_loop
  - {{utilisation: {{below_percent: 90}}}}
  - {{latency: {{class: critical, below_ms: 5}}}}
change:
  summary: drain pod0-agg0
  script: |
    device pod0-agg0
    interface to-pod0-edge0
     ip ospf cost 1000
    interface to-pod0-edge1
     ip ospf cost 1000
workflow: {{baseline_s: 5, shadow_s: 5, monitor_s: 5}}
"""


@dataclass(frozen=True)
class Size:
    """A network to be measured: what family it is of, its name, and its source in a scenario; `k`
    of a fat tree, 0 of others.
    """

    family: str
    name: str
    source: str
    k: int = 0


@dataclass(frozen=True)
class Point:
    """What one network took, in seconds of processor time and megabytes at most.

    `build_s`: the text of a scenario to topology and configs; `compile_s`: to all forwarding;
    `network_s`: a simulated network, compiled, verified and with its traffic routed; `second_s`:
    one second of it, observed; `change_s`: one command to new forwarding, verdicts and paths.
    """

    size: Size
    switches: int
    hosts: int
    links: int
    demands: int
    build_s: float
    compile_s: float
    network_s: float
    second_s: float
    change_s: float
    memory_mb: float
    sample_mb: float


def fat_tree(k: int) -> Size:
    return Size("fat trees", f"fat tree k={k}", f"fat_tree: {{k: {k}}}", k)


def topohub(family: str, name: str) -> Size:
    return Size(family, name, f"topohub: {name}")


SIZES: tuple[Size, ...] = (
    *(topohub("Topology Zoo", f"topozoo/{n}") for n in ("BtEurope", "VtlWavenet2011", "TataNld")),
    *(topohub("CAIDA", f"caida/2024-08/{asn}") for asn in (12912, 7922, 7018)),
    *(fat_tree(k) for k in (4, 8, 16, 24, 32, 48)),
)  # fmt: skip


def measure(size: Size, seed: int = 1) -> Point:
    """Build, run and change one network. Kernels should be compiled before (`warm_up`)."""
    _forget_peak()
    build_s, scenario = timed(lambda: parse(SCENARIO.format(source=size.source), file="scale.yml"))
    topology, configs = scenario.topology, scenario.configs
    compile_s, _ = timed(lambda: Compiler(topology).compile(configs))
    demands = drawn_demands(topology, seed)
    network_s, network = timed(lambda: _network(scenario, demands))
    _observed(network, 1)
    all_s, samples = timed(lambda: _observed(network, SECONDS))
    whatif = WhatIf(topology, demands, scenario.intents)
    whatif.settle(configs)
    changed = apply(configs, [costly(topology)])
    change_s, _ = timed(lambda: whatif.settle(changed))
    sample = samples[-1]
    return Point(
        size, len(topology.devices), len(topology.hosts), len(topology.links), len(demands),
        build_s, compile_s, network_s, all_s / SECONDS, change_s, _peak_mb(),
        (sample.device.nbytes + sample.link.nbytes + sample.demand.nbytes) / 1e6,
    )  # fmt: skip


def warm_up() -> None:
    """Have the kernels compiled, or loaded, that `measure` needs."""
    measure(fat_tree(4))


def whole_run(k: int, pairs: int, folder: Path) -> tuple[float, float]:
    """A drain of one aggregation switch through all phases, judged, deployed, watched and recorded:
    seconds of processor time, and megabytes at most.
    """
    from contextlib import nullcontext

    from shadowsim.carried import begin, carry_out
    from shadowsim.commit.hold import Unheld
    from shadowsim.journal import Journal
    from shadowsim.network import factory
    from shadowsim.rollback.key import installation_key

    _forget_peak()

    def run() -> None:
        scenario = parse(DRAIN.format(k=k, pairs=pairs), file="drain.yml")
        state = begin(scenario, factory("simulated", "ryu"), Journal())
        held = nullcontext(Unheld())
        found = carry_out(state, "simulated", folder, installation_key(), held)
        if found["end_state"] != "confirmed":
            raise AssertionError(f"k={k}: {found['end_state']}: {found['refused_by']}")

    seconds, _ = timed(run)
    return seconds, _peak_mb()


def k48() -> list[Row]:
    """The fat tree of 2,880 switches, against its goals, and a whole run on that of k=16."""
    return rows_of(48, 16, 2000)


def rows_of(k: int, run_k: int, run_pairs: int) -> list[Row]:
    """The rows for a fat tree of `k`, and for a whole run on one of `run_k`."""
    warm_up()
    point = measure(fat_tree(k))
    name, demands = point.size.name, f"{point.demands:,} demands"
    shape = f"{point.switches:,} switches, {point.hosts:,} hosts, {point.links:,} links"
    whole = f"verified and routed too: {point.network_s:.3g} s"
    with tempfile.TemporaryDirectory() as folder:
        run_s, run_mb = whole_run(run_k, run_pairs, Path(folder) / "run")
    drained = f"{run_pairs:,} demands, all phases; {run_mb:.0f} MB at most"
    return [
        Row(f"{name}: built and compiled", point.build_s + point.compile_s, "s", 60.0, None,
            f"{shape}; {whole}; processor time"),
        Row(f"{name}: one network second", point.second_s, "s", 1.0, None,
            f"{demands}, observed; processor time"),
        Row(f"{name}: memory", point.memory_mb / 1e3, "GB", 12.0, None,
            f"peak resident; {point.sample_mb:.2g} MB a second of telemetry"),
        Row(f"{name}: command to verdicts", point.change_s, "s", None, None,
            "a cost changes; processor time"),
        Row(f"fat tree k={run_k}: a whole run", run_s, "s", 60.0, None,
            f"{drained}; processor time"),
    ]  # fmt: skip


def drawn_demands(topology: Topology, seed: int) -> tuple[Demand, ...]:
    """At most `MOST_DEMANDS` demands between hosts of different devices, of rates drawn evenly."""
    random = np.random.default_rng(seed)
    hosts, size = topology.hosts, len(topology.hosts)
    apart = size**2 - sum(len(own) ** 2 for own in topology.hosts_of.values())
    count = min(MOST_DEMANDS, apart)
    chosen = dict[tuple[int, int], None]()
    while len(chosen) < count:
        ends = random.integers(0, size, (2 * count, 2)).tolist()
        chosen |= {(a, b): None for a, b in ends if hosts[a].device != hosts[b].device}
    rates = random.uniform(0.0, LARGEST_RATE_BPS, count).tolist()
    pairs = zip(islice(chosen, count), rates, strict=True)
    return tuple(Demand(hosts[a].name, hosts[b].name, rate) for (a, b), rate in pairs)


def costly(topology: Topology) -> Command:
    """A command that makes the first link dearer than all others."""
    device, port = topology.port_of[0]
    return Command(device, f"interface {port}", "ip ospf cost 1000")


def timed(work: Callable[[], Found]) -> tuple[float, Found]:
    """How long it takes in seconds of processor time, which other work on the machine adds little
    to, and what comes of it.
    """
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def _network(scenario: Scenario, demands: tuple[Demand, ...]) -> SimulatedNetwork:
    given = scenario.topology, scenario.configs, Traffic(demands)
    return SimulatedNetwork(*given, intents=scenario.intents, seed=scenario.seed)


def _observed(network: SimulatedNetwork, seconds: int) -> Sequence[Sample]:
    samples = network.advance(network.now + seconds)
    for sample in samples:
        sample.column("demand", "loss")  # a sample is solved when somebody looks
    return samples


def _forget_peak() -> None:
    """Begin to count the peak of resident memory anew, where the kernel lets us (proc(5))."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """The peak of resident memory since then."""
    found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return int(found[1]) / 1e3 if found else float("nan")
