"""What a forecaster said at every look, and what really came, to what following it would mean.

A change is stopped at the gate, or it is let through and watched; a change let through is taken
back at the first look that says so. Nothing here knows which forecaster it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.learning.metrics import Interval

Array = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

# From the sign to the verified end of a rollback, the median of `shadowsim bench revert-time`.
ROLLBACK_S = 1.1
NEVER = np.inf


@dataclass(frozen=True)
class Walk:
    """Many changes, each with its gate and its looks at production, in the order of time.

    Per change `[N]`: `site` it belongs to; `bad`, whether it failed when left alone; `sign`,
    whether anything of that could be seen before deployment; `onset_s`, when a limit or an intent
    was first broken, and `failed_s`, when that had lasted for so long that it counts as a failure
    (inf: never); `gate`, how probable any failure was said to be; `unsure`, whether the
    forecaster abstained there. Looks of change i are `first[i]:first[i + 1]` of `since_s[M]` and
    `watch[M]`.
    """

    site: Numbers
    bad: Marks
    sign: Marks
    onset_s: Array
    failed_s: Array
    gate: Array
    unsure: Marks
    first: Numbers
    since_s: Array
    watch: Array

    def stopped(self, no_go_above: float) -> Marks:
        """The changes that are refused: bad enough by what is known, whatever is not."""
        return np.asarray(self.gate >= no_go_above)

    def let_through(self, no_go_above: float) -> Marks:
        """The changes that get a go: inconclusive is never one."""
        return np.asarray((self.gate < no_go_above) & ~self.unsure)

    def triggered_s(self, roll_back_above: float) -> Array:
        """When each change would be taken back, if it were let through; inf: never."""
        when = np.where(self.watch >= roll_back_above, self.since_s, NEVER)
        found = np.full(len(self.bad), NEVER)
        some = np.flatnonzero(np.diff(self.first))
        if some.size:
            found[some] = np.minimum.reduceat(when, self.first[some])
        return found


@dataclass(frozen=True)
class OperatingPoint:
    """From which probability on a change is refused, and from which it is taken back."""

    no_go_above: float
    roll_back_above: float


def choose(walk: Walk, precision: float = 0.95, false_per_100: float = 1.0) -> OperatingPoint:
    """The point that stops most at this precision, and takes back most at so few false rollbacks.

    Where no point is precise enough nothing is stopped. Chosen on other changes than it is judged
    on.
    """
    gate = _gate_point(walk, precision)
    return OperatingPoint(gate, _watch_point(walk, gate, false_per_100))


def _gate_point(walk: Walk, precision: float) -> float:
    order = np.argsort(-walk.gate, kind="stable")
    level, bad = walk.gate[order], walk.bad[order]
    right = np.cumsum(bad)
    last_of_level = np.append(level[1:] != level[:-1], True) if level.size else np.zeros(0, bool)
    enough = last_of_level & (right >= precision * np.arange(1, len(bad) + 1)) & (level > 0.0)
    return float(level[np.flatnonzero(enough)[-1]]) if enough.any() else NEVER


def _watch_point(walk: Walk, no_go_above: float, false_per_100: float) -> float:
    """The lowest level that is exceeded in few enough of the good changes that are let through."""
    through = walk.let_through(no_go_above) & ~walk.bad
    highest = np.full(len(walk.bad), -np.inf)
    some = np.flatnonzero(np.diff(walk.first))
    if some.size:
        highest[some] = np.maximum.reduceat(walk.watch, walk.first[some])
    levels = np.sort(highest[through])[::-1]
    allowed = int(np.floor(false_per_100 / 100.0 * len(levels)))
    if allowed >= len(levels):
        return float(np.finfo(np.float64).tiny)
    return float(max(np.nextafter(levels[allowed], np.inf), np.finfo(np.float64).tiny))


# -- figures -------------------------------------------------------------------------------------

Ratio = tuple[Array, Array]  # per change: what counts, of what


def ratios(walk: Walk, point: OperatingPoint) -> Mapping[str, Ratio]:
    """Every figure that is a share, as numerators and denominators per change.

    `no_go_precision`: of what is refused, what would have failed. `no_go_recall_of_signs`: of the
    failures that leave any sign before deployment, those refused. `stopped`: of all failures,
    those that never reach production, refused or left to a person. `rolled_back_before`: of
    those that slip through, those whose rollback is complete before the limit is broken;
    `rolled_back_in_time`: before it has been broken for so long that it counts as a failure.
    `rolled_back`: those taken back at all. `false_rollbacks`: of the good changes let through,
    those taken back. `inconclusive`: of all, those left to a person.
    """
    stopped, through = walk.stopped(point.no_go_above), walk.let_through(point.no_go_above)
    trigger_s = walk.triggered_s(point.roll_back_above)
    slipped, good = through & walk.bad, through & ~walk.bad
    taken = np.isfinite(trigger_s)
    over_s = trigger_s + ROLLBACK_S
    everything = np.ones(len(walk.bad), dtype=np.bool_)
    marks = {
        "no_go_precision": (stopped & walk.bad, stopped),
        "no_go_recall_of_signs": (stopped & walk.bad & walk.sign, walk.bad & walk.sign),
        "stopped": (walk.bad & ~through, walk.bad),
        "rolled_back_before": (slipped & taken & (over_s <= walk.onset_s), slipped),
        "rolled_back_in_time": (slipped & taken & (over_s <= walk.failed_s), slipped),
        "rolled_back": (slipped & taken, slipped),
        "false_rollbacks": (good & taken, good),
        "false_refusals": (stopped & ~walk.bad, ~walk.bad),
        "inconclusive": (~stopped & ~through, everything),
    }
    return {name: (a.astype(np.float64), b.astype(np.float64)) for name, (a, b) in marks.items()}


def lead_s(walk: Walk, point: OperatingPoint) -> Array:
    """Seconds from the trigger to the limit being broken, of slipped changes taken back before."""
    trigger_s = walk.triggered_s(point.roll_back_above)
    slipped = walk.let_through(point.no_go_above) & walk.bad
    lead = walk.onset_s[slipped] - trigger_s[slipped]
    return np.asarray(lead[np.isfinite(lead) & (lead > 0.0)])


def figures(
    walk: Walk, point: OperatingPoint, seed: int = 0, resamples: int = 1000
) -> dict[str, Interval]:
    """Each share with its 95 % interval, by resampling whole sites (percentile bootstrap).

    Changes of one site share network and traffic, so they are not independent. A share of
    nothing is nan. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13.
    """
    drawn = resampled(walk.site, seed, resamples)
    _, place = np.unique(walk.site, return_inverse=True)
    found = {}
    for name, (part, whole) in ratios(walk, point).items():
        counted = np.bincount(place, part), np.bincount(place, whole)
        found[name] = Interval(
            _share(part.sum(), whole.sum()), *_bounds(*(drawn @ c for c in counted))
        )
    return found


def resampled(site: Numbers, seed: int, resamples: int) -> Array:
    """How often each site is drawn, `[resamples, sites]`."""
    sites = len(np.unique(site))
    random = np.random.default_rng(seed)
    found: Array = random.multinomial(sites, np.full(sites, 1.0 / sites), resamples).astype(float)
    return found


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _bounds(part: Array, whole: Array) -> tuple[float, float]:
    known = whole > 0
    if not known.any():
        return float("nan"), float("nan")
    low, high = np.quantile(part[known] / whole[known], (0.025, 0.975))
    return float(low), float(high)
