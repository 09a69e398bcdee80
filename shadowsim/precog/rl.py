"""Evidence, through what a learned policy would do now, to a forecast.

The policy was rewarded for what its decisions cost, not for being right about failures. So what is
said here is how sure it is of acting, which the workflow's bounds are compared with; it is no
calibrated probability.
"""

from __future__ import annotations

import math
import os
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from shadowsim.errors import BadInput, Mistake
from shadowsim.model.truth import DEGRADATION, MODES, OUTAGE, VULNERABILITY
from shadowsim.precog.actions import GO, PART, WAIT, WHOLE, masks
from shadowsim.precog.features import Featurizer
from shadowsim.precog.forecast import Evidence, Forecast, Reason
from shadowsim.precog.model import Model
from shadowsim.precog.observation import SUPERVISED, Singles, observations, observed, scaled
from shadowsim.precog.policy import Policy
from shadowsim.precog.policy_file import load
from shadowsim.precog.supervised import standing_model, user_model
from shadowsim.precog.whatif import WhatIf

COVERAGE = tuple(f"telemetry_coverage{of}_mean" for of in ("", "_links", "_demands"))
LEAST_COVERAGE = 0.5
DARK = "not known: too little telemetry arrives for the policy to go by"
TOLD_FROM = 0.05  # who is less sure needs no reason
RL, HYBRID_RL = "rl", "hybrid-rl"


class Rl:
    """A policy's decision as a forecast.

    At the gate: how probable it is that it does not go, by refusing or, once the trial is over, by
    waiting, which lets the change lapse. A refusal names no failure mode, so the number is that of
    the mode which the supervised model finds likeliest, where the policy reads that, else of the
    one that the script leads to. In production: how probable it makes a rollback for each mode.
    That the whole of them is what it wants is said by the reason. Where less than half of what
    devices, links or demands should report has arrived, nothing is known.
    """

    def __init__(self, whatif: WhatIf, policy: Policy, model: Model | None, name: str) -> None:
        if policy.supervised and model is None:
            raise BadInput("this policy reads what the supervised model says; there is none")
        self.name = name
        self._policy, self._model = policy, model if policy.supervised else None
        self._featurizer = Featurizer(whatif.topology, whatif.demands, whatif.intents, whatif)
        self._names = observed(self._model is not None)
        self._places = [self._names.index(name) for name in policy.names]

    def forecast(self, evidence: Evidence) -> Forecast:
        row = observation(self._featurizer, evidence, self._model)
        if self._is_dark(row):
            return Forecast(
                dict.fromkeys(MODES, math.nan),
                tuple(Reason(self.name, mode, 0.0, DARK) for mode in MODES),
            )
        production = evidence.phase == "production"
        open_ = masks(np.array([production]), np.array([False]))
        chance = self._policy.probabilities(row[None, self._places], open_)[0]
        if production:
            told = chance[WHOLE:PART] + chance[PART:]
            sure, mode = float(told.sum()), MODES[int(told.argmax())]
            text = f"the policy would take it back ({sure:.0%} sure)"
        else:
            sure = float(1.0 - chance[GO] - (chance[WAIT] if evidence.left > 0.0 else 0.0))
            mode = self._mode(row)
            told = np.array([sure if mode == one else 0.0 for one in MODES])
            text = f"the policy would not let it go ({sure:.0%} sure)"
        reasons = (Reason(self.name, mode, sure, text),) if sure >= TOLD_FROM else ()
        return Forecast(dict(zip(MODES, told.tolist(), strict=True)), reasons)

    def _is_dark(self, row: Singles) -> bool:
        of = dict(zip(self._names, row.tolist(), strict=True))
        return bool(min(of[name] for name in COVERAGE) < float(scaled(LEAST_COVERAGE)))

    def _mode(self, row: Singles) -> str:
        """What a refusal is for."""
        of = dict(zip(self._names, row.tolist(), strict=True))
        if self._model is not None:
            chance = [of[name] for name in SUPERVISED[: len(MODES)]]
            if max(chance) > 0.0:
                return MODES[int(np.argmax(chance))]
        if of["script_exposed_end"] > 0.0 or of["script_now_exposed"] > 0.0:
            return VULNERABILITY
        broken = of["script_broken_end"], of["script_now_broken"], of["telemetry_starved_level"]
        return OUTAGE if max(broken) > 0.0 else DEGRADATION


def observation(featurizer: Featurizer, evidence: Evidence, model: Model | None) -> Singles:
    """`[observed]`: what the environment shows of the same look, but for the blame of a part, which
    is not known to a forecast: it stands as none.
    """
    features = featurizer.of(evidence)
    rows = observations(
        features[None], np.array([evidence.phase == "production"]), np.array([evidence.since_s]),
        np.array([evidence.left]), np.array([False]), model,
    )  # fmt: skip
    return np.asarray(rows[0])


def rl(whatif: WhatIf) -> Rl:
    """The variant with the policy that stands. Raises BadInput if there is none."""
    return Rl(whatif, standing_policy(RL), None, RL)


def hybrid_rl(whatif: WhatIf) -> Rl:
    """The variant whose policy reads the supervised forecast. Raises BadInput if there is none."""
    return Rl(whatif, standing_policy(HYBRID_RL), standing_model(), HYBRID_RL)


def policy_path(name: str) -> Path:
    """Where the policy of a variant lies: in the folder SHADOWSIM_POLICIES, else the user's own,
    else the one that came along.
    """
    given = os.environ.get("SHADOWSIM_POLICIES")
    if given:
        return Path(given) / f"{name}.policy"
    own = user_policy(name)
    came = Path(str(files("shadowsim.precog") / "trained" / own.name))
    return own if own.exists() else came


def user_policy(name: str) -> Path:
    """Where a policy of one's own lies, if there is one (XDG base directories)."""
    return user_model().with_name(f"{name}.policy")


def standing_policy(name: str) -> Policy:
    """The policy that a variant uses, read once. Raises BadInput if it is missing or unusable."""
    path = policy_path(name)
    if not path.exists():
        more = " --supervised" if name == HYBRID_RL else ""
        raise BadInput([Mistake(f"no policy yet; make one: shadowsim train-rl{more}", str(path))])
    return _loaded(path, path.stat().st_mtime_ns)


@cache
def _loaded(path: Path, stamp: int) -> Policy:
    return load(path)
