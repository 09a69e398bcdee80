"""Rollback: the plan, its seal and its key, its execution, and whom a failure is blamed on."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from network_contract import Recording, settle

from shadowsim.errors import BadInput
from shadowsim.model.change import Change, Command, Configs, apply, parse_script
from shadowsim.model.faults import Fault
from shadowsim.model.truth import Spell, longest
from shadowsim.network import NETWORKS
from shadowsim.precog import WhatIf
from shadowsim.precog.whatif import Observed
from shadowsim.rollback.blame import Blame, blame
from shadowsim.rollback.execute import Execution, execute
from shadowsim.rollback.harm import Harm, Look
from shadowsim.rollback.key import installation_key, key_path, known_key
from shadowsim.rollback.plan import plan
from shadowsim.rollback.signature import (
    LARGEST_BYTES,
    RollbackSignature,
    json_schema,
    read_signature,
)
from shadowsim.scenario import Scenario, parse

KEY = b"k" * 32
OK: frozenset[str] = frozenset()

# Site S hangs on Arm and Zip, which are joined; Zip's port to it is shut to begin with.
SITE = parse("""
name: site
seed: 2
topology:
  nodes: {Arm: {}, S: {hosts: [guest, db]}, Zip: {hosts: [admin, web]}}
  links: [[Arm, S], [S, Zip], [Arm, Zip]]
configs:
  Zip: |
    interface to-S
     shutdown
  S: |
    ip access-list extended GUARD
     10 permit ip host admin host db
     20 deny ip host web host db
     30 permit ip any any
    interface to-db
     ip access-group GUARD out
traffic:
  demands:
    - {from: web, to: guest, rate_mbps: 2, class: critical, protocol: udp, port: 5004}
    - {from: guest, to: h-Arm, rate_mbps: 2}
intents:
  - {reachable: {from: any, to: any}}
  - {isolated: {from: web, to: db}}
change:
  script: |
    device Zip
    interface to-S
     no shutdown
    device Arm
    interface to-S
     shutdown
""")
MODEL = WhatIf(SITE.topology, SITE.traffic.demands, SITE.intents)
CALM = Observed(OK, np.zeros(SITE.topology.directed_links), np.zeros(2))


def broken(configs: Configs) -> frozenset[str]:
    condition = MODEL.look(configs, CALM, SITE.configs)
    return frozenset((*condition.broken, *condition.exposed))


def change_of(script: str) -> Change:
    return Change("a change", parse_script(script))


def planned(
    change: Change = SITE.change, ask: Callable[[Configs], frozenset[str]] = broken, **given: Any
) -> RollbackSignature:
    now = apply(SITE.configs, change.commands)
    return plan(change, SITE.configs, now, look(ask), SITE.topology, **given)


def look(ask: Callable[[Configs], frozenset[str]] = broken) -> Look:
    """What `ask` names, as the harm that configs do."""
    return lambda configs: Harm(broken=ask(configs))


def run_through(signature: RollbackSignature, configs: Configs) -> Configs:
    """The configs after all steps in their order."""
    for step in signature.ordered():
        configs = apply(configs, [c.value() for c in step.commands])
    return configs


THREE = change_of("""
device Arm
table-size 9000
interface to-S
 ip ospf cost 55
 description to the site
device S
interface to-Arm
 ip ospf cost 55
