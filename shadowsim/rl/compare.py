"""A learned policy and others to what they cost on the same episodes."""

from __future__ import annotations

import polars as pl

from shadowsim.env.evaluation import compared, evaluate
from shadowsim.env.policies import (
    Policy as Decided,
)
from shadowsim.env.policies import (
    always_go,
    at_random,
    by_forecast,
    by_hand,
    never_go,
    oracle,
)
from shadowsim.env.pool import Pool
from shadowsim.precog.policy import Policy
from shadowsim.rl.training import acting

LEARNED, BY_HAND, BY_FORECAST = "learned", "by hand", "by forecast"
REFUSE_ABOVE, ROLL_BACK_ABOVE = 0.5, 0.5  # the bounds that a workflow has of itself


def costs(policy: Policy, episodes: Pool) -> pl.DataFrame:
    """One row per policy, as `compared` has it, the one that knows all last; of `learned` also what
    it costs more than the rule by hand, with the half width of its 95 % interval over episodes.
    """
    policies: dict[str, Decided] = {
        LEARNED: acting(policy), BY_HAND: by_hand, "always go": always_go, "never go": never_go,
        "random": at_random(policy.seed),
    }  # fmt: skip
    if "p_service_outage" in episodes.names:
        policies[BY_FORECAST] = by_forecast(REFUSE_ABOVE, ROLL_BACK_ABOVE)
    policies["oracle"] = oracle(episodes)
    tables = {name: evaluate(one, episodes) for name, one in policies.items()}
    rule = tables[BY_HAND]["cost"].to_numpy()
    more = {name: table["cost"].to_numpy() - rule for name, table in tables.items()}
    found = compared(tables)
    wide = [
        1.96 * float(m.std(ddof=1)) / len(m) ** 0.5 if len(m) > 1 else None for m in more.values()
    ]
    return found.with_columns(
        pl.Series("more than by hand", [float(m.mean()) for m in more.values()]),
        pl.Series("+- of that", wide, pl.Float64()),
    )
