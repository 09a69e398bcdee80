"""What demands wanted and got, second by second, to the share of traffic that was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from shadowsim.model.telemetry import Telemetry
from shadowsim.readings import by_second

Floats = npt.NDArray[np.float64]
WANTED, GOT = "offered_bps", "throughput_bps"


@dataclass(frozen=True, eq=False)
class Delivery:
    """Of all demands together: `wanted_bps[T]` and `lost_bps[T]`, each held from the reading before
    (the first from `from_s`) to `at_s[T]`. Demands that report nothing are in neither.
    """

    from_s: float
    at_s: Floats
    wanted_bps: Floats
    lost_bps: Floats

    def since(self, from_s: float) -> Delivery:
        """The same from a time on."""
        late = self.at_s > from_s
        return Delivery(from_s, self.at_s[late], self.wanted_bps[late], self.lost_bps[late])

    def lost_bits(self, for_s: float) -> float:
        """The bits lost in so many seconds; what the last reading lost is lost until their end."""
        ends = np.minimum(self.at_s, self.from_s + for_s)
        if not len(ends):
            return 0.0
        ends[-1] = self.from_s + for_s
        spans_s = np.maximum(np.diff(ends, prepend=self.from_s), 0.0)
        return float((spans_s * self.lost_bps).sum())

    @property
    def wanted_bits(self) -> float:
        return float((np.diff(self.at_s, prepend=self.from_s) * self.wanted_bps).sum())

    @property
    def shares(self) -> Sequence[tuple[float, float]]:
        """Per reading: seconds since the first, and the share of the traffic that was lost."""
        share = np.divide(
            self.lost_bps, self.wanted_bps, out=np.zeros_like(self.lost_bps),
            where=self.wanted_bps > 0,
        )  # fmt: skip
        return [
            (round(float(at_s - self.from_s), 3), round(float(one), 5))
            for at_s, one in zip(self.at_s, share, strict=True)
        ]


def delivery_of(telemetry: Telemetry) -> Delivery:
    """What one network reported of its demands."""
    wanted, got = (telemetry.series("demand", metric) for metric in (WANTED, GOT))
    at_s = telemetry.at_s
    told = np.isfinite(wanted) & np.isfinite(got)
    lost = np.where(told, np.maximum(wanted - got, 0.0), 0.0).sum(axis=1)
    return Delivery(
        float(at_s[0]) - 1.0 if len(at_s) else 0.0, at_s, np.where(told, wanted, 0.0).sum(axis=1),
        lost,
    )  # fmt: skip


def delivery_in(file: Path) -> Delivery:
    """The same of production, from the telemetry in the folder of a run. Raises BadInput."""
    parts = {"network": "production", "subject": "demand"}
    wanted, got = (by_second(file, {**parts, "metric": metric}) for metric in (WANTED, GOT))
    told = (
        wanted.join(got, on=["name", "second"], suffix="_got")
        .group_by(at_s=pl.col("second").cast(pl.Float64))
        .agg(wanted=pl.col("mean").sum(), lost=(pl.col("mean") - pl.col("mean_got")).clip(0).sum())
        .sort("at_s")
    )
    at_s = told["at_s"].to_numpy().copy()
    first_s = float(at_s[0]) - 1.0 if len(at_s) else 0.0
    return Delivery(first_s, at_s, told["wanted"].to_numpy(), told["lost"].to_numpy())
