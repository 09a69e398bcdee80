"""The five phases: every decision and end state, who may decide, and production left whole."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from network_contract import Recording

from shadowsim.errors import ShadowsimError, Unreachable
from shadowsim.journal import Event, Journal
from shadowsim.live import say
from shadowsim.model.change import Command, Configs, apply
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE
from shadowsim.network import NETWORKS
from shadowsim.network.simulated.stretch import Stretch
from shadowsim.precog import Evidence, Forecast, Reason, Variant, WhatIf, variant
from shadowsim.precog.forecast import forecast_of
from shadowsim.record import document
from shadowsim.scenario import Scenario, load, parse
from shadowsim.workflow import PHASES, Approve, Run, nobody, run_workflow
from shadowsim.workflow.gate import ground

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yml"))

# A ring; T is reached through B alone.
RING = """
name: ring
seed: 6
topology:
  nodes: [A, B, C, D, T]
  links: [[A, B], [B, C], [C, D], [A, D], [B, T]]
  defaults: {rate_mbps: 20}
traffic:
  demands:
    - {from: A, to: B, rate_mbps: 6, class: critical, protocol: udp, port: 5004}
    - {from: D, to: C, rate_mbps: 6}
    - {from: B, to: T, rate_mbps: 2}
intents:
  - {reachable: {from: any, to: any}}
  - {loss: {class: critical, below_percent: 2}}
