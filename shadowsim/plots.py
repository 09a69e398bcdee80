"""Tables and telemetry to figures: analytics, loads on a topology, two networks, forecasts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import networkx as nx
import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from shadowsim import analytics
from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.model.truth import MODES

Array = npt.NDArray[np.float64]
Pairs = Sequence[tuple[str, str]]

WIDTH_IN = 11.0
LABELLED_UP_TO = 60
INK, GREY, BAND = "#1b2733", "#5b6b7b", "#eef2f6"
# The colours of Okabe and Ito, which people with any colour vision tell apart.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#a6377d"
NETWORK_STYLE: dict[str, dict[str, Any]] = {
    "production": {"color": BLUE, "linestyle": "-"},
    "shadow": {"color": VERMILION, "linestyle": (0, (4, 2))},
}
MARK_STYLE: dict[str, dict[str, Any]] = {
    "decision": {"color": INK, "linestyle": ":"},
    "deployed": {"color": GREEN, "linestyle": "-."},
    "trigger": {"color": PURPLE, "linestyle": "-"},
    "end": {"color": INK, "linestyle": "-"},
}
LOAD = LinearSegmentedColormap.from_list(
    "load", [(0, "#d3dce6"), (0.45, "#7fb0d8"), (0.75, "#f09a3e"), (0.9, "#c4341f"), (1, "#6d0f1f")]
)
OUTLINE = {"linewidth": 0.8, "edgecolor": "white"}


@dataclass(frozen=True)
class Snapshot:
    """The utilisation of links, by name, at one instant; `down` are the links without a signal."""

    title: str
    utilisation: Mapping[str, float]
    down: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Drawing:
    """What is needed to draw a topology. Each link: its ends, and its names in telemetry."""

    positions: Mapping[str, tuple[float, float] | None]
    links: Sequence[tuple[str, str, tuple[str, ...]]]
    edge: frozenset[str] = frozenset()  # devices that have hosts


@dataclass(frozen=True)
class Period:
    """A phase of the workflow on the axis of time."""

    number: int
    name: str
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Mark:
    """An instant worth a line through every panel; `kind` is a key of MARK_STYLE."""

    kind: str
    at_s: float
    label: str


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes for the same figure."""
    with mpl.rc_context({"svg.hashsalt": "shadowsim", "path.simplify": True}):
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


# -- loads on a topology -----------------------------------------------------------------------


def topology_figure(
    drawing: Drawing,
    snapshots: Sequence[Snapshot],
    touched: Iterable[str] = (),
    blamed: Iterable[str] = (),
) -> Figure:
    """The same network once a snapshot, links coloured and thickened by their load."""
    places = layout(drawing)
    marked = {name: "blamed" for name in blamed} | {}
    marked = {**dict.fromkeys(touched, "touched"), **marked}
    figure = Figure(figsize=(WIDTH_IN, 4.7 if len(places) <= LABELLED_UP_TO else 5.2))
    panels = figure.subplots(1, len(snapshots), squeeze=False)[0]
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.15, wspace=0.04)
    for axes, snapshot in zip(panels, snapshots, strict=True):
        _draw_network(axes, drawing, places, snapshot, marked)
    _load_scale(figure, marked.values(), any(s.down for s in snapshots))
    return figure


def layout(drawing: Drawing) -> dict[str, tuple[float, float]]:
    """Where each device is drawn: where it stands, in layers above the hosts, or by its links."""
    known = {name: p for name, p in drawing.positions.items() if p is not None}
    if known and len(known) == len(drawing.positions):
        squeeze = np.cos(np.radians(np.mean([y for _, y in known.values()])))
        return _normal({name: (x * squeeze, y) for name, (x, y) in known.items()})
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(drawing.positions)
    graph.add_edges_from((a, b) for a, b, _ in drawing.links)
    layers = _layers(graph, drawing.edge)
    if len(layers) > 1:
        return _normal({
            name: ((i + 0.5) / len(row), level * 0.36)
            for level, row in enumerate(layers)
            for i, name in enumerate(row)
        })  # fmt: skip
    if len(graph) > 2 and nx.is_connected(graph):
        return _normal(nx.kamada_kawai_layout(graph))
    return _normal(nx.spring_layout(graph, seed=1))


