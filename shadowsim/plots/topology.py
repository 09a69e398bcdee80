"""A topology and the loads of its links at a few instants to one drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox, BboxBase

from shadowsim.plots.style import INK, ORANGE, WIDTH_IN, drawn

Array = npt.NDArray[np.float64]
Places = Mapping[str, tuple[float, float]]

LABELLED_UP_TO = 60
LOAD = LinearSegmentedColormap.from_list(
    "load", [(0, "#d3dce6"), (0.45, "#7fb0d8"), (0.75, "#f09a3e"), (0.9, "#c4341f"), (1, "#6d0f1f")]
)
DASHES = (0, (2, 2))
GROUND = {"facecolor": "white", "alpha": 0.65, "pad": 0.4, "linewidth": 0}
# Kind of a device to marker, colour (of Okabe and Ito), size, and what the legend says.
DEVICES = {
    "other": ("o", "#3b4a59", 1.0, ""),
    "touched": ("s", ORANGE, 1.9, "device the change touches"),
    "blamed": ("D", "#cc2f8f", 1.9, "device with blamed commands"),
}


@dataclass(frozen=True)
class Drawing:
    """What is needed to draw a topology. Each link: its ends, and its names in telemetry."""

    positions: Mapping[str, tuple[float, float] | None]
    links: Sequence[tuple[str, str, tuple[str, ...]]]
    edge: frozenset[str] = frozenset()  # devices that have hosts


@dataclass(frozen=True)
class Snapshot:
    """The utilisation of links, by name, at one instant; `down` are the links without a signal."""

    title: str
    utilisation: Mapping[str, float]
    down: frozenset[str] = frozenset()


def topology_figure(
    drawing: Drawing,
    snapshots: Sequence[Snapshot],
    touched: Iterable[str] = (),
    blamed: Iterable[str] = (),
) -> Figure:
    """The same network once a snapshot, links coloured and thickened by their load.

    Devices are named where a name covers nothing else; in networks above 60 devices not at all.
    """
    places = layout(drawing)
    kinds = dict.fromkeys(places, "other") | dict.fromkeys(touched, "touched")
    kinds |= dict.fromkeys(blamed, "blamed")
    figure = Figure(figsize=(WIDTH_IN, 0.95 + _height_in(places)))
    panels = figure.subplots(1, len(snapshots), squeeze=False)[0]
    low = 0.68 / figure.get_figheight()
    high = 1 - 0.27 / figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, top=high, bottom=low, wspace=0.04)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for axes, snapshot in zip(panels, snapshots, strict=True):
        _draw_network(axes, drawing, places, snapshot, kinds)
        if len(places) <= LABELLED_UP_TO:
            _label(axes, renderer, drawing, places, kinds)
    _load_scale(figure, set(kinds.values()), any(s.down for s in snapshots))
    return figure


def _height_in(places: Places) -> float:
    """The height of a panel that suits the shape of the network."""
    height = max(y for _, y in places.values()) - min(y for _, y in places.values())
    width = max(x for x, _ in places.values()) - min(x for x, _ in places.values())
    return float(np.clip(3.4 * height / max(width, 1e-9) + 0.3, 1.8, 4.2))


# -- where devices are drawn -------------------------------------------------------------------


def layout(drawing: Drawing) -> dict[str, tuple[float, float]]:
    """Where each device is drawn: where it stands, in layers above the hosts, or by its links."""
    known = {name: p for name, p in drawing.positions.items() if p is not None}
    if known and len(known) == len(drawing.positions):
        squeeze = float(np.cos(np.radians(np.mean([y for _, y in known.values()]))))
        return _normal({name: (x * squeeze, y) for name, (x, y) in known.items()})
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(drawing.positions)
    graph.add_edges_from((a, b) for a, b, _ in drawing.links)
    layers = _layers(graph, drawing.edge)
    if len(layers) > 1:
        return _normal(_in_layers(layers))
    if len(graph) > 2 and nx.is_connected(graph):
        return _normal(nx.kamada_kawai_layout(graph))
    return _normal(nx.spring_layout(graph, seed=1))


def _layers(graph: nx.Graph[str], edge: frozenset[str]) -> list[list[str]]:
    """Devices by their distance from hosts; one layer where that says nothing."""
    found = nx.multi_source_dijkstra_path_length(graph, set(edge)) if len(edge) > 1 else {}
    if len(found) < len(graph):
        return [list(graph)]
    return [
        [n for n in graph if found[n] == level] for level in range(int(max(found.values())) + 1)
    ]


def _in_layers(layers: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    return {
        name: ((i + 0.5) / len(row), level * 0.36)
        for level, row in enumerate(layers)
        for i, name in enumerate(row)
    }


def _normal(places: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The same picture, its middle at the origin and its longer side 1."""
    points = np.array(list(places.values()), dtype=float).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - (low + high) / 2) / max(float((high - low).max()), 1e-9)
    return {name: (float(x), float(y)) for name, (x, y) in zip(places, scaled, strict=True)}


# -- one panel ---------------------------------------------------------------------------------


def _draw_network(
    axes: Axes, drawing: Drawing, places: Places, snapshot: Snapshot, kinds: Mapping[str, str]
) -> None:
    axes.set_title(drawn(snapshot.title), fontsize=9.5, color=INK, parse_math=False)
    axes.set_axis_off()
    _fit(axes, np.abs(np.array(list(places.values()))).max(axis=0) + 0.07)
    _draw_links(axes, drawing, places, snapshot)
    size = float(np.clip(900 / len(places), 10, 46))
    for kind, (marker, colour, factor, _) in DEVICES.items():
        here = [place for name, place in places.items() if kinds[name] == kind]
        x, y = [x for x, _ in here], [y for _, y in here]
        axes.scatter(
            x,
            y,
            s=size * factor,
            c=colour,
            marker=marker,
            zorder=3,
            linewidth=0.8,
            edgecolor="white",
        )


