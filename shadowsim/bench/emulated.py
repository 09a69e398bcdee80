"""Emulated networks to how soon they are up, how soon they obey, and what they carry.

The benchmarks look into the rig of a network, at what its users have no verbs for: pings, the
counters of the wires, and the rules that switches say they hold.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep

import numpy as np

from shadowsim.bench.stock import stock_mininet_s
from shadowsim.bench.timing import Row
from shadowsim.errors import ShadowsimError
from shadowsim.mirror import MirrorEngine
from shadowsim.mirror.traffic import Tap
from shadowsim.model.change import Change, Command, parse_script
from shadowsim.model.streams import stream
from shadowsim.network import NETWORKS
from shadowsim.network.emulated.clock import WallClock
from shadowsim.network.emulated.network import EmulatedNetwork
from shadowsim.network.emulated.refusals import packet_hops_per_s
from shadowsim.precog import WhatIf
from shadowsim.precog.whatif import Observed
from shadowsim.rollback.execute import execute
from shadowsim.rollback.harm import looker
from shadowsim.rollback.plan import plan
from shadowsim.scenario import Mirror, Scenario, parse

SEED = 3
PAIRS = 6  # of hosts that ping each other
CHANGES = 20
COPIED_CHANGES = 50
LIMIT_S = 5.0  # what takes longer counts as that
STEP_S = 0.01  # of the clock, between two looks

FAT_TREE = """
name: bench-fat-tree
seed: 3
topology: {fat_tree: {k: 4}}
traffic:
  demands:
    - {from: h-pod0-edge0-0, to: h-pod3-edge1-1, rate_mbps: 1, packet_bytes: 1400}
    - {from: h-pod1-edge0-0, to: h-pod2-edge1-1, rate_mbps: 1, protocol: udp, packet_bytes: 1400}
change: {script: ""}
"""
RING = """
name: bench-ring
seed: 3
topology:
  nodes: [A, B, C, D, E]
  links: [[A, B], [B, C], [C, D], [D, E], [A, E]]
traffic:
  demands:
    - {from: A, to: C, rate_mbps: 4, class: critical, protocol: udp, port: 5004}
intents:
  - {reachable: {from: any, to: any}}
  - no_loop
change: {script: ""}
"""
TEN_COMMANDS = "".join(
    f"device {device}\ninterface to-{peer}\n ip ospf cost {cost}\n"
    for cost, (device, peer) in enumerate(
        [*zip("ABCDE", "BCDEA", strict=True), *zip("BCDEA", "ABCDE", strict=True)], 21
    )
)
BLAST = """
name: bench-blast
seed: 3
topology:
  nodes: [A, B]
  links: [[A, B]]
  defaults: {rate_mbps: 100, delay_ms: 1, queue_packets: 200}
traffic:
  demands:
    - {from: A, to: B, rate_mbps: 5, class: bulk, port: 873, packet_bytes: 1500}
    - {from: A, to: B, rate_mbps: 1, class: critical, protocol: udp, port: 5004}
