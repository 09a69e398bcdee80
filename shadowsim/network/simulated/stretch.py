"""The states of a network, one after another, as they are written down until somebody reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from shadowsim.network.simulated.due import Due

Array = np.ndarray


@dataclass
class Stretch:
    """States that held one after another, alike in all but the rates that flows offered.

    State i offered `offered_bps[i]` from `at_s[i]` on, for `span_s[i]` seconds. The samples `due`
    are to be read after so many of these states as `after` says. Of the first `counted` it is
    counted already what came in at the edge.
    """

    at_s: list[float]
    span_s: list[float] = field(default_factory=list)
    offered_bps: list[Array] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    counted: int = 0

    @property
    def empty(self) -> bool:
        return not (self.span_s or self.due)

    def offered(self, flows: int) -> Array:
        """`[S, flows]`, all of it."""
        return np.array(self.offered_bps).reshape(len(self.offered_bps), flows)

    def hold(self, offered_bps: Array, span_s: float, until_s: float) -> None:
        """The state that began last held until then."""
        self.at_s.append(until_s)
        self.span_s.append(span_s)
        self.offered_bps.append(offered_bps)

    def read(self, sample: Due) -> None:
        """A sample is due now."""
        self.due.append(sample)
        self.after.append(len(self.span_s))