def _fit(axes: Axes, half: Array) -> None:
    """Show at least this far from the origin, with the same scale in both directions."""
    scale = max(half[0] / axes.bbox.width, half[1] / axes.bbox.height)
    axes.set_xlim(-scale * axes.bbox.width, scale * axes.bbox.width)
    axes.set_ylim(-scale * axes.bbox.height, scale * axes.bbox.height)


def _draw_links(axes: Axes, drawing: Drawing, places: Places, snapshot: Snapshot) -> None:
    """The busier direction of each link, the busiest on top; links that are down are dashed."""
    up: list[tuple[float, Any]] = []
    down: list[Any] = []
    for a, b, names in drawing.links:
        if any(name in snapshot.down for name in names):
            down.append((places[a], places[b]))
        else:
            load = max((snapshot.utilisation.get(name, 0.0) for name in names), default=0.0)
            up.append((min(load, 1.0), (places[a], places[b])))
    up.sort(key=lambda link: link[0])
    loads = np.array([load for load, _ in up])
    thick = 3.6 if len(drawing.links) < 100 else 1.8
    widths = thick * (0.35 + 0.65 * loads)
    ends = [line for _, line in up]
    axes.add_collection(LineCollection(ends, colors=LOAD(loads), linewidths=widths, zorder=1))
    dashed = LineCollection(down, colors=INK, linewidths=1.2, linestyles=[DASHES], zorder=2)
    axes.add_collection(dashed)


def _label(
    axes: Axes, renderer: Any, drawing: Drawing, places: Places, kinds: Mapping[str, str]
) -> None:
    """Names beside the devices where they cover no other; those of marked devices first."""
    points = {name: axes.transData.transform(place) for name, place in places.items()}
    along = np.linspace(0, 1, 40)[:, None]
    inked = [points[a] + along * (points[b] - points[a]) for a, b, _ in drawing.links]
    dots = np.concatenate(inked) if inked else np.empty((0, 2))
    taken: list[BboxBase] = [_around(point, 4.0) for point in points.values()]
    style: dict[str, Any] = {
        "fontsize": 7.2 if len(places) <= 25 else 5.8,
        "color": INK,
        "parse_math": False,
    }
    for name in sorted(places, key=lambda name: (kinds[name] == "other", len(name))):
        weight = "normal" if kinds[name] == "other" else "bold"
        text = axes.text(0, 0, drawn(name), fontweight=weight, bbox=GROUND, zorder=4, **style)
        place = _free_place(points[name], text.get_window_extent(renderer), taken, axes.bbox, dots)
        if place is None:
            text.remove()
            continue
        taken.append(place)
        text.set(position=axes.transData.inverted().transform(place.min), va="bottom")


def _around(point: Array, radius: float) -> Bbox:
    return Bbox.from_extents(*(point - radius), *(point + radius))


def _free_place(
    point: Array, size: BboxBase, taken: Sequence[BboxBase], within: BboxBase, dots: Array
) -> Bbox | None:
    """A box of this size beside the point that covers nothing taken, and few of the dots."""
    middles = np.array([(box.x0 + box.x1, box.y0 + box.y1) for box in taken]) / 2

    def cost(box: Bbox) -> float:
        covered = ((dots > box.min) & (dots < box.max)).all(axis=1).sum()
        nearest = _distance(box, middles).min()
        return float(covered + 12 * (nearest < _distance(box, point[None]).min() - 0.1))

    free = [
        box
        for box in _beside(point, size.width, size.height)
        if box.x0 >= within.x0 and box.x1 <= within.x1 and not box.count_overlaps(taken)
    ]
    return min(free, key=cost, default=None)


def _distance(box: Bbox, points: Array) -> Array:
    outside = np.maximum(np.maximum(box.min - points, points - box.max), 0)
    return np.asarray(np.hypot(*outside.T))


def _beside(point: Array, width: float, height: float) -> list[Bbox]:
    """Boxes around the point: beside, above and below, at the corners; the near ones first."""
    found = []
    for gap in (5.0, 9.0, 14.0):
        slant = 0.6 * gap
        found += [(x, -height / 2) for x in (gap, -gap - width)]
        found += [(-width / 2, y) for y in (gap, -gap - height)]
        found += [(x, y) for x in (slant, -slant - width) for y in (slant, -slant - height)]
    x, y = float(point[0]), float(point[1])
    return [Bbox.from_bounds(x + dx, y + dy, width, height) for dx, dy in found]


def _load_scale(figure: Figure, kinds: set[str], broken: bool) -> None:
    """The scale that the panels share, and what their marks mean."""
    inch = 1 / figure.get_figheight()
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 100), LOAD),
        cax=figure.add_axes((0.05, 0.43 * inch, 0.36, 0.13 * inch)),
        orientation="horizontal",
    )
    bar.set_label("utilisation of the busier direction of a link, %", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=text)
        for kind, (marker, colour, _, text) in DEVICES.items()
        if kind in kinds and text
    ]
    if broken:
        handles.append(
            Line2D([], [], color=INK, linewidth=1.2, linestyle=DASHES, label="link down")
        )
    if handles:
        figure.legend(
            handles=handles, loc="center left", bbox_to_anchor=(0.45, 0.45 * inch), ncols=3,
            frameon=False, fontsize=8.5, labelcolor=INK,
        )  # fmt: skip
