"""The telemetry of a run to one long table on disk, a few rows in memory at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shadowsim.arrow import numbers, words
from shadowsim.model.telemetry import METRICS, Telemetry

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 2**18  # that many rows, in whole samples, are one row group
TEXTS = ("network", "subject", "name", "metric")
COLUMNS = ("at_s", *TEXTS, "value")


def write_table(telemetry: Mapping[str, Telemetry], path: Path) -> None:
    """Write the columns at_s, network, subject, name, metric and value as Parquet.

    The rows of one metric stand together, in order of time. Raises OSError.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    text, number = pa.dictionary(pa.int32(), pa.string()), pa.float64()
    schema = pa.schema([(name, text if name in TEXTS else number) for name in COLUMNS])
    several = _rows(telemetry) > ROWS_AT_ONCE  # by its statistics a reader passes a row group over
    try:
        # Arrow takes a relative path with a colon for the address of some other file system.
        with ParquetWriter(
            path.absolute(), schema, compression="zstd", use_dictionary=["at_s", *TEXTS],
            write_statistics=several, store_schema=False,
        ) as writer:  # fmt: skip
            for table in _gathered(pieces(telemetry)):
                writer.write_table(table, ROWS_AT_ONCE)
    except (OSError, pa.ArrowException) as error:  # they have their own words for a full disk
        code = getattr(error, "errno", None) or errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def _rows(telemetry: Mapping[str, Telemetry]) -> int:
    return sum(
        len(series.samples) * len(series.layout.names(subject)) * len(metrics)
        for series in telemetry.values()
        for subject, metrics in METRICS.items()
    )


def pieces(telemetry: Mapping[str, Telemetry]) -> Iterator[pa.Table]:
    """The table, piece by piece."""
    for network, series in telemetry.items():
        for subject, metrics in METRICS.items():
            names = words(series.layout.names(subject))
            at_once = max(ROWS_AT_ONCE // max(len(names), 1), 1)
            parts = [
                Telemetry(series.layout, series.samples[first : first + at_once])
                for first in range(0, len(series.samples), at_once)
            ]
            for metric in metrics:
                for part in parts:
                    yield _piece(part, names, network, subject, metric)


def _piece(part: Telemetry, names: pa.Array, network: str, subject: str, metric: str) -> pa.Table:
    import pyarrow as pa

    values = part.series(subject, metric)
    first = np.zeros(values.size, dtype=np.int32)
    each = np.tile(np.arange(len(names), dtype=np.int32), len(values))
    spelt = ((first, words([network])), (first, words([subject])), (each, names),
             (first, words([metric])))  # fmt: skip
    texts = [pa.DictionaryArray.from_arrays(numbers(which), of) for which, of in spelt]
    at_s = numbers(np.repeat(part.at_s, len(names)))
    return pa.Table.from_arrays([at_s, *texts, numbers(values.ravel())], names=COLUMNS)


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in few pieces: each is a row group of its own."""
    import pyarrow as pa

    kept: list[pa.Table] = []
    for table in tables:
        if kept and sum(map(len, kept)) + len(table) > ROWS_AT_ONCE:
            yield pa.concat_tables(kept).unify_dictionaries()
            kept = []
        kept.append(table)
    if kept:
        yield pa.concat_tables(kept).unify_dictionaries()
