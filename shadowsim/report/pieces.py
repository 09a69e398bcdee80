"""Values to small pieces of HTML; all that comes from files is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def words(name: str) -> str:
    """`service_outage` as people write it."""
    return escape(name.replace("_", " "))


def seconds(value: float | None) -> str:
    """A duration with as many digits as matter."""
    if value is None:
        return "–"
    return f"{value:,.2f} s" if 0 < value < 1 else f"{value:,.1f} s"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def plain(value: Any) -> str:
    """Any value of JSON as a text for people. Not escaped."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "; ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {plain(item)}" for key, item in value.items())
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def joined(texts: Iterable[str]) -> str:
    return escape("; ".join(texts))


def tag(tone: str, text: str) -> str:
    """A short word on a ground of its tone: good, fair, wary, bad."""
    return f'<span class="tag {tone}">{text}</span>'


def table(
    label: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Sequence[int] = (),
) -> str:
    """A table of cells that are HTML already; `numbers` are the columns to align to the right."""
    kinds = [' class="n"' if i in numbers else "" for i in range(len(columns))]
    head = "".join(f'<th scope="col"{k}>{c}</th>' for k, c in zip(kinds, columns, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{k}>{c}</td>" for k, c in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def section(name: str, title: str, body: str) -> str:
    heading = f'<h2 id="{name}-title">{title}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{body}\n</section>'