"""
HARMLESS = ("device A", "interface to-B", " description to Bea")
TWO_DEVICES = (
    "device A", "interface to-B", " ip ospf cost 12", "device C", "interface to-D",
    " ip ospf cost 12",
)  # fmt: skip
CUTTING = ("device B", "interface to-T", " shutdown")
DRAIN = ("device A", "interface to-B", " ip ospf cost 5000", " description drained")
# Drained, A's traffic to B goes around by D and C; that is too much when D sends more.
SURGE = "{at_s: 70, traffic_surge: {from: D, to: C, factor: 2.6}}"
LIMITED = RING.replace(
    "{loss: {class: critical, below_percent: 2}}", "{utilisation: {below_percent: 90}}"
)


def scenario_of(
    change: tuple[str, ...], faults: str = "", workflow: str = "", base: str = RING
) -> Scenario:
    script = "".join(f"    {line}\n" for line in change)
    return parse(
        f"{base}change:\n  summary: a change\n  script: |\n{script}"
        f"faults: [{faults}]\nworkflow: {{{workflow}}}\n"
    )


@dataclass
class Trial:
    """A run and the recorded networks it had."""

    scenario: Scenario
    precog: Variant | None = None
    approve: Approve = nobody
    watch: Callable[[Event], None] = lambda event: None
    wrap: Callable[[Recording, str], None] = lambda network, name: None
    networks: dict[str, Recording] = field(default_factory=dict)
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        s = self.scenario
        model = WhatIf(s.topology, s.traffic.demands, s.intents)
        precog = self.precog or variant(s.workflow.precog, model)
        self.run = Run(s, self._factory, precog, model, Journal(self.watch), self.approve)

    def _factory(self, scenario: Scenario, configs: Configs, name: str) -> Any:
        self.networks[name] = Recording(NETWORKS["simulated"](scenario, configs, name))
        self.networks[name].injected.clear()
        self.wrap(self.networks[name], name)
        return self.networks[name]

    def go(self) -> Trial:
        run_workflow(self.run)
        return self

    @property
    def end(self) -> tuple[str, str]:
        return self.run.decision, self.run.end_state

    @property
    def production(self) -> Recording:
        return self.networks["production"]

    def events(self, kind: str) -> list[Event]:
        return [e for e in self.run.journal.events if e.kind == kind]

    def untouched(self) -> bool:
        return self.production.tried == [] and self.restored()

    def restored(self) -> bool:
        return dict(self.production.configs()) == dict(self.scenario.configs)


def trial(change: tuple[str, ...] = HARMLESS, faults: str = "", workflow: str = "", *,
          base: str = RING, **given: Any) -> Trial:  # fmt: skip
    return Trial(scenario_of(change, faults, workflow, base), **given).go()


# -- the ways a run can end --------------------------------------------------------------------


@pytest.fixture(scope="session")
def harmless() -> Trial:
    return trial(TWO_DEVICES)


@pytest.fixture(scope="session")
def drained() -> Trial:
    return trial(DRAIN, SURGE, base=LIMITED)


def test_a_harmless_change_is_confirmed(harmless: Trial) -> None:
    assert harmless.end == ("go", "confirmed")
    wanted = apply(harmless.scenario.configs, harmless.scenario.change.commands)
    assert dict(harmless.production.configs()) == wanted
    assert harmless.run.failure_mode == "none"


def test_the_phases_come_in_order_and_say_so(harmless: Trial) -> None:
    assert [p.__name__ for p in PHASES] == [e.phase for e in harmless.events("phase")]
    assert [e.data["number"] for e in harmless.events("phase")] == [1, 2, 3, 4, 5]
    times = [e.at_s for e in harmless.run.journal.events]
    assert times == sorted(times)
    assert harmless.run.journal.events[-1].kind == "end"


def test_the_rollback_is_rehearsed_and_armed_before_the_first_command(harmless: Trial) -> None:
    kinds = [(e.kind, e.data.get("network")) for e in harmless.run.journal.events]
    first = kinds.index(("deploy", "production"))
    assert ("armed", None) in kinds[:first]
    assert ("rehearsed", None) in kinds[:first]
    assert harmless.run.signature is not None
    assert harmless.run.signature.rehearsal.verified


def test_production_is_deployed_device_by_device_with_a_check_between(harmless: Trial) -> None:
    assert [{c.device for c in batch} for batch in harmless.production.sent] == [{"A"}, {"C"}]
    first, second = harmless.production.sent_at_s
    assert second - first >= harmless.scenario.workflow.soak_s
    looks = [t for t, where, _ in harmless.run.forecasts if where == "production"]
    assert any(first < t <= second for t in looks)


def test_a_change_that_cuts_a_site_off_is_refused() -> None:
    found = trial(CUTTING)
    assert found.end == ("no-go", "refused")
    assert found.run.failure_mode == OUTAGE
    assert found.run.blamed == found.scenario.change.commands
    assert found.untouched()


def test_a_change_that_hurts_later_is_rolled_back(drained: Trial) -> None:
    assert drained.end == ("go", "rolled_back")
    assert drained.run.failure_mode == DEGRADATION
    assert drained.run.root_cause == "change"
    assert 0 < (drained.run.time_to_rollback_s or 0) < 5


def test_only_the_blamed_part_is_taken_back(drained: Trial) -> None:
    assert [c.line for c in drained.run.blamed] == ["ip ospf cost 5000"]
    port = drained.production.configs()["A"].interfaces["to-B"]
    assert (port.cost, port.description) == (10, "drained")


def test_a_fault_that_is_not_the_changes_leaves_the_change() -> None:
    found = trial(HARMLESS, "{at_s: 65, link_loss: {link: [A, B], percent: 5}, for_s: 20}")
    assert found.end == ("go", "confirmed")
    assert len(found.events("not_the_change")) == 1
    assert found.run.root_cause == "not the change"


def test_without_the_fault_there_is_nothing_to_tell(harmless: Trial) -> None:
    assert harmless.events("not_the_change") == []


def test_what_stays_broken_at_the_end_needs_a_person() -> None:
    found = trial(HARMLESS, "{at_s: 80, link_loss: {link: [A, B], percent: 5}}")
    assert found.end == ("go", "halted")
    assert found.events("halted")[0].data["unmet"] == ("loss critical < 0.02",)


def test_what_was_broken_before_is_not_held_against_the_change() -> None:
    lossy = "{at_s: 1, link_loss: {link: [A, B], percent: 5}}"
    found = trial(HARMLESS, lossy)
    assert found.end == ("go", "confirmed")


@pytest.mark.parametrize(("percent", "what"), [(5, "loss critical"), (97, "h-A>h-B")])
def test_what_was_broken_in_the_shadow_alone_hides_what_the_change_does(
    percent: int, what: str
) -> None:
    """It fails with the change as before it, which tells nothing of the change."""
    lossy = f"link_loss: {{link: [A, B], percent: {percent}}}, in: shadow"
    found = trial(HARMLESS, f"{{at_s: 1, {lossy}}}")
    assert found.end == ("inconclusive", "halted")
    assert found.untouched()
    why = found.events("decision")[0].data["why"]
    assert any("from before the change on, and not in production" in text for text in why)
    assert what in str(why)
    passed = trial(HARMLESS, f"{{at_s: 1, for_s: 4, {lossy}}}")
    assert passed.end == ("go", "confirmed")


def test_a_dark_shadow_is_inconclusive_and_never_a_go() -> None:
    found = trial(HARMLESS, "{at_s: 12, telemetry_gap: {}, in: shadow}")
    assert found.end == ("inconclusive", "halted")
    assert found.untouched()


def test_a_shadow_that_does_not_take_the_change_is_inconclusive() -> None:
    found = trial(HARMLESS, "{at_s: 9, controller_lost: {device: A}, in: shadow}")
    assert found.end == ("inconclusive", "halted")
    assert found.untouched()


def test_a_rollback_that_fails_its_rehearsal_is_inconclusive() -> None:
    # Deaf from the end of phase 2 on: the trial is in, but cannot be taken out.
    found = trial(HARMLESS, "{at_s: 42.5, controller_lost: {device: A}, in: shadow}")
    assert found.end == ("inconclusive", "halted")
    assert found.untouched()


def test_a_production_that_answers_nobody_is_left_alone() -> None:
    found = trial(HARMLESS, "{at_s: 30, controller_lost: {device: A}}")
    assert found.end == ("go", "refused")
    assert len(found.production.tried) == 3
    assert found.production.sent == []


def test_a_device_that_does_not_answer_half_way_takes_back_the_first() -> None:
    found = trial(TWO_DEVICES, "{at_s: 30, controller_lost: {device: C}}")
    assert found.end == ("go", "rolled_back")
    assert [{c.device for c in batch} for batch in found.production.sent] == [{"A"}, {"A"}]
    answering = found.production.configs()
    assert {n: c for n, c in found.scenario.configs.items() if n in answering} == dict(answering)


def test_a_rollback_that_a_device_does_not_take_needs_a_person() -> None:
    found = trial(DRAIN, f"{SURGE}, {{at_s: 60, controller_lost: {{device: A}}}}", base=LIMITED)
    assert found.end == ("go", "halted")
    assert "timed out" in found.events("halted")[0].data["failed"][0]


def test_drift_of_production_reaches_the_shadow_without_undoing_the_trial() -> None:
    drift = '{at_s: 20, config_drift: {device: D, script: "interface to-A\\n ip ospf cost 11\\n"}}'
    found = trial(TWO_DEVICES, drift)
    assert found.end[0] == "go"
    assert [c for e in found.events("drift_repaired") for c in e.data["commands"]] == [
        "D: interface to-A / ip ospf cost 11"
    ]


def test_a_change_of_nothing_is_confirmed() -> None:
    found = trial(())
    assert found.end == ("go", "confirmed")
    assert found.untouched()


def test_a_network_without_traffic_can_be_changed() -> None:
    idle = RING[: RING.index("traffic:")]
    found = trial(HARMLESS, base=idle)
    assert found.end == ("go", "confirmed")
    assert document(found.run, "simulated")["breach_s"] == 0.0


def test_both_networks_are_closed_whatever_comes(harmless: Trial) -> None:
    assert {name: n.closed for name, n in harmless.networks.items()} == {
        "production": 1,
        "shadow": 1,
    }


# -- who may decide ----------------------------------------------------------------------------


class Person:
    """Answers what it was told to, and keeps the questions."""

    def __init__(self, **answers: bool | None) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, question: str, forecast: Forecast) -> bool | None:
        self.asked.append(question)
        return self.answers["back" if question.startswith("roll back") else "deploy"]


def test_observing_never_touches_production() -> None:
    for change in (HARMLESS, DRAIN, CUTTING):
        person = Person()
        found = trial(change, workflow="autonomy: observe", approve=person)
        assert found.run.end_state == "refused"
        assert found.untouched()
        assert found.production.offers == 0
        assert found.production.injected == []
        assert person.asked == []


@pytest.mark.parametrize(
    ("answer", "end_state"), [(True, "confirmed"), (False, "refused"), (None, "halted")]
)
def test_a_person_is_asked_before_production_is_touched(
    answer: bool | None, end_state: str
) -> None:
    person = Person(deploy=answer)
    found = trial(workflow="autonomy: ask", approve=person)
    assert found.end == ("go", end_state)
    assert found.untouched() is (answer is not True)
    assert len(person.asked) == 1
    assert "a change" in person.asked[0]


def test_a_person_is_not_asked_to_overrule_a_no_go() -> None:
    person = Person(deploy=True)
    assert trial(CUTTING, workflow="autonomy: ask", approve=person).end == ("no-go", "refused")
    assert person.asked == []


@pytest.mark.parametrize("answer", [True, None])
def test_a_rollback_goes_ahead_unless_somebody_says_no(answer: bool | None) -> None:
    person = Person(deploy=True, back=answer)
    found = trial(DRAIN, SURGE, "autonomy: ask", base=LIMITED, approve=person)
    assert found.end == ("go", "rolled_back")
    assert len(person.asked) == 2


def test_a_no_to_the_rollback_is_final_and_leaves_the_change() -> None:
    person = Person(deploy=True, back=False)
    found = trial(DRAIN, SURGE, "autonomy: ask", base=LIMITED, approve=person)
    assert found.end == ("go", "halted")
    assert len(person.asked) == 2
    assert len(found.production.sent) == 1


# -- forecasts only make it stricter -----------------------------------------------------------


class Stub:
    """A PreCog that always says the same."""

    name = "stub"

    def __init__(self, said: Forecast) -> None:
        self._said = said

    def forecast(self, evidence: Evidence) -> Forecast:
        return self._said


def says(probability: float, mode: str = OUTAGE) -> Stub:
    return Stub(forecast_of([Reason("stub", mode, probability, "because")]))


CAREFREE = Stub(Forecast())


@pytest.mark.parametrize("change", [
    CUTTING,
    ("device A", "no ip access-list extended MGMT"),
    ("device A", "interface to-B", " ip ospf cost 5000", " rate-limit output 1000000",
     "interface to-D", " rate-limit output 1000000"),
], ids=["outage", "management", "loss"])  # fmt: skip
def test_a_carefree_forecast_cannot_pass_what_hard_checks_fail(change: tuple[str, ...]) -> None:
    found = trial(change, precog=CAREFREE)
    assert found.end == ("no-go", "refused")
    assert found.untouched()


def test_who_is_cut_off_before_hides_nobody_whom_the_change_cuts_off() -> None:
    """The intent of all hosts does not hold for T, and has not before; for C it did."""
    shut = RING + "configs:\n  B: |\n    interface to-T\n     shutdown\n"
    without_c = ("device C", "interface to-B", " shutdown", "interface to-D", " shutdown")
    found = Trial(scenario_of(without_c, base=shut), CAREFREE).go()
    assert found.end == ("no-go", "refused")
    assert found.run.refused_by == ("breaks reachable any>any",)
    assert Trial(scenario_of(HARMLESS, base=shut), CAREFREE).go().end == ("go", "confirmed")


def test_a_carefree_forecast_cannot_pass_missing_data() -> None:
    found = trial(HARMLESS, "{at_s: 12, telemetry_gap: {}, in: shadow}", precog=CAREFREE)
    assert found.end == ("inconclusive", "halted")
    assert found.untouched()


@pytest.mark.parametrize("mode", MODES)
def test_a_certain_forecast_refuses_a_harmless_change(mode: str) -> None:
    found = trial(precog=says(1.0, mode))
    assert found.end == ("no-go", "refused")
    assert found.run.failure_mode == mode
    assert found.untouched()


@pytest.mark.parametrize(("probability", "decision"), [
    (0.34, "go"), (0.35, "inconclusive"), (0.49, "inconclusive"), (0.5, "no-go"),
])  # fmt: skip
def test_the_bars_of_the_scenario_decide(probability: float, decision: str) -> None:
    found = trial(precog=says(probability))
    assert found.run.decision == decision
    assert found.untouched() is (decision != "go")


def test_a_certain_forecast_without_reasons_refuses_too() -> None:
    certain = Stub(Forecast({**dict.fromkeys(MODES, 0.0), OUTAGE: 1.0}))
    assert trial(precog=certain).end == ("no-go", "refused")


def test_a_forecast_of_nan_is_never_a_go() -> None:
    assert trial(precog=says(float("nan"))).run.decision != "go"


# -- missing data in production ----------------------------------------------------------------


def test_a_production_that_goes_dark_while_it_is_watched_is_taken_back() -> None:
    found = trial(HARMLESS, "{at_s: 60, telemetry_gap: {}}")
    assert found.end == ("go", "rolled_back")
    assert found.restored()


def test_what_is_taken_back_in_the_dark_is_not_said_to_serve_anybody() -> None:
    """Its configs are read back, but of users nothing is known, and missing data is no pass."""
    found = trial(HARMLESS, "{at_s: 60, telemetry_gap: {}}")
    (said,) = found.events("rolled_back")
    unknown = ("critical traffic", "normal traffic", "loss critical < 0.02")
    assert said.data["not_known"] == tuple(f"nothing is known of {name}" for name in unknown)
    assert found.run.execution is not None
    assert not found.run.execution.verified
    assert found.run.execution.failed == ()
    told = str(say(said))
    assert told.startswith("rolled back and its configs verified in ")
    assert "nothing is known of critical traffic" in told


def test_an_order_in_the_dark_is_planned_for_the_traffic_of_before() -> None:
    found = trial(HARMLESS, "{at_s: 60, telemetry_gap: {}}")
    assert ground(found.run).rates_bps == pytest.approx([6e6, 6e6, 2e6], rel=0.2)


def test_a_production_that_was_never_seen_is_not_confirmed() -> None:
    found = trial(HARMLESS, "{at_s: 46, telemetry_gap: {}}", "monitor_s: 10, soak_s: 1")
    assert found.run.decision == "go"
    assert found.run.end_state != "confirmed"


# -- what a change sets only in passing --------------------------------------------------------

SHUT_MEANWHILE = (
    "device A", "interface to-B", " shutdown", "device C", "interface to-D", " description c",
    "device A", "interface to-B", " description a", " no shutdown",
)  # fmt: skip
SHUT_AT_ONCE = ("device A", "interface to-B", " shutdown", " description a", " no shutdown")


@pytest.mark.parametrize("taken", [1, 2])
def test_a_device_that_dies_in_the_middle_of_its_commands_is_left_as_it_was(taken: int) -> None:
    """It has taken some of them, and does what it is told again afterwards."""

    def wrap(network: Recording, name: str) -> None:
        apply_all, wrapped = network.apply, cast("Any", network)

        def some(commands: Sequence[Command]) -> None:
            wrapped.apply = apply_all
            apply_all(commands[:taken])

        if name == "production":
            wrapped.apply = some

    found = trial(SHUT_AT_ONCE, wrap=wrap)
    assert found.end == ("go", "rolled_back")
    assert found.restored()


def test_a_run_that_is_interrupted_after_any_device_leaves_nothing_it_set_in_passing() -> None:
    for nth in (1, 4, 7):
        watch = Interrupter("forecast", "production", nth)
        found = interrupted(Trial(scenario_of(SHUT_MEANWHILE), watch=watch))
        assert found.restored()
        assert found.run.end_state == "rolled_back"


def test_what_fails_while_a_port_is_shut_in_passing_is_due_to_the_change() -> None:
    """The spare path fails then; with the port open nobody would have noticed."""
    at_s = first_deployed_s(SHUT_MEANWHILE, "soak_s: 8")
    cut = f"{{at_s: {at_s + 2}, link_down: {{link: [A, D]}}}}"
    found = trial(SHUT_MEANWHILE, cut, "soak_s: 8")
    assert found.end == ("go", "rolled_back")
    assert found.run.root_cause == "change"
    assert [c.line for c in found.run.blamed] == ["shutdown"]
    assert found.restored()


# -- a production that fails while a change is half way out ------------------------------------


def first_deployed_s(change: tuple[str, ...], workflow: str = "", base: str = RING) -> float:
    """When the first device of production gets a change."""
    deployed = trial(change, workflow=workflow, base=base).events("deploy")
    return next(event.at_s for event in deployed if event.data["network"] == "production")


def others_cut_off(at_s: float, for_s: str = "") -> str:
    return (
        f'{{at_s: {at_s}, config_drift: {{device: T, script: "interface to-B\\n shutdown\\n"}}'
        f"{for_s}}}"
    )


def test_no_other_device_is_changed_while_production_fails() -> None:
    at_s = first_deployed_s(TWO_DEVICES) + 1.0
    found = trial(TWO_DEVICES, others_cut_off(at_s, ", for_s: 8"))
    assert found.end == ("go", "confirmed")
    (frozen,), (thawed,) = found.events("frozen"), found.events("thawed")
    assert frozen.data["device"] == "C"
    assert frozen.data["signs"] == ("reachable any>any",)
    assert at_s + 8.0 <= thawed.at_s <= found.production.sent_at_s[1]
    assert all(say(event) for event in (frozen, thawed))
    assert found.run.root_cause in ("none", "not the change")


def test_a_change_half_way_out_into_a_failing_production_is_taken_back() -> None:
    at_s = first_deployed_s(TWO_DEVICES) + 1.0
    found = trial(TWO_DEVICES, others_cut_off(at_s))
    assert found.end == ("go", "rolled_back")
    assert [{c.device for c in batch} for batch in found.production.sent] == [{"A"}, {"A"}]
    (frozen,), (back,) = found.events("frozen"), found.events("rolled_back")
    horizon_s = found.scenario.workflow.horizon_s
    assert found.events("trigger")[0].at_s == pytest.approx(frozen.at_s + horizon_s, abs=1.0)
    assert found.run.root_cause in ("unknown", "not the change")
    (said, *_) = back.data["by_others"]
    assert "is broken by what others have set: 'T: interface to-B / shutdown'" in said
    configs = found.production.configs()
    assert configs["T"].interfaces["to-B"].shutdown
    assert {n: c for n, c in configs.items() if n != "T"} == {
        n: c for n, c in found.scenario.configs.items() if n != "T"
    }


def test_no_other_device_is_changed_in_the_dark() -> None:
    at_s = first_deployed_s(TWO_DEVICES) + 1.5
    found = trial(TWO_DEVICES, f"{{at_s: {at_s}, telemetry_gap: {{}}, for_s: 2.5}}")
    assert found.end == ("go", "confirmed")
    assert found.events("frozen")[0].data["signs"] == ("too little of its telemetry arrives",)
    assert found.production.sent_at_s[1] > at_s + 2.5


def test_what_was_broken_before_freezes_nothing() -> None:
    at_s = first_deployed_s(TWO_DEVICES) - 1.0
    found = trial(TWO_DEVICES, others_cut_off(at_s))
    assert found.events("frozen") == []
    assert len(found.production.sent) == 2


def test_a_person_who_wants_to_go_on_is_not_kept_waiting() -> None:
    at_s = first_deployed_s(TWO_DEVICES) + 1.0
    person = Person(deploy=True, back=False)
    found = trial(TWO_DEVICES, others_cut_off(at_s), "autonomy: ask", approve=person)
    assert len(person.asked) == 2
    assert len(found.production.sent) == 2


# -- interruptions -----------------------------------------------------------------------------


class Interrupter:
    """Raises at the n-th event that fits, once."""

    def __init__(self, kind: str, phase: str = "", nth: int = 1) -> None:
        self._kind, self._phase, self._left = kind, phase, nth

    def __call__(self, event: Event) -> None:
        if event.kind == self._kind and event.phase.startswith(self._phase):
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


class Asking(Interrupter):
    """Asks the run to end at that event, as a signal does."""

    def __call__(self, event: Event) -> None:
        try:
            super().__call__(event)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[None]:
    """Who starts the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(found: Trial) -> Trial:
    with pytest.raises(KeyboardInterrupt):
        found.go()
    return found


