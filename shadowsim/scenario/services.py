"""The services of a scenario to frozen Services, their hosts checked."""

from __future__ import annotations

from collections.abc import Sequence

from shadowsim.model.services import MOST_SERVICES, Service
from shadowsim.model.topology import Topology
from shadowsim.scenario.findings import Findings
from shadowsim.scenario.spec.services import ServiceSpec


def build(
    specs: Sequence[ServiceSpec], topology: Topology | None, findings: Findings
) -> tuple[Service, ...]:
    """The services, in the order of the scenario; each host exists and has one at most."""
    found: dict[str, Service] = {}
    if len(specs) > MOST_SERVICES:
        findings.add(("services",), f"{len(specs)} services are too many; {MOST_SERVICES} at most")
    for i, spec in enumerate(specs):
        given = spec.redis
        where = ("services", i, "redis", "host")
        if topology is not None and given.host not in topology.host_index:
            findings.unknown(where, "host", given.host, topology.host_index)
        elif given.host in found:
            findings.add(where, f"host '{given.host}' has a service already; one a host")
        found[given.host] = Service("redis", given.host, given.writes_per_s, given.value_bytes)
    return tuple(found.values())
