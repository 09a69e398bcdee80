"""Telemetry by name and second, against what polars makes of the same file."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadowsim import readings
from shadowsim.errors import BadInput
from shadowsim.readings import by_second

SCHEMA = {"at_s": pl.Float64, "name": pl.String, "metric": pl.String, "value": pl.Float64}
VALUES = st.one_of(st.none(), st.just(math.nan), st.floats(-1e6, 1e6))
READINGS = st.tuples(
    st.floats(0, 50), st.sampled_from(["a", "b", "ü", ""]), st.sampled_from(["cpu", "memory"]),
    VALUES,
)  # fmt: skip


def written(path: Path, rows: list[tuple[float, str, str, float | None]]) -> Path:
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(path, row_group_size=7)
    return path


def plainly(path: Path) -> pl.DataFrame:
    second = pl.col("at_s").floor().cast(pl.Int64).alias("second")
    told = pl.read_parquet(path).with_columns(pl.col("value").fill_nan(None)).drop_nulls("value")
    return told.group_by("name", second).agg(mean=pl.col("value").mean()).sort("name", "second")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(READINGS, max_size=40), at_once=st.sampled_from([1, 3, 1 << 20]))
def test_it_says_what_polars_says(
    rows: list[tuple[float, str, str, float | None]], at_once: int, tmp_path: Path
) -> None:
    path = written(tmp_path / "t.parquet", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readings, "ROWS_AT_ONCE", at_once)
        found = by_second(path)
    wanted = plainly(path)
    assert found.select("name", "second").equals(wanted.select("name", "second"))
    assert found["mean"].to_list() == pytest.approx(wanted["mean"].to_list(), abs=1e-6)


def test_only_what_is_asked_for_is_told(tmp_path: Path) -> None:
    rows = [(1.0, "a", "cpu", 0.5), (1.9, "a", "cpu", 0.7), (1.0, "a", "memory", 9.0),
            (3.0, "b", "memory", 9.0)]  # fmt: skip
    path = written(tmp_path / "t.parquet", rows)
    assert by_second(path, {"metric": "cpu"}).rows() == [("a", 1, pytest.approx(0.6))]
    assert by_second(path, {"metric": "table"}).is_empty()


def test_what_is_no_telemetry_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    pl.DataFrame({"at_s": [1.0], "value": [1.0]}).write_parquet(tmp_path / "u.parquet")
    pl.DataFrame({"at_s": ["x"], "name": ["a"], "value": [1.0]}).write_parquet(
        tmp_path / "v.parquet"
    )
    for name in ("t", "u", "v", "missing"):
        with pytest.raises(BadInput, match="telemetry"):
            by_second(tmp_path / f"{name}.parquet")


def test_times_too_far_apart_are_refused_before_they_take_the_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet", [(0.0, "a", "cpu", 1.0), (1e12, "a", "cpu", 1.0)])
    with pytest.raises(BadInput, match="too much"):
        by_second(path)
