"""The states that a change leads through to what is broken and exposed in them, and after a cut.

All here follows from configs, links and planned traffic: it is worked out once per change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shadowsim.model.change import Change, Configs
from shadowsim.precog.features.feature import Feature, Values
from shadowsim.precog.features.signals import Touched, largest
from shadowsim.precog.script import longest_s
from shadowsim.precog.steps import Step
from shadowsim.precog.whatif import Observed, Settled, WhatIf

Array = np.ndarray

MOST_CUTS = 3  # cables that are cut, one at a time, with the change and without it
NAN = float("nan")

FEATURES = (
    Feature("script_same_rules", "0 or 1", "1 if packets are treated alike before and after"),
    Feature("script_broken_end", "intents", "broken after the change and not before it"),
    Feature("script_broken_way", "intents", "the same, in the worst state on the way"),
    Feature("script_broken_way_s", "s", "how long one such intent stays broken on the way"),
    Feature("script_breaks_at", "share", "commands done when something first breaks or is exposed"),
    Feature("script_exposed_end", "names", "exposed after the change and not before it"),
    Feature("script_exposed_way", "names", "the same, in the worst state on the way"),
    Feature(
        "script_cut_broken", "intents",
        f"broken or exposed by a cut after the change, and not by it before, of the {MOST_CUTS} "
        "busiest cables of changed devices the worst",
    ),
    Feature(
        "script_cut_severity", "share of limit",
        "the nearest limit after such a cut, under planned traffic",
    ),
    Feature(
        "script_cut_worsening", "share of limit",
        "how much nearer it is than after the same cut without the change, at most",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Walk:
    """A change from state to state, on these links. `states` has one for each step."""

    start: Settled
    steps: tuple[Step, ...]
    states: tuple[Settled, ...]

    @property
    def end(self) -> Settled:
        return self.states[-1] if self.states else self.start

    def verdict(self, state: Settled) -> tuple[set[str], set[str]]:
        """What is broken, and what is exposed, in a state and not at the start."""
        before = self.start.configs
        exposed = set(state.exposed(before)) - set(self.start.exposed(before))
        return set(state.broken) - set(self.start.broken), exposed

    @cached_property
    def end_verdict(self) -> tuple[set[str], set[str]]:
        return self.verdict(self.end)


def walked(
    whatif: WhatIf, change: Change, before: Configs, soak_s: float, down: frozenset[int]
) -> Walk:
    """Settle the state before the change and that after each step."""
    start, steps = whatif.settle(before, down), whatif.steps(change, before, soak_s)
    return Walk(start, tuple(steps), tuple(whatif.settle(s.configs, down) for s in steps))


def values(whatif: WhatIf, walk: Walk, what: Touched, planned: Observed) -> Values:
    """The values of FEATURES."""
    before = walk.start.configs
    found = [walk.verdict(state) for state in walk.states]
    broken, exposed = [b for b, _ in found], [e for _, e in found]
    bad = [bool(b or e) for b, e in zip(broken, exposed, strict=True)]
    return {
        "script_same_rules": float(whatif.same_rules(before, walk.end.configs)),
        "script_broken_end": float(len(broken[-1]) if broken else 0),
        "script_broken_way": float(max(map(len, broken[:-1]), default=0)),
        "script_broken_way_s": _longest_s(walk.steps[:-1], broken[:-1]),
        "script_breaks_at": (bad.index(True) + 1) / len(bad) if any(bad) else NAN,
        "script_exposed_end": float(len(exposed[-1]) if exposed else 0),
        "script_exposed_way": float(max(map(len, exposed[:-1]), default=0)),
        **_cuts(whatif, walk, what, planned),
    }


def _longest_s(steps: Sequence[Step], broken: Sequence[set[str]]) -> float:
    """The longest time for which one and the same name stays broken."""
    held_s = [step.held_s for step in steps]
    names = set().union(*broken)
    return float(max((longest_s(held_s, [n in b for b in broken]) for n in names), default=0.0))


def _cuts(whatif: WhatIf, walk: Walk, what: Touched, planned: Observed) -> Values:
    """What single cuts do with the change that they do not do without it."""
    _, busy = whatif.load(walk.end, planned)
    cables = _busiest(whatif, what, busy[0], walk.end.down)
    # One side after the other: what the compiler and the verifier remember then serves all cuts.
    after = [_cut(whatif, walk, walk.end, cable, planned) for cable in cables]
    before = [_cut(whatif, walk, walk.start, cable, planned) for cable in cables]
    pairs = list(zip(before, after, strict=True))
    return {
        "script_cut_broken": float(max((len(b[0] - a[0]) for a, b in pairs), default=0)),
        "script_cut_severity": _most([b[1] for _, b in pairs]),
        "script_cut_worsening": _most([b[1] - a[1] for a, b in pairs]),
    }


def _cut(
    whatif: WhatIf, walk: Walk, side: Settled, cable: int, planned: Observed
) -> tuple[set[str], float]:
    """What is broken or exposed, and how near the nearest limit is, without this cable."""
    settled = whatif.settle(side.configs, side.down | {2 * cable, 2 * cable + 1})
    demand, utilisation = (rows[0] for rows in whatif.load(settled, planned))
    severity = float(largest(whatif.limits.severity(demand, utilisation)))
    return {*settled.broken, *settled.exposed(walk.start.configs)}, severity


def _most(values: Sequence[float]) -> float:
    return float(np.fmax.reduce(values, initial=np.nan))


def _busiest(whatif: WhatIf, what: Touched, utilisation: Array, down: frozenset[int]) -> list[int]:
    """The cables that changed devices have and that carry most for their rate, the first first."""
    topology = whatif.topology
    index = topology.device_index
    near = [
        cable
        for cable, link in enumerate(topology.links)
        if (what.devices[index[link.a]] or what.devices[index[link.b]]) and 2 * cable not in down
    ]
    return sorted(near, key=lambda c: -utilisation[2 * c : 2 * c + 2].max())[:MOST_CUTS]
