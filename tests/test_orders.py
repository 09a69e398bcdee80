"""The order of a rollback: found if there is one, least harmful if not; what depends on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference_order import hurt_on_the_way, naive, open_to_all, orders, wrong
from strategies import DEVICES, near_pairs

from shadowsim.model.address import format_address
from shadowsim.model.change import Change, Command, Configs, apply, difference, parse_script
from shadowsim.model.config import DeviceConfig
from shadowsim.model.faults import Fault
from shadowsim.model.traffic import Traffic
from shadowsim.precog import WhatIf
from shadowsim.precog.whatif import Observed
from shadowsim.rollback.dependencies import dependencies
from shadowsim.rollback.harm import Harm, looker
from shadowsim.rollback.order import SAFE, Cost, States, safest
from shadowsim.rollback.plan import plan
from shadowsim.rollback.signature import RollbackSignature
from shadowsim.rollback.waves import Block, waves
from shadowsim.scenario import Scenario, load, parse

FILES = sorted((Path(__file__).parent / "rollback_orders").glob("*.yml"))

# Five devices in a ring, of which nothing matters but which of five descriptions are set.
RING = parse("""
name: ring
topology: {nodes: [A, B, C, D, E], links: [[A, B], [B, C], [C, D], [D, E], [A, E]]}
change: {script: ""}
""")
NAMES = "ABCDE"
PORTS = ("B", "C", "D", "E", "A")


def described(count: int) -> tuple[Command, ...]:
    """Commands that each can be told from the configs, one for each of the first devices."""
    pairs = zip(NAMES[:count], PORTS, strict=False)
    return tuple(Command(name, f"interface to-{to}", "description x") for name, to in pairs)


def done_in(configs: Configs, count: int) -> int:
    """Which of them are in, as bits."""
    told = [any(s[-1] == "description" for s in configs[name].settings) for name in NAMES[:count]]
    return sum(1 << place for place, is_told in enumerate(told) if is_told)


def states_of(count: int, harms: Sequence[Harm]) -> States:
    """The states of those commands with the harm that each is given."""
    commands = described(count)
    target = apply(RING.configs, commands)
    return States(RING.configs, target, commands, lambda c: harms[done_in(c, count)])


HARMS = (
    Harm(),
    Harm(broken=frozenset({"a"})),
    Harm(broken=frozenset({"a", "b"})),
    Harm(strained=frozenset({"c"}), lost_bps=2.0),
    Harm(strained=frozenset({"c", "d"}), lost_bps=1.0),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Harm], list[frozenset[int]]]:
    """A harm for each state of some commands, and what each of them needs."""
    count = draw(st.integers(1, 5))
    usual = st.sampled_from((Harm(), Harm(), *HARMS))
    harms = draw(st.lists(usual, min_size=1 << count, max_size=1 << count))
    needs = [
        frozenset(draw(st.sets(st.integers(0, place - 1), max_size=2))) if place else frozenset()
        for place in range(count)
    ]
    return harms, needs


def cost_of(order: Sequence[int], harms: Sequence[Harm]) -> Cost:
    """What is wrong on the way and at neither end, summed over the states."""
    total, done, ends = SAFE, 0, (harms[0], harms[(1 << len(order)) - 1])
    for place in order[:-1]:
        done |= 1 << place
        broken = harms[done].broken - ends[0].broken - ends[1].broken
        strained = harms[done].strained - ends[0].strained - ends[1].strained
        lost = max(harms[done].lost_bps - max(end.lost_bps for end in ends), 0.0)
        if broken or strained:
            total = total.plus(Cost(len(broken), lost, len(strained)))
    return total


@settings(max_examples=300, deadline=None)
@given(cases())
def test_the_order_found_hurts_least_and_says_truly_whether_there_is_a_safe_one(
    case: tuple[list[Harm], list[frozenset[int]]],
) -> None:
    harms, needs = case
    found = safest(states_of(len(needs), harms), needs)
    least = min(cost_of(order, harms) for order in orders(needs))
    assert found.places in set(orders(needs))
    assert cost_of(found.places, harms) == least
    assert found.complete
    assert found.existence == ("exists" if least == SAFE else "none exists")
    assert bool(found.hurts) == (least > SAFE)


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 12))
def test_a_bounded_search_claims_nothing_that_it_has_not_seen(
    case: tuple[list[Harm], list[frozenset[int]]], most: int
) -> None:
    harms, needs = case
    states = states_of(len(needs), harms)
    found = safest(states, needs, most_states=most)
    least = min(cost_of(order, harms) for order in orders(needs))
    assert found.places in set(orders(needs))
    assert states.looked_at <= max(most, 3 * len(needs))
    if found.existence == "exists":
        assert cost_of(found.places, harms) == SAFE
    if found.existence == "none exists":
        assert least > SAFE
    if found.complete:
        assert cost_of(found.places, harms) == least


def test_where_the_bound_is_reached_the_order_says_so() -> None:
    """Only the states before the last hurt, so that every safe one would have to be seen."""
    commands = 5
    full = (1 << commands) - 1
    near = {full & ~(1 << place) for place in range(commands)}
    harms = [Harm(broken=frozenset({"x"})) if s in near else Harm() for s in range(full + 1)]
    free = [frozenset[int]()] * commands
    assert safest(states_of(commands, harms), free, most_states=0).existence == "none found"
    assert safest(states_of(commands, harms), free).existence == "none exists"


def test_the_same_question_has_the_same_answer() -> None:
    random = np.random.default_rng(5)
    harms = [HARMS[int(n)] for n in random.integers(0, len(HARMS), 32)]
    free = [frozenset[int]()] * 5
    found = [safest(states_of(5, harms), free) for _ in range(3)]
    assert found[0] == found[1] == found[2]


def test_no_state_is_looked_at_twice() -> None:
    asked: list[int] = []
    commands = described(5)

    def look(configs: Configs) -> Harm:
        asked.append(done_in(configs, 5))
        return HARMS[1] if len(asked) % 2 else Harm()

    states = States(RING.configs, apply(RING.configs, commands), commands, look)
    safest(states, [frozenset()] * 5)
    assert len(asked) == len(set(asked))


def test_an_order_that_is_known_to_be_good_is_tried_first() -> None:
    commands = described(4)
    turned = [commands[place] for place in (2, 0, 3, 1)]
    states = states_of(4, [Harm()] * 16)
    found = safest(states, [frozenset()] * 4, turned)
    assert [commands[place] for place in found.places] == turned
    assert states.looked_at == 3


# -- side by side ------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(cases(), st.lists(st.integers(0, 1), min_size=5, max_size=5))
def test_every_interleaving_of_a_wave_is_safe(
    case: tuple[list[Harm], list[frozenset[int]]], joints: list[int]
) -> None:
    harms, needs = case
    states = states_of(len(needs), harms)
    order = safest(states, needs)
    blocks: list[Block] = []
    for place in order.places:
        if blocks and joints[place]:
            blocks[-1] = Block(blocks[-1].device, (*blocks[-1].places, place))
        else:
            blocks.append(Block(NAMES[place], (place,)))
    if order.existence != "exists":
        return
    found = waves(states, blocks, needs)
    assert [n for wave in found for n in wave] == list(range(len(blocks)))
    done: set[int] = set()
    for wave in found:
        mine = [blocks[number] for number in wave]
        inside = {place for block in mine for place in block.places}
        assert len({block.device for block in mine}) == len(mine)
        for block in mine:
            needed = set().union(*(needs[place] for place in block.places))
            assert needed <= done | set(block.places)
        for cuts in product(*(range(len(block.places) + 1) for block in mine)):
            begun = {p for block, cut in zip(mine, cuts, strict=True) for p in block.places[:cut]}
            state = sum(1 << place for place in done | begun)
            assert states.cost(state) == SAFE
        done |= inside


def test_what_is_independent_goes_side_by_side_up_to_a_width() -> None:
    states = states_of(5, [Harm()] * 32)
    blocks = [Block(name, (place,)) for place, name in enumerate(NAMES)]
    assert waves(states, blocks, [frozenset()] * 5) == ((0, 1, 2, 3), (4,))
    needs = [frozenset(), frozenset({0}), frozenset(), frozenset(), frozenset()]
    assert waves(states, blocks, needs) == ((0,), (1, 2, 3, 4))
    same = [Block("A", (0,)), Block("A", (1,)), Block("B", (2,))]
    assert waves(states, same, [frozenset()] * 5) == ((0,), (1, 2))
    assert waves(states, [], []) == ()


def test_waves_stop_where_nothing_more_may_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowsim.rollback.waves.MOST_STATES", 0)
    states = states_of(3, [Harm()] * 8)
    blocks = [Block(name, (place,)) for place, name in enumerate("ABC")]
    assert waves(states, blocks, [frozenset()] * 3) == ((0,), (1,), (2,))


# -- dependencies ------------------------------------------------------------------------------

LINE = parse("""
name: line
topology: {nodes: [A, B, C], links: [[A, B], [B, C]]}
change: {script: ""}
""")


def needed(now: str, target: str) -> dict[str, set[str]]:
    """What each command between two scripts needs, by their texts."""
    one, two = (apply(LINE.configs, parse_script(text)) for text in (now, target))
    commands = difference(one, two)
    found = dependencies(LINE.topology, one, two, commands)
    return {
        str(c): {str(commands[n]) for n in needs} for c, needs in zip(commands, found, strict=True)
    }


GUARDED = """
device A
ip access-list extended G
 10 permit ip any any