@pytest.mark.parametrize(("kind", "phase", "nth"), [
    ("armed", "production", 1),
    ("deploy", "production", 1),
    ("forecast", "production", 1),
    ("forecast", "production", 3),
    ("deploy", "production", 2),
    ("forecast", "production", 5),
    ("phase", "realtime", 1),
    ("forecast", "realtime", 1),
    ("forecast", "realtime", 59),
], ids=str)  # fmt: skip
def test_an_interruption_rolls_production_back_before_it_leaves(
    kind: str, phase: str, nth: int
) -> None:
    found = interrupted(Trial(scenario_of(TWO_DEVICES), watch=Interrupter(kind, phase, nth)))
    assert found.restored()
    assert not found.production.busy
    assert found.production.closed == 1


def test_a_request_to_end_in_the_middle_of_a_reading_leaves_no_reading_half_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rollback is planned by these readings, and the record is made of them."""
    found = Trial(scenario_of(TWO_DEVICES))
    asked: list[float] = []
    offered = Stretch.offered

    def asking(stretch: Stretch, flows: int) -> Any:
        if found.run.deployed and not asked:
            asked.append(found.run.now)
            signal.raise_signal(signal.SIGINT)
        return offered(stretch, flows)

    monkeypatch.setattr(Stretch, "offered", asking)
    with interruptible():
        interrupted(found)
    assert found.restored()
    assert (found.run.end_state, found.run.root_cause) == ("rolled_back", "interrupted")
    for telemetry in found.run.telemetry.values():
        assert all(len(sample.column("device", "cpu")) for sample in telemetry.samples)


def test_a_reading_that_is_cut_short_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again to end while a first request waits is heard at once, wherever that is."""
    scenario = scenario_of(HARMLESS)
    network = NETWORKS["simulated"](scenario, scenario.configs, "production")
    samples = network.advance(3.0)
    offered = Stretch.offered

    def cut(stretch: Stretch, flows: int) -> Any:
        monkeypatch.setattr(Stretch, "offered", offered)
        raise KeyboardInterrupt

    monkeypatch.setattr(Stretch, "offered", cut)
    with pytest.raises(KeyboardInterrupt):
        samples[0].column("device", "cpu")
    for sample in samples:
        assert np.isnan(sample.column("device", "cpu")).all()
        assert sample.column("demand", "loss").shape == (len(scenario.traffic.demands),)
    assert not np.isnan(network.advance(4.0)[0].column("device", "cpu")).any()


