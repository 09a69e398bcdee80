"""A telemetry file of ten million rows to how long it takes to group it by device and second."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from shadowsim.bench.timing import Row, alternating
from shadowsim.readings import by_second

NETWORKS, METRICS = ("production", "shadow"), ("cpu", "memory", "table", "temperature", "power")
DEVICES, SECONDS, A_SECOND = 100, 1000, 10
ROWS = len(NETWORKS) * len(METRICS) * DEVICES * SECONDS * A_SECOND
REPEATS = 7


def rows_10_million() -> list[Row]:
    """Beside the streaming engine of polars on the same file; both must say the same."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "telemetry.parquet"
        _made().write_parquet(file)
        ours, theirs = by_second(file), _by_polars(file)
        if not np.allclose(ours["mean"], theirs["mean"]) or ours["name"].ne(theirs["name"]).any():
            raise RuntimeError("the two do not say the same")
        took_s, peer_s = alternating(lambda: by_second(file), lambda: _by_polars(file), REPEATS)
    note = f"{ours.height:,} groups; the peer is polars {pl.__version__}, streaming; not slower"
    return [
        Row(f"{ROWS:,} rows of telemetry by device and second", took_s, "s", peer_s, peer_s, note)
    ]


def _by_polars(file: Path) -> pl.DataFrame:
    second = pl.col("at_s").floor().cast(pl.Int64).alias("second")
    told = pl.scan_parquet(file).group_by("name", second).agg(mean=pl.col("value").mean())
    return told.sort("name", "second").collect(engine="streaming")


def _made() -> pl.DataFrame:
    """Rows in the order in which a run writes them."""
    samples = SECONDS * A_SECOND
    at_s = np.repeat(np.arange(samples) / A_SECOND, DEVICES)
    names = pl.Series([f"device-{n}.site" for n in range(DEVICES)])
    name = names.gather(np.tile(np.arange(DEVICES), samples))
    random = np.random.default_rng(1)
    return pl.concat(
        pl.DataFrame({"at_s": at_s, "name": name, "value": random.random(len(at_s))}).select(
            "at_s", network=pl.lit(network), subject=pl.lit("device"), name="name",
            metric=pl.lit(metric), value="value",
        )
        for network in NETWORKS
        for metric in METRICS
    )  # fmt: skip
