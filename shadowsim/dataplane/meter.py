"""A network state that changes at instants to readings averaged over the time between two."""

from __future__ import annotations

import numpy as np

from shadowsim.dataplane.flows import Loads
from shadowsim.model.telemetry import DEMAND_METRICS, LINK_METRICS

Array = np.ndarray


class Meter:
    """Integrates link and demand rates exactly over piecewise constant states.

    A reading has the shapes of a Sample: links [L, 4], demands [F, 4]. Latency is averaged over
    what was delivered, and is nan where nothing was.
    """

    def __init__(self, links: int, flow_demand: Array, demands: int) -> None:
        self._flow_demand = flow_demand
        self._demands = demands
        self._link = np.zeros((links, 3))
        self._demand = np.zeros((demands, 3))
        self._span_s = 0.0

    def add(self, loads: Loads, offered_bps: Array, up: Array, loss: Array, span_s: float) -> None:
        """Count a state that held for `span_s` seconds. `offered_bps[flows]`, `up[L]`, `loss[L]`.

        What a lossy link corrupts shows in its drop counter beside what its queue drops.
        """
        if span_s <= 0.0:
            return
        throughput = loads.throughput_bps[0]
        delivered_s = np.where(throughput > 0, loads.latency_s[0], 0.0) * throughput
        load = loads.link_load_bps[0]
        dropped = loads.link_drop_bps[0] + load * loss
        self._link += np.column_stack((load, dropped, up)) * span_s
        by_demand = (self.per_demand(values) for values in (offered_bps, throughput, delivered_s))
        self._demand += np.column_stack(tuple(by_demand)) * span_s
        self._span_s += span_s

    def per_demand(self, values: Array) -> Array:
        """Sum of the values of a demand's flows."""
        return np.bincount(self._flow_demand, weights=values, minlength=self._demands)

    def read(self, rate_bps: Array) -> tuple[Array, Array]:
        """The readings since the last one, as (links, demands); starts anew."""
        span_s = self._span_s or 1.0
        link = np.empty((len(self._link), len(LINK_METRICS)))
        link[:, :2] = self._link[:, :2] / span_s
        link[:, 2] = np.divide(link[:, 0], rate_bps, out=np.zeros(len(link)), where=rate_bps > 0)
        link[:, 3] = self._link[:, 2] / span_s > 0.5
        demand = np.empty((self._demands, len(DEMAND_METRICS)))
        offered, delivered, weighted_s = self._demand.T
        demand[:, 0] = offered / span_s
        demand[:, 1] = delivered / span_s
        with np.errstate(divide="ignore", invalid="ignore"):
            demand[:, 2] = np.where(delivered > 0, weighted_s / delivered, np.nan)
            demand[:, 3] = np.where(offered > 0, 1.0 - delivered / offered, 0.0)
        self._link[:] = 0.0
        self._demand[:] = 0.0
        self._span_s = 0.0
        return link, demand
