"""The journal of a run to a table that can be folded away."""

from __future__ import annotations

from html import escape

from shadowsim.report.pieces import plain, section, table, words
from shadowsim.report.recorded import Event, Recorded


def journal(run: Recorded) -> str:
    """Every event, in order, with all that it says."""
    rows = ((f"{e.at_s:,.2f}", words(e.phase), words(e.event), _details(e)) for e in run.events)
    columns = ("at, s", "phase", "event", "details")
    body = (
        f"<details><summary>All {len(run.events)} events</summary>\n"
        f"{table('Journal', columns, rows, numbers=(0,))}\n</details>"
    )
    return section("journal", "Journal", body)


def _details(event: Event) -> str:
    return "<br>".join(
        f'<span class="soft">{words(key)}</span> {escape(plain(value))}'
        for key, value in event.details.items()
    )
