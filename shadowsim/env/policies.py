"""Policies that nobody has to train: what is observed to an action, for many episodes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.env.actions import GO, REFUSE, WAIT, WHOLE
from shadowsim.env.observation import scaled
from shadowsim.env.pool import OVER, Bools, Ints, Pool, Singles
from shadowsim.errors import BadInput
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE, VULNERABILITY

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What N agents have before them: `observations[N, names]` and `masks[N, ACTIONS]`. `looks[N]`
    are numbers in the pool; only an oracle reads them, and who looks up what was said then.
    """

    names: tuple[str, ...]
    observations: Singles
    masks: Bools
    looks: Ints

    def of(self, name: str) -> Singles:
        """One number of each observation, as it stands there."""
        return self.observations[:, self.names.index(name)]

    def above(self, name: str, bound: float) -> Bools:
        """Where a number exceeds a bound that is given as it was before it was scaled."""
        found: Bools = self.of(name) > scaled(bound)
        return found

    @property
    def in_production(self) -> Bools:
        return self.above("telemetry_production", 0.5)


BEYOND, NEAR = 1.1, 0.9  # of a limit: measured in production, and by the model of its configs
SHIFT = 0.05  # of a limit: nearer to it than before

Policy = Callable[[Seen], Ints]  # to actions [N]


def at_random(seed: int) -> Policy:
    """Any action that is open, each equally likely."""
    random = np.random.default_rng(seed)

    def policy(seen: Seen) -> Ints:
        drawn = np.where(seen.masks, random.random(seen.masks.shape), -1.0)
        return np.asarray(drawn.argmax(axis=1))

    return policy


def always_go(seen: Seen) -> Ints:
    """Deploys at once, and leaves it."""
    return np.where(seen.in_production, WAIT, GO)


def never_go(seen: Seen) -> Ints:
    """Refuses at once."""
    return np.full(len(seen.looks), REFUSE)


def by_hand(seen: Seen) -> Ints:
    """The rule of an operator who reads the script and watches the limits.

    It goes after the whole trial unless something is wrong, refuses then, and takes all back as
    soon as something is wrong in production. Wrong is an intent that breaks or something that is
    exposed, by the script or by the configs read back; a critical demand that starves; and a limit
    to which the script leads, or that is measured beyond and further than before. A limit that the
    model puts beyond without the change too does not count; in production a measured one does only
    by a tenth, and if the model puts it near, since what is on its way is measured there too.
    """
    return _decided(seen, *_facts(seen))


def by_forecast(refuse_above: float, roll_back_above: float) -> Policy:
    """The supervised model with an operating point: a bound at the gate, after the whole trial, and
    one in production, where facts count as well (those of `by_hand`). At the gate a mode of which
    the model knows nothing is no pass.
    """

    def policy(seen: Seen) -> Ints:
        if f"p_{MODES[0]}" not in seen.names:
            raise BadInput("this policy reads the model's forecast: make the pool with it")
        chance = np.stack([seen.of(f"p_{mode}") for mode in MODES], axis=1)
        unknown = np.any([seen.of(f"unknown_{mode}") > 0.0 for mode in MODES], axis=0)
        return _bounded(seen, chance, unknown, scaled(refuse_above), scaled(roll_back_above))

    return policy


def by_variant(said: Floats, refuse_above: float, roll_back_above: float) -> Policy:
    """The same with what any variant said, `[R, MODES]` by the number of a look in the pool; nan
    is a mode of which it knows nothing.
    """

    def policy(seen: Seen) -> Ints:
        chance = said[seen.looks]
        unknown = np.any(np.isnan(chance), axis=1)
        return _bounded(seen, np.nan_to_num(chance), unknown, refuse_above, roll_back_above)

    return policy


def _bounded(
    seen: Seen, chance: Floats | Singles, unknown: Bools, refuse_above: float | Singles,
    roll_back_above: float | Singles,
) -> Ints:  # fmt: skip
    """Decide by the likeliest mode and a bound for each phase; in production by facts as well."""
    worst, likely = chance.max(axis=1), np.argmax(chance, axis=1)
    wrong, mode = _facts(seen)
    gate = (worst > refuse_above) | unknown
    later = (worst > roll_back_above) | wrong
    return _decided(seen, np.where(seen.in_production, later, gate), np.where(wrong, mode, likely))


def _facts(seen: Seen) -> tuple[Bools, Ints]:
    """Where something is wrong, and which failure mode that is."""
    before = seen.above("script_severity_before", 1.0)
    worse = seen.above("script_severity_end", 1.0) & ~before
    near = seen.above("telemetry_severity_level", BEYOND) & seen.above("script_now_severity", NEAR)
    beyond = np.where(seen.in_production, near, seen.above("telemetry_severity_level", 1.0))
    limit = beyond & seen.above("telemetry_severity_shift", SHIFT) & ~before
    exposed = seen.above("script_now_exposed", 0.0) | seen.above("script_exposed_end", 0.0)
    broken = seen.above("script_now_broken", 0.0) | seen.above("script_broken_end", 0.0)
    outage = broken | seen.above("telemetry_starved_level", 0.0)
    modes = [MODES.index(VULNERABILITY), MODES.index(OUTAGE)]
    mode = np.select([exposed, outage], modes, MODES.index(DEGRADATION))
    return exposed | outage | worse | limit, mode


def oracle(pool: Pool) -> Policy:
    """Does what costs least in the end, of everything that can be done. It knows the tapes, so
    nobody can be better.
    """
    best = best_actions(pool)
    return lambda seen: best[seen.looks]


def best_actions(pool: Pool) -> Ints:
    """`[R]`: the action that costs least from each decision on."""
    worth, best = np.zeros(len(pool.masks)), np.zeros(len(pool.masks), np.int64)
    for look in range(len(worth) - 1, -1, -1):  # what follows a decision has a higher number
        to = pool.to[look]
        value = pool.reward[look] + np.where(to == OVER, 0.0, worth[to])
        best[look] = int(np.argmax(np.where(pool.masks[look], value, -np.inf)))
        worth[look] = value[best[look]]
    return best


def _decided(seen: Seen, wrong: Bools, mode: Ints) -> Ints:
    """Refuse or take all back where something is wrong; else wait, and go after the last look."""
    last = ~seen.above("left", 0.0)
    trial = np.where(last, np.where(wrong, REFUSE, GO), WAIT)
    return np.where(seen.in_production, np.where(wrong, WHOLE + mode, WAIT), trial)