def test_an_interrupted_rollback_is_finished() -> None:
    for kind, phase in (("trigger", ""), ("rollback", ""), ("step", "realtime")):
        watch = Interrupter(kind, phase)
        found = interrupted(Trial(scenario_of(DRAIN, SURGE, base=LIMITED), watch=watch))
        assert found.restored(), kind
        assert found.run.end_state == "rolled_back"


def test_an_interruption_before_production_is_touched_touches_nothing() -> None:
    for kind, nth in (("shadow_created", 1), ("forecast", 3), ("rehearsed", 1), ("decision", 1)):
        found = interrupted(Trial(scenario_of(TWO_DEVICES), watch=Interrupter(kind, nth=nth)))
        assert found.untouched(), kind
        assert found.production.closed == 1


@pytest.mark.parametrize(("kind", "phase", "nth"), [
    ("phase", "shadow", 1), ("shadow_created", "", 1), ("rehearsed", "", 1), ("decision", "", 1),
    ("phase", "production", 1), ("armed", "", 1),
], ids=str)  # fmt: skip
def test_a_request_to_end_before_production_is_touched_touches_nothing(
    kind: str, phase: str, nth: int
) -> None:
    with interruptible():
        found = interrupted(Trial(scenario_of(TWO_DEVICES), watch=Asking(kind, phase, nth)))
    assert found.untouched()
    assert found.production.closed == 1
    assert found.run.deployed_since_s is None
    assert bool(found.events("armed")) == (kind == "armed")


