"""Situations in which a wrong verdict was once given; each must be judged rightly ever after."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shadowsim.journal import Event, Journal
from shadowsim.network import NETWORKS
from shadowsim.precog import Forecast, WhatIf, variant
from shadowsim.record import document
from shadowsim.scenario import load, parse
from shadowsim.workflow import Run, run_workflow

DESCRIBE = "device ATLAng\ninterface to-HSTNng\n description x\n"
DRAIN = (
    "device ATLAng\ninterface to-HSTNng\n ip ospf cost 5000\n"
    "device HSTNng\ninterface to-ATLAng\n ip ospf cost 5000\n"
)
CUT_OFF = "device HSTNng\ninterface to-KSCYng\n shutdown\ninterface to-LOSAng\n shutdown\n"


def outcome(
    script: str, *faults: str, more: str = "", limits: str = "", scale: float = 0.4
) -> tuple[Run, dict[str, Any]]:
    """Run a change on Abilene and return the run and its document."""
    listed = "".join(f"  - {fault}\n" for fault in faults)
    body = "".join(f"    {line}\n" for line in script.splitlines())
    text = f"""
name: situation
seed: 7
topology: {{topohub: sndlib/abilene, links: {{rate_mbps: 100}}}}
traffic: {{demands: topohub, scale: {scale}}}
intents:
  - {{reachable: {{from: any, to: any}}}}
  - {{utilisation: {{below_percent: 90}}}}
{limits}
change:
  summary: a change
  script: |
{body}
faults:{" []" if not faults else ""}
{listed}
{more}
"""
    scenario = parse(text, file="situation.yml")
    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant(scenario.workflow.precog, whatif)
    run = run_workflow(Run(scenario, NETWORKS["simulated"], precog, whatif, Journal()))
    return run, document(run, "simulated")


def test_a_change_that_did_not_get_in_is_never_confirmed() -> None:
    """The controller is lost while the first device installs, and comes back."""
    scripts = DRAIN.replace("5000", "30")
    for at_s in (50.0, 50.1, 50.2, 50.25, 50.3):
        run, found = outcome(
            scripts, f"{{at_s: {at_s}, controller_lost: {{device: ATLAng}}, for_s: 1.5}}"
        )
        in_force = run.runs(run.production, run.scenario.change.commands)
        assert (found["end_state"] == "confirmed") == in_force


def test_a_change_that_somebody_undid_is_not_confirmed() -> None:
    undo = (
        '{at_s: 60, config_drift: {device: ATLAng, script: "interface to-HSTNng\\n'
        ' no description\\n"}}'
    )
    _, found = outcome(DESCRIBE, undo)
    assert found["end_state"] == "halted"


@pytest.mark.parametrize("precog", ["threshold", "judge", "script", "hybrid"])
def test_a_partition_in_production_is_taken_back_whatever_the_variant(precog: str) -> None:
    _, found = outcome(
        CUT_OFF,
        "{at_s: 60, link_down: {link: [ATLAng, HSTNng]}}",
        more=f"workflow: {{precog: {precog}}}",
    )
    assert (found["decision"], found["end_state"]) == ("go", "rolled_back")
    assert found["failure_mode"] == "service_outage"
    assert found["breach_s"] < 5


def test_what_others_open_is_not_blamed_on_the_change() -> None:
    run, found = outcome(
        DESCRIBE, '{at_s: 60, config_drift: {device: LOSAng, script: "management telnet\\n"}}'
    )
    assert (found["end_state"], found["root_cause"]) == ("confirmed", "not the change")
    assert "telnet" in run.production.configs()["LOSAng"].management


def test_a_rollback_restores_what_was_there_at_the_deployment() -> None:
    """Others raised a cost before it; the rollback must not bring back the value of long ago."""
    drift = (
        '{at_s: 30, config_drift: {device: ATLAng, script: "interface to-HSTNng\\n'
        ' ip ospf cost 12\\n"}}'
    )
    surge = "{at_s: 75, traffic_surge: {factor: 1.4}}"
    run, found = outcome(DRAIN, drift, surge, scale=0.5)
    assert found["end_state"] == "rolled_back"
    cost = run.production.configs()["ATLAng"].interfaces["to-HSTNng"].cost
    assert cost in (12, 5000)


@pytest.mark.parametrize(
    "fault",
    [
        "{at_s: 60, link_delay: {link: [ATLAng, WASHng], add_ms: 80}, for_s: 25}",
        "{at_s: 60, link_rate: {link: [ATLAng, WASHng], percent: 10}, for_s: 25}",
        "{at_s: 60, table_full: {device: ATLAng, percent: 0.1}, for_s: 25}",
        "{at_s: 60, device_crash: {device: ATLAng}, for_s: 25}",
        "{at_s: 60.3, link_down: {link: [ATLAng, ATLAM5]}, for_s: 20.9}",
    ],
)
def test_a_description_is_never_blamed_for_a_fault(fault: str) -> None:
    limits = "  - {latency: {class: normal, below_ms: 60}}\n  - {loss: {below_percent: 2}}"
    _, found = outcome(DESCRIBE, fault, limits=limits)
    assert (found["end_state"], found["root_cause"]) == ("confirmed", "not the change")
    assert found["blamed"] == []
    assert found["breach_s"] > 15


def test_what_was_broken_before_does_not_refuse_a_harmless_change() -> None:
    _, found = outcome(DESCRIBE, scale=1.0)
    assert found["decision"] == "go"


def test_noise_breaks_no_throughput_intent() -> None:
    _, found = outcome(DESCRIBE, limits="  - {throughput: {above_percent: 98}}")
    assert (found["decision"], found["end_state"]) == ("go", "confirmed")


def test_an_exposure_that_the_change_closes_is_not_counted_against_it() -> None:
    guest = "topology: {topohub: sndlib/abilene, hosts: {guest: {on: SNVAng}, db: {on: NYCMng}}}"
    text = f"""
