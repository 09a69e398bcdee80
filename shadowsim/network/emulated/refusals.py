"""A scenario to whether real packets can carry it here, or to the reasons why not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.trace import trace
from shadowsim.errors import MachineLacks
from shadowsim.model.faults import TRAFFIC_FAULTS, Fault
from shadowsim.model.traffic import Demand, Profile

# Measured on two cores with 'shadowsim bench --network emulated': beyond it queues build up in
# the switches instead of on the wires.
PACKET_HOPS_PER_S = 9_500.0
LARGEST_BYTES = 32000  # of a packet that stands for several
MOST_DEVICES = 250
NOT_HERE = {
    "cpu_hog": "one ovs-vswitchd runs all switches, so the CPU of a single one cannot be taken",
    "memory_leak": "one ovs-vswitchd runs all switches, so a single one cannot run out of memory",
}


def packet_hops_per_s(plane: Plane, demands: Sequence[Demand]) -> float:
    """How many packets cross how many links in a second when all demands are sent.

    TCP at these rates is acknowledged packet by packet, which makes it two.
    """
    if not demands:
        return 0.0
    paths = trace(plane, demands)
    rates = np.concatenate([
        np.full(d.flows, d.rate_bps / d.flows / 8.0 / d.packet_bytes * (1 + d.elastic))
        for d in demands
    ])  # fmt: skip
    # What is not delivered now may be after the change: count it as if over three links.
    hops = np.where(paths.hops[0] < 0, 3, paths.hops[0])
    return float((rates * hops).sum())


def growth(profile: Profile, faults: Iterable[Fault]) -> float:
    """The most by which the demands can grow over their base rates: profile, surges, retries."""
    surges = [f.amount for f in faults if f.kind in TRAFFIC_FAULTS]
    steps = [factor for _, factor in profile.steps]
    return max(1.0, profile.peak) * max([1.0, *steps]) * max([1.0, *surges])


def coarseness(plane: Plane, demands: Sequence[Demand], grown: float = 1.0) -> int:
    """How many packets of the demands one real packet must stand for, so that they can be moved.

    1 where all of them can; enough for `grown` times the demands as far as that is possible.
    Raises MachineLacks where the network is too large to be real here.
    """
    devices = len(plane.topology.devices)
    if devices > MOST_DEVICES:
        raise MachineLacks(
            f"{devices} switches are too many for the emulated network ({MOST_DEVICES} at most); "
            "use --network simulated"
        )
    wanted = packet_hops_per_s(plane, demands)
    largest = max((d.packet_bytes for d in demands), default=1)
    most = max(LARGEST_BYTES // largest, 1)
    factor = max(math.ceil(wanted / PACKET_HOPS_PER_S), 1)
    if factor > most:
        raise MachineLacks(
            f"this traffic is {wanted:,.0f} packets a second over all links; the emulated network "
            f"moves {PACKET_HOPS_PER_S:,.0f}, each for {most} at most; lower traffic.scale (and "
            "the links' rate_mbps with it), or use --network simulated"
        )
    return min(max(math.ceil(wanted * grown / PACKET_HOPS_PER_S), 1), most)


def refuse_faults(faults: Iterable[Fault]) -> None:
    """Raises MachineLacks for a fault that real switches on one machine cannot have."""
    for fault in faults:
        if fault.kind in NOT_HERE:
            raise MachineLacks(
                f"fault '{fault.name}': {NOT_HERE[fault.kind]}; use --network simulated"
            )
