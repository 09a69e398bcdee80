"""Outcomes, telemetry, forecasts and topologies to matplotlib figures."""

from __future__ import annotations

from shadowsim.plots.outcomes import analytics_figure, save_analytics, save_figure
from shadowsim.plots.overtime import Mark, Period, forecast_figure, networks_figure
from shadowsim.plots.style import svg
from shadowsim.plots.topology import Drawing, Snapshot, topology_figure
from shadowsim.plots.weeks import weeks_figure

__all__ = [
    "Drawing",
    "Mark",
    "Period",
    "Snapshot",
    "analytics_figure",
    "forecast_figure",
    "networks_figure",
    "save_analytics",
    "save_figure",
    "svg",
    "topology_figure",
    "weeks_figure",
]