def _layers(graph: nx.Graph[str], edge: frozenset[str]) -> list[list[str]]:
    """Devices by their distance from hosts; one layer if that says nothing."""
    distance = nx.multi_source_dijkstra_path_length(graph, set(edge)) if edge else {}
    if len(distance) < len(graph) or len(edge) < 2:
        return [list(graph)]
    height = int(max(distance.values()))
    return [[n for n in graph if distance[n] == level] for level in range(height + 1)]


def _normal(places: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The same picture, its middle at the origin and its longer side 1."""
    points = np.array([places[name] for name in places], dtype=float).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - (low + high) / 2) / max(float((high - low).max()), 1e-9)
    return {name: (float(x), float(y)) for name, (x, y) in zip(places, scaled, strict=True)}


def _draw_network(
    axes: Axes,
    drawing: Drawing,
    places: Mapping[str, tuple[float, float]],
    snapshot: Snapshot,
    marked: Mapping[str, str],
) -> None:
    axes.set_title(snapshot.title, fontsize=9.5, color=INK, parse_math=False)
    axes.set_axis_off()
    points = np.array(list(places.values()))
    margin = 0.07
    axes.set_xlim(points[:, 0].min() - margin, points[:, 0].max() + margin)
    axes.set_ylim(points[:, 1].min() - margin, points[:, 1].max() + margin)
    axes.set_aspect("equal", adjustable="datalim")
    _draw_links(axes, drawing, places, snapshot)
    size = float(np.clip(900 / len(places), 10, 46))
    for kind, colour in (("", "#3b4a59"), ("touched", ORANGE), ("blamed", VERMILION)):
        named = [places[n] for n in places if marked.get(n, "") == kind]
        if named:
            shape = {"": "o", "touched": "s", "blamed": "D"}[kind]
            x, y = zip(*named, strict=True)
            bigger = size * (1.9 if kind else 1.0)
            axes.scatter(x, y, s=bigger, c=colour, marker=shape, zorder=3, **OUTLINE)
    if len(places) <= LABELLED_UP_TO:
        _label(axes, places, marked)


def _draw_links(
    axes: Axes, drawing: Drawing, places: Mapping[str, tuple[float, float]], snapshot: Snapshot
) -> None:
    """The busier direction of each link; the busiest links on top, links that are down dashed."""
    thick = 3.4 if len(drawing.links) < 100 else 1.8
    up, down = [], []
    for a, b, names in drawing.links:
        loads = [snapshot.utilisation[n] for n in names if n in snapshot.utilisation]
        dead = any(n in snapshot.down for n in names)
        (down if dead else up).append((max(loads, default=0.0), (places[a], places[b])))
    up.sort(key=lambda link: link[0])
    loads = np.array([load for load, _ in up])
    axes.add_collection(
        LineCollection(
            [ends for _, ends in up],
            colors=LOAD(np.clip(loads, 0, 1)),
            linewidths=thick * (0.35 + 0.65 * np.clip(loads, 0, 1)),
            capstyle="round",
            zorder=1,
        )
    )
    dashes = [ends for _, ends in down]
    axes.add_collection(
        LineCollection(dashes, colors=INK, linewidths=1.2, linestyles=[(0, (2, 2))], zorder=2)
    )


def _label(
    axes: Axes, places: Mapping[str, tuple[float, float]], marked: Mapping[str, str]
) -> None:
    """Names beside the devices where they cover nothing; those of marked devices first."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axes.apply_aspect()
    points = {name: axes.transData.transform(place) for name, place in places.items()}
    taken = [_around(point, 4.0) for point in points.values()]
    size = 7.0 if len(places) <= 25 else 5.6
    degree = sorted(places, key=lambda name: (name not in marked, len(name)))
    for name in degree:
        text = axes.text(
            0, 0, name, fontsize=size, color=INK, zorder=4, parse_math=False,
            fontweight="bold" if name in marked else "normal",
        )  # fmt: skip
        box = text.get_window_extent(canvas)
        place = _free_place(points[name], box.width, box.height, taken, axes.bbox)
        if place is None:
            text.remove()
            continue
        taken.append(place)
        text.set_position(tuple(axes.transData.inverted().transform(place.min)))
        text.set_verticalalignment("bottom")


def _around(point: Array, radius: float) -> Bbox:
    return Bbox.from_extents(*(point - radius), *(point + radius))


def _free_place(
    point: Array, width: float, height: float, taken: Sequence[Bbox], within: Any
) -> Bbox | None:
    """A box of this size close to the point that covers nothing taken, or None."""
    for gap in (5.0, 9.0, 14.0):
        beside = [(gap, -height / 2), (-gap - width, -height / 2)]
        above = [(-width / 2, gap), (-width / 2, -gap - height)]
        slant = gap * 0.6
        corners = [(slant, slant), (-slant - width, slant), (slant, -slant - height),
                   (-slant - width, -slant - height)]  # fmt: skip
        for dx, dy in (*beside, *above, *corners):
            box = Bbox.from_bounds(float(point[0]) + dx, float(point[1]) + dy, width, height)
            inside = box.x0 >= within.x0 and box.x1 <= within.x1
            if inside and not box.count_overlaps(taken):
                return box
    return None


def _load_scale(figure: Figure, kinds: Iterable[str], broken: bool) -> None:
    """The scale that the panels share, and the marks used in them."""
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 100), LOAD), cax=figure.add_axes((0.07, 0.085, 0.36, 0.03)),
        orientation="horizontal",
    )  # fmt: skip
    bar.set_label("utilisation of the busier direction of a link, %", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8)
    shapes = {"blamed": ("D", VERMILION, "device with blamed commands"),
              "touched": ("s", ORANGE, "device the change touches")}  # fmt: skip
    present = set(kinds)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=text)
        for kind, (marker, colour, text) in shapes.items()
        if kind in present
    ]
    if broken:
        handles.append(
            Line2D([], [], color=INK, linewidth=1.2, linestyle=(0, (2, 2)), label="link down")
        )
    if handles:
        figure.legend(
            handles=handles, loc="center left", bbox_to_anchor=(0.47, 0.075), ncols=len(handles),
            frameon=False, fontsize=8.5, labelcolor=INK,
        )  # fmt: skip


