"""The telemetry of a run to one long table on disk, a few rows in memory at a time."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shadowsim.model.telemetry import METRICS, Telemetry

if TYPE_CHECKING:
    import polars as pl

ROWS_AT_ONCE = 2**18  # that many rows, in whole samples, are one row group
COLUMNS = ("at_s", "network", "subject", "name", "metric", "value")


def write_table(telemetry: Mapping[str, Telemetry], path: Path) -> None:
    """Write the columns at_s, network, subject, name, metric and value as Parquet.

    The rows of one metric stand together, in order of time. Raises OSError.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        return _gathered(pieces(telemetry))

    kinds = {name: pl.Float64 if name in ("at_s", "value") else pl.String for name in COLUMNS}
    several = _rows(telemetry) > ROWS_AT_ONCE  # by its statistics a reader passes a row group over
    try:
        register_io_source(source, schema=kinds).sink_parquet(
            path, statistics=several, row_group_size=ROWS_AT_ONCE
        )
    except pl.exceptions.PolarsError as error:  # it has its own words for a full disk
        told = re.search(r"os error (\d+)", str(error))
        number = int(told[1]) if told else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def _rows(telemetry: Mapping[str, Telemetry]) -> int:
    return sum(
        len(series.samples) * len(series.layout.names(subject)) * len(metrics)
        for series in telemetry.values()
        for subject, metrics in METRICS.items()
    )


def pieces(telemetry: Mapping[str, Telemetry]) -> Iterator[pl.DataFrame]:
    """The table, piece by piece."""
    import polars as pl

    for network, series in telemetry.items():
        for subject, metrics in METRICS.items():
            names = pl.Series(series.layout.names(subject), dtype=pl.String)
            at_once = max(ROWS_AT_ONCE // max(len(names), 1), 1)
            parts = [
                Telemetry(series.layout, series.samples[first : first + at_once])
                for first in range(0, len(series.samples), at_once)
            ]
            for metric in metrics:
                for part in parts:
                    yield _piece(part, names, network, subject, metric)


def _gathered(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in few pieces: each costs the writer some time of its own."""
    import polars as pl

    kept: list[pl.DataFrame] = []
    for frame in frames:
        if kept and sum(map(len, kept)) + len(frame) > ROWS_AT_ONCE:
            yield pl.concat(kept)
            kept = []
        kept.append(frame)
    if kept:
        yield pl.concat(kept)


def _piece(
    part: Telemetry, names: pl.Series, network: str, subject: str, metric: str
) -> pl.DataFrame:
    import polars as pl

    samples, subjects = len(part.samples), len(names)
    alike = [pl.Series([text]).new_from_index(0, samples * subjects)
             for text in (network, subject, metric)]  # fmt: skip
    columns = [
        pl.Series(np.repeat(part.at_s, subjects)),
        *alike[:2],
        names.gather(np.tile(np.arange(subjects), samples)),
        alike[2],
        pl.Series(part.series(subject, metric).ravel()),
    ]
    return pl.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
