"""PreCog: evidence to the probability of each failure mode, with reasons.

The variants are named here and swapped by that name everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shadowsim.errors import BadInput, choices
from shadowsim.precog.always_go import AlwaysGo
from shadowsim.precog.canary import Canary
from shadowsim.precog.forecast import Evidence, Forecast, Reason, Variant
from shadowsim.precog.judge import Judge
from shadowsim.precog.rl import HYBRID_RL, RL, hybrid_rl, rl
from shadowsim.precog.rollouts import Rollouts
from shadowsim.precog.script import Script
from shadowsim.precog.stack import read_stack
from shadowsim.precog.stacked import Stacked
from shadowsim.precog.supervised import beside, model_path, supervised
from shadowsim.precog.threshold import Threshold
from shadowsim.precog.whatif import WhatIf


def hybrid(whatif: WhatIf) -> Variant:
    """The composite, with what was learned of whom to believe, which stands beside the model of
    `supervised`. Raises BadInput if one of the two is missing, damaged or foreign.
    """
    plain = (Threshold(), Judge(whatif.limits, whatif.window), Script(whatif))
    others, learned = (Canary(whatif.limits, whatif.window),), supervised(whatif)
    names = tuple(variant.name for variant in (*plain, *others, learned))
    return Stacked(plain, others, learned, read_stack(beside(model_path()), names))


VARIANTS: Mapping[str, Callable[[WhatIf], Variant]] = {
    "always-go": lambda whatif: AlwaysGo(),
    "threshold": lambda whatif: Threshold(),
    "canary": lambda whatif: Canary(whatif.limits, whatif.window),
    "judge": lambda whatif: Judge(whatif.limits, whatif.window),
    "script": Script,
    "rollouts": Rollouts,
    "supervised": supervised,
    "hybrid": hybrid,
    RL: rl,
    HYBRID_RL: hybrid_rl,
}


def variant(name: str, whatif: WhatIf) -> Variant:
    """The variant of that name. Raises BadInput with the valid ones."""
    if name not in VARIANTS:
        raise BadInput(f"there is no PreCog variant '{name}'; {choices(name, VARIANTS)}")
    return VARIANTS[name](whatif)


__all__ = ["VARIANTS", "Evidence", "Forecast", "Reason", "Variant", "WhatIf", "variant"]
