"""A change to the parts of it that are likeliest to be taken back, by what could go wrong with it.

Cases are imagined: more traffic, and each link of a changed device cut. In each the what-if model
is asked whom it would blame (`blame`); the sets that it names most often come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from shadowsim.model.change import Change, Command, Configs
from shadowsim.model.topology import Topology
from shadowsim.precog.whatif import Observed, WhatIf
from shadowsim.rollback.blame import blame

GROWTHS = (1.1, 1.25, 1.5, 2.0, 3.0)  # times the traffic of now
MOST_LOOKS = 96  # at conditions, for all cases together
MOST_TESTS = 32  # of sets, in one case


def likely(
    whatif: WhatIf, change: Change, before: Configs, now: Configs, seen: Observed
) -> dict[tuple[Command, ...], int]:
    """Sets of commands to the number of cases in which they would be blamed, most first."""
    found: Counter[tuple[Command, ...]] = Counter()
    looks = 0
    for case in _cases(whatif.topology, change, seen):
        if looks >= MOST_LOOKS:
            break
        verdict = blame(whatif, change, before, now, case, most_tests=MOST_TESTS)
        looks += verdict.looks
        if verdict.change:
            found[verdict.commands] += 1
    return dict(found.most_common())


def _cases(topology: Topology, change: Change, seen: Observed) -> Iterator[Observed]:
    for factor in GROWTHS:
        yield Observed(seen.down, seen.loss, seen.rates_bps * factor)
    for number, link in enumerate(topology.links):
        if {link.a, link.b} & set(change.devices):
            cut = frozenset((2 * number, 2 * number + 1))
            yield Observed(seen.down | cut, seen.loss, seen.rates_bps)
