"""The change algebra by its laws, and the config language by examples."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import (
    DEVICES,
    VALUES,
    changes,
    device_configs,
    lines_of,
    near_pairs,
    network_configs,
    passing_changes,
    scripts,
    settings_of,
)

from shadowsim.errors import BadInput
from shadowsim.model.address import Prefix, parse_prefix
from shadowsim.model.change import (
    LONGEST_LINE,
    MOST_MISTAKES,
    Change,
    Command,
    apply,
    apply_one,
    difference,
    numbered,
    parse_config,
    parse_script,
    render_script,
    revert,
    reverted,
)
from shadowsim.model.config import DeviceConfig, render
from shadowsim.model.grammar import FORMS, Form, context_of
from shadowsim.model.words import KINDS

often = settings(max_examples=200, deadline=None)
EMPTY = {name: DeviceConfig(name, {}) for name in DEVICES}


def config(*lines: str) -> DeviceConfig:
    return parse_config("\n".join(["hostname A", *lines]))


def after(script: str, *, before: DeviceConfig | None = None) -> DeviceConfig:
    """The config of A after a script for it."""
    start = before or DeviceConfig("A", {})
    return apply({"A": start}, parse_script("device A\n" + script))["A"]


def listed(c: DeviceConfig, name: str = "L") -> list[str]:
    """The lines of an access list, as they are rendered."""
    mine = render(c).split(f"ip access-list extended {name}\n")[1]
    return [line.strip() for line in mine.split("!")[0].splitlines()]


def refused(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse_script(text)
    return [str(m) for m in caught.value.mistakes]


# ---- the laws


@often
@given(device_configs())
def test_a_config_survives_its_own_text(c):
    assert parse_config(render(c)) == c


@often
@given(device_configs())
def test_the_text_of_a_config_does_not_depend_on_the_order_it_was_made_in(c):
    turned = DeviceConfig(c.hostname, dict(reversed(c.settings.items())))
    assert render(turned) == render(c)
    assert turned.digest == c.digest


@often
@given(device_configs(), device_configs())
def test_digests_are_equal_exactly_for_equal_configs(a, b):
    assert (a.digest == b.digest) == (a == b)


@often
@given(scripts())
def test_commands_survive_their_own_script(cmds):
    assert parse_script(render_script(cmds)) == cmds


@often
@given(near_pairs())
def test_a_difference_leads_exactly_there_and_back(pair):
    """Also through text, which is how a rollback signature keeps it."""
    for before, goal in (pair, pair[::-1]):
        found = difference(before, goal)
        assert apply(before, found) == goal
        assert parse_script(render_script(found)) == found


@often
@given(network_configs())
def test_there_is_no_difference_to_itself(a):
    assert difference(a, a) == ()
    assert difference(a, {n: DeviceConfig(n, dict(c.settings)) for n, c in a.items()}) == ()


@often
@given(network_configs(), scripts(unnumbered=False))
def test_applying_numbered_commands_again_changes_nothing(a, cmds):
    once = apply(a, cmds)
    assert apply(once, cmds) == once


ACL_LINES = [f"{action} tcp any any eq {port}" for action in ("permit", "deny") for port in (1, 2)]


@often
@given(
    st.lists(st.tuples(st.sampled_from([5, 10, 20]), st.sampled_from(ACL_LINES))),
    st.lists(st.tuples(st.sampled_from([10, 15, 20]), st.sampled_from(ACL_LINES))),
    st.booleans(),
    st.lists(st.sampled_from(ACL_LINES), max_size=4),
)
def test_unnumbered_lines_apply_once_when_nothing_numbered_follows_them(have, set_first, anew, new):
    """The strongest that holds: behind the numbered lines of their list, and no `no N` in it.

    For the scripts outside of that there is `numbered`, in the tests below.
    """
    a = {"A": config("ip access-list extended L", *(f"{n} {line}" for n, line in have))}
    start = ["no ip access-list extended L"] if anew else []
    lines = [*start, "ip access-list extended L", *(f"{n} {line}" for n, line in set_first), *new]
    cmds = parse_script("\n".join(["device A", *lines]))
    once = apply(a, cmds)
    assert apply(once, cmds) == once


@often
@given(network_configs(), scripts())
def test_applying_again_changes_access_lists_at_most(a, cmds):
    """Whatever the script: all but un-numbered lines has its final value the first time."""
    once = apply(a, cmds)
    twice = apply(once, cmds)
    for name in DEVICES:
        moved = once[name].settings.items() ^ twice[name].settings.items()
        assert {slot[0] for slot, _ in moved} <= {"ip access-list extended"}


@pytest.mark.parametrize(
    "script",
    [
        "ip access-list extended L\nno 10\npermit tcp any any\ndeny ip any any",
        "ip access-list extended L\npermit tcp any any\n10 deny ip any any",
    ],
)
def test_numbering_makes_such_scripts_apply_once(script):
    """Without numbers the second time moves the lines: they go to wherever the end then is."""
    a = {"A": config("ip access-list extended L")}
    cmds = parse_script(f"device A\n{script}")
    once = apply(a, cmds)
    assert apply(once, cmds) != once
    assert apply(a, numbered(a, cmds)) == once
    assert apply(once, numbered(a, cmds)) == once


@often
@given(network_configs(), scripts())
def test_numbered_scripts_do_the_same_and_are_idempotent(a, cmds):
    lines = numbered(a, cmds)
    once = apply(a, lines)
    assert once == apply(a, cmds)
    assert apply(once, lines) == once


@often
@given(network_configs(), changes)
def test_a_full_rollback_is_exact(before, change):
    now = apply(before, change.commands)
    assert apply(now, revert(before, now, change, change.commands)) == before


@often
@given(network_configs(), network_configs(), changes)
def test_a_rollback_leaves_what_others_have_changed(before, drifted, change):
    """What the change set is as before it; all else is as it was found."""
    whole = apply(before, change.commands)
    after = apply(drifted, revert(before, drifted, change, change.commands))
    for name in drifted:
        was, did = before[name].settings, whole[name].settings
        found, now = drifted[name].settings, after[name].settings
        opened = {context_of(slot) for slot in now}
        for slot in {*was, *did, *found, *now} - opened:
            expected = found if was.get(slot) == did.get(slot) else was
            assert now.get(slot) == expected.get(slot)


@often
@given(network_configs(), passing_changes(), st.data())
def test_a_change_that_stopped_anywhere_is_taken_back_exactly(before, change, data):
    """After any of its commands, those of each device on their own, and half way back, too."""
    now, back = dict(before), dict(before)
    for name in change.devices:
        mine = [c for c in change.commands if c.device == name]
        now |= apply({name: now[name]}, mine[: data.draw(st.integers(0, len(mine)))])
    found = reverted(before, now, change, change.commands, under_way=change.commands)
    assert found == before
    steps = revert(before, apply(before, change.commands), change, change.commands)
    for step in steps[: data.draw(st.integers(0, len(steps)))]:
        now |= apply({step.device: now[step.device]}, [step])
    back = reverted(before, now, change, change.commands, under_way=change.commands)
    assert back == before


@often
@given(network_configs(), passing_changes(), st.data())
def test_what_is_known_to_be_done_leaves_nothing_in_passing(before, change, data):
    """The last batch stopped anywhere; of those before it is known that they are done."""
    cut = data.draw(st.integers(0, len(change.commands)))
    last = change.commands[cut:]
    now = apply(before, change.commands[: data.draw(st.integers(cut, len(change.commands)))])
    assert reverted(before, now, change, change.commands, under_way=last) == before


@often
@given(network_configs(), network_configs(), passing_changes())
def test_what_others_have_changed_stays_however_far_a_change_has_come(before, drifted, change):
    """All but the slots that the change speaks of, and in these all that it never has there."""
    passed: dict[str, dict[Any, set[Any]]] = {name: {} for name in before}
    for name in before:
        states = [before[name]]
        for command in (c for c in change.commands if c.device == name):
            states.append(apply_one(states[-1], [command]))
        for slot in {slot for state in states for slot in state.settings}:
            values = {state.settings.get(slot) for state in states}
            passed[name][slot] = values if len(values) > 1 else set()
    whole = apply(before, change.commands)
    after = reverted(before, drifted, change, change.commands, under_way=change.commands)
    for name in drifted:
        was, did = before[name].settings, whole[name].settings
        found, now = drifted[name].settings, after[name].settings
        opened = {context_of(slot) for slot in now}
        for slot in {*was, *did, *found, *now} - opened:
            theirs = was.get(slot) == did.get(slot)
            theirs &= found.get(slot) not in passed[name].get(slot, ())
            assert now.get(slot) == (found if theirs else was).get(slot)


SHUT_MEANWHILE = """
interface to-B
 shutdown
 mtu 9000
 no shutdown
