"""Samples before and with a change, and production's meanwhile, to the features of telemetry.

A feature is a statistic (`windows`) of a signal (`signals`); which of them are kept is CHOSEN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadowsim.dataplane.limits import Limits
from shadowsim.model.telemetry import Sample
from shadowsim.model.traffic import Demand
from shadowsim.precog.features.feature import Feature, Values
from shadowsim.precog.features.signals import (
    PLACE,
    SIGNALS,
    Signals,
    Touched,
    Usual,
    stacked,
    usual,
)
from shadowsim.precog.features.windows import (
    RECENT,
    ROW,
    WINDOW,
    Reference,
    reference,
    statistics,
)
from shadowsim.precog.forecast import Evidence
from shadowsim.precog.once import same_samples

Array = np.ndarray

OF_WHAT = {
    "severity": ("share of limit", "how near the nearest limit is to broken, 1 at its bound"),
    "severity_latency": ("share of limit", "the same, of limits on latency"),
    "severity_loss": ("share of limit", "the same, of limits on loss and throughput"),
    "severity_utilisation": ("share of limit", "the same, of limits on utilisation"),
    "lost_critical": ("share", "critical traffic that is sent and not delivered"),
    "lost_normal": ("share", "normal traffic that is sent and not delivered"),
    "lost_bulk": ("share", "bulk traffic that is sent and not delivered"),
    "starved": ("share", "critical demands that get less than half"),
    "latency_worst": ("times usual", "latency over that before, the worst demand"),
    "latency_mean": ("times usual", "latency over that before, mean of the demands"),
    "utilisation_worst": ("share", "utilisation of the fullest link"),
    "utilisation_touched": ("share", "utilisation of the fullest link that the change is about"),
    "cpu_worst": ("share", "CPU of the busiest device"),
    "cpu_touched": ("share", "CPU of the busiest device that is changed"),
    "memory_worst": ("share", "memory of the fullest device"),
    "memory_touched": ("share", "memory of the fullest device that is changed"),
    "table_worst": ("share", "table of the fullest device"),
    "links_down": ("share", "links without signal"),
    "dropped": ("share", "what links drop, over what they carry"),
    "offered": ("times usual", "traffic that is sent, over that before"),
    "coverage": ("share", "readings of devices that arrived; 0 without samples"),
    "coverage_touched": ("share", "the same, of devices that are changed"),
    "coverage_links": ("share", "readings of links that arrived; 0 without samples"),
    "coverage_demands": ("share", "readings of demands that arrived; 0 without samples"),
}
HOW = {
    "last": "newest sample",
    "level": f"mean of {RECENT} samples",
    "mean": f"mean of {WINDOW} samples",
    "max": f"largest of {WINDOW} samples",
    "slope": "trend per second",
    "ahead": "at the horizon, if a rising trend goes on",
    "shift": "less what it was before, and less what production did meanwhile",
    "spread": "logarithm of its standard deviation over that before",
}
CHOSEN = {
    "severity": ("last", "level", "max", "slope", "ahead", "shift", "spread"),
    "severity_latency": ("level",),
    "severity_loss": ("level",),
    "severity_utilisation": ("level",),
    "lost_critical": ("level", "shift"),
    "lost_normal": ("level",),
    "lost_bulk": ("level",),
    "starved": ("level",),
    "latency_worst": ("level",),
    "latency_mean": ("shift", "spread"),
    "utilisation_worst": ("level", "shift"),
    "utilisation_touched": ("level", "shift"),
    "cpu_worst": ("level",),
    "cpu_touched": ("ahead", "shift"),
    "memory_worst": ("ahead",),
    "memory_touched": ("ahead", "shift"),
    "table_worst": ("level",),
    "links_down": ("shift",),
    "dropped": ("shift",),
    "offered": ("level",),
    "coverage": ("mean",),
    "coverage_touched": ("mean",),
    "coverage_links": ("mean",),
    "coverage_demands": ("mean",),
}
PAIRS = tuple((signal, how) for signal, chosen in CHOSEN.items() for how in chosen)
NAMES = tuple(f"telemetry_{signal}_{how}" for signal, how in PAIRS)
COVERAGES = np.array([signal.startswith("coverage") for signal, _ in PAIRS])
_ROWS = np.array([ROW[how] for _, how in PAIRS])
_COLUMNS = np.array([PLACE[signal] for signal, _ in PAIRS])

FEATURES = (
    *(
        Feature(
            name,
            f"{OF_WHAT[signal][0]}/s" if how == "slope" else
            "1" if how == "spread" else OF_WHAT[signal][0],
            f"{OF_WHAT[signal][1]}: {HOW[how]}",
        )
        for name, (signal, how) in zip(NAMES, PAIRS, strict=True)
    ),
    Feature("telemetry_samples", "samples", f"samples with the change, {WINDOW} at most"),
    Feature("telemetry_production", "0 or 1", "1 if production has the change, 0 in the shadow"),
)  # fmt: skip


class Trends:
    """Reads telemetry against what it was before. Remembers the last time before, nothing else."""

    def __init__(self, demands: Sequence[Demand], limits: Limits) -> None:
        self.signals = Signals(demands, limits)
        self._before: tuple[tuple[Sample, ...], Touched, Usual, Reference] | None = None
        self._against: Usual | None = None
        self._rows: dict[int, tuple[Sample, Array]] = {}  # by id, with the sample that has it
        self._demands = len(demands)

    def of(self, evidence: Evidence, touched: Touched) -> Values:
        """The values of FEATURES."""
        samples = evidence.observed.samples[-WINDOW:]
        values = np.where(COVERAGES, 0.0, np.nan)
        if samples:
            usually, before = self._reference(evidence.baseline.samples[-WINDOW:], touched)
            at_s = np.array([sample.at_s for sample in samples])
            signals = self._signals(samples, usually, touched)
            drift = self._drift(evidence, touched)
            rows = statistics(signals, at_s, before, drift, evidence.horizon_s)
            values = rows[_ROWS, _COLUMNS]
        found = dict(zip(NAMES, values.tolist(), strict=True))
        found["telemetry_samples"] = float(len(samples))
        found["telemetry_production"] = float(evidence.phase == "production")
        return found

    def _signals(self, samples: Sequence[Sample], usually: Usual, touched: Touched) -> Array:
        """`[samples, signals]`; of samples that were read against the same, as read then."""
        if self._against is not usually:
            self._against, self._rows = usually, {}
        read = self._rows
        fresh = [s for s in samples if id(s) not in read]
        if fresh:
            rows = self.signals.of(stacked(fresh), usually, touched)
            read |= {id(s): (s, row) for s, row in zip(fresh, rows, strict=True)}
        self._rows = {id(s): read[id(s)] for s in samples}
        return np.array([row for _, row in self._rows.values()])

    def _reference(self, samples: Sequence[Sample], touched: Touched) -> tuple[Usual, Reference]:
        """What demands get usually and what signals were: of samples from before the change."""
        if not samples:
            nothing = np.full(len(SIGNALS), np.nan)
            unknown = np.full(self._demands, np.nan)
            return Usual(unknown, unknown), Reference(nothing, nothing)
        kept = self._before
        if kept is None or kept[1] is not touched or not same_samples(kept[0], samples):
            kept = self._before = (tuple(samples), touched, *self._read(samples, touched))
        return kept[2], kept[3]

    def _read(self, samples: Sequence[Sample], touched: Touched) -> tuple[Usual, Reference]:
        readings = stacked(samples)
        usually = usual(readings.demand)
        return usually, reference(self.signals.of(readings, usually, touched))

    def _drift(self, evidence: Evidence, touched: Touched) -> Array:
        """`[signals]`: what production's moved by since before the trial; 0 where not known."""
        control, baseline = evidence.control, evidence.baseline.samples
        if control is None or not baseline:
            return np.zeros(len(SIGNALS))
        start_s = baseline[-1].at_s
        earlier = [s for s in control.samples if s.at_s <= start_s][-WINDOW:]
        later = [s for s in control.samples if s.at_s > start_s][-RECENT:]
        if not earlier or not later:
            return np.zeros(len(SIGNALS))
        usually, before = self._read(earlier, touched)
        now = reference(self.signals.of(stacked(later), usually, touched))
        moved: Array = np.nan_to_num(now.mean - before.mean)
        return moved
