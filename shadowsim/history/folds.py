"""Names of networks and kinds of change to the folds that models are fitted, set and tested on.

A name decides, and nothing else: no seed and no later history moves a network from what a model is
tested on to what it is fitted to.
"""

from __future__ import annotations

import hashlib

KNOWN, VALIDATION, UNSEEN = "known", "validation", "unseen"
NETWORKS = (KNOWN, VALIDATION, UNSEEN)
ALL = "all"  # where any will do
VALIDATION_PERCENT, UNSEEN_PERCENT, HELD_OUT_PERCENT = 12, 20, 13


def fold_of(network: str) -> str:
    """The fold of a family of networks."""
    percent = _percent("wiring", network)
    if percent < UNSEEN_PERCENT:
        return UNSEEN
    return VALIDATION if percent < UNSEEN_PERCENT + VALIDATION_PERCENT else KNOWN


def is_held_out(kind: str) -> bool:
    """Whether changes of this kind are only ever tested on."""
    return _percent("kind", kind) < HELD_OUT_PERCENT


def _percent(of: str, name: str) -> int:
    digest = hashlib.sha256(f"{of} {name}".encode()).digest()
    return int.from_bytes(digest[:8]) % 100