name: closing
{guest}
traffic: {{demands: topohub, scale: 0.4}}
intents: [{{isolated: {{from: guest, to: db}}}}]
change:
  summary: keep guests out
  script: |
    device NYCMng
    ip access-list extended GUARD
     10 deny ip host guest host db
     20 permit ip any any
    interface to-db
     ip access-group GUARD out
"""
    scenario = parse(text, file="closing.yml")
    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    run = Run(scenario, NETWORKS["simulated"], variant("hybrid", whatif), whatif, Journal())
    found = document(run_workflow(run), "simulated")
    assert (found["end_state"], found["breach_s"]) == ("confirmed", 0.0)
    assert found["failure_modes"] == []


@pytest.mark.parametrize("precog", ["threshold", "judge"])
def test_a_mirror_that_carries_nothing_lets_nothing_pass(precog: str) -> None:
    mirror = "shadow: {mirror: {classes: [critical]}}"
    _, found = outcome(DRAIN, more=f"{mirror}\nworkflow: {{precog: {precog}}}", scale=0.75)
    assert found["decision"] == "inconclusive"


def test_a_changed_device_that_cannot_be_seen_lets_nothing_pass() -> None:
    gap = "{at_s: 2, in: both, telemetry_gap: {device: ATLAng}}"
    limits = "  - {latency: {class: normal, from: ATLAng, below_ms: 14}}"
    _, found = outcome(DRAIN, gap, limits=limits, more="workflow: {precog: threshold}")
    assert found["decision"] == "inconclusive"


def test_a_surge_on_both_networks_is_not_doubled_by_the_mirror() -> None:
    run, found = outcome(DESCRIBE, "{at_s: 2, in: both, traffic_surge: {factor: 1.6}}")
    assert found["decision"] == "go"
    offered = {
        name: run.telemetry[name].series("demand", "offered_bps")[-5:].sum()
        for name in ("production", "shadow")
    }
    assert offered["shadow"] == pytest.approx(offered["production"], rel=0.1)


def test_an_interruption_leaves_no_time_for_questions() -> None:
    scenario = load(Path(__file__).parent.parent / "scenarios" / "drain-fits.yml")
    scenario = replace(scenario, workflow=replace(scenario.workflow, autonomy="ask"))
    asked = []

    def approve(question: str, forecast: Forecast) -> bool:
        asked.append(question)
        return question.startswith("deploy")

    def interrupt(event: Event) -> None:
        if event.phase == "realtime_monitoring":
            raise KeyboardInterrupt

    whatif = WhatIf(scenario.topology, scenario.traffic.demands, scenario.intents)
    precog = variant("hybrid", whatif)
    run = Run(scenario, NETWORKS["simulated"], precog, whatif, Journal(interrupt), approve)
    with pytest.raises(KeyboardInterrupt):
        run_workflow(run)
    assert len(asked) == 1
    assert run.end_state == "rolled_back"
    assert dict(run.production.configs()) == dict(scenario.configs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_from_outside_takes_its_change_back_and_says_so(
    number: signal.Signals, tmp_path: Path
) -> None:
    text = (Path(__file__).parent.parent / "scenarios" / "drain-fits.yml").read_text("utf-8")
    scenario = tmp_path / "drain-fits.yml"  # which is watched until it is ended, and no shorter
    scenario.write_text(f"{text}workflow: {{monitor_s: 3600}}\n", "utf-8")
    command = [sys.executable, "-u", "-m", "shadowsim", "run", str(scenario), "--pace", "60"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "real-time monitoring" in line:
            break
    time.sleep(0.2)
    process.send_signal(number)
    said = process.stdout.read()
    assert process.wait(60) == 130
    assert "go, rolled_back, back in" in said
    assert "Traceback" not in said
    found = json.loads((tmp_path / "runs" / "drain-fits" / "result.json").read_text())
    assert found["interrupted"] is True
    assert (found["end_state"], found["root_cause"]) == ("rolled_back", "interrupted")
    assert found["digests"]["before"] == found["digests"]["after"]