""")


# -- the plan ----------------------------------------------------------------------------------


def test_a_plan_of_the_whole_leads_back_exactly() -> None:
    signature = planned(THREE)
    now = apply(SITE.configs, THREE.commands)
    assert signature.scope == "whole"
    assert run_through(signature, now) == dict(SITE.configs)
    assert tuple(c.value() for c in signature.reverts) == THREE.commands


def test_digests_are_of_before_now_and_after() -> None:
    signature = planned(THREE)
    now = apply(SITE.configs, THREE.commands)
    assert signature.digests.before == {d: SITE.configs[d].digest for d in ("Arm", "S")}
    assert signature.digests.now == {d: now[d].digest for d in ("Arm", "S")}
    assert signature.digests.after == signature.digests.before != signature.digests.now


def test_a_plan_of_the_blamed_part_leaves_the_rest() -> None:
    blamed = THREE.commands[1:2]
    signature = planned(THREE, blamed=blamed, mode="performance_degradation")
    now = apply(SITE.configs, THREE.commands)
    wanted = apply(SITE.configs, THREE.without(blamed).commands)
    assert (signature.scope, signature.failure_mode) == ("blamed", "performance_degradation")
    assert run_through(signature, now) == wanted != dict(SITE.configs)
    assert signature.digests.after == {d: wanted[d].digest for d in ("Arm", "S")}
    assert signature.digests.after["S"] == signature.digests.now["S"]
    assert [c.value() for c in signature.reverts] == list(blamed)


def test_a_part_has_another_id_than_the_whole_but_is_of_the_same_change() -> None:
    whole, part, other = (
        planned(THREE, blamed=b) for b in (None, THREE.commands[:1], THREE.commands[1:2])
    )
    assert len({whole.id, part.id, other.id}) == 3
    assert whole.change_id == part.change_id == other.change_id
    assert planned(THREE) == whole


def test_every_step_says_what_it_reverts_and_what_comes_before() -> None:
    signature = planned(THREE)
    assert {s.id for s in signature.steps} == set(signature.order)
    assert len(signature.order) == len(set(signature.order))
    seen: set[str] = set()
    for step in signature.ordered():
        assert set(step.depends_on) <= seen
        assert {c.device for c in (*step.commands, *step.reverts)} == {step.device}
        seen.add(step.id)
    reverted = {c.value() for s in signature.steps for c in s.reverts}
    assert reverted == set(THREE.commands)


def test_a_list_is_there_again_before_it_is_used() -> None:
    change = change_of(
        "device S\ninterface to-db\n no ip access-group out\n!\nno ip access-list extended GUARD\n"
    )
    signature = planned(change, ask=lambda configs: OK)
    order = [step.commands[0].context for step in signature.ordered()]
    assert order == ["ip access-list extended GUARD", "interface to-db"]
    assert signature.steps[1].depends_on == (signature.steps[0].id,)
    assert run_through(signature, apply(SITE.configs, change.commands)) == dict(SITE.configs)


def test_every_device_touched_is_verified() -> None:
    signature = planned(THREE)
    digests = {v.subject: v.expected for v in signature.verification if v.kind == "config_digest"}
    assert digests == signature.digests.after
    kinds = {v.kind for v in signature.verification}
    assert kinds == {"config_digest", "intents", "limits", "service"}


def test_a_change_without_effect_needs_no_steps() -> None:
    signature = planned(change_of("device Arm\ninterface to-S\n ip ospf cost 10\n"))
    assert (signature.steps, signature.order, signature.transiently_safe) == ((), (), True)


# -- the order ---------------------------------------------------------------------------------


def test_the_naive_order_would_cut_the_site_off() -> None:
    now = apply(SITE.configs, SITE.change.commands)
    assert broken(now) == broken(SITE.configs) == OK
    open_again, shut_again = (
        parse_script(f"device {d}\ninterface to-S\n {line}\n")
        for d, line in (("Arm", "no shutdown"), ("Zip", "shutdown"))
    )
    assert broken(apply(now, shut_again)) != OK
    assert broken(apply(now, open_again)) == OK


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_transiently_safe_order_is_found_where_the_naive_one_is_none(mirrored: bool) -> None:
    """Both ways round, so that one of them is against the order of names."""
    here, there = apply(SITE.configs, SITE.change.commands), SITE.configs
    if mirrored:
        here, there = there, here
        script = "device Arm\ninterface to-S\n no shutdown\ndevice Zip\ninterface to-S\n shutdown\n"
        change = change_of(script)
    else:
        change = SITE.change
    signature = plan(change, there, here, look(), SITE.topology)
    assert signature.transiently_safe
    configs = here
    for step in signature.ordered():
        configs = apply(configs, [c.value() for c in step.commands])
        assert broken(configs) == OK
    assert configs == dict(there)
    assert [s.device for s in signature.ordered()] == (
        ["Zip", "Arm"] if mirrored else ["Arm", "Zip"]
    )


def test_where_no_safe_order_exists_the_signature_says_so() -> None:
    ends = [apply(SITE.configs, SITE.change.commands), dict(SITE.configs)]
    signature = planned(ask=lambda configs: OK if configs in ends else frozenset({"an intent"}))
    assert not signature.transiently_safe
    assert "no order" in signature.order_note
    assert run_through(signature, ends[0]) == ends[1]


def test_what_is_broken_at_one_end_anyway_does_not_forbid_an_order() -> None:
    start = apply(SITE.configs, SITE.change.commands)
    signature = planned(ask=lambda configs: OK if configs == start else frozenset({"an intent"}))
    assert signature.transiently_safe


def test_the_lines_of_a_device_keep_their_order_whatever_is_asked() -> None:
    script = (
        "device Arm\ntable-size 9000\ninterface to-S\n ip ospf cost 9\ndevice S\ntable-size 9\n"
    )
    random = np.random.default_rng(3)
    for _ in range(20):
        signature = planned(
            change_of(script), ask=lambda c: frozenset({"x"} if random.random() < 0.5 else ())
        )
        mine = [s for s in signature.order if signature.steps[int(s[1:]) - 1].device == "Arm"]
        assert mine == sorted(mine)
        assert len(signature.order) == 3


REWRITTEN = change_of("""
device S
ip access-list extended GUARD
 10 deny ip host 10.0.2.3 host 10.0.1.3
 20 permit ip any any
 no 30
