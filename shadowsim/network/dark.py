"""A full reading to what arrives of it when some devices report nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from shadowsim.model.telemetry import Sample
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand


def hide(
    sample: Sample, topology: Topology, demands: Sequence[Demand], dark: Collection[str]
) -> None:
    """Put nan where dark devices would report: themselves, their ports, the hosts on them."""
    if not dark:
        return
    sample.device[[topology.device_index[name] for name in dark]] = np.nan
    for name in dark:
        sample.link[list(topology.ports[name].values())] = np.nan
        hosts = [topology.host_index[h.name] for h in topology.hosts_of[name]]
        sample.link[[topology.up_link(j) for j in hosts]] = np.nan
    homes = {host.name: host.device for host in topology.hosts}
    sample.demand[[homes[d.source] in dark for d in demands]] = np.nan
