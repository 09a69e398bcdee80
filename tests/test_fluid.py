"""The fluid engine beside plain references and the laws its results must obey."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_fluid import progressive_filling

from shadowsim.dataplane.flows import Flows, Links, Loads, Paths
from shadowsim.dataplane.fluid import solve
from shadowsim.dataplane.incremental import change_rate, start

BITS = 12_000.0  # of a packet of 1500 bytes


def make_links(rate_bps, delay_s=0.0, queue_packets=100.0, loss=0.0):
    rate = np.atleast_2d(np.asarray(rate_bps, float))
    return Links(
        rate,
        np.broadcast_to(delay_s, rate.shape).copy(),
        np.full(rate.shape[1], queue_packets),
        np.broadcast_to(loss, rate.shape).copy(),
    )


def make_flows(rate_bps, elastic=1, level=0, packet_bytes=1500.0):
    rate = np.atleast_2d(np.asarray(rate_bps, float))
    count = rate.shape[1]
    return Flows(
        rate,
        np.broadcast_to(elastic, count),
        np.broadcast_to(packet_bytes, count),
        np.broadcast_to(level, count),
    )


def make_paths(paths):
    """Lists of links; None is a flow that is delivered nowhere."""
    width = max([len(path or ()) for path in paths], default=0)
    links = np.full((len(paths), width), -1, np.int32)
    hops = np.full(len(paths), -1, np.int32)
    for flow, path in enumerate(paths):
        if path is not None:
            links[flow, : len(path)] = path
            hops[flow] = len(path)
    return Paths(links, hops)


def random_paths(rng, n_links, n_flows):
    return [
        list(rng.permutation(n_links)[: rng.integers(0, min(n_links, 5) + 1)])
        for _ in range(n_flows)
    ]


def random_caps(rng, n_flows):
    """Some zero, some equal, some tiny, some far above any share."""
    caps = rng.choice([0.0, 5.0, 5.0, 100.0, 1e-3], n_flows) * 1e6
    own = rng.random(n_flows) < 0.5
    caps[own] = rng.uniform(0, 30e6, own.sum())
    return caps


def random_network(rng):
    n_links, n_flows = int(rng.integers(1, 12)), int(rng.integers(1, 25))
    rates = rng.choice([10e6, 20e6, 7.5e6], n_links)
    if rng.random() < 0.5:
        rates = rng.uniform(1e6, 50e6, n_links)
    return rates, random_caps(rng, n_flows), random_paths(rng, n_links, n_flows)


def on_link(paths, link):
    return [flow for flow, path in enumerate(paths) if path is not None and link in path]


def same(one: Loads, other: Loads):
    for f in fields(Loads):
        np.testing.assert_array_equal(getattr(one, f.name), getattr(other, f.name), f.name)


# Max-min fairness -----------------------------------------------------------------------------


def test_elastic_rates_equal_progressive_filling_level_by_level():
    held = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        rates, caps, paths = random_network(rng)
        levels = rng.integers(0, rng.integers(1, 4), caps.size)
        got = solve(make_links(rates), make_flows(caps, level=levels), make_paths(paths))
        free = rates.copy()
        wanted = np.zeros(caps.size)
        for level in range(3):
            flows = np.flatnonzero(levels == level)
            wanted[flows] = progressive_filling(free, caps[flows], [paths[f] for f in flows])
            for flow in flows:
                free[paths[flow]] -= wanted[flow]
            free = np.maximum(free, 0)
        np.testing.assert_allclose(
            got.throughput_bps[0], wanted, rtol=1e-6, atol=1e-2, err_msg=f"seed {seed}"
        )
        held += int((wanted < caps * 0.999).sum())
    assert held > 3000  # the cases are contended: caps alone do not decide them


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_each_flow_is_at_its_cap_or_has_a_bottleneck(seed):
    rng = np.random.default_rng(seed)
    rates, caps, paths = random_network(rng)
    got = solve(make_links(rates), make_flows(caps), make_paths(paths))
    flow_bps, load_bps = got.throughput_bps[0], got.link_load_bps[0]
    assert (flow_bps <= caps).all()
    assert (load_bps <= rates).all()
    for link in range(rates.size):
        assert load_bps[link] == pytest.approx(flow_bps[on_link(paths, link)].sum(), abs=1e-3)
    for flow, path in enumerate(paths):
        bottleneck = any(
            load_bps[link] >= rates[link] * (1 - 1e-9)
            and flow_bps[on_link(paths, link)].max() <= flow_bps[flow] * (1 + 1e-9) + 1e-6
            for link in path
        )
        assert flow_bps[flow] == caps[flow] or bottleneck


def test_the_textbook_line():
    """Bertsekas & Gallager: one long flow over two links beside short ones."""
    got = solve(make_links([10e6, 30e6]), make_flows([99e6] * 3), make_paths([[0, 1], [0], [1]]))
    np.testing.assert_allclose(got.throughput_bps[0], [5e6, 5e6, 25e6], rtol=1e-12)


# One change at a time -------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_changes_equal_a_full_solve(seed):
    rng = np.random.default_rng(seed)
    n_links, n_flows = int(rng.integers(3, 40)), int(rng.integers(2, 120))
    rates = rng.uniform(1e6, 50e6, n_links)
    paths = random_paths(rng, n_links, n_flows)
    paths[0] = None
    caps = random_caps(rng, n_flows)
    shape = make_paths(paths)
    allocation = start(rates, caps, shape.links[0], shape.hops[0])
    for _ in range(20):
        flow = int(rng.integers(n_flows))
        caps[flow] = random_caps(rng, 1)[0]
        change_rate(allocation, flow, caps[flow])
        full = solve(make_links(rates), make_flows(caps), shape)
        np.testing.assert_allclose(
            allocation.rate_bps, full.throughput_bps[0], rtol=1e-6, atol=1e-3
        )
        np.testing.assert_allclose(
            allocation.link_load_bps, full.link_load_bps[0], rtol=1e-6, atol=1e-3
        )


def test_a_change_touches_only_its_neighbourhood():
    paths = [[link] for link in range(50) for _ in range(20)]
    shape = make_paths(paths)
    allocation = start(np.full(50, 10e6), np.full(1000, 1e6), shape.links[0], shape.hops[0])
    assert change_rate(allocation, 3, 0.1e6) <= 20  # the flows of its own link
    assert allocation.rate_bps[3] == 0.1e6
    np.testing.assert_allclose(allocation.rate_bps[[0, 19]], 9.9e6 / 19)
    np.testing.assert_allclose(allocation.rate_bps[20:], 0.5e6)


def test_bad_changes_are_refused():
    allocation = start(np.ones(1), np.ones(1), np.zeros((1, 1), np.int32), np.ones(1, np.int32))
    with pytest.raises(ValueError, match="no flow 1"):
        change_rate(allocation, 1, 1.0)
    with pytest.raises(ValueError, match="not negative"):
        change_rate(allocation, 0, -1.0)
    with pytest.raises(ValueError, match="outside"):
        start(np.ones(1), np.ones(1), np.ones((1, 1), np.int32), np.ones(1, np.int32))


# Inelastic flows and levels -------------------------------------------------------------------


def test_an_overloaded_link_thins_all_inelastic_flows_alike():
    got = solve(
        make_links([10e6, 3e6]), make_flows([15e6, 5e6], elastic=0), make_paths([[0], [0, 1]])
    )
    np.testing.assert_allclose(got.link_offered_bps[0], [20e6, 2.5e6])
    np.testing.assert_allclose(got.link_load_bps[0], [10e6, 2.5e6])
    np.testing.assert_allclose(got.link_drop_bps[0], [10e6, 0])
    np.testing.assert_allclose(got.throughput_bps[0], [7.5e6, 2.5e6])
    np.testing.assert_allclose(got.loss[0], [0.5, 0.5])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nothing_is_created_or_carried_beyond_the_rate(seed):
    rng = np.random.default_rng(seed)
    rates, caps, paths = random_network(rng)
    caps = caps * 0.2
    elastic = rng.integers(0, 2, caps.size)
    levels = rng.integers(0, 3, caps.size)
    pure = rng.random() < 0.5  # one level of inelastic flows: the drops of a link hit all alike
    if pure:
        elastic[:] = levels[:] = 0
    got = solve(make_links(rates), make_flows(caps, elastic, levels), make_paths(paths))
    assert (got.link_load_bps[0] <= rates).all()
    assert (got.link_drop_bps >= 0).all()
    np.testing.assert_allclose(
        got.link_offered_bps, got.link_load_bps + got.link_drop_bps, rtol=1e-9
    )
    kept = 1 - np.divide(
        got.link_drop_bps, got.link_offered_bps, where=got.link_offered_bps > 0,
        out=np.zeros_like(got.link_drop_bps),
    )  # fmt: skip
    thinned = elastic == 0
    assert (got.loss[0][~thinned] == 0).all()
    for flow in np.flatnonzero(thinned):
        bps = got.throughput_bps[0, flow]
        assert bps == pytest.approx(caps[flow] * (1 - got.loss[0, flow]), abs=1e-9 * caps[flow])
        if pure:
            assert bps == pytest.approx(caps[flow] * kept[0, paths[flow]].prod(), rel=1e-6)


def test_inelastic_flows_come_before_elastic_ones():
    got = solve(make_links([10e6]), make_flows([8e6, 9e6], elastic=[0, 1]), make_paths([[0], [0]]))
    np.testing.assert_allclose(got.throughput_bps[0], [8e6, 2e6])


@pytest.mark.parametrize("elastic", [0, 1])
def test_a_priority_level_protects(elastic):
    links, paths = make_links([10e6], 1e-3), make_paths([[0], [0]])
    alone = solve(links, make_flows([6e6, 0], elastic), paths)
    crowded = solve(links, make_flows([6e6, 90e6], elastic, level=[0, 1]), paths)
    unprotected = solve(links, make_flows([6e6, 90e6], elastic, level=[0, 0]), paths)
    assert crowded.throughput_bps[0, 0] == alone.throughput_bps[0, 0] == 6e6
    assert crowded.latency_s[0, 0] == alone.latency_s[0, 0]
    assert crowded.loss[0, 0] == 0
    assert crowded.throughput_bps[0, 1] == pytest.approx(4e6)
    assert crowded.latency_s[0, 1] > 10 * crowded.latency_s[0, 0]
    assert unprotected.throughput_bps[0, 0] < 6e6


# Delay and loss -------------------------------------------------------------------------------


def test_latency_is_propagation_transmission_and_the_md1_wait():
    got = solve(make_links([10e6, 20e6], 2e-3), make_flows([5e6]), make_paths([[0, 1]]))
    s0, s1 = BITS / 10e6, BITS / 20e6
    wait = 0.5 / (2 * 0.5) * s0, 0.25 / (2 * 0.75) * s1
    np.testing.assert_allclose(got.queue_delay_s[0], wait)
    assert got.latency_s[0, 0] == pytest.approx(4e-3 + s0 + s1 + sum(wait))


def test_no_wait_exceeds_the_full_queue():
    got = solve(make_links([10e6], queue_packets=2), make_flows([9e6]), make_paths([[0]]))
    assert got.queue_delay_s[0, 0] == pytest.approx(2 * BITS / 10e6)  # M/D/1 says 4.5 packets


def test_a_lower_level_waits_as_cobham_says():
    flows = make_flows([5e6, 2e6], level=[0, 1])
    got = solve(make_links([10e6]), flows, make_paths([[0], [0]]))
    s = BITS / 10e6
    wait_s = 0.5 / (2 * 0.5) * s, 0.7 / (2 * 0.5 * 0.3) * s
    np.testing.assert_allclose(got.latency_s[0], np.add(wait_s, s))
    assert got.queue_delay_s[0, 0] == pytest.approx(wait_s[1])  # of the lowest level


@pytest.mark.parametrize("elastic", [0, 1])
def test_a_saturated_link_has_a_full_queue_of_its_mean_packet(elastic):
    flows = make_flows([30e6, 30e6], elastic, packet_bytes=[1500.0, 500.0])
    got = solve(make_links([10e6], queue_packets=50), flows, make_paths([[0], [0]]))
    mean_bits = 10e6 / (5e6 / 12_000 + 5e6 / 4_000)
    assert got.queue_delay_s[0, 0] == pytest.approx(50 * mean_bits / 10e6)
    assert got.latency_s[0, 1] == pytest.approx(50 * mean_bits / 10e6 + 4_000 / 10e6)


@pytest.mark.parametrize("elastic", [0, 1])
def test_latency_never_falls_as_load_grows(elastic):
    demands = np.linspace(0, 15e6, 61)[:, None]
    got = solve(make_links([10e6]), make_flows(demands, elastic), make_paths([[0]]))
    latency = got.latency_s[:, 0]
    assert (np.diff(latency) >= 0).all()
    assert (np.diff(latency[:30]) > 0).all()
    assert latency[-1] == pytest.approx(101 * BITS / 10e6)


def test_random_loss_multiplies_along_the_path():
    got = solve(
        make_links([10e6, 10e6], loss=[0.1, 0.5]), make_flows([1e6], elastic=0),
        make_paths([[0, 1]]),
    )  # fmt: skip
    assert got.loss[0, 0] == pytest.approx(0.55)
    assert got.throughput_bps[0, 0] == pytest.approx(0.45e6)
    np.testing.assert_allclose(got.link_load_bps[0], [1e6, 0.9e6])


def test_elastic_flows_under_random_loss_obey_mathis():
    links = make_links([[1e9]], 10e-3, loss=[[0.01]])
    got = solve(links, make_flows([900e6, 0.1e6]), make_paths([[0], [0]]))
    rtt_s = 2 * (10e-3 + BITS / 1e9)
    mathis_bps = BITS / rtt_s * np.sqrt(1.5) / np.sqrt(0.01)
    assert got.link_load_bps[0, 0] == pytest.approx(mathis_bps + 0.1e6)
    np.testing.assert_allclose(got.throughput_bps[0], [mathis_bps * 0.99, 0.1e6 * 0.99])
    np.testing.assert_allclose(got.loss[0], 0.01)


@pytest.mark.parametrize("elastic", [0, 1])
def test_nothing_passes_a_down_link_or_is_delivered_nowhere(elastic):
    got = solve(
        make_links([10e6, 0.0]), make_flows([4e6, 4e6, 4e6], elastic),
        make_paths([[0, 1], None, [0]]),
    )  # fmt: skip
    np.testing.assert_array_equal(got.throughput_bps[0], [0, 0, 4e6])
    np.testing.assert_array_equal(got.loss[0], [1, 1, 0])
    np.testing.assert_array_equal(np.isnan(got.latency_s[0]), [True, True, False])
    # UDP does not know that the second link is down; TCP does.
    np.testing.assert_allclose(got.link_load_bps[0], [4e6 if elastic else 8e6, 0])
    np.testing.assert_allclose(got.link_drop_bps[0], [0, 0 if elastic else 4e6])


def test_a_flow_between_ports_of_one_device_gets_all_it_offers():
    got = solve(make_links([1e6]), make_flows([5e6]), make_paths([[]]))
    assert (got.throughput_bps[0, 0], got.loss[0, 0], got.latency_s[0, 0]) == (5e6, 0, 0)


# Futures --------------------------------------------------------------------------------------


def random_futures(seed, batch):
    rng = np.random.default_rng(seed)
    n_links, n_flows = 8, 30
    rates = rng.uniform(0, 50e6, (batch, n_links)) * (rng.random((batch, n_links)) < 0.95)
    loss = rng.random((batch, n_links)) * (rng.random((batch, n_links)) < 0.1)
    links = Links(rates, rng.random((batch, n_links)), np.full(n_links, 64.0), loss)
    flows = make_flows(
        rng.uniform(0, 10e6, (batch, n_flows)), rng.integers(0, 2, n_flows),
        rng.integers(0, 2, n_flows), rng.choice([64.0, 1500.0], n_flows),
    )  # fmt: skip
    rows = [make_paths([*random_paths(rng, n_links, n_flows - 2), None, [0, 1, 2, 3, 4]])
            for _ in range(batch)]  # fmt: skip
    paths = Paths(np.concatenate([p.links for p in rows]), np.concatenate([p.hops for p in rows]))
    return links, flows, paths


def one_future(links, flows, paths, b):
    return (
        Links(links.rate_bps[b], links.delay_s[b], links.queue_packets, links.loss[b]),
        Flows(flows.rate_bps[b], flows.elastic, flows.packet_bytes, flows.level),
        Paths(paths.links[b], paths.hops[b]),
    )


def test_a_batch_equals_its_futures_one_by_one_to_the_bit():
    links, flows, paths = random_futures(1, 9)
    together = solve(links, flows, paths)
    for b in range(9):
        alone = solve(*one_future(links, flows, paths, b))
        same(Loads(*(getattr(together, f.name)[b : b + 1] for f in fields(Loads))), alone)
    assert np.unique(together.throughput_bps, axis=0).shape[0] == 9


@pytest.mark.parametrize("shared", ["links", "flows", "paths"])
def test_shared_arrays_equal_copied_ones(shared):
    links, flows, paths = random_futures(2, 5)
    one = one_future(links, flows, paths, 0)
    many = {"links": links, "flows": flows, "paths": paths}
    copied = dict(many)
    if shared == "links":
        many["links"] = one[0]
        repeated = [np.repeat(a[:1], 5, 0) for a in (links.rate_bps, links.delay_s, links.loss)]
        copied["links"] = Links(repeated[0], repeated[1], links.queue_packets, repeated[2])
    elif shared == "flows":
        many["flows"] = one[1]
        copied["flows"] = Flows(
            np.repeat(flows.rate_bps[:1], 5, 0), flows.elastic, flows.packet_bytes, flows.level
        )
    else:
        many["paths"] = one[2]
        copied["paths"] = Paths(np.repeat(paths.links[:1], 5, 0), np.repeat(paths.hops[:1], 5, 0))
    same(solve(**many), solve(**copied))


def test_out_is_overwritten_whole_and_returned():
    links, flows, paths = random_futures(3, 4)
    out = Loads.empty(4, 8, 30)
    for f in fields(Loads):
        getattr(out, f.name)[:] = 123.0
    assert solve(links, flows, paths, out) is out
    same(out, solve(links, flows, paths))


def test_fitting_arrays_are_not_copied():
    links, flows, paths = random_futures(4, 3)
    again = Paths(paths.links, paths.hops)
    assert np.shares_memory(again.links, paths.links)
    assert np.shares_memory(again.numbers, paths.links)
    assert Flows(flows.rate_bps, flows.elastic, flows.packet_bytes, flows.level).rate_bps is (
        flows.rate_bps
    )
    assert links.batch == 3


# What is refused ------------------------------------------------------------------------------


def test_misfits_are_refused():
    links, flows, paths = random_futures(5, 3)
    with pytest.raises(ValueError, match="batch sizes differ"):
        solve(links, make_flows(np.ones((2, 30))), paths)
    with pytest.raises(ValueError, match="batch sizes differ"):
        Links(np.zeros((0, 3)), np.zeros((1, 3)), np.ones(3), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="do not fit"):
        solve(make_links([1e6]), flows, paths)
    with pytest.raises(ValueError, match="out is not for"):
        solve(links, flows, paths, Loads.empty(1, 8, 30))
    with pytest.raises(ValueError, match="-1 before its last hop"):
        Paths(np.array([[0, -1]]), np.array([2]))
    with pytest.raises(ValueError, match="room for"):
        Paths(np.array([[0, 1]]), np.array([3]))
    with pytest.raises(ValueError, match="rate_bps must be finite"):
        make_flows([np.nan])
    with pytest.raises(ValueError, match="delay_s has shape"):
        Links(np.ones(3), np.ones(2), np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="fraction"):
        make_links([1.0], loss=1.5)
    with pytest.raises(ValueError, match="positive"):
        make_flows([1.0], packet_bytes=0.0)
