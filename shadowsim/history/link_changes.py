"""A site to changes of its links as operators write them: drains, costs, rates, maintenance."""

from __future__ import annotations

import networkx as nx
from numpy.random import Generator

from shadowsim.history.lines import Commands, both, on_port, one, some
from shadowsim.history.policies import DRAINED_COST
from shadowsim.history.script import Script
from shadowsim.history.sites import Site, open_graph

WELL_DRAINED = (5_000, 10_000, 20_000, 65_535)


def drain(site: Site, random: Generator) -> Script | None:
    """A cost that keeps all traffic off a link, at both its ends."""
    cable = _loaded(site, random)
    if cable is None:
        return None
    commands = both(site.ends(cable), f"ip ospf cost {one(random, WELL_DRAINED)}")
    return Script(f"drain {_name(site, cable)} for maintenance", commands, cable)


def undrain(site: Site, random: Generator) -> Script | None:
    """A drained link gets the cost of the others back."""
    if not site.drained:
        return None
    cable = one(random, site.drained)
    cost = site.port(site.ends(one(random, site.used))[0]).cost if site.used else 10
    commands = both(site.ends(cable), f"ip ospf cost {cost}")
    return Script(f"bring {_name(site, cable)} back after maintenance", commands, cable)


def recost(site: Site, random: Generator) -> Script | None:
    """Costs of a few links moved up or down to shift some traffic."""
    cables = some(random, site.used, int(random.integers(1, 4)))
    commands: Commands = ()
    for cable in cables:
        ends = site.ends(cable)
        cost = site.port(ends[0]).cost
        new = max(1, round(cost * one(random, (0.5, 0.8, 1.2, 1.5, 2.0, 3.0))))
        commands += both(ends, f"ip ospf cost {new if new != cost else cost + 1}")
    return Script("shift traffic between links", commands)


def normalise(site: Site, random: Generator) -> Script | None:
    """Every port of a device gets the usual cost, as in a clean-up."""
    dear = [c for c in site.used if site.port(site.ends(c)[0]).cost != 10]
    if not dear:
        return None
    device = one(random, sorted({end[0] for c in dear for end in site.ends(c)}))
    mine = [c for c in dear if device in (site.ends(c)[0][0], site.ends(c)[1][0])]
    commands = tuple(x for c in mine for x in both(site.ends(c), "ip ospf cost 10"))
    return Script(f"the usual cost on the links of {device}", commands)


def capacity(site: Site, random: Generator) -> Script | None:
    """A circuit is bought larger or smaller: its rate limit and its cost, at both ends."""
    cable = one(random, site.used)
    ends = site.ends(cable)
    rate = site.topology.links[cable].rate_bps
    now = site.port(ends[0]).rate_limit_bps or rate
    new = round(rate * one(random, (0.3, 0.5, 0.7, 0.8, 0.9)))
    if new == now:
        return None
    cost = max(1, round(site.port(ends[0]).cost * (now / new) ** 0.5))
    commands = both(ends, f"rate-limit output {new}", f"ip ospf cost {cost}")
    return Script(f"{_name(site, cable)} has {new / 1e6:g} Mbit/s from today", commands, cable)


def uncap(site: Site, random: Generator) -> Script | None:
    """The limit on the rate of a circuit goes, at both ends."""
    capped = [c for c in site.used if site.port(site.ends(c)[0]).rate_limit_bps]
    if not capped:
        return None
    cable = one(random, capped)
    commands = both(site.ends(cable), "no rate-limit output")
    return Script(f"the full rate on {_name(site, cable)}", commands, cable)


def maintenance(site: Site, random: Generator) -> Script | None:
    """A link is drained at both ends, then shut."""
    cable = _loaded(site, random)
    if cable is None:
        return None
    ends = site.ends(cable)
    commands = both(ends, f"ip ospf cost {one(random, WELL_DRAINED)}") + both(ends, "shutdown")
    return Script(f"take {_name(site, cable)} out of service", commands, cable)