change: {script: ""}
"""
ABILENE = """
name: bench-abilene
seed: 3
topology: {topohub: sndlib/abilene}
traffic: {demands: topohub, scale: 0.02}
change: {script: ""}
"""
FULL_BLAST_BPS = 120e6  # of a path of 100 Mbit/s
BUDGET_BPS = 1e6
ROUNDS, ROUND_S = 5, 2
SECONDS = 4  # under each load
LOADS = (4_500, 9_000, 13_500, 18_000, 27_000)  # packets a second, counted once on every link
OFF = 0.15  # of the latency it should have


@contextmanager
def up(scenario: Scenario, *names: str) -> Iterator[tuple[EmulatedNetwork, ...]]:
    """Networks of a scenario side by side, closed in the end."""
    with ExitStack() as stack:
        yield tuple(_start(stack, scenario, names))


def _start(stack: ExitStack, scenario: Scenario, names: Sequence[str]) -> list[EmulatedNetwork]:
    clock = WallClock()
    return [
        stack.enter_context(
            closing(EmulatedNetwork(scenario, scenario.configs, name, clock, "ryu"))
        )
        for name in names
    ]


# -- up and down ---------------------------------------------------------------------------------


def fat_tree_up() -> list[Row]:
    """Two k=4 fat trees from nothing to pings, and back to nothing."""
    scenario = parse(FAT_TREE, file="bench.yml")
    before = _devices()
    with ExitStack() as stack:
        begin = perf_counter()
        networks = _start(stack, scenario, ("production", "shadow"))
        built_s = perf_counter() - begin
        rules = sum(len(r.flows) for network in networks for r in network._rig._rules.values())
        answered, asked = _ping_some(networks)
        up_s = perf_counter() - begin
        left = [network._rig.rundir for network in networks]
        pids = [pid for network in networks for pid in _pids(network)]
        begin = perf_counter()
    down_s = perf_counter() - begin
    gone = not any(path.exists() for path in (*left, *(Path(f"/proc/{pid}") for pid in pids)))
    note = f"built {built_s:.1f} s, {rules:,} flow rules, {answered} of {asked} pings answered"
    peer_s = stock_mininet_s()
    beside = "" if peer_s is None else "; beside: stock Mininet and its switches, no rules, no ping"
    clean = "nothing left" if gone and _devices() == before else "SOMETHING WAS LEFT"
    up_name = "two k=4 fat trees, 40 switches and 32 hosts: up"
    return [
        Row(up_name, up_s if answered == asked else LIMIT_S * 10, "s", 15.0, peer_s, note + beside),
        Row("two k=4 fat trees: torn down", down_s, "s", 5.0, None, clean),
    ]


def _ping_some(networks: Sequence[EmulatedNetwork]) -> tuple[int, int]:
    """Answers and requests, of pings between the same random pairs of hosts in each network."""
    random = stream(SEED, "bench", "pings")
    found = []
    for network in networks:
        hosts = random.permutation(len(network.topology.hosts))[: 2 * PAIRS].tolist()
        pairs = zip(hosts[::2], hosts[1::2], strict=True)
        found += [network._rig.agent.ping(a, b) for a, b in pairs]
    return sum(p.received for p in found), sum(p.sent for p in found)


def _pids(network: EmulatedNetwork) -> list[int]:
    rig = network._rig
    return [rig.agent.pid, rig.controller.pid]


def _devices() -> set[str]:
    lines = Path("/proc/net/dev").read_text(encoding="utf-8").splitlines()[2:]
    return {line.split(":")[0].strip() for line in lines}


# -- commands ------------------------------------------------------------------------------------


def change_to_traffic() -> list[Row]:
    """A cost, there and back, until a packet is on the link that was idle."""
    scenario = parse(RING, file="bench.yml")
    found_s = []
    with up(scenario, "production") as (network,):
        network.advance(network.now + 1.0)
        ways = [(_link(network, "A", "to-E"), 50), (_link(network, "A", "to-B"), 10)]
        for number in range(CHANGES):
            link, cost = ways[number % 2]
            script = f"device A\ninterface to-B\n ip ospf cost {cost}\n"
            found_s.append(_until_packet(network, link, parse_script(script)))
            network.advance(network.now + 0.3)
    note = f"{CHANGES} changes, the slowest {max(found_s) * 1e3:.0f} ms; 500 packets a second"
    median_ms = statistics.median(found_s) * 1e3
    return [Row("config change to traffic on the new path", median_ms, "ms", 200.0, None, note)]


def _link(network: EmulatedNetwork, device: str, port: str) -> int:
    """The number of the directed link that leaves a device by a port."""
    return int(network.topology.ports[device][port])


def _until_packet(network: EmulatedNetwork, link: int, commands: Sequence[Command]) -> float:
    """Seconds from `apply` to the next packet on a link, which is looked at every millisecond."""
    counter = network._rig.board.wires.offered_packets
    before, seen = int(counter[link]), [0.0]

    def watch() -> None:
        until_s = monotonic() + LIMIT_S
        while counter[link] == before and monotonic() < until_s:
            sleep(0.001)
        seen[0] = perf_counter()

    watcher = threading.Thread(target=watch)
    begin = perf_counter()
    watcher.start()
    network.apply(commands)
    while watcher.is_alive():
        network.advance(network.now + STEP_S)
    return seen[0] - begin


def rollback() -> list[Row]:
    """Ten commands on five devices taken back, one step each, and read back from the switches."""
    scenario = parse(RING, file="bench.yml")
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    change = Change("ten costs", parse_script(TEN_COMMANDS))
    steps_s: list[float] = []
    links, demands = scenario.topology.directed_links, len(scenario.traffic.demands)
    idle = Observed(frozenset(), np.zeros(links), np.zeros(demands))
    look = looker(model, idle, scenario.configs)
    with up(scenario, "production") as (network,):
        network.advance(network.now + 1.0)
        before = dict(network.configs())
        _apply(network, change.commands)
        begin = perf_counter()
        signature = plan(change, before, network.configs(), look, scenario.topology)
        planned_s = perf_counter() - begin
        execution = execute(
            network,
            signature,
            lambda seconds: _advance(network, seconds),
            lambda: (),
            lambda step, what: steps_s.append(perf_counter() - begin),
        )
        whole_s = perf_counter() - begin
        read_s = _read_back(network)
        back = network.configs() == before
    if not (execution.verified and back):
        raise ShadowsimError(f"the rollback was not verified: {'; '.join(execution.failed)}")
    figure = steps_s[-1] + read_s
    note = (
        f"{len(steps_s)} steps; of it planned in {planned_s * 1e3:.0f} ms, rules read back in "
        f"{read_s * 1e3:.0f} ms; the workflow then settles and looks at limits: "
        f"{whole_s + read_s:.2f} s"
    )
    return [Row("rollback of ten commands, trigger to verified", figure, "s", 1.0, None, note)]


def _read_back(network: EmulatedNetwork) -> float:
    """Seconds to find that every switch holds what it was told. Raises ShadowsimError."""
    begin = perf_counter()
    told = network._rig._rules
    held = network._rig.controller.readback(told)
    wrong = [dpid for dpid, rules in told.items() if held[dpid] != rules]
    if wrong:
        raise ShadowsimError(f"switches {wrong} do not hold what they were told")
    return perf_counter() - begin


def _apply(network: EmulatedNetwork, commands: Sequence[Command]) -> None:
    network.apply(commands)
    while network.busy:
        _advance(network, STEP_S)


def _advance(network: EmulatedNetwork, seconds: float) -> None:
    network.advance(network.now + seconds)


# -- the mirror ----------------------------------------------------------------------------------


def config_lag() -> list[Row]:
    """Fifty changes in production until the shadow has them: in its database, in its switches.

    The shadow is looked after as a run does it, ten times a second; changes fall anywhere between
    two looks. Its switches have a change when their tables, read back, are those of the config.
    """
    scenario = parse(RING, file="bench.yml")
    phase_s = stream(SEED, "bench", "phases").uniform(0.0, 1.0, COPIED_CHANGES)
    with up(scenario, "production", "shadow") as (production, shadow):
        demands = scenario.traffic.demands
        engine = MirrorEngine(
            production, shadow, demands, Mirror(), stream(SEED, "bench", "mirror")
        )
        found_s = [
            _lag_s(production, shadow, engine, number, float(phase_s[number]))
            for number in range(COPIED_CHANGES)
        ]
        replicas_s = shadow.followed().lags_s
        reported_s = engine.report().config_lag_s
    note = _spread_ms(found_s) + "; written anywhere between two looks, of which there are ten a "
    note += f"second; the longest that the journal would tell: {(reported_s or 0.0) * 1e3:.0f} ms"
    name = "shadow config lag, from the write in production to the tables of the shadow"
    return [
        Row(name, statistics.median(found_s) * 1e3, "ms", 250.0, None, note),
        Row("of it, to the replica in the shadow's database", statistics.median(replicas_s) * 1e3,
            "ms", None, None, _spread_ms(replicas_s)),
    ]  # fmt: skip


def _spread_ms(found_s: Sequence[float]) -> str:
    p95_s, max_s = np.percentile(np.array(found_s), [95, 100])
    return f"{len(found_s)} updates, 95 % below {p95_s * 1e3:.1f} ms, {max_s * 1e3:.1f} ms most"


def _lag_s(
    production: EmulatedNetwork,
    shadow: EmulatedNetwork,
    engine: MirrorEngine,
    number: int,
    phase: float,
) -> float:
    """One change at a phase of the time between two looks, which goes on until it is there."""
    device = f"{'ABCDE'[number % 5]}"
    every_s = production.look_every_s
    production.advance(production.now + phase * every_s)
    commands = parse_script(f"device {device}\n table-size {1000 + number}\n")
    production.apply(commands)
    at_s, until_s = production.now + (1.0 - phase) * every_s, monotonic() + LIMIT_S
    while monotonic() < until_s:
        for network in (production, shadow):
            network.advance(at_s)
        engine.sync()
        while shadow.busy:
            at_s = _both(production, shadow, every_s)
        engine.arrived()
        wanted, has = (network.configs()[device] for network in (production, shadow))
        if has.digest == wanted.digest and not shadow.misprogrammed() and not production.busy:
            return shadow.followed().ages_s[device]
        at_s = production.now + every_s
    return LIMIT_S


def _both(production: EmulatedNetwork, shadow: EmulatedNetwork, seconds: float) -> float:
    """Let time pass in both; what time it is then."""
    at_s = production.now + seconds
    for network in (production, shadow):
        network.advance(at_s)
    return at_s


def mirror_cost() -> list[Row]:
    """A bulk transfer that fills a path: without a mirror, all of it mirrored, within a budget.

    The path is the limit here, not the CPU: where that is, TCP varies too much to tell a cost.
    """
    scenario = parse(BLAST, file="bench.yml")
    demands = scenario.traffic.demands
    found: dict[str, list[float]] = {"no mirror": [], "all": [], "budget": []}
    with up(scenario, "production") as (network,):
        network.offer(np.array([FULL_BLAST_BPS, 1e6]))
        _advance(network, 3.0)
        for _ in range(ROUNDS):
            network.copy((), 1.0, 96, stream(SEED, "bench", "copy"))
            found["no mirror"].append(_delivered_bps(network))
            network.copy(("critical", "normal", "bulk"), 1.0, 96, stream(SEED, "bench", "copy"))
            found["all"].append(_delivered_bps(network))
            mirror = Mirror(budget_bps=BUDGET_BPS)
            tap = Tap(network, demands, mirror, stream(SEED, "bench", "tap"))
            found["budget"].append(_delivered_bps(network, tap))
    bare = statistics.median(found["no mirror"])
    spread = 100 * (max(found["no mirror"]) - min(found["no mirror"])) / bare
    note = f"of {bare / 1e6:.0f} Mbit/s over a path of 100, varying {spread:.1f} %; CPU is left"
    budget = f"budget {BUDGET_BPS / 1e6:g} Mbit/s: bulk is shed, critical stays whole; median of "
    rounds = f"{ROUNDS} rounds"
    return [
        Row("mirroring a full path within the budget costs", _cost(found, "budget"), "%", 5.0, None,
            budget + rounds),
        Row("mirroring all of it costs", _cost(found, "all"), "%", None, None, note),
    ]  # fmt: skip


def _cost(found: Mapping[str, Sequence[float]], what: str) -> float:
    """Percent of the throughput that is lost to a mirror, median over rounds."""
    pairs = zip(found["no mirror"], found[what], strict=True)
    return 100.0 * (1.0 - statistics.median(with_it / without for without, with_it in pairs))


def _delivered_bps(network: EmulatedNetwork, tap: Tap | None = None) -> float:
    """What the bulk transfer gets, in the seconds after the first; a tap is read every second."""
    everything = np.ones(len(network._rig.demands), dtype=np.bool_)
    found = []
    for _ in range(ROUND_S + 1):
        samples = network.advance(network.now + 1.0)
        found.append(float(np.mean([sample.demand[0, 1] for sample in samples])))
        if tap is not None:
            tap.read(everything, 1.0)
    return float(np.mean(found[1:]))


# -- what it carries -----------------------------------------------------------------------------


def packets_moved() -> list[Row]:
    """Abilene under more and more packets: until latencies are wrong, with one network and two."""
    scenario = parse(ABILENE, file="bench.yml")
    rows = []
    for names in (("production",), ("production", "shadow")):
        with up(scenario, *names) as networks:
            rows.append(_load(scenario, networks))
    return rows


def _load(scenario: Scenario, networks: Sequence[EmulatedNetwork]) -> Row:
    """More packets step by step, in all networks at once, until the latency is far off."""
    demands, first = scenario.traffic.demands, networks[0]
    base_bps = np.array([d.rate_bps for d in demands])
    base = packet_hops_per_s(first._tables.target, demands)
    good, notes = 0, []
    for load in LOADS:
        rates_bps = base_bps * load / base
        read = _read(networks, rates_bps)
        off, added_ms = _off(read, _right_s(scenario, rates_bps))
        share = min(float(d[:, :, 1].sum() / d[:, :, 0].sum()) for d in read)
        notes.append(f"{load:,}: {off:+.0%} ({added_ms:+.2f} ms), {share:.0%} delivered")
        good = load if abs(off) <= OFF else good
        if abs(off) > 2 * OFF:
            break
    name = f"packets a second over all links, {len(networks)} x Abilene: latency within 15 % up to"
    return Row(name, float(good), "packets/s", None, None, "; ".join(notes))


def _right_s(scenario: Scenario, rates_bps: np.ndarray) -> np.ndarray:
    """The latency that each demand should have."""
    model = NETWORKS["simulated"](scenario, scenario.configs, "production")
    model.offer(rates_bps)
    found: np.ndarray = model.advance(3.0)[-1].demand[:, 2]
    model.close()
    return found


def _read(networks: Sequence[EmulatedNetwork], rates_bps: np.ndarray) -> list[np.ndarray]:
    """Of each network `[seconds, demands, 4]`, columns of a Sample, but for the first second."""
    samples: list[list[np.ndarray]] = [[] for _ in networks]
    for network in networks:
        network.offer(rates_bps)
    for _ in range(SECONDS):
        until_s = networks[0].now + 1.0
        for network, into in zip(networks, samples, strict=True):
            into += [sample.demand for sample in network.advance(until_s)]
    return [np.stack(of_one[1:]) for of_one in samples]


def _off(read: Sequence[np.ndarray], right_s: np.ndarray) -> tuple[float, float]:
    """By how much latency is off in the worst network: relative and in ms, median over demands."""
    found_s = [np.nanmean(of_one[:, :, 2], axis=0) for of_one in read]
    offs = [float(np.nanmedian(found / right_s)) - 1.0 for found in found_s]
    worst = int(np.argmax(np.abs(offs)))
    return offs[worst], float(np.nanmedian(found_s[worst] - right_s)) * 1e3
