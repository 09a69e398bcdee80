"""What is observed on a pool to numbers that are alike in size, and a policy on these back.

A learner whose numbers have mean 0 and deviation 1 learns the same from fewer changes. The policy
that is kept reads observations as they are: what was done to them is in its first layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from shadowsim.env.pool import Floats, Pool
from shadowsim.precog.policy import Policy

LEAST = 1e-3  # a deviation; what differs less on a pool is not looked at


@dataclass(frozen=True, eq=False)
class Standard:
    """`mean[names]` is taken from an observation, and what is left multiplied with `scale[names]`,
    which is 0 for a number that is always the same.
    """

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, pool: Pool) -> Standard:
        """That of the decisions of a pool, each counted once."""
        rows = pool.observations.astype(np.float64)
        deviation = rows.std(axis=0)
        alike = deviation < LEAST
        return cls(rows.mean(axis=0), np.where(alike, 0.0, 1.0 / np.where(alike, 1.0, deviation)))

    def shown(self, pool: Pool) -> Pool:
        """The same episodes, observed so."""
        rows = (pool.observations - self.mean) * self.scale
        return replace(pool, observations=rows.astype(np.float32))

    def within(self, policy: Policy) -> Policy:
        """What decides on plain observations as this policy does on those shown."""
        weight = policy.weights[0] * self.scale
        bias = policy.biases[0] - weight @ self.mean
        return replace(
            policy,
            weights=(weight.astype(np.float32), *policy.weights[1:]),
            biases=(bias.astype(np.float32), *policy.biases[1:]),
        )
