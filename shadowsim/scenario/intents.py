"""The intents of a scenario to frozen Intents, their names checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shadowsim.model.intents import LIMIT_METRICS, PATH_KINDS, Intents, Limit, PathIntent
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import CLASSES, Demand
from shadowsim.scenario.findings import Findings
from shadowsim.scenario.spec import IntentSpec, Packets
from shadowsim.scenario.spec.traffic import Service
from shadowsim.scenario.yamlfile import Path

DEFAULT_INTENTS = Intents(
    paths=(PathIntent("reachable"), PathIntent("no_loop"), PathIntent("no_black_hole"))
)
PAIRS_SHOWN = 4  # of hosts between which there is traffic
BOUNDS = {
    "latency": ("below_ms", 1e3),
    "loss": ("below_percent", 1e2),
    "throughput": ("above_percent", 1e2),
    "utilisation": ("below_percent", 1e2),
}


def build(
    specs: Iterable[IntentSpec | str] | None, topology: Topology | None, findings: Findings
) -> Intents:
    """What must stay true; without a word, that everything reaches everything."""
    if specs is None:
        return DEFAULT_INTENTS
    paths: list[PathIntent] = []
    limits: list[Limit] = []
    for i, spec in enumerate(specs):
        if isinstance(spec, str):
            paths.append(PathIntent(spec))
            continue
        where: Path = ("intents", i)
        paths += [_path(kind, spec, where, topology, findings) for kind in _given(spec, PATH_KINDS)]
        limits += [
            _limit(kind, spec, where, topology, findings) for kind in _given(spec, LIMIT_METRICS)
        ]
    return Intents(tuple(paths), tuple(limits))


def _given(spec: IntentSpec, kinds: tuple[str, ...]) -> list[str]:
    return [kind for kind in kinds if getattr(spec, kind) is not None]


def _path(
    kind: str, spec: IntentSpec, where: Path, topology: Topology | None, findings: Findings
) -> PathIntent:
    given = getattr(spec, kind)
    if not isinstance(given, Packets):
        return PathIntent(kind)
    path = (*where, kind)
    check_hosts(path, given.source, given.destination, topology, findings)
    if given.port is not None and given.protocol not in ("tcp", "udp"):
        findings.add((*path, "port"), f"a port goes with protocol tcp or udp, not {given.protocol}")
    via = getattr(given, "via", None)
    if via is not None and topology is not None and via not in topology.device_index:
        findings.unknown((*path, "via"), "device", via, topology.device_index)
    return PathIntent(kind, given.source, given.destination, given.protocol, given.port, via)


def _limit(
    metric: str, spec: IntentSpec, where: Path, topology: Topology | None, findings: Findings
) -> Limit:
    given = getattr(spec, metric)
    key, unit = BOUNDS[metric]
    bound = getattr(given, key) / unit
    if metric == "utilisation":
        return Limit(metric, bound)
    check_hosts((*where, metric), given.source, given.destination, topology, findings)
    return Limit(metric, bound, given.traffic_class, given.source, given.destination)


def check_limits(
    specs: Iterable[IntentSpec | str] | None,
    demands: Sequence[Demand],
    topology: Topology,
    findings: Findings,
) -> None:
    """A limit on traffic that there is not would watch nothing."""
    for i, spec in enumerate(specs or ()):
        for metric in () if isinstance(spec, str) else _given(spec, LIMIT_METRICS):
            given = getattr(spec, metric)
            if metric != "utilisation":
                _check_limit(("intents", i, metric), given, demands, topology, findings)


def _check_limit(
    where: Path,
    given: Service,
    demands: Sequence[Demand],
    topology: Topology,
    findings: Findings,
) -> None:
    wanted, ends = given.traffic_class, (given.source, given.destination)
    classes = {demand.traffic_class for demand in demands}
    if wanted is not None and wanted not in classes:
        there = [name for name in CLASSES if name in classes]
        shown = f"all traffic is of class {' or '.join(there)}" if there else "there is no traffic"
        message = f"this limit speaks of no demand: none is of class {wanted}; {shown}"
        findings.add((*where, "class"), message)
        return
    if ends == ("any", "any") or not all(name in topology.names() for name in ends):
        return
    among = [d for d in demands if wanted in (None, d.traffic_class)]
    sources, destinations = (set(topology.resolve(name)) for name in ends)
    if any(d.source in sources and d.destination in destinations for d in among):
        return
    of = f" of class {wanted}" if wanted is not None else ""
    pairs = list(dict.fromkeys(f"{d.source} to {d.destination}" for d in among))
    more = f", ... ({len(pairs)} in all)" if len(pairs) > PAIRS_SHOWN else ""
    shown = ", ".join(pairs[:PAIRS_SHOWN]) + more
    goes = f"traffic{of} goes from {shown}" if pairs else "there is no traffic"
    message = f"this limit speaks of no demand: none{of} goes from {ends[0]} to {ends[1]}; {goes}"
    findings.add((*where, "from" if ends[0] != "any" else "to"), message)


def check_hosts(
    path: Path, source: str, destination: str, topology: Topology | None, findings: Findings
) -> bool:
    """Whether both names stand for at least one host, as far as that can be known."""
    if topology is None:
        return True
    good = True
    for key, name in (("from", source), ("to", destination)):
        try:
            hosts = topology.resolve(name)
        except KeyError:
            findings.unknown((*path, key), "host, device or group", name, topology.names())
            good = False
            continue
        if not hosts:
            findings.add((*path, key), f"device '{name}' has no hosts of its own")
            good = False
    return good