# -- over time ---------------------------------------------------------------------------------

MEASURES = (
    ("utilisation", "busiest link,\nutilisation in %", 100.0),
    ("latency", "worst latency\nof a demand in ms", 1000.0),
    ("loss", "worst loss\nof a demand in %", 100.0),
)


def networks_figure(
    worst: pl.DataFrame, periods: Sequence[Period], marks: Sequence[Mark]
) -> Figure:
    """Production beside shadow: columns at_s, network, measure, scope (all, critical), value."""
    figure = Figure(figsize=(WIDTH_IN, 6.6))
    panels = figure.subplots(len(MEASURES), 1, sharex=True)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.855, bottom=0.075, hspace=0.13)
    critical = "critical" in worst["scope"]
    for axes, (measure, label, factor) in zip(panels, MEASURES, strict=True):
        for network, style in NETWORK_STYLE.items():
            series = worst.filter(network=network, measure=measure).sort("at_s")
            for scope in ("all", "critical"):
                line = series.filter(scope=scope)
                thin = scope == "all" and critical and measure != "utilisation"
                axes.plot(
                    line["at_s"], line["value"] * factor, **style,
                    linewidth=0.9 if thin else 1.8, alpha=0.55 if thin else 1.0,
                )  # fmt: skip
        _tidy(axes, label)
        least = {"utilisation": 100.0, "latency": 1.0, "loss": 1.0}[measure]
        axes.set_ylim(0, max(least, axes.get_ylim()[1]) * 1.04)
    _time_axis(panels, periods, marks)
    names = list(NETWORK_STYLE)
    handles = [Line2D([], [], linewidth=1.8, label=n, **NETWORK_STYLE[n]) for n in names]
    if critical:
        handles = [
            Line2D(
                [], [], linewidth=width, alpha=alpha, label=f"{name}, {what}", **NETWORK_STYLE[name]
            )
            for what, width, alpha in (("critical demands", 1.8, 1.0), ("all demands", 0.9, 0.55))
            for name in names
        ]
    _legend(figure, handles, marks)
    return figure


def forecast_figure(
    forecasts: pl.DataFrame, periods: Sequence[Period], marks: Sequence[Mark]
) -> Figure:
    """Probability of each failure mode over time: columns at_s, network, mode, probability."""
    figure = Figure(figsize=(WIDTH_IN, 4.9))
    panels = figure.subplots(len(MODES), 1, sharex=True)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.81, bottom=0.1, hspace=0.16)
    for axes, mode in zip(panels, MODES, strict=True):
        for network, style in NETWORK_STYLE.items():
            line = forecasts.filter(network=network, mode=mode).sort("at_s")
            axes.plot(line["at_s"], line["probability"] * 100, marker="o", markersize=2.6, **style)
        axes.axhline(
            100 * analytics.PREDICTED_FROM, color=GREY, linewidth=0.7, linestyle=(0, (1, 3))
        )
        _tidy(axes, mode.replace("_", "\n") + "\nin %")
        axes.set_ylim(-6, 106)
        axes.set_yticks((0, 50, 100))
    _time_axis(panels, periods, marks)
    handles = [
        Line2D([], [], marker="o", markersize=3, label=f"forecast for the {n}", **NETWORK_STYLE[n])
        if n == "shadow"
        else Line2D([], [], marker="o", markersize=3, label=f"forecast for {n}", **NETWORK_STYLE[n])
        for n in NETWORK_STYLE
    ]
    _legend(figure, handles, marks)
    return figure


