"""What following a forecaster would have meant, on changes made by hand and at random."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowsim.learning.walk import (
    NEVER,
    ROLLBACK_S,
    OperatingPoint,
    Walk,
    choose,
    figures,
    lead_s,
    ratios,
)


def walk(rows: list[dict[str, object]]) -> Walk:
    """Changes as rows; `looks` are (since_s, probability)."""
    first, since, watch = [0], [], []
    for row in rows:
        looks = row.get("looks", [])
        since += [at for at, _ in looks]
        watch += [p for _, p in looks]
        first.append(len(since))
    onset = np.array([row.get("onset_s", NEVER) for row in rows], float)
    return Walk(
        site=np.array([row.get("site", n) for n, row in enumerate(rows)]),
        bad=np.array([bool(row.get("bad", False)) for row in rows]),
        sign=np.array([bool(row.get("sign", False)) for row in rows]),
        onset_s=onset,
        failed_s=onset + 3.0,
        gate=np.array([row.get("gate", 0.0) for row in rows], float),
        unsure=np.array([bool(row.get("unsure", False)) for row in rows]),
        first=np.array(first),
        since_s=np.array(since, float),
        watch=np.array(watch, float),
    )


POINT = OperatingPoint(0.5, 0.7)
ROWS = [
    {"bad": True, "sign": True, "gate": 0.9, "onset_s": 4.0},
    {"gate": 0.6},
    {"bad": True, "sign": True, "gate": 0.2, "onset_s": 10.0, "looks": [(2, 0.1), (4, 0.8)]},
    {"bad": True, "gate": 0.1, "onset_s": 5.0, "looks": [(2, 0.1), (6, 0.9)]},
    {"bad": True, "gate": 0.1, "onset_s": 1.0, "looks": [(2, 0.1), (30, 0.9)]},
    {"gate": 0.3, "looks": [(2, 0.75)]},
    {"gate": 0.3, "looks": [(2, 0.65)]},
    {"bad": True, "sign": True, "gate": 0.1, "unsure": True, "onset_s": 3.0},
]


def share(name: str, point: OperatingPoint = POINT) -> tuple[float, float]:
    part, whole = ratios(walk(ROWS), point)[name]
    return part.sum(), whole.sum()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("no_go_precision", (1, 2)),
        ("no_go_recall_of_signs", (1, 3)),
        ("stopped", (2, 5)),
        ("rolled_back_before", (1, 3)),
        ("rolled_back_in_time", (2, 3)),
        ("rolled_back", (3, 3)),
        ("false_rollbacks", (1, 2)),
        ("false_refusals", (1, 3)),
        ("inconclusive", (1, 8)),
    ],
)
def test_every_share_counts_what_it_says(name: str, wanted: tuple[int, int]) -> None:
    assert share(name) == wanted


def test_the_lead_is_from_the_trigger_to_the_limit() -> None:
    assert lead_s(walk(ROWS), POINT).tolist() == [6.0]


def test_a_change_without_looks_is_never_taken_back() -> None:
    found = walk([{"looks": []}, {"looks": [(1, 1.0)]}, {"looks": []}]).triggered_s(0.5)
    assert found.tolist() == [NEVER, 1.0, NEVER]


def test_a_rollback_takes_its_time() -> None:
    late = {"bad": True, "onset_s": 4.0 + ROLLBACK_S - 0.01, "looks": [(4, 1.0)]}
    early = late | {"onset_s": 4.0 + ROLLBACK_S}
    part, _ = ratios(walk([late, early]), POINT)["rolled_back_before"]
    assert part.tolist() == [0, 1]


histories = st.lists(
    st.fixed_dictionaries({
        "bad": st.booleans(), "sign": st.booleans(), "site": st.integers(0, 5),
        "gate": st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]),
        "unsure": st.booleans(),
        "looks": st.lists(
            st.tuples(st.integers(1, 40), st.sampled_from([0.0, 0.2, 0.6, 1.0])), max_size=4
        ).map(lambda looks: sorted(looks)),
    }),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(histories, st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([0.0, 5.0, 30.0, 100.0]))
def test_the_point_chosen_keeps_its_bounds_and_stops_most(
    rows: list[dict[str, object]], precision: float, false_per_100: float
) -> None:
    found = walk(rows)
    point = choose(found, precision, false_per_100)
    right, refused = (x.sum() for x in ratios(found, point)["no_go_precision"])
    assert right >= precision * refused
    false, good = (x.sum() for x in ratios(found, point)["false_rollbacks"])
    assert false <= false_per_100 / 100 * good + 1e-9
    # No other point that keeps the precision stops more.
    for other in (0.05, 0.2, 0.4, 0.7, 0.95, 1.0):
        stopped = found.stopped(other)
        if stopped.any() and found.bad[stopped].mean() >= precision:
            assert found.bad[found.stopped(point.no_go_above)].sum() >= found.bad[stopped].sum()


@settings(max_examples=50, deadline=None)
@given(histories)
def test_intervals_hold_what_is_found_and_are_the_same_again(rows: list[dict[str, object]]) -> None:
    found = walk(rows)
    one, two = figures(found, POINT, 1, 200), figures(found, POINT, 1, 200)
    assert str(one) == str(two)
    for name, (part, whole) in ratios(found, POINT).items():
        value = one[name].value
        assert math.isnan(value) if whole.sum() == 0 else value == part.sum() / whole.sum()


def test_intervals_are_as_wide_as_sites_differ() -> None:
    """Changes of one site that are all alike tell no more than one of them."""
    alike = [{"bad": n % 2 == 0, "gate": 1.0, "site": n} for n in range(40)]
    copied = [row for row in alike for _ in range(20)]
    narrow = figures(walk(alike), POINT)["no_go_precision"]
    still = figures(walk(copied), POINT)["no_go_precision"]
    assert (narrow.low, narrow.high) == pytest.approx((still.low, still.high))
    apart = [row | {"site": n} for n, row in enumerate(copied)]
    sure = figures(walk(apart), POINT)["no_go_precision"]
    assert sure.high - sure.low < 0.5 * (still.high - still.low)
