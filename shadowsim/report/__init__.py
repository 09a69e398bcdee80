"""The folder of a run to one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from shadowsim import __version__
from shadowsim.errors import BadInput, Mistake
from shadowsim.report.figures import forecast, networks, topology
from shadowsim.report.journal import journal
from shadowsim.report.recorded import Recorded, read_folder
from shadowsim.report.signature import rollback
from shadowsim.report.timeline import timeline
from shadowsim.report.verdict import verdict

SECTIONS = (verdict, timeline, topology, networks, forecast, rollback, journal)
TOKENS = Path(__file__).with_name("tokens.css")  # the colours, which the live page has too
LINKS = (
    ("timeline", "Timeline"), ("topology", "Load on the network"),
    ("networks", "Production beside shadow"), ("forecast", "Forecast"),
    ("rollback", "Rollback plan"), ("journal", "Journal"),
)  # fmt: skip
TEMPLATE = Path(__file__).with_name("page.html")


def render(folder: Path) -> str:
    """The page of the run in this folder. Raises BadInput that names the file at fault."""
    run = read_folder(folder)
    result = run.result
    words = [result.change or "(no summary of the change)", result.summary]
    sections = [section(run) for section in SECTIONS]
    return page("report of a run", result.scenario, words, LINKS, sections, _footer(run))


def page(
    kind: str,
    title: str,
    words: Sequence[str],
    links: Sequence[tuple[str, str]],
    sections: Sequence[str],
    footer: str,
) -> str:
    """A page of sections that are HTML already; title and words are plain texts. `links` are to
    sections, by their names.
    """
    first, *others = (escape(text) for text in words)
    listed = [f'<li><a href="#{name}">{escape(text)}</a></li>' for name, text in links]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        tokens=TOKENS.read_text(encoding="utf-8"),
        kind=escape(kind),
        title=escape(title),
        words="\n".join([f"<p>{first}</p>", *(f'<p class="soft">{t}</p>' for t in others)]),
        links="\n".join(listed),
        sections="\n".join(sections),
        footer=footer,
    )


def _footer(run: Recorded) -> str:
    result = run.result
    facts = (
        f"network {result.network}",
        f"topology {run.picture.name} ({len(run.picture.devices)} devices)",
        f"PreCog {result.precog}",
        f"autonomy {result.autonomy}",
        f"seed {result.seed}",
        f"{result.duration_s:,.1f} s of network time",
        f"shadowsim {__version__}",
    )
    return "<p>" + " · ".join(escape(fact) for fact in facts) + "</p>"


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page, as report.html in the folder unless told otherwise, and say where.

    The file is there whole or not at all.
    """
    text = render(folder)
    target = out or folder / "report.html"
    if target.is_dir():  # which may have no name of its own, as "." has none
        raise BadInput([Mistake("cannot be written: is a folder", str(target))])
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput([Mistake(f"cannot be written: {error.strerror}", str(target))]) from None
    return target


__all__ = ["page", "render", "write_report"]
