"""The outcomes and commits of runs to what Prometheus scrapes from `/metrics`.

Nothing is counted as it happens: every scrape tells what the files of runs say, so that counts
survive a restart and runs of other processes are in them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from shadowsim.commit.generations import HALTED, ROLLED_BACK
from shadowsim.commit.lying import ALTERED, lying
from shadowsim.commit.settle import OPEN
from shadowsim.errors import ShadowsimError
from shadowsim.model.kinds import kinds_of

PATH = "/metrics"
BUCKETS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, float("inf"))
RECENT = 1000  # outcomes, the last ones, that calibration is told of
RUN = ("network", "variant", "decision", "end_state", "failure_mode")
MODE = ("variant", "failure_mode")
CAUSE = ("variant", "cause", "command")
CALIBRATION = {
    "brier": "Mean square of what the probabilities at the gate were off by.",
    "expected_brier": "What that would be on average if all probabilities were right.",
    "ece": "Expected calibration error of the probabilities at the gate.",
    "bias": "By how much the probabilities at the gate were too high, on average.",
}

Row = Mapping[str, Any]


class Outcomes(Collector):
    """What a store of outcomes says at the time of a scrape; nothing is read again while the file
    is the same. A store that is not there is empty, one that cannot be read says only that.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._stamp: object = None
        self._found: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        stamp = [_stamp(self._store), _stamp(self._store.with_name(f"{self._store.name}-wal"))]
        if stamp != self._stamp:
            self._found, self._stamp = self._read(), stamp
        return self._found

    def _read(self) -> list[Metric]:
        from shadowsim.outcomes import OutcomeStore

        rows: list[dict[str, Any]] = []
        try:
            if self._store.exists():
                with OutcomeStore(self._store) as opened:
                    rows = opened.read()
            return [_readable(1.0), *families(rows, self._store)]
        except ShadowsimError:
            return [_readable(0.0)]


class Commits(Collector):
    """How the commits stand, at the time of a scrape, that runs have left in this folder."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs

    def collect(self) -> Iterable[Metric]:
        about = "Changes to production whose runs are not over, or died; those open too long are "
        about += "taken back by 'shadowsim rollback --resume'."
        family = GaugeMetricFamily("shadowsim_commits", about, labels=("state",))
        there = lying(self._runs)
        for state in sorted({OPEN, ROLLED_BACK, HALTED, ALTERED} | there.keys()):
            family.add_metric((state,), there[state])
        return [family]


def add_metrics(api: FastAPI, store: Path | None, runs: Path | None) -> None:
    """Tell at /metrics what is kept at these places, to who may ask at all; without, nothing."""
    if store is None or runs is None:
        return
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Outcomes(store))
    registry.register(Commits(runs))

    @api.get(PATH, response_class=Response)
    def metrics(request: Request) -> Response:
        """Outcomes of runs, as Prometheus reads them."""
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": kind})


def families(rows: Sequence[Row], store: Path) -> Iterator[Metric]:
    """Everything that is told of these rows of a store. Raises BadInput where one is damaged."""
    ran = Counter(_labels(row, RUN) for row in rows)
    yield _counter("shadowsim_runs", "Runs that came to an end.", RUN, ran)
    broken: defaultdict[tuple[str, ...], float] = defaultdict(float)
    causes: Counter[tuple[str, ...]] = Counter()
    took: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in rows:
        broken[_labels(row, MODE)] += row["breach_s"] or 0.0
        for kind in kinds_of(row["blamed"]) or ("",):
            causes[_text(row["precog"]), _text(row["root_cause"]), kind] += 1
        if row["time_to_rollback_s"] is not None:
            took[_labels(row, MODE)].append(row["time_to_rollback_s"])
    about = "Seconds in which production was broken, after the change came to it."
    yield _counter("shadowsim_breach_seconds", about, MODE, broken)
    about = "What runs were due to, by the kind of command blamed; once for each kind."
    yield _counter("shadowsim_root_causes", about, CAUSE, causes)
    yield _took(took)
    yield from _calibration(rows, store)
    newest = GaugeMetricFamily(
        "shadowsim_newest_outcome_timestamp_seconds", "When the last outcome was recorded."
    )
    if rows:
        newest.add_metric((), datetime.fromisoformat(rows[-1]["recorded_at"]).timestamp())
    yield newest


def _took(took: Mapping[tuple[str, ...], Sequence[float]]) -> Metric:
    about = "From the trigger to the verified or abandoned end of a rollback."
    family = HistogramMetricFamily("shadowsim_rollback_seconds", about, labels=MODE)
    for labels, seconds in sorted(took.items()):
        lowest = [min(n for n, high in enumerate(BUCKETS_S) if s <= high) for s in seconds]
        counts = Counter(lowest)
        buckets = accumulate(float(counts[n]) for n in range(len(BUCKETS_S)))
        names = [f"{high:g}" if high < float("inf") else "+Inf" for high in BUCKETS_S]
        family.add_metric(labels, list(zip(names, buckets, strict=True)), sum(seconds))
    return family


def _calibration(rows: Sequence[Row], store: Path) -> Iterator[Metric]:
    """Of the last outcomes of which it is known what came: how right the forecasts were."""
    from shadowsim.learning import overtime

    said, _ = overtime.frames(rows[-RECENT:], store, lambda place, recorded_at: "")
    table = overtime.accuracy(said).to_dicts()
    about = f"Forecasts at the gate, of the last {RECENT} outcomes, of which it is known what came."
    known = GaugeMetricFamily("shadowsim_forecasts", about, labels=MODE)
    for row in table:
        known.add_metric([row[name] for name in MODE], row["runs"] - row["not_said"])
    yield known
    for figure, about in CALIBRATION.items():
        family = GaugeMetricFamily(f"shadowsim_forecast_{figure}", about, labels=MODE)
        for row in table:
            if row[figure] is not None:
                family.add_metric([row[name] for name in MODE], row[figure])
        yield family


def _counter(
    name: str, about: str, labels: Sequence[str], counts: Mapping[tuple[str, ...], float]
) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def _readable(value: float) -> Metric:
    about = "1 if the store of outcomes could be read."
    return GaugeMetricFamily("shadowsim_outcomes_readable", about, value=value)


def _labels(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_text(row["precog" if name == "variant" else name]) for name in names)


def _text(value: str | None) -> str:
    return value or "unknown"


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
