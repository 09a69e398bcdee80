"""Pieces of work to their answers, as they come, wherever they are worked on."""

from __future__ import annotations

from shadowsim.batch.engine import Answer, Died, Engine
from shadowsim.batch.local import Local

__all__ = ["Answer", "Died", "Engine", "Local"]
