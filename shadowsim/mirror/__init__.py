"""The Mirror Engine: keeps a shadow network like production, and under its traffic."""

from shadowsim.mirror.engine import Mirrored, MirrorEngine
from shadowsim.mirror.subset import Chooser, Coverage, Subset

__all__ = ["Chooser", "Coverage", "MirrorEngine", "Mirrored", "Subset"]
