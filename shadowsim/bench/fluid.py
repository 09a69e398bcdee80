"""Turns the fluid engine and its peers into measured rows, side by side in the same run."""

import random
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shadowsim.bench.timing import Row, best_of
from shadowsim.dataplane.flows import Flows, Links, Loads, Paths
from shadowsim.dataplane.fluid import solve
from shadowsim.dataplane.incremental import change_rate, start

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

SEED = 1
ABILENE = (  # SNDlib, http://sndlib.zib.de: 12 nodes, 15 links
    "ATLAM5-ATLA ATLA-HSTN ATLA-IPLS ATLA-WASH CHIN-IPLS CHIN-NYCM DNVR-KSCY DNVR-SNVA "
    "DNVR-STTL HSTN-KSCY HSTN-LOSA IPLS-KSCY LOSA-SNVA NYCM-WASH SNVA-STTL"
)


class Case(NamedTuple):
    """A network with its demands, ready to solve."""

    links: Links
    flows: Flows
    paths: Paths

    def out(self) -> Loads:
        return Loads.empty(1, self.links.rate_bps.shape[1], self.flows.rate_bps.shape[1])


def case(link_bps: float, n_links: int, demand_bps: Floats, links: Ints, hops: Ints) -> Case:
    """Make links of one rate, 1 ms long, and elastic flows of 1500 byte packets."""
    shape = (1, n_links)
    return Case(
        Links(np.full(shape, link_bps), np.full(shape, 1e-3), np.full(n_links, 100.0),
              np.zeros(shape)),
        Flows(demand_bps, np.ones(demand_bps.size, np.uint8), np.full(demand_bps.size, 1500.0),
              np.zeros(demand_bps.size, np.uint8)),
        Paths(links, hops),
    )  # fmt: skip


def abilene(demand_bps: Floats) -> Case:
    """All 132 ordered pairs of nodes on random shortest paths, host links included; 10 Gb/s."""
    rng = random.Random(SEED)
    edges = [tuple(link.split("-")) for link in ABILENE.split()]
    near: dict[str, list[str]] = {}
    for one, other in edges:
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    nodes = sorted(near)
    number = {pair: i for i, pair in enumerate((a, b) for a in nodes for b in near[a])}
    rows = []
    for source in nodes:
        came_from = {source: source}
        reached = [source]
        for node in reached:
            for neighbour in rng.sample(near[node], len(near[node])):
                if neighbour not in came_from:
                    came_from[neighbour] = node
                    reached.append(neighbour)
        for target in nodes:
            if target == source:
                continue
            way = [target]
            while way[-1] != source:
                way.append(came_from[way[-1]])
            way.reverse()
            host = len(number) + 2 * nodes.index(source), len(number) + 2 * nodes.index(target) + 1
            rows.append([host[0], *(number[p] for p in pairwise(way)), host[1]])
    hops = np.array([len(row) for row in rows], np.int32)
    links = np.full((len(rows), hops.max()), -1, np.int32)
    for flow, row in enumerate(rows):
        links[flow, : len(row)] = row
    return case(10e9, len(number) + 2 * len(nodes), demand_bps, links, hops)


def fat_tree(k: int, demand_bps: Floats, rng: np.random.Generator) -> Case:
    """Flows between random hosts of a k-ary fat tree on random equal-cost paths; 10 Gb/s.

    The k^3/4 hosts have two directed links each, as have edge-aggregation and aggregation-core
    pairs: 3 k^3 / 2 in all.  Between pods a path has six.
    """
    n, half, size = demand_bps.size, k // 2, k**3 // 4
    source = rng.integers(0, size, n)
    target = (source + rng.integers(1, size, n)) % size
    edge_a, edge_b = source // half, target // half
    pod_a, pod_b = edge_a // half, edge_b // half
    plane, core = rng.integers(0, half, n), rng.integers(0, half, n)
    full = np.stack(
        [
            source,
            2 * size + edge_a * half + plane,
            4 * size + (pod_a * half + plane) * half + core,
            5 * size + (pod_b * half + plane) * half + core,
            3 * size + edge_b * half + plane,
            size + target,
        ],
        1,
    )
    hops = np.where(edge_a == edge_b, 2, np.where(pod_a == pod_b, 4, 6)).astype(np.int32)
    links = np.full((n, 6), -1, np.int32)
    for length, columns in ((2, [0, 5]), (4, [0, 1, 4, 5]), (6, [0, 1, 2, 3, 4, 5])):
        of_length = hops == length
        links[np.ix_(of_length, range(length))] = full[np.ix_(of_length, columns)]
    return case(10e9, 6 * size, demand_bps, links, hops)