def _tidy(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, fontsize=8.5, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(axis="y", color="#d5dde6", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _time_axis(panels: Sequence[Axes], periods: Sequence[Period], marks: Sequence[Mark]) -> None:
    """Bands for the phases, lines for the marks, and the names of the phases above."""
    end_s = max((p.to_s for p in periods), default=1.0)
    for axes in panels:
        axes.set_xlim(0, end_s)
        for period in periods:
            if period.number % 2:
                axes.axvspan(period.from_s, period.to_s, color=BAND, linewidth=0, zorder=0)
        for mark in marks:
            axes.axvline(mark.at_s, linewidth=1.3, **MARK_STYLE[mark.kind])
    panels[-1].set_xlabel("time in s", fontsize=8.5, color=INK)
    inches = WIDTH_IN * 0.9 / max(end_s, 1e-9)
    for period in periods:
        _name_period(panels[0], period, (period.to_s - period.from_s) * inches)


def _name_period(axes: Axes, period: Period, width_in: float) -> None:
    """The name of a phase above its band: in full, or its number, or nothing, as there is room."""
    full = f"{period.number} {period.name}"
    text = full if len(full) * 0.068 < width_in else str(period.number)
    if width_in > 0.09:
        middle = (period.from_s + period.to_s) / 2
        axes.text(
            middle, 1.03, text, transform=axes.get_xaxis_transform(), fontsize=8, color=GREY,
            horizontalalignment="center", parse_math=False,
        )  # fmt: skip


def _legend(figure: Figure, handles: list[Line2D], marks: Sequence[Mark]) -> None:
    handles = handles + [
        Line2D([], [], linewidth=1.3, label=f"{m.label}, {m.at_s:.1f} s", **MARK_STYLE[m.kind])
        for m in marks
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.075, 0.995), ncols=4, frameon=False,
        fontsize=8.5, labelcolor=INK, handlelength=2.6, columnspacing=1.6,
    )  # fmt: skip


# -- analytics ---------------------------------------------------------------------------------


def save_analytics(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the analytics of these outcomes into a PNG or SVG file. BadInput for another ending."""
    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise BadInput(
            [Mistake(f"no kind of picture; {choices(ending, ('.png', '.svg'))}", str(path))]
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == ".svg":
            path.write_bytes(svg(analytics_figure(rows)))
        else:
            analytics_figure(rows).savefig(path, dpi=150)
    except OSError as error:
        raise BadInput([Mistake(f"cannot be written: {error.strerror}", str(path))]) from None


def analytics_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The five tables of analytics as five panels."""
    runs = analytics.frame(rows)
    figure = Figure(figsize=(WIDTH_IN, 7.2), layout="constrained")
    figure.suptitle(f"shadowsim: {len(rows)} runs", fontsize=12, color=INK)
    top, bottom = figure.add_gridspec(2, 1)
    upper, lower = top.subgridspec(1, 2), bottom.subgridspec(1, 3)
    _validated(figure.add_subplot(upper[0]), analytics.validated(runs))
    _accuracy(figure.add_subplot(upper[1]), analytics.accuracy(runs))
    _rollbacks(figure.add_subplot(lower[0]), analytics.rollbacks(runs))
    _times(figure.add_subplot(lower[1]), runs, analytics.time_to_rollback(runs))
    _causes(figure.add_subplot(lower[2]), analytics.root_causes(runs))
    return figure


STATE_STYLE: dict[str, dict[str, Any]] = {
    "confirmed": {"color": GREEN},
    "rolled_back": {"color": BLUE},
    "refused": {"color": ORANGE},
    "halted": {"color": VERMILION, "hatch": "///"},
}


def _validated(axes: Axes, table: pl.DataFrame) -> None:
    _stacked(axes, "Changes validated on the shadow", table, "decision", STATE_STYLE)
    axes.set_xlabel("changes, by end state", fontsize=8.5)


def _rollbacks(axes: Axes, table: pl.DataFrame) -> None:
    style = {"verified": STATE_STYLE["rolled_back"], "not_verified": STATE_STYLE["halted"]}
    _stacked(axes, "Rollbacks triggered", table, "failure_mode", style)
    axes.set_xlabel("rollbacks", fontsize=8.5)


def _stacked(
    axes: Axes, title: str, table: pl.DataFrame, names: str, parts: Mapping[str, dict[str, Any]]
) -> None:
    """One bar a row, cut into its parts; each part with its number."""
    if not _panel(axes, title, table):
        return
    rows = [_words(name) for name in table[names]]
    left = np.zeros(len(rows))
    for part, style in parts.items():
        values = table[part].to_numpy().astype(float)
        if values.any():
            bars = axes.barh(
                rows,
                values,
                left=left,
                label=_words(part, " "),
                height=0.6,
                edgecolor="white",
                **style,
            )
            counts = [f"{v:.0f}" if v else "" for v in values]
            axes.bar_label(
                bars, counts, label_type="center", fontsize=8.5, color="white", weight="bold"
            )
        left += values
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(0, max(left.max() * 1.03, 1))
    axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4)
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=24)


