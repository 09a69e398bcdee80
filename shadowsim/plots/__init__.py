"""Outcomes, telemetry, forecasts and topologies to matplotlib figures."""

from __future__ import annotations

from shadowsim.plots.outcomes import analytics_figure, save_analytics
from shadowsim.plots.overtime import Mark, Period, forecast_figure, networks_figure
from shadowsim.plots.style import svg
from shadowsim.plots.topology import Drawing, Snapshot, topology_figure

__all__ = [
    "Drawing",
    "Mark",
    "Period",
    "Snapshot",
    "analytics_figure",
    "forecast_figure",
    "networks_figure",
    "save_analytics",
    "svg",
    "topology_figure",
]
