"""Topologies that stand elsewhere (topohub, GraphML, containerlab) to a Wiring."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.model.topology import Device, Host
from shadowsim.scenario.wiring import Cable, Wiring, delay_of_length, name_trouble, safe_names
from shadowsim.scenario.yamlfile import Document, Path, read_yaml, shorten

MAX_FILE_BYTES = 8 << 20
SOURCE: Path = ("topology",)
MARKUP = re.compile(r"<!(?!--|\[CDATA\[)\s*(\w*)")
GRAPHML_ENDING, CLAB_ENDINGS = ".graphml", (".clab.yml", ".clab.yaml")
ENDINGS = (GRAPHML_ENDING, *CLAB_ENDINGS)

# What containerlab links lead to outside the lab, where no node has that name.
OUTSIDE = ("host", "mgmt-net", "macvlan", "vxlan", "vxlan-stitch", "dummy")
PER_MBPS = 1e6
# Attributes of GraphML edges that tell a rate, and how many bit/s their unit is.
RATES = {"linkspeedraw": 1.0, "bandwidth": PER_MBPS, "speed": PER_MBPS}


# ---- topohub


@cache
def topohub_names() -> tuple[str, ...]:
    """Every network of the collection, as `sndlib/abilene`."""
    import topohub

    folder = FilePath(str(topohub.__file__)).parent / "data"
    found = (p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.json"))
    return tuple(sorted(found))


def read_topohub(name: str) -> Wiring:
    """A network of the collection. BadInput with a near match if there is none."""
    if name not in topohub_names():
        raise BadInput(f"there is no topohub network '{shorten(name)}'; {_near_network(name)}")
    import topohub

    data = topohub.get(name)
    names = safe_names(str(node.get("name") or f"n{node['id']}") for node in data["nodes"])
    by_id = {str(node["id"]): safe for node, safe in zip(data["nodes"], names, strict=True)}
    devices = [
        Device(safe, position=_position(*node["pos"]) if node.get("pos") else None)
        for node, safe in zip(data["nodes"], names, strict=True)
    ]
    cables = [
        Cable(
            by_id[str(edge["source"])],
            by_id[str(edge["target"])],
            SOURCE,
            natural_delay_s=delay_of_length(edge.get("dist")),
        )
        for edge in data["edges"]
    ]
    matrix = {
        (by_id[str(source)], by_id[str(destination)]): float(amount)
        for source, row in data["graph"].get("demands", {}).items()
        for destination, amount in row.items()
        if amount > 0 and source != destination
    }
    return Wiring(name, devices, cables=cables, matrix=matrix)


def _near_network(name: str) -> str:
    """Choices among the networks of the group that was meant, or of the groups."""
    group, _, wanted = name[:100].partition("/")
    same = [n for n in topohub_names() if n.startswith(f"{group}/")]
    if same:
        by_case = [n for n in same if n.lower() == name.lower()]
        return f"did you mean '{by_case[0]}'?" if by_case else choices(name[:100], same)
    wanted = (wanted or group).lower()
    alike = [n for n in topohub_names() if n.rpartition("/")[2].lower() == wanted]
    if alike:
        return f"did you mean '{alike[0]}'?"
    return choices(group, {n.partition("/")[0] + "/..." for n in topohub_names()})


def _position(longitude: Any, latitude: Any) -> tuple[float, float] | None:
    try:
        found = (float(longitude), float(latitude))
    except (TypeError, ValueError):
        return None
    return found if all(map(math.isfinite, found)) else None


# ---- files


def read_file(name: str, folder: FilePath, shown: str) -> Wiring:
    """A topology file inside the scenario's folder; `shown` is how mistakes name the file."""
    if not name.endswith(ENDINGS):
        valid = ", ".join(f"*{kind}" for kind in ENDINGS)
        raise BadInput(f"cannot tell what kind of file '{shorten(name)}' is; valid: {valid}")
    raw = _read_inside(name, folder)
    if name.endswith(GRAPHML_ENDING):
        return _read_graphml(raw, FilePath(name).stem, shown)
    return _read_clab(read_yaml(raw, file=shown))


