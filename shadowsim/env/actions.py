"""What an agent can do, and what an episode can come to, by name and number."""

from __future__ import annotations

from shadowsim.model.truth import MODES

WAIT, GO, REFUSE, WHOLE, PART = 0, 1, 2, 3, 3 + len(MODES)
ACTIONS = (
    "wait",
    "go",
    "refuse",
    *(f"roll back whole: {mode}" for mode in MODES),
    *(f"roll back part: {mode}" for mode in MODES),
)
END_STATES = ("", "confirmed", "rolled_back", "halted", "refused", "lapsed")
ON, CONFIRMED, ROLLED_BACK, HALTED, REFUSED, LAPSED = range(len(END_STATES))
