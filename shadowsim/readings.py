"""The telemetry file of a run to one mean a name and second.

Names are read as the codes that the file holds them by, so no row's name is ever hashed, and sums
are kept in one array by name and second, which a single pass fills.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from shadowsim.arrow import check_footer
from shadowsim.dataplane.maxmin import compiled
from shadowsim.errors import BadInput, Mistake

ROWS_AT_ONCE = 1 << 20
MOST_CELLS = 100_000_000  # of name and second: 1.6 GB
EVERYTHING: Mapping[str, str] = {}

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.signedinteger]
Marks = npt.NDArray[np.bool_]


def by_second(file: Path, only: Mapping[str, str] = EVERYTHING) -> pl.DataFrame:
    """Columns `name`, `second` (whole seconds, rounded down) and `mean`, in that order; of a name
    that reported nothing in a second there is no row. `only` are the values that other columns must
    have, such as {"metric": "cpu"}. Raises BadInput.
    """
    try:
        check_footer(file)
        low, high = _seconds(file)
        return _summed(file, dict(only), low, high - low + 1)
    except (
        pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException,
        OSError, ValueError, KeyError, TypeError,
    ):  # fmt: skip
        raise BadInput([Mistake("cannot be read as telemetry (parquet)", str(file))]) from None


def _seconds(file: Path) -> tuple[int, int]:
    at_s = pl.col("at_s")
    low, high = pl.scan_parquet(file).select(low=at_s.min(), high=at_s.max()).collect().row(0)
    return (0, -1) if low is None else (int(np.floor(low)), int(np.floor(high)))


def _summed(file: Path, only: dict[str, str], low: int, width: int) -> pl.DataFrame:
    places: dict[str, int] = {}
    sums, counts = np.zeros(0), np.zeros(0, dtype=np.int64)
    with pq.ParquetFile(file, read_dictionary=["name", *only], memory_map=True) as opened:
        columns = ["at_s", "name", "value", *only]
        for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
            names, wanted = batch.column("name"), np.ones(len(batch), dtype=np.bool_)
            for column, value in only.items():
                wanted &= _is(batch.column(column), value)
            rows = [places.setdefault(name, len(places)) for name in names.dictionary.to_pylist()]
            if len(places) * width > MOST_CELLS:
                what = f"{len(places):,} names over {width:,} s are too much to be told by second"
                raise BadInput([Mistake(what, str(file))])
            sums.resize(len(places) * width, refcheck=False)
            counts.resize(len(places) * width, refcheck=False)
            _add(
                names.indices.to_numpy(), np.array(rows, dtype=np.int64), wanted,
                _numbers(batch, "at_s"), _numbers(batch, "value"),
                low, width, sums, counts,
            )  # fmt: skip
    return _table(list(places), low, width, sums, counts)


def _numbers(batch: pa.RecordBatch, name: str) -> Floats:
    """What is not there is nan."""
    found: Floats = batch.column(name).to_numpy(zero_copy_only=False)
    return found


def _is(column: pa.DictionaryArray, value: str) -> Marks:
    known = np.array([one == value for one in column.dictionary.to_pylist()], dtype=np.bool_)
    found: Marks = known[column.indices.to_numpy()]
    return found


@compiled
def _add(
    codes: Ints, rows: Ints, wanted: Marks, at_s: Floats, value: Floats, low: int, width: int,
    sums: Floats, counts: Ints,
) -> None:  # fmt: skip
    """Add each reading that is a number to the sum of its name and second."""
    for i in range(len(codes)):
        if wanted[i] and value[i] == value[i] and at_s[i] == at_s[i]:
            cell = rows[codes[i]] * width + int(np.floor(at_s[i])) - low
            sums[cell] += value[i]
            counts[cell] += 1


def _table(names: list[str], low: int, width: int, sums: Floats, counts: Ints) -> pl.DataFrame:
    cells = np.flatnonzero(counts)
    name, second = np.divmod(cells, max(width, 1))
    told = pl.DataFrame({
        "name": pl.Series(names, dtype=pl.String).gather(name),
        "second": second + low,
        "mean": sums[cells] / counts[cells],
    })  # fmt: skip
    return told.sort("name", "second")