def shut(site: Site, random: Generator) -> Script | None:
    """A link is shut at once, both ends described."""
    cable = _loaded(site, random)
    if cable is None:
        return None
    ticket = int(random.integers(1000, 9999))
    commands = both(site.ends(cable), f"description out of service, ticket {ticket}", "shutdown")
    return Script(f"shut {_name(site, cable)}", commands, cable)


def open_spare(site: Site, random: Generator) -> Script | None:
    """A spare link is set up and opened."""
    if not site.shut:
        return None
    cable = one(random, site.shut)
    commands: Commands = ()
    cost = one(random, (10, 15, 30))
    for end in site.ends(cable):
        commands += on_port(end, f"ip ospf cost {cost}", "no shutdown")
    return Script(f"bring {_name(site, cable)} into service", commands, cable)


def retire(site: Site, random: Generator) -> Script | None:
    """A link that carries nothing any more is shut: spare ones, or drained ones."""
    idle = (*site.drained, *(c for c in site.free if site.busy(c) < 0.01))
    if not idle:
        return None
    cable = one(random, idle)
    commands = both(site.ends(cable), "shutdown", "no description")
    return Script(f"retire {_name(site, cable)}, which is not used", commands, cable)


def swap(site: Site, random: Generator) -> Script | None:
    """Traffic moves from one link to a spare: the spare is opened first, then the other shut."""
    if not site.shut or not site.free:
        return None
    spare = one(random, site.shut)
    near = {end[0] for end in site.ends(spare)}
    touching = [c for c in site.free if near & {end[0] for end in site.ends(c)}]
    old = one(random, touching or list(site.free))
    if old in site.pinned:
        return None
    commands = both(site.ends(spare), "ip ospf cost 10", "no shutdown")
    commands += both(site.ends(old), "shutdown")
    return Script(f"move from {_name(site, old)} to {_name(site, spare)}", commands, old)


def jumbo(site: Site, random: Generator) -> Script | None:
    """Large frames on a link: the MTU, at both ends."""
    small = [c for c in site.used if site.port(site.ends(c)[0]).mtu_bytes == 1500]
    if not small:
        return None
    cable = one(random, small)
    commands = both(site.ends(cable), f"mtu {one(random, (4470, 9000, 9216))}")
    return Script(f"large frames on {_name(site, cable)}", commands, cable)


def empty_device(site: Site, random: Generator) -> Script | None:
    """All links of a device become dear, so that it carries only its own traffic."""
    graph = open_graph(site.topology, site.configs).to_undirected()
    needed = {*nx.articulation_points(graph)}
    device = one(random, [name for name in site.topology.device_index if name not in needed])
    mine = [c for c in site.used if device in (site.ends(c)[0][0], site.ends(c)[1][0])]
    if len(mine) < 2 or site.pinned & {*mine}:
        return None
    commands = tuple(x for c in mine for x in both(site.ends(c), f"ip ospf cost {DRAINED_COST}"))
    own = [c for c in commands if c.device == device]
    others = [c for c in commands if c.device != device]
    return Script(f"keep through traffic off {device} for its upgrade", (*own, *others))


def describe(site: Site, random: Generator) -> Script | None:
    """Descriptions only."""
    commands: Commands = ()
    for cable in some(random, range(len(site.topology.links)), int(random.integers(1, 5))):
        circuit = int(random.integers(1000, 9999))
        commands += both(site.ends(cable), f"description circuit {circuit}")
    return Script("describe circuits", commands)


def _loaded(site: Site, random: Generator) -> int | None:
    """A link that could be missed and that no static route uses; often one with little on it."""
    left = [c for c in site.free if c not in site.pinned]
    if not left:
        return None
    few = sorted(left, key=site.busy)[: max(len(left) // 2, 1)]
    return one(random, few if random.random() < 0.5 else left)


def _name(site: Site, cable: int) -> str:
    link = site.topology.links[cable]
    return f"{link.a} to {link.b}"