def numpy_max_min(c: Case) -> Floats:
    """The peer: max-min rates by rounds of local bottlenecks in whole-array numpy."""
    free = np.append(c.links.rate_bps[0], np.inf)
    nowhere = free.size - 1
    path = np.where(c.paths.links[0] < 0, nowhere, c.paths.links[0])
    cap, rate = c.flows.rate_bps[0], np.zeros(path.shape[0])
    still = np.arange(rate.size)
    while still.size:
        here = path[still]
        crowd = np.bincount(here.ravel(), minlength=free.size)
        share = free / np.maximum(crowd, 1)
        on_path = share[here]
        least = np.minimum(on_path.min(1), cap[still])
        blocked = np.zeros(free.size, bool)
        blocked[here[on_path > least[:, None]]] = True
        blocked[nowhere] = True
        closing = (cap[still] <= on_path.min(1)) | (~blocked[here]).any(1)
        rate[still[closing]] = least[closing]
        taken = np.bincount(
            here[closing].ravel(), np.repeat(least[closing], here.shape[1]), free.size
        )
        free = np.maximum(free - taken, 0)
        still = still[~closing]
    return rate


def linprog_stage(c: Case) -> Callable[[], object]:
    """The peer: one stage of max-min by linear programming, the largest rate all flows can have."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack, vstack

    path, cap = c.paths.links[0], c.flows.rate_bps[0] / 1e9
    flow, hop = np.nonzero(path >= 0)
    uses = csr_array(
        (np.ones(flow.size), (path[flow, hop], flow)), (c.links.rate_bps.size, cap.size)
    )
    ones = csr_array(np.ones((cap.size, 1)))
    floor = hstack([csr_array((np.full(cap.size, -1.0), (range(cap.size),) * 2)), ones])
    load = hstack([uses, csr_array((uses.shape[0], 1))])
    upper = np.concatenate([c.links.rate_bps[0] / 1e9, np.zeros(cap.size)])
    goal = np.append(np.zeros(cap.size), -1.0)
    bounds = [*((0, top) for top in cap), (0, None)]
    limits = vstack([load, floor]).tocsr()
    return lambda: linprog(goal, limits, upper, bounds=bounds)


def measure(name: str, c: Case, goal_s: float, unit: str, repeats: int) -> list[Row]:
    """Time `solve` beside numpy, after checking that both find the same rates."""
    scale = {"us": 1e6, "ms": 1e3}[unit]
    out = c.out()
    solve(*c, out)
    wrong = np.abs(out.throughput_bps[0] - numpy_max_min(c)).max()
    if wrong > 1e3:
        raise AssertionError(f"{name}: numpy and the engine differ by {wrong:g} bit/s")
    held = (out.throughput_bps < c.flows.rate_bps * (1 - 1e-9)).mean()
    ours = best_of(partial(solve, *c, out), repeats)
    peer = best_of(partial(numpy_max_min, c), 7)
    note = f"numpy finds only the rates, {peer / ours:.0f}x as long; {held:.0%} of flows held back"
    return [Row(name, ours * scale, unit, goal_s * scale, peer * scale, note)]


def abilene_132() -> list[Row]:
    """132 demands on Abilene, everything solved: one call, and one future of a large batch."""
    rng = np.random.default_rng(SEED)
    rows = []
    for regime, top_bps in (("easy", 0.3e9), ("contended", 3e9)):
        c = abilene(rng.uniform(0, top_bps, 132))
        rows += measure(f"Abilene, 132 demands, {regime}: solve", c, 20e-6, "us", 2000)
        futures = 500
        many = Flows(
            np.repeat(c.flows.rate_bps, futures, 0),
            c.flows.elastic, c.flows.packet_bytes, c.flows.level,
        )  # fmt: skip
        out = Loads.empty(futures, c.links.rate_bps.shape[1], c.flows.rate_bps.shape[1])
        each_s = best_of(partial(solve, c.links, many, c.paths, out), 20) / futures
        rows.append(
            Row(f"Abilene, 132 demands, {regime}: one of {futures} futures", each_s * 1e6, "us",
                20.0, None, "kernel time: no Python in between")
        )  # fmt: skip
    return rows


def fat_tree_10000() -> list[Row]:
    """10,000 demands on a k = 16 fat tree, everything solved, in three regimes."""
    rows = []
    for regime, top_bps in (("easy", 1e9), ("contended", 3e9), ("no caps", 100e9)):
        rng = np.random.default_rng(SEED)
        c = fat_tree(16, rng.uniform(0, top_bps, 10_000), rng)
        rows += measure(f"fat tree k=16, 10,000 demands, {regime}: solve", c, 2e-3, "ms", 200)
    stage_s = best_of(linprog_stage(c), 1)
    note = f"one stage of many by scipy linprog: {stage_s * 1e3 / rows[-1].figure:.0f}x as long"
    rows.append(Row("fat tree k=16, 10,000 demands: linprog", rows[-1].figure, "ms", None,
                    stage_s * 1e3, note))  # fmt: skip
    return rows


def one_change() -> list[Row]:
    """One of 1,000 demands on a k = 16 fat tree changes; all of it is timed, Python included."""
    rows = []
    for regime, top_bps in (("easy", 3e9), ("contended", 30e9)):
        rng = np.random.default_rng(SEED)
        c = fat_tree(16, rng.uniform(0, top_bps, 1000), rng)
        caps = c.flows.rate_bps[0].copy()
        allocation = start(c.links.rate_bps[0], caps, c.paths.links[0], c.paths.hops[0])
        seconds, again = [], []
        for flow, cap in zip(
            rng.integers(0, 1000, 3000).tolist(), rng.uniform(0, top_bps, 3000).tolist(),
            strict=True,
        ):  # fmt: skip
            begin = time.perf_counter()
            again.append(change_rate(allocation, flow, cap))
            seconds.append(time.perf_counter() - begin)
            caps[flow] = cap
        changed = Case(c.links, Flows(caps, c.flows.elastic, c.flows.packet_bytes, c.flows.level),
                       c.paths)  # fmt: skip
        out = changed.out()
        solve(*changed, out)
        wrong = np.abs(out.throughput_bps[0] / np.maximum(allocation.rate_bps, 1.0) - 1).max()
        if wrong > 1e-6:
            raise AssertionError(f"3,000 changes and a full solve differ by {wrong:g}")
        whole_us = best_of(partial(solve, *changed, out), 200) * 1e6
        mean_us, slow_us = np.mean(seconds) * 1e6, np.quantile(seconds, 0.99) * 1e6
        note = (
            f"median; mean {mean_us:.1f}, 99 % {slow_us:.0f} us; "
            f"{np.mean(again):.1f} flows solved again, most {max(again)}; "
            "peer: our own full solve"
        )
        rows.append(Row(f"fat tree k=16, one of 1,000 demands changed, {regime}",
                        float(np.median(seconds)) * 1e6, "us", 20.0, whole_us, note))  # fmt: skip
    return rows


class Heard(NamedTuple):
    """What the packet simulator measured, per flow."""

    throughput_bps: Floats
    delay_s: Floats
    wall_s: float


LINK_BPS = 100e6
FLOW_BPS = 10e6
PACKET_BYTES = 1000
QUEUE_PACKETS = 1000


def packet_simulator(network_s: float = 4.0) -> list[Row]:
    """20 flows of 10 Mb/s over a k = 4 fat tree, beside ns.py with the same paths and rates.

    Arrivals are Poisson and packets of one size, as M/D/1 assumes; constant gaps would make
    waits depend on the flows' phases, which no steady state knows.  M/D/1 at each hop still is
    an approximation: packets of one flow do not wait for each other after their first hop, so
    the engine says somewhat too much.
    """
    try:
        from ns.topos.fattree import build
        from ns.topos.utils import generate_fib, generate_flows
    except ImportError:
        return []
    random.seed(SEED)
    graph = build(4)
    hosts = [node for node in graph if graph.nodes[node]["type"] == "host"]
    flows = generate_flows(graph, hosts, 20)
    ways = [flows[f].path for f in range(20)]
    numbers = {pair: i for i, pair in enumerate([*graph.edges, *((b, a) for a, b in graph.edges)])}
    links = np.full((20, 6), -1, np.int32)
    for flow, way in enumerate(ways):
        links[flow, : len(way) - 1] = [numbers[p] for p in pairwise(way)]
    c = Case(
        Links(np.full(len(numbers), LINK_BPS), np.zeros(len(numbers)),
              np.full(len(numbers), float(QUEUE_PACKETS)), np.zeros(len(numbers))),
        Flows(np.full(20, FLOW_BPS), np.zeros(20, np.uint8), np.full(20, float(PACKET_BYTES)),
              np.zeros(20, np.uint8)),
        Paths(links, (links >= 0).sum(1)),
    )  # fmt: skip
    heard = _run_packets(generate_fib(graph, flows), ways, network_s)
    out = c.out()
    ours_s = best_of(partial(solve, *c, out), 1000)
    each_s = heard.wall_s / network_s
    off_bps = out.throughput_bps[0].mean() / heard.throughput_bps.mean() - 1
    off_s = out.latency_s[0].mean() / heard.delay_s.mean() - 1
    worst_s = np.abs(out.latency_s[0] / heard.delay_s - 1).max()
    busiest = out.link_load_bps.max() / LINK_BPS
    return [
        Row("ns.py, k=4, 20 flows: wall time per network second", ours_s, "s", None, each_s,
            "one solve per network second"),
        Row("ns.py, k=4, 20 flows: speed", each_s / ours_s, "times", 1000.0, None,
            f"busiest link {busiest:.0%}, {network_s:g} s simulated"),
        Row("ns.py, k=4, 20 flows: mean throughput off by", abs(off_bps) * 100, "%", 1.0, None,
            f"{off_bps:+.2%}; ns.py's own Poisson count varies by "
            f"{1 / np.sqrt(20 * network_s * FLOW_BPS / 8 / PACKET_BYTES):.2%}"),
        Row("ns.py, k=4, 20 flows: mean delay off by", abs(off_s) * 100, "%", 10.0, None,
            f"{off_s:+.2%}, worst flow {worst_s:.2%}; from per-hop times"),
    ]  # fmt: skip


def _run_packets(graph: Any, ways: list[list[int]], network_s: float) -> Heard:
    """Run ns.py on the graph with its forwarding tables; time the run, not the building."""
    import simpy
    from ns.packet.dist_generator import DistPacketGenerator
    from ns.packet.sink import PacketSink
    from ns.switch.switch import SimplePacketSwitch

    env = simpy.Environment()
    for node in graph:
        attributes = graph.nodes[node]
        switch = SimplePacketSwitch(env, graph.degree(node), LINK_BPS, QUEUE_PACKETS, str(node))
        switch.demux.fib = attributes["flow_to_port"]
        attributes["device"] = switch
    for node in graph:
        for port, neighbour in graph.nodes[node]["port_to_nexthop"].items():
            graph.nodes[node]["device"].ports[port].out = graph.nodes[neighbour]["device"]
    arrivals = random.Random(SEED)
    per_second = FLOW_BPS / 8 / PACKET_BYTES
    sinks = []
    for flow, way in enumerate(ways):
        source = DistPacketGenerator(
            env, f"flow {flow}", lambda: arrivals.expovariate(per_second), lambda: PACKET_BYTES,
            flow_id=flow,
        )  # fmt: skip
        # With rec_arrivals the sink would note each arrival twice.
        sink = PacketSink(env, rec_arrivals=False, rec_waits=True)
        source.out = graph.nodes[way[0]]["device"]
        graph.nodes[way[-1]]["device"].demux.ends[flow] = sink
        sinks.append(sink)
    begin = time.perf_counter()
    env.run(until=network_s)
    wall_s = time.perf_counter() - begin
    # A packet's own time is one gap too early; the first port on its way notes when it came.
    delays = [
        np.mean([
            arrival - next(iter(hops.values()))
            for arrival, hops in zip(sink.arrivals[flow], sink.perhop_times[flow], strict=True)
        ])
        for flow, sink in enumerate(sinks)
    ]  # fmt: skip
    throughput = [sink.bytes_received[flow] * 8 / network_s for flow, sink in enumerate(sinks)]
    return Heard(np.array(throughput), np.array(delays), wall_s)
