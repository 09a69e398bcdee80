"""Turns links, flows and their paths into the load of each link and what each flow experiences.

The model is a steady state, flow by flow, without packets:

* A link serves its priority levels strictly in order.  Within a level inelastic flows (UDP) come
  first: they send what they offer, and a link that is offered too much drops the same fraction
  of each.  Elastic flows (TCP) share the rest max-min fairly, each capped by what it offers
  (`maxmin`) and, under random loss, by the formula of Mathis et al., "The macroscopic behavior of
  the TCP congestion avoidance algorithm", CCR 27(3), 1997.
* A queue holds a packet for as long as the M/D/1 formula says (Pollaczek-Khinchine, constant
  packet sizes), and never longer than the full queue takes; a saturated link has a full queue.

Everything may differ between *futures*: the leading axis B of most arrays.  An array that all
futures share has B = 1 there and is not copied.  A future's result does not depend on the
others, to the last bit.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.maxmin import (
    Floats,
    Ints,
    Marks,
    Numbers,
    Sharing,
    compiled,
    share_out,
    sharing,
)

MOST_SWEEPS = 200  # of the fixed point of the drops
DAMPED_AFTER = 40  # sweeps; loops of overloaded links may swing, and half steps calm them
SETTLED = 1e-9  # relative change at which the fixed point is taken as reached


@dataclass(frozen=True, slots=True)
class Links:
    """The directed links.  Arrays of the right type and layout are taken without a copy.

    A 1-dimensional array where [B, L] is due holds for all futures.
    """

    rate_bps: Floats  # [B, L]; 0 is a link that is down
    delay_s: Floats  # [B, L] propagation
    queue_packets: Floats  # [L] how many packets a full queue holds
    loss: Floats  # [B, L] fraction lost at random after the queue, by a fault
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        n_links = np.shape(self.rate_bps)[-1]
        for name in ("rate_bps", "delay_s", "loss"):
            _settle(self, name, np.float64, (None, n_links))
        _settle(self, "queue_packets", np.float64, (n_links,))
        if (self.loss > 1).any():
            raise ValueError("loss is a fraction: it must not exceed 1")
        object.__setattr__(self, "batch", _common(self.rate_bps, self.delay_s, self.loss))


@dataclass(frozen=True, slots=True)
class Flows:
    """The flows.  Arrays of the right type and layout are taken without a copy."""

    rate_bps: Floats  # [B, F] offered
    elastic: Marks  # [F] 1: TCP, 0: UDP
    packet_bytes: Floats  # [F]
    level: Marks  # [F] priority, 0 is served first
    batch: int = field(init=False)

    def __post_init__(self) -> None:
        n_flows = np.shape(self.rate_bps)[-1]
        _settle(self, "rate_bps", np.float64, (None, n_flows))
        _settle(self, "packet_bytes", np.float64, (n_flows,))
        for name in ("elastic", "level"):
            _settle(self, name, np.uint8, (n_flows,))
        if not (self.packet_bytes > 0).all():
            raise ValueError("packet_bytes must be positive")
        object.__setattr__(self, "batch", self.rate_bps.shape[0])


@dataclass(frozen=True, slots=True)
class Paths:
    """The way of each flow: the links in order, none twice, and -1 after the last.

    `hops` says how many links count; -1 marks a flow that is delivered nowhere.
    """

    links: Ints  # [B, F, H]
    hops: Ints  # [B, F]
    batch: int = field(init=False)
    highest: int = field(init=False)  # the largest link number on any path, -1 without any
    numbers: Numbers = field(init=False, repr=False)  # `links`, unsigned as `maxmin` wants them

    def __post_init__(self) -> None:
        n_flows, width = np.shape(self.links)[-2:]
        _settle(self, "links", np.int32, (None, n_flows, width))
        _settle(self, "hops", np.int32, (None, n_flows), least=-1)
        object.__setattr__(self, "numbers", self.links.view(np.uint32))
        object.__setattr__(self, "batch", _common(self.links, self.hops))
        if self.hops.size and self.hops.max() > width:
            raise ValueError(f"hops exceeds the {width} links that a path has room for")
        least, highest = _extremes(self.links, self.hops)
        if least < 0:
            raise ValueError("a path has a -1 before its last hop")
        object.__setattr__(self, "highest", highest)


@dataclass(frozen=True, slots=True)
class Loads:
    """What `solve` found, for each future.

    offered = load + drop holds for each link, to rounding.  `latency_s` is what a packet sent
    now would take, and nan just where `loss` is 1.
    """

    link_load_bps: Floats  # [B, L] what the link carries
    link_offered_bps: Floats  # [B, L] what arrives at its queue
    link_drop_bps: Floats  # [B, L] what its queue drops
    throughput_bps: Floats  # [B, F] what arrives at the destination
    latency_s: Floats  # [B, F]
    loss: Floats  # [B, F] fraction of what the flow sends
    queue_delay_s: Floats  # [B, L] waiting of the lowest level there is in the network

    @classmethod
    def empty(cls, batch: int, n_links: int, n_flows: int) -> "Loads":
        """Make room for a result, to be given to `solve` as `out`."""
        links, flows = (batch, n_links), (batch, n_flows)
        shapes = (links, links, links, flows, flows, flows, links)
        return cls(*(np.empty(shape) for shape in shapes))


def solve(links: Links, flows: Flows, paths: Paths, out: Loads | None = None) -> Loads:
    """Solve all futures and return their loads, in `out` if given (all of it is overwritten).

    Promises: elastic rates are exactly max-min fair (to rounding) in what higher levels and
    inelastic flows leave; no link carries more than its rate; a flow with hops -1 gets
    throughput 0, loss 1, latency nan and loads nothing, one over a down link gets the same, but
    if inelastic it loads the links before that one.  An elastic flow's load counts in full on
    its whole path; random loss reduces its throughput only.
    """
    batch = max(links.batch, flows.batch, paths.batch)
    for part in (links, flows, paths):
        if part.batch not in (1, batch):
            raise ValueError(f"batch sizes differ: {part.batch} and {batch}")
    n_links, n_flows = links.rate_bps.shape[1], flows.rate_bps.shape[1]
    if paths.highest >= n_links or paths.hops.shape[1] != n_flows:
        raise ValueError(
            f"paths of {paths.hops.shape[1]} flows over links up to {paths.highest} do not fit "
            f"{n_flows} flows and {n_links} links"
        )
    if out is None:
        out = Loads.empty(batch, n_links, n_flows)
    elif out.link_load_bps.shape != (batch, n_links) or out.loss.shape != (batch, n_flows):
        raise ValueError(f"out is not for {batch} futures of {n_links} links, {n_flows} flows")
    _solve_all(
        links.rate_bps, links.delay_s, links.queue_packets, links.loss,
        flows.rate_bps, flows.elastic, flows.packet_bytes, flows.level,
        paths.numbers, paths.hops,
        out.link_load_bps, out.link_offered_bps, out.link_drop_bps,
        out.throughput_bps, out.latency_s, out.loss, out.queue_delay_s,
    )  # fmt: skip
    return out


def _settle(
    owner: object,
    name: str,
    dtype: type[np.generic],
    shape: tuple[int | None, ...],
    least: float = 0.0,
) -> None:
    """Bring an array attribute to its type, layout and shape, where None is any batch size."""
    given = np.asarray(getattr(owner, name))
    if shape[0] is None and given.ndim == len(shape) - 1:
        given = given[None]
    array: npt.NDArray[np.generic] = np.require(given, dtype, ("C", "W"))
    if array.ndim != len(shape) or any(
        size not in (None, real) for size, real in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("B" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {given.shape}, wanted [{wanted}]")
    if name != "links" and not (np.isfinite(given).all() and (given >= least).all()):
        raise ValueError(f"{name} must be finite and at least {least:g}")
    object.__setattr__(owner, name, array)


def _common(*arrays: npt.NDArray[np.generic]) -> int:
    """Return the batch size of arrays that each have it or 1."""
    batch = int(max(array.shape[0] for array in arrays))
    if any(array.shape[0] not in (1, batch) for array in arrays):
        raise ValueError(f"batch sizes differ: {sorted({a.shape[0] for a in arrays})}")
    return batch


@compiled
def _extremes(links: Ints, hops: Ints) -> tuple[int, int]:
    """Return the least and the largest link number among the hops that count."""
    least = 0
    highest = -1
    for b in range(max(links.shape[0], hops.shape[0])):
        path = links[b % links.shape[0]]
        length = hops[b % hops.shape[0]]
        for flow in range(path.shape[0]):
            for hop in range(length[flow]):
                least = min(least, path[flow, hop])
                highest = max(highest, path[flow, hop])
    return least, highest


@compiled
def _solve_all(
    rate_bps: Floats, delay_s: Floats, queue_packets: Floats, loss: Floats,
    demand_bps: Floats, elastic: Marks, packet_bytes: Floats, level: Marks,
    links: Numbers, hops: Ints,
    load_bps: Floats, offered_bps: Floats, drop_bps: Floats,
    throughput_bps: Floats, latency_s: Floats, flow_loss: Floats, queue_delay_s: Floats,
) -> None:  # fmt: skip
    """Solve each future; an array with batch size 1 serves all of them."""
    work = sharing(rate_bps.shape[1], links.shape[1] * links.shape[2])
    for b in range(load_bps.shape[0]):
        _solve_one(
            rate_bps[b % rate_bps.shape[0]], delay_s[b % delay_s.shape[0]], queue_packets,
            loss[b % loss.shape[0]], demand_bps[b % demand_bps.shape[0]], elastic, packet_bytes,
            level, links[b % links.shape[0]], hops[b % hops.shape[0]],
            load_bps[b], offered_bps[b], drop_bps[b],
            throughput_bps[b], latency_s[b], flow_loss[b], queue_delay_s[b], work,
        )  # fmt: skip


@compiled
def _solve_one(
    rate_bps: Floats, delay_s: Floats, queue_packets: Floats, loss: Floats,
    demand_bps: Floats, elastic: Marks, packet_bytes: Floats, level: Marks,
    links: Numbers, hops: Ints,
    load_bps: Floats, offered_bps: Floats, drop_bps: Floats,
    throughput_bps: Floats, latency_s: Floats, flow_loss: Floats, queue_delay_s: Floats,
    work: Sharing,
) -> None:  # fmt: skip
    """Solve one future, level by level; every array is that future's own."""
    n_links, n_flows = rate_bps.size, demand_bps.size
    above_bps = np.empty(n_links)  # carried, of the levels above
    free_bps = np.empty(n_links)
    taken_bps = np.empty(n_links)  # by the elastic flows of the level
    keep = np.ones(n_links)  # fraction of an inelastic flow that the queue lets pass
    packets_pps = np.zeros(n_links)  # carried, of this level and those above
    s_per_bit = np.empty(n_links)
    hop_s = np.empty(n_links)
    cap_bps = np.empty(n_flows)
    sending = np.empty(n_flows, np.uint32)
    lossy = False
    for link in range(n_links):
        load_bps[link] = 0.0
        offered_bps[link] = 0.0
        drop_bps[link] = 0.0
        s_per_bit[link] = 1.0 / rate_bps[link] if rate_bps[link] > 0.0 else np.inf
        lossy |= loss[link] > 0.0
    lowest = 0
    for flow in range(n_flows):
        if hops[flow] >= 0:
            lowest = max(lowest, level[flow])
    for now in range(lowest + 1):
        for link in range(n_links):
            above_bps[link] = load_bps[link]
            free_bps[link] = max(0.0, rate_bps[link] - load_bps[link])
            taken_bps[link] = 0.0
        n_inelastic = _choose(sending, now, 0, level, elastic, hops)
        if n_inelastic > 0:
            _push(
                sending, n_inelastic, demand_bps, packet_bytes, links, hops, loss,
                free_bps, keep, load_bps, offered_bps, drop_bps, packets_pps,
            )  # fmt: skip
        n_elastic = _choose(sending, now, 1, level, elastic, hops)
        for i in range(n_elastic):
            cap_bps[sending[i]] = demand_bps[sending[i]]
        if lossy:
            _cap_by_loss(
                sending, n_elastic, packet_bytes, links, hops, loss, delay_s, s_per_bit, cap_bps
            )
        share_out(
            free_bps, cap_bps, links, hops, sending, n_elastic, throughput_bps, taken_bps, work
        )
        _count_packets(now, level, elastic, packet_bytes, links, hops, throughput_bps, packets_pps)
        for link in range(n_links):
            load_bps[link] = min(load_bps[link] + taken_bps[link], rate_bps[link])
            offered_bps[link] += taken_bps[link]
        _wait(rate_bps, s_per_bit, queue_packets, above_bps, load_bps, packets_pps, queue_delay_s)
        for link in range(n_links):
            hop_s[link] = delay_s[link] + queue_delay_s[link]
        _deliver(
            now, lossy, level, elastic, demand_bps, packet_bytes, links, hops, loss, keep,
            hop_s, s_per_bit, throughput_bps, latency_s, flow_loss,
        )  # fmt: skip
    for flow in range(n_flows):
        if hops[flow] < 0:
            throughput_bps[flow] = 0.0
            latency_s[flow] = np.nan
            flow_loss[flow] = 1.0