def _read_inside(name: str, folder: FilePath) -> bytes:
    try:
        root = folder.resolve()
        path = (root / name).resolve()
        if FilePath(name).is_absolute() or not path.is_relative_to(root):
            raise BadInput(f"file '{shorten(name)}' is outside the scenario's folder")
        if not path.is_file():
            beside = sorted(p.name for p in root.iterdir() if p.name.endswith(ENDINGS))
            raise BadInput(f"there is no file '{shorten(name)}'; {choices(name[:200], beside)}")
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"file '{shorten(name)}' cannot be read: {shorten(reason)}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise BadInput(f"file '{shorten(name)}' has more than {MAX_FILE_BYTES:,} bytes")
    return raw


def _read_graphml(raw: bytes, name: str, shown: str) -> Wiring:
    import networkx

    try:
        with warnings.catch_warnings(action="ignore"):  # it quotes the file to standard error
            graph = networkx.parse_graphml(_plain_xml(raw, shown))
    except BadInput:
        raise
    except Exception as error:  # whatever a strange file makes of the parser
        message = f"not GraphML: {shorten(str(error)) or type(error).__name__}"
        raise BadInput([Mistake(message, shown)]) from None
    nodes = list(graph.nodes(data=True))
    edges = _cables_of(graph)
    names = _node_names(nodes, edges)
    by_id = {node: safe for (node, _), safe in zip(nodes, names, strict=True)}
    devices = [
        Device(safe, position=_position(data.get("Longitude"), data.get("Latitude")))
        for (_, data), safe in zip(nodes, names, strict=True)
    ]
    path: Path = ("topology", "file")
    cables = [Cable(by_id[a], by_id[b], path, natural_rate_bps=rate) for a, b, rate in edges]
    return Wiring(name, devices, cables=cables)


def _cables_of(graph: Any) -> list[tuple[Any, Any, float | None]]:
    """The edges as ends and rate, parallel ones too; a directed one and its way back are one."""
    found: list[tuple[Any, Any, float | None]] = []
    waiting: dict[tuple[Any, Any], list[int]] = {}
    for a, b, data in graph.edges(data=True):
        rate = _rate_of(data)
        if graph.is_directed() and a != b:
            if back := waiting.get((b, a)):
                place = back.pop(0)
                found[place] = (b, a, rate if found[place][2] is None else found[place][2])
                continue
            waiting.setdefault((a, b), []).append(len(found))
        found.append((a, b, rate))
    return found


def _rate_of(data: Mapping[str, Any]) -> float | None:
    """The rate an edge tells in bit/s, None where it tells none above 0."""
    lower = {str(key).lower(): value for key, value in data.items()}
    for key, unit in RATES.items():
        try:
            rate = float(lower[key]) * unit
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(rate) and rate > 0:
            return rate
    return None


def _node_names(
    nodes: list[tuple[Any, dict[str, Any]]], edges: list[tuple[Any, Any, float | None]]
) -> list[str]:
    """The labels of nodes (the id where one has none), the second `Paris` as `Paris-2`.

    As `Paris_2`, if the port to it were named like that of a second cable to `Paris`.
    """
    wanted = [str(data.get("label", "")).strip() or str(node) for node, data in nodes]
    names = safe_names(wanted, "-")
    by_id = {node: name for (node, _), name in zip(nodes, names, strict=True)}
    ends = [(by_id[a], by_id[b]) for a, b, _ in edges]
    count = Counter(pair for a, b in ends for pair in ((a, b), (b, a)))
    clash = any((a, f"{b}-{i}") in count for (a, b), n in count.items() for i in range(2, n + 1))
    return safe_names(wanted) if clash else names


