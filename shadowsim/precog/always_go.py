"""Any evidence to a forecast that expects nothing: what any other variant has to beat."""

from __future__ import annotations

from shadowsim.precog.forecast import Evidence, Forecast


class AlwaysGo:
    """Says of every change that it will not fail. What is left are the hard checks of the gate."""

    name = "always-go"

    def forecast(self, evidence: Evidence) -> Forecast:
        return Forecast()
