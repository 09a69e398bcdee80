"""Many futures of one network to what is broken in each, second by second.

A *state* is what rules make of packets on one physical ground. A *tape* says, future by future
and step by step, which state holds, for how long, and what users send meanwhile. All steps of one
state are solved as batches, and each batch is reduced at once to what its limits say.

Steps are not solved where it is certain that nothing is wrong: if no link is full under the most
that any demand sends in a set of steps, every demand gets all it asks for in each of them, and no
load or wait is longer than under that most. The masks are the same with and without this.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from shadowsim.dataplane.exposure import newly_open
from shadowsim.dataplane.flows import Flows, Links, Loads, Paths
from shadowsim.dataplane.fluid import solve
from shadowsim.dataplane.forwarding import Compiler, Physical
from shadowsim.dataplane.judging import Bounds, judge
from shadowsim.dataplane.maxmin import Floats, Ints, compiled
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.trace import flow_table, trace_flows
from shadowsim.dataplane.verify import Verifier
from shadowsim.model.change import Configs
from shadowsim.model.intents import Intents
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

Array = np.ndarray

FLOWS_AT_ONCE = 32768  # of all steps that are solved at once: what they need stays in the cache
# Where the steps of a state, in order of how much is sent, are cut into slices that are looked at
# as one: finer where most is sent, since a surge or a peak makes a few stand out.
CUTS = np.array([*(i / 8 for i in range(1, 8)), *(1.0 - 2.0**-i for i in range(4, 11))])
CERTAIN = 1.0 - 1e-9  # of a limit: nearer than this, rounding might decide
ROOM = 1.0 - 1e-6  # of its rate: a link that carries less has no queue that is full
EXPOSING = ("isolated", "waypoint")


@dataclass(frozen=True)
class Ground:
    """What configs stand on. `loss[L]`, `added_s[L]`, `rate_left[L]` as `Loader.links` has them."""

    physical: Physical
    loss: Array
    added_s: Array | float = 0.0
    rate_left: Array | float = 1.0


@dataclass(frozen=True)
class State:
    """Rules on a ground. `unreachable`, `exposed`: names of what they break under any traffic."""

    plane: Plane
    paths: Paths
    links: Links
    level: Array
    unreachable: frozenset[str]
    exposed: frozenset[str]


@dataclass(frozen=True)
class Tape:
    """N futures of K steps each, over D demands.

    `state[N, K]` number of the state in force, `span_s[N, K]` how long the step lasts (0: not at
    all). In a step demand d sends `base_bps[d] * factor[n, k] * surges[surge[n, k], d] *
    breath[begin[n, k] + d]`: what all share, what only some demands do, and a window of one long
    series of small changes.
    """

    state: Ints
    span_s: Floats
    base_bps: Floats
    factor: Floats
    surge: Ints
    surges: Floats
    begin: Ints
    breath: Floats


@dataclass(frozen=True)
class Masks:
    """What is broken in every step: `unreachable[N, K, U]`, `exposed[N, K, E]`, `slow[N, K, M]`.

    The last axes are named by `things`, `exposures` and the limits of the engine.
    """

    unreachable: Array
    exposed: Array
    slow: Array
    things: tuple[str, ...]
    exposures: tuple[str, ...]
    solved: int = field(default=0, compare=False)  # steps that had to be solved


class Futures:
    """Solves futures of one topology under the demands and intents of one scenario.

    `threads` share the work; the results do not depend on it. `state` remembers header atoms and
    the last compilation, which only saves time.
    """

    def __init__(
        self, topology: Topology, demands: Sequence[Demand], intents: Intents, threads: int = 1
    ) -> None:
        self.topology = topology
        self.bounds = Bounds(topology, demands, intents.limits)
        self._names = tuple(d.name for d in demands)
        self._threads = threads
        self._compiler = Compiler(topology)
        self._verifier = Verifier(topology, intents.paths)
        self._flows = flow_table(topology, demands)
        self._chunk = max(FLOWS_AT_ONCE // max(len(self._flows), 1), 1)
        self._share = 1.0 / np.array([d.flows for d in demands], dtype=np.float64)
        self._elastic = np.array([d.elastic for d in demands], np.uint8)[self._flows.demand]
        self._delay_s = np.array(topology.delay_s)
        self._queue_packets = np.array(topology.queue_packets, dtype=np.float64)
        # Waits grow with every rate as long as no packet is more than twice as long as another.
        size = self._flows.packet_bytes
        self._alike = bool(not size.size or size.max() <= 2.0 * size.min())

    def state(self, configs: Configs, ground: Ground, before: Configs) -> State:
        """Compile, verify and trace. `before` says which management was closed."""
        plane = self._compiler.compile(configs, ground.physical)
        verdicts = self._verifier.check(plane, witnesses=False)
        broken = [v.intent for v in verdicts if not v.holds]
        opened = {f"management {what} of {name}" for name, what in newly_open(before, configs)}
        paths, level = trace_flows(plane, self._flows)
        rate = np.where(plane.up, plane.rate_bps * ground.rate_left, 0.0)
        links = Links(rate, self._delay_s + ground.added_s, self._queue_packets, ground.loss)
        exposed = {intent.name for intent in broken if intent.kind in EXPOSING}
        return State(
            plane, paths, links, level,
            frozenset(intent.name for intent in broken if intent.kind == "reachable"),
            frozenset(exposed | opened),
        )  # fmt: skip

    def masks(self, states: Sequence[State], tape: Tape, *, skip: bool = True) -> Masks:
        """What is broken in every step of the tape. Without `skip` every step is solved."""
        broken = tuple(sorted(frozenset().union(*(s.unreachable for s in states))))
        exposures = tuple(sorted(frozenset().union(*(s.exposed for s in states))))
        critical = tuple(self._names[d] for d in self.bounds.critical)
        starved = np.zeros((tape.state.size, len(critical)), dtype=np.bool_)
        slow = np.zeros((tape.state.size, len(self.bounds.metric)), dtype=np.bool_)
        flat = tape.state.ravel()
        lasting = tape.span_s.ravel() > 0.0
        chunks: list[tuple[State, Array]] = []
        for number in np.unique(flat[lasting]):
            steps = np.flatnonzero((flat == number) & lasting)
            state = states[number]
            steps = self._doubtful(state, tape, steps) if skip else steps
            places = range(0, len(steps), self._chunk)
            chunks += [(state, steps[i : i + self._chunk]) for i in places]
        self._solve(chunks, tape, starved, slow)
        shape = tape.state.shape
        by_state = np.array([[n in s.unreachable for n in broken] for s in states], dtype=np.bool_)
        shown = np.array([[n in s.exposed for n in exposures] for s in states], dtype=np.bool_)
        named = by_state.reshape(len(states), len(broken))[tape.state]
        return Masks(
            np.concatenate((named, starved.reshape(*shape, len(critical))), axis=2),
            shown.reshape(len(states), len(exposures))[tape.state],
            slow.reshape(*shape, slow.shape[1]),
            broken + critical,
            exposures,
            sum(len(steps) for _, steps in chunks),
        )

    def _doubtful(self, state: State, tape: Tape, steps: Array) -> Array:
        """The steps of a state of which it is not certain that no limit is broken in them."""
        if not self._alike or state.links.loss.any() or not len(steps):
            return steps
        most = tape.surges.max(axis=1)[tape.surge.ravel()[steps]] * tape.factor.ravel()[steps]
        places = np.unique((CUTS * len(steps)).astype(np.int64))
        slices = np.split(steps[np.argsort(most, kind="stable")], places)
        slices = [part for part in slices if len(part)]
        factor, surge = tape.factor.ravel(), tape.surge.ravel()
        high = np.stack([
            factor[part].max() * tape.surges[np.unique(surge[part])].max(axis=0) for part in slices
        ])  # fmt: skip
        rates = high * tape.base_bps * tape.breath.max(initial=1.0)
        offered = np.ascontiguousarray((rates * self._share)[:, self._flows.demand])
        loads = self._loads(state, offered, None)
        starved = np.empty((len(slices), len(self.bounds.critical)), dtype=np.bool_)
        slow = np.empty((len(slices), len(self.bounds.metric)), dtype=np.bool_)
        self._judge(state, loads, offered, starved, slow, CERTAIN)
        well = ~starved.any(axis=1) & ~slow.any(axis=1) & self._roomy(state, loads)
        found = [part for part, is_well in zip(slices, well, strict=True) if not is_well]
        return np.sort(np.concatenate(found)) if found else steps[:0]

    def _roomy(self, state: State, loads: Loads) -> Array:
        """In which futures no link is full, and no wait is bounded by the length of a queue."""
        rate = state.links.rate_bps
        free = (loads.link_load_bps <= ROOM * rate) | (loads.link_offered_bps == 0.0)
        least_s = 8.0 * self._flows.packet_bytes.min(initial=np.inf) / np.maximum(rate, 1e-9)
        short = loads.queue_delay_s < self._queue_packets * least_s
        found: Array = (free & (short | (loads.link_load_bps == 0.0))).all(axis=1)
        return found

    def _solve(
        self, chunks: Sequence[tuple[State, Array]], tape: Tape, starved: Array, slow: Array
    ) -> None:
        """Solve all chunks and write what they show into the rows of their steps."""

        def work(mine: Sequence[tuple[State, Array]]) -> None:
            out = Loads.empty(self._chunk, self._delay_s.size, len(self._flows))
            offered = np.empty((self._chunk, len(self._flows)))
            for state, steps in mine:
                rows = offered[: len(steps)]
                _offer(
                    steps, tape.base_bps, tape.factor.ravel(), tape.surge.ravel(), tape.surges,
                    tape.begin.ravel(), tape.breath, self._flows.demand, self._share, rows,
                )  # fmt: skip
                loads = self._loads(state, rows, out)
                hungry = np.empty((len(steps), starved.shape[1]), dtype=np.bool_)
                late = np.empty((len(steps), slow.shape[1]), dtype=np.bool_)
                self._judge(state, loads, rows, hungry, late, 1.0)
                starved[steps], slow[steps] = hungry, late

        if self._threads == 1 or len(chunks) < 2:
            work(chunks)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(work, [chunks[i :: self._threads] for i in range(self._threads)]))

    def _loads(self, state: State, offered_bps: Array, out: Loads | None) -> Loads:
        """The loads of one state under these rates of flows, `[B, F]`."""
        flows = Flows(offered_bps, self._elastic, self._flows.packet_bytes, state.level)
        batch = len(offered_bps)
        if out is not None and batch < len(out.loss):
            out = Loads(*(getattr(out, name)[:batch] for name in Loads.__dataclass_fields__))
        return solve(state.links, flows, state.paths, out)

    def _judge(
        self, state: State, loads: Loads, offered: Array, starved: Array, slow: Array, margin: float
    ) -> None:
        judge(
            loads, offered, self._flows.demand, state.links.rate_bps[0], self.bounds, margin,
            starved, slow,
        )  # fmt: skip


@compiled
def _offer(
    steps: Ints, base_bps: Floats, factor: Floats, surge: Ints, surges: Floats,
    begin: Ints, breath: Floats, demand: Ints, share: Floats, out: Floats,
) -> None:  # fmt: skip
    """What every flow wants to send in these steps, `out[steps, F]`."""
    for i in range(steps.size):
        step = steps[i]
        some, first = surge[step], begin[step]
        for flow in range(demand.size):
            d = demand[flow]
            wanted = base_bps[d] * factor[step] * surges[some, d] * breath[first + d]
            out[i, flow] = wanted * share[d]