interface to-B
 ip access-group G in
management telnet access-class G
"""


def test_a_list_is_whole_before_it_is_used_and_unused_before_it_goes() -> None:
    entry, use = "A: ip access-list extended G / 10 permit ip any any", "A: interface to-B / "
    there = needed("", GUARDED)
    assert there[use + "ip access-group G in"] == {entry}
    assert there["A: management telnet access-class G"] == {entry}
    back = needed(GUARDED, "")
    gone = back["A: no ip access-list extended G"]
    assert gone == {use + "no ip access-group in", "A: no management telnet"}
    assert back[use + "no ip access-group in"] == set()


def test_a_link_is_set_up_at_both_ends_before_it_is_opened_and_open_before_it_is_routed_over() -> (
    None
):
    shut = "device A\ninterface to-B\n shutdown\n"
    both = "device A\ninterface to-B\n mtu 1400\ndevice B\ninterface to-A\n mtu 1400\n"
    opened = both + "device A\nip route 10.9.0.0/16 to-B\n"
    there = needed(shut, opened)
    mtus = {"A: interface to-B / mtu 1400", "B: interface to-A / mtu 1400"}
    assert there["A: interface to-B / no shutdown"] == mtus
    assert there["A: ip route 10.9.0.0/16 to-B"] == {"A: interface to-B / no shutdown"}
    back = needed(opened, shut)
    assert back["A: interface to-B / shutdown"] == {"A: no ip route 10.9.0.0/16"}


def test_what_decides_over_a_prefix_elsewhere_comes_before_it_and_goes_after_it() -> None:
    network = "device A\nrouter bgp 65000\n network 172.16.0.0/24\n"
    decided = (
        "device C\nip prefix-list L seq 10 permit 172.16.0.0/24\n"
        "ip prefix-list L seq 20 permit 10.0.0.0/8\n"
        "router bgp 65000\n prefix-list L in\n maximum-prefix 9\n"
    )
    tight = "device C\nrouter bgp 65000\n maximum-prefix 3\n"
    there = needed(tight, network + decided)
    assert there["A: router bgp 65000 / network 172.16.0.0/24"] == {
        "C: ip prefix-list L seq 10 permit 172.16.0.0/24",
        "C: router bgp 65000 / prefix-list L in",
        "C: router bgp 65000 / maximum-prefix 9",
    }
    back = needed(network + decided, tight)
    withdrawn = "A: router bgp 65000 / no network 172.16.0.0/24"
    assert withdrawn in back["C: router bgp 65000 / no prefix-list in"]
    assert withdrawn in back["C: router bgp 65000 / maximum-prefix 3"]
    assert withdrawn in back["C: no ip prefix-list L seq 10"]
    assert withdrawn not in back["C: no ip prefix-list L seq 20"]
    assert back[withdrawn] == set()


def test_a_preference_that_changes_is_no_new_announcement() -> None:
    was = "device A\nrouter bgp 65000\n network 172.16.0.0/24\n"
    will = was.replace("/24", "/24 local-preference 50")
    found = needed(was + "device C\nrouter bgp 65000\n maximum-prefix 3\n", will)
    assert set().union(*found.values()) == set()


def test_a_section_that_goes_withdraws_what_it_announced_and_ends_what_it_used() -> None:
    announced = "device A\nrouter bgp 65000\n network 172.16.0.0/24\n"
    decided = (
        "device C\nip prefix-list L seq 10 permit 172.16.0.0/24\n"
        "router bgp 65000\n prefix-list L in\n"
    )
    back = needed(announced + decided, "device A\nno router bgp\n")
    assert back["C: router bgp 65000 / no prefix-list in"] == {"A: no router bgp"}
    assert back["C: no ip prefix-list L seq 10"] == {
        "A: no router bgp",
        "C: router bgp 65000 / no prefix-list in",
    }
    both = needed(announced + decided, "device A\nno router bgp\ndevice C\nno router bgp\n")
    assert both["A: no router bgp"] == both["C: no router bgp"] == set()
    assert both["C: no ip prefix-list L seq 10"] == {"A: no router bgp", "C: no router bgp"}
    bare = needed(GUARDED, "device A\nno interface to-B\nno management telnet\n")
    assert bare["A: no ip access-list extended G"] == {
        "A: no interface to-B",
        "A: no management telnet",
    }


def test_a_list_is_not_empty_while_other_entries_take_the_place_of_its_own() -> None:
    was = "device A\nip access-list extended G\n 10 permit ip any any\n 20 deny ip any any\n"
    will = "device A\nip access-list extended G\n 5 permit udp any any\n"
    there = needed(was, will)
    entry = {"A: ip access-list extended G / 5 permit udp any any"}
    assert there["A: ip access-list extended G / no 10"] == entry
    assert there["A: ip access-list extended G / no 20"] == entry
    assert (
        needed(was, will + " 20 permit ip any any\n")["A: ip access-list extended G / no 10"]
        == set()
    )


def test_a_section_that_goes_shuts_its_port_and_one_that_comes_opens_it() -> None:
    gone = "device A\nno interface to-B\n"
    routed = "device A\nip route 10.9.0.0/16 to-B\ninterface to-B\n mtu 1400\n"
    there = needed(gone, routed + "device B\ninterface to-A\n mtu 1400\n")
    opening = {"A: interface to-B / mtu 1400", "A: interface to-B / ip ospf cost 10"}
    assert all(there[line] == {"B: interface to-A / mtu 1400"} for line in opening)
    assert there["A: ip route 10.9.0.0/16 to-B"] == opening
    assert there["B: interface to-A / mtu 1400"] == set()
    back = needed(routed, gone)
    assert back["A: no interface to-B"] == {"A: no ip route 10.9.0.0/16"}
    bare = "device A\nno interface to-B\ninterface to-B\n"
    there = needed(gone, bare + "device B\ninterface to-A\n mtu 1400\n")
    assert there["A: interface to-B"] == {"B: interface to-A / mtu 1400"}


def test_a_new_section_has_its_guards_first_and_is_shut_before_it_has_anything() -> None:
    gone = "device A\nno interface to-B\nno router bgp\n"
    filled = (
        "device A\ninterface to-B\n mtu 1400\n ip access-group G in\n"
        "router bgp 65000\n network 172.16.0.0/24\n maximum-prefix 9\n"
    )
    there = needed(gone, filled)
    assert there["A: interface to-B / mtu 1400"] == {"A: interface to-B / ip access-group G in"}
    network = "A: router bgp 65000 / network 172.16.0.0/24"
    assert there[network] == {"A: router bgp 65000 / maximum-prefix 9"}
    shut = needed(gone, "device A\ninterface to-B\n mtu 1400\n shutdown\n")
    assert shut["A: interface to-B / mtu 1400"] == {"A: interface to-B / shutdown"}
    assert shut["A: interface to-B / shutdown"] == set()


def test_bgp_that_goes_as_a_whole_goes_before_a_filter_elsewhere_does() -> None:
    """Else A, in between, hears the prefix that it filtered."""
    scenario = parse("""