def _accuracy(axes: Axes, table: pl.DataFrame) -> None:
    """Precision, recall and Brier score per failure mode, side by side."""
    title = "Accuracy of the forecasts"
    if not _panel(axes, title, table):
        return
    shift = {"precision": (-0.26, BLUE), "recall": (0.0, GREEN), "brier": (0.26, GREY)}
    for score, (offset, colour) in shift.items():
        at = np.arange(table.height) + offset
        values = [v or 0.0 for v in table[score]]
        label = "Brier score (0 is best)" if score == "brier" else score
        bars = axes.barh(at, values, height=0.24, color=colour, label=label)
        shown = ["none to count" if v is None else f"{v:.2f}" for v in table[score]]
        axes.bar_label(bars, shown, padding=3, fontsize=8, color=INK)
    axes.set_yticks(range(table.height), [_words(mode) for mode in table["failure_mode"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16)
    axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
    axes.set_xlabel(
        f"share; forecast of {analytics.PREDICTED_FROM:g} and more against what came of it",
        fontsize=8.5,
    )
    axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=24)


def _times(axes: Axes, runs: pl.DataFrame, table: pl.DataFrame) -> None:
    """The share of rollbacks that were over by then, with median and 95th percentile."""
    if not _panel(axes, "Time to rollback", table):
        return
    took = runs["time_to_rollback_s"].drop_nulls().sort()
    axes.ecdf(took.to_numpy(), color=BLUE, linewidth=1.8)
    median, p95 = table["median_s"][0], table["p95_s"][0]
    axes.axvline(median, color=INK, linewidth=1.2, label=f"median {median:.1f} s")
    axes.axvline(
        p95, color=VERMILION, linewidth=1.2, linestyle="--", label=f"95 % within {p95:.1f} s"
    )
    axes.set_xlim(0, max(took.max() * 1.08, 1.0))  # type: ignore[operator]
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("from the trigger to the end of the rollback, s", fontsize=8.5)
    axes.set_ylabel("share of rollbacks", fontsize=8.5)
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _causes(axes: Axes, table: pl.DataFrame) -> None:
    if not _panel(axes, "Root causes", table):
        return
    shown = table.head(10)
    names = [f"change:\n{kind}" if kind else _words(cause) for cause, kind, _ in shown.rows()]
    colours = [VERMILION if kind else GREY for kind in shown["command"]]
    bars = axes.barh(range(len(names)), shown["runs"].to_numpy(), color=colours, height=0.6)
    axes.bar_label(bars, padding=3, fontsize=8.5, color=INK)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("runs", fontsize=8.5)


def _panel(axes: Axes, title: str, table: pl.DataFrame) -> bool:
    """Set up a panel; False, and a word instead of bars, where there is nothing to draw."""
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.tick_params(labelsize=8.5, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not table.is_empty():
        return True
    axes.set_axis_off()
    axes.text(0.5, 0.5, "none yet", transform=axes.transAxes, ha="center", color=GREY)
    return False


def _words(name: Any, between: str = "\n") -> str:
    return str(name or "unknown").replace("_", between)
