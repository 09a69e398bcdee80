"""What is to be steered away to the demands that it means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand
from shadowsim.network.protocol import Match

Array = np.ndarray


def covers(match: Match, topology: Topology, demand: Demand) -> bool:
    """Whether the packets of a demand are among those matched; a port is the destination's."""
    source, destination = match.source, match.destination
    return (
        match.traffic_class in (None, demand.traffic_class)
        and match.protocol in (None, demand.protocol)
        and match.port in (None, demand.port)
        and source.first <= topology.address[demand.source] <= source.last
        and destination.first <= topology.address[demand.destination] <= destination.last
    )


def matched_by(topology: Topology, demands: Sequence[Demand], matches: Sequence[Match]) -> Array:
    """Which demands any of these matches means, `[demands]`."""
    return np.array(
        [any(covers(match, topology, demand) for match in matches) for demand in demands],
        dtype=np.bool_,
    )
