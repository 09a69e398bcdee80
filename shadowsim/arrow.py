"""Numbers and words to Arrow's columns, and a look at a file of them.

Of a list or an array `pyarrow.array` asks whether it is one of pandas', and loads pandas for that
where it is installed: a quarter of a second, for nothing. So buffers are handed over instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int32] | npt.NDArray[np.int64]


def numbers(values: Numbers) -> pa.Array:
    """As many of the same type, not copied if they stand together."""
    import pyarrow as pa

    whole = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(whole.dtype), len(whole), [None, pa.py_buffer(whole)]
    )


def words(texts: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    spelt = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, spelt)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(spelt))]
    return pa.Array.from_buffers(pa.string(), len(spelt), buffers)


def table(columns: Mapping[str, Sequence[Any] | Numbers]) -> pa.Table:
    """A table of these columns of texts or numbers, each with at least one value."""
    import pyarrow as pa

    found = [
        words([*each]) if isinstance(each[0], str) else numbers(np.asarray(each))
        for each in columns.values()
    ]
    return pa.Table.from_arrays(found, names=list(columns))


def check_footer(path: Path) -> None:
    """Raises ValueError unless what a Parquet file says of itself can be read, OSError.

    To be asked before polars reads a file of somebody else: it takes a damaged footer at its word,
    and the process ends for want of memory.
    """
    from pyarrow import ArrowException, parquet

    try:
        parquet.read_metadata(path.absolute())
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(str(error)) from None  # Arrow's own come without a number
