"""One change to a tape: what is seen of it at every decision, and what each decision would cost.

The physics of an episode is simulated ahead, by the code that makes histories, once for each time
at which the agent may say go. A step of the environment is then an index.

Rows are decisions. First the looks at the trial in the shadow, at the times at which the workflow
forecasts there; then, for each of these as the time of go, the looks at production with the change
left alone. A rollback ends an episode, as it ends a run of the workflow, whole or in part; so of
what follows it only the truth is needed, and is charged at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.env.harm import HARMS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Texts = tuple[str, ...]

AMOUNTS = (*HARMS, "delay")


@dataclass(frozen=True, eq=False)
class Tape:
    """R decisions about one change; the trial's first, then those of each world, world by world.

    Seen: `features[R, F]`, nan where not known; `world[R]`: the number of the look in the trial
    after which production got the change, -1 in the trial; `since_s[R]`: since when the network
    looked at has the change; `left[R]`: the share of the trial, or of monitoring, still to come;
    `has_part[R]`: whether a part of the change is to blame by what is seen.

    Not seen: `waiting[R, AMOUNTS]`: what happens until the next look if one waits, at the last look
    of a world what stays broken after it; `acting[R, AMOUNTS]`: what happens after go until the
    first look, or during and after a rollback of all; `parting[R, AMOUNTS]`: the same of a
    rollback of the part, 0 where there is none; `restored[R, 2]`: whether all is well again after
    the one and the other, or a person is needed; `came[R, MODES]`: the failure modes that came
    because of the change in this world (in the trial: in the one that go leads to).
    """

    network: str
    kind: str
    features: Floats
    world: Ints
    since_s: Floats
    left: Floats
    has_part: Bools
    waiting: Floats
    acting: Floats
    parting: Floats
    restored: Bools
    came: Bools

    @property
    def failed(self) -> bool:
        """Whether the change failed where it came to production after the whole trial."""
        return bool(self.came[self.trial - 1].any())

    @property
    def trial(self) -> int:
        """How many looks there are in the trial."""
        return int((self.world < 0).sum())
