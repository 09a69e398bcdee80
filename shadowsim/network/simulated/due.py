"""A reading that is due, to a sample: taken when somebody first looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shadowsim.model.telemetry import METRICS, Array, Layout, Sample


class Due(Sample):
    """A sample without its numbers yet. With them it is a `Sample` and nothing else.

    `take` is called by the first who looks, and must `fill` it. Only the thread that owns the
    network may look.
    """

    def __init__(self, at_s: float, take: Callable[[], None]) -> None:
        vars(self).update(at_s=at_s, _take=take)

    def fill(self, device: Array, link: Array, demand: Array) -> None:
        """Give it its numbers."""
        vars(self).update(device=device, link=link, demand=demand)
        del vars(self)["_take"]
        object.__setattr__(self, "__class__", Sample)

    def miss(self, layout: Layout) -> None:
        """Give it none, as where nothing was reported: who was to fill it was cut short."""
        shapes = ((len(layout.names(of)), len(METRICS[of])) for of in METRICS)
        self.fill(*(np.full(shape, np.nan) for shape in shapes))

    def __getattr__(self, name: str) -> Any:  # asked only for what is not there
        if name not in METRICS:
            raise AttributeError(f"a sample has no {name}")
        vars(self)["_take"]()
        return vars(self)[name]

    def __reduce__(self) -> tuple[type[Sample], tuple[Any, ...]]:
        """Who takes it elsewhere takes the numbers, and not the network that has them."""
        return Sample, (self.at_s, self.device, self.link, self.demand)
