"""Questions to answers that are remembered as long as the same is asked, by whomever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Generic, TypeVar

from shadowsim.model.telemetry import Sample
from shadowsim.precog.forecast import Evidence, Forecast, Variant

Found = TypeVar("Found")


class Once(Generic[Found]):
    """What follows from evidence alone, with the last answer remembered.

    Evidence may grow while it is held, by samples at the end of a series: then it is another one.
    """

    def __init__(self, work: Callable[[Evidence], Found]) -> None:
        self._work = work
        self._last: tuple[Evidence, int, Found] | None = None

    def __call__(self, evidence: Evidence) -> Found:
        last, samples = self._last, _samples(evidence)
        if last is None or last[0] is not evidence or last[1] != samples:
            last = self._last = evidence, samples, self._work(evidence)
        return last[2]


class AskedOnce:
    """A variant that several have an ear to."""

    def __init__(self, variant: Variant) -> None:
        self.name = variant.name
        self.variant = variant
        self._once = Once(variant.forecast)

    def forecast(self, evidence: Evidence) -> Forecast:
        return self._once(evidence)


class OfSamples(Generic[Found]):
    """What follows from samples alone, with the last answer remembered."""

    def __init__(self, work: Callable[[Sequence[Sample]], Found]) -> None:
        self._work = work
        self._last: tuple[tuple[Sample, ...], Found] | None = None

    def __call__(self, samples: Sequence[Sample]) -> Found:
        last = self._last
        if last is None or not same_samples(last[0], samples):
            last = self._last = tuple(samples), self._work(samples)
        return last[1]


def same_samples(a: Sequence[Sample], b: Sequence[Sample]) -> bool:
    """Whether these are the very same samples."""
    return len(a) == len(b) and all(map(is_, a, b))


def _samples(evidence: Evidence) -> int:
    series = (evidence.baseline, evidence.observed, evidence.control)
    return sum(len(part.samples) for part in series if part is not None)
