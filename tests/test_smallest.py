"""The smallest set of commands to take back: against brute force, and with the rest left alive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference_order import open_to_all, smallest_sets, wrong

from shadowsim.journal import Journal
from shadowsim.model.change import Change, Command, apply, parse_script, reverted
from shadowsim.network import NETWORKS
from shadowsim.precog import WhatIf, variant
from shadowsim.precog.whatif import Observed
from shadowsim.rollback.blame import blame
from shadowsim.rollback.dependencies import dangling
from shadowsim.rollback.harm import is_more
from shadowsim.rollback.likely import likely
from shadowsim.rollback.subsets import Places, smallest
from shadowsim.scenario import Scenario, load, parse
from shadowsim.workflow import Run, run_workflow

SCENARIOS = Path(__file__).parent.parent / "scenarios"

# -- the search --------------------------------------------------------------------------------


@st.composite
def sets_and_tests(draw: st.DrawFn) -> tuple[int, Callable[[Places], bool]]:
    """A number of places, and a test of sets of them that the whole passes: monotone or not."""
    count = draw(st.integers(1, 6))
    whole = frozenset(range(count))
    some = draw(st.lists(st.frozensets(st.integers(0, count - 1), min_size=1), max_size=4))
    if draw(st.booleans()):
        return count, lambda places: places == whole or any(s <= places for s in some)
    return count, lambda places: places == whole or places in some


@st.composite
def closures(draw: st.DrawFn, count: int) -> Callable[[Places], Places]:
    """Adds to a set what it drags along."""
    pairs = draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=3))

    def closed(places: Places) -> Places:
        while more := {b for a, b in pairs if a in places} - places:
            places = places | more
        return places

    return closed


@settings(max_examples=300, deadline=None)
@given(st.data(), sets_and_tests(), st.integers(1, 80))
def test_a_set_is_as_small_as_it_is_said_to_be(
    data: st.DataObject, case: tuple[int, Callable[[Places], bool]], most: int
) -> None:
    count, passes = case
    closed = data.draw(closures(count))
    asked: list[Places] = []

    def counted(places: Places) -> bool:
        asked.append(places)
        return passes(places)

    found = smallest(count, counted, closed, most)
    assert passes(found.places)
    assert closed(found.places) == found.places
    assert len(asked) == len(set(asked)) == found.tests <= most
    if found.minimal == "cardinality":
        best = smallest_sets(count, lambda s: closed(s) == s and passes(s))
        assert found.places in best
    if found.minimal == "inclusion":
        for place in found.places:
            less = closed(found.places - {place})
            assert less == found.places or not passes(less)


def test_with_tests_enough_the_set_is_the_smallest() -> None:
    found = smallest(6, lambda places: {1, 4} <= places)
    assert (found.places, found.minimal) == (frozenset({1, 4}), "cardinality")


def test_too_many_sets_are_made_smaller_by_halves() -> None:
    """Of 40 commands three are needed: 9,880 sets of three are too many to try each."""
    wanted = frozenset({3, 17, 31})
    found = smallest(40, lambda places: wanted <= places)
    assert (found.places, found.minimal) == (wanted, "inclusion")
    assert found.tests <= 256


def test_where_tests_run_out_nothing_is_claimed() -> None:
    found = smallest(40, lambda places: {3, 17, 31} <= places, most_tests=10)
    assert found.minimal == "not shown"
    assert {3, 17, 31} <= found.places


# -- blame, against brute force ----------------------------------------------------------------

RING = parse("""
name: ring
topology:
  nodes: [A, B, C, D, T]
  links: [[A, B], [B, C], [C, D], [A, D], [B, T], [D, T]]
  defaults: {rate_mbps: 10}
traffic:
  demands:
    - {from: A, to: B, rate_mbps: 6, class: critical, protocol: udp, port: 5004}
    - {from: D, to: C, rate_mbps: 5, protocol: udp, port: 5004}
    - {from: A, to: T, rate_mbps: 2}
intents:
  - {reachable: {from: any, to: any}}
  - {isolated: {from: T, to: C}}
  - {utilisation: {below_percent: 90}}
configs:
  C: |
    ip access-list extended G
     10 deny ip host h-T host h-C
     20 permit ip any any
    interface to-h-C
     ip access-group G out
  D: |
    ip access-list extended S
     10 permit udp any any
     20 permit ip any any
    interface to-h-D
     ip access-group S in
    management ssh access-class S
