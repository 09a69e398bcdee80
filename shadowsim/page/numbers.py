"""The outcomes of all runs to the tables and the figure of analytics, for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shadowsim import analytics
from shadowsim.outcomes import OutcomeStore
from shadowsim.plots import analytics_figure, svg


def tabled(store: Path) -> dict[str, Any]:
    """How many runs, and the tables with their titles. Raises BadInput for a damaged store."""
    rows = _rows(store)
    tables = [
        {
            "title": title,
            "columns": [name.replace("_", " ") for name in table.columns],
            "rows": [list(row) for row in table.rows()],
        }
        for title, table in (analytics.tables(rows) if rows else ())
    ]
    return {"runs": len(rows), "tables": tables}


def drawn(store: Path) -> bytes:
    """The figure of analytics, as SVG."""
    return svg(analytics_figure(_rows(store)))


def _rows(store: Path) -> Sequence[Mapping[str, Any]]:
    if not store.exists():
        return ()
    with OutcomeStore(store) as outcomes:
        return outcomes.read()