def test_a_request_to_end_between_two_devices_leaves_the_second_alone(harmless: Trial) -> None:
    rolled_out = [e.kind for e in harmless.run.journal.events if e.phase.startswith("production")]
    second = rolled_out.index("deploy", rolled_out.index("deploy") + 1)
    watch = Asking("forecast", "production", rolled_out[:second].count("forecast"))
    with interruptible():
        found = interrupted(Trial(scenario_of(TWO_DEVICES), watch=watch))
    assert found.restored()
    assert {command.device for command in found.run.deployed} == {"A"}


def test_a_request_to_end_right_before_the_confirmation_takes_the_change_back(
    harmless: Trial,
) -> None:
    last = sum(e.phase.startswith("realtime") for e in harmless.events("forecast"))
    with interruptible():
        watch = Asking("forecast", "realtime", last)
        found = interrupted(Trial(scenario_of(TWO_DEVICES), watch=watch))
    assert found.restored()
    assert (found.run.end_state, found.run.root_cause) == ("rolled_back", "interrupted")


def test_a_run_that_has_ended_is_not_ended_once_more() -> None:
    lost = "{at_s: 30, controller_lost: {device: A}}"
    found = interrupted(Trial(scenario_of(HARMLESS, lost), watch=Interrupter("not_deployed")))
    assert found.run.end_state == "refused"
    assert len(found.events("not_deployed")) == 1


