"""What all figures share: size, colours, and the way to SVG."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from shadowsim.errors import escaped

Style = dict[str, Any]

WIDTH_IN = 11.0
INK, GREY, BAND = "#1b2733", "#5b6b7b", "#e9eef4"
# The colours of Okabe and Ito, which people with any colour vision tell apart.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#a6377d"


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes for the same figure."""
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "shadowsim"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def drawn(text: str) -> str:
    """A text of a file as it can be drawn: what the font has no sign for is escaped, where all of
    it would come out as the same box, and with a warning.
    """
    return "".join(c if c.isprintable() and ord(c) in _signs() else escaped(c) for c in text)


@cache
def _signs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