@compiled
def _choose(chosen: Numbers, now: int, kind: int, level: Marks, elastic: Marks, hops: Ints) -> int:
    """List the delivered flows of level `now`, elastic (`kind` 1) or not; count them."""
    count = 0
    for flow in range(hops.size):
        if level[flow] == now and hops[flow] >= 0 and (elastic[flow] != 0) == (kind != 0):
            chosen[count] = flow
            count += 1
    return count


@compiled
def _push(
    flows: Numbers, n_flows: int, demand_bps: Floats, packet_bytes: Floats,
    links: Numbers, hops: Ints, loss: Floats,
    free_bps: Floats, keep: Floats,
    load_bps: Floats, offered_bps: Floats, drop_bps: Floats, packets_pps: Floats,
) -> None:  # fmt: skip
    """Send the inelastic flows along their paths, thinned where they exceed `free_bps`.

    Finds `keep`, the fraction that each queue lets pass, as the fixed point of: what arrives
    follows from `keep` upstream, and `keep` is `free_bps` over what arrives.  Adds what is
    carried to the loads and takes it from `free_bps`.
    """
    n_links = free_bps.size
    arrive_bps = np.zeros(n_links)
    keep[:] = 1.0
    for sweep in range(MOST_SWEEPS):
        arrive_bps[:] = 0.0
        for i in range(n_flows):
            bps = demand_bps[flows[i]]
            for hop in range(hops[flows[i]]):
                link = links[flows[i], hop]
                arrive_bps[link] += bps
                bps *= keep[link] * (1.0 - loss[link])
        settled = True
        for link in range(n_links):
            wanted = 1.0
            if arrive_bps[link] > free_bps[link]:
                wanted = free_bps[link] / arrive_bps[link]
            if abs(wanted - keep[link]) > SETTLED * wanted:
                settled = False
                keep[link] = wanted if sweep < DAMPED_AFTER else 0.5 * (wanted + keep[link])
        if settled:
            break
    for i in range(n_flows):
        bps = demand_bps[flows[i]]
        for hop in range(hops[flows[i]]):
            link = links[flows[i], hop]
            packets_pps[link] += bps * keep[link] / (8.0 * packet_bytes[flows[i]])
            bps *= keep[link] * (1.0 - loss[link])
    for link in range(n_links):
        carried_bps = min(arrive_bps[link] * keep[link], free_bps[link])
        load_bps[link] += carried_bps
        offered_bps[link] += arrive_bps[link]
        drop_bps[link] += arrive_bps[link] - carried_bps
        free_bps[link] -= carried_bps


