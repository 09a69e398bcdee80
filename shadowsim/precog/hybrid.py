"""Several variants to one forecast: each failure mode is as probable as the surest of them says."""

from __future__ import annotations

from collections.abc import Sequence

from shadowsim.precog.forecast import Evidence, Forecast, Variant, forecast_of


class Hybrid:
    """The composite. A variant that sees nothing does not outvote one that does, nor does one that
    knows nothing: a mode is unknown if it is to all of them.
    """

    name = "hybrid"

    def __init__(self, variants: Sequence[Variant]) -> None:
        self._variants = tuple(variants)

    def forecast(self, evidence: Evidence) -> Forecast:
        return self.of([variant.forecast(evidence) for variant in self._variants])

    def of(self, forecasts: Sequence[Forecast]) -> Forecast:
        """The forecast that these come to together."""
        unknown = set.intersection(*(set(forecast.unknown) for forecast in forecasts))
        reasons = [reason for forecast in forecasts for reason in forecast.reasons]
        return forecast_of(reasons, unknown)
