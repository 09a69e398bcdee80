"""The models of `supervised` and `hybrid`, learned together, to files that change together."""

from __future__ import annotations

from pathlib import Path

from shadowsim.precog import packed
from shadowsim.precog.model import Model
from shadowsim.precog.model_file import to_bytes
from shadowsim.precog.stack import Stack, to_text
from shadowsim.precog.supervised import beside


def save_pair(model: Model, stack: Stack, path: Path) -> None:
    """Write both, or leave both as they are. Raises BadInput where they cannot be written."""
    packed.save_both((to_bytes(model), path), (to_text(stack).encode(), beside(path)))
