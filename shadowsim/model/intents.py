"""What must stay true: of the paths packets may take, and of the service they get."""

from __future__ import annotations

from dataclasses import dataclass

PATH_KINDS = ("reachable", "isolated", "waypoint", "no_loop", "no_black_hole")
LIMIT_METRICS = ("latency", "loss", "throughput", "utilisation")


@dataclass(frozen=True, slots=True)
class PathIntent:
    """A statement over every packet from the hosts `source` names to those `destination` names.

    `reachable`: each is delivered on every path it may take, except packets that an `isolated`
    intent of the same network speaks of. `isolated`: none is delivered on any. `waypoint`: none
    is delivered on a path that misses device `via`. `no_loop`: none comes back to a device it
    has left. `no_black_hole`: none reaches a device without a usable route for it (an access
    list that denies it, or a route to Null0, is a decision and not a black hole).
    `protocol` "ip" and `port` None speak of all; `port` is the destination's.
    """

    kind: str
    source: str = "any"
    destination: str = "any"
    protocol: str = "ip"
    port: int | None = None
    via: str | None = None

    @property
    def name(self) -> str:
        if self.kind in ("no_loop", "no_black_hole"):
            return self.kind
        what = "" if self.protocol == "ip" else f" {self.protocol}"
        what += "" if self.port is None else f"/{self.port}"
        via = "" if self.via is None else f" via {self.via}"
        return f"{self.kind} {self.source}>{self.destination}{what}{via}"


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on what demands or links get; holds for each one it speaks of.

    latency: below `bound` seconds. loss: below the fraction `bound`. throughput: above the
    fraction `bound` of what is offered. utilisation: below the fraction `bound` of the rate.
    `traffic_class` None speaks of all classes.
    """

    metric: str
    bound: float
    traffic_class: str | None = None
    source: str = "any"
    destination: str = "any"

    @property
    def name(self) -> str:
        of = self.traffic_class or ("all links" if self.metric == "utilisation" else "all")
        side = ">" if self.metric == "throughput" else "<"
        ends = (
            "" if self.source == self.destination == "any" else f" {self.source}>{self.destination}"
        )
        bound = f"{self.bound * 1e3:g} ms" if self.metric == "latency" else f"{self.bound:.3g}"
        return f"{self.metric} {of}{ends} {side} {bound}"


@dataclass(frozen=True, slots=True)
class Intents:
    paths: tuple[PathIntent, ...] = ()
    limits: tuple[Limit, ...] = ()
