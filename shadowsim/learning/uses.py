"""The document of a run to what may be learned from it, or to why nothing may.

A change that was refused or taken back never showed whether it would have failed in production, so
an outcome is a label only where somebody saw the failure, or its absence, with the change in force:

- confirmed, and nothing failed, whatever disturbed it: it is good;
- confirmed, and it failed: the modes observed, unless the failure was not the change's;
- taken back (or halted) after it failed in production: the modes observed; taken back at the first
  measured sign, before it had lasted: the mode of the sign, from the trigger on;
- refused by hard checks while the shadow failed: the shadow's failure is the label of the gate.

All others are censored: they are counted, by why, and not used. What is used is therefore no
sample of all changes. Modes that a rollback left no time to come count as not come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shadowsim.model.truth import MODES
from shadowsim.precog.past import Past

Document = Mapping[str, Any]

GOOD = "confirmed, and nothing failed"
UNNOTICED = "confirmed, and it failed"
BROKEN = "failed in production, and was taken back"
HALTED = "failed in production, and was left to a person"
SIGN = "taken back at the first measured sign"
SHADOW = "failed in the shadow, and was refused"
FORECAST = "refused by a forecast, without a failure in the shadow"
UNDECIDED = "not deployed: inconclusive, or a person said no"
FORESTALLED = "taken back by a forecast, before anything failed"
OTHER = "ended for another reason than the change"
NOT_THE_CHANGE = "failed of something else than the change"


@dataclass(frozen=True)
class Use:
    """How an outcome is used, in words. `came_at_s`: the failure modes it is a label of, with the
    seconds from the change to each; None where it is no label. `gate_only`: of the shadow's look.
    """

    how: str
    came_at_s: Mapping[str, float] | None = None
    gate_only: bool = False
    failed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failed", bool(self.came_at_s))


def use_of(document: Document) -> Use:
    """What the outcome of a run is a label of. Raises ValueError or TypeError if it is damaged."""
    if document["observed_in"] == "shadow":
        return _not_deployed(document)
    came = _came(document)
    cause, state = document["root_cause"], document["end_state"]
    if cause == "not the change" and (came or state != "confirmed"):
        return Use(NOT_THE_CHANGE)
    if cause not in ("none", "change", "not the change"):
        return Use(OTHER)
    if state == "confirmed":
        return Use(UNNOTICED if came else GOOD, came)
    if came:
        return Use(BROKEN if state == "rolled_back" else HALTED, came)
    if state != "rolled_back":
        return Use(OTHER)
    mode, after_s = document["failure_mode"], document.get("triggered_after_s")
    if document.get("signs") and mode in MODES and after_s is not None:
        return Use(SIGN, {mode: float(after_s)})
    return Use(FORESTALLED)


def _not_deployed(document: Document) -> Use:
    if document["decision"] != "no-go":
        return Use(UNDECIDED)
    came = _came(document)
    if came and document.get("refused_by"):
        return Use(SHADOW, came, gate_only=True)
    return Use(FORECAST)


def _came(document: Document) -> dict[str, float]:
    found = document.get("failed_after_s")
    if found is None:  # of a version that did not keep the times
        return {mode: 0.0 for mode in MODES if mode in document["failure_modes"]}
    return {mode: max(float(found[mode]), 0.0) for mode in MODES if mode in found}


def past_of(documents: Iterable[Document], site: str) -> Past:
    """The earlier changes of the network with this digest, of which it is known what came."""
    past = Past()
    for document in documents:
        if (document.get("site") or {}).get("digest") != site:
            continue
        use, changed = use_of(document), document["changed"]
        if use.came_at_s is not None:
            past = past.counting(
                changed["devices"], changed["models"], changed["kinds"], failed=use.failed
            )
    return past