name: heard
topology: {nodes: [A, B], links: [[A, B]]}
configs:
  B: no router bgp
change:
  script: |
    device A
    ip prefix-list L seq 10 deny 172.16.0.0/24
    ip prefix-list L seq 20 permit 0.0.0.0/0 le 32
    router bgp 65000
     prefix-list L in
    device B
    router bgp 65000
     network 172.16.0.0/24
""")
    steps = planned(scenario).ordered()
    assert [step.device for step in steps] == ["B", "A", "A"]


MESH = parse(f"""
name: mesh
topology: {{nodes: [{", ".join(DEVICES)}], links: {[list(p) for p in combinations(DEVICES, 2)]}}}
change: {{script: ""}}
""")


def wired(configs: Mapping[str, DeviceConfig]) -> dict[str, DeviceConfig]:
    """The same configs with the port `to-B` of either device as that to the other."""
    found = {}
    for name, other in zip(DEVICES, DEVICES[::-1], strict=True):
        real = {"to-B": f"to-{other}"}
        found[name] = DeviceConfig(name, {
            tuple(real.get(key, key) for key in slot): tuple(real.get(v, v) for v in value)
            for slot, value in configs[name].settings.items()
        })  # fmt: skip
    return found


@settings(max_examples=200, deadline=None)
@given(near_pairs())
def test_dependencies_have_no_circle_and_any_order_that_keeps_them_leads_there(
    pair: tuple[dict[str, DeviceConfig], dict[str, DeviceConfig]],
) -> None:
    now, target = (wired(configs) for configs in pair)
    topology = MESH.topology
    commands = difference(now, target)
    needs = dependencies(topology, now, target, commands)
    graph = nx.DiGraph([(n, p) for p, needed in enumerate(needs) for n in needed])
    graph.add_nodes_from(range(len(commands)))
    assert nx.is_directed_acyclic_graph(graph)
    for order in (
        nx.lexicographical_topological_sort(graph),
        nx.lexicographical_topological_sort(graph, key=lambda n: -n),
    ):
        states = [now]
        for place in order:
            states.append(apply(states[-1], [commands[place]]))
        assert states[-1] == target
        for state in states[1:-1]:
            assert open_to_all(state) <= open_to_all(now) | open_to_all(target)


# -- five changes and more whose naive reversal hurts ------------------------------------------


def planned(scenario: Scenario, **given: Any) -> RollbackSignature:
    """The plan for what the scenario's faults make of links and traffic."""
    topology, demands = scenario.topology, scenario.traffic.demands
    rates = np.array([demand.rate_bps for demand in demands])
    down: set[int] = set()
    for fault in scenario.faults:
        if fault.kind == "traffic_surge":
            rates *= fault.amount
        else:
            down |= {
                2 * n + side for n in topology.cables(*fault.link or ("", "")) for side in (0, 1)
            }
    seen = Observed(frozenset(down), np.zeros(topology.directed_links), rates)
    model = WhatIf(topology, demands, scenario.intents)
    now = apply(scenario.configs, scenario.change.commands)
    look = looker(model, seen, scenario.configs)
    return plan(scenario.change, scenario.configs, now, look, topology, **given)


