"""The Mirror Engine: keeps a shadow network like production, and under its traffic."""

from shadowsim.mirror.engine import Mirrored, MirrorEngine

__all__ = ["MirrorEngine", "Mirrored"]
