"""Counters of a board at two instants to the telemetry of the time between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadowsim.model.telemetry import DEMAND_METRICS, LINK_METRICS
from shadowsim.network.emulated.board import Board, Wires
from shadowsim.network.emulated.wiring import Stream

Array = np.ndarray
LINK_COUNTERS = ("carried_bytes", "dropped_bytes")
STREAM_COUNTERS = (
    "wanted", "sent", "refused", "received", "received_bytes", "highest", "latency_ns",
)  # fmt: skip
SENDING = ("wanted", "sent", "refused")  # what is counted where a stream begins
UNDER_WAY_S = 0.05  # what was sent that lately, and two packets more, may still be under way


@dataclass(frozen=True)
class Counts:
    """All counters of a board at one instant of CLOCK_MONOTONIC."""

    at_s: float
    links: dict[str, Array]
    streams: dict[str, Array]

    def since(self, earlier: Counts) -> Counts:
        """What was counted in between; `at_s` is then the time between."""
        return Counts(
            self.at_s - earlier.at_s,
            {name: self.links[name] - earlier.links[name] for name in self.links},
            {name: self.streams[name] - earlier.streams[name] for name in self.streams},
        )


def counts(board: Board, at_s: float) -> Counts:
    """Read all counters."""
    return Counts(
        at_s,
        {name: getattr(board.wires, name).copy() for name in LINK_COUNTERS},
        {name: getattr(board.streams, name).copy() for name in STREAM_COUNTERS},
    )


class UpTime:
    """For how long each directed link has been up, `[links]`; times are of the network's clock."""

    def __init__(self, wires: Wires, now_s: float) -> None:
        self._wires = wires
        self._up_s = np.zeros(len(wires.up))
        self._counted_s = self._read_s = now_s

    def count(self, now_s: float) -> None:
        """Count what has been until now; to be called before a wire is told another state."""
        self._up_s += self._wires.up * (now_s - self._counted_s)
        self._counted_s = now_s

    def mostly(self, now_s: float) -> Array:
        """1 for links that were up for most of the time since this was last asked, else 0."""
        self.count(now_s)
        share = self._up_s / max(now_s - self._read_s, 1e-9)
        self._up_s, self._read_s = np.zeros_like(self._up_s), now_s
        return np.asarray(share > 0.5, dtype=np.float64)


def link_reading(between: Counts, rate_bps: Array, up: Array) -> Array:
    """`[links, 4]`, columns of a Sample."""
    found = np.empty((len(up), len(LINK_METRICS)))
    for column, name in enumerate(LINK_COUNTERS):
        found[:, column] = 8.0 * between.links[name] / between.at_s
    found[:, 2] = np.divide(found[:, 0], rate_bps, out=np.zeros(len(up)), where=rate_bps > 0)
    found[:, 3] = up
    return found


def lost(between: Counts) -> Array:
    """Packets per stream that are lost for good, refused ones among them.

    A gap in the sequence numbers is a loss; so is what was sent and can hardly be under way any
    more. A gap longer than what was sent in this time is of a time before it.
    """
    c = between.streams
    under_way = c["sent"] * min(UNDER_WAY_S / between.at_s, 1.0) + 2
    expected = np.maximum(np.minimum(c["highest"], c["sent"]), c["sent"] - under_way)
    missing: Array = np.maximum(expected - c["received"], 0.0) + c["refused"]
    return missing


def demand_reading(between: Counts, streams: Sequence[Stream], demands: int) -> Array:
    """`[demands, 4]`, columns of a Sample: offered and throughput in bit/s, latency, loss.

    Latency is that of the packets of the demand itself; of a TCP demand, whose records wait for
    those that were lost before them, it is that of its probe as long as that arrives.
    """
    owner = np.array([s.demand for s in streams], dtype=np.int64)
    probe = np.array([s.probe for s in streams], dtype=np.bool_)
    size = np.array([8.0 * s.packet_bytes for s in streams])
    here = np.arange(len(streams))
    c = {name: values[here].astype(float) for name, values in between.streams.items()}
    mine = ~probe & (owner >= 0)

    def total(values: Array, chosen: Array) -> Array:
        return np.bincount(owner[chosen], weights=values[chosen], minlength=demands)

    wanted, missing = total(c["wanted"], mine), total(lost(between)[here], mine)
    found = np.empty((demands, len(DEMAND_METRICS)))
    found[:, 0] = total(c["wanted"] * size, mine) / between.at_s
    found[:, 1] = total(8.0 * c["received_bytes"], mine) / between.at_s
    chosen = mine | (probe & (owner >= 0))
    probed = total(c["received"], probe & (owner >= 0)) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        own = total(c["latency_ns"], mine) / total(c["received"], mine)
        by_probe = total(c["latency_ns"], chosen & probe) / total(c["received"], chosen & probe)
        found[:, 2] = np.where(probed, by_probe, own) / 1e9
        found[:, 3] = np.where(wanted > 0, np.clip(missing / wanted, 0.0, 1.0), 0.0)
    return found