""")


def test_no_state_between_the_commands_of_a_step_is_called_safe_if_it_is_not() -> None:
    now = apply(SITE.configs, REWRITTEN.commands)
    assert broken(now) == broken(SITE.configs) == OK
    signature = planned(REWRITTEN)
    states = []
    for command in [c.value() for step in signature.ordered() for c in step.commands]:
        now = apply(now, [command])
        states.append(broken(now))
    assert states[-1] == OK
    assert signature.transiently_safe == all(state == OK for state in states)


# -- schema and seal ---------------------------------------------------------------------------


def document(signature: RollbackSignature) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(signature.model_dump(mode="json")))
    return found


def test_signatures_fit_their_schema() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for signature in (planned(), planned(THREE), planned(THREE, blamed=THREE.commands[:2])):
        jsonschema.validate(document(signature.sealed(KEY)), schema)


@pytest.mark.parametrize("spoil", [
    {"probability": 1.5},
    {"failure_mode": "weather"},
    {"format": "shadowsim.rollback/2"},
    {"extra": 1},
    {"steps": [{"id": "s1"}]},
    {"order": "s1"},
], ids=str)  # fmt: skip
def test_what_does_not_fit_is_refused_by_schema_and_reader_alike(
    spoil: dict[str, Any], tmp_path: Path
) -> None:
    spoilt = document(planned(THREE).sealed(KEY)) | spoil
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, json_schema())
    with pytest.raises(BadInput):
        read_signature(_file(tmp_path, json.dumps(spoilt)), KEY)


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "signature.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_sealed_signature_is_read_back(tmp_path: Path) -> None:
    signature = planned(THREE).sealed(KEY)
    for indent in (None, 2):  # the seal is of what it says, not of how it is written
        path = _file(tmp_path, json.dumps(document(signature), indent=indent))
        assert read_signature(path, KEY) == signature
    assert signature.sealed(KEY) == signature


def test_a_signature_of_another_key_or_of_none_is_refused(tmp_path: Path) -> None:
    for signature in (planned().sealed(b"l" * 32), planned()):
        with pytest.raises(BadInput, match="seal"):
            read_signature(_file(tmp_path, json.dumps(document(signature))), KEY)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key in value for leaf in _leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in _leaves(item, (*path, i))]
    return [path]


def test_whatever_is_altered_the_file_is_refused(tmp_path: Path) -> None:
    sealed = document(planned(THREE).sealed(KEY))
    paths = _leaves(sealed)
    assert len(paths) > 40
    for path in paths:
        altered = json.loads(json.dumps(sealed))
        inner = altered
        for key in path[:-1]:
            inner = inner[key]
        was = inner[path[-1]]
        inner[path[-1]] = (
            not was
            if isinstance(was, bool)
            else was / 2 + 0.1
            if isinstance(was, float)
            else f"{was}x"
        )
        with pytest.raises(BadInput):
            read_signature(_file(tmp_path, json.dumps(altered)), KEY)


def test_steps_cannot_be_dropped_or_turned_round(tmp_path: Path) -> None:
    sealed = document(planned(THREE).sealed(KEY))
    for key, value in (("steps", sealed["steps"][:1]), ("order", sealed["order"][::-1])):
        with pytest.raises(BadInput, match=r"seal|order|depends"):
            read_signature(_file(tmp_path, json.dumps(sealed | {key: value})), KEY)


def test_an_order_that_cannot_be_followed_is_refused_whatever_its_seal(tmp_path: Path) -> None:
    true = planned(THREE)
    first, *rest = true.order
    for order in ((first,), (*rest, first), (*true.order, first), (*rest, "s9")):
        forged = true.model_copy(update={"order": order}).sealed(KEY)
        with pytest.raises(BadInput, match=r"every step once|one it depends on"):
            read_signature(_file(tmp_path, forged.model_dump_json()), KEY)


@pytest.mark.parametrize("content", [
    b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"id": 1}', b"NaN",
    b" " * (LARGEST_BYTES + 1),
], ids=lambda content: repr(content[:8]))  # fmt: skip
def test_garbage_is_bad_input(content: bytes, tmp_path: Path) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(BadInput) as caught:
        read_signature(path, KEY)
    assert str(path) in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    large = document(planned().sealed(KEY))
    text = json.dumps(large) + " " * LARGEST_BYTES
    with pytest.raises(BadInput, match="too large"):
        read_signature(_file(tmp_path, text), KEY)


@pytest.mark.parametrize("name", ["missing.json", ".", "missing/x.json"])
def test_a_file_that_cannot_be_read_is_bad_input(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_signature(tmp_path / name, KEY)


def test_a_seal_of_strange_letters_is_refused(tmp_path: Path) -> None:
    strange = document(planned()) | {"seal": "é" * 64}
    with pytest.raises(BadInput, match="seal"):
        read_signature(_file(tmp_path, json.dumps(strange)), KEY)


# -- the key -----------------------------------------------------------------------------------


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "key"
    key = installation_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert installation_key(path) == key == path.read_bytes()
    assert installation_key(tmp_path / "another") != key


def test_the_key_lies_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHADOWSIM_KEY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert key_path() == tmp_path / "shadowsim" / "key"
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "mine"))
    assert key_path() == tmp_path / "mine"
    assert installation_key() == (tmp_path / "mine").read_bytes()


def test_a_key_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        installation_key(tmp_path / "file" / "key")


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    for content in (b"", b"k" * 31, b"k" * 33):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(BadInput, match=f"{len(content)} bytes instead of 32"):
            installation_key(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_a_key_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    key = installation_key(path)
    path.chmod(mode)
    with pytest.raises(BadInput, match=f"mode {mode:04o}.*chmod 600 {path}"):
        installation_key(path)
    path.chmod(0o400)
    assert installation_key(path) == key


def test_a_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation_key(tmp_path / "key")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BadInput, match=r"of another user .*you are 12345.*SHADOWSIM_KEY"):
        installation_key(tmp_path / "key")


def test_what_is_no_file_is_no_key_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(BadInput, match="no regular file"):
        installation_key(tmp_path / "key")


def test_who_only_checks_seals_makes_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))
    assert known_key() is None
    assert not (tmp_path / "key").exists()
    assert installation_key() == known_key()


# -- execution ---------------------------------------------------------------------------------


class Bench:
    """A network that has a change, and the plan to take it back."""

    def __init__(self, change: Change = THREE, scenario: Scenario = SITE) -> None:
        self.network = Recording(NETWORKS["simulated"](scenario, scenario.configs, "production"))
        self.before = dict(self.network.configs())
        self.network.apply(change.commands)
        settle(self.network)
        self.signature = plan(
            change, self.before, self.network.configs(), look(), scenario.topology
        )
        self.network.sent.clear()
        self.network.tried.clear()
        self.steps: list[tuple[str, str]] = []

    def strike(self, kind: str, **given: Any) -> None:
        self.network.inject(Fault(kind, self.network.now, **given))
        self.network.advance(self.network.now + 0.01)

    def execute(self, healthy: Callable[[], tuple[str, ...]] = lambda: ()) -> Execution:
        self.steps.clear()
        return execute(
            self.network,
            self.signature,
            lambda seconds: self.network.advance(self.network.now + seconds),
            healthy,
            lambda step, outcome: self.steps.append((step, outcome)),
        )


def test_tables_that_do_not_follow_are_no_rollback() -> None:
    bench = Bench()
    bench.network.misprogrammed = lambda: {"Zip": "3 flows differ"}
    found = bench.execute()
    assert not found.verified
    assert found.failed == (
        "rules of Zip as read back are not those of its config: 3 flows differ",
    )
    bench.network.misprogrammed = dict
    assert bench.execute().verified


def test_tables_that_follow_late_are_waited_for() -> None:
    bench = Bench()
    answers = iter([{"Arm": "1 flow differs"}] * 2)
    bench.network.misprogrammed = lambda: next(answers, {})
    assert bench.execute().verified


def test_tables_of_who_is_not_asked_and_does_not_answer_are_not_looked_at() -> None:
    bench = Bench()
    bench.strike("controller_lost", device="Zip")
    assert set(bench.network.misprogrammed()) == {"Zip"}
    assert bench.execute().verified


def test_execution_restores_exactly() -> None:
    bench = Bench()
    assert dict(bench.network.configs()) != bench.before
    found = bench.execute()
    assert (found.verified, found.failed) == (True, ())
    assert found.steps_done == len(bench.signature.steps) > 1
    assert 0 < found.took_s < 10
    assert dict(bench.network.configs()) == bench.before
    assert bench.steps == [(step, "done") for step in bench.signature.order]


def test_executing_twice_sends_nothing_more() -> None:
    bench = Bench()
    bench.execute()
    bench.network.tried.clear()
    found = bench.execute()
    assert found.verified
    assert bench.network.tried == []
    assert bench.steps == [(step, "skipped") for step in bench.signature.order]


def test_commands_go_out_in_the_order_of_the_plan() -> None:
    bench = Bench(SITE.change)
    bench.execute()
    assert [batch[0].device for batch in bench.network.sent] == ["Arm", "Zip"]


def _spells_on_the_way(bench: Bench) -> list[Spell]:
    """What was really broken while the plan was executed in a network at rest."""
    bench.network.advance(bench.network.now + 10.0)
    start_s = bench.network.now
    assert bench.execute().verified
    found = [spell for spell in bench.network.spells() if spell.to_s > start_s]
    assert found[-1].well
    return found


def _turned_round(signature: RollbackSignature) -> RollbackSignature:
    """The same steps one after the other, the last one first."""
    order = signature.order[::-1]
    before = dict(zip(order, ((), *((name,) for name in order)), strict=False))
    steps = tuple(
        step.model_copy(update={"depends_on": before[step.id]}) for step in signature.steps
    )
    return signature.model_copy(update={"order": order, "steps": steps})


def test_a_safe_order_cuts_off_for_less_long_than_the_other_one() -> None:
    """A port in use that is shut is missed until the routes have followed, in any order."""
    took = []
    for forwards in (True, False):
        bench = Bench(SITE.change)
        assert bench.signature.transiently_safe
        if not forwards:
            bench.signature = _turned_round(bench.signature)
        took.append(longest(_spells_on_the_way(bench), lambda spell: spell.unreachable))
    assert took[0] < took[1]


def test_a_step_that_is_called_safe_exposes_nothing_while_it_is_executed() -> None:
    bench = Bench(REWRITTEN)
    exposed = {name for spell in _spells_on_the_way(bench) for name in spell.exposed}
    assert exposed == set() or not bench.signature.transiently_safe


def test_a_device_that_does_not_answer_stops_the_rollback_and_is_named() -> None:
    bench = Bench()
    bench.strike("controller_lost", device=bench.signature.ordered()[0].device)
    found = bench.execute()
    assert not found.verified
    assert found.steps_done == 0
    assert bench.signature.ordered()[0].device in found.failed[0]
    assert "timed out" in found.failed[0]
    assert bench.network.sent == []
    assert found.took_s >= bench.signature.steps[0].timeout_s


def test_a_device_that_answers_in_time_is_waited_for() -> None:
    bench = Bench()
    bench.strike("controller_lost", device="Arm", for_s=4.0)
    found = bench.execute()
    assert found.verified
    assert found.took_s > 4.0
    assert dict(bench.network.configs()) == bench.before


def test_what_another_hand_changed_meanwhile_is_not_called_verified() -> None:
    bench = Bench()
    bench.strike("config_drift", script="device S\ninterface to-Zip\n description hand made\n")
    found = bench.execute()
    assert not found.verified
    assert found.failed == ("config of S is not what the plan leads to",)
    assert dict(bench.network.configs()) != bench.before


def test_a_device_that_goes_silent_after_its_step_is_not_verified() -> None:
    bench = Bench()
    last = bench.signature.ordered()[-1].device
    first = next(s.device for s in bench.signature.ordered() if s.device != last)

    def notice(step: str, outcome: str) -> None:
        if step == bench.signature.order[-1]:
            bench.strike("controller_lost", device=first)

    def advance(seconds: float) -> None:
        bench.network.advance(bench.network.now + seconds)

    found = execute(bench.network, bench.signature, advance, lambda: (), notice)
    assert not found.verified
    assert found.failed == (f"config of {first} is not what the plan leads to",)


def test_unmet_intents_are_not_called_verified() -> None:
    found = Bench().execute(lambda: ("reachable any>any",))
    assert not found.verified
    assert found.failed == ("reachable any>any",)


def test_intents_get_the_time_of_convergence() -> None:
    answers = iter([("slow",), ("slow",), ()])
    assert Bench().execute(lambda: next(answers)).verified


# -- blame -------------------------------------------------------------------------------------

TREE = parse("""
name: tree
topology:
  nodes: {Hub: {}, X: {}, Y: {}, Z: {}}
  links: [[Hub, X], [Hub, Y], [Hub, Z], [Y, Z]]
  defaults: {rate_mbps: 10}
