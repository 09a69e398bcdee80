"""What a page says, to Markdown for a repository and to HTML that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from shadowsim.report import page
from shadowsim.report.pieces import section, table


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be typed."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells by rows; `numbers` are the columns to align to the right."""

    label: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, by the name of its file; `alt` says in words what it shows."""

    name: str
    svg: bytes
    alt: str
    caption: str


Block = Text | Code | Table | Picture


@dataclass(frozen=True)
class Part:
    """A section with a name that can be linked to."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page: what it is, its title and first words, its parts."""

    kind: str
    title: str
    lead: str
    parts: Sequence[Part]

    @property
    def pictures(self) -> Mapping[str, bytes]:
        return {
            block.name: block.svg
            for part in self.parts
            for block in part.blocks
            if isinstance(block, Picture)
        }


# -- Markdown ----------------------------------------------------------------------------------


def markdown(found: Page, images: str) -> str:
    """The page as Markdown; its pictures are looked for in `images`, from where the page lies."""
    parts = [f"# {found.title}", found.lead]
    for part in found.parts:
        parts.append(f"## {part.title}")
        parts += [_markdown(block, images) for block in part.blocks]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block, images: str) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Code):
        return "\n".join(f"    {line}" for line in block.text.splitlines())
    if isinstance(block, Picture):
        return f"![{block.alt}]({images}/{block.name})\n\n{block.caption}"
    lines = [
        _line(block.columns),
        "|" + "".join("---:|" if n in block.numbers else "---|" for n in range(len(block.columns))),
        *(_line(row) for row in block.rows),
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# -- HTML --------------------------------------------------------------------------------------


def html(found: Page, footer: str) -> str:
    """The page as one HTML file, pictures and style in it."""
    sections = [
        section(part.name, escape(part.title), "\n".join(_html(block) for block in part.blocks))
        for part in found.parts
    ]
    links = [(part.name, part.title) for part in found.parts]
    return page(found.kind, found.title, [found.lead], links, sections, footer)


def _html(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Code):
        return f'<pre tabindex="0"><code>{escape(block.text)}</code></pre>'
    if isinstance(block, Picture):
        data = base64.b64encode(block.svg).decode("ascii")
        return (
            f'<figure><img alt="{escape(block.alt)}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{escape(block.caption)}</figcaption></figure>"
        )
    rows = [[escape(cell) for cell in row] for row in block.rows]
    columns = [escape(column) for column in block.columns]
    return table(escape(block.label), columns, rows, block.numbers)
