"""One reading after another to its signals, in machine code: they are read every second.

What is said of each is in `signals`. Sums are in the order in which numpy adds: those of one
reading pairwise, those over samples from the first to the last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shadowsim.dataplane.maxmin import Floats, compiled

Bools = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

AT_ONCE = 128  # values that are added in eight sums; of more, the halves


class Bounds(NamedTuple):
    """Of each demand the tightest bounds on latency, loss and what is missing; of all links that
    on utilisation. nan where there is none.
    """

    latency_s: Floats
    loss: Floats
    missing: Floats
    utilisation: float


@compiled
def read(
    device: Floats, link: Floats, demand: Floats, latency_s: Floats, offered_bps: Floats,
    touched_devices: Bools, touched_links: Bools, bounds: Bounds, critical: Bools,
    class_of: Places, found: Floats,
) -> None:  # fmt: skip
    """Write `found[R, signals]` of `device[R, D, 3]`, `link[R, L, 4]` and `demand[R, F, 4]`, R/U
    rows after one another against the same usual `latency_s[U, F]` and `offered_bps[U, F]`.
    """
    rows, demands = demand.shape[0], demand.shape[1]
    most = max(demands, link.shape[1])
    values, others = np.empty(most), np.empty(most)
    nothing = np.zeros(touched_devices.shape[0], np.bool_)
    for r in range(rows):
        now, usual = found[r], r * latency_s.shape[0] // rows
        _near(demand[r], link[r, :, 2], bounds, now[1:4])
        now[0] = _largest(now[1:4])
        _lost(demand[r], class_of, values, others, now[4:7])
        now[7] = _starved(demand[r], critical)
        for d in range(demands):
            values[d] = demand[r, d, 2] / latency_s[usual, d]
        now[8] = _largest(values[:demands])
        now[9] = mean_known(values[:demands])
        now[10] = _largest(link[r, :, 2])
        now[11] = np.nan
        for n in range(link.shape[1]):
            if touched_links[n]:
                now[11] = _greater(link[r, n, 2], now[11])
        now[12], now[14], now[16] = np.nan, np.nan, np.nan
        now[13], now[15] = np.nan, np.nan
        for d in range(device.shape[1]):
            for metric in range(3):
                now[12 + 2 * metric] = _greater(device[r, d, metric], now[12 + 2 * metric])
            if touched_devices[d]:
                for metric in range(2):
                    now[13 + 2 * metric] = _greater(device[r, d, metric], now[13 + 2 * metric])
        for n in range(link.shape[1]):
            values[n] = link[r, n, 3]
        now[17] = 1.0 - mean_known(values[: link.shape[1]])
        now[18] = _share(link[r, :, 1], link[r, :, 0], values, others)
        now[19] = _share(demand[r, :, 0], offered_bps[usual], values, others)
        now[20] = _known(device[r], nothing)
        now[21] = _known(device[r], ~touched_devices)
        now[22] = _known(link[r], np.zeros(link.shape[1], np.bool_))
        now[23] = _known(demand[r, :, 3:], np.zeros(demands, np.bool_))


@compiled
def means(values: Floats, found: Floats) -> None:
    """Write `found[R, K]`, the mean of what is known of `values[R, N, K]`; nan where nothing is."""
    for r in range(values.shape[0]):
        for k in range(values.shape[2]):
            total, count = 0.0, 0
            for n in range(values.shape[1]):
                if np.isfinite(values[r, n, k]):
                    total += values[r, n, k]
                    count += 1
            found[r, k] = total / count if count else np.nan


@compiled
def near(demand: Floats, utilisation: Floats, bounds: Bounds, found: Floats) -> None:
    """Write `found[R, 3]` of `demand[R, F, 4]` and `utilisation[R, L]`."""
    for r in range(found.shape[0]):
        _near(demand[r], utilisation[r], bounds, found[r])


@compiled
def lost(demand: Floats, class_of: Places, found: Floats) -> None:
    """Write `found[R, classes]` of `demand[R, F, 4]`."""
    values, others = np.empty(demand.shape[1]), np.empty(demand.shape[1])
    for r in range(found.shape[0]):
        _lost(demand[r], class_of, values, others, found[r])


@compiled
def starved(demand: Floats, critical: Bools, found: Floats) -> None:
    """Write `found[R]` of `demand[R, F, 4]`."""
    for r in range(found.shape[0]):
        found[r] = _starved(demand[r], critical)


@compiled
def _near(demand: Floats, utilisation: Floats, bounds: Bounds, found: Floats) -> None:
    found[:] = np.nan
    for d in range(demand.shape[0]):
        loss = demand[d, 3]
        found[0] = _greater(demand[d, 2] / bounds.latency_s[d], found[0])
        found[1] = _greater(loss / bounds.loss[d], found[1])
        if demand[d, 0] > 0:
            found[1] = _greater(loss / bounds.missing[d], found[1])
    for n in range(utilisation.shape[0]):
        found[2] = _greater(utilisation[n] / bounds.utilisation, found[2])


@compiled
def _lost(demand: Floats, class_of: Places, values: Floats, others: Floats, found: Floats) -> None:
    for of in range(found.shape[0]):
        for d in range(demand.shape[0]):
            told = class_of[d] == of and np.isfinite(demand[d, 0]) and np.isfinite(demand[d, 3])
            values[d] = demand[d, 0] if told else 0.0
            others[d] = values[d] * demand[d, 3] if told else 0.0
        sent = _sum(values, 0, demand.shape[0])
        found[of] = _sum(others, 0, demand.shape[0]) / sent if sent > 0 else np.nan


@compiled
def _starved(demand: Floats, critical: Bools) -> float:
    low, sending = 0, 0
    for d in range(demand.shape[0]):
        if critical[d] and demand[d, 0] > 0 and np.isfinite(demand[d, 1]):
            sending += 1
            low += demand[d, 1] < 0.5 * demand[d, 0]
    return low / sending if sending else np.nan


@compiled
def _share(parts: Floats, wholes: Floats, values: Floats, others: Floats) -> float:
    """The sum of the parts over that of the wholes, of those of which both are known."""
    for n in range(parts.shape[0]):
        told = np.isfinite(parts[n]) and np.isfinite(wholes[n])
        values[n] = parts[n] if told else 0.0
        others[n] = wholes[n] if told else 0.0
    whole = _sum(others, 0, parts.shape[0])
    return _sum(values, 0, parts.shape[0]) / whole if whole > 0 else np.nan


@compiled
def _known(values: Floats, without: Bools) -> float:
    """The share of `values[N, C]` that is known, some left out; 1 where there is nothing."""
    count, finite = 0, 0
    for n in range(values.shape[0]):
        if not without[n]:
            count += values.shape[1]
            for c in range(values.shape[1]):
                finite += np.isfinite(values[n, c])
    return finite / count if count else 1.0


@compiled
def mean_known(values: Floats) -> float:
    """The mean of what is known; what is not is set to 0."""
    count = 0
    for n in range(values.shape[0]):
        if np.isfinite(values[n]):
            count += 1
        else:
            values[n] = 0.0
    return _sum(values, 0, values.shape[0]) / count if count else np.nan


@compiled
def _largest(values: Floats) -> float:
    most = np.nan
    for value in values:
        most = _greater(value, most)
    return most


@compiled
def _greater(value: float, most: float) -> float:
    return value if value > most or (most != most and value == value) else most


@compiled
def _sum(values: Floats, first: int, count: int) -> float:
    """The sum of `count` values: that of the first half and that of the second, and so on."""
    if count <= AT_ONCE:
        return float(_few(values, first, count))
    # A stack of parts, as numba loads no recursive function from its cache: 0 adds up two sums.
    begins, counts, sums = np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64)
    begins[0], counts[0] = first, count
    parts, known = 1, 0
    while parts:
        parts -= 1
        begin, many = begins[parts], counts[parts]
        if many == 0:
            known -= 1
            sums[known - 1] += sums[known]
        elif many <= AT_ONCE:
            sums[known] = _few(values, begin, many)
            known += 1
        else:
            half = many // 2
            half -= half % 8
            counts[parts] = 0
            begins[parts + 1], counts[parts + 1] = begin + half, many - half
            begins[parts + 2], counts[parts + 2] = begin, half
            parts += 3
    return float(sums[0])


@compiled
def _few(values: Floats, first: int, count: int) -> float:
    """The sum of at most AT_ONCE values: eight sums side by side, then what is left."""
    whole = count - count % 8
    total = 0.0
    if whole:
        sums = np.zeros(8)
        for n in range(first, first + whole, 8):
            for k in range(8):
                sums[k] += values[n + k]
        total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + (
            (sums[4] + sums[5]) + (sums[6] + sums[7])
        )
    for n in range(first + whole, first + count):
        total += values[n]
    return total
