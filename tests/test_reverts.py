"""Reverts that do not restore service by themselves: others' hands, retries, changes in flight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_workflow import (
    DRAIN,
    HARMLESS,
    LIMITED,
    RING,
    SURGE,
    TWO_DEVICES,
    Trial,
    scenario_of,
    trial,
)

from shadowsim.journal import Event
from shadowsim.model.change import apply, parse_script
from shadowsim.model.faults import Fault
from shadowsim.workflow.restored import STEADY, by_others, not_known, unwell
from shadowsim.workflow.watch import HOLD_S, MOST_AGAIN, _planned

DRAINED = "interface to-B\\n ip ospf cost 5000\\n"


def automation(until: str = "") -> str:
    return f'{{at_s: 60, config_drift: {{device: A, every_s: 2, script: "{DRAINED}"}}{until}}}'


@pytest.fixture(scope="module")
def drained() -> Trial:
    return trial(DRAIN, SURGE, base=LIMITED)


# -- automation that sets again what was taken back --------------------------------------------


def test_what_automation_sets_again_for_ever_ends_with_a_person_who_is_told_the_line() -> None:
    found = trial(DRAIN, f"{SURGE}, {automation()}", base=LIMITED)
    assert found.end == ("go", "halted")
    (said,) = found.events("halted")[0].data["failed"]
    assert "'A: interface to-B / ip ospf cost 5000'" in said
    assert len(found.events("rollback")) == len(found.events("set_again")) == 1 + MOST_AGAIN
    assert [e.data["revert"] for e in found.events("set_again")] == [True] * MOST_AGAIN + [False]
    assert found.run.time_to_rollback_s is None
    assert found.run.execution is not None
    assert not found.run.execution.verified


def test_what_automation_sets_again_for_a_while_is_taken_back_again() -> None:
    rolled = trial(DRAIN, SURGE, base=LIMITED).events("rollback")[0].at_s
    found = trial(DRAIN, f"{SURGE}, {automation(f', for_s: {rolled - 57}')}", base=LIMITED)
    assert found.end == ("go", "rolled_back")
    assert 1 <= len(found.events("set_again")) <= MOST_AGAIN
    assert found.production.configs()["A"].interfaces["to-B"].cost == 10
    assert (found.run.time_to_rollback_s or 0) > 2.0


def test_rolled_back_is_said_only_after_it_has_stayed_so(drained: Trial) -> None:
    begun, said = drained.events("rollback")[0], drained.events("rolled_back")[0]
    took_s = drained.run.time_to_rollback_s or 0.0
    assert said.data["took_s"] == took_s
    assert said.at_s == pytest.approx(begun.at_s + took_s + HOLD_S, abs=1e-6)


def test_what_another_hand_sets_meanwhile_is_named_and_left() -> None:
    found = Trial(scenario_of(DRAIN, SURGE, base=LIMITED))

    def by_hand(event: Event) -> None:
        if event.kind == "rollback":
            script = "device A\ninterface to-D\n description by hand\n"
            found.production.inject(Fault("config_drift", event.at_s, device="A", script=script))

    found.watch = by_hand
    found.__post_init__()
    found.go()
    assert found.end == ("go", "halted")
    failed = found.events("halted")[0].data["failed"]
    assert "others have set 'A: interface to-D / description by hand'" in failed
    ports = found.production.configs()["A"].interfaces
    assert (ports["to-D"].description, ports["to-B"].cost) == ("by hand", 10)


# -- several changes in flight -----------------------------------------------------------------


def test_of_two_changes_in_flight_the_other_one_is_to_blame_and_ours_stays() -> None:
    other = (
        '{at_s: 65, config_drift: {device: B, script: "interface to-T\\n shutdown\\n"}, for_s: 20}'
    )
    found = trial(HARMLESS, other)
    assert found.end == ("go", "confirmed")
    assert len(found.events("not_the_change")) == 1
    assert found.production.configs()["A"].interfaces["to-B"].description == "to Bea"


def test_of_two_changes_in_flight_ours_is_to_blame_and_the_other_one_stays() -> None:
    script = "interface to-D\\n description by others\\n mtu 1500\\n"
    other = f'{{at_s: 62, config_drift: {{device: A, script: "{script}"}}}}'
    found = trial(DRAIN, f"{SURGE}, {other}", base=LIMITED)
    assert found.end == ("go", "rolled_back")
    ports = found.production.configs()["A"].interfaces
    assert (ports["to-B"].cost, ports["to-B"].description) == (10, "drained")
    assert ports["to-D"].description == "by others"


# -- service, not only config ------------------------------------------------------------------


def served(found: Trial, share: float, readings: int = STEADY) -> tuple[str, ...]:
    """What is not well if in the last readings only this share of what is offered arrived."""
    run = found.run
    telemetry = run.telemetry["production"]
    kept = list(telemetry.samples)
    for at in range(-readings, 0):
        demand = np.array(kept[at].demand)
        demand[:, 1] = demand[:, 0] * share
        telemetry.samples[at] = replace(kept[at], demand=demand)
    try:
        left = tuple(c for c in run.deployed if c not in set(run.blamed))
        return unwell(run, "production", run.production, left, set())
    finally:
        telemetry.samples[:] = kept


def test_users_that_are_not_served_are_told_class_by_class(drained: Trial) -> None:
    assert served(drained, 1.0) == ()
    assert served(drained, 0.95) == ()
    assert served(drained, 0.6, readings=1) == ()
    assert served(drained, 0.6) == (
        "of critical traffic 60% arrives, before the change 100%",
        "of normal traffic 60% arrives, before the change 100%",
    )


def test_without_readings_there_is_nothing_to_compare(drained: Trial) -> None:
    run = drained.run
    kept = list(run.telemetry["production"].samples)
    run.telemetry["production"].samples.clear()
    try:
        assert unwell(run, "production", run.production, (), set()) == ()
        assert not_known(run, "production") == ()
        run.telemetry["production"].samples += kept[:-STEADY]
        assert not_known(run, "production") == ()
        for sample in kept[-STEADY:]:
            dark = np.full_like(sample.demand, np.nan)
            run.telemetry["production"].samples.append(replace(sample, demand=dark))
        assert unwell(run, "production", run.production, run.deployed, set()) == ()
        assert not_known(run, "production") == (
            "nothing is known of critical traffic",
            "nothing is known of normal traffic",
        )
    finally:
        run.telemetry["production"].samples[:] = kept


def test_one_dark_reading_of_two_does_not_pass_for_service(drained: Trial) -> None:
    """It was taken for one in which all that was offered, nothing, did arrive."""
    run = drained.run
    samples = run.telemetry["production"].samples
    kept = list(samples)
    starved, dark = np.array(kept[-2].demand), np.full_like(kept[-1].demand, np.nan)
    starved[:, 1] = starved[:, 0] * 0.6
    samples[-2:] = [replace(kept[-2], demand=starved), replace(kept[-1], demand=dark)]
    try:
        left = tuple(c for c in run.deployed if c not in set(run.blamed))
        assert len(unwell(run, "production", run.production, left, set())) == 2
        assert not_known(run, "production") == ()
    finally:
        samples[:] = kept


# -- what held before ---------------------------------------------------------------------------

PASSING = ("device B", "interface to-T", " shutdown", " description far", " no shutdown")


def set_in_production(found: Trial, device: str, port: str) -> Trial:
    """A port that is shut in production after the run."""
    there = dict(found.production.configs())
    shut = parse_script(f"device {device}\ninterface {port}\n shutdown\n")
    found.production.configs = lambda: apply(there, shut)  # type: ignore[method-assign]
    return found


def test_what_a_rollback_leaves_of_its_change_is_seen_in_what_it_breaks() -> None:
    """Compared with what the plan leads to, nothing would be: it led there."""
    found = trial(PASSING, "{at_s: 60, telemetry_gap: {}, for_s: 20}")
    assert found.end == ("go", "rolled_back")
    assert unwell(found.run, "production", found.production, (), set()) == ()
    set_in_production(found, "B", "to-T")
    assert unwell(found.run, "production", found.production, (), set()) != ()
    assert by_others(found.run) == ()


def test_what_others_have_broken_is_named_and_not_held_against_a_rollback() -> None:
    found = trial(PASSING, "{at_s: 60, telemetry_gap: {}, for_s: 20}")
    set_in_production(found, "T", "to-B")
    assert unwell(found.run, "production", found.production, (), set()) == ()
    said = by_others(found.run)
    assert said
    assert all("broken by what others have set: 'T: interface to-B / shutdown'" in s for s in said)


def test_retries_that_outlive_the_change_are_not_called_restored() -> None:
    """No limit speaks of the normal class, and its intents hold; only what arrives tells."""
    storm = "{at_s: 50, retry_storm: {from: D, to: C, factor: 40}}"
    surge = "{at_s: 70, traffic_surge: {from: D, to: C, factor: 3}}"
    tcp = "- {from: D, to: C, rate_mbps: 6}"
    base = RING.replace(tcp, tcp.replace("}", ", protocol: udp, port: 9}"))
    found = trial(
        ("device A", "interface to-B", " ip ospf cost 5000"), f"{storm}, {surge}", base=base
    )
    assert found.end == ("go", "halted")
    assert found.restored()
    failed = found.events("halted")[0].data["failed"]
    assert any(text.startswith("of normal traffic") for text in failed)


# -- sooner back than there --------------------------------------------------------------------


def test_rolling_back_is_faster_than_deploying(drained: Trial) -> None:
    """Deploying waits for a look after each device; rolling back does not."""
    lines = [
        line for at, to in ("AB", "BC", "CD", "DA")
        for line in (f"device {at}", f"interface to-{to}", " ip ospf cost 12")
    ]  # fmt: skip
    found = trial(tuple(lines))
    first, *_, last = (e for e in found.events("deploy") if e.data["network"] == "production")
    rehearsed = found.run.signature
    assert rehearsed is not None
    assert 0 < rehearsed.rehearsal.took_s < last.at_s - first.at_s


# -- what is executed was rehearsed ------------------------------------------------------------


def test_the_plan_that_is_executed_is_one_that_was_rehearsed(drained: Trial) -> None:
    assert drained.events("rollback")[0].data["rehearsed"] is True
    assert drained.run.signature is not None
    assert drained.run.signature.rehearsal.verified
    assert drained.run.signature.minimal == "cardinality"


def test_a_plan_that_was_not_rehearsed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowsim.workflow.gate.PARTS_REHEARSED", 0)
    found = trial(DRAIN, SURGE, base=LIMITED)
    assert found.end == ("go", "rolled_back")
    assert found.events("rollback")[0].data["rehearsed"] is False
    assert found.run.signature is not None
    assert not found.run.signature.rehearsal.done


def test_a_rehearsed_order_is_kept_while_it_is_safe() -> None:
    found = trial(TWO_DEVICES)
    change = found.scenario.change
    (known,) = (s for s in found.run.signatures.values() if s.scope == "whole")
    turned = known.model_copy(update={"order": known.order[::-1]})
    found.run.signatures = {turned.id: turned}
    again = _planned(found.run, "any", change.commands, None)
    assert [s.device for s in again.ordered()] == [s.device for s in turned.ordered()]
    assert [s.device for s in again.ordered()] != [s.device for s in known.ordered()]
    assert again.rehearsal == turned.rehearsal
    assert again.rehearsal.verified


def test_every_rehearsal_says_why_it_is_held(drained: Trial) -> None:
    why: list[Any] = [event.data["why"] for event in drained.events("rehearsal")]
    assert why[0] == "the whole change"
    assert any("of the cases imagined" in text for text in why[1:])
