"""Turns links, flows and their paths into the load of each link and what each flow experiences.

The model is a steady state, flow by flow, without packets:

* A link serves its priority levels strictly in order.  Within a level inelastic flows (UDP) come
  first: they send what they offer, and a link that is offered too much drops the same fraction
  of each.  Elastic flows (TCP) share the rest max-min fairly, each capped by what it offers
  (`maxmin`) and, under random loss, by the formula of Mathis et al., "The macroscopic behavior of
  the TCP congestion avoidance algorithm", CCR 27(3), 1997.
* A queue holds a packet for as long as the M/D/1 formula says (Pollaczek-Khinchine, constant
  packet sizes), and never longer than the full queue takes; a saturated link has a full queue.

Everything may differ between *futures* (see `flows`); the result of one does not depend on the
others, to the last bit.
"""

import numpy as np

from shadowsim.dataplane.flows import Flows, Links, Loads, Paths
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