def test_an_interruption_after_the_end_leaves_what_is_confirmed() -> None:
    found = interrupted(Trial(scenario_of(HARMLESS), watch=Interrupter("confirmed")))
    assert found.run.end_state == "confirmed"
    assert not found.restored()


FIVE_LINES = (
    "device A", "interface to-B", " description one", " ip ospf cost 12", " mtu 1500",
    "interface to-D", " description two", " ip ospf cost 12",
)  # fmt: skip


def test_an_interruption_while_a_device_installs_rolls_back_all_of_it() -> None:
    def wrap(network: Recording, name: str) -> None:
        if name == "production":
            _interrupt_while_busy(network)

    found = interrupted(Trial(scenario_of(FIVE_LINES), wrap=wrap))
    assert found.restored()
    assert found.run.end_state == "rolled_back"


@pytest.mark.parametrize("scope", ["full", "subset"])
def test_a_production_that_does_not_answer_at_first_is_shadowed_as_it_was_set_up(
    scope: str,
) -> None:
    def wrap(network: Recording, name: str) -> None:
        if name == "production":
            inner = network.network
            network.configs = lambda: inner.configs() if inner.now > 2.0 else {}

    document = f"shadow: {{scope: {scope}}}\n"
    found = trial(HARMLESS, base=RING + document, wrap=wrap)
    assert found.end == ("go", "confirmed")


def refusing(where: str) -> Callable[[Recording, str], None]:
    """A device of one network that does not take over what its config says, once it is changed."""

    def wrap(network: Recording, name: str) -> None:
        before = network.configs()["A"]

        def misprogrammed() -> dict[str, str]:
            follows = network.configs().get("A", before) == before
            return {} if follows else {"A": "3 flows differ"}

        if name == where:
            network.misprogrammed = misprogrammed

    return wrap


def test_tables_of_the_shadow_that_do_not_follow_are_inconclusive() -> None:
    found = trial(wrap=refusing("shadow"))
    assert found.end == ("inconclusive", "halted")
    assert found.untouched()
    told = found.events("misprogrammed")[0]
    assert told.data == {"network": "shadow", "device": "A", "why": "3 flows differ"}
    assert say(told) == "shadow: rules of A are not those of its config: 3 flows differ"


def test_tables_of_production_that_do_not_follow_take_the_change_back() -> None:
    found = trial(TWO_DEVICES, wrap=refusing("production"))
    assert found.end == ("go", "rolled_back")
    assert found.restored()
    assert {c.device for c in found.run.deployed} == {"A"}


def test_who_wants_to_keep_what_a_device_took_in_part_is_heard() -> None:
    person = Person(deploy=True, back=False)
    wrap = refusing("production")
    found = trial(TWO_DEVICES, workflow="autonomy: ask", approve=person, wrap=wrap)
    assert found.end == ("go", "halted")
    assert found.run.root_cause == "none"
    assert len(person.asked) == 2
    wanted = apply(found.scenario.configs, found.run.deployed)
    assert dict(found.production.configs()) == wanted
    assert "a person wants to keep" in say(found.events("halted")[0])