def states_on(signature: RollbackSignature, now: Configs) -> list[Configs]:
    """Every state the plan passes through, command by command, both ends included."""
    found = [now]
    for step in signature.ordered():
        for command in step.commands:
            found.append(apply(found[-1], [command.value()]))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_naive_reverse_order_hurts_and_the_planned_one_does_not(path: Path) -> None:
    scenario = load(path)
    now = apply(scenario.configs, scenario.change.commands)
    assert hurt_on_the_way(scenario, naive(scenario.configs, scenario.change))
    signature = planned(scenario)
    states = states_on(signature, now)
    assert states[-1] == dict(scenario.configs)
    assert hurt_on_the_way(scenario, states) == set()
    assert (signature.transiently_safe, signature.safe_order) == (True, "exists")
    assert not wrong(scenario, scenario.configs)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_steps_that_do_not_depend_on_each_other_may_go_in_any_order(path: Path) -> None:
    """By the dependencies alone, as an executor sees them that sends several steps at once."""
    scenario = load(path)
    now = apply(scenario.configs, scenario.change.commands)
    signature = planned(scenario)
    graph = nx.DiGraph([(d, step.id) for step in signature.steps for d in step.depends_on])
    graph.add_nodes_from(signature.order)
    by_id = {step.id: step for step in signature.steps}
    for order in nx.all_topological_sorts(graph):
        states = [now]
        for name in order:
            for command in by_id[name].commands:
                states.append(apply(states[-1], [command.value()]))
        assert hurt_on_the_way(scenario, states) == set()


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 5


