"""What an agent can do, and what an episode can come to, by name and number."""

from __future__ import annotations

from shadowsim.precog.actions import ACTIONS, GO, PART, REFUSE, WAIT, WHOLE

END_STATES = ("", "confirmed", "rolled_back", "halted", "refused", "lapsed")
ON, CONFIRMED, ROLLED_BACK, HALTED, REFUSED, LAPSED = range(len(END_STATES))

__all__ = [
    "ACTIONS", "CONFIRMED", "END_STATES", "GO", "HALTED", "LAPSED", "ON", "PART", "REFUSE",
    "REFUSED", "ROLLED_BACK", "WAIT", "WHOLE",
]  # fmt: skip
