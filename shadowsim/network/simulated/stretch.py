"""The states of a network, one after another, as they are written down until somebody reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray


@dataclass
class Stretch:
    """States that held one after another, alike in all but the rates that flows offered.

    State i offered `offered_bps[i]` from `at_s[i]` on, for `span_s[i]` seconds. A reading is due
    at each of the times `due_s`, of `due` states and those before this stretch.
    """

    at_s: list[float]
    span_s: list[float] = field(default_factory=list)
    offered_bps: list[Array] = field(default_factory=list)
    due_s: list[float] = field(default_factory=list)
    due: list[int] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.span_s or self.due_s)

    def offered(self, flows: int) -> Array:
        """`[S, flows]`, all of it."""
        return np.array(self.offered_bps).reshape(-1, flows)

    def hold(self, offered_bps: Array, until_s: float) -> None:
        """The state that began last held until then."""
        span_s = until_s - self.at_s[-1]
        if span_s > 0.0:
            self.at_s.append(until_s)
            self.span_s.append(span_s)
            self.offered_bps.append(offered_bps)

    def read(self, at_s: float) -> None:
        """A reading is due now."""
        self.due_s.append(at_s)
        self.due.append(len(self.span_s))