no ip access-list extended WEB
ip access-list extended WEB
 10 permit ip any any
 20 deny ip any any
"""


@pytest.mark.parametrize("done", range(7))
def test_a_port_shut_and_a_list_emptied_in_passing_are_taken_back(done):
    start = config(
        "interface to-B", " mtu 1500", "ip access-list extended WEB", " 10 permit ip any any"
    )
    before, change = {"A": start}, Change("", parse_script(f"device A\n{SHUT_MEANWHILE}"))
    now = apply(before, change.commands[:done])
    back = revert(before, now, change, change.commands, under_way=change.commands)
    assert apply(now, back) == before


def test_a_port_that_others_have_shut_stays_shut_if_the_change_is_known_to_be_done():
    before = {"A": config("interface to-B", " mtu 1500")}
    script = "device A\ninterface to-B\n shutdown\n mtu 9000\n no shutdown\n"
    change = Change("", parse_script(script))
    now = apply(before, parse_script("device A\ninterface to-B\n mtu 9000\n shutdown\n"))
    lines = [c.line for c in revert(before, now, change, change.commands)]
    assert lines == ["mtu 1500"]
    lines = [c.line for c in revert(before, now, change, change.commands, change.commands)]
    assert lines == ["no shutdown", "mtu 1500"]


def test_a_context_made_in_passing_goes_and_what_others_have_put_in_it_stays():
    before, change = {"A": config()}, Change("", parse_script(
        "device A\nrouter bgp 65000\n maximum-prefix 5\nno router bgp\n"
    ))  # fmt: skip
    now = {"A": config("router bgp 65000", " maximum-prefix 5", " network 10.0.0.0/8")}
    found = reverted(before, now, change, change.commands, under_way=change.commands)
    assert found == {"A": config("router bgp 65000", " network 10.0.0.0/8")}


@often
@given(network_configs(), changes, st.data())
def test_a_partial_rollback_is_exact(before, change, data):
    blamed = data.draw(st.sets(st.sampled_from(change.commands))) if change.commands else set()
    now = apply(before, change.commands)
    kept = [c for c in change.commands if c not in blamed]
    assert change.without(blamed).commands == tuple(kept)
    assert apply(now, revert(before, now, change, blamed)) == apply(before, kept)


@often
@given(network_configs(), scripts())
def test_untouched_configs_are_the_same_objects(a, cmds):
    found = apply(a, cmds)
    for name in DEVICES:
        if found[name] == a[name]:
            assert found[name] is a[name]
        else:
            assert name in {c.device for c in cmds}


def dangling(c: DeviceConfig) -> set[tuple[str, str]]:
    """(where, list) of every reference to a list that is missing or empty."""
    found = {(f"{i.name} in", i.acl_in) for i in c.interfaces.values()}
    found |= {(f"{i.name} out", i.acl_out) for i in c.interfaces.values()}
    found |= set(c.management.items())
    if c.bgp:
        found |= {("bgp in", c.bgp.filter_in), ("bgp out", c.bgp.filter_out)}
    lists = {where: c.prefix_lists if "bgp" in where else c.access_lists for where, _ in found}
    return {(where, name) for where, name in found if name and not lists[where].get(name)}


@often
@given(near_pairs())
def test_a_difference_never_leaves_a_reference_without_its_list(pair):
    """A list with no entry permits everything: between two good ends that would be a hole."""
    before, goal = pair
    now = before
    for command in difference(before, goal):
        now, device = apply(now, [command]), command.device
        ends = dangling(before[device]) | dangling(goal[device])
        assert dangling(now[device]) <= ends


@often
@given(near_pairs())
def test_a_difference_opens_ports_first_and_shuts_them_last(pair):
    """Within each device; and devices follow each other in order of name."""
    by_device: dict[str, list[str]] = {}
    for command in (found := difference(*pair)):
        by_device.setdefault(command.device, []).append(command.line)
    assert [c.device for c in found] == sorted(c.device for c in found)
    for lines in by_device.values():
        opening = [i for i, line in enumerate(lines) if line == "no shutdown"]
        shutting = [i for i, line in enumerate(lines) if line == "shutdown"]
        assert opening == list(range(len(opening)))
        assert shutting == list(range(len(lines) - len(shutting), len(lines)))


def test_a_list_called_shutdown_is_dropped_after_its_reference():
    lists = ["ip access-list extended shutdown", " 10 permit ip any any", "!"]
    before = config(*lists, "interface to-B", " ip access-group shutdown in")
    lines = [c.line for c in difference({"A": before}, {"A": config("interface to-B")})]
    assert lines == ["no ip access-group in", "no ip access-list extended shutdown"]


def test_a_difference_says_no_more_than_needed():
    before = config("interface to-B", " ip ospf cost 10", " mtu 9000", "ip route 10.0.0.0/8 Null0")
    goal = config("interface to-B", " ip ospf cost 500", " mtu 9000")
    assert difference({"A": before}, {"A": goal}) == (
        Command("A", "interface to-B", "ip ospf cost 500"),
        Command("A", "", "no ip route 10.0.0.0/8"),
    )


def test_a_context_is_opened_by_what_stands_in_it():
    goal = config("interface to-B", " mtu 9000", "router bgp 1", " maximum-prefix 5")
    assert difference({"A": config()}, {"A": goal}) == (
        Command("A", "interface to-B", "mtu 9000"),
        Command("A", "router bgp 1", "maximum-prefix 5"),
    )


def test_an_as_number_can_change_while_everything_below_it_stays():
    before = config("router bgp 65000", " network 10.0.0.0/24")
    goal = config("router bgp 65001", " network 10.0.0.0/24")
    assert [str(c) for c in difference({"A": before}, {"A": goal})] == ["A: router bgp 65001"]


# ---- the language: every form


FORM = pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.context}/{f.pattern}".strip("/"))
OPENED = {"": "", "interface": "interface to-B", "router bgp": "router bgp 65000"}


def in_context(form: Form, line: str) -> str:
    opener = OPENED.get(form.context, f"{form.context} WEB")
    return f"{opener}\n{line}" if opener else line


def test_the_strategies_know_every_kind_of_part():
    assert set(VALUES) == set(KINDS)


@FORM
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_every_form_round_trips_and_can_be_removed(form, data):
    line = data.draw(lines_of(form))
    c = after(in_context(form, line))
    assert parse_config(render(c)) == c
    assert render(c) != "hostname A\n"
    # `no` before the whole line leaves nothing but the context it stands in
    gone = after(in_context(form, f"no {line}"), before=c)
    assert gone == (after(in_context(form, "")) if form.context else DeviceConfig("A", {}))


@FORM
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_form_read_from_text_is_the_value_it_was_made_from(form, data):
    """Values to text by the writer, and back by the parser, one statement alone."""
    slots = data.draw(settings_of(form))
    c = DeviceConfig("A", slots)
    assert parse_config(render(c)).settings == slots


@pytest.mark.parametrize(
    ("set_line", "removal"),
    [
        ("table-size 100", "no table-size"),
        ("qos class bulk priority 3", "no qos class bulk"),
        ("management ssh access-class M", "no management ssh"),
        ("ip prefix-list P seq 5 permit 10.0.0.0/8", "no ip prefix-list P"),
        ("ip prefix-list P seq 5 permit 10.0.0.0/8", "no ip prefix-list P seq 5"),
        ("ip access-list extended L", "no ip access-list extended L"),
        ("interface to-B", "no interface to-B"),
        ("ip route 10.0.0.0/8 Null0", "no ip route 10.0.0.0/8"),
        ("router bgp 65000", "no router bgp"),
    ],
)
def test_no_takes_the_line_without_its_value(set_line, removal):
    c = after(set_line)
    assert c.settings
    assert after(removal, before=c).settings == {}


@pytest.mark.parametrize(
    ("lines", "removal"),
    [
        (["description x y", "mtu 9000"], "no description"),
        (["ip ospf cost 5", "mtu 9000"], "no ip ospf cost"),
        (["ip access-group W in", "mtu 9000"], "no ip access-group in"),
        (["ip access-group W out", "mtu 9000"], "no ip access-group out"),
        (["rate-limit output 1000", "mtu 9000"], "no rate-limit output"),
        (["shutdown", "mtu 9000"], "no shutdown"),
    ],
)
def test_no_under_an_interface_leaves_the_rest_of_it(lines, removal):
    c = after("\n".join(["interface to-B", *lines, removal]))
    assert c == config("interface to-B", " mtu 9000")


def test_no_interface_takes_everything_below_it():
    c = config("interface to-B", " mtu 9000", " shutdown", "interface to-B-2", " mtu 9000")
    assert after("no interface to-B", before=c) == config("interface to-B-2", " mtu 9000")


# ---- the language: what the typed value says


def test_an_interface_is_read():
    c = config(
        "interface to-B",
        " description uplink to B",
        " ip ospf cost 500",
        " mtu 9000",
        " ip access-group W in",
        " ip access-group X out",
        " rate-limit output 1000000",
        " shutdown",
        "interface to-C",
    )
    b, bare = c.interfaces["to-B"], c.interfaces["to-C"]
    assert (b.description, b.cost, b.mtu_bytes, b.shutdown) == ("uplink to B", 500, 9000, True)
    assert (b.acl_in, b.acl_out, b.rate_limit_bps) == ("W", "X", 1_000_000)
    assert (bare.cost, bare.mtu_bytes, bare.shutdown) == (10, 1500, False)
    assert (bare.acl_in, bare.acl_out, bare.rate_limit_bps) == (None, None, None)


def test_routing_is_read():
    c = config(
        "ip prefix-list P seq 20 deny 10.0.0.0/8",
        "ip prefix-list P seq 5 permit 10.0.0.0/8 ge 16 le 24",
        "ip route 10.9.0.0/16 Null0",
        "ip route 0.0.0.0/0 to-B",
        "router bgp 65000",
        " network 10.0.1.0/24 local-preference 200",
        " network 10.0.0.0/24",
        " prefix-list P in",
        " prefix-list Q out",
        " maximum-prefix 50",
    )
    assert [(e.sequence, e.permit, e.ge, e.le) for e in c.prefix_lists["P"]] == [
        (5, True, 16, 24),
        (20, False, None, None),
    ]
    assert [(str(r.prefix), r.via) for r in c.static_routes] == [
        ("0.0.0.0/0", "to-B"),
        ("10.9.0.0/16", "Null0"),
    ]
    assert c.bgp is not None
    assert [(str(p), n) for p, n in c.bgp.networks] == [("10.0.0.0/24", 100), ("10.0.1.0/24", 200)]
    assert (c.bgp.filter_in, c.bgp.filter_out, c.bgp.maximum_prefix) == ("P", "Q", 50)


def test_the_rest_is_read():
    c = config("table-size 12", "management ssh access-class M", "management http")
    assert c.table_size == 12
    assert c.management == {"ssh": "M", "http": None}
    assert config().table_size == 4096


def test_priorities_are_read():
    c = config("qos class bulk priority 3", "qos class critical priority 0")
    assert c.qos == {"bulk": 3, "critical": 0}


@pytest.mark.parametrize(
    ("ge", "le", "lengths"),
    [("", "", [16]), ("", " le 18", [16, 17, 18]), (" ge 30", "", [30, 31, 32]),
     (" ge 20", " le 21", [20, 21])],
)  # fmt: skip
def test_ge_and_le_say_which_longer_prefixes_match(ge, le, lengths):
    entry = config(f"ip prefix-list P seq 5 permit 10.1.0.0/16{ge}{le}").prefix_lists["P"][0]
    base = parse_prefix("10.1.0.0/16")
    assert [n for n in range(33) if n >= 16 and entry.matches(Prefix(base.address, n))] == lengths
    assert not entry.matches(parse_prefix("10.0.0.0/8"))
    assert not any(entry.matches(Prefix(parse_prefix("10.2.0.0/16").address, n)) for n in lengths)


# ---- the language: IOS's particulars


def test_access_list_lines_without_a_number_go_to_the_end_in_tens():
    assert listed(after("ip access-list extended L\npermit tcp any any\ndeny ip any any")) == [
        "10 permit tcp any any",
        "20 deny ip any any",
    ]


def test_a_line_goes_behind_those_that_are_there():
    have = config("ip access-list extended L", "10 permit tcp any any", "30 deny udp any any")
    c = after("ip access-list extended L\npermit ip any any", before=have)
    assert listed(c)[-1] == "40 permit ip any any"


def test_the_same_line_twice_is_one_line():
    c = after("ip access-list extended L\npermit tcp any any\ndeny ip any any\npermit tcp any any")
    assert len(listed(c)) == 2


def test_numbers_are_given_list_by_list():
    c = after("ip access-list extended K\npermit ip any any\nip access-list extended L\n"
              "deny ip any any")  # fmt: skip
    assert listed(c, "K") == ["10 permit ip any any"]
    assert listed(c, "L") == ["10 deny ip any any"]


def test_a_list_without_a_number_left_takes_no_line_more():
    with pytest.raises(BadInput, match="no number left"):
        after("ip access-list extended L\n2147483647 permit tcp any any\ndeny ip any any")


def test_no_before_an_unnumbered_access_list_line_removes_it():
    """As in IOS, and as `no` before any other whole line does here."""
    c = after("ip access-list extended L\npermit tcp any any\ndeny ip any any")
    gone = after("ip access-list extended L\nno permit tcp any any", before=c)
    assert listed(gone) == ["20 deny ip any any"]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("any", "any"),
        ("0.0.0.0 255.255.255.255", "any"),
        ("10.0.0.0 0.0.0.255", "10.0.0.0 0.0.0.255"),
        ("10.0.0.77 0.0.0.255", "10.0.0.0 0.0.0.255"),
        ("10.0.0.0/24", "10.0.0.0 0.0.0.255"),
        ("10.0.0.7 0.0.0.0", "host 10.0.0.7"),
        ("host 10.0.0.7", "host 10.0.0.7"),
        ("10.0.0.7/32 eq 22", "host 10.0.0.7 eq 22"),
        ("any range 22 22", "any eq 22"),
        ("any range 20 22", "any range 20 22"),
    ],
)
def test_addresses_and_ports_have_one_canonical_spelling(written, canonical):
    c = after(f"ip access-list extended L\n10 permit tcp {written} any")
    assert listed(c) == [f"10 permit tcp {canonical} any"]
    both = after(f"ip access-list extended L\n10 permit tcp {written} {written}")
    assert listed(both) == [f"10 permit tcp {canonical} {canonical}"]


@pytest.mark.parametrize("line", ["!", "exit"])
def test_bang_and_exit_leave_the_context(line):
    start = "device A\ninterface to-B\n"
    assert parse_script(f"{start}shutdown") == (Command("A", "interface to-B", "shutdown"),)
    assert "'shutdown' is not a command" in refused(f"{start}{line}\nshutdown")[0]


def test_a_context_ends_with_a_line_of_the_top_level_and_with_another_device():
    found = parse_script(
        "device A\ninterface to-B\n mtu 9000\ntable-size 5\ninterface to-C\n shutdown\n"
        "device B\ntable-size 6\ndevice A\ninterface to-B\n no shutdown"
    )
    assert found == (
        Command("A", "interface to-B", "mtu 9000"),
        Command("A", "", "table-size 5"),
        Command("A", "interface to-C", "shutdown"),
        Command("B", "", "table-size 6"),
        Command("A", "interface to-B", "no shutdown"),
    )


def test_a_context_does_not_reach_into_the_next_device():
    assert "not a command" in refused("device A\ninterface to-B\ndevice B\nshutdown")[0]


def test_a_context_with_nothing_under_it_is_a_command():
    assert parse_script("device A\ninterface to-B\ninterface to-C\n!\n") == (
        Command("A", "", "interface to-B"),
        Command("A", "", "interface to-C"),
    )


def test_comments_blank_lines_and_spaces_do_not_count():
    found = parse_script("# all\n\n  device   A  # who\n\tinterface  to-B # it\n  mtu   9000  \n")
    assert found == (Command("A", "interface to-B", "mtu 9000"),)


def test_indentation_does_not_decide():
    flat = "device A\ninterface to-B\nmtu 9000\ntable-size 5"
    deep = "device A\n interface to-B\n  mtu 9000\n   table-size 5"
    assert parse_script(flat) == parse_script(deep)


@pytest.mark.parametrize("line", ["!", "exit"])
def test_a_bang_may_stand_before_the_first_device(line):
    assert parse_script(f"{line}\ndevice A\ntable-size 5") == (Command("A", "", "table-size 5"),)


# ---- the language: what is said about mistakes


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("interface to-B\nshutdwn", ["'shutdwn' is not a command", "did you mean 'shutdown'"]),
        ("interface to-B\nip ospf cots 5", ["did you mean 'ip ospf cost <cost>'"]),
        ("interface to-B\nip ospf cost 70000", ["'70000'", "from 1 to 65535"]),
        ("interface to-B\nip ospf cost x", ["'x' must be a whole number from 1 to 65535"]),
        ("interface to-B\nip ospf cost -5", ["'-5' must be a whole number"]),
        ("interface to-B\nmtu 67", ["from 68 to 9216"]),
        ("interface to-B\nmtu 1500 1500", ["'1500' is too much", "mtu <bytes>"]),
        ("interface to B", ["'B' is too much"]),
        ("interface t*", ["'t*' is not a name"]),
        ("intreface to-B", ["did you mean 'interface <name>'"]),
        ("qos class bluk priority 1", ["did you mean 'bulk'", "critical, normal, bulk"]),
        ("qos class bulk priority 8", ["from 0 to 7"]),
        ("management shh", ["did you mean 'ssh'", "netconf"]),
        ("ip route 10.0.0.1/8 Null0", ["host bits set", "did you mean '10.0.0.0/8'"]),
        ("ip route 10.0.0.0/33 Null0", ["0 to 32"]),
        ("ip route 10.0.0.256/32 Null0", ["256 is above 255"]),
        ("ip prefix-list P seq 5 allow 10.0.0.0/8", ["'allow' is unknown", "permit, deny"]),
        ("ip access-list extended L\n10 permit tpc any any", ["did you mean 'tcp'"]),
        ("ip access-list extended L\n10 permit ip any any eq 80", ["ports go with tcp or udp"]),
        ("ip access-list extended L\n10 permit tcp any any eq 65536", ["from 0 to 65535"]),
        ("ip access-list extended L\n10 permit tcp any any range 9 3", ["range 9 3 is empty"]),
        ("ip access-list extended L\n10 permit ip 10.0.0.0 0.0.1.1 any", ["has holes"]),
        ("ip access-list extended L\n10 permit ip 10.0.0.0", ["needs a wildcard"]),
        ("ip access-list extended L\n0 permit ip any any", ["from 1 to"]),
        ("router bgp 0", ["from 1 to 4294967295"]),
        ("no intreface to-B", ["is not a command", "did you mean 'interface <name>'"]),
    ],
)
def test_a_mistake_is_told_with_what_would_have_been_right(line, parts):
    (message,) = refused(f"device A\n{line}")
    assert message.startswith(f"line {1 + len(line.splitlines())}: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("digits", ["10000000000001", "100000000000000", "9" * 30])
def test_a_number_of_many_digits_is_still_held_to_its_bound(digits):
    assert "10000000000000" in refused(f"device A\ninterface to-B\nrate-limit output {digits}")[0]


def test_an_applied_command_that_is_none_is_a_value_error():
    for bad in (
        Command("A", "", "shutdown"),
        Command("A", "table-size 5", "shutdown"),
        Command("A", "interface to-B", "network 10.0.0.0/8"),
    ):
        with pytest.raises(ValueError):
            apply_one(DeviceConfig("A", {}), [bad])


def test_all_mistakes_are_listed_with_their_lines():
    text = "device A\nfoo\ninterface to-B\n mtu 5\n shutdown\nqos class x priority 1\ndevice"
    with pytest.raises(BadInput) as caught:
        parse_script(text, file="s.txt", first_line=10)
    assert [m.line for m in caught.value.mistakes] == [11, 13, 15, 16]
    assert {m.file for m in caught.value.mistakes} == {"s.txt"}
    assert str(caught.value).splitlines()[0].startswith("s.txt:11: ")


def test_lines_for_no_device_are_one_mistake():
    (message,) = refused("table-size 5\ntable-size 6\ntable-size 7")
    assert message == "line 1: the script must begin with 'device NAME'"


def test_a_config_tells_the_line_of_its_mistakes():
    with pytest.raises(BadInput) as caught:
        parse_config("# saved\nhostname A\ntable-size 0\n!\nfoo", file="a.cfg")
    assert [m.line for m in caught.value.mistakes] == [3, 5]


def test_a_config_needs_a_hostname():
    with pytest.raises(BadInput, match="hostname NAME"):
        parse_config("table-size 5")


def test_a_config_speaks_of_one_device():
    with pytest.raises(BadInput):
        parse_config("hostname A\ndevice B\ntable-size 5")


def test_no_prefix_list_with_an_unfinished_number_does_not_remove_the_list():
    assert refused("device A\nno ip prefix-list P seq")


def test_a_script_for_an_unknown_device_tells_the_known_ones():
    with pytest.raises(BadInput, match=r"did you mean 'core-1\.lab'") as caught:
        apply(EMPTY, parse_script("device core-1.lba\ntable-size 5"))
    assert "valid: A, core-1.lab" in str(caught.value)


WORDS = ["device A\n", "interface to-B", "no", "!\n", "exit\n", "#", "shutdown", "permit", "seq"]
WORDS += ["10", "10.0.0.0/8", "any", "eq", "ip", "route", "\n", "\n"]


@often
@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
@example("device A\ninterface to-B\n no")
@example("device A\nno")
@example("device A\nip access-list extended L\n permit")
def test_any_text_is_either_a_script_or_bad_input(text):
    try:
        found = parse_script(text)
    except BadInput as error:
        assert error.mistakes
        assert all(m.line is not None for m in error.mistakes)
    else:
        assert parse_script(render_script(found)) == found


@pytest.mark.parametrize("odd", ["\x1b[31m", "\x00", "\x7f", "\u202e", "\ufeff", "\ud800"])
def test_a_line_holds_no_character_that_a_terminal_obeys(odd):
    with pytest.raises(BadInput) as caught:
        parse_script(f"device A\ninterface to-B\n description a{odd}b")
    assert caught.value.mistakes[0].line == 3
    assert f"U+{ord(odd[0]):04X}" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_large_text_of_mistakes_is_left_early():
    with pytest.raises(BadInput) as caught:
        parse_script("device A\n" + "nonsense\n" * 20_000)
    assert len(caught.value.mistakes) == MOST_MISTAKES + 1
    assert "the rest was not read" in str(caught.value)


def test_a_line_has_a_longest():
    for size, fits in ((LONGEST_LINE, True), (LONGEST_LINE + 1, False)):
        text = f"device A\ninterface to-B\n description {'x' * (size - len('description '))}"
        if fits:
            assert len(parse_script(text)) == 1
        else:
            with pytest.raises(BadInput, match="1,001 characters"):
                parse_script(text)


def test_a_change_lists_its_devices_in_order_of_first_touch():
    found = Change("x", parse_script("device B\ntable-size 1\ndevice A\ntable-size 1\ndevice B\n!"))
    assert found.devices == ("B", "A")


def test_what_was_meant_is_looked_for_only_where_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes longer than all the rest, and every section of a good config ends at a line that
    is no line of that section.
    """
    looked: list[str] = []
    monkeypatch.setattr(
        difflib, "get_close_matches", lambda word, *_, **__: looked.append(word) or []
    )
    good = ("interface to-B", " ip ospf cost 7", "interface to-C", " mtu 9000", "table-size 512")
    apart = ("interface to-B", " ip ospf cost 7", "!", *good[2:4], "!", good[4])
    assert config(*good) == config(*apart)
    assert looked == []
    assert len(refused("device A\ninterface to-B\n ip opsf cost 7\ntable-syze 9")) == 2
    assert looked
