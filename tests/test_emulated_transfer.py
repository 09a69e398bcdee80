"""The experiment that compares runs on real packets with simulated ones, in small."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import transfer
from emulation import needs_emulation


@needs_emulation
def test_the_same_run_on_both_networks_is_compared(tmp_path: Path) -> None:
    transfer.main(quick=True, out=tmp_path / "t", mlflow="off")
    (row,) = pl.read_csv(tmp_path / "quick-t" / "rows.csv").iter_rows(named=True)
    assert row["scenario"] == "square-acl-voice" and 0.0 <= row["forecast"] <= 1.0
    assert row["simulated"].split(", ")[0] == "no-go"