def _interrupt_while_busy(network: Recording) -> None:
    inner, before = network.network, dict(network.network.configs())
    done = []

    def advance(until_s: float) -> Any:
        samples = inner.advance(until_s)
        if inner.busy and dict(inner.configs()) != before and not done:
            done.append(True)
            raise KeyboardInterrupt
        return samples

    network.advance = advance  # type: ignore[method-assign, attr-defined]


def test_a_watch_that_is_gone_for_good_does_not_stop_the_rollback() -> None:
    def gone(event: Event) -> None:
        if event.phase == "realtime_monitoring":
            raise BrokenPipeError

    found = Trial(scenario_of(HARMLESS), watch=gone)
    try:
        found.go()
    except BrokenPipeError:
        if not found.restored():
            raise


def test_an_error_in_a_phase_rolls_back_like_an_interruption() -> None:
    class Failing(Stub):
        def forecast(self, evidence: Evidence) -> Forecast:
            if evidence.phase == "production":
                raise ZeroDivisionError
            return Forecast()

    found = Trial(scenario_of(HARMLESS), precog=Failing(Forecast()))
    with pytest.raises(ZeroDivisionError):
        found.go()
    assert found.restored()


# -- a shadow that is lost ---------------------------------------------------------------------


def test_what_goes_on_beside_a_run_cannot_end_it(harmless: Trial) -> None:
    """As an answer to a request does that is at work when the shadow dies."""
    found = Trial(harmless.scenario)
    asked = 0

    def beside(run: Run) -> None:
        nonlocal asked
        asked += 1
        if asked == 40:
            raise OSError(5, "one thing")
        if asked > 20:
            raise Unreachable("the shadow does not answer")

    found.run.beside = beside
    found.go()
    assert found.end == ("go", "confirmed")
    told = [e.data["detail"] for e in found.events("beside_failed")]
    assert told == ["the shadow does not answer", "[Errno 5] one thing"]
    assert asked > 50


class Gone(ShadowsimError):
    """What a network raises that died and could not be mended."""


class Ender:
    """Ends a network at the n-th event that fits: its time stands still, nothing answers.

    `surfaces_in` is the network that says so when it is advanced.
    """

    def __init__(self, kind: str, phase: str, nth: int = 1, *, ends: str = "shadow",
                 surfaces_in: str = "shadow") -> None:  # fmt: skip
        self._kind, self._phase, self._left = kind, phase, nth
        self._ends, self._surfaces_in = ends, surfaces_in
        self.told = 0

    def watch(self, event: Event) -> None:
        self._left -= event.kind == self._kind and event.phase.startswith(self._phase)

    def wrap(self, network: Recording, name: str) -> None:
        inner: Any = network.network
        wrapped: Any = network

        def advance(until_s: float) -> Any:
            if self._left <= 0 and name == self._surfaces_in and not self.told:
                self.told += 1
                raise Gone("no agent today")
            return inner.advance(until_s)

        wrapped.advance = advance
        if name == self._ends:
            wrapped.configs = lambda: {} if self._left <= 0 else inner.configs()

    def trial(self, *given: Any, **more: Any) -> Trial:
        return Trial(scenario_of(*given, **more), wrap=self.wrap, watch=self.watch)


@pytest.mark.parametrize("surfaces_in", ["shadow", "production"])
@pytest.mark.parametrize(("kind", "phase", "nth"), [
    ("armed", "production", 1),
    ("deploy", "production", 2),
    ("forecast", "production", 3),
    ("phase", "realtime", 1),
    ("forecast", "realtime", 59),
], ids=str)  # fmt: skip
def test_a_shadow_that_is_lost_after_the_go_leaves_production_to_itself(
    kind: str, phase: str, nth: int, surfaces_in: str
) -> None:
    ender = Ender(kind, phase, nth, surfaces_in=surfaces_in)
    found = ender.trial(TWO_DEVICES).go()
    assert found.end == ("go", "confirmed")
    assert found.events("trigger") == found.events("interrupted") == []
    (lost,) = found.events("shadow_lost")
    assert say(lost) == "the shadow was lost: no agent today"
    assert ender.told == 1
    told = document(found.run, "simulated")
    assert told["shadow"]["lost"]
    assert told["observed_in"] == "production"
    production, shadow = (found.run.telemetry[name].at_s for name in ("production", "shadow"))
    assert production[-1] == pytest.approx(found.run.now, abs=1.0)
    assert len(production) - len(shadow) >= (0 if nth == 59 else 50)
    assert {network.closed for network in found.networks.values()} == {1}


@pytest.mark.parametrize("surfaces_in", ["shadow", "production"])
def test_production_is_rolled_back_without_a_shadow_too(surfaces_in: str, drained: Trial) -> None:
    ender = Ender("phase", "realtime", surfaces_in=surfaces_in)
    found = ender.trial(DRAIN, SURGE, base=LIMITED).go()
    assert found.end == drained.end == ("go", "rolled_back")
    assert dict(found.production.configs()) == dict(drained.production.configs())
    assert [len(found.events(kind)) for kind in ("shadow_lost", "rolled_back")] == [1, 1]


