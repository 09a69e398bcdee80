"""The faults of a scenario to frozen Faults, their names checked and their units made SI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shadowsim.model.change import render_script
from shadowsim.model.faults import EVERYWHERE, FAULT_KINDS, WHEREVER, After, Fault
from shadowsim.model.kinds import heads
from shadowsim.model.topology import Topology
from shadowsim.scenario.findings import Findings
from shadowsim.scenario.intents import check_hosts
from shadowsim.scenario.scripts import Scripts
from shadowsim.scenario.spec import FaultSpec, TrafficFault
from shadowsim.scenario.topologies import report_no_link
from shadowsim.scenario.yamlfile import Path

PER_SI_UNIT = {
    "half_period_s": 1.0,
    "every_s": 1.0,
    "percent": 1e2,
    "percent_per_s": 1e2,
    "add_ms": 1e3,
    "factor": 1.0,
}


def build(
    specs: Iterable[FaultSpec], topology: Topology | None, scripts: Scripts, findings: Findings
) -> tuple[Fault, ...]:
    """The faults, in order of time; before them those that follow a command."""
    found = [
        _fault(spec, ("faults", i), topology, scripts, findings) for i, spec in enumerate(specs)
    ]
    return tuple(sorted(found, key=lambda fault: fault.at_s))


def _fault(
    spec: FaultSpec, where: Path, topology: Topology | None, scripts: Scripts, findings: Findings
) -> Fault:
    kind = next(kind for kind in FAULT_KINDS if getattr(spec, kind) is not None)
    given = getattr(spec, kind)
    path = (*where, kind)
    if topology is not None:
        _check_place(given, path, topology, findings, anywhere=_may_be_anywhere(spec))
    return Fault(
        kind,
        spec.at_s or 0.0,
        spec.for_s,
        spec.network,
        link=_link(given),
        device=None if _is_everywhere(spec, given) else getattr(given, "device", None),
        amount=_amount(given),
        script=_script(given, path, scripts),
        after=_after(spec, where, topology, findings),
        **_demands(given, path, topology, findings),
    )


def _after(
    spec: FaultSpec, where: Path, topology: Topology | None, findings: Findings
) -> After | None:
    """The command it follows; one that no device knows, or a model that none is of, never comes."""
    start = "after" if spec.after else "while"
    given = spec.after or spec.during
    if given is None:
        return None
    command, model = " ".join(given.command.split()), given.model
    bare = command.removeprefix("no ")
    first = bare.partition(" ")[0]
    in_a_list = first in ("permit", "deny") or first.isdigit()
    known = any(h.startswith(bare) or bare.startswith(h) for h in heads())
    if not command or not (in_a_list or known):
        findings.unknown((*where, start, "command"), "command", command, heads())
    models = {device.model for device in topology.devices} if topology else set()
    if topology and model is not None and model not in models:
        findings.unknown((*where, start, "model"), "device of model", model, models)
    if spec.during is not None:
        _check_that_it_can_end(spec, where, findings)
    return After(command, model, ends=spec.during is not None)


def _check_that_it_can_end(spec: FaultSpec, where: Path, findings: Findings) -> None:
    """What holds while a command stands has no other end."""
    if spec.for_s is not None:
        findings.add((*where, "for_s"), "'while' says how long it lasts; leave for_s out")
    if spec.link_flap is not None or spec.config_drift is not None:
        kind = "link_flap" if spec.link_flap is not None else "config_drift"
        findings.add((*where, kind), f"{kind} cannot follow 'while'; write 'after' and for_s")


def _may_be_anywhere(spec: FaultSpec) -> bool:
    """Whether its device may be the one that a command got into force on, or all."""
    return (spec.after or spec.during) is not None and spec.config_drift is None


def _is_everywhere(spec: FaultSpec, given: Any) -> bool:
    return _may_be_anywhere(spec) and getattr(given, "device", None) == EVERYWHERE


def _check_place(
    given: Any, path: Path, topology: Topology, findings: Findings, *, anywhere: bool
) -> None:
    device = getattr(given, "device", None)
    if anywhere and device in (WHEREVER, EVERYWHERE):
        return
    if device is not None and device not in topology.device_index:
        findings.unknown((*path, "device"), "device", device, topology.device_index)
    ends = getattr(given, "link", None)
    if ends is not None and not topology.cables(*ends):
        report_no_link((*path, "link"), ends, topology.devices, topology.links, findings)


def _link(given: Any) -> tuple[str, str] | None:
    ends = getattr(given, "link", None)
    return None if ends is None else (ends[0], ends[1])


def _amount(given: Any) -> float:
    return next(
        ((getattr(given, k) or 0.0) / unit for k, unit in PER_SI_UNIT.items() if hasattr(given, k)),
        0.0,
    )


def _script(given: Any, path: Path, scripts: Scripts) -> str:
    """The script of a drift, with the `device NAME` line that its author may have left out."""
    text = getattr(given, "script", None)
    if text is None:
        return ""
    return render_script(scripts.lines((*path, "script"), text, given.device))


def _demands(
    given: Any, path: Path, topology: Topology | None, findings: Findings
) -> dict[str, Any]:
    if not isinstance(given, TrafficFault):
        return {}
    check_hosts(path, given.source, given.destination, topology, findings)
    return {
        "source": given.source,
        "destination": given.destination,
        "traffic_class": given.traffic_class,
    }