traffic:
  demands:
    - {from: Y, to: Hub, rate_mbps: 6, protocol: udp, port: 443}
    - {from: Z, to: Hub, rate_mbps: 6, protocol: udp, port: 443}
intents:
  - {reachable: {from: any, to: any}}
  - {utilisation: {below_percent: 90}}
change: {script: ""}
""")
TREE_MODEL = WhatIf(TREE.topology, TREE.traffic.demands, TREE.intents)
TREE_RATES = np.array([d.rate_bps for d in TREE.traffic.demands])


def blamed(script: str, down: tuple[str, ...] = (), factor: float = 1.0) -> tuple[Blame, Change]:
    change = change_of(script)
    names = [TREE.topology.link_name(n) for n in range(TREE.topology.directed_links)]
    dead = frozenset(names.index(name) for name in down)
    seen = Observed(dead, np.zeros(len(names)), TREE_RATES * factor)
    now = apply(TREE.configs, change.commands)
    return blame(TREE_MODEL, change, TREE.configs, now, seen), change


MIXED = """
device Hub
table-size 9000
interface to-X
 description to the lonely one
 shutdown
device Y
interface to-Hub
 description up
"""


def test_one_of_several_commands_is_blamed() -> None:
    found, _ = blamed(MIXED)
    assert (found.change, found.explained) == (True, True)
    assert found.commands == (Command("Hub", "interface to-X", "shutdown"),)


def test_a_pair_is_blamed_where_neither_alone_would_do() -> None:
    found, _ = blamed("""
        device Hub
        interface to-X
         shutdown
        device Y
        table-size 9000
        device Hub
        interface to-Y
         shutdown
        interface to-Z
         description still there
        device Z
        interface to-Y
         shutdown
    """)
    cut = {Command("Hub", "interface to-X", "shutdown")}
    assert found.change
    assert cut < set(found.commands)
    assert len(found.commands) == 2


def test_a_command_that_suffices_is_blamed_alone() -> None:
    found, _ = blamed(
        "device Hub\ninterface to-Y\n shutdown\ndevice Z\ninterface to-Y\n shutdown\n"
    )
    assert found.change
    assert len(found.commands) == 1


def test_a_change_of_one_command_is_blamed_whole() -> None:
    found, change = blamed("device Hub\ninterface to-X\n shutdown\n")
    assert found.commands == change.commands
    assert found.change


def test_the_overloading_cost_is_blamed() -> None:
    script = "device Y\ntable-size 9000\ninterface to-Hub\n ip ospf cost 5000\n description up\n"
    found, _ = blamed(script)
    assert found.commands == (Command("Y", "interface to-Hub", "ip ospf cost 5000"),)
    calm, _ = blamed(script, factor=0.5)
    assert (calm.change, calm.commands, calm.explained) == (False, (), False)


def test_a_fault_that_would_hurt_anyway_is_not_blamed_on_the_change() -> None:
    found, _ = blamed(MIXED.replace(" shutdown\n", ""), down=("Hub>X", "X>Hub"))
    assert (found.change, found.commands, found.explained) == (False, (), True)


def test_a_fault_that_only_hurts_with_the_change_is() -> None:
    script = "device Y\ntable-size 9000\ninterface to-Z\n shutdown\n"
    assert not blamed(script)[0].change
    found, _ = blamed(script, down=("Hub>Y", "Y>Hub"))
    assert found.commands == (Command("Y", "interface to-Z", "shutdown"),)


def test_what_is_not_broken_is_not_blamed_on_anybody() -> None:
    found, _ = blamed("device Hub\ninterface to-Y\n description nothing\n")
    assert (found.change, found.commands, found.explained) == (False, (), False)


def test_taking_back_the_blamed_part_removes_the_failure() -> None:
    found, change = blamed(MIXED)
    rest = apply(TREE.configs, change.without(found.commands).commands)
    seen = Observed(OK, np.zeros(TREE.topology.directed_links), TREE_RATES)
    assert not TREE_MODEL.look(rest, seen, TREE.configs).modes()
    assert rest != dict(TREE.configs)
