"""A policy and a pool to what it costs, episode by episode: each once, from its beginning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from shadowsim.env.actions import ACTIONS, END_STATES, GO
from shadowsim.env.policies import Policy, Seen
from shadowsim.env.pool import OVER, Pool
from shadowsim.env.reward import PARTS
from shadowsim.errors import BadInput
from shadowsim.model.truth import MODES

TOGETHER = 1024  # episodes side by side


def evaluate(policy: Policy, pool: Pool) -> pl.DataFrame:
    """One row per episode of the pool, in order: `episode`, `network`, `kind`, the failure modes
    that the change has, `end_state`, `went` (whether it came to production), `decisions` (their
    number), `cost` in seconds of outage, and each part of it as `cost_<part>`.

    Costs are at least 0 and sum to `cost`. The same policy gives the same table: what is random in
    one is its own. Raises BadInput for an action that is masked.
    """
    tables = [
        _walked(policy, pool, np.arange(first, min(first + TOGETHER, len(pool))))
        for first in range(0, len(pool), TOGETHER)
    ]
    return pl.concat(tables)


def compared(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per policy: mean cost with the half width of its 95 % interval over episodes, the
    shares that went, were refused and were rolled back, of failing changes and of others.
    """
    rows = []
    for name, table in tables.items():
        failing = table.select(pl.any_horizontal(*MODES)).to_series()
        cost = table["cost"].to_numpy()
        row: dict[str, object] = {
            "policy": name,
            "episodes": len(cost),
            "cost": float(cost.mean()),
            "+-": float(1.96 * cost.std(ddof=1) / np.sqrt(len(cost))) if len(cost) > 1 else None,
        }
        for what, part in (("failing", table.filter(failing)), ("well", table.filter(~failing))):
            row |= {
                f"{what}: {state}": (part["end_state"] == state).mean()
                for state in ("confirmed", "rolled_back")
            }
            row |= {f"{what}: stopped": part["end_state"].is_in(["refused", "lapsed"]).mean()}
        rows.append(row)
    return pl.DataFrame(rows)


def _walked(policy: Policy, pool: Pool, episodes: npt.NDArray[np.int64]) -> pl.DataFrame:
    looks, open_ = pool.first[episodes].copy(), np.arange(len(episodes))
    parts, count = np.zeros((len(episodes), len(PARTS))), np.zeros(len(episodes), np.int64)
    went, ends = np.zeros(len(episodes), bool), np.zeros(len(episodes), np.int64)
    while len(open_):
        at = looks[open_]
        seen = Seen(pool.names, pool.observations[at], pool.masks[at], at)
        actions = np.asarray(policy(seen))
        _check(actions, seen)
        parts[open_] += pool.parts[at, actions]
        count[open_] += 1
        went[open_] |= actions == GO
        to = pool.to[at, actions]
        ends[open_] = pool.ends[at, actions]
        looks[open_] = to
        open_ = open_[to != OVER]
    costs = 0.0 - parts
    return pl.DataFrame({
        "episode": episodes,
        "network": [pool.networks[n] for n in episodes],
        "kind": [pool.kinds[n] for n in episodes],
        **{mode: pool.failed[episodes, place] for place, mode in enumerate(MODES)},
        "end_state": [END_STATES[end] for end in ends],
        "went": went,
        "decisions": count,
        "cost": costs.sum(axis=1),
        **{f"cost_{name}": costs[:, place] for place, name in enumerate(PARTS)},
    })  # fmt: skip


def _check(actions: npt.NDArray[np.int64], seen: Seen) -> None:
    if actions.shape != seen.looks.shape or actions.dtype.kind not in "iu":
        raise BadInput(f"a policy must give {len(seen.looks)} whole numbers, one for each episode")
    outside = (actions < 0) | (actions >= len(ACTIONS))
    if outside.any():
        raise BadInput(f"there is no action {actions[outside][0]}: 0 to {len(ACTIONS) - 1}")
    masked = ~seen.masks[np.arange(len(actions)), actions]
    if masked.any():
        raise BadInput(f"the policy chose what is masked: {ACTIONS[actions[masked][0]]}")