@compiled
def _cap_by_loss(
    flows: Numbers, n_flows: int, packet_bytes: Floats, links: Numbers, hops: Ints,
    loss: Floats, delay_s: Floats, s_per_bit: Floats, cap_bps: Floats,
) -> None:  # fmt: skip
    """Cap TCP under random loss p at MSS / RTT * sqrt(3/2) / sqrt(p) (Mathis et al. 1997, eq. 3).

    The segment is the flow's packet, the round trip twice its path without queueing.
    """
    for i in range(n_flows):
        flow = flows[i]
        bits = 8.0 * packet_bytes[flow]
        one_way_s = 0.0
        survive = 1.0
        for hop in range(hops[flow]):
            link = links[flow, hop]
            one_way_s += delay_s[link] + bits * s_per_bit[link]
            survive *= 1.0 - loss[link]
        if survive < 1.0:
            mathis_bps = bits / (2.0 * one_way_s) * np.sqrt(1.5 / (1.0 - survive))
            cap_bps[flow] = min(cap_bps[flow], mathis_bps)


@compiled
def _count_packets(
    now: int, level: Marks, elastic: Marks, packet_bytes: Floats, links: Numbers, hops: Ints,
    throughput_bps: Floats, packets_pps: Floats,
) -> None:  # fmt: skip
    """Add the packets per second of the elastic flows of level `now`."""
    for flow in range(hops.size):
        if level[flow] == now and elastic[flow]:
            pps = throughput_bps[flow] / (8.0 * packet_bytes[flow])
            for hop in range(hops[flow]):
                packets_pps[links[flow, hop]] += pps