def _plain_xml(raw: bytes, shown: str) -> str:
    """The text of an XML file that declares no document type and no entities."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput([Mistake("not UTF-8 text", shown)]) from None
    if match := MARKUP.search(text):
        line = text.count("\n", 0, match.start()) + 1
        message = f"'<!{shorten(match[1])}' is not allowed; leave document types and entities out"
        raise BadInput([Mistake(message, shown, line)])
    return text


# ---- containerlab


def _read_clab(document: Document) -> Wiring:
    """The nodes and links of a containerlab file; `linux` nodes with one link are hosts.

    Links that lead out of the lab (`host:eth9`, `mgmt-net:x`, `macvlan:eth0`) are left out.
    """
    lab = document.values.get("topology")
    nodes = lab.get("nodes") if isinstance(lab, dict) else None
    if not isinstance(lab, dict) or not isinstance(nodes, dict) or not nodes:
        message = "wanted a containerlab file: a mapping topology.nodes from name to options"
        raise BadInput([document.mistake(("topology", "nodes"), message)])
    mistakes: list[Mistake] = []
    for name, options in nodes.items():
        path: Path = ("topology", "nodes", name)
        if not isinstance(options, dict | None):
            mistakes.append(document.mistake(path, f"node '{shorten(name)}' wants a mapping"))
        elif trouble := name_trouble(name):
            mistakes.append(document.mistake(path, f"node '{shorten(name)}': {trouble}"))
    links = _clab_links(document, lab, mistakes)
    if mistakes:
        raise BadInput(mistakes)
    return _clab_wiring(str(document.values.get("name", "clab")), lab, nodes, links)


def _clab_links(
    document: Document, lab: Mapping[str, Any], mistakes: list[Mistake]
) -> list[tuple[str, str]]:
    items = lab.get("links") or []
    if not isinstance(items, list):
        mistakes.append(document.mistake(("topology", "links"), "topology.links wants a list"))
        return []
    found = []
    for i, item in enumerate(items):
        path: Path = ("topology", "links", i)
        ends = _clab_ends(item)
        if not isinstance(ends, list) or len(ends) != 2:
            message = 'a link wants two endpoints, like {endpoints: ["a:eth1", "b:eth1"]}'
            mistakes.append(document.mistake(path, message))
            continue
        names = [_clab_end(end) for end in ends]
        outside = [n for n in names if n in OUTSIDE and n not in lab["nodes"]]
        strange = [n for n in names if n not in lab["nodes"] and n not in outside]
        if names[0] == names[1] and not outside:
            mistakes.append(document.mistake(path, f"a link joins '{shorten(names[0])}' to itself"))
        for name in strange:
            message = f"there is no node '{shorten(name)}'; {choices(name[:200], lab['nodes'])}"
            mistakes.append(document.mistake(path, message))
        if not strange and not outside:
            found.append((names[0], names[1]))
    return found


def _clab_ends(item: Any) -> Any:
    """The endpoints of a link; `{type: macvlan, endpoint: ...}` has one, and one outside."""
    if not isinstance(item, dict):
        return None
    if "endpoint" in item and item.get("type") in OUTSIDE:
        return [item["endpoint"], item["type"]]
    return item.get("endpoints")


def _clab_end(end: Any) -> str:
    """The node of an endpoint, `a:eth1` or {node: a, interface: eth1}."""
    if isinstance(end, dict):
        return str(end.get("node", ""))
    return str(end).partition(":")[0]


def _clab_wiring(
    name: str, lab: Mapping[str, Any], nodes: Mapping[str, Any], links: list[tuple[str, str]]
) -> Wiring:
    used = Counter(end for link in links for end in link)
    hosts = {n for n in nodes if used[n] == 1 and _clab_kind(lab, nodes[n] or {}) == "linux"}
    hosts -= {a for a, b in links if a in hosts and b in hosts}
    wiring = Wiring(name, [Device(n) for n in nodes if n not in hosts])
    for a, b in links:
        if a in hosts or b in hosts:
            host, device = (a, b) if a in hosts else (b, a)
            group = (nodes[host] or {}).get("group")
            wiring.hosts.append(Host(host, device, (group,) if isinstance(group, str) else ()))
        else:
            wiring.cables.append(Cable(a, b, ("topology", "file")))
    return wiring


def _clab_kind(lab: Mapping[str, Any], node: Mapping[str, Any]) -> Any:
    groups, defaults = lab.get("groups"), lab.get("defaults")
    group = groups.get(str(node.get("group"))) if isinstance(groups, dict) else None
    for source in (node, group, defaults):
        if isinstance(source, dict) and source.get("kind") is not None:
            return source["kind"]
    return None
