"""The decisions of a tape to what is known at each of them, as PreCog puts it into numbers."""

from __future__ import annotations

from shadowsim.env.tape import Tape
from shadowsim.precog import observation
from shadowsim.precog.model import Model
from shadowsim.precog.observation import BOUND, CLOCK, SUPERVISED, Singles, observed, scaled


def observations(tape: Tape, model: Model | None) -> Singles:
    """`[R, observed]`. Raises ShadowsimError if the model gives what is no probability."""
    return observation.observations(
        tape.features, tape.world >= 0, tape.since_s, tape.left, tape.has_part, model
    )


__all__ = ["BOUND", "CLOCK", "SUPERVISED", "observations", "observed", "scaled"]