@compiled
def _wait(
    rate_bps: Floats, s_per_bit: Floats, queue_packets: Floats,
    above_bps: Floats, load_bps: Floats, packets_pps: Floats, queue_delay_s: Floats,
) -> None:  # fmt: skip
    """Find how long the level that brought the load from `above_bps` to `load_bps` waits.

    With S the mean transmission time and rho the utilisation by this level and those above
    (rho_above: by those above only), the wait is rho S / (2 (1 - rho_above) (1 - rho)): for the
    top level Pollaczek-Khinchine's M/D/1, below it Cobham's priority queue (1954) less the packet
    of a still lower level that may be in transmission.
    """
    for link in range(rate_bps.size):
        if load_bps[link] == 0.0:
            queue_delay_s[link] = 0.0
            continue
        mean_s = load_bps[link] / packets_pps[link] * s_per_bit[link]
        full_s = queue_packets[link] * mean_s
        rho = load_bps[link] * s_per_bit[link]
        rho_above = above_bps[link] * s_per_bit[link]
        room = (1.0 - rho_above) * (1.0 - rho)
        # Under a bottleneck rho is 1 but for rounding.
        saturated = rho >= 1.0 - SETTLED
        queue_delay_s[link] = full_s if saturated else min(full_s, 0.5 * rho * mean_s / room)