change: {script: ""}
""")
MODEL = WhatIf(RING.topology, RING.traffic.demands, RING.intents)
LINES = (
    ("A", "interface to-B", "shutdown"),
    ("A", "interface to-B", "ip ospf cost 500"),
    ("A", "interface to-D", "shutdown"),
    ("B", "interface to-T", "shutdown"),
    ("D", "interface to-T", "shutdown"),
    ("D", "interface to-C", "ip ospf cost 500"),
    ("C", "interface to-h-C", "no ip access-group out"),
    ("C", "ip access-list extended G", "5 permit ip any any"),
    ("C", "", "table-size 9000"),
    ("A", "interface to-B", "description nothing"),
    ("B", "ip access-list extended H", "10 deny ip any any"),
    ("B", "interface to-T", "ip access-group H in"),
)
# Of a list that is used before the change: what is put in, taken out, or used in place of it.
SWAPPED = (
    ("D", "ip access-list extended S", "5 permit tcp any any eq 443"),
    ("D", "ip access-list extended S", "no 10"),
    ("D", "ip access-list extended S", "no 20"),
)
REPLACED = (
    ("D", "ip access-list extended R", "10 deny ip any any"),
    ("D", "interface to-h-D", "ip access-group R in"),
    ("D", "", "management ssh access-class R"),
    ("D", "", "no ip access-list extended S"),
)


scripts = st.one_of(
    st.lists(st.sampled_from(LINES), min_size=1, max_size=5, unique=True),
    st.tuples(st.lists(st.sampled_from(LINES), max_size=2, unique=True), st.just(SWAPPED))
    .map(lambda parts: [*parts[0], *parts[1]])
    .flatmap(st.permutations),
    st.tuples(st.lists(st.sampled_from(LINES), max_size=1), st.permutations(REPLACED)).map(
        lambda parts: [*parts[0], *parts[1]]
    ),
)


@settings(max_examples=160, deadline=None)
@given(scripts, st.sampled_from((0.5, 1.0, 1.4)), st.sampled_from((-1, 0, 4)))
@example(list(SWAPPED), 1.0, -1)
def test_the_blamed_set_is_the_smallest_of_all_that_remove_the_failure(
    script: list[tuple[str, str, str]], factor: float, cut: int
) -> None:
    change = Change("", tuple(Command(*line) for line in script))
    rates = np.array([d.rate_bps for d in RING.traffic.demands]) * factor
    down = frozenset({2 * cut, 2 * cut + 1} if cut >= 0 else ())
    seen = Observed(down, np.zeros(RING.topology.directed_links), rates)
    now = apply(RING.configs, change.commands)
    found = blame(MODEL, change, RING.configs, now, seen)
    fresh = WhatIf(RING.topology, RING.traffic.demands, RING.intents)
    whole = fresh.look(RING.configs, seen, RING.configs)

    def removes(places: Places) -> bool:
        part = [change.commands[place] for place in places]
        configs = reverted(RING.configs, now, change, part)
        if open_to_all(configs) - open_to_all(now) - open_to_all(RING.configs):
            return False
        state = fresh.look(configs, seen, RING.configs)
        worse = [
            set(getattr(state, of)) - set(getattr(whole, of))
            for of in ("broken", "exposed", "starved")
        ]
        for level, without in zip(state.severity, whole.severity, strict=True):
            # It is exceeded, and without the change is not, or by a fiftieth less.
            if level > 1.0 and (without <= 1.0 or without < 0.98 * level):
                return False
        return not any(worse)

    best = smallest_sets(len(change.commands), removes)
    if not found.change:
        assert removes(frozenset())
        return
    assert not removes(frozenset())
    assert found.minimal == "cardinality"
    assert frozenset(change.commands.index(c) for c in found.commands) in best


def test_a_limit_that_stays_exceeded_by_little_is_not_taken_for_kept() -> None:
    """Without the change the link is 0.6 % below its limit; with one command of it 0.6 % above."""
    near = parse("""
name: near
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [A, C], [C, B], [A, D], [D, B]]
  defaults: {rate_mbps: 10}
traffic:
  demands:
    - {from: A, to: B, rate_mbps: 8.95, protocol: udp, port: 5004}
    - {from: A, to: C, rate_mbps: 3, protocol: udp, port: 5004}
    - {from: A, to: D, rate_mbps: 0.1, protocol: udp, port: 5004}
intents: [{utilisation: {below_percent: 90}}]
change:
  script: |
    device A
    interface to-C
     ip ospf cost 500
    interface to-D
     ip ospf cost 500
""")
    model = WhatIf(near.topology, near.traffic.demands, near.intents)
    rates = np.array([d.rate_bps for d in near.traffic.demands])
    seen = Observed(frozenset(), np.zeros(near.topology.directed_links), rates)
    both, now = near.change.commands, apply(near.configs, near.change.commands)
    found = blame(model, near.change, near.configs, now, seen)
    assert (found.commands, found.minimal) == (both, "cardinality")
    little = Change("", both[1:])
    found = blame(model, little, near.configs, apply(near.configs, both[1:]), seen)
    assert found.commands == both[1:]


def test_who_is_cut_off_anyway_hides_nobody_whom_the_change_cuts_off() -> None:
    """An intent of all hosts does not hold for U, whatever is done; for S it did."""
    stub = parse("""
name: stub
topology:
  nodes: [P, Q, S, U]
  links: [[P, Q], [P, S], [Q, S], [Q, U]]
  defaults: {rate_mbps: 10}
