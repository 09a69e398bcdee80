"""The faults of a scenario to frozen Faults, their names checked and their units made SI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shadowsim.model.change import render_script
from shadowsim.model.faults import FAULT_KINDS, Fault
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
    """The faults, in order of time."""
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
        _check_place(given, path, topology, findings)
    return Fault(
        kind,
        spec.at_s,
        spec.for_s,
        spec.network,
        link=_link(given),
        device=getattr(given, "device", None),
        amount=_amount(given),
        script=_script(given, path, scripts),
        **_demands(given, path, topology, findings),
    )


def _check_place(given: Any, path: Path, topology: Topology, findings: Findings) -> None:
    device = getattr(given, "device", None)
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