def test_the_order_is_one_of_the_dependencies() -> None:
    for path in FILES:
        signature = planned(load(path))
        place = {name: n for n, name in enumerate(signature.order)}
        for step in signature.steps:
            assert all(place[needed] < place[step.id] for needed in step.depends_on)


def test_where_nothing_keeps_all_the_least_harmful_order_is_taken() -> None:
    """The ends of the only link to T must agree on the MTU, and cannot change at once."""
    scenario = parse("""
name: no-way
topology: {nodes: [A, B, T], links: [[A, B], [A, T]]}
intents: [{reachable: {from: any, to: any}}]
change:
  script: |
    device A
    interface to-T
     mtu 1400
    device B
    interface to-A
     description something else
    device T
    interface to-A
     mtu 1400
""")
    signature = planned(scenario)
    now = apply(scenario.configs, scenario.change.commands)
    states = states_on(signature, now)
    assert (signature.transiently_safe, signature.safe_order) == (False, "none exists")
    assert "reachable any>any" in signature.order_note
    assert sum(bool(wrong(scenario, configs)) for configs in states) == 1
    assert states[-1] == dict(scenario.configs)
    assert all(step.depends_on for step in signature.ordered()[1:])
    bounded = planned(scenario, most_states=0)
    assert bounded.safe_order == "none exists"  # three looks for each command are always taken