@pytest.mark.parametrize("surfaces_in", ["shadow", "production"])
@pytest.mark.parametrize(("kind", "phase", "nth"), [
    ("shadow_created", "shadow", 1),
    ("baseline_taken", "shadow", 1),
    ("deploy", "shadow", 2),
    ("phase", "traffic", 1),
    ("forecast", "traffic", 3),
    ("rehearsal", "risk", 1),
    ("rehearsal", "risk", 2),
], ids=str)  # fmt: skip
def test_a_shadow_that_is_lost_before_the_decision_is_never_a_go(
    kind: str, phase: str, nth: int, surfaces_in: str
) -> None:
    found = Ender(kind, phase, nth, surfaces_in=surfaces_in).trial(TWO_DEVICES).go()
    assert found.end == ("inconclusive", "halted")
    assert found.untouched()
    (decision,) = found.events("decision")
    assert len(found.events("shadow_lost")) == 1
    assert decision.data["why"] == ["the shadow was lost: no agent today"]
    told = document(found.run, "simulated")
    assert (told["decision"], told["shadow"]["lost"]) == ("inconclusive", True)
    assert {network.closed for network in found.networks.values()} == {1}


def test_a_shadow_whose_database_cannot_be_read_is_inconclusive() -> None:
    """At every time at which it is asked for; not once in the run is that a go."""
    for nth in (1, 2, 3, 20):
        asked = []

        def wrap(network: Recording, name: str, nth: int = nth, asked: list[str] = asked) -> None:
            followed = network.network.followed
            wrapped: Any = network

            def ask() -> Any:
                asked.append(name)
                if len(asked) >= nth and not network.closed:
                    raise Unreachable("its database was lost")
                return followed()

            wrapped.followed = ask

        found = Trial(scenario_of(TWO_DEVICES), wrap=wrap).go()
        assert found.end == ("inconclusive", "halted"), nth
        assert found.untouched()
        looked_s = [event.at_s for event in found.events("unreachable")]
        assert all(b - a >= 2.0 - 1e-6 for a, b in pairwise(looked_s)), nth
        assert bool(looked_s) == (nth > 2)


def test_the_end_of_production_is_not_taken_for_the_shadows() -> None:
    ender = Ender("phase", "realtime", ends="production", surfaces_in="production")
    found = ender.trial(TWO_DEVICES)
    with pytest.raises(Gone):
        found.go()
    assert found.events("shadow_lost") == []
    assert len(found.events("interrupted")) == 1
    before = Ender("phase", "traffic", ends="production", surfaces_in="production")
    found = before.trial(TWO_DEVICES)
    with pytest.raises(Gone):
        found.go()
    assert found.production.tried == []


# -- production before the decision ------------------------------------------------------------


@pytest.fixture(scope="session")
def shipped() -> dict[str, Trial]:
    """The scenarios of the project, with recorded networks."""
    return {path.stem: Trial(load(path)).go() for path in SCENARIOS}


def test_what_is_refused_has_not_changed_production(shipped: dict[str, Trial]) -> None:
    refused = [t for t in shipped.values() if t.run.end_state == "refused"]
    assert len(refused) >= 5
    for found in refused:
        assert found.production.sent == [], found.scenario.name
        if not any(f.kind == "config_drift" for f in found.scenario.faults):
            answering = found.production.configs()
            before = {n: c for n, c in found.scenario.configs.items() if n in answering}
            assert dict(answering) == before, found.scenario.name


def test_production_is_changed_after_a_go_and_never_before(shipped: dict[str, Trial]) -> None:
    deployed = 0
    for found in shipped.values():
        decisions = found.events("decision")
        assert len(decisions) == 1, found.scenario.name
        if found.production.sent:
            deployed += 1
            assert decisions[0].data["decision"] == "go"
            assert min(found.production.sent_at_s) >= decisions[0].at_s
    assert deployed >= 5


def test_the_workflow_injects_nothing_and_offers_nothing_to_production(
    shipped: dict[str, Trial],
) -> None:
    for found in shipped.values():
        assert found.production.offers == 0
        assert found.production.injected == []
        assert found.networks["shadow"].offers > 0


def test_every_event_can_be_told_to_a_person(shipped: dict[str, Trial]) -> None:
    told = {e.kind for t in shipped.values() for e in t.run.journal.events if say(e) is not None}
    assert {"decision", "deploy", "rehearsed", "trigger", "confirmed", "rolled_back"} <= told


# -- the journal -------------------------------------------------------------------------------


def test_every_line_of_a_journal_is_an_object_of_strict_json(shipped: dict[str, Trial]) -> None:
    def strict(word: str) -> None:
        raise AssertionError(word)

    for found in shipped.values():
        for line in found.run.journal.text().splitlines():
            entry = json.loads(line, parse_constant=strict)
            assert {"at_s", "phase", "event"} <= set(entry)


def test_a_journal_is_told_as_it_is_written() -> None:
    seen: list[Event] = []
    journal = Journal(seen.append)
    journal.write(1.25, "p", "k", names=("a", "b"), share=1 / 3, which={"x": None})
    assert seen == journal.events
    assert json.loads(journal.text()) == {
        "at_s": 1.25, "phase": "p", "event": "k", "names": ["a", "b"], "share": 0.333333,
        "which": {"x": None},
    }  # fmt: skip


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.int64(3), np.bool_(True)], ids=repr
)
def test_numbers_stay_numbers_in_a_journal(value: Any) -> None:
    def strict(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(Event(0.0, "p", "k", {"value": value}).line(), parse_constant=strict)
    assert not isinstance(found["value"], str)