@compiled
def _deliver(
    now: int, lossy: bool, level: Marks, elastic: Marks,
    demand_bps: Floats, packet_bytes: Floats, links: Numbers, hops: Ints, loss: Floats,
    keep: Floats, hop_s: Floats, s_per_bit: Floats,
    throughput_bps: Floats, latency_s: Floats, flow_loss: Floats,
) -> None:  # fmt: skip
    """Write what the flows of level `now` experience; elastic ones come with their sending rate."""
    for flow in range(hops.size):
        if level[flow] != now or hops[flow] < 0:
            continue
        bits = 8.0 * packet_bytes[flow]
        transit_s = 0.0
        for hop in range(hops[flow]):
            link = links[flow, hop]
            transit_s += hop_s[link] + bits * s_per_bit[link]
        survive = 1.0
        if lossy:
            for hop in range(hops[flow]):
                survive *= 1.0 - loss[links[flow, hop]]
        if not elastic[flow]:
            throughput_bps[flow] = demand_bps[flow]
            for hop in range(hops[flow]):
                survive *= keep[links[flow, hop]]
        if transit_s == np.inf or 1.0 - survive == 1.0:  # a link is down, or nothing gets through
            survive = 0.0
        throughput_bps[flow] *= survive
        flow_loss[flow] = 1.0 - survive
        latency_s[flow] = transit_s if survive > 0.0 else np.nan