def test_a_signature_says_after_how_many_states_nothing_was_found() -> None:
    """Only the states before the last hurt, so all the others would have to be looked at."""
    commands = described(5)
    now = apply(RING.configs, commands)

    def look(configs: Configs) -> Harm:
        alone = done_in(configs, 5).bit_count() == 1
        return Harm(broken=frozenset("vwxyz")) if alone else Harm()

    signature = plan(Change("", commands), RING.configs, now, look, RING.topology, most_states=0)
    assert (signature.transiently_safe, signature.safe_order) == (False, "none found")
    assert "within 15 states no order was found" in signature.order_note
    none = plan(Change("", commands), RING.configs, now, look, RING.topology)
    assert none.safe_order == "none exists"
    assert "v, w, x and 2 more" in none.order_note


def test_the_least_harm_is_not_claimed_of_a_search_that_was_cut_short() -> None:
    """Every first step hurts, so none is safe; which hurts least is then not seen to the end."""
    commands = described(5)
    now = apply(RING.configs, commands)

    def look(configs: Configs) -> Harm:
        done = done_in(configs, 5)
        names = frozenset("vwxyz"[: 1 + (done * 7 + 3) % 5])
        return Harm() if done in (0, 31) else Harm(broken=names)

    cut = plan(Change("", commands), RING.configs, now, look, RING.topology, most_states=0)
    assert cut.safe_order == "none exists"
    assert "this is the best found within 15 states" in cut.order_note
    assert "hurts least" not in cut.order_note
    whole = plan(Change("", commands), RING.configs, now, look, RING.topology)
    assert "the one that hurts least hurts" in whole.order_note


# -- what is broken for some already, and must not hide the others -----------------------------

STUB = """
name: stub
topology:
  nodes: [P, Q, S, U]
  links: [[P, Q], [P, S], [Q, S], [Q, U]]
  defaults: {rate_mbps: 10}
configs:
  Q: |
    interface to-S
     mtu 1400
intents: [{reachable: {from: any, to: any}}]
change:
  script: |
    device Q
    interface to-S
     no mtu
    device P
    interface to-S
     mtu 1400
faults: [{at_s: 1, link_down: {link: [Q, U]}}]
"""