intents: [{reachable: {from: any, to: any}}]
change:
  script: |
    device P
    interface to-S
     shutdown
    interface to-Q
     description to Q
    device Q
    interface to-S
     shutdown
""")
    model = WhatIf(stub.topology, (), stub.intents)
    cut = {2 * cable + side for cable in stub.topology.cables("Q", "U") for side in (0, 1)}
    seen = Observed(frozenset(cut), np.zeros(stub.topology.directed_links), np.zeros(0))
    commands = stub.change.commands
    found = blame(model, stub.change, stub.configs, apply(stub.configs, commands), seen)
    assert (found.change, found.minimal) == (True, "cardinality")
    assert len(found.commands) == 1 and "shutdown" in str(found.commands[0])
    half = Change("", commands[:2])
    found = blame(model, half, stub.configs, apply(stub.configs, half.commands), seen)
    assert (found.change, found.text) == (False, "it would be the same without the change")


def test_a_level_near_to_but_below_its_limit_blames_nobody_for_little() -> None:
    """A margin is no limit: what passes it by less than the model knows is the same."""
    assert not is_more(np.array([0.951]), np.array([0.949])).any()
    assert is_more(np.array([0.951]), np.array([0.9])).all()
    assert not is_more(np.array([1.0 + 1e-12]), np.array([1.0 - 1e-12])).any()
    assert not is_more(np.array([1.2]), np.array([1.19])).any()
    assert not is_more(np.array([np.nan, 1.2]), np.array([0.5, np.nan])).any()


LISTED = """
device B
ip access-list extended H
 10 deny ip any any
interface to-T
 description guarded
 ip access-group H in
device D
interface to-T
 shutdown
"""


def test_a_list_does_not_go_without_what_uses_it() -> None:
    change = Change("", parse_script(LISTED))
    now = apply(RING.configs, change.commands)
    rates = np.array([d.rate_bps for d in RING.traffic.demands])
    seen = Observed(frozenset(), np.zeros(RING.topology.directed_links), rates)
    found = blame(MODEL, change, RING.configs, now, seen)
    assert found.commands == (Command("B", "interface to-T", "ip access-group H in"),)
    alone = reverted(RING.configs, now, change, change.commands[:1])
    assert dangling(alone, ["B"])


def test_a_bound_that_is_reached_is_told() -> None:
    change = Change("", parse_script(LISTED))
    now = apply(RING.configs, change.commands)
    rates = np.array([d.rate_bps for d in RING.traffic.demands])
    seen = Observed(frozenset(), np.zeros(RING.topology.directed_links), rates)
    found = blame(MODEL, change, RING.configs, now, seen, most_tests=0)
    assert (found.minimal, found.commands) == ("not shown", change.commands)
    assert "perhaps fewer" in found.text


def test_the_parts_likeliest_to_be_blamed_come_first() -> None:
    """With either way cut, or much more traffic, it is the cost that hurts; never the text."""
    script = (
        "device A\ninterface to-B\n description x\n ip ospf cost 500\ndevice C\ntable-size 9000\n"
    )
    change = Change("", parse_script(script))
    now = apply(RING.configs, change.commands)
    rates = np.array([d.rate_bps for d in RING.traffic.demands]) * 0.7
    seen = Observed(frozenset(), np.zeros(RING.topology.directed_links), rates)
    found = likely(MODEL, change, RING.configs, now, seen)
    assert next(iter(found)) == change.commands[1:2]
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_cases_are_imagined_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowsim.rollback.likely.MOST_LOOKS", 0)
    change = Change("", parse_script(LISTED))
    now = apply(RING.configs, change.commands)
    seen = Observed(frozenset(), np.zeros(RING.topology.directed_links), np.zeros(3))
    assert likely(MODEL, change, RING.configs, now, seen) == {}


# -- three changes of which the good part stays alive ------------------------------------------


def run(scenario: Scenario) -> Run:
    model = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant(scenario.workflow.precog, model)
    return run_workflow(Run(scenario, NETWORKS["simulated"], precog, model, Journal()))


@pytest.mark.parametrize("name", ["part-of-it", "two-of-four", "filter-on-the-spare"])
def test_the_smallest_set_goes_and_the_rest_stays_alive(name: str) -> None:
    scenario = load(SCENARIOS / f"{name}.yml")
    done = run(scenario)
    change = scenario.change
    assert done.end_state == "rolled_back"
    assert done.signature is not None
    assert done.signature.minimal == "cardinality"
    assert 0 < len(done.blamed) < len(change.commands)
    kept = apply(scenario.configs, change.without(done.blamed).commands)
    assert dict(done.production.configs()) == kept != dict(scenario.configs)
    assert not wrong(scenario, kept)
    assert wrong(scenario, apply(scenario.configs, change.commands))

    def removes(places: Places) -> bool:
        gone = [change.commands[place] for place in places]
        return not wrong(scenario, apply(scenario.configs, change.without(gone).commands))

    best = smallest_sets(len(change.commands), removes)
    assert frozenset(change.commands.index(c) for c in done.blamed) in best
