"""What all figures share: size, colours, and the way to SVG."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

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