def test_hosts_that_are_cut_off_anyway_do_not_hide_the_others() -> None:
    """U is cut off whatever is done; S only if Q, which is not used now, goes first."""
    scenario = parse(STUB)
    signature = planned(scenario)
    assert [step.device for step in signature.ordered()] == ["P", "Q"]
    assert signature.safe_order == "exists"
    now = apply(scenario.configs, scenario.change.commands)
    assert hurt_on_the_way(scenario, states_on(signature, now)) == set()
    assert hurt_on_the_way(scenario, naive(scenario.configs, scenario.change)) == set()


BUSY = parse("""
name: busy
topology:
  nodes: [P, Q, S, U]
  links: [[P, Q], [P, S], [Q, S], [Q, U]]
  defaults: {rate_mbps: 10}
traffic:
  demands:
    - {from: P, to: S, rate_mbps: 4, protocol: udp, port: 5004}
    - {from: Q, to: S, rate_mbps: 4, protocol: udp, port: 5004}
    - {from: U, to: P, rate_mbps: 1.3, protocol: udp, port: 5004}
intents:
  - {reachable: {from: any, to: any}}
  - {isolated: {from: S, to: U}}
  - {utilisation: {below_percent: 60}}
  - {loss: {class: normal, below_percent: 5}}
change: {script: ""}
""")
H_S = format_address(BUSY.topology.address["h-S"])
DOINGS = (
    ("Q", "interface to-S", "mtu 1400"),
    ("Q", "interface to-S", "no mtu"),
    ("P", "interface to-S", "mtu 1400"),
    ("S", "interface to-P", "mtu 1400"),
    ("Q", "interface to-S", "shutdown"),
    ("P", "interface to-S", "ip ospf cost 50"),
    ("Q", "interface to-S", "ip ospf cost 50"),
    ("S", "interface to-Q", "rate-limit output 1000000"),
    ("P", "interface to-Q", "rate-limit output 3000000"),
    ("U", "ip access-list extended G", f"10 deny ip host {H_S} any"),
    ("U", "ip access-list extended G", "20 permit ip any any"),
    ("U", "interface to-Q", "ip access-group G in"),
    ("P", "interface to-Q", "shutdown"),
)
ONLY_U = Traffic(BUSY.traffic.demands[2:])
CUT_OFF = Fault(0.0, "link_down", link=("Q", "U"))
SURGE = Fault(0.0, "traffic_surge", amount=2.0)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.sampled_from(DOINGS), min_size=3, max_size=6, unique=True),
    st.integers(0, 3),
    st.sampled_from(((), (CUT_OFF,), (SURGE,), (CUT_OFF, SURGE))),
    st.sampled_from((BUSY.traffic, ONLY_U)),
)
@example(list(DOINGS[:3]), 1, (CUT_OFF,), ONLY_U)
def test_an_order_said_to_be_safe_hurts_nobody_and_else_every_order_hurts_somebody(
    script: list[tuple[str, str, str]], already: int, faults: tuple[Fault, ...], traffic: Traffic
) -> None:
    """Whatever is broken at either end already, as judged pair by pair and link by link."""
    commands = [Command(*line) for line in script]
    change = Change("", tuple(commands[already:][:4]))
    before = apply(BUSY.configs, commands[:already])
    scenario = replace(BUSY, configs=before, change=change, faults=faults, traffic=traffic)
    signature = planned(scenario)
    now = apply(before, change.commands)
    hurt = hurt_on_the_way(scenario, states_on(signature, now))
    assert signature.transiently_safe == (hurt == set())
    if not signature.transiently_safe:
        assert signature.safe_order == "none exists"
        steps = difference(now, before)
        needs = dependencies(scenario.topology, now, before, steps)
        for order in orders(needs):
            states = [apply(now, [steps[p] for p in order[:n]]) for n in range(len(order) + 1)]
            assert hurt_on_the_way(scenario, states)
